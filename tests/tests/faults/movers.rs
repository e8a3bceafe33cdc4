//! Two movers of one name.

use std::time::Duration;

use anyhow::Context as _;
use lightrail_compose::ports::Port;
use lightrail_compose::process::{Proc, Start};
use lightrail_compose::{services, wait};
use lightrail_tests::stage::SOON;
use lightrail_tests::{Judge, Setup, Stage, on_stage};
use lightrail_topics::kafka::{Admin, Connection};

const MIB: u64 = 1 << 20;
const LONG: Duration = Duration::from_secs(120);

/// A mover of the same name with another journal, as if it were on another host.
fn second(stage: &Stage, http: &Port, args: &[&str]) -> anyhow::Result<Proc> {
    let mut settings = stage.settings.clone();
    settings.text("journal", "folder", stage.folder().join("other-journal").display());
    settings.text("http", "listen", format!("127.0.0.1:{http}")).text("", "host", "other-host");
    let config = stage.folder().join("second.toml");
    std::fs::write(&config, settings.toml())?;
    let start = Start::new("second", services::program("lightrail-mover")?, stage.folder());
    let all = ["run".into(), "--config".into(), config.into_os_string()];
    Proc::start(start.env("NO_COLOR", "1").args(all).args(args.iter().copied()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_mover_of_the_name_names_the_first_and_ends() -> anyhow::Result<()> {
    on_stage("two movers", Setup::default(), async |stage| {
        let scripts = stage.runs(1, 2, 60 * MIB, 81)?;
        let mut runs = stage.take(&scripts[..1]).await?;
        let http = Port::take()?;
        let second = second(stage, &http, &[])?;
        let status = second.wait_exit(SOON).await?;
        let said = second.output();
        anyhow::ensure!(status.code() == Some(3), "it ends with {status}: {said}");
        let first = stage.journal().display().to_string();
        anyhow::ensure!(
            said.contains(&first) && said.contains("--take-over"),
            "it does not name the first: {said}"
        );
        runs.extend(stage.take(&scripts[1..]).await?);
        stage.until_available(&runs, SOON).await?;
        anyhow::ensure!(stage.mover()?.is_running(), "the first has ended");
        Judge::of(stage).verify(stage, &runs).await
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mover_that_takes_over_ends_the_first_and_announces_nothing_twice() -> anyhow::Result<()> {
    let mut setup = Setup::default();
    setup.settings.set("sites.NERSC", "transfers", 3);
    on_stage("take-over", setup, async |stage| {
        let runs = stage.take(&stage.runs(1, 3, 150 * MIB, 82)?).await?;
        let under_way = stage
            .witness
            .until("copies to be under way", SOON, |seen| (seen.available().count() >= 4).then_some(()));
        under_way.await?;
        let http = Port::take()?;
        let second = second(stage, &http, &["--take-over"])?;
        let status = stage.mover()?.wait_exit(SOON).await;
        let status = status.with_context(|| format!("the second says {}", second.output()))?;
        let said = stage.mover()?.log();
        anyhow::ensure!(
            status.code() == Some(3) && said.contains("other-journal"),
            "the first ends with {status}: {said}"
        );
        stage.pages = http.number();
        wait::until("the second to be ready", SOON, async || {
            anyhow::Ok(stage.get("/readyz").await.ok()?.0 == 200).ok().filter(|ready| *ready).map(drop)
        })
        .await?;
        let outcome = stage.until_available(&runs, SOON).await;
        anyhow::ensure!(outcome.is_ok(), "{outcome:?}; the second says {}", second.output());
        Judge::of(stage).verify(stage, &runs).await
    })
    .await
}

/// Longer than a group's session: Kafka has forgotten the member.
async fn forgotten(stage: &Stage) -> anyhow::Result<()> {
    let admin = Admin::new(&Connection::plain(stage.bootstrap(), "onlooker"), Duration::from_secs(10));
    let group = stage.group();
    wait::until("the group to forget the stopped mover", SOON, async || {
        admin.members(&group).await.ok()?.is_empty().then_some(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mover_stopped_for_longer_than_its_session_goes_on() -> anyhow::Result<()> {
    let mut setup = Setup::default();
    setup.settings.set("sites.NERSC", "transfers", 3);
    on_stage("mover stopped and continued", setup, async |stage| {
        let runs = stage.take(&stage.runs(1, 3, 120 * MIB, 83)?).await?;
        let under_way = stage
            .witness
            .until("copies to be under way", SOON, |seen| (seen.available().count() >= 3).then_some(()));
        under_way.await?;
        stage.mover()?.stop();
        let outcome = forgotten(stage).await;
        stage.mover()?.cont();
        outcome?;
        stage.until_available(&runs, LONG).await?;
        Judge::of(stage).verify(stage, &runs).await
    })
    .await
}

/// The one that was stopped does not know that it has a successor until it goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_mover_that_has_a_successor_ends_when_it_goes_on_and_announces_nothing()
-> anyhow::Result<()> {
    let mut setup = Setup::default();
    setup.settings.set("sites.NERSC", "transfers", 3);
    on_stage("a successor meanwhile", setup, async |stage| {
        let runs = stage.take(&stage.runs(1, 3, 120 * MIB, 84)?).await?;
        let under_way = stage
            .witness
            .until("copies to be under way", SOON, |seen| (seen.available().count() >= 3).then_some(()));
        under_way.await?;
        stage.mover()?.stop();
        let outcome = forgotten(stage).await;
        if outcome.is_err() {
            stage.mover()?.cont();
        }
        outcome?;
        let http = Port::take()?;
        let second = second(stage, &http, &[])?;
        stage.pages = http.number();
        let count = stage.witness.look(|seen| seen.available().count());
        let works = stage
            .witness
            .until("the second to move files", SOON, |seen| (seen.available().count() > count).then_some(()));
        let works = works.await;
        stage.mover()?.cont();
        works.with_context(|| format!("the second says {}", second.output()))?;
        let status = stage.mover()?.wait_exit(SOON).await?;
        let said = stage.mover()?.log();
        anyhow::ensure!(
            status.code() == Some(3) && said.contains("other-journal"),
            "the first ends with {status}: {said}"
        );
        stage.until_available(&runs, LONG).await?;
        Judge::of(stage).verify(stage, &runs).await
    })
    .await
}
