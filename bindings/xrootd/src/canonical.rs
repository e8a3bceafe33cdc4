//! Names instead of addresses: the peers of a third-party copy recognise each other by the name that reverse DNS gives,
//! and some servers tell only their address. Blocking look-ups run aside; what was found is remembered for a while.

use std::collections::HashMap;
use std::ffi::CString;
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::url::Endpoint;

/// How long an answer of DNS is believed.
const REMEMBERED: Duration = Duration::from_secs(600);

/// How long an answer of DNS is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

static NAMES: LazyLock<Mutex<HashMap<String, (String, Instant)>>> = LazyLock::new(Mutex::default);

/// The endpoint under its host name; as it was where it has a name already, or none can be found in time.
pub(crate) async fn named(endpoint: Endpoint) -> Endpoint {
    let Some(address) = address_of(endpoint.host()) else { return endpoint };
    let port = endpoint.port();
    let name = match remembered(&address) {
        Some(name) => Some(name),
        None => asked(address).await,
    };
    name.and_then(|name| Endpoint::new(&name, port).ok()).unwrap_or(endpoint)
}

fn remembered(address: &str) -> Option<String> {
    let names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
    names.get(address).filter(|(_, since)| since.elapsed() < REMEMBERED).map(|(name, _)| name.clone())
}

async fn asked(address: String) -> Option<String> {
    let question = CString::new(address.clone()).ok()?;
    let asking = tokio::task::spawn_blocking(move || {
        let mut out = vec![0u8; 256];
        // SAFETY: a NUL-terminated string, and a buffer with its true length.
        let length =
            unsafe { xrootd_sys::xrds_host_name(question.as_ptr(), out.as_mut_ptr().cast(), out.len()) };
        out.truncate(length);
        String::from_utf8(out).ok().filter(|name| !name.is_empty())
    });
    let name = tokio::time::timeout(PATIENCE, asking).await.ok()?.ok()??;
    let mut names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
    names.insert(address, (name.clone(), Instant::now()));
    Some(name)
}

/// The bare address of a host that is one: `[::1]`, `[::127.0.0.1]` (how servers write IPv4), `127.0.0.1`.
fn address_of(host: &str) -> Option<String> {
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    let v4 = bare.strip_prefix("::ffff:").or_else(|| bare.strip_prefix("::")).unwrap_or(bare);
    if v4.parse::<std::net::Ipv4Addr>().is_ok() {
        return Some(v4.to_owned());
    }
    bare.parse::<std::net::Ipv6Addr>().is_ok().then(|| bare.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_recognised_in_the_ways_that_servers_write_them() {
        for (host, address) in [
            ("[::127.0.0.1]", "127.0.0.1"),
            ("[::ffff:10.0.0.1]", "10.0.0.1"),
            ("10.1.2.3", "10.1.2.3"),
            ("[::1]", "::1"),
        ] {
            assert_eq!(address_of(host).as_deref(), Some(address));
        }
        assert_eq!(address_of("dtn01.nersc.gov"), None);
    }

    #[tokio::test]
    async fn loopback_has_a_name() {
        let place = Endpoint::new("[::127.0.0.1]", 7).unwrap();
        assert_eq!(named(place).await.to_string(), "localhost:7");
    }
}
