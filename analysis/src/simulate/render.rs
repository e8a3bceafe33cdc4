//! From what is true of a shot to the pixels that a detector writes: background, spots and hot pixels as photons, photons as
//! ADU in the gain that fits. Pure, no file.

use super::crystal::Matrix;
use super::defects::{self, Defects, Shift};
use super::diffraction::polarisation;
use super::model::Stage;
use super::plan::{Plan, PlanError};
use super::random::{Counts, NORMAL_BITS, NORMALS, Purpose, Random, normal_integral};
use super::truth::Truth;
use crate::detectors::{Constants, Mask, Modes};
use crate::frame::{Frame, Pixels, Shape, Shot};
use crate::geometry::Geometry;

/// What a caller decides of an image instead of leaving it to the plan's rates.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Wanted {
    /// How many crystals are in the shot; 0 is a miss.
    pub crystals: Option<usize>,
    /// Each crystal's scale.
    pub scale: Option<f64>,
}

impl Wanted {
    /// Whatever the plan's rates give.
    pub const ANY: Self = Self { crystals: None, scale: None };
    /// One crystal.
    pub const HIT: Self = Self { crystals: Some(1), scale: None };
    /// No crystal.
    pub const MISS: Self = Self { crystals: Some(0), scale: None };
}

/// An image and what is true of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Image {
    /// Raw pixels.
    pub frame: Frame,
    /// What the data say of the shot.
    pub shot: Shot,
    /// What is true.
    pub truth: Truth,
}

/// Background of a kind of shot: for every pixel the level of its mean.
type Levels = Vec<u16>;

/// A plan with its detector drawn, ready for images. Shared by threads.
#[derive(Debug)]
pub struct Simulator {
    plan: Plan,
    shape: Shape,
    geometry: Geometry,
    shifts: Vec<Shift>,
    real: Geometry,
    constants: Constants,
    mask: Mask,
    /// Good pixels by mask and status.
    good: Vec<bool>,
    defects: Defects,
    basis: Matrix,
    counts: Counts,
    plain: Levels,
    ice: Option<Levels>,
    streak: Option<Levels>,
}

impl Simulator {
    /// Draws the detector.
    pub fn new(plan: Plan) -> Result<Self, PlanError> {
        plan.check()?;
        let shape = plan.detector.shape();
        let geometry = plan.detector.geometry(plan.distance);
        let shifts = defects::shifts(&plan, shape.panels);
        let real = defects::moved(&geometry, &shifts);
        let (defects, status) = defects::defects(&plan, shape);
        let mask = defects::mask(&plan, shape, &geometry);
        let good = mask.good.iter().zip(&status).map(|(good, status)| *good && *status == 0).collect();
        let constants = defects::constants(&plan, shape, status);
        let levels = |kind| background(&plan, shape, &real, kind);
        let (plain, ice, streak) = (
            levels(Sky::Plain),
            (plan.ice_rate > 0.0).then(|| levels(Sky::Ice)),
            (plan.streak_rate > 0.0).then(|| levels(Sky::Streak)),
        );
        let basis = plan.cell.reciprocal();
        let counts = Counts::new();
        Ok(Self {
            plan,
            shape,
            geometry,
            shifts,
            real,
            constants,
            mask,
            good,
            defects,
            basis,
            counts,
            plain,
            ice,
            streak,
        })
    }

    /// The plan.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The data array.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// The geometry that analysis gets: without the hidden shifts.
    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// Where the panels truly are.
    pub fn true_geometry(&self) -> &Geometry {
        &self.real
    }

    /// How each panel truly stands.
    pub fn shifts(&self) -> &[Shift] {
        &self.shifts
    }

    /// The constants that analysis gets; true but for the hot pixels that the status does not know.
    pub fn constants(&self) -> &Constants {
        &self.constants
    }

    /// The mask that analysis gets besides the constants' status.
    pub fn mask(&self) -> &Mask {
        &self.mask
    }

    /// What is true of image `index` of a run; the same whatever was asked before.
    pub fn truth(&self, run: u32, index: u64, wanted: &Wanted) -> Truth {
        let good = |panel: u16, x: f64, y: f64| self.is_good(panel, x, y);
        Truth::decide(&self.plan, (run, index), wanted, (&self.real, self.basis), good)
    }

    /// What the data say of a shot.
    pub fn shot(&self, run: u32, index: u64, truth: &Truth) -> Shot {
        // LCLS-II counts at 928.6 kHz; event code 40 comes with every shot, 41 with every second.
        let pulse_id = (u64::from(run) << 32) + index * 7738;
        let event_codes = if index.is_multiple_of(2) { vec![40, 41] } else { vec![40] };
        Shot {
            photon_energy: Some(truth.photon_energy),
            pulse_id: Some(pulse_id),
            event_codes,
            detector_distance: None,
        }
    }

