//! One call of a facility's HTTP interface: one limit, one answer in JSON, and what is known where there is none. Never calls
//! twice: whether a call may be repeated is known by whoever makes it.

use std::time::Duration;

use reqwest::header::RETRY_AFTER;
use reqwest::{Client, Method, RequestBuilder, redirect};
use serde_json::Value;

/// How much of what a facility says in words is told.
const TOLD: usize = 300;

/// Why a call gave no answer that can be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WebFault {
    /// No connection: nothing was done there.
    #[error("{url} cannot be reached")]
    Unreached {
        /// What was called.
        url: String,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// It was called, and nobody knows what was done.
    #[error("{url} does not answer")]
    NoAnswer {
        /// What was called.
        url: String,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// It says no.
    #[error("{url} answers {status}: {text}")]
    Status {
        /// What was called.
        url: String,
        /// The HTTP status.
        status: u16,
        /// Its own words.
        text: String,
        /// After which time it wants to be asked again.
        retry_after: Option<Duration>,
    },
    /// It answers what cannot be understood: nobody knows what was done.
    #[error("{url} answers what is not what it should be: {text}")]
    Odd {
        /// What was called.
        url: String,
        /// What it is.
        text: String,
    },
}

impl WebFault {
    /// The HTTP status, where it says no.
    pub(crate) fn status(&self) -> Option<u16> {
        match self {
            Self::Status { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// With all its causes, in one line.
    pub(crate) fn told(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            text = format!("{text}: {error}");
            cause = error.source();
        }
        text
    }
}

/// What came back.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    /// Null where the body is empty.
    pub(crate) body: Value,
    /// What was called.
    pub(crate) url: String,
}

impl Answer {
    /// That this is not what was to be answered.
    pub(crate) fn odd(&self, why: &str) -> WebFault {
        let body: String = self.body.to_string().chars().take(TOLD).collect();
        WebFault::Odd { url: self.url.clone(), text: format!("{why}: {body}") }
    }

    /// The text under a key of the answer.
    pub(crate) fn text(&self, key: &str) -> Option<&str> {
        self.body.get(key).and_then(Value::as_str)
    }
}

/// Who calls.
#[derive(Clone, Debug)]
pub(crate) struct Web {
    client: Client,
}

impl Web {
    /// Each call gets `limit`. A redirect is an answer like any other: what is posted goes nowhere else.
    ///
    /// # Errors
    /// When TLS cannot be used here.
    pub(crate) fn new(limit: Duration) -> Result<Self, reqwest::Error> {
        let client = Client::builder().timeout(limit).redirect(redirect::Policy::none()).build()?;
        Ok(Self { client })
    }

    /// A call, to be completed and sent.
    pub(crate) fn call(&self, method: Method, url: &str) -> RequestBuilder {
        self.client.request(method, url)
    }

    /// Sends a call.
    ///
    /// # Errors
    /// By what is known then.
    pub(crate) async fn send(&self, request: RequestBuilder) -> Result<Answer, WebFault> {
        let (client, request) = request.build_split();
        let request =
            request.map_err(|source| WebFault::Unreached { url: "an address".to_owned(), source })?;
        let mut plain = request.url().clone();
        plain.set_query(None);
        let url = plain.to_string();
        let no_answer = |source: reqwest::Error| {
            let source = source.without_url();
            if source.is_connect() {
                WebFault::Unreached { url: url.clone(), source }
            } else {
                WebFault::NoAnswer { url: url.clone(), source }
            }
        };
        let response = client.execute(request).await.map_err(no_answer)?;
        let (status, headers) = (response.status(), response.headers().clone());
        let body = response.bytes().await.map_err(no_answer)?;
        let text = || -> String {
            let text = String::from_utf8_lossy(&body);
            text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(TOLD).collect()
        };
        if !status.is_success() {
            let seconds = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
            let retry_after = seconds.map(Duration::from_secs);
            return Err(WebFault::Status { url, status: status.as_u16(), text: text(), retry_after });
        }
        let body = if body.is_empty() { Ok(Value::Null) } else { serde_json::from_slice(&body) };
        match body {
            Ok(body) => Ok(Answer { body, url }),
            Err(error) => Err(WebFault::Odd { url, text: format!("no JSON ({error}): {}", text()) }),
        }
    }
}
