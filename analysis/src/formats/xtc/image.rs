//! Detector payloads as images, and what the data say of a shot.
//!
//! Layouts: pdsdata `psddl/{jungfrau,cspad,epix,camera,evr,bld}.ddl.h`.

use std::collections::BTreeSet;

use super::configuration::Configuration;
use super::datagram::{
    CSPAD_ELEMENT, Datagram, EBEAM, EPIX_10KA_ARRAY, EPIX_ELEMENT, EVR_DATA, FRAME, JUNGFRAU_ELEMENT, Xtc,
};
use super::epix10ka::PANEL as EPIX_10KA;
use super::src;
use crate::formats::{FormatError, bytes};
use crate::frame::{Frame, Pixels, Shape, Shot};

/// Rows and columns of a section of the CSPAD.
const SECTION: (usize, usize) = (185, 388);
/// Rows and columns of the ePix100.
const EPIX_100: (usize, usize) = (704, 768);
/// Where a Rayonix' frame can end.
const MAX_SIDE: u32 = 1 << 14;

/// The image of the detector of that name (an alias, or as psana writes it) in an event.
pub fn of_event(
    datagram: &Datagram<'_>,
    configuration: &Configuration,
    detector: &str,
) -> Result<Frame, FormatError> {
    for xtc in datagram.leaves() {
        let xtc = xtc?;
        if is_image(&xtc) && configuration.is_named(xtc.src, detector) {
            return frame(&xtc, configuration);
        }
    }
    Err(FormatError::absent(format!("image of {detector} in this event")))
}

/// Whether a payload is an image that is read here.
pub fn is_image(xtc: &Xtc<'_>) -> bool {
    matches!(xtc.kind.number, JUNGFRAU_ELEMENT | CSPAD_ELEMENT | EPIX_ELEMENT | EPIX_10KA_ARRAY | FRAME)
}

/// One detector's container as its image. CSPAD: always 32 sections, those that are not stored hold zeros.
pub fn frame(xtc: &Xtc<'_>, configuration: &Configuration) -> Result<Frame, FormatError> {
    if !xtc.damage.is_none() {
        return Err(FormatError::corrupt(
            "image",
            xtc.at,
            format!("{} of {}: {}", xtc.kind, xtc.src, xtc.damage),
        ));
    }
    if xtc.kind.compressed {
        return Err(FormatError::Unsupported { what: format!("the compressed {} of {}", xtc.kind, xtc.src) });
    }
    match (xtc.kind.number, xtc.kind.version) {
        (JUNGFRAU_ELEMENT, 1 | 2) => jungfrau(xtc, configuration),
        (CSPAD_ELEMENT, 1 | 2) => cspad(xtc, configuration),
        (EPIX_ELEMENT, 1..=3) => {
            let (rows, columns) = match xtc.src.device() {
                src::EPIX | src::EPIX_100A => EPIX_100,
                src::EPIX_10KA => EPIX_10KA,
                _ => return Err(unsupported(xtc)),
            };
            panels(xtc, 32, Shape { panels: 1, rows, columns })
        }
        (EPIX_10KA_ARRAY, _) => {
            let (rows, columns) = EPIX_10KA;
            // 2M or quad: by what fits. Calibration rows and the like follow, far less than another quad.
            let count = if xtc.payload.len() >= 4 + 16 * 2 * rows * columns { 16 } else { 4 };
            panels(xtc, 4, Shape { panels: count, rows, columns })
        }
        (FRAME, _) => camera(xtc),
        _ => Err(unsupported(xtc)),
    }
}

fn unsupported(xtc: &Xtc<'_>) -> FormatError {
    FormatError::Unsupported { what: format!("{} of {}", xtc.kind, xtc.src) }
}

fn corrupt(xtc: &Xtc<'_>, why: impl Into<String>) -> FormatError {
    FormatError::corrupt("image", xtc.at, format!("{} of {}: {}", xtc.kind, xtc.src, why.into()))
}

/// `u16` pixels from a place on.
fn panels(xtc: &Xtc<'_>, from: usize, shape: Shape) -> Result<Frame, FormatError> {
    let pixels = xtc.payload.get(from..).and_then(|rest| rest.get(..2 * shape.len()));
    let pixels =
        pixels.ok_or_else(|| corrupt(xtc, format!("{} bytes are too few for {shape}", xtc.payload.len())))?;
    Ok(Frame { shape, pixels: Pixels::U16(bytes::u16s(pixels)) })
}

fn jungfrau(xtc: &Xtc<'_>, configuration: &Configuration) -> Result<Frame, FormatError> {
    let shape = configuration.jungfrau(xtc.src);
    let shape = shape.ok_or_else(|| FormatError::absent(format!("configuration of {}", xtc.src)))?;
    let before = if xtc.kind.version == 1 { 12 } else { 16 + 20 * shape.panels };
    panels(xtc, before, shape)
}

