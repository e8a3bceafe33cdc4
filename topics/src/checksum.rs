//! Checksums compared as values: case and leading zeros do not matter. Nothing is computed here.

use std::fmt;
use std::str::FromStr;

use crate::time::as_string;

/// The kinds that LCLS, XRootD and the grid use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ChecksumKind {
    /// RFC 1950; the common language of WLCG, 32 bits.
    Adler32,
    /// RFC 3720 (Castagnoli), 32 bits, in hardware on most machines.
    Crc32c,
    /// RFC 1321, 128 bits; what the LCLS mover of 2018 wrote beside its files.
    Md5,
    /// FIPS 180-4, 256 bits.
    Sha256,
}

impl ChecksumKind {
    /// All kinds, the ones that XRootD servers offer first.
    pub const ALL: [Self; 4] = [Self::Adler32, Self::Crc32c, Self::Md5, Self::Sha256];

    /// The name that XRootD's `cks.type` and our events use.
    pub fn name(self) -> &'static str {
        match self {
            Self::Adler32 => "adler32",
            Self::Crc32c => "crc32c",
            Self::Md5 => "md5",
            Self::Sha256 => "sha256",
        }
    }

    /// How many hexadecimal digits a full value has.
    pub fn digits(self) -> usize {
        match self {
            Self::Adler32 | Self::Crc32c => 8,
            Self::Md5 => 32,
            Self::Sha256 => 64,
        }
    }
}

impl fmt::Display for ChecksumKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for ChecksumKind {
    type Err = ChecksumError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wanted = text.trim();
        Self::ALL
            .into_iter()
            .find(|kind| kind.name().eq_ignore_ascii_case(wanted))
            .ok_or_else(|| ChecksumError::Kind(wanted.chars().take(32).collect()))
    }
}

/// A checksum: its kind and its value. Written `adler32:0a1b2c3d`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Checksum {
    kind: ChecksumKind,
    /// Lower-case hexadecimal, padded with zeros to the kind's full length: equal text is equal value.
    hex: String,
}

/// Why a text is no checksum.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChecksumError {
    /// A kind that we do not know.
    #[error("checksum kind `{0}` is unknown; known are adler32, crc32c, md5, sha256")]
    Kind(String),
    /// Not a hexadecimal value of at most the kind's length.
    #[error("`{value}` is not a hexadecimal {kind} value of at most {} digits", kind.digits())]
    Value {
        /// The kind that was named.
        kind: ChecksumKind,
        /// The text that was given, cut to 80 characters.
        value: String,
    },
    /// Neither `kind:value` nor a value whose length tells its kind.
    #[error("`{0}` is not a checksum such as adler32:0a1b2c3d")]
    Shape(String),
}

impl Checksum {
    /// A checksum of a known kind from its hexadecimal text, with or without leading zeros or `0x`.
    pub fn new(kind: ChecksumKind, value: &str) -> Result<Self, ChecksumError> {
        let refused = || ChecksumError::Value { kind, value: value.chars().take(80).collect() };
        let trimmed = value.trim();
        let digits = trimmed.strip_prefix("0x").unwrap_or(trimmed);
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(refused());
        }
        let significant = digits.trim_start_matches('0').to_ascii_lowercase();
        if significant.len() > kind.digits() {
            return Err(refused());
        }
        let width = kind.digits();
        Ok(Self { kind, hex: format!("{significant:0>width$}") })
    }

    /// A 32-bit checksum from its number.
    pub fn from_u32(kind: ChecksumKind, value: u32) -> Self {
        let width = kind.digits();
        Self { kind, hex: format!("{value:0width$x}") }
    }

    /// The kind.
    pub fn kind(&self) -> ChecksumKind {
        self.kind
    }

    /// The value: lower-case hexadecimal of the kind's full length.
    pub fn hex(&self) -> &str {
        &self.hex
    }
}

impl fmt::Display for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind, self.hex)
    }
}

impl fmt::Debug for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Checksum {
    type Err = ChecksumError;

    /// Reads `kind:value`, `kind value` (XRootD's answer), or a bare md5 or sha256 whose length tells its kind.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        if let Some((kind, value)) = text.split_once([':', ' ', '=']) {
            return Self::new(kind.parse()?, value);
        }
        let by_length =
            [ChecksumKind::Md5, ChecksumKind::Sha256].into_iter().find(|k| k.digits() == text.len());
        match by_length {
            Some(kind) => Self::new(kind, text),
            None => Err(ChecksumError::Shape(text.chars().take(80).collect())),
        }
    }
}

as_string!(
    Checksum,
    "Checksum",
    schemars::json_schema!({
        "type": "string",
        "description": "kind:value, the value in lower-case hexadecimal of full length",
        "pattern": "^(adler32|crc32c):[0-9a-f]{8}$|^md5:[0-9a-f]{32}$|^sha256:[0-9a-f]{64}$",
    })
);
as_string!(
    ChecksumKind,
    "ChecksumKind",
    schemars::json_schema!({ "type": "string", "enum": ["adler32", "crc32c", "md5", "sha256"] })
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leading_zeros_and_case_do_not_matter() {
        let a: Checksum = "adler32:00AB12".parse().unwrap();
        let b: Checksum = "adler32 ab12".parse().unwrap();
        assert_eq!(a, b);
        assert_eq!(a.to_string(), "adler32:0000ab12");
        assert_eq!(a, Checksum::from_u32(ChecksumKind::Adler32, 0xab12));
        assert!("adler32:123456789".parse::<Checksum>().is_err());
        assert!("adler32:xyz".parse::<Checksum>().is_err());
        assert_eq!("d41d8cd98f00b204e9800998ecf8427e".parse::<Checksum>().unwrap().kind(), ChecksumKind::Md5);
    }
}
