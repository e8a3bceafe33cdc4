//! Messages with their bytes, good and wrong, for each family of formats.

use std::path::Path;

use super::*;
use crate::formats::xtc2::smd::Place;
use crate::formats::xtc2::write::{Event, StreamSetup, StreamWriter};
use crate::formats::xtc2::{Datagram, Service, Timestamp};
use crate::frame::Pixels;

const SHAPE: [u32; 3] = [1, 16, 32];

fn lfn(name: &str) -> Lfn {
    format!("/mfx/mfxx00121/xtc/{name}").parse().unwrap()
}

fn stream_lfn(stream: usize) -> Lfn {
    lfn(&format!("mfxx00121-r0012-s{stream:03}-c000.xtc2"))
}

fn at(n: u32) -> Timestamp {
    Timestamp::new(1_112_036_891, n)
}

fn event(n: u32) -> EventId {
    EventId::Time { seconds: 1_112_036_891, nanoseconds: n, fiducial: None }
}

/// A run of two streams: segments 0 and 2 with beam and timing in the first, segment 1 in the second.
struct Run {
    big: Vec<Vec<u8>>,
    configure: Vec<(ConfigurePlace, Vec<u8>)>,
    shots: Vec<[Place; 2]>,
}

fn run() -> Run {
    let setup = |node: u16, segments: &[u32]| {
        StreamSetup::jungfrau("mfxx00121", 12, node, "jungfrau", segments, SHAPE)
    };
    let setups = [setup(1, &[0, 2]).with_beam().with_timing(), setup(2, &[1])];
    let mut streams = setups.map(|setup| StreamWriter::new(setup, Vec::new(), Vec::new()));
    for stream in &mut streams {
        stream.configure(at(0)).unwrap();
        for (n, service) in (1..).zip([Service::BeginRun, Service::BeginStep, Service::Enable]) {
            stream.transition(service, at(n)).unwrap();
        }
    }
    let mut shots = Vec::new();
    for n in 0..3 {
        let parts: Vec<Vec<u16>> = (0..3).map(|segment| pixels(n, segment)).collect();
        let beam =
            Event { segments: &[], photon_energy: Some(9500.5), pulse_id: 77, event_codes: &[40, 150] };
        let time = at(100 + u32::from(n));
        let [first, second] = &mut streams;
        shots.push([
            first.event(time, &Event { segments: &[&parts[0], &parts[2]], ..beam }).unwrap(),
            second.event(time, &Event { segments: &[&parts[1]], ..beam }).unwrap(),
        ]);
    }
    let big: Vec<Vec<u8>> = streams.into_iter().map(|stream| stream.finish().unwrap().0).collect();
    let configure = big.iter().enumerate().map(|(n, big)| {
        let length = Datagram::parse(big, 0).unwrap().header.size;
        let place = ConfigurePlace { lfn: stream_lfn(n), offset: 0, length: length as u64 };
        (place, big[..length].to_vec())
    });
    let configure = configure.collect();
    Run { big, configure, shots }
}

fn pixels(n: u16, segment: u16) -> Vec<u16> {
    (0..512).map(|pixel| pixel * 31 + n * 7 + segment * 1009).collect()
}

impl Run {
    fn decoder(&self) -> Decoder {
        Decoder::new("jungfrau", Kind::Jungfrau, &self.configure).unwrap()
    }

    fn extents(&self, shot: usize) -> Vec<(Extent, Vec<u8>)> {
        let parts = self.shots[shot].iter().enumerate().map(|(n, place)| {
            let from = usize::try_from(place.offset).unwrap();
            let bytes = self.big[n][from..from + place.size as usize].to_vec();
            (extent(stream_lfn(n), place.offset, bytes.len(), ExtentKind::Dgram), bytes)
        });
        parts.collect()
    }
}

fn extent(lfn: Lfn, offset: u64, length: usize, kind: ExtentKind) -> Extent {
    Extent { lfn, offset, length: length as u64, kind }
}

