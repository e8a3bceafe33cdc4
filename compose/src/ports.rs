//! Port numbers for the parts: taken from below the range from which the kernel gives ports to outgoing connections, and
//! held for as long as the part lives, so that a server that is killed and started again finds its port free, also beside
//! other test programs. Never a port that somebody listens on.

use std::net::{Ipv4Addr, TcpListener};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};

use anyhow::Context as _;

/// Below 32768, where Linux begins to hand out ports for outgoing connections.
const RANGE: std::ops::Range<u16> = 12_000..32_000;

/// A port number that is ours until this is dropped, whether or not somebody listens on it at the moment.
#[derive(Debug)]
pub struct Port {
    number: u16,
    /// Says so to other test programs: an abstract name, unique where ports are, gone with us however we end.
    _claim: UnixListener,
}

impl Port {
    /// Takes a free port.
    ///
    /// # Errors
    /// When none is found.
    pub fn take() -> anyhow::Result<Self> {
        (0..2000)
            .find_map(|_| Self::try_take(fastrand::u16(RANGE)))
            .with_context(|| format!("no free port found in {RANGE:?}"))
    }

    fn try_take(number: u16) -> Option<Self> {
        let name = SocketAddr::from_abstract_name(format!("lightrail-port-{number}")).ok()?;
        let claim = UnixListener::bind_addr(&name).ok()?;
        TcpListener::bind((Ipv4Addr::UNSPECIFIED, number)).ok()?;
        Some(Self { number, _claim: claim })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_nobody_elses_until_it_is_dropped() {
        let port = Port::take().unwrap();
        assert!(Port::try_take(port.number()).is_none());
        let number = port.number();
        drop(port);
        assert!(Port::try_take(number).is_some());
    }

    #[test]
    fn a_port_with_a_listener_is_not_taken() {
        let port = Port::take().unwrap();
        let number = port.number();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, number)).unwrap();
        drop(port);
        assert!(Port::try_take(number).is_none());
        drop(listener);
    }
}
