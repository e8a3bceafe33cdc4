//! A safe, asynchronous `XRootD` client over `XrdCl`.
//!
//! [`FileSystem`] asks a server about names, [`File`] opens one, [`tpc`] has one server copy from another without a byte
//! passing through this process. Every call has a deadline, every future may be dropped at any time, no call blocks a
//! thread. Answers come on the library's own threads and only wake tasks; a tokio runtime with time is needed where
//! futures are awaited. This crate and `xrootd-sys` hold all `unsafe` code of the workspace; nothing here retries.
#![allow(unsafe_code, reason = "the safe face of a C++ library; every block says why it is sound")]
#![warn(clippy::undocumented_unsafe_blocks)]

mod call;
mod canonical;
pub mod credentials;
mod error;
mod file;
mod filesystem;
mod handle;
mod settings;
mod stat;
pub mod tpc;
mod url;

pub use error::{Error, ErrorKind};
pub use file::{File, OpenFlags};
pub use filesystem::FileSystem;
pub use settings::{Settings, give_way, init, shutdown};
pub use stat::{DirEntry, Space, Stat};
pub use url::{DEFAULT_PORT, Endpoint, Url};
