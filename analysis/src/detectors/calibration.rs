//! Constants, masks and a trial's settings compiled into one table; a raw pixel in, a value out.
//!
//! The table is psana's fast form of the Jungfrau's calibration: per pixel and upper two raw bits an offset and a scale, so
//! that value = (ADC - offset) * scale (slac-lcls/lcls2, `UtilsJungfrau.py`). All detectors here fit it.

use thiserror::Error;

use super::common_mode::CommonMode;
use super::{Constants, Kind, Mask, Modes, Steps, epix10ka};
use crate::frame::{PixelType, Pixels, Shape};
use crate::simd::{self, CHUNK, Level, Plain};
use crate::trial::{self, Unit};

/// How one pixel's ADC becomes a value: `(adc - offset) * scale`. A scale that is not a number: no value in that gain stage.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[repr(C)]
pub struct Entry {
    /// ADU.
    pub offset: f32,
    /// Value per ADU; 0 where the pixel is masked.
    pub scale: f32,
}

impl Entry {
    /// The value of an ADC reading.
    #[inline]
    pub fn value(self, adc: f32) -> f32 {
        (adc - self.offset) * self.scale
    }
}

/// Why a detector's constants, masks and settings do not fit its data.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CalibrationError {
    /// A constant that the detector needs was not given.
    #[error(
        "{kind} needs {constant}, and the constants hold none: name a file that has them under [[constants]]"
    )]
    Missing {
        /// The detector.
        kind: Kind,
        /// Which constant.
        constant: &'static str,
    },
    /// Something has another shape than the data.
    #[error("{what} is for {found}, the data are {data}: use the one made for this detector")]
    Shape {
        /// Which constant or mask.
        what: String,
        /// Its shape.
        found: Shape,
        /// The data's.
        data: Shape,
    },
    /// An array does not hold as many values as it says.
    #[error(
        "{what} holds {found} values, {wanted} are needed ({modes} gain modes): the file is for another detector"
    )]
    Values {
        /// Which constant or mask.
        what: String,
        /// How many values it has.
        found: usize,
        /// How many it must have.
        wanted: usize,
        /// Gain modes needed.
        modes: usize,
    },
    /// No pixel is left.
    #[error("no pixel is left: {what}")]
    NothingLeft {
        /// Which mask hid the last pixel.
        what: String,
    },
}

/// Pixels of a type that the detector does not write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{kind} (detector.kind of the trial) does not write {found} pixels, as the data have them")]
pub struct PixelError {
    /// The detector.
    pub kind: Kind,
    /// The type found.
    pub found: PixelType,
}

impl PixelError {
    /// Whether a detector of this kind writes such pixels.
    pub fn check(kind: Kind, found: PixelType) -> Result<(), Self> {
        if kind.writes(found) { Ok(()) } else { Err(Self { kind, found }) }
    }
}

/// A detector's calibration, ready for its images.
#[derive(Clone, Debug)]
pub struct Calibration {
    kind: Kind,
    mask: Mask,
    /// One table per gain stage that occurs.
    tables: Vec<Vec<Entry>>,
    /// Per value of the upper two bits which table; all the same where the detector has one gain.
    stage: [usize; 4],
    common_mode: Option<CommonMode>,
    /// To which the first table is rounded, where a pixel's value depends on nothing but its own raw u16.
    steps: Option<Steps>,
    /// Bit i: a pixel whose upper two raw bits are i is in a gain at which the common mode is seen.
    speaks: Vec<u8>,
    min_raw: f32,
    saturation: f32,
}

