//! Who made a container: a detector, a beam line data source, a process.

use std::fmt;

/// A source as it stands in a container: two words.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Src {
    /// Level in bits 24-31, process id below.
    pub log: u32,
    /// What it is, by level: detector and device, BLD type, or an IP address.
    pub phy: u32,
}

/// Where in the DAQ a source stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // the DAQ's own words
pub enum Level {
    Control,
    Source,
    Segment,
    Event,
    Recorder,
    Observer,
    Reporter,
}

const DETECTORS: [(u32, &str); 5] =
    [(0, "NoDetector"), (22, "XppEndstation"), (32, "CxiDs1"), (33, "CxiDs2"), (48, "MfxEndstation")];
pub(super) const CSPAD: u32 = 10;
pub(super) const EPIX: u32 = 29;
pub(super) const EPIX_100A: u32 = 35;
pub(super) const EPIX_10KA: u32 = 45;
const EPIX_10KA_2M: u32 = 48;
const EPIX_10KA_QUAD: u32 = 50;
const DEVICES: [(u32, &str); 9] = [
    (5, "Evr"),
    (CSPAD, "Cspad"),
    (EPIX, "Epix"),
    (30, "Rayonix"),
    (EPIX_100A, "Epix100a"),
    (43, "Jungfrau"),
    (EPIX_10KA, "Epix10ka"),
    (EPIX_10KA_2M, "Epix10ka2M"),
    (EPIX_10KA_QUAD, "Epix10kaQuad"),
];
const BLD: [(u32, &str); 3] = [(0, "EBeam"), (1, "PhaseCavity"), (2, "FEEGasDetEnergy")];

impl Src {
    /// A detector by its numbers.
    pub fn detector(detector: u8, number: u8, device: u8, device_number: u8) -> Self {
        Self { log: 1 << 24, phy: u32::from_be_bytes([detector, number, device, device_number]) }
    }

    /// Where it stands; `None` for a number that no level has.
    pub fn level(self) -> Option<Level> {
        const LEVELS: [Level; 7] = [
            Level::Control,
            Level::Source,
            Level::Segment,
            Level::Event,
            Level::Recorder,
            Level::Observer,
            Level::Reporter,
        ];
        LEVELS.get(self.log as usize >> 24).copied()
    }

    /// Whether it is a detector whose images are read here.
    pub(super) fn has_images(self) -> bool {
        const RAYONIX: u32 = 30;
        const JUNGFRAU: u32 = 43;
        const WITH_IMAGES: [u32; 8] =
            [CSPAD, EPIX, RAYONIX, EPIX_100A, JUNGFRAU, EPIX_10KA, EPIX_10KA_2M, EPIX_10KA_QUAD];
        self.level() == Some(Level::Source) && WITH_IMAGES.contains(&self.device())
    }

    /// The device's number, of a detector.
    pub(super) fn device(self) -> u32 {
        self.phy >> 8 & 0xff
    }
}

impl fmt::Display for Src {
    /// As psana writes it: `MfxEndstation.0:Jungfrau.0`, `EBeam`; numbers where it has a name that is not known here.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fn name(f: &mut fmt::Formatter<'_>, names: &[(u32, &str)], number: u32) -> fmt::Result {
            match names.iter().find(|(known, _)| *known == number) {
                Some((_, name)) => f.write_str(name),
                None => write!(f, "{number}"),
            }
        }
        match self.level() {
            Some(Level::Source) => {
                name(f, &DETECTORS, self.phy >> 24)?;
                write!(f, ".{}:", self.phy >> 16 & 0xff)?;
                name(f, &DEVICES, self.device())?;
                write!(f, ".{}", self.phy & 0xff)
            }
            Some(Level::Reporter) => name(f, &BLD, self.phy),
            Some(level) => {
                let address = std::net::Ipv4Addr::from_bits(self.phy);
                write!(f, "{level:?} {address}/{}", self.log & 0xff_ffff)
            }
            None => write!(f, "{:#010x}.{:#010x}", self.log, self.phy),
        }
    }
}

impl fmt::Debug for Src {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
