//! The pure part on the real files and on files written here.

use std::collections::BTreeMap;

use lightrail_topics::events::{Extent, ExtentKind};
use lightrail_topics::{EventId, Lfn};

use super::*;
use crate::formats::xtc2::write::{Event, StreamSetup, StreamWriter};
use crate::formats::xtc2::{Configuration, Datagram, Service, Timestamp};

const FOLDER: &str = "/xpp/xpptut15/xtc/";

fn lfn(name: &str) -> Lfn {
    let folder = if name.contains(".smd.") { "smalldata/" } else { "" };
    format!("{FOLDER}{folder}{name}").parse().unwrap()
}

/// Reads a stream to its end from files in memory.
fn read(stream: &mut Stream, files: &BTreeMap<Lfn, Vec<u8>>) {
    while let Some(want) = stream.wants() {
        let file = &files[&want.lfn];
        let from = usize::try_from(want.offset).unwrap().min(file.len());
        let to =
            want.length.map_or(file.len(), |length| file.len().min(from + usize::try_from(length).unwrap()));
        if from == to {
            stream.end();
        } else {
            let before = stream.wants();
            stream.take(&file[from..to]).unwrap();
            if stream.wants() == before {
                stream.end();
            }
        }
    }
}

/// All images of a detector by the files of these names.
fn join(names: &[&str], detector: &str, files: &BTreeMap<Lfn, Vec<u8>>) -> Join {
    let mut join = Join::new();
    for name in names {
        let mut stream = Stream::of(&lfn(name), detector).unwrap();
        read(&mut stream, files);
        join.add(stream);
    }
    join
}

fn time(seconds: u32, nanoseconds: u32) -> EventId {
    EventId::Time { seconds, nanoseconds, fiducial: None }
}

/// The files of a run of the real data.
fn real(test: &str, run: &str) -> Option<BTreeMap<Lfn, Vec<u8>>> {
    let folder = lightrail_compose::require::data(test)?.join("xtc2").join(run);
    let mut files = BTreeMap::new();
    for folder in [folder.join("smalldata"), folder] {
        for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap).filter(|e| e.path().is_file()) {
            let name = entry.file_name().into_string().unwrap();
            files.insert(lfn(&name), std::fs::read(entry.path()).unwrap());
        }
    }
    Some(files)
}

/// Every extent of every image is a datagram of that time; with its configuration it has names of the detector.
fn check(images: &[Joined], detector: &str, files: &BTreeMap<Lfn, Vec<u8>>) {
    for image in images {
        let EventId::Time { seconds, nanoseconds, .. } = image.event else { panic!("{image:?}") };
        for extent in &image.extents {
            assert_eq!(extent.kind, ExtentKind::Dgram);
            let from = usize::try_from(extent.offset).unwrap();
            let bytes = &files[&extent.lfn][from..from + usize::try_from(extent.length).unwrap()];
            Datagram::event(bytes, extent.offset, Timestamp::new(seconds, nanoseconds)).unwrap();
        }
        let mut found = 0;
        for place in image.configure.iter() {
            let from = usize::try_from(place.offset).unwrap();
            let bytes = &files[&place.lfn][from..from + usize::try_from(place.length).unwrap()];
            let configure = Datagram::parse(bytes, place.offset).unwrap();
            found +=
                Configuration::of(&configure).unwrap().names().filter(|n| n.detector == detector).count();
        }
        assert!(found > 0, "{image:?}");
    }
}

const S0: &str = "xpptut15-r0014-s000-c000.smd.xtc2";
const S1: &str = "xpptut15-r0014-s001-c000.smd.xtc2";
const S2: &str = "xpptut15-r0014-s002-c000.smd.xtc2";

