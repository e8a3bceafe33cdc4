//! The logbook as others play it (its double for tests, the simulator of a beam time): what it knows, and what it says of each
//! change. Pure, with the time as an argument. Messages come out as text,
//! exactly as the LCLS logbook (slaclab/explgbk e5484aa) puts them on Kafka. Sends nothing itself.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::python;
use crate::ids::{Experiment, Instrument, RunNumber, SiteName};
use crate::lfn::Lfn;
use crate::time::Millis;

/// One Kafka message: no key, no headers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The topic, without its prefix.
    pub topic: &'static str,
    /// The body, which may hold tokens that are no JSON.
    pub body: String,
}

impl Message {
    fn new(topic: &'static str, experiment: &Experiment, crud: &str, value: &Value) -> Self {
        let envelope = json!({ "experiment_name": experiment.as_str(), "CRUD": crud, "value": value });
        Self { topic, body: python::dumps(&envelope) }
    }
}

/// What a DAQ says of a file that it opens.
#[derive(Clone, Debug)]
pub struct FileReport {
    /// The file.
    pub lfn: Lfn,
    /// Its run, else the current one.
    pub run: Option<RunNumber>,
    /// Where it lies on its host.
    pub absolute_path: Option<String>,
    /// The host.
    pub hostname: Option<String>,
    /// When it was created, whole seconds; else the time of the call.
    pub created: Option<Millis>,
    /// Bytes; the LCLS-II DAQ never says.
    pub size: Option<u64>,
    /// Its checksum as text; the DAQ never says.
    pub checksum: Option<String>,
}

impl FileReport {
    /// A report with what all DAQs say: the path.
    pub fn new(lfn: Lfn) -> Self {
        Self {
            lfn,
            run: None,
            absolute_path: None,
            hostname: None,
            created: None,
            size: None,
            checksum: None,
        }
    }

    /// LCLS-II's DAQ calls its streams `s000`, LCLS-I's `s00`.
    fn generation(&self) -> u32 {
        if self.lfn.file_name().ends_with('2') { 2 } else { 1 }
    }

    /// As it is given to the logbook.
    pub fn document(&self) -> Map<String, Value> {
        let mut document = Map::new();
        let mut put =
            |name: &str, value: Option<Value>| value.map(|value| document.insert(name.into(), value));
        // `%Y-%m-%dT%H:%M:%SZ`, which is all that the logbook reads.
        let created = self.created.map(|at| Value::from(format!("{}Z", &at.to_string()[..19])));
        put("absolute_path", self.absolute_path.clone().map(Value::from));
        put("create_timestamp", created.clone());
        put("gen", Some(self.generation().into()));
        put("hostname", self.hostname.clone().map(Value::from));
        put("modify_timestamp", created);
        put("path", Some(self.lfn.to_string().into()));
        put("run_num", self.run.map(|run| run.0.into()));
        put("size", self.size.map(Value::from));
        put("checksum", self.checksum.clone().map(Value::from));
        document
    }
}

/// How the logbook says no.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// HTTP 500 with this text.
    BadInput(String),
    /// HTTP 200 with `success: false` and this `errormsg`.
    Logical(String),
}

/// What is known of an experiment.
#[derive(Debug, Default)]
struct Notebook {
    instrument: String,
    /// Besides `SLAC`, which all experiments have.
    locations: Vec<SiteName>,
    runs: BTreeMap<u32, Map<String, Value>>,
    begun: BTreeMap<u32, Millis>,
    /// By run and path; in the order of registration, like the database's.
    files: Vec<Map<String, Value>>,
}

/// All experiments.
#[derive(Debug, Default)]
pub struct Book {
    notebooks: BTreeMap<Experiment, Notebook>,
    ids: u64,
}

/// What a call answers, and what is said of it.
pub type Said = Result<(Value, Vec<Message>), Refusal>;

impl Book {
    fn id(&mut self) -> Value {
        self.ids += 1;
        Value::from(format!("6b00da1a328ae8e2{:08x}", self.ids))
    }

    fn notebook(&mut self, experiment: &Experiment) -> Result<&mut Notebook, Refusal> {
        self.notebooks.get_mut(experiment).ok_or_else(|| {
            Refusal::BadInput(format!("Experiment {experiment} does not exist in the experiment cache"))
        })
    }

