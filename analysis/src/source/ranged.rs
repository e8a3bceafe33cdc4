//! A file of a [`Source`] for readers that ask for ranges and wait (HDF5's structure): in blocks that are kept, for use on a
//! thread for blocking work.

use std::io;
use std::sync::Arc;

use tokio::runtime::Handle;

use super::{Extent, Location, Source, SourceError};
use crate::formats::h5::{BlockCacheStorage, DynStorage, RangeRequestStorage};

/// Bytes of a block, and how many are kept.
const BLOCK: usize = 64 << 10;
const KEPT: usize = 512;

impl Source {
    /// A file for ranged reads that wait, as large as it is now. Its reads block: use it within
    /// [`tokio::task::spawn_blocking`] only.
    pub async fn ranged(&self, file: &Location) -> Result<DynStorage, SourceError> {
        let length = self.size(file).await?;
        let (source, file, runtime) = (self.clone(), file.clone(), Handle::current());
        let read = move |offset: u64, length: usize| {
            let extent = Extent { file: file.clone(), offset, length: length as u64 };
            let read = runtime.block_on(source.read(&extent));
            read.map_err(|error| io::Error::other(error).into())
        };
        let whole: DynStorage = Arc::new(RangeRequestStorage::new(length, read));
        Ok(Arc::new(BlockCacheStorage::new(whole, BLOCK, KEPT)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formats::h5::H5;
    use crate::source::Settings;

    #[tokio::test(flavor = "multi_thread")]
    async fn an_hdf5_file_is_read_in_pieces() {
        let bytes = include_bytes!("../formats/h5/tests/other.h5");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("other.h5");
        std::fs::write(&path, bytes).unwrap();
        let source = Source::new(Settings::default());
        let storage = source.ranged(&Location::local(&path)).await.unwrap();
        let table = tokio::task::spawn_blocking(|| H5::open(storage).unwrap().table("/data").unwrap());
        assert_eq!(table.await.unwrap(), H5::of_bytes(bytes.to_vec()).unwrap().table("/data").unwrap());
        let gone = source.ranged(&Location::local(folder.path().join("gone.h5"))).await;
        assert!(matches!(gone, Err(SourceError::Missing { .. })));
    }
}
