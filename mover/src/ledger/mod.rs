//! Under construction.

pub mod rows;
