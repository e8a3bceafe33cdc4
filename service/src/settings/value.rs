//! The kinds of values that settings have, and how each is read from TOML: durations and sizes in words, doors, ids, paths.
//! Every refusal says what was expected, with an example. A service adds its own kinds by the two macros.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use lightrail_topics::{ChecksumKind, Experiment, Instrument, MoverName, SiteName, WorkerName};
use toml::de::DeValue;

use super::LogFormat;
use super::read::{Section, Setting, nearest};

/// A number of bytes, written `"8MiB"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size(pub u64);

/// A host and a port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Door {
    /// Name or address; an IPv6 address in brackets.
    pub host: String,
    /// The TCP port.
    pub port: u16,
}

/// A list of values of one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct List<T>(pub Vec<T>);

/// A path below which files lie, without the slash at its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prefix(pub String);

/// `http://` or `https://` and a host, without the slash at its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url(pub String);

/// What a librdkafka property is set to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PropertyText(pub String);

/// Makes settings of types whose text has a `FromStr`.
#[macro_export]
macro_rules! settings_from_text {
    ($($type:ty => $expected:literal),* $(,)?) => {
        $(impl $crate::settings::Setting for $type {
            const EXPECTED: &'static str = $expected;

            fn read(value: &$crate::settings::DeValue<'_>) -> Result<Self, String> {
                let text = value.as_str().ok_or_else(String::new)?;
                text.parse().map_err(|why| format!("{why}"))
            }
        })*
    };
}

settings_from_text! {
    MoverName => "a name such as \"lcls-to-nersc\"",
    SiteName => "a site such as \"NERSC\"",
    Experiment => "an experiment such as \"mfxlv9518\"",
    Instrument => "an instrument such as \"mfx\"",
    Door => "host:port, such as \"dtn04.nersc.gov:1094\"",
    ChecksumKind => "one of \"adler32\", \"crc32c\", \"md5\", \"sha256\"",
    WorkerName => "a name such as \"nid001234\"",
    SocketAddr => "address:port, such as \"127.0.0.1:8741\"",
}

/// Makes settings of types whose values are a few words.
#[macro_export]
macro_rules! settings_from_words {
    ($($type:ty => $expected:literal { $($word:literal => $value:expr),* }),* $(,)?) => {
        $(impl $crate::settings::Setting for $type {
            const EXPECTED: &'static str = $expected;

            fn read(value: &$crate::settings::DeValue<'_>) -> Result<Self, String> {
                let text = value.as_str().ok_or_else(String::new)?;
                match text {
                    $($word => Ok($value),)*
                    _ => Err(match $crate::settings::nearest(text, [$($word),*]) {
                        Some(near) => format!("`{text}` is none of its words, did you mean `{near}`?"),
                        None => format!("`{text}` is none of its words"),
                    }),
                }
            }
        })*
    };
}

settings_from_words! {
    LogFormat => "\"text\" or \"json\"" { "text" => LogFormat::Text, "json" => LogFormat::Json },
}

impl Setting for String {
    const EXPECTED: &'static str = "a text in quotes";

    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        match value.as_str().ok_or_else(String::new)? {
            "" => Err("is empty".to_owned()),
            text if text.chars().any(char::is_control) => Err("holds a control character".to_owned()),
            text => Ok(text.to_owned()),
        }
    }
}

impl Setting for PathBuf {
    const EXPECTED: &'static str = "a path in quotes";

    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        String::read(value).map(Self::from)
    }
}

impl Setting for bool {
    const EXPECTED: &'static str = "true or false";

    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        value.as_bool().ok_or_else(String::new)
    }
}

fn integer(value: &DeValue<'_>) -> Result<u64, String> {
    let digits = value.as_integer().ok_or_else(String::new)?;
    u64::from_str_radix(digits.as_str(), digits.radix())
        .map_err(|_| format!("{} is out of range", digits.as_str()))
}

/// A whole number, from one: a limit of nothing would stop all work without a word.
impl Setting for u32 {
    const EXPECTED: &'static str = "a whole number from 1";

    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        match Self::try_from(integer(value)?) {
            Ok(0) => Err("0 is out of range".to_owned()),
            Ok(number) => Ok(number),
            Err(_) => Err("is too large".to_owned()),
        }
    }
}

/// A whole number that may be zero.
impl Setting for u16 {
    const EXPECTED: &'static str = "a whole number from 0 to 65535";

    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        Self::try_from(integer(value)?).map_err(|_| "is too large".to_owned())
    }
}

