//! From an image message to an image with all that its stages need: its trial, its bytes, and the tables made once for many.
//! Waits for a door that does not answer and says when it counts as away; everything else is the image's own bad end.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures::future::try_join_all;
use lightrail_topics::events::{ConfigurePlace, Image, Outcome, Stage};
use lightrail_topics::{Lfn, RunKey, RunNumber, TrialKey};
use tokio::sync::mpsc::UnboundedSender;

use super::door::Door;
use super::shelf::{Failure, Shelf};
use super::stages::{Bad, Job};
use super::trials::Trials;
use crate::config::Site;
use crate::decode::{DecodeError, Decoder, Setup};
use crate::frame::Shape;
use crate::inputs;
use crate::pipeline::Chain;
use crate::source::{Extent, Location, Source, SourceError};
use crate::trial::{Input, Parameters};

/// No image's part is longer than that; what says so is damaged.
const LONGEST_EXTENT: u64 = 1 << 30;
/// How long bytes of a file that is still written may let themselves be waited for.
const GROWS_WITHIN: Duration = Duration::from_secs(10);

/// Makes images ready.
pub(super) struct Reading {
    pub(super) source: Source,
    pub(super) site: Site,
    pub(super) trials: Trials,
    pub(super) tables: Arc<Tables>,
    pub(super) door: Door,
    /// Takes the file that was asked for when the door counts as away.
    pub(super) away: UnboundedSender<(Location, SourceError)>,
    pub(super) buffers: Buffers,
}

/// An image made ready, and how long it may be worked.
pub(super) type Ready = (Job, Duration);

/// How long an image of a trial may be worked.
fn limit(parameters: &Parameters) -> Duration {
    Duration::from_secs_f64(parameters.time_limit.clamp(0.001, 1e6))
}

impl Reading {
    /// Makes an image ready.
    pub(super) async fn read(&self, image: Arc<Image>) -> Result<Ready, Bad> {
        let key = TrialKey { experiment: image.image.run.experiment.clone(), trial: image.trial };
        let refused = |cause: String| Bad::new(Outcome::Refused, Stage::Read, cause);
        let parameters = self.trials.get(&key).await.map_err(refused)?;
        let mut buffers = self.buffers.take();
        let extents = image.extents.iter().map(|extent| {
            self.fetch(&extent.lfn, extent.offset, extent.length, buffers.pop().unwrap_or_default())
        });
        let extents = try_join_all(extents).await?;
        let ready = self.ready(&key, &parameters, &image, &extents).await?;
        let Prepared { decoder, chain } = ready;
        Ok((Job { image, extents, decoder, chain }, limit(&parameters)))
    }

    /// The tables for an image: its own bytes tell what its trial is compiled for, where it is the first.
    async fn ready(
        &self,
        trial: &TrialKey,
        parameters: &Arc<Parameters>,
        image: &Arc<Image>,
        extents: &[Vec<u8>],
    ) -> Result<Prepared, Bad> {
        let run = image.image.run.clone();
        let key = (trial.clone(), run, image.configure.clone());
        let prepared = self.tables.prepared.get_or_make(&key, async || {
            let decoder = self.decoder(parameters, &image.configure).await?;
            let setup = self.setup(&decoder, image, extents, limit(parameters)).await?;
            let chain = self.chain(trial, parameters, image.image.run.run, setup).await?;
            Ok(Prepared { decoder, chain })
        });
        prepared.await.map_err(|failure| match failure {
            Failure::Refused(bad) | Failure::Trouble(bad) => bad,
        })
    }

    async fn decoder(
        &self,
        parameters: &Parameters,
        configure: &[ConfigurePlace],
    ) -> Result<Arc<Decoder>, Failure<Bad, Bad>> {
        let bytes =
            configure.iter().map(|place| self.fetch(&place.lfn, place.offset, place.length, Vec::new()));
        let bytes = try_join_all(bytes).await.map_err(Failure::Trouble)?;
        let configure: Vec<_> = configure.iter().cloned().zip(bytes).collect();
        let detector = &parameters.detector;
        let decoder =
            Decoder::new(&detector.name, detector.kind, &configure).map_err(|error| failure(&error))?;
        Ok(Arc::new(decoder))
    }

