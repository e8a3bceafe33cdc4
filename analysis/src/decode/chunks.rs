//! HDF5: an image out of its stored chunks, by the object header of its dataset.

use lightrail_topics::events::{ConfigurePlace, Extent, ExtentKind};
use lightrail_topics::image::{EventId, FileName};
use lightrail_topics::lfn::Lfn;

use super::{DecodeError, at};
use crate::formats::h5::Layout;
use crate::frame::{Frame, Shape, Shot};

/// How the datasets of images are stored, by file.
#[derive(Clone, Debug)]
pub(super) struct Files(Vec<(Lfn, Layout)>);

impl Files {
    pub(super) fn new(configure: &[(ConfigurePlace, Vec<u8>)]) -> Result<Self, DecodeError> {
        let mut files: Vec<(Lfn, Layout)> = Vec::new();
        for (place, _) in configure {
            if files.iter().any(|(lfn, _)| *lfn == place.lfn) {
                continue;
            }
            let own = configure.iter().filter(|(other, _)| other.lfn == place.lfn);
            let pieces: Vec<(u64, &[u8])> = own.map(|(place, bytes)| (place.offset, &bytes[..])).collect();
            let layout = Layout::of_header(&pieces).map_err(|source| DecodeError::Configure {
                file: place.lfn.clone(),
                offset: place.offset,
                source,
            })?;
            files.push((place.lfn.clone(), layout));
        }
        Ok(Self(files))
    }

    pub(super) fn decode(
        &self,
        detector: &str,
        event: &EventId,
        extents: &[(&Extent, &[u8])],
    ) -> Result<(Frame, Shot), DecodeError> {
        let lfn = &extents[0].0.lfn;
        let number = match event {
            EventId::Frame { file, frame } if *file == FileName::from(lfn) => u64::from(*frame),
            _ => {
                let what = format!("event {event} of {}", lfn.file_name());
                return Err(DecodeError::Message { what });
            }
        };
        let mut chunks = Vec::with_capacity(extents.len());
        for &(extent, bytes) in extents {
            if extent.kind != ExtentKind::H5Chunk || extent.lfn != *lfn {
                let what = format!("an extent of kind {:?} in {}", extent.kind, extent.lfn.file_name());
                return Err(DecodeError::Message { what });
            }
            chunks.push((extent.offset, bytes));
        }
        let layout = self.0.iter().find(|(of, _)| of == lfn).map(|(_, layout)| layout);
        let layout = layout.ok_or_else(|| DecodeError::NoConfigure { file: lfn.clone() })?;
        let frame = layout.frame(number, &chunks).map_err(|source| match chunks.as_slice() {
            [_] => at(extents[0].0, source),
            _ => DecodeError::Image { detector: detector.to_owned(), source },
        });
        Ok((frame?, Shot::default()))
    }

    pub(super) fn shape(&self) -> Option<Shape> {
        let [(_, first), others @ ..] = self.0.as_slice() else { return None };
        others.iter().all(|(_, other)| other.shape == first.shape).then_some(first.shape)
    }
}
