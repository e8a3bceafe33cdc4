//! The analysis against its peers and against the truth: spots that agree with psana's peakfinder8 and with DIALS, what is found
//! of simulated images, hits that are decided rightly, and the time that one core takes. Settings are printed with the table.

mod agreement;
mod found;
mod hits;
mod peer;
mod settings;
mod speed;

use crate::Scope;
use crate::report::{Row, tell};

pub(crate) use settings::{are_those_of as settings_are_those_of, text as settings};

pub(crate) fn measure(scope: Scope<'_>) -> anyhow::Result<Vec<Row>> {
    let mut rows = Vec::new();
    if scope.wants("agreement") {
        rows.extend(tell(agreement::measure()?));
    }
    if scope.wants("found") {
        rows.extend(tell(found::measure(scope.quick)?));
    }
    if scope.wants("speed") {
        rows.extend(tell(speed::measure(scope.quick)?));
    }
    if scope.wants("hits") {
        rows.extend(tell(hits::measure(scope.quick)?));
    }
    Ok(rows)
}

/// Places of spots: panel, column, row.
type Place = (usize, f64, f64);

/// How many of `ours` have one of `theirs` for themselves within a distance (pixels), the nearest first come.
fn common(ours: &[Place], theirs: &[Place], distance: f64) -> usize {
    let mut free = vec![true; theirs.len()];
    let mut pairs = Vec::new();
    for (i, a) in ours.iter().enumerate() {
        for (j, b) in theirs.iter().enumerate() {
            let apart = (a.1 - b.1).hypot(a.2 - b.2);
            if a.0 == b.0 && apart <= distance {
                pairs.push((apart, i, j));
            }
        }
    }
    pairs.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut alone = vec![true; ours.len()];
    pairs.retain(|(_, i, j)| {
        let both = alone[*i] && free[*j];
        if both {
            (alone[*i], free[*j]) = (false, false);
        }
        both
    });
    pairs.len()
}

/// The places of a chain's spots.
fn places(outcome: &lightrail_analysis::pipeline::Outcome) -> Vec<Place> {
    let place = |s: &lightrail_analysis::pipeline::Spot| (s.panel.into(), s.fast.into(), s.slow.into());
    outcome.spots.iter().map(place).collect()
}
