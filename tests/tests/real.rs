//! Whole runs moved from one XRootD cluster to another on a real Kafka: what the mover is for, and everything that people
//! do with it while nothing fails.

#[path = "real/runs.rs"]
mod runs;
