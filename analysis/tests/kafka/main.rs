//! The analysis' services on a real broker: real programs that are killed, stopped and asked to leave, counted by an
//! independent reader of what is committed.

#![allow(clippy::unwrap_used, reason = "constants that parse")]

mod play;
mod stage;
mod witness;
mod work;