fn decode(
    decoder: &Decoder,
    event: &EventId,
    extents: &[(Extent, Vec<u8>)],
) -> Result<(Frame, Shot), String> {
    let extents: Vec<(&Extent, &[u8])> = extents.iter().map(|(extent, bytes)| (extent, &bytes[..])).collect();
    decoder.decode(event, &extents).map_err(|error| error.line())
}

#[test]
fn segments_of_several_streams_are_one_image_in_any_order() {
    let run = run();
    let decoder = run.decoder();
    for n in 0..3_u16 {
        let mut extents = run.extents(usize::from(n));
        for _ in 0..2 {
            let (frame, shot) = decode(&decoder, &event(100 + u32::from(n)), &extents).unwrap();
            assert_eq!(frame.shape, Shape { panels: 3, rows: 16, columns: 32 });
            assert_eq!(frame.pixels, Pixels::U16((0..3).flat_map(|segment| pixels(n, segment)).collect()));
            assert_eq!((shot.photon_energy, shot.pulse_id), (Some(9500.5), Some(77)));
            assert_eq!(shot.event_codes, [40, 150]);
            extents.reverse();
        }
    }
    let extents = run.extents(0);
    let parts: Vec<(&Extent, &[u8])> = extents.iter().map(|(extent, bytes)| (extent, &bytes[..])).collect();
    let setup = decoder.setup(&event(100), &parts).unwrap();
    let shape = Shape { panels: 3, rows: 16, columns: 32 };
    assert_eq!(setup, Setup { pixels: Some(PixelType::U16), ..shape.into() });
}

#[test]
fn what_is_not_the_messages_event_is_refused_with_its_place() {
    let run = run();
    let decoder = run.decoder();
    let good = run.extents(1);
    let name = "/mfx/mfxx00121/xtc/mfxx00121-r0012-s001-c000.xtc2";
    let place = good[1].0.offset;
    let said = |event: &EventId, extents: &[(Extent, Vec<u8>)]| decode(&decoder, event, extents).unwrap_err();
    // Another event's bytes in one extent.
    let mixed = [good[0].clone(), run.extents(2).remove(1)];
    assert_eq!(
        said(&event(101), &mixed),
        format!(
            "{name} from byte {0} on: damaged event at byte {0}: its time is 1112036891.000000102, not \
             1112036891.000000101",
            run.shots[2][1].offset
        )
    );
    // Cut, and longer than the datagram.
    let mut cut = good.clone();
    cut[1].1.pop();
    assert!(said(&event(101), &cut).contains("needs 1 bytes more than there are"));
    let mut long = good.clone();
    long[1].1.push(0);
    assert!(said(&event(101), &long).contains("bytes, not"));
    // A transition, the DAQ's damage on the whole and on others.
    let mut transition = good.clone();
    transition[1].1 = run.configure[1].1.clone();
    assert!(said(&event(101), &transition).contains("it is a Configure"));
    let mut damaged = good.clone();
    damaged[1].1[16] = 1 << 4;
    assert_eq!(
        said(&event(101), &damaged),
        format!(
            "{name} from byte {place} on: damaged event at byte {place}: the DAQ marks it as damaged: dropped"
        )
    );
    // A segment missing, one twice, and a stream that nobody knows.
    let missing = said(&event(101), &good[..1]);
    assert_eq!(missing, "image of jungfrau: there is no whole image: of 3 segments there are 0, 2");
    let twice = [good[0].clone(), good[1].clone(), good[1].clone()];
    assert!(said(&event(101), &twice).contains("segment 1 is there twice"));
    let mut unknown = good.clone();
    unknown[1].0.lfn = stream_lfn(7);
    assert!(said(&event(101), &unknown).contains("names no configuration of its stream"));
    assert!(said(&event(101), &[]).contains("it names no extent"));
    let frame: EventId = "a.h5:3".parse().unwrap();
    assert!(said(&frame, &good).contains("event a.h5:3 of LCLS-II files"));
    // The good one is still good.
    decode(&decoder, &event(101), &good).unwrap();
}

