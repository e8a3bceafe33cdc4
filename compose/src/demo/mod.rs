//! The demo: starts the real parts on this machine, plays runs, shows how they arrive, compares every byte, and measures
//! the same files with `xrdcp`. Dropping the future of [`run`], or what it gives, stops all that was started.

mod config;
mod peer;
mod scene;
mod table;
mod tally;
mod watch;

use std::path::PathBuf;

use anyhow::Context as _;
use lightrail_topics::{Experiment, Instrument, Lfn, RunKey, RunNumber};

use self::scene::Scene;
use self::tally::Course;
use self::watch::Watch;
use crate::play::{FoundRun, OpenRun, Play, PlayedRun, RunScript, Stage, runs_of, same_bytes};
use crate::scratch::Scratch;

/// What is shown.
#[derive(Clone, Debug)]
pub struct DemoOptions {
    /// A folder whose files are moved instead of made-up ones.
    pub data: Option<PathBuf>,
    /// Bytes of the made-up runs together.
    pub bytes: u64,
    /// Decides the made-up files' sizes and contents.
    pub seed: u64,
}

/// A run to be played.
enum Source {
    MadeUp(RunScript),
    Found(FoundRun),
}

/// The demo at its end, everything still up.
#[derive(Debug)]
pub struct Finished {
    scene: Scene,
    /// What did not arrive as it was taken, a line each.
    pub wrong: Vec<String>,
}

impl Finished {
    /// Where everything is, for people who look around.
    pub fn addresses(&self) -> String {
        self.scene.addresses()
    }
}

impl Source {
    fn bytes(&self) -> u64 {
        match self {
            Self::MadeUp(run) => run.files.iter().map(|file| file.size).sum(),
            // A file that cannot be asked fails later, by name.
            Self::Found(run) => {
                run.files.iter().filter_map(|(_, path)| path.metadata().ok()).map(|meta| meta.len()).sum()
            }
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
    let (instrument, experiment): (Instrument, Experiment) = ("mfx".parse()?, "mfxlv9518".parse()?);
    let runs: Vec<Source> = if let Some(folder) = &options.data {
        let found = runs_of(folder, &instrument, &experiment, RunNumber(1))?;
        found.into_iter().map(Source::Found).collect()
    } else {
        let play = Play::new(instrument.clone(), experiment.clone(), options.bytes, options.seed);
        play.script()?.into_iter().map(Source::MadeUp).collect()
    };
    check_room(runs.iter().map(Source::bytes).sum())?;
    let scene = Scene::start().await?;
    let stores = (0..scene.slac.servers()).map(|server| scene.slac.path_on(server, "")).collect();
    let stage = Stage::new(&scene.logbook, stores);
    stage.announce(&experiment, &instrument)?;
    let route = peer::Route {
        from: (scene.slac.door(), scene.slac.prefix().to_owned()),
        to: (scene.nersc.door(), scene.nersc.prefix().to_owned()),
    };
    let mut watch = Watch::begin(&scene).await?;
    println!(
        "playing {} runs of {experiment}; each is moved by the mover and, under other names, by xrdcp",
        runs.len()
    );
    let mut played = Vec::new();
    let mut peers = Vec::new();
    for (at, source) in runs.iter().enumerate() {
        let open = open(&stage, source).await?;
        let (key, files) = (open.key.clone(), sizes(&open));
        // Each is first in turn, so that neither always finds the files freshly written.
        let xrdcp_first = at % 2 == 1;
        if xrdcp_first {
            peers.push((key.clone(), xrdcp(&watch, &route, &key, &files).await?));
        }
        let run = stage.close(open)?;
        watch.tally.expect(&run);
        watch.until_whole(&run, &scene).await?;
        played.push(run);
        if !xrdcp_first {
            peers.push((key.clone(), xrdcp(&watch, &route, &key, &files).await?));
        }
    }
    let wrong = wrong(&scene, &watch, &played).await?;
    let ours: Vec<(RunKey, Course)> = played
        .iter()
        .filter_map(|run| Some((run.key.clone(), watch.tally.course(&run.key)?.clone())))
        .collect();
    println!(
        "\nthe mover (a file counts when its event can be read on files.available, a run on runs.available):"
    );
    println!("{}", table::courses(&ours));
    println!("xrdcp --tpc only --cksum adler32:source ({} at once, smallest first):", peer::AT_ONCE);
    println!("{}", table::courses(&peers));
    if wrong.is_empty() {
        println!("{}", table::words(&ours, &peers));
    }
    Ok(Finished { scene, wrong })
}

async fn open(stage: &Stage<'_>, source: &Source) -> anyhow::Result<OpenRun> {
    match source {
        Source::MadeUp(run) => stage.open(run).await,
        Source::Found(run) => stage.open_found(run).await,
    }
}

fn sizes(open: &OpenRun) -> Vec<(Lfn, u64)> {
    open.files.iter().map(|file| (file.lfn.clone(), file.size)).collect()
}

async fn xrdcp(
    watch: &Watch,
    route: &peer::Route,
    key: &RunKey,
    files: &[(Lfn, u64)],
) -> anyhow::Result<Course> {
    watch.say(&format!("  {key} by xrdcp ..."));
    let (course, failures) = peer::copy(route, files).await?;
    for failure in failures {
        watch.say(&format!("  {failure}"));
    }
    Ok(course)
}

/// What did not arrive as it was taken: by what was announced, and by the bytes in the destination's store.
async fn wrong(scene: &Scene, watch: &Watch, played: &[PlayedRun]) -> anyhow::Result<Vec<String>> {
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
