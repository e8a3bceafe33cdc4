//! What is said of images: one message per image to be worked, and how far a run's images are published.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::{Generation, RunKey, SiteName};
use crate::image::{Fingerprint, ImageInTrial, ImageKey, RunInTrial, RunInTrialAtSite, TrialNumber};
use crate::lfn::Lfn;
use crate::time::Millis;

/// What lies in an extent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ExtentKind {
    /// A whole datagram, header included: LCLS-II, or LCLS-I by its index.
    Dgram,
    /// One detector's Xtc of an LCLS-I datagram, its header included (smd proxies).
    Xtc,
    /// A stored chunk of an HDF5 dataset, filters still applied.
    H5Chunk,
    /// A CBF file's binary section with its MIME header, or the whole file.
    Cbf,
}

/// A piece of a file that holds a part of an image. The file's name tells stream and chunk ([`Lfn::stream`],
/// [`Lfn::chunk`]): an offset alone names nothing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Extent {
    /// The file.
    pub lfn: Lfn,
    /// Where it begins, bytes from the file's start.
    pub offset: u64,
    /// How long it is, bytes. Checked by the reader before anything is allocated.
    pub length: u64,
    /// What lies there.
    pub kind: ExtentKind,
}

/// A datagram that says how a stream is to be decoded: its Configure, or a later `BeginRun` with new Names. It may lie in the
/// stream's small file, where transitions stand whole.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub struct ConfigurePlace {
    /// The file: of the same stream as the extents that it decodes.
    pub lfn: Lfn,
    /// Where it begins, bytes from the file's start.
    pub offset: u64,
    /// How long it is, bytes, header included.
    pub length: u64,
}

/// What the small data say of a shot; nothing is written where they say nothing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ShotData {
    /// Photon energy in eV.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub photon_energy: Option<f64>,
    /// The accelerator's pulse id (LCLS-II pulse id, LCLS-I fiducial).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pulse_id: Option<u64>,
    /// Event codes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub event_codes: Vec<u16>,
    /// From the interaction point to the detector, metres.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detector_distance: Option<f64>,
}

impl ShotData {
    /// Whether nothing is said.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// On `images.live.<site>` and `images.reprocess.<site>`, key image/trial, spread evenly over the partitions: an image that
/// is to be worked under a trial. A run's images are published for one site per trial, each image once per trial.
/// When it was published is the message's `ce_time`, from which a worker counts how long it waited.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Image {
    /// The image.
    pub image: ImageKey,
    /// The trial under which it is to be worked.
    pub trial: TrialNumber,
    /// The site whose files the extents name, and whose workers take it.
    pub site: SiteName,
    /// Its pieces, by stream. All of them belong to the image's one event.
    pub extents: Vec<Extent>,
    /// How the extents' streams are decoded: per stream its Configure, then the `BeginRun`s that changed it, in order. Empty
    /// for HDF5 and CBF.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub configure: Vec<ConfigurePlace>,
    /// A hash of `configure`: images of a run with the same one share their tables.
    #[serde(default)]
    pub names_epoch: u32,
    /// What the small data say of the shot.
    #[serde(default, skip_serializing_if = "ShotData::is_empty")]
    pub shot: ShotData,
}

impl Image {
    /// The image under its trial: the key.
    pub fn key(&self) -> ImageInTrial {
        ImageInTrial { image: self.image.clone(), trial: self.trial }
    }
}

/// Whether a run's images are all published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum IndexState {
    /// More may come: the run is being taken, or its publication was interrupted.
    Growing,
    /// All images of the run's present manifest are published; a correction may add some.
    Closed,
}

/// How far an index file (smd, idx, HDF5, CBF) was taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct IndexPosition {
    /// The index file.
    pub lfn: Lfn,
    /// Which registration of it; none where it was read while the DAQ wrote it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<Generation>,
    /// Its bytes up to here are taken.
    pub offset: u64,
    /// How many events lay before there.
    pub events: u64,
    /// A hash of these events' ids, by which a file registered again is told from one that only grew.
    pub digest: Fingerprint,
}

/// On `images.indexed`, key experiment/run/trial@site; compacted: how far a run's images are published for a site under a
/// trial. Written in the transaction of the images, so that it never says more or less than there is. A run is complete under
/// a trial when it is closed and has as many results as images over all sites.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Indexed {
    /// The run.
    pub run: RunKey,
    /// The trial.
    pub trial: TrialNumber,
    /// The site.
    pub site: SiteName,
    /// Counts the messages of this key, from 1.
    pub number: u32,
    /// Whether the run was begun under the trial as it was taken, and not to be worked again: what a correction of the run
    /// brings is added.
    pub live: bool,
    /// How many images are published for the site; those moved elsewhere are not counted here.
    pub images: u64,
    /// Whether more may come.
    pub state: IndexState,
    /// A hash of the files and generations of the manifest that was taken; none while the run is being taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<Fingerprint>,
    /// How far each index file was taken, by name.
    pub positions: Vec<IndexPosition>,
    /// When.
    pub at: Millis,
}

impl Indexed {
    /// The key.
    pub fn key(&self) -> RunInTrialAtSite {
        let of = RunInTrial { run: self.run.clone(), trial: self.trial };
        RunInTrialAtSite { of, site: self.site.clone() }
    }
}
