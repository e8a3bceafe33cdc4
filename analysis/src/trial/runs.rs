//! A range of runs as people write it: `12`, `12-20`, `12-end`, `all`.

use std::fmt;
use std::str::FromStr;

use lightrail_topics::RunNumber;
use serde::{Deserialize, Serialize};

/// Runs from `first` to `last`, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Runs {
    first: u32,
    last: Option<u32>,
}

impl Runs {
    /// Every run.
    pub const ALL: Self = Self { first: 0, last: None };

    /// Whether a run is in it.
    pub fn contains(self, run: RunNumber) -> bool {
        run.0 >= self.first && self.last.is_none_or(|last| run.0 <= last)
    }
}

impl Default for Runs {
    fn default() -> Self {
        Self::ALL
    }
}

impl FromStr for Runs {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || format!("`{text}` is no range of runs: write `12`, `12-20`, `12-end` or `all`");
        let number = |text: &str| text.trim().parse::<u32>().map_err(|_| wrong());
        if text.trim() == "all" {
            return Ok(Self::ALL);
        }
        let (first, last) = match text.split_once('-') {
            None => (number(text)?, Some(number(text)?)),
            Some((first, last)) if last.trim() == "end" => (number(first)?, None),
            Some((first, last)) => (number(first)?, Some(number(last)?)),
        };
        if last.is_some_and(|last| last < first) {
            return Err(format!("`{text}` ends before it begins: write the smaller run first"));
        }
        Ok(Self { first, last })
    }
}

impl TryFrom<String> for Runs {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Runs> for String {
    fn from(runs: Runs) -> Self {
        runs.to_string()
    }
}

impl fmt::Display for Runs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.first, self.last) {
            (0, None) => f.write_str("all"),
            (first, None) => write!(f, "{first}-end"),
            (first, Some(last)) if first == last => write!(f, "{first}"),
            (first, Some(last)) => write!(f, "{first}-{last}"),
        }
    }
}
