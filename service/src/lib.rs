//! How every Lightrail service begins: one TOML file of settings, read with every fault named at once; secrets that never
//! stand in it; a log on standard error; metrics in memory, and its pages; its topics held against what they should be.
//!
//! Never here: what a setting means to a service, any message, any work.

pub mod command;
pub mod http;
pub mod settings;
pub mod telemetry;
pub mod topics;
mod who;

pub use who::who;
