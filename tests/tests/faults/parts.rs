//! SIGKILL and SIGSTOP of everything that the mover talks to, while three runs are moved.

use std::time::Duration;

use anyhow::Context as _;
use lightrail_compose::Cluster;
use lightrail_compose::xrootd::Server;
use lightrail_tests::stage::SOON;
use lightrail_tests::{Judge, Setup, Stage, on_stage};
use lightrail_topics::events::TransferState;

const MIB: u64 = 1 << 20;
/// Stall and silence are 10 s and 15 s, breakers and backoff come on top.
const LONG: Duration = Duration::from_secs(120);

/// What is done to a daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Torment {
    /// Killed, and started again after some time.
    Kill,
    /// Stopped, and let go on after some time.
    Stop,
}

/// Long enough for attempts to fail by it; hung servers are noticed later, by the case that has one for good.
const OUTAGE: Duration = Duration::from_secs(3);

/// All daemons of a cluster, with their names.
fn daemons(cluster: &Cluster) -> Vec<(String, &Server)> {
    let mut all = vec![
        ("redirector".to_owned(), cluster.redirector()),
        ("redirector's cmsd".to_owned(), cluster.redirector_cmsd()),
    ];
    for index in 0..cluster.servers() {
        all.push((format!("data server {index}"), cluster.server(index)));
        all.push((format!("cmsd of data server {index}"), cluster.cmsd(index)));
    }
    all
}

