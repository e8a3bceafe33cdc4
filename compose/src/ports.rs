//! Port numbers for the parts: taken from below the range from which the kernel gives ports to outgoing connections, and
//! held by a lock file for as long as the part lives, so that a server that is killed and started again finds its port
//! free, also beside other test programs. Never a port that somebody listens on.

use std::fs::File;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;

use anyhow::Context as _;

/// Below 32768, where Linux begins to hand out ports for outgoing connections.
const RANGE: std::ops::Range<u16> = 12_000..32_000;

/// A port number that is ours until this is dropped, whether or not somebody listens on it at the moment.
#[derive(Debug)]
pub struct Port {
    number: u16,
    /// The lock that says so to other programs; given back by the kernel however we end.
    _lock: File,
}

impl Port {
    /// Takes a free port.
    ///
    /// # Errors
    /// When lock files cannot be written, or no port is free.
    pub fn take() -> anyhow::Result<Self> {
        let folder =
            std::env::temp_dir().join(format!("lightrail-ports-{}", rustix::process::getuid().as_raw()));
        std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        (0..2000)
            .find_map(|_| Self::try_take(&folder, fastrand::u16(RANGE)))
            .with_context(|| format!("no free port found in {RANGE:?}, locks are in {}", folder.display()))
    }

    fn try_take(folder: &Path, number: u16) -> Option<Self> {
        let lock = File::create(folder.join(number.to_string())).ok()?;
        lock.try_lock().ok()?;
        TcpListener::bind((Ipv4Addr::UNSPECIFIED, number)).ok()?;
        Some(Self { number, _lock: lock })
    }

    /// The number.
    pub fn number(&self) -> u16 {
        self.number
    }
}

impl std::fmt::Display for Port {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.number.fmt(f)
    }
}
