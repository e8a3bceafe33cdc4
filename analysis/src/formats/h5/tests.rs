//! Files made by h5py (`tests/make.py` says how): every index of chunks, every filter, against one formula; damaged copies.

use hdf5_writer::{DatasetBuilder, Hdf5Builder, Hdf5Writer, WriteOptions};

use super::*;
use crate::formats::{damaged, fuzz};
use crate::frame::{Pixels, Shape};
use crate::geometry::crystfel::Encoder;

const NXMX: &[u8] = include_bytes!("tests/nxmx.h5");
const CXI: &[u8] = include_bytes!("tests/cxi.h5");
const OTHER: &[u8] = include_bytes!("tests/other.h5");

fn expected(image: usize, shape: Shape) -> Vec<f64> {
    let pixel = |i: usize| {
        let (panel, row, column) =
            (i / shape.panel_len(), i % shape.panel_len() / shape.columns, i % shape.columns);
        1000 * image + 300 * panel + 20 * row + column
    };
    (0..shape.len()).map(|i| f64::from(u32::try_from(pixel(i) % 65536).unwrap())).collect()
}

fn values(pixels: &Pixels) -> Vec<f64> {
    match pixels {
        Pixels::U16(v) => v.iter().map(|v| (*v).into()).collect(),
        Pixels::I16(v) => v.iter().map(|v| (*v).into()).collect(),
        Pixels::U32(v) => v.iter().map(|v| (*v).into()).collect(),
        Pixels::I32(v) => v.iter().map(|v| (*v).into()).collect(),
        Pixels::F32(v) => v.iter().map(|v| (*v).into()).collect(),
    }
}

/// Reads all images of a dataset as a worker does: the header's pieces and the chunks' bytes, nothing else of the file.
fn read(file: &[u8], path: &str) -> (Layout, Vec<Option<Pixels>>) {
    let table = H5::of_bytes(file.to_vec()).unwrap().table(path).unwrap();
    let bytes = |range: &Range<u64>| &file[to_usize(range.start)..to_usize(range.end)];
    let pieces: Vec<(u64, &[u8])> = table.header.iter().map(|range| (range.start, bytes(range))).collect();
    let layout = Layout::of_header(&pieces).unwrap();
    assert_eq!(layout, table.layout, "the pieces of the header are enough");
    let image = |(number, chunks): (usize, &Option<Vec<Range<u64>>>)| {
        let chunks = chunks.as_ref()?;
        let chunks: Vec<(u64, &[u8])> = chunks.iter().map(|range| (range.start, bytes(range))).collect();
        let frame = layout.frame(number as u64, &chunks).unwrap();
        assert_eq!(frame.shape, layout.shape);
        if path != "/lz4" {
            assert_eq!(values(&frame.pixels), expected(number, layout.shape), "{path} image {number}");
        }
        Some(frame.pixels)
    };
    let images = table.images.iter().enumerate().map(image).collect();
    (layout, images)
}

const MASTER: &[u8] = include_bytes!("tests/links_master.h5");
const LINKED: [&[u8]; 2] =
    [include_bytes!("tests/links_data_000001.h5"), include_bytes!("tests/links_data_000002.h5")];
const VIRTUAL: &[u8] = include_bytes!("tests/virtual.h5");
const VIRTUAL_EARLIEST: &[u8] = include_bytes!("tests/virtual_earliest.h5");
const VIRTUAL_OTHER: &[u8] = include_bytes!("tests/virtual_other.h5");

#[test]
fn files_that_only_point_to_others_say_to_which() {
    let master = H5::of_bytes(MASTER.to_vec()).unwrap();
    let files = [1, 2, 3].map(|n| format!("links_data_{n:06}.h5"));
    assert_eq!(master.linked(), files);
    assert_eq!(master.images().unwrap(), [""; 0]);
    let error = master.detector("eiger").unwrap_err();
    assert_eq!(
        error.to_string(),
        "the images of /entry/data lie in other files: name links_data_000001.h5 to links_data_000003.h5 instead of this one"
    );
    assert!(matches!(master.detector("/entry/data/data_000002"), Err(FormatError::Elsewhere { .. })));
    let absent = FormatError::absent("dataset /entry/nothing in the HDF5 file");
    assert_eq!(master.detector("/entry/nothing"), Err(absent));
    assert_eq!(master.shots(None).of(4).detector_distance, Some(0.15));

    let whole = H5::of_bytes(VIRTUAL.to_vec()).unwrap();
    assert!(whole.is_virtual("/entry/data/data") && !whole.is_virtual("/entry/nothing"));
    let files: Vec<String> = [1, 2].map(|n| format!("links_data_{n:06}.h5")).into();
    for name in ["eiger", "/entry/data/data"] {
        let elsewhere =
            FormatError::Elsewhere { dataset: "/entry/data/data".to_owned(), files: files.clone() };
        assert_eq!(whole.detector(name), Err(elsewhere));
    }
    // The same as older versions of HDF5 store it.
    assert_eq!(H5::of_bytes(VIRTUAL_EARLIEST.to_vec()).unwrap().sources("/entry/data/data"), Some(files));
    // Every second image of each file; the halves of each image in two files: that is not done here.
    let other = H5::of_bytes(VIRTUAL_OTHER.to_vec()).unwrap();
    for path in ["/entry/data/data", "/panels"] {
        let error = other.detector(path).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "the images of {path} lie in other files (it is a virtual dataset, not simply of one file's images after the \
                 other's): name those files instead of this one"
            )
        );
    }
    for file in LINKED {
        let file = H5::of_bytes(file.to_vec()).unwrap();
        assert_eq!((file.linked(), file.is_virtual("/entry/data/data")), (Vec::new(), false));
        assert_eq!(file.detector("eiger").unwrap(), "/entry/data/data");
    }
}

