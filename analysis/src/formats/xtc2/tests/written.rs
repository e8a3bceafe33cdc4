//! What is written here is read here, byte for byte as said; and damaged copies of it.

use super::pixels;
use super::write::{Event, Prepared, StreamSetup, StreamWriter};
use super::*;
use crate::frame::{Pixels, Shape, Shot};

const SHAPE: [u32; 3] = [1, 16, 32];
const PIXELS: usize = 16 * 32;

fn at(n: u32) -> Timestamp {
    Timestamp::new(1_112_036_891, n)
}

fn shot_of(photon_energy: Option<f64>, pulse_id: u64, event_codes: &[u16]) -> Event<'_> {
    Event { segments: &[], photon_energy, pulse_id, event_codes }
}

fn begin(node: u16, segments: &[u32]) -> StreamWriter<Vec<u8>, Vec<u8>> {
    let setup =
        StreamSetup::jungfrau("mfxx00121", 12, node, "jungfrau", segments, SHAPE).with_beam().with_timing();
    let mut stream = StreamWriter::new(setup, Vec::new(), Vec::new());
    stream.configure(at(0)).unwrap();
    for (n, service) in (1..).zip([Service::BeginRun, Service::BeginStep, Service::Enable]) {
        stream.transition(service, at(n)).unwrap();
    }
    stream
}

fn end(mut stream: StreamWriter<Vec<u8>, Vec<u8>>) -> (Vec<u8>, Vec<u8>) {
    for (n, service) in (1000..).zip([Service::Disable, Service::EndStep, Service::EndRun]) {
        stream.transition(service, at(n)).unwrap();
    }
    stream.finish().unwrap()
}

fn pixels(n: usize, segment: usize) -> Vec<u16> {
    (0..PIXELS).map(|pixel| u16::try_from((pixel * 31 + n * 7 + segment * 1009) & 0xffff).unwrap()).collect()
}

#[test]
fn two_streams_written_are_one_image_read() {
    let mut streams = [begin(1, &[0, 2]), begin(2, &[1])];
    let mut kept = Vec::new();
    for n in 0..5 {
        let parts: Vec<Vec<u16>> = (0..3).map(|segment| pixels(n, segment)).collect();
        let event = shot_of(Some(9500.5), 77 + n as u64, &[40, 150, 287]);
        let time = at(100 + u32::try_from(n).unwrap());
        let first = streams[0].event(time, &Event { segments: &[&parts[0], &parts[2]], ..event }).unwrap();
        let second = streams[1].event(time, &Event { segments: &[&parts[1]], ..event }).unwrap();
        kept.push((first, second));
    }
    let [(big_1, small_1), (big_2, small_2)] = streams.map(end);
    assert_eq!(places(&small_1), kept.iter().map(|(first, _)| *first).collect::<Vec<_>>());
    assert_eq!(places(&small_2), kept.iter().map(|(_, second)| *second).collect::<Vec<_>>());

    let configurations =
        [&big_1, &big_2].map(|big| Configuration::of(&Datagram::parse(big, 0).unwrap()).unwrap());
    let expected = configurations.iter().map(|one| one.image_names("jungfrau").count()).sum();
    assert_eq!(expected, 3);
    for (n, (first, second)) in kept.into_iter().enumerate() {
        let mut segments = Vec::new();
        let mut shot = Shot::default();
        for (place, big, configuration) in
            [(first, &big_1, &configurations[0]), (second, &big_2, &configurations[1])]
        {
            let from = usize::try_from(place.offset).unwrap();
            let bytes = &big[from..from + place.size as usize];
            let datagram = Datagram::event(bytes, place.offset, place.timestamp).unwrap();
            segments.extend(image::segments(&datagram, configuration, "jungfrau").unwrap());
            image::shot(&datagram, configuration, &mut shot).unwrap();
        }
        let frame = image::assemble(segments, expected).unwrap();
        assert_eq!(frame.shape, Shape { panels: 3, rows: 16, columns: 32 });
        assert_eq!(frame.pixels, Pixels::U16((0..3).flat_map(|segment| pixels(n, segment)).collect()));
        assert_eq!((shot.photon_energy, shot.pulse_id), (Some(9500.5), Some(77 + n as u64)));
        assert_eq!(shot.event_codes, [40, 150, 287]);
    }
}