#[test]
fn a_detector_that_is_not_there_is_the_trials_fault() {
    let run = run();
    let error = Decoder::new("jungfrua", Kind::Jungfrau, &run.configure).unwrap_err();
    assert!(error.concerns_trial());
    assert_eq!(
        error.line(),
        "the data have no images of `jungfrua` (detector.name of the trial); they have jungfrau"
    );
    let mut cut = run.configure.clone();
    cut[1].1.truncate(500);
    let error = Decoder::new("jungfrau", Kind::Jungfrau, &cut).unwrap_err();
    assert!(!error.concerns_trial());
    assert!(error.line().contains("s001-c000.xtc2 at byte 0: datagram at byte 0 needs"), "{}", error.line());
}

#[test]
fn what_the_message_says_of_a_shot_fills_what_its_bytes_do_not_say() {
    let own = Shot { photon_energy: Some(9000.0), ..Shot::default() };
    let message = ShotData {
        photon_energy: Some(1.0),
        pulse_id: Some(5),
        event_codes: vec![40],
        detector_distance: Some(0.2),
    };
    let shot = with_message(own, &message);
    assert_eq!((shot.photon_energy, shot.pulse_id), (Some(9000.0), Some(5)));
    assert_eq!((shot.event_codes, shot.detector_distance), (vec![40], Some(0.2)));
}

/// Whole real files: each event through a decoder made of the file's Configure.
fn real(path: &Path, name: &str, detector: &str, kind: Kind, expected: &str) -> Option<Decoder> {
    use crate::formats::xtc2::datagrams;
    let bytes = std::fs::read(path.join(name)).unwrap();
    let file = lfn(name);
    let mut decoder = None;
    let mut events = 0;
    for datagram in datagrams(&bytes, 0) {
        let datagram = datagram.unwrap();
        let (header, own) = (datagram.header, datagram.bytes.to_vec());
        match header.service {
            Service::Configure => {
                let place =
                    ConfigurePlace { lfn: file.clone(), offset: datagram.at, length: own.len() as u64 };
                decoder = Some(Decoder::new(detector, kind, &[(place, own)]).unwrap());
            }
            Service::L1Accept => {
                let id = EventId::Time {
                    seconds: header.timestamp.seconds(),
                    nanoseconds: header.timestamp.nanoseconds(),
                    fiducial: None,
                };
                let extent = extent(file.clone(), datagram.at, own.len(), ExtentKind::Dgram);
                let decoder = decoder.as_ref().unwrap();
                let (frame, shot) = decoder.decode(&id, &[(&extent, &own)]).unwrap();
                assert_eq!(frame.shape.to_string(), expected);
                assert!(shot.pulse_id.is_some());
                events += 1;
            }
            _ => {}
        }
    }
    assert_eq!(events, 2);
    decoder
}

#[test]
fn real_files_are_decoded_and_the_quad_says_its_pixels_gains() {
    let Some(data) = lightrail_compose::require::data("decode real XTC2 files") else { return };
    let folder = data.join("xtc2");
    let jungfrau =
        real(&folder, "test_jungfrau05M_calib.xtc2", "jungfrau", Kind::Jungfrau, "1x512x1024").unwrap();
    assert_eq!(jungfrau.shape(), None, "only its events tell");
    let quad = real(&folder, "test_epix_calib.xtc2", "epixquad", Kind::Epix10ka, "4x352x384").unwrap();
    assert_eq!(quad.shape().unwrap().to_string(), "4x352x384");
}

