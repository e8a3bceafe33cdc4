//! The LCLS logbook's messages, read leniently: almost everything may be missing, `value` may be null, numbers may be
//! bare NaN. What is there and cannot be read is named, never guessed; a path goes through [`Lfn`] or is refused.
//!
//! Never here: any conclusion from the order of messages, which Kafka does not promise. Source: slaclab/explgbk e5484aa.

pub mod book;
mod lenient;
pub mod python;

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::checksum::Checksum;
use crate::events::Registration;
use crate::ids::{Experiment, IdError, RunNumber, SiteName};
use crate::lfn::{Lfn, LfnError};
use crate::time::LogTime;
use crate::topic::Topic;
use crate::when::Literal;

pub use lenient::mend;

/// The four topics of the logbook that we read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LogbookTopic {
    /// `runs`
    Runs,
    /// `file_catalog`
    FileCatalog,
    /// `experiments`
    Experiments,
    /// `workflow_jobs`
    WorkflowJobs,
}

impl LogbookTopic {
    /// The logbook's topic among all topics.
    pub fn of(topic: Topic) -> Option<Self> {
        match topic {
            Topic::Runs => Some(Self::Runs),
            Topic::FileCatalog => Some(Self::FileCatalog),
            Topic::Experiments => Some(Self::Experiments),
            Topic::WorkflowJobs => Some(Self::WorkflowJobs),
            _ => None,
        }
    }
}

/// What the logbook did with the document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Crud {
    /// `Create`
    Create,
    /// `Update`
    Update,
    /// `Delete`
    Delete,
    /// Not said, or a word that we do not know: the document counts, the word does not.
    Other,
}

/// What a message of the logbook says.
#[derive(Clone, Debug, PartialEq)]
pub enum LogbookEvent {
    /// A run began, changed or ended.
    Run {
        /// The experiment.
        experiment: Experiment,
        /// What was done.
        crud: Crud,
        /// The document; `None` where `value` is null.
        run: Option<RunDoc>,
    },
    /// A file was registered (the DAQ has opened it, no more), or is said to be somewhere.
    File {
        /// The experiment.
        experiment: Experiment,
        /// What was done.
        crud: Crud,
        /// The document; `None` where `value` is null: an unknown path was reported somewhere.
        file: Option<FileDoc>,
    },
    /// An experiment was made or changed.
    Experiment {
        /// The experiment.
        experiment: Experiment,
        /// What was done.
        crud: Crud,
        /// The sites of `params.dm_locations`; `None` where `value` is null.
        dm_locations: Option<Vec<SiteName>>,
    },
    /// A job of the logbook's own workflows.
    Job {
        /// The experiment.
        experiment: Experiment,
        /// What was done.
        crud: Crud,
        /// The document; `None` where `value` is null.
        job: Option<JobDoc>,
    },
}

/// A run's document.
#[derive(Clone, Debug, PartialEq)]
pub struct RunDoc {
    /// Its number.
    pub num: RunNumber,
    /// When it began.
    pub begin_time: Option<LogTime>,
    /// When it ended.
    pub end_time: Option<LogTime>,
    /// `type`, such as `DATA`.
    pub kind: Option<String>,
    /// `sample`.
    pub sample: Option<String>,
    /// The run's table of parameters, names as people know them. What is neither number, text, true nor false is left out.
    pub params: BTreeMap<String, Literal>,
    /// Whether `end_time` is there at all, readable or not: the run takes no more data.
    pub closed: bool,
    /// Its files. `None` is "not said", which is not "none": later Updates leave it out.
    pub file_catalog: Option<Vec<FileDoc>>,
    /// Members of `file_catalog` that cannot be understood: their JSON and why.
    pub bad_files: Vec<(String, String)>,
    /// Fields that are there and cannot be read, taken as missing.
    pub unread: Vec<&'static str>,
}

