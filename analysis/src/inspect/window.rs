//! A file seen through a window that is moved forward: one read for many small datagrams, none for what is skipped.

use crate::source::{Extent, Location, Source, SourceError};

/// Bytes that are read at once, where the file has them.
const AHEAD: u64 = 1 << 20;

pub(super) struct Window {
    source: Source,
    file: Location,
    size: u64,
    start: u64,
    bytes: Vec<u8>,
}

impl Window {
    pub(super) async fn open(source: Source, file: Location) -> Result<Self, SourceError> {
        let size = source.size(&file).await?;
        Ok(Self { source, file, size, start: 0, bytes: Vec::new() })
    }

    /// Bytes of the file, when it was opened.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// The bytes from a place on, fewer where the file ends before.
    pub(super) async fn at(&mut self, at: u64, length: usize) -> Result<&[u8], SourceError> {
        let left = self.size.saturating_sub(at);
        let length = left.min(length as u64);
        let end = at + length;
        if at < self.start || end > self.start + self.bytes.len() as u64 {
            let ahead = length.max(AHEAD).min(left);
            let extent = Extent { file: self.file.clone(), offset: at, length: ahead };
            self.bytes = self.source.read_into(&extent, std::mem::take(&mut self.bytes)).await?;
            self.start = at;
        }
        let from = usize::try_from(at - self.start).unwrap_or(usize::MAX);
        let to = usize::try_from(end - self.start).unwrap_or(usize::MAX);
        Ok(self.bytes.get(from..to).unwrap_or_default())
    }
}