    /// A new experiment whose files are wanted at `locations`; one that is known begins anew.
    pub fn register_experiment(
        &mut self,
        experiment: &Experiment,
        instrument: &Instrument,
        locations: Vec<SiteName>,
    ) -> Vec<Message> {
        let instrument = instrument.as_str().to_uppercase();
        let names: Vec<&str> = locations.iter().map(SiteName::as_str).collect();
        let document = json!({
            "contact_info": "A B (a@b)", "description": "", "end_time": "2030-01-01T00:00:00.000Z",
            "instrument": instrument, "leader_account": "psdatmgr", "params": { "dm_locations": names.join(" ") },
            "posix_group": experiment.as_str(), "start_time": "2020-01-01T00:00:00.000Z",
        });
        self.notebooks.insert(experiment.clone(), Notebook { instrument, locations, ..Notebook::default() });
        vec![Message::new("experiments", experiment, "Create", &document)]
    }

    /// The instrument of an experiment.
    pub fn instrument(&mut self, experiment: &Experiment) -> Result<String, Refusal> {
        self.notebook(experiment).map(|notebook| notebook.instrument.clone())
    }

    /// Closes the run that is open, in a message of its own, and opens the next.
    pub fn start_run(
        &mut self,
        experiment: &Experiment,
        number: Option<RunNumber>,
        kind: &str,
        params: Map<String, Value>,
        now: Millis,
    ) -> Said {
        let notebook = self.notebook(experiment)?;
        let last = notebook.runs.last_key_value().map(|(number, run)| (*number, run["end_time"].is_null()));
        let mut messages = Vec::new();
        if let Some((_, true)) = last {
            messages = self.end_run(experiment, now)?.1;
        }
        let number = number.map_or_else(|| last.map_or(1, |(number, _)| number + 1), |number| number.0);
        let id = self.id();
        let run = json!({
            "num": number, "type": kind, "begin_time": python::zoned(now), "end_time": null,
            "params": escaped(params), "editable_params": {}, "_id": id,
        });
        let notebook = self.notebook(experiment)?;
        notebook.begun.insert(number, now);
        notebook.runs.insert(number, object(&run));
        messages.push(Message::new("runs", experiment, "Create", &run));
        Ok((run, messages))
    }

    /// An empty list of parameters succeeds and says nothing; those of a closed run are taken too.
    pub fn add_run_params(
        &mut self,
        experiment: &Experiment,
        number: Option<RunNumber>,
        params: Map<String, Value>,
    ) -> Said {
        let notebook = self.notebook(experiment)?;
        let current = notebook.runs.last_key_value().map(|(number, _)| *number);
        let run = number.map(|number| number.0).or(current).and_then(|number| notebook.runs.get_mut(&number));
        let run = run.ok_or_else(|| Refusal::BadInput("Internal Server Error".into()))?;
        if params.is_empty() {
            return Ok((Value::Null, Vec::new()));
        }
        if let Some(Value::Object(present)) = run.get_mut("params") {
            present.extend(escaped(params));
        }
        let run = Value::Object(run.clone());
        let message = Message::new("runs", experiment, "Update", &run);
        Ok((run, vec![message]))
    }

    /// Ends the current run, the one of the highest number; a closed one is ended once more, as the real one does.
    pub fn end_run(&mut self, experiment: &Experiment, now: Millis) -> Said {
        let notebook = self.notebook(experiment)?;
        let Some((&number, run)) = notebook.runs.iter_mut().next_back() else {
            return Err(Refusal::BadInput("Internal Server Error".into()));
        };
        run.insert("end_time".into(), python::zoned(now).into());
        let mut said = run.clone();
        let begun = notebook.begun.get(&number).copied().unwrap_or(now);
        said.insert("duration".into(), now.since(begun).as_secs_f64().into());
        said.insert("file_catalog".into(), Value::Array(self.files(experiment, Some(RunNumber(number)))));
        let run = Value::Object(said);
        let message = Message::new("runs", experiment, "Update", &run);
        Ok((run, vec![message]))
    }

