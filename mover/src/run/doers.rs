//! Those who do what the ledger asks for and do not belong to an attempt: they ask the logbook, report to it, look at
//! sources, and learn sites' data servers. Each thing has a limit; what is lost is asked for again by the ledger.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use lightrail_topics::{Experiment, FileAtSite, Millis, RunKey, SiteName};
use tokio::sync::{Semaphore, mpsc};

use crate::carry::{Engine, Place, Site};
use crate::ledger::Effect;
use crate::logbook::{LogbookClient, LogbookFault};
use crate::owner::Input;

/// What the doers need.
#[derive(Debug)]
pub(super) struct Doers {
    pub(super) logbook: Option<LogbookClient>,
    pub(super) reports: bool,
    pub(super) source: Site,
    pub(super) source_engine: Arc<dyn Engine>,
    pub(super) call: Duration,
    pub(super) inputs: mpsc::Sender<Input>,
}

/// How many calls to the logbook are under way at once: some 34 a second were seen to be taken without complaint.
const CALLS: usize = 8;
/// How often a report is tried; after that the logbook learns of the file when it asks.
const REPORT_TRIES: u32 = 8;

impl Doers {
    /// Does effects until nobody sends any more.
    pub(super) async fn work(self, mut effects: mpsc::UnboundedReceiver<Effect>) {
        let calls = Arc::new(Semaphore::new(CALLS));
        // Reports go out one after the other: small files first, big ones last, as they were asked for.
        let (reports, queue) = mpsc::unbounded_channel();
        if let (Some(logbook), true) = (self.logbook.clone(), self.reports) {
            tokio::spawn(report(logbook, queue));
        }
        while let Some(effect) = effects.recv().await {
            match effect {
                Effect::AskLogbook(run) => {
                    let Some(logbook) = self.logbook.clone() else { continue };
                    let (inputs, calls) = (self.inputs.clone(), calls.clone());
                    tokio::spawn(async move {
                        let _permit = calls.acquire().await;
                        match logbook.run(&run).await {
                            Ok(answer) => drop(inputs.send(Input::Answer(run, answer)).await),
                            Err(error) => {
                                let why = chain(&error);
                                tracing::warn!(run = %run, error = why, "the logbook does not tell of a run");
                                let _ = inputs.send(Input::NoAnswer(run, why)).await;
                            }
                        }
                    });
                }
                Effect::LookAtSource(run, lfn) => {
                    let (engine, site, inputs, call) =
                        (self.source_engine.clone(), self.source.clone(), self.inputs.clone(), self.call);
                    tokio::spawn(async move {
                        let place = Place { site: &site, server: None };
                        let path = site.path(&lfn);
                        match tokio::time::timeout(call, engine.stat(place, &path)).await {
                            Ok(Ok(Some(stat))) => {
                                let _ = inputs.send(Input::Source(run, lfn, stat.size, stat.mtime)).await;
                            }
                            Ok(Ok(None)) => {
                                tracing::info!(file = %lfn, "registered again, but not at the source now")
                            }
                            Ok(Err(fault)) => {
                                tracing::warn!(file = %lfn, reason = fault.text, "source not looked at")
                            }
                            Err(_) => tracing::warn!(file = %lfn, "source not looked at: no answer in time"),
                        }
                    });
                }
                Effect::Report(at) => {
                    if let Some(run) = at.lfn.run() {
                        let run = RunKey { experiment: at.lfn.experiment(), run };
                        let _ = reports.send((run, at));
                    }
                }
                Effect::CallBack(..) => {}
            }
        }
    }
}

async fn report(logbook: LogbookClient, mut queue: mpsc::UnboundedReceiver<(RunKey, FileAtSite)>) {
    while let Some((run, at)) = queue.recv().await {
        let mut wait = Duration::from_millis(500);
        for left in (0..REPORT_TRIES).rev() {
            match logbook.report(&run, &at).await {
                Ok(()) => {
                    tracing::debug!(file = %at.lfn, site = %at.site, "reported to the logbook");
                    break;
                }
                Err(error @ LogbookFault::Refused { .. }) => {
                    tracing::warn!(file = %at.lfn, site = %at.site, error = %chain(&error), "report refused");
                    break;
                }
                Err(error) => {
                    tracing::warn!(file = %at.lfn, left, error = %chain(&error), "report not taken yet")
                }
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(Duration::from_secs(60));
        }
    }
}

/// A time whose messages of the logbook are dropped from its topics.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gap {
    pub(super) from: Millis,
    pub(super) until: Millis,
}

/// Asks the logbook for the runs of a time that its topics do not tell any more.
pub(super) async fn fill_gap(
    logbook: LogbookClient,
    gap: Gap,
    experiments: Vec<Experiment>,
    inputs: mpsc::Sender<Input>,
) {
    for experiment in experiments {
        let mut wait = Duration::from_secs(1);
        let runs = loop {
            match logbook.runs(&experiment).await {
                Ok(runs) => break runs,
                Err(error) => tracing::warn!(%experiment, error = %chain(&error), "runs not listed yet"),
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(Duration::from_secs(60));
        };
        let in_gap = runs.into_iter().filter(|run| {
            let began = run.begin_time.map(lightrail_topics::LogTime::millis);
            began.is_none_or(|at| at >= gap.from && at <= gap.until)
        });
        for doc in in_gap {
            let run = RunKey { experiment: experiment.clone(), run: doc.num };
            match logbook.run(&run).await {
                Ok(answer) => {
                    tracing::info!(run = %run, "run of the dropped time taken from the logbook");
                    if inputs.send(Input::Answer(run, answer)).await.is_err() {
                        return;
                    }
                }
                Err(error) => {
                    tracing::warn!(run = %run, error = %chain(&error), "run of the dropped time not read")
                }
            }
        }
    }
}

/// Learns the data servers of every site now and then: one may join, or go.
pub(super) async fn learn_servers(
    sites: Vec<Site>,
    engines: HashMap<SiteName, Arc<dyn Engine>>,
    call: Duration,
    inputs: mpsc::Sender<Input>,
) {
    let mut wait = Duration::from_secs(1);
    loop {
        let mut all = true;
        for site in &sites {
            let Some(engine) = engines.get(&site.name) else { continue };
            match tokio::time::timeout(call, engine.servers(site)).await {
                Ok(Ok(servers)) => {
                    if inputs.send(Input::Servers(site.name.clone(), servers)).await.is_err() {
                        return;
                    }
                }
                Ok(Err(fault)) => {
                    all = false;
                    tracing::warn!(site = %site.name, reason = fault.text, "data servers not learnt");
                }
                Err(_) => {
                    all = false;
                    tracing::warn!(site = %site.name, "data servers not learnt: no answer in time");
                }
            }
        }
        tokio::time::sleep(wait).await;
        // A site that is away is asked more often: somebody may wait for it.
        wait = (wait * 2).min(if all { Duration::from_secs(30) } else { Duration::from_secs(4) });
    }
}

/// An error with its causes, for a log line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text.push_str(": ");
        text.push_str(&next.to_string());
        cause = next.source();
    }
    text
}
