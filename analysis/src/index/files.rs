//! Which of a run's files are there, and which of them are read as its index. Pure.

use std::collections::{BTreeMap, BTreeSet};

use lightrail_topics::events::{Extent, ManifestFile, RunManifest};
use lightrail_topics::{FileKind, Fingerprint, Generation, Lfn};
use sha2::{Digest as _, Sha256};

use super::Joined;
use super::stream::fingerprint;

/// A file that is there, whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct There {
    /// Which registration of it, where that is known.
    pub generation: Option<Generation>,
    /// Its size in bytes.
    pub size: u64,
}

/// The files of a run at a site as far as they are known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunFiles {
    /// Those that are there, whole.
    pub there: BTreeMap<Lfn, There>,
    /// Those that the DAQ still writes, by the names that they will have.
    pub growing: BTreeSet<Lfn>,
    /// A hash of them all, once there will be no more.
    pub manifest: Option<Fingerprint>,
}

impl RunFiles {
    /// Of a manifest.
    pub fn of(manifest: &RunManifest) -> Self {
        let there = |file: &ManifestFile| There { generation: Some(file.generation), size: file.size };
        Self::closed(manifest.files.iter().map(|file| (file.lfn.clone(), there(file))).collect())
    }

    /// These, and no more.
    pub fn closed(there: BTreeMap<Lfn, There>) -> Self {
        let mut hash = Sha256::new();
        for (lfn, file) in &there {
            hash.update(lfn.as_str());
            hash.update([0]);
            hash.update(file.generation.map_or(0, |generation| generation.0).to_le_bytes());
        }
        let manifest = Some(fingerprint(&hash.finalize()[..16]));
        Self { there, growing: BTreeSet::new(), manifest }
    }

    /// Whether there will be no more.
    pub fn is_closed(&self) -> bool {
        self.manifest.is_some()
    }

    /// The files that are read as the index, each of which tells one stream: of a stream the small file, else the index file,
    /// else, of LCLS-II, the big file that it begins with.
    pub fn index(&self) -> Vec<Lfn> {
        // Of each stream the rank of its best file, its chunk and the file: the smallest is read.
        let mut best = BTreeMap::new();
        for lfn in self.there.keys().chain(&self.growing) {
            let Some(told) = Told::by(lfn) else { continue };
            let this = (told.rank, lfn.chunk(), lfn.clone());
            let so_far = best.entry(told.stream).or_insert_with(|| this.clone());
            if this < *so_far {
                *so_far = this;
            }
        }
        best.into_values().map(|(.., lfn)| lfn).collect()
    }

    /// Whether one of them tells of images.
    pub fn tells(&self) -> bool {
        let is_whole = |lfn: &Lfn| matches!(lfn.kind(), FileKind::Hdf5 | FileKind::Cbf);
        !self.index().is_empty() || self.there.keys().any(is_whole)
    }

    /// Images that are files of their own, by name, with their sizes.
    pub fn frames(&self) -> impl Iterator<Item = (&Lfn, u64)> {
        let cbf = self.there.iter().filter(|(lfn, _)| lfn.kind() == FileKind::Cbf);
        cbf.map(|(lfn, file)| (lfn, file.size))
    }

    /// Whether all pieces of an image are there; `size` is how long a growing file is now.
    pub fn has(&self, joined: &Joined, size: impl Fn(&Lfn) -> u64) -> bool {
        let has = |lfn: &Lfn, end: u64| {
            self.there.contains_key(lfn) || (self.growing.contains(lfn) && size(lfn) >= end)
        };
        let of_extent = |extent: &Extent| has(&extent.lfn, extent.offset.saturating_add(extent.length));
        joined.extents.iter().all(of_extent)
            && joined.configure.iter().all(|place| has(&place.lfn, place.offset.saturating_add(place.length)))
    }
}

/// What a file tells as an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Told {
    /// Which stream: LCLS-II follows the chunks of one from its first file on; of LCLS-I each has an index of its own.
    pub(super) stream: (bool, Option<u16>, Option<u16>),
    /// The smallest is read.
    rank: u8,
}

impl Told {
    /// By this file; nothing by one that is no index.
    pub(super) fn by(lfn: &Lfn) -> Option<Self> {
        let is_lcls2 = lfn.file_name().rsplit_once('.').is_some_and(|(_, end)| end == "xtc2");
        let rank = match (lfn.kind(), is_lcls2) {
            (FileKind::Smd, _) => 0,
            (FileKind::Idx, _) => 1,
            (FileKind::Xtc, true) => 2,
            _ => return None,
        };
        Some(Self { stream: (is_lcls2, lfn.stream(), lfn.chunk().filter(|_| !is_lcls2)), rank })
    }
}

#[cfg(test)]
mod tests {
    use lightrail_topics::EventId;
    use lightrail_topics::events::{ConfigurePlace, ExtentKind, ShotData};

