//! Virtual datasets: of which files one is made, where that is simple, as in what NXmx writers make: whole images, those of one file
//! after those of the other. Opens none of them; anything else (panels of one image in several files, every second image) is no
//! such dataset.
//!
//! Source: HDF5 File Format Specification 3.0, III.E (global heap), IV.A.1 (object headers), IV.A.2.b and .i (dataspace, layout),
//! VII (virtual dataset's heap block) and VIII (selections); version 1 of the block as libhdf5 2.0 writes it.

use std::sync::{Arc, Mutex, PoisonError};

use hdf5_reader::Hdf5File;
use hdf5_reader::global_heap::GlobalHeapCollection;
use hdf5_reader::storage::Storage;

use super::{H5, Recorded, layout, options};
use crate::formats::bytes;

/// The layout class of virtual datasets.
pub(super) const VIRTUAL: u8 = 3;
/// The longest piece of an object header, and the longest list of sources, that is looked into.
const MOST: usize = 4 << 20;
/// Pieces of an object header.
const MOST_PIECES: usize = 64;

/// The messages of an object header that matter here.
const DATASPACE: u16 = 1;
const LAYOUT: u16 = 8;
const CONTINUATION: u16 = 16;

impl H5 {
    /// The files that a virtual dataset takes its images from, in the order of its images. Nothing where it is none, or where it
    /// is not simply one file's images after the other's.
    pub(super) fn sources(&self, path: &str) -> Option<Vec<String>> {
        let recorded =
            Arc::new(Recorded { storage: Arc::clone(&self.storage), read: Mutex::new(Vec::new()) });
        let file = Hdf5File::from_storage_with_options(Arc::clone(&recorded) as Arc<_>, options()).ok()?;
        // The reader knows where the object is and cannot read it: what it looked at last is its header.
        file.dataset(path).is_err().then_some(())?;
        let read = recorded.read.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let heads = read.iter().rev().filter(|range| range.end - range.start == 4);
        let mut found = heads.filter_map(|range| mapped(self.storage.as_ref(), range.start));
        let (dims, place) = found.next()?;
        let (heap, index) = place;
        let size = layout::OFFSET_SIZE;
        let collection =
            GlobalHeapCollection::parse_at_storage(self.storage.as_ref(), heap, size, size).ok()?;
        simple(&dims, &mappings(&collection.get_object(index)?.data, dims.len())?)
    }
}

/// Dimensions of the virtual dataset whose header is there, and where its sources are listed.
fn mapped(storage: &dyn Storage, address: u64) -> Option<(Vec<u64>, (u64, u16))> {
    let (mut dims, mut place) = (None, None);
    for (kind, message) in messages(storage, address)? {
        match kind {
            DATASPACE => dims = dimensions(&message),
            LAYOUT if message.get(..2) == Some(&[4, VIRTUAL]) => {
                let index = u16::try_from(bytes::u32(&message, 10)?).ok()?;
                place = Some((bytes::u64(&message, 2)?, index));
            }
            _ => {}
        }
    }
    Some((dims?, place?))
}

/// The messages of an object header, either version.
fn messages(storage: &dyn Storage, address: u64) -> Option<Vec<(u16, Vec<u8>)>> {
    let read = |at: u64, length: usize| {
        let piece = (length <= MOST).then(|| storage.read_range(at, length).ok())??;
        Some(piece.as_ref().to_vec())
    };
    let head = read(address, 16)?;
    let is_new = head.starts_with(b"OHDR");
    // Where the first piece begins in the file, how long it is, and the length of what is before each message.
    let (begin, length, before) = if is_new {
        let flags = head[5];
        let times = if flags & 0x20 == 0 { 0 } else { 16 };
        let bounds = if flags & 0x10 == 0 { 0 } else { 4 };
        let (at, size) = (6 + times + bounds, 1_usize << (flags & 3));
        let word = read(address.checked_add(at)?, size)?;
        let length = word.iter().rev().fold(0, |all, byte| all << 8 | u64::from(*byte));
        (address + at + size as u64, length, if flags & 4 == 0 { 4 } else { 6 })
    } else {
        (head[0] == 1).then_some(())?;
        (address.checked_add(16)?, u64::from(bytes::u32(&head, 8)?), 8)
    };
    let mut pieces = vec![(begin, usize::try_from(length).ok()?, 0)];
    let (mut found, mut at) = (Vec::new(), 0);
    while at < pieces.len().min(MOST_PIECES) {
        let (begin, length, skip) = pieces[at];
        let piece = read(begin, length)?;
        let mut rest = piece.get(skip..)?;
        while let Some(head) = rest.get(..before) {
            let (kind, size) = if is_new {
                (u16::from(head[0]), bytes::u16(head, 1)?)
            } else {
                (bytes::u16(head, 0)?, bytes::u16(head, 2)?)
            };
            let Some(message) = rest.get(before..before + usize::from(size)) else { break };
            if kind == CONTINUATION {
                let length = usize::try_from(bytes::u64(message, 8)?).ok()?;
                // In the newer version with a signature before and a sum behind.
                let (skip, sum) = if is_new { (4, 4) } else { (0, 0) };
                pieces.push((bytes::u64(message, 0)?, length.checked_sub(sum)?, skip));
            } else {
                found.push((kind, message.to_vec()));
            }
            rest = &rest[before + usize::from(size)..];
        }
        at += 1;
    }
    Some(found)
}

fn dimensions(message: &[u8]) -> Option<Vec<u64>> {
    let from = match message.first()? {
        1 => 8,
        2 => 4,
        _ => return None,
    };
    let rank = usize::from(*message.get(1)?);
    (0..rank).map(|axis| bytes::u64(message, from + 8 * axis)).collect()
}

