//! Files that hold whole images: HDF5 (one per row of the dataset) and CBF (one per file). Pure.

use std::ops::Range;
use std::sync::Arc;

use lightrail_topics::events::{ConfigurePlace, Extent, ExtentKind, ShotData};
use lightrail_topics::{EventId, Lfn};

use super::Joined;
use super::join::epoch;
use crate::formats::FormatError;
use crate::formats::h5::H5;

/// The images of an HDF5 file.
#[derive(Clone, Debug, PartialEq)]
pub struct Whole {
    /// Those that are stored, by number.
    pub images: Vec<Joined>,
    /// Numbers of images that the dataset has room for and that are not (wholly) stored.
    pub missing: Vec<u32>,
}

/// The images of an HDF5 file's dataset: `detector` is its path, or any name for the one that NXmx or CXI have. The dataset's
/// object header becomes the configuration.
pub fn hdf5(lfn: &Lfn, file: &H5, detector: &str) -> Result<Whole, FormatError> {
    let table = file.table(&file.detector(detector)?)?;
    let shots = file.shots();
    let place = |range: &Range<u64>| ConfigurePlace {
        lfn: lfn.clone(),
        offset: range.start,
        length: range.end - range.start,
    };
    let configure: Arc<[ConfigurePlace]> = table.header.iter().map(place).collect();
    let names_epoch = epoch(&configure);
    let mut whole = Whole { images: Vec::new(), missing: Vec::new() };
    for (number, chunks) in (0_u32..).zip(&table.images) {
        let Some(chunks) = chunks else {
            whole.missing.push(number);
            continue;
        };
        let extent = |range: &Range<u64>| Extent {
            lfn: lfn.clone(),
            offset: range.start,
            length: range.end - range.start,
            kind: ExtentKind::H5Chunk,
        };
        let shot = shots.of(number as usize);
        whole.images.push(Joined {
            event: EventId::Frame { file: lfn.into(), frame: number },
            extents: chunks.iter().map(extent).collect(),
            configure: Arc::clone(&configure),
            names_epoch,
            shot: ShotData {
                photon_energy: shot.photon_energy,
                pulse_id: shot.pulse_id,
                event_codes: shot.event_codes,
                detector_distance: shot.detector_distance,
            },
        });
    }
    Ok(whole)
}

/// The image of a CBF file of that many bytes: all of it.
pub fn cbf(lfn: &Lfn, size: u64) -> Joined {
    Joined {
        event: EventId::Frame { file: lfn.into(), frame: 0 },
        extents: vec![Extent { lfn: lfn.clone(), offset: 0, length: size, kind: ExtentKind::Cbf }],
        configure: Arc::new([]),
        names_epoch: epoch(&[]),
        shot: ShotData::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::{Decoder, with_message};
    use crate::detectors::Kind;

    #[test]
    fn what_an_hdf5_file_lists_is_decoded_from_its_bytes() {
        let file = include_bytes!("../formats/h5/tests/cxi.h5");
        let lfn: Lfn = "/cxi/cxi78513/hdf5/run12.cxi".parse().unwrap();
        let whole = hdf5(&lfn, &H5::of_bytes(file.to_vec()).unwrap(), "cspad").unwrap();
        assert_eq!((whole.images.len(), whole.missing.as_slice()), (3, &[1][..]));
        let bytes = |offset: u64, length: u64| {
            let from = usize::try_from(offset).unwrap();
            &file[from..from + usize::try_from(length).unwrap()]
        };
        for joined in &whole.images {
            let configure: Vec<_> =
                joined.configure.iter().map(|p| (p.clone(), bytes(p.offset, p.length).to_vec())).collect();
            let decoder = Decoder::new("cspad", Kind::Counts, &configure).unwrap();
            let extents: Vec<_> = joined.extents.iter().map(|e| (e, bytes(e.offset, e.length))).collect();
            let (frame, shot) = decoder.decode(&joined.event, &extents).unwrap();
            assert_eq!(frame.shape.to_string(), "5x12x16");
            let EventId::Frame { frame: number, .. } = joined.event else { panic!() };
            let shot = with_message(shot, &joined.shot);
            assert_eq!(shot.photon_energy, Some(9500.0 + f64::from(number)));
            assert_eq!(shot.pulse_id, Some(u64::from(7 + number)));
        }
        let absent = hdf5(&lfn, &H5::of_bytes(file.to_vec()).unwrap(), "/entry/data").unwrap_err();
        assert_eq!(absent.to_string(), "there is no dataset /entry/data in the HDF5 file");
        let one = cbf(&"/cxi/cxi78513/cbf/a.cbf".parse().unwrap(), 77);
        assert_eq!((one.event.to_string().as_str(), one.extents[0].length), ("a.cbf:0", 77));
    }
}
