//! What bad input gets: results that say why, while all other images are worked.

use anyhow::{Result, ensure};
use lightrail_compose::wait;
use lightrail_topics::events::{Image, Outcome};
use lightrail_topics::kafka::{Acks, PlainProducer, read_to_end};
use lightrail_topics::{SiteTopic, Topic, TrialNumber};

use crate::play;
use crate::stage::{SOON, on_stage, partitions};

#[tokio::test(flavor = "multi_thread")]
async fn images_that_cannot_be_worked_say_why_and_the_others_are_worked() -> Result<()> {
    on_stage(partitions(2), async |stage| {
        let mut images = play::run(&stage.data(), 1, 1, 60, 1, &stage.site)?;
        let misfit = play::trial(&stage.calibration(), 2, 2, "")?;
        let mut forged = play::trial(&stage.calibration(), 3, 1, "")?;
        forged.parameters["geometry"][0]["sha256"] = "0".repeat(64).into();
        let mut other_kind = play::trial(&stage.calibration(), 4, 1, "")?;
        other_kind.parameters["detector"]["kind"] = "cspad".into();
        stage.apply(&[play::trial(&stage.calibration(), 1, 1, "")?, misfit, forged, other_kind]).await?;
        let good = images.len();
        let bad = |n: usize, change: &dyn Fn(&mut Image)| {
            let mut image = images[n].clone();
            image.trial = TrialNumber(1);
            change(&mut image);
            image
        };
        let elsewhere = "/mfx/mfxx00121/xtc/mfxx00121-r0001-s000-c009.xtc2";
        let cases = [
            (
                bad(1, &|image| image.extents[0].lfn = elsewhere.parse().unwrap()),
                Outcome::Unreadable,
                "is not there",
            ),
            (bad(2, &|image| image.extents[0].offset = 1 << 40), Outcome::Unreadable, "ends at byte"),
            (
                bad(3, &|image| image.extents[0].length = 4 << 30),
                Outcome::Unreadable,
                "more than an image has",
            ),
            (bad(4, &|image| image.extents[0].length -= 100), Outcome::Unreadable, "xtc2 from byte"),
            (
                bad(5, &|image| image.extents[0] = images[6].extents[0].clone()),
                Outcome::Unreadable,
                "xtc2 from byte",
            ),
            (bad(7, &|image| image.configure.clear()), Outcome::Unreadable, ""),
            (
                bad(8, &|image| image.trial = TrialNumber(9)),
                Outcome::Refused,
                "trial mfxx00121/9 is not on topic",
            ),
            (bad(9, &|image| image.trial = TrialNumber(2)), Outcome::Refused, "geometry"),
            (bad(10, &|image| image.trial = TrialNumber(3)), Outcome::Refused, "is not the trial's"),
            (
                bad(11, &|image| image.trial = TrialNumber(4)),
                Outcome::Refused,
                "cspad (detector.kind of the trial) does not write u16 pixels",
            ),
        ];
        for (image, ..) in &cases {
            // Those under trial 1 take the place of the good one.
            match images.iter_mut().find(|other| other.key() == image.key()) {
                Some(other) => *other = image.clone(),
                None => images.push(image.clone()),
            }
        }
        let worker = stage.worker("a")?;
        stage.publish(&images, SiteTopic::ImagesLive).await?;
        let topic = stage.topics.name(SiteTopic::ImagesLive.at(&stage.site));
        let stranger = PlainProducer::start(&stage.connection, Acks::All, SOON)?;
        stranger.send(&topic, Some(b"mfxx00121/1/1-1/1"), &[], Some(b"{ \"image\": 7 }")).await?;
        let mut witness = stage.witness();
        witness.until(images.len(), SOON).await?;
        witness.judge(&images)?;
        for (image, outcome, cause) in &cases {
            let result = witness.of(image);
            ensure!(result.outcome == *outcome, "{result:?}");
            ensure!(result.cause.as_deref().is_some_and(|said| said.contains(cause)), "{cause}: {result:?}");
            ensure!(
                result.numbers.pulse_id == image.shot.pulse_id,
                "what the message says is kept: {result:?}"
            );
        }
        ensure!(witness.count(Outcome::Hit) + witness.count(Outcome::Miss) == good - 6);
        let (connection, letters) = (&stage.connection, [stage.topics.name(Topic::DeadLetters)]);
        let letter = wait::until("the dead letter", SOON, async || {
            read_to_end(connection, &letters, &std::collections::BTreeMap::new(), SOON).await.ok()?.pop()
        });
        let letter = String::from_utf8(letter.await?.value.unwrap_or_default())?;
        ensure!(letter.contains("the value is no image"), "{letter}");
        ensure!(worker.is_running());
        Ok(())
    })
    .await
}
