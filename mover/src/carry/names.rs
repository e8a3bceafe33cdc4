//! All paths and names that a copy uses are made here: a file's path at a site, its temporary name, the name under
//! which an old file is set aside. Pure; takes only parsed LFNs, so no name can leave its experiment's folder.

use std::fmt;

use lightrail_topics::lfn::MAX_PART;
use lightrail_topics::{AttemptId, Lfn, Millis, MoverName, TransferId};
use sha2::{Digest, Sha256};

/// An absolute path at a site, made from its prefix and an LFN.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SitePath(String);

impl SitePath {
    /// The path of a file at a site whose folders begin with `prefix`.
    pub fn of(prefix: &str, lfn: &Lfn) -> Self {
        Self(format!("{}{lfn}", prefix.trim_end_matches('/')))
    }

    /// The whole text, beginning with `/`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name after the last slash.
    pub fn file_name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or_default()
    }

    /// The folder that it lies in, without a slash at the end.
    #[must_use]
    pub fn folder(&self) -> Self {
        Self(self.0[..self.0.rfind('/').unwrap_or(0)].to_owned())
    }

    /// Another name in the same folder.
    #[must_use]
    pub fn beside(&self, name: &str) -> Self {
        debug_assert!(!name.contains('/'), "a name has no slash");
        Self(format!("{}/{name}", self.folder().0))
    }

    /// A name in this folder.
    #[must_use]
    pub fn inside(&self, name: &str) -> Self {
        debug_assert!(!name.contains('/'), "a name has no slash");
        Self(format!("{}/{name}", self.0))
    }
}

impl fmt::Display for SitePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for SitePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whose temporary file it is: which mover, which transfer, which attempt.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Temporary {
    /// The mover that wrote it.
    pub mover: MoverName,
    /// The first 64 bits of the SHA-256 of the transfer's id.
    pub transfer: u64,
    /// The attempt.
    pub attempt: AttemptId,
}

const MARK: &str = ".lightrail-";

impl Temporary {
    /// The temporary file of that attempt.
    pub fn of(mover: &MoverName, transfer: &TransferId, attempt: AttemptId) -> Self {
        Self { mover: mover.clone(), transfer: transfer_hash(transfer), attempt }
    }

    /// The file's name: `.<name>.lightrail-<mover>-<t>-<start>.<n>`, the LFN's name cut so that all fits a file system.
    pub fn file_name(&self, lfn: &Lfn) -> String {
        let tail = self.tail();
        let room = MAX_PART.saturating_sub(1 + tail.len());
        format!(".{}{tail}", cut(lfn.file_name(), room))
    }

    /// Reads such a name; anything that is not exactly one is somebody else's file.
    pub fn parse(name: &str) -> Option<Self> {
        let at = name.rfind(MARK)?;
        if at < 1 || !name.starts_with('.') {
            return None;
        }
        let (rest, attempt) = name[at + MARK.len()..].rsplit_once('-')?;
        let (mover, transfer) = rest.rsplit_once('-')?;
        if transfer.len() != 16 {
            return None;
        }
        let parsed = Self {
            mover: mover.parse().ok()?,
            transfer: u64::from_str_radix(transfer, 16).ok()?,
            attempt: attempt.parse().ok()?,
        };
        // Only what we would have written ourselves: no capitals, signs or leading zeros.
        (parsed.tail() == name[at..]).then_some(parsed)
    }

    fn tail(&self) -> String {
        format!("{MARK}{}-{:016x}-{}", self.mover, self.transfer, self.attempt)
    }
}

/// The temporary name of one attempt.
pub fn temporary_name(lfn: &Lfn, mover: &MoverName, transfer: &TransferId, attempt: AttemptId) -> String {
    Temporary::of(mover, transfer, attempt).file_name(lfn)
}

