//! The kinds of values that only the mover's settings have: engines, what is verified, modes, where reading begins.

use std::fmt;
use std::str::FromStr;

use lightrail_service::settings::{DeValue, Setting};
use lightrail_service::{settings_from_text, settings_from_words};
use lightrail_topics::LogTime;

use super::{Engine, StartFrom, Verify};

/// A file mode, written `"0440"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mode(pub(super) u32);

settings_from_text! {
    StartFrom => "\"now\", \"earliest\", or a time such as \"2026-11-21T08:00:00Z\"",
}

settings_from_words! {
    Engine => "\"native\", \"xrdcp\" or \"posix\"" {
        "native" => Engine::Native, "xrdcp" => Engine::Xrdcp, "posix" => Engine::Posix
    },
    Verify => "\"checksum\" or \"size\"" { "checksum" => Verify::Checksum, "size" => Verify::Size },
}

impl Setting for Mode {
    const EXPECTED: &'static str = "an octal mode in quotes such as \"0440\"";

    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        let text = value.as_str().ok_or_else(String::new)?;
        match u32::from_str_radix(text, 8) {
            // What the mover itself could not read again could not be looked at either.
            Ok(mode) if mode <= 0o777 && mode & 0o400 != 0 => Ok(Self(mode)),
            Ok(mode) if mode <= 0o777 => Err(format!("`{text}` lets not even the owner read")),
            _ => Err(format!("`{text}` is no mode")),
        }
    }
}

impl FromStr for StartFrom {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "now" => Ok(Self::Now),
            "earliest" => Ok(Self::Earliest),
            time => time.parse::<LogTime>().map(|t| Self::Time(t.millis())).map_err(|why| why.to_string()),
        }
    }
}

impl fmt::Display for StartFrom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Now => f.write_str("now"),
            Self::Earliest => f.write_str("earliest"),
            Self::Time(time) => time.fmt(f),
        }
    }
}
