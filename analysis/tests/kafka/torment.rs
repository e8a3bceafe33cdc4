//! Workers that are killed, stopped, added and taken away, a broker that goes and comes back: one result per image all the
//! same. Long with `LIGHTRAIL_CAMPAIGN=1`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use lightrail_analysis::work::decide::Lane;
use lightrail_compose::process::Proc;
use lightrail_compose::wait;
use lightrail_topics::events::{Image, Outcome};
use lightrail_topics::{SiteTopic, TrialNumber};
use tokio::task::JoinHandle;

use crate::play;
use crate::stage::{SOON, Setup, Stage, on_stage, partitions};
use crate::witness::Witness;

fn long() -> bool {
    std::env::var_os("LIGHTRAIL_CAMPAIGN").is_some_and(|value| value == "1")
}

/// A dice whose throws can be had again: what it starts from is printed.
fn dice() -> fastrand::Rng {
    let seed = std::env::var("LIGHTRAIL_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| fastrand::u64(..));
    println!("LIGHTRAIL_SEED={seed}");
    fastrand::Rng::with_seed(seed)
}

/// Lets that much time pass while others work: the faults come at moments that nothing here waits for.
async fn meanwhile(time: Duration) {
    let _ = wait::until("a moment of the dice", time, async || None::<()>).await;
}

/// Publishes bit by bit, so that there is something to be worked whenever a fault comes.
fn publish_slowly(stage: &Stage, images: &[Image], over: Duration) -> Result<JoinHandle<Result<()>>> {
    let (publisher, images, parts) = (stage.publisher()?, images.to_vec(), 20);
    Ok(tokio::spawn(async move {
        for part in images.chunks(images.len().div_ceil(parts)) {
            publisher.images(part, SiteTopic::ImagesLive).await?;
            meanwhile(over / u32::try_from(parts)?).await;
        }
        Ok(())
    }))
}

async fn run_of(stage: &Stage, images: usize) -> Result<Vec<Image>> {
    stage.apply(&[play::trial(&stage.calibration(), 1, 1, "")?]).await?;
    play::run(&stage.data(), 1, 1, images, 1, &stage.site)
}

/// All images have one result, and none a bad one but what kills may bring.
fn judge(witness: &Witness, images: &[Image]) -> Result<()> {
    witness.judge(images)?;
    let good = witness.count(Outcome::Hit) + witness.count(Outcome::Miss) + witness.count(Outcome::Crashed);
    ensure!(good == images.len(), "{good} of {} ended well", images.len());
    // An image is begun four times without a result only where kills meet it each time.
    let crashed = witness.count(Outcome::Crashed);
    ensure!(crashed <= images.len() / 1000, "{crashed} images were given up");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_that_are_killed_at_any_moment_leave_one_result_per_image() -> Result<()> {
    let (count, kills) = if long() { (20_000, 30) } else { (4000, 8) };
    on_stage(partitions(6), async |stage| {
        let mut dice = dice();
        let images = run_of(stage, count).await?;
        let workers: Vec<Arc<Proc>> =
            ["a", "b", "c"].iter().map(|slot| stage.worker(slot)).collect::<Result<_>>()?;
        let publishing = publish_slowly(stage, &images, Duration::from_secs(2) * kills)?;
        for _ in 0..kills {
            meanwhile(Duration::from_millis(dice.u64(200..3000))).await;
            let worker = &workers[dice.usize(0..3)];
            worker.kill();
            // Sometimes at once, sometimes when others have its partitions.
            if dice.bool() {
                meanwhile(Duration::from_millis(dice.u64(0..5000))).await;
            }
            worker.start_again()?;
        }
        publishing.await??;
        let mut witness = stage.witness();
        witness.until(images.len(), 3 * SOON).await?;
        judge(&witness, &images)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_worker_had_begun_has_results_within_twenty_seconds() -> Result<()> {
    on_stage(partitions(4), async |stage| {
        // As the services are configured where nobody says otherwise.
        stage.times = "";
        let images = run_of(stage, 2000).await?;
        let (first, second) = (stage.faulty("a", "all:5")?, stage.faulty("b", "all:5")?);
        stage.joined(&first).await?;
        stage.joined(&second).await?;
        let mut witness = stage.witness();
        stage.publish(&images[..1000], SiteTopic::ImagesLive).await?;
        witness.until(100, SOON).await?;
        first.kill();
        let killed = Instant::now();
        witness.until(1000, SOON).await?;
        let took = killed.elapsed();
        ensure!(took < Duration::from_secs(20), "took {took:?}");
        judge(&witness, &images[..1000])
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_stopped_past_their_session_added_and_taken_away_double_nothing() -> Result<()> {
    let (count, rounds) = if long() { (20_000, 12) } else { (2500, 2) };
    on_stage(partitions(6), async |stage| {
        let mut dice = dice();
        let images = run_of(stage, count).await?;
        let mut workers = vec![stage.worker("a")?, stage.worker("b")?];
        stage.joined(&workers[0]).await?;
        let publishing = publish_slowly(stage, &images, Duration::from_secs(8) * rounds)?;
        for round in 0..rounds {
            let stopped = workers[dice.usize(0..workers.len())].clone();
            stopped.stop();
            // Its session is 3 s; others have its partitions when it goes on.
            meanwhile(Duration::from_millis(dice.u64(3500..6000))).await;
            stopped.cont();
            workers.push(stage.worker(&format!("more-{round}"))?);
            meanwhile(Duration::from_millis(dice.u64(500..2000))).await;
            let leaver = workers.swap_remove(dice.usize(0..workers.len()));
            leaver.term();
            let status = leaver.wait_exit(SOON).await?;
            ensure!(status.success(), "{} ended with {status}", leaver.name());
        }
        publishing.await??;
        let mut witness = stage.witness();
        witness.until(images.len(), 3 * SOON).await?;
        judge(&witness, &images)?;
        ensure!(witness.count(Outcome::Crashed) == 0, "nothing was killed");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_killed_and_comes_back_doubles_nothing() -> Result<()> {
    let (count, rounds) = if long() { (20_000, 10) } else { (2000, 3) };
    on_stage(Setup { own_kafka: true, ..partitions(4) }, async |stage| {
        let mut dice = dice();
        let images = run_of(stage, count).await?;
        let workers = [stage.worker("a")?, stage.worker("b")?];
        let mut witness = stage.witness();
        let part = images.len() / (rounds + 1);
        for round in 0..=rounds {
            let end = if round == rounds { images.len() } else { (round + 1) * part };
            stage.publish(&images[round * part..end], SiteTopic::ImagesLive).await?;
            witness.until(round * part + 1, 2 * SOON).await?;
            if round < rounds {
                meanwhile(Duration::from_millis(dice.u64(0..500))).await;
                stage.kafka()?.kill().await?;
                meanwhile(Duration::from_millis(dice.u64(0..8000))).await;
                stage.kafka()?.restart().await?;
            }
        }
        witness.until(images.len(), 3 * SOON).await?;
        judge(&witness, &images)?;
        ensure!(workers.iter().all(|worker| worker.is_running()), "a worker ended");
        let stalled = |worker: &Proc| worker.output().matches("it fetches nothing more").count();
        println!("{} times a client had stopped fetching", workers.iter().map(|w| stalled(w)).sum::<usize>());
        let ended = |worker: &Proc| worker.output().matches("left a transaction without its end").count();
        println!(
            "{} times a worker ended what the broker had left",
            workers.iter().map(|w| ended(w)).sum::<usize>()
        );
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_whose_positions_are_deleted_goes_on_from_what_results_hold() -> Result<()> {
    on_stage(partitions(3), async |stage| {
        let images = run_of(stage, 900).await?;
        let worker = stage.worker("a")?;
        stage.publish(&images[..300], SiteTopic::ImagesLive).await?;
        let mut witness = stage.witness();
        witness.until(300, SOON).await?;
        // It goes while there is something left, which nobody has worked when the positions are deleted.
        stage.publish(&images[300..600], SiteTopic::ImagesLive).await?;
        witness.until(310, SOON).await?;
        worker.term();
        ensure!(worker.wait_exit(SOON).await?.success());
        let group = Lane::Live.group(&stage.topics, &stage.site);
        let (admin, topic) = (&stage.admin, stage.topics.name(Lane::Live.channel(&stage.site)));
        wait::until("the group to be without members", SOON, async || {
            admin.members(&group).await.ok()?.is_empty().then_some(())
        })
        .await?;
        admin.forget_group(&group).await?;
        ensure!(admin.committed(&group, &[topic]).await?.is_empty(), "the positions are gone");
        stage.publish(&images[600..], SiteTopic::ImagesLive).await?;
        worker.start_again()?;
        witness.until(900, SOON).await?;
        judge(&witness, &images)?;
        ensure!(worker.output().contains("what results hold is passed over"), "it says so");
        Ok(())
    })
    .await
}

/// MiB that a process has in memory.
fn resident(worker: &Proc) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", worker.pid()))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("a process has pages")?;
    Ok(line.trim().trim_end_matches("kB").trim().parse::<u64>()? / 1024)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workers_memory_stays_flat_over_many_images_and_trials() -> Result<()> {
    let trials = if long() { 500 } else { 5 };
    on_stage(partitions(4), async |stage| {
        let all = (1..=trials).map(|number| play::trial(&stage.calibration(), number, 1, ""));
        stage.apply(&all.collect::<Result<Vec<_>>>()?).await?;
        let mut images = play::run(&stage.data(), 1, 1, 2000, 1, &stage.site)?;
        let worker = stage.worker("a")?;
        let (publisher, mut witness, mut settled) = (stage.publisher()?, stage.witness(), None);
        for trial in 1..=trials {
            for image in &mut images {
                image.trial = TrialNumber(trial);
            }
            publisher.images(&images, SiteTopic::ImagesLive).await?;
            witness.until(images.len(), 2 * SOON).await?;
            witness.judge(&images)?;
            // Who counts has a memory too.
            witness.results.clear();
            witness.times.clear();
            let now = resident(&worker)?;
            let before = *settled.get_or_insert(now);
            ensure!(now <= before + 48, "{now} MiB after {trial} trials, {before} after the first");
        }
        println!("{} MiB after {trials} trials, {settled:?} after the first", resident(&worker)?);
        Ok(())
    })
    .await
}
