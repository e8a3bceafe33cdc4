//! Files to results without any broker: what `lightrail-analysis process` does, and where `plot` gets an image from.
//!
//! The images are those that the index would publish, and what is done with each is what a worker does
//! ([`crate::work::stages`]); only where they come from and where the results go is different.

mod chosen;
mod cores;
pub mod csv;
pub mod cxi;
mod files;
pub mod hits;
mod images;
pub mod parquet;
mod summary;
mod table;
#[cfg(test)]
mod tests;
mod work;

pub use chosen::{ChoiceError, Chosen, Told, Wishes, choose};
pub use cores::{Cores, Fallen};
pub use files::{FileError, Files, RunFiles};
pub use images::{RunImages, Wanted, of_run, told};
pub use summary::{Counts, Summary};
pub use table::{Row, Seen, unix_seconds};
pub use work::{Outcomes, Prepared, Stop, Tables, Unready, Working, bytes, work};
