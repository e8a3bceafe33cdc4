//! Names of images, trials and what is said of them, each with one text form that parses or is refused. Plain data.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::ids::{Experiment, IdError, RunKey, SiteName, at_site, number, refused};
use crate::lfn::{Lfn, why_name_refused};
use crate::time::as_string;

/// The number of a trial within its experiment.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(transparent)]
#[schemars(inline)]
pub struct TrialNumber(pub u32);

impl fmt::Display for TrialNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for TrialNumber {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        number("trial", text).map(Self)
    }
}

/// A trial of an experiment, written `mfxlv9518/3`: the key of `trials`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TrialKey {
    /// The experiment.
    pub experiment: Experiment,
    /// The trial within it.
    pub trial: TrialNumber,
}

impl fmt::Display for TrialKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.experiment, self.trial)
    }
}

impl FromStr for TrialKey {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (experiment, trial) =
            text.split_once('/').ok_or_else(|| refused("trial", text, "written as experiment/trial"))?;
        Ok(Self { experiment: experiment.parse()?, trial: trial.parse()? })
    }
}
as_string!(TrialKey, "TrialKey", schemars::json_schema!({ "type": "string", "examples": ["mfxlv9518/3"] }));

/// A file's own name: what stands after the last slash of an LFN.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileName(Arc<str>);

impl FileName {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&Lfn> for FileName {
    fn from(lfn: &Lfn) -> Self {
        Self(lfn.file_name().into())
    }
}

impl FromStr for FileName {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match why_name_refused(text) {
            None => Ok(Self(text.into())),
            Some(rule) => Err(refused("file name", text, rule)),
        }
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What tells the events of a run apart. Times sort before frames, earlier before later.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EventId {
    /// LCLS: the datagram's time as it stands in the file, written `seconds-nanoseconds` or, for LCLS-I,
    /// `seconds-nanoseconds-fiducial`.
    Time {
        /// Seconds; since 1990 for LCLS-II, since 1970 for LCLS-I.
        seconds: u32,
        /// Nanoseconds within the second; not checked to be below 10^9.
        nanoseconds: u32,
        /// LCLS-I's pulse id of 17 bits.
        fiducial: Option<u32>,
    },
    /// HDF5 and CBF: the how manieth frame of which file, from 0, written `name:frame`.
    Frame {
        /// The file's own name.
        file: FileName,
        /// Its frame, from 0.
        frame: u32,
    },
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Time { seconds, nanoseconds, fiducial: None } => write!(f, "{seconds}-{nanoseconds}"),
            Self::Time { seconds, nanoseconds, fiducial: Some(fiducial) } => {
                write!(f, "{seconds}-{nanoseconds}-{fiducial}")
            }
            Self::Frame { file, frame } => write!(f, "{file}:{frame}"),
        }
    }
}

impl FromStr for EventId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some((file, frame)) = text.rsplit_once(':') {
            return Ok(Self::Frame { file: file.parse()?, frame: number("frame", frame)? });
        }
        let parts: Vec<&str> = text.splitn(4, '-').collect();
        let (seconds, nanoseconds, fiducial) = match parts.as_slice() {
            [seconds, nanoseconds] => (seconds, nanoseconds, None),
            [seconds, nanoseconds, fiducial] => (seconds, nanoseconds, Some(number("fiducial", fiducial)?)),
            _ => {
                let rule = "written as seconds-nanoseconds, seconds-nanoseconds-fiducial or file:frame";
                return Err(refused("event", text, rule));
            }
        };
        let (seconds, nanoseconds) = (number("event", seconds)?, number("event", nanoseconds)?);
        Ok(Self::Time { seconds, nanoseconds, fiducial })
    }
}
as_string!(
    EventId,
    "EventId",
    schemars::json_schema!({ "type": "string", "examples": ["972144180-441866239", "run12_data_000001.h5:17"] })
);

/// An image: one event of a run, written `mfxlv9518/12/972144180-441866239`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImageKey {
    /// The run.
    pub run: RunKey,
    /// The event within it.
    pub event: EventId,
}

impl fmt::Display for ImageKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.run, self.event)
    }
}

impl FromStr for ImageKey {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (run, event) =
            text.rsplit_once('/').ok_or_else(|| refused("image", text, "written as experiment/run/event"))?;
        Ok(Self { run: run.parse()?, event: event.parse()? })
    }
}
as_string!(
    ImageKey,
    "ImageKey",
    schemars::json_schema!({ "type": "string", "examples": ["mfxlv9518/12/972144180-441866239"] })
);

/// An image under a trial, written `mfxlv9518/12/972144180-441866239/3`: the key of `results` and of the image topics.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImageInTrial {
    /// The image.
    pub image: ImageKey,
    /// The trial.
    pub trial: TrialNumber,
}

impl fmt::Display for ImageInTrial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.image, self.trial)
    }
}