#[test]
fn a_detector_in_streams_of_different_rates_is_one_image_per_time() {
    let Some(files) = real("different rates", "mixed_rate") else { return };
    let mut join = join(&[S0, S1], "xppcspad", &files);
    let images = join.all();
    check(&images, "xppcspad", &files);
    assert_eq!((images.len(), join.images(), join.count()), (100, 100, 100));
    let whole: Vec<&Joined> = images.iter().filter(|image| image.extents.len() == 2).collect();
    assert_eq!(whole.len(), 10, "both streams have every tenth");
    assert_eq!(whole[0].event, time(1, 4));
    // Where the slow stream is missing its configuration is named all the same: two of four segments are missing.
    assert!(images.iter().all(|image| image.configure.len() == 2), "{images:?}");
    assert_eq!(
        images.iter().map(|image| image.names_epoch).collect::<std::collections::BTreeSet<_>>().len(),
        1
    );
    assert!(images.windows(2).all(|pair| pair[0].event < pair[1].event));
    assert!(join.is_done() && join.faults().is_empty());
    assert_eq!((join.late(), join.twice()), (0, 0));
}

#[test]
fn only_streams_that_carry_the_detector_give_images() {
    let Some(files) = real("only the detector's streams", "intg_det") else { return };
    for (detector, stream, count) in [("hsd", S0, 17), ("andor", S1, 5), ("epix", S2, 2), ("nothing", S0, 0)]
    {
        let mut join = join(&[S0, S1, S2], detector, &files);
        let images = join.all();
        check(&images, detector, &files);
        assert_eq!(images.len(), count, "{detector}");
        assert!(images.iter().all(|image| image.configure.len() == 1 && image.extents.len() == 1));
        let positions = join.positions();
        assert!(positions.iter().all(|position| position.lfn == lfn(stream)), "{positions:?}");
        assert!(join.is_done());
    }
}

#[test]
fn steps_begin_runs_and_slow_updates_do_not_disturb() {
    let Some(files) = real("steps", "fakesteps") else { return };
    let (mut hsd, mut andor) = (join(&[S0, S1], "hsd", &files), join(&[S0, S1], "andor", &files));
    assert_eq!((hsd.all().len(), andor.all().len()), (10, 4));
}

#[test]
fn a_chunk_switch_is_followed_and_every_extent_keeps_its_file() {
    let Some(files) = real("a chunk switch in the index", "chunking") else { return };
    let mut join = join(&[S0], "xppcspad", &files);
    let images = join.all();
    check(&images, "xppcspad", &files);
    let of = |chunk| images.iter().filter(|image| image.extents[0].lfn.chunk() == Some(chunk)).count();
    assert_eq!((images.len(), of(0), of(1)), (15, 10, 5));
    assert_eq!(images[10].extents[0].lfn, lfn("data-r0001-s000-c001.xtc2"));
    assert_eq!(images[10].extents[0].offset, 100);
}

#[test]
fn big_files_alone_give_the_same_images() {
    for (run, detector) in [("mixed_rate", "xppcspad"), ("chunking", "xppcspad"), ("intg_det", "andor")] {
        let Some(files) = real(&format!("big files of {run}"), run) else { return };
        let small: Vec<&str> =
            [S0, S1, S2].into_iter().filter(|name| files.contains_key(&lfn(name))).collect();
        let big: Vec<String> = small.iter().map(|name| name.replace(".smd", "")).collect();
        let by_small = join(&small, detector, &files).all();
        let mut by_big = join(&big.iter().map(String::as_str).collect::<Vec<_>>(), detector, &files);
        let images = by_big.all();
        check(&images, detector, &files);
        let place = |image: &Joined| (image.event.clone(), image.extents.clone());
        assert_eq!(
            images.iter().map(place).collect::<Vec<_>>(),
            by_small.iter().map(place).collect::<Vec<_>>()
        );
        assert!(by_big.is_done() && by_big.faults().is_empty(), "{run}: {:?}", by_big.faults());
    }
}

