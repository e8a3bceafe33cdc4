//! The trigger on a real broker, within this process: between two simulated facilities, and with a standing pool.

#![allow(clippy::unwrap_used, reason = "constants that parse")]

mod facilities;
mod pools;
mod stage;