/// The name under which an old file is set aside: `<name>.<seconds since 1970>`, the name cut so that it fits.
pub fn aside_name(file_name: &str, now: Millis) -> String {
    let tail = format!(".{}", now.0.div_euclid(1000));
    format!("{}{tail}", cut(file_name, MAX_PART.saturating_sub(tail.len())))
}

/// 64 bits that name a transfer, the same in every start of every version.
pub fn transfer_hash(transfer: &TransferId) -> u64 {
    let digest = Sha256::digest(transfer.to_string());
    digest.iter().take(8).fold(0, |hash, byte| hash << 8 | u64::from(*byte))
}

fn cut(text: &str, room: usize) -> &str {
    let mut end = text.len().min(room);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn transfer(name: &str) -> TransferId {
        format!("/mfx/mfxlv9518/xtc/{name}@NERSC#1").parse().unwrap()
    }

    fn attempt() -> AttemptId {
        AttemptId { start: 0xab, n: 7 }
    }

    #[test]
    fn a_temporary_name_is_stable_and_reads_back() {
        let mover: MoverName = "slac-to_nersc".parse().unwrap();
        let id = transfer("mfxlv9518-r0001-s00-c00.xtc2");
        let name = temporary_name(&id.lfn, &mover, &id, attempt());
        assert_eq!(
            name,
            format!(
                ".mfxlv9518-r0001-s00-c00.xtc2.lightrail-slac-to_nersc-{:016x}-000000ab.7",
                transfer_hash(&id)
            )
        );
        assert_eq!(transfer_hash(&id), 0x3d55_ef61_28ce_85f7, "names of earlier versions must stay known");
        assert_eq!(Temporary::parse(&name), Some(Temporary::of(&mover, &id, attempt())));
    }

    #[test]
    fn a_long_name_is_cut_at_a_character_and_still_ours() {
        for length in [150, 240, 255] {
            let id = transfer(&"é".repeat(length / 2));
            let mover: MoverName = "m".repeat(32).parse().unwrap();
            let name = temporary_name(&id.lfn, &mover, &id, attempt());
            assert!(name.len() <= 255, "{}", name.len());
            assert_eq!(Temporary::parse(&name).unwrap().attempt, attempt());
            assert!(aside_name(id.lfn.file_name(), Millis(1_600_000_000_000)).len() <= 255);
        }
    }

    #[test]
    fn other_people_s_files_are_not_ours() {
        for name in [
            "a.xtc",
            ".a.xtc.lightrail-m-0123456789abcdef-000000ab",
            ".a.xtc.lightrail-m-0123456789ABCDEF-000000ab.1",
            ".a.xtc.lightrail-m-0123456789abcdef-000000ab.01",
            ".a.xtc.lightrail-m-0123456789abcdef-000000ab.+1",
            ".a.xtc.lightrail--0123456789abcdef-000000ab.1",
            ".a.xtc.lightrail-m-0123456789abcdef-000000ab.1.bak",
            "a.xtc.lightrail-m-0123456789abcdef-000000ab.1",
            ".lightrail-m-0123456789abcdef-000000ab.1",
            ".a.xtc.part-1",
        ] {
            assert_eq!(Temporary::parse(name), None, "{name}");
        }
    }

    #[test]
    fn paths_stay_below_the_prefix() {
        let lfn: Lfn = "/mfx/mfxlv9518/xtc/a.xtc".parse().unwrap();
        let path = SitePath::of("/data/", &lfn);
        assert_eq!(path.as_str(), "/data/mfx/mfxlv9518/xtc/a.xtc");
        assert_eq!(path.beside(".t").as_str(), "/data/mfx/mfxlv9518/xtc/.t");
        assert_eq!(path.folder().inside("b").as_str(), "/data/mfx/mfxlv9518/xtc/b");
        assert_eq!(SitePath::of("/", &lfn).as_str(), lfn.as_str());
        assert_eq!(aside_name("a.xtc", Millis(1_700_000_000_999)), "a.xtc.1700000000");
    }
}
