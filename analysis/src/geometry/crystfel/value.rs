//! The values in a CrystFEL geometry file: directions, lengths, energies, places in the data file. Pure parsing.

/// A length that is a number, or a place in the data file.
#[derive(Clone, Debug, PartialEq)]
pub enum Length {
    /// Metres.
    Metres(f64),
    /// A dataset, and how many metres its unit is (millimetres unless the file says otherwise).
    Stored {
        /// The dataset's path.
        path: String,
        /// Metres per unit.
        unit: f64,
    },
}

/// A dataset of the data files that holds where the detector stands, such as the position of its stage's encoder.
#[derive(Clone, Debug, PartialEq)]
pub struct Encoder {
    /// The dataset's path.
    pub path: String,
    /// Metres per unit.
    pub unit: f64,
    /// The detector's distance where the dataset holds 0, metres.
    pub offset: f64,
}

impl Encoder {
    /// The detector's distance where the dataset holds this, metres.
    pub fn distance(&self, position: f64) -> f64 {
        position * self.unit + self.offset
    }
}

/// A photon energy that is a number, or a place in the data file.
#[derive(Clone, Debug, PartialEq)]
pub enum Energy {
    /// Electronvolts.
    ElectronVolts(f64),
    /// A dataset of energies in a unit of so many electronvolts.
    Stored {
        /// The dataset's path.
        path: String,
        /// Electronvolts per unit.
        unit: f64,
    },
    /// A dataset of wavelengths in a unit of so many angstrom.
    StoredWavelength {
        /// The dataset's path.
        path: String,
        /// Angstrom per unit.
        unit: f64,
    },
}

/// h c in eV angstrom.
pub(crate) const EV_ANGSTROM: f64 = 12_398.419_84;

/// A direction such as `-0.005902x +0.999983y`, in pixels.
pub(super) fn direction(text: &str) -> Result<[f64; 3], String> {
    let compact: String = text.chars().filter(|c| !c.is_whitespace()).collect();
    let mut vector = [0.0; 3];
    let mut rest = compact.as_str();
    while !rest.is_empty() {
        let wrong = || format!("`{text}` is no direction; one is written `-0.0059x +0.9999y`");
        let axis = rest.find(['x', 'y', 'z']).ok_or_else(wrong)?;
        let factor = match &rest[..axis] {
            "" | "+" => 1.0,
            "-" => -1.0,
            number => finite(number).ok_or_else(wrong)?,
        };
        vector[usize::from(rest.as_bytes()[axis] - b'x')] += factor;
        rest = &rest[axis + 1..];
    }
    let length = vector.iter().map(|v| v * v).sum::<f64>().sqrt();
    if !(0.1..=10.0).contains(&length) {
        return Err(format!("`{text}` is {length:.3} pixels long; a step from pixel to pixel is about 1"));
    }
    Ok(vector)
}

/// A number that is finite.
pub(super) fn finite(text: &str) -> Option<f64> {
    text.parse::<f64>().ok().filter(|v| v.is_finite())
}

/// A mask's bits: decimal or `0x...`.
pub(super) fn bits(text: &str) -> Option<u64> {
    match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(hex) => u64::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    }
}

/// `0.581`, `0.581 m`, `58.1 mm`, `/LCLS/detector_1/EncoderValue`, `/distance m`.
pub(super) fn length(text: &str) -> Result<Length, String> {
    let (value, unit) = text.split_once(char::is_whitespace).map_or((text, ""), |(v, u)| (v, u.trim()));
    let metres = |default| match unit {
        "" => Ok(default),
        "m" => Ok(1.0),
        "mm" => Ok(1e-3),
        other => Err(format!("`{other}` is no unit of length here; `m` or `mm`")),
    };
    if is_path(value) {
        return Ok(Length::Stored { path: value.to_owned(), unit: metres(1e-3)? });
    }
    let number = finite(value).ok_or_else(|| format!("`{value}` is neither a length nor a dataset"))?;
    Ok(Length::Metres(number * metres(1.0)?))
}

/// `9000`, `9 keV`, `9000 eV`, `/LCLS/photon_energy_eV`.
pub(super) fn energy(text: &str) -> Result<Energy, String> {
    let (value, unit) = text.split_once(char::is_whitespace).map_or((text, ""), |(v, u)| (v, u.trim()));
    let unit = match unit {
        "" | "eV" => 1.0,
        "keV" => 1e3,
        "MeV" => 1e6,
        other => return Err(format!("`{other}` is no unit of energy here; `eV`, `keV` or `MeV`")),
    };
    if is_path(value) {
        return Ok(Energy::Stored { path: value.to_owned(), unit });
    }
    let number = finite(value).filter(|v| *v > 0.0);
    number
        .map(|v| Energy::ElectronVolts(v * unit))
        .ok_or_else(|| format!("`{value}` is neither an energy nor a dataset"))
}

/// `1.3 A`, `1.3e-10 m`, `/beam/wavelength A`.
pub(super) fn wavelength(text: &str) -> Result<Energy, String> {
    let (value, unit) = text.split_once(char::is_whitespace).map_or((text, ""), |(v, u)| (v, u.trim()));
    let unit = match unit {
        "m" => 1e10,
        "A" => 1.0,
        "" => return Err("a wavelength needs its unit, `A` or `m`".to_owned()),
        other => return Err(format!("`{other}` is no unit of wavelength here; `A` or `m`")),
    };
    if is_path(value) {
        return Ok(Energy::StoredWavelength { path: value.to_owned(), unit });
    }
    let number = finite(value).filter(|v| *v > 0.0);
    number
        .map(|v| Energy::ElectronVolts(EV_ANGSTROM / (v * unit)))
        .ok_or_else(|| format!("`{value}` is neither a wavelength nor a dataset"))
}

fn is_path(value: &str) -> bool {
    value.starts_with('/') || value.starts_with('%')
}
