//! What is true of an image: its crystals, their orientations and every spot that was drawn. Decided from the plan alone, before
//! any pixel.

use serde::{Deserialize, Serialize};

use super::crystal::{Matrix, orientation, product, structure_factor};
use super::diffraction::{hit, polarisation, reflections};
use super::plan::{HC, Plan};
use super::random::{Purpose, Random};
use super::render::Wanted;
use crate::geometry::Geometry;

/// Spots of fewer photons are not drawn.
const FAINTEST: f64 = 2.0;

/// A crystal in a shot.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Crystal {
    /// Its rotation: q = U B h, with B of [`super::Cell::reciprocal`].
    pub orientation: Matrix,
    /// Its scale; 1 is the plan's intensity.
    pub scale: f64,
}

/// A spot as it was drawn.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct TruthSpot {
    /// Panel of the data array.
    pub panel: u16,
    /// Its middle along a row of that panel, pixels; whole numbers are pixel centres.
    #[serde(serialize_with = "rounded")]
    pub x: f64,
    /// Its middle along a column, pixels.
    #[serde(serialize_with = "rounded")]
    pub y: f64,
    /// Photons that are expected in it.
    #[serde(serialize_with = "rounded")]
    pub intensity: f64,
    /// Indices.
    pub hkl: [i32; 3],
    /// Which of the image's crystals.
    pub crystal: u8,
    /// Angstrom.
    #[serde(serialize_with = "rounded")]
    pub d: f64,
    /// Whether all pixels around its middle (three by three) are good: on the panel, not of its outermost ones, neither masked
    /// nor dead.
    pub good: bool,
}

/// In a file four digits of a fraction are enough.
#[allow(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn rounded<S: serde::Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64((value * 1e4).round() / 1e4)
}

/// What is true of an image.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Truth {
    /// eV.
    pub photon_energy: f64,
    /// The shot's background; 1 is the plan's.
    pub background: f64,
    /// Whether there are rings of ice.
    pub ice: bool,
    /// Whether there is a jet's streak.
    pub streak: bool,
    /// The crystals; none in a miss.
    pub crystals: Vec<Crystal>,
    /// Every spot of at least two photons, those that lie on bad pixels too.
    pub spots: Vec<TruthSpot>,
}

impl Truth {
    /// Whether there is a crystal.
    pub fn hit(&self) -> bool {
        !self.crystals.is_empty()
    }

    /// The spots on good pixels that have at least that many photons.
    pub fn findable(&self, intensity: f64) -> impl Iterator<Item = &TruthSpot> {
        self.spots.iter().filter(move |spot| spot.good && spot.intensity >= intensity)
    }

    /// Decides what is true of an image. `real` is where the panels truly are, `basis` the reciprocal one of the cell, `good` says
    /// whether a spot on a panel is on good pixels.
    pub(super) fn decide(
        plan: &Plan,
        (run, index): (u32, u64),
        wanted: &Wanted,
        (real, basis): (&Geometry, Matrix),
        good: impl Fn(u16, f64, f64) -> bool,
    ) -> Self {
        let image = [u64::from(run), index];
        let mut shot = Random::of(plan.seed, Purpose::Shot, &image);
        let mut truth = Self {
            photon_energy: plan.photon_energy * (1.0 + plan.energy_jitter * shot.normal()),
            background: (plan.background_spread * shot.normal()).exp(),
            ice: shot.chance(plan.ice_rate),
            streak: shot.chance(plan.streak_rate),
            ..Self::default()
        };
        let is_hit = shot.chance(plan.hit_rate);
        let is_double = shot.chance(plan.double_rate);
        let crystals = wanted.crystals.unwrap_or(usize::from(is_hit) * (1 + usize::from(is_double)));
        for number in 0..crystals {
            let mut lattice = Random::of(plan.seed, Purpose::Lattice, &[image[0], image[1], number as u64]);
            let turn = orientation(&mut lattice);
            let drawn = (plan.scale_spread * lattice.normal()).exp();
            let crystal = Crystal { orientation: turn, scale: wanted.scale.unwrap_or(drawn) };
            truth.add_spots(plan, &crystal, number as u8, (real, basis), &good);
            truth.crystals.push(crystal);
        }
        truth
    }

    fn add_spots(
        &mut self,
        plan: &Plan,
        crystal: &Crystal,
        number: u8,
        (real, basis): (&Geometry, Matrix),
        good: impl Fn(u16, f64, f64) -> bool,
    ) {
        let wavelength = HC / self.photon_energy;
        let turned = product(crystal.orientation, basis);
        let profile = (plan.partiality, plan.profile_radius);
        for reflection in reflections(turned, wavelength, plan.resolution, profile) {
            let square: f64 = reflection.q.iter().map(|v| v * v).sum();
            let most = plan.intensity
                * crystal.scale
                * reflection.partiality
                * (-plan.b_factor * square / 2.0).exp();
            // Structure factors of 30 times the mean do not occur: exp(-30).
            if most * 30.0 < FAINTEST {
                continue;
            }
            let direction = [reflection.q[0], reflection.q[1], reflection.q[2] + 1.0 / wavelength];
            let intensity = most
                * structure_factor(plan.seed, &plan.space_group, reflection.hkl)
                * polarisation(direction, plan.polarisation);
            if intensity < FAINTEST {
                continue;
            }
            let Some((panel, x, y)) = hit(real, direction) else { continue };
            let panel = panel as u16;
            self.spots.push(TruthSpot {
                panel,
                x,
                y,
                intensity,
                hkl: reflection.hkl,
                crystal: number,
                d: 1.0 / square.sqrt(),
                good: good(panel, x, y),
            });
        }
    }
}

/// One reflection of each set of equivalents within the plan's resolution, with its squared structure factor; those that the
/// space group forbids are left out.
pub(super) fn unique_reflections(plan: &Plan) -> Vec<([i32; 3], f64)> {
    let basis = plan.cell.reciprocal();
    let length = |hkl: [i32; 3]| {
        let q: [f64; 3] =
            std::array::from_fn(|i| (0..3).map(|j| basis[i][j] * f64::from(hkl[j])).sum::<f64>());
        q.iter().map(|v| v * v).sum::<f64>().sqrt()
    };
    // An index is at most the direct axis' length over the resolution.
    let most = [plan.cell.a, plan.cell.b, plan.cell.c].map(|axis| (axis / plan.resolution).ceil() as i32);
    let mut found = Vec::new();
    for h in -most[0]..=most[0] {
        for k in -most[1]..=most[1] {
            for l in -most[2]..=most[2] {
                let hkl = [h, k, l];
                let is_one = hkl != [0; 3] && plan.space_group.representative(hkl) == hkl;
                if is_one && !plan.space_group.is_absent(hkl) && length(hkl) <= 1.0 / plan.resolution {
                    found.push((hkl, structure_factor(plan.seed, &plan.space_group, hkl)));
                }
            }
        }
    }
    found
}
