//! The trigger on a real broker, within this process: between two simulated facilities, with real
//! analysis workers of which one site is lost, with a standing pool, and fenced by nobody; and its command
//! line, by the program.

#![allow(clippy::unwrap_used, reason = "constants that parse")]

mod cli;
mod facilities;
mod fenced;
mod pair;
mod pools;
mod reroute;
mod stage;
