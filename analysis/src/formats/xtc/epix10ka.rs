//! What the pixels of an LCLS-I `ePix10ka` (one panel, quad, 2M) were set to, from its configuration: two gain bits per pixel and
//! one per ASIC.
//!
//! Sources: pdsdata `psddl/data/epix.ddl` (`Config10kaV1`, `V2`, `Config10kaQuadV1`, `V2`, `Config10ka2MV1`, `V2`, of which the
//! panels' `Elem10kaConfigV1` are the end); psana `Detector/UtilsEpix10ka.py` (which corner of a panel an ASIC is).

use super::datagram::{EPIX_10KA_2M_CONFIG, EPIX_10KA_CONFIG, Xtc};
use crate::detectors::Modes;
use crate::formats::{FormatError, bytes};
use crate::frame::Shape;

/// Rows and columns of a panel, which are two by two ASICs.
pub(super) const PANEL: (usize, usize) = (352, 384);
/// What all panels of a 2M or quad have in common: the event receiver's settings, then per quad its own, by version.
const RECEIVER: usize = 8;
const QUAD: [usize; 2] = [812, 1156];
/// Before each of their panels: two words of its carrier and a mask.
const CARRIER: usize = 12;
/// What a single panel has before it, by version, and the words in it that tell its size: ASICs per row and column, rows of
/// an ASIC, and further on pixels of an ASIC's row.
const SINGLE: [usize; 2] = [188, 520];
const SIZES: [(usize, u32); 4] = [(128, 2), (132, 2), (136, 176), (144, 192)];
/// A panel: four ASICs, two bytes per pixel, two calibration rows.
const ASIC: usize = 26 * 4;
const PIXELS_AT: usize = 4 * ASIC;
const ELEMENT: usize = PIXELS_AT + 2 * PANEL.0 * PANEL.1 + 2 * PANEL.1;
/// The ASIC's word that has its `trbit`, and which bit it is.
const TRBIT_WORD: usize = 22 * 4;
const TRBIT: u32 = 1 << 4;
/// The pixel's own gain bits, and what stands for its ASIC's `trbit`.
const OWN: u8 = 0b0_1100;
const OF_ASIC: u8 = 0b1_0000;
/// The upper left corner of each ASIC in its panel, in halves.
const CORNERS: [(usize, usize); 4] = [(1, 1), (0, 1), (0, 0), (1, 0)];

/// Bits 2 and 3 as each pixel was set, bit 4 as its ASIC's `trbit`, panel by panel.
///
/// # Errors
/// A payload that is too short, a version that is not known, or a single panel of another size.
pub(super) fn pixels(xtc: &Xtc<'_>) -> Result<Modes<u8>, FormatError> {
    let unsupported = || FormatError::Unsupported { what: format!("{} of {}", xtc.kind, xtc.src) };
    let of_version = |all: [usize; 2]| {
        let at = usize::from(xtc.kind.version).checked_sub(1).and_then(|version| all.get(version));
        at.copied().ok_or_else(unsupported)
    };
    let (panels, first, between) = match xtc.kind.number {
        EPIX_10KA_CONFIG => {
            let first = of_version(SINGLE)?;
            if SIZES.iter().any(|(at, size)| bytes::u32(xtc.payload, *at).is_some_and(|word| word != *size)) {
                return Err(unsupported());
            }
            (1, first, 0)
        }
        EPIX_10KA_2M_CONFIG => (16, RECEIVER + 4 * of_version(QUAD)? + CARRIER, CARRIER),
        _ => (4, RECEIVER + of_version(QUAD)? + CARRIER, CARRIER),
    };
    let (rows, columns) = PANEL;
    let shape = Shape { panels, rows, columns };
    let mut values = Vec::with_capacity(shape.len());
    for panel in 0..panels {
        let element =
            xtc.payload.get(first + panel * (ELEMENT + between)..).and_then(|rest| rest.get(..ELEMENT));
        let element = element.ok_or_else(|| {
            let why = format!("{} bytes are too few for {panels} panels", xtc.payload.len());
            FormatError::corrupt("ePix10ka's configuration", xtc.at, why)
        })?;
        let trbit = |asic: usize| {
            let word = bytes::u32(element, asic * ASIC + TRBIT_WORD).unwrap_or_default();
            if word & TRBIT == 0 { 0 } else { OF_ASIC }
        };
        let mut of_corner = [[0; 2]; 2];
        for (asic, (down, across)) in CORNERS.into_iter().enumerate() {
            of_corner[down][across] = trbit(asic);
        }
        // All bits that matter are in the lower byte.
        let own = element[PIXELS_AT..].chunks_exact(2).take(rows * columns).map(|pixel| pixel[0] & OWN);
        values.extend(own.enumerate().map(|(at, own)| {
            let (row, column) = (at / columns, at % columns);
            own | of_corner[2 * row / rows][2 * column / columns]
        }));
    }
    Ok(Modes { shape, modes: 1, values })
}

