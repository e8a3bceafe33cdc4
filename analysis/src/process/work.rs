//! Works images of files on all cores: reads some ahead, prepares each run's tables once, takes every image through the same
//! stages as the services do, and counts. No Kafka; what is done with the rows is the caller's.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::stream::{self, StreamExt as _};
use lightrail_topics::events::{Image, Outcome, Stage};
use lightrail_topics::{FileName, Lfn, RunKey};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::chosen::Chosen;
use super::cores::{Cores, Fallen};
use super::files::Files;
use super::table::Row;
use crate::decode::{DecodeError, Decoder, Setup};
use crate::geometry::Geometry;
use crate::inputs::{self, InputError};
use crate::pipeline::{Chain, Workspace};
use crate::source::{Extent, Source, SourceError};
use crate::work::stages::{Bad, Job, Progress, Stages, Worked};

#[cfg(test)]
mod tests;

/// No image's part is longer than that; what says so is damaged.
const LONGEST_EXTENT: u64 = 1 << 30;

/// An image that could not be made ready, or a trial that does not fit the first data it met.
#[derive(Debug)]
pub enum Stop {
    /// The trial does not fit the data at all: nothing was worked.
    Trial(InputError),
    /// The trial names a detector that the data do not have: nothing was worked.
    Detector(DecodeError),
}

/// What came of the images of some runs.
#[derive(Debug, Default)]
pub struct Outcomes {
    /// A row per image, in order of runs and events.
    pub rows: Vec<Row>,
    /// The chains that were used, each with the run that it was made for first.
    pub chains: Vec<(RunKey, Arc<Chain>)>,
    /// From the first read to the last row.
    pub elapsed: Duration,
    /// Processor time of the whole process in between, all threads.
    pub processor: Duration,
    /// Images that were not begun: it was stopped before.
    pub left: usize,
    /// Whether it stopped by itself: images that did not come back held all threads.
    pub stuck: bool,
}

/// How images are worked.
pub struct Working<'w> {
    /// Where the files lie.
    pub files: &'w Files,
    /// The trial.
    pub chosen: &'w Chosen,
    /// Where a run's pixels are, where its files say that apart from their images.
    pub planes: HashMap<RunKey, Geometry>,
    /// Reads them.
    pub source: &'w Source,
    /// What is done with each.
    pub stages: Arc<dyn Stages>,
    /// Images that are worked at once.
    pub threads: usize,
    /// Ends the work after what is begun.
    pub stop: CancellationToken,
}

impl std::fmt::Debug for Working<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Working").field("threads", &self.threads).finish_non_exhaustive()
    }
}

/// What an image needs besides its bytes.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// Makes pixels of its bytes.
    pub decoder: Arc<Decoder>,
    /// Its trial, compiled.
    pub chain: Arc<Chain>,
}

/// What is made once for many images.
#[derive(Debug)]
pub struct Tables {
    cores: Cores,
    decoders: HashMap<(RunKey, u32), Arc<Decoder>>,
    chains: Vec<(RunKey, Setup, Arc<Chain>)>,
    /// Runs for which the trial does not fit, and why.
    unfit: HashMap<RunKey, String>,
}

/// Why an image is not ready.
#[derive(Debug)]
pub enum Unready {
    /// Its own fault.
    Image(Bad),
    /// The trial's.
    Trial(InputError),
    /// The trial's detector is not in the data.
    Detector(DecodeError),
    /// Nobody's: no thread was free for it, for too long.
    Stuck,
}

impl From<Fallen> for Unready {
    fn from(fallen: Fallen) -> Self {
        match fallen {
            Fallen::Bad(bad) => Self::Image(bad),
            Fallen::Stuck => Self::Stuck,
        }
    }
}

impl Working<'_> {
    /// The cores that the images are worked on.
    pub fn cores(&self) -> Cores {
        let limit = self.chosen.parameters.time_limit.clamp(0.001, 1e6);
        Cores::new(self.threads, Duration::from_secs_f64(limit))
    }
}

impl Tables {
    /// Nothing is made yet; `cores` make it.
    pub fn new(cores: Cores) -> Self {
        Self { cores, decoders: HashMap::new(), chains: Vec::new(), unfit: HashMap::new() }
    }

