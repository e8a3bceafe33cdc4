//! A running mover, asked by HTTP. What it does not know or refuses comes back as a failure in its own words.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, anyhow};
use lightrail_topics::RunKey;
use reqwest::StatusCode;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::Running;
use crate::config::{Config, ConfigError, Secret, SecretSource, SecretText};
use crate::http::{Action, WishBody};
use crate::view::{Readiness, RunFilter, RunView, TransferFilter, TransferView, WhyView, Wished};
use lightrail_service::command::Failure;

/// Longer than the mover takes to say that it cannot answer.
const ANSWERS_WITHIN: Duration = Duration::from_secs(15);

/// A running mover.
#[derive(Debug)]
pub(super) struct Remote {
    url: String,
    token: Option<SecretText>,
    client: reqwest::Client,
}

/// What a refusal looks like.
#[derive(Debug, Deserialize)]
struct Refused {
    error: String,
}

impl Remote {
    /// The mover that the arguments or its configuration name.
    pub(super) fn of(running: &Running) -> Result<Self, Failure> {
        let config = running.config.as_deref().map(read).transpose()?;
        let url = match (&running.url, &config) {
            (Some(url), _) => url.trim_end_matches('/').to_owned(),
            (None, Some(config)) => address(config),
            (None, None) => return Err(Failure::usage("where is the mover? say --config or --url")),
        };
        let from_file = running.token_file.as_ref().map(|file| SecretSource::File(file.clone()));
        let from_environment = std::env::var_os("LIGHTRAIL_MOVER_TOKEN")
            .map(|_| SecretSource::Env("LIGHTRAIL_MOVER_TOKEN".to_owned()));
        let secret = from_file
            .or(from_environment)
            .map(|source| Secret::new(source, "--token-file", 0))
            .or_else(|| config.and_then(|config| config.http.token));
        // One that cannot be read matters only to a wish, which the mover then refuses.
        let token = secret.and_then(|secret| match secret.read() {
            Ok(token) => Some(token),
            Err(why) => {
                eprintln!("without a token: {why}");
                None
            }
        });
        Self::at(url, token)
    }

    /// The mover at an address.
    pub(super) fn at(url: String, token: Option<SecretText>) -> Result<Self, Failure> {
        let client = reqwest::Client::builder().timeout(ANSWERS_WITHIN).no_proxy().build();
        Ok(Self { url, token, client: client.map_err(|why| Failure::Other(anyhow!(why)))? })
    }

    #[cfg(test)]
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// Whether it does its work.
    pub(super) async fn ready(&self) -> Result<Readiness, Failure> {
        let answer = self.send(self.client.get(format!("{}/readyz", self.url))).await?;
        // Not being ready is an answer too.
        let status = answer.status();
        let text = answer.text().await.with_context(|| format!("{} breaks off", self.url))?;
        match serde_json::from_str(&text) {
            Ok(readiness) => Ok(readiness),
            Err(_) => Err(refusal(status, &text)),
        }
    }

    /// Which runs there are.
    pub(super) async fn runs(&self, filter: &RunFilter) -> Result<Vec<RunView>, Failure> {
        self.read(self.client.get(format!("{}/runs", self.url)).query(filter)).await
    }

    /// Which transfers there are.
    pub(super) async fn transfers(&self, filter: &TransferFilter) -> Result<Vec<TransferView>, Failure> {
        self.read(self.client.get(format!("{}/transfers", self.url)).query(filter)).await
    }

    /// Why a run is not at its sites.
    pub(super) async fn why(&self, run: &RunKey) -> Result<WhyView, Failure> {
        self.read(self.client.get(format!("{}/why/{}/{}", self.url, run.experiment, run.run))).await
    }

    /// Wishes something.
    pub(super) async fn wish(&self, action: Action, body: &WishBody) -> Result<Wished, Failure> {
        let request = self.client.post(format!("{}{}", self.url, action.path())).json(body);
        let request = match &self.token {
            Some(token) => request.bearer_auth(token.expose()),
            None => request,
        };
        if self.token.is_none() {
            eprintln!("no token is known: say --token-file, or --config of a mover that has http.token_file");
        }
        self.read(request).await
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Result<reqwest::Response, Failure> {
        let sent = request.send().await.map_err(reqwest::Error::without_url);
        Ok(sent.with_context(|| format!("no mover answers at {}", self.url))?)
    }

    async fn read<T: DeserializeOwned>(&self, request: reqwest::RequestBuilder) -> Result<T, Failure> {
        let answer = self.send(request).await?;
        let status = answer.status();
        let text = answer.text().await.with_context(|| format!("{} breaks off", self.url))?;
        if !status.is_success() {
            return Err(refusal(status, &text));
        }
        let understood = serde_json::from_str(&text);
        Ok(understood.with_context(|| format!("what answers at {} is no mover of this version", self.url))?)
    }
}

/// A refusal in the mover's words. What it does not know, or does not understand, is the caller's mistake.
fn refusal(status: StatusCode, text: &str) -> Failure {
    let words = match serde_json::from_str::<Refused>(text) {
        Ok(refused) => refused.error,
        Err(_) => format!("the mover answers {status}: {}", text.chars().take(200).collect::<String>()),
    };
    match status {
        StatusCode::NOT_FOUND | StatusCode::BAD_REQUEST => Failure::usage(words),
        _ => Failure::Other(anyhow!(words)),
    }
}

/// Reads a configuration for what it says of HTTP. Secrets that only the mover can read are no fault here.
fn read(file: &std::path::Path) -> Result<Config, Failure> {
    let text = std::fs::read_to_string(file)
        .map_err(|source| ConfigError::Unreadable { path: file.to_owned(), source })?;
    Ok(Config::parse(&text).map_err(|faults| ConfigError::Faults { path: file.to_owned(), faults })?)
}

fn address(config: &Config) -> String {
    let mut listen = config.http.listen;
    if listen.ip().is_unspecified() {
        let loopback: IpAddr =
            if listen.is_ipv4() { [127, 0, 0, 1].into() } else { std::net::Ipv6Addr::LOCALHOST.into() };
        listen.set_ip(loopback);
    }
    format!("http://{listen}")
}
