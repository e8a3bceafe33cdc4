//! What is drawn: how fast data come to each site as time goes, and how long each job would run at each. The same for every
//! policy, whatever it decides.

use super::{Case, Measured, Trouble};

/// Rates are the same for so long, seconds.
const STEP: f64 = 5.0;
/// After so long a rate has forgotten what it was, seconds.
const CORRELATION: f64 = 600.0;
/// How much runs of the same job differ: they were measured within 5 %.
const RUN_SPREAD: f64 = 0.02;

/// All draws of a case.
#[derive(Clone, Debug)]
pub struct Draws {
    pub(super) coming: Vec<Coming>,
    /// By site, then by job: how long it runs there, seconds.
    pub(super) runs: Vec<Vec<f64>>,
}

impl Draws {
    /// Draws by numbers that are equally distributed from 0 to 1, without 1.
    pub fn of(case: &Case, uniform: &mut dyn FnMut() -> f64) -> Self {
        let jobs = case.arrivals.iter().map(|arrival| arrival.jobs).sum::<usize>();
        let coming = case.sites.iter().map(|site| Coming::drawn(site, case, uniform)).collect();
        let mut run = |site: &Measured| site.run * (RUN_SPREAD * normal(uniform)).exp();
        let runs = case.sites.iter().map(|site| (0..jobs).map(|_| run(site)).collect()).collect();
        Self { coming, runs }
    }
}

/// How many jobs' data have come to a site by each step, if some always wait to come.
#[derive(Clone, Debug)]
pub(super) struct Coming(Vec<f64>);

impl Coming {
    fn drawn(site: &Measured, case: &Case, uniform: &mut dyn FnMut() -> f64) -> Self {
        let variance = (1.0 + site.spread * site.spread).ln();
        let kept = (-STEP / CORRELATION).exp();
        let fresh = (variance * (1.0 - kept * kept)).sqrt();
        let mut drift = variance.sqrt() * normal(uniform);
        let (mut sums, mut sum, mut at) = (vec![0.0], 0.0, 0.0);
        while at < case.until {
            let stands = case.troubles.iter().any(|trouble| match trouble {
                Trouble::Planned(name, from, to) => *name == site.site && (*from..*to).contains(&at),
                Trouble::Fails(name, from) => *name == site.site && *from <= at,
            });
            if !stands {
                sum += STEP * site.per_minute / 60.0 * (drift - variance / 2.0).exp();
            }
            sums.push(sum);
            drift = kept * drift + fresh * normal(uniform);
            at += STEP;
        }
        Self(sums)
    }

    /// How many jobs' data could have come by a time.
    pub(super) fn by(&self, at: f64) -> f64 {
        let step = at / STEP;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a step's number")]
        let before = (step as usize).min(self.0.len() - 1);
        let after = (before + 1).min(self.0.len() - 1);
        self.0[before] + (self.0[after] - self.0[before]) * step.fract()
    }

    /// When the next job's data are there that begin to come now; infinite where they never are.
    pub(super) fn lands(&self, from: f64) -> f64 {
        let wanted = self.by(from) + 1.0;
        let after = self.0.partition_point(|sum| *sum < wanted);
        let (Some(sum), Some(before)) = (self.0.get(after), self.0.get(after.wrapping_sub(1))) else {
            return f64::INFINITY;
        };
        #[expect(clippy::cast_precision_loss, reason = "a step's number")]
        let step = (after - 1) as f64;
        STEP * (step + (wanted - before) / (sum - before))
    }
}

/// By Box and Muller.
fn normal(uniform: &mut dyn FnMut() -> f64) -> f64 {
    let radius = (-2.0 * (1.0 - uniform()).ln()).sqrt();
    radius * (std::f64::consts::TAU * uniform()).cos()
}
