//! `plot`: pictures of what was measured and found, as PNG or SVG by the ending of the file's name.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use clap::{Args, Subcommand};
use lightrail_topics::events::{ImageResult, Outcome};
use lightrail_topics::{EventId, Millis, RunInTrial, RunKey, TrialNumber};

use super::data::{Data, Trial, unit};
use crate::decode::Setup;
use crate::detectors::Kind;
use crate::inputs;
use crate::pipeline::Workspace;
use crate::plot::{self, Detector, End, Ends, Look, Scene, Spread, Theme};
use crate::process::{self, Prepared, Seen, Tables, Unready, Working};
use crate::work::powder;
use crate::work::stages::{Chained, Job, Progress};
use lightrail_service::command::Failure;
use lightrail_service::say;

const IMAGE_EXAMPLES: &str = "\
Examples:
  lightrail-analysis plot image idx-20130301060858401.cbf -o image.png
  lightrail-analysis plot image --trial trial.toml --event 972144180-441866239 --theme dark -o image.svg run.xtc2
  Raw values, as the detector wrote them, without constants:
    lightrail-analysis plot image --detector jungfrau --kind corrected --geometry jungfrau4M.geom run.xtc2

Every pixel stands where the geometry has it, seen towards the source (+x to the right, +y up), projected from the interaction
point on the plane at the detector's distance, so that rings of equal resolution are circles. Axes and rings are in angstrom;
without photon energy or distance axes are in millimetres. The colour scale ends at percentiles (0.5 % and 99.99 %).";

const POWDER_EXAMPLES: &str = "\
Examples:
  lightrail-analysis process --trial trial.toml --out r0012 /data/mfxlv9518-r0012-s*-c000.xtc2
  lightrail-analysis plot powder r0012 -o powder.png        (powder-hits.png, powder-misses.png)
  What workers wrote, for one run under one trial:
    lightrail-analysis plot powder /shared/powders --run mfxlv9518/12 --in-trial 3 --trial trial.toml -o powder.svg";

const RATE_EXAMPLES: &str = "\
Examples:
  lightrail-analysis plot rate r0012 r0013 -o rate.png      (folders that `process --out` wrote)
  lightrail-analysis plot rate results.csv --theme dark -o rate.svg
  Results from Kafka, a message per line (any consumer that reads committed):
    lightrail-analysis plot rate results.jsonl -o rate.png

The rate at an image is that of the 101 images around it (fewer for short runs), the shade one standard deviation (Wilson).";

/// What is to be drawn.
#[derive(Debug, Subcommand)]
pub(super) enum Plot {
    /// One image on the real geometry of its panels, with its spots and rings of resolution.
    #[command(after_long_help = IMAGE_EXAMPLES)]
    Image(Box<OfImage>),
    /// Virtual powders of hits and of misses, each with its radial profile against resolution.
    #[command(after_long_help = POWDER_EXAMPLES)]
    Powder(Box<OfPowder>),
    /// Hit rate and spots of every image against time, run by run.
    #[command(after_long_help = RATE_EXAMPLES)]
    Rate(OfRate),
}

/// How it looks, and where it is written.
#[derive(Clone, Debug, Args)]
struct Style {
    /// The picture: .png or .svg.
    #[arg(long, short, value_name = "FILE", help_heading = "Picture")]
    output: Option<PathBuf>,
    /// light for paper and screens, dark for control rooms.
    #[arg(long, value_name = "THEME", default_value = "light", help_heading = "Picture")]
    theme: Theme,
    /// Pixels of a PNG per logical pixel.
    #[arg(long, value_name = "NUMBER", default_value = "2", value_parser = ratio, help_heading = "Picture")]
    pixel_ratio: f64,
}

fn ratio(text: &str) -> Result<f64, String> {
    let ratio: f64 = text.parse().map_err(|_| format!("`{text}` is no number"))?;
    if (0.25..=8.0).contains(&ratio) { Ok(ratio) } else { Err("must be from 0.25 to 8".to_owned()) }
}

/// How values become colours.
#[derive(Clone, Debug, Args)]
struct Colours {
    /// asinh (linear at the noise, logarithmic above), log or linear.
    #[arg(long, value_name = "SCALE", default_value = "asinh", help_heading = "Picture")]
    scale: Spread,
    /// The ends of the colour scale, such as -10..500; by percentiles where left out.
    #[arg(long, value_name = "LOW..HIGH", allow_hyphen_values = true, help_heading = "Picture")]
    range: Option<Ends>,
}

