//! The logbook's REST: whether a run is closed and what its files are, and the report that a file is at a site. One call,
//! one answer, one limit; when to call again is decided elsewhere.

use std::time::Duration;

use lightrail_topics::logbook::{FileDoc, RunDoc, file_doc, run_doc};
use lightrail_topics::{Experiment, FileAtSite, RunKey};
use serde_json::Value;

use crate::ledger::RunAnswer;

/// Why the logbook gave no answer that can be used.
#[derive(Debug, thiserror::Error)]
pub enum LogbookFault {
    /// It cannot be reached, or does not answer in time.
    #[error("logbook {url} does not answer")]
    Away {
        /// What was asked.
        url: String,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// It refuses: bad input, unknown run, missing rights.
    #[error("logbook refuses {url}: {text}")]
    Refused {
        /// What was asked.
        url: String,
        /// Its own words.
        text: String,
    },
    /// Its answer is not what it should be.
    #[error("logbook's answer to {url} cannot be understood: {text}")]
    Odd {
        /// What was asked.
        url: String,
        /// Why.
        text: String,
    },
}

/// A logbook.
#[derive(Clone, Debug)]
pub struct LogbookClient {
    base: String,
    user: Option<String>,
    token: Option<String>,
    client: reqwest::Client,
}

impl LogbookClient {
    /// `base` is the address up to and with the first `lgbk`. Each call gets `limit`.
    pub fn new(
        base: &str,
        user: Option<String>,
        token: Option<String>,
        limit: Duration,
    ) -> Result<Self, reqwest::Error> {
        let client = reqwest::Client::builder().timeout(limit).build()?;
        Ok(Self { base: base.trim_end_matches('/').to_owned(), user, token, client })
    }

    /// What the logbook knows of a run.
    pub async fn run(&self, key: &RunKey) -> Result<RunAnswer, LogbookFault> {
        let url = format!("{}/lgbk/{}/ws/runs/{}", self.base, key.experiment, key.run);
        let value = self.ask(&url).await?;
        let odd = |text: String| LogbookFault::Odd { url: url.clone(), text };
        let run = match value.as_object() {
            Some(document) => {
                Some(run_doc(&key.experiment, document).map_err(|error| odd(error.to_string()))?)
            }
            None => None,
        };
        let url = format!("{}/lgbk/{}/ws/{}/files", self.base, key.experiment, key.run);
        let value = self.ask(&url).await?;
        let files = value.as_array().ok_or_else(|| odd("no list of files".to_owned()))?;
        let files: Vec<FileDoc> = files
            .iter()
            .filter_map(Value::as_object)
            .filter_map(|document| match file_doc(&key.experiment, document, false) {
                Ok(file) => Some(file),
                Err(error) => {
                    tracing::warn!(run = %key, %error, "file of the logbook's list is refused");
                    None
                }
            })
            .collect();
        Ok(RunAnswer { run, files })
    }

    /// All runs of an experiment that the logbook knows.
    pub async fn runs(&self, experiment: &Experiment) -> Result<Vec<RunDoc>, LogbookFault> {
        let url = format!("{}/lgbk/{experiment}/ws/runs?includeParams=false", self.base);
        let value = self.ask(&url).await?;
        let odd = || LogbookFault::Odd { url: url.clone(), text: "no list of runs".to_owned() };
        let runs = value.as_array().ok_or_else(odd)?;
        Ok(runs.iter().filter_map(Value::as_object).filter_map(|run| run_doc(experiment, run).ok()).collect())
    }

    /// Tells the logbook that a file is at a site.
    pub async fn report(&self, run: &RunKey, at: &FileAtSite) -> Result<(), LogbookFault> {
        let base = format!("{}/lgbk/{}/ws/file_available_at_location", self.base, run.experiment);
        let parameters = [
            ("location", at.site.to_string()),
            ("run_num", run.run.to_string()),
            ("file_path", at.lfn.to_string()),
        ];
        let url = reqwest::Url::parse_with_params(&base, parameters)
            .map_err(|error| LogbookFault::Odd { url: base, text: error.to_string() })?;
        self.ask(url.as_str()).await.map(drop)
    }

    async fn ask(&self, url: &str) -> Result<Value, LogbookFault> {
        let away = |source| LogbookFault::Away { url: url.to_owned(), source };
        let mut request = self.client.get(url);
        if let Some(user) = &self.user {
            request = request.header("REMOTE-USER", user);
        }
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        let response = request.send().await.map_err(away)?;
        let status = response.status();
        let body = response.bytes().await.map_err(away)?;
        if !status.is_success() {
            let text = String::from_utf8_lossy(&body).chars().take(300).collect();
            return Err(LogbookFault::Refused { url: url.to_owned(), text });
        }
        let mended = lightrail_topics::logbook::mend(&body);
        let answer: Value = serde_json::from_slice(&mended)
            .map_err(|error| LogbookFault::Odd { url: url.to_owned(), text: error.to_string() })?;
        if answer.get("success").and_then(Value::as_bool) == Some(true) {
            Ok(answer.get("value").cloned().unwrap_or(Value::Null))
        } else {
            let text = answer.get("errormsg").and_then(Value::as_str).unwrap_or("no reason given").to_owned();
            Err(LogbookFault::Refused { url: url.to_owned(), text })
        }
    }
}
