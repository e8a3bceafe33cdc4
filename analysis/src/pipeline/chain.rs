//! A trial compiled for one detector: everything checked before the first image, every table made once.

use std::fmt;

use sha2::{Digest, Sha256};
use thiserror::Error;

use super::pass::{Pass, Raw, SHARES, Shared, TOGETHER, Tables};
use super::regions::{self, Regions};
use super::rings::Rings;
use super::statistics::Ring;
use super::tiles::{Ordered, Tiles};
use super::{Outcome, Powders, Seen, Spot, dispersion, hit};
use crate::detectors::{Calibration, CalibrationError, Constants, Mask, PixelError};
use crate::frame::{Frame, Pixels, Shape, Shot};
use crate::geometry::Geometry;
use crate::simd::Level;
use crate::trial::{Parameters, Peakfinder8, SpotFinder};

/// eV times angstrom: h c.
const HC: f64 = 12_398.419_843;

/// Why a trial does not fit a detector.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum ChainError {
    /// Constants or masks do not fit.
    #[error(transparent)]
    Calibration(#[from] CalibrationError),
    /// The data's pixels are none of this detector's.
    #[error(transparent)]
    Pixels(#[from] PixelError),
    /// The geometry is for another detector.
    #[error("the geometry does not fit data of {data}: {what}; use the one made for this detector")]
    Geometry {
        /// The data's shape.
        data: Shape,
        /// What does not fit.
        what: String,
    },
    /// Every good pixel is outside the geometry or the limits of the spot finder.
    #[error("no good pixel is left to look for spots in: {what}")]
    NothingLeft {
        /// What hides the last.
        what: &'static str,
    },
}

/// Why an image has no outcome.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum ImageError {
    /// Another shape than the chain's.
    #[error("the image is {found}, the trial was made for {wanted}")]
    Shape {
        /// The image's.
        found: Shape,
        /// The chain's.
        wanted: Shape,
    },
    /// Fewer or more pixels than its own shape says.
    #[error("the image of {shape} holds {found} pixels")]
    Pixels {
        /// The image's shape.
        shape: Shape,
        /// Pixels found.
        found: usize,
    },
    /// Pixels of a type that the detector does not write.
    #[error(transparent)]
    Type(#[from] PixelError),
}

/// SHA-256 over everything that decides what an image's outcome is: parameters, shape, constants, masks and geometry.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ChainHash([u8; 32]);

impl fmt::Display for ChainHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ChainHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ChainHash({self})")
    }
}

/// A trial ready for the images of one detector. Shared by threads; what changes per image is in a [`Workspace`].
#[derive(Clone, Debug)]
pub struct Chain {
    parameters: Parameters,
    calibration: Calibration,
    geometry: Geometry,
    regions: Regions,
    rings: Rings,
    tiles: Tiles,
    /// Where a pixel's value depends on nothing but its own raw value.
    ordered: Option<Ordered>,
    /// Outermost ring of each ring of the profile, one past it.
    profile: Vec<usize>,
    hash: ChainHash,
}

/// Buffers that images go through, one per thread; nothing of one image stays for the next.
#[derive(Clone, Debug, Default)]
pub struct Workspace {
    /// How many threads go through an image at once, the caller's among them; no more than [`Chain::hands`] are of use. The
    /// outcome does not depend on it.
    pub hands: usize,
    values: Vec<f32>,
    passes: Vec<Pass>,
    shared: Shared,
    dispersion: dispersion::Scratch,
}

impl Chain {
    /// Compiles a trial: `shape` is the data's, the rest what the trial names for the run. Everything that does not fit is an
    /// error here, before the first image.
    pub fn compile(
        parameters: &Parameters,
        shape: Shape,
        geometry: &Geometry,
        constants: &Constants,
        masks: &[Mask],
    ) -> Result<Self, ChainError> {
        let hash = hash(parameters, shape, geometry, constants, masks);
        let regions =
            Regions::new(shape, geometry).map_err(|what| ChainError::Geometry { data: shape, what })?;
        let mut masks = masks.to_vec();
        if parameters.calibration.edge > 0 {
            let hidden = regions.edges(usize::from(parameters.calibration.edge));
            masks.push(Mask { shape, good: hidden.iter().map(|hidden| !hidden).collect() });
        }
        let calibration = Calibration::compile(parameters, shape, constants, &masks)?;
        let radii = regions::radii(shape, geometry);
        let rings = Rings::new(&radii, calibration.mask());
        if rings.is_empty() {
            return Err(ChainError::NothingLeft { what: "the geometry covers no good pixel" });
        }
        if let SpotFinder::Peakfinder8(p) = &parameters.spots {
            let looked_at = p.min_res as usize..rings.len().min(p.max_res as usize + 1);
            if rings.pixels().get(looked_at).is_none_or(|rings| rings.iter().all(|n| *n == 0)) {
                return Err(ChainError::NothingLeft { what: "none lies between min_res and max_res" });
            }
        }
        let n = parameters.profile.rings;
        let profile = (1..=n).map(|i| (rings.len() * i).div_ceil(n)).collect();
        let tiles = Tiles::new(shape, &rings, calibration.mask());
        let ordered =
            calibration.direct().map(|(table, steps, _)| Ordered::new(table, steps, &tiles, &rings));
        let (parameters, geometry) = (parameters.clone(), geometry.clone());
        Ok(Self { parameters, calibration, geometry, regions, rings, tiles, ordered, profile, hash })
    }