    /// A path that is registered again replaces what was known of it, `locations` included, and is said without `_id`.
    pub fn register_file(
        &mut self,
        experiment: &Experiment,
        mut file: Map<String, Value>,
        now: Millis,
    ) -> Result<Message, Refusal> {
        let notebook = self.notebook(experiment)?;
        let Some(path) = file.get("path").cloned() else {
            return Err(Refusal::Logical("File registration missing keys {'path'}".into()));
        };
        if !file.contains_key("run_num") {
            let current = notebook.runs.last_key_value().map(|(number, _)| *number);
            let current = current.ok_or_else(|| Refusal::BadInput("Internal Server Error".into()))?;
            file.insert("run_num".into(), current.into());
        }
        let mut stored = file.clone();
        for name in ["create_timestamp", "modify_timestamp"] {
            let (created, kept) = match file.get(name).and_then(Value::as_str) {
                None => (python::naive(now), python::zoned(now)),
                Some(text) => python::registered(text)
                    .ok_or_else(|| Refusal::BadInput("Internal Server Error".into()))?,
            };
            file.insert(name.into(), created.into());
            stored.insert(name.into(), kept.into());
        }
        let same = notebook
            .files
            .iter_mut()
            .find(|known| known["path"] == path && known["run_num"] == file["run_num"]);
        if let Some(known) = same {
            stored.insert("_id".into(), known["_id"].clone());
            *known = stored;
        } else {
            let id = self.id();
            file.insert("_id".into(), id.clone());
            stored.insert("_id".into(), id);
            self.notebook(experiment)?.files.push(stored);
        }
        Ok(Message::new("file_catalog", experiment, "Create", &Value::Object(file)))
    }

    /// An unknown path succeeds too, and is said with `value: null`.
    pub fn file_available_at_location(
        &mut self,
        experiment: &Experiment,
        run: RunNumber,
        path: &str,
        location: &str,
        now: Millis,
    ) -> Result<Message, Refusal> {
        self.check_location(experiment, location)?;
        let file = self.set_location(experiment, run, path, location, Some(now))?;
        Ok(Message::new("file_catalog", experiment, "Update", &file))
    }

    /// Sets or takes away a file's location and says nothing, as `check_and_move` does.
    pub fn set_location(
        &mut self,
        experiment: &Experiment,
        run: RunNumber,
        path: &str,
        location: &str,
        asof: Option<Millis>,
    ) -> Result<Value, Refusal> {
        let notebook = self.notebook(experiment)?;
        let known = notebook.files.iter_mut().find(|file| file["path"] == path && file["run_num"] == run.0);
        let Some(file) = known else { return Ok(Value::Null) };
        let locations = file.entry("locations").or_insert_with(|| json!({}));
        if let Value::Object(locations) = locations {
            match asof {
                Some(asof) => drop(locations.insert(location.into(), json!({ "asof": python::zoned(asof) }))),
                None => drop(locations.shift_remove(location)),
            }
        }
        Ok(Value::Object(file.clone()))
    }

    /// Whether the experiment's files may be at `location`.
    pub fn check_location(&mut self, experiment: &Experiment, location: &str) -> Result<(), Refusal> {
        let notebook = self.notebook(experiment)?;
        if location == "SLAC" || notebook.locations.iter().any(|known| known.as_str() == location) {
            return Ok(());
        }
        Err(Refusal::BadInput("Please specify a valid location".into()))
    }

    /// Where the experiment's files may be.
    pub fn dm_locations(&mut self, experiment: &Experiment) -> Result<Value, Refusal> {
        let notebook = self.notebook(experiment)?;
        let mut all =
            vec![json!({ "name": "SLAC", "all_experiments": true, "jid_prefix": "http://127.0.0.1/" })];
        all.extend(notebook.locations.iter().filter(|name| name.as_str() != "SLAC").map(|name| {
            json!({ "name": name.as_str(), "all_experiments": false, "jid_prefix": "http://127.0.0.1/" })
        }));
        Ok(Value::Array(all))
    }

