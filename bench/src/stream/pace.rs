//! The simulator at the pace of a beam: 120 images of 4.2 megapixels a second from a prepared pool into memory. Judges only what
//! the simulator says of itself.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use lightrail_compose::services;

use crate::memory;
use crate::report::{Row, median};

/// Images a second, and for so many seconds.
const BEAM: f64 = 120.0;
const SECONDS: u32 = 10;
/// Drawing the pool and playing it.
const WITHIN: Duration = Duration::from_secs(300);

/// Plays the same so often.
const TIMES: usize = 3;

/// Plays the same again and again: memory that a virtual machine's host has not given it yet is slow to be written first.
pub(super) async fn measure() -> anyhow::Result<Vec<Row>> {
    eprintln!("playing a pool of 64 images into memory, {TIMES} times ...");
    let (mut rates, mut late) = (Vec::with_capacity(TIMES), Vec::with_capacity(TIMES));
    for _ in 0..TIMES {
        let (rate, behind) = play().await?;
        rates.push(rate);
        late.push(behind);
    }
    let what =
        format!("simulator, {BEAM} images/s of 4.2 megapixels for {SECONDS} s from a pool into memory");
    let (least, rate) = (BEAM * 0.99, median(&rates));
    Ok(vec![
        Row::judged(what.clone(), "images/s", rate, Some(BEAM), least, rate >= least, TIMES),
        Row::alone(format!("{what}: an image came at most later by"), "ms", &late),
        Row::alone(format!("{what}: into memory that was never used before"), "images/s", &rates[..1]),
    ])
}

/// Images a second, and the most that one came late, ms.
async fn play() -> anyhow::Result<(f64, f64)> {
    let out = tempfile::tempdir_in(memory::folder()).context("no folder in memory")?;
    let args = format!(
        "simulate --out {} --detector jungfrau4M --runs 1 --images {} --rate {BEAM} --pool 64 --threads 2",
        out.path().display(),
        BEAM * f64::from(SECONDS),
    );
    let args: Vec<&str> = args.split_ascii_whitespace().collect();
    let ran = services::run("lightrail-analysis", &args, WITHIN).await?;
    ensure!(ran.status.success(), "the simulator failed ({}): {}", ran.status, ran.stderr.trim());
    let said = format!("{}{}", ran.stdout, ran.stderr);
    let before = |unit: &str| {
        let number = said.split(unit).next()?.rsplit(' ').next()?;
        said.contains(unit).then(|| number.parse::<f64>().ok())?
    };
    let figures = before(" images/s").zip(before(" ms late"));
    figures.with_context(|| format!("the simulator does not say how fast it was: {}", said.trim()))
}