#[test]
fn dectris_images_are_read_from_header_and_chunks_alone() {
    let (layout, images) = read(NXMX, "/entry/data/data");
    assert_eq!((layout.shape.to_string().as_str(), layout.frames), ("1x33x40", 3));
    assert_eq!(layout.filters, [Filter::Bitshuffle { size: 2, block: 0, lz4: true }]);
    assert!(images.len() == 3 && images.iter().all(|image| matches!(image, Some(Pixels::U16(_)))));
    let file = H5::of_bytes(NXMX.to_vec()).unwrap();
    assert_eq!(file.images().unwrap(), ["/entry/data/data"], "one dataset by two names is one");
    assert_eq!(file.detector("eiger").unwrap(), "/entry/data/data");
    assert_eq!(file.text("/entry/definition").as_deref(), Some("NXmx"));
    let shot = file.shots(None).of(2);
    assert!((shot.photon_energy.unwrap() - 12_398.419_84 / 1.3).abs() < 1e-6);
    assert!((shot.detector_distance.unwrap() - 0.15).abs() < 1e-12, "millimetres become metres");
    let plane = file.plane(layout.shape).unwrap();
    let at = plane.panels[0].position(19.5, 15.5);
    assert!(at[0].abs() < 1e-12 && at[1].abs() < 1e-12, "the beam meets it at (20, 16) from its corner");
    let mask = file.array("/entry/instrument/detector/pixel_mask").unwrap();
    assert_eq!((mask.dims.as_slice(), mask.to_bits().iter().sum::<u64>()), (&[33, 40][..], 1));
    assert!(file.has("/entry/data/data") && !file.has("/entry/data/nothing"));
}

#[test]
fn an_encoders_positions_become_distances_by_the_geometry_that_names_it() {
    let path = "/LCLS/detector_1/EncoderValue";
    let file = |own: bool| {
        let mut file = Hdf5Builder::new()
            .dataset(DatasetBuilder::typed_data(&path[1..], [2], &[-440.0, -400.5]).unwrap());
        if own {
            let path = "entry_1/instrument_1/detector_1/distance";
            file = file.dataset(DatasetBuilder::typed_data(path, [1], &[0.7]).unwrap());
        }
        let mut bytes = std::io::Cursor::new(Vec::new());
        let writer = Hdf5Writer::new(&mut bytes, WriteOptions::default());
        writer.finish(file.into_plan().unwrap()).unwrap();
        H5::of_bytes(bytes.into_inner()).unwrap()
    };
    let encoder = Encoder { path: path.to_owned(), unit: 1e-3, offset: 0.573_224 };
    let of = |file: &H5, encoder: Option<&Encoder>| {
        let shots = file.shots(encoder);
        [0, 1].map(|image| shots.of(image).detector_distance)
    };
    let near = |found: [Option<f64>; 2]| {
        found.iter().zip([0.133_224, 0.172_724]).all(|(f, e)| f.is_some_and(|f| (f - e).abs() < 1e-12))
    };
    assert!(near(of(&file(false), Some(&encoder))), "{:?}", of(&file(false), Some(&encoder)));
    // What the geometry names goes before what the file says by convention.
    assert!(near(of(&file(true), Some(&encoder))));
    assert_eq!(of(&file(true), None), [Some(0.7); 2]);
    assert_eq!(of(&file(false), None), [None; 2], "without what is added to it a position is no distance");
    let gone = Encoder { path: "/LCLS/detector_2/EncoderValue".to_owned(), ..encoder };
    assert_eq!(of(&file(true), Some(&gone)), [Some(0.7); 2]);
}

