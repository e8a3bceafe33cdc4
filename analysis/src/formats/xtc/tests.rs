//! The LCLS-I format on files generated after the sources of the DAQ, and on damaged copies of them.

pub(crate) mod generate;

use super::*;
use crate::formats::{FormatError, damaged, fuzz};
use crate::frame::{Pixels, Shape, Shot};
use generate::{Stream, leaf, segment};

fn jungfrau() -> Src {
    Src::detector(48, 0, 43, 0)
}

fn configuration(stream: &Stream) -> Configuration {
    Configuration::of(&Datagram::parse(&stream.big, 0).unwrap()).unwrap()
}

#[test]
fn sources_have_the_names_that_psana_gives_them() {
    assert_eq!(jungfrau().to_string(), "MfxEndstation.0:Jungfrau.0");
    assert_eq!(Src { log: 6 << 24, phy: 0 }.to_string(), "EBeam");
    assert_eq!(Src::detector(99, 1, 98, 2).to_string(), "99.1:98.2");
    assert_eq!(Src { log: 0x0200_004d, phy: 0x0a00_0001 }.to_string(), "Segment 10.0.0.1/77");
    assert_eq!(Damage(1 << 15 | 1 << 1 | 1 << 24).to_string(), "dropped, incomplete, bits 0x01000000");
    assert_eq!(TypeId::from_word(TypeId::new(108, 2).word()).to_string(), "JungfrauElementV2");
    assert!(TypeId::from_word(1 << 31).compressed);
}

#[test]
fn a_jungfraus_shots_come_back_with_beam_and_codes() {
    let stream = Stream::jungfrau(4);
    let configuration = configuration(&stream);
    assert_eq!(configuration.aliases().collect::<Vec<_>>(), [("Jungfrau1M", jungfrau())]);
    assert_eq!(configuration.jungfrau(jungfrau()), Some(Shape { panels: 2, rows: 512, columns: 1024 }));
    assert_eq!(stream.shots.len(), 4);
    for (n, (time, offset, size)) in stream.shots.iter().enumerate() {
        let bytes = &stream.big[*offset..offset + size];
        let datagram = Datagram::event(bytes, *offset as u64, *time).unwrap();
        for name in ["Jungfrau1M", "MfxEndstation.0:Jungfrau.0"] {
            let frame = image::of_event(&datagram, &configuration, name).unwrap();
            assert_eq!(frame.shape.to_string(), "2x512x1024");
            assert_eq!(frame.pixels, Pixels::U16(generate::pixels(n, 2 * 512 * 1024)));
        }
        let missing = image::of_event(&datagram, &configuration, "Rayonix").unwrap_err();
        assert_eq!(missing.to_string(), "there is no image of Rayonix in this event");
        let mut shot = Shot::default();
        image::shot(&datagram, &mut shot).unwrap();
        assert_eq!(
            (shot.photon_energy, shot.pulse_id),
            (Some(generate::energy(n)), Some(u64::from(time.fiducial)))
        );
        assert_eq!(shot.event_codes, [40, 140]);
        let other = Time { fiducial: time.fiducial + 3, ..*time };
        assert!(Datagram::event(bytes, 0, other).is_err(), "another shot than the message says");
    }
}

#[test]
fn small_files_and_indices_lead_to_every_shot_and_detector() {
    let stream = Stream::jungfrau(5);
    let configuration = configuration(&stream);
    let small: Vec<Datagram<'_>> = datagrams(&stream.small, 0).collect::<Result<_, _>>().unwrap();
    let events: Vec<_> = small.iter().filter(|d| d.header.service == Service::L1Accept).collect();
    assert_eq!(events.len(), 5);
    for (n, (event, (time, offset, size))) in events.into_iter().zip(&stream.shots).enumerate() {
        let place = smd::place(event).unwrap();
        assert_eq!((place.offset, place.size as usize, event.header.time), (*offset as u64, *size, *time));
        let proxies: Vec<smd::Proxy> = smd::proxies(event).collect::<Result<_, _>>().unwrap();
        assert_eq!(proxies.len(), 1, "only the Jungfrau is large; EvrData and EBeam are copied");
        assert_eq!(
            (proxies[0].src, proxies[0].kind.to_string()),
            (jungfrau(), "JungfrauElementV2".to_owned())
        );
        let from = usize::try_from(proxies[0].offset).unwrap();
        let bytes = &stream.big[from..from + proxies[0].size as usize];
        let frame = image::frame(&Xtc::parse(bytes, proxies[0].offset).unwrap(), &configuration).unwrap();
        assert_eq!(frame.pixels, Pixels::U16(generate::pixels(n, 2 * 512 * 1024)));
        let mut shot = Shot::default();
        image::shot(event, &mut shot).unwrap();
        assert_eq!((shot.photon_energy, shot.event_codes), (Some(generate::energy(n)), vec![40, 140]));
    }
    for version in [1, 2] {
        let bytes = stream.index(version);
        let index = idx::Index::parse(&bytes).unwrap();
        assert_eq!(index.file, "e123-r0007-s00-c00.xtc");
        let places: Vec<(Time, usize)> =
            index.shots.iter().map(|shot| (shot.time, usize::try_from(shot.offset).unwrap())).collect();
        let expected: Vec<(Time, usize)> =
            stream.shots.iter().map(|(time, offset, _)| (*time, *offset)).collect();
        assert_eq!(places, expected, "version {version}");
        for (shot, (_, _, size)) in index.shots.iter().zip(&stream.shots) {
            let from = usize::try_from(shot.offset).unwrap();
            assert_eq!(Header::parse(&stream.big[from..from + HEADER], shot.offset).unwrap().size, *size);
        }
        assert_eq!((index.codes, index.cycles.len(), index.segments.len()), (vec![40, 140], 1, 1));
        assert_eq!(index.segments[0].sources, [(jungfrau(), TypeId::new(108, 2))]);
        for cut in (0..bytes.len()).step_by(7) {
            assert!(idx::Index::parse(&bytes[..cut]).unwrap_err().is_truncated(), "cut at {cut}");
        }
    }
    let mut wild = stream.index(2);
    wild[44..48].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(idx::Index::parse(&wild).unwrap_err().is_truncated(), "a wild count ends with the bytes");
}

