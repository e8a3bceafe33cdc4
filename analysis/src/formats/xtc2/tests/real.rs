//! The real files: every count and size, pixels, joins, chunks; and damaged copies.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::*;
use crate::frame::{Frame, Pixels, Shot};

fn folder(test: &str) -> Option<PathBuf> {
    lightrail_compose::require::data(test).map(|data| data.join("xtc2"))
}

/// File, bytes, datagrams, and of these events.
const FILES: [(&str, usize, usize, usize); 18] = [
    ("test_jungfrau05M_calib.xtc2", 2_124_558, 8, 2),
    ("test_epix_calib.xtc2", 3_922_114, 6, 2),
    ("intg_det/xpptut15-r0014-s000-c000.xtc2", 5540, 24, 17),
    ("intg_det/xpptut15-r0014-s001-c000.xtc2", 4388, 12, 5),
    ("intg_det/xpptut15-r0014-s002-c000.xtc2", 4100, 9, 2),
    ("intg_det/smalldata/xpptut15-r0014-s000-c000.smd.xtc2", 7296, 24, 17),
    ("intg_det/smalldata/xpptut15-r0014-s001-c000.smd.xtc2", 6384, 12, 5),
    ("intg_det/smalldata/xpptut15-r0014-s002-c000.smd.xtc2", 6156, 9, 2),
    ("mixed_rate/xpptut15-r0014-s000-c000.xtc2", 126_148, 110, 100),
    ("mixed_rate/xpptut15-r0014-s001-c000.xtc2", 42_560, 20, 10),
    ("mixed_rate/smalldata/xpptut15-r0014-s000-c000.smd.xtc2", 51_044, 110, 100),
    ("mixed_rate/smalldata/xpptut15-r0014-s001-c000.smd.xtc2", 36_936, 20, 10),
    ("fakesteps/xpptut15-r0014-s000-c000.xtc2", 7164, 21, 10),
    ("fakesteps/xpptut15-r0014-s001-c000.xtc2", 6412, 15, 4),
    ("fakesteps/smalldata/xpptut15-r0014-s000-c000.smd.xtc2", 9060, 21, 10),
    ("fakesteps/smalldata/xpptut15-r0014-s001-c000.smd.xtc2", 8428, 15, 4),
    ("chunking/xpptut15-r0014-s000-c000.xtc2", 51_664, 15, 10),
    ("chunking/smalldata/xpptut15-r0014-s000-c000.smd.xtc2", 46_592, 24, 15),
];

#[test]
fn every_datagram_of_every_real_file_is_read() {
    let Some(folder) = folder("every datagram of every real file") else { return };
    for (name, size, count, events) in FILES {
        let bytes = read(folder.join(name));
        let all: Vec<Datagram<'_>> = datagrams(&bytes, 0).collect::<Result<_, _>>().unwrap();
        let walked: usize = all.iter().map(|datagram| datagram.bytes.len()).sum();
        let found = all.iter().filter(|datagram| datagram.header.service == Service::L1Accept).count();
        assert_eq!((bytes.len(), walked, all.len(), found), (size, size, count, events), "{name}");
        let mut configuration = Configuration::of(&all[0]).unwrap();
        for datagram in &all[1..] {
            assert!(!configuration.update(datagram).unwrap(), "{name} is not reconfigured");
            for part in values(datagram, &configuration) {
                let part = part.unwrap();
                assert!(part.damage.is_none());
                let bytes: usize = part.iter().map(|value| value.unwrap().bytes.len()).sum();
                assert!(bytes > 0, "{name}: {} has values", part.names.detector);
            }
        }
        assert_eq!(configuration.epoch(), 0);
    }
}

fn image(bytes: &[u8], at: usize, detector: &str, expected: usize) -> (Frame, Shot) {
    let configure = Datagram::parse(bytes, 0).unwrap();
    let configuration = Configuration::of(&configure).unwrap();
    assert_eq!(configuration.image_names(detector).count(), expected);
    let datagram = Datagram::parse(&bytes[at..], at as u64).unwrap();
    let segments = image::segments(&datagram, &configuration, detector).unwrap();
    let mut shot = Shot::default();
    image::shot(&datagram, &configuration, &mut shot).unwrap();
    (image::assemble(segments, expected).unwrap(), shot)
}

