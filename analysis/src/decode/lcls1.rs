//! LCLS-I: a detector's own container (smd proxies) or a whole datagram (index files).

use std::collections::BTreeSet;

use lightrail_topics::events::{ConfigurePlace, Extent, ExtentKind};
use lightrail_topics::image::EventId;

use super::{DecodeError, at, stream};
use crate::detectors::Modes;
use crate::formats::FormatError;
use crate::formats::xtc::{Configuration, Datagram, Time, Xtc, image};
use crate::frame::{Frame, Shape, Shot};

/// The streams' configurations.
#[derive(Clone, Debug)]
pub(super) struct Streams(Vec<(Option<u16>, Configuration)>);

impl Streams {
    pub(super) fn new(detector: &str, configure: &[(ConfigurePlace, Vec<u8>)]) -> Result<Self, DecodeError> {
        let mut streams = Vec::new();
        for (place, bytes) in configure {
            let fault =
                |source| DecodeError::Configure { file: place.lfn.clone(), offset: place.offset, source };
            let datagram = Datagram::parse(bytes, place.offset).map_err(fault)?;
            let configuration = Configuration::of(&datagram).map_err(fault)?;
            streams.retain(|(number, _)| *number != place.lfn.stream());
            streams.push((place.lfn.stream(), configuration));
        }
        Self::check(detector, &streams)?;
        Ok(Self(streams))
    }

    /// Whether the detector is there, where all streams say what is.
    fn check(detector: &str, streams: &[(Option<u16>, Configuration)]) -> Result<(), DecodeError> {
        let lacks = |(_, configuration): &(_, Configuration)| configuration.has(detector) == Some(false);
        if streams.is_empty() || !streams.iter().all(lacks) {
            return Ok(());
        }
        let there: BTreeSet<String> =
            streams.iter().flat_map(|(_, configuration)| configuration.detectors()).collect();
        let there = there.into_iter().collect::<Vec<_>>().join(", ");
        let there = if there.is_empty() { "none".to_owned() } else { there };
        Err(DecodeError::NoDetector { detector: detector.to_owned(), there })
    }

    pub(super) fn decode(
        &self,
        detector: &str,
        event: &EventId,
        extents: &[(&Extent, &[u8])],
    ) -> Result<(Frame, Shot), DecodeError> {
        let EventId::Time { seconds, nanoseconds, fiducial: Some(fiducial) } = *event else {
            return Err(DecodeError::Message { what: format!("event {event} of LCLS-I files") });
        };
        let time = Time { seconds, nanoseconds, fiducial };
        let mut frame = None;
        let mut shot = Shot::default();
        for &(extent, bytes) in extents {
            let fault = |source| at(extent, source);
            let configuration = stream(&self.0, extent)?;
            let found = match extent.kind {
                ExtentKind::Xtc => Some(container(detector, configuration, extent, bytes).map_err(fault)?),
                ExtentKind::Dgram => {
                    let datagram = Datagram::event(bytes, extent.offset, time).map_err(fault)?;
                    image::shot(&datagram, &mut shot).map_err(fault)?;
                    match image::of_event(&datagram, configuration, detector) {
                        Ok(frame) => Some(frame),
                        Err(FormatError::Absent { .. }) if extents.len() > 1 => None,
                        Err(error) => return Err(fault(error)),
                    }
                }
                kind => {
                    let what = format!("an extent of kind {kind:?} of an LCLS-I file");
                    return Err(DecodeError::Message { what });
                }
            };
            if let (Some(_), Some(_)) = (&frame, &found) {
                let source = FormatError::corrupt("image", extent.offset, "it is there twice");
                return Err(DecodeError::Image { detector: detector.to_owned(), source });
            }
            frame = frame.or(found);
        }
        shot.pulse_id = shot.pulse_id.or((fiducial != 0x1_ffff).then_some(u64::from(fiducial)));
        let absent = || DecodeError::Image {
            detector: detector.to_owned(),
            source: FormatError::absent("image of it in this event"),
        };
        Ok((frame.ok_or_else(absent)?, shot))
    }

    /// What the pixels of an `ePix10ka` were set to, where that is for frames of that shape.
    pub(super) fn pixels(&self, detector: &str, shape: Shape) -> Option<Modes<u8>> {
        let pixels = self.0.iter().find_map(|(_, configuration)| configuration.epix10ka(detector));
        pixels.filter(|pixels| pixels.shape == shape).cloned()
    }

    pub(super) fn shape(&self, detector: &str) -> Option<Shape> {
        self.0.iter().find_map(|(_, configuration)| configuration.shape_of(detector))
    }
}

/// The image of a container that a small file's proxy has named. It has no time of its own: that it is the detector's, whole,
/// and as long as it says, is all that can be checked.
fn container(
    detector: &str,
    configuration: &Configuration,
    extent: &Extent,
    bytes: &[u8],
) -> Result<Frame, FormatError> {
    let xtc = Xtc::parse(bytes, extent.offset)?;
    let corrupt = |why: String| FormatError::corrupt("container", extent.offset, why);
    if xtc.size() != bytes.len() {
        return Err(corrupt(format!("it has {} bytes, not {}", xtc.size(), bytes.len())));
    }
    if !configuration.is_named(xtc.src, detector) {
        return Err(corrupt(format!("it is of {}, not of {detector}", xtc.src)));
    }
    image::frame(&xtc, configuration)
}