    /// All file documents, of one run or of all; an unknown experiment has none.
    pub fn files(&self, experiment: &Experiment, run: Option<RunNumber>) -> Vec<Value> {
        let files =
            self.notebooks.get(experiment).map(|notebook| notebook.files.as_slice()).unwrap_or_default();
        let wanted = files.iter().filter(|file| run.is_none_or(|run| file["run_num"] == run.0));
        wanted.map(|file| Value::Object(file.clone())).collect()
    }

    /// A run's document.
    pub fn run(&mut self, experiment: &Experiment, run: RunNumber) -> Result<Value, Refusal> {
        let found = self.notebook(experiment)?.runs.get(&run.0);
        let missing = || Refusal::BadInput(format!("Cannot find run document for {run}"));
        found.map(|run| Value::Object(run.clone())).ok_or_else(missing)
    }

    /// The run of the highest number.
    pub fn current_run(&mut self, experiment: &Experiment) -> Result<Option<Value>, Refusal> {
        let last = self.notebook(experiment)?.runs.last_key_value();
        Ok(last.map(|(_, run)| Value::Object(run.clone())))
    }

    /// Newest run first, as the logbook lists them.
    pub fn runs(&mut self, experiment: &Experiment, params: bool) -> Result<Value, Refusal> {
        let runs = self.notebook(experiment)?.runs.values().rev().map(|run| {
            let mut run = run.clone();
            if !params {
                run.shift_remove("params");
                run.shift_remove("editable_params");
            }
            Value::Object(run)
        });
        Ok(Value::Array(runs.collect()))
    }

    /// The experiment-wide answer: newest run first, **all** catalogued files.
    pub fn live(&self, experiment: &Experiment, location: &str) -> Value {
        let Some(notebook) = self.notebooks.get(experiment) else { return json!([]) };
        let runs = notebook.runs.iter().rev().map(|(number, run)| {
            let mut answer = Map::new();
            answer.insert("run_num".into(), (*number).into());
            answer.extend(self.live_of(experiment, RunNumber(*number), run, location, |_| true));
            Value::Object(answer)
        });
        Value::Array(runs.collect())
    }

    /// The answer for one run: only the big data files.
    pub fn live_run(
        &self,
        experiment: &Experiment,
        run: RunNumber,
        location: &str,
    ) -> Result<Value, Refusal> {
        let missing =
            || Refusal::BadInput(format!("Cannot find run number {run} for experiment {experiment}"));
        let document = self.notebooks.get(experiment).and_then(|notebook| notebook.runs.get(&run.0));
        let document = document.ok_or_else(missing)?;
        Ok(Value::Object(self.live_of(experiment, run, document, location, is_big)))
    }

    fn live_of(
        &self,
        experiment: &Experiment,
        number: RunNumber,
        run: &Map<String, Value>,
        location: &str,
        wanted: impl Fn(&str) -> bool,
    ) -> Map<String, Value> {
        let files: Vec<Value> = self
            .files(experiment, Some(number))
            .iter()
            .filter(|file| file["path"].as_str().is_some_and(&wanted))
            .map(|file| json!({ "path": file["path"], "is_present": file["locations"].get(location).is_some() }))
            .collect();
        let closed = !run["end_time"].is_null();
        let all = closed && files.iter().all(|file| file["is_present"] == true);
        object(&json!({
            "begin_time": run["begin_time"], "end_time": run["end_time"], "is_closed": closed,
            "files": files, "all_present": all,
        }))
    }
}

/// `.*/xtc/[^/]*[.](xtc|xtc2)$`: the small data files lie a folder deeper.
pub fn is_big(path: &str) -> bool {
    path.rsplit_once("/xtc/").is_some_and(|(_, name)| {
        !name.contains('/') && name.rsplit_once('.').is_some_and(|(_, end)| end == "xtc" || end == "xtc2")
    })
}

fn object(value: &Value) -> Map<String, Value> {
    value.as_object().cloned().unwrap_or_default()
}

/// The database takes no dots and dollars in names; their full-width forms stand for them.
fn escaped(params: Map<String, Value>) -> Map<String, Value> {
    params
        .into_iter()
        .map(|(name, value)| (name.replace('.', "\u{ff0e}").replace('$', "\u{ff04}"), value))
        .collect()
}
