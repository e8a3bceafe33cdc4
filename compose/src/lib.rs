//! The real parts of Lightrail and everything together: starts Kafka, XRootD clusters, a logbook and the services as
//! processes or in containers, torments them, and leaves nothing behind. Used by demo, tests and benchmarks.
//!
//! Never here: a mock of a broker or of a file server; any code of a service (they are started as programs).

pub mod containers;
pub mod demo;
pub mod kafka;
pub mod keeper;
pub mod logbook;
pub mod loopfs;
pub mod manifests;
pub(crate) mod packages;
pub mod parts;
pub mod play;
pub mod ports;
pub mod process;
pub mod psana;
pub mod python;
pub mod require;
pub mod scratch;
pub mod services;
pub mod sge;
pub mod slurm;
pub mod wait;
pub mod xrootd;

pub use kafka::{Kafka, KafkaOptions};
pub use parts::{Part, Parts, Processes};
pub use xrootd::{Cluster, ClusterOptions};