#[test]
fn a_run_goes_on_in_the_next_chunk() {
    let mut stream = begin(1, &[0]);
    let one = pixels(1, 0);
    let event = Event { segments: &[&one], photon_energy: None, pulse_id: 1, event_codes: &[] };
    let before = stream.event(at(10), &event).unwrap();
    let first = stream.next_chunk(at(11), "mfxx00121-r0012-s000-c001.xtc2", Vec::new()).unwrap();
    stream.transition(Service::SlowUpdate, at(12)).unwrap();
    let after = stream.event(at(13), &event).unwrap();
    assert_eq!((before.chunk, after.chunk, after.offset), (0, 1, 24));
    let (second, small) = end(stream);
    assert_eq!(places(&small), [before, after]);
    let chunk = smd::Chunk { number: 1, file: "mfxx00121-r0012-s000-c001.xtc2".to_owned() };
    assert!(entries(&small).contains(&Entry::Chunk { timestamp: at(11), chunk }));
    let from = usize::try_from(after.offset).unwrap();
    Datagram::event(&second[from..from + after.size as usize], after.offset, at(13)).unwrap();
    let services: Vec<Service> = datagrams(&first, 0).map(|d| d.unwrap().header.service).collect();
    assert_eq!(services[services.len() - 2..], [Service::L1Accept, Service::Enable]);
}

#[test]
fn a_prepared_event_is_the_same_image_at_another_time_and_pulse() {
    let (one, two) = (pixels(1, 0), pixels(2, 0));
    let event = Event { segments: &[&one, &two], ..shot_of(Some(7000.0), 3, &[1]) };
    let mut stream = begin(1, &[0, 1]);
    let setup = |segments| {
        StreamSetup::jungfrau("mfxx00121", 12, 1, "jungfrau", segments, SHAPE).with_beam().with_timing()
    };
    let prepared = Prepared::new(&setup(&[0, 1]), &event).unwrap();
    let fresh = stream.event(at(20), &event).unwrap();
    assert_eq!(prepared.size(), fresh.size as usize);
    let again = stream.event_again(at(21), &prepared, (44, &[2, 3])).unwrap();
    let other = Prepared::new(&StreamSetup::jungfrau("x", 1, 1, "j", &[0, 1], SHAPE), &event).unwrap();
    assert!(stream.event_again(at(22), &other, (44, &[])).is_err(), "it was made without a timing system");
    assert_eq!(again.offset, fresh.offset + u64::from(fresh.size));
    let (big, small) = end(stream);
    assert_eq!(places(&small), [fresh, again]);
    let configuration = Configuration::of(&Datagram::parse(&big, 0).unwrap()).unwrap();
    let frames = [fresh, again].map(|place| {
        let from = usize::try_from(place.offset).unwrap();
        let bytes = &big[from..from + place.size as usize];
        let datagram = Datagram::event(bytes, place.offset, place.timestamp).unwrap();
        let mut shot = Shot::default();
        image::shot(&datagram, &configuration, &mut shot).unwrap();
        let segments = image::segments(&datagram, &configuration, "jungfrau").unwrap();
        (image::assemble(segments, 2).unwrap(), shot)
    });
    let [(first, _), (second, shot)] = frames;
    assert_eq!(first, second);
    assert_eq!((shot.photon_energy, shot.pulse_id), (Some(7000.0), Some(44)));
    assert_eq!(shot.event_codes, [2, 3]);
}