    /// An image with its truth.
    pub fn image(&self, run: u32, index: u64, wanted: &Wanted) -> Image {
        let truth = self.truth(run, index, wanted);
        let mut pixels = vec![0; self.shape.len()];
        self.draw(run, index, &truth, &mut pixels);
        let shot = self.shot(run, index, &truth);
        Image { frame: Frame { shape: self.shape, pixels: Pixels::U16(pixels) }, shot, truth }
    }

    /// Draws the pixels of an image whose truth is known; `out` is as long as the data array.
    pub fn draw(&self, run: u32, index: u64, truth: &Truth, out: &mut [u16]) {
        let image = [u64::from(run), index];
        let mut extras = self.extras(&mut Random::of(self.plan.seed, Purpose::Spots, &image), truth);
        extras.sort_unstable();
        let levels = match (&self.ice, &self.streak) {
            (Some(ice), _) if truth.ice => ice,
            (_, Some(streak)) if truth.streak => streak,
            _ => &self.plain,
        };
        let shift = Counts::levels_of(truth.background);
        let kev = (truth.photon_energy / 1000.0) as f32;
        let Shape { columns, .. } = self.shape;
        let (mut photons, mut noise) = (vec![0.0; columns], vec![0.0; columns]);
        let mut extras = extras.as_slice();
        let mut random = Random::of(self.plan.seed, Purpose::Panel, &image);
        for (row, out) in out.chunks_mut(columns).enumerate() {
            let first = row * columns;
            let levels = &levels[first..first + columns];
            self.background(&mut random, levels, shift, &mut photons, &mut noise);
            let here = extras.partition_point(|(pixel, _)| (*pixel as usize) < first + columns);
            let (now, later) = extras.split_at(here);
            extras = later;
            for (pixel, more) in now {
                photons[*pixel as usize - first] += *more as f32;
            }
            self.digitise(first, kev, &photons, &noise, out);
        }
        for pixel in &self.defects.dead {
            out[*pixel as usize] = 0;
        }
    }

    /// A row's photons of the background, and as many normal numbers.
    fn background(
        &self,
        random: &mut Random,
        levels: &[u16],
        shift: i32,
        photons: &mut [f32],
        noise: &mut [f32],
    ) {
        let last = self.counts.last();
        let normals = NORMALS.as_slice();
        for ((level, photons), noise) in levels.iter().zip(photons).zip(noise) {
            let bits = random.bits();
            let level = (i32::from(*level) + shift).clamp(0, last) as usize;
            *photons = self.counts.draw(level, bits) as f32;
            *noise = normals[(bits >> (64 - NORMAL_BITS)) as usize];
        }
    }

    /// A row's ADU, in the first gain that holds them.
    fn digitise(&self, first: usize, kev: f32, photons: &[f32], noise: &[f32], out: &mut [u16]) {
        let stages = self.plan.detector.stages();
        let (pedestals, gains) = self.stage(&stages[0], first, out.len());
        let noise_kev = (self.plan.noise * self.plan.photon_energy / 1000.0) as f32;
        let limit = stages[0].limit as f32;
        let mut highest = 0.0_f32;
        for (i, out) in out.iter_mut().enumerate() {
            let adc = pedestals[i] + gains[i] * (photons[i] * kev + noise[i] * noise_kev) + 0.5;
            highest = highest.max(adc);
            *out = adc.clamp(0.0, 16383.0) as u16;
        }
        if highest < limit {
            return;
        }
        for (i, out) in out.iter_mut().enumerate().filter(|(_, out)| f32::from(**out) >= limit) {
            for (n, stage) in stages.iter().enumerate().skip(1) {
                let (pedestals, gains) = self.stage(stage, first + i, 1);
                let adc = pedestals[0] + gains[0] * photons[i] * kev + noise[i] * stage.noise as f32 + 0.5;
                *out = stage.bits | adc.clamp(0.0, 16383.0) as u16;
                let limit = stage.limit as f32;
                let beyond = if stage.gain > 0.0 { adc >= limit } else { adc <= limit };
                if !beyond || n + 1 == stages.len() {
                    break;
                }
            }
        }
    }

