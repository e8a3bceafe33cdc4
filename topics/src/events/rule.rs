//! What starts work: rules as they stand on their topic, with the tasks that they start.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::{Experiment, IdError, RuleName, RunKey, RunNumber, SiteName, TaskName, refused};
use crate::image::TrialNumber;
use crate::time::{Millis, as_string};

/// What makes a rule fire for a run: the seven triggers of LCLS's workflow definitions, by their names there. "Transferred" means
/// available at the rule's site.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Trigger {
    /// Somebody asks for it; each request is a job of its own.
    Manual,
    /// The run begins.
    StartOfRun,
    /// The run ends.
    EndOfRun,
    /// The first of its files is available at the site.
    FirstFileTransferred,
    /// All of its files are available at the site, or are named as left out.
    AllFilesTransferred,
    /// All of its files but those of recorder streams are.
    AllNonrecFilesTransferred,
    /// A parameter of the run's table has a value.
    RunParamIsValue,
}

impl Trigger {
    /// All of them, in the order of LCLS's list.
    pub const ALL: [Self; 7] = [
        Self::Manual,
        Self::StartOfRun,
        Self::EndOfRun,
        Self::FirstFileTransferred,
        Self::AllFilesTransferred,
        Self::AllNonrecFilesTransferred,
        Self::RunParamIsValue,
    ];

    /// LCLS's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Manual => "MANUAL",
            Self::StartOfRun => "START_OF_RUN",
            Self::EndOfRun => "END_OF_RUN",
            Self::FirstFileTransferred => "FIRST_FILE_TRANSFERRED",
            Self::AllFilesTransferred => "ALL_FILES_TRANSFERRED",
            Self::AllNonrecFilesTransferred => "ALL_NONREC_FILES_TRANSFERRED",
            Self::RunParamIsValue => "RUN_PARAM_IS_VALUE",
        }
    }
}

impl fmt::Display for Trigger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Trigger {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let known = Self::ALL.into_iter().find(|trigger| trigger.as_str() == text);
        known.ok_or_else(|| refused("trigger", text, "one of LCLS's seven, such as ALL_FILES_TRANSFERRED"))
    }
}

/// What of a job a word in braces stands for in an argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Field {
    /// The experiment.
    Experiment,
    /// The run's number.
    Run,
    /// The trial's number.
    Trial,
    /// The site.
    Site,
    /// The job's name.
    Job,
}

impl Field {
    const ALL: [Self; 5] = [Self::Experiment, Self::Run, Self::Trial, Self::Site, Self::Job];

    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Experiment => "experiment",
            Self::Run => "run",
            Self::Trial => "trial",
            Self::Site => "site",
            Self::Job => "job",
        }
    }
}

/// A piece of an argument.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Piece {
    /// As it stands.
    Text(String),
    /// What the job says.
    Field(Field),
}

/// One argument of a command, written with words of a closed list in braces: `--run={run}`. A brace that is meant is doubled.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Argument(pub Vec<Piece>);

impl Argument {
    /// The fields that it asks for.
    pub fn fields(&self) -> impl Iterator<Item = Field> {
        self.0.iter().filter_map(|piece| match piece {
            Piece::Field(field) => Some(*field),
            Piece::Text(_) => None,
        })
    }
}

impl fmt::Display for Argument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => f.write_str(&text.replace('{', "{{").replace('}', "}}"))?,
                Piece::Field(field) => write!(f, "{{{}}}", field.as_str())?,
            }
        }
        Ok(())
    }
}

