//! The tables and words at the demo's end. Pure text.

use std::fmt::Write as _;
use std::time::Duration;

use bytesize::ByteSize;
use comfy_table::{CellAlignment, Table, presets};
use lightrail_topics::RunKey;

use super::jobs::Started;
use super::results::{Hits, Worked};
use super::tally::Course;

/// Bytes in words, in powers of 1024.
pub(super) fn bytes(bytes: u64) -> String {
    ByteSize::b(bytes).display().iec().to_string()
}

fn seconds(duration: Option<Duration>) -> String {
    duration.map_or_else(|| "-".to_owned(), |duration| format!("{:.2} s", duration.as_secs_f64()))
}

/// One row per run.
pub(super) fn courses(runs: &[(RunKey, Course)]) -> String {
    let mut table = Table::new();
    table.load_preset(presets::UTF8_BORDERS_ONLY);
    table.set_header(["run", "files", "bytes", "end of run -> first file", "-> whole run", "rate"]);
    for (key, course) in runs {
        table.add_row([
            key.to_string(),
            course.files.to_string(),
            bytes(course.bytes),
            seconds(course.to_first()),
            seconds(course.to_whole()),
            course.rate().map_or_else(|| "-".to_owned(), |rate| format!("{}/s", bytes(rate))),
        ]);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table.to_string()
}

/// One row per run whose images were worked.
pub(super) fn worked(runs: &[(RunKey, Worked)]) -> String {
    let mut table = Table::new();
    table.load_preset(presets::UTF8_BORDERS_ONLY);
    table.set_header([
        "run",
        "images",
        "end of run -> first result",
        "-> all results",
        "images/s",
        "hit rate",
        "in truth",
        "missed",
        "false",
    ]);
    for (key, run) in runs {
        let hits = run.hits();
        table.add_row([
            key.to_string(),
            hits.images.to_string(),
            seconds(run.to_first()),
            seconds(run.to_all()),
            run.rate().map_or_else(|| "-".to_owned(), |rate| format!("{rate:.1}")),
            percent(hits.said, hits.images),
            percent(hits.truth, hits.images),
            (hits.truth - hits.found).to_string(),
            hits.false_ones().to_string(),
        ]);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table.to_string()
}

/// For each run which rule started its job, where and why, in a line; then a row with how long each step took.
pub(super) fn started(runs: &[(RunKey, Worked, Started)]) -> String {
    let mut table = Table::new();
    table.load_preset(presets::UTF8_BORDERS_ONLY);
    table.set_header([
        "run",
        "run there -> intended",
        "-> submitted",
        "-> running",
        "-> first result",
        "-> all",
        "-> done",
    ]);
    let mut text = String::new();
    for (key, worked, job) in runs {
        let _ = writeln!(text, "  {key}: {} at {}, for {}", job.by, job.site, job.reason);
        let mut row = vec![key.to_string()];
        let ended = job.ended.as_ref().map(|(at, _)| *at);
        let steps =
            [worked.whole, Some(job.intended), job.submitted, job.running, worked.first, worked.all, ended];
        // Of a step that nobody has seen, such as that a short job runs, the next one counts from the one before.
        let mut before = steps[0];
        for step in &steps[1..] {
            row.push(seconds(before.zip(*step).map(|(before, step)| step.since(before))));
            before = step.or(before);
        }
        table.add_row(row);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    text + &table.to_string()
}

#[allow(clippy::cast_precision_loss)]
fn percent(part: usize, of: usize) -> String {
    if of == 0 { "-".to_owned() } else { format!("{:.1} %", part as f64 * 100.0 / of as f64) }
}

/// What became of the images in a sentence; said where nothing is wrong.
pub(super) fn worked_words(runs: &[(RunKey, Worked)]) -> String {
    let hits = runs.iter().map(|(_, run)| run.hits()).fold(Hits::default(), std::ops::Add::add);
    format!(
        "{} images, exactly one result each; {} of {} images with a crystal were found to be hits ({}), {} of {} without one.",
        hits.images,
        hits.found,
        hits.truth,
        percent(hits.found, hits.truth),
        hits.false_ones(),
        hits.images - hits.truth
    )
}

/// The sum of it in a sentence.
#[allow(clippy::cast_precision_loss)]
pub(super) fn words(ours: &[(RunKey, Course)], peer: &[(RunKey, Course)]) -> String {
    let all = |runs: &[(RunKey, Course)], of: fn(&Course) -> Option<Duration>| -> Option<f64> {
        let sum: Option<Duration> = runs.iter().map(|(_, course)| of(course)).sum();
        sum.map(|sum| sum.as_secs_f64() / runs.len().max(1) as f64)
    };
    let files: usize = ours.iter().map(|(_, course)| course.files).sum();
    let moved: u64 = ours.iter().map(|(_, course)| course.bytes).sum();
    let moved =
        format!("{} runs, {files} files, {} moved and compared byte for byte", ours.len(), bytes(moved));
    let both = |runs| Some((all(runs, Course::to_first)?, all(runs, Course::to_whole)?));
    let took = both(ours).map_or_else(String::new, |(first, whole)| {
        format!("; on average the first file was there {first:.2} s after the end of its run, the whole run after {whole:.2} s")
    });
    let peer = both(peer)
        .map_or_else(String::new, |(first, whole)| format!(" (xrdcp: {first:.2} s and {whole:.2} s)"));
    format!("{moved}{took}{peer}.")
}

#[cfg(test)]
mod tests {
    use lightrail_topics::Millis;

    use super::*;

    #[test]
    fn a_run_that_never_arrived_has_no_times_and_no_rate() {
        let course = Course { ended: Some(Millis(0)), ..Course::default() };
        let text = courses(&[("mfxlv9518/1".parse().unwrap(), course)]);
        assert!(text.contains("0 B") && !text.contains("NaN"), "{text}");
        assert_eq!(bytes(1536), "1.5 KiB");
    }

    #[test]
    fn the_words_give_averages_of_both() {
        let course = |first, whole| Course {
            ended: Some(Millis(0)),
            first: Some(Millis(first)),
            whole: Some(Millis(whole)),
            files: 12,
            bytes: 1 << 20,
        };
        let key = || "mfxlv9518/1".parse().unwrap();
        let said =
            words(&[(key(), course(100, 900)), (key(), course(300, 1100))], &[(key(), course(2500, 5000))]);
        assert_eq!(
            said,
            "2 runs, 24 files, 2.0 MiB moved and compared byte for byte; on average the first file was there 0.20 s after \
             the end of its run, the whole run after 1.00 s (xrdcp: 2.50 s and 5.00 s)."
        );
    }
}
