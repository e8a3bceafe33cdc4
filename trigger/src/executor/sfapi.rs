//! A facility behind NERSC's Superfacility API 1.2: submissions and commands are tasks that are asked for until they are complete,
//! their results JSON within a string. The API knows no idempotency, so a submission is sent once; what became of one without an
//! answer is found by the job's name.

mod token;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use lightrail_topics::JobName;
use reqwest::{Method, RequestBuilder};
use serde_json::Value;

use super::slurm::states;
use super::{Ending, Executor, ExecutorError, SchedulerId, Seen, Sighting, SubmitFault};
use crate::web::{Answer, Web, WebFault};
use token::{ClientKey, TokenError, Tokens};

/// How often a task is asked for, at first and at most.
const ASKS_EVERY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// Where a facility is, and as whom it is spoken to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SfapiAt {
    /// The API: `https://api.nersc.gov/api/v1.2`.
    pub api: String,
    /// Where tokens are given: `https://oidc.nersc.gov/c2id/token`.
    pub token: String,
    /// The machine: `perlmutter`.
    pub machine: String,
    /// The user whose jobs they are.
    pub user: String,
    /// The client's key file.
    pub key: PathBuf,
    /// The limit of each submission and look, tasks included.
    pub within: Duration,
}

/// A facility behind the Superfacility API.
#[derive(Debug)]
pub struct Sfapi {
    at: SfapiAt,
    web: Web,
    tokens: Tokens,
}

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error(transparent)]
    Token(#[from] TokenError),
    #[error("{}", _0.told())]
    Web(#[from] WebFault),
    /// The API's or Slurm's own words.
    #[error("{0}")]
    Said(String),
    #[error("task {task} is not complete after {limit:?}")]
    Unfinished { task: String, limit: Duration },
}

impl SfapiAt {
    /// Whether the client's key file can be used: read by us and nobody else, naming a client, an RSA private key.
    pub(crate) fn check_key(&self) -> Result<(), TokenError> {
        ClientKey::read(&self.key).map(drop)
    }
}

impl Sfapi {
    /// A client; nothing is called yet.
    ///
    /// # Errors
    /// When TLS cannot be used here.
    pub fn new(at: SfapiAt) -> Result<Self, reqwest::Error> {
        let web = Web::new(at.within)?;
        let tokens = Tokens::new(at.token.clone(), at.key.clone());
        Ok(Self { at, web, tokens })
    }

    /// A call under a token. One that is refused for its token was not carried out, and is made once more under a new one.
    async fn call(&self, method: Method, path: &str, with: Call<'_>) -> Result<Answer, Fault> {
        let url = format!("{}/{path}", self.at.api);
        let mut is_renewed = false;
        loop {
            let token = self.tokens.token(&self.web).await?;
            let call = with(self.web.call(method.clone(), &url).bearer_auth(&token));
            match self.web.send(call).await {
                Err(fault) if fault.status() == Some(401) && !is_renewed => {
                    tracing::info!(url, "token is not taken any more; another one is asked for");
                    self.tokens.forget(&token);
                    is_renewed = true;
                }
                outcome => return Ok(outcome?),
            }
        }
    }

    /// The task that a call has begun, at its end: its result.
    async fn task(&self, begun: &Answer) -> Result<Value, Fault> {
        let begin = Instant::now();
        if begun.text("status").is_some_and(|status| status.eq_ignore_ascii_case("error")) {
            return Err(Fault::Said(begun.text("error").unwrap_or("ERROR without a word").to_owned()));
        }
        let task = begun.text("task_id").ok_or_else(|| begun.odd("no `task_id`"))?.to_owned();
        // It becomes part of an address.
        let id: SchedulerId = task.parse().map_err(|_| begun.odd("`task_id` is no id"))?;
        let mut pause = ASKS_EVERY.0;
        loop {
            let asked = self.call(Method::GET, &format!("tasks/{id}"), &|call| call).await;
            match &asked {
                Ok(answer) => match answer.text("status") {
                    Some("completed") => {
                        let result = answer.text("result").unwrap_or("null");
                        return serde_json::from_str(result)
                            .map_err(|_| answer.odd("the task's result is no JSON").into());
                    }
                    Some("failed" | "cancelled") => {
                        let said = answer.text("result").unwrap_or("no result");
                        let status = answer.text("status").unwrap_or_default();
                        return Err(Fault::Said(format!("task {id} {status}: {said}")));
                    }
                    _ => {}
                },
                // The task goes on, whoever asks for it.
                Err(fault) => tracing::debug!(%fault, %id, "task cannot be asked for now"),
            }
            if begin.elapsed() + pause > self.at.within {
                return match asked {
                    Ok(_) => Err(Fault::Unfinished { task, limit: self.at.within }),
                    Err(fault) => Err(fault),
                };
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(ASKS_EVERY.1);
        }
    }

    /// Runs a command on the machine; what it printed.
    async fn command(&self, executable: &str) -> Result<String, Fault> {
        let path = format!("utilities/command/{}", self.at.machine);
        let begun = self.call(Method::POST, &path, &|call| call.form(&[("executable", executable)])).await?;
        let result = self.task(&begun).await?;
        let text = |key: &str| result.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let failed = result.get("exit_code").and_then(Value::as_i64).is_some_and(|code| code != 0);
        if failed || text("status").eq_ignore_ascii_case("error") {
            return Err(Fault::Said(format!("{} {}", text("error"), text("output")).trim().to_owned()));
        }
        Ok(text("output"))
    }

    /// Those of the user's jobs that wait or run.
    async fn queue(&self, names: &BTreeSet<JobName>) -> Result<Vec<Sighting>, Fault> {
        let user = format!("user={}", self.at.user);
        let query = [("sacct", "false"), ("cached", "false"), ("kwargs", &user)];
        let path = format!("compute/jobs/{}", self.at.machine);
        let answer = self.call(Method::GET, &path, &|call| call.query(&query)).await?;
        if answer.text("status").is_some_and(|status| status.eq_ignore_ascii_case("error")) {
            return Err(Fault::Said(answer.text("error").unwrap_or("ERROR without a word").to_owned()));
        }
        let rows = answer.body.get("output").and_then(Value::as_array);
        let rows = rows.ok_or_else(|| answer.odd("no list `output`"))?;
        let read = |row: &Value| {
            let field = |key: &str| row.get(key).and_then(Value::as_str).unwrap_or_default();
            states::sighting(field("jobid"), field("name"), field("state"), field("reason"), (0, 0), names)
        };
        // How one has ended, sacct knows better: there is no exit status in these rows.
        Ok(rows
            .iter()
            .filter_map(read)
            .filter(|sighting| !matches!(sighting.seen, Seen::Ended { .. }))
            .collect())
    }
}

/// What is added to a call.
type Call<'a> = &'a (dyn Fn(RequestBuilder) -> RequestBuilder + Sync);

#[async_trait]
impl Executor for Sfapi {
    async fn submit(&self, _: &JobName, script: &str) -> Result<SchedulerId, SubmitFault> {
        let path = format!("compute/jobs/{}", self.at.machine);
        let form = [("isPath", "false"), ("job", script)];
        let outcome = match self.call(Method::POST, &path, &|call| call.form(&form)).await {
            Ok(begun) => self.task(&begun).await,
            Err(fault) => Err(fault),
        };
        let said = |said: String| {
            if states::is_refusal(&said) { SubmitFault::Refused(said) } else { SubmitFault::Unknown(said) }
        };
        let result = match outcome {
            Ok(result) => result,
            // What it does not understand it has not taken.
            Err(Fault::Web(fault)) if matches!(fault.status(), Some(400 | 422)) => {
                return Err(SubmitFault::Refused(fault.told()));
            }
            Err(fault) => return Err(said(fault.to_string())),
        };
        let text = |key: &str| result.get(key).and_then(Value::as_str).unwrap_or_default();
        if !text("status").eq_ignore_ascii_case("ok") {
            return Err(said(format!("{} {}", text("status"), text("error")).trim().to_owned()));
        }
        text("jobid").parse().map_err(|_| SubmitFault::Unknown(format!("the task's result was {result}")))
    }

    async fn look(&self, names: &BTreeSet<JobName>) -> Result<Vec<Sighting>, ExecutorError> {
        let failed = |what: &str| {
            let what = format!("{what} of {}", self.at.machine);
            move |fault: Fault| ExecutorError { what, why: fault.to_string() }
        };
        let mut found = self.queue(names).await.map_err(failed("the queue"))?;
        let known: BTreeSet<JobName> = found.iter().map(|sighting| sighting.name.clone()).collect();
        let rest: Vec<&str> = names.difference(&known).map(JobName::as_str).collect();
        if !rest.is_empty() {
            let command = format!("sacct {} --name={}", states::SACCT.join(" "), rest.join(","));
            let printed = self.command(&command).await.map_err(failed("sacct"))?;
            found.extend(states::sacct(&printed, names));
        }
        Ok(found)
    }

    async fn end(&self, id: &SchedulerId, how: Ending) -> Result<(), ExecutorError> {
        let told = match how {
            Ending::Finish => {
                let scancel = format!("scancel --batch --signal=TERM {id}");
                self.command(&scancel).await.map(drop)
            }
            Ending::Cancel => {
                let path = format!("compute/jobs/{}/{id}", self.at.machine);
                match self.call(Method::DELETE, &path, &|call| call).await {
                    Ok(begun) => self.task(&begun).await.map(drop),
                    Err(fault) => Err(fault),
                }
            }
        };
        match told.map_err(|fault| fault.to_string()) {
            Err(why) if !states::has_ended(&why) => {
                Err(ExecutorError { what: format!("job {id} cannot be told to end"), why })
            }
            _ => Ok(()),
        }
    }
}
