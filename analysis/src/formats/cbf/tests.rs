//! CBF: the real LCLS files, our own writer, and damage of every kind.
#![allow(clippy::cast_possible_wrap, reason = "small numbers")]

use proptest::prelude::*;

use super::*;
use crate::formats::{damaged, fuzz};

const NAMES: [&str; 2] = ["idx-20130301060858401.cbf", "idx-20130301060858701.cbf"];

fn real(test: &str) -> Option<Vec<Vec<u8>>> {
    let folder = lightrail_compose::require::data(test)?.join("cspad");
    Some(NAMES.iter().map(|name| std::fs::read(folder.join(name)).expect("a CSPAD file")).collect())
}

fn small() -> (Shape, Vec<i32>, Vec<u8>) {
    let shape = Shape { panels: 2, rows: 5, columns: 7 };
    let pixels: Vec<i32> = (0..70).map(|i| [0, 1, -1, 130, -40_000, 7, i32::MAX, i32::MIN][i % 8]).collect();
    let header = Mini {
        wavelength: Some(1.3),
        distance: Some(0.15),
        pixel_size: Some([75e-6, 75e-6]),
        beam: Some([3.5, 2.25]),
        count_cutoff: Some(65_000.0),
    };
    let bytes = write("small", shape, &pixels, &header);
    (shape, pixels, bytes)
}

#[test]
fn cspad_frames_unpack_to_14_bits_and_use_every_byte() {
    let Some(files) = real("cspad_frames_unpack_to_14_bits_and_use_every_byte") else {
        return;
    };
    for bytes in files {
        let cbf = Cbf::read(&bytes).expect("a CBF file");
        assert_eq!(cbf.shape().expect("a shape"), Shape { panels: 32, rows: 185, columns: 388 });
        cbf.sums_agree().expect("the sections are as they were written");
        for section in &cbf.sections {
            let mut pixels = vec![0; section.pixels()];
            let layout =
                packed::Layout { columns: 388, rows: 185, second_version: false, uncorrelated: false };
            let left = packed::unpack(section.data, &layout, &mut pixels).expect("unpacks");
            let (least, most) = (pixels.iter().min().copied(), pixels.iter().max().copied());
            // The preamble's range was left out by this writer: 0 to 0. ADU are 14 bits above a dark image; a wrong mean or
            // width anywhere would drift from there on.
            assert_eq!(section.data[8..24], [0; 16]);
            assert!(least.zip(most).is_some_and(|(l, m)| l >= -16_383 && m <= 16_383), "{least:?} {most:?}");
            let usual = pixels.iter().filter(|v| (-100..2000).contains(*v)).count();
            assert!(usual * 100 > pixels.len() * 99, "{usual} of {}", pixels.len());
            assert!(left < 8, "{left} bytes are left over");
        }
        let frame = cbf.frame().expect("a frame");
        let Pixels::I32(pixels) = frame.pixels else { panic!("CBF gives i32") };
        assert_eq!(pixels.iter().max(), Some(&16_383), "14 bits");
        let shot = cbf.shot();
        // 1.2726 A, shot by shot a little different.
        assert!((shot.photon_energy.expect("an energy") - 12_398.419_84 / 1.2726).abs() < 20.0);
    }
}

#[test]
fn what_is_written_is_read() {
    let (shape, pixels, bytes) = small();
    let cbf = Cbf::read(&bytes).expect("our own file");
    assert_eq!(cbf.frame().expect("a frame"), Frame { shape, pixels: Pixels::I32(pixels) });
    cbf.sums_agree().expect("our own sum");
    let shot = cbf.shot();
    assert_eq!(shot.detector_distance, Some(0.15));
    assert!((shot.photon_energy.expect("an energy") - 9537.246).abs() < 0.001);
    assert_eq!(cbf.mini().and_then(|mini| mini.beam), Some([3.5, 2.25]));
}

