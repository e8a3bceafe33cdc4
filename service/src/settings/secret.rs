//! Secrets: named in the configuration by file or environment variable, read when they are used, never printed.

use std::fmt;
use std::path::PathBuf;

use super::read::{Fault, Section};

/// Where a secret is found, and where the configuration says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Secret {
    /// File or environment variable.
    pub source: SecretSource,
    /// The setting that names it, such as `http.token_file`.
    pub(super) key: String,
    /// The line of that setting.
    pub(super) line: usize,
}

/// Where a secret is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretSource {
    /// The first line of a file.
    File(PathBuf),
    /// An environment variable.
    Env(String),
}

/// A secret's text. Its `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretText(String);

impl SecretText {
    /// The text itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// Why a secret cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The file cannot be read.
    #[error("the secret file {} cannot be read", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The environment variable is not set.
    #[error("the environment variable {0} is not set")]
    Env(String),
    /// There is nothing in it, or more than one line.
    #[error("the secret in {0} is not one line of text")]
    NotOneLine(String),
}

impl Secret {
    /// A secret that the setting `key` on a line names.
    pub fn new(source: SecretSource, key: impl Into<String>, line: usize) -> Self {
        Self { source, key: key.into(), line }
    }

    /// Reads the secret anew, so that a replaced file is seen.
    pub fn read(&self) -> Result<SecretText, SecretError> {
        let (text, place) = match &self.source {
            SecretSource::File(path) => {
                let read = std::fs::read_to_string(path);
                (
                    read.map_err(|source| SecretError::File { path: path.clone(), source })?,
                    path.display().to_string(),
                )
            }
            SecretSource::Env(name) => {
                (std::env::var(name).map_err(|_| SecretError::Env(name.clone()))?, name.clone())
            }
        };
        match text.trim() {
            line if line.is_empty() || line.contains(['\n', '\r']) => Err(SecretError::NotOneLine(place)),
            line => Ok(SecretText(line.to_owned())),
        }
    }

    /// What is wrong with it now, if anything.
    pub(super) fn fault(&self) -> Option<Fault> {
        let what = match self.read() {
            Ok(_) => return None,
            Err(SecretError::File { path, source }) => format!("{} cannot be read: {source}", path.display()),
            Err(other) => other.to_string(),
        };
        Some(Fault { line: self.line, key: self.key.clone(), what })
    }
}

/// A secret named by `<name>_file` or `<name>_env`, `end` being one of these two.
pub fn secret_of(section: &Section<'_, '_>, name: &str, end: &str) -> Option<Secret> {
    let key = format!("{name}{end}");
    let source = match end {
        "_file" => SecretSource::File(section.optional(&key)?),
        _ => SecretSource::Env(section.optional(&key)?),
    };
    Some(Secret::new(source, section.key(&key), section.line_of(&key)))
}

/// A secret that may be left out; naming it in the file itself, or twice, is a fault.
pub fn secret(section: &Section<'_, '_>, name: &str) -> Option<Secret> {
    let file = secret_of(section, name, "_file");
    let env = secret_of(section, name, "_env");
    if file.is_some() && env.is_some() {
        section.fault(&format!("{name}_env"), format!("{name}_file is there too; keep one"));
    }
    file.or(env)
}