#[test]
fn what_does_not_fit_is_refused_before_it_is_written() {
    let mut stream = begin(1, &[0]);
    let offset = stream.offset();
    let good = pixels(0, 0);
    let event = Event { segments: &[&good], photon_energy: None, pulse_id: 0, event_codes: &[] };
    let refused = |stream: &mut StreamWriter<_, _>, event: Event<'_>| {
        stream.event(at(9), &event).unwrap_err().to_string()
    };
    let short = Event { segments: &[&good[1..]], ..event };
    assert_eq!(refused(&mut stream, short), "field raw of jungfrau is not what its names say");
    assert!(refused(&mut stream, Event { segments: &[], ..event }).contains("0 segments are given"));
    assert_eq!(refused(&mut stream, Event { event_codes: &[288], ..event }), "288 is no event code");
    stream.transition(Service::L1Accept, at(9)).unwrap_err();
    assert_eq!(stream.offset(), offset);
    let huge = StreamSetup::jungfrau("mfxx00121", 12, 1, "jungfrau", &[0], [16, 512, 1024]);
    let mut stream = StreamWriter::new(huge, Vec::new(), Vec::new());
    let pixels = vec![0; 16 * 512 * 1024];
    let too_much = stream.event(at(9), &Event { segments: &[&pixels], ..event }).unwrap_err();
    assert!(too_much.to_string().contains("more than a datagram may have"), "{too_much}");
}

#[test]
fn a_new_configuration_in_a_run_is_a_new_epoch() {
    let (big, _) = end(begin(1, &[0]));
    let mut configuration = Configuration::of(&Datagram::parse(&big, 0).unwrap()).unwrap();
    let (other, _) = end(begin(1, &[0, 1]));
    // BeginRun of the other kind: a Configure's names under BeginRun's service.
    let mut begin_run = other[..Datagram::parse(&other, 0).unwrap().bytes.len()].to_vec();
    begin_run[11] = Service::BeginRun as u8;
    assert!(configuration.update(&Datagram::parse(&begin_run, 0).unwrap()).unwrap());
    assert_eq!((configuration.epoch(), configuration.image_names("jungfrau").count()), (1, 2));
}

#[test]
fn damaged_copies_of_written_files_never_do_harm() {
    let mut stream = begin(1, &[0, 1]);
    let (one, two) = (pixels(1, 0), pixels(2, 0));
    let event =
        Event { segments: &[&one, &two], photon_energy: Some(9000.0), pulse_id: 1, event_codes: &[40] };
    for n in 0..3 {
        stream.event(at(10 + n), &event).unwrap();
    }
    let (big, small) = end(stream);
    damaged::each("xtc2", &big, 1, 400, fuzz::xtc2);
    damaged::each("smd", &small, 2, 400, fuzz::smd);
}

#[test]
fn epix10ka_panels_say_what_their_pixels_are_set_to() {
    let setup = StreamSetup::epix10ka("mfxx00121", 12, 3, "epixquad", &[1, 3]);
    let mut stream = StreamWriter::new(setup, Vec::new(), Vec::new());
    stream.configure(at(0)).unwrap();
    let panel: Vec<u16> = (0..352 * 384).map(|i| u16::try_from(i % 1000).unwrap()).collect();
    let event = Event { segments: &[&panel, &panel], ..shot_of(None, 1, &[]) };
    let place = stream.event(at(10), &event).unwrap();
    let (big, small) = stream.finish().unwrap();
    let configure = Datagram::parse(&small, 0).unwrap();
    let bits = pixels::pixel_bits(&configure, &Configuration::of(&configure).unwrap(), "epixquad").unwrap();
    assert_eq!(bits.iter().map(|part| part.segment).collect::<Vec<_>>(), [1, 3]);
    assert!(bits.iter().all(|part| part.bits.iter().all(|bits| *bits == 0b1_0000)));
    let configuration = Configuration::of(&Datagram::parse(&big, 0).unwrap()).unwrap();
    let from = usize::try_from(place.offset).unwrap();
    let datagram = Datagram::event(&big[from..], place.offset, place.timestamp).unwrap();
    let segments = image::segments(&datagram, &configuration, "epixquad").unwrap();
    let frame = image::assemble(segments, 2).unwrap();
    assert_eq!(frame.shape, Shape { panels: 2, rows: 352, columns: 384 });
    assert_eq!(frame.pixels, Pixels::U16([panel.clone(), panel].concat()));
}
