//! The language of a rule's `when`: what must be so of a run, as a text that parses into typed tests or is refused with the
//! place of the fault. Bounded in length and depth. Never evaluates anything: who decides does.
//!
//! `run.number >= 12 and param('beam energy') > 9000 and 'sample-a' in tags and files.size > 10 GB`

mod parse;
#[cfg(test)]
mod tests;

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use crate::ids::TagName;
use crate::time::as_string;

/// The longest text, bytes.
pub const MAX_TEXT: usize = 2000;
/// The deepest nesting of brackets and `not`.
pub const MAX_DEPTH: usize = 32;

/// What must be so of a run.
#[derive(Clone, Debug)]
pub struct When {
    text: String,
    root: Clause,
}

/// A test within a text.
#[derive(Clone, Debug, PartialEq)]
pub struct Clause {
    /// Where it stands in the text, bytes.
    pub at: Range<usize>,
    /// What it tests.
    pub test: Test,
}

/// What is tested.
#[derive(Clone, Debug, PartialEq)]
pub enum Test {
    /// All of them, two or more.
    All(Vec<Clause>),
    /// One of them at least, two or more.
    Any(Vec<Clause>),
    /// The opposite.
    Not(Box<Clause>),
    /// Two values against each other.
    Compare(Operand, Comparison, Operand),
    /// A value is one of these.
    OneOf(Operand, Vec<Literal>),
    /// A value's text has this pattern: `*` stands for any characters, `?` for one.
    Like(Operand, String),
    /// The run has a tag.
    Tagged(TagName),
    /// There is a value.
    Known(Operand),
    /// A value that is true or false itself.
    Holds(Operand),
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq)]
pub enum Operand {
    /// It stands there.
    Literal(Literal),
    /// It is known of the run.
    Field(Fact),
    /// A parameter of the run's table, by name; whatever the logbook says.
    Param(String),
}

/// A value that stands in the text, or a parameter's.
#[derive(Clone, Debug, PartialEq)]
pub enum Literal {
    /// A finite number.
    Number(f64),
    /// A text.
    Text(String),
    /// True or false.
    Truth(bool),
}

impl fmt::Display for Literal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Text(text) if text.contains('\'') => write!(f, "\"{text}\""),
            Self::Text(text) => write!(f, "'{text}'"),
            Self::Truth(truth) => truth.fmt(f),
        }
    }
}

/// How two values are held against each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// `==`
    Equal,
    /// `!=`
    Unequal,
    /// `<`
    Less,
    /// `<=`
    AtMost,
    /// `>`
    More,
    /// `>=`
    AtLeast,
}

impl Comparison {
    /// Whether it asks which is the greater one.
    pub fn orders(self) -> bool {
        !matches!(self, Self::Equal | Self::Unequal)
    }
}

/// What kind of value a word gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// A number.
    Number,
    /// A text.
    Text,
    /// True or false.
    Truth,
}

/// What can be asked of a run, by its word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fact {
    /// `run.number`
    RunNumber,
    /// `run.experiment`
    RunExperiment,
    /// `run.type`: such as `DATA`; the logbook says it.
    RunType,
    /// `run.sample`; the logbook says it.
    RunSample,
    /// `run.ended`: whether it takes no more data.
    RunEnded,
    /// `run.duration`: seconds from its begin to its end; the logbook says it.
    RunDuration,
    /// `files.count`: those that are at the rule's site.
    FilesCount,
    /// `files.size`: their bytes.
    FilesSize,
    /// `files.largest`: the bytes of the largest.
    FilesLargest,
    /// `images.count`: those published under the rule's trial.
    ImagesCount,
    /// `results.count`: those under the rule's trial.
    ResultsCount,
}

impl Fact {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::RunNumber,
        Self::RunExperiment,
        Self::RunType,
        Self::RunSample,
        Self::RunEnded,
        Self::RunDuration,
        Self::FilesCount,
        Self::FilesSize,
        Self::FilesLargest,
        Self::ImagesCount,
        Self::ResultsCount,
    ];

    /// Its word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RunNumber => "run.number",
            Self::RunExperiment => "run.experiment",
            Self::RunType => "run.type",
            Self::RunSample => "run.sample",
            Self::RunEnded => "run.ended",
            Self::RunDuration => "run.duration",
            Self::FilesCount => "files.count",
            Self::FilesSize => "files.size",
            Self::FilesLargest => "files.largest",
            Self::ImagesCount => "images.count",
            Self::ResultsCount => "results.count",
        }
    }

    /// What kind of value it has.
    pub fn kind(self) -> Type {
        match self {
            Self::RunExperiment | Self::RunType | Self::RunSample => Type::Text,
            Self::RunEnded => Type::Truth,
            _ => Type::Number,
        }
    }
}

/// Why a text is no such test.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("column {column}: {what}")]
pub struct WhenError {
    /// The character at which it goes wrong, from 1; one behind the last for what is missing at the end.
    pub column: usize,
    /// What is wrong, and what to do.
    pub what: String,
}

impl When {
    /// The text, as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// All of it.
    pub fn root(&self) -> &Clause {
        &self.root
    }

    /// The text of a part.
    pub fn text_of(&self, clause: &Clause) -> &str {
        self.text.get(clause.at.clone()).unwrap_or_default()
    }

    /// What must hold all at once, one by one.
    pub fn parts(&self) -> &[Clause] {
        match &self.root.test {
            Test::All(parts) => parts,
            _ => std::slice::from_ref(&self.root),
        }
    }
}

// The text says all: what it parses into follows.
impl PartialEq for When {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for When {}

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for When {
    type Err = WhenError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self { text: text.to_owned(), root: parse::parse(text)? })
    }
}
as_string!(
    When,
    "When",
    schemars::json_schema!({ "type": "string", "examples": ["run.number >= 12 and 'sample-a' in tags"] })
);
