//! Images that end their process, never come back, panic or are slow. The faults lie around the usual stages, in this test
//! program: it is started again in the role of a worker, and the real one holds none of them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use lightrail_analysis::config::Config;
use lightrail_analysis::pipeline::Workspace;
use lightrail_analysis::work::stages::{Bad, Job, Progress, Stages, Worked};
use lightrail_analysis::work::{Options, Shutdown, WorkError, run_with};
use lightrail_compose::wait;
use lightrail_topics::SiteTopic;
use lightrail_topics::events::{Outcome, Stage};

use crate::play;
use crate::stage::{SOON, on_stage, partitions};

/// The test that is also the worker.
pub(crate) const ROLE: &str = "poison::faults_are_read_from_their_words";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Abort,
    Hang,
    Panic,
    Slow(Duration),
}

/// Faults by the pulse of an image, such as `abort:3,panic:7,slow:12,all:5`: the last is milliseconds that each image takes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Faults {
    by_pulse: BTreeMap<u64, Fault>,
    each: Duration,
}

impl Faults {
    fn parse(text: &str) -> Result<Self> {
        let mut faults = Self::default();
        for word in text.split(',').filter(|word| !word.is_empty()) {
            let (what, number) = word.split_once(':').context("a fault is written what:number")?;
            let number: u64 = number.parse()?;
            let fault = match what {
                "abort" => Fault::Abort,
                "hang" => Fault::Hang,
                "panic" => Fault::Panic,
                "slow" => Fault::Slow(Duration::from_secs(2)),
                "all" => {
                    faults.each = Duration::from_millis(number);
                    continue;
                }
                other => bail!("no fault is called {other}"),
            };
            faults.by_pulse.insert(number, fault);
        }
        Ok(faults)
    }
}

/// The usual stages with faults around them.
struct Faulty<S> {
    usual: S,
    faults: Faults,
}

impl<S: Stages> Stages for Faulty<S> {
    fn work(&self, images: &[(&Job, &Progress)], workspace: &mut Workspace) -> Vec<Result<Worked, Bad>> {
        for (job, progress) in images {
            pass(self.faults.each);
            match job.image.shot.pulse_id.and_then(|pulse| self.faults.by_pulse.get(&pulse)) {
                None => {}
                Some(Fault::Abort) => std::process::abort(),
                Some(Fault::Hang) => loop {
                    std::thread::park();
                },
                Some(Fault::Panic) => {
                    progress.begin(Stage::Spotfind);
                    panic!("no spot like this one");
                }
                Some(Fault::Slow(time)) => pass(*time),
            }
        }
        self.usual.work(images, workspace)
    }
}

/// Works for so long.
fn pass(time: Duration) {
    let begun = Instant::now();
    while begun.elapsed() < time {
        std::thread::park_timeout(time.saturating_sub(begun.elapsed()));
    }
}

