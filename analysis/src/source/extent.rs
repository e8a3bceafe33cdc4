//! Where bytes lie: a file by path or URL, and a range of it. Pure; nothing is looked up.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

/// A file: a path of this machine or a `root://` URL. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Location(Arc<Inner>);

#[derive(PartialEq, Eq, Hash)]
enum Inner {
    Local(PathBuf),
    Remote(xrootd::Url),
}

impl Location {
    /// A file of this machine.
    pub fn local(path: impl Into<PathBuf>) -> Self {
        Self(Arc::new(Inner::Local(path.into())))
    }

    /// Its path, when it is a file of this machine.
    pub fn local_path(&self) -> Option<&Path> {
        match &*self.0 {
            Inner::Local(path) => Some(path),
            Inner::Remote(_) => None,
        }
    }

    pub(super) fn url(&self) -> Option<&xrootd::Url> {
        match &*self.0 {
            Inner::Local(_) => None,
            Inner::Remote(url) => Some(url),
        }
    }

    /// `host:port` of the door, when it lies behind one: what a breaker counts by.
    pub fn door(&self) -> Option<String> {
        self.url().and_then(xrootd::Url::endpoint).map(ToString::to_string)
    }

    /// Its name without folders.
    pub fn name(&self) -> &str {
        let path = match &*self.0 {
            Inner::Local(path) => path.to_str().unwrap_or_default(),
            Inner::Remote(url) => url.path(),
        };
        path.rsplit_once('/').map_or(path, |(_, name)| name)
    }

    /// Another file in the same folder. `name` is a plain file name: what comes from outside is checked before.
    #[must_use]
    pub fn beside(&self, name: &str) -> Self {
        match &*self.0 {
            Inner::Local(path) => Self::local(path.with_file_name(name)),
            Inner::Remote(url) => {
                let folder = url.path().rsplit_once('/').map_or("", |(folder, _)| folder);
                let url = url.clone().with_path(&format!("{folder}/{name}"));
                Self(Arc::new(Inner::Remote(url)))
            }
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.0 {
            Inner::Local(path) => write!(f, "{}", path.display()),
            // Without its parameters, which may hold keys.
            Inner::Remote(url) => match url.endpoint() {
                Some(endpoint) => write!(f, "root://{endpoint}/{}", url.path()),
                None => f.write_str(url.path()),
            },
        }
    }
}

impl fmt::Debug for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text that names no file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no path and no root:// URL: {why}")]
pub struct LocationError {
    text: String,
    why: String,
}

impl FromStr for Location {
    type Err = LocationError;

    /// `root://host:port//path`, `file:///path`, or a path.
    fn from_str(text: &str) -> Result<Self, LocationError> {
        let refuse = |why: String| LocationError { text: text.to_owned(), why };
        if text.is_empty() {
            return Err(refuse("it is empty".to_owned()));
        }
        if !text.contains("://") {
            return Ok(Self::local(text));
        }
        let url: xrootd::Url =
            text.parse().map_err(|error: xrootd::Error| refuse(error.message().to_owned()))?;
        match url.endpoint() {
            Some(_) => Ok(Self(Arc::new(Inner::Remote(url)))),
            None => Ok(Self::local(url.path())),
        }
    }
}

/// A range of a file.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Extent {
    /// Which file.
    pub file: Location,
    /// Where it begins.
    pub offset: u64,
    /// Bytes.
    pub length: u64,
}
