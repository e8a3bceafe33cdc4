//! Why an attempt failed, by what follows from it: the seven classes and the table that puts `XRootD`'s codes into them.
//! Pure: it reads codes and texts, never calls anything and never decides when to try again.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

mod table;

pub use table::{Answer, wrapped_code};

/// What follows from a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum FaultClass {
    /// Goes away by itself: try again later, elsewhere if there is an elsewhere.
    Transient,
    /// Concerns everything at that endpoint (full, read-only): its breaker opens, the file's tries are not used up.
    Endpoint,
    /// The endpoint does not accept who we are. Somebody has to act; until then nothing will work there.
    Credential,
    /// The source is not (yet) what was announced: missing, of another size, still changing.
    SourceNotReady,
    /// What arrived is not what was sent.
    Integrity,
    /// Will fail in the same way for ever.
    Permanent,
    /// Somebody asked for it.
    Cancelled,
}

impl FaultClass {
    /// The word that events, metrics and pages use.
    pub fn name(self) -> &'static str {
        match self {
            Self::Transient => "transient",
            Self::Endpoint => "endpoint",
            Self::Credential => "credential",
            Self::SourceNotReady => "source-not-ready",
            Self::Integrity => "integrity",
            Self::Permanent => "permanent",
            Self::Cancelled => "cancelled",
        }
    }
}

impl fmt::Display for FaultClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Whose fault it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Side {
    /// The site that is copied from.
    Source,
    /// The site that is copied to.
    Destination,
    /// Neither, or it cannot be told.
    Neither,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Source => "source",
            Self::Destination => "destination",
            Self::Neither => "neither side",
        })
    }
}

/// Why an attempt failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{text}")]
pub struct Fault {
    /// What follows from it.
    pub class: FaultClass,
    /// A short stable word: `no-space`, `stalled`, `cannot-verify`, `source-missing`.
    pub code: String,
    /// What happened to what, in words: lower-case, without full stop.
    pub text: String,
    /// Whose fault it was.
    pub side: Side,
    /// The server that is to be blamed, as `host:port`, where one is.
    pub endpoint: Option<String>,
    /// `XRootD`'s error number, where a server gave one.
    pub kxr: Option<u32>,
}

impl Fault {
    /// A fault of that class that blames nobody yet.
    pub fn new(class: FaultClass, code: &str, text: impl Into<String>) -> Self {
        Self {
            class,
            code: code.to_owned(),
            text: text.into(),
            side: Side::Neither,
            endpoint: None,
            kxr: None,
        }
    }

    /// The same fault, blamed on that side and on that server of it.
    #[must_use]
    pub fn at(mut self, side: Side, endpoint: Option<&str>) -> Self {
        self.side = side;
        self.endpoint = endpoint.map(str::to_owned);
        self
    }

    /// The same fault as seen from that side, unless it is blamed already: what is not there is a source that is not
    /// ready only at the source.
    #[must_use]
    pub fn on(mut self, side: Side) -> Self {
        if self.side == Side::Neither {
            self.side = side;
        }
        if self.class == FaultClass::SourceNotReady && self.side == Side::Destination {
            self.class = FaultClass::Transient;
            "not-found".clone_into(&mut self.code);
        }
        self
    }

    /// No answer within a limit.
    pub fn no_answer(what: &str, endpoint: Option<&str>, limit: Duration) -> Self {
        let whom = endpoint.unwrap_or("the site");
        let text = format!("{whom} did not answer {what} within {}", humantime::format_duration(limit));
        Self { endpoint: endpoint.map(str::to_owned), ..Self::new(FaultClass::Transient, "no-answer", text) }
    }

    /// Somebody asked to stop.
    pub fn cancelled(text: impl Into<String>) -> Self {
        Self::new(FaultClass::Cancelled, "cancelled", text)
    }

    /// Whether every further try would end in the same way.
    pub fn is_permanent(&self) -> bool {
        self.class == FaultClass::Permanent
    }

    /// Whether it was asked for.
    pub fn is_cancelled(&self) -> bool {
        self.class == FaultClass::Cancelled
    }

    /// Whether one of these is enough to open its endpoint's breaker. A single file that may not be read is not.
    pub fn opens_breaker(&self) -> bool {
        match self.class {
            FaultClass::Endpoint => true,
            FaultClass::Credential => self.code != "permission-denied",
            _ => false,
        }
    }

    /// Whether it counts among the failures in a row that open its endpoint's breaker.
    pub fn counts_against_endpoint(&self) -> bool {
        self.opens_breaker() || self.class == FaultClass::Transient
    }

    /// Whether it uses up one of the file's tries. What concerns a whole endpoint does not.
    pub fn uses_a_try(&self) -> bool {
        !matches!(self.class, FaultClass::Endpoint | FaultClass::Cancelled) && !self.opens_breaker()
    }

    /// Whether the next try may follow at once, on another pair of servers.
    pub fn retry_at_once(&self) -> bool {
        self.class == FaultClass::Integrity
    }
}

#[cfg(test)]
mod tests;
