//! What came of all images, in numbers that people look at first. Pure, but for printing.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use comfy_table::{CellAlignment, Table, presets};
use lightrail_topics::RunKey;
use lightrail_topics::events::Outcome;

use super::table::Row;

/// Counts of some images.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counts {
    /// All images.
    pub images: usize,
    /// Hits.
    pub hits: usize,
    /// Worked, and no hits.
    pub misses: usize,
    /// Without a result, by how they ended.
    pub bad: BTreeMap<&'static str, usize>,
    /// Spots of all worked images.
    pub spots: u64,
    /// Spots of hits.
    pub spots_of_hits: u64,
    /// Images with saturated pixels.
    pub saturated: usize,
    /// The strongest pixel of any spot relative to saturation.
    pub saturation: Option<f64>,
    /// Resolution estimates of hits, angstrom.
    resolutions: Vec<f64>,
}

impl Counts {
    /// Of rows.
    pub fn of<'r>(rows: impl IntoIterator<Item = &'r Row>) -> Self {
        let mut counts = Self::default();
        for row in rows {
            counts.images += 1;
            let spots = u64::from(row.numbers.spots.unwrap_or(0));
            counts.spots += spots;
            counts.saturated += usize::from(row.numbers.saturated.is_some_and(|pixels| pixels > 0));
            let fuller = |all: f64| row.numbers.saturation.map_or(all, |this| all.max(this));
            counts.saturation = counts.saturation.map(fuller).or(row.numbers.saturation);
            match row.outcome {
                Outcome::Hit => {
                    counts.hits += 1;
                    counts.spots_of_hits += spots;
                    counts.resolutions.extend(row.numbers.resolution);
                }
                Outcome::Miss => counts.misses += 1,
                Outcome::Timeout => *counts.bad.entry("timeout").or_default() += 1,
                Outcome::Crashed => *counts.bad.entry("crashed").or_default() += 1,
                Outcome::Unreadable => *counts.bad.entry("unreadable").or_default() += 1,
                Outcome::Refused => *counts.bad.entry("refused").or_default() += 1,
                Outcome::Failed => *counts.bad.entry("failed").or_default() += 1,
            }
        }
        counts.resolutions.sort_by(f64::total_cmp);
        counts
    }

    /// Images that were worked to the end.
    pub fn worked(&self) -> usize {
        self.hits + self.misses
    }

    /// Images without a result.
    pub fn without(&self) -> usize {
        self.bad.values().sum()
    }

    /// The middle of the hits' resolution estimates, angstrom.
    pub fn resolution(&self) -> Option<f64> {
        self.resolutions.get(self.resolutions.len() / 2).copied()
    }
}

/// Everything that is told at the end.
#[derive(Clone, Debug)]
pub struct Summary<'s> {
    /// A row per image.
    pub rows: &'s [Row],
    /// What was wrong with files that name images.
    pub faults: &'s [String],
    /// Images that were not begun.
    pub left: usize,
    /// Whether it stopped by itself: images that did not come back held all threads.
    pub stuck: bool,
    /// From the first read to the last row.
    pub elapsed: Duration,
    /// Processor time.
    pub processor: Duration,
    /// Threads.
    pub threads: usize,
}

/// Lines of causes that are printed.
const MOST_CAUSES: usize = 12;

