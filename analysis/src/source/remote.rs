//! Files behind doors, by `root://`. What the client library says is sorted here into a file's faults and a door's.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use xrootd::{ErrorKind, File, OpenFlags};

use super::{Handle, Location, SourceError};

struct Remote {
    name: Location,
    file: File,
    /// Bytes of the file as far as known; it may have grown since.
    size: AtomicU64,
}

pub(super) async fn open(name: &Location, deadline: Duration) -> Result<Arc<dyn Handle>, SourceError> {
    let failed = |error| failed(name, error);
    let Some(url) = name.url() else { return Err(SourceError::Missing { file: name.clone() }) };
    let file = File::open(url, OpenFlags::READ, 0, deadline).await.map_err(failed)?;
    let size = file.stat(false, deadline).await.map_err(failed)?.size;
    Ok(Arc::new(Remote { name: name.clone(), file, size: AtomicU64::new(size) }))
}

#[async_trait]
impl Handle for Remote {
    async fn size(&self, deadline: Duration) -> Result<u64, SourceError> {
        let stat = self.file.stat(true, deadline).await.map_err(|error| failed(&self.name, error))?;
        self.size.store(stat.size, Ordering::Relaxed);
        Ok(stat.size)
    }

    async fn read(
        &self,
        offset: u64,
        length: u32,
        _: Vec<u8>,
        deadline: Duration,
    ) -> Result<Vec<u8>, SourceError> {
        let end = offset + u64::from(length);
        let short = |size| Err(SourceError::Short { file: self.name.clone(), end, size });
        if self.size.load(Ordering::Relaxed) < end {
            let size = self.size(deadline).await?;
            if size < end {
                return short(size);
            }
        }
        let read =
            self.file.read(offset, length, deadline).await.map_err(|error| failed(&self.name, error))?;
        if read.len() < length as usize { short(offset + read.len() as u64) } else { Ok(read) }
    }
}

fn failed(name: &Location, error: xrootd::Error) -> SourceError {
    let file = name.clone();
    match error.kind() {
        ErrorKind::NotFound => SourceError::Missing { file },
        ErrorKind::Unreachable | ErrorKind::TimedOut | ErrorKind::Busy | ErrorKind::Cancelled => {
            SourceError::NoAnswer { file, source: Some(error.into()) }
        }
        _ => SourceError::Other { file, source: error.into() },
    }
}