#[test]
fn lcls1_images_come_from_a_proxys_container_or_a_whole_datagram() {
    use crate::formats::xtc::tests::generate::{self, Stream};
    use crate::formats::xtc::{self, smd};
    let stream = Stream::jungfrau(3);
    let (big, small) = (lfn("e123-r0012-s03-c00.xtc"), lfn("smalldata/e123-r0012-s03-c00.smd.xtc"));
    let first = xtc::Datagram::parse(&stream.small, 0).unwrap();
    let place = ConfigurePlace { lfn: small, offset: 0, length: first.bytes.len() as u64 };
    let decoder = Decoder::new("Jungfrau1M", Kind::Jungfrau, &[(place, first.bytes.to_vec())]).unwrap();
    assert_eq!(decoder.shape().unwrap().to_string(), "2x512x1024");
    let shots = xtc::datagrams(&stream.small, 0).map(Result::unwrap);
    let shots: Vec<_> = shots.filter(|d| d.header.service == xtc::Service::L1Accept).collect();
    for (n, (time, offset, size)) in stream.shots.iter().enumerate() {
        let id = EventId::Time {
            seconds: time.seconds,
            nanoseconds: time.nanoseconds,
            fiducial: Some(time.fiducial),
        };
        let pixels = Pixels::U16(generate::pixels(n, 2 * 512 * 1024));
        let whole = (
            extent(big.clone(), *offset as u64, *size, ExtentKind::Dgram),
            stream.big[*offset..offset + size].to_vec(),
        );
        let (frame, shot) = decode(&decoder, &id, std::slice::from_ref(&whole)).unwrap();
        assert_eq!(frame.pixels, pixels);
        assert_eq!(
            (shot.photon_energy, shot.pulse_id),
            (Some(generate::energy(n)), Some(time.fiducial.into()))
        );
        assert_eq!(shot.event_codes, [40, 140]);
        let proxy = smd::proxies(&shots[n]).next().unwrap().unwrap();
        let from = usize::try_from(proxy.offset).unwrap();
        let mut part = (
            extent(big.clone(), proxy.offset, proxy.size as usize, ExtentKind::Xtc),
            stream.big[from..from + proxy.size as usize].to_vec(),
        );
        let (frame, shot) = decode(&decoder, &id, std::slice::from_ref(&part)).unwrap();
        assert_eq!((frame.pixels, shot.pulse_id), (pixels, Some(time.fiducial.into())));
        // Another event, both at once, and another detector's container.
        let other = EventId::Time { seconds: 1, nanoseconds: 2, fiducial: Some(3) };
        let late = decode(&decoder, &other, std::slice::from_ref(&whole)).unwrap_err();
        assert!(late.contains("its time is"), "{late}");
        let twice = decode(&decoder, &id, &[whole, part.clone()]).unwrap_err();
        assert!(twice.contains("it is there twice"), "{twice}");
        part.1[8] ^= 1;
        let foreign = decode(&decoder, &id, &[part]).unwrap_err();
        assert!(foreign.contains("it is of MfxEndstation.0:Jungfrau.1, not of Jungfrau1M"), "{foreign}");
    }
}

#[test]
fn an_lcls1_epix10ka_of_one_panel_is_read_with_its_settings() {
    use crate::formats::xtc::epix10ka::configuration;
    use crate::formats::xtc::tests::generate::{self, datagram, leaf, segment};
    use crate::formats::xtc::{Src, Time};
    let panel = Src::detector(22, 0, 45, 0);
    let settings =
        configuration(1, 2, |_| [true, false, false, false], |_, row, _| if row < 9 { 12 } else { 0 });
    let time = Time { seconds: 7, nanoseconds: 8, fiducial: 9 };
    let configure = datagram(4, time, &segment(&leaf(panel, 112, 2, &settings)));
    let big = lfn("e123-r0012-s03-c00.xtc");
    let place = ConfigurePlace { lfn: big.clone(), offset: 0, length: configure.len() as u64 };
    let name = "XppEndstation.0:Epix10ka.0";
    let decoder = Decoder::new(name, Kind::Epix10ka, &[(place, configure)]).unwrap();
    let pixels = generate::pixels(1, 352 * 384);
    let mut payload = vec![0xff; 32];
    payload.extend(pixels.iter().flat_map(|pixel| pixel.to_le_bytes()));
    payload.resize(payload.len() + 4000, 0);
    let event = datagram(12, time, &segment(&leaf(panel, 75, 3, &payload)));
    let id = EventId::Time { seconds: 7, nanoseconds: 8, fiducial: Some(9) };
    let whole = extent(big, 0, event.len(), ExtentKind::Dgram);
    let setup = decoder.setup(&id, &[(&whole, &event)]).unwrap();
    assert_eq!((decoder.shape(), setup.shape.to_string().as_str()), (Some(setup.shape), "1x352x384"));
    let settings = setup.configuration.unwrap().values;
    assert_eq!([0, 9 * 384, 351 * 384, 352 * 384 - 1].map(|at| settings[at]), [12, 0, 0, 16]);
    let (frame, _) = decode(&decoder, &id, &[(whole, event.clone())]).unwrap();
    assert_eq!(frame.pixels, Pixels::U16(pixels));
}