fn image_of(
    kind: u16,
    version: u16,
    src: Src,
    configuration: &Configuration,
    payload: &[u8],
) -> Result<crate::frame::Frame, FormatError> {
    let bytes = leaf(src, kind, version, payload);
    image::frame(&Xtc::parse(&bytes, 0).unwrap(), configuration)
}

fn bytes_of(pixels: &[u16]) -> Vec<u8> {
    pixels.iter().flat_map(|pixel| pixel.to_le_bytes()).collect()
}

#[test]
fn every_detectors_payload_is_its_image() {
    let none = Configuration::default();
    // ePix10ka quad: a frame number before, calibration rows behind.
    let pixels = generate::pixels(1, 4 * 352 * 384);
    let payload = [&[9, 0, 0, 0][..], &bytes_of(&pixels), &[0; 4000]].concat();
    let frame = image_of(118, 1, Src::detector(48, 0, 50, 0), &none, &payload).unwrap();
    assert_eq!((frame.shape.to_string().as_str(), frame.pixels), ("4x352x384", Pixels::U16(pixels)));
    // ePix10ka 2M.
    let pixels = generate::pixels(2, 16 * 352 * 384);
    let payload = [&[9, 0, 0, 0][..], &bytes_of(&pixels), &[0; 4000]].concat();
    let frame = image_of(118, 1, Src::detector(48, 0, 48, 0), &none, &payload).unwrap();
    assert_eq!((frame.shape.to_string().as_str(), frame.pixels), ("16x352x384", Pixels::U16(pixels)));
    // ePix100.
    let pixels = generate::pixels(3, 704 * 768);
    let payload = [&[0; 32][..], &bytes_of(&pixels), &[0; 100]].concat();
    let frame = image_of(75, 3, Src::detector(48, 0, 35, 0), &none, &payload).unwrap();
    assert_eq!((frame.shape.to_string().as_str(), frame.pixels), ("1x704x768", Pixels::U16(pixels)));
    let short = image_of(75, 3, Src::detector(48, 0, 35, 0), &none, &payload[..1000]).unwrap_err();
    assert!(short.to_string().contains("1000 bytes are too few for 1x704x768"), "{short}");
    // Rayonix at 4x4 binning.
    let pixels = generate::pixels(4, 1920 * 1920);
    let header = [1920u32, 1920, 16, 0].map(u32::to_le_bytes).concat();
    let frame =
        image_of(2, 1, Src::detector(48, 0, 30, 0), &none, &[&header[..], &bytes_of(&pixels)].concat())
            .unwrap();
    assert_eq!((frame.shape.to_string().as_str(), frame.pixels), ("1x1920x1920", Pixels::U16(pixels)));
    let huge = [u32::MAX, u32::MAX, 16, 0].map(u32::to_le_bytes).concat();
    assert!(image_of(2, 1, Src::detector(48, 0, 30, 0), &none, &huge).is_err());
    // Jungfrau V1.
    let stream = Stream::jungfrau(0);
    let pixels = generate::pixels(5, 2 * 512 * 1024);
    let payload = [&[0; 12][..], &bytes_of(&pixels)].concat();
    let frame = image_of(108, 1, jungfrau(), &configuration(&stream), &payload).unwrap();
    assert_eq!(frame.pixels, Pixels::U16(pixels));
    let unknown = image_of(108, 1, jungfrau(), &none, &payload).unwrap_err();
    assert_eq!(unknown.to_string(), "there is no configuration of MfxEndstation.0:Jungfrau.0");
    let other = image_of(13, 1, jungfrau(), &none, &payload).unwrap_err();
    assert_eq!(other.to_string(), "EpicsV1 of MfxEndstation.0:Jungfrau.0 cannot be read");
}

