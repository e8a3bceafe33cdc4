//! What NXmx and CXI files say besides pixels: which datasets hold images, photon energy, distance and event of each, and the
//! plane that an NXmx detector is.

use super::H5;
use crate::formats::FormatError;
use crate::frame::{Shape, Shot};
use crate::geometry::crystfel::Encoder;
use crate::geometry::{Geometry, Panel};

/// h c in eV angstrom.
const EV_ANGSTROM: f64 = 12_398.419_84;

/// Where images lie by convention: NXmx first, then CXI, then what simple writers do.
pub(super) const PLACES: [&str; 7] = [
    "/entry/data/data",
    "/entry/instrument/detector/data",
    "/entry_1/data_1/data",
    "/entry_1/instrument_1/detector_1/data",
    "/entry_1/instrument_1/detector_1/detector_corrected/data",
    "/data/data",
    "/data",
];

/// What a file says of its images' shots: one value for all, or one for each.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Shots {
    pub(crate) energy: Vec<f64>,
    pub(crate) distance: Vec<f64>,
    pub(crate) fiducial: Vec<f64>,
}

impl Shots {
    /// What holds for all images.
    pub fn of_all(&self) -> Shot {
        self.of(usize::MAX)
    }

    /// Whether what it says holds for all images.
    pub fn is_of_all(&self) -> bool {
        [&self.energy, &self.distance, &self.fiducial].iter().all(|values| values.len() <= 1)
    }

    /// Of one image.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // checked to be whole and small
    pub fn of(&self, image: usize) -> Shot {
        let value = |all: &[f64]| all.get(image).or(all.first().filter(|_| all.len() == 1)).copied();
        let positive = |value: &f64| value.is_finite() && *value > 0.0;
        Shot {
            photon_energy: value(&self.energy).filter(positive),
            pulse_id: value(&self.fiducial).filter(|id| (0.0..9e15).contains(id)).map(|id| id as u64),
            event_codes: Vec::new(),
            detector_distance: value(&self.distance).filter(positive),
        }
    }
}

impl H5 {
    /// The datasets that hold images: those in the places that NXmx and CXI have for them, and Dectris' `data_000001`, ...
    pub fn images(&self) -> Result<Vec<String>, FormatError> {
        let is_image = |path: &str, dims: &[u64]| {
            let numbered = path.strip_prefix("/entry/data/data_").is_some_and(|n| n.parse::<u32>().is_ok());
            (PLACES.contains(&path) || numbered) && (2..=4).contains(&dims.len())
        };
        let listed = self.list()?;
        let mut found: Vec<String> =
            listed.iter().filter(|one| is_image(&one.path, &one.dims)).map(|one| one.path.clone()).collect();
        found.sort_by_key(|path| PLACES.iter().position(|place| place == path).unwrap_or(0));
        // The same dataset by two names is given once.
        let mut seen = Vec::new();
        found.retain(|path| match self.dataset(path) {
            Ok(dataset) if !seen.contains(&dataset.address()) => {
                seen.push(dataset.address());
                true
            }
            _ => false,
        });
        Ok(found)
    }

    /// The dataset of a trial's detector: a path as it is, any other name one of [`H5::images`].
    pub fn detector(&self, name: &str) -> Result<String, FormatError> {
        if name.starts_with('/') {
            if self.has(name) {
                return Ok(name.to_owned());
            }
            let absent = || FormatError::absent(format!("dataset {name} in the HDF5 file"));
            return Err(self.elsewhere(Some(name)).unwrap_or_else(absent));
        }
        let absent = || {
            FormatError::absent("dataset of images where NXmx or CXI have it; give its path as detector.name")
        };
        let own = self.images()?.into_iter().next();
        own.ok_or_else(|| self.elsewhere(None).unwrap_or_else(absent))
    }

    /// What the file says of the shots; of the distance by `encoder`, where a geometry names one and the file has it.
    pub fn shots(&self, encoder: Option<&Encoder>) -> Shots {
        let first = |paths: &[&str]| paths.iter().find_map(|path| self.numbers(path)).unwrap_or_default();
        let metres = |path: &str| {
            let factor = match self.attribute(path, "units").as_deref() {
                Some("mm" | "millimeter" | "millimetre") => 1e-3,
                _ => 1.0,
            };
            self.numbers(path).map(|values| values.into_iter().map(|value| value * factor).collect())
        };
        let wavelength = || {
            let paths = [
                "/entry/instrument/beam/incident_wavelength",
                "/entry/sample/beam/incident_wavelength",
                "/entry/instrument/monochromator/wavelength",
            ];
            first(&paths).into_iter().map(|angstrom| EV_ANGSTROM / angstrom).collect::<Vec<_>>()
        };
        let joule = || {
            const JOULE: f64 = 1.602_176_634e-19;
            let energy = first(&["/entry_1/instrument_1/source_1/energy"]);
            energy.into_iter().map(|joule| joule / JOULE).collect::<Vec<_>>()
        };
        let mut energy = first(&["/LCLS/photon_energy_eV", "/instrument/photon_energy_eV"]);
        if energy.is_empty() {
            energy = wavelength();
        }
        if energy.is_empty() {
            energy = joule();
        }
        let distances = [
            "/entry/instrument/detector/distance",
            "/entry/instrument/detector/detector_distance",
            "/entry_1/instrument_1/detector_1/distance",
        ];
        let encoded = encoder.and_then(|encoder| {
            let positions = self.numbers(&encoder.path)?;
            Some(positions.into_iter().map(|position| encoder.distance(position)).collect())
        });
        let distance = encoded.or_else(|| distances.iter().find_map(|path| metres(path))).unwrap_or_default();
        Shots { energy, distance, fiducial: first(&["/LCLS/fiducial"]) }
    }

    /// The plane that an NXmx detector of one module is: where the beam meets it, its pixels' size and its distance.
    pub fn plane(&self, shape: Shape) -> Option<Geometry> {
        let number = |name: &str| {
            let value = self.numbers(&format!("/entry/instrument/detector/{name}"))?.first().copied()?;
            value.is_finite().then_some(value)
        };
        let (x, y) = (number("x_pixel_size")?, number("y_pixel_size")?);
        let (beam_x, beam_y) = (number("beam_center_x")?, number("beam_center_y")?);
        let distance = self.shots(None).of(0).detector_distance?;
        if shape.panels != 1 || x <= 0.0 || y <= 0.0 {
            return None;
        }
        let panel = Panel {
            name: "p0".to_owned(),
            panel: 0,
            rows: 0..shape.rows,
            columns: 0..shape.columns,
            origin: [(beam_x - 0.5) * x, (beam_y - 0.5) * y, distance],
            fast: [-x, 0.0, 0.0],
            slow: [0.0, -y, 0.0],
        };
        Some(Geometry { panels: vec![panel], distance })
    }
}
