//! A run's index files, read piece by piece into their streams as far as they are there; the big file where its small one is
//! damaged. Files that hold whole images are read beside (`whole.rs`).

use lightrail_topics::{Generation, Lfn};

use super::super::files::{RunFiles, Told};
use super::super::stream::Stream;
use super::{Publication, PublishFault};
use crate::config::Site;
use crate::source::{Extent, Location, SourceError};

/// The most bytes of an index file that are read at once.
const PIECE: u64 = 16 << 20;

impl Publication<'_> {
    /// Reads all index files as far as they are there.
    pub(super) async fn read(&mut self, files: &RunFiles) -> Result<(), PublishFault> {
        let again = self.join.streams().iter().find(|stream| {
            let there = files.there.get(stream.lfn());
            stream.generation().is_some() && there.is_some_and(|file| file.generation != stream.generation())
        });
        if let Some(stream) = again {
            return Err(PublishFault::Registered(stream.lfn().clone()));
        }
        for lfn in files.index() {
            // Of an open run a better index of a stream may come when its big file is already read.
            if !self.is_told(&lfn) {
                self.add(&lfn, files.there.get(&lfn).and_then(|file| file.generation));
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

    /// Whether the stream that a file tells is read from some file.
    fn is_told(&self, lfn: &Lfn) -> bool {
        let stream = |lfn: &Lfn| Told::by(lfn).map(|told| told.stream);
        self.join.streams().iter().any(|one| stream(one.lfn()) == stream(lfn))
    }

    pub(super) fn has(&self, lfn: &Lfn) -> bool {
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
