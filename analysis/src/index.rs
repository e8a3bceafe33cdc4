//! From the small index files of a run to one message per image, exactly once.
//!
//! [`Stream`] reads one index file as far as it is there, [`whole`] lists the images of files that hold whole ones, [`Join`] puts
//! all together into images and knows which of them are taken, [`Board`] decides what is to be published. All are pure. Around
//! them [`Publication`] reads files and speaks with Kafka, and [`run`] is the service.
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

mod again;
mod board;
mod files;
mod fit;
mod folder;
mod follow;
mod join;
mod kept;
mod metric;
mod progress;
mod publish;
mod reroute;
mod service;
mod stream;
#[cfg(test)]
mod tests;
pub mod trials;
pub mod whole;

pub use again::{Again, AgainError, again};
pub use board::{Board, Wanted};
pub use files::{RunFiles, There};
pub use fit::Fits;
pub use join::{Join, Joined, Mismatch};
pub use progress::{Kept, Progress, Step};
pub use publish::{Place, Publication, PublishFault, Published, Purpose};
pub use reroute::{Lack, Moved, Reroute, RerouteError, reroute};
pub use service::{IndexError, place, run};
pub use stream::{Stream, Want};