#[test]
fn whatever_the_batches_and_the_pieces_each_image_comes_once() {
    let Some(files) = real("batches and pieces", "mixed_rate") else { return };
    let all = join(&[S0, S1], "xppcspad", &files).all();
    for (step, batch) in [(1000, 7), (333, 1), (20_000, 50), (50_000, 1000)] {
        let mut found = Vec::new();
        let mut positions = Vec::new();
        // Read from the begin after each batch, as after a restart.
        for end in (1..).map(|n| n * step) {
            let mut join = Join::new();
            let mut is_whole = true;
            for name in [S0, S1] {
                let file = &files[&lfn(name)];
                let mut stream = Stream::of(&lfn(name), "xppcspad").unwrap();
                stream.take(&file[..end.min(file.len())]).unwrap();
                if end >= file.len() {
                    stream.close();
                } else {
                    is_whole = false;
                }
                join.add(stream);
            }
            join.resume(&positions, found.len() as u64).unwrap();
            loop {
                let next = join.next(batch, |_| true);
                if next.is_empty() {
                    break;
                }
                found.extend(next);
            }
            positions = join.positions();
            assert_eq!(join.count(), found.len());
            if is_whole {
                break;
            }
        }
        found.sort_by(|a, b| a.event.cmp(&b.event));
        assert_eq!(found, all, "pieces of {step}, batches of {batch}");
    }
}

#[test]
fn an_image_waits_for_its_files_and_those_of_the_first_chunk_do_not_wait_for_the_second() {
    let Some(files) = real("waiting for files", "chunking") else { return };
    let mut join = join(&[S0], "xppcspad", &files);
    let is_there = |joined: &Joined| joined.files().all(|lfn| lfn.chunk() == Some(0));
    assert_eq!(join.next(100, is_there).len(), 10);
    assert_eq!(join.next(100, is_there).len(), 0);
    assert!(!join.is_done());
    let before = join.positions();
    assert_eq!(before[0].events, 10);
    assert_eq!(join.next(100, |_| true).len(), 5);
    assert_eq!(join.positions()[0].offset, files[&lfn(S0)].len() as u64);
}

#[test]
fn other_files_under_the_same_names_are_told_from_grown_ones() {
    let Some(files) = real("files registered again", "intg_det") else { return };
    let mut first = join(&[S0, S1, S2], "hsd", &files);
    first.next(9, |_| true);
    let positions = first.positions();
    let mut grown = join(&[S0, S1, S2], "hsd", &files);
    assert!(matches!(grown.resume(&positions, 8), Err(Mismatch::Count { published: 8, before: 9 })));
    grown.resume(&positions, 9).unwrap();
    assert_eq!(grown.all().len(), 8);
    // Another file by that name: without its third event.
    let mut others = files.clone();
    let file = others.get_mut(&lfn(S0)).unwrap();
    file.drain(6084..6160);
    let mut other = join(&[S0, S1, S2], "hsd", &others);
    let mismatch = other.resume(&positions, 9).unwrap_err();
    assert_eq!(
        mismatch.to_string(),
        format!("{} is no longer the file of which 9 events were taken", lfn(S0))
    );
    // What was published is then known by its keys.
    let published: Vec<EventId> =
        join(&[S0, S1, S2], "hsd", &files).next(9, |_| true).into_iter().map(|j| j.event).collect();
    other.skip(published);
    assert_eq!(other.all().len(), 8);
    let gone = join(&[S1], "hsd", &files).resume(&positions, 9).unwrap_err();
    assert_eq!(gone, Mismatch::File { lfn: lfn(S0), events: 9 });
}

/// A run of two streams of a Jungfrau, the second with the beam's data in a third; written event by event.
struct Written {
    streams: Vec<StreamWriter<Vec<u8>, Vec<u8>>>,
}

