//! The control document that LCLS's logbook sends with each call: a job of a workflow with its definition. Read once, at the door;
//! a field of a wrong name is refused with the right one, for the logbook's own pages take anything. Pure.

use lightrail_service::settings::nearest;
use lightrail_topics::events::{Argument, JobIdentity, Piece, RunJob, Trigger, Work};
use lightrail_topics::{Experiment, RunKey, RunNumber, SiteName};
use serde_json::{Map, Value};

/// Fields of a job.
const JOB: [&str; 13] = [
    "_id",
    "experiment",
    "run_num",
    "user",
    "status",
    "tool_id",
    "def_id",
    "def",
    "arp_root_job_id",
    "parent_job_id",
    "counters",
    "log_file_path",
    "submit_time",
];
/// Fields of a definition.
const DEFINITION: [&str; 9] = [
    "_id",
    "name",
    "executable",
    "parameters",
    "trigger",
    "location",
    "run_as_user",
    "run_param_name",
    "run_param_value",
];

/// A job of a workflow.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Control {
    /// The logbook's id of it.
    pub(super) id: String,
    pub(super) run: RunKey,
    pub(super) user: String,
    /// The job from which it was started, or itself.
    pub(super) root: String,
    pub(super) location: SiteName,
    pub(super) work: Work,
    /// As it came.
    pub(super) document: Map<String, Value>,
}

/// All that is wrong with a document, in one line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", _0.join("; "))]
pub(super) struct Faults(pub(super) Vec<String>);

impl Control {
    /// Reads a document.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub(super) fn read(value: &Value) -> Result<Self, Faults> {
        let Some(document) = value.as_object() else {
            return Err(Faults(vec!["a job's document is a JSON object".to_owned()]));
        };
        let mut faults = Vec::new();
        unknown(document, &JOB, "", &mut faults);
        let empty = Map::new();
        let def = document.get("def").and_then(Value::as_object);
        if def.is_none() {
            faults.push("def is missing: the workflow's definition".to_owned());
        }
        let def = def.unwrap_or(&empty);
        unknown(def, &DEFINITION, "def.", &mut faults);
        let id = text(document, "_id", "", &mut faults).filter(|id| is_id(id));
        let experiment = parsed::<Experiment>(document, "experiment", "", &mut faults);
        let run = match document.get("run_num") {
            Some(Value::Number(number)) => number.as_u64().and_then(|number| u32::try_from(number).ok()),
            Some(Value::String(digits)) => digits.parse().ok(),
            _ => None,
        };
        let user = text(document, "user", "", &mut faults);
        if id.is_none() {
            faults.push("_id is no id: letters and digits, 40 at most".to_owned());
        }
        if run.is_none() {
            faults.push("run_num is no run's number".to_owned());
        }
        let root = ["arp_root_job_id", "parent_job_id"].iter().find_map(|key| document.get(*key)?.as_str());
        let root = root.filter(|root| is_id(root)).map(str::to_owned);
        let (location, work) = if def.is_empty() { (None, None) } else { definition(def, &mut faults) };
        match (id, experiment, run, user, location, work) {
            (Some(id), Some(experiment), Some(run), Some(user), Some(location), Some(work))
                if faults.is_empty() =>
            {
                let run = RunKey { experiment, run: RunNumber(run) };
                let root = root.unwrap_or_else(|| id.clone());
                Ok(Self { id, run, user, root, location, work, document: document.clone() })
            }
            _ => Err(Faults(faults)),
        }
    }

    /// The job's identity among ours: the logbook's id is its rule.
    pub(super) fn identity(&self) -> JobIdentity {
        let name = |text: &str| format!("arp-{text}");
        let job = RunJob {
            rule: name(&self.id).parse().expect("an id of letters and digits fits the rule"),
            run: self.run.clone(),
            trial: None,
            task: "job".parse().expect("a word fits the rule"),
            request: None,
            attempt: 1,
        };
        job.into()
    }

    /// Whether both ask for the same work: the rest of a document changes with the job's life.
    pub(super) fn is_same_job(&self, other: &Self) -> bool {
        (&self.id, &self.run, &self.location, &self.work)
            == (&other.id, &other.run, &other.location, &other.work)
    }
}