fn cspad(xtc: &Xtc<'_>, configuration: &Configuration) -> Result<Frame, FormatError> {
    const QUAD_HEADER: usize = 32;
    const QUAD_TRAILER: usize = 4;
    let stored = configuration.cspad(xtc.src);
    let stored = stored.ok_or_else(|| FormatError::absent(format!("configuration of {}", xtc.src)))?;
    let (rows, columns) = SECTION;
    let shape = Shape { panels: 32, rows, columns };
    let lengths = stored.sections.map(|sections| sections.count_ones() as usize * 2 * shape.panel_len());
    let needed: usize =
        (0..4).filter(|quad| stored.quads & 1 << quad != 0).map(|quad| QUAD_HEADER + lengths[quad]).sum();
    if xtc.payload.len() < needed {
        return Err(corrupt(xtc, format!("{} bytes are too few", xtc.payload.len())));
    }
    let mut pixels = vec![0i16; shape.len()];
    let mut rest = xtc.payload;
    let mut seen = 0u8;
    for _ in 0..stored.quads.count_ones() {
        let word = bytes::u32(rest, 4).ok_or_else(|| corrupt(xtc, "a quadrant is missing"))?;
        let quad = (word >> 24 & 3) as usize;
        if seen & 1 << quad != 0 {
            return Err(corrupt(xtc, format!("quadrant {quad} is there twice")));
        }
        seen |= 1 << quad;
        let sections = stored.sections[quad];
        let length = lengths[quad];
        let data = rest.get(QUAD_HEADER..QUAD_HEADER + length);
        let data = data.ok_or_else(|| corrupt(xtc, format!("quadrant {quad} is cut off")))?;
        let places = (0..8).filter(|section| sections & 1 << section != 0);
        for (section, data) in places.zip(data.chunks_exact(2 * rows * columns)) {
            let begin = (8 * quad + section) * shape.panel_len();
            let place = &mut pixels[begin..begin + shape.panel_len()];
            for (pixel, pair) in place.iter_mut().zip(data.chunks_exact(2)) {
                *pixel = i16::from_le_bytes([pair[0], pair[1]]);
            }
        }
        rest = rest.get(QUAD_HEADER + length + QUAD_TRAILER..).unwrap_or_default();
    }
    Ok(Frame { shape, pixels: Pixels::I16(pixels) })
}

fn camera(xtc: &Xtc<'_>) -> Result<Frame, FormatError> {
    let word = |at| bytes::u32(xtc.payload, at).ok_or_else(|| corrupt(xtc, "it is too short"));
    let (width, height, depth) = (word(0)?, word(4)?, word(8)?);
    if !(1..=MAX_SIDE).contains(&width) || !(1..=MAX_SIDE).contains(&height) {
        return Err(corrupt(xtc, format!("{width} x {height} pixels cannot be")));
    }
    let shape = Shape { panels: 1, rows: height as usize, columns: width as usize };
    match depth {
        9..=16 => panels(xtc, 16, shape),
        1..=8 => {
            let pixels = xtc.payload.get(16..).and_then(|rest| rest.get(..shape.len()));
            let pixels = pixels.ok_or_else(|| corrupt(xtc, format!("too few bytes for {shape}")))?;
            Ok(Frame { shape, pixels: Pixels::U16(pixels.iter().map(|pixel| u16::from(*pixel)).collect()) })
        }
        _ => Err(FormatError::Unsupported { what: format!("pixels of {depth} bits of {}", xtc.src) }),
    }
}

/// Adds what an event says of the shot: photon energy of `EBeam` (V7, eV; before it the accelerator computed it with a wrong
/// sign), fiducial, event codes of `EvrData`.
pub fn shot(datagram: &Datagram<'_>, shot: &mut Shot) -> Result<(), FormatError> {
    const NO_FIDUCIAL: u32 = 0x1_ffff;
    const PHOTON_ENERGY: usize = 140;
    const PHOTON_ENERGY_DAMAGE: u32 = 0x2_0000;
    const EVR_RECORD: usize = 12;
    let fiducial = datagram.header.time.fiducial;
    shot.pulse_id = (fiducial != NO_FIDUCIAL).then_some(u64::from(fiducial)).or(shot.pulse_id);
    let mut codes = BTreeSet::new();
    for xtc in datagram.leaves() {
        let xtc = xtc?;
        if !xtc.damage.is_none() {
            continue;
        }
        match (xtc.kind.number, xtc.kind.version) {
            (EBEAM, 7) => {
                let good = bytes::u32(xtc.payload, 0).is_some_and(|mask| mask & PHOTON_ENERGY_DAMAGE == 0);
                let energy = bytes::array(xtc.payload, PHOTON_ENERGY).map(f64::from_le_bytes);
                let energy = energy.filter(|energy| good && energy.is_finite() && *energy > 0.0);
                shot.photon_energy = energy.or(shot.photon_energy);
            }
            (EVR_DATA, _) => {
                let count = bytes::u32(xtc.payload, 0).unwrap_or_default() as usize;
                let records = xtc.payload.get(4..).unwrap_or_default().chunks_exact(EVR_RECORD);
                let code = |record| bytes::u32(record, 8).and_then(|code| u16::try_from(code).ok());
                codes.extend(records.take(count).filter_map(code));
            }
            _ => {}
        }
    }
    codes.extend(&shot.event_codes);
    shot.event_codes = codes.into_iter().collect();
    Ok(())
}
