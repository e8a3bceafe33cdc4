//! Decides what to run where, and sees it through: rules and what becomes of runs on one side, batch jobs on the other, the
//! topic `jobs` between them.
//!
//! Never here: image bytes, copies of files, any analysis.

pub mod cli;
pub mod config;
pub mod datasets;
pub mod decide;
pub mod executor;
pub mod facility;
mod follow;
pub mod jid;
mod jwt;
mod metric;
pub mod place;
pub mod rules;
pub mod run;
pub mod simulate;
mod web;
