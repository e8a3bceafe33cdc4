//! How many images a second come to committed results: at the pace of a beam, all at once, with one and more workers against the
//! same reads and kernels without Kafka, and from a cold disk. Images of 4.2 megapixels, one in twenty with a crystal.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use lightrail_topics::TrialNumber;
use lightrail_topics::events::Image;

use super::alone::Alone;
use super::stand::{Crew, Stand};
use super::watch::Watch;
use crate::processor;
use crate::report::{Bar, Row, percentile};

/// A beam's images a second.
const BEAM: f64 = 120.0;
/// Images of a transaction are those of so long.
const EVERY: Duration = Duration::from_millis(100);
/// No result for so long: something is wrong.
const SILENCE: Duration = Duration::from_secs(60);
/// Workers that share the machine's cores.
const WORKERS: [usize; 3] = [1, 2, 4];
/// Processor seconds of an image with the seed system, indexing included.
const SEED: f64 = 6.9;
/// After the last image was published: what is worked and committed then.
const BEHIND: Duration = Duration::from_secs(1);

/// Trials that were not used yet: each image may have one result under each.
pub(super) struct Trials(pub(super) std::ops::RangeInclusive<u32>);

impl Trials {
    /// So many images as messages: the run's under one trial after the other.
    pub(super) fn images(&mut self, of: &[Image], count: usize) -> anyhow::Result<Vec<Image>> {
        let mut images = Vec::with_capacity(count);
        while images.len() < count {
            let trial = TrialNumber(self.0.next().context("no trial is left")?);
            let more = of.iter().take(count - images.len());
            images.extend(more.map(|image| Image { trial, ..image.clone() }));
        }
        Ok(images)
    }
}

/// So many images without a byte to be read, one by one: their messages, transactions and results are those of others.
///
/// A JVM compiles while it runs: after a few thousand transactions a broker is as fast as one that has run for a day, and
/// takes less processor time from the workers beside it.
pub(super) async fn wear_in(stand: &mut Stand, images: &[Image], count: usize) -> anyhow::Result<()> {
    stand.start_workers(Crew::OF_A_MACHINE, None).await?;
    let mut watch = Watch::start(stand).await?;
    let publishing = async {
        for image in images.iter().cycle().take(count) {
            stand.publish(&[Image { extents: Vec::new(), ..image.clone() }]).await?;
        }
        anyhow::Ok(())
    };
    let (published, passed) = tokio::join!(publishing, watch.pass(count, SILENCE));
    published?;
    passed.with_context(|| stand.said())?;
    stand.stop_workers().await
}

/// Throughput of workers against the same without Kafka, and what both cost.
pub(super) async fn workers(
    stand: &mut Stand,
    images: &[Image],
    trials: &mut Trials,
    rounds: usize,
) -> anyhow::Result<Vec<Row>> {
    let mut rows = Vec::new();
    let parameters = stand.parameters()?;
    for workers in WORKERS {
        let alone = || Alone::new(stand.store(), &parameters, &images[0]);
        let alone = (0..workers).map(|_| alone()).collect::<anyhow::Result<Vec<_>>>()?;
        let (mut ours, mut peer) = (Vec::new(), Vec::new());
        let (mut cost, mut peers_cost, mut beside) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..rounds {
            let before = processor::time("self")?;
            peer.push(Alone::rate(&alone, images)?);
            let cost_alone = processor::time("self")?.saturating_sub(before);
            peers_cost.push(cost_alone.as_secs_f64() * 1e3 / number_of(images));
            let given = trials.images(images, images.len())?;
            let burst = burst(stand, &given, Crew::single_threaded(workers)).await?;
            ours.push(burst.rate);
            cost.push(burst.workers);
            beside.push(burst.beside);
        }
        let of = format!("workers of one thread: {workers}");
        let name =
            format!("results committed with {of}; peer: the same reads and kernels as often side by side");
        rows.push(Row::against(name, "images/s", &ours, &peer, Bar::AtLeast(0.9)));
        let name = format!("{of}; their processor time; peer: those threads'");
        rows.push(Row::against(name, "core-ms/image", &cost, &peers_cost, Bar::Told));
        let name = format!("{of}; processor time beside them: broker, kernel, who publishes and who waits");
        rows.push(Row::alone(name, "core-ms/image", &beside));
    }
    Ok(rows)
}

