//! The files that a trial names for a run (constants, masks, geometry), read, checked against their checksums, and compiled
//! with the parameters into a chain. The only place where a trial's paths are opened.

#[cfg(test)]
#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
// small numbers
mod real;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Component, Path, PathBuf};

use lightrail_topics::RunNumber;

use crate::constants::{self, ConstantsError};
use crate::decode::Setup;
use crate::detectors::{Constants, Mask, PixelError};
use crate::formats::FormatError;
use crate::formats::cbf::Cbf;
use crate::formats::h5::H5;
use crate::frame::Shape;
use crate::geometry::crystfel::{self, Crystfel, Encoder};
use crate::geometry::{self, Geometry, GeometryError, Misfit};
use crate::pipeline::{Chain, ChainError};
use crate::trial::{Input, Parameters, Sha256};

/// A larger file is none of constants: seven modes of 64 megapixels in `f64`.
const MOST_BYTES: u64 = 4 << 30;

/// Why a trial cannot be used for a run's data.
#[derive(Debug, thiserror::Error)]
pub enum InputError {
    /// A path that leads out of where inputs may lie.
    #[error("`{path}` (a path of the trial) is refused: {why}")]
    Path {
        /// As the trial says it.
        path: String,
        /// The rule that it breaks.
        why: &'static str,
    },
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A file is another than the trial means.
    #[error("{} is not the trial's: its SHA-256 is {found}, the trial says {wanted}", path.display())]
    Checksum {
        /// The file.
        path: PathBuf,
        /// By the trial.
        wanted: Sha256,
        /// As it is.
        found: Sha256,
    },
    /// A file holds no constants or mask for these data.
    #[error("{}", path.display())]
    Constants {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: ConstantsError,
    },
    /// A geometry file is wrong.
    #[error("geometry {}", path.display())]
    Geometry {
        /// The file.
        path: PathBuf,
        /// All that is wrong.
        source: GeometryError,
    },
    /// A geometry file of a kind that is not known.
    #[error("geometry {}: neither CrystFEL's .geom nor psana's .data nor .cbf nor NXmx", path.display())]
    Unknown {
        /// The file.
        path: PathBuf,
    },
    /// A CBF or NXmx file given as geometry cannot be read.
    #[error("geometry {}", path.display())]
    Image {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: FormatError,
    },
    /// A geometry file is for another detector.
    #[error("geometry {}", path.display())]
    Misfit {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        source: Misfit,
    },
    /// No geometry at all.
    #[error(
        "the trial names no geometry for run {run}, and the data have none: add a file under [[geometry]]"
    )]
    NoGeometry {
        /// The run.
        run: RunNumber,
    },
    /// All was read, and it does not fit the detector.
    #[error("the trial does not fit the data of run {run}")]
    Chain {
        /// The run.
        run: RunNumber,
        /// What does not fit.
        source: ChainError,
    },
}

impl InputError {
    /// Whether trying again is no use until somebody changes the trial or its files. A disk's fault may pass.
    pub fn is_permanent(&self) -> bool {
        match self {
            Self::Read { source, .. } => matches!(
                source.kind(),
                io::ErrorKind::NotFound
                    | io::ErrorKind::PermissionDenied
                    | io::ErrorKind::InvalidInput
                    | io::ErrorKind::FileTooLarge
                    | io::ErrorKind::IsADirectory
            ),
            _ => true,
        }
    }

    /// The same with all its sources, in one line.
    pub fn line(&self) -> String {
        let mut line = self.to_string();
        let mut source = std::error::Error::source(self);
        while let Some(cause) = source {
            let cause_text = cause.to_string();
            if !line.ends_with(&cause_text) {
                line = format!("{line}: {cause_text}");
            }
            source = cause.source();
        }
        line
    }
}

