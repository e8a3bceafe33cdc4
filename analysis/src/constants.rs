//! Calibration constants and masks as they lie in files (NumPy `.npy`, psana text, HDF5): which constant a file holds, and
//! whether it has the data's shape. Takes bytes. Applied by [`crate::detectors`], never here.
//!
//! A file of one array (`.npy`, text) says by its name which constant it is: one of `pedestal`, `gain`, `offset`, `status` stands
//! in it, or in its folder as in psana's calibration folders (`pedestals/12-end.data`, `pixel_gain/...`). In an HDF5 file the
//! datasets' names say it. A mask in HDF5 is a dataset `mask` (or Cheetah's `/data/data`), 0 where a pixel does not count; or
//! `pixel_mask` (NXmx), or `mask` in a CXI file's entry, 0 where it does.

use std::fmt;
use std::path::Path;

use crate::detectors::{Constants, Mask, Modes};
use crate::formats::array::{self, Array};
use crate::formats::h5::{self, H5};
use crate::formats::{FormatError, npy};
use crate::frame::Shape;

/// Which constant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Constant {
    /// ADU without light.
    Pedestals,
    /// ADU added to the pedestals.
    Offsets,
    /// ADU per keV, or raw per value.
    Gains,
    /// Not zero where bad.
    Status,
    /// What an `ePix10ka`'s pixels were set to, where the data do not say it (LCLS-I).
    Configuration,
}

impl Constant {
    const ALL: [Self; 5] = [Self::Pedestals, Self::Offsets, Self::Gains, Self::Status, Self::Configuration];

    /// Its word in names, singular so that both are found.
    fn word(self) -> &'static str {
        match self {
            Self::Pedestals => "pedestal",
            Self::Offsets => "offset",
            Self::Gains => "gain",
            Self::Status => "status",
            Self::Configuration => "configuration",
        }
    }

    /// The one that a name says; none where it says none or several.
    pub fn named(name: &str) -> Option<Self> {
        let name = name.to_ascii_lowercase();
        let mut said = Self::ALL.into_iter().filter(|constant| name.contains(constant.word()));
        said.next().filter(|_| said.next().is_none())
    }
}

impl fmt::Display for Constant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pedestals => "pedestals",
            Self::Offsets => "offsets",
            Self::Gains => "gains",
            Self::Status => "status",
            Self::Configuration => "configuration",
        })
    }
}

/// Why a file gives no constants or no mask.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConstantsError {
    /// Its bytes cannot be read.
    #[error("it cannot be read")]
    Format(#[from] FormatError),
    /// Its name does not say which constant it holds.
    #[error(
        "its name does not say which constant it holds: name it so that one of pedestals, gains, offsets, status, \
         configuration stands in it"
    )]
    Unnamed,
    /// An HDF5 file without any of them.
    #[error("it has no dataset named {wanted}; it has {there}")]
    NoDataset {
        /// What was looked for.
        wanted: &'static str,
        /// What it has.
        there: String,
    },
    /// It has no rows and columns.
    #[error("{what} are {found:?}: gain modes x panels x rows x columns, or rows x columns were expected")]
    Flat {
        /// Which constant, or the mask.
        what: String,
        /// Its dimensions.
        found: Vec<usize>,
    },
    /// It has another shape than the data.
    #[error("{what} are {found:?}, the data are {data}: gain modes x {data} were expected")]
    Shape {
        /// Which constant, or the mask.
        what: String,
        /// Its dimensions.
        found: Vec<usize>,
        /// The data's.
        data: Shape,
    },
}

/// Adds what a file holds to constants that have been read: what is there already is kept.
///
/// # Errors
/// A file that cannot be read, whose name says no constant, or of another shape than the data.
pub fn add(constants: &mut Constants, path: &Path, bytes: &[u8], shape: Shape) -> Result<(), ConstantsError> {
    each(path, bytes, &mut |constant, array| put(constants, constant, array, shape))
}

/// Whether a file holds constants, whatever the shape of the data.
///
/// # Errors
/// A file that cannot be read, whose name says no constant, or of no rows and columns.
pub fn check(path: &Path, bytes: &[u8]) -> Result<(), ConstantsError> {
    each(path, bytes, &mut |constant, array| plane(&constant.to_string(), array))
}

