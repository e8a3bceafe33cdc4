//! What fuzzing does with bytes, for `./test` (on stable, from a corpus and damaged copies of it) and for cargo-fuzz
//! (`analysis/fuzz`): reads all that can be read in them. Fine bytes and bad ones may come; a panic, an allocation larger
//! than the bytes allow, or no end is a fault.

use super::cbf::{Cbf, MOST_PIXELS};
use super::xtc2::{self, Configuration, Service, smd::SmdReader};
use super::{array, h5, npy, xtc};
use crate::frame::Shot;
use crate::geometry;

/// As an XTC2 stream.
pub fn xtc2(bytes: &[u8]) {
    let mut configuration = Configuration::default();
    for datagram in xtc2::datagrams(bytes, 0) {
        let Ok(datagram) = datagram else { return };
        if datagram.header.service == Service::Configure {
            configuration = Configuration::of(&datagram).unwrap_or_default();
        } else {
            // A damaged transition is reported; reading goes on.
            let _ = configuration.update(&datagram);
        }
        for part in xtc2::values(&datagram, &configuration).flatten() {
            for value in part.iter().flatten() {
                let elements: u128 = value.shape().iter().map(|axis| u128::from(*axis)).product();
                assert_eq!(elements * value.field.kind.size() as u128, value.bytes.len() as u128);
                assert!(value.bytes.len() <= datagram.bytes.len(), "a value lies in its datagram");
                let _ = (value.unsigned(), value.signed(), value.float(), value.text());
            }
        }
        let detectors: Vec<&str> = configuration.names().map(|names| names.detector.as_str()).collect();
        for detector in detectors {
            if let Ok(segments) = xtc2::image::segments(&datagram, &configuration, detector) {
                let expected = segments.len();
                if let Ok(frame) = xtc2::image::assemble(segments, expected) {
                    assert_eq!(frame.shape.len(), frame.pixels.len());
                    assert!(frame.pixels.len() <= datagram.bytes.len(), "no more pixels than bytes");
                }
            }
        }
        let _ = xtc2::image::shot(&datagram, &configuration, &mut Shot::default());
        let _ = xtc2::smd::chunk(&datagram, &configuration);
    }
}

/// As the small file of an XTC2 stream that grows: in two pieces.
pub fn smd(bytes: &[u8]) {
    let (mut whole, mut pieces) = (SmdReader::new(), SmdReader::new());
    let (mut at_once, mut piecewise) = (Vec::new(), Vec::new());
    let outcome = whole.read(bytes, &mut at_once);
    assert!(at_once.len() <= bytes.len() / xtc2::HEADER, "no more entries than datagrams");
    let first = pieces.read(&bytes[..bytes.len() / 2], &mut piecewise);
    let rest = bytes.get(usize::try_from(pieces.position()).unwrap_or(usize::MAX)..).unwrap_or_default();
    let second = first.and_then(|()| pieces.read(rest, &mut piecewise));
    assert_eq!((outcome, at_once, whole.position()), (second, piecewise, pieces.position()));
}

/// As an LCLS-I stream or its small file.
pub fn xtc(bytes: &[u8]) {
    let mut configuration = xtc::Configuration::default();
    for datagram in xtc::datagrams(bytes, 0) {
        let Ok(datagram) = datagram else { return };
        if datagram.header.service == xtc::Service::Configure {
            configuration = xtc::Configuration::of(&datagram).unwrap_or_default();
        }
        let mut leaves = 0;
        for leaf in datagram.leaves().flatten() {
            leaves += 1;
            let _ = (leaf.src.to_string(), leaf.kind.to_string(), leaf.damage.to_string());
            if let Ok(frame) = xtc::image::frame(&leaf, &configuration) {
                assert_eq!(frame.shape.len(), frame.pixels.len());
                // A CSPAD's frame has room for sections that are not stored.
                assert!(frame.pixels.len() <= bytes.len().max(32 * 185 * 388), "no more pixels than bytes");
            }
        }
        assert!(leaves <= datagram.bytes.len() / xtc::XTC_HEADER, "no more containers than bytes");
        let _ = xtc::image::shot(&datagram, &mut Shot::default());
        let _ = xtc::smd::place(&datagram);
        let _ = xtc::smd::proxies(&datagram).count();
    }
}

