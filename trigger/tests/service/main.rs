//! The trigger on a real broker, within this process: between two simulated facilities, with real
//! analysis workers of which one site is lost, and with a standing pool.

#![allow(clippy::unwrap_used, reason = "constants that parse")]

mod facilities;
mod pair;
mod pools;
mod reroute;
mod stage;