#[test]
fn an_lcls1_epix10ka_brings_its_pixels_settings_and_a_wrong_name_is_the_trials_fault() {
    use crate::formats::xtc::epix10ka::configuration;
    use crate::formats::xtc::tests::generate::{self, datagram, leaf, segment};
    use crate::formats::xtc::{Src, Time};
    let quad = Src::detector(48, 0, 50, 1);
    let settings =
        configuration(4, 2, |panel| [panel == 1; 4], |_, _, column| if column < 9 { 12 } else { 0 });
    let mut alias = [1, quad.log, quad.phy].map(u32::to_le_bytes).concat();
    alias.extend_from_slice(b"epix10k");
    alias.resize(4 + 40, 0);
    let control = Src { log: 0, phy: 0x0a00_0002 };
    let children = [segment(&leaf(quad, 120, 2, &settings)), leaf(control, 69, 1, &alias)].concat();
    let time = Time { seconds: 7, nanoseconds: 8, fiducial: 9 };
    let configure = datagram(4, time, &children);
    let big = lfn("e123-r0012-s03-c00.xtc");
    let place = ConfigurePlace { lfn: big.clone(), offset: 0, length: configure.len() as u64 };
    let configure = [(place, configure)];
    let pixels = generate::pixels(1, 4 * 352 * 384);
    let mut payload = vec![9, 0, 0, 0];
    payload.extend(pixels.iter().flat_map(|pixel| pixel.to_le_bytes()));
    payload.resize(payload.len() + 4000, 0);
    let event = datagram(12, time, &segment(&leaf(quad, 118, 1, &payload)));
    let id = EventId::Time { seconds: 7, nanoseconds: 8, fiducial: Some(9) };
    for name in ["epix10k", "MfxEndstation.0:Epix10kaQuad.1"] {
        let decoder = Decoder::new(name, Kind::Epix10ka, &configure).unwrap();
        assert_eq!(decoder.shape().unwrap().to_string(), "4x352x384");
        let whole = extent(big.clone(), 0, event.len(), ExtentKind::Dgram);
        let setup = decoder.setup(&id, &[(&whole, &event)]).unwrap();
        let settings = setup.configuration.unwrap();
        assert_eq!(settings.shape, setup.shape);
        let of_panel = |panel: usize| &settings.values[panel * 352 * 384..][..10];
        assert_eq!(of_panel(0), [12, 12, 12, 12, 12, 12, 12, 12, 12, 0]);
        assert_eq!(of_panel(1), [28, 28, 28, 28, 28, 28, 28, 28, 28, 16]);
        let (frame, _) = decode(&decoder, &id, &[(whole, event.clone())]).unwrap();
        assert_eq!(frame.pixels, Pixels::U16(pixels.clone()));
    }
    for name in ["epix10ka", "MfxEndstation.0:Epix10kaQuad.0", ""] {
        let error = Decoder::new(name, Kind::Epix10ka, &configure).unwrap_err();
        assert!(error.concerns_trial());
        let there = "they have MfxEndstation.0:Epix10kaQuad.1, epix10k";
        assert_eq!(
            error.line(),
            format!("the data have no images of `{name}` (detector.name of the trial); {there}")
        );
    }
}