impl FromStr for ImageInTrial {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let rule = "written as experiment/run/event/trial";
        let (image, trial) = text.rsplit_once('/').ok_or_else(|| refused("image in trial", text, rule))?;
        Ok(Self { image: image.parse()?, trial: trial.parse()? })
    }
}
as_string!(ImageInTrial, "ImageInTrial", schemars::json_schema!({ "type": "string" }));

/// A run under a trial, written `mfxlv9518/12/3`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunInTrial {
    /// The run.
    pub run: RunKey,
    /// The trial.
    pub trial: TrialNumber,
}

impl fmt::Display for RunInTrial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.run, self.trial)
    }
}

impl FromStr for RunInTrial {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let rule = "written as experiment/run/trial";
        let (run, trial) = text.rsplit_once('/').ok_or_else(|| refused("run in trial", text, rule))?;
        Ok(Self { run: run.parse()?, trial: trial.parse()? })
    }
}
as_string!(RunInTrial, "RunInTrial", schemars::json_schema!({ "type": "string" }));

/// A run under a trial at a site, written `mfxlv9518/12/3@NERSC`: the key of `images.indexed`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunInTrialAtSite {
    /// The run under its trial.
    pub of: RunInTrial,
    /// The site.
    pub site: SiteName,
}

impl fmt::Display for RunInTrialAtSite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.of, self.site)
    }
}

impl FromStr for RunInTrialAtSite {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        at_site("run in trial at site", text).map(|(of, site)| Self { of, site })
    }
}
as_string!(RunInTrialAtSite, "RunInTrialAtSite", schemars::json_schema!({ "type": "string" }));

/// A hash of content: 16 to 64 hexadecimal digits in lower case.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(Arc<str>);

impl Fingerprint {
    /// The digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Fingerprint {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if !digits || !(16..=64).contains(&text.len()) {
            return Err(refused("hash", text, "16 to 64 hexadecimal digits in lower case"));
        }
        Ok(Self(text.into()))
    }
}
as_string!(
    Fingerprint,
    "Fingerprint",
    schemars::json_schema!({ "type": "string", "pattern": "^[0-9a-f]{16,64}$" })
);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn images_are_named_by_time_or_by_file_and_frame() {
        let two: ImageKey = "mfxlv9518/12/972144180-441866239".parse().unwrap();
        let time = EventId::Time { seconds: 972_144_180, nanoseconds: 441_866_239, fiducial: None };
        assert_eq!(two.event, time);
        let one: EventId = "1583724611-5-84321".parse().unwrap();
        assert_eq!(one, EventId::Time { seconds: 1_583_724_611, nanoseconds: 5, fiducial: Some(84_321) });
        let lfn: Lfn = "/cxi/cxi78513/hdf5/run-12:a.h5".parse().unwrap();
        let frame = EventId::Frame { file: (&lfn).into(), frame: 7 };
        assert_eq!(frame.to_string(), "run-12:a.h5:7");
        assert_eq!("run-12:a.h5:7".parse::<EventId>().unwrap(), frame);
        for bad in
            ["mfxlv9518/12", "mfxlv9518/12/", "mfxlv9518/12/5", "mfxlv9518/12/a-b", "a/1/../x:1", "a/1/x:"]
        {
            assert!(bad.parse::<ImageKey>().is_err(), "{bad}");
        }
        assert!("mfxlv9518/12/1-2-3-4".parse::<ImageKey>().is_err());
    }

    #[test]
    fn composed_names_round_trip() {
        for text in ["mfxlv9518/12/3@NERSC", "mfxlv9518/0/0@S3DF"] {
            assert_eq!(text.parse::<RunInTrialAtSite>().unwrap().to_string(), text);
        }
        let text = "mfxlv9518/12/972144180-441866239/3";
        assert_eq!(text.parse::<ImageInTrial>().unwrap().to_string(), text);
        assert_eq!("mfxlv9518/3".parse::<TrialKey>().unwrap().trial, TrialNumber(3));
        assert!("0123456789ABCDEF".parse::<Fingerprint>().is_err());
    }

    proptest! {
        #[test]
        fn events_come_back_as_they_went_in(s: u32, n: u32, fiducial: Option<u32>, frame: u32, name in "[A-Za-z0-9_][A-Za-z0-9._:+=,-]{0,40}") {
            for event in [
                EventId::Time { seconds: s, nanoseconds: n, fiducial },
                EventId::Frame { file: name.parse().unwrap(), frame },
            ] {
                prop_assert_eq!(event.to_string().parse::<EventId>().unwrap(), event);
            }
        }

        #[test]
        fn arbitrary_text_never_panics(text: String) {
            let _ = text.parse::<ImageKey>();
            let _ = text.parse::<ImageInTrial>();
            let _ = text.parse::<RunInTrialAtSite>();
        }
    }
}