/// Whether a file holds a mask, whatever the shape of the data.
///
/// # Errors
/// A file that cannot be read, that holds no mask, or one of no rows and columns.
pub fn check_mask(bytes: &[u8]) -> Result<(), ConstantsError> {
    let (array, _) = mask_array(bytes)?;
    plane(MASK, &array)
}

/// What is told of a mask's values.
const MASK: &str = "the mask's values";

/// Whether an array has rows and columns, as all data have.
fn plane(what: &str, array: &Array) -> Result<(), ConstantsError> {
    let is_plane = array.dims.len() >= 2 && array.dims.iter().all(|axis| *axis > 0);
    let flat = || ConstantsError::Flat { what: what.to_owned(), found: array.dims.clone() };
    if is_plane { Ok(()) } else { Err(flat()) }
}

/// Takes every constant of a file.
type Take<'t> = dyn FnMut(Constant, &Array) -> Result<(), ConstantsError> + 't;

fn each(path: &Path, bytes: &[u8], take: &mut Take<'_>) -> Result<(), ConstantsError> {
    if h5::is_hdf5(bytes) {
        return each_dataset(bytes, take);
    }
    let constant = of_path(path).ok_or(ConstantsError::Unnamed)?;
    take(constant, &read(bytes)?)
}

/// The datasets of an HDF5 file; of each constant the first that is named so.
fn each_dataset(bytes: &[u8], take: &mut Take<'_>) -> Result<(), ConstantsError> {
    let file = H5::of_bytes(bytes.to_vec())?;
    let mut found = Vec::new();
    let listed = file.list()?;
    for one in &listed {
        let name = one.path.rsplit('/').next().unwrap_or_default();
        let Some(constant) = Constant::named(name).filter(|constant| !found.contains(constant)) else {
            continue;
        };
        found.push(constant);
        take(constant, &file.array(&one.path)?)?;
    }
    if found.is_empty() {
        return Err(no_dataset("pedestals, gains, offsets or status", &listed));
    }
    Ok(())
}

fn no_dataset(wanted: &'static str, listed: &[h5::Listed]) -> ConstantsError {
    const TOLD: usize = 8;
    let mut there: Vec<&str> = listed.iter().take(TOLD).map(|one| one.path.as_str()).collect();
    if listed.len() > TOLD {
        there.push("...");
    }
    let there = if there.is_empty() { "none".to_owned() } else { there.join(", ") };
    ConstantsError::NoDataset { wanted, there }
}

fn put(
    constants: &mut Constants,
    constant: Constant,
    array: &Array,
    shape: Shape,
) -> Result<(), ConstantsError> {
    let modes = modes(&array.dims, shape).ok_or_else(|| ConstantsError::Shape {
        what: constant.to_string(),
        found: array.dims.clone(),
        data: shape,
    })?;
    match constant {
        Constant::Pedestals => keep(&mut constants.pedestals, shape, modes, || array.to_f32()),
        Constant::Offsets => keep(&mut constants.offsets, shape, modes, || array.to_f32()),
        Constant::Gains => keep(&mut constants.gains, shape, modes, || array.to_f32()),
        Constant::Status => keep(&mut constants.status, shape, modes, || array.to_bits()),
        Constant::Configuration => keep(&mut constants.configuration, shape, modes, || {
            array.to_bits().into_iter().map(|bits| u8::try_from(bits & 0xff).unwrap_or(0)).collect()
        }),
    }
    Ok(())
}

/// Puts values where none are.
fn keep<T>(place: &mut Option<Modes<T>>, shape: Shape, modes: usize, values: impl FnOnce() -> Vec<T>) {
    place.get_or_insert_with(|| Modes { shape, modes, values: values() });
}

/// A mask: one number per pixel, 0 where it does not count (see above for HDF5). Of several modes a pixel must count in all.
pub fn mask(bytes: &[u8], shape: Shape) -> Result<Mask, ConstantsError> {
    let (array, zero_counts) = mask_array(bytes)?;
    modes(&array.dims, shape).ok_or_else(|| ConstantsError::Shape {
        what: MASK.to_owned(),
        found: array.dims.clone(),
        data: shape,
    })?;
    let mut mask = Mask::open(shape);
    for mode in array.to_bits().chunks(shape.len()) {
        for (good, value) in mask.good.iter_mut().zip(mode) {
            *good &= (*value == 0) == zero_counts;
        }
    }
    Ok(mask)
}

