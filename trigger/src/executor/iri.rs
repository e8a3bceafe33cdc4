//! A facility behind the IRI Facility API (DOE), version 1 or 2: jobs are specifications in JSON, not scripts, launched under an
//! idempotency key, which is the job's name: one whose answer was lost is launched again, and is the same job.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use lightrail_service::settings::Secret;
use lightrail_topics::JobName;
use lightrail_topics::events::{FailureClass, JobEnd};
use reqwest::{Method, RequestBuilder};
use serde_json::Value;

use super::{Ending, Executor, ExecutorError, SchedulerId, Seen, Sighting, SubmitFault};
use crate::web::{Answer, Web, WebFault};

/// Jobs asked for in one call, at most: the interface's own limit.
const PAGE: usize = 1000;
/// Pages read, at most.
const PAGES: usize = 50;
/// A launch without an answer is repeated after so long, where the facility says nothing else.
const AGAIN: Duration = Duration::from_secs(1);

/// Where a facility is, and as whom it is spoken to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IriAt {
    /// The API with its version: `https://api.iri.nersc.gov/api/v2`.
    pub api: String,
    /// The compute resource's id.
    pub resource: String,
    /// The bearer token, read at every call.
    pub token: Secret,
    /// The limit of each call, and of a launch with its repetitions.
    pub within: Duration,
}

