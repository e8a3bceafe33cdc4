//! Checksums computed here, for the engines that hold the bytes themselves. The `XRootD` engines never use it: there
//! the servers compute.

use lightrail_topics::{Checksum, ChecksumKind};
use md5::Md5;
use sha2::{Digest, Sha256};

/// A checksum that grows with the bytes it is fed.
pub(super) enum Summer {
    Adler32(adler2::Adler32),
    Crc32c(u32),
    Md5(Md5),
    Sha256(Sha256),
}

impl Summer {
    pub(super) fn new(kind: ChecksumKind) -> Self {
        match kind {
            ChecksumKind::Adler32 => Self::Adler32(adler2::Adler32::new()),
            ChecksumKind::Crc32c => Self::Crc32c(0),
            ChecksumKind::Md5 => Self::Md5(Md5::new()),
            ChecksumKind::Sha256 => Self::Sha256(Sha256::new()),
        }
    }

    pub(super) fn feed(&mut self, bytes: &[u8]) {
        match self {
            Self::Adler32(sum) => sum.write_slice(bytes),
            Self::Crc32c(sum) => *sum = crc32c::crc32c_append(*sum, bytes),
            Self::Md5(sum) => sum.update(bytes),
            Self::Sha256(sum) => sum.update(bytes),
        }
    }

    pub(super) fn finish(self) -> Checksum {
        let of =
            |kind, hex: &str| Checksum::new(kind, hex).expect("a digest is hexadecimal of its kind's length");
        match self {
            Self::Adler32(sum) => Checksum::from_u32(ChecksumKind::Adler32, sum.checksum()),
            Self::Crc32c(sum) => Checksum::from_u32(ChecksumKind::Crc32c, sum),
            Self::Md5(sum) => of(ChecksumKind::Md5, &hex(&sum.finalize())),
            Self::Sha256(sum) => of(ChecksumKind::Sha256, &hex(&sum.finalize())),
        }
    }
}

/// The checksum of bytes in memory.
pub(super) fn of_bytes(kind: ChecksumKind, bytes: &[u8]) -> Checksum {
    let mut summer = Summer::new(kind);
    summer.feed(bytes);
    summer.finish()
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_check_values() {
        for (kind, hex) in [
            (ChecksumKind::Adler32, "091e01de"),
            (ChecksumKind::Crc32c, "e3069283"),
            (ChecksumKind::Md5, "25f9e794323b453885f5181f1b624d0b"),
            (ChecksumKind::Sha256, "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225"),
        ] {
            assert_eq!(of_bytes(kind, b"123456789").hex(), hex);
            let mut fed = Summer::new(kind);
            fed.feed(b"1234");
            fed.feed(b"56789");
            assert_eq!(fed.finish().hex(), hex);
        }
    }
}
