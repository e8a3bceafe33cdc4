//! From the small index files of a run to one message per image, exactly once.
//!
//! [`Stream`] reads one index file as far as it is there, [`Join`] puts the streams' events together into images and knows
//! which of them are taken; [`whole`] lists the images of files that hold whole ones. All pure: whoever reads files or speaks with Kafka does it around them.
//!
//! ```no_run
//! # fn bytes_of(_: &lightrail_topics::Lfn) -> Vec<u8> { Vec::new() }
//! use lightrail_analysis::index::{Join, Stream};
//!
//! let mut join = Join::new();
//! for lfn in ["/xpp/xpptut15/xtc/smalldata/xpptut15-r0014-s000-c000.smd.xtc2".parse()?] {
//!     let mut stream = Stream::of(&lfn, "jungfrau").expect("an index file");
//!     stream.take(&bytes_of(&lfn))?;
//!     stream.close();
//!     join.add(stream);
//! }
//! let images = join.all();
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod join;
mod stream;
#[cfg(test)]
mod tests;
pub mod whole;

pub use join::{Join, Joined, Mismatch};
pub use stream::{Stream, Want};