    /// The hash of everything that was used; goes with every result.
    pub fn hash(&self) -> ChainHash {
        self.hash
    }

    /// The trial.
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// The detector's calibration.
    pub fn calibration(&self) -> &Calibration {
        &self.calibration
    }

    /// The geometry it was compiled with.
    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// The regions of the data array.
    pub fn regions(&self) -> &Regions {
        &self.regions
    }

    /// The outer radius of each ring of [`Outcome::profile`], pixels.
    pub fn profile_radii(&self) -> &[usize] {
        &self.profile
    }

    /// How many threads can go through an image at once.
    pub fn hands(&self) -> usize {
        match self.parameters.spots {
            SpotFinder::Peakfinder8(_) if self.ordered.is_some() => SHARES,
            _ => 1,
        }
    }

    /// Empty powders of this trial.
    pub fn powders(&self) -> Powders {
        Powders::new(&self.parameters.powder)
    }

    /// Takes a batch of images through the chain; one outcome or error per image, in order.
    pub fn process(
        &self,
        workspace: &mut Workspace,
        images: &[(&Frame, &Shot)],
    ) -> Vec<Result<Outcome, ImageError>> {
        self.process_at(Level::best(), workspace, images)
    }

    /// [`Chain::process`] with chosen instructions: the outcome is the same, the time is not.
    pub fn process_at(
        &self,
        level: Level,
        workspace: &mut Workspace,
        images: &[(&Frame, &Shot)],
    ) -> Vec<Result<Outcome, ImageError>> {
        let mut outcomes = Vec::with_capacity(images.len());
        workspace.passes.resize(TOGETHER, Pass::default());
        for images in images.chunks(TOGETHER) {
            match (&self.parameters.spots, self.raw(images)) {
                (SpotFinder::Peakfinder8(p), Some(raw)) => {
                    outcomes.extend(self.together(level, workspace, p, images, &raw).into_iter().map(Ok));
                }
                _ => {
                    outcomes
                        .extend(images.iter().map(|(frame, shot)| self.one(level, workspace, frame, shot)));
                }
            }
        }
        outcomes
    }

    /// Adds an image to its powder where the trial wants it there; `key` names the image.
    pub fn add_to(
        &self,
        powders: &mut Powders,
        workspace: &mut Workspace,
        frame: &Frame,
        hit: bool,
        key: u64,
    ) -> Result<bool, ImageError> {
        if !Powders::wants(&self.parameters.powder, hit, key) {
            return Ok(false);
        }
        self.fits(frame)?;
        self.calibrate(workspace, frame)?;
        powders.of(hit).add(&workspace.values);
        Ok(true)
    }

