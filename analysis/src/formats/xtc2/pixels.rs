//! What the pixels of an `ePix10ka` were set to, from its Configure datagram: two gain bits per pixel and one per ASIC.
//!
//! Source: slac-lcls/lcls2 `psana/psana/detector/UtilsEpix10ka.py` (the order and the turns of a panel's four ASICs).

use super::data::{ShapesData, values};
use super::datagram::Datagram;
use super::names::{Configuration, FieldType};
use crate::detectors::Modes;
use crate::formats::FormatError;
use crate::frame::Shape;

/// Rows and columns of an ASIC.
const ASIC: (usize, usize) = (176, 192);
/// The pixel's own gain bits.
const OWN: u8 = 0b0_1100;
/// Set where the ASIC's `trbit` is.
const TRBIT: u8 = 0b1_0000;

/// A segment's bits, [`SHAPE`] of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PixelBits {
    /// Which segment of the detector.
    pub segment: u32,
    /// Bits 2 and 3 as the pixel was set, bit 4 as its ASIC's `trbit`, row by row.
    pub bits: Vec<u8>,
}

/// A segment: one panel.
pub const SHAPE: Shape = Shape { panels: 1, rows: 2 * ASIC.0, columns: 2 * ASIC.1 };

/// The bits of a detector's segments in a Configure datagram; none where it says nothing of pixels.
pub fn pixel_bits(
    datagram: &Datagram<'_>,
    configuration: &Configuration,
    detector: &str,
) -> Result<Vec<PixelBits>, FormatError> {
    let mut found: Vec<PixelBits> = Vec::new();
    for part in values(datagram, configuration) {
        let part = part?;
        if part.names.detector != detector {
            continue;
        }
        let bits = match ready(&part, datagram.at)? {
            None => of_asics(&part, datagram.at)?,
            ready => ready,
        };
        found.extend(bits.map(|bits| PixelBits { segment: part.names.segment, bits }));
    }
    Ok(found)
}

/// All segments' bits as one array, in the order of the segments.
pub fn gather(mut parts: Vec<PixelBits>) -> Modes<u8> {
    parts.sort_by_key(|part| part.segment);
    let shape = Shape { panels: parts.len(), ..SHAPE };
    Modes { shape, modes: 1, values: parts.into_iter().flat_map(|part| part.bits).collect() }
}

/// `cbitsConfig`, which from version 3 of `raw` on holds the panel ready made.
fn ready(part: &ShapesData<'_>, at: u64) -> Result<Option<Vec<u8>>, FormatError> {
    let Some(value) = part.get("cbitsConfig")? else { return Ok(None) };
    if value.field.kind != FieldType::U8 || value.bytes.len() != SHAPE.len() {
        let why = format!("cbitsConfig of {} values, not {SHAPE}", value.bytes.len());
        return Err(FormatError::corrupt("pixel configuration", at, why));
    }
    Ok(Some(value.bytes.iter().map(|bits| bits & (OWN | TRBIT)).collect()))
}

