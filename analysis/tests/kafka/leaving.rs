//! Leaving: asked to by signals, fenced by a successor, when the door of the images is away; and who comes first.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use lightrail_analysis::work::decide::Lane;
use lightrail_analysis::work::identity::Identity;
use lightrail_compose::wait;
use lightrail_compose::{Cluster, ClusterOptions};
use lightrail_topics::SiteTopic;
use lightrail_topics::events::Outcome;
use lightrail_topics::kafka::{Publisher, Taker, TakerEvent, TakerSettings, Timeouts};
use rustix::process::{Pid, Signal, kill_process};

use crate::play;
use crate::stage::{SOON, on_stage, partitions};

#[tokio::test(flavor = "multi_thread")]
async fn who_is_warned_of_preemption_finishes_what_it_has_begun_and_leaves() -> Result<()> {
    on_stage(partitions(2), async |stage| {
        // Whoever does not leave its group by itself is missed after half a minute only.
        stage.times = "session = \"30s\"\ntransaction = \"5s\"\nhand_over = \"25s\"";
        let images = play::run(&stage.data(), 1, 1, 10_000, 1, &stage.site)?;
        stage.apply(&[play::trial(&stage.calibration(), 1, 1, "")?]).await?;
        let worker = stage.worker("a")?;
        stage.publish(&images, SiteTopic::ImagesLive).await?;
        let mut witness = stage.witness();
        witness.until(20, SOON).await?;
        let pid = Pid::from_raw(i32::try_from(worker.pid())?).context("a process has an id")?;
        kill_process(pid, Signal::USR1)?;
        ensure!(worker.wait_exit(SOON).await?.success());
        let said = worker.output();
        ensure!(said.contains("SIGUSR1") && said.contains("finishes what it has begun"), "it says so");
        let _ = witness.until(images.len(), Duration::from_secs(1)).await;
        let left = images.len() - witness.results.len();
        ensure!(left > 0, "it was to leave in the midst of its work");
        // What was begun is committed: the next one begins where it ended.
        let next = stage.worker("a")?;
        witness.until(images.len(), 2 * SOON).await?;
        witness.judge(&images)?;
        ensure!(witness.count(Outcome::Hit) + witness.count(Outcome::Miss) == images.len());
        next.term();
        ensure!(next.wait_exit(SOON).await?.success() && next.output().contains("SIGTERM"));
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_sigterm_stops_at_once() -> Result<()> {
    on_stage(partitions(2), async |stage| {
        stage.threads = 2;
        stage.times = "session = \"30s\"\ntransaction = \"5s\"\nhand_over = \"25s\"";
        let images = play::run(&stage.data(), 1, 1, 40, 1, &stage.site)?;
        stage.apply(&[play::trial(&stage.calibration(), 1, 1, "time_limit = 20.0")?]).await?;
        // There is one that hangs, and is waited for as long as the hand-over may take.
        let worker = stage.faulty("a", "hang:39")?;
        stage.publish(&images, SiteTopic::ImagesLive).await?;
        stage.witness().until(39, SOON).await?;
        worker.term();
        wait::until("the first SIGTERM to be heard", SOON, async || {
            worker.output().contains("finishes what it has begun").then_some(())
        })
        .await?;
        ensure!(worker.is_running());
        worker.term();
        worker.wait_exit(Duration::from_secs(15)).await?;
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_whose_slot_is_taken_says_so_and_ends_with_status_three() -> Result<()> {
    on_stage(partitions(2), async |stage| {
        let images = play::run(&stage.data(), 1, 1, 300, 1, &stage.site)?;
        stage.apply(&[play::trial(&stage.calibration(), 1, 1, "")?]).await?;
        let first = stage.worker("a")?;
        stage.publish(&images[..200], SiteTopic::ImagesLive).await?;
        let mut witness = stage.witness();
        witness.until(50, SOON).await?;
        let second = stage.worker("a")?;
        let status = first.wait_exit(SOON).await?;
        ensure!(status.code() == Some(3), "{status}");
        ensure!(first.output().contains("another process has taken this worker's slot"));
        stage.publish(&images[200..], SiteTopic::ImagesLive).await?;
        witness.until(300, SOON).await?;
        witness.judge(&images)?;
        ensure!(second.is_running());
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_fenced_while_its_own_rejoin_waits_for_a_dead_member_goes_on() -> Result<()> {
    on_stage(partitions(2), async |stage| {
        let images = play::run(&stage.data(), 1, 1, 400, 1, &stage.site)?;
        stage.apply(&[play::trial(&stage.calibration(), 1, 1, "")?]).await?;
        let worker = stage.faulty("a", "all:5")?;
        stage.publish(&images, SiteTopic::ImagesLive).await?;
        let mut witness = stage.witness();
        witness.until(50, SOON).await?;
        // A member that ends while the worker stands still: its session holds the group up for longer than the worker's own.
        let group = Lane::Live.group(&stage.topics, &stage.site);
        let settings = TakerSettings {
            group: group.clone(),
            instance: "dead".to_owned(),
            session_timeout: Duration::from_secs(15),
            topic: stage.topics.name(Lane::Live.channel(&stage.site)),
            capacity: 10,
            hand_over: Duration::from_secs(1),
        };
        let (taker, mut taken) = Taker::join(&stage.connection, &settings)?;
        let given = async {
            loop {
                match taken.next().await {
                    Some(TakerEvent::Given(_)) => return Ok(()),
                    Some(TakerEvent::Record(_)) => {}
                    other => bail!("{other:?}"),
                }
            }
        };
        tokio::time::timeout(SOON, given).await??;
        worker.stop();
        taker.stop().await;
        let slot = Identity::new("w-a".parse()?, stage.site.clone(), "here");
        let id = slot.transactional_id(&stage.topics);
        let fences = Publisher::start(&stage.connection, &stage.topics, &id, Timeouts::default())?;
        fences.init(SOON).await?;
        wait::until("the worker's session to end", SOON, async || {
            slot.members(&stage.admin, &stage.topics).await.ok()?.is_empty().then_some(())
        })
        .await?;
        worker.cont();
        witness.until(400, 2 * SOON).await?;
        witness.judge(&images)?;
        ensure!(worker.is_running() && worker.output().contains("nobody else works in its slot"));
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_door_that_does_not_answer_is_waited_for_outside_of_the_groups() -> Result<()> {
    let cluster = Cluster::start(ClusterOptions { servers: 1, ..ClusterOptions::separate("HERE") }).await?;
    on_stage(partitions(2), async |stage| {
        let images = play::run(&stage.data(), 1, 1, 300, 1, &stage.site)?;
        let lfn = images[0].extents[0].lfn.as_str();
        cluster.write(0, lfn, &std::fs::read(stage.data().join(lfn.trim_start_matches('/')))?)?;
        stage.place = Some(format!("door = \"{}\"\nprefix = \"{}\"", cluster.door(), cluster.prefix()));
        stage.more = "[source]\ndeadline = \"3s\"\n";
        stage.work = "open_for = \"1s\"\nfailures = 2".to_owned();
        stage.apply(&[play::trial(&stage.calibration(), 1, 1, "")?]).await?;
        let worker = stage.worker("a")?;
        stage.publish(&images[..100], SiteTopic::ImagesLive).await?;
        let mut witness = stage.witness();
        witness.until(100, SOON).await?;
        cluster.server(0).stop();
        stage.publish(&images[100..], SiteTopic::ImagesLive).await?;
        wait::until("the worker to leave its groups", SOON, async || {
            worker.output().contains("does not answer; leaving the groups").then_some(())
        })
        .await?;
        cluster.server(0).cont();
        witness.until(300, 2 * SOON).await?;
        witness.judge(&images)?;
        ensure!(witness.count(Outcome::Hit) + witness.count(Outcome::Miss) == 300, "no image is blamed");
        ensure!(worker.is_running());
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn live_images_come_before_those_that_are_worked_again() -> Result<()> {
    on_stage(partitions(3), async |stage| {
        let again = play::run(&stage.data(), 1, 1, 500, 2, &stage.site)?;
        let live = play::run(&stage.data(), 2, 1, 100, 1, &stage.site)?;
        let trials = [1, 2].map(|number| play::trial(&stage.calibration(), number, 1, ""));
        stage.apply(&trials.into_iter().collect::<Result<Vec<_>>>()?).await?;
        // An index that failed has left records that nobody will ever read: they hold nobody up.
        stage.publisher()?.fail(&live).await?;
        stage.faulty("a", "all:10")?;
        stage.publish(&again, SiteTopic::ImagesReprocess).await?;
        let mut witness = stage.witness();
        witness.until(100, SOON).await?;
        let before = witness.results.len();
        stage.publish(&live, SiteTopic::ImagesLive).await?;
        let are_live = |witness: &crate::witness::Witness| {
            live.iter().filter(|image| witness.results.contains_key(&image.key().to_string())).count()
        };
        while are_live(&witness) < live.len() {
            witness.until(witness.results.len() + 1, SOON).await?;
        }
        // By when each was worked: what was worked again between the first and the last live one.
        let first = live.iter().map(|image| witness.times[&image.key().to_string()]).min().unwrap();
        let last = live.iter().map(|image| witness.times[&image.key().to_string()]).max().unwrap();
        witness.until(600, 2 * SOON).await?;
        let between = again.iter().filter(|image| {
            let at = witness.times[&image.key().to_string()];
            first < at && at < last
        });
        // A batch is 200 ms, 20 images; one may be under way, and one more begun where the broker hands live images on late.
        let between = between.count();
        ensure!(between <= 45, "{between} of the others were worked while live ones waited, {before} before");
        let mut all = again.clone();
        all.extend(live);
        witness.judge(&all)
    })
    .await
}
