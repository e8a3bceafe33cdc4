//! LCLS-II: one detector's segments out of the datagrams of several streams.

use lightrail_topics::events::{ConfigurePlace, Extent, ExtentKind};
use lightrail_topics::image::EventId;

use super::{DecodeError, at, stream};
use crate::detectors::{Kind, Modes};
use crate::formats::FormatError;
use crate::formats::xtc2::pixels::{self, PixelBits};
use crate::formats::xtc2::{Configuration, Datagram, Service, Timestamp, image};
use crate::frame::{Frame, Shape, Shot};

/// The streams' names, and what they say of the detector.
#[derive(Clone, Debug)]
pub(super) struct Streams {
    names: Vec<(Option<u16>, Configuration)>,
    /// Segments of the detector over all streams.
    segments: usize,
    /// Gain bits of the pixels of all segments.
    pixels: Option<Modes<u8>>,
}

impl Streams {
    pub(super) fn new(
        detector: &str,
        kind: Kind,
        configure: &[(ConfigurePlace, Vec<u8>)],
    ) -> Result<Self, DecodeError> {
        let mut streams: Vec<(Option<u16>, Configuration)> = Vec::new();
        let mut parts = Vec::new();
        for (place, bytes) in configure {
            let fault =
                |source| DecodeError::Configure { file: place.lfn.clone(), offset: place.offset, source };
            let datagram = Datagram::parse(bytes, place.offset).map_err(fault)?;
            let number = place.lfn.stream();
            let present = streams.iter().position(|(of, _)| *of == number);
            let at = match (datagram.header.service, present) {
                (Service::Configure, Some(at)) => {
                    streams[at].1 = Configuration::of(&datagram).map_err(fault)?;
                    at
                }
                (Service::Configure, None) => {
                    streams.push((number, Configuration::of(&datagram).map_err(fault)?));
                    streams.len() - 1
                }
                (_, Some(at)) => {
                    streams[at].1.update(&datagram).map_err(fault)?;
                    at
                }
                (service, None) => {
                    let why = format!("it is a {service:?}, and no Configure comes before it");
                    return Err(fault(FormatError::corrupt("configuration", place.offset, why)));
                }
            };
            if kind == Kind::Epix10ka {
                let own = pixels::pixel_bits(&datagram, &streams[at].1, detector).map_err(fault)?;
                // What came last counts.
                parts.retain(|part: &PixelBits| !own.iter().any(|new| new.segment == part.segment));
                parts.extend(own);
            }
        }
        let segments = streams.iter().map(|(_, names)| names.image_names(detector).count()).sum();
        if segments == 0 {
            return Err(no_detector(detector, &streams));
        }
        let pixels = (!parts.is_empty()).then(|| pixels::gather(parts));
        Ok(Self { names: streams, segments, pixels })
    }

    pub(super) fn decode(
        &self,
        detector: &str,
        event: &EventId,
        extents: &[(&Extent, &[u8])],
    ) -> Result<(Frame, Shot), DecodeError> {
        let EventId::Time { seconds, nanoseconds, fiducial: None } = *event else {
            return Err(DecodeError::Message { what: format!("event {event} of LCLS-II files") });
        };
        let timestamp = Timestamp::new(seconds, nanoseconds);
        let mut found = Vec::new();
        let mut shot = Shot::default();
        for &(extent, bytes) in extents {
            let fault = |source| at(extent, source);
            if extent.kind != ExtentKind::Dgram {
                let what = format!("an extent of kind {:?} of an LCLS-II file", extent.kind);
                return Err(DecodeError::Message { what });
            }
            let configuration = stream(&self.names, extent)?;
            let datagram = Datagram::event(bytes, extent.offset, timestamp).map_err(fault)?;
            let segments = image::segments(&datagram, configuration, detector).map_err(fault)?;
            // The DAQ marks the whole datagram of a sender; others' damage does not concern this detector.
            if !segments.is_empty() && !datagram.header.damage.is_none() {
                let why = format!("the DAQ marks it as damaged: {}", datagram.header.damage);
                return Err(fault(FormatError::corrupt("event", extent.offset, why)));
            }
            found.extend(segments);
            image::shot(&datagram, configuration, &mut shot).map_err(fault)?;
        }
        let whole = image::assemble(found, self.segments);
        let frame = whole.map_err(|source| DecodeError::Image { detector: detector.to_owned(), source })?;
        Ok((frame, shot))
    }

    /// The pixels' gain bits, where they are for frames of that shape.
    pub(super) fn pixels(&self, shape: Shape) -> Option<Modes<u8>> {
        self.pixels.clone().filter(|pixels| pixels.shape == shape)
    }

    pub(super) fn shape(&self) -> Option<Shape> {
        self.pixels.as_ref().map(|pixels| pixels.shape)
    }
}

fn no_detector(detector: &str, streams: &[(Option<u16>, Configuration)]) -> DecodeError {
    let names = streams.iter().flat_map(|(_, names)| names.names());
    let mut there: Vec<&str> =
        names.filter(|names| names.image_field().is_some()).map(|names| names.detector.as_str()).collect();
    there.sort_unstable();
    there.dedup();
    let there = if there.is_empty() { "none".to_owned() } else { there.join(", ") };
    DecodeError::NoDetector { detector: detector.to_owned(), there }
}