/// Whether a text can be the logbook's id of something.
pub(super) fn is_id(text: &str) -> bool {
    !text.is_empty() && text.len() <= 40 && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

fn unknown(object: &Map<String, Value>, known: &[&str], place: &str, faults: &mut Vec<String>) {
    for key in object.keys().filter(|key| !known.contains(&key.as_str())) {
        let key: String = key.chars().take(60).flat_map(char::escape_default).collect();
        faults.push(match nearest(&key, known.iter().copied()) {
            Some(near) => format!("{place}{key} is no field, did you mean {place}{near}?"),
            None => format!("{place}{key} is no field; there are {}", known.join(", ")),
        });
    }
}

fn text(object: &Map<String, Value>, key: &str, place: &str, faults: &mut Vec<String>) -> Option<String> {
    match object.get(key) {
        Some(Value::String(text)) if !text.chars().any(char::is_control) => Some(text.clone()),
        Some(_) => {
            faults.push(format!("{place}{key} is no text of one line"));
            None
        }
        None => {
            faults.push(format!("{place}{key} is missing"));
            None
        }
    }
}

fn parsed<T: std::str::FromStr<Err: std::fmt::Display>>(
    object: &Map<String, Value>,
    key: &str,
    place: &str,
    faults: &mut Vec<String>,
) -> Option<T> {
    let text = text(object, key, place, faults)?;
    text.parse().map_err(|why| faults.push(format!("{place}{key}: {why}"))).ok()
}

fn definition(def: &Map<String, Value>, faults: &mut Vec<String>) -> (Option<SiteName>, Option<Work>) {
    text(def, "name", "def.", faults);
    let location = parsed::<SiteName>(def, "location", "def.", faults);
    let trigger = parsed::<Trigger>(def, "trigger", "def.", faults);
    if trigger == Some(Trigger::RunParamIsValue) {
        for key in ["run_param_name", "run_param_value"] {
            text(def, key, "def.", faults);
        }
    }
    if let Some(user) = text(def, "run_as_user", "def.", faults)
        && (user == "root" || user.len() == 6 && user.ends_with("opr"))
    {
        faults.push(format!("def.run_as_user {user} runs no workflows"));
    }
    let program = text(def, "executable", "def.", faults);
    if program.as_deref().is_some_and(|program| !program.starts_with('/')) {
        faults.push("def.executable is no absolute path".to_owned());
    }
    let words = match def.get("parameters") {
        // The logbook leaves it empty in either way.
        None | Some(Value::Null) => Some(Vec::new()),
        Some(_) => text(def, "parameters", "def.", faults)
            .and_then(|text| words(&text).map_err(|why| faults.push(format!("def.parameters: {why}"))).ok()),
    };
    let argument = |word: String| Argument(vec![Piece::Text(word)]);
    let arguments = words.map(|words| words.into_iter().map(argument).collect());
    let work =
        |(program, arguments)| Work::Command { program, arguments, inputs: Vec::new(), outputs: Vec::new() };
    (location, program.zip(arguments).map(work))
}

/// The words of one line of parameters, as a shell tells them apart: by blanks, outside of quotes. Nothing is expanded.
fn words(line: &str) -> Result<Vec<String>, &'static str> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut letters = line.chars();
    while let Some(letter) = letters.next() {
        match letter {
            ' ' => words.extend(word.take()),
            '\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match letters.next().ok_or("a single quote is not closed")? {
                        '\'' => break,
                        letter => word.push(letter),
                    }
                }
            }
            '"' => {
                let word = word.get_or_insert_default();
                loop {
                    match letters.next().ok_or("a double quote is not closed")? {
                        '"' => break,
                        '\\' => word.push(letters.next().ok_or("a double quote is not closed")?),
                        letter => word.push(letter),
                    }
                }
            }
            '\\' => word.get_or_insert_default().push(letters.next().ok_or("it ends with a backslash")?),
            letter => word.get_or_insert_default().push(letter),
        }
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn document() -> Value {
        json!({
            "_id": "6b00da1a328ae8e2357ecfd6", "experiment": "mfxlv9518", "run_num": 12, "user": "auser", "status": "START",
            "def_id": "6b00da1a328ae8e2357ecfd0",
            "def": {
                "_id": "6b00da1a328ae8e2357ecfd0", "name": "idx", "executable": "/cds/x.sh", "parameters": "-q realtime 'a b'",
                "trigger": "ALL_FILES_TRANSFERRED", "location": "NERSC", "run_as_user": "auser",
            },
        })
    }

    #[test]
    fn a_document_of_the_logbook_is_read() {
        let control = Control::read(&document()).unwrap();
        assert_eq!(control.identity().to_string(), "arp-6b00da1a328ae8e2357ecfd6 mfxlv9518/12 job attempt 1");
        assert_eq!(control.root, control.id);
        let Work::Command { program, arguments, .. } = &control.work else { panic!("{control:?}") };
        let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
        assert_eq!(
            (program.as_str(), arguments),
            ("/cds/x.sh", vec!["-q".into(), "realtime".into(), "a b".into()])
        );
    }

    #[test]
    fn wrong_names_are_refused_with_the_right_ones() {
        let mut wrong = document();
        wrong["runnum"] = 12.into();
        wrong["def"]["trigger"] = "RUN_PARAM_IS_VALUE".into();
        wrong["def"]["run_param_name"] = "SmallData".into();
        // As one client of the logbook sends it, to this day.
        wrong["def"]["run_param_val"] = "done".into();
        wrong["def"]["executable"] = "x.sh".into();
        wrong["def"]["run_as_user"] = "mfxopr".into();
        wrong["def"]["parameters"] = "'a".into();
        insta::assert_snapshot!(Control::read(&wrong).unwrap_err().0.join("\n"));
        let mut wrong = document();
        wrong["_id"] = "../x".into();
        wrong["run_num"] = "x".into();
        wrong["def"]["location"] = "a b".into();
        wrong["def"]["trigger"] = "ALL_FILES".into();
        wrong["def"].as_object_mut().unwrap().remove("name");
        insta::assert_snapshot!(Control::read(&wrong).unwrap_err().0.join("\n"));
        assert!(Control::read(&json!([])).is_err());
    }

    #[test]
    fn parameters_are_words_and_nothing_is_expanded() {
        assert_eq!(
            words("  -a  'b c'\"d \\\" e\"f \\ g $HOME *").unwrap(),
            ["-a", "b cd \" ef", " g", "$HOME", "*"]
        );
        assert_eq!(words("").unwrap(), [""; 0]);
        assert_eq!(words("''").unwrap(), [""]);
        assert!(words("\"").is_err() && words("\\").is_err());
    }
}
