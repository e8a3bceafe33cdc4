//! Layouts of data files. Parsers take bytes: they never panic, never allocate by an unchecked length, never loop for ever,
//! and never open a file themselves.

pub mod array;
pub(crate) mod bytes;
pub mod cbf;
#[cfg(test)]
pub(crate) mod damaged;
#[doc(hidden)]
pub mod fuzz;
pub mod h5;
pub mod npy;
pub mod xtc;
pub mod xtc2;

/// Why bytes did not give what was asked of them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// The bytes end before the structure does: in a growing file "not yet", in a closed one a cut.
    #[error("{what} at byte {at} needs {missing} bytes more than there are")]
    Truncated {
        /// The structure.
        what: &'static str,
        /// Where it begins.
        at: u64,
        /// How many bytes more it needs at least.
        missing: u64,
    },
    /// The bytes cannot be what they should be.
    #[error("damaged {what} at byte {at}: {why}")]
    Corrupt {
        /// The structure.
        what: &'static str,
        /// Where it begins.
        at: u64,
        /// What is wrong with it.
        why: String,
    },
    /// Well-formed, but what was asked for is not there.
    #[error("there is no {what}")]
    Absent {
        /// What was asked for.
        what: String,
    },
    /// Well-formed, and what was asked for is made of other files.
    #[error("the images of {dataset} lie in other files{}", named(files))]
    Elsewhere {
        /// The dataset or group.
        dataset: String,
        /// Those that are known, by paths relative to the file's folder.
        files: Vec<String>,
    },
    /// Well-formed, but of a kind that is not read here.
    #[error("{what} cannot be read")]
    Unsupported {
        /// What it is.
        what: String,
    },
}

/// What to do about images in other files.
fn named(files: &[String]) -> String {
    match files {
        [] => {
            let why = "it is a virtual dataset, not simply of one file's images after the other's";
            format!(" ({why}): name those files instead of this one")
        }
        [only] => format!(": name {only} instead of this one"),
        [first, .., last] => format!(": name {first} to {last} instead of this one"),
    }
}

impl FormatError {
    /// A [`FormatError::Corrupt`].
    pub(crate) fn corrupt(what: &'static str, at: u64, why: impl Into<String>) -> Self {
        Self::Corrupt { what, at, why: why.into() }
    }

    /// A [`FormatError::Absent`].
    pub(crate) fn absent(what: impl Into<String>) -> Self {
        Self::Absent { what: what.into() }
    }

    /// Whether more bytes of a growing file may mend it.
    pub fn is_truncated(&self) -> bool {
        matches!(self, Self::Truncated { .. })
    }
}