#[test]
fn a_damaged_sum_and_a_short_file_are_said() {
    let (_, _, mut bytes) = small();
    let short = bytes.len() - 100;
    assert!(matches!(Cbf::read(&bytes[..short]).map(|_| ()), Err(CbfError::Truncated { section: 1, .. })));
    let magic = bytes.windows(4).position(|w| w == [0x0c, 0x1a, 0x04, 0xd5]).expect("data");
    bytes[magic + 5] ^= 1;
    let cbf = Cbf::read(&bytes).expect("the text is whole");
    assert!(matches!(cbf.sums_agree(), Err(CbfError::Damaged { section: 1, .. })));
    assert!(matches!(Cbf::read(b"data_x\n_a 1\n").expect("CIF").frame(), Err(CbfError::NoImage)));
}

/// The plainest form of byte offset, against which the fast one is held.
fn unpack_plainly(bytes: &[u8], count: usize) -> Option<Vec<i32>> {
    let (mut at, mut value, mut pixels) = (0, 0_i64, Vec::new());
    while pixels.len() < count {
        let small = i64::from(bytes.get(at)?.cast_signed());
        at += 1;
        let mut difference = small;
        if small == i64::from(i8::MIN) {
            difference = i64::from(i16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?));
            at += 2;
            if difference == i64::from(i16::MIN) {
                difference = i64::from(i32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
                at += 4;
                if difference == i64::from(i32::MIN) {
                    difference = i64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?);
                    at += 8;
                }
            }
        }
        value = value.wrapping_add(difference);
        #[allow(clippy::cast_possible_truncation)]
        pixels.push(value as i32);
    }
    Some(pixels)
}

/// Packs as `x-CBF_PACKED` does, one difference per group: the other direction of the definition, written on its own.
fn pack_plainly(pixels: &[i32], columns: usize, rows: usize) -> Vec<u8> {
    let area = columns * rows;
    let mut bits: Vec<bool> = Vec::new();
    let at = |section: usize, row: usize, column: usize| {
        i64::from(pixels[section * area + row * columns + column])
    };
    for (index, pixel) in pixels.iter().enumerate() {
        let (s, r, c) = (index / area, index % area / columns, index % columns);
        let mut near = Vec::new();
        if r == 0 {
            near.push(if c > 0 {
                at(s, 0, c - 1)
            } else if s > 0 {
                at(s - 1, 0, 0)
            } else {
                0
            });
        } else {
            let mut ups = vec![c];
            if c > 0 && c + 1 < columns {
                ups.push(c - 1);
            }
            if c + 1 < columns {
                ups.push(c + 1);
            }
            near.extend(ups.iter().map(|up| at(s, r - 1, *up)));
            if c > 0 {
                near.push(at(s, r, c - 1));
            }
            if s > 0 {
                near.extend(ups.iter().map(|up| at(s - 1, r - 1, *up)));
                if c > 0 {
                    near.push(at(s - 1, r, c));
                }
            }
        }
        let count = near.len() as i64;
        let mean = (near.iter().sum::<i64>() + count / 2).div_euclid(count);
        let difference = i64::from(*pixel).wrapping_sub(mean);
        let (code, width) = match difference {
            0 => (0, 0),
            -8..=7 => (1, 4),
            -64..=63 => (4, 7),
            -32_768..=32_767 => (6, 16),
            _ => (7, 32),
        };
        bits.extend((0..3).map(|_| false));
        bits.extend((0..3).map(|bit| code >> bit & 1 == 1));
        bits.extend((0..width).map(|bit| difference >> bit & 1 == 1));
    }
    let mut bytes = Vec::new();
    for value in [pixels.len() as i64, 0, 0, 0] {
        bytes.extend(value.to_le_bytes());
    }
    bytes.extend(
        bits.chunks(8)
            .map(|eight| eight.iter().enumerate().fold(0_u8, |b, (i, set)| b | u8::from(*set) << i)),
    );
    bytes
}