/// A configuration of that version, for tests: `of` says the bits of a pixel (panel, row, column), `trbits` those of a panel.
#[cfg(test)]
pub(crate) fn configuration(
    panels: usize,
    version: u16,
    trbits: impl Fn(usize) -> [bool; 4],
    of: impl Fn(usize, usize, usize) -> u16,
) -> Vec<u8> {
    let (quads, version) = (panels / 4, usize::from(version) - 1);
    // What must not be looked at is full of ones.
    let mut payload = vec![0xff; if quads == 0 { SINGLE[version] } else { RECEIVER + quads * QUAD[version] }];
    if quads == 0 {
        for (at, size) in SIZES {
            payload[at..at + 4].copy_from_slice(&size.to_le_bytes());
        }
    }
    for panel in 0..panels {
        payload.extend(vec![0xff; if quads == 0 { 0 } else { CARRIER }]);
        for set in trbits(panel) {
            let mut asic = [0xff_u8; ASIC];
            asic[TRBIT_WORD] = if set { 0xff } else { 0xef };
            payload.extend(asic);
        }
        for at in 0..PANEL.0 * PANEL.1 {
            payload.extend(of(panel, at / PANEL.1, at % PANEL.1).to_le_bytes());
        }
        payload.extend([0xff; 2 * PANEL.1]);
    }
    payload
}

#[cfg(test)]
mod tests {
    use super::super::Src;
    use super::super::datagram::EPIX_10KA_QUAD_CONFIG;
    use super::super::tests::generate::leaf;
    use super::*;

    fn read(kind: u16, version: u16, payload: &[u8]) -> Result<Modes<u8>, FormatError> {
        let bytes = leaf(Src::detector(48, 0, 50, 0), kind, version, payload);
        pixels(&Xtc::parse(&bytes, 0).unwrap())
    }

    #[test]
    fn every_pixel_has_its_own_bits_and_its_asics() {
        let of = |panel: usize, row: usize, column: usize| match (row, column) {
            (0, 0) => 4,
            (200, 5) => 8,
            (351, 383) => 0xfff3 | (u16::try_from(panel % 2).unwrap() << 2),
            _ => 0,
        };
        for (kind, panels) in [(EPIX_10KA_QUAD_CONFIG, 4), (EPIX_10KA_2M_CONFIG, 16)] {
            for version in [1, 2] {
                let trbits = |panel: usize| [panel == 1, panel == 2, panel == 3, panel == 0];
                let payload = configuration(panels, version, trbits, of);
                let found = read(kind, version, &payload).unwrap();
                assert_eq!((found.shape.to_string(), found.modes), (format!("{panels}x352x384"), 1));
                let at = |panel: usize, row: usize, column: usize| {
                    found.values[panel * found.shape.panel_len() + row * 384 + column]
                };
                assert_eq!(
                    (at(0, 0, 0), at(0, 200, 5), at(0, 351, 383)),
                    (4, 8 | 16, 0),
                    "ASIC 3 of panel 0"
                );
                assert_eq!((at(1, 351, 383), at(1, 176, 192), at(1, 175, 192)), (4 | 16, 16, 0), "ASIC 0");
                assert_eq!((at(2, 0, 383), at(2, 0, 191), at(2, 176, 383)), (16, 0, 0), "ASIC 1");
                assert_eq!((at(3, 0, 0), at(3, 175, 191), at(3, 175, 192)), (4 | 16, 16, 0), "ASIC 2");
                let set = found.values.iter().filter(|bits| **bits & 16 != 0).count();
                assert_eq!(set, 4 * 176 * 192);
            }
        }
        let payload = configuration(4, 1, |_| [true; 4], of);
        let short = read(EPIX_10KA_QUAD_CONFIG, 1, &payload[..payload.len() - 4]).unwrap_err();
        assert!(short.to_string().contains("too few for 4 panels"), "{short}");
        let other = read(EPIX_10KA_QUAD_CONFIG, 3, &payload).unwrap_err();
        assert!(matches!(other, FormatError::Unsupported { .. }), "{other}");
        // The sizes that the DAQ's own declarations come to.
        assert_eq!((payload.len(), CARRIER + ELEMENT), (8 + 812 + 4 * 271_532, 271_532));
    }

    #[test]
    fn a_single_panel_is_one_of_them_behind_a_head_of_its_own() {
        let of = |_: usize, row: usize, _: usize| if row == 200 { 8 } else { 4 };
        for (version, before) in [(1, 47 * 4), (2, 50 * 4 + 64 + 256)] {
            let payload = configuration(1, version, |_| [true, false, false, false], of);
            assert_eq!(payload.len(), before + 271_520);
            let found = read(EPIX_10KA_CONFIG, version, &payload).unwrap();
            assert_eq!(found.shape.to_string(), "1x352x384");
            let at = |row: usize, column: usize| found.values[row * 384 + column];
            assert_eq!((at(0, 0), at(175, 383), at(176, 192), at(200, 191), at(200, 192)), (4, 4, 20, 8, 24));
            // Early panels had two rows more: what follows them would be misread.
            let mut other = payload.clone();
            other[136] = 178;
            let refused = read(EPIX_10KA_CONFIG, version, &other).unwrap_err();
            assert!(matches!(refused, FormatError::Unsupported { .. }), "{refused}");
            assert!(read(EPIX_10KA_CONFIG, version, &payload[..payload.len() - 4]).is_err());
            assert!(read(EPIX_10KA_CONFIG, version, &payload[..100]).is_err());
        }
    }
}
