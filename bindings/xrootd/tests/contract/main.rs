//! The contract of this crate against real servers: each test starts its own and kills them.

mod copies;
mod credentials;
mod drops;
mod faults;
mod files;
mod names;
mod server;