#[test]
fn tiles_with_sums_are_put_together_and_what_was_not_stored_is_no_image() {
    let (layout, images) = read(CXI, "/entry_1/data_1/data");
    assert_eq!((layout.shape.to_string().as_str(), layout.grid()), ("5x12x16", [3, 1, 2]));
    assert_eq!(layout.filters, [Filter::Shuffle { size: 2 }, Filter::Deflate, Filter::Fletcher32]);
    let there: Vec<bool> = images.iter().map(Option::is_some).collect();
    assert_eq!(there, [true, false, true, true]);
    let file = H5::of_bytes(CXI.to_vec()).unwrap();
    let shots = file.shots(None);
    let of = |n: usize| (shots.of(n).photon_energy, shots.of(n).pulse_id);
    assert_eq!((of(0), of(3), of(4)), ((Some(9500.0), Some(7)), (Some(9503.0), Some(10)), (None, None)));
    // A byte of a chunk turned: the sum tells.
    let table = file.table("/entry_1/data_1/data").unwrap();
    let chunks = table.images[0].clone().unwrap();
    let mut copy = CXI.to_vec();
    copy[to_usize(chunks[2].start) + 9] ^= 4;
    let parts: Vec<(u64, &[u8])> =
        chunks.iter().map(|r| (r.start, &copy[to_usize(r.start)..to_usize(r.end)])).collect();
    let error = table.layout.frame(0, &parts).unwrap_err().to_string();
    assert!(error.contains(&format!("chunk at byte {}: its sum is", chunks[2].start)), "{error}");
    assert!(table.layout.frame(0, &parts[..5]).unwrap_err().to_string().contains("of 6 chunks there are 5"));
    assert!(table.layout.frame(9, &parts).unwrap_err().to_string().contains("image 9: the dataset has 4"));
}

#[test]
fn every_other_way_of_storing_is_read() {
    for (path, shape, images, first) in [
        ("/data", "1x8x11", 5, [2, 1, 8, 11]),
        ("/whole", "1x8x11", 3, [1, 1, 8, 11]),
        ("/single", "1x9x7", 1, [1, 1, 9, 7]),
        ("/tree", "1x6x10", 2, [1, 1, 3, 10]),
        ("/lz4", "1x16x16", 2, [1, 1, 16, 16]),
    ] {
        let (layout, all) = read(OTHER, path);
        assert_eq!((layout.shape.to_string().as_str(), layout.chunk), (shape, first), "{path}");
        assert_eq!(all.iter().flatten().count(), images, "{path}");
    }
    let file = H5::of_bytes(OTHER.to_vec()).unwrap();
    // Datasets read whole go through the same filters.
    let data = file.array("/data").unwrap();
    assert_eq!((data.dims.as_slice(), data.to_bits()[5 * 88 - 1]), (&[5, 8, 11][..], 4150));
    let bytes = file.array("/lz4").unwrap().to_bits();
    assert_eq!((bytes[0], bytes[256]), (0, 1000 % 256));
    assert_eq!(file.array("/flags").unwrap().to_bits(), [1, 0, 0, 1]);
    let listed: Vec<String> =
        file.list().unwrap().iter().map(|one| format!("{} {:?} {}", one.path, one.dims, one.kind)).collect();
    assert!(listed.contains(&"/whole [3, 8, 11] f32".to_owned()), "{listed:?}");
    let missing = file.table("/nothing").unwrap_err();
    assert_eq!(missing.to_string(), "there is no dataset /nothing in the HDF5 file");
    let cut = H5::of_bytes(OTHER[..900].to_vec()).and_then(|file| file.table("/data")).unwrap_err();
    assert!(cut.is_truncated(), "{cut}");
    // Pixels that are cut off concern their images only.
    let table = H5::of_bytes(OTHER[..2000].to_vec()).and_then(|file| file.table("/data")).unwrap();
    assert!(
        table.images.len() == 5 && table.images.iter().all(|image| image.as_ref().unwrap()[0].end > 2000)
    );
}

#[test]
fn damaged_copies_never_do_harm() {
    let all = [NXMX, CXI, OTHER, MASTER, VIRTUAL, VIRTUAL_EARLIEST, VIRTUAL_OTHER];
    for (seed, file) in all.into_iter().enumerate() {
        fuzz::h5(file);
        damaged::each("h5", file, seed as u64, 600, fuzz::h5);
    }
    for (file, path) in
        [(NXMX, "/entry/data/data"), (CXI, "/entry_1/data_1/data"), (OTHER, "/data"), (OTHER, "/lz4")]
    {
        let table = H5::of_bytes(file.to_vec()).unwrap().table(path).unwrap();
        for range in table.images.into_iter().flatten().flatten() {
            let chunk = &file[to_usize(range.start)..to_usize(range.end)];
            damaged::each("h5_chunk", chunk, range.start, 20, fuzz::h5_chunk);
        }
    }
}

proptest::proptest! {
    #[test]
    fn any_chunk_is_unpacked_or_refused(bytes: Vec<u8>) {
        fuzz::h5_chunk(&bytes);
        fuzz::h5(&bytes);
    }
}