/// What is sustained, images a second.
pub(super) async fn sustained(
    stand: &mut Stand,
    images: &[Image],
    trials: &mut Trials,
) -> anyhow::Result<f64> {
    let given = trials.images(images, images.len())?;
    Ok(burst(stand, &given, Crew::OF_A_MACHINE).await?.rate)
}

/// A whole run that is there at once.
pub(super) async fn at_once(
    stand: &mut Stand,
    images: &[Image],
    trials: &mut Trials,
    rounds: usize,
) -> anyhow::Result<Row> {
    let (mut ours, mut peer) = (Vec::new(), Vec::new());
    let (mut warm, mut count) = (0, 0.0);
    for _ in 0..rounds {
        // What is sustained now, not what was a while ago: the machine's own speed varies.
        let sustained = sustained(stand, images, trials).await?;
        let given = trials.images(images, 2 * images.len())?;
        warm = first_of(&given);
        count = number_of(&given[warm..]);
        ours.push(burst(stand, &given, Crew::OF_A_MACHINE).await?.took.as_secs_f64());
        peer.push(count / sustained);
    }
    let name = format!(
        "last result of {count} images that are published at once, for workers that have worked {warm} of the run; \
         peer: images / rate"
    );
    Ok(Row::against(name, "s", &ours, &peer, Bar::AtMost(1.1)))
}

/// What came of images that were published all at once.
struct Burst {
    /// Until the last result.
    took: Duration,
    /// Images a second in the middle.
    rate: f64,
    /// Processor time of the workers, milliseconds an image.
    workers: f64,
    /// The same of all else on the machine.
    beside: f64,
}

/// How many images show that workers have what their trial needs, and have begun its powders, as in the middle of a run.
fn first_of(images: &[Image]) -> usize {
    images.len() / 5
}

/// Publishes all at once, but for the first, for workers that were at work before.
async fn burst(stand: &mut Stand, images: &[Image], crew: Crew) -> anyhow::Result<Burst> {
    let (first, given) = images.split_at(first_of(images));
    stand.start_workers(crew, None).await?;
    let mut watch = Watch::start(stand).await?;
    stand.publish(first).await?;
    watch.until(first.len(), SILENCE).await.with_context(|| stand.said())?;
    watch.forget();
    let before = processor_times(stand)?;
    let begun = Instant::now();
    let (published, watched) = tokio::join!(stand.publish(given), watch.until(given.len(), SILENCE));
    published?;
    watched.with_context(|| stand.said())?;
    let after = processor_times(stand)?;
    stand.stop_workers().await?;
    let [workers, machine] = [0, 1].map(|at| (after[at] - before[at]) * 1e3 / number_of(given));
    let took = watch.last().context("there are results")?.duration_since(begun);
    Ok(Burst { took, rate: watch.rate().context("there are many")?, workers, beside: machine - workers })
}

#[allow(clippy::cast_precision_loss)] // numbers of images
fn number_of(images: &[Image]) -> f64 {
    images.len() as f64
}

