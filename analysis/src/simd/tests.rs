//! Every kernel at every level of this machine against its scalar twin, bit for bit.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::detectors::{Code, Entry, Steps};

/// Raw pixels of all gain stages, more often of the first, and the ends of the range.
fn raw() -> impl Strategy<Value = u16> {
    prop_oneof![6 => 0..0x4000_u16, 2 => any::<u16>(), 1 => Just(u16::MAX), 1 => Just(0xc000_u16), 1 => Just(0_u16)]
}

fn entry() -> impl Strategy<Value = Entry> {
    let scale = prop_oneof![5 => 0.001..0.1_f32, 1 => Just(0.0_f32), 1 => Just(f32::NAN), 1 => -0.1..0.0_f32];
    (-50.0..16_000.0_f32, scale).prop_map(|(offset, scale)| Entry { offset, scale })
}

/// Codes of all kinds, and what they mean.
fn codes(table: Vec<Entry>) -> (Steps, Vec<Code>) {
    let steps = Steps::of(&table);
    (steps, table.into_iter().map(|entry| steps.code(entry).unwrap_or(Code::NONE)).collect())
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
        starts in vec((0..48_u32, vec(0..40_u32, LANES)), 0..9),
        plain in plain(),
    ) {
        let (raw, table): (Vec<u16>, Vec<Entry>) = pixels.into_iter().unzip();
        let (steps, codes) = codes(table);
        let runs: Vec<Run> = starts
            .into_iter()
            .map(|(pixel, slots)| Run { pixel, slots: slots.try_into().unwrap() })
            .collect();
        let entries: Vec<Entries> =
            runs.iter().map(|run| Entries::new(|lane| codes[run.pixel as usize + lane])).collect();
        let mut expected = vec![7.0_f32; 40];
        let mut expected_odd = Vec::new();
        for (number, run) in (0_u32..).zip(&runs) {
            for (i, slot) in (run.pixel as usize..).zip(run.slots) {
                expected[slot as usize] = steps.entry(codes[i]).value(f32::from(raw[i]));
            }
            let mut pixels = run.pixel as usize..run.pixel as usize + LANES;
            if pixels.any(|pixel| is_odd(plain, raw[pixel]) || codes[pixel] == Code::NONE) {
                expected_odd.push(number);
            }
        }
        for level in Level::all() {
            let (mut out, mut odd) = (vec![7.0; 40], Vec::new());
            sample(level, &raw, &runs, (&entries, steps), plain, &mut out, &mut odd);
            prop_assert_eq!(bits(&out), bits(&expected), "{:?}", level);
            prop_assert_eq!(&odd, &expected_odd, "{:?}", level);
        }
    }

    #[test]
    fn a_tile_is_laid_out_and_calibrated_pixel_by_pixel(
        pixels in vec((raw(), entry()), 16 * 90),
        first in 0..20_usize,
        (rows, columns) in prop_oneof![3 => Just((16, 64)), 1 => (1..=16_usize, 1..=64_usize)],
        upright in 0..16_u8,
        plain in plain(),
    ) {
        let (raw, table): (Vec<u16>, Vec<Entry>) = pixels.into_iter().unzip();
        let (steps, codes) = codes(table);
        let rectangle = Rectangle { first, stride: 90, rows, columns, upright };
        let places: Vec<Option<usize>> = (0..PIXELS).map(|place| rectangle.pixel(place)).collect();
        let mut all: Vec<usize> = places.iter().flatten().copied().collect();
        all.sort_unstable();
        let expected = (0..rows).flat_map(|row| (0..columns).map(move |column| first + row * 90 + column));
        prop_assert!(all.into_iter().eq(expected));
        let entries: Vec<Entries> = places
            .chunks(LANES)
            .map(|line| Entries::new(|i| line[i].map_or_else(Code::default, |pixel| codes[pixel])))
            .collect();
        let of = |pixel: &Option<usize>| pixel.map_or(0, |pixel| raw[pixel]);
        let laid: Vec<u16> = places.iter().map(of).collect();
        let values: Vec<f32> =
            places.iter().map(|p| p.map_or(0.0, |p| steps.entry(codes[p]).value(f32::from(raw[p])))).collect();
        let none = |place: usize| places[place].is_some_and(|pixel| codes[pixel] == Code::NONE);
        let is_odd = |place: usize| is_odd(plain, laid[place]) || none(place);
        let odd = (0..LINES).filter(|line| (line * LANES..(line + 1) * LANES).any(is_odd));
        let odd = odd.fold(0, |odd, line| odd | 1_u64 << line);
        for level in Level::all() {
            let (mut lines, mut out) = ([[7; LANES]; LINES], [[7.0; LANES]; LINES]);
            lay_out(level, &raw, &rectangle, &mut lines);
            prop_assert_eq!(lines.as_flattened(), &laid, "{:?}", level);
            prop_assert_eq!(calibrate_lines(level, &lines, (&entries, steps), plain, &mut out), odd, "{:?}", level);
            prop_assert_eq!(bits(out.as_flattened()), bits(&values), "{:?}", level);
        }
    }

    #[test]
    fn a_line_holds_each_pixel_once(rings in vec(prop_oneof![4 => (40..60_u16).prop_map(Some), 1 => Just(None)], LANES)) {
        let (line, left) = Line::new(rings.as_slice().try_into().unwrap());
        let of = |pixel: usize| rings[pixel].unwrap();
        let mut found = left.clone();
        for lane in 0..LANES {
            for pixel in line.pixels(lane).into_iter().flatten() {
                prop_assert_eq!(usize::from(of(pixel)), usize::from(line.ring(lane)));
                found.push(pixel);
            }
        }
        found.sort_unstable();
        let expected: Vec<usize> = (0..LANES).filter(|pixel| rings[*pixel].is_some()).collect();
        prop_assert_eq!(&found, &expected);
        // Without room is only who is far from the first ring, or third in his own.
        for pixel in left {
            let fellows = expected.iter().filter(|other| of(**other) == of(pixel)).count();
            prop_assert!(fellows > 2 || usize::from(of(pixel) - line.ring) >= LANES);
        }
    }

    #[test]
    fn moments_are_the_same_at_every_level_and_near_those_in_f64(
        pixels in vec(value(), PIXELS),
        steps in vec((0..9_u16, vec(0..10_u8, LANES)), LINES),
        cores in vec((-20.0..20.0_f32, 0.0..200.0_f32), 41),
    ) {
        let mut values = [[0.0; LANES]; LINES];
        values.as_flattened_mut().copy_from_slice(&pixels);
        let cores: Vec<Core> =
            cores.iter().map(|(c, half)| Core { centre: *c, low: c - half, high: c + half }).collect();
        // Rings that go up by steps of 0, 1 or, seldom, 2 along a line, with some pixels that are masked.
        let lines: Vec<Line> = steps
            .iter()
            .map(|(first, steps)| {
                let mut ring = *first;
                let rings: Vec<Option<u16>> = steps
                    .iter()
                    .map(|step| {
                        ring += match step { 0..3 => 0, 3..9 => 1, _ => 2 };
                        (step % 5 > 0).then_some(ring)
                    })
                    .collect();
                Line::new(rings.as_slice().try_into().unwrap()).0
            })
            .collect();
        let mut all = Cores::default();
        all.set(cores.iter().copied());
        prop_assert_eq!(all.len(), cores.len());
        let mut expected = vec![(0.0_f64, 0.0_f64, 0.0_f64); cores.len()];
        let mut expected_strays = Vec::new();
        for (number, line) in lines.iter().enumerate() {
            let mut outside = [0; 2];
            for (lane, which) in (0..LANES).flat_map(|lane| [(lane, 0), (lane, 1)]) {
                let Some(pixel) = line.pixels(lane)[which] else { continue };
                let (value, ring) = (values[number][pixel], usize::from(line.ring(lane)));
                if cores[ring].holds(value) {
                    let (d, of) = (f64::from(value - cores[ring].centre), &mut expected[ring]);
                    *of = (of.0 + d, of.1 + d * d, of.2 + d.abs());
                } else {
                    outside[which] |= 1 << lane;
                }
            }
            if outside != [0; 2] {
                expected_strays.push(Strays { line: number, first: outside[0], second: outside[1] });
            }
        }
        let mut twin = None;
        for level in Level::all() {
            let (mut sides, mut strays) = (Sides::default(), Vec::new());
            sides.reset(cores.len());
            moments(level, &values, &lines, &all, &mut sides, &mut strays);
            prop_assert_eq!(&strays, &expected_strays, "{:?}", level);
            let totals: Vec<(f64, f64)> = (0..cores.len()).map(|ring| sides.total(ring)).collect();
            for ((sum, square), (s, q, size)) in totals.iter().zip(&expected) {
                prop_assert!((sum - s).abs() <= 1e-5 * size + 1e-9, "{} {}", sum, s);
                prop_assert!((square - q).abs() <= 1e-5 * q + 1e-9);
            }
            let bits: Vec<(u64, u64)> = totals.iter().map(|(s, q)| (s.to_bits(), q.to_bits())).collect();
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