    /// The tables for an image whose bytes are here.
    pub async fn prepare(
        &mut self,
        working: &Working<'_>,
        image: &Image,
        extents: &[Vec<u8>],
    ) -> Result<Prepared, Unready> {
        let run = &image.image.run;
        if let Some(why) = self.unfit.get(run) {
            return Err(Unready::Image(Bad::new(Outcome::Refused, Stage::Read, why)));
        }
        let decoder = match self.decoders.get(&(run.clone(), image.names_epoch)) {
            Some(decoder) => decoder.clone(),
            None => {
                let decoder = Arc::new(self.decoder(working, image).await?);
                self.decoders.insert((run.clone(), image.names_epoch), decoder.clone());
                decoder
            }
        };
        // Only CBF may have another geometry with every file: for what is told once, one image tells it.
        let is_single = image.configure.is_empty();
        let known = self.chains.iter().find(|(of, ..)| of == run && !is_single);
        if let Some((.., chain)) = known {
            return Ok(Prepared { decoder, chain: chain.clone() });
        }
        let (making, of, bytes) = (decoder.clone(), image.clone(), extents.to_vec());
        let begun = Progress::default();
        let setup = self.cores.run(&begun, move || {
            let pieces: Vec<_> = of.extents.iter().zip(bytes.iter().map(Vec::as_slice)).collect();
            making.setup(&of.image.event, &pieces)
        });
        let setup = match setup.await? {
            Ok(setup) => {
                let geometry = setup.geometry.or_else(|| working.planes.get(run).cloned());
                Setup { geometry, ..setup }
            }
            Err(error) if error.concerns_trial() => return Err(Unready::Detector(error)),
            Err(error) => {
                return Err(Unready::Image(Bad::new(Outcome::Unreadable, Stage::Read, error.line())));
            }
        };
        let known = self.chains.iter().find(|(of, other, _)| of == run && *other == setup);
        if let Some((.., chain)) = known {
            return Ok(Prepared { decoder, chain: chain.clone() });
        }
        let Chosen { parameters, base, .. } = working.chosen.clone();
        let (number, own) = (run.run, setup.clone());
        let chain = Cores::run_long(move || inputs::compile(&parameters, number, own, &base));
        let chain = match chain.await.map_err(Unready::Image)? {
            Ok(chain) => Arc::new(chain),
            Err(error) => {
                self.unfit.insert(run.clone(), error.line());
                return Err(Unready::Trial(error));
            }
        };
        self.chains.push((run.clone(), setup, chain.clone()));
        Ok(Prepared { decoder, chain })
    }

    async fn decoder(&self, working: &Working<'_>, image: &Image) -> Result<Decoder, Unready> {
        let mut configure = Vec::with_capacity(image.configure.len());
        for place in &image.configure {
            let bytes = fetch(working.files, working.source, &place.lfn, place.offset, place.length).await;
            configure.push((place.clone(), bytes.map_err(Unready::Image)?));
        }
        let detector = &working.chosen.parameters.detector;
        Decoder::new(&detector.name, detector.kind, &configure).map_err(|error| {
            if error.concerns_trial() {
                Unready::Detector(error)
            } else {
                Unready::Image(Bad::new(Outcome::Unreadable, Stage::Read, error.line()))
            }
        })
    }
}

/// The bytes of an image's extents.
pub async fn bytes(files: &Files, source: &Source, image: &Image) -> Result<Vec<Vec<u8>>, Bad> {
    let mut extents = Vec::with_capacity(image.extents.len());
    for extent in &image.extents {
        extents.push(fetch(files, source, &extent.lfn, extent.offset, extent.length).await?);
    }
    Ok(extents)
}

async fn fetch(files: &Files, source: &Source, lfn: &Lfn, offset: u64, length: u64) -> Result<Vec<u8>, Bad> {
    let unreadable = |cause: String| Bad::new(Outcome::Unreadable, Stage::Read, cause);
    if length > LONGEST_EXTENT {
        return Err(unreadable(format!(
            "{length} bytes of {lfn} from byte {offset} on are more than an image has"
        )));
    }
    let file = files
        .location(lfn)
        .ok_or_else(|| unreadable(format!("{lfn} is in none of the folders that were named")))?;
    source.read(&Extent { file, offset, length }).await.map_err(|error: SourceError| {
        let error = anyhow::Error::from(error);
        unreadable(format!("{error:#}"))
    })
}

/// An image on its way to a core.
enum Ready {
    Job(Job),
    Bad(Arc<Image>, Bad),
    /// Not begun: no thread was free for it.
    Stuck,
}

