//! Values by hand from what each detector's raw pixels mean (the ADC's bits, ADU per keV, dark levels, counts that are none), in
//! all pixel types that it writes. The Jungfrau and the `ePix10ka` have real data of their own.
#![allow(clippy::float_cmp, reason = "exact in f32, or compared by a limit")]

use super::*;
use crate::frame::Pixels;
use crate::trial::Parameters;

/// A pixel that was not measured.
const NONE: f32 = f32::NAN;

/// A detector of one row with the constants that it needs.
fn detector(kind: &str, keys: &str, constants: &[(&str, f32)], pixels: usize) -> Calibration {
    let shape = Shape { panels: 1, rows: 1, columns: pixels };
    let of = |name: &str| {
        let found = constants.iter().find(|(of, _)| *of == name);
        found.map(|(_, value)| Modes { shape, modes: 1, values: vec![*value; pixels] })
    };
    let constants = Constants { pedestals: of("pedestals"), gains: of("gains"), ..Constants::default() };
    let text = format!("[detector]\nname = 'd'\nkind = '{kind}'\nphoton_energy = 8000\n{keys}");
    let parameters = Parameters::from_toml(&text).unwrap();
    Calibration::compile(&parameters, shape, &constants, &[]).unwrap()
}

/// Calibrates one row, and checks it against values, to what a scale is rounded to, and the number of saturated pixels.
#[track_caller]
fn gives(detector: &Calibration, raw: &Pixels, expected: &[f32], saturated: usize) {
    let mut values = vec![7.5; raw.len()];
    assert_eq!(detector.calibrate(raw, &mut values), Ok(saturated), "{raw:?}");
    let same = |(v, e): (&f32, &f32)| (v.is_nan() && e.is_nan()) || (v - e).abs() <= e.abs() / 16_384.0;
    assert!(values.iter().zip(expected).all(same), "{raw:?} gives {values:?}, by hand {expected:?}");
}

#[test]
fn an_epix100_has_fourteen_bits_and_16_4_adu_per_kev() {
    let pedestals = [("pedestals", 1000.0)];
    // 164 ADU above the pedestal are 10 keV, 82 are 5, whatever the upper two bits are; 15383 is where the ADC ends.
    let raw = || Pixels::U16(vec![1000, 1164, 0x4000 + 1164, 0xc000 + 1082, 918, 0x3fff]);
    let kev = [0.0, 10.0, 10.0, 5.0, -5.0, 15_383.0 / 16.4];
    gives(&detector("epix100", "", &pedestals, 6), &raw(), &kev, 1);
    // The same at 8 keV per photon.
    let photons = kev.map(|kev| kev / 8.0);
    gives(&detector("epix100", "[calibration]\nunit = 'photon'\n", &pedestals, 6), &raw(), &photons, 1);
    // A gain of the constants, and one of the trial, which goes before it: 32.8 and 8.2 ADU per keV.
    let both = [("pedestals", 1000.0), ("gains", 32.8)];
    gives(&detector("epix100", "", &both, 6), &raw(), &kev.map(|kev| kev / 2.0), 1);
    gives(
        &detector("epix100", "[calibration]\ngains = [8.2]\n", &both, 6),
        &raw(),
        &kev.map(|kev| kev * 2.0),
        1,
    );
}

#[test]
fn a_rayonix_has_a_dark_of_ten_and_sixteen_bits() {
    let raw = || Pixels::U16(vec![10, 0, 135, 0x4000, 0xc00a, 65_535]);
    let adu = [0.0, -10.0, 125.0, 16_374.0, 49_152.0, 65_525.0];
    gives(&detector("rayonix", "", &[], 6), &raw(), &adu, 1);
    // A dark that was measured goes before the constant one.
    let adu = adu.map(|adu| adu - 2.5);
    gives(&detector("rayonix", "", &[("pedestals", 12.5)], 6), &raw(), &adu, 1);
}

#[test]
fn a_cspad_has_a_pedestal_and_a_gain_under_signed_numbers() {
    let raw = || Pixels::I16(vec![1200, 1300, -4, 16_382, 16_383]);
    let adu = [-0.5, 99.5, -1204.5, 15_181.5, 15_182.5];
    gives(&detector("cspad", "", &[("pedestals", 1200.5)], 5), &raw(), &adu, 1);
    let gained = adu.map(|adu| adu / 7.0);
    gives(&detector("cspad", "", &[("pedestals", 1200.5), ("gains", 7.0)], 5), &raw(), &gained, 1);
}

#[test]
fn counts_below_zero_and_the_largest_number_were_not_measured() {
    let counts = detector("counts", "", &[], 5);
    gives(&counts, &Pixels::I32(vec![0, 7, -1, -2, i32::MAX]), &[0.0, 7.0, NONE, NONE, 2_147_483_647.0], 0);
    gives(&counts, &Pixels::I16(vec![0, 7, -1, -2, 300]), &[0.0, 7.0, NONE, NONE, 300.0], 0);
    gives(&counts, &Pixels::U16(vec![0, 7, 65_535, 65_534, 1]), &[0.0, 7.0, NONE, 65_534.0, 1.0], 0);
    // With 32 bits 65535 is a count like any other.
    gives(&counts, &Pixels::U32(vec![0, 7, u32::MAX, 65_535, 1]), &[0.0, 7.0, NONE, 65_535.0, 1.0], 0);
    // Values that somebody has calibrated may be negative.
    gives(&detector("corrected", "", &[], 2), &Pixels::I32(vec![-1, 5]), &[-1.0, 5.0], 0);
    // Where the trial says when a count is saturated.
    let full = detector("counts", "[calibration]\nsaturation = 100\n", &[], 5);
    gives(&full, &Pixels::U16(vec![99, 100, 65_535, 101, 0]), &[99.0, 100.0, NONE, 101.0, 0.0], 2);
    gives(&full, &Pixels::U32(vec![99, 100, u32::MAX, 101, 0]), &[99.0, 100.0, NONE, 101.0, 0.0], 2);
}
