//! Small images by the hundred thousand: a worker's memory stays flat, and a run of 30,000 is indexed within a second.

use std::time::Duration;

use anyhow::Context as _;

use super::rates::Trials;
use super::stand::{Crew, Stand, Taken};
use super::watch::Watch;
use crate::processor;
use crate::report::{Row, median};

/// Images of the run.
const RUN: u64 = 30_000;
/// Runs that are indexed one after the other.
const RUNS: u32 = 6;
/// The run's images are to be published within.
const INDEXED_WITHIN: Duration = Duration::from_secs(1);
/// How much more memory a worker may have at the end than at half: ten percent in a million images.
const GROWTH: f64 = 1.05;
const SILENCE: Duration = Duration::from_secs(60);

#[allow(clippy::cast_precision_loss)] // numbers of images and bytes
pub(super) async fn measure(quick: bool) -> anyhow::Result<Vec<Row>> {
    let images: usize = if quick { 120_000 } else { 1_000_000 };
    let taken = Taken { detector: "jungfrau32k", images: RUN, different: 300, streams: 4, hit_rate: 0.05 };
    let mut stand = Stand::start(taken).await?;
    stand.apply(40).await?;
    let indexed = stand.index(RUN, RUNS).await?;
    let run = stand.images().await?;
    // A broker that has just begun is told by itself: its JVM compiles meanwhile.
    let (young, others) = indexed.split_first().context("runs were indexed")?;
    let others: Vec<f64> = others.iter().map(Duration::as_secs_f64).collect();
    let (took, within) = (median(&others), INDEXED_WITHIN.as_secs_f64());
    let what = format!("run.available -> its {RUN} images published, read committed");
    let mut rows = vec![
        Row::judged(what.clone(), "s", took, None, within, took <= within, others.len()),
        Row::alone(format!("{what}; the first of a broker that has just begun"), "s", &[young.as_secs_f64()]),
    ];
    // The first trial's images were published by the index, and are worked first.
    let mut trials = Trials(2..=40);
    let mut watch = Watch::start(&stand).await?;
    stand.start_workers(Crew::single_threaded(1), None).await?;
    let pid = stand.pids().first().context("there is one worker")?.to_string();
    let (mut done, mut memory) = (run.len() * RUNS as usize, Vec::new());
    watch.until(done, SILENCE).await.with_context(|| stand.said())?;
    // Besides what the index has published.
    let all = done + images;
    while done < all {
        let given = trials.images(&run, run.len())?;
        done += given.len();
        let (published, watched) = tokio::join!(stand.publish(&given), watch.until(done, SILENCE));
        published?;
        watched.with_context(|| stand.said())?;
        memory.push(processor::resident(&pid)? as f64 / 1e6);
    }
    stand.stop_workers().await?;
    // By then every thread, buffer and summary was in use once.
    let early = memory[memory.len() / 2];
    let late = *memory.last().context("memory was looked at")?;
    let what = format!("a worker's memory after {done} small images, against half of them");
    rows.push(Row::judged(what, "MB", late, Some(early), GROWTH, late <= early * GROWTH, memory.len()));
    let rate = watch.rate().context("there are many")?;
    rows.push(Row::alone("small images, results committed by one worker of one thread", "images/s", &[rate]));
    Ok(rows)
}
