//! The demo: starts the real parts on this machine, takes runs of simulated images, shows how they arrive, which jobs the trigger
//! starts for them and what the analysis makes of them while the next is taken, compares every byte and every image, and measures the same files with `xrdcp`.
//! Dropping the future of [`run`], or what it gives, stops all that was started.

mod analysis;
mod config;
mod follow;
mod jobs;
mod peer;
mod pictures;
mod results;
mod scene;
mod table;
mod tally;
mod trigger;
mod watch;

use std::path::PathBuf;

use anyhow::Context as _;
use lightrail_topics::{Experiment, Instrument, Lfn, RunKey, RunNumber};

use self::analysis::Analysis;
use self::follow::Follower;
use self::jobs::Started;
use self::results::Worked;
use self::scene::Scene;
use self::tally::Course;
use self::watch::Watch;
use crate::play::{FoundRun, OpenRun, PlayedRun, Simulation, Stage, runs_of, same_bytes};
use crate::scratch::Scratch;

/// What is shown.
#[derive(Clone, Debug)]
pub struct DemoOptions {
    /// A folder whose files are moved instead of simulated ones.
    pub data: Option<PathBuf>,
    /// Bytes of the simulated runs together, about.
    pub bytes: u64,
    /// Decides what is simulated.
    pub seed: u64,
    /// The folder into which pictures are written.
    pub pictures: PathBuf,
}

/// What is taken.
enum Source {
    /// So many runs.
    Simulated(Simulation, u32),
    Found(Vec<FoundRun>),
}

/// The demo at its end, everything still up.
#[derive(Debug)]
pub struct Finished {
    // Dropped in this order: who uses the other goes first.
    analysis: Option<Analysis>,
    scene: Scene,
    /// What did not arrive as it was taken, or was not worked as it must be, a line each.
    pub wrong: Vec<String>,
}

impl Finished {
    /// Where everything is, for people who look around.
    pub fn addresses(&self) -> String {
        let analysis = self.analysis.as_ref().map(|analysis| format!("\n{}", analysis.addresses()));
        format!("{}{}", self.scene.addresses(), analysis.unwrap_or_default())
    }
}

/// Runs that are simulated.
const RUNS: u32 = 3;
/// The detector: four panels around the beam, each a stream of its own.
const DETECTOR: &str = "epix10kaQuad";
const STREAMS: usize = 4;
/// Bytes of one of its images with all headers, about.
const IMAGE: u64 = 1_090_000;

impl Source {
    fn new(options: &DemoOptions) -> anyhow::Result<Self> {
        let (instrument, experiment): (Instrument, Experiment) = ("mfx".parse()?, "mfxlv9518".parse()?);
        if let Some(folder) = &options.data {
            return Ok(Self::Found(runs_of(folder, &instrument, &experiment, RunNumber(1))?));
        }
        let images = (options.bytes / u64::from(RUNS) / IMAGE).max(2);
        let simulation = Simulation {
            instrument,
            experiment,
            detector: DETECTOR.to_owned(),
            images,
            rate: Some(120.0),
            streams: STREAMS,
            chunk_images: Some(images.div_ceil(2)),
            pool: 0,
            hit_rate: 0.1,
            seed: options.seed,
        };
        Ok(Self::Simulated(simulation, RUNS))
    }

    fn bytes(&self) -> u64 {
        match self {
            Self::Simulated(simulation, runs) => u64::from(*runs) * simulation.images * IMAGE,
            // A file that cannot be asked fails later, by name.
            Self::Found(runs) => {
                let files = runs.iter().flat_map(|run| &run.files);
                files.filter_map(|(_, path)| path.metadata().ok()).map(|meta| meta.len()).sum()
            }
        }
    }

    fn runs(&self) -> usize {
        match self {
            Self::Simulated(_, runs) => *runs as usize,
            Self::Found(runs) => runs.len(),
        }
    }

    /// Takes a run up to its end; nothing when all were taken.
    async fn take(&self, stage: &Stage<'_>, at: usize) -> anyhow::Result<Option<OpenRun>> {
        match self {
            _ if at >= self.runs() => Ok(None),
            Self::Simulated(simulation, _) => {
                let number = RunNumber(u32::try_from(at)? + 1);
                stage.open_simulated(simulation, number).await.map(Some)
            }
            Self::Found(runs) => stage.open_found(&runs[at]).await.map(Some),
        }
    }
}

