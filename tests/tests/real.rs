//! Whole runs moved from one XRootD cluster to another on a real Kafka: what the mover is for, and everything that people
//! do with it while nothing fails.

#[path = "real/changes.rs"]
mod changes;
#[path = "real/engines.rs"]
mod engines;
#[path = "real/logbook.rs"]
mod logbook;
#[path = "real/people.rs"]
mod people;
#[path = "real/runs.rs"]
mod runs;
#[path = "real/starts.rs"]
mod starts;
