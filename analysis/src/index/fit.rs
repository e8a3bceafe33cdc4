//! Whether a trial fits the data of a run: decodes one of its images and compiles the trial for it, as a worker would. Nothing
//! is published of a run before that.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use lightrail_topics::RunNumber;
use lightrail_topics::message::stable_hash;

use super::Joined;
use super::publish::{Place, growing_location};
use crate::decode::{Decoder, Setup};
use crate::inputs;
use crate::source::{Extent, SourceError};
use crate::trial::{Input, Parameters};

/// So many images are tried: one that is damaged is no fault of the trial.
const TRIES: usize = 8;

/// Trials that were found to fit data of a shape, with the very files that they name for a run: compiling one again takes
/// longer than indexing a run.
#[derive(Clone, Debug, Default)]
pub struct Fits(Arc<Mutex<HashSet<u64>>>);

impl Fits {
    fn knows(&self, key: u64) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(&key)
    }

    fn add(&self, key: u64) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(key);
    }
}

/// What decides whether a trial fits; `None` where the data themselves take part in it.
fn key(parameters: &Parameters, run: RunNumber, setup: &Setup) -> Option<u64> {
    if setup.configuration.is_some() || setup.geometry.is_some() {
        return None;
    }
    let of_run = |inputs: &[Input]| -> Vec<Input> {
        inputs.iter().filter(|input| input.runs.contains(run)).cloned().collect()
    };
    let named = Parameters {
        constants: of_run(&parameters.constants),
        masks: of_run(&parameters.masks),
        geometry: of_run(&parameters.geometry),
        ..parameters.clone()
    };
    Some(stable_hash(format!("{named:?} {} {:?}", setup.shape, setup.pixels).as_bytes()))
}

/// Why a trial cannot be used for a run.
#[derive(Debug)]
pub(super) enum Unfit {
    /// It does not fit, in words.
    Trial(String),
    /// The data cannot be read now.
    Source(SourceError),
}

/// Compiles the trial for the first of these images that can be decoded. Where none can be, nothing speaks against the trial.
pub(super) async fn check(
    place: &Place,
    parameters: &Parameters,
    run: RunNumber,
    images: &[Joined],
) -> Result<(), Unfit> {
    let step = images.len().div_ceil(TRIES).max(1);
    for image in images.iter().step_by(step) {
        let read = async |lfn, offset, length| {
            let extent = Extent { file: place.files.location(lfn), offset, length };
            match place.source.read(&extent).await {
                Err(SourceError::Missing { .. }) if place.files.growing => {
                    let file = growing_location(&place.files, lfn);
                    place.source.read(&Extent { file, ..extent }).await
                }
                read => read,
            }
        };
        let mut configure = Vec::with_capacity(image.configure.len());
        let mut extents = Vec::with_capacity(image.extents.len());
        let whole = async {
            for one in image.configure.iter() {
                configure.push((one.clone(), read(&one.lfn, one.offset, one.length).await?));
            }
            for one in &image.extents {
                extents.push(read(&one.lfn, one.offset, one.length).await?);
            }
            Ok::<(), SourceError>(())
        };
        match whole.await {
            Ok(()) => {}
            Err(error) if error.concerns_file() => {
                tracing::warn!(image = %image.event, %error, "an image cannot be read; the trial is tried on another");
                continue;
            }
            Err(error) => return Err(Unfit::Source(error)),
        }
        let (parameters, base, image) = (parameters.clone(), place.base.clone(), image.clone());
        let fits = place.fits.clone();
        let tried = tokio::task::spawn_blocking(move || {
            let detector = &parameters.detector;
            let setup = Decoder::new(&detector.name, detector.kind, &configure).and_then(|decoder| {
                let pieces: Vec<_> = image.extents.iter().zip(extents.iter().map(Vec::as_slice)).collect();
                decoder.setup(&image.event, &pieces)
            });
            match setup {
                Ok(setup) => {
                    let key = key(&parameters, run, &setup);
                    if key.is_some_and(|key| fits.knows(key)) {
                        return Ok(true);
                    }
                    let compiled = inputs::compile(&parameters, run, setup, &base);
                    compiled.map_err(|error| Unfit::Trial(error.line()))?;
                    if let Some(key) = key {
                        fits.add(key);
                    }
                    Ok(true)
                }
                Err(error) if error.concerns_trial() => Err(Unfit::Trial(error.line())),
                Err(error) => {
                    let why = error.line();
                    tracing::warn!(image = %image.event, why, "an image cannot be decoded; the trial is tried on another");
                    Ok(false)
                }
            }
        });
        match tried.await {
            Ok(Ok(false)) => {}
            Ok(Ok(true)) => return Ok(()),
            Ok(Err(unfit)) => return Err(unfit),
            Err(panic) => return Err(Unfit::Trial(format!("compiling it failed: {panic}"))),
        }
    }
    tracing::warn!(run = %run, "no image could be decoded; whether the trial fits is not known");
    Ok(())
}
