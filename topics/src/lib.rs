//! What is said on Kafka: typed ids that parse or refuse, the LCLS logbook's envelopes, our own events with their
//! keys, headers and schemas, and the Kafka client.
//!
//! Never here: any decision of a service, any file system, any XRootD. Only [`kafka`] imports rdkafka.

pub mod asyncapi;
pub mod checksum;
pub mod events;
pub mod ids;
pub mod image;
pub mod kafka;
pub mod lfn;
pub mod logbook;
pub mod message;
pub mod record;
pub mod time;
pub mod topic;
pub mod when;

pub use checksum::{Checksum, ChecksumKind};
pub use ids::{
    AttemptId, DatasetName, DeciderName, Experiment, FileAtSite, Generation, GroupName, IdError, Instrument,
    JobName, MoverName, PoolName, ResourceAtSite, ResourceName, RuleName, RunAtSite, RunKey, RunNumber,
    SiteName, TagName, TaskName, TransferId, WorkerName,
};
pub use image::{
    EventId, FileName, Fingerprint, ImageInTrial, ImageKey, RunInTrial, RunInTrialAtSite, TrialKey,
    TrialNumber,
};
pub use lfn::{FileKind, Lfn, LfnError};
pub use logbook::{LogbookError, LogbookEvent, LogbookTopic};
pub use message::{CloudEvent, Kind, Message};
pub use record::{DecodeError, Event, Record, decode};
pub use time::{LogTime, Millis};
pub use topic::{Channel, SiteTopic, Topic, TopicSpec, Topics};
pub use when::{When, WhenError};
