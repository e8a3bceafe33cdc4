//! A run's index files, read as far as they are there: piece by piece into their streams, whole where images are whole files,
//! the big file where its small one is damaged.

use lightrail_topics::{FileKind, Generation, Lfn};

use super::super::Joined;
use super::super::files::RunFiles;
use super::super::stream::Stream;
use super::super::whole::{self, Whole};
use super::{Publication, PublishFault};
use crate::config::Site;
use crate::formats::FormatError;
use crate::formats::h5::H5;
use crate::geometry::crystfel::Encoder;
use crate::inputs;
use crate::source::{Extent, Location, SourceError};

/// The most bytes of an index file that are read at once.
const PIECE: u64 = 16 << 20;

impl Publication<'_> {
    /// Reads all index files as far as they are there.
    pub(super) async fn read(&mut self, files: &RunFiles) -> Result<(), PublishFault> {
        let index: Vec<Lfn> = files.index();
        for lfn in &index {
            let generation = files.there.get(lfn).and_then(|file| file.generation);
            match self.join.streams().iter().find(|stream| stream.lfn() == lfn) {
                Some(stream) if stream.generation().is_some() && stream.generation() != generation => {
                    return Err(PublishFault::Registered(lfn.clone()));
                }
                Some(_) => {}
                None => self.add(lfn, generation),
            }
        }
        self.read_whole(files).await?;
        for at in 0..self.join.streams().len() {
            self.read_stream(at, files).await?;
        }
        // A small file that is damaged says nothing of what lies behind: the big file does.
        let damaged: Vec<Lfn> = self
            .join
            .streams()
            .iter()
            .filter(|stream| !stream.faults().is_empty())
            .filter_map(Stream::big_file)
            .filter(|big| files.there.contains_key(big))
            .collect();
        for big in damaged {
            if self.has(&big) {
                continue;
            }
            tracing::warn!(file = %big, "its small file is damaged; the big file's headers are read instead");
            // Both would give the same pieces of the images before the damage.
            let small =
                self.join.streams().iter().position(|stream| stream.big_file().as_ref() == Some(&big));
            if let Some(small) = small {
                self.join.give_up(small);
            }
            self.add(&big, files.there.get(&big).and_then(|file| file.generation));
            let at = self.join.streams().iter().position(|stream| *stream.lfn() == big);
            if let Some(at) = at {
                self.read_stream(at, files).await?;
            }
        }
        self.join.look();
        for lfn in &files.growing {
            let size = self.place.source.size(&growing_location(&self.place.files, lfn)).await;
            match size {
                Ok(size) => drop(self.sizes.insert(lfn.clone(), size)),
                Err(error) if error.concerns_file() => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Files that hold whole images; each is read once.
    async fn read_whole(&mut self, files: &RunFiles) -> Result<(), PublishFault> {
        let frames: Vec<Joined> = files.frames().map(|(lfn, size)| whole::cbf(lfn, size)).collect();
        if let Some(lfn) = frames.first().map(|first| first.extents[0].lfn.clone())
            && !self.has(&lfn)
        {
            self.join.add(Stream::of_whole(&lfn, frames));
        }
        let hdf5 = files.there.keys().filter(|lfn| lfn.kind() == FileKind::Hdf5 && !self.has(lfn));
        let hdf5: Vec<Lfn> = hdf5.cloned().collect();
        let encoder = if hdf5.is_empty() { None } else { self.encoder().await? };
        let mut read = Vec::new();
        for lfn in hdf5 {
            let storage = self.place.source.ranged(&self.place.files.location(&lfn)).await?;
            let (detector, name) = (self.purpose.parameters.detector.name.clone(), lfn.clone());
            let encoder = encoder.clone();
            let reading = tokio::task::spawn_blocking(move || {
                let file = H5::open(storage)?;
                let shots = file.shots(encoder.as_ref());
                Ok((whole::hdf5(&name, &file, &detector, &shots), shots))
            });
            let opened = match reading.await {
                Ok(opened) => opened.map_err(|error: FormatError| error.to_string()),
                Err(panic) => Err(panic.to_string()),
            };
            match &opened {
                Ok((Ok(whole), _)) => self.masters.count(&lfn, whole),
                Ok((Err(FormatError::Elsewhere { files, .. }), shots)) => {
                    self.masters.add(&lfn, files, shots.clone());
                }
                _ => {}
            }
            read.push((lfn, opened.map(|(whole, _)| whole)));
        }
        // A master file may be read after those that it points to.
        for (lfn, read) in read {
            let stream = match read {
                Ok(Ok(Whole { mut images, missing })) => {
                    self.masters.complete(&lfn, &mut images);
                    let stream = Stream::of_whole(&lfn, images);
                    match missing.len() {
                        0 => stream,
                        missing => stream.with_fault(format!("{missing} of its images are not stored")),
                    }
                }
                // They are files of the run as well, and indexed themselves.
                Ok(Err(FormatError::Elsewhere { files, .. })) if !files.is_empty() => {
                    tracing::info!(file = %lfn, ?files, "only points to other files");
                    Stream::of_whole(&lfn, Vec::new())
                }
                Ok(Err(error)) => Stream::of_whole(&lfn, Vec::new()).with_fault(error),
                Err(error) => Stream::of_whole(&lfn, Vec::new()).with_fault(error),
            };
            self.join.add(stream.registered(files.there.get(&lfn).and_then(|file| file.generation)));
        }
        Ok(())
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

    fn has(&self, lfn: &Lfn) -> bool {
        self.join.streams().iter().any(|stream| stream.lfn() == lfn)
    }

    fn add(&mut self, lfn: &Lfn, generation: Option<Generation>) {
        if let Some(stream) = Stream::of(lfn, &self.purpose.parameters.detector.name) {
            self.join.add(stream.registered(generation));
        }
    }

    async fn read_stream(&mut self, at: usize, files: &RunFiles) -> Result<(), PublishFault> {
        while let Some(want) = self.join.streams().get(at).and_then(Stream::wants) {
            let is_whole = files.there.contains_key(&want.lfn) || files.is_closed();
            let location = if files.growing.contains(&want.lfn) {
                growing_location(&self.place.files, &want.lfn)
            } else {
                self.place.files.location(&want.lfn)
            };
            let there = match self.place.source.size(&location).await {
                Ok(size) => size.saturating_sub(want.offset),
                // Not begun yet.
                Err(SourceError::Missing { .. }) if !is_whole => return Ok(()),
                // A further chunk that the run's manifest leaves out.
                Err(SourceError::Missing { .. }) if !files.there.contains_key(&want.lfn) => {
                    if let Some(stream) = self.join.stream_mut(at) {
                        stream.end();
                    }
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            let length = want.length.unwrap_or(u64::MAX).min(there).min(PIECE);
            let bytes = if length == 0 {
                Vec::new()
            } else {
                self.place.source.read(&Extent { file: location, offset: want.offset, length }).await?
            };
            let Some(stream) = self.join.stream_mut(at) else { return Ok(()) };
            if !bytes.is_empty() {
                // Damage is among the stream's faults; what lies before it is taken.
                let _ = stream.take(&bytes);
            }
            let is_stuck = stream.wants().as_ref() == Some(&want);
            if is_stuck && is_whole {
                stream.end();
            } else if is_stuck {
                return Ok(());
            }
        }
        Ok(())
    }
}

/// Where the DAQ writes a file: its name ends differently until it is done.
pub(in super::super) fn growing_location(site: &Site, lfn: &Lfn) -> Location {
    let location = site.location(lfn);
    location.beside(&format!("{}.inprogress", location.name()))
}
