//! How facilities are, asked of each site's own interface: NERSC's Superfacility API, DOE's IRI, or else whether its scheduler answers.
//! One task per site asks from time to time and reports in our words. Decides nothing: what a report means is the book's business.

mod iri;
mod sfapi;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use lightrail_topics::events::{Health, KnownOutage, StatusBy};
use lightrail_topics::{LogTime, Millis, ResourceName, SiteName};
use reqwest::Method;
use serde_json::Value;
use tokio::sync::mpsc;

use crate::executor::Executor;
use crate::web::{Answer, Web, WebFault};

/// The limit of each call.
const WITHIN: Duration = Duration::from_secs(30);

/// Who is asked how a site is. Their status needs no token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StatusAt {
    /// The Superfacility API at this address, for these of its resources.
    Sfapi(String, Vec<ResourceName>),
    /// The IRI Facility API at this address, for these of its resources.
    Iri(String, Vec<ResourceName>),
    /// The scheduler, under this name: whether it answers.
    Scheduler(ResourceName),
}

/// How one part of a facility is, as it says itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Which.
    pub resource: ResourceName,
    /// How.
    pub health: Health,
    /// In its own words.
    pub text: String,
    /// Outages that are not over, by their begin.
    pub outages: Vec<KnownOutage>,
}

/// How a site's facility is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The site.
    pub site: SiteName,
    /// Who was asked.
    pub by: StatusBy,
    /// All parts that were asked for.
    pub parts: Vec<Part>,
}

/// Whom a site's watcher asks.
#[derive(Debug)]
pub(crate) struct Watcher {
    site: SiteName,
    at: StatusAt,
    web: Web,
    executor: Arc<dyn Executor>,
}

impl Watcher {
    /// Asks nobody yet.
    ///
    /// # Errors
    /// When TLS cannot be used here.
    pub(crate) fn new(
        site: SiteName,
        at: StatusAt,
        executor: Arc<dyn Executor>,
    ) -> Result<Self, reqwest::Error> {
        Ok(Self { site, at, web: Web::new(WITHIN)?, executor })
    }

    /// Asks from time to time, and reports, until nobody wants it.
    pub(crate) async fn watch(self, every: Duration, told: mpsc::UnboundedSender<Report>) {
        let mut tick = tokio::time::interval(every);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            let report = self.ask(crate::run::now()).await;
            if told.send(report).is_err() {
                return;
            }
        }
    }

    /// Asks once. What cannot be asked is told as unknown, and why.
    pub(crate) async fn ask(&self, now: Millis) -> Report {
        let report = |by, parts| Report { site: self.site.clone(), by, parts };
        match &self.at {
            StatusAt::Sfapi(api, resources) => {
                let parts = match self.sfapi(api, resources, now).await {
                    Ok(parts) => parts,
                    Err(fault) => resources.iter().map(|name| unknown(name, &fault.told())).collect(),
                };
                report(StatusBy::Sfapi, parts)
            }
            StatusAt::Iri(api, resources) => {
                let mut parts = Vec::new();
                for name in resources {
                    let part = self.iri(api, name, now).await;
                    parts.push(part.unwrap_or_else(|fault| unknown(name, &fault.told())));
                }
                report(StatusBy::Iri, parts)
            }
            StatusAt::Scheduler(name) => {
                let part = match self.executor.look(&BTreeSet::new()).await {
                    Ok(_) => Part {
                        resource: name.clone(),
                        health: Health::Up,
                        text: String::new(),
                        outages: Vec::new(),
                    },
                    Err(error) => unknown(name, &error.to_string()),
                };
                report(StatusBy::Scheduler, vec![part])
            }
        }
    }

    async fn get(&self, url: &str) -> Result<Answer, WebFault> {
        self.web.send(self.web.call(Method::GET, url)).await
    }

    async fn sfapi(&self, api: &str, resources: &[ResourceName], now: Millis) -> Result<Vec<Part>, WebFault> {
        let status = self.get(&format!("{api}/status")).await?;
        let planned = self.get(&format!("{api}/status/outages/planned")).await?;
        let known = self.get(&format!("{api}/status/outages")).await?;
        let part = |name: &ResourceName| sfapi::part(name, &status.body, [&planned.body, &known.body], now);
        Ok(resources.iter().map(part).collect())
    }

    async fn iri(&self, api: &str, name: &ResourceName, now: Millis) -> Result<Part, WebFault> {
        let resource = self.get(&format!("{api}/status/resources/{name}")).await?;
        let incidents = self.get(&format!("{api}/status/incidents?resource_id={name}")).await;
        let incidents = match incidents {
            Ok(incidents) => incidents.body,
            // None matches.
            Err(fault) if fault.status() == Some(404) => Value::Null,
            Err(fault) => return Err(fault),
        };
        Ok(iri::part(name, &resource.body, &incidents, now))
    }
}

/// A part of which nothing is known, and why.
fn unknown(resource: &ResourceName, text: &str) -> Part {
    Part { resource: resource.clone(), health: Health::Unknown, text: short(text), outages: Vec::new() }
}

/// One line, not a long one.
fn short(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(300).collect()
}

fn instant(object: &Value, key: &str) -> Option<Millis> {
    object.get(key)?.as_str()?.parse::<LogTime>().ok().map(LogTime::millis)
}

fn text(object: &Value, key: &str) -> String {
    short(object.get(key).and_then(Value::as_str).unwrap_or_default())
}

/// Those that are not over, by their begin, each once.
fn not_over(mut outages: Vec<KnownOutage>, now: Millis) -> Vec<KnownOutage> {
    outages.retain(|outage| outage.to.is_none_or(|to| now < to));
    outages.sort_by_key(|outage| (outage.from, outage.to));
    outages.dedup_by_key(|outage| (outage.from, outage.to));
    outages
}
