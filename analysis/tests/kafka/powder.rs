//! Powders and pages: sums that add over workers and over a kill, what a killed one's last minute lost, and what a worker says
//! of itself.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lightrail_analysis::process::Seen;
use lightrail_analysis::work::powder;
use lightrail_compose::ports::Port;
use lightrail_compose::wait;
use lightrail_topics::events::Outcome;
use lightrail_topics::{RunInTrial, SiteTopic, Topic, TrialNumber};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::play::{self, SIDE};
use crate::stage::{SOON, Setup, on_stage, partitions};

#[tokio::test(flavor = "multi_thread")]
async fn powders_add_over_workers_and_what_a_kill_lost_is_known_from_counts() -> Result<()> {
    on_stage(partitions(4), async |stage| {
        let powders = stage.folder().join("powders");
        stage.work = format!("powders = \"{}\"\npowder_every = \"1s\"", powders.display());
        let images = play::run(&stage.data(), 1, 1, 600, 1, &stage.site)?;
        stage.apply(&[play::trial(&stage.calibration(), 1, 1, "[powder]\nmisses_every = 4")?]).await?;
        let workers = [stage.worker("a")?, stage.worker("b")?];
        // Both have partitions when the second one has some.
        stage.joined(&workers[0]).await?;
        stage.joined(&workers[1]).await?;
        stage.publish(&images[..400], SiteTopic::ImagesLive).await?;
        let mut witness = stage.witness();
        witness.until(400, SOON).await?;
        let of = RunInTrial { run: images[0].image.run.clone(), trial: TrialNumber(1) };
        let whole = || powder::read(&powders, &of).ok()?.pop();
        wait::until("all sums to be written", SOON, async || whole().filter(|whole| whole.head.hits == 40))
            .await?;
        workers[0].kill();
        stage.publish(&images[400..], SiteTopic::ImagesLive).await?;
        witness.until(600, SOON).await?;
        witness.judge(&images)?;
        workers[1].term();
        ensure!(workers[1].wait_exit(SOON).await?.success(), "it writes what it has summed when it leaves");
        let whole = whole().context("there are sums")?;
        // Nothing was lost: the killed one had written what it had summed.
        let seen: Vec<Seen> = witness.results.values().flatten().map(Seen::from).collect();
        ensure!(whole.parts >= 2 && whole.head.hits == 60 && whole.missing(&seen) == 0, "{:?}", whole.head);
        ensure!(witness.count(Outcome::Hit) == 60);
        ensure!((60..220).contains(&whole.head.misses) && whole.head.misses_every == 4, "{:?}", whole.head);
        ensure!(whole.powders.hits.sum.len() == SIDE * SIDE);
        // The brightest pixel of a hit has 500.
        let brightest = whole.powders.hits.sum.iter().copied().fold(0.0_f32, f32::max);
        ensure!((brightest - 60.0 * 500.0).abs() < 1.0, "{brightest}");
        let result = witness.of(&images[0]);
        ensure!(result.used.as_ref().map(ToString::to_string).as_deref() == Some(whole.head.used.as_str()));
        Ok(())
    })
    .await
}

async fn page(port: u16, path: &str) -> Option<String> {
    let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.ok()?;
    let request = format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = String::new();
    tokio::time::timeout(Duration::from_secs(5), stream.read_to_string(&mut answer)).await.ok()?.ok()?;
    Some(answer)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_tells_how_it_is_and_that_a_topic_forgets_too_early() -> Result<()> {
    // Reflections are truth, and this topic forgets them.
    on_stage(Setup { forgetful: Some(Topic::Reflections), ..partitions(2) }, async |stage| {
        let port = Port::take()?;
        let listen = format!("127.0.0.1:{port}");
        let images = play::run(&stage.data(), 1, 1, 20, 1, &stage.site)?;
        stage.apply(&[play::trial(&stage.calibration(), 1, 1, "")?]).await?;
        let worker = stage.worker_at("a", &listen)?;
        stage.publish(&images, SiteTopic::ImagesLive).await?;
        stage.witness().until(20, SOON).await?;
        let port = port.number();
        let ready = page(port, "/readyz").await.context("an answer")?;
        ensure!(ready.starts_with("HTTP/1.0 200") && ready.contains("\"ready\":true"), "{ready}");
        ensure!(page(port, "/healthz").await.context("an answer")?.ends_with("ok\n"));
        let metrics = page(port, "/metrics").await.context("an answer")?;
        for said in [
            "lightrail_worker_results_total{lane=\"live\",outcome=\"hit\"} 2",
            "lightrail_worker_results_total{lane=\"live\",outcome=\"miss\"} 18",
            "lightrail_worker_topics_short_retention 1",
            "lightrail_worker_ready 1",
        ] {
            ensure!(metrics.contains(said), "{said} is not in {metrics}");
        }
        ensure!(worker.output().contains("topic loses messages too early"));
        Ok(())
    })
    .await
}
