//! LCLS-I XTC: a file is a row of datagrams, each a tree of containers with typed payloads; small files beside it (`.smd.xtc`,
//! `.xtc.idx`) say where each shot lies. Zero-copy: payloads are slices of the bytes given.
//!
//! Source: lcls-psana/pdsdata `xtc/*.hh`, `psddl/*.ddl.h`, `index/*`. No public file is known: this is tested on files generated
//! after those sources.
//!
//! To read an image: [`Configuration::of`] the stream's Configure datagram, [`Datagram::event`] of the extent's bytes (or
//! [`Xtc::parse`] of a proxy's), then [`image::frame`] and [`image::shot`].

mod configuration;
mod datagram;
pub(crate) mod epix10ka;
pub mod idx;
pub mod image;
pub mod smd;
mod src;
#[cfg(test)]
pub(crate) mod tests;

pub use configuration::{Configuration, CspadSections};
pub use datagram::{
    Damage, Datagram, Datagrams, HEADER, Header, Leaves, MAX_DATAGRAM, Service, Time, TypeId, XTC_HEADER,
    Xtc, datagrams,
};
pub use src::{Level, Src};