    async fn setup(
        &self,
        decoder: &Arc<Decoder>,
        image: &Arc<Image>,
        extents: &[Vec<u8>],
        limit: Duration,
    ) -> Result<Setup, Failure<Bad, Bad>> {
        let (decoder, image, extents) = (decoder.clone(), image.clone(), extents.to_vec());
        let setup = tokio::task::spawn_blocking(move || {
            let pieces: Vec<_> = image.extents.iter().zip(extents.iter().map(Vec::as_slice)).collect();
            decoder.setup(&image.image.event, &pieces)
        });
        match tokio::time::timeout(limit, setup).await {
            Err(_) => Err(Failure::Trouble(Bad::timeout(Stage::Read))),
            Ok(Ok(setup)) => setup.map_err(|error| failure(&error)),
            Ok(Err(panic)) => Err(Failure::Trouble(Bad::new(Outcome::Failed, Stage::Read, panic))),
        }
    }

    async fn chain(
        &self,
        trial: &TrialKey,
        parameters: &Arc<Parameters>,
        run: RunNumber,
        setup: Setup,
    ) -> Result<Arc<Chain>, Failure<Bad, Bad>> {
        let (parameters, base) = (parameters.clone(), self.tables.base.clone());
        let alone = setup.configuration.is_some() || setup.geometry.is_some();
        // What cannot be written is like no other.
        let content = toml::to_string(parameters.as_ref()).unwrap_or_else(|_| trial.to_string());
        let key = ChainKey {
            content,
            inputs: inputs_of(&parameters, run),
            shape: setup.shape,
            run: alone.then_some(run),
        };
        let make = async || {
            let refused =
                |outcome, why: String| Failure::<Bad, Bad>::Refused(Bad::new(outcome, Stage::Read, why));
            loop {
                let begun = Instant::now();
                let (parameters, setup, base) = (parameters.clone(), setup.clone(), base.clone());
                let compile =
                    tokio::task::spawn_blocking(move || inputs::compile(&parameters, run, setup, &base));
                match compile.await {
                    Ok(Ok(chain)) => {
                        let (used, seconds) = (chain.hash(), begun.elapsed().as_secs_f64());
                        tracing::info!(%trial, %run, %used, seconds, "trial compiled");
                        return Ok(Arc::new(chain));
                    }
                    Ok(Err(error)) if error.is_permanent() => {
                        return Err(refused(Outcome::Refused, error.line()));
                    }
                    Ok(Err(error)) => {
                        tracing::warn!(%trial, %run, why = error.line(), "a trial's file cannot be read; trying again");
                        tokio::time::sleep(Duration::from_secs(2)).await;
                    }
                    Err(panic) => return Err(refused(Outcome::Failed, panic.to_string())),
                }
            }
        };
        self.tables.chains.get_or_make(&key, make).await
    }

    /// A range of a file, however often it has to be asked for.
    async fn fetch(&self, lfn: &Lfn, offset: u64, length: u64, mut buffer: Vec<u8>) -> Result<Vec<u8>, Bad> {
        let unreadable = |cause: &dyn std::fmt::Display| Bad::new(Outcome::Unreadable, Stage::Read, cause);
        if length > LONGEST_EXTENT {
            let text = format!("{length} bytes of {lfn} from byte {offset} on are more than an image has");
            return Err(unreadable(&text));
        }
        let file = self.site.location(lfn);
        let growing = (self.site.growing && !lfn.is_in_progress())
            .then(|| file.beside(&format!("{}.inprogress", file.name())));
        let begun = Instant::now();
        let mut tries = 0;
        loop {
            let mut answer = self.ask(&file, offset, length, std::mem::take(&mut buffer)).await;
            if let (Err(SourceError::Missing { .. }), Some(growing)) = (&answer, &growing) {
                answer = match self.ask(growing, offset, length, Vec::new()).await {
                    // Finished just now, or never there.
                    Err(SourceError::Missing { .. }) => self.ask(&file, offset, length, Vec::new()).await,
                    Err(SourceError::Short { .. }) if begun.elapsed() < GROWS_WITHIN => {
                        tokio::time::sleep(Duration::from_millis(100)).await;
                        continue;
                    }
                    answer => answer,
                };
            }
            let error = match answer {
                Ok(bytes) => {
                    self.door.answered();
                    metrics::counter!(super::metric::BYTES).increment(length);
                    return Ok(bytes);
                }
                Err(error) => error,
            };
            if error.concerns_file() {
                self.door.answered();
                return Err(unreadable(&line(&error)));
            }
            tries += 1;
            if self.door.failed(tries) {
                // Who takes it has the image given up, and so this reading.
                let _ = self.away.send((file.clone(), error));
            }
            tokio::time::sleep(self.door.pause()).await;
        }
    }

