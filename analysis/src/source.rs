//! Ranged reads from local files and `root://` URLs: handles kept in a small cache, many reads in flight, order kept, a deadline
//! for each. The only module here that imports xrootd. Never reads more than asked for, never retries.

mod cache;
mod extent;
mod local;
mod ranged;
mod remote;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::{self, Stream, StreamExt as _};

use cache::Cache;
pub use extent::{Extent, Location};

/// How a source reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Files kept open.
    pub handles: usize,
    /// How long a read may take, opening included.
    pub deadline: Duration,
    /// Reads under way at once in [`Source::read_all`].
    pub in_flight: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self { handles: 64, deadline: Duration::from_secs(15), in_flight: 16 }
    }
}

/// Why a read gave nothing. [`SourceError::concerns_file`] tells a file's faults from a door's.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// There is no such file.
    #[error("{file} is not there")]
    Missing {
        /// Which file.
        file: Location,
    },
    /// The file ends before the extent does.
    #[error("{file} ends at byte {size}, before byte {end} that was asked for")]
    Short {
        /// Which file.
        file: Location,
        /// The extent's end.
        end: u64,
        /// Bytes of the file.
        size: u64,
    },
    /// No extent can be that long.
    #[error("{length} bytes of {file} from byte {offset} on are more than can be read at once")]
    TooLong {
        /// Which file.
        file: Location,
        /// The extent's begin.
        offset: u64,
        /// Its length.
        length: u64,
    },
    /// No answer within the deadline, or no connection: the door's fault or the network's, not the file's.
    #[error("{file}: no answer")]
    NoAnswer {
        /// Which file.
        file: Location,
        /// What was said, if anything was.
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// Anything else, such as a refused key or a disk's fault.
    #[error("cannot read {file}")]
    Other {
        /// Which file.
        file: Location,
        /// What was said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl SourceError {
    /// Whether the door has answered and said that this file cannot give these bytes: asking again is no use, and other files
    /// are not concerned. Otherwise the door (or the disk) is in trouble.
    pub fn concerns_file(&self) -> bool {
        matches!(self, Self::Missing { .. } | Self::Short { .. } | Self::TooLong { .. })
    }

    /// The file that was to be read.
    pub fn file(&self) -> &Location {
        match self {
            Self::Missing { file }
            | Self::Short { file, .. }
            | Self::TooLong { file, .. }
            | Self::NoAnswer { file, .. }
            | Self::Other { file, .. } => file,
        }
    }
}

/// Where files are opened: this machine and its doors, or what a test plays.
#[async_trait]
pub trait Files: Send + Sync + 'static {
    /// Opens a file for reading. The deadline is also kept by the caller.
    async fn open(&self, file: &Location, deadline: Duration) -> Result<Arc<dyn Handle>, SourceError>;
}

/// An open file. Dropping it closes it.
#[async_trait]
pub trait Handle: Send + Sync + 'static {
    /// Bytes of the file now; it may grow.
    async fn size(&self, deadline: Duration) -> Result<u64, SourceError>;

    /// Reads all of `offset..offset + length` into the buffer, which then holds that and nothing else. Allocates only after it has
    /// seen that the file is long enough.
    ///
    /// # Errors
    /// [`SourceError::Short`] when it is not.
    async fn read(
        &self,
        offset: u64,
        length: u32,
        buffer: Vec<u8>,
        deadline: Duration,
    ) -> Result<Vec<u8>, SourceError>;
}

/// Reads extents. Cheap to clone; clones share the open files.
#[derive(Clone)]
pub struct Source {
    files: Arc<dyn Files>,
    cache: Arc<Cache>,
    settings: Settings,
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Source {
    /// Of this machine's files and of all doors.
    pub fn new(settings: Settings) -> Self {
        Self::over(Arc::new(Everywhere), settings)
    }

    /// Of other files: a test's.
    pub fn over(files: Arc<dyn Files>, settings: Settings) -> Self {
        Self { files, cache: Arc::new(Cache::new(settings.handles)), settings }
    }

    /// The bytes of an extent: all of them or an error.
    pub async fn read(&self, extent: &Extent) -> Result<Vec<u8>, SourceError> {
        self.read_into(extent, Vec::new()).await
    }

    /// The same in a buffer of an earlier read, whose content is lost.
    pub async fn read_into(&self, extent: &Extent, buffer: Vec<u8>) -> Result<Vec<u8>, SourceError> {
        let Extent { file, offset, length } = extent;
        let too_long = || SourceError::TooLong { file: file.clone(), offset: *offset, length: *length };
        let short_length = u32::try_from(*length).map_err(|_| too_long())?;
        offset.checked_add(*length).ok_or_else(too_long)?;
        let deadline = self.settings.deadline;
        let offset = *offset;
        self.timed(file, async move |handle| handle.read(offset, short_length, buffer, deadline).await).await
    }

    /// Many extents, several under way at once, given in their order.
    pub fn read_all(
        &self,
        extents: impl IntoIterator<Item = Extent>,
    ) -> impl Stream<Item = Result<Vec<u8>, SourceError>> {
        let source = self.clone();
        stream::iter(extents)
            .map(move |extent| {
                let source = source.clone();
                async move { source.read(&extent).await }
            })
            .buffered(self.settings.in_flight.max(1))
    }

    /// Bytes of a file now.
    pub async fn size(&self, file: &Location) -> Result<u64, SourceError> {
        let deadline = self.settings.deadline;
        self.timed(file, async |handle| handle.size(deadline).await).await
    }

    /// Closes a file that is kept open: it is known to have been replaced, or to be read no more.
    pub fn forget(&self, file: &Location) {
        self.cache.forget(file);
    }

    /// Asks an open file, within the deadline. One that has failed is not kept.
    // Not `AsyncFnOnce`: the compiler cannot yet show that what awaits one is `Send`, and reads are spawned.
    async fn timed<T, Asking: Future<Output = Result<T, SourceError>>>(
        &self,
        file: &Location,
        ask: impl FnOnce(Arc<dyn Handle>) -> Asking,
    ) -> Result<T, SourceError> {
        let deadline = self.settings.deadline;
        let answer = async {
            let handle = self.cache.get_or_open(file, || self.files.open(file, deadline)).await?;
            ask(handle).await
        };
        let answer = tokio::time::timeout(deadline, answer).await;
        let answer =
            answer.unwrap_or_else(|_| Err(SourceError::NoAnswer { file: file.clone(), source: None }));
        if answer.as_ref().is_err_and(|error| !error.concerns_file()) {
            self.cache.forget(file);
        }
        answer
    }
}

/// Ends the client's threads. A process that has read behind doors calls it last; nothing is read afterwards.
pub fn shutdown() {
    xrootd::shutdown();
}

/// This machine's files and all doors.
struct Everywhere;

#[async_trait]
impl Files for Everywhere {
    async fn open(&self, file: &Location, deadline: Duration) -> Result<Arc<dyn Handle>, SourceError> {
        match file.local_path() {
            Some(path) => local::open(file, path).await,
            None => remote::open(file, deadline).await,
        }
    }
}
