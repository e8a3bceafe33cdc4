//! Instants as our topics state them: whole milliseconds since 1970, written as RFC 3339 in UTC.
//! [`LogTime`] is an instant as the logbook gives it, which may lack a fraction. No clock is read here.

use std::fmt;
use std::str::FromStr;

use jiff::{Timestamp, civil, tz::TimeZone};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// An instant in whole milliseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Millis(pub i64);

impl Millis {
    /// The instant that much later.
    #[must_use]
    pub fn plus(self, duration: std::time::Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)))
    }

    /// The time from `earlier` to `self`, zero if `earlier` is later.
    pub fn since(self, earlier: Self) -> std::time::Duration {
        std::time::Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Timestamp::from_millisecond(self.0) {
            Ok(timestamp) => write!(f, "{timestamp:.3}"),
            Err(_) => write!(f, "{} ms", self.0),
        }
    }
}

/// Why a text is no instant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a time such as 2020-09-02T10:03:01.741Z")]
pub struct TimeError(String);

impl FromStr for Millis {
    type Err = TimeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse::<LogTime>().map(LogTime::millis)
    }
}

/// An instant as the logbook writes it: with or without a zone (none means UTC), with 0 to 9 fraction digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogTime {
    at: Millis,
    /// Whether the text had a fraction of a second. Where it had none, any fraction matches.
    fraction: bool,
}

impl LogTime {
    /// An instant that is known to the millisecond.
    pub fn exact(at: Millis) -> Self {
        Self { at, fraction: true }
    }

    /// An instant that is known to the second only.
    pub fn whole_second(at: Millis) -> Self {
        Self { at: Millis(at.0.div_euclid(1000) * 1000), fraction: false }
    }

    /// The instant, the fraction taken as zero where there was none.
    pub fn millis(self) -> Millis {
        self.at
    }

    /// Whether the text had a fraction of a second.
    pub fn has_fraction(self) -> bool {
        self.fraction
    }

    /// Whether both can be the same instant: equal in whole milliseconds, a missing fraction matching any.
    pub fn matches(self, other: Self) -> bool {
        if self.fraction && other.fraction {
            self.at == other.at
        } else {
            self.at.0.div_euclid(1000) == other.at.0.div_euclid(1000)
        }
    }
}

impl FromStr for LogTime {
    type Err = TimeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refused = || TimeError(text.chars().take(64).collect());
        let text = text.trim();
        let timestamp = match text.parse::<Timestamp>() {
            Ok(zoned) => zoned,
            Err(_) => text
                .parse::<civil::DateTime>()
                .and_then(|civil| civil.to_zoned(TimeZone::UTC))
                .map_err(|_| refused())?
                .timestamp(),
        };
        Ok(Self { at: Millis(timestamp.as_millisecond()), fraction: text.contains('.') })
    }
}

impl fmt::Display for LogTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Timestamp::from_millisecond(self.at.0) {
            Ok(timestamp) if self.fraction => write!(f, "{timestamp:.3}"),
            Ok(timestamp) => write!(f, "{timestamp:.0}"),
            Err(_) => write!(f, "{} ms", self.at.0),
        }
    }
}

/// Implements serde and JSON Schema for a type that is a string outside.
macro_rules! as_string {
    ($type:ty, $name:expr, $schema:expr) => {
        impl ::serde::Serialize for $type {
            fn serialize<S: ::serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> ::serde::Deserialize<'de> for $type {
            fn deserialize<D: ::serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <String as ::serde::Deserialize>::deserialize(deserializer)?;
                text.parse().map_err(::serde::de::Error::custom)
            }
        }

        impl ::schemars::JsonSchema for $type {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> ::std::borrow::Cow<'static, str> {
                $name.into()
            }

            fn json_schema(_: &mut ::schemars::SchemaGenerator) -> ::schemars::Schema {
                $schema
            }
        }
    };
}
pub(crate) use as_string;

as_string!(LogTime, "LogTime", schemars::json_schema!({ "type": "string", "format": "date-time" }));

// Millis is a string in JSON, where people read it, and an integer in compact binary forms.
impl Serialize for Millis {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            serializer.serialize_i64(self.0)
        }
    }
}

impl<'de> Deserialize<'de> for Millis {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
        } else {
            i64::deserialize(deserializer).map(Self)
        }
    }
}

impl schemars::JsonSchema for Millis {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Millis".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "format": "date-time" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_without_a_zone_is_utc_and_a_missing_fraction_matches_any() {
        let created: LogTime = "2020-09-02T10:00:00.000001".parse().unwrap();
        let updated: LogTime = "2020-09-02T10:00:00+00:00".parse().unwrap();
        assert!(created.matches(updated));
        assert_eq!(created.millis(), updated.millis());
        let later: LogTime = "2020-09-02T10:00:00.500Z".parse().unwrap();
        assert!(later.matches(updated) && !later.matches(created));
        assert_eq!(later.to_string(), "2020-09-02T10:00:00.500Z");
        assert_eq!(updated.to_string(), "2020-09-02T10:00:00Z");
        assert!("yesterday".parse::<LogTime>().is_err());
    }
}
