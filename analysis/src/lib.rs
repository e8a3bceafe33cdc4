//! From a run's files to a result per image: reading the formats of light sources, indexing runs into images, calibrating,
//! finding spots, deciding hits, and the services that do this on Kafka.
//!
//! Never here: copying files between sites (the mover's), starting jobs (the trigger's), databases (the console's).

pub mod cli;
pub mod config;
pub mod constants;
pub mod decode;
pub mod detectors;
pub mod formats;
pub mod frame;
pub mod geometry;
pub mod index;
pub mod inputs;
pub mod inspect;
pub mod pipeline;
pub mod plot;
pub mod process;
mod simd;
pub mod simulate;
pub mod source;
pub mod trial;
pub mod work;