/// A facility behind the IRI Facility API.
#[derive(Debug)]
pub struct Iri {
    at: IriAt,
    web: Web,
}

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error("no token: {0}")]
    Token(#[from] lightrail_service::settings::SecretError),
    #[error("{}", _0.told())]
    Web(#[from] WebFault),
}

impl Iri {
    /// A client; nothing is called yet.
    ///
    /// # Errors
    /// When TLS cannot be used here.
    pub fn new(at: IriAt) -> Result<Self, reqwest::Error> {
        let web = Web::new(at.within)?;
        Ok(Self { at, web })
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        with: impl FnOnce(RequestBuilder) -> RequestBuilder,
    ) -> Result<Answer, Fault> {
        let token = self.at.token.read()?;
        let url = format!("{}/{path}", self.at.api);
        Ok(self.web.send(with(self.web.call(method, &url).bearer_auth(token.expose()))).await?)
    }

    async fn launch(&self, name: &JobName, spec: &str) -> Result<SchedulerId, Fault> {
        let path = format!("compute/job/{}", self.at.resource);
        let answer = self
            .call(Method::POST, &path, |call| {
                call.header("Idempotency-Key", name.as_str())
                    .header("Content-Type", "application/json")
                    .body(spec.to_owned())
            })
            .await?;
        let id = answer.text("id").and_then(|id| id.parse().ok());
        Ok(id.ok_or_else(|| answer.odd("no `id`"))?)
    }

    /// One page of jobs, with those that have ended.
    async fn page(&self, offset: usize) -> Result<Vec<Value>, Fault> {
        let query = [
            ("offset", offset.to_string()),
            ("limit", PAGE.to_string()),
            ("historical", "true".to_owned()),
            ("include_spec", "true".to_owned()),
        ];
        let path = format!("compute/status/{}", self.at.resource);
        let answer = self.call(Method::POST, &path, |call| call.query(&query).json(&Value::Null)).await?;
        let jobs = answer.body.as_array().cloned();
        Ok(jobs.ok_or_else(|| answer.odd("no list of jobs"))?)
    }
}

/// A job that is asked for, of what the interface tells of one.
fn sighting(job: &Value, names: &BTreeSet<JobName>) -> Option<Sighting> {
    let name: JobName = job.pointer("/job_spec/name")?.as_str()?.parse().ok()?;
    if !names.contains(&name) {
        return None;
    }
    let id: SchedulerId = job.get("id")?.as_str()?.parse().ok()?;
    Some(Sighting { name, id, seen: seen(job.get("status")?)? })
}

/// The interface's states. What the scheduler below it says of a failure stands in the message or in `meta_data`, in its own
/// words; a job that gave way and is queued again is told as queued.
fn seen(status: &Value) -> Option<Seen> {
    let exit = status.get("exit_code").and_then(Value::as_i64).and_then(|code| u8::try_from(code).ok());
    let message = status.get("message").and_then(Value::as_str).unwrap_or_default();
    let native = status.pointer("/meta_data/state").and_then(Value::as_str).unwrap_or(message);
    let text = |state: &str| format!("{state} {message}").trim().chars().take(200).collect::<String>();
    Some(match status.get("state")?.as_str()?.to_ascii_lowercase().as_str() {
        "new" | "queued" => Seen::Pending,
        "held" => Seen::Held,
        "active" => Seen::Running,
        "completed" => Seen::Ended { end: JobEnd::Done, exit: Some(0) },
        "failed" => {
            let is = |words: &[&str]| {
                let native = native.to_ascii_uppercase();
                words.iter().any(|word| native.contains(word))
            };
            let class = if is(&["TIMEOUT", "WALLTIME", "TIME LIMIT"]) {
                FailureClass::Timeout
            } else if is(&["OUT_OF_MEMORY", "OUT OF MEMORY"]) {
                FailureClass::Memory
            } else if is(&["NODE_FAIL", "BOOT_FAIL"]) {
                FailureClass::Node
            } else if is(&["DEADLINE"]) {
                FailureClass::Deadline
            } else if is(&["PREEMPTED"]) {
                FailureClass::Preempted
            } else {
                FailureClass::Application
            };
            Seen::Ended { end: JobEnd::Failed { class, text: text("failed") }, exit }
        }
        "canceled" | "cancelled" => {
            Seen::Ended { end: JobEnd::Cancelled { text: text("canceled") }, exit: None }
        }
        _ => return None,
    })
}

#[async_trait]
impl Executor for Iri {
    async fn submit(&self, name: &JobName, script: &str) -> Result<SchedulerId, SubmitFault> {
        let begin = Instant::now();
        loop {
            let fault = match self.launch(name, script).await {
                Ok(id) => return Ok(id),
                Err(Fault::Web(fault)) => fault,
                Err(fault) => return Err(SubmitFault::Unknown(fault.to_string())),
            };
            let pause = match &fault {
                // It does not understand the specification, or knows no keys: then it has done nothing.
                WebFault::Status { status: 400 | 501, .. } => return Err(SubmitFault::Refused(fault.told())),
                WebFault::Unreached { .. } | WebFault::NoAnswer { .. } => AGAIN,
                // In flight, too often, or somebody between us and it does not get through.
                WebFault::Status { status: 409 | 429 | 502 | 503 | 504, retry_after, .. } => {
                    retry_after.unwrap_or(AGAIN)
                }
                _ => return Err(SubmitFault::Unknown(fault.told())),
            };
            if begin.elapsed() + pause > self.at.within {
                return Err(SubmitFault::Unknown(fault.told()));
            }
            tracing::info!(job = %name, fault = fault.told(), "launch is repeated under the same key");
            tokio::time::sleep(pause).await;
        }
    }

    async fn look(&self, names: &BTreeSet<JobName>) -> Result<Vec<Sighting>, ExecutorError> {
        let failed = |fault: Fault| ExecutorError {
            what: format!("jobs of resource {}", self.at.resource),
            why: fault.to_string(),
        };
        let mut found = Vec::new();
        for page in 0..PAGES {
            let jobs = self.page(page * PAGE).await.map_err(failed)?;
            found.extend(jobs.iter().filter_map(|job| sighting(job, names)));
            if jobs.len() < PAGE {
                return Ok(found);
            }
        }
        let why = format!("there are more than {} jobs: some would be taken for absent", PAGE * PAGES);
        Err(ExecutorError { what: format!("jobs of resource {}", self.at.resource), why })
    }

    /// The interface knows no signals: whoever is to finish is cancelled, and has as long as the scheduler gives after SIGTERM.
    async fn end(&self, id: &SchedulerId, _: Ending) -> Result<(), ExecutorError> {
        let path = format!("compute/cancel/{}/{id}", self.at.resource);
        match self.call(Method::DELETE, &path, |call| call).await {
            Ok(_) => Ok(()),
            // Ended, or gone.
            Err(Fault::Web(fault)) if matches!(fault.status(), Some(404 | 409 | 410)) => Ok(()),
            Err(fault) => {
                Err(ExecutorError { what: format!("job {id} cannot be told to end"), why: fault.to_string() })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn states_are_told_in_our_words_and_what_is_not_known_tells_nothing() {
        let names = BTreeSet::from(["lra".parse().unwrap()]);
        let of = |status: Value| {
            let job = json!({"id": "7", "status": status, "job_spec": {"name": "lra"}});
            sighting(&job, &names).map(|sighting| format!("{:?}", sighting.seen))
        };
        let told = [
            of(json!({"state": "new"})),
            of(json!({"state": "queued", "time": 1.5})),
            of(json!({"state": "held"})),
            of(json!({"state": "active"})),
            of(json!({"state": "completed", "exit_code": 0})),
            of(json!({"state": "failed", "exit_code": 7, "message": "exit code 7"})),
            of(json!({"state": "failed", "message": "job hit its TIMEOUT"})),
            of(json!({"state": "failed", "meta_data": {"state": "NODE_FAIL"}})),
            of(json!({"state": "failed", "meta_data": {"state": "PREEMPTED"}})),
            of(json!({"state": "canceled"})),
            of(json!({"state": "wondering"})),
            of(json!("failed")),
        ];
        let told: Vec<String> =
            told.into_iter().map(|told| told.unwrap_or_else(|| "nothing".to_owned())).collect();
        insta::assert_snapshot!(told.join("\n"));
        assert_eq!(
            sighting(&json!({"id": "7", "status": {"state": "active"}, "job_spec": {"name": "b"}}), &names),
            None
        );
    }
}