impl Written {
    fn new() -> Self {
        let at = |n| Timestamp::new(5, n);
        let jungfrau = |node, segments: &[u32]| {
            StreamSetup::jungfrau("xpptut15", 14, node, "jungfrau", segments, [1, 2, 3])
        };
        let setups = [
            jungfrau(1, &[0, 1]),
            jungfrau(2, &[2]),
            StreamSetup::jungfrau("xpptut15", 14, 3, "none", &[], [1, 1, 1]).with_beam(),
        ];
        let mut streams: Vec<_> =
            setups.into_iter().map(|setup| StreamWriter::new(setup, Vec::new(), Vec::new())).collect();
        for stream in &mut streams {
            stream.configure(at(0)).unwrap();
            for (n, service) in (1..).zip([Service::BeginRun, Service::BeginStep, Service::Enable]) {
                stream.transition(service, at(n)).unwrap();
            }
        }
        Self { streams }
    }

    fn event(&mut self, stream: usize, n: u32) {
        let pixels = [7u16; 6];
        let segments = &[&pixels[..], &pixels][..2 - stream.min(2)];
        let event = Event { segments, photon_energy: Some(9500.0), pulse_id: 1, event_codes: &[] };
        self.streams[stream].event(Timestamp::new(6, n), &event).unwrap();
    }

    fn files(self) -> BTreeMap<Lfn, Vec<u8>> {
        let mut files = BTreeMap::new();
        for (n, stream) in self.streams.into_iter().enumerate() {
            let (big, small) = stream.finish().unwrap();
            files.insert(lfn(&format!("xpptut15-r0014-s{n:03}-c000.xtc2")), big);
            files.insert(lfn(&format!("xpptut15-r0014-s{n:03}-c000.smd.xtc2")), small);
        }
        files
    }
}

#[test]
fn the_beams_stream_adds_an_extent_and_no_image() {
    let mut written = Written::new();
    for n in 0..4 {
        (0..3).for_each(|stream| written.event(stream, n));
    }
    written.event(2, 10);
    let files = written.files();
    let mut join = join(&[S0, S1, S2], "jungfrau", &files);
    let images = join.all();
    check(&images, "jungfrau", &files);
    assert_eq!(images.len(), 4, "a shot without the detector is no image");
    assert!(images.iter().all(|image| image.extents.len() == 3 && image.configure.len() == 3));
    assert_eq!(join.positions().len(), 2, "only the detector's streams say how far it is");
    assert!(join.is_done());
}

#[test]
fn events_out_of_order_missing_and_twice_lose_nothing() {
    let mut written = Written::new();
    // The first stream out of order and one time twice; the second lacks 3 and has one of its own.
    for n in [1, 0, 2, 2, 5, 3, 4] {
        written.event(0, n);
    }
    for n in [0, 1, 2, 4, 5, 9] {
        written.event(1, n);
    }
    let files = written.files();
    for batch in [1, 2, 3, 100] {
        let mut found: Vec<(EventId, usize)> = Vec::new();
        let mut positions = Vec::new();
        loop {
            let mut join = join(&[S0, S1, S2], "jungfrau", &files);
            join.resume(&positions, found.len() as u64).unwrap();
            let next = join.next(batch, |_| true);
            check(&next, "jungfrau", &files);
            positions = join.positions();
            assert_eq!(join.twice(), 1);
            if next.is_empty() {
                assert!(join.is_done());
                break;
            }
            found.extend(next.into_iter().map(|joined| (joined.event, joined.extents.len())));
        }
        found.sort();
        let expected = [(0, 2), (1, 2), (2, 2), (3, 1), (4, 2), (5, 2), (9, 1)]
            .map(|(n, extents)| (time(6, n), extents));
        assert_eq!(found, expected, "batches of {batch}");
    }
}