    fn stage<'a>(&'a self, stage: &Stage, first: usize, length: usize) -> (&'a [f32], &'a [f32]) {
        // Both are made by `defects::constants`.
        let part = |modes: Option<&'a Modes<f32>>| -> &'a [f32] {
            &modes.map(|modes| modes.of(stage.mode)).unwrap_or_default()[first..first + length]
        };
        (part(self.constants.pedestals.as_ref()), part(self.constants.gains.as_ref()))
    }

    /// Photons of spots and hot pixels, by pixel.
    fn extras(&self, random: &mut Random, truth: &Truth) -> Vec<(u32, u32)> {
        let Shape { rows, columns, .. } = self.shape;
        let sigma = self.plan.spot_size;
        let half = (4.5 * sigma).ceil() as i64;
        let width = (2 * half + 1) as usize;
        let (mut across, mut down) = (vec![0.0; width], vec![0.0; width]);
        let mut extras = Vec::with_capacity(truth.spots.len() * 16);
        for spot in &truth.spots {
            let (column, row) = (spot.x.round() as i64, spot.y.round() as i64);
            spread(spot.x - column as f64, sigma, half, &mut across);
            spread(spot.y - row as f64, sigma, half, &mut down);
            let panel = usize::from(spot.panel) * self.shape.panel_len();
            for (y, down) in (row - half..).zip(&down).filter(|(y, _)| (0..rows as i64).contains(y)) {
                for (x, across) in (column - half..).zip(&across) {
                    if !(0..columns as i64).contains(&x) {
                        continue;
                    }
                    let photons = random.poisson(spot.intensity * across * down);
                    if photons > 0 {
                        extras.push(((panel + y as usize * columns + x as usize) as u32, photons));
                    }
                }
            }
        }
        extras.extend(self.defects.hot.iter().map(|(pixel, mean)| (*pixel, random.poisson(*mean))));
        extras
    }

    fn is_good(&self, panel: u16, x: f64, y: f64) -> bool {
        let Shape { rows, columns, .. } = self.shape;
        let (column, row) = (x.round() as i64, y.round() as i64);
        // A panel's outermost pixels are what trials hide as its edge.
        let inside = |v: i64, length: usize| v >= 2 && v + 2 < length as i64;
        if !inside(column, columns) || !inside(row, rows) {
            return false;
        }
        let first = usize::from(panel) * self.shape.panel_len();
        (row - 1..=row + 1).all(|y| {
            let row = first + y as usize * columns;
            (column - 1..=column + 1).all(|x| self.good[row + x as usize])
        })
    }
}

/// How much of a normal distribution about `middle` falls into each pixel from -half to half.
fn spread(middle: f64, sigma: f64, half: i64, out: &mut [f64]) {
    let mut below = normal_integral((-half as f64 - 0.5 - middle) / sigma);
    for (pixel, part) in (-half..=half).zip(out) {
        let upto = normal_integral((pixel as f64 + 0.5 - middle) / sigma);
        *part = upto - below;
        below = upto;
    }
}

/// What scatters besides the crystal.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sky {
    /// Beam halo and water.
    Plain,
    /// With rings of hexagonal ice.
    Ice,
    /// With the streak of a jet, along y.
    Streak,
}

/// Hexagonal ice, angstrom (Thorn et al. 2017, Acta Cryst. D73, 729).
const ICE: [f64; 5] = [3.90, 3.67, 3.44, 2.67, 2.25];

/// For every pixel the level of its mean background at the mean photon energy: beam halo and the water ring at 3.2 angstrom.
fn background(plan: &Plan, shape: Shape, real: &Geometry, sky: Sky) -> Levels {
    let bell = |v: f64, width: f64| (-(v / width) * (v / width)).exp();
    let wavelength = plan.wavelength();
    let of = |place: [f32; 3]| -> u16 {
        let place = place.map(f64::from);
        let length = place.iter().map(|v| v * v).sum::<f64>().sqrt();
        let q: [f64; 3] =
            std::array::from_fn(|i| (place[i] / length - f64::from(u8::from(i == 2))) / wavelength);
        let r = q.iter().map(|v| v * v).sum::<f64>().sqrt();
        let mut mean = 0.3 + bell(r, 0.12) + 1.6 * bell(r - 0.31, 0.05);
        match sky {
            Sky::Plain => {}
            Sky::Ice => mean += ICE.iter().map(|d| 4.0 * bell(r - 1.0 / d, 0.003)).sum::<f64>(),
            Sky::Streak => mean += 6.0 * bell(q[0], 0.004) * bell(r, 0.25),
        }
        Counts::level(plan.background * mean * polarisation(place, plan.polarisation)) as u16
    };
    real.positions(shape).into_iter().map(of).collect()
}
