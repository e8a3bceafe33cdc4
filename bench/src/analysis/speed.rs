//! The time that one core takes to calibrate and find spots in 4.2 megapixels, against psana's peakfinder8 alone on calibrated
//! frames, and against reading raw data and constants once from memory. CPU time on both sides, turn and turn about; both go
//! round over 64 frames, so that none stays in a cache.

use std::hint::black_box;
use std::time::Duration;

use anyhow::Context as _;
use lightrail_analysis::frame::{Frame, Pixels, Shot};
use lightrail_analysis::pipeline::{Chain, Level, Workspace};
use lightrail_analysis::simulate::{Image, Model, Plan, Simulator, Wanted};

use super::{found, peer};
use crate::report::{Bar, Row};

/// Frames that both sides go round over.
const FRAMES: usize = 64;
/// Every so many of them is a hit, as in a good run.
const HIT_EVERY: usize = 10;
/// Bytes per pixel that are read at least: raw data, and a batch's constants.
const CONSTANTS: usize = 4;
const BATCH: usize = 8;

pub(super) fn measure(quick: bool) -> anyhow::Result<Vec<Row>> {
    let rounds = if quick { 3 } else { 8 };
    let simulator = Simulator::new(Plan::new(Model::Jungfrau4M, 8))?;
    let chain = found::chain(&simulator)?;
    let frames = draw(&simulator)?;
    let images: Vec<(&Frame, &Shot)> = frames.iter().map(|image| (&image.frame, &image.shot)).collect();
    let hits: Vec<_> = images.iter().copied().step_by(HIT_EVERY).collect();
    let misses: Vec<_> = (0..FRAMES).filter(|i| i % HIT_EVERY != 0).map(|i| images[i]).collect();
    let mut workspace = Workspace::default();
    let mut peer = peer::Peakfinder8::start(&chain)?;
    if let Some(peer) = &mut peer {
        for (number, image) in frames.iter().enumerate() {
            peer.load(number, &chain, &mut workspace, &image.frame)?;
        }
    }
    let (mut batches, mut single, mut hit, mut miss, mut theirs, mut read) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new());
    // What an older processor would be asked for.
    let narrower: Vec<Level> = Level::all().into_iter().filter(|level| *level != Level::best()).collect();
    let mut by_level = vec![Vec::new(); narrower.len()];
    let constants = vec![1_u64; chain.calibration().shape().len() * CONSTANTS / size_of::<u64>()];
    for round in 0..rounds {
        batches.push(timed(&chain, &mut workspace, &images, BATCH)?);
        if let Some(peer) = &mut peer {
            let share = FRAMES / rounds;
            let took = (round * share..(round + 1) * share).map(|i| Ok(peer.find(i)?.1));
            theirs.push(milliseconds(took.sum::<anyhow::Result<Duration>>()?, share));
        }
        for (level, took) in narrower.iter().zip(&mut by_level) {
            took.push(timed_at(*level, &chain, &mut workspace, &images, BATCH)?);
        }
        single.push(timed(&chain, &mut workspace, &images, 1)?);
        miss.push(timed(&chain, &mut workspace, &misses, BATCH)?);
        hit.push(timed(&chain, &mut workspace, &hits, BATCH)?);
        read.push(reading(&images, &constants)?);
    }
    if let Some(peer) = &mut peer {
        peer.forget()?;
    }
    let name = "calibrate + find spots, 4.2 megapixels, one core, 1 hit in 10";
    let unit = "ms CPU per image";
    let mut rows = Vec::new();
    if !theirs.is_empty() {
        let against = format!("{name}; peer: psana's peakfinder8 alone");
        rows.push(Row::against(against, unit, &batches, &theirs, Bar::AtMost(1.0 / 25.0)));
    }
    let against = format!(
        "{name}; peer: raw data read once, {CONSTANTS} B/pixel of constants once per batch of {BATCH}"
    );
    rows.push(Row::against(against, unit, &batches, &read, Bar::Told));
    for (level, took) in narrower.iter().zip(&by_level) {
        let of = format!("the same, {} only instead of {}", level.name(), Level::best().name());
        rows.push(match theirs.as_slice() {
            [] => Row::alone(of, unit, took),
            theirs => Row::against(of + "; peer: psana's", unit, took, theirs, Bar::Told),
        });
    }
    rows.push(Row::alone("the same, images one by one", unit, &single));
    rows.push(Row::alone("the same, misses", unit, &miss));
    rows.push(Row::alone("the same, hits", unit, &hit));
    Ok(rows)
}

/// The frames, drawn on all cores.
fn draw(simulator: &Simulator) -> anyhow::Result<Vec<Image>> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let one = |index: usize| {
        let wanted = if index.is_multiple_of(HIT_EVERY) { Wanted::HIT } else { Wanted::MISS };
        simulator.image(1, index as u64, &wanted)
    };
    let parts = std::thread::scope(|scope| {
        let part = |thread: usize| (thread..FRAMES).step_by(threads).map(|i| (i, one(i))).collect::<Vec<_>>();
        let all: Vec<_> = (0..threads).map(|thread| scope.spawn(move || part(thread))).collect();
        all.into_iter().map(|one| one.join().ok()).collect::<Option<Vec<_>>>()
    });
    let mut all: Vec<(usize, Image)> =
        parts.context("a frame could not be drawn")?.into_iter().flatten().collect();
    all.sort_by_key(|(index, _)| *index);
    Ok(all.into_iter().map(|(_, image)| image).collect())
}

/// Milliseconds per image.
fn timed(
    chain: &Chain,
    workspace: &mut Workspace,
    images: &[(&Frame, &Shot)],
    batch: usize,
) -> anyhow::Result<f64> {
    timed_at(Level::best(), chain, workspace, images, batch)
}

/// The same with chosen instructions.
fn timed_at(
    level: Level,
    chain: &Chain,
    workspace: &mut Workspace,
    images: &[(&Frame, &Shot)],
    batch: usize,
) -> anyhow::Result<f64> {
    let begun = cpu()?;
    for images in images.chunks(batch) {
        for outcome in chain.process_at(level, workspace, images) {
            black_box(outcome?);
        }
    }
    Ok(milliseconds(cpu()?.saturating_sub(begun), images.len()))
}

/// Milliseconds per image of reading every raw pixel, and the constants once per batch, and doing nothing with them.
fn reading(images: &[(&Frame, &Shot)], constants: &[u64]) -> anyhow::Result<f64> {
    let begun = cpu()?;
    for images in images.chunks(BATCH) {
        black_box(constants.iter().fold(0, |all, word| all | word));
        for (frame, _) in images {
            let Pixels::U16(raw) = &frame.pixels else { anyhow::bail!("a Jungfrau's pixels are u16") };
            black_box(raw.iter().fold(0, |all, word| all | word));
        }
    }
    Ok(milliseconds(cpu()?.saturating_sub(begun), images.len()))
}

/// This thread's CPU time.
fn cpu() -> anyhow::Result<Duration> {
    let told =
        std::fs::read_to_string("/proc/thread-self/schedstat").context("no CPU times on this system")?;
    let spent = told.split(' ').next().and_then(|word| word.parse().ok());
    Ok(Duration::from_nanos(spent.context("no CPU time in schedstat")?))
}

#[allow(clippy::cast_precision_loss)] // numbers of images
fn milliseconds(took: Duration, images: usize) -> f64 {
    took.as_secs_f64() * 1e3 / images as f64
}