#[test]
fn a_growing_stream_holds_the_images_that_it_has_not_passed() {
    let mut written = Written::new();
    let mut join = Join::new();
    for name in [S0, S1, S2] {
        join.add(Stream::of(&lfn(name), "jungfrau").unwrap());
    }
    let feed = |join: &mut Join, files: &BTreeMap<Lfn, Vec<u8>>| {
        for at in 0..3 {
            let stream = join.stream_mut(at).unwrap();
            let want = stream.wants().unwrap();
            let bytes = &files[&want.lfn][usize::try_from(want.offset).unwrap()..];
            stream.take(bytes).unwrap();
        }
        join.look();
        join.next(100, |_| true)
            .into_iter()
            .map(|joined| (joined.event, joined.extents.len()))
            .collect::<Vec<_>>()
    };
    let snapshot = |written: &Written| {
        let mut copy = BTreeMap::new();
        // A copy of what is written so far: the writers keep going.
        for (n, stream) in written.streams.iter().enumerate() {
            copy.insert(lfn(&format!("xpptut15-r0014-s{n:03}-c000.smd.xtc2")), stream.small().clone());
        }
        copy
    };
    written.event(0, 0);
    assert_eq!(feed(&mut join, &snapshot(&written)), [], "the others may still have it");
    written.event(1, 1);
    written.event(2, 1);
    assert_eq!(feed(&mut join, &snapshot(&written)), [(time(6, 0), 1)], "they have passed it");
    written.event(0, 1);
    assert_eq!(feed(&mut join, &snapshot(&written)), [(time(6, 1), 3)]);
    assert!(!join.is_done());
    written.event(1, 0);
    assert_eq!(feed(&mut join, &snapshot(&written)), []);
    assert_eq!(join.late(), 1, "a part that came when its image had gone");
}

#[test]
fn names_that_come_later_are_a_new_epoch() {
    let mut written = Written::new();
    written.event(0, 0);
    let stream = &mut written.streams[0];
    // The DAQ's way: a BeginRun with names.
    stream.reconfigure(Timestamp::new(6, 50)).unwrap();
    written.event(0, 100);
    let files = written.files();
    let images = join(&[S0], "jungfrau", &files).all();
    check(&images, "jungfrau", &files);
    assert_eq!(images.iter().map(|image| image.configure.len()).collect::<Vec<_>>(), [1, 2]);
    assert_ne!(images[0].names_epoch, images[1].names_epoch);
    assert_eq!(images[0].configure[0], images[1].configure[0]);
    let begin = &images[1].configure[1];
    let bytes = &files[&begin.lfn][usize::try_from(begin.offset).unwrap()..];
    assert_eq!(Datagram::parse(bytes, begin.offset).unwrap().header.service, Service::BeginRun);
}

#[test]
fn a_cut_or_damaged_small_file_gives_what_lies_before_and_says_so() {
    let Some(files) = real("cut and damaged small files", "chunking") else { return };
    let mut cut = files.clone();
    cut.get_mut(&lfn(S0)).unwrap().truncate(45_300);
    let mut joined = join(&[S0], "xppcspad", &cut);
    assert_eq!(joined.all().len(), 1);
    assert_eq!(joined.faults(), [format!("{}: cut at byte 45244", lfn(S0))]);
    let mut damaged = files;
    damaged.get_mut(&lfn(S0)).unwrap()[45_244 + 11] = 0x0b;
    let mut stream = Stream::of(&lfn(S0), "xppcspad").unwrap();
    stream.take(&damaged[&lfn(S0)]).unwrap_err();
    let mut joined = Join::new();
    joined.add(stream);
    assert_eq!(joined.all().len(), 1);
    assert!(joined.faults()[0].contains("no service 11"), "{:?}", joined.faults());
}