    /// The calibrated values of an image, for pictures and comparisons: 0 where masked, not a number where not measured.
    pub fn values<'a>(&self, workspace: &'a mut Workspace, frame: &Frame) -> Result<&'a [f32], ImageError> {
        self.fits(frame)?;
        self.calibrate(workspace, frame)?;
        Ok(&workspace.values)
    }

    fn fits(&self, frame: &Frame) -> Result<(), ImageError> {
        let wanted = self.calibration.shape();
        if frame.shape != wanted {
            return Err(ImageError::Shape { found: frame.shape, wanted });
        }
        if frame.pixels.len() != wanted.len() {
            return Err(ImageError::Pixels { shape: wanted, found: frame.pixels.len() });
        }
        Ok(())
    }

    fn calibrate(&self, workspace: &mut Workspace, frame: &Frame) -> Result<usize, ImageError> {
        workspace.values.resize(frame.shape.len(), 0.0);
        Ok(self.calibration.calibrate(&frame.pixels, &mut workspace.values)?)
    }

    fn tables(&self) -> Tables<'_> {
        Tables {
            calibration: &self.calibration,
            regions: &self.regions,
            rings: &self.rings,
            tiles: &self.tiles,
        }
    }

    /// The raw pixels of images that can go together; nothing where one of them does not fit or has to be calibrated first.
    fn raw<'a>(&self, images: &[(&'a Frame, &Shot)]) -> Option<Vec<&'a [u16]>> {
        self.calibration.direct()?;
        let raw = |frame: &'a Frame| match (&frame.pixels, self.fits(frame)) {
            (Pixels::U16(raw), Ok(())) => Some(raw.as_slice()),
            _ => None,
        };
        images.iter().map(|(frame, _)| raw(frame)).collect()
    }

    fn together(
        &self,
        level: Level,
        workspace: &mut Workspace,
        p: &Peakfinder8,
        images: &[(&Frame, &Shot)],
        raw: &[&[u16]],
    ) -> Vec<Outcome> {
        let Workspace { hands, passes, shared, .. } = workspace;
        let (Some(ordered), Some((_, _, plain))) = (&self.ordered, self.calibration.direct()) else {
            return Vec::new();
        };
        let direct = (ordered, plain);
        self.tables().together(level, p, direct, raw, &mut passes[..raw.len()], (shared, *hands));
        let each = images.iter().zip(raw).zip(passes);
        each.map(|(((frame, shot), raw), pass)| {
            let values = Raw { calibration: &self.calibration, pixels: raw };
            let spots = self.tables().spots(p, &values, pass, shared);
            self.decide(spots, pass.saturated, &pass.statistics, (frame, shot))
        })
        .collect()
    }

    #[allow(clippy::cast_possible_truncation)] // a detector has < 2^32 pixels
    fn one(
        &self,
        level: Level,
        workspace: &mut Workspace,
        frame: &Frame,
        shot: &Shot,
    ) -> Result<Outcome, ImageError> {
        self.fits(frame)?;
        let saturated = self.calibrate(workspace, frame)? as u32;
        let Workspace { values, passes, shared, dispersion, .. } = workspace;
        let pass = &mut passes[0];
        let spots = match &self.parameters.spots {
            SpotFinder::Peakfinder8(p) => {
                self.tables().alone(level, p, values, pass, shared);
                self.tables().spots(p, values.as_slice(), pass, shared)
            }
            SpotFinder::Dispersion(p) => {
                self.tables().alone(level, &Peakfinder8::default(), values, pass, shared);
                dispersion::spots(values, p, &self.rings, &self.regions, dispersion, &mut shared.components)
            }
        };
        Ok(self.decide(spots, saturated, &pass.statistics, (frame, shot)))
    }

    /// The outcome by the definitions alone, nothing left out, nothing fused: the twin of [`Chain::process`].
    #[cfg(test)]
    #[allow(clippy::cast_possible_truncation)] // a detector has < 2^32 pixels
    pub(super) fn plainly(&self, frame: &Frame, shot: &Shot) -> Result<Outcome, ImageError> {
        self.fits(frame)?;
        let mut workspace = Workspace { passes: vec![Pass::default()], ..Workspace::default() };
        let (good, pixels) = (&self.calibration.mask().good, &frame.pixels);
        let mut values = vec![0.0; pixels.len()];
        let mut saturated = self.calibration.calibrate(pixels, &mut values)? as u32;
        if let (Pixels::U16(raw), Some(_)) = (pixels, self.calibration.direct()) {
            let each = || raw.iter().enumerate().filter(|(i, _)| good[*i]);
            saturated = each().filter(|(_, raw)| self.calibration.saturated(**raw)).count() as u32;
            values.fill(0.0);
            each().for_each(|(i, raw)| values[i] = self.calibration.value(i, *raw));
        }
        let Workspace { passes, shared, dispersion, .. } = &mut workspace;
        let pass = &mut passes[0];
        let spots = match &self.parameters.spots {
            SpotFinder::Peakfinder8(p) => {
                self.tables().alone(Level::PORTABLE, p, &values, pass, shared);
                self.tables().spots_plainly(p, &values, pass, shared)
            }
            SpotFinder::Dispersion(p) => {
                self.tables().alone(Level::PORTABLE, &Peakfinder8::default(), &values, pass, shared);
                dispersion::spots(&values, p, &self.rings, &self.regions, dispersion, &mut shared.components)
            }
        };
        Ok(self.decide(spots, saturated, &pass.statistics, (frame, shot)))
    }

    /// Resolutions, totals and the decision.
    fn decide(
        &self,
        mut spots: Vec<Spot>,
        saturated: u32,
        statistics: &[Ring],
        (frame, shot): (&Frame, &Shot),
    ) -> Outcome {
        let photon_energy = shot.photon_energy.or(self.parameters.detector.photon_energy);
        let distance = shot
            .detector_distance
            .or(self.parameters.detector.distance)
            .or(Some(self.geometry.distance))
            .filter(|distance| *distance > 0.0);
        if let (Some(energy), Some(distance)) = (photon_energy, distance) {
            for spot in &mut spots {
                spot.resolution = self.resolution(spot, energy, distance);
            }
        }
        let (profile, total) = self.profile(statistics);
        let resolution = hit::resolution(&spots);
        let fullness = spots.iter().filter_map(|spot| self.fullness(&frame.pixels, spot));
        let saturation = fullness.max_by(f32::total_cmp);
        let counted = spots.iter().filter(|spot| self.parameters.hit.counts(spot)).count();
        let reason = self.parameters.hit.decide(Seen { counted, resolution, total });
        Outcome {
            hit: reason.is_none(),
            reason,
            spots,
            counted,
            resolution,
            saturated,
            saturation,
            total,
            profile,
            photon_energy,
            distance,
        }
    }

    /// Angstrom of a spot for a photon energy (eV) and a distance (m); not a number outside every region.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // centroids lie within the data array
    pub fn resolution(&self, spot: &Spot, photon_energy: f64, distance: f64) -> f32 {
        let (x, y) = (f64::from(spot.fast), f64::from(spot.slow));
        let (column, row) = (x.round().max(0.0) as usize, y.round().max(0.0) as usize);
        let panel = self.geometry.panels.iter().find(|panel| {
            panel.panel == usize::from(spot.panel)
                && panel.rows.contains(&row)
                && panel.columns.contains(&column)
        });
        let Some(panel) = panel else { return f32::NAN };
        let [px, py, pz] = panel.position(x, y);
        let pz = pz + distance - self.geometry.distance;
        let theta = px.hypot(py).atan2(pz) / 2.0;
        (HC / photon_energy / (2.0 * theta.sin())) as f32
    }

    /// Of the fullest pixel within one of a spot's centre.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // centroids lie within the data array
    fn fullness(&self, pixels: &Pixels, spot: &Spot) -> Option<f32> {
        let shape = self.calibration.shape();
        let about = |centre: f32, length: usize| {
            let centre = centre.round().max(0.0) as usize;
            centre.saturating_sub(1)..(centre + 2).min(length)
        };
        let place = |row: usize, column: usize| {
            usize::from(spot.panel) * shape.panel_len() + row * shape.columns + column
        };
        about(spot.slow, shape.rows)
            .flat_map(|row| about(spot.fast, shape.columns).map(move |column| (row, column)))
            .filter_map(|(row, column)| self.calibration.fullness(pixels, place(row, column)))
            .max_by(f32::total_cmp)
    }

    /// Mean per ring of the profile, and the sum over all good pixels.
    #[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss)] // f32 is enough for a picture
    fn profile(&self, statistics: &[Ring]) -> (Vec<f32>, f64) {
        let mut from = 0;
        let mut total = 0.0;
        let profile = self.profile.iter().map(|to| {
            let rings = statistics[from..*to].iter().zip(&self.rings.pixels()[from..*to]);
            let (sum, n) = rings.fold((0.0, 0_u64), |(sum, n), (ring, pixels)| {
                (sum + f64::from(ring.plain) * f64::from(*pixels), n + u64::from(*pixels))
            });
            from = *to;
            total += sum;
            if n > 0 { (sum / n as f64) as f32 } else { f32::NAN }
        });
        (profile.collect(), total)
    }
}

