//! A run's files that hold whole images: CBF, of which name and size are all that is wanted here, and HDF5, each read once. Of an
//! open run they come one by one, in any order.

use lightrail_topics::{FileKind, Generation, Lfn};

use super::super::Joined;
use super::super::files::RunFiles;
use super::super::stream::Stream;
use super::super::whole::{self, Masters, Whole};
use super::{Publication, PublishFault};
use crate::formats::FormatError;
use crate::formats::h5::H5;
use crate::geometry::crystfel::Encoder;
use crate::inputs;

/// What is known of a run's files that hold whole images.
#[derive(Debug, Default)]
pub(super) struct WholeFiles {
    /// The CBF files that are a stream, by name, with their sizes.
    frames: Vec<(Lfn, u64)>,
    /// HDF5 files that are read and are no stream yet, for more may be said of their images.
    waiting: Vec<Read>,
    masters: Masters,
}

/// An HDF5 file that was read.
#[derive(Debug)]
struct Read {
    lfn: Lfn,
    generation: Option<Generation>,
    found: Result<Whole, Fault>,
}

/// Why a file gives no images.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error(transparent)]
    Format(FormatError),
    #[error("its reader has failed: {0}")]
    Panic(tokio::task::JoinError),
}

impl Publication<'_> {
    /// Takes in those that have come.
    pub(super) async fn read_whole(&mut self, files: &RunFiles) -> Result<(), PublishFault> {
        self.take_frames(files);
        let generation = |lfn: &Lfn| files.there.get(lfn).and_then(|file| file.generation);
        // What was read of a file that is there no more, or again, counts no longer.
        self.whole
            .waiting
            .retain(|read| files.there.contains_key(&read.lfn) && generation(&read.lfn) == read.generation);
        let mut encoder = None;
        for lfn in files.there.keys().filter(|lfn| lfn.kind() == FileKind::Hdf5) {
            if self.has(lfn) || self.whole.waiting.iter().any(|read| read.lfn == *lfn) {
                continue;
            }
            if encoder.is_none() {
                encoder = Some(self.encoder().await?);
            }
            let read = self.read_hdf5(lfn, generation(lfn), encoder.clone().flatten()).await?;
            self.whole.waiting.push(read);
        }
        // A master file may be read after those that it points to.
        let masters = &self.whole.masters;
        let is_ready = |read: &mut Read| match &read.found {
            Ok(whole) => files.is_closed() || masters.are_known(&read.lfn, whole),
            Err(_) => true,
        };
        let ready: Vec<Read> = self.whole.waiting.extract_if(.., is_ready).collect();
        for read in ready {
            self.join.add(self.whole.stream(read));
        }
        Ok(())
    }

    /// All CBF files are one stream, in order of their names; where others come, another one.
    fn take_frames(&mut self, files: &RunFiles) {
        if files.frames().eq(self.whole.frames.iter().map(|(lfn, size)| (lfn, *size))) {
            return;
        }
        if let Some((first, _)) = self.whole.frames.first() {
            self.join.remove(first);
        }
        self.whole.frames = files.frames().map(|(lfn, size)| (lfn.clone(), size)).collect();
        let images: Vec<Joined> =
            self.whole.frames.iter().map(|(lfn, size)| whole::cbf(lfn, *size)).collect();
        if let Some((first, _)) = self.whole.frames.first() {
            self.join.add(Stream::of_whole(first, images));
        }
    }

    async fn read_hdf5(
        &mut self,
        lfn: &Lfn,
        generation: Option<Generation>,
        encoder: Option<Encoder>,
    ) -> Result<Read, PublishFault> {
        let storage = self.place.source.ranged(&self.place.files.location(lfn)).await?;
        let (detector, name) = (self.purpose.parameters.detector.name.clone(), lfn.clone());
        let reading = tokio::task::spawn_blocking(move || {
            let file = H5::open(storage)?;
            let shots = file.shots(encoder.as_ref());
            Ok((whole::hdf5(&name, &file, &detector, &shots), shots))
        });
        let found = match reading.await {
            Ok(Ok((found, shots))) => {
                match &found {
                    Ok(whole) => self.whole.masters.count(lfn, whole),
                    Err(FormatError::Elsewhere { files, .. }) => self.whole.masters.add(lfn, files, shots),
                    Err(_) => {}
                }
                found.map_err(Fault::Format)
            }
            Ok(Err(error)) => Err(Fault::Format(error)),
            Err(panic) => Err(Fault::Panic(panic)),
        };
        Ok(Read { lfn: lfn.clone(), generation, found })
    }

    /// Where the run's files hold the detector's distance, by the trial's geometry.
    async fn encoder(&self) -> Result<Option<Encoder>, PublishFault> {
        let (parameters, base) = (self.purpose.parameters.clone(), self.place.base.clone());
        let of = self.purpose.of.clone();
        let run = of.run.run;
        let reading = tokio::task::spawn_blocking(move || inputs::encoder(&parameters, run, &base));
        let why = match reading.await {
            Ok(Ok(encoder)) => return Ok(encoder),
            Ok(Err(error)) => error.line(),
            Err(panic) => panic.to_string(),
        };
        Err(PublishFault::Refused { of, why })
    }
}

impl WholeFiles {
    /// The stream that a file is.
    fn stream(&self, read: Read) -> Stream {
        let Read { lfn, generation, found } = read;
        let stream = match found {
            Ok(Whole { mut images, missing }) => {
                self.masters.complete(&lfn, &mut images);
                let stream = Stream::of_whole(&lfn, images);
                match missing.len() {
                    0 => stream,
                    missing => stream.with_fault(format!("{missing} of its images are not stored")),
                }
            }
            // They are files of the run as well, and indexed themselves.
            Err(Fault::Format(FormatError::Elsewhere { files, .. })) if !files.is_empty() => {
                tracing::info!(file = %lfn, ?files, "only points to other files");
                Stream::of_whole(&lfn, Vec::new())
            }
            Err(fault) => Stream::of_whole(&lfn, Vec::new()).with_fault(fault),
        };
        stream.registered(generation)
    }
}
