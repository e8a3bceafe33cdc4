//! Files of this machine: positioned reads on the runtime's threads for blocking work.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::{Handle, Location, SourceError};

struct Local {
    name: Location,
    file: Arc<File>,
}

pub(super) async fn open(name: &Location, path: &Path) -> Result<Arc<dyn Handle>, SourceError> {
    let path = path.to_owned();
    let file = blocking(name, move || {
        let file = File::open(path)?;
        if file.metadata()?.is_dir() { Err(io::ErrorKind::IsADirectory.into()) } else { Ok(file) }
    });
    Ok(Arc::new(Local { name: name.clone(), file: Arc::new(file.await?) }))
}

#[async_trait]
impl Handle for Local {
    async fn size(&self, _: Duration) -> Result<u64, SourceError> {
        let file = Arc::clone(&self.file);
        blocking(&self.name, move || Ok(file.metadata()?.len())).await
    }

    async fn read(
        &self,
        offset: u64,
        length: u32,
        mut buffer: Vec<u8>,
        _: Duration,
    ) -> Result<Vec<u8>, SourceError> {
        let file = Arc::clone(&self.file);
        let end = offset + u64::from(length);
        let read = blocking(&self.name, move || {
            let size = file.metadata()?.len();
            if size < end {
                return Ok(Err(size));
            }
            buffer.resize(length as usize, 0);
            match file.read_exact_at(&mut buffer, offset) {
                Ok(()) => Ok(Ok(buffer)),
                // It was cut meanwhile.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(Err(file.metadata()?.len())),
                Err(error) => Err(error),
            }
        });
        read.await?.map_err(|size| SourceError::Short { file: self.name.clone(), end, size })
    }
}

async fn blocking<T: Send + 'static>(
    name: &Location,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, SourceError> {
    let other = |source| SourceError::Other { file: name.clone(), source };
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) if error.kind() == io::ErrorKind::NotFound => {
            Err(SourceError::Missing { file: name.clone() })
        }
        Ok(Err(error)) => Err(other(error.into())),
        Err(error) => Err(other(error.into())),
    }
}
