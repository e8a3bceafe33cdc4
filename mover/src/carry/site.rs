//! What a copy needs to know of a site, and how long it is patient with it. Plain data, built from the configuration.

use std::time::Duration;

use lightrail_topics::{ChecksumKind, Lfn, SiteName};

use super::names::SitePath;

/// What to do where both sides have no kind of checksum in common.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verify {
    /// The file fails as `cannot-verify`.
    #[default]
    Checksum,
    /// The size is good enough there, and the event says so.
    Size,
}

/// A site as a copy sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// Its name.
    pub name: SiteName,
    /// Its door (redirector or lone server) as `host:port`; none where the site is a mounted file system.
    pub door: Option<String>,
    /// The folder above all LFNs, without a slash at its end; empty where LFNs are paths.
    pub prefix: String,
    /// What to do without a common kind of checksum. The destination's setting counts.
    pub verify: Verify,
    /// The mode that a finished file gets (LCLS: `0o440`); none leaves what the storage gave.
    pub mode: Option<u32>,
    /// Kinds of checksum, the preferred one first. The destination's setting counts.
    pub kinds: Vec<ChecksumKind>,
    /// Whether "already there" needs a sum that is computed anew, where the server can, not a stored one.
    pub recheck: bool,
}

impl Site {
    /// A site with default settings.
    pub fn new(name: SiteName, door: Option<String>, prefix: impl Into<String>) -> Self {
        Self {
            name,
            door,
            prefix: prefix.into(),
            verify: Verify::default(),
            mode: None,
            kinds: vec![ChecksumKind::Adler32, ChecksumKind::Crc32c, ChecksumKind::Md5, ChecksumKind::Sha256],
            recheck: false,
        }
    }

    /// Where a file lies at this site.
    pub fn path(&self, lfn: &Lfn) -> SitePath {
        SitePath::of(&self.prefix, lfn)
    }

    /// The address that events give for a file: at the door, never at a data server.
    pub fn url(&self, lfn: &Lfn) -> String {
        let path = self.path(lfn);
        match &self.door {
            Some(door) => format!("root://{door}/{path}"),
            None => format!("file://{path}"),
        }
    }
}

/// How long a copy waits for what. Nothing waits for ever: whatever is not named here waits for `call`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// For one small call (open, rename, remove, mode, list). 10 s.
    pub call: Duration,
    /// For a server to say whether it has a file. Shorter, since the others are waiting with it. 5 s.
    pub look: Duration,
    /// How long a look waits for the slow once somebody has answered, where it need not hear everybody. 250 ms.
    pub grace: Duration,
    /// A copy whose slot is granted and whose size does not grow for this long has stalled. 10 s.
    pub stall: Duration,
    /// A server that answers no ping for this long while something waits for it hangs. 15 s.
    pub silence: Duration,
    /// Between two pings of a server that something waits for. 3 s.
    pub ping_every: Duration,
    /// Between two looks at the size of a copy that is under way. 250 ms.
    pub progress_every: Duration,
    /// For a free slot at the data server. 10 min.
    pub slot: Duration,
    /// For closing a copy, besides its size over `slow_rate`. 60 s.
    pub close: Duration,
    /// For a checksum, besides the size over `slow_rate`. 60 s.
    pub checksum: Duration,
    /// Bytes per second of the slowest disk that still counts as working. 20 MB/s.
    pub slow_rate: u64,
    /// For a copy to end once it was told to, and for clearing up behind it. 2 s: with `stall` it must stay
    /// below the 15 s in which a lost server is to be noticed.
    pub cancel: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            call: Duration::from_secs(10),
            look: Duration::from_secs(5),
            grace: Duration::from_millis(250),
            stall: Duration::from_secs(10),
            silence: Duration::from_secs(15),
            ping_every: Duration::from_secs(3),
            progress_every: Duration::from_millis(250),
            slot: Duration::from_secs(600),
            close: Duration::from_secs(60),
            checksum: Duration::from_secs(60),
            slow_rate: 20_000_000,
            cancel: Duration::from_secs(2),
        }
    }
}

impl Patience {
    /// The limit for closing a copy of that size.
    pub fn closing(&self, size: u64) -> Duration {
        self.close.saturating_add(self.reading(size))
    }

    /// The limit for a checksum over that many bytes.
    pub fn summing(&self, size: u64) -> Duration {
        self.checksum.saturating_add(self.reading(size))
    }

    fn reading(&self, size: u64) -> Duration {
        Duration::from_millis(size.saturating_mul(1000) / self.slow_rate.max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_grow_with_the_size() {
        let patience = Patience::default();
        assert_eq!(patience.summing(0), Duration::from_secs(60));
        assert_eq!(patience.summing(20_000_000), Duration::from_secs(61));
        assert!(patience.closing(u64::MAX) > Duration::from_secs(60), "no overflow");
    }

    #[test]
    fn an_event_names_the_door() {
        let lfn: Lfn = "/mfx/mfxlv9518/xtc/a.xtc".parse().unwrap();
        let site = Site::new("NERSC".parse().unwrap(), Some("door:1094".to_owned()), "/data");
        assert_eq!(site.url(&lfn), "root://door:1094//data/mfx/mfxlv9518/xtc/a.xtc");
        let site = Site::new("S3DF".parse().unwrap(), None, "/sdf/data");
        assert_eq!(site.url(&lfn), "file:///sdf/data/mfx/mfxlv9518/xtc/a.xtc");
    }
}
