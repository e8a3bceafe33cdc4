//! A run of 18 files in LCLS's proportions, once with as many bytes as a bare loop moves in about 1 s and once in about
//! 5 s: end of run to `run.available`, against the best of `xrdcp --parallel` 1, 4, 8 and 18.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use lightrail_compose::play::FoundRun;
use lightrail_mover::clock::{Clock as _, SystemClock};
use lightrail_tests::Stage;
use lightrail_tests::stage::nersc;
use lightrail_topics::{Lfn, Millis};

use super::bare::Bare;
use super::{copies, peer};
use crate::report::{Bar, Row, median};

/// Shares of the big files' bytes over six streams, as the quantiles of LCLS's transfers spread them.
const SHARES: [f64; 6] = [0.0005, 0.01, 0.06, 0.17, 0.28, 0.4795];
/// Bytes of the smd file beside a big one, and of the index beside that.
const SMD: f64 = 0.0044;
const IDX: f64 = 0.0004;

pub(super) async fn measure(stage: &Stage, quick: bool) -> anyhow::Result<Vec<Row>> {
    let bare = Bare::new(stage)?;
    let rate = bare_rate(stage, &bare).await?;
    let mut rows = Vec::new();
    let rounds = if quick { 2 } else { 5 };
    for (number, (seconds, bar)) in [(1.0, 0.5), (5.0, 1.0)].into_iter().enumerate() {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let bytes = (rate * seconds).clamp(20e6, 3e9) as u64;
        let mut measured = Measured::default();
        for round in 0..rounds {
            let number = u32::try_from(6000 + number * 100 + round)?;
            one_round(stage, &bare, number, bytes, &mut measured).await?;
        }
        let best = measured.best_peer();
        let what =
            format!("run of 18 files, {} MB (bare loop {:.1} s)", bytes / 1_000_000, median(&measured.bare));
        rows.push(Row::against(format!("{what}: makespan"), "s", &measured.whole, best, Bar::AtMost(bar)));
        rows.push(Row::against(
            format!("{what}: against the bare loop"),
            "s",
            &measured.whole,
            &measured.bare,
            Bar::Told,
        ));
        rows.push(Row::against(format!("{what}: against cp"), "s", &measured.whole, &measured.cp, Bar::Told));
        rows.push(Row::against(
            format!("{what}: first index file"),
            "s",
            &measured.first,
            &measured.peers_first,
            Bar::AtMost(1.0 / 20.0),
        ));
    }
    Ok(rows)
}

#[derive(Default)]
struct Measured {
    whole: Vec<f64>,
    first: Vec<f64>,
    bare: Vec<f64>,
    cp: Vec<f64>,
    peers: [Vec<f64>; 4],
    peers_first: Vec<f64>,
}

impl Measured {
    fn best_so_far(&self) -> Option<f64> {
        let measured = self.peers.iter().filter(|peers| !peers.is_empty());
        measured.map(|peers| median(peers)).min_by(f64::total_cmp)
    }

    fn best_peer(&self) -> &[f64] {
        let best = self.peers.iter().min_by(|a, b| median(a).total_cmp(&median(b)));
        best.expect("there are four")
    }
}

