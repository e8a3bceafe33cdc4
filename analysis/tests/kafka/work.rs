//! Workers: one result per image and trial, whatever happens.

use anyhow::{Result, ensure};
use lightrail_topics::SiteTopic;
use lightrail_topics::events::{Outcome, Stage};

use crate::play::{self, HIT_EVERY, SPOTS};
use crate::stage::{SOON, on_stage, partitions};

#[tokio::test(flavor = "multi_thread")]
async fn two_workers_give_one_result_per_image_of_an_xtc2_run() -> Result<()> {
    on_stage(partitions(4), async |stage| {
        let images = play::run(&stage.data(), 7, 2, 200, 3, &stage.site)?;
        stage.apply(&[play::trial(&stage.calibration(), 3, 2, "")?]).await?;
        stage.publish(&images, SiteTopic::ImagesLive).await?;
        stage.worker("a")?;
        stage.worker("b")?;
        let mut witness = stage.witness();
        witness.until(images.len(), SOON).await?;
        witness.judge(&images)?;
        for (n, image) in images.iter().enumerate() {
            let result = witness.of(image);
            let (outcome, spots) =
                if n % HIT_EVERY == 0 { (Outcome::Hit, SPOTS..=2 * SPOTS) } else { (Outcome::Miss, 0..=0) };
            ensure!(result.outcome == outcome, "{result:?}");
            ensure!(spots.contains(&(result.numbers.spots.unwrap_or(999) as usize)), "{result:?}");
            ensure!(result.numbers.photon_energy == Some(9500.0), "{result:?}");
            ensure!(result.numbers.pulse_id == Some(n as u64), "{result:?}");
            ensure!(result.stage == Stage::Spotfind && result.used.is_some(), "{result:?}");
            let times = &result.times;
            ensure!(times.waited > 0 && times.read.is_some() && times.queued.is_some(), "{times:?}");
            ensure!(times.spotfind.is_some() && times.decide.is_some(), "{times:?}");
        }
        ensure!(witness.count(Outcome::Hit) == images.len() / HIT_EVERY);
        let workers: std::collections::BTreeSet<_> =
            images.iter().map(|image| witness.of(image).worker.to_string()).collect();
        ensure!(workers.iter().all(|worker| ["w-a", "w-b"].contains(&worker.as_str())), "{workers:?}");
        Ok(())
    })
    .await
}
