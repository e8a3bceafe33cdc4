//! Settings from a TOML file: read one by one, all faults kept with key and line. A service names its settings by asking a
//! [`Section`] for them; what nobody asked for is unknown, and refused with a suggestion.
//!
//! Reading opens nothing but the file itself and, to look whether they are there, the secrets that it names.

pub mod example;
mod kafka;
mod log;
mod read;
mod secret;
mod value;

use std::fmt;
use std::path::{Path, PathBuf};

use toml::de::DeTable;

pub use kafka::{Kafka, Property, topic_name};
pub use log::{Log, LogFormat};
pub use read::{Book, Fault, Section, Setting, near, nearest};
pub use secret::{Secret, SecretError, SecretSource, SecretText, secret, secret_of};
pub use toml::de::DeValue;
pub use value::{Door, List, Prefix, PropertyText, Size, Url, known_site};

/// All that is wrong with a file of settings.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("configuration {} cannot be read", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file can be read and is wrong: one line per fault.
    #[error("{}", Lines(path, faults))]
    Faults {
        /// The file.
        path: PathBuf,
        /// In the order of the file, at least one.
        faults: Vec<Fault>,
    },
}

/// One line per fault, each with the file's name.
struct Lines<'a>(&'a Path, &'a [Fault]);

impl fmt::Display for Lines<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.1.iter().enumerate() {
            let end = if index == 0 { "" } else { "\n" };
            write!(f, "{end}{}: {fault}", self.0.display())?;
        }
        Ok(())
    }
}

/// Reads a text of settings: `whole` asks for each and gives `None` only when a fault was noted.
///
/// # Errors
/// All faults, in the order of the text.
pub fn parse<T>(text: &str, whole: impl FnOnce(Section<'_, '_>) -> Option<T>) -> Result<T, Vec<Fault>> {
    let book = Book::new(text);
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        let line = error.span().map_or(1, |span| book.line(span.start));
        book.fault(line, "", format!("is no TOML: {}", error.message().replace('\n', ", ")));
    }
    let read = whole(Section::top(&book, table.get_ref()));
    let faults = book.into_faults();
    match read {
        Some(read) if faults.is_empty() => Ok(read),
        _ => Err(faults),
    }
}

/// Reads a file of settings by `parse`, and looks whether the secrets that it names can be read now.
pub fn load<T>(
    path: &Path,
    parse: impl FnOnce(&str) -> Result<T, Vec<Fault>>,
    secrets: impl FnOnce(&T) -> Vec<Secret>,
) -> Result<T, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
    let faults = match parse(&text) {
        Ok(read) => {
            let mut faults: Vec<Fault> = secrets(&read).iter().filter_map(Secret::fault).collect();
            if faults.is_empty() {
                return Ok(read);
            }
            faults.sort();
            faults
        }
        Err(faults) => faults,
    };
    Err(ConfigError::Faults { path: path.to_owned(), faults })
}