#[test]
fn a_cspads_quadrants_are_put_in_their_places() {
    let src = Src::detector(32, 0, 10, 0);
    // Quadrants 1 and 3; of 3 only sections 0 and 5.
    for (version, at) in [(2u16, 36), (3, 72), (5, 76)] {
        let mut config = vec![0u8; 400];
        config[at + 4..at + 8].copy_from_slice(&0b1010u32.to_le_bytes());
        config[at + 8..at + 12].copy_from_slice(&[0, 0xff, 0, 0b10_0001]);
        let configure = generate::datagram(4, generate::time(0), &segment(&leaf(src, 29, version, &config)));
        let configuration = Configuration::of(&Datagram::parse(&configure, 0).unwrap()).unwrap();
        let panel = 185 * 388;
        let mut payload = Vec::new();
        for (quad, sections) in [(3u32, 2), (1, 8)] {
            let mut header = [0u8; 32];
            header[4..8].copy_from_slice(&(quad << 24).to_le_bytes());
            payload.extend_from_slice(&header);
            let first = i16::try_from(quad * 100).unwrap();
            for section in 0..sections {
                payload.extend(std::iter::repeat_n((first + section).to_le_bytes(), panel).flatten());
            }
            payload.extend_from_slice(&[0; 4]);
        }
        let frame = image_of(28, 2, src, &configuration, &payload).unwrap();
        assert_eq!(frame.shape.to_string(), "32x185x388");
        let Pixels::I16(pixels) = frame.pixels else { panic!("i16") };
        let firsts: Vec<i16> = pixels.chunks_exact(panel).map(|panel| panel[0]).collect();
        let mut expected = [0; 32];
        for section in 0..8 {
            expected[8 + section] = 100 + i16::try_from(section).unwrap();
        }
        (expected[24], expected[29]) = (300, 301);
        assert_eq!(firsts, expected, "version {version}");
        assert!(image_of(28, 2, src, &configuration, &payload[..payload.len() / 2]).is_err());
    }
}

#[test]
fn what_the_small_files_writer_calls_corrupt_is_refused() {
    let good = leaf(jungfrau(), 108, 2, &[0; 8]);
    Xtc::parse(&good, 0).unwrap();
    let with = |at: usize, word: u32| {
        let mut bytes = good.clone();
        bytes[at..at + 4].copy_from_slice(&word.to_le_bytes());
        Xtc::parse(&bytes, 40).map(drop).map_err(|error| error.to_string())
    };
    let said = |why: &str| Err(format!("damaged container at byte 40: {why}"));
    assert_eq!(with(16, 16), said("an extent of 16 bytes cannot be"));
    assert_eq!(with(16, 0), said("an extent of 0 bytes cannot be"));
    assert_eq!(with(16, 27), said("an extent of 27 bytes cannot be"));
    assert_eq!(with(16, 32), said("its 32 bytes do not fit into the 28 of what holds it"));
    assert_eq!(with(12, 124), said("there is no type 124"));
    assert_eq!(with(12, 0), said("there is no type 0"));
    assert_eq!(with(4, 7 << 24), said("there is no level 7"));
}

#[test]
fn an_incomplete_container_is_told_but_not_entered() {
    let inner = leaf(jungfrau(), 108, 2, &[0; 8]);
    let mut outer = segment(&inner);
    outer[0..4].copy_from_slice(&(1u32 << 15).to_le_bytes());
    let bytes = generate::datagram(12, generate::time(1), &outer);
    let leaves: Vec<Xtc<'_>> =
        Datagram::parse(&bytes, 0).unwrap().leaves().collect::<Result<_, _>>().unwrap();
    assert_eq!(leaves.len(), 1);
    assert_eq!((leaves[0].kind.number, leaves[0].damage.to_string().as_str()), (1, "incomplete"));
    let mut damaged = inner;
    damaged[0..4].copy_from_slice(&(1u32 << 12).to_le_bytes());
    let frame = image::frame(&Xtc::parse(&damaged, 0).unwrap(), &Configuration::default()).unwrap_err();
    assert!(
        frame.to_string().contains("JungfrauElementV2 of MfxEndstation.0:Jungfrau.0: out of order"),
        "{frame}"
    );
}

#[test]
fn damaged_copies_never_do_harm() {
    let stream = Stream::jungfrau(2);
    damaged::each("xtc", &stream.big[..stream.big.len().min(20_000)], 1, 300, fuzz::xtc);
    damaged::each("xtc", &stream.big, 2, 10, fuzz::xtc);
    damaged::each("xtc", &stream.small, 3, 600, fuzz::xtc);
    for version in [1, 2] {
        damaged::each("idx", &stream.index(version), 4, 600, fuzz::idx);
    }
}

proptest::proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
        fuzz::xtc(&bytes);
        fuzz::idx(&bytes);
    }
}
