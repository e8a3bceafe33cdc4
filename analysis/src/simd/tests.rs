//! Every kernel at every level of this machine against its scalar twin, bit for bit.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::detectors::Entry;

/// Raw pixels of all gain stages, more often of the first, and the ends of the range.
fn raw() -> impl Strategy<Value = u16> {
    prop_oneof![6 => 0..0x4000_u16, 2 => any::<u16>(), 1 => Just(u16::MAX), 1 => Just(0xc000_u16), 1 => Just(0_u16)]
}

fn entry() -> impl Strategy<Value = Entry> {
    let scale = prop_oneof![5 => 0.001..0.1_f32, 1 => Just(0.0_f32), 1 => Just(f32::NAN), 1 => -0.1..0.0_f32];
    (-50.0..16_000.0_f32, scale).prop_map(|(offset, scale)| Entry { offset, scale })
}

fn value() -> impl Strategy<Value = f32> {
    prop_oneof![8 => -50.0..500.0_f32, 1 => Just(f32::NAN), 1 => Just(0.0_f32), 1 => -1e6..1e6_f32]
}

fn bits(values: &[f32]) -> Vec<u32> {
    // Any not-a-number is like any other.
    values.iter().map(|v| if v.is_nan() { f32::NAN.to_bits() } else { v.to_bits() }).collect()
}

fn plain() -> impl Strategy<Value = Plain> {
    prop_oneof![
        Just(Plain { from: 0, to: 0x4000 }),
        Just(Plain { from: 0, to: u16::MAX }),
        Just(Plain { from: 0, to: 0 }),
        Just(Plain { from: 300, to: 9000 }),
    ]
}