/// The panel from its four ASICs, seen from the beam: 2 and 1 turned by half a turn above, 3 and 0 below.
fn of_asics(part: &ShapesData<'_>, at: u64) -> Result<Option<Vec<u8>>, FormatError> {
    let (Some(asics), Some(trbits)) = (part.get("asicPixelConfig")?, part.get("trbit")?) else {
        return Ok(None);
    };
    let corrupt = |why: String| FormatError::corrupt("pixel configuration", at, why);
    let (rows, columns) = ASIC;
    // Early data have two rows more, which are no pixels.
    let stored = match asics.shape() {
        [4, stored, width] if *stored as usize >= rows && *width as usize == columns => *stored as usize,
        other => return Err(corrupt(format!("asicPixelConfig of {other:?}, not [4, {rows}, {columns}]"))),
    };
    if asics.field.kind != FieldType::U8 || trbits.field.kind != FieldType::U8 || trbits.bytes.len() != 4 {
        return Err(corrupt(format!("a trbit of {} bytes, not one for each ASIC", trbits.bytes.len())));
    }
    let mut panel = vec![0; SHAPE.len()];
    for (asic, bits) in asics.bytes.chunks_exact(stored * columns).enumerate() {
        let trbit = if trbits.bytes[asic] == 0 { 0 } else { TRBIT };
        let (down, across) = [(1, 1), (0, 1), (0, 0), (1, 0)][asic];
        for (i, bits) in bits[..rows * columns].iter().enumerate() {
            let (row, column) = (i / columns, i % columns);
            let (row, column) =
                if down == 0 { (rows - 1 - row, columns - 1 - column) } else { (row, column) };
            panel[(down * rows + row) * 2 * columns + across * columns + column] = (bits & OWN) | trbit;
        }
    }
    Ok(Some(panel))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formats::xtc2::names::{Algorithm, Field, Names, NamesId, Version};
    use crate::formats::xtc2::write::{Builder, Cell};
    use crate::formats::xtc2::{Service, Timestamp};

    /// A Configure datagram whose pixel (row, column) of ASIC a has the bits that `of` says.
    fn configure(stored: u32, trbits: [u8; 4], of: impl Fn(usize, usize, usize) -> u8) -> Vec<u8> {
        let names = Names {
            id: NamesId::new(3, 1),
            detector: "epix".to_owned(),
            kind: "epix10ka".to_owned(),
            serial: String::new(),
            segment: 2,
            algorithm: Algorithm::new("config", Version::new(2, 0, 0)),
            fields: vec![
                Field::new("asicPixelConfig", FieldType::U8, 3),
                Field::new("trbit", FieldType::U8, 1),
            ],
        };
        let size = stored as usize * 192;
        let asics: Vec<u8> = (0..4 * size).map(|i| of(i / size, i % size / 192, i % 192)).collect();
        let mut builder = Builder::default();
        builder.begin(Service::Configure, Timestamp::new(1, 2), 3);
        builder.names(&names);
        let cells = [Cell::U8s(&[4, stored, 192], &asics), Cell::U8s(&[4], &trbits)];
        builder.data(&names, &cells).unwrap();
        builder.bytes().to_vec()
    }

    fn bits(bytes: &[u8]) -> Result<Vec<PixelBits>, FormatError> {
        let datagram = Datagram::parse(bytes, 0).unwrap();
        pixel_bits(&datagram, &Configuration::of(&datagram).unwrap(), "epix")
    }

    #[test]
    fn the_asics_lie_in_the_panel_as_psana_puts_them() {
        for stored in [176, 178] {
            // The first pixel of each ASIC is marked, and rows that are no pixels are full of what must not come out.
            let bytes = configure(stored, [0, 1, 0, 1], |asic, row, column| match (row, column) {
                (0, 0) => [4, 8, 12, 0xff][asic],
                (176.., _) => 0xff,
                _ => 0,
            });
            let found = bits(&bytes).unwrap();
            assert_eq!((found.len(), found[0].segment, found[0].bits.len()), (1, 2, SHAPE.len()));
            let at = |row: usize, column: usize| found[0].bits[row * 384 + column];
            assert_eq!(at(176, 192), 4, "ASIC 0 begins in the middle");
            assert_eq!(at(175, 383), 0b1_1000, "ASIC 1 is turned, its begin is at the right");
            assert_eq!(at(175, 191), 12, "ASIC 2 is turned, its begin is in the middle");
            assert_eq!(at(176, 0), 0b1_1100, "ASIC 3 begins at the left");
            assert_eq!(found[0].bits.iter().filter(|bits| **bits & OWN != 0).count(), 4);
            assert_eq!(found[0].bits.iter().filter(|bits| **bits & TRBIT != 0).count(), 2 * 176 * 192);
        }
        let shape = gather(vec![
            PixelBits { segment: 1, bits: vec![4; SHAPE.len()] },
            PixelBits { segment: 0, bits: vec![8; SHAPE.len()] },
        ]);
        assert_eq!((shape.shape.panels, shape.values[0], shape.values[SHAPE.len()]), (2, 8, 4));
        let short = bits(&configure(170, [0; 4], |_, _, _| 0)).unwrap_err();
        assert!(short.to_string().contains("asicPixelConfig of [4, 170, 192]"), "{short}");
    }
}
