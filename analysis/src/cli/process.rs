//! `process`: files to results without any broker. Prints the summary, shows progress on a terminal, writes what was asked for.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use lightrail_topics::events::Outcome;
use tokio_util::sync::CancellationToken;

use super::data::{Data, Opened};
use crate::frame::Shape;
use crate::process::{self, Row, Stop, Summary, Working};
use crate::work::powder::Sums;
use crate::work::stages::Chained;
use lightrail_service::command::Failure;
use lightrail_service::say;

/// Between two lines of progress where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(5);

const EXAMPLES: &str = "\
Examples:
  A CBF file says all that is needed:
    lightrail-analysis process images/*.cbf
  A run of LCLS-II, constants, geometry and parameters by a trial, results and spots into a folder:
    lightrail-analysis process --trial trial.toml --out r0012 /data/mfxlv9518-r0012-s*-c000.xtc2
  The same over the network, with a stricter spot finder, on two cores:
    lightrail-analysis process --trial trial.toml --set spots.peakfinder8.snr=7 --threads 2 \\
        root://door.example:1094//lcls/mfx/mfxlv9518/xtc/mfxlv9518-r0012-s000-c000.xtc2
  Without a trial's file:
    lightrail-analysis process --detector jungfrau --kind jungfrau --constants pedestals.npy --constants gains.npy \\
        --geometry jungfrau4M.geom --set detector.photon_energy=9500 run.xtc2

What is written into --out:
  results.csv, results.parquet   a line per image: outcome, cause, spots, resolution, saturation, intensity, energy, times
  spots.cxi                      the spots of hits as CXI peak list, as Cheetah writes it
  hits-0001.cxi, ..., hits.lst, hits.geom
                                 with --images: the same beside the hits' calibrated images, for CrystFEL:
                                 indexamajig -g hits.geom -i hits.lst --peaks=cxi ...
  powder/                        virtual powders, hits and sampled misses (`plot powder` shows them)
  trial.toml                     the trial as it was used, paths whole: `trials apply` takes it

Exit status: 0 every image was worked, 1 some have no result or a file is damaged (what could be worked is written),
2 wrong trial, usage or name.";

/// Work files without any broker: spots, hits and numbers of every image.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Process {
    #[command(flatten)]
    data: Data,
    /// Writes results, spots, powders and the trial into this folder, which is made; nothing is written without.
    #[arg(long, short, value_name = "FOLDER", help_heading = "Results")]
    out: Option<PathBuf>,
    /// Writes the calibrated images of hits beside their spots into --out, as CXI files that CrystFEL takes.
    #[arg(long, requires = "out", help_heading = "Results")]
    images: bool,
    /// Images that are worked at once; as many as there are cores where left out.
    #[arg(long, value_name = "NUMBER", help_heading = "Work")]
    threads: Option<std::num::NonZero<usize>>,
    /// Only the first so many images.
    #[arg(long, value_name = "NUMBER", help_heading = "Work")]
    limit: Option<usize>,
    /// No progress, only the summary.
    #[arg(long, short, help_heading = "Results")]
    quiet: bool,
}

impl Process {
    pub(super) async fn obey(self) -> Result<(), Failure> {
        let mut opened = self.data.open().await?;
        opened.images.truncate(self.limit.unwrap_or(usize::MAX));
        if opened.images.is_empty() {
            let faults = opened.faults.join("; ");
            let name = &opened.chosen.parameters.detector.name;
            let why = if faults.is_empty() { format!("no event has data of `{name}`") } else { faults };
            let error = anyhow::anyhow!("the files hold no image: {why}");
            return Err(if opened.is_of_others { Failure::Usage(error) } else { Failure::Other(error) });
        }
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let threads = self.threads.map_or(cores, std::num::NonZero::get);
        let out = self.out.as_deref().map(prepared).transpose()?;
        let powders = match out {
            Some(out) => {
                let name = "process".parse().map_err(|error| Failure::Other(anyhow::Error::new(error)))?;
                Some(Arc::new(Sums::new(out.join("powder"), name)))
            }
            None => None,
        };
        let stop = CancellationToken::new();
        let told = stop.clone();
        // The first Ctrl-C ends after what is begun and writes that; the second ends at once.
        let waiting = tokio::spawn(async move {
            if tokio::signal::ctrl_c().await.is_ok() {
                told.cancel();
            }
            if tokio::signal::ctrl_c().await.is_ok() {
                std::process::exit(130);
            }
        });
        let Opened { files, chosen, source, images, faults, planes, .. } = opened;
        let mut progress = Progress::new(images.len(), self.quiet);
        let stages = Arc::new(Chained { powders: powders.clone() });
        let working =
            Working { files: &files, chosen: &chosen, planes, source: &source, stages, threads, stop };
        let kept = if self.images { images.clone() } else { Vec::new() };
        let done = process::work(&working, images, |row| progress.saw(row)).await;
        progress.end();
        waiting.abort();
        let done = match done {
            Ok(done) => done,
            Err(stop) => {
                crate::source::shutdown();
                return Err(unfit(stop));
            }
        };
        if let Some(powders) = powders {
            powders.write(None);
        }
        let mut written = Vec::new();
        if let Some(out) = out {
            let trial = match files.cbf_of(&done.rows) {
                Some((path, bytes)) => chosen.clone().with_geometry(&path, &bytes).portable(),
                None => chosen.portable(),
            };
            written = write(out, &done, &trial)?;
            if self.images {
                let whole = |path: &Path, write: &mut dyn FnMut(std::fs::File) -> anyhow::Result<()>| {
                    whole(path, write)
                };
                written.extend(process::hits::write(out, &working, kept, &done.rows, whole).await?);
            }
        }
        crate::source::shutdown();
        let process::Outcomes { rows, elapsed, processor, left, stuck, .. } = &done;
        let (left, stuck, elapsed, processor) = (*left, *stuck, *elapsed, *processor);
        let summary = Summary { rows, faults: &faults, left, stuck, elapsed, processor, threads };
        say!("{summary}");
        for path in written {
            say!("{}", path.display());
        }
        if summary.is_whole() {
            Ok(())
        } else {
            Err(Failure::Other(anyhow::anyhow!("not every image has a result (see above)")))
        }
    }
}

/// Why nothing was worked, and what would help.
fn unfit(stop: Stop) -> Failure {
    let help = "give --trial trial.toml, or --constants, --mask, --geometry and --set (see --help)";
    let error = match stop {
        Stop::Trial(error) => anyhow::anyhow!("{}\n{help}", error.line()),
        Stop::Detector(error) => anyhow::anyhow!("{}\n{help}", error.line()),
    };
    Failure::Usage(error)
}

fn prepared(out: &Path) -> Result<&Path, Failure> {
    let made =
        std::fs::create_dir_all(out).with_context(|| format!("folder {} cannot be made", out.display()));
    made.map_err(Failure::Usage)?;
    Ok(out)
}

/// Writes a file under a temporary name first: nobody reads half of one.
fn whole(path: &Path, write: impl FnOnce(std::fs::File) -> anyhow::Result<()>) -> anyhow::Result<PathBuf> {
    let temporary =
        path.with_file_name(format!(".{}.part", path.file_name().unwrap_or_default().to_string_lossy()));
    let wrote = std::fs::File::create(&temporary).map_err(anyhow::Error::from).and_then(write);
    let wrote = wrote.and_then(|()| Ok(std::fs::rename(&temporary, path)?));
    if wrote.is_err() {
        // What is left of a failed try is of no use; that it cannot be removed either is no news.
        let _ = std::fs::remove_file(&temporary);
    }
    wrote.with_context(|| format!("{} cannot be written", path.display()))?;
    Ok(path.to_owned())
}

fn write(out: &Path, done: &process::Outcomes, trial: &str) -> Result<Vec<PathBuf>, Failure> {
    let rows = &done.rows;
    let mut written = vec![
        whole(&out.join("results.csv"), |file| {
            Ok(process::csv::write(rows, std::io::BufWriter::new(file))?)
        })?,
        whole(&out.join("results.parquet"), |file| Ok(process::parquet::write(rows, file)?))?,
    ];
    // Images of one shape a file: a peak list is for one plane. Nearly always there is one.
    let mut shapes: Vec<(Shape, Vec<&str>)> = Vec::new();
    let hashes: Vec<(Shape, String)> = done
        .chains
        .iter()
        .map(|(_, chain)| (chain.calibration().shape(), chain.hash().to_string()))
        .collect();
    for (shape, hash) in &hashes {
        match shapes.iter_mut().find(|(other, _)| other == shape) {
            Some((_, of)) => of.push(hash),
            None => shapes.push((*shape, vec![hash])),
        }
    }
    let several = shapes.len() > 1;
    for (shape, of) in shapes {
        let is_own = |row: &&Row| {
            row.outcome == Outcome::Hit && row.used.as_ref().is_some_and(|used| of.contains(&used.as_str()))
        };
        let hits: Vec<&Row> = rows.iter().filter(is_own).collect();
        let name = if several { format!("spots-{shape}.cxi") } else { "spots.cxi".to_owned() };
        written.push(whole(&out.join(name), |file| Ok(process::cxi::write(&hits, shape, None, file)?))?);
    }
    written.push(whole(&out.join("trial.toml"), |mut file| {
        std::io::Write::write_all(&mut file, trial.as_bytes())?;
        Ok(())
    })?);
    Ok(written)
}

/// A bar on a terminal, else a line now and then; both on standard error.
struct Progress {
    bar: Option<ProgressBar>,
    total: usize,
    done: usize,
    hits: usize,
    bad: usize,
    begun: Instant,
    told: Instant,
    quiet: bool,
}

impl Progress {
    fn new(total: usize, quiet: bool) -> Self {
        let bar = (std::io::stderr().is_terminal() && !quiet).then(|| {
            let bar =
                ProgressBar::with_draw_target(Some(total as u64), ProgressDrawTarget::stderr_with_hz(10));
            let style = "{bar:32} {pos}/{len} images  {msg}  {per_sec}  {eta} left";
            bar.set_style(
                ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar()),
            );
            bar
        });
        let now = Instant::now();
        Self { bar, total, done: 0, hits: 0, bad: 0, begun: now, told: now, quiet }
    }

    fn saw(&mut self, row: &Row) {
        self.done += 1;
        self.hits += usize::from(row.outcome == Outcome::Hit);
        self.bad += usize::from(!matches!(row.outcome, Outcome::Hit | Outcome::Miss));
        if let Some(bar) = &self.bar {
            bar.set_position(self.done as u64);
            bar.set_message(self.counts());
        } else if !self.quiet && self.told.elapsed() >= LINE_EVERY {
            self.told = Instant::now();
            let seconds = self.begun.elapsed().as_secs();
            eprintln!("{}/{} images after {seconds} s, {}", self.done, self.total, self.counts());
        }
    }

    fn counts(&self) -> String {
        let bad = if self.bad > 0 { format!(", {} without a result", self.bad) } else { String::new() };
        format!("{} hits{bad}", self.hits)
    }

    fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
