//! A shot's image and what else the data say of it, put together from the datagrams of all streams that hold parts of it.

use super::data::values;
use super::datagram::{Damage, Datagram};
use super::names::{Configuration, FieldType};
use crate::formats::{FormatError, bytes};
use crate::frame::{Frame, Pixels, Shape, Shot};

/// One segment's pixels as they lie in a datagram.
#[derive(Clone, Copy, Debug)]
pub struct Segment<'a> {
    /// Which segment of the detector.
    pub number: u32,
    /// Its panels (often 1), rows and columns.
    pub shape: Shape,
    /// What its pixels are.
    pub kind: FieldType,
    /// The pixels, little endian, perhaps unaligned.
    pub bytes: &'a [u8],
    /// What the DAQ says went wrong with it.
    pub damage: Damage,
}

/// A detector's segments in one stream's datagram, in the datagram's order; empty when the detector is not in it.
pub fn segments<'a>(
    datagram: &Datagram<'a>,
    configuration: &'a Configuration,
    detector: &str,
) -> Result<Vec<Segment<'a>>, FormatError> {
    let mut found = Vec::new();
    for part in values(datagram, configuration) {
        let part = part?;
        if part.names.detector != detector {
            continue;
        }
        let Some(field) = part.names.image_field() else { continue };
        let Some(value) = part.get(&field.name)? else { continue };
        let length = |axis: usize| value.shape().get(axis).map_or(0, |length| *length as usize);
        let shape = match field.rank {
            2 => Shape { panels: 1, rows: length(0), columns: length(1) },
            _ => Shape { panels: length(0), rows: length(1), columns: length(2) },
        };
        let (number, kind, damage) = (part.names.segment, field.kind, part.damage);
        found.push(Segment { number, shape, kind, bytes: value.bytes, damage });
    }
    Ok(found)
}

/// The image of a detector that has `expected` segments, from those found in its streams' datagrams, in any order.
///
/// # Errors
/// A segment is missing, there twice, damaged, unlike the others, or empty.
pub fn assemble(mut segments: Vec<Segment<'_>>, expected: usize) -> Result<Frame, FormatError> {
    let corrupt = |why: String| Err(FormatError::corrupt("image", 0, why));
    segments.sort_by_key(|segment| segment.number);
    if let Some(pair) = segments.windows(2).find(|pair| pair[0].number == pair[1].number) {
        return corrupt(format!("segment {} is there twice", pair[0].number));
    }
    if segments.len() != expected || segments.is_empty() {
        let there: Vec<String> = segments.iter().map(|segment| segment.number.to_string()).collect();
        let there = if there.is_empty() { "none".to_owned() } else { there.join(", ") };
        return Err(FormatError::absent(format!("whole image: of {expected} segments there are {there}")));
    }
    if let Some(bad) = segments.iter().find(|segment| !segment.damage.is_none()) {
        return corrupt(format!("segment {}: {}", bad.number, bad.damage));
    }
    let first = segments[0];
    let mut panels = 0;
    for segment in &segments {
        let alike = (segment.shape.rows, segment.shape.columns, segment.kind)
            == (first.shape.rows, first.shape.columns, first.kind);
        if !alike {
            let (shape, other) = (segment.shape, first.shape);
            return corrupt(format!(
                "segment {} is {shape}, segment {} {other}",
                segment.number, first.number
            ));
        }
        panels += segment.shape.panels;
    }
    if first.bytes.is_empty() {
        return corrupt("it has no pixels".to_owned());
    }
    let shape = Shape { panels, ..first.shape };
    // Each part is as long as the data it was read from, so this cannot be more than they are.
    let all =
        |size: usize| Vec::with_capacity(segments.iter().map(|segment| segment.bytes.len() / size).sum());
    let pixels = match first.kind {
        FieldType::U16 => {
            let mut pixels = all(2);
            for segment in &segments {
                pixels
                    .extend(segment.bytes.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])));
            }
            Pixels::U16(pixels)
        }
        FieldType::I16 => {
            let parts = segments.iter().flat_map(|segment| segment.bytes.chunks_exact(2));
            Pixels::I16(parts.map(|pair| i16::from_le_bytes([pair[0], pair[1]])).collect())
        }
        FieldType::U32 => Pixels::U32(fours(&segments, u32::from_le_bytes)),
        FieldType::I32 => Pixels::I32(fours(&segments, i32::from_le_bytes)),
        FieldType::F32 => Pixels::F32(fours(&segments, f32::from_le_bytes)),
        kind => return Err(FormatError::Unsupported { what: format!("an image of {}", kind.word()) }),
    };
    Ok(Frame { shape, pixels })
}

fn fours<T>(segments: &[Segment<'_>], number: fn([u8; 4]) -> T) -> Vec<T> {
    segments.iter().flat_map(|segment| bytes::fours(segment.bytes, number)).collect()
}

/// Adds what a stream's datagram says of the shot to what others have said: photon energy of the beam line data (`ebeam`,
/// `ebeamh`: `ebeamPhotonEnergy`, eV), pulse id and event codes of the timing detector (`pulseId`, `sequenceValues`: 288
/// bits, bit n for code n). Without a timing detector the pulse id is the fiducial in the low 17 bits of the nanoseconds.
pub fn shot(
    datagram: &Datagram<'_>,
    configuration: &Configuration,
    shot: &mut Shot,
) -> Result<(), FormatError> {
    for part in values(datagram, configuration) {
        let part = part?;
        if !part.damage.is_none() {
            continue;
        }
        if part.names.kind.starts_with("ebeam") {
            let energy = part.get("ebeamPhotonEnergy")?.and_then(|value| value.float());
            shot.photon_energy =
                energy.filter(|energy| energy.is_finite() && *energy > 0.0).or(shot.photon_energy);
        } else if matches!(part.names.kind.as_str(), "ts" | "timing") {
            // Bit 63 says that it comes from the LCLS-I timing system.
            let pulse = part.get("pulseId")?.and_then(|value| value.unsigned());
            shot.pulse_id = pulse.map(|pulse| pulse & !(1 << 63)).or(shot.pulse_id);
            if let Some(words) = part.get("sequenceValues")?.and_then(|value| value.u16s()) {
                let is_set =
                    |code: &u16| words.get(usize::from(code >> 4)).is_some_and(|w| w >> (code & 15) & 1 == 1);
                shot.event_codes = (0..288).filter(is_set).collect();
            }
        }
    }
    let fiducial = u64::from(datagram.header.timestamp.nanoseconds() & 0x1_ffff);
    shot.pulse_id = shot.pulse_id.or(Some(fiducial));
    Ok(())
}
