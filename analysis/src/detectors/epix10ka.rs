//! The seven gain modes of an `ePix10ka` pixel, from its configuration and bit 14 of its raw value.
//! Source: slac-lcls/lcls2 `psana/psana/detector/UtilsEpix10ka.py` (BSD-like).

/// Default gains, ADU per keV, high, medium, low.
pub(super) const GAINS: [f64; 3] = [16.4, 5.466, 0.164];

/// Which of high (0), medium (1) and low (2) gain each of the seven modes has.
pub(super) const LEVEL: [usize; 7] = [0, 1, 2, 0, 1, 2, 2];

/// The gain mode (FH, FM, FL, `AHL_H`, `AML_M`, `AHL_L`, `AML_L`) of a pixel; `None` for a configuration that has none.
pub(super) fn mode(configuration: u8, switched: bool) -> Option<usize> {
    let c = (configuration & 0x1c) | if switched { 0x20 } else { 0 };
    match (c & 0b1_1100, c & 0b0_1100, c & 0b11_1100) {
        (0b1_1100, _, _) => Some(0),
        (0b0_1100, _, _) => Some(1),
        (_, 0b0_1000, _) => Some(2),
        (_, _, 0b01_0000) => Some(3),
        (_, _, 0) => Some(4),
        (_, _, 0b11_0000) => Some(5),
        (_, _, 0b10_0000) => Some(6),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::mode;

    #[test]
    fn every_configuration_has_the_published_mode() {
        let table = [
            (28, false, Some(0)),
            (28, true, Some(0)),
            (12, false, Some(1)),
            (8, false, Some(2)),
            (24, true, Some(2)),
            (16, false, Some(3)),
            (0, false, Some(4)),
            (16, true, Some(5)),
            (0, true, Some(6)),
            (4, false, None),
            (20, true, None),
        ];
        for (configuration, switched, expected) in table {
            assert_eq!(mode(configuration, switched), expected, "{configuration} {switched}");
        }
    }
}