proptest! {
    #[test]
    fn byte_offset_agrees_with_its_plain_form(pixels in prop::collection::vec(any::<i32>(), 1..200), cut in 0_usize..400) {
        let bytes = byte_offset::pack(&pixels);
        let mut unpacked = vec![0; pixels.len()];
        byte_offset::unpack(&bytes, &mut unpacked).expect("our own");
        prop_assert_eq!(&unpacked, &pixels);
        let cut = &bytes[..bytes.len().min(cut)];
        let ours = byte_offset::unpack(cut, &mut unpacked).ok().map(|()| unpacked.clone());
        prop_assert_eq!(ours, unpack_plainly(cut, pixels.len()));
    }

    #[test]
    fn byte_offset_agrees_on_any_bytes(bytes in prop::collection::vec(prop_oneof![Just(0x80_u8), Just(0), any::<u8>()], 0..300), count in 0_usize..300) {
        let mut pixels = vec![0; count];
        let ours = byte_offset::unpack(&bytes, &mut pixels).ok().map(|()| pixels);
        prop_assert_eq!(ours, unpack_plainly(&bytes, count));
    }

    #[test]
    fn packed_gives_back_what_was_packed(
        columns in 2_usize..9, rows in 1_usize..6, sections in 1_usize..4,
        seed in prop::collection::vec(prop_oneof![4 => -20_i32..20, 2 => -3000_i32..3000, 1 => any::<i32>()], 160),
    ) {
        let pixels: Vec<i32> = seed.into_iter().cycle().take(columns * rows * sections).collect();
        let bytes = pack_plainly(&pixels, columns, rows);
        let mut unpacked = vec![0; pixels.len()];
        let layout = packed::Layout { columns, rows, second_version: false, uncorrelated: false };
        let left = packed::unpack(&bytes, &layout, &mut unpacked);
        prop_assert_eq!(left, Ok(0));
        prop_assert_eq!(unpacked, pixels);
    }

    #[test]
    fn damage_is_an_error_or_an_image(
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8), cut in any::<prop::sample::Index>(),
    ) {
        let (_, _, mut bytes) = small();
        for (at, value) in flips {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        bytes.truncate(cut.index(bytes.len()) + 1);
        if let Ok(cbf) = Cbf::read(&bytes) {
            let _ = (cbf.frame(), cbf.shot(), cbf.sums_agree(), crate::geometry::cbf::read(&cbf));
        }
    }

    #[test]
    fn any_bytes_are_an_error_or_an_image(bytes in prop::collection::vec(any::<u8>(), 0..400), packed_as in 0_usize..3) {
        let packing = ["x-CBF_PACKED", "x-CBF_PACKED_V2", "x-CBF_BYTE_OFFSET"][packed_as];
        let mut file = format!(
            "data_a\n_array_data.data\n;\n--CIF-BINARY-FORMAT-SECTION--\nContent-Type: a; conversions=\"{packing}\"\n\
             X-Binary-Size: {}\nX-Binary-Number-of-Elements: 24\nX-Binary-Size-Fastest-Dimension: 4\n\
             X-Binary-Size-Second-Dimension: 3\nX-Binary-Size-Third-Dimension: 2\n\n", bytes.len() + 32).into_bytes();
        file.extend([0x0c, 0x1a, 0x04, 0xd5]);
        file.extend(24_u64.to_le_bytes());
        file.extend([0; 24]);
        file.extend(&bytes);
        let cbf = Cbf::read(&file).expect("a header");
        if let Ok(frame) = cbf.frame() {
            prop_assert_eq!(frame.pixels.len(), 24);
        }
    }
}

#[test]
fn damaged_copies_of_real_files_are_errors_or_images() {
    let Some(files) = real("damaged_copies_of_real_files_are_errors_or_images") else { return };
    let mut random = fastrand::Rng::with_seed(17);
    damaged::each("cbf", &small().2, 18, 300, fuzz::cbf);
    for whole in files {
        damaged::keep("cbf", &whole);
        for round in 0..60 {
            let mut bytes = whole.clone();
            // The text, the MIME headers and the bits alike.
            let reach = if round % 2 == 0 { 60_000 } else { bytes.len() };
            for _ in 0..random.usize(1..20) {
                let at = random.usize(..reach.min(bytes.len()));
                bytes[at] = random.u8(..);
            }
            if round % 3 == 0 {
                bytes.truncate(random.usize(..bytes.len()));
            }
            if round % 10 == 0 {
                damaged::keep("cbf", &bytes);
            }
            fuzz::cbf(&bytes);
        }
    }
}
