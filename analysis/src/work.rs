//! The worker: takes images from Kafka in small batches and commits one result per image and trial with its offsets.

pub mod decide;
pub mod line;
pub mod note;