#[test]
fn the_jungfraus_pixels_are_those_that_python_reads() {
    let Some(folder) = folder("the Jungfrau's pixels") else { return };
    let bytes = read(folder.join("test_jungfrau05M_calib.xtc2"));
    let mut fiducials = Vec::new();
    // Sums and pixels computed by an independent decoder.
    for (at, sum, first, last) in
        [(27_194, 1_259_083_664, 2767, 2687), (1_075_876, 1_253_622_659, 2760, 2671)]
    {
        let (frame, shot) = image(&bytes, at, "jungfrau", 1);
        assert_eq!(frame.shape.to_string(), "1x512x1024");
        let Pixels::U16(pixels) = frame.pixels else { panic!("u16") };
        assert_eq!(pixels.iter().map(|pixel| u64::from(*pixel)).sum::<u64>(), sum);
        assert_eq!((pixels[0], pixels[pixels.len() - 1]), (first, last));
        fiducials.push(shot.pulse_id.unwrap());
        assert_eq!((shot.photon_energy, shot.event_codes), (None, vec![]));
    }
    assert_eq!(fiducials[1] - fiducials[0], 3, "120 Hz counted in 360 Hz");
    let configuration = Configuration::of(&Datagram::parse(&bytes, 0).unwrap()).unwrap();
    let names = configuration.image_names("jungfrau").next().unwrap();
    assert_eq!((names.algorithm.to_string().as_str(), names.segment), ("raw 0.2.0", 0));
    assert_eq!(names.serial, "8000000020000-230920-20004002c");
    let event = Datagram::parse(&bytes[27_194..], 27_194).unwrap();
    let part = values(&event, &configuration).next().unwrap().unwrap();
    let number = |name: &str| part.get(name).unwrap().unwrap().unsigned().unwrap();
    assert_eq!((number("frame_cnt"), number("hotPixelThresh"), number("maxHotPixels")), (7665, 15_000, 3400));
    assert!(part.get("nothing").unwrap().is_none());
}

#[test]
fn the_quads_four_segments_are_one_image() {
    let Some(folder) = folder("the ePix10ka quad's segments") else { return };
    let bytes = read(folder.join("test_epix_calib.xtc2"));
    let sums = [
        (1_734_194, [2_632_691_925u64, 2_629_209_105, 2_639_413_904, 2_616_481_596]),
        (2_828_154, [2_634_814_418, 2_631_371_693, 2_641_567_718, 2_618_662_001]),
    ];
    for (at, sums) in sums {
        let (frame, _) = image(&bytes, at, "epixquad", 4);
        assert_eq!(frame.shape.to_string(), "4x352x384");
        let Pixels::U16(pixels) = frame.pixels else { panic!("u16") };
        for (panel, sum) in pixels.chunks_exact(352 * 384).zip(sums) {
            assert_eq!(panel.iter().map(|pixel| u64::from(*pixel)).sum::<u64>(), sum);
        }
    }
    // A quad of which one segment is lost is no image.
    let configuration = Configuration::of(&Datagram::parse(&bytes, 0).unwrap()).unwrap();
    let datagram = Datagram::parse(&bytes[1_734_194..], 0).unwrap();
    let mut segments = image::segments(&datagram, &configuration, "epixquad").unwrap();
    segments.remove(1);
    let lost = image::assemble(segments, 4).unwrap_err();
    assert_eq!(lost.to_string(), "there is no whole image: of 4 segments there are 0, 2, 3");
    // The pixels' gain configuration lies in Configure, per segment.
    let configure = Datagram::parse(&bytes, 0).unwrap();
    let gains = values(&configure, &configuration).filter_map(|part| {
        let part = part.unwrap();
        let value = part.get("asicPixelConfig").unwrap()?;
        Some((part.names.segment, value.shape().to_vec(), part.get("trbit").unwrap()?.bytes.to_vec()))
    });
    let gains: Vec<_> = gains.collect();
    assert_eq!(gains.iter().map(|(segment, ..)| *segment).collect::<Vec<_>>(), [0, 1, 2, 3]);
    assert!(gains.iter().all(|(_, shape, bits)| shape.len() == 3 && bits.len() == 4), "{gains:?}");
}

/// Per stream its shots, and how many of them lie in its first file.
type Shots<'a> = &'a [(usize, usize)];

/// Big files by chunk.
type Chunks = BTreeMap<u32, Vec<u8>>;

/// Streams of a run, each with its small file.
fn run(folder: &Path, name: &str, streams: usize) -> Vec<(Vec<u8>, Chunks)> {
    let stream = |n: usize| {
        let small = read(folder.join(format!("{name}/smalldata/xpptut15-r0014-s{n:03}-c000.smd.xtc2")));
        let big = read(folder.join(format!("{name}/xpptut15-r0014-s{n:03}-c000.xtc2")));
        let mut chunks = BTreeMap::from([(0, big)]);
        for entry in entries(&small) {
            if let Entry::Chunk { chunk, .. } = entry {
                chunks.insert(chunk.number, read(folder.join(name).join(chunk.file)));
            }
        }
        (small, chunks)
    };
    (0..streams).map(stream).collect()
}