/// As the index file of an LCLS-I stream.
pub fn idx(bytes: &[u8]) {
    if let Ok(index) = xtc::idx::Index::parse(bytes) {
        assert!(index.shots.len() <= bytes.len() / 36 && index.cycles.len() <= bytes.len() / 20);
    }
}

/// As a NumPy array, and as a text of numbers.
pub fn npy(bytes: &[u8]) {
    if let Ok(array) = npy::read(bytes) {
        assert!(array.len() * array.element.size() <= bytes.len(), "no more elements than bytes");
        assert_eq!(array.dims.iter().product::<usize>(), array.len());
    }
    if let Ok(array) =
        std::str::from_utf8(bytes).map_err(drop).and_then(|text| array::read_text(text).map_err(drop))
    {
        assert!(array.len() <= bytes.len(), "no more numbers than bytes");
    }
}

/// As an HDF5 file: its list, and of every dataset that could be images its table, the first images, and the shots.
pub fn h5(bytes: &[u8]) {
    let Ok(file) = h5::H5::of_bytes(bytes.to_vec()) else { return };
    let Ok(listed) = file.list() else { return };
    for one in listed.iter().take(32) {
        let _ = file.array(&one.path);
        let Ok(table) = file.table(&one.path) else { continue };
        let piece = |range: &std::ops::Range<u64>| {
            let place = |at: u64| usize::try_from(at).unwrap_or(usize::MAX);
            bytes.get(place(range.start)..place(range.end)).map(|bytes| (range.start, bytes))
        };
        let pieces: Option<Vec<_>> = table.header.iter().map(piece).collect();
        let pieces = pieces.expect("what was read of the file lies in it");
        assert_eq!(h5::Layout::of_header(&pieces).as_ref(), Ok(&table.layout));
        for (number, chunks) in table.images.iter().enumerate().take(3) {
            let Some(chunks) = chunks else { continue };
            let chunks: Option<Vec<_>> = chunks.iter().map(piece).collect();
            let Some(chunks) = chunks else { continue };
            if let Ok(frame) = table.layout.frame(number as u64, &chunks) {
                assert_eq!(frame.pixels.len(), frame.shape.len());
            }
        }
    }
    let _ =
        (file.images(), file.shots(None).of(0), file.linked(), file.detector(""), file.detector("/panels"));
}

/// As a stored chunk, through every filter.
pub fn h5_chunk(bytes: &[u8]) {
    use h5::filter::{Filter, undo};
    let said =
        bytes.get(..8).map_or(0, |head| head.iter().fold(0_usize, |all, byte| all << 8 | usize::from(*byte)));
    let bits = |lz4: bool| Filter::Bitshuffle { size: 2, block: 0, lz4 };
    let filters = [
        Filter::Deflate,
        Filter::Shuffle { size: 4 },
        Filter::Fletcher32,
        Filter::Lz4,
        bits(true),
        bits(false),
    ];
    for filter in filters {
        for size in [said, 64, bytes.len()] {
            if let Ok(undone) = undo(&[filter], bytes, size, 0) {
                assert_eq!(undone.len(), size);
            }
        }
    }
}

/// As a CBF file: pixels, shot, axes.
pub fn cbf(bytes: &[u8]) {
    let Ok(cbf) = Cbf::read(bytes) else { return };
    if let Ok(frame) = cbf.frame() {
        assert_eq!(frame.pixels.len(), frame.shape.len());
        assert!(frame.pixels.len() <= MOST_PIXELS, "no more pixels than any detector has");
    }
    let _ = (cbf.shot(), geometry::cbf::read(&cbf), cbf.sums_agree());
}

/// As a geometry file, CrystFEL's and psana's.
pub fn geometry(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Ok(read) = geometry::crystfel::read(&text) {
        assert!(read.geometry.panels.len() <= bytes.len(), "no more panels than bytes");
        let _ = read.geometry.overlap();
    }
    let _ = geometry::psana::read(&text);
}