impl Calibration {
    /// Checks constants and masks against the shape of the data and makes the table.
    #[allow(clippy::cast_possible_truncation)] // settings are f64 in the trial and f32 at the pixel
    pub fn compile(
        parameters: &trial::Parameters,
        shape: Shape,
        constants: &Constants,
        masks: &[Mask],
    ) -> Result<Self, CalibrationError> {
        let kind = parameters.detector.kind;
        let settings = &parameters.calibration;
        check(kind, shape, constants)?;
        let mask = combine(settings, shape, constants, masks)?;
        let (mut tables, stage) = tables(parameters, shape, constants, &mask)?;
        let nothing =
            CalibrationError::NothingLeft { what: "the constants have no gain for any good pixel".into() };
        if !tables[stage[0]].iter().any(|entry| entry.scale != 0.0 && !entry.scale.is_nan()) {
            return Err(nothing);
        }
        let speaks = match settings.common_mode {
            0 => Vec::new(),
            _ => {
                (0..shape.len()).map(|i| if mask.good[i] { speaks(kind, constants, i) } else { 0 }).collect()
            }
        };
        let saturation = settings.saturation.map_or_else(|| default_saturation(kind), |s| s as f32);
        let common_mode = CommonMode::new(kind, settings.common_mode, settings.common_mode_max as f32);
        let first = &mut tables[stage[0]];
        let steps = (common_mode.is_none() && kind.writes(PixelType::U16)).then(|| Steps::of(first));
        if let Some(steps) = steps {
            for entry in first {
                *entry = steps.round(*entry);
            }
        }
        Ok(Self {
            kind,
            mask,
            tables,
            stage,
            speaks,
            common_mode,
            steps,
            min_raw: settings.min_raw.map_or_else(|| default_min(kind), |m| m as f32),
            saturation,
        })
    }

    /// The detector.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The data's shape.
    pub fn shape(&self) -> Shape {
        self.mask.shape
    }

    /// The good pixels, all masks combined.
    pub fn mask(&self) -> &Mask {
        &self.mask
    }

    /// The entry of a pixel for its raw value.
    #[inline]
    pub fn entry(&self, pixel: usize, raw: u16) -> Entry {
        self.tables[self.stage[usize::from(raw >> 14)]][pixel]
    }

    /// A pixel's value without common mode; not a number where it was not measured.
    #[inline]
    pub fn value(&self, pixel: usize, raw: u16) -> f32 {
        if f32::from(raw) < self.min_raw || (self.kind == Kind::Counts && raw == u16::MAX) {
            return f32::NAN;
        }
        self.entry(pixel, raw).value(f32::from(raw & self.kind.adc_mask()))
    }

    /// Whether a raw pixel is saturated; one that was not measured is not.
    #[inline]
    pub fn saturated(&self, raw: u16) -> bool {
        match self.kind {
            // The lowest gain counts downwards: its end is 0.
            Kind::Jungfrau => raw == 0xc000,
            Kind::Counts if raw == u16::MAX => false,
            _ => f32::from(raw & self.kind.adc_mask()) >= self.saturation,
        }
    }

    /// How full a pixel is: its value over that at its saturation, 1 from there on. `None` where it is masked or was not measured,
    /// or where its level is not known.
    #[allow(clippy::cast_precision_loss)] // counts above 2^24 need no last bit
    pub fn fullness(&self, pixels: &Pixels, pixel: usize) -> Option<f32> {
        let linear = |raw: f32| {
            let measured = raw >= self.min_raw;
            if measured { self.tables[self.stage[0]][pixel].value(raw) } else { f32::NAN }
        };
        let value = match pixels {
            Pixels::U16(raw) => self.value(pixel, raw[pixel]),
            Pixels::I16(raw) => linear(f32::from(raw[pixel])),
            Pixels::I32(raw) => linear(raw[pixel] as f32),
            Pixels::U32(raw) if self.kind == Kind::Counts && raw[pixel] == u32::MAX => f32::NAN,
            Pixels::U32(raw) => linear(raw[pixel] as f32),
            Pixels::F32(raw) => linear(raw[pixel]),
        };
        let full = self.full(pixel);
        let known = self.mask.good[pixel] && full.is_finite() && full > 0.0 && value.is_finite();
        known.then(|| (value / full).min(1.0))
    }

    /// The value at which a pixel is saturated, in the last gain stage that it comes to.
    fn full(&self, pixel: usize) -> f32 {
        match self.kind {
            Kind::Jungfrau => self.value(pixel, 0xc000),
            Kind::Epix10ka => {
                let of = |table: usize| self.tables[table][pixel].value(self.saturation);
                if of(1).is_finite() { of(1) } else { of(0) }
            }
            _ => self.tables[self.stage[0]][pixel].value(self.saturation),
        }
    }