/// Works all images; `seen` is told each row as it comes, in no order.
///
/// # Errors
/// Where the trial does not fit the first images at all.
pub async fn work(
    working: &Working<'_>,
    images: Vec<Image>,
    mut seen: impl FnMut(&Row),
) -> Result<Outcomes, Stop> {
    let begun = (Instant::now(), processor_time());
    let threads = working.threads.max(1);
    let (total, mut outcomes) = (images.len(), Outcomes::default());
    let (give, take) = mpsc::channel::<(usize, Ready)>(threads);
    let (cores, workspaces) = (working.cores(), Workspaces::default());
    let mut numbered: Vec<(usize, Row)> = Vec::with_capacity(total);

    let reading = async {
        let mut tables = Tables::new(cores.clone());
        let mut read = stream::iter(images.into_iter().enumerate())
            .take_while(|_| std::future::ready(!working.stop.is_cancelled()))
            .map(|(number, image)| async move {
                let extents = bytes(working.files, working.source, &image).await;
                (number, Arc::new(image), extents)
            })
            .buffered(2 * threads);
        while let Some((number, image, extents)) = read.next().await {
            let ready = match extents {
                Err(bad) => Ready::Bad(image, bad),
                Ok(extents) => match tables.prepare(working, &image, &extents).await {
                    Ok(Prepared { decoder, chain }) => Ready::Job(Job { image, extents, decoder, chain }),
                    Err(Unready::Image(bad)) => Ready::Bad(image, bad),
                    // Others of the data may fit; where none has, there is nothing to be told of single images.
                    Err(Unready::Trial(error)) if tables.chains.is_empty() => return Err(Stop::Trial(error)),
                    Err(Unready::Detector(error)) if tables.chains.is_empty() => {
                        return Err(Stop::Detector(error));
                    }
                    Err(Unready::Trial(error)) => {
                        Ready::Bad(image, Bad::new(Outcome::Refused, Stage::Read, error.line()))
                    }
                    Err(Unready::Detector(error)) => {
                        Ready::Bad(image, Bad::new(Outcome::Refused, Stage::Read, error.line()))
                    }
                    Err(Unready::Stuck) => Ready::Stuck,
                },
            };
            if give.send((number, ready)).await.is_err() {
                break;
            }
        }
        drop(give);
        Ok(tables)
    };

    let (stages, cores, workspaces) = (&working.stages, &cores, &workspaces);
    let mut done = stream::unfold(take, |mut take| async { take.recv().await.map(|ready| (ready, take)) })
        .map(|(number, ready)| async move {
            match ready {
                Ready::Bad(image, bad) => Some((number, row(&image, Err(bad)))),
                Ready::Job(job) => {
                    let image = job.image.clone();
                    match on_a_core(cores, stages.clone(), workspaces.clone(), job).await {
                        Ok(worked) => Some((number, row(&image, Ok(worked)))),
                        Err(Fallen::Bad(bad)) => Some((number, row(&image, Err(bad)))),
                        Err(Fallen::Stuck) => None,
                    }
                }
                Ready::Stuck => None,
            }
        })
        .buffer_unordered(threads)
        .boxed();
    let stuck = &mut outcomes.stuck;
    let gathering = async {
        while let Some(one) = done.next().await {
            let Some((number, row)) = one else {
                *stuck = true;
                working.stop.cancel();
                continue;
            };
            seen(&row);
            numbered.push((number, row));
        }
    };
    let (tables, ()) = futures::join!(reading, gathering);
    let tables = tables?;
    drop(done);
    numbered.sort_by_key(|(number, _)| *number);
    outcomes.left = total - numbered.len();
    outcomes.rows = numbered.into_iter().map(|(_, row)| row).collect();
    outcomes.chains = tables.chains.into_iter().map(|(run, _, chain)| (run, chain)).collect();
    outcomes.elapsed = begun.0.elapsed();
    outcomes.processor = processor_time().saturating_sub(begun.1);
    Ok(outcomes)
}

type Workspaces = Arc<Mutex<Vec<Workspace>>>;

/// Takes an image through its stages. One that panics or does not come back takes its workspace with it.
async fn on_a_core(
    cores: &Cores,
    stages: Arc<dyn Stages>,
    workspaces: Workspaces,
    job: Job,
) -> Result<Worked, Fallen> {
    let progress = Arc::new(Progress::default());
    let told = progress.clone();
    let worked = cores.run(&progress, move || {
        let mut workspace = {
            let mut free = workspaces.lock().unwrap_or_else(PoisonError::into_inner);
            free.pop().unwrap_or_default()
        };
        let worked = stages.work_one(&job, &mut workspace, &told);
        workspaces.lock().unwrap_or_else(PoisonError::into_inner).push(workspace);
        worked
    });
    worked.await?.map_err(Fallen::Bad)
}

fn row(image: &Image, worked: Result<Worked, Bad>) -> Row {
    let file = image
        .extents
        .first()
        .map_or_else(|| "none".parse().expect("letters"), |extent| FileName::from(&extent.lfn));
    let key = image.image.clone();
    match worked {
        Ok(Worked { hit, numbers, times, used, reason, spots }) => Row {
            image: key,
            file,
            outcome: if hit { Outcome::Hit } else { Outcome::Miss },
            stage: Stage::Spotfind,
            cause: None,
            reason,
            numbers,
            times,
            used,
            spots: if hit { spots } else { Vec::new() },
        },
        Err(Bad { outcome, stage, cause }) => Row {
            image: key,
            file,
            outcome,
            stage,
            cause: Some(cause),
            reason: None,
            numbers: lightrail_topics::events::Numbers::default(),
            times: lightrail_topics::events::StageTimes::default(),
            used: None,
            spots: Vec::new(),
        },
    }
}

/// Processor time of this process so far, all threads.
fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    let nanoseconds = u32::try_from(time.tv_nsec).unwrap_or(0);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), nanoseconds)
}
