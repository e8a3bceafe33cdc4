//! The analysis' services as a stream: from an image's message to its committed result, on a real broker with the real programs.
//! Files lie in memory, as in a page cache, where nothing else is said.

mod alone;
mod latency;
mod pace;
mod rates;
mod soak;
mod stand;
mod watch;

use std::time::Duration;

use crate::Scope;
use crate::memory;
use crate::report::{Row, tell};
use rates::Trials;
use stand::{Crew, Stand, Taken};

/// Bursts that are not counted.
const WARM_UP: usize = 2;
/// Trials with the same parameters: as many times each image can be worked.
const TRIALS: u32 = 220;

/// What is printed with the table.
pub(crate) fn settings() -> String {
    format!(
        "stream: jungfrau4M (8 panels of 512 x 1024) in 4 streams, 1 hit in 20, the simulator's own trial (spots and hits with \
         the settings of the other scenarios, which is checked); one worker with a thread for each core, but for `workers` and \
         `soak`, whose workers have one; one broker (KRaft, 1 GiB of heap), 8 partitions; powders of hits and of 1 miss in 100; \
         {}; the peer's threads run in the benchmark's process",
        memory::text()
    )
}

pub(crate) async fn measure(scope: Scope<'_>) -> anyhow::Result<Vec<Row>> {
    let mut rows = Vec::new();
    if BIG.iter().any(|part| scope.wants(part)) {
        rows.extend(big(scope).await?);
    }
    if scope.wants("simulator") {
        rows.extend(tell(pace::measure().await?));
    }
    if scope.wants("soak") {
        rows.extend(tell(soak::measure(scope.quick).await?));
    }
    Ok(rows)
}

/// Parts that are measured with images of 4.2 megapixels.
const BIG: [&str; 5] = ["workers", "at-once", "keeping-up", "latency", "cold"];

async fn big(scope: Scope<'_>) -> anyhow::Result<Vec<Row>> {
    let quick = scope.quick;
    let (images, different) = if quick { (480, 120) } else { (1000, 500) };
    let taken = Taken { detector: "jungfrau4M", images, different, streams: 4, hit_rate: 0.05 };
    let mut stand = Stand::start(taken).await?;
    crate::analysis::settings_are_those_of(&stand.parameters()?)?;
    stand.apply(TRIALS).await?;
    stand.index(images, 1).await?;
    let run = stand.images().await?;
    // What the index has published is worked and forgotten: it warms nothing but the page cache.
    let mut watch = watch::Watch::start(&stand).await?;
    stand.start_workers(Crew::OF_A_MACHINE, None).await?;
    watch.until(run.len(), Duration::from_secs(60)).await?;
    stand.stop_workers().await?;
    let (mut trials, mut rows) = (Trials(2..=TRIALS), Vec::new());
    rates::wear_in(&mut stand, &run, if quick { 4000 } else { 20_000 }).await?;
    for _ in 0..WARM_UP {
        rates::sustained(&mut stand, &run, &mut trials).await?;
    }
    let rounds = if quick { 1 } else { 3 };
    if scope.wants("workers") {
        rows.extend(tell(rates::workers(&mut stand, &run, &mut trials, rounds).await?));
    }
    if scope.wants("at-once") {
        let row = rates::at_once(&mut stand, &run, &mut trials, rounds).await?;
        rows.extend(tell(vec![row]));
    }
    if scope.wants("keeping-up") {
        let period = Duration::from_secs(if quick { 20 } else { 180 });
        rows.extend(tell(rates::keeping_up(&mut stand, &run, &mut trials, period).await?));
    }
    if scope.wants("latency") {
        let singles = if quick { 400 } else { 3000 };
        let sustained = rates::sustained(&mut stand, &run, &mut trials).await?;
        rows.extend(tell(latency::measure(&mut stand, &run, &mut trials, (sustained, singles)).await?));
    }
    if scope.wants("cold") {
        rows.extend(tell(vec![rates::cold(&mut stand, &run, &mut trials).await?]));
    }
    Ok(rows)
}