/// `plot image`.
#[derive(Debug, Args)]
pub(super) struct OfImage {
    #[command(flatten)]
    data: Data,
    /// Which image, by its number from 0 in the order of events.
    #[arg(long, value_name = "NUMBER", default_value = "0", help_heading = "Data")]
    image: usize,
    /// Which image, by its event, such as 972144180-441866239 or file.cbf:0.
    #[arg(long, value_name = "EVENT", conflicts_with = "image", help_heading = "Data")]
    event: Option<EventId>,
    /// Leaves the circles around spots out.
    #[arg(long, help_heading = "Picture")]
    no_spots: bool,
    #[command(flatten)]
    colours: Colours,
    #[command(flatten)]
    style: Style,
}

/// `plot powder`.
#[derive(Debug, Args)]
pub(super) struct OfPowder {
    /// The folder that `process --out` wrote, or that workers write their powders into.
    folder: PathBuf,
    /// Which run, where the folder has several.
    #[arg(long, value_name = "EXPERIMENT/RUN", help_heading = "Data")]
    run: Option<RunKey>,
    /// Under which trial, where the folder has several.
    #[arg(long, value_name = "NUMBER", help_heading = "Data")]
    in_trial: Option<TrialNumber>,
    /// Results of the run under that trial, as `plot rate` reads them; those beside the folder where left out. Hits that are in
    /// no sum, for their worker was killed before it wrote them or has still to, are then counted and said.
    #[arg(long, value_name = "RESULTS", help_heading = "Data")]
    results: Vec<PathBuf>,
    /// eV; that of the results beside, or the trial's, where left out.
    #[arg(long, value_name = "EV", help_heading = "Data")]
    photon_energy: Option<f64>,
    /// Metres; that of the results beside, the trial's, or the geometry's, where left out.
    #[arg(long, value_name = "METRES", help_heading = "Data")]
    distance: Option<f64>,
    #[command(flatten)]
    trial: Trial,
    #[command(flatten)]
    colours: Colours,
    #[command(flatten)]
    style: Style,
}

/// `plot rate`.
#[derive(Debug, Args)]
pub(super) struct OfRate {
    /// Tables of results as `process` writes them (.csv, or the folder), or messages of the topic `results`, one per line.
    #[arg(required = true, value_name = "RESULTS")]
    results: Vec<PathBuf>,
    #[command(flatten)]
    style: Style,
}

impl Plot {
    pub(super) async fn obey(self) -> Result<(), Failure> {
        match self {
            Self::Image(image) => {
                let drawn = image.obey().await;
                crate::source::shutdown();
                drawn
            }
            Self::Powder(powder) => powder.obey(),
            Self::Rate(rate) => rate.obey(),
        }
    }
}

impl Style {
    fn look(&self, colours: Option<&Colours>) -> Look {
        let (spread, ends) = colours.map_or((Spread::Asinh, None), |colours| (colours.scale, colours.range));
        Look { theme: self.theme, spread, ends, spots: true }
    }

    /// Writes a picture and prints its path. `of` tells several pictures of one command apart.
    fn write(&self, name: &str, of: Option<&str>, scene: &Scene) -> Result<(), Failure> {
        let named = self.output.clone().unwrap_or_else(|| PathBuf::from(format!("{name}.png")));
        let ending =
            named.extension().and_then(|ending| ending.to_str()).unwrap_or_default().to_ascii_lowercase();
        let path = match of {
            Some(of) => {
                let stem = named.file_stem().unwrap_or_default().to_string_lossy();
                named.with_file_name(format!("{stem}-{of}.{ending}"))
            }
            None => named,
        };
        let bytes = match ending.as_str() {
            "svg" => plot::svg::write(scene).into_bytes(),
            "png" => plot::png::write(scene, self.pixel_ratio).map_err(|why| Failure::Other(anyhow!(why)))?,
            _ => {
                let why = anyhow!("`{}` ends neither in .png nor in .svg", path.display());
                return Err(Failure::Usage(why));
            }
        };
        std::fs::write(&path, bytes).with_context(|| format!("{} cannot be written", path.display()))?;
        say!("{}", path.display());
        Ok(())
    }
}

