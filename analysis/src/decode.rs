//! From an image message's extents and their bytes to a frame and its shot. Checks that the bytes are the event that the
//! message means and that nothing went wrong with its detector. Opens no file, calibrates nothing.
//!
//! A [`Decoder`] holds the tables of one names epoch: make one per (run, detector, `names_epoch`) and keep it.

mod chunks;
mod lcls1;
mod lcls2;
#[cfg(test)]
mod tests;

use lightrail_topics::events::{ConfigurePlace, Extent, ExtentKind, ShotData};
use lightrail_topics::image::{EventId, FileName};
use lightrail_topics::lfn::{FileKind, Lfn};

use crate::detectors::{Kind, Modes};
use crate::formats::FormatError;
use crate::formats::cbf::Cbf;
use crate::frame::{Frame, PixelType, Shape, Shot};
use crate::geometry::{self, Geometry};

/// Why an image's bytes gave no frame.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// An extent's bytes are not what they should be: cut, damaged, another event's.
    #[error("{file} from byte {offset} on")]
    Extent {
        /// The file.
        file: Lfn,
        /// The extent's begin.
        offset: u64,
        /// What is wrong with the bytes.
        source: FormatError,
    },
    /// The bytes that say how a stream is decoded cannot be read.
    #[error("the configuration in {file} at byte {offset}")]
    Configure {
        /// The file.
        file: Lfn,
        /// Where it begins.
        offset: u64,
        /// What is wrong with it.
        source: FormatError,
    },
    /// An extent of a stream whose configuration the message does not name.
    #[error("{file} cannot be decoded: the message names no configuration of its stream")]
    NoConfigure {
        /// The extent's file.
        file: Lfn,
    },
    /// The extents are whole, and do not give the detector's image: segments are missing or there twice.
    #[error("image of {detector}")]
    Image {
        /// The detector.
        detector: String,
        /// What is wrong.
        source: FormatError,
    },
    /// The streams have no such detector: the trial is for other data.
    #[error("the data have no images of `{detector}` (detector.name of the trial); they have {there}")]
    NoDetector {
        /// The trial's detector.
        detector: String,
        /// The detectors that have images.
        there: String,
    },
    /// The message's event or extents are of another kind than the data.
    #[error("{what}: the message does not fit its files")]
    Message {
        /// What does not fit.
        what: String,
    },
}

impl DecodeError {
    /// Whether the trial is at fault and not the image: all images of the run would end so.
    pub fn concerns_trial(&self) -> bool {
        matches!(self, Self::NoDetector { .. })
    }

    /// The same with all its sources, in one line.
    pub fn line(&self) -> String {
        match self {
            Self::Extent { source, .. } | Self::Configure { source, .. } | Self::Image { source, .. } => {
                format!("{self}: {source}")
            }
            _ => self.to_string(),
        }
    }
}

/// What of the data a trial is compiled for, besides its parameters and files.
#[derive(Clone, Debug, PartialEq)]
pub struct Setup {
    /// The frames' shape.
    pub shape: Shape,
    /// The type of their pixels, where an image was looked at.
    pub pixels: Option<PixelType>,
    /// What the detector's pixels were set to, where the data say it (`ePix10ka`).
    pub configuration: Option<Modes<u8>>,
    /// Where the pixels are, where the data say it (CBF axes).
    pub geometry: Option<Geometry>,
}

impl From<Shape> for Setup {
    fn from(shape: Shape) -> Self {
        Self { shape, pixels: None, configuration: None, geometry: None }
    }
}

/// Decodes the images of one detector in one names epoch.
#[derive(Clone, Debug)]
pub struct Decoder {
    detector: String,
    tables: Tables,
}

/// What the streams' configurations say, by family of formats.
#[derive(Clone, Debug)]
enum Tables {
    Lcls2(lcls2::Streams),
    Lcls1(lcls1::Streams),
    Hdf5(chunks::Files),
    /// CBF, which says all with each image.
    None,
}

impl Decoder {
    /// `detector` is its name in the data; `configure` what the image message names, in its order, with the bytes.
    pub fn new(
        detector: &str,
        kind: Kind,
        configure: &[(ConfigurePlace, Vec<u8>)],
    ) -> Result<Self, DecodeError> {
        let tables = match configure {
            [] => Tables::None,
            [(place, _), ..] if is_xtc2(&place.lfn) => {
                Tables::Lcls2(lcls2::Streams::new(detector, kind, configure)?)
            }
            [(place, _), ..] if place.lfn.kind() == FileKind::Hdf5 => {
                Tables::Hdf5(chunks::Files::new(configure)?)
            }
            _ => Tables::Lcls1(lcls1::Streams::new(detector, configure)?),
        };
        Ok(Self { detector: detector.to_owned(), tables })
    }