    use super::*;

    fn files(names: &[&str]) -> RunFiles {
        let there = There { generation: Some(Generation::FIRST), size: 1 };
        let lfn = |name: &&str| (format!("/mfx/mfxx1/xtc/{name}").parse().unwrap(), there);
        RunFiles::closed(names.iter().map(lfn).collect())
    }

    fn index(names: &[&str]) -> Vec<String> {
        files(names).index().iter().map(|lfn| lfn.file_name().to_owned()).collect()
    }

    #[test]
    fn each_stream_is_read_by_the_best_index_that_it_has() {
        let lcls2 = ["a-r0001-s000-c000.xtc2", "a-r0001-s000-c001.xtc2", "a-r0001-s001-c000.xtc2"];
        assert_eq!(index(&lcls2), ["a-r0001-s000-c000.xtc2", "a-r0001-s001-c000.xtc2"]);
        let small = [&lcls2[..], &["smalldata/a-r0001-s000-c000.smd.xtc2"]].concat();
        assert_eq!(index(&small), ["a-r0001-s000-c000.smd.xtc2", "a-r0001-s001-c000.xtc2"]);
        let lcls1 = [
            "a-r0001-s00-c00.xtc",
            "a-r0001-s00-c01.xtc",
            "smalldata/a-r0001-s00-c00.smd.xtc",
            "index/a-r0001-s00-c00.xtc.idx",
            "index/a-r0001-s00-c01.xtc.idx",
            "a-r0001-s00-c00.xtc.md5",
        ];
        assert_eq!(index(&lcls1), ["a-r0001-s00-c00.smd.xtc", "a-r0001-s00-c01.xtc.idx"]);
        assert_eq!(index(&[]), [""; 0]);
    }

    #[test]
    fn an_image_of_an_open_run_waits_until_each_of_its_files_holds_its_piece() {
        let lfn = |stream: u32| -> Lfn {
            format!("/mfx/mfxx1/xtc/mfxx1-r0001-s{stream:03}-c000.xtc2").parse().unwrap()
        };
        // Pieces in the first two streams; those of the third lack this event, and what decodes them is needed all the same.
        let extent = |stream| Extent { lfn: lfn(stream), offset: 500, length: 100, kind: ExtentKind::Dgram };
        let place = |stream| ConfigurePlace { lfn: lfn(stream), offset: 0, length: 50 };
        let image = Joined {
            event: EventId::Time { seconds: 1, nanoseconds: 2, fiducial: None },
            extents: vec![extent(0), extent(1)],
            configure: [place(0), place(1), place(2)].into(),
            names_epoch: 0,
            shot: ShotData::default(),
        };
        let whole = There { generation: Some(Generation::FIRST), size: 10_000 };
        let open = |there: &[u32], growing: &[u32]| RunFiles {
            there: there.iter().map(|stream| (lfn(*stream), whole)).collect(),
            growing: growing.iter().copied().map(lfn).collect(),
            manifest: None,
        };
        let enough = |_: &Lfn| 600;
        assert!(open(&[0, 1, 2], &[]).has(&image, |file| panic!("{file} is whole")));
        // Each of them is waited for, and one that nobody writes here has no size.
        for missing in 0..3 {
            let others: Vec<u32> = (0..3).filter(|stream| *stream != missing).collect();
            assert!(!open(&others, &[]).has(&image, enough), "stream {missing}");
            assert!(open(&others, &[missing]).has(&image, enough), "stream {missing} is written");
        }
        // Of one that is written, as far as the piece reaches.
        let of_size = |size: u64| open(&[0, 2], &[1]).has(&image, |_| size);
        assert_eq!([0, 50, 599, 600, 601].map(of_size), [false, false, false, true, true]);
        let of_size = |size: u64| open(&[0, 1], &[2]).has(&image, |_| size);
        assert_eq!([0, 49, 50].map(of_size), [false, false, true]);
        // A place that no file can reach is not reached.
        let mut beyond = image;
        beyond.extents[1].offset = u64::MAX;
        assert!(!open(&[0, 2], &[1]).has(&beyond, |_| u64::MAX - 1));
    }

    #[test]
    fn a_manifest_is_known_by_its_files_and_their_generations() {
        let one = files(&["a-r0001-s000-c000.xtc2"]);
        assert_eq!(one.manifest, files(&["a-r0001-s000-c000.xtc2"]).manifest);
        assert_ne!(one.manifest, files(&["a-r0001-s001-c000.xtc2"]).manifest);
        let again = There { generation: Some(Generation(2)), size: 1 };
        let again = one.there.keys().map(|lfn| (lfn.clone(), again)).collect();
        assert_ne!(one.manifest, RunFiles::closed(again).manifest);
    }
}
