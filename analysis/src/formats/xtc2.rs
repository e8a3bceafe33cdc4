//! LCLS-II XTC2: a file is a row of datagrams; Configure names detectors and their fields, `L1Accept` holds a shot's values;
//! the small file beside it (`smd`) says where each shot lies. Nothing in it is aligned. Zero-copy: values are slices of
//! the bytes given.
//!
//! Source: slac-lcls/lcls2 `xtcdata/xtcdata/xtc/*.hh`, checked on real files.
//!
//! To read an image: [`Configuration::of`] its stream's Configure datagram (and [`Configuration::update`] with `BeginRun`), then
//! [`Datagram::parse`] the extent's bytes, [`image::segments`] and [`image::assemble`], [`image::shot`].
//! To read an index: [`smd::entries`].

mod data;
mod datagram;
pub mod image;
mod names;
pub mod pixels;
pub mod smd;
#[cfg(test)]
mod tests;
pub mod write;

pub use data::{ShapesData, Value, values};
pub use datagram::{
    Damage, Datagram, Datagrams, HEADER, Header, Leaves, MAX_DATAGRAM, Service, Timestamp, Xtc, datagrams,
};
pub use names::{Algorithm, Configuration, Field, FieldType, MAX_RANK, Names, NamesId, Version};