/// Started by other tests with `LIGHTRAIL_FAULTY_SLOT` it is a worker until it is told to stop.
#[test]
fn faults_are_read_from_their_words() -> Result<()> {
    let Ok(slot) = std::env::var("LIGHTRAIL_FAULTY_SLOT") else {
        let faults = Faults::parse("abort:3,slow:12,all:5")?;
        ensure!(faults.by_pulse == [(3, Fault::Abort), (12, Fault::Slow(Duration::from_secs(2)))].into());
        ensure!(faults.each == Duration::from_millis(5));
        ensure!(Faults::parse("abort").is_err() && Faults::parse("melt:3").is_err());
        return Ok(());
    };
    let path: PathBuf = std::env::var_os("LIGHTRAIL_FAULTY_CONFIG").context("no configuration")?.into();
    let faults = Faults::parse(&std::env::var("LIGHTRAIL_FAULTS").unwrap_or_default())?;
    let config = Config::load(&path)?;
    lightrail_service::telemetry::start(&config.log)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let outcome = runtime.block_on(async {
        let shutdown = Shutdown::by_signals()?;
        let options = Options { slot: slot.parse()?, listen: None };
        run_with(config, options, shutdown, |usual| Arc::new(Faulty { usual, faults })).await?;
        anyhow::Ok(())
    });
    if let Err(error) = &outcome {
        eprintln!("{error:#}");
    }
    // A stage that hangs must not keep the process.
    std::process::exit(i32::from(outcome.is_err()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poisoned_image_gets_its_result_and_takes_no_other_with_it() -> Result<()> {
    on_stage(partitions(2), async |stage| {
        stage.work = "grace = \"2s\"".to_owned();
        let images = play::run(&stage.data(), 1, 1, 120, 1, &stage.site)?;
        stage.apply(&[play::trial(&stage.calibration(), 1, 1, "time_limit = 1.0")?]).await?;
        let faults = "abort:31,hang:55,panic:70,slow:90";
        let workers = [stage.faulty("a", faults)?, stage.faulty("b", faults)?];
        stage.publish(&images, SiteTopic::ImagesLive).await?;
        let mut witness = stage.witness();
        let deadline = Instant::now() + 2 * SOON;
        // Who looks after them starts them again, as a batch system does.
        while witness.results.len() < images.len() {
            ensure!(Instant::now() < deadline, "{} images have results", witness.results.len());
            for worker in workers.iter().filter(|worker| !worker.is_running()) {
                worker.start_again()?;
            }
            let _ = witness.until(images.len(), Duration::from_secs(1)).await;
        }
        witness.judge(&images)?;
        let of = |pulse: usize| witness.of(&images[pulse]);
        let is = |pulse: usize| (of(pulse).outcome, of(pulse).stage);
        ensure!(of(31).outcome == Outcome::Crashed, "{:?}", of(31));
        ensure!(of(31).cause.as_deref().is_some_and(|cause| cause.contains("4 times")), "{:?}", of(31));
        ensure!(is(55) == (Outcome::Timeout, Stage::Read), "{:?}", of(55));
        ensure!(is(70) == (Outcome::Failed, Stage::Spotfind), "{:?}", of(70));
        ensure!(of(70).cause.as_deref() == Some("panic: no spot like this one"), "{:?}", of(70));
        ensure!(of(90).outcome == Outcome::Timeout, "{:?}", of(90));
        let good = witness.count(Outcome::Hit) + witness.count(Outcome::Miss);
        ensure!(good == images.len() - 4, "{good} ended well");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stage_that_never_returns_ends_its_process_and_not_its_group() -> Result<()> {
    on_stage(partitions(2), async |stage| {
        stage.work = "grace = \"1s\"".to_owned();
        let images = play::run(&stage.data(), 1, 1, 80, 1, &stage.site)?;
        stage.apply(&[play::trial(&stage.calibration(), 1, 1, "time_limit = 1.0")?]).await?;
        let workers = [stage.faulty("a", "hang:5")?, stage.faulty("b", "hang:5")?];
        // One that comes later would be given the image of the one that hangs already, and hang too.
        for worker in &workers {
            stage.joined(worker).await?;
        }
        stage.publish(&images[..40], SiteTopic::ImagesLive).await?;
        let ended = wait::until("the stage that hangs to end its process", SOON, async || {
            workers.iter().position(|worker| !worker.is_running())
        });
        let ended = ended.await?;
        let (gone, stays) = (&workers[ended], &workers[1 - ended]);
        let status = gone.wait_exit(SOON).await?;
        ensure!(status.code() == Some(i32::from(WorkError::Stuck.exit_status())), "{status}");
        let why = WorkError::Stuck.to_string();
        ensure!(why.contains("did not come back") && gone.output().contains(&why), "it says why it ends");
        ensure!(!stays.output().contains(&why));
        // The image has its result, and the other one takes what comes from now on.
        let mut witness = stage.witness();
        stage.publish(&images[40..], SiteTopic::ImagesLive).await?;
        witness.until(images.len(), SOON).await?;
        witness.judge(&images)?;
        let of = witness.of(&images[5]);
        ensure!(of.outcome == Outcome::Timeout && of.worker.as_str() == ["w-a", "w-b"][ended], "{of:?}");
        ensure!(witness.count(Outcome::Hit) + witness.count(Outcome::Miss) == images.len() - 1);
        ensure!(stays.is_running());
        Ok(())
    })
    .await
}