#[test]
fn hdf5_and_cbf_images_are_named_by_file_and_frame() {
    use crate::formats::cbf::{self, Mini};
    use crate::formats::h5::H5;
    let file: Lfn = "/cxi/cxi78513/hdf5/run12.cxi".parse().unwrap();
    let bytes = include_bytes!("../formats/h5/tests/cxi.h5");
    let table = H5::of_bytes(bytes.to_vec()).unwrap().table("/entry_1/data_1/data").unwrap();
    let part = |range: &std::ops::Range<u64>| {
        let from = usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap();
        bytes[from].to_vec()
    };
    let piece = |range: &std::ops::Range<u64>| {
        let place =
            ConfigurePlace { lfn: file.clone(), offset: range.start, length: range.end - range.start };
        (place, part(range))
    };
    let configure: Vec<_> = table.header.iter().map(piece).collect();
    let decoder = Decoder::new("cspad", Kind::Counts, &configure).unwrap();
    assert_eq!(decoder.shape().unwrap().to_string(), "5x12x16");
    let chunks = table.images[2].as_ref().unwrap();
    let extents: Vec<_> = chunks
        .iter()
        .map(|range| {
            let bytes = part(range);
            (extent(file.clone(), range.start, bytes.len(), ExtentKind::H5Chunk), bytes)
        })
        .collect();
    let id: EventId = "run12.cxi:2".parse().unwrap();
    let (frame, _) = decode(&decoder, &id, &extents).unwrap();
    let Pixels::I16(pixels) = frame.pixels else { panic!("i16") };
    assert_eq!((pixels[0], pixels[12 * 16 + 17]), (2000, 2321));
    let other = decode(&decoder, &"run13.cxi:2".parse().unwrap(), &extents).unwrap_err();
    assert_eq!(other, "event run13.cxi:2 of run12.cxi: the message does not fit its files");
    let mut damaged = extents.clone();
    damaged[1].1[3] ^= 1;
    assert!(
        decode(&decoder, &id, &damaged).unwrap_err().starts_with("image of cspad: damaged chunk at byte")
    );

    let file: Lfn = "/cxi/cxi78513/cbf/a.cbf".parse().unwrap();
    let shape = Shape { panels: 1, rows: 3, columns: 4 };
    let pixels: Vec<i32> = (0..12).collect();
    let bytes = cbf::write(
        "a",
        shape,
        &pixels,
        &Mini {
            wavelength: Some(1.0),
            distance: Some(0.2),
            pixel_size: Some([1e-4; 2]),
            beam: Some([2.0, 1.0]),
            count_cutoff: None,
        },
    );
    let decoder = Decoder::new("pilatus", Kind::Counts, &[]).unwrap();
    let whole = extent(file, 0, bytes.len(), ExtentKind::Cbf);
    let id: EventId = "a.cbf:0".parse().unwrap();
    let (frame, shot) = decode(&decoder, &id, &[(whole.clone(), bytes.clone())]).unwrap();
    assert_eq!((frame.pixels, shot.detector_distance), (Pixels::I32(pixels), Some(0.2)));
    let setup = decoder.setup(&id, &[(&whole, &bytes)]).unwrap();
    assert!((setup.geometry.unwrap().distance - 0.2).abs() < 1e-12);
    let cut = decode(&decoder, &id, &[(whole.clone(), bytes[..bytes.len() - 60].to_vec())]).unwrap_err();
    assert!(cut.starts_with("/cxi/cxi78513/cbf/a.cbf from byte 0 on: "), "{cut}");
    assert!(decode(&decoder, &"b.cbf:0".parse().unwrap(), &[(whole, bytes)]).is_err());
}
