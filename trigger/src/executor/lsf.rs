//! LSF by its own commands: bsub, one `bjobs` for all jobs in JSON, bkill. Ended jobs are told as long as LSF's own memory
//! (`CLEAN_PERIOD`, an hour where nobody changed it).

use std::collections::BTreeSet;

use async_trait::async_trait;
use lightrail_topics::JobName;
use lightrail_topics::events::{FailureClass, JobEnd};
use serde_json::Value;

use super::commands::{Commands, has_any};
use super::{Ending, Executor, ExecutorError, SchedulerId, Seen, Sighting, SubmitFault};

/// Parts of the messages with which bsub refuses a job for good.
const REFUSALS: [&str; 6] = [
    "no such queue",
    "bad resource requirement",
    "unknown project",
    "user cannot use the queue",
    "bad argument",
    "illegal",
];

/// An LSF.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lsf {
    /// Its commands.
    pub commands: Commands,
}

#[async_trait]
impl Executor for Lsf {
    async fn submit(&self, _: &JobName, script: &str) -> Result<SchedulerId, SubmitFault> {
        let said = self.commands.submit("bsub", &[], script, |said| has_any(said, &REFUSALS)).await?;
        submitted(&said).ok_or_else(|| SubmitFault::Unknown(format!("bsub said {:?}", said.trim())))
    }

    async fn look(&self, names: &BTreeSet<JobName>) -> Result<Vec<Sighting>, ExecutorError> {
        let format = "jobid stat job_name exit_code exit_reason";
        let said = match self.commands.run("bjobs", &["-a", "-json", "-o", format]).await {
            Err(error) if has_any(&error.why, &["no job found", "no unfinished job found"]) => {
                return Ok(Vec::new());
            }
            said => said?,
        };
        bjobs(&said, names).ok_or_else(|| ExecutorError {
            what: "bjobs -a -json".to_owned(),
            why: format!("is no list of jobs: {}", said.chars().take(200).collect::<String>()),
        })
    }

    async fn end(&self, id: &SchedulerId, how: Ending) -> Result<(), ExecutorError> {
        let id = id.to_string();
        let told = match how {
            Ending::Finish => self.commands.run("bkill", &["-s", "TERM", &id]).await,
            Ending::Cancel => self.commands.run("bkill", &[&id]).await,
        };
        match told {
            Err(error) if !has_any(&error.why, &["already finished", "no matching job found"]) => Err(error),
            _ => Ok(()),
        }
    }
}

/// `Job <1234> is submitted to queue <normal>.`
fn submitted(said: &str) -> Option<SchedulerId> {
    let line = said.lines().find(|line| line.contains("is submitted to"))?;
    line.split_once("Job <")?.1.split_once('>')?.0.parse().ok()
}

/// `bjobs -json`: a list of records whose fields are all texts. Before it stands how often LSF asked to wait.
fn bjobs(text: &str, names: &BTreeSet<JobName>) -> Option<Vec<Sighting>> {
    let said: Value = serde_json::from_str(&text[text.find('{')?..]).ok()?;
    let read = |record: &Value| {
        let field = |key: &str| record.get(key).and_then(Value::as_str).unwrap_or_default();
        let name: JobName = field("JOB_NAME").parse().ok()?;
        if !names.contains(&name) {
            return None;
        }
        let seen = seen(field("STAT"), field("EXIT_CODE").parse().ok(), field("EXIT_REASON"))?;
        Some(Sighting { name, id: field("JOBID").parse().ok()?, seen })
    };
    Some(said.get("RECORDS")?.as_array()?.iter().filter_map(read).collect())
}