#[test]
fn a_stream_of_whole_images_is_replaced_by_one_that_has_more() {
    let frame = |n: u64| -> Lfn { format!("/mfx/mfxx1/cbf/a-{n:04}.cbf").parse().unwrap() };
    let stream = |numbers: &[u64]| {
        Stream::of_whole(&frame(numbers[0]), numbers.iter().map(|n| whole::cbf(&frame(*n), 7)).collect())
    };
    let names = |images: Vec<Joined>| {
        let name = |image: Joined| image.extents[0].lfn.file_name()[2..6].parse().unwrap();
        images.into_iter().map(name).collect::<Vec<u64>>()
    };
    let mut join = Join::new();
    join.add(stream(&[2, 4]));
    assert_eq!(names(join.all()), [2, 4]);
    let before = join.positions();
    join.remove(&frame(2));
    join.add(stream(&[1, 2, 3, 4, 5]));
    assert_eq!(names(join.next(2, |_| true)), [1, 3], "those that are new, in order of their names");
    assert_eq!(names(join.all()), [5]);
    assert_eq!((join.count(), join.late(), join.is_done()), (5, 0, true));
    assert_eq!(join.positions()[0].events, 5);
    // Whoever finds more than was there then reads the images' keys.
    let mut other = Join::new();
    other.add(stream(&[1, 2, 4]));
    assert!(matches!(other.resume(&before, 2), Err(Mismatch::File { .. })));
    other.skip([2, 4].map(|n| whole::cbf(&frame(n), 7).event));
    assert_eq!(names(other.all()), [1]);
}

mod lcls1 {
    use super::*;
    use crate::formats::xtc::tests::generate;

    const NAME: &str = "e123-r0007-s00-c00";

    fn files(shots: u32) -> BTreeMap<Lfn, Vec<u8>> {
        let stream = generate::Stream::jungfrau(shots);
        let place = |text: String| text.parse::<Lfn>().unwrap();
        BTreeMap::from([
            (place(format!("{FOLDER}index/{NAME}.xtc.idx")), stream.index(2)),
            (place(format!("{FOLDER}smalldata/{NAME}.smd.xtc")), stream.small),
            (place(format!("{FOLDER}{NAME}.xtc")), stream.big),
        ])
    }

    #[test]
    fn small_file_and_index_lead_to_the_same_datagrams() {
        let files = files(3);
        let index: Vec<&Lfn> = files.keys().filter(|lfn| lfn.kind().is_index()).collect();
        let mut found = Vec::new();
        for lfn in index {
            let mut stream = Stream::of(lfn, "Jungfrau1M").unwrap();
            read(&mut stream, &files);
            let mut join = Join::new();
            join.add(stream);
            let images = join.all();
            assert!(join.is_done() && join.faults().is_empty(), "{lfn}: {:?}", join.faults());
            for image in &images {
                assert_eq!((image.extents.len(), image.configure.len()), (1, 1));
                assert_eq!(image.shot.event_codes, [40, 140]);
                let Extent { lfn, offset, length, .. } = &image.extents[0];
                let from = usize::try_from(*offset).unwrap();
                let bytes = &files[lfn][from..from + usize::try_from(*length).unwrap()];
                let datagram = crate::formats::xtc::Datagram::parse(bytes, *offset).unwrap();
                let time = datagram.header.time;
                let id = EventId::Time {
                    seconds: time.seconds,
                    nanoseconds: time.nanoseconds,
                    fiducial: Some(time.fiducial),
                };
                assert_eq!((id, bytes.len()), (image.event.clone(), datagram.bytes.len()));
            }
            found.push(images);
        }
        assert_eq!((found[0].len(), found[1].len()), (3, 3));
        let energies: Vec<_> = found[1].iter().map(|image| image.shot.photon_energy).collect();
        assert_eq!(energies, [9500.0, 9501.0, 9502.0].map(Some), "the small file holds what is small");
    }

    #[test]
    fn a_detector_that_is_not_there_gives_no_image_and_those_that_are_are_known() {
        let files = files(3);
        for lfn in files.keys().filter(|lfn| lfn.kind().is_index()) {
            let mut stream = Stream::of(lfn, "Jungfrau4M").unwrap();
            read(&mut stream, &files);
            let there: Vec<&str> = stream.detectors().collect();
            assert_eq!(there, ["Jungfrau1M", "MfxEndstation.0:Jungfrau.0"], "{lfn}");
            let mut join = Join::new();
            join.add(stream);
            assert_eq!((join.all().len(), join.is_done(), join.faults().len()), (0, true, 0), "{lfn}");
        }
    }
}
