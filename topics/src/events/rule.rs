//! What starts work: rules as they stand on their topic, with the tasks that they start.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::{
    DatasetName, Experiment, GroupName, IdError, RuleName, RunKey, RunNumber, SiteName, TagName, TaskName,
    refused,
};
use crate::image::TrialNumber;
use crate::time::{Millis, as_string};
use crate::when::When;

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
        /// How many on each node.
        workers: u32,
        /// Fewer, where fewer images are left without a result: one for so many. Known once all of the run's images are published.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        images_per_worker: Option<u32>,
    },
    /// A program; its exit status tells how it went.
    Command {
        /// Its absolute path.
        program: String,
        /// Its arguments.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        arguments: Vec<Argument>,
        /// Files and folders that must be there before it begins: absolute paths, as its node sees them.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        inputs: Vec<Argument>,
        /// Files and folders that it leaves behind; where one is lacking after it, it has failed.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        outputs: Vec<Argument>,
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
    /// For runs of this class only; for others it counts as done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub only: Option<Class>,
    /// Workers that are submitted while their run is still being copied, so that they run when it lands; those that run before
    /// wait so many seconds for its images.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ahead: Option<u64>,
}

/// How urgent a run's work is.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// The run is worked as it is taken.
    #[default]
    Live,
    /// The run had ended before it was wanted so: its work gives way to that of live runs.
    Reprocess,
}

impl Class {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
    pub(super) fn is_live(&self) -> bool {
        *self == Self::Live
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Live => "live",
            Self::Reprocess => "reprocess",
        })
    }
}

impl FromStr for Class {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "live" => Ok(Self::Live),
            "reprocess" => Ok(Self::Reprocess),
            _ => Err(refused("class", text, "live or reprocess")),
        }
    }
}

/// A parameter of a run's table, and its value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RunParam {
    /// Its name, as people know it.
    pub name: String,
    /// Its value as text; a number is the same however it is written.
    pub value: String,
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
    /// What `RUN_PARAM_IS_VALUE` waits for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_param: Option<RunParam>,
    /// What must be so besides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<When>,
    /// For runs of this dataset of the rule's experiment only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dataset: Option<DatasetName>,
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
    /// Further sites: a run's tasks go to the one where they are predicted to be done first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub or_at: Vec<SiteName>,
    /// The trial under which its tasks work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trial: Option<TrialNumber>,
    /// Its tasks.
    pub tasks: Vec<Task>,
    /// Since when it wants its runs under this trial: those that had ended before are reprocessed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Millis>,
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

    /// All its sites, the first one first.
    pub fn sites(&self) -> impl Iterator<Item = &SiteName> {
        std::iter::once(&self.site).chain(&self.or_at)
    }

    /// Whether both say the same, whoever said it, when and for the how manieth time.
    pub fn says_the_same(&self, other: &Self) -> bool {
        let plain =
            |rule: &Self| Self { version: 0, since: None, who: String::new(), at: Millis(0), ..rule.clone() };
        plain(self) == plain(other)
    }

    /// Since when its runs are wanted, where it takes the place of `known`: a new trial wants all of them anew, whatever else
    /// is corrected does not.
    pub fn since_after(&self, known: Option<&Self>) -> Millis {
        let kept =
            known.filter(|known| known.trial == self.trial).map(|known| known.since.unwrap_or(known.at));
        kept.unwrap_or(self.at)
    }
}

/// On `rules`, key `tags@<experiment>/<run>`; compacted: all tags that people have put on a run. A tombstone takes them off.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RunTags {
    /// The run.
    pub run: RunKey,
    /// Its tags, each once, in the order of the alphabet.
    pub tags: Vec<TagName>,
    /// Who put them on.
    pub who: String,
    /// When.
    pub at: Millis,
}

/// Runs from one to another, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RunRange {
    /// The first.
    pub first: RunNumber,
    /// The last; none for all that come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<RunNumber>,
}

impl RunRange {
    /// Whether a run lies in it.
    pub fn holds(&self, run: RunNumber) -> bool {
        self.first <= run && self.last.is_none_or(|last| run <= last)
    }
}

impl fmt::Display for RunRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.last {
            Some(last) if last == self.first => self.first.fmt(f),
            Some(last) => write!(f, "{}-{last}", self.first),
            None => write!(f, "{}-end", self.first),
        }
    }
}

impl FromStr for RunRange {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const RULE: &str = "runs such as 12, 12-20, 12-end or all";
        if text == "all" {
            return Ok(Self { first: RunNumber(0), last: None });
        }
        let number =
            |text: &str, of: &str| text.parse::<RunNumber>().map_err(|_| refused("range of runs", of, RULE));
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let first = number(first, text)?;
        let last = if last == "end" { None } else { Some(number(last, text)?) };
        if last.is_some_and(|last| last < first) {
            return Err(refused("range of runs", text, RULE));
        }
        Ok(Self { first, last })
    }
}

/// On `rules`, key `group@<experiment>/<group>`; compacted: runs that belong together, as those of one detector position.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RunGroup {
    /// The experiment.
    pub experiment: Experiment,
    /// Its name.
    pub group: GroupName,
    /// Its runs.
    pub runs: Vec<RunRange>,
    /// Who said so.
    pub who: String,
    /// When.
    pub at: Millis,
}

/// How a dataset's tags are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TagsOf {
    /// A run has one of them at least.
    Union,
    /// A run has all of them.
    Intersection,
}

/// On `rules`, key `dataset@<experiment>/<dataset>`; compacted: which runs belong to a dataset, now and as they come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Dataset {
    /// The experiment.
    pub experiment: Experiment,
    /// Its name.
    pub dataset: DatasetName,
    /// How its tags are meant.
    pub of: TagsOf,
    /// Its tags; none asks for none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<TagName>,
    /// Runs of one of these groups only; none asks for none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<GroupName>,
    /// Who said so.
    pub who: String,
    /// When.
    pub at: Millis,
}

/// The key of [`RunTags`].
pub fn tags_key(run: &RunKey) -> String {
    format!("tags@{run}")
}

/// The key of [`RunGroup`].
pub fn group_key(experiment: &Experiment, group: &GroupName) -> String {
    format!("group@{experiment}/{group}")
}

/// The key of [`Dataset`].
pub fn dataset_key(experiment: &Experiment, dataset: &DatasetName) -> String {
    format!("dataset@{experiment}/{dataset}")
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
    fn ranges_of_runs_are_read_as_they_are_written() {
        for text in ["12", "12-20", "12-end", "0-end"] {
            assert_eq!(text.parse::<RunRange>().unwrap().to_string(), text);
        }
        assert_eq!("all".parse::<RunRange>().unwrap().to_string(), "0-end");
        for wrong in ["", "20-12", "a", "1-", "-1", "1-2-3", "end"] {
            assert!(wrong.parse::<RunRange>().is_err(), "{wrong}");
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
