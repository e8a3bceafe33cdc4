//! What a beam time is to be: every setting with its default and range, and the experiment's physics in numbers.

use super::crystal::Cell;
use super::model::Model;
use super::random::MOST;
use super::symmetry::SpaceGroup;

/// Electronvolts times angstrom.
pub(crate) const HC: f64 = 12_398.419_84;

/// Everything that decides what images are; the same plan gives the same images, byte for byte.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Where all random numbers come from.
    pub seed: u64,
    /// The detector.
    pub detector: Model,
    /// From the interaction point to the detector, metres.
    pub distance: f64,
    /// Mean photon energy, eV.
    pub photon_energy: f64,
    /// Standard deviation of a shot's photon energy as a fraction.
    pub energy_jitter: f64,
    /// Fraction of shots with a crystal.
    pub hit_rate: f64,
    /// Fraction of hits with two crystals.
    pub double_rate: f64,
    /// The crystals' cell.
    pub cell: Cell,
    /// The crystals' space group.
    pub space_group: SpaceGroup,
    /// The finest reflections, angstrom.
    pub resolution: f64,
    /// Photons of a reflection of mean structure factor exactly on the Ewald sphere, at resolution 0, in a mean shot.
    pub intensity: f64,
    /// Standard deviation of the logarithm of a crystal's scale.
    pub scale_spread: f64,
    /// B factor, square angstrom.
    pub b_factor: f64,
    /// Radius of a reciprocal lattice point, 1/angstrom: standard deviation of the Gaussian, radius of the sphere.
    pub profile_radius: f64,
    /// How a reflection off the Ewald sphere loses.
    pub partiality: Partiality,
    /// Standard deviation of a spot, pixels.
    pub spot_size: f64,
    /// Photons per pixel that the background's radial function is multiplied with.
    pub background: f64,
    /// Standard deviation of the logarithm of a shot's background.
    pub background_spread: f64,
    /// The part of the beam that is polarised horizontally: 1 all of it, 0.5 none.
    pub polarisation: f64,
    /// Read-out noise, photons.
    pub noise: f64,
    /// Fraction of pixels that always see light of their own.
    pub hot: f64,
    /// Fraction of pixels that see nothing.
    pub dead: f64,
    /// ASICs that see nothing.
    pub dead_asics: usize,
    /// Largest hidden shift of a panel in each direction, pixels.
    pub shift: f64,
    /// Largest hidden turn of a panel, degrees.
    pub turn: f64,
    /// Radius of the beam stop's shadow that the mask hides, pixels.
    pub beam_stop: f64,
    /// Fraction of shots with ice rings.
    pub ice_rate: f64,
    /// Fraction of shots with a jet's streak.
    pub streak_rate: f64,
}

/// How much of a reflection diffracts that lies off the Ewald sphere by an excitation error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Partiality {
    /// A Gaussian of the excitation error.
    Gaussian,
    /// The cut of the Ewald sphere through a sphere (White 2014, Phil. Trans. R. Soc. B 369, 20130330), relative to the largest.
    Sphere,
}

impl std::str::FromStr for Partiality {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "gaussian" => Ok(Self::Gaussian),
            "sphere" => Ok(Self::Sphere),
            _ => Err(format!("`{text}` is no partiality; there are: gaussian, sphere")),
        }
    }
}

impl std::fmt::Display for Partiality {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Gaussian => "gaussian",
            Self::Sphere => "sphere",
        })
    }
}

/// A setting out of its range.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{what} is {value}, and must be from {from} to {to}")]
pub struct PlanError {
    /// Which.
    pub what: &'static str,
    /// What was said.
    pub value: f64,
    /// The least.
    pub from: f64,
    /// The most.
    pub to: f64,
}

impl Plan {
    /// The usual experiment: lysozyme at 9.54 keV.
    pub fn new(detector: Model, seed: u64) -> Self {
        Self {
            seed,
            detector,
            distance: detector.usual_distance(),
            photon_energy: 9537.0,
            energy_jitter: 5e-4,
            hit_rate: 0.1,
            double_rate: 0.1,
            cell: Cell::LYSOZYME,
            space_group: "P43212".parse().expect("a group of the tables"),
            resolution: 1.9,
            intensity: 1500.0,
            scale_spread: 0.5,
            b_factor: 25.0,
            profile_radius: 0.0012,
            partiality: Partiality::Gaussian,
            spot_size: 0.7,
            background: 1.5,
            background_spread: 0.1,
            polarisation: 0.99,
            noise: 0.12,
            hot: 7e-5,
            dead: 7e-5,
            dead_asics: 0,
            shift: 0.5,
            turn: 0.1,
            beam_stop: 12.0,
            ice_rate: 0.0,
            streak_rate: 0.0,
        }
    }

    /// Refuses what cannot be simulated.
    pub fn check(&self) -> Result<(), PlanError> {
        let all = [
            ("the distance in metres", self.distance, 0.01, 20.0),
            ("the photon energy in eV", self.photon_energy, 1000.0, 100_000.0),
            ("the jitter of the photon energy", self.energy_jitter, 0.0, 0.05),
            ("the hit rate", self.hit_rate, 0.0, 1.0),
            ("the rate of double hits", self.double_rate, 0.0, 1.0),
            ("the resolution in angstrom", self.resolution, 0.5, 50.0),
            ("the intensity in photons", self.intensity, 0.0, 1e7),
            ("the spread of scales", self.scale_spread, 0.0, 3.0),
            ("the B factor", self.b_factor, 0.0, 500.0),
            ("the profile radius in 1/angstrom", self.profile_radius, 1e-5, 0.02),
            ("the spot size in pixels", self.spot_size, 0.2, 3.0),
            ("the background in photons", self.background, 0.0, MOST / 20.0),
            ("the spread of the background", self.background_spread, 0.0, 1.0),
            ("the polarisation", self.polarisation, 0.0, 1.0),
            ("the noise in photons", self.noise, 0.0, 5.0),
            ("the fraction of hot pixels", self.hot, 0.0, 0.1),
            ("the fraction of dead pixels", self.dead, 0.0, 0.5),
            ("the largest shift in pixels", self.shift, 0.0, 50.0),
            ("the largest turn in degrees", self.turn, 0.0, 5.0),
            ("the beam stop's radius in pixels", self.beam_stop, 0.0, 1000.0),
            ("the rate of ice rings", self.ice_rate, 0.0, 1.0),
            ("the rate of streaks", self.streak_rate, 0.0, 1.0),
        ];
        match all.into_iter().find(|(_, value, from, to)| !(from..=to).contains(&value)) {
            Some((what, value, from, to)) => Err(PlanError { what, value, from, to }),
            None => Ok(()),
        }
    }

    /// Mean wavelength, angstrom.
    pub fn wavelength(&self) -> f64 {
        HC / self.photon_energy
    }
}