/// The mask of a file, and whether 0 is a pixel that counts.
fn mask_array(bytes: &[u8]) -> Result<(Array, bool), ConstantsError> {
    if h5::is_hdf5(bytes) { mask_dataset(bytes) } else { Ok((read(bytes)?, false)) }
}

/// The mask of an HDF5 file, and whether 0 is a pixel that counts.
fn mask_dataset(bytes: &[u8]) -> Result<(Array, bool), ConstantsError> {
    let file = H5::of_bytes(bytes.to_vec())?;
    let listed = file.list()?;
    let named = |name: &str| listed.iter().find(|one| one.path.rsplit('/').next() == Some(name));
    let plain = named("mask").filter(|one| !one.path.starts_with("/entry_1/"));
    let cheetah = || listed.iter().find(|one| one.path == "/data/data");
    if let Some(one) = plain.or_else(cheetah) {
        return Ok((file.array(&one.path)?, false));
    }
    let one = named("pixel_mask").or_else(|| named("mask"));
    let one = one.ok_or_else(|| no_dataset("mask, pixel_mask or /data/data", &listed))?;
    Ok((file.array(&one.path)?, true))
}

fn read(bytes: &[u8]) -> Result<Array, FormatError> {
    if npy::is_npy(bytes) {
        return npy::read(bytes);
    }
    let text = std::str::from_utf8(bytes).map_err(|_| FormatError::Unsupported {
        what: "a file that is neither NumPy's .npy nor HDF5 nor a text of numbers".to_owned(),
    })?;
    array::read_text(text)
}

/// Which constant a path says: by the file's name, else by its folder's.
fn of_path(path: &Path) -> Option<Constant> {
    let name = |path: &Path| path.file_name().and_then(|name| name.to_str()).and_then(Constant::named);
    name(path).or_else(|| path.parent().and_then(name))
}

