//! Files that hold whole images: HDF5 (one per row of the dataset) and CBF (one per file); and what an HDF5 master file, which
//! only points to others, says of theirs. Pure.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use lightrail_topics::events::{ConfigurePlace, Extent, ExtentKind, ShotData};
use lightrail_topics::{EventId, Lfn};

use super::Joined;
use super::join::epoch;
use crate::formats::FormatError;
use crate::formats::h5::{H5, Shots};

/// The images of an HDF5 file.
#[derive(Clone, Debug, PartialEq)]
pub struct Whole {
    /// Those that are stored, by number.
    pub images: Vec<Joined>,
    /// Numbers of images that the dataset has room for and that are not (wholly) stored.
    pub missing: Vec<u32>,
}

/// The images of an HDF5 file's dataset: `detector` is its path, or any name for the one that NXmx or CXI have. The dataset's
/// object header becomes the configuration; `shots` is what the file says of them.
pub fn hdf5(lfn: &Lfn, file: &H5, detector: &str, shots: &Shots) -> Result<Whole, FormatError> {
    let table = file.table(&file.detector(detector)?)?;
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

/// The files of a run that only point to others, and how many images those have. What a master file says of photon energy and
/// distance holds for the images in its files, which say nothing of it themselves.
#[derive(Clone, Debug, Default)]
pub struct Masters {
    masters: Vec<(Vec<Lfn>, Shots)>,
    counts: BTreeMap<Lfn, usize>,
}

impl Masters {
    /// A master file that points to these files, by the names that its links have, in the order of their images.
    pub fn add(&mut self, master: &Lfn, names: &[String], shots: Shots) {
        self.masters.push((names.iter().filter_map(|name| beside(master, name)).collect(), shots));
    }

    /// A file that has images.
    pub fn count(&mut self, lfn: &Lfn, whole: &Whole) {
        self.counts.insert(lfn.clone(), whole.images.len() + whole.missing.len());
    }

    /// Whether all is known that masters say of a file's images, as far as can be told before the run is closed. A master that
    /// says something of each image counts from the first file on; a file that is named as those of a master are, and says no
    /// photon energy itself, has one that is not there yet.
    pub fn are_known(&self, lfn: &Lfn, whole: &Whole) -> bool {
        let mut of = self.masters.iter().filter_map(|(files, shots)| {
            let at = files.iter().position(|file| file == lfn)?;
            Some(shots.is_of_all() || files[..at].iter().all(|file| self.counts.contains_key(file)))
        });
        match of.next() {
            Some(first) => first && of.all(|known| known),
            None => !is_numbered(lfn) || whole.images.iter().all(|image| image.shot.photon_energy.is_some()),
        }
    }

    /// Gives images of a file what the masters say of them. Where it is not known how many images lie in the files before it,
    /// that is only what holds for all.
    pub fn complete(&self, lfn: &Lfn, images: &mut [Joined]) {
        for (files, shots) in &self.masters {
            let Some(at) = files.iter().position(|file| file == lfn) else { continue };
            let before: Option<usize> = files[..at].iter().map(|file| self.counts.get(file)).sum();
            for image in &mut *images {
                let number = match image.event {
                    EventId::Frame { frame, .. } => before.map(|before| before + frame as usize),
                    EventId::Time { .. } => None,
                };
                let told = number.map_or_else(|| shots.of_all(), |number| shots.of(number));
                let shot = &mut image.shot;
                shot.photon_energy = shot.photon_energy.or(told.photon_energy);
                shot.detector_distance = shot.detector_distance.or(told.detector_distance);
                shot.pulse_id = shot.pulse_id.or(told.pulse_id);
            }
        }
    }
}

/// Whether a file is named as Dectris' writers name those of a master: `..._data_000001.h5`, or without `data`.
fn is_numbered(lfn: &Lfn) -> bool {
    let stem = lfn.file_name().split_once('.').map_or(lfn.file_name(), |(stem, _)| stem);
    let number = stem.rsplit_once('_').map_or("", |(_, number)| number);
    number.len() == 6 && number.bytes().all(|byte| byte.is_ascii_digit())
}

/// A file in the same folder that a link names; nothing where it lies in another.
pub fn beside(lfn: &Lfn, name: &str) -> Option<Lfn> {
    let name = name.strip_prefix("./").unwrap_or(name);
    let plain = !name.is_empty() && !name.contains('/');
    plain.then(|| format!("{}{name}", lfn.folder()).parse().ok()).flatten()
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
        let h5 = H5::of_bytes(file.to_vec()).unwrap();
        let shots = h5.shots(None);
        let whole = hdf5(&lfn, &h5, "cspad", &shots).unwrap();
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
        let absent = hdf5(&lfn, &h5, "/entry/data", &shots).unwrap_err();
        assert_eq!(absent.to_string(), "there is no dataset /entry/data in the HDF5 file");
        let one = cbf(&"/cxi/cxi78513/cbf/a.cbf".parse().unwrap(), 77);
        assert_eq!((one.event.to_string().as_str(), one.extents[0].length), ("a.cbf:0", 77));
    }

    #[test]
    fn what_a_master_file_says_holds_for_the_images_that_it_points_to() {
        let lfn = |name: &str| -> Lfn { format!("/mfx/mfxlv9518/hdf5/{name}").parse().unwrap() };
        let image =
            |file: &Lfn, frame| Joined { event: EventId::Frame { file: file.into(), frame }, ..cbf(file, 1) };
        let (one, two) = (lfn("a_000001.h5"), lfn("a_000002.h5"));
        let shots = Shots { energy: vec![1.0, 2.0, 3.0, 4.0, 5.0], distance: vec![0.1], ..Shots::default() };
        let mut masters = Masters::default();
        masters.add(
            &lfn("a_master.h5"),
            &["./a_000001.h5".to_owned(), "a_000002.h5".to_owned(), "/x/a.h5".to_owned()],
            shots,
        );
        let told = |masters: &Masters, file: &Lfn, frames: &[u32]| {
            let mut images: Vec<Joined> = frames.iter().map(|frame| image(file, *frame)).collect();
            masters.complete(file, &mut images);
            images
                .iter()
                .map(|image| (image.shot.photon_energy, image.shot.detector_distance))
                .collect::<Vec<_>>()
        };
        assert_eq!(told(&masters, &one, &[0, 2]), [(Some(1.0), Some(0.1)), (Some(3.0), Some(0.1))]);
        assert_eq!(told(&masters, &two, &[1]), [(None, Some(0.1))], "nobody knows yet how many come before");
        // The second of three is not stored, and counts.
        masters.count(&one, &Whole { images: vec![image(&one, 0), image(&one, 2)], missing: vec![1] });
        assert_eq!(told(&masters, &two, &[1, 2]), [(Some(5.0), Some(0.1)), (None, Some(0.1))]);
        assert_eq!(told(&masters, &lfn("other.h5"), &[0]), [(None, None)]);
    }

    #[test]
    fn images_of_an_open_run_wait_for_what_their_master_says_of_them() {
        let lfn = |name: &str| -> Lfn { format!("/mfx/mfxlv9518/hdf5/{name}").parse().unwrap() };
        let file = |lfn: &Lfn, energy| {
            let mut image = cbf(lfn, 1);
            image.shot.photon_energy = energy;
            Whole { images: vec![image], missing: Vec::new() }
        };
        let (one, two, own) = (lfn("a_data_000001.h5"), lfn("a_data_000002.h5"), lfn("run_12.h5"));
        let mut masters = Masters::default();
        let known = |masters: &Masters, lfn: &Lfn, energy| masters.are_known(lfn, &file(lfn, energy));
        // By its name it has a master, unless it says all itself.
        assert!(!known(&masters, &one, None) && known(&masters, &one, Some(9500.0)));
        assert!(!known(&masters, &lfn("t_6_000001.h5"), None));
        assert!(known(&masters, &own, None) && known(&masters, &lfn("a_data_00001.h5"), None));
        let names = ["a_data_000001.h5", "a_data_000002.h5"].map(str::to_owned);
        masters.add(&lfn("a_master.h5"), &names, Shots { energy: vec![9500.0], ..Shots::default() });
        assert!(known(&masters, &one, None) && known(&masters, &two, None), "the same for all");
        // Another one says something of each: of the second file when it is known how many are in the first.
        masters.add(&lfn("b.h5"), &names, Shots { energy: vec![9500.0, 9501.0], ..Shots::default() });
        assert!(known(&masters, &one, None) && !known(&masters, &two, None));
        masters.count(&one, &file(&one, None));
        assert!(known(&masters, &two, None));
    }
}