impl OfImage {
    async fn obey(&self) -> Result<(), Failure> {
        let opened = self.data.open().await?;
        let there = opened.images.len();
        let found = match &self.event {
            Some(event) => opened.images.iter().find(|image| image.image.event == *event),
            None => opened.images.get(self.image),
        };
        let Some(image) = found.cloned() else {
            let which =
                self.event.as_ref().map_or_else(|| format!("number {}", self.image), ToString::to_string);
            let faults = opened.faults.join("; ");
            return Err(Failure::Usage(anyhow!("there is no image {which} among {there} {faults}")));
        };
        let working = Working {
            files: &opened.files,
            chosen: &opened.chosen,
            planes: opened.planes,
            source: &opened.source,
            stages: std::sync::Arc::new(Chained::default()),
            threads: 1,
            stop: tokio_util::sync::CancellationToken::new(),
        };
        let bad = |bad: crate::work::stages::Bad| Failure::Other(anyhow!("{}: {}", image.image, bad.cause));
        let extents = process::bytes(&opened.files, &opened.source, &image).await.map_err(bad)?;
        let prepared = Tables::new(working.cores()).prepare(&working, &image, &extents).await;
        let Prepared { decoder, chain } = prepared.map_err(|unready| match unready {
            Unready::Image(why) => bad(why),
            Unready::Trial(error) => Failure::Usage(anyhow!("{}", error.line())),
            Unready::Detector(error) => Failure::Usage(anyhow!("{}", error.line())),
            Unready::Stuck => Failure::Other(anyhow!("{}: no thread was free", image.image)),
        })?;
        let job = Job { image: std::sync::Arc::new(image.clone()), extents, decoder, chain };
        let mut workspace = Workspace::default();
        let worked = working.stages.work_one(&job, &mut workspace, &Progress::default()).map_err(bad)?;
        let (frame, _) = job
            .decoder
            .decode(&image.image.event, &job.pieces())
            .map_err(|e| Failure::Other(anyhow!("{}", e.line())))?;
        let values =
            job.chain.values(&mut workspace, &frame).map_err(|error| Failure::Other(error.into()))?;
        let good = &job.chain.calibration().mask().good;
        let values: Vec<f32> =
            values.iter().zip(good).map(|(value, good)| if *good { *value } else { f32::NAN }).collect();
        let numbers = &worked.numbers;
        let detector = Detector {
            geometry: job.chain.geometry(),
            shape: frame.shape,
            photon_energy: numbers.photon_energy,
            distance: numbers.detector_distance,
        };
        let mut facts = vec![match &worked.reason {
            None => "hit".to_owned(),
            Some(reason) => format!("no hit ({reason})"),
        }];
        facts.extend(numbers.resolution.map(|d| format!("spots to {d:.2} Å")));
        facts.extend(numbers.photon_energy.map(|energy| format!("{energy:.0} eV")));
        facts.extend(numbers.detector_distance.map(|distance| format!("{:.1} mm", distance * 1e3)));
        facts.extend(numbers.saturated.filter(|n| *n > 0).map(|n| format!("{n} saturated pixels")));
        facts.extend(time(&image.image.event));
        let figure = plot::Image {
            detector,
            values: &values,
            unit: unit(&opened.chosen),
            spots: &worked.spots,
            title: title(&image.image),
            subtitle: facts.join(" · "),
        };
        let look = Look { spots: !self.no_spots, ..self.style.look(Some(&self.colours)) };
        self.style.write("image", None, &plot::image(&figure, &look))
    }
}

/// An image as people say it.
fn title(image: &lightrail_topics::ImageKey) -> String {
    match &image.event {
        EventId::Frame { file, frame: 0 } => file.to_string(),
        EventId::Frame { file, frame } => format!("{file}, image {frame}"),
        EventId::Time { .. } => format!("{} run {}, {}", image.run.experiment, image.run.run, image.event),
    }
}

fn time(event: &EventId) -> Option<String> {
    process::unix_seconds(event).map(instant)
}

#[allow(clippy::cast_possible_truncation)] // milliseconds since 1970
fn instant(seconds: f64) -> String {
    Millis((seconds * 1e3) as i64).to_string()
}