    /// The table of pixels that have not switched, to what it is rounded, and the raw values that need no second look: measured,
    /// not switched, not saturated. `None` where a pixel's value depends on more than its own raw u16.
    pub(crate) fn direct(&self) -> Option<(&[Entry], Steps, Plain)> {
        self.steps.map(|steps| (self.tables[self.stage[0]].as_slice(), steps, self.plain()))
    }

    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // casts saturate, as is meant
    fn plain(&self) -> Plain {
        let from = self.min_raw.ceil() as u16;
        let switched = if self.kind.adc_mask() == u16::MAX { u16::MAX } else { 0x4000 };
        let full = if self.kind == Kind::Jungfrau { switched } else { self.saturation.ceil() as u16 };
        let to = switched.min(full);
        if from < to { Plain { from, to } } else { Plain { from: 0, to: 0 } }
    }

    /// Values of a whole image into `out`, common mode taken away; 0 where masked, not a number where not measured. Returns
    /// the number of good saturated pixels.
    #[allow(clippy::cast_precision_loss)] // counts above 2^24 need no last bit
    pub fn calibrate(&self, pixels: &Pixels, out: &mut [f32]) -> Result<usize, PixelError> {
        PixelError::check(self.kind, pixels.of())?;
        let from = |wide: f32| if wide >= self.min_raw { wide } else { f32::NAN };
        Ok(match pixels {
            Pixels::U16(raw) => self.gains(raw, out),
            Pixels::I16(raw) => self.linear(raw, |v| from(f32::from(v)), out),
            Pixels::I32(raw) => self.linear(raw, |v| from(v as f32), out),
            Pixels::F32(raw) => self.linear(raw, from, out),
            Pixels::U32(raw) => {
                let none = if self.kind == Kind::Counts { u32::MAX } else { 0 };
                self.linear(raw, |v| if none > 0 && v == none { f32::NAN } else { from(v as f32) }, out)
            }
        })
    }

    /// Raw pixels with gain bits. With a common mode, panel by panel: ADU above the pedestal, the common mode, then the scale.
    fn gains(&self, raw: &[u16], out: &mut [f32]) -> usize {
        let good = &self.mask.good;
        let Some(common_mode) = self.common_mode else { return self.alone(raw, out) };
        let saturated = raw.iter().zip(good).filter(|(raw, good)| **good && self.saturated(**raw)).count();
        let Shape { rows, columns, .. } = self.mask.shape;
        let length = self.mask.shape.panel_len();
        let mut counts = vec![false; length];
        for (panel, (raw, out)) in raw.chunks(length).zip(out.chunks_mut(length)).enumerate() {
            let first = panel * length;
            for (i, (out, raw)) in out.iter_mut().zip(raw).enumerate() {
                let entry = self.entry(first + i, *raw);
                counts[i] = self.speaks[first + i] >> (raw >> 14) & 1 == 1;
                *out = f32::from(*raw & self.kind.adc_mask()) - entry.offset;
            }
            common_mode.apply(out, &counts, (rows, columns));
            for (i, (out, raw)) in out.iter_mut().zip(raw).enumerate() {
                let measured = f32::from(*raw) >= self.min_raw;
                *out = match good[first + i] {
                    true if measured => *out * self.entry(first + i, *raw).scale,
                    true => f32::NAN,
                    false => 0.0,
                };
            }
        }
        saturated
    }

    /// Raw pixels with gain bits, each for itself: all by the first table, then those again that need a second look.
    fn alone(&self, raw: &[u16], out: &mut [f32]) -> usize {
        let mut odd = Vec::new();
        let table = &self.tables[self.stage[0]];
        simd::calibrate(Level::best(), raw, table, self.plain(), out, &mut odd);
        let mut saturated = 0;
        for chunk in odd {
            let from = chunk as usize * CHUNK;
            for i in from..(from + CHUNK).min(raw.len()) {
                let good = self.mask.good[i];
                out[i] = if good { self.value(i, raw[i]) } else { 0.0 };
                saturated += usize::from(good && self.saturated(raw[i]));
            }
        }
        saturated
    }