/// At SLAC, at NERSC, and once more at NERSC by xrdcp.
const COPIES: u64 = 3;

/// Nothing is begun that cannot end for want of room.
fn check_room(bytes: u64) -> anyhow::Result<()> {
    let scratch = Scratch::new()?;
    let about = rustix::fs::statvfs(scratch.path()).context("cannot ask for free space")?;
    let (free, needed) = (about.f_bavail * about.f_frsize, bytes * COPIES);
    anyhow::ensure!(
        needed < free,
        "{} are needed and {} are free below {}; LIGHTRAIL_SCRATCH names another folder",
        table::bytes(needed),
        table::bytes(free),
        scratch.path().parent().unwrap_or(scratch.path()).display()
    );
    Ok(())
}

/// Runs the demo to its end.
///
/// # Errors
/// When a part cannot be started or ends, or nothing arrives.
pub async fn run(options: DemoOptions) -> anyhow::Result<Finished> {
    let source = Source::new(&options)?;
    check_room(source.bytes())?;
    let scene = Scene::start().await?;
    let stores = (0..scene.slac.servers()).map(|server| scene.slac.path_on(server, "")).collect();
    let stage = Stage::new(&scene.logbook, stores);
    stage.announce(&"mfxlv9518".parse()?, &"mfx".parse()?)?;
    let analysis = match &source {
        Source::Simulated(simulation, _) => Some(Analysis::start(&scene, simulation).await?),
        Source::Found(_) => {
            println!(
                "  no analysis: it would need a trial that fits these files; they are moved and compared"
            );
            None
        }
    };
    let wrong = shown(&options, &source, &scene, &stage, analysis.as_ref()).await?;
    Ok(Finished { analysis, scene, wrong })
}

/// Plays all runs, says how they fared, and gives what is wrong.
async fn shown(
    options: &DemoOptions,
    source: &Source,
    scene: &Scene,
    stage: &Stage<'_>,
    analysis: Option<&Analysis>,
) -> anyhow::Result<Vec<String>> {
    let mut show = Show { source, scene, stage, ours: Watch::begin(scene).await?, peers: Vec::new() };
    let follower = if analysis.is_some() { Some(Follower::begin(scene).await?) } else { None };
    println!("{}", introduction(source));
    let played = show.play(follower.as_ref()).await?;
    let mut worked: Vec<(RunKey, Worked)> = Vec::new();
    let mut started: Vec<(RunKey, Worked, Started)> = Vec::new();
    let mut wrong = Vec::new();
    if let (Some(analysis), Some(follower)) = (analysis, &follower) {
        follower.until_all(analysis, &show.ours).await?;
        let results = follower.results();
        worked.extend(results.runs().map(|(key, run)| (key.clone(), run.clone())));
        let of =
            |(key, run): &(RunKey, Worked)| Some((key.clone(), run.clone(), results.job_of(key)?.clone()));
        started.extend(worked.iter().filter_map(of));
        wrong.extend(results.wrong());
    }
    wrong.extend(not_as_taken(scene, &show.ours, &played).await?);
    let ours: Vec<(RunKey, Course)> = played
        .iter()
        .filter_map(|run| Some((run.key.clone(), show.ours.tally.course(&run.key)?.clone())))
        .collect();
    println!(
        "\nthe mover (a file counts when its event can be read on files.available, a run on runs.available):"
    );
    println!("{}", table::courses(&ours));
    println!("xrdcp --tpc only --cksum adler32:source ({} at once, smallest first):", peer::AT_ONCE);
    println!("{}", table::courses(&show.peers));
    if !started.is_empty() {
        println!("the trigger (what it wrote on jobs: which rule started which job, why, where, and when):");
        println!("{}", table::started(&started));
    }
    if !worked.is_empty() {
        println!("the analysis (a result counts when it can be read on results, read committed):");
        println!("{}", table::worked(&worked));
    }
    if wrong.is_empty() {
        println!("{}", table::words(&ours, &show.peers));
        if !worked.is_empty() {
            println!("{}", table::worked_words(&worked));
        }
    }
    if let (Some(analysis), Some(follower)) = (analysis, &follower) {
        let results = follower.results().clone();
        let drawn = pictures::draw(&options.pictures, scene, analysis, &results, &played).await?;
        println!("\npictures:\n  {}", drawn.join("\n  "));
    }
    Ok(wrong)
}