/// How often an array of these dimensions holds the data's shape; `None` where it does not. A panel's rows may be stacked into
/// one dimension with panels and modes, as psana's text files do.
fn modes(dims: &[usize], shape: Shape) -> Option<usize> {
    let [before @ .., rows, columns] = dims else { return None };
    let count: usize = dims.iter().product();
    let fits = *columns == shape.columns && (*rows == shape.rows || before.is_empty());
    let whole = count > 0 && !shape.is_empty() && count.is_multiple_of(shape.len());
    (fits && whole).then(|| count / shape.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: Shape = Shape { panels: 2, rows: 3, columns: 4 };

    fn numbers(n: u8) -> Vec<f32> {
        (0..n).map(f32::from).collect()
    }

    #[test]
    fn a_file_is_the_constant_that_its_name_or_folder_says() {
        let mut constants = Constants::default();
        let three = npy::write_f32(&[3, 2, 3, 4], &numbers(72));
        add(&mut constants, Path::new("calib/jf-pedestals.npy"), &three, SHAPE).unwrap();
        // psana's text: modes, panels and rows stacked, its dimensions in the head.
        let values: Vec<String> = numbers(48).iter().map(ToString::to_string).collect();
        let rows: Vec<String> = values.chunks(4).map(|row| row.join(" ")).collect();
        let head = "# TYPE pixel_gain\n# NDIM 4\n# DIM:1 2\n# DIM:2 2\n# DIM:3 3\n# DIM:4 4\n";
        let text = format!("{head}{}\n", rows.join("\n"));
        add(&mut constants, Path::new("pixel_gain/12-end.data"), text.as_bytes(), SHAPE).unwrap();
        add(&mut constants, Path::new("pixel_offset/0-end.data"), rows.join("\n").as_bytes(), SHAPE).unwrap();
        let status = npy::write_u8(&[2, 3, 4], &[1; 24]);
        add(&mut constants, Path::new("status.npy"), &status, SHAPE).unwrap();
        // A later file of the same constant does not count.
        add(&mut constants, Path::new("pedestals-2.npy"), &npy::write_f32(&[2, 3, 4], &[9.0; 24]), SHAPE)
            .unwrap();
        let pedestals = constants.pedestals.unwrap();
        assert_eq!((pedestals.modes, pedestals.of(2)[23]), (3, 71.0));
        let gains = constants.gains.unwrap();
        assert_eq!((gains.modes, gains.of(1)[0]), (2, 24.0));
        assert_eq!(constants.offsets.unwrap().modes, 2);
        assert_eq!(constants.status.unwrap().values, [1; 24]);
    }

    #[test]
    fn what_does_not_fit_is_said_with_what_was_expected() {
        let said = |path: &str, bytes: &[u8]| {
            let error = add(&mut Constants::default(), Path::new(path), bytes, SHAPE).unwrap_err();
            match std::error::Error::source(&error) {
                Some(source) => format!("{error}: {source}"),
                None => error.to_string(),
            }
        };
        let good = npy::write_f32(&[2, 3, 4], &numbers(24));
        assert!(said("constants.npy", &good).starts_with("its name does not say which constant"));
        assert!(said("gain-offset.npy", &good).starts_with("its name does not say which constant"));
        assert_eq!(
            said("gains.npy", &npy::write_f32(&[4, 3, 2], &numbers(24))),
            "gains are [4, 3, 2], the data are 2x3x4: gain modes x 2x3x4 were expected"
        );
        assert!(said("gains.npy", &npy::write_f32(&[3, 4], &numbers(12))).contains("[3, 4]"));
        assert!(said("gains.npy", &npy::write_f32(&[24], &numbers(24))).contains("[24]"));
        assert_eq!(
            said("gains.data", b"1 2 3 4\n1 2 x 4\n"),
            "it cannot be read: damaged text of numbers at byte 0: line 2: `x` is no number"
        );
        assert!(said("gains.data", b"1 2 3 4\n1 2 3\n").contains("line 2: 3 numbers after lines of 4"));
        assert!(said("gains.data", b"# DIM:1 5\n1 2 3 4\n").contains("it has 4 numbers, its head says [5]"));
        assert!(
            said("gains.bin", &[0xff, 0, 1]).contains("neither NumPy's .npy nor HDF5 nor a text of numbers")
        );
    }

    #[test]
    fn a_mask_hides_where_any_of_its_modes_does() {
        let mut values = [1; 48];
        (values[5], values[24 + 7]) = (0, 0);
        let mask = mask(&npy::write_u8(&[2, 2, 3, 4], &values), SHAPE).unwrap();
        let hidden: Vec<usize> = (0..24).filter(|i| !mask.good[*i]).collect();
        assert_eq!(hidden, [5, 7]);
    }

    #[test]
    fn hdf5_files_say_it_by_their_datasets_names() {
        const FILE: &[u8] = include_bytes!("formats/h5/tests/constants.h5");
        let shape = Shape { panels: 2, rows: 3, columns: 4 };
        let mut constants = Constants::default();
        add(&mut constants, Path::new("jungfrau-r12.h5"), FILE, shape).unwrap();
        let pedestals = constants.pedestals.unwrap();
        assert_eq!((pedestals.modes, pedestals.of(2)[23]), (3, 71.0));
        assert_eq!(constants.gains.unwrap().values[0].to_bits(), 41.0_f32.to_bits());
        assert_eq!(constants.status.unwrap().values[5], 3);
        assert!(constants.offsets.is_none());
        assert_eq!(mask(FILE, shape).unwrap().count(), 23, "0 in `mask` does not count");
        let nxmx = include_bytes!("formats/h5/tests/nxmx.h5");
        let whole = Shape { panels: 1, rows: 33, columns: 40 };
        assert_eq!(mask(nxmx, whole).unwrap().count(), 33 * 40 - 1, "0 in `pixel_mask` counts");
        let error = add(&mut Constants::default(), Path::new("a.h5"), nxmx, whole).unwrap_err().to_string();
        assert!(
            error.starts_with("it has no dataset named pedestals, gains, offsets or status; it has /entry/"),
            "{error}"
        );
    }
}