impl FromStr for Argument {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const RULE: &str = "text without control characters; {experiment}, {run}, {trial}, {site} and {job} stand for the \
            job's own, a brace itself is doubled";
        let wrong = || refused("argument", text, RULE);
        if text.chars().any(char::is_control) {
            return Err(wrong());
        }
        let (mut pieces, mut plain, mut rest) = (Vec::new(), String::new(), text);
        while let Some(at) = rest.find(['{', '}']) {
            plain.push_str(&rest[..at]);
            let brace = &rest[at..=at];
            rest = &rest[at + 1..];
            if let Some(after) = rest.strip_prefix(brace) {
                plain.push_str(brace);
                rest = after;
                continue;
            }
            let (word, after) = rest.split_once('}').filter(|_| brace == "{").ok_or_else(wrong)?;
            let field = Field::ALL.into_iter().find(|field| field.as_str() == word).ok_or_else(wrong)?;
            if !plain.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut plain)));
            }
            pieces.push(Piece::Field(field));
            rest = after;
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            pieces.push(Piece::Text(plain));
        }
        Ok(Self(pieces))
    }
}
as_string!(Argument, "Argument", schemars::json_schema!({ "type": "string", "examples": ["--run={run}"] }));

/// What a task runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Work {
    /// Analysis workers, until the run's results are complete for the trial.
    Analysis {
        /// How many.
        workers: u32,
    },
    /// A program; its exit status tells how it went.
    Command {
        /// Its absolute path.
        program: String,
        /// Its arguments.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        arguments: Vec<Argument>,
    },
}

/// One job that a rule starts for a run, after others of the same rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Task {
    /// Its name within the rule.
    pub task: TaskName,
    /// What it runs.
    pub work: Work,
    /// The rule's tasks that are done before it starts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<TaskName>,
    /// How many nodes it has.
    pub nodes: u32,
    /// How long it may run, seconds.
    pub seconds: u64,
    /// How often it is tried in all.
    pub attempts: u32,
}

/// On `rules`, key rule; compacted: what starts work. What stands here runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Rule {
    /// Its name.
    pub rule: RuleName,
    /// Counts what was said of the rule, from 1: for the record.
    pub version: u32,
    /// When it fires.
    pub trigger: Trigger,
    /// For this experiment only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub experiment: Option<Experiment>,
    /// From this run on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_run: Option<RunNumber>,
    /// Up to this run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_run: Option<RunNumber>,
    /// Where it fires and its tasks run.
    pub site: SiteName,
    /// The trial under which its tasks work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trial: Option<TrialNumber>,
    /// Its tasks.
    pub tasks: Vec<Task>,
    /// Who put it there.
    pub who: String,
    /// When.
    pub at: Millis,
}

impl Rule {
    /// Whether it is about a run, whatever has happened to it.
    pub fn is_about(&self, run: &RunKey) -> bool {
        self.experiment.as_ref().is_none_or(|experiment| *experiment == run.experiment)
            && self.first_run.is_none_or(|first| first <= run.run)
            && self.last_run.is_none_or(|last| run.run <= last)
    }

    /// Whether both say the same, whoever said it, when and for the how manieth time.
    pub fn says_the_same(&self, other: &Self) -> bool {
        let plain = |rule: &Self| Self { version: 0, who: String::new(), at: Millis(0), ..rule.clone() };
        plain(self) == plain(other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_have_words_of_a_closed_list() {
        let argument: Argument = "--at={experiment}/{run}".parse().unwrap();
        assert_eq!(argument.fields().collect::<Vec<_>>(), [Field::Experiment, Field::Run]);
        for text in ["", "plain", "{run}", "a{{b}}c", "--at={experiment}/{run}", "$(rm -rf /) `x` \u{e9}"] {
            assert_eq!(text.parse::<Argument>().unwrap().to_string(), text);
        }
        for wrong in ["{", "}", "{runs}", "{run", "a}b", "a\nb", "{{run}", "{}"] {
            assert!(wrong.parse::<Argument>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn triggers_have_the_names_of_lcls() {
        for trigger in Trigger::ALL {
            assert_eq!(trigger.as_str().parse::<Trigger>().unwrap(), trigger);
            assert_eq!(serde_json::to_value(trigger).unwrap(), trigger.as_str());
        }
        assert!("ALL_FILES".parse::<Trigger>().is_err());
    }
}