/// Reads what the trial names for the run, and compiles it for data of that set-up (a [`Shape`] where the data say no more).
/// Relative paths count from `base`: the trial file's folder, or the site's.
///
/// Of `[[constants]]` all files that hold the run are read, and of each constant the first that has it counts; of `[[masks]]`
/// and the bad regions of a CrystFEL geometry all are combined; of `[[geometry]]` the first counts.
pub fn compile(
    parameters: &Parameters,
    run: RunNumber,
    setup: impl Into<Setup>,
    base: &Path,
) -> Result<Chain, InputError> {
    let Setup { shape, pixels, configuration, geometry } = setup.into();
    if let Some(pixels) = pixels {
        let fits = PixelError::check(parameters.detector.kind, pixels);
        fits.map_err(|error| InputError::Chain { run, source: error.into() })?;
    }
    let of_run = |inputs: &'_ [Input]| -> Vec<Input> {
        inputs.iter().filter(|input| input.runs.contains(run)).cloned().collect()
    };
    let mut constants = Constants { configuration, ..Constants::default() };
    for input in of_run(&parameters.constants) {
        let (path, bytes) = read(&input, base)?;
        let added = constants::add(&mut constants, &path, &bytes, shape);
        added.map_err(|source| InputError::Constants { path, source })?;
    }
    let mut masks = Vec::new();
    for input in of_run(&parameters.masks) {
        let (path, bytes) = read(&input, base)?;
        let mask = constants::mask(&bytes, shape);
        masks.push(mask.map_err(|source| InputError::Constants { path, source })?);
    }
    let geometry = match of_run(&parameters.geometry).first() {
        Some(input) => {
            let (path, bytes) = read(input, base)?;
            let (geometry, mask) = read_geometry(&path, &bytes, shape)?;
            masks.extend(mask);
            geometry
        }
        None => geometry.ok_or(InputError::NoGeometry { run })?,
    };
    let chain = Chain::compile(parameters, shape, &geometry, &constants, &masks);
    chain.map_err(|source| InputError::Chain { run, source })
}

/// Where the run's data files hold the detector's distance, if the geometry that the trial names for the run says so.
pub fn encoder(parameters: &Parameters, run: RunNumber, base: &Path) -> Result<Option<Encoder>, InputError> {
    let Some(input) = parameters.geometry.iter().find(|input| input.runs.contains(run)) else {
        return Ok(None);
    };
    let (path, bytes) = read(input, base)?;
    Ok(match describe(&path, &bytes)? {
        Described::Crystfel(read) => read.encoder(),
        Described::Panels(_) | Described::Plane(_) => None,
    })
}

/// A file that a trial names and that cannot be used, with its place in the trial.
#[derive(Debug, thiserror::Error)]
#[error("{key} (no. {number} of them)")]
pub struct FileFault {
    /// The key, such as `masks.path`.
    pub key: &'static str,
    /// Which of the list, from 1.
    pub number: usize,
    /// What is wrong.
    pub source: InputError,
}

impl FileFault {
    /// The same with all its sources, in one line.
    pub fn line(&self) -> String {
        format!("{self}: {}", self.source.line())
    }
}

/// What is wrong with the files that a trial names, for whatever runs and data: those that are not there, that have another
/// checksum, or that are no constants, mask or geometry.
pub fn check_files(parameters: &Parameters, base: &Path) -> Vec<FileFault> {
    type Check = fn(&Path, &[u8]) -> Result<(), InputError>;
    let lists: [(_, _, Check); 3] = [
        ("constants.path", &parameters.constants, |path, bytes| {
            constants::check(path, bytes).map_err(|source| constants_fault(path, source))
        }),
        ("masks.path", &parameters.masks, |path, bytes| {
            constants::check_mask(bytes).map_err(|source| constants_fault(path, source))
        }),
        ("geometry.path", &parameters.geometry, |path, bytes| match describe(path, bytes)? {
            Described::Crystfel(_) | Described::Panels(_) => Ok(()),
            Described::Plane(file) => {
                let absent =
                    FormatError::absent("NXmx detector with pixel sizes, beam centre and distance in it");
                let fault = InputError::Image { path: path.to_owned(), source: absent };
                file.plane(ONE_MODULE).map(drop).ok_or(fault)
            }
        }),
    ];
    let each = lists.into_iter().flat_map(|(key, inputs, check)| {
        inputs.iter().zip(1..).map(move |(input, number)| (key, number, input, check))
    });
    let fault = |(key, number, input, check): (_, _, _, Check)| {
        let checked = read(input, base).and_then(|(path, bytes)| check(&path, &bytes));
        checked.err().map(|source| FileFault { key, number, source })
    };
    each.filter_map(fault).collect()
}

