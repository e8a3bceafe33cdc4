//! The analysis' services on a real broker: real programs that are killed, stopped and asked to leave, counted by an
//! independent reader of what is committed.

#![allow(clippy::unwrap_used, reason = "constants that parse")]

mod access;
mod again;
mod bad_input;
mod beam_time;
mod desk;
mod formats;
mod index;
mod leaving;
mod play;
mod poison;
mod powder;
mod reroute;
mod stage;
mod torment;
mod witness;
mod work;