/// A factor by which a delay grows.
impl Setting for f64 {
    const EXPECTED: &'static str = "a number from 1 to 100";

    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        let text = match value {
            DeValue::Integer(number) => number.as_str(),
            DeValue::Float(number) => number.as_str(),
            _ => return Err(String::new()),
        };
        match text.parse::<Self>() {
            Ok(number) if (1.0..=100.0).contains(&number) => Ok(number),
            _ => Err(format!("{text} is out of range")),
        }
    }
}

impl Setting for Duration {
    const EXPECTED: &'static str = "a duration in words such as \"90s\", \"10m\", \"7d\"";

    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        let text = value.as_str().ok_or_else(String::new)?;
        match humantime::parse_duration(text) {
            Ok(Self::ZERO) => Err("a duration of nothing".to_owned()),
            // Beyond this an instant in milliseconds could overflow.
            Ok(duration) if duration > Self::from_secs(100 * 366 * 86_400) => {
                Err("is longer than 100 years".to_owned())
            }
            Ok(duration) => Ok(duration),
            Err(_) => Err(format!("`{text}` is no duration")),
        }
    }
}

impl Setting for Size {
    const EXPECTED: &'static str = "a size in words such as \"8MiB\" or \"100GB\"";

    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        let text = value.as_str().ok_or_else(String::new)?;
        if text.trim().bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(format!("`{text}` has no unit"));
        }
        match text.trim().parse::<bytesize::ByteSize>() {
            Ok(size) if size.0 == 0 => Err("a size of nothing".to_owned()),
            Ok(size) => Ok(Self(size.0)),
            Err(_) => Err(format!("`{text}` is no size")),
        }
    }
}

impl Setting for Prefix {
    const EXPECTED: &'static str = "an absolute path such as \"/data/psdm\"";

    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        let text = String::read(value)?;
        if !text.starts_with('/') {
            return Err(format!("`{text}` does not begin with /"));
        }
        if text.split('/').any(|part| part == ".." || part == ".") || text.contains(['?', '#']) {
            return Err(format!("`{text}` has a part that a path or URL would read as something else"));
        }
        Ok(Self(text.trim_end_matches('/').to_owned()))
    }
}

impl Setting for Url {
    const EXPECTED: &'static str = "an address such as \"https://host/path\"";

    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        let text = String::read(value)?;
        let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
        match rest {
            Some(rest) if rest.split('/').next().is_some_and(|authority| authority.contains('@')) => {
                Err("holds a user or password; use token_file or token_env".to_owned())
            }
            Some(rest) if !rest.is_empty() && !rest.starts_with('/') => {
                Ok(Self(text.trim_end_matches('/').to_owned()))
            }
            _ => Err(format!("`{text}` is no http address")),
        }
    }
}

impl Setting for PropertyText {
    const EXPECTED: &'static str = "a text, a number, true or false";

    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        match value {
            DeValue::String(text) => Ok(Self(text.to_string())),
            DeValue::Integer(number) => Ok(Self(number.as_str().to_owned())),
            DeValue::Float(number) => Ok(Self(number.as_str().to_owned())),
            DeValue::Boolean(yes) => Ok(Self(yes.to_string())),
            _ => Err(String::new()),
        }
    }
}

impl<T: Setting> Setting for List<T> {
    const EXPECTED: &'static str = T::EXPECTED;

    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        let list = value.as_array().ok_or_else(|| "is no list in [ ]".to_owned())?;
        list.iter().map(|item| T::read(item.get_ref())).collect::<Result<_, _>>().map(Self)
    }
}

impl FromStr for Door {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refused = || format!("`{text}` is no door");
        let (host, port) = text.rsplit_once(':').ok_or_else(|| format!("`{text}` names no port"))?;
        let port: u16 = port.parse().map_err(|_| refused())?;
        let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
        let good = match bare {
            Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
            None => {
                !host.is_empty()
                    && host.len() <= 253
                    && host.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.' || b == b'-' || b == b'_')
            }
        };
        if good && port != 0 { Ok(Self { host: host.to_owned(), port }) } else { Err(refused()) }
    }
}

impl fmt::Display for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// Notes a fault where a setting names a site that is not among the configured ones.
pub fn known_site(section: &Section<'_, '_>, key: &str, site: &SiteName, sites: &[SiteName]) {
    if !sites.contains(site) {
        let hint = match nearest(site.as_str(), sites.iter().map(SiteName::as_str)) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("add [sites.{site}]"),
        };
        section.fault(key, format!("site `{site}` is not configured, {hint}"));
    }
}