impl Summary<'_> {
    /// Whether every image that the files have was worked.
    pub fn is_whole(&self) -> bool {
        self.faults.is_empty() && self.left == 0 && Counts::of(self.rows).without() == 0
    }

    fn table(&self) -> Table {
        let mut runs: BTreeMap<&RunKey, Vec<&Row>> = BTreeMap::new();
        for row in self.rows {
            runs.entry(&row.image.run).or_default().push(row);
        }
        let mut table = Table::new();
        table.load_preset(presets::UTF8_HORIZONTAL_ONLY);
        table.set_header([
            "run",
            "images",
            "hits",
            "hit rate",
            "spots",
            "spots/hit",
            "resolution",
            "saturated",
            "fullest spot",
            "no result",
        ]);
        let mut line = |name: String, counts: &Counts| {
            table.add_row([
                name,
                counts.images.to_string(),
                counts.hits.to_string(),
                rate(counts.hits, counts.worked()),
                counts.spots.to_string(),
                ratio(counts.spots_of_hits, counts.hits),
                counts.resolution().map_or_else(|| "-".to_owned(), |d| format!("{d:.2} Å")),
                counts.saturated.to_string(),
                counts.saturation.map_or_else(|| "-".to_owned(), |full| format!("{:.1} %", full * 100.0)),
                counts.without().to_string(),
            ]);
        };
        for (run, rows) in &runs {
            line(run.to_string(), &Counts::of(rows.iter().copied()));
        }
        if runs.len() > 1 {
            line("all".to_owned(), &Counts::of(self.rows));
        }
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        table
    }

    /// Causes with how many images each has, the commonest first. Numbers in them are left out, so that alike is alike.
    fn causes(&self) -> Vec<(usize, &'static str, &str)> {
        let mut causes: BTreeMap<String, (usize, &'static str, &str)> = BTreeMap::new();
        for row in self.rows {
            let Some(cause) = &row.cause else { continue };
            let outcome = match row.outcome {
                Outcome::Unreadable => "unreadable",
                Outcome::Refused => "refused",
                Outcome::Timeout => "timeout",
                Outcome::Crashed => "crashed",
                _ => "failed",
            };
            let alike: String = cause.chars().filter(|letter| !letter.is_ascii_digit()).collect();
            causes.entry(format!("{outcome} {alike}")).or_insert((0, outcome, cause.as_str())).0 += 1;
        }
        let mut causes: Vec<_> = causes.into_values().collect();
        causes.sort_by_key(|(count, ..)| std::cmp::Reverse(*count));
        causes
    }
}

#[allow(clippy::cast_precision_loss)] // counts for people
fn rate(part: usize, of: usize) -> String {
    if of == 0 { "-".to_owned() } else { format!("{:.1} %", 100.0 * part as f64 / of as f64) }
}

#[allow(clippy::cast_precision_loss)] // counts for people
fn ratio(sum: u64, of: usize) -> String {
    if of == 0 { "-".to_owned() } else { format!("{:.0}", sum as f64 / of as f64) }
}

impl fmt::Display for Summary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = Counts::of(self.rows);
        writeln!(f, "{}", self.table())?;
        #[allow(clippy::cast_precision_loss)] // counts for people
        let (images, threads) = (self.rows.len() as f64, self.threads.max(1) as f64);
        let seconds = self.elapsed.as_secs_f64().max(1e-9);
        let each = self.processor.as_secs_f64() / images.max(1.0);
        writeln!(
            f,
            "{:.1} images/s on {} {}: {:.1} images/s per core, {each:.4} core-seconds per image ({:.1} s in all)",
            images / seconds,
            self.threads,
            if self.threads == 1 { "core" } else { "cores" },
            images / seconds / threads,
            seconds
        )?;
        let causes = self.causes();
        if counts.without() > 0 {
            let kinds: Vec<String> =
                counts.bad.iter().map(|(outcome, count)| format!("{count} {outcome}")).collect();
            writeln!(
                f,
                "{} of {} images have no result ({}):",
                counts.without(),
                counts.images,
                kinds.join(", ")
            )?;
            for (count, outcome, cause) in causes.iter().take(MOST_CAUSES) {
                writeln!(f, "  {count} {outcome}, such as: {cause}")?;
            }
            if causes.len() > MOST_CAUSES {
                writeln!(
                    f,
                    "  ... and {} more causes (column `cause` of the results)",
                    causes.len() - MOST_CAUSES
                )?;
            }
        }
        for fault in self.faults {
            writeln!(f, "images may be missing: {fault}")?;
        }
        if self.left > 0 {
            let why = if self.stuck { ", for images that do not come back hold all threads" } else { "" };
            writeln!(f, "stopped: {} images were not begun{why}", self.left)?;
        }
        Ok(())
    }
}