#[test]
fn small_files_lead_to_every_shot_of_every_stream_and_chunk() {
    let Some(folder) = folder("small files lead to every shot") else { return };
    // Run, its streams, and the shots that are in all of them.
    let runs: [(&str, Shots<'_>, usize); 4] = [
        ("intg_det", &[(17, 17), (5, 5), (2, 2)], 1),
        ("mixed_rate", &[(100, 100), (10, 10)], 10),
        ("fakesteps", &[(10, 10), (4, 4)], 4),
        ("chunking", &[(15, 10)], 15),
    ];
    for (name, streams, whole) in runs {
        let mut times: BTreeMap<Timestamp, BTreeSet<usize>> = BTreeMap::new();
        for (n, (small, chunks)) in run(&folder, name, streams.len()).iter().enumerate() {
            let places = places(small);
            let first = places.iter().filter(|place| place.chunk == 0).count();
            assert_eq!((places.len(), first), streams[n], "{name} stream {n}");
            for place in places {
                let file = &chunks[&place.chunk];
                let from = usize::try_from(place.offset).unwrap();
                let bytes = &file[from..from + place.size as usize];
                Datagram::event(bytes, place.offset, place.timestamp).unwrap();
                assert!(
                    times.entry(place.timestamp).or_default().insert(n),
                    "{name}: a time comes once per stream"
                );
            }
            let shots_of_big = chunks.values().flat_map(|file| datagrams(file, 0));
            let shots_of_big =
                shots_of_big.filter(|d| d.as_ref().unwrap().header.service == Service::L1Accept);
            assert_eq!(shots_of_big.count(), streams[n].0, "{name}: no shot is left out");
        }
        // Whatever a slower stream has, the first has too.
        assert_eq!(times.len(), streams[0].0, "{name}");
        assert!(times.values().all(|streams| streams.contains(&0)), "{name}");
        let in_all = times.values().filter(|present| present.len() == streams.len()).count();
        assert_eq!(in_all, whole, "{name}");
    }
}

#[test]
fn a_chunk_switch_names_its_file() {
    let Some(folder) = folder("a chunk switch") else { return };
    let small = read(folder.join("chunking/smalldata/xpptut15-r0014-s000-c000.smd.xtc2"));
    let switches: Vec<_> = entries(&small)
        .into_iter()
        .filter_map(|entry| {
            if let Entry::Chunk { timestamp, chunk } = entry { Some((timestamp, chunk)) } else { None }
        })
        .collect();
    let chunk = smd::Chunk { number: 1, file: "data-r0001-s000-c001.xtc2".to_owned() };
    assert_eq!(switches, [(Timestamp::new(1, 14), chunk)]);
    assert_eq!(places(&small)[0].offset, 43_072);
    assert_eq!(
        places(&small)[10],
        Place { timestamp: Timestamp::new(1, 16), chunk: 1, offset: 100, size: 848 }
    );
}

#[test]
fn a_growing_small_file_gives_the_same_entries_whatever_its_pieces() {
    let Some(folder) = folder("a growing small file") else { return };
    let small = read(folder.join("chunking/smalldata/xpptut15-r0014-s000-c000.smd.xtc2"));
    let whole = entries(&small);
    for step in [1, 7, 76, 997, 20_000] {
        let (mut reader, mut entries) = (SmdReader::new(), Vec::new());
        for end in (0..small.len()).step_by(step).chain([small.len()]) {
            let from = usize::try_from(reader.position()).unwrap();
            reader.read(&small[from..end.max(from)], &mut entries).unwrap();
            if end == small.len() / step / 2 * step {
                // As after a restart: what was kept is the position and the chunk.
                let configuration = reader.configuration().clone();
                reader = SmdReader::resume(configuration, reader.position(), reader.chunk().cloned());
            }
        }
        assert_eq!(entries, whole, "pieces of {step}");
    }
}

#[test]
fn damaged_copies_of_real_files_never_do_harm() {
    let Some(folder) = folder("damaged copies of real files") else { return };
    for (seed, (name, size, ..)) in FILES.into_iter().enumerate() {
        let bytes = read(folder.join(name));
        // The large ones hold pixels for the most part: their first event's headers are enough.
        let bytes = &bytes[..bytes.len().min(300_000)];
        let rounds = if size > 100_000 { 60 } else { 400 };
        fuzz::xtc2(bytes);
        fuzz::smd(bytes);
        damaged::each("xtc2", bytes, seed as u64, rounds, fuzz::xtc2);
        damaged::each("smd", bytes, seed as u64, rounds, fuzz::smd);
    }
}
