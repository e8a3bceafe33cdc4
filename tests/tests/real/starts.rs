//! Starts: wrong configurations, a broker or a cluster that is not there yet.

use lightrail_compose::{services, wait};
use lightrail_tests::stage::SOON;
use lightrail_tests::{Judge, Setup, on_stage};

const MIB: u64 = 1 << 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_configuration_is_refused_with_a_line_for_each_fault() -> anyhow::Result<()> {
    let scratch = lightrail_compose::scratch::Scratch::new()?;
    let config = scratch.path().join("mover.toml");
    let journal = scratch.path().join("journal");
    let text = format!(
        "mover = \"test\"\nsource = \"SLAK\"\n[kafka]\nbootstrap = [\"127.0.0.1:1\"]\n[journal]\nfolder = \"{}\"\n\
         reserve = \"many\"\n[sites.SLAC]\ndoor = \"a:1094\"\nprefix = \"/a\"\ntransferts = 3\n",
        journal.display()
    );
    std::fs::write(&config, text)?;
    let config = config.display().to_string();
    for args in [vec!["check-config", &config], vec!["run", "--config", &config]] {
        let ran = services::run("lightrail-mover", &args, SOON).await?;
        anyhow::ensure!(ran.status.code() == Some(2), "{args:?}: {}", ran.status);
        for fault in ["SLAK", "reserve", "transferts", "transfers"] {
            anyhow::ensure!(ran.stderr.contains(fault), "{args:?} does not speak of {fault}: {}", ran.stderr);
        }
        anyhow::ensure!(
            ran.stderr.contains(":2:") || ran.stderr.contains("line 2"),
            "no lines: {}",
            ran.stderr
        );
        anyhow::ensure!(!journal.exists(), "the journal was opened");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_first_start_needs_to_know_from_when_on() -> anyhow::Result<()> {
    let setup = Setup { without_mover: true, ..Setup::default() };
    on_stage("no start_from", setup, async |stage| {
        stage.settings.remove_key("", "start_from");
        stage.configure()?;
        stage.launch_mover()?;
        let status = stage.mover()?.wait_exit(SOON).await?;
        let log = stage.mover()?.log();
        anyhow::ensure!(status.code() == Some(2) && log.contains("start_from"), "{status}: {log}");
        // Once it has begun, the key is not looked at again.
        stage.settings.text("", "start_from", "earliest");
        stage.configure()?;
        stage.start_mover().await?;
        stage.settings.remove_key("", "start_from");
        stage.configure()?;
        stage.mover()?.kill();
        stage.start_mover().await?;
        let runs = stage.take(&stage.runs(1, 1, MIB, 41)?).await?;
        stage.until_available(&runs, SOON).await?;
        Judge::of(stage).verify(stage, &runs).await
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mover_that_starts_without_its_broker_waits_for_it_and_says_so() -> anyhow::Result<()> {
    let setup = Setup { own_kafka: true, without_mover: true, ..Setup::default() };
    on_stage("no broker at the start", setup, async |stage| {
        let runs = stage.take(&stage.runs(1, 1, 4 * MIB, 42)?).await?;
        stage.logbook.settle().await;
        stage.kafka()?.kill().await?;
        stage.launch_mover()?;
        wait::until("the mover to say that it waits for Kafka", SOON, async || {
            let (status, text) = stage.get("/readyz").await.ok()?;
            (status == 503 && text.contains("Kafka")).then_some(())
        })
        .await?;
        stage.kafka()?.restart().await?;
        stage.ready(SOON).await?;
        stage.until_available(&runs, SOON).await?;
        Judge::of(stage).verify(stage, &runs).await
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mover_that_starts_without_its_destination_waits_for_it_and_says_so() -> anyhow::Result<()> {
    let setup = Setup { without_mover: true, ..Setup::default() };
    on_stage("no destination at the start", setup, async |stage| {
        let runs = stage.take(&stage.runs(1, 1, 4 * MIB, 43)?).await?;
        stage.nersc.redirector().kill();
        stage.launch_mover()?;
        wait::until("the mover to say that it waits for NERSC", SOON, async || {
            let (status, text) = stage.get("/readyz").await.ok()?;
            (status == 503 && text.contains("NERSC")).then_some(())
        })
        .await?;
        stage.nersc.redirector().restart().await?;
        stage.until_available(&runs, SOON).await?;
        stage.ready(SOON).await?;
        Judge::of(stage).verify(stage, &runs).await
    })
    .await
}
