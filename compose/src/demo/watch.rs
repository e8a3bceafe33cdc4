//! Follows what the mover announces: reads its topics, read committed, keeps the tally and draws the bars. Owns both.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use lightrail_topics::RunKey;
use lightrail_topics::kafka::{Admin, Connection, Isolation, Offset, Reader};
use lightrail_topics::topic::Topic;

use super::scene::Scene;
use super::tally::Tally;
use crate::logbook::now;
use crate::play::PlayedRun;

/// How long nothing may become available before the demo gives up.
const PATIENCE: Duration = Duration::from_secs(120);

/// How long after its run a file's own message may come: both are committed together, but read from two topics.
const FILES_AFTER_RUN: Duration = Duration::from_secs(10);

/// The follower.
pub(super) struct Watch {
    reader: Reader,
    files: String,
    runs: String,
    pub(super) tally: Tally,
    bars: MultiProgress,
}

impl Watch {
    /// Begins to read.
    ///
    /// # Errors
    /// When the topics are not there.
    pub(super) async fn begin(scene: &Scene) -> anyhow::Result<Self> {
        let connection = Connection::plain(scene.bootstrap(), "demo");
        let admin = Admin::new(&connection, Duration::from_secs(30));
        let (files, runs) =
            (scene.topics.name(Topic::FilesAvailable), scene.topics.name(Topic::RunsAvailable));
        let mut positions = Vec::new();
        for topic in [&files, &runs] {
            for partition in admin.partitions(topic).await? {
                positions.push((topic.clone(), partition, Offset::Beginning));
            }
        }
        let reader = Reader::assign(&connection, &positions, Isolation::ReadCommitted)?;
        Ok(Self { reader, files, runs, tally: Tally::new("NERSC".parse()?), bars: MultiProgress::new() })
    }

    /// A bar that counts, below the others.
    pub(super) fn count_bar(&self, what: &str, of: usize) -> ProgressBar {
        let style = ProgressStyle::with_template("  {prefix:>14} [{bar:30}] {pos:>10} of {len:<10}")
            .unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = ProgressBar::new(of as u64).with_style(style).with_prefix(what.to_owned());
        self.bars.add(bar)
    }

    /// A line above the bars.
    pub(super) fn say(&self, line: &str) {
        // Without a terminal indicatif draws nothing and prints nothing.
        if self.bars.is_hidden() { println!("{line}") } else { drop(self.bars.println(line)) }
    }

    /// Follows until `run` is there as a whole. What it lacks even so, the tally says.
    ///
    /// # Errors
    /// When the mover ends, or nothing happens for too long: its log is in the message.
    pub(super) async fn until_whole(&mut self, run: &PlayedRun, scene: &Scene) -> anyhow::Result<()> {
        let bar = self.bars.add(bar(run));
        let begin = Instant::now();
        let mut last = Instant::now();
        let mut tick = tokio::time::interval(Duration::from_millis(100));
        while !(self.tally.is_whole(&run.key) && self.tally.has_all_files(&run.key)) {
            tokio::select! {
                record = self.reader.next() => {
                    let record = record.context("the reader of the mover's topics ended")?;
                    match record {
                        Ok(record) => self.take(&record.topic, record.value.as_deref())?,
                        Err(error) if error.is_retriable() => continue,
                        Err(error) => return Err(error).context("cannot read the mover's topics"),
                    }
                    last = Instant::now();
                }
                _ = tick.tick() => {}
            }
            self.draw(&bar, run, begin);
            if !scene.mover_runs() {
                bail!("the mover ended; its log ends with:\n{}", scene.mover_log());
            }
            if self.tally.is_whole(&run.key) && last.elapsed() > FILES_AFTER_RUN {
                break;
            }
            if last.elapsed() > PATIENCE {
                bail!(
                    "nothing arrived for {} s; the mover's log ends with:\n{}",
                    PATIENCE.as_secs(),
                    scene.mover_log()
                );
            }
        }
        self.draw(&bar, run, begin);
        bar.finish();
        if self.bars.is_hidden() {
            let course = self.tally.course(&run.key).cloned().unwrap_or_default();
            println!("  run {}: {} files available at NERSC", run.key, course.files);
        }
        Ok(())
    }

    fn take(&mut self, topic: &str, value: Option<&[u8]>) -> anyhow::Result<()> {
        let Some(value) = value else { return Ok(()) };
        if topic == self.files {
            self.tally.file(
                &serde_json::from_slice(value).context("files.available holds what we cannot read")?,
                now(),
            );
        } else if topic == self.runs {
            self.tally.run(
                &serde_json::from_slice(value).context("runs.available holds what we cannot read")?,
                now(),
            );
        }
        Ok(())
    }

    fn draw(&self, bar: &ProgressBar, run: &PlayedRun, begin: Instant) {
        let Some(course) = self.tally.course(&run.key) else { return };
        bar.set_position(course.bytes);
        let ms = u64::try_from(begin.elapsed().as_millis()).unwrap_or(u64::MAX).max(1);
        let rate = super::table::bytes(course.bytes * 1000 / ms);
        bar.set_message(format!("{:>2} of {} files, {rate}/s", course.files, run.files.len()));
    }
}

fn bar(run: &PlayedRun) -> ProgressBar {
    let style = ProgressStyle::with_template(
        "  {prefix:>14} [{bar:30}] {binary_bytes:>10} of {binary_total_bytes:<10} {msg}",
    )
    .unwrap_or_else(|_| ProgressStyle::default_bar());
    let bar = ProgressBar::new(run.bytes()).with_style(style);
    bar.with_prefix(label(&run.key))
}

fn label(key: &RunKey) -> String {
    key.to_string()
}
