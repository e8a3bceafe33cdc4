//! `[log]`: what is logged on standard error, and how.

use super::read::Section;

/// The log on standard error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// `filter` in the words of `tracing`: `info`, `lightrail_mover=debug`.
    pub filter: String,
    /// `format`.
    pub format: LogFormat,
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

impl Log {
    /// Reads `[log]`.
    pub fn read(section: Section<'_, '_>) -> Self {
        let log = Self {
            filter: section.or("filter", "info".to_owned()),
            format: section.or("format", LogFormat::Text),
        };
        section.finish();
        log
    }
}