impl OfPowder {
    fn obey(&self) -> Result<(), Failure> {
        let (folder, beside) = match self.folder.join("powder") {
            inner if inner.is_dir() => (inner, Some(&self.folder)),
            _ => (self.folder.clone(), None),
        };
        let of = self.which(&folder)?;
        let wholes = powder::read(&folder, &of).map_err(|error| Failure::Other(error.into()))?;
        let whole = wholes.into_iter().max_by_key(|whole| whole.head.hits + whole.head.misses);
        let whole =
            whole.ok_or_else(|| Failure::Usage(anyhow!("{}: no powder of {of}", folder.display())))?;
        let mut wishes = self.trial.wishes();
        if wishes.trial.is_none() {
            wishes.trial = beside.map(|folder| folder.join("trial.toml"));
        }
        let chosen = process::choose(&wishes, &process::Told::Nothing)
            .map_err(|error| Failure::Usage(error.into()))?;
        // What the constants are is in the sums; the geometry and what is masked are still needed.
        let mut parameters = chosen.parameters.clone();
        let counts = parameters.detector.kind == Kind::Counts;
        parameters.detector.kind = Kind::Corrected;
        parameters.constants.clear();
        (parameters.calibration.gains, parameters.calibration.common_mode) = (None, 0);
        let setup = Setup::from(whole.shape());
        let chain = inputs::compile(&parameters, of.run.run, setup, &chosen.base);
        let chain = chain.map_err(|error| Failure::Usage(anyhow!("{}", error.line())))?;
        let good = &chain.calibration().mask().good;
        let masked = |sum: &[f32]| -> Vec<f32> {
            // A calibrated pixel whose sum is exactly nothing was masked by its constants.
            let is_seen = |value: f32, good: bool| good && (counts || value != 0.0);
            sum.iter().zip(good).map(|(v, good)| if is_seen(*v, *good) { *v } else { f32::NAN }).collect()
        };
        let seen = self.seen(&of, beside.map(PathBuf::as_path))?;
        let lacking =
            seen.as_deref().filter(|_| parameters.powder.hits).map_or(0, |seen| whole.missing(seen));
        let middle = |of: fn(&Seen) -> Option<f64>| {
            let mut all: Vec<f64> = seen.iter().flatten().filter_map(of).collect();
            all.sort_by(f64::total_cmp);
            all.get(all.len() / 2).copied()
        };
        let detector = Detector {
            geometry: chain.geometry(),
            shape: whole.shape(),
            photon_energy: self
                .photon_energy
                .or(middle(|s| s.photon_energy))
                .or(parameters.detector.photon_energy),
            distance: self
                .distance
                .or(middle(|s| s.distance))
                .or(parameters.detector.distance)
                .or(Some(chain.geometry().distance).filter(|distance| *distance > 0.0)),
        };
        let powders = &whole.powders;
        let (hits, misses) = (masked(&powders.hits.sum), masked(&powders.misses.sum));
        let hits = plot::Sum { sum: &hits, images: powders.hits.images };
        let misses = plot::Sum { sum: &misses, images: powders.misses.images };
        let look = self.style.look(Some(&self.colours));
        let mut drawn = 0;
        for (name, shown, other) in [("hits", hits, (misses, "misses")), ("misses", misses, (hits, "hits"))] {
            if shown.images == 0 {
                continue;
            }
            let sampled = match (name, powders.misses_every) {
                ("misses", every) if every > 1 => format!(" · one in {every} misses"),
                _ => String::new(),
            };
            let parts = if whole.parts == 1 { "1 part".to_owned() } else { format!("{} parts", whole.parts) };
            let lost = match (name, lacking) {
                ("hits", 1..) => format!(" · {lacking} more in no sum"),
                _ => String::new(),
            };
            let energy = detector.photon_energy.map_or(String::new(), |energy| format!(" · {energy:.0} eV"));
            let figure = plot::Powder {
                detector: detector.clone(),
                shown,
                name,
                other: Some(other).filter(|(sum, _)| sum.images > 0),
                unit: unit(&chosen),
                title: format!("{} run {}, virtual powder of {name}", of.run.experiment, of.run.run),
                subtitle: format!(
                    "{} images{sampled}{lost} · {parts} until {}{energy}",
                    shown.images, whole.head.at
                ),
            };
            self.style.write("powder", Some(name), &plot::powder(&figure, &look))?;
            drawn += 1;
        }
        if lacking > 0 {
            eprintln!(
                "{lacking} hits among the results are in no sum: their workers were killed before they wrote them, or \
                 have still to (they do each minute)"
            );
        }
        if drawn == 0 {
            return Err(Failure::Other(anyhow!("the powders of {of} hold no image yet")));
        }
        Ok(())
    }

    /// The results of the run, where there are any: those that are named, else those beside.
    fn seen(&self, of: &RunInTrial, beside: Option<&Path>) -> Result<Option<Vec<Seen>>, Failure> {
        let mut seen = Vec::new();
        for path in &self.results {
            seen.extend(read_results(path)?);
        }
        if self.results.is_empty() {
            let there = beside.map(|folder| read_results(&folder.join("results.csv"))).and_then(Result::ok);
            let Some(there) = there else { return Ok(None) };
            seen = there;
        }
        seen.retain(|seen| seen.is_of(of));
        Ok(Some(seen))
    }

