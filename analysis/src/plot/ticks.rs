//! Round numbers for axes and scales, and how they are written. Pure.

/// Multiples of 1, 2 or 5 times a power of ten from `low` to `high`, about as many as wished.
pub(super) fn round(low: f64, high: f64, about: usize) -> Vec<f64> {
    if !(low.is_finite() && high.is_finite() && high > low) {
        return Vec::new();
    }
    let raw = (high - low) / about.max(1) as f64;
    let power = 10_f64.powf(raw.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|n| n * power).into_iter().find(|step| *step >= raw * 0.999);
    let step = step.unwrap_or(10.0 * power);
    let (first, last) = ((low / step - 1e-9).ceil(), (high / step + 1e-9).floor());
    let count = (last - first).clamp(-1.0, 1000.0) + 1.0;
    (0..count as usize).map(|i| (first + i as f64) * step + 0.0).collect()
}

/// Values for a scale over decades: zero and powers of ten, then fives, twos; each list by itself from `low` to `high`.
pub(super) fn decades(low: f64, high: f64) -> Vec<Vec<f64>> {
    let largest = low.abs().max(high.abs()).max(f64::MIN_POSITIVE).log10().floor() as i32;
    let of = |times: f64| -> Vec<f64> {
        (0..=12)
            .map(|below| times * 10_f64.powi(largest - below))
            .flat_map(|v| [v, -v])
            .filter(|v| (low..=high).contains(v))
            .collect()
    };
    let zero = if (low..=high).contains(&0.0) { vec![0.0] } else { Vec::new() };
    vec![zero, of(1.0), of(5.0), of(2.0)]
}

/// A number as it stands at an axis: plain from a ten-thousandth to a hundred thousand, else with a power of ten.
pub(super) fn written(v: f64) -> String {
    let size = v.abs();
    if size == 0.0 {
        return "0".to_owned();
    }
    if (1e-4..1e5).contains(&size) {
        // Six digits at most, and no zeros at the end.
        let decimals = (5 - size.log10().floor() as i32).clamp(0, 9) as usize;
        let text = format!("{size:.decimals$}");
        let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
        return format!("{}{text}", if v < 0.0 { "−" } else { "" });
    }
    let mut power = size.log10().floor() as i32;
    let mut digits = (size / 10_f64.powi(power) * 100.0).round() / 100.0;
    if digits >= 10.0 {
        (digits, power) = (digits / 10.0, power + 1);
    }
    let raised: String = power.to_string().chars().map(superscript).collect();
    let sign = if v < 0.0 { "−" } else { "" };
    if (digits - 1.0).abs() < 1e-9 {
        format!("{sign}10{raised}")
    } else {
        format!("{sign}{digits}×10{raised}")
    }
}

fn superscript(c: char) -> char {
    match c {
        '-' => '⁻',
        '1' => '¹',
        '2' => '²',
        '3' => '³',
        '0' | '4'..='9' => char::from_u32(0x2070 + c as u32 - '0' as u32).unwrap_or(c),
        other => other,
    }
}

/// Resolutions that rings are drawn for, angstrom, coarse to fine.
pub(super) const RINGS: [f64; 19] = [
    1000.0, 500.0, 200.0, 100.0, 50.0, 30.0, 20.0, 10.0, 7.0, 5.0, 4.0, 3.0, 2.5, 2.0, 1.8, 1.5, 1.2, 1.0,
    0.8,
];

/// Resolutions that are written at and axes, angstrom, coarse to fine.
pub(super) const RESOLUTIONS: [f64; 33] = [
    1000.0, 500.0, 200.0, 100.0, 50.0, 30.0, 20.0, 15.0, 12.0, 10.0, 8.0, 7.0, 6.0, 5.0, 4.5, 4.0, 3.5, 3.2,
    3.0, 2.8, 2.6, 2.5, 2.4, 2.2, 2.0, 1.8, 1.6, 1.5, 1.4, 1.3, 1.2, 1.1, 1.0,
];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_are_written_as_people_write_them() {
        let written: Vec<String> =
            [0.0, 5.0, -0.25, 20_000.0, 0.001, 1e5, -2.5e7, 1e-9, 99_999.999_9, 0.1 + 0.2]
                .map(written)
                .to_vec();
        let wanted = ["0", "5", "−0.25", "20000", "0.001", "10⁵", "−2.5×10⁷", "10⁻⁹", "100000", "0.3"];
        assert_eq!(written, wanted);
    }

    #[test]
    fn axes_get_round_numbers() {
        assert_eq!(round(0.0, 10.0, 5), [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
        assert_eq!(round(-3.0, 12.0, 4), [0.0, 5.0, 10.0]);
        assert_eq!(round(1.0, 1.0, 4), [0.0; 0]);
        assert_eq!(
            decades(-3.0, 40.0)[1],
            [10.0, 1.0, -1.0, 0.1, -0.1, 0.01, -0.01, 1e-3, -1e-3, 1e-4, -1e-4]
                .into_iter()
                .chain((5..=11).flat_map(|n| [10_f64.powi(-n), -10_f64.powi(-n)]))
                .collect::<Vec<_>>()
        );
    }

    proptest! {
        #[test]
        fn ticks_lie_within_and_are_not_too_many(low in -1e9_f64..1e9, size in 1e-6_f64..1e9, about in 1_usize..20) {
            let ticks = round(low, low + size, about);
            let slack = size * 1e-6 + low.abs() * 1e-12;
            prop_assert!(ticks.iter().all(|t| *t >= low - slack && *t <= low + size + slack));
            prop_assert!(ticks.len() <= 2 * about + 2, "{}", ticks.len());
        }
    }
}