/// LSF's states. Whom LSF has lost sight of tells nothing: it may run.
fn seen(state: &str, exit: Option<u32>, reason: &str) -> Option<Seen> {
    let failed = |class| Seen::Ended {
        end: JobEnd::Failed {
            class,
            text: format!("{state} {} {reason}", exit.unwrap_or_default()).trim().to_owned(),
        },
        exit: exit.and_then(|exit| u8::try_from(exit).ok()),
    };
    let has = |word: &str| reason.contains(word);
    Some(match state {
        "PEND" | "PROV" | "WAIT" => Seen::Pending,
        "PSUSP" => Seen::Held,
        "RUN" => Seen::Running,
        "USUSP" | "SSUSP" => Seen::Suspended,
        "DONE" => Seen::Ended { end: JobEnd::Done, exit: Some(0) },
        "EXIT" if has("TERM_OWNER") || has("TERM_ADMIN") || has("TERM_FORCE_OWNER") => {
            Seen::Ended { end: JobEnd::Cancelled { text: reason.to_owned() }, exit: None }
        }
        "EXIT" if has("TERM_RUNLIMIT") || has("TERM_CPULIMIT") => failed(FailureClass::Timeout),
        "EXIT" if has("TERM_MEMLIMIT") || has("TERM_SWAP") => failed(FailureClass::Memory),
        "EXIT" if has("TERM_PREEMPT") => failed(FailureClass::Preempted),
        "EXIT" if has("TERM_DEADLINE") => failed(FailureClass::Deadline),
        "EXIT" if has("EXIT_INIT") || has("TERM_ZOMBIE") || has("TERM_LOAD") => failed(FailureClass::Node),
        "EXIT" => failed(FailureClass::Application),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_has_its_meaning() {
        let states =
            ["PEND", "PROV", "WAIT", "PSUSP", "RUN", "USUSP", "SSUSP", "DONE", "EXIT", "UNKWN", "ZOMBI", ""];
        let reasons = [
            "TERM_OWNER",
            "TERM_ADMIN",
            "TERM_FORCE_OWNER",
            "TERM_RUNLIMIT",
            "TERM_CPULIMIT",
            "TERM_MEMLIMIT",
            "TERM_SWAP",
            "TERM_PREEMPT",
            "TERM_DEADLINE",
            "EXIT_INIT",
            "TERM_ZOMBIE",
            "TERM_LOAD",
            "TERM_UNKNOWN",
        ];
        let told = states.map(|state| format!("{state}: {:?}", seen(state, None, "")));
        let ended = reasons.map(|reason| format!("EXIT 137 {reason}: {:?}", seen("EXIT", Some(137), reason)));
        insta::assert_snapshot!([told.join("\n"), ended.join("\n")].join("\n"));
    }

    #[test]
    fn what_lsf_prints_is_read() {
        // In the shape of LSF 10.1's `bjobs -a -json -o ...`.
        let record = |id: u32, state: &str, name: &str, code: &str, reason: &str| {
            format!(
                r#"{{"JOBID":"{id}","STAT":"{state}","JOB_NAME":"{name}","EXIT_CODE":"{code}","EXIT_REASON":"{reason}"}}"#
            )
        };
        let records = [
            record(1, "PEND", "lra", "", ""),
            record(2, "PSUSP", "lrb", "", ""),
            record(3, "RUN", "lrc", "", ""),
            record(4, "DONE", "lrd", "", ""),
            record(5, "EXIT", "lre", "7", ""),
            record(6, "EXIT", "lrf", "130", "TERM_OWNER: job killed by owner"),
            record(7, "EXIT", "lrg", "140", "TERM_RUNLIMIT: job killed after reaching LSF run time limit"),
            record(8, "EXIT", "lrh", "137", "TERM_PREEMPT: job killed after preemption"),
            record(9, "UNKWN", "lri", "", ""),
            record(10, "RUN", "somebody's", "", ""),
        ];
        let text = format!(r#"{{"COMMAND":"bjobs","JOBS":10,"RECORDS":[{}]}}"#, records.join(","));
        let names = "abcdefghi".chars().map(|letter| format!("lr{letter}").parse().unwrap()).collect();
        let found = bjobs(&text, &names).unwrap();
        let told =
            found.iter().map(|sighting| format!("{} {} {:?}", sighting.name, sighting.id, sighting.seen));
        insta::assert_snapshot!(told.collect::<Vec<_>>().join("\n"));
        assert_eq!(bjobs("LSF is down. Please wait ...", &names), None);
        let waited = bjobs(include_str!("golden/lsf-10.1.json"), &names).unwrap();
        let told =
            waited.iter().map(|sighting| format!("{} {} {:?}", sighting.name, sighting.id, sighting.seen));
        insta::assert_snapshot!(told.collect::<Vec<_>>().join("\n"), @r#"
        lra 806290 Running
        lrb 22005 Ended { end: Failed { class: Application, text: "EXIT 117" }, exit: Some(117) }
        "#);
        let said =
            "Cannot connect to LSF. Please wait ...\nJob <1234> is submitted to default queue <normal>.\n";
        assert_eq!(submitted(said).unwrap().to_string(), "1234");
        assert_eq!(submitted("Request aborted by esub. Job not submitted."), None);
    }
}
