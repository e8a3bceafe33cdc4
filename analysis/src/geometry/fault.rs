//! What is wrong with a geometry file: every fault with its line, its key and what to do, all of them at once.

use std::fmt;

/// One thing wrong with a geometry file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fault {
    /// The line in the file, from 1; 0 where something is missing altogether.
    pub line: usize,
    /// The key or object, such as `q0a1/fs` or `SENS2X1:V1 3`.
    pub key: String,
    /// What is wrong with it and what to do.
    pub what: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line > 0 {
            write!(f, "line {}: ", self.line)?;
        }
        write!(f, "{}: {}", self.key, self.what)
    }
}

/// A geometry file that cannot be used, with all that is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct GeometryError {
    /// In the order of the file; never empty.
    pub faults: Vec<Fault>,
}

impl fmt::Display for GeometryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, fault) in self.faults.iter().take(MOST_TOLD).enumerate() {
            write!(f, "{}{fault}", if at == 0 { "" } else { "; " })?;
        }
        match self.faults.len().saturating_sub(MOST_TOLD) {
            0 => Ok(()),
            more => write!(f, "; and {more} more"),
        }
    }
}

/// A file of another kind has a fault in every line; nobody reads a thousand of them.
const MOST_TOLD: usize = 8;

/// Collects faults while a file is read.
#[derive(Debug, Default)]
pub(super) struct Faults(Vec<Fault>);

impl Faults {
    pub(super) fn add(&mut self, line: usize, key: impl Into<String>, what: impl Into<String>) {
        self.0.push(Fault { line, key: key.into(), what: what.into() });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The outcome: what was read if there was no fault.
    pub(super) fn or<T>(mut self, read: T) -> Result<T, GeometryError> {
        if self.0.is_empty() {
            Ok(read)
        } else {
            self.0.sort();
            Err(GeometryError { faults: self.0 })
        }
    }
}

/// ``, did you mean `x`?`` for the known name that is near, if one is: at most a third of the letters differ.
pub(super) fn suggestion<'n>(wrong: &str, known: impl IntoIterator<Item = &'n str>) -> String {
    let lower = wrong.to_lowercase();
    known
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(&lower, &name.to_lowercase()), name))
        .filter(|(distance, name)| distance * 3 <= wrong.chars().count().max(name.chars().count()))
        .min()
        .map_or_else(String::new, |(_, name)| format!(", did you mean `{name}`?"))
}