fn introduction(source: &Source) -> String {
    match source {
        Source::Simulated(simulation, runs) => format!(
            "\ntaking {runs} runs of {} images of a simulated {} ({} at 120 images a second, {:.0} % with a crystal); each is moved \
             by the mover and, under other names, by xrdcp, indexed, and worked by a job that the trigger starts, while the next is taken",
            simulation.images,
            simulation.detector,
            table::bytes(source.bytes()),
            simulation.hit_rate * 100.0
        ),
        Source::Found(runs) => {
            format!(
                "\nplaying {} runs; each is moved by the mover and, under other names, by xrdcp",
                runs.len()
            )
        }
    }
}

/// The runs as they are taken, moved and copied.
struct Show<'a> {
    source: &'a Source,
    scene: &'a Scene,
    stage: &'a Stage<'a>,
    ours: Watch,
    peers: Vec<(RunKey, Course)>,
}

impl Show<'_> {
    /// Takes one run after the other; while one is moved (and indexed and worked), the next is taken.
    async fn play(&mut self, follower: Option<&Follower>) -> anyhow::Result<Vec<PlayedRun>> {
        let (source, stage) = (self.source, self.stage);
        let mut played = Vec::new();
        let mut next = source.take(stage, 0).await?;
        while let Some(open) = next {
            let at = played.len();
            // Each is first in turn, so that neither always finds the files freshly written.
            let xrdcp_first = at % 2 == 1;
            let (key, files) = (open.key.clone(), sizes(&open));
            if xrdcp_first {
                self.xrdcp(&key, &files).await?;
            }
            let run = stage.close(open)?;
            if let (Some(follower), Source::Simulated(simulation, _)) = (follower, source) {
                let truth = simulation.truth(stage.store_of(key.run)?, key.run)?;
                follower.results().expect(&key, run.ended, truth);
            }
            self.ours.tally.expect(&run);
            let moving = async {
                self.ours.until_whole(&run, self.scene).await?;
                if let (Some(follower), Some(whole)) =
                    (follower, self.ours.tally.course(&key).and_then(|course| course.whole))
                {
                    follower.results().whole(&key, whole);
                }
                if !xrdcp_first {
                    self.xrdcp(&key, &files).await?;
                }
                anyhow::Ok(())
            };
            (next, ()) = tokio::try_join!(source.take(stage, at + 1), moving)?;
            played.push(run);
        }
        Ok(played)
    }

    async fn xrdcp(&mut self, key: &RunKey, files: &[(Lfn, u64)]) -> anyhow::Result<()> {
        self.ours.say(&format!("  {key} by xrdcp ..."));
        let route = peer::Route {
            from: (self.scene.slac.door(), self.scene.slac.prefix().to_owned()),
            to: (self.scene.nersc.door(), self.scene.nersc.prefix().to_owned()),
        };
        let (course, failures) = peer::copy(&route, files).await?;
        for failure in failures {
            self.ours.say(&format!("  {failure}"));
        }
        self.peers.push((key.clone(), course));
        Ok(())
    }
}

fn sizes(open: &OpenRun) -> Vec<(Lfn, u64)> {
    open.files.iter().map(|file| (file.lfn.clone(), file.size)).collect()
}

/// What did not arrive as it was taken: by what was announced, and by the bytes in the destination's store.
async fn not_as_taken(scene: &Scene, watch: &Watch, played: &[PlayedRun]) -> anyhow::Result<Vec<String>> {
    let mut wrong = watch.tally.wrong();
    for file in played.iter().flat_map(|run| &run.files) {
        let (there, taken) = (scene.nersc.path_of(file.lfn.as_str()), file.path.clone());
        let same = tokio::task::spawn_blocking(move || same_bytes(&there, &taken));
        match same.await.context("the comparing thread ended")? {
            Ok(true) => {}
            Ok(false) => wrong.push(format!("{} has other bytes at NERSC", file.lfn)),
            Err(error) => wrong.push(format!("{}: {error:#}", file.lfn)),
        }
    }
    Ok(wrong)
}