/// A part of a dataset: all of it, or along each axis where it begins and how far it goes.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    All,
    Box(Vec<(u64, u64)>),
}

/// From which file which part of it is which part of the virtual dataset.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Mapping {
    file: String,
    from: Part,
    to: Part,
}

/// The list of sources; nothing where one is of a kind that is not read here.
fn mappings(block: &[u8], rank: usize) -> Option<Vec<Mapping>> {
    const FILE_SHARED: u8 = 1;
    const DATASET_SHARED: u8 = 2;
    let (version, count) = (*block.first()?, bytes::u64(block, 1)?);
    let mut rest = block.get(9..block.len().checked_sub(4)?)?;
    let mut all: Vec<Mapping> = Vec::new();
    (version <= 1).then_some(())?;
    while (all.len() as u64) < count {
        let flags = if version == 1 { take(&mut rest, 1)?[0] } else { 0 };
        (flags & !(FILE_SHARED | DATASET_SHARED) == 0).then_some(())?;
        let file = if flags & FILE_SHARED == 0 {
            word(&mut rest)?
        } else {
            let of = usize::try_from(bytes::u64(take(&mut rest, 8)?, 0)?).ok()?;
            all.get(of)?.file.clone()
        };
        if flags & DATASET_SHARED == 0 {
            word(&mut rest)?;
        } else {
            take(&mut rest, 8)?;
        }
        let (from, to) = (part(&mut rest, rank)?, part(&mut rest, rank)?);
        all.push(Mapping { file, from, to });
    }
    rest.is_empty().then_some(all)
}

fn take<'b>(rest: &mut &'b [u8], length: usize) -> Option<&'b [u8]> {
    let (taken, left) = rest.split_at_checked(length)?;
    *rest = left;
    Some(taken)
}

fn word(rest: &mut &[u8]) -> Option<String> {
    let end = rest.iter().position(|byte| *byte == 0)?;
    let text = std::str::from_utf8(take(rest, end)?).ok()?.to_owned();
    take(rest, 1)?;
    Some(text)
}

/// A selection, where it is in one piece.
fn part(rest: &mut &[u8], rank: usize) -> Option<Part> {
    const HYPERSLAB: u32 = 2;
    const ALL: u32 = 3;
    let mut number = |size: usize| {
        let taken = take(rest, size)?;
        Some(taken.iter().rev().fold(0_u64, |all, byte| all << 8 | u64::from(*byte)))
    };
    let (kind, version) = (u32::try_from(number(4)?).ok()?, number(4)?);
    if kind == ALL {
        number(8)?;
        return Some(Part::All);
    }
    (kind == HYPERSLAB).then_some(())?;
    let size = match version {
        1 => {
            number(8)?;
            (number(4)? == rank as u64 && number(4)? == 1).then_some(())?;
            let begins: Vec<u64> = (0..rank).map(|_| number(4)).collect::<Option<_>>()?;
            let lasts: Vec<u64> = (0..rank).map(|_| number(4)).collect::<Option<_>>()?;
            let sizes =
                begins.iter().zip(lasts).map(|(begin, last)| Some((*begin, last.checked_sub(*begin)? + 1)));
            return sizes.collect::<Option<_>>().map(Part::Box);
        }
        2 => {
            (number(1)? == 1).then_some(())?;
            number(4)?;
            8
        }
        3 => {
            (number(1)? == 1).then_some(())?;
            usize::try_from(number(1)?).ok().filter(|size| matches!(size, 2 | 4 | 8))?
        }
        _ => return None,
    };
    (number(4)? == rank as u64).then_some(())?;
    let axis = |number: &mut dyn FnMut(usize) -> Option<u64>| {
        let [begin, stride, count, block] = [number(size)?, number(size)?, number(size)?, number(size)?];
        // Blocks that follow each other without a gap are one.
        (count == 1 || stride == block).then_some((begin, count.checked_mul(block)?))
    };
    (0..rank).map(|_| axis(&mut number)).collect::<Option<_>>().map(Part::Box)
}

/// The files, where each gives its first images, whole, and all follow each other.
fn simple(dims: &[u64], mappings: &[Mapping]) -> Option<Vec<String>> {
    let (images, rest) = dims.split_first()?;
    let whole = |part: &[(u64, u64)]| {
        part.iter().zip(rest).all(|((begin, length), axis)| *begin == 0 && length == axis)
    };
    let mut parts = Vec::with_capacity(mappings.len());
    for Mapping { file, from, to } in mappings {
        let (begin, length) = match to {
            Part::All => (0, *images),
            Part::Box(part) => {
                let (first, of_image) = part.split_first()?;
                whole(of_image).then_some(*first)?
            }
        };
        let is_whole = match from {
            Part::All => true,
            Part::Box(part) => part.first() == Some(&(0, length)) && whole(&part[1..]),
        };
        // `.` is the file itself; names with % are made up for each image.
        (is_whole && file != "." && !file.contains('%')).then_some(())?;
        parts.push((begin, length, file.clone()));
    }
    parts.sort();
    let mut next = 0_u64;
    for (begin, length, _) in &parts {
        (*begin == next).then_some(())?;
        next = next.checked_add(*length)?;
    }
    let files: Vec<String> = parts.into_iter().map(|(.., file)| file).collect();
    let is_once = files.iter().enumerate().all(|(at, file)| !files[..at].contains(file));
    (next == *images && is_once).then_some(files)
}
