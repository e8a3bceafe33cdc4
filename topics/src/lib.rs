//! What is said on Kafka: typed ids that parse or refuse, the LCLS logbook's envelopes, our own events with their
//! keys, headers and schemas, and the Kafka client.
//!
//! Never here: any decision of a service, any file system, any XRootD. Only [`kafka`] imports rdkafka.

pub mod checksum;
pub mod events;
pub mod ids;
pub mod lfn;
pub mod time;

pub use checksum::{Checksum, ChecksumKind};
pub use ids::{
    AttemptId, Experiment, FileAtSite, Generation, IdError, Instrument, MoverName, RunAtSite, RunKey,
    RunNumber, SiteName, TransferId,
};
pub use lfn::{FileKind, Lfn, LfnError};
pub use time::{LogTime, Millis};
