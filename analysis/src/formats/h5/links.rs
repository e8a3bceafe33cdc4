//! HDF5 files whose images lie in other files: the master files of Dectris' detectors, with external links to `..._data_000001.h5`
//! and further ones, and virtual datasets (`mapped.rs`). Tells which files those are; opens none of them.

use std::sync::{Arc, Mutex, PoisonError};

use hdf5_reader::error::Error;
use hdf5_reader::{ExternalLinkResolver, Hdf5File};

use super::mapped::VIRTUAL;
use super::meta::PLACES;
use super::{H5, innermost, options};
use crate::formats::FormatError;

/// The group in which Dectris' and NXmx master files link their images.
const LINKS: &str = "/entry/data";

/// Keeps in mind which files links lead to, and follows none.
#[derive(Default)]
struct Asked(Mutex<Vec<String>>);

impl ExternalLinkResolver for Asked {
    fn resolve_external_link(&self, file: &str) -> Result<Option<Hdf5File>, Error> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(file.to_owned());
        Ok(None)
    }
}

impl H5 {
    /// The files that links lead to where images are by convention, by name, as the links have them: relative to this file's
    /// folder.
    pub fn linked(&self) -> Vec<String> {
        let asked = Arc::new(Asked::default());
        let options = options().with_external_link_resolver(Arc::clone(&asked) as Arc<_>);
        if let Ok(file) = Hdf5File::from_storage_with_options(Arc::clone(&self.storage), options) {
            // What is asked for is all that is wanted: nothing can be opened.
            let _ = file.group(LINKS).map(|group| group.member_names());
            for place in PLACES {
                let _ = file.dataset(place);
            }
        }
        let mut files = std::mem::take(&mut *asked.0.lock().unwrap_or_else(PoisonError::into_inner));
        files.sort();
        files.dedup();
        files
    }

    /// Whether a dataset is virtual: made of parts of others, nearly always in other files.
    pub fn is_virtual(&self, path: &str) -> bool {
        let dataset = self.file.dataset(path);
        dataset.is_err_and(|error| matches!(innermost(&error), Error::UnsupportedLayoutClass(VIRTUAL)))
    }

    /// Where images are that this file has not itself: of the dataset that was asked for, or where they are by convention.
    pub(super) fn elsewhere(&self, path: Option<&str>) -> Option<FormatError> {
        let virtual_one = match path {
            Some(path) => self.is_virtual(path).then_some(path),
            None => PLACES.into_iter().find(|place| self.is_virtual(place)),
        };
        if let Some(dataset) = virtual_one {
            let files = self.sources(dataset).unwrap_or_default();
            return Some(FormatError::Elsewhere { dataset: dataset.to_owned(), files });
        }
        let files = self.linked();
        match path {
            _ if files.is_empty() => None,
            // A link in the way of that very dataset, or of those in its group.
            Some(path) if !path.starts_with(LINKS) => None,
            _ => Some(FormatError::Elsewhere { dataset: path.unwrap_or(LINKS).to_owned(), files }),
        }
    }
}
