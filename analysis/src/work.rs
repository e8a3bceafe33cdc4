//! The worker: takes images from Kafka in small batches and commits one result per image and trial with its offsets.
//!
//! Deciding is pure ([`decide`], [`line`], [`note`]); `session` does what is decided, on one task that owns the decider. Images
//! are read by tasks, worked on threads of their own, and their results published by one transactional producer.

pub mod decide;
mod door;
mod held;
pub mod identity;
pub mod line;
mod load;
mod metric;
pub mod note;
pub mod powder;
mod reading;
mod replay;
mod rival;
mod run;
mod session;
mod shelf;
mod signals;
pub mod stages;
mod threads;
mod trials;

pub use run::{Options, Shutdown, WorkError, run, run_with};