    /// The run and trial, of those that the folder has.
    fn which(&self, folder: &Path) -> Result<RunInTrial, Failure> {
        let all = powder::runs(folder).map_err(|error| Failure::Usage(error.into()))?;
        let is_wished = |of: &&RunInTrial| {
            self.run.as_ref().is_none_or(|run| of.run == *run)
                && self.in_trial.is_none_or(|trial| of.trial == trial)
        };
        let wished: Vec<&RunInTrial> = all.iter().filter(is_wished).collect();
        match wished.as_slice() {
            [one] => Ok((*one).clone()),
            [] => {
                let there: Vec<String> = all.iter().map(ToString::to_string).collect();
                let there = if there.is_empty() { "none".to_owned() } else { there.join(", ") };
                Err(Failure::Usage(anyhow!("{}: no such powder; there are: {there}", folder.display())))
            }
            several => {
                let there: Vec<String> = several.iter().map(ToString::to_string).collect();
                let why = format!("say which by --run and --in-trial; there are: {}", there.join(", "));
                Err(Failure::Usage(anyhow!("{}: {why}", folder.display())))
            }
        }
    }
}

/// Results out of a table or a topic's messages.
fn read_results(path: &Path) -> Result<Vec<Seen>, Failure> {
    let path = if path.is_dir() { path.join("results.csv") } else { path.to_owned() };
    let text = std::fs::read_to_string(&path).with_context(|| format!("{} cannot be read", path.display()));
    let text = text.map_err(Failure::Usage)?;
    let wrong = |why: String| Failure::Usage(anyhow!("{}: {why}", path.display()));
    if !text.trim_start().starts_with('{') {
        return process::csv::read(&text).map_err(wrong);
    }
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(number, line)| {
            let result: ImageResult =
                serde_json::from_str(line).map_err(|error| wrong(format!("line {}: {error}", number + 1)))?;
            Ok(Seen::from(&result))
        })
        .collect()
}

impl OfRate {
    fn obey(&self) -> Result<(), Failure> {
        let mut all = Vec::new();
        for path in &self.results {
            all.extend(read_results(path)?);
        }
        if all.is_empty() {
            return Err(Failure::Other(anyhow!("there are no results in these files")));
        }
        self.style.write("rate", None, &plot::rate(&rate(all), &self.style.look(None)))
    }
}

/// Results by run; against time where all have one, else one after the other.
#[allow(clippy::cast_precision_loss)] // a count of images
fn rate(mut all: Vec<Seen>) -> plot::Rate {
    let timed = all.iter().all(|seen| seen.at.is_some());
    let at = |seen: &Seen| seen.at.unwrap_or(0.0);
    all.sort_by(|a, b| {
        let run = (&a.experiment, a.run).cmp(&(&b.experiment, b.run));
        if timed { at(a).total_cmp(&at(b)) } else { run }
    });
    let mut runs: Vec<(String, plot::Run)> = Vec::new();
    let mut experiments: Vec<&str> = all.iter().map(|seen| seen.experiment.as_str()).collect();
    experiments.sort_unstable();
    experiments.dedup();
    for (number, seen) in all.iter().enumerate() {
        let key = format!("{}/{}", seen.experiment, seen.run);
        let shot = plot::Shot {
            at: if timed { at(seen) } else { number as f64 },
            end: match seen.outcome {
                Outcome::Hit => End::Hit,
                Outcome::Miss => End::Miss,
                _ => End::Lost,
            },
            spots: seen.spots,
        };
        if let Some((_, run)) = runs.iter_mut().find(|(other, _)| *other == key) {
            run.shots.push(shot);
        } else {
            let name = if experiments.len() > 1 { key.clone() } else { format!("run {}", seen.run) };
            runs.push((key, plot::Run { name, shots: vec![shot] }));
        }
    }
    let numbers: Vec<String> = runs.iter().map(|(_, run)| run.name.replace("run ", "")).collect();
    let title = match (experiments.as_slice(), numbers.as_slice()) {
        ([one], [run]) => format!("{one}, run {run}"),
        ([one], [first, .., last]) => format!("{one}, runs {first}–{last}"),
        _ => experiments.join(", "),
    };
    let begin = all.first().and_then(|seen| seen.at).map(|at| format!("from {}", instant(at)));
    plot::Rate {
        runs: runs.into_iter().map(|(_, run)| run).collect(),
        timed,
        title,
        subtitle: begin.unwrap_or_default(),
    }
}