fn is_odd(plain: Plain, raw: u16) -> bool {
    !(plain.from..plain.to).contains(&raw)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn calibrating_is_one_pixel_after_the_other(pixels in vec((raw(), entry()), 0..400), plain in plain()) {
        let (raw, table): (Vec<u16>, Vec<Entry>) = pixels.into_iter().unzip();
        let expected: Vec<f32> = raw.iter().zip(&table).map(|(raw, entry)| entry.value(f32::from(*raw))).collect();
        let chunks = (0_u32..).zip(raw.chunks(CHUNK));
        let expected_odd: Vec<u32> =
            chunks.filter(|(_, chunk)| chunk.iter().any(|raw| is_odd(plain, *raw))).map(|(n, _)| n).collect();
        for level in Level::all() {
            let (mut out, mut odd) = (vec![7.0; raw.len()], Vec::new());
            calibrate(level, &raw, &table, plain, &mut out, &mut odd);
            prop_assert_eq!(bits(&out), bits(&expected), "{:?}", level);
            prop_assert_eq!(&odd, &expected_odd, "{:?}", level);
        }
    }

    #[test]
    fn a_sample_goes_to_its_place(
        pixels in vec((raw(), entry()), 64..200),
        starts in vec((0..48_u32, vec(0..40_u32, RUN)), 0..9),
        plain in plain(),
    ) {
        let (raw, table): (Vec<u16>, Vec<Entry>) = pixels.into_iter().unzip();
        let runs: Vec<Run> = starts
            .into_iter()
            .map(|(pixel, slots)| Run { pixel, slots: slots.try_into().unwrap() })
            .collect();
        let mut expected = vec![7.0_f32; 40];
        let mut expected_odd = Vec::new();
        for (number, run) in (0_u32..).zip(&runs) {
            for (i, slot) in (run.pixel as usize..).zip(run.slots) {
                expected[slot as usize] = table[i].value(f32::from(raw[i]));
            }
            if raw[run.pixel as usize..][..RUN].iter().any(|raw| is_odd(plain, *raw)) {
                expected_odd.push(number);
            }
        }
        for level in Level::all() {
            let (mut out, mut odd) = (vec![7.0; 40], Vec::new());
            sample(level, &raw, &table, &runs, plain, &mut out, &mut odd);
            prop_assert_eq!(bits(&out), bits(&expected), "{:?}", level);
            prop_assert_eq!(&odd, &expected_odd, "{:?}", level);
        }
    }

    #[test]
    fn a_tile_is_calibrated_row_by_row(
        pixels in vec((raw(), entry()), 3 * 90),
        first in 0..20_usize,
        columns in 1..65_usize,
        plain in plain(),
    ) {
        let (raw, table): (Vec<u16>, Vec<Entry>) = pixels.into_iter().unzip();
        let rectangle = Rectangle { first, stride: 90, rows: 3, columns };
        let mut expected = [7.0_f32; BUFFER];
        let mut expected_odd = Vec::new();
        for row in 0..3 {
            let at = |column: usize| first + row * 90 + column;
            for column in 0..columns {
                expected[row * SIDE + column] = table[at(column)].value(f32::from(raw[at(column)]));
            }
            if (0..columns).any(|column| is_odd(plain, raw[at(column)])) {
                expected_odd.push(u32::try_from(row).unwrap());
            }
        }
        for level in Level::all() {
            let (mut out, mut odd) = ([7.0_f32; BUFFER], Vec::new());
            calibrate_tile(level, &raw, &table, rectangle, plain, &mut out, &mut odd);
            prop_assert_eq!(bits(&out), bits(&expected), "{:?}", level);
            prop_assert_eq!(&odd, &expected_odd, "{:?}", level);
        }
    }

    #[test]
    fn moments_are_the_same_at_every_level_and_near_those_in_f64(
        pixels in vec(value(), SIDE * SIDE),
        rings in vec((0..6_u16, 1..40_usize), 1..9),
        cores in vec((-20.0..20.0_f32, 0.0..200.0_f32), 6),
        seed in any::<u64>(),
    ) {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut values = [f32::NAN; BUFFER];
        values[..SIDE * SIDE].copy_from_slice(&pixels);
        let cores: Vec<Core> =
            cores.iter().map(|(c, half)| Core { centre: *c, low: c - half, high: c + half }).collect();
        let (mut places, mut segments) = (Vec::new(), Vec::new());
        let mut expected = vec![(0_u32, 0.0_f64, 0.0_f64, 0.0_f64); 6];
        let mut expected_some = Vec::new();
        for (ring, n) in rings {
            let chosen: Vec<u16> = (0..n).map(|_| random.u16(0..NOWHERE)).collect();
            let segment = u32::try_from(segments.len()).unwrap();
            for (i, place) in chosen.iter().enumerate() {
                let (value, core) = (values[usize::from(*place)], cores[usize::from(ring)]);
                if value > core.low && value < core.high {
                    let (d, of) = (f64::from(value - core.centre), &mut expected[usize::from(ring)]);
                    *of = (of.0 + 1, of.1 + d, of.2 + d * d, of.3 + d.abs());
                } else if !value.is_nan() {
                    expected_some.push((u32::try_from(places.len() / LANES + i / LANES).unwrap(), segment));
                }
            }
            places.extend(chosen);
            places.resize(places.len().next_multiple_of(LANES), NOWHERE);
            segments.push(Segment { ring, registers: u16::try_from(n.div_ceil(LANES)).unwrap() });
        }
        expected_some.dedup();
        let arranged: Vec<f32> = places.iter().map(|place| values[usize::from(*place)]).collect();
        let mut twin = None;
        for level in Level::all() {
            let mut found = vec![1.0; places.len()];
            arrange(level, &values, &places, &mut found);
            prop_assert_eq!(bits(&found), bits(&arranged), "{:?}", level);
            let (mut sums, mut some) = (vec![Side::default(); 6], Vec::new());
            moments(level, arranged.as_chunks().0, &segments, &cores, &mut sums, &mut some);
            prop_assert_eq!(&some, &expected_some, "{:?}", level);
            let sums: Vec<Sums> = sums.iter().map(Side::total).collect();
            for (found, (count, sum, square, size)) in sums.iter().zip(&expected) {
                prop_assert_eq!(found.count, *count);
                prop_assert!((found.sum - sum).abs() <= 1e-5 * size + 1e-9, "{} {}", found.sum, sum);
                prop_assert!((found.square - square).abs() <= 1e-5 * square + 1e-9);
            }
            let bits: Vec<(u64, u64)> = sums.iter().map(|s| (s.sum.to_bits(), s.square.to_bits())).collect();
            prop_assert_eq!(twin.get_or_insert(bits.clone()), &bits, "{:?}", level);
        }
    }

    #[test]
    fn adding_leaves_out_what_is_not_a_number(pixels in vec((value(), value()), 0..300)) {
        let (before, values): (Vec<f32>, Vec<f32>) = pixels.into_iter().unzip();
        let mut expected = before.clone();
        for (sum, value) in expected.iter_mut().zip(&values) {
            *sum += if value.is_nan() { 0.0 } else { *value };
        }
        for level in Level::all() {
            let mut found = before.clone();
            add(level, &mut found, &values);
            prop_assert_eq!(bits(&found), bits(&expected), "{:?}", level);
        }
    }

    #[test]
    fn sums_are_the_same_at_every_level_and_near_those_in_f64(
        values in vec(value(), 0..3000),
        low in -40.0..0.0_f32,
        high in 0.0..400.0_f32,
        about in -5.0..50.0_f32,
    ) {
        let inside = || values.iter().filter(|v| **v > low && **v < high).map(|v| f64::from(*v - about));
        let twin = within(Level::PORTABLE, &values, low, high, about);
        prop_assert_eq!(twin.count as usize, inside().count());
        prop_assert!((twin.sum - inside().sum::<f64>()).abs() <= 1e-6 * inside().map(f64::abs).sum::<f64>() + 1e-9);
        let square: f64 = inside().map(|v| v * v).sum();
        prop_assert!((twin.square - square).abs() <= 1e-5 * square + 1e-9);
        for level in Level::all() {
            let found = within(level, &values, low, high, about);
            let bits = |sums: Sums| (sums.count, sums.sum.to_bits(), sums.square.to_bits());
            prop_assert_eq!(bits(found), bits(twin), "{:?}", level);
        }
    }
}