/// A file's document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileDoc {
    /// The file.
    pub lfn: Lfn,
    /// Its run: by its name, else by `run_num` (which the logbook sets to the current run where the DAQ gave none).
    pub run: Option<RunNumber>,
    /// What the registration says of it.
    pub registration: Registration,
    /// Where the logbook believes it to be.
    pub locations: Vec<SiteName>,
    /// Whether the message is a registration (Create) and not a report.
    pub create: bool,
    /// Fields that are there and cannot be read, taken as missing.
    pub unread: Vec<&'static str>,
}

/// A job's document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobDoc {
    /// The database's id.
    pub id: Option<String>,
    /// The run.
    pub run: Option<RunNumber>,
    /// Its state, such as `START`, `RUNNING`.
    pub status: Option<String>,
    /// The definition's name.
    pub name: Option<String>,
    /// Where it is to run.
    pub location: Option<String>,
    /// What starts it.
    pub trigger: Option<String>,
}

/// Why a message cannot be understood. All of them are permanent.
#[derive(Debug, thiserror::Error)]
pub enum LogbookError {
    /// Not JSON, bare NaN and Infinity allowed.
    #[error("the message is no JSON")]
    Json(#[source] serde_json::Error),
    /// A field lacks or has another shape.
    #[error("{what} should be {expected}, and is {found}")]
    Shape {
        /// The field.
        what: &'static str,
        /// What it should be.
        expected: &'static str,
        /// What it is, cut to 80 characters; `missing` where it is not there.
        found: String,
    },
    /// Not an experiment.
    #[error("experiment_name is refused")]
    Experiment(#[source] IdError),
    /// Not a file name that we let in.
    #[error("path is refused")]
    Path(#[source] LfnError),
    /// A file in another experiment's folder.
    #[error("path `{lfn}` lies in the folder of {folder}, and the message is about {experiment}")]
    Folder {
        /// The file.
        lfn: Lfn,
        /// The experiment of its folder.
        folder: Experiment,
        /// The experiment of the message.
        experiment: Experiment,
    },
}

/// Reads a message.
pub fn parse(topic: LogbookTopic, bytes: &[u8]) -> Result<LogbookEvent, LogbookError> {
    let message = lenient::json(bytes).map_err(LogbookError::Json)?;
    let message = lenient::object("the message", &message)?;
    let name = lenient::text("experiment_name", message.get("experiment_name"))?;
    let experiment: Experiment = name.parse().map_err(LogbookError::Experiment)?;
    let crud = match message.get("CRUD").and_then(Value::as_str) {
        Some("Create") => Crud::Create,
        Some("Update") => Crud::Update,
        Some("Delete") => Crud::Delete,
        _ => Crud::Other,
    };
    let document = match message.get("value") {
        None | Some(Value::Null) => None,
        Some(value) => Some(lenient::object("value", value)?),
    };
    Ok(match topic {
        LogbookTopic::Runs => {
            let run = document.map(|document| run_doc(&experiment, document)).transpose()?;
            LogbookEvent::Run { experiment, crud, run }
        }
        LogbookTopic::FileCatalog => {
            let create = crud == Crud::Create;
            let file = document.map(|document| file_doc(&experiment, document, create)).transpose()?;
            LogbookEvent::File { experiment, crud, file }
        }
        LogbookTopic::Experiments => {
            LogbookEvent::Experiment { experiment, crud, dm_locations: document.map(dm_locations) }
        }
        LogbookTopic::WorkflowJobs => LogbookEvent::Job { experiment, crud, job: document.map(job_doc) },
    })
}

/// Reads a run's document, as `runs` messages and the REST interface give it.
pub fn run_doc(experiment: &Experiment, document: &Map<String, Value>) -> Result<RunDoc, LogbookError> {
    let num = lenient::run_number(document.get("num"))
        .ok_or_else(|| lenient::shape("num", "a run number", document.get("num")))?;
    let mut unread = Vec::new();
    let mut bad_files = Vec::new();
    let file_catalog = match document.get("file_catalog") {
        None | Some(Value::Null) => None,
        Some(Value::Array(members)) => {
            let mut files = Vec::with_capacity(members.len());
            for member in members {
                let parsed = lenient::object("a member of file_catalog", member)
                    .and_then(|member| file_doc(experiment, member, false));
                match parsed {
                    Ok(mut file) => {
                        file.run = file.run.or(Some(num));
                        files.push(file);
                    }
                    Err(error) => bad_files.push((member.to_string(), lenient::with_causes(&error))),
                }
            }
            Some(files)
        }
        Some(_) => {
            unread.push("file_catalog");
            None
        }
    };
    Ok(RunDoc {
        num,
        begin_time: lenient::optional(document, "begin_time", &mut unread, lenient::time),
        end_time: lenient::optional(document, "end_time", &mut unread, lenient::time),
        kind: lenient::optional(document, "type", &mut unread, |value| value.as_str().map(str::to_owned)),
        sample: lenient::optional(document, "sample", &mut unread, |value| value.as_str().map(str::to_owned)),
        params: document.get("params").and_then(Value::as_object).map(params).unwrap_or_default(),
        closed: document.get("end_time").is_some_and(|end| !end.is_null()),
        file_catalog,
        bad_files,
        unread,
    })
}

/// The database cannot have `.` and `$` in names and keeps look-alikes in their place.
fn params(table: &Map<String, Value>) -> BTreeMap<String, Literal> {
    let named = table.iter().filter_map(|(name, value)| {
        let value = match value {
            Value::Number(number) => Literal::Number(number.as_f64()?),
            Value::String(text) => Literal::Text(text.clone()),
            Value::Bool(truth) => Literal::Truth(*truth),
            Value::Null | Value::Array(_) | Value::Object(_) => return None,
        };
        Some((name.replace('\u{ff0e}', ".").replace('\u{ff04}', "$"), value))
    });
    named.collect()
}

/// Reads a file's document, as `file_catalog` messages and the REST interface give it.
pub fn file_doc(
    experiment: &Experiment,
    document: &Map<String, Value>,
    create: bool,
) -> Result<FileDoc, LogbookError> {
    let lfn: Lfn = lenient::text("path", document.get("path"))?.parse().map_err(LogbookError::Path)?;
    let folder = lfn.experiment();
    if folder != *experiment {
        return Err(LogbookError::Folder { lfn, folder, experiment: experiment.clone() });
    }
    let mut unread = Vec::new();
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let registration = Registration {
        created: lenient::optional(document, "create_timestamp", &mut unread, lenient::time),
        path: lenient::optional(document, "absolute_path", &mut unread, text),
        host: lenient::optional(document, "hostname", &mut unread, text),
        size: lenient::optional(document, "size", &mut unread, lenient::unsigned),
        checksum: lenient::optional(document, "checksum", &mut unread, |value| {
            value.as_str()?.parse::<Checksum>().ok()
        }),
        mtime: None,
    };
    let said = lenient::optional(document, "run_num", &mut unread, |value| lenient::run_number(Some(value)));
    let locations = match document.get("locations") {
        Some(Value::Object(places)) => {
            let there = places.iter().filter(|(_, place)| !place.is_null());
            there.filter_map(|(name, _)| name.parse().ok()).collect()
        }
        _ => Vec::new(),
    };
    Ok(FileDoc { run: lfn.run().or(said), lfn, registration, locations, create, unread })
}

fn dm_locations(document: &Map<String, Value>) -> Vec<SiteName> {
    let said = document.get("params").and_then(|params| params.get("dm_locations")).and_then(Value::as_str);
    let names = said.unwrap_or_default().split([' ', ',', '\t']);
    names.filter_map(|name| name.parse().ok()).collect()
}

fn job_doc(document: &Map<String, Value>) -> JobDoc {
    let text = |document: &Map<String, Value>, field: &str| {
        document.get(field).and_then(Value::as_str).map(str::to_owned)
    };
    let none = Map::new();
    let definition = document.get("def").and_then(Value::as_object).unwrap_or(&none);
    JobDoc {
        id: text(document, "_id"),
        run: lenient::run_number(document.get("run_num")),
        status: text(document, "status"),
        name: text(definition, "name"),
        location: text(definition, "location"),
        trigger: text(definition, "trigger"),
    }
}

#[cfg(test)]
mod tests;