    /// Raw pixels without gain bits, as `of` reads them: not a number where not measured.
    fn linear<T: Copy>(&self, raw: &[T], of: impl Fn(T) -> f32, out: &mut [f32]) -> usize {
        let table = &self.tables[self.stage[0]];
        let good = &self.mask.good;
        let mut saturated = 0;
        for (i, (out, raw)) in out.iter_mut().zip(raw).enumerate() {
            let raw = of(*raw);
            saturated += usize::from(good[i] && raw >= self.saturation);
            *out = if good[i] { table[i].value(raw) } else { 0.0 };
        }
        let Some(common_mode) = self.common_mode else { return saturated };
        let Shape { rows, columns, .. } = self.mask.shape;
        let length = self.mask.shape.panel_len();
        // The unbonded pixels of a CSPAD are masked and speak all the same: the panel goes in as ADU without a mask.
        let mut adu = vec![0.0; length];
        for (panel, out) in out.chunks_mut(length).enumerate() {
            let first = panel * length;
            for (i, adu) in adu.iter_mut().enumerate() {
                *adu = of(raw[first + i]) - table[first + i].offset;
            }
            let good = &good[first..first + length];
            common_mode.apply(&mut adu, good, (rows, columns));
            for (i, out) in out.iter_mut().enumerate() {
                *out = if good[i] { adu[i] * table[first + i].scale } else { 0.0 };
            }
        }
        saturated
    }
}

/// In which values of the upper two raw bits a pixel shows the common mode: those of its high and medium gains.
fn speaks(kind: Kind, constants: &Constants, pixel: usize) -> u8 {
    match (kind, &constants.configuration) {
        (Kind::Jungfrau, _) => 0b0001,
        (Kind::Epix10ka, Some(configuration)) => {
            let of = |switched| epix10ka::mode(configuration.of(0)[pixel], switched);
            let seen = |mode: Option<usize>| mode.is_some_and(|mode| epix10ka::LEVEL[mode] < 2);
            // Bit 15 is not the gain's.
            (u8::from(seen(of(false))) * 0b0101) | (u8::from(seen(of(true))) * 0b1010)
        }
        _ => 0b1111,
    }
}

/// Every array against the shape and the number of modes.
fn check(kind: Kind, shape: Shape, constants: &Constants) -> Result<(), CalibrationError> {
    fn one<T>(
        what: &str,
        array: Option<&Modes<T>>,
        modes: usize,
        shape: Shape,
    ) -> Result<(), CalibrationError> {
        let Some(array) = array else { return Ok(()) };
        if array.shape != shape {
            return Err(CalibrationError::Shape { what: what.into(), found: array.shape, data: shape });
        }
        let wanted = modes * shape.len();
        if array.modes < modes || array.values.len() != array.modes * shape.len() {
            return Err(CalibrationError::Values {
                what: what.into(),
                found: array.values.len(),
                wanted,
                modes,
            });
        }
        Ok(())
    }
    let modes = kind.modes();
    one("pedestals", constants.pedestals.as_ref(), modes, shape)?;
    one("offsets", constants.offsets.as_ref(), modes, shape)?;
    one("gains", constants.gains.as_ref(), modes, shape)?;
    one("status", constants.status.as_ref(), 1, shape)?;
    one("configuration", constants.configuration.as_ref(), 1, shape)?;
    let missing = |constant| Err(CalibrationError::Missing { kind, constant });
    match kind {
        Kind::Jungfrau | Kind::Epix10ka | Kind::Epix100 | Kind::Cspad if constants.pedestals.is_none() => {
            missing("pedestals")
        }
        Kind::Epix10ka if constants.configuration.is_none() => missing("the pixels' configuration"),
        _ => Ok(()),
    }
}

/// All masks into one; says which of them hid the last pixel.
fn combine(
    settings: &trial::Calibration,
    shape: Shape,
    constants: &Constants,
    masks: &[Mask],
) -> Result<Mask, CalibrationError> {
    let mut mask = Mask::open(shape);
    let left = |mask: &Mask, what: &str| {
        let nothing = CalibrationError::NothingLeft { what: what.into() };
        if mask.good.contains(&true) { Ok(()) } else { Err(nothing) }
    };
    left(&mask, "the data have none")?;
    mask.and_status(constants);
    left(&mask, "the constants' status marks every pixel as bad")?;
    for (i, other) in masks.iter().enumerate() {
        let what = format!("mask {} of the trial", i + 1);
        if other.shape != shape {
            return Err(CalibrationError::Shape { what, found: other.shape, data: shape });
        }
        if other.good.len() != shape.len() {
            return Err(CalibrationError::Values {
                what,
                found: other.good.len(),
                wanted: shape.len(),
                modes: 1,
            });
        }
        mask.and(&other.good);
        left(&mask, &format!("{what} hides, with those before it, all of them"))?;
    }
    if settings.neighbours {
        mask.grow();
        left(&mask, "every pixel has a bad neighbour; calibration.neighbours hides them")?;
    }
    Ok(mask)
}