fn hash(
    parameters: &Parameters,
    shape: Shape,
    geometry: &Geometry,
    constants: &Constants,
    masks: &[Mask],
) -> ChainHash {
    let mut digest = Sha256::new();
    // The version of the definitions: raised when the same inputs would give other outcomes.
    digest.update(b"lightrail chain 6\n");
    // Debug text of plain data is exact: every f32 and f64 prints so that it reads back the same.
    digest.update(format!("{parameters:?}\n{shape}\n{geometry:?}\n"));
    for (name, modes) in
        [("pedestals", &constants.pedestals), ("offsets", &constants.offsets), ("gains", &constants.gains)]
    {
        if let Some(modes) = modes {
            digest.update(format!("{name} {} {}\n", modes.shape, modes.modes));
            modes.values.chunks(1024).for_each(|part| {
                let bytes: Vec<u8> = part.iter().flat_map(|v| v.to_le_bytes()).collect();
                digest.update(bytes);
            });
        }
    }
    if let Some(status) = &constants.status {
        digest.update(format!("status {} {}\n", status.shape, status.modes));
        status.values.iter().for_each(|v| digest.update(v.to_le_bytes()));
    }
    if let Some(configuration) = &constants.configuration {
        digest.update(format!("configuration {} {}\n", configuration.shape, configuration.modes));
        digest.update(&configuration.values);
    }
    for mask in masks {
        digest.update(format!("mask {}\n", mask.shape));
        digest.update(mask.good.iter().map(|good| u8::from(*good)).collect::<Vec<_>>());
    }
    ChainHash(digest.finalize().into())
}
