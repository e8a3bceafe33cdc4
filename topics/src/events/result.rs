//! What became of an image under a trial.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::{SiteName, WorkerName};
use crate::image::{Fingerprint, ImageInTrial, ImageKey, TrialNumber};

/// A stage of an image's way, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// Its extents are read and decoded.
    Read,
    /// Raw pixels become photons or keV.
    Calibrate,
    /// Spots are found and the hit is decided.
    Spotfind,
    /// Lattices are found.
    Index,
    /// Orientation and cell are refined.
    Refine,
    /// Reflections are integrated.
    Integrate,
}

/// How an image ended under a trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Worth to be worked on.
    Hit,
    /// Worked, not worth more.
    Miss,
    /// Took longer than the trial allows.
    Timeout,
    /// Ended its worker's process again and again.
    Crashed,
    /// Its extents cannot be read or decoded: missing, short, damaged, of another event.
    Unreadable,
    /// Its trial is unknown or does not fit the data.
    Refused,
    /// A stage failed.
    Failed,
}

/// Numbers of an image; what is not known is left out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Numbers {
    /// Spots found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spots: Option<u32>,
    /// Resolution estimate from the spots, angstrom.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolution: Option<f64>,
    /// Good pixels at or above saturation, anywhere in the image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub saturated: Option<u32>,
    /// The strongest pixel within one of a spot's centre relative to its saturation, 1 from there on; left out without spots, or
    /// where the detector's level is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub saturation: Option<f64>,
    /// Sum over all good pixels, in the calibration's unit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intensity: Option<f64>,
    /// How bright the image is at which distance from the beam.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<RadialProfile>,
    /// Photon energy used, eV.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub photon_energy: Option<f64>,
    /// The accelerator's pulse id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pulse_id: Option<u64>,
    /// Event codes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub event_codes: Vec<u16>,
    /// Detector distance used, metres.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detector_distance: Option<f64>,
}

/// Mean values in rings about the beam, those that have good pixels, from the beam outwards: as many radii as means.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RadialProfile {
    /// The outer radius of each ring, pixels.
    pub radii: Vec<u32>,
    /// The mean of each ring's good pixels, four digits, in the calibration's unit.
    pub means: Vec<f32>,
}

/// How long each part of an image's way took, microseconds; what was not begun is left out. Of images that are worked together
/// each has its part.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StageTimes {
    /// From its publication to a worker's taking it.
    pub waited: u64,
    /// From its taking to the end of its reading and decoding.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read: Option<u64>,
    /// In a worker, waiting for a core.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queued: Option<u64>,
    /// Calibration, where it is a pass of its own. Usually it is not: each pixel is calibrated when it is looked at, and
    /// `spotfind` holds both.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calibrate: Option<u64>,
    /// Spot finding, with calibration where `calibrate` is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spotfind: Option<u64>,
    /// Hit decision and statistics.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decide: Option<u64>,
}

/// On `results`, key image/trial; kept for ever, one per key: what became of an image under a trial. When it was worked is
/// the message's `ce_time`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ImageResult {
    /// The image.
    pub image: ImageKey,
    /// The trial.
    pub trial: TrialNumber,
    /// The site whose worker says it.
    pub site: SiteName,
    /// How it ended.
    pub outcome: Outcome,
    /// The last stage that was begun; for what ended badly, the one in which it did.
    pub stage: Stage,
    /// What happened, for what ended badly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// Its numbers.
    #[serde(default)]
    pub numbers: Numbers,
    /// How long it took.
    pub times: StageTimes,
    /// Who worked it.
    pub worker: WorkerName,
    /// A hash of the parameters, geometry, mask and constants used; none where the image did not come so far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used: Option<Fingerprint>,
}

impl ImageResult {
    /// The image under its trial: the key.
    pub fn key(&self) -> ImageInTrial {
        ImageInTrial { image: self.image.clone(), trial: self.trial }
    }
}