type Tables = (Vec<Vec<Entry>>, [usize; 4]);

/// The tables of all gain stages, and which of them the upper two bits choose.
#[allow(clippy::cast_possible_truncation)] // f64 settings, f32 tables
fn tables(
    parameters: &trial::Parameters,
    shape: Shape,
    constants: &Constants,
    mask: &Mask,
) -> Result<Tables, CalibrationError> {
    let kind = parameters.detector.kind;
    let own = parameters.calibration.gains.as_deref();
    // keV per photon where photons are wanted; a gain in raw per photon is used as it is.
    let unit = match (parameters.calibration.unit, parameters.detector.photon_energy) {
        (Unit::Photon, Some(energy)) if kind.in_kev() => energy / 1000.0,
        _ => 1.0,
    };
    let entry = |pixel: usize, mode: usize, level: usize, default: Option<f64>| -> Option<Entry> {
        let of = |modes: &Option<Modes<f32>>| modes.as_ref().map(|modes| modes.of(mode)[pixel]);
        let gain = own
            .map(|own| own[level])
            .or_else(|| of(&constants.gains).map(f64::from))
            .or(default)
            .map(|gain| gain * unit)?;
        let dark = if kind == Kind::Rayonix { 10.0 } else { 0.0 };
        let offset = of(&constants.pedestals).unwrap_or(dark) + of(&constants.offsets).unwrap_or(0.0);
        let usable = mask.good[pixel] && gain.is_finite() && gain != 0.0 && offset.is_finite();
        let scale = if usable { (1.0 / gain) as f32 } else { 0.0 };
        Some(Entry { offset: if offset.is_finite() { offset } else { 0.0 }, scale })
    };
    let none = Entry { offset: 0.0, scale: f32::NAN };
    let table = |of: &dyn Fn(usize) -> Option<Entry>| (0..shape.len()).map(of).collect::<Option<Vec<_>>>();
    let missing = CalibrationError::Missing { kind, constant: "gains (or calibration.gains)" };
    let tables = match kind {
        Kind::Jungfrau => {
            let mut all = Vec::with_capacity(4);
            for stage in 0..3 {
                all.push(table(&|i| entry(i, stage, stage, None)).ok_or(missing.clone())?);
            }
            all.push(vec![none; shape.len()]);
            (all, [0, 1, 3, 2])
        }
        Kind::Epix10ka => {
            let configuration = constants.configuration.as_ref().map(|c| c.of(0)).unwrap_or_default();
            let stage = |switched: bool| {
                table(&|i| match epix10ka::mode(configuration[i], switched) {
                    Some(mode) => {
                        let level = epix10ka::LEVEL[mode];
                        entry(i, mode, level, Some(epix10ka::GAINS[level]))
                    }
                    None if mask.good[i] => Some(none),
                    None => Some(Entry::default()),
                })
                .ok_or(missing.clone())
            };
            // Bit 15 is not the gain's.
            (vec![stage(false)?, stage(true)?], [0, 1, 0, 1])
        }
        Kind::Epix100 => (vec![table(&|i| entry(i, 0, 0, Some(16.4))).ok_or(missing)?], [0; 4]),
        Kind::Cspad | Kind::Rayonix | Kind::Counts | Kind::Corrected => {
            (vec![table(&|i| entry(i, 0, 0, Some(1.0))).ok_or(missing)?], [0; 4])
        }
    };
    Ok(tables)
}

/// The raw level at which a detector is full.
fn default_saturation(kind: Kind) -> f32 {
    match kind {
        Kind::Jungfrau | Kind::Epix10ka | Kind::Epix100 | Kind::Cspad => 16383.0,
        Kind::Rayonix => 65535.0,
        Kind::Counts | Kind::Corrected => f32::INFINITY,
    }
}

/// The raw level below which a pixel was not measured.
fn default_min(kind: Kind) -> f32 {
    if kind == Kind::Counts { 0.0 } else { f32::NEG_INFINITY }
}