/// For each daemon of a cluster a run is moved, and the daemon suffers meanwhile.
async fn each_in_turn(case: &str, torment: Torment, of: fn(&Stage) -> &Cluster) -> anyhow::Result<()> {
    let mut setup = Setup::default();
    // Few at once, so that there is something left to be moved when the fault comes.
    setup.settings.set("sites.NERSC", "transfers", 4).set("retry", "tries", 40);
    on_stage(case, setup, async |stage| {
        let mut runs = Vec::new();
        for (at, (name, daemon)) in (1..).zip(daemons(of(stage))) {
            let begin = std::time::Instant::now();
            let run = stage.take(&stage.runs(at, 1, 60 * MIB, 51 + u64::from(at))?).await?;
            let under_way = stage.witness.until("copies to be under way", SOON, |seen| {
                (seen.available().filter(|file| file.run == run[0].key).count() >= 2).then_some(())
            });
            under_way.await?;
            match torment {
                Torment::Kill => daemon.kill(),
                Torment::Stop => daemon.stop(),
            }
            tokio::time::sleep(OUTAGE).await;
            match torment {
                Torment::Kill => daemon.restart().await?,
                Torment::Stop => daemon.cont(),
            }
            stage.until_available(&run, LONG).await.with_context(|| format!("after the {name}"))?;
            println!("  {name}: {:.1} s", begin.elapsed().as_secs_f64());
            runs.extend(run);
            of(stage).ready(SOON).await?;
        }
        Judge::of(stage).verify(stage, &runs).await
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_daemon_of_the_destination_is_killed_and_comes_back() -> anyhow::Result<()> {
    each_in_turn("each daemon of NERSC killed", Torment::Kill, |stage| &stage.nersc).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_daemon_of_the_destination_hangs_for_a_while() -> anyhow::Result<()> {
    each_in_turn("each daemon of NERSC stopped", Torment::Stop, |stage| &stage.nersc).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_daemon_of_the_source_is_killed_and_comes_back() -> anyhow::Result<()> {
    each_in_turn("each daemon of SLAC killed", Torment::Kill, |stage| &stage.slac).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_daemon_of_the_source_hangs_for_a_while() -> anyhow::Result<()> {
    each_in_turn("each daemon of SLAC stopped", Torment::Stop, |stage| &stage.slac).await
}

/// Everything that can arrive without the hung server arrives while it still hangs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_data_server_of_the_destination_hangs_and_the_other_takes_its_place() -> anyhow::Result<()> {
    let mut setup = Setup::default();
    setup.settings.set("sites.NERSC", "transfers", 4).set("retry", "tries", 40);
    on_stage("NERSC's data server stopped for good", setup, async |stage| {
        let runs = stage.take(&stage.runs(1, 3, 240 * MIB, 51)?).await?;
        let under_way = stage
            .witness
            .until("copies to be under way", SOON, |seen| (seen.available().count() >= 3).then_some(()));
        under_way.await?;
        stage.nersc.server(1).stop();
        let outcome = stage.until_available(&runs, LONG).await;
        stage.nersc.server(1).cont();
        outcome?;
        Judge::of(stage).verify(stage, &runs).await
    })
    .await
}

/// A dead or hung data server must be noticed within 15 s: what was under way there fails by then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hung_source_is_noticed_within_15_seconds() -> anyhow::Result<()> {
    on_stage("a hung source is noticed", Setup::default(), async |stage| {
        stage.announce()?;
        // All on server 0: stream 0.
        let run = stage.made_up(1, &[("mfxlv9518-r0001-s000-c000.xtc2", 200 * MIB)])?;
        let open = stage.daq().open_found(&run).await?;
        stage.slac.server(0).stop();
        let run = stage.daq().close(open)?;
        let begin = std::time::Instant::now();
        let noticed = stage.witness.until("the hung source to be noticed", Duration::from_secs(40), |seen| {
            seen.transfers.iter().find_map(|said| said.event.cause.clone())
        });
        let cause = noticed.await?;
        let took = begin.elapsed();
        println!("noticed after {:.1} s as {}: {}", took.as_secs_f64(), cause.code, cause.text);
        stage.slac.server(0).cont();
        anyhow::ensure!(took < Duration::from_secs(17), "noticed only after {took:?}: {cause:?}");
        stage.until_available(std::slice::from_ref(&run), LONG).await?;
        Judge::of(stage).verify(stage, &[run]).await
    })
    .await
}

/// `least`: how long the broker is away at the least; else until enough has arrived without it.
async fn broker(case: &str, torment: Torment, least: Duration) -> anyhow::Result<()> {
    let mut setup = Setup { own_kafka: true, ..Setup::default() };
    // Few at once, so that there is something left to be moved without the broker.
    setup.settings.set("sites.NERSC", "transfers", 3);
    on_stage(case, setup, async |stage| {
        // All is known before anything moves: what the mover has not heard of it cannot move without its broker.
        stage.command_ok(&["pause", "*"]).await?;
        let runs = stage.take(&stage.runs(1, 3, 160 * MIB, 52)?).await?;
        let all: usize = runs.iter().map(|run| run.files.len()).sum();
        let heard = stage.witness.until("all files to be ready", SOON, |seen| {
            let ready = seen.transfers.iter().filter(|said| said.event.state == TransferState::Ready).count();
            (ready >= all).then_some(())
        });
        heard.await?;
        stage.command_ok(&["resume", "*"]).await?;
        let under_way = stage
            .witness
            .until("copies to be under way", SOON, |seen| (seen.available().count() >= 3).then_some(()));
        under_way.await?;
        if torment == Torment::Kill {
            stage.kafka()?.kill().await?;
        } else {
            stage.kafka()?.stop()?;
        }
        let gone = tokio::time::Instant::now();
        // A running mover goes on copying while its broker is away.
        let enough = (arrived(stage) + 8).min(all);
        lightrail_compose::wait::until("files to arrive without the broker", SOON, async || {
            (arrived(stage) >= enough).then_some(())
        })
        .await?;
        tokio::time::sleep_until(gone + least).await;
        if torment == Torment::Kill {
            stage.kafka()?.restart().await?;
        } else {
            stage.kafka()?.cont()?;
        }
        stage.until_available(&runs, LONG).await?;
        stage.ready(SOON).await?;
        Judge::of(stage).verify(stage, &runs).await
    })
    .await
}

fn arrived(stage: &Stage) -> usize {
    let files = lightrail_tests::guard::files_below(&stage.nersc.store(0));
    files.iter().filter(|(path, _)| !lightrail_tests::guard::is_hidden(path)).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_broker_is_killed_and_comes_back_with_its_data() -> anyhow::Result<()> {
    broker("the broker killed", Torment::Kill, Duration::ZERO).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_broker_hangs_for_a_while() -> anyhow::Result<()> {
    broker("the broker stopped", Torment::Stop, Duration::ZERO).await
}

/// Its client then loses its session, joins anew, and is fenced by itself where a commit of the old membership comes late.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_broker_hangs_for_longer_than_the_movers_session() -> anyhow::Result<()> {
    broker("the broker stopped for long", Torment::Stop, Duration::from_secs(14)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mover_and_broker_are_killed_together() -> anyhow::Result<()> {
    let setup = Setup { own_kafka: true, ..Setup::default() };
    on_stage("mover and broker killed", setup, async |stage| {
        let runs = stage.take(&stage.runs(1, 3, 120 * MIB, 53)?).await?;
        stage.logbook.settle().await;
        let under_way = stage.witness.until("copies to be under way", SOON, |seen| {
            seen.transfers.iter().any(|said| said.event.state == TransferState::Done).then_some(())
        });
        under_way.await?;
        stage.mover()?.kill();
        stage.kafka()?.kill().await?;
        stage.launch_mover()?;
        stage.kafka()?.restart().await?;
        stage.until_available(&runs, LONG).await?;
        Judge::of(stage).verify(stage, &runs).await
    })
    .await
}
