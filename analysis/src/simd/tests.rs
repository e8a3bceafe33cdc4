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
        let chunks = (0_u32..).zip(raw.chunks(TILE));
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
    fn screening_finds_every_pixel_at_its_limit(
        pixels in vec((raw(), prop_oneof![0..16_000_u16, Just(u16::MAX)]), 0..300),
        limits in vec(prop_oneof![3 => 0..16_000_u16, 1 => Just(0_u16), 1 => Just(u16::MAX)], 5),
    ) {
        let (raw, floor): (Vec<u16>, Vec<u16>) = pixels.into_iter().unzip();
        let mut expected = Vec::new();
        for (i, (raw, floor)) in raw.iter().zip(&floor).enumerate() {
            if raw.saturating_sub(*floor) >= limits[i / TILE] {
                expected.push(i);
            }
        }
        for level in Level::all() {
            let mut tiles = Vec::new();
            screen(level, &raw, &floor, &limits, 3, &mut tiles);
            prop_assert_eq!(&places(&tiles, 3), &expected, "{:?}", level);
        }
    }

    #[test]
    fn screening_values_finds_every_pixel_above_its_limit(
        values in vec(value(), 0..300),
        limits in vec(prop_oneof![3 => -10.0..300.0_f32, 1 => Just(f32::INFINITY)], 5),
    ) {
        let expected: Vec<usize> = (0..values.len()).filter(|i| values[*i] > limits[*i / TILE]).collect();
        for level in Level::all() {
            let mut tiles = Vec::new();
            screen_values(level, &values, &limits, 0, &mut tiles);
            prop_assert_eq!(&places(&tiles, 0), &expected, "{:?}", level);
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
        let twin = sums(Level::PORTABLE, &values, low, high, about);
        prop_assert_eq!(twin.0 as usize, inside().count());
        prop_assert!((twin.1 - inside().sum::<f64>()).abs() <= 1e-6 * inside().map(f64::abs).sum::<f64>() + 1e-9);
        let square: f64 = inside().map(|v| v * v).sum();
        prop_assert!((twin.2 - square).abs() <= 1e-5 * square + 1e-9);
        for level in Level::all() {
            let found = sums(level, &values, low, high, about);
            prop_assert_eq!((found.0, found.1.to_bits(), found.2.to_bits()), (twin.0, twin.1.to_bits(), twin.2.to_bits()));
        }
    }
}

fn places(tiles: &[(u32, u64)], first: u32) -> Vec<usize> {
    let bits = |bits: u64| (0..TILE).filter(move |bit| bits >> bit & 1 == 1);
    tiles.iter().flat_map(|(tile, b)| bits(*b).map(move |bit| (tile - first) as usize * TILE + bit)).collect()
}
