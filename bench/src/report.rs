//! Rows of figures as a table for people and as JSON for programs. Computes medians and ratios, judges only by the bar.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Context as _;
use comfy_table::Table;
use serde::Serialize;

/// One figure.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) name: String,
    /// Of `ours` and `peer`.
    pub(crate) unit: &'static str,
    /// Median.
    pub(crate) ours: f64,
    /// Median; what is measured against.
    pub(crate) peer: Option<f64>,
    /// `ours / peer`.
    pub(crate) ratio: Option<f64>,
    /// What the ratio is to reach; `None` where the figure is only told.
    pub(crate) bar: Option<f64>,
    /// Whether it does.
    pub(crate) holds: Option<bool>,
    /// How often each side was measured.
    pub(crate) runs: usize,
    /// Smallest and largest ratio of a pair of runs.
    pub(crate) spread: Option<(f64, f64)>,
}

/// Whether a small or a large ratio is good.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Bar {
    AtMost(f64),
    AtLeast(f64),
    Told,
}

impl Row {
    /// A figure against a peer; run k of both was made side by side in time.
    pub(crate) fn against(
        name: impl Into<String>,
        unit: &'static str,
        ours: &[f64],
        peer: &[f64],
        bar: Bar,
    ) -> Self {
        let (mine, theirs) = (median(ours), median(peer));
        let ratio = mine / theirs;
        let pairs = ours.iter().zip(peer).map(|(ours, peer)| ours / peer);
        let spread =
            pairs.fold((f64::INFINITY, 0.0_f64), |(low, high), pair| (low.min(pair), high.max(pair)));
        let (bar, holds) = match bar {
            Bar::AtMost(bar) => (Some(bar), Some(ratio <= bar)),
            Bar::AtLeast(bar) => (Some(bar), Some(ratio >= bar)),
            Bar::Told => (None, None),
        };
        Self {
            name: name.into(),
            unit,
            ours: mine,
            peer: Some(theirs),
            ratio: Some(ratio),
            bar,
            holds,
            runs: ours.len(),
            spread: Some(spread),
        }
    }

    /// A figure that is judged by itself, or by something other than its ratio to a peer's.
    pub(crate) fn judged(
        name: impl Into<String>,
        unit: &'static str,
        ours: f64,
        peer: Option<f64>,
        bar: f64,
        holds: bool,
        runs: usize,
    ) -> Self {
        let (name, bar, holds) = (name.into(), Some(bar), Some(holds));
        Self { name, unit, ours, peer, ratio: None, bar, holds, runs, spread: None }
    }

    /// A figure by itself.
    pub(crate) fn alone(name: impl Into<String>, unit: &'static str, ours: &[f64]) -> Self {
        Self {
            name: name.into(),
            unit,
            ours: median(ours),
            peer: None,
            ratio: None,
            bar: None,
            holds: None,
            runs: ours.len(),
            spread: None,
        }
    }
}

/// The middle value; of an even number the mean of the two in the middle.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => sorted[n / 2],
        n => f64::midpoint(sorted[n / 2 - 1], sorted[n / 2]),
    }
}

/// The value that so many percent are at most; of no values NaN.
pub(crate) fn percentile(values: &[f64], percent: usize) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get((sorted.len().saturating_sub(1)) * percent / 100).copied().unwrap_or(f64::NAN)
}

/// Says rows while others are still measured, on standard error.
pub(crate) fn tell(rows: Vec<Row>) -> Vec<Row> {
    for row in &rows {
        let peer = row.peer.map_or(String::new(), |peer| format!(", peer {}", short(peer)));
        let ratio = row.ratio.map_or(String::new(), |ratio| format!(", ratio {}", short(ratio)));
        eprintln!("{}: {} {}{peer}{ratio}", row.name, short(row.ours), row.unit);
    }
    rows
}

/// Prints the rows and the settings that they were measured with, and writes them below `target/bench`.
pub(crate) fn write(scenario: &str, settings: &str, rows: &[Row]) -> anyhow::Result<()> {
    let heads = ["figure", "unit", "ours", "peer", "ours/peer", "spread", "bar", "holds", "runs"];
    let mut table = Table::new();
    table.load_preset(comfy_table::presets::UTF8_FULL_CONDENSED).set_header(heads);
    let mut markdown =
        format!("# {scenario}\n\n| {} |\n|{}\n", heads.join(" | "), "---|".repeat(heads.len()));
    for row in rows {
        let cells = cells(row);
        let _ = writeln!(markdown, "| {} |", cells.join(" | "));
        table.add_row(cells);
    }
    println!("{scenario}\n{table}");
    if !settings.is_empty() {
        println!("{settings}");
        let _ = write!(markdown, "\n{settings}\n");
    }
    let folder = Path::new("target/bench");
    std::fs::create_dir_all(folder).context("target/bench cannot be made")?;
    std::fs::write(folder.join(format!("{scenario}.md")), markdown).context("the table cannot be written")?;
    let json = serde_json::to_string_pretty(rows)?;
    std::fs::write(folder.join(format!("{scenario}.json")), json).context("the figures cannot be written")
}

fn cells(row: &Row) -> Vec<String> {
    let number = |value: Option<f64>| value.map_or(String::new(), short);
    vec![
        row.name.clone(),
        row.unit.to_owned(),
        short(row.ours),
        number(row.peer),
        number(row.ratio),
        row.spread.map_or(String::new(), |(low, high)| format!("{}..{}", short(low), short(high))),
        number(row.bar),
        row.holds.map_or("", |holds| if holds { "yes" } else { "NO" }).to_owned(),
        row.runs.to_string(),
    ]
}

/// Three digits that matter.
fn short(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 || size == 0.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}
