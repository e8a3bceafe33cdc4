//! The ways to copy: with credentials, to several places, by the tool, between folders.

use lightrail_compose::scratch::Scratch;
use lightrail_compose::xrootd::make_keytab;
use lightrail_compose::{Cluster, ClusterOptions};
use lightrail_tests::stage::SOON;
use lightrail_tests::{Judge, Setup, on_stage};
use lightrail_topics::SiteName;

const MIB: u64 = 1 << 20;

async fn with_secret(key: bool) -> anyhow::Result<(Scratch, Setup)> {
    let scratch = Scratch::new()?;
    let keytab = make_keytab(scratch.path()).await?;
    let secret = |options: ClusterOptions| Some(ClusterOptions { sss: Some(keytab.clone()), ..options });
    let mut setup = Setup {
        slac: secret(ClusterOptions::separate("SLAC")),
        nersc: secret(ClusterOptions::shared("NERSC")),
        ..Setup::default()
    };
    let shown = if key { keytab } else { scratch.path().join("no-such-key") };
    setup.env.push(("XrdSecSSSKT".to_owned(), shown.display().to_string()));
    Ok((scratch, setup))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_clusters_want_a_shared_secret_and_the_mover_has_it() -> anyhow::Result<()> {
    let (_scratch, setup) = with_secret(true).await?;
    on_stage("sss", setup, async |stage| {
        let runs = stage.take(&stage.runs(1, 2, 40 * MIB, 11)?).await?;
        stage.until_available(&runs, SOON).await?;
        Judge::of(stage).verify(stage, &runs).await
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mover_without_the_key_says_that_it_is_its_credential() -> anyhow::Result<()> {
    let (_scratch, mut setup) = with_secret(false).await?;
    setup.without_mover = true;
    on_stage("sss without a key", setup, async |stage| {
        let runs = stage.take(&stage.runs(1, 1, 4 * MIB, 12)?).await?;
        stage.launch_mover()?;
        let cause = stage.witness.until("a fault to be told", SOON, |seen| {
            seen.transfers.iter().find_map(|said| said.event.cause.clone())
        });
        let cause = cause.await?;
        anyhow::ensure!(cause.class == "credential", "the cause is {cause:?}");
        anyhow::ensure!(cause.text.contains("no-such-key"), "the key file is not named: {}", cause.text);
        let (_, why) = stage.get(&format!("/why/mfxlv9518/{}", runs[0].key.run)).await?;
        anyhow::ensure!(why.contains("no-such-key"), "why says {why}");
        let seen = stage.witness.account().await?;
        anyhow::ensure!(seen.files.is_empty() && seen.runs.is_empty(), "announced was {seen:?}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_experiment_with_two_destinations_goes_to_both() -> anyhow::Result<()> {
    let setup = Setup { without_mover: true, ..Setup::default() };
    on_stage("two destinations", setup, async |stage| {
        let s3df = Cluster::start(ClusterOptions { servers: 1, ..ClusterOptions::shared("S3DF") }).await?;
        stage.settings.text("sites.S3DF", "door", s3df.door()).text("sites.S3DF", "prefix", s3df.prefix());
        stage.settings.set("experiments.default", "to", "[\"NERSC\", \"S3DF\"]");
        stage.configure()?;
        stage.start_mover().await?;
        let runs = stage.take(&stage.runs(1, 2, 30 * MIB, 13)?).await?;
        let other: SiteName = "S3DF".parse()?;
        stage.until_available(&runs, SOON).await?;
        stage.until_available_at(&runs, &other, SOON).await?;
        let mut judge = Judge::of(stage);
        judge.at.push((other, s3df.store(0)));
        judge.verify(stage, &runs).await?;
        // The mover goes before the cluster that it uses.
        stage.mover = None;
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_posix_engine_moves_runs_between_folders() -> anyhow::Result<()> {
    let slac = ClusterOptions { servers: 1, ..ClusterOptions::separate("SLAC") };
    let setup = Setup { slac: Some(slac), without_mover: true, ..Setup::default() };
    on_stage("posix engine", setup, async |stage| {
        let stores = [("sites.SLAC", stage.slac.store(0)), ("sites.NERSC", stage.nersc.store(0))];
        for (site, store) in stores {
            stage.settings.remove_key(site, "door").text(site, "prefix", store.display());
            stage.settings.text(site, "engine", "posix");
        }
        stage.configure()?;
        stage.start_mover().await?;
        let runs = stage.take(&stage.runs(1, 3, 60 * MIB, 14)?).await?;
        stage.until_available(&runs, SOON).await?;
        Judge::of(stage).verify(stage, &runs).await
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_xrdcp_engine_moves_a_run() -> anyhow::Result<()> {
    let mut setup = Setup::default();
    setup.settings.text("sites.NERSC", "engine", "xrdcp");
    on_stage("xrdcp engine", setup, async |stage| {
        let runs = stage.take(&stage.runs(1, 1, 20 * MIB, 15)?).await?;
        stage.until_available(&runs, SOON).await?;
        Judge::of(stage).verify(stage, &runs).await
    })
    .await
}
