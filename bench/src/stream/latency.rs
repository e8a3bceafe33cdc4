//! From an image's message to its result, read committed, for single images at half of what the workers sustain and at half of
//! what a beam gives; against the same image worked alone plus two transactional round trips of the broker, one for the message
//! and one for the result.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use lightrail_topics::events::{Image, StageTimes};

use super::alone::Alone;
use super::rates::Trials;
use super::stand::{Crew, Stand};
use super::watch::Watch;
use crate::report::{Bar, Row, median, percentile};
use crate::trip::RoundTrip;

const SILENCE: Duration = Duration::from_secs(30);
/// Images that make the workers ready.
const WARM: usize = 50;
/// After so many images one round trip is measured.
const ROUND_TRIP_EVERY: usize = 20;
/// The slowest one in a hundred, as multiples of the bar of the median.
const TAIL: f64 = 3.0;

/// Half of the beam's 120 images a second, which the seed system had to keep up with.
const HALF_BEAM: f64 = 60.0;

pub(super) async fn measure(
    stand: &mut Stand,
    images: &[Image],
    trials: &mut Trials,
    (sustained, count): (f64, usize),
) -> anyhow::Result<Vec<Row>> {
    let one_alone = {
        let alone = Alone::new(stand.store(), &stand.parameters()?, &images[0])?;
        let times = alone.one_by_one(&images[..images.len().min(200)])?;
        median(&times.iter().map(|took| took.as_secs_f64() * 1e3).collect::<Vec<_>>())
    };
    let what = "one image of 4.2 megapixels alone: read, decode, calibrate, find spots";
    let mut rows = vec![Row::alone(what, "ms", &[one_alone])];
    for (rate, of) in
        [(sustained / 2.0, "half of the sustained rate"), (HALF_BEAM, "half of the beam's rate")]
    {
        let Singles { waits, parts, round_trips } = singles(stand, images, trials, (rate, count)).await?;
        let allowed = one_alone + 2.0 * median(&round_trips);
        let what = format!("{of}, {rate:.0} single images a second, message -> result");
        let peer = "peer: one image alone + 2 round trips";
        rows.push(Row::alone(
            format!("{of}: a transactional round trip of the broker meanwhile"),
            "ms",
            &round_trips,
        ));
        for (percent, bar) in [(50, 1.0), (99, TAIL)] {
            let took = percentile(&waits, percent);
            let name = format!("{what}, p{percent}; {peer}");
            rows.push(Row::against(name, "ms", &[took], &[allowed], Bar::AtMost(bar)));
        }
        for (part, took) in PARTS.iter().zip(&parts) {
            for percent in [50, 99] {
                let name = format!("{of}, of that: {part}, p{percent}");
                rows.push(Row::alone(name, "ms", &[percentile(took, percent)]));
            }
        }
    }
    Ok(rows)
}

/// What single images took, milliseconds.
struct Singles {
    /// From message to result.
    waits: Vec<f64>,
    /// The same in [`PARTS`].
    parts: [Vec<f64>; PARTS.len()],
    /// Of the broker meanwhile.
    round_trips: Vec<f64>,
}

/// So many images, `rate` a second, one by one.
async fn singles(
    stand: &mut Stand,
    images: &[Image],
    trials: &mut Trials,
    (rate, count): (f64, usize),
) -> anyhow::Result<Singles> {
    // One trial, so that nothing is compiled on the way.
    let given = trials.images(&images[..images.len().min(count)], count)?;
    stand.start_workers(Crew::OF_A_MACHINE, None).await?;
    let mut watch = Watch::start(stand).await?;
    let mut round_trip = RoundTrip::start(&stand.connection, &stand.topics).await?;
    let (mut published, mut round_trips) = (Vec::with_capacity(count), Vec::new());
    // The first ones, while trials are compiled and connections made, are not counted and not waited behind.
    let (first, counted) = given.split_at(WARM.min(given.len()));
    stand.publish(first).await?;
    watch.until(first.len(), SILENCE).await.with_context(|| stand.said())?;
    let publishing = async {
        let mut tick = tokio::time::interval(Duration::from_secs_f64(1.0 / rate));
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        for (number, image) in counted.iter().enumerate() {
            tick.tick().await;
            if number % ROUND_TRIP_EVERY == 0 {
                round_trips.push(round_trip.make().await?.as_secs_f64() * 1e3);
                tick.tick().await;
            }
            published.push(Instant::now());
            stand.publish(std::slice::from_ref(image)).await?;
        }
        anyhow::Ok(())
    };
    let (done, watched) = tokio::join!(publishing, watch.until(count, SILENCE));
    done?;
    watched.with_context(|| stand.said())?;
    stand.stop_workers().await?;
    let mut waits = Vec::with_capacity(count);
    let mut parts = PARTS.map(|_| Vec::with_capacity(count));
    for (image, at) in counted.iter().zip(&published) {
        let came = watch.of(&image.key()).context("all have results")?;
        let wait = came.at.saturating_duration_since(*at).as_secs_f64() * 1e3;
        waits.push(wait);
        for (part, took) in parts.iter_mut().zip(parts_of(&came.times, wait)) {
            part.push(took);
        }
    }
    Ok(Singles { waits, parts, round_trips })
}

/// Parts of an image's way.
const PARTS: [&str; 5] = [
    "message published, fetched and taken",
    "read and decoded",
    "waits for a thread",
    "calibrate, find spots, decide",
    "result committed and seen",
];

/// How long each took, milliseconds; `whole` is their sum.
#[allow(clippy::cast_precision_loss)] // microseconds
fn parts_of(times: &StageTimes, whole: f64) -> [f64; 5] {
    let millis = |micros: Option<u64>| micros.unwrap_or(0) as f64 / 1e3;
    let (waited, read, queued) = (millis(Some(times.waited)), millis(times.read), millis(times.queued));
    let worked = millis(times.calibrate) + millis(times.spotfind) + millis(times.decide);
    [waited, read, queued, worked, whole - waited - read - queued - worked]
}
