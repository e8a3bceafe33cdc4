//! The mover: copies every finished run's files to the sites that want them, oldest run first, and says so on Kafka,
//! exactly once. Deciding is in [`ledger`] (pure); doing is in the other modules; [`run`](run::run) wires them.
//!
//! Never here: a byte of a file passing through the mover (the posix engine excepted); a deletion at a source.

#[cfg(test)]
mod bottle;
pub mod carry;
pub mod cli;
pub mod clock;
pub mod config;
pub mod fault;
mod gather;
pub mod http;
pub mod intake;
pub mod journal;
pub mod ledger;
pub mod logbook;
pub mod metric;
pub mod outbox;
pub mod owner;
pub mod rival;
pub mod run;
#[cfg(test)]
mod tidy;
pub mod view;