    async fn ask(
        &self,
        file: &Location,
        offset: u64,
        length: u64,
        buffer: Vec<u8>,
    ) -> Result<Vec<u8>, SourceError> {
        let extent = Extent { file: file.clone(), offset, length };
        self.source.read_into(&extent, buffer).await
    }
}

/// What a decoder's error means for the images of its run.
fn failure(error: &DecodeError) -> Failure<Bad, Bad> {
    if error.concerns_trial() {
        Failure::Refused(Bad::new(Outcome::Refused, Stage::Read, error.line()))
    } else {
        Failure::Trouble(Bad::new(Outcome::Unreadable, Stage::Read, error.line()))
    }
}

/// An error with its causes in one line.
pub(super) fn line(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// What is made once for many images.
pub(super) struct Tables {
    /// Relative paths of a trial begin here.
    base: PathBuf,
    prepared: Shelf<(TrialKey, RunKey, Vec<ConfigurePlace>), Prepared, Bad>,
    chains: Shelf<ChainKey, Arc<Chain>, Bad>,
}

#[derive(Clone)]
struct Prepared {
    decoder: Arc<Decoder>,
    chain: Arc<Chain>,
}

/// What a chain depends on. Runs for which a trial names the same files share one, and trials that say the same.
#[derive(Clone, PartialEq, Eq, Hash)]
struct ChainKey {
    /// The trial's parameters.
    content: String,
    inputs: Vec<(&'static str, usize)>,
    shape: Shape,
    /// Where the data themselves say how they are to be calibrated.
    run: Option<RunNumber>,
}

impl Tables {
    /// Of trials whose relative paths begin at `base`. A chain of 4 megapixels has some 200 MB: few are kept.
    pub(super) fn new(base: PathBuf) -> Self {
        Self { base, prepared: Shelf::new(8), chains: Shelf::new(3) }
    }
}

/// The trial's files that are used for a run.
fn inputs_of(parameters: &Parameters, run: RunNumber) -> Vec<(&'static str, usize)> {
    let of = |name, inputs: &[Input]| -> Vec<(&'static str, usize)> {
        let used = inputs.iter().enumerate().filter(|(_, input)| input.runs.contains(run));
        used.map(|(at, _)| (name, at)).collect()
    };
    let all = [
        ("constants", &parameters.constants),
        ("masks", &parameters.masks),
        ("geometry", &parameters.geometry),
    ];
    all.into_iter().flat_map(|(name, inputs)| of(name, inputs)).collect()
}

/// Buffers of images that are done with, for those that are read next: fresh memory costs as much as reading into it.
#[derive(Clone, Debug)]
pub(super) struct Buffers {
    images: usize,
    free: Arc<Mutex<Vec<Vec<Vec<u8>>>>>,
}

impl Buffers {
    /// Those of so many images are kept.
    pub(super) fn new(images: usize) -> Self {
        Self { images, free: Arc::default() }
    }

    /// Those of one image; none where none are free.
    fn take(&self) -> Vec<Vec<u8>> {
        self.lock().pop().unwrap_or_default()
    }

    /// Those of one image.
    pub(super) fn give(&self, mut buffers: Vec<Vec<u8>>) {
        buffers.retain(|buffer| buffer.capacity() > 0);
        let mut free = self.lock();
        if !buffers.is_empty() && free.len() < self.images {
            free.push(buffers);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Vec<Vec<u8>>>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