    /// An image: its extents in the message's order with their bytes.
    ///
    /// # Errors
    /// An extent that is cut, damaged or of another event; a detector's segment that is missing or damaged; a detector
    /// that is not there.
    pub fn decode(
        &self,
        event: &EventId,
        extents: &[(&Extent, &[u8])],
    ) -> Result<(Frame, Shot), DecodeError> {
        if extents.is_empty() {
            return Err(DecodeError::Message { what: "it names no extent".to_owned() });
        }
        match &self.tables {
            Tables::Lcls2(streams) => streams.decode(&self.detector, event, extents),
            Tables::Lcls1(streams) => streams.decode(&self.detector, event, extents),
            Tables::Hdf5(files) => files.decode(&self.detector, event, extents),
            Tables::None => plain(event, extents),
        }
    }

    /// What a trial for these images is compiled for: from one image of theirs.
    pub fn setup(&self, event: &EventId, extents: &[(&Extent, &[u8])]) -> Result<Setup, DecodeError> {
        let (frame, _) = self.decode(event, extents)?;
        let configuration = match &self.tables {
            Tables::Lcls2(streams) => streams.pixels(frame.shape),
            Tables::Lcls1(streams) => streams.pixels(&self.detector, frame.shape),
            _ => None,
        };
        let geometry = match (&self.tables, extents) {
            (Tables::None, [(extent, bytes)]) if extent.kind == ExtentKind::Cbf => {
                Cbf::read(bytes).ok().and_then(|cbf| geometry::cbf::read(&cbf).ok())
            }
            _ => None,
        };
        Ok(Setup { shape: frame.shape, pixels: Some(frame.pixels.of()), configuration, geometry })
    }

    /// The images' shape, where the configuration tells it: HDF5, LCLS-I's Jungfrau, CSPAD and `ePix10ka`, LCLS-II's `ePix10ka`. Otherwise an image does.
    pub fn shape(&self) -> Option<Shape> {
        match &self.tables {
            Tables::Lcls2(streams) => streams.shape(),
            Tables::Lcls1(streams) => streams.shape(&self.detector),
            Tables::Hdf5(files) => files.shape(),
            Tables::None => None,
        }
    }
}

/// What the image's own bytes say of the shot, and where they say nothing what its message says.
#[must_use]
pub fn with_message(shot: Shot, message: &ShotData) -> Shot {
    Shot {
        photon_energy: shot.photon_energy.or(message.photon_energy),
        pulse_id: message.pulse_id.or(shot.pulse_id),
        event_codes: if shot.event_codes.is_empty() { message.event_codes.clone() } else { shot.event_codes },
        detector_distance: shot.detector_distance.or(message.detector_distance),
    }
}

/// CBF images, one per file.
fn plain(event: &EventId, extents: &[(&Extent, &[u8])]) -> Result<(Frame, Shot), DecodeError> {
    let &[(extent, bytes)] = extents else {
        return Err(DecodeError::Message { what: format!("a CBF image of {} extents", extents.len()) });
    };
    if extent.kind != ExtentKind::Cbf {
        return Err(DecodeError::NoConfigure { file: extent.lfn.clone() });
    }
    let own = EventId::Frame { file: FileName::from(&extent.lfn), frame: 0 };
    if *event != own {
        return Err(DecodeError::Message { what: format!("event {event} of {}", extent.lfn.file_name()) });
    }
    let cbf = Cbf::read(bytes).map_err(|error| at(extent, error.general()))?;
    let frame = cbf.frame().map_err(|error| at(extent, error.general()))?;
    Ok((frame, cbf.shot()))
}

fn is_xtc2(lfn: &Lfn) -> bool {
    let finished = lfn.finished();
    let ending = finished.file_name().rsplit('.').next();
    ending == Some("xtc2")
}

/// A fault of an extent.
fn at(extent: &Extent, source: FormatError) -> DecodeError {
    DecodeError::Extent { file: extent.lfn.clone(), offset: extent.offset, source }
}

/// The tables of an extent's stream. Streams without a number in their name (single files) are one stream.
fn stream<'s, T>(streams: &'s [(Option<u16>, T)], extent: &Extent) -> Result<&'s T, DecodeError> {
    let number = extent.lfn.stream();
    let found = streams.iter().find(|(of, _)| *of == number).map(|(_, tables)| tables);
    found.ok_or_else(|| DecodeError::NoConfigure { file: extent.lfn.clone() })
}