/// Data of one module: what an NXmx file describes does not depend on its rows and columns.
const ONE_MODULE: Shape = Shape { panels: 1, rows: 1, columns: 1 };

fn constants_fault(path: &Path, source: ConstantsError) -> InputError {
    InputError::Constants { path: path.to_owned(), source }
}

/// A geometry file, read.
enum Described {
    Crystfel(Box<Crystfel>),
    Panels(Geometry),
    /// A plane of one module, whatever rows and columns it has.
    Plane(H5),
}

/// A geometry file by its ending.
fn describe(path: &Path, bytes: &[u8]) -> Result<Described, InputError> {
    let wrong = |source| InputError::Geometry { path: path.to_owned(), source };
    let fault = |source| InputError::Image { path: path.to_owned(), source };
    let text = || String::from_utf8_lossy(bytes);
    Ok(match path.extension().and_then(|ending| ending.to_str()) {
        Some("geom") => Described::Crystfel(Box::new(crystfel::read(&text()).map_err(wrong)?)),
        Some("data") => Described::Panels(geometry::psana::read(&text()).map_err(wrong)?),
        Some("cbf") => {
            let cbf = Cbf::read(bytes).map_err(|error| fault(error.general()))?;
            Described::Panels(geometry::cbf::read(&cbf).map_err(wrong)?)
        }
        Some("h5" | "hdf5" | "nxs") => Described::Plane(H5::of_bytes(bytes.to_vec()).map_err(fault)?),
        _ => return Err(InputError::Unknown { path: path.to_owned() }),
    })
}

/// A geometry file for data of that shape; with the bad regions that it may have.
fn read_geometry(path: &Path, bytes: &[u8], shape: Shape) -> Result<(Geometry, Option<Mask>), InputError> {
    let misfit = |source| InputError::Misfit { path: path.to_owned(), source };
    match describe(path, bytes)? {
        Described::Crystfel(read) => {
            let geometry = read.geometry.for_shape(shape).map_err(misfit)?;
            let bad = read.bad_pixels(&geometry, shape);
            let mask = Mask { shape, good: bad.into_iter().map(|bad| !bad).collect() };
            Ok((geometry, Some(mask)))
        }
        Described::Panels(geometry) => Ok((geometry.for_shape(shape).map_err(misfit)?, None)),
        Described::Plane(file) => {
            let absent =
                || FormatError::absent(format!("NXmx detector of one module in it, as data of {shape} need"));
            let fault = || InputError::Image { path: path.to_owned(), source: absent() };
            Ok((file.plane(shape).ok_or_else(fault)?, None))
        }
    }
}

/// A file of the trial, whole, with its path.
fn read(input: &Input, base: &Path) -> Result<(PathBuf, Vec<u8>), InputError> {
    let path = checked(&input.path, base)?;
    let bytes = read_file(&path).map_err(|source| InputError::Read { path: path.clone(), source })?;
    let found = Sha256::of(&bytes);
    if found != input.sha256 {
        return Err(InputError::Checksum { path, wanted: input.sha256.clone(), found });
    }
    Ok((path, bytes))
}

/// A path of a trial, which may come from a message: absolute or below `base`, and never back up.
fn checked(text: &str, base: &Path) -> Result<PathBuf, InputError> {
    let refused = |why| InputError::Path { path: text.escape_debug().to_string(), why };
    if text.is_empty() || text.chars().any(char::is_control) {
        return Err(refused("it is empty or holds a control character"));
    }
    if text.contains("://") {
        return Err(refused("constants, masks and geometry are files of the site's file system, not URLs"));
    }
    let path = Path::new(text);
    if path.components().any(|part| part == Component::ParentDir) {
        return Err(refused("`..` is no part of it"));
    }
    Ok(base.join(path))
}

/// All of a regular file that is not too large: a pipe or a device would never end.
fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    let of = std::fs::metadata(path)?;
    if !of.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file"));
    }
    if of.len() > MOST_BYTES {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("{} bytes are no constants", of.len()),
        ));
    }
    let mut bytes = Vec::new();
    // A file that grows meanwhile is no constants either: its checksum tells.
    File::open(path)?.take(MOST_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes)
}