/// At a beam's pace for so long.
#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)] // numbers of images
pub(super) async fn keeping_up(
    stand: &mut Stand,
    images: &[Image],
    trials: &mut Trials,
    period: Duration,
) -> anyhow::Result<Vec<Row>> {
    let count = (BEAM * period.as_secs_f64()) as usize;
    let given = trials.images(images, count)?;
    stand.start_workers(Crew::OF_A_MACHINE, None).await?;
    let mut watch = Watch::start(stand).await?;
    let used = processor_times(stand)?;
    let mut published: Vec<Instant> = Vec::with_capacity(count);
    let begun = Instant::now();
    let publishing = async {
        let mut tick = tokio::time::interval(EVERY);
        while published.len() < count {
            tick.tick().await;
            let due = ((begun.elapsed().as_secs_f64() * BEAM) as usize).min(count);
            let some = &given[published.len()..due];
            published.extend(some.iter().map(|_| Instant::now()));
            stand.publish(some).await?;
        }
        anyhow::Ok(())
    };
    let (done, watched) = tokio::join!(publishing, watch.until(count, SILENCE));
    done?;
    watched.with_context(|| stand.said())?;
    let used: Vec<f64> = processor_times(stand)?
        .iter()
        .zip(used)
        .map(|(now, before)| (*now - before) / count as f64)
        .collect();
    stand.stop_workers().await?;
    let (last_published, last) =
        (*published.last().context("some were published")?, watch.last().context("there are results")?);
    let rate = count as f64 / last.duration_since(begun).as_secs_f64();
    let behind = last.saturating_duration_since(last_published);
    let keys = given.iter().map(Image::key).zip(&published);
    let waits: Vec<f64> = keys
        .filter_map(|(key, at)| Some(watch.of(&key)?.at.saturating_duration_since(*at).as_secs_f64() * 1e3))
        .collect();
    let what = format!("{BEAM} images/s for {} s, 4.2 megapixels, powders on", period.as_secs());
    let (least, holds) = (BEAM * 0.99, behind <= BEHIND);
    Ok(vec![
        Row::judged(format!("{what}: results"), "images/s", rate, Some(BEAM), least, rate >= least, 1),
        Row::judged(
            format!("{what}: last image published -> last result"),
            "s",
            behind.as_secs_f64(),
            None,
            BEHIND.as_secs_f64(),
            holds,
            1,
        ),
        Row::alone(format!("{what}: image published -> result, p50"), "ms", &[percentile(&waits, 50)]),
        Row::alone(format!("{what}: image published -> result, p99"), "ms", &[percentile(&waits, 99)]),
        Row::against(
            format!("{what}: workers; peer: the seed system, indexing included"),
            "core-s/image",
            &[used[0]],
            &[SEED],
            Bar::Told,
        ),
        Row::alone(format!("{what}: all of the machine"), "core-s/image", &[used[1]]),
    ])
}

/// From files of which nothing is in memory.
pub(super) async fn cold(stand: &mut Stand, images: &[Image], trials: &mut Trials) -> anyhow::Result<Row> {
    let disk = tempfile::tempdir_in("target")?;
    copy_cold(stand.store(), disk.path())?;
    let given = trials.images(images, images.len())?;
    stand.start_workers(Crew::OF_A_MACHINE, Some(&disk.path().canonicalize()?)).await?;
    let mut watch = Watch::start(stand).await?;
    stand.publish(&given).await?;
    watch.until(given.len(), SILENCE).await.with_context(|| stand.said())?;
    stand.stop_workers().await?;
    let rate = watch.rate().context("there are many")?;
    Ok(Row::alone("results committed from a cold disk", "images/s", &[rate]))
}

/// Copies a folder and has its bytes forgotten by the page cache.
fn copy_cold(from: &Path, to: &Path) -> anyhow::Result<()> {
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let copy = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            std::fs::create_dir(&copy)?;
            copy_cold(&entry.path(), &copy)?;
        } else {
            std::fs::copy(entry.path(), &copy)?;
            let file = std::fs::File::open(&copy)?;
            file.sync_all()?;
            rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)?;
        }
    }
    Ok(())
}

/// Processor seconds of all workers, and of the whole machine.
fn processor_times(stand: &Stand) -> anyhow::Result<[f64; 2]> {
    let pids = stand.pids();
    let workers = pids.iter().map(|pid| processor::time(&pid.to_string()));
    let workers = workers.sum::<anyhow::Result<Duration>>()?;
    Ok([workers, processor::machine()?].map(|time| time.as_secs_f64()))
}