async fn one_round(
    stage: &Stage,
    bare: &Bare,
    number: u32,
    bytes: u64,
    measured: &mut Measured,
) -> anyhow::Result<()> {
    let sizes = sizes(bytes);
    let names: Vec<(String, u64)> = sizes
        .iter()
        .enumerate()
        .map(|(at, size)| {
            let ending = ["xtc2", "smd.xtc2", "xtc.idx"][at % 3];
            (format!("mfxlv9518-r{number:04}-s{:03}-c000.{ending}", at / 3), *size)
        })
        .collect();
    let named: Vec<(&str, u64)> = names.iter().map(|(name, size)| (name.as_str(), *size)).collect();
    let run: FoundRun = stage.made_up(number, &named)?;
    let key = run.key.clone();
    let open = stage.daq().open_found(&run).await?;
    let ended = SystemClock.now();
    stage.daq().close(open)?;
    let limit = Duration::from_secs(120);
    let site = nersc();
    let manifest = stage
        .witness
        .until("the run to be available", limit, |seen| seen.manifest(&key, &site).cloned())
        .await?;
    measured.whole.push(seconds(ended, manifest.at));
    measured.first.push(seconds(ended, manifest.first_file.context("no first file")?));

    let moved: Vec<Lfn> = run.files.iter().map(|(lfn, _)| lfn.clone()).collect();
    clear(stage, &moved);
    for (_, made) in &run.files {
        let _ = std::fs::remove_file(made);
    }

    // The others get files of the same sizes under other names.
    let folder = format!("/mfx/peer{number}/xtc");
    let best = measured.best_so_far();
    for (peers, parallel) in measured.peers.iter_mut().zip([1, 4, 8, 18]) {
        // What was far behind once is not the best: `--parallel 1` alone takes 18 times 2.5 s.
        if best.is_some_and(|best| median(peers) > 2.0 * best) {
            continue;
        }
        let what = format!("xrdcp --parallel {parallel}");
        let took = peer::patiently(&what, async || {
            let files = new_files(stage, &sizes)?;
            let names: Vec<String> = files.iter().map(ToString::to_string).collect();
            let took = peer::xrdcp(stage, &names, &folder, parallel).await;
            clear(stage, &files);
            let _ = std::fs::remove_dir_all(stage.nersc.path_of(&folder));
            took
        });
        peers.push(took.await?.as_secs_f64());
    }
    let smallest = sizes.iter().copied().min().unwrap_or(0);
    let took = peer::patiently("xrdcp", async || {
        let one = copies::new_file(stage, smallest)?;
        peer::xrdcp(stage, &[one.to_string()], &folder, 1).await
    });
    measured.peers_first.push(took.await?.as_secs_f64());

    measured.bare.push(bare_loop(stage, bare, &sizes).await?.as_secs_f64());
    let files = new_files(stage, &sizes)?;
    let paths: Vec<PathBuf> = files.iter().map(|lfn| source_of(stage, lfn.as_str())).collect();
    let to = stage.folder().join("cp");
    std::fs::create_dir_all(&to)?;
    measured.cp.push(peer::cp(&paths, &to).await?.as_secs_f64());
    std::fs::remove_dir_all(&to)?;
    clear(stage, &files);
    Ok(())
}

/// Bytes per second of the bare loop on a run of 100 MB.
async fn bare_rate(stage: &Stage, bare: &Bare) -> anyhow::Result<f64> {
    let sizes = sizes(100_000_000);
    let mut rates = Vec::new();
    for _ in 0..3 {
        rates.push(1e8 / bare_loop(stage, bare, &sizes).await?.as_secs_f64());
    }
    Ok(median(&rates))
}

async fn bare_loop(stage: &Stage, bare: &Bare, sizes: &[u64]) -> anyhow::Result<Duration> {
    let took = peer::patiently("the bare loop", async || {
        let files = new_files(stage, sizes)?;
        let orders: Vec<(String, String, u64)> =
            files.iter().zip(sizes).map(|(lfn, size)| (lfn.to_string(), lfn.to_string(), *size)).collect();
        let begun = Instant::now();
        bare.copy_all(&orders, 16).await?;
        let took = begun.elapsed();
        clear(stage, &files);
        Ok(took)
    });
    took.await
}

fn new_files(stage: &Stage, sizes: &[u64]) -> anyhow::Result<Vec<Lfn>> {
    sizes.iter().map(|size| copies::new_file(stage, *size)).collect()
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
fn sizes(bytes: u64) -> Vec<u64> {
    let big = SHARES.map(|share| share * bytes as f64);
    big.iter().flat_map(|big| [*big, big * SMD, big * IDX]).map(|size| (size as u64).max(500)).collect()
}

fn seconds(from: Millis, to: Millis) -> f64 {
    to.since(from).as_secs_f64()
}

fn source_of(stage: &Stage, lfn: &str) -> PathBuf {
    let on = |server| stage.slac.path_on(server, lfn);
    (0..stage.slac.servers()).map(on).find(|path| path.is_file()).unwrap_or_else(|| on(0))
}

/// Room for the next round.
fn clear(stage: &Stage, files: &[Lfn]) {
    for lfn in files {
        let _ = std::fs::remove_file(source_of(stage, lfn.as_str()));
        let _ = std::fs::remove_file(stage.nersc.path_of(lfn.as_str()));
    }
}
