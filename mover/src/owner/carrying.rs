//! The owner's attempts: each a task that ends by an input; their fate for breakers, delays and the ledger.

use std::time::Duration;

use lightrail_topics::{AttemptId, FileAtSite, Millis, RunKey, SiteName, TransferId};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{Input, Owner};
use crate::carry::{Carried, Job, Report, carry};
use crate::fault::{Fault, FaultClass};
use crate::ledger::{Order, Outcome};

/// An attempt under way.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) attempt: AttemptId,
    pub(super) from: SiteName,
    pub(super) since: Millis,
    pub(super) cancel: CancellationToken,
    pub(super) report: watch::Receiver<Report>,
    /// Whether it was called back: its end is no failure.
    pub(super) called_back: bool,
    /// The endpoints of which it is the probe.
    pub(super) probes: Vec<String>,
}

impl Owner {
    pub(super) fn start_attempt(&mut self, order: Order, probes: Vec<String>) {
        let at = order.transfer.at();
        let (id, run, attempt, from) =
            (order.transfer.clone(), order.run.clone(), order.attempt, order.from.clone());
        let sites = (self.parts.sites.site(&from).cloned(), self.parts.sites.site(&at.site).cloned());
        let engine = self.parts.engines.get(&at.site).cloned();
        let ((Some(from_site), Some(to_site)), Some(engine)) = (sites, engine) else {
            // A route can name a site that this mover does not know.
            let text = format!("site {} or {from} is not configured at this mover", at.site);
            let fault = Fault::new(FaultClass::Permanent, "unknown-site", text);
            self.ended(&run, &id, attempt, Err(fault), self.now());
            self.parts.sites.probed(&probes, self.now());
            return;
        };
        let job = Job {
            transfer: order.transfer,
            attempt,
            mover: self.parts.mover.clone(),
            from: from_site,
            to: to_site,
            size: order.size,
            checksum: order.checksum,
            avoid: [order.avoid, self.parts.sites.left_alone(self.now())].concat(),
            prefer: order.server,
            earlier_temporaries: order.temporaries,
            stale: order.stale,
        };
        let (cancel, (reporter, report)) = (CancellationToken::new(), watch::channel(Report::start()));
        let since = self.now();
        let running =
            Running { attempt, from, since, cancel: cancel.clone(), report, called_back: false, probes };
        self.running.insert(at, running);
        let (patience, clock, inputs) = (self.parts.patience, self.parts.clock.clone(), self.inputs.clone());
        tokio::spawn(async move {
            let outcome = carry(&job, &*engine, &patience, &*clock, &reporter, &cancel).await;
            if let Some(inputs) = inputs.upgrade() {
                let _ = inputs.send(Input::Ended(run, id, attempt, outcome)).await;
            }
        });
    }

    pub(super) fn ended(
        &mut self,
        run: &RunKey,
        id: &TransferId,
        attempt: AttemptId,
        outcome: Result<Carried, Fault>,
        now: Millis,
    ) {
        let at = id.at();
        let mut called_back = false;
        let mut from = None;
        let (mut silent, mut probes) = (Vec::new(), Vec::new());
        if self.running.get(&at).is_some_and(|running| running.attempt == attempt) {
            if let Some(running) = self.running.remove(&at) {
                called_back = running.called_back;
                from = Some(running.from);
                probes = running.probes;
                silent.clone_from(&running.report.borrow().silent);
            }
        }
        self.parts.sites.asked(&id.site, from.as_ref(), (&silent, self.parts.patience.look), now);
        let outcome = match outcome {
            Ok(carried) => {
                self.parts.sites.worked(&id.site, from.as_ref(), &carried);
                Outcome::Verified(Box::new(carried))
            }
            Err(fault) if called_back || fault.is_cancelled() => Outcome::Interrupted,
            Err(fault) => {
                self.parts.sites.failed(&id.site, from.as_ref(), &fault, now);
                let labels = [("class", fault.class.name().to_owned()), ("code", fault.code.clone())];
                metrics::counter!(crate::metric::ATTEMPTS_FAILED, &labels).increment(1);
                let tries = self.parts.ledger.tries(run, id).saturating_add(1);
                let delay = if fault.retry_at_once() && tries == 1 {
                    Duration::ZERO
                } else {
                    self.parts.backoff.wait(tries, self.parts.rng.u64(..))
                };
                tracing::warn!(
                    run = %run, file = %id.lfn, site = %id.site, %attempt, class = %fault.class, code = fault.code,
                    endpoint = fault.endpoint, reason = fault.text, delay_ms = delay.as_millis(), "attempt failed"
                );
                Outcome::Failed(fault, delay)
            }
        };
        self.parts.sites.probed(&probes, now);
        if let Outcome::Verified(carried) = &outcome {
            let took = carried.verified_at.since(carried.started);
            metrics::counter!(crate::metric::FILES_AVAILABLE).increment(1);
            metrics::counter!(crate::metric::BYTES_AVAILABLE).increment(carried.size);
            metrics::histogram!(crate::metric::ATTEMPT_SECONDS).record(took.as_secs_f64());
            tracing::info!(
                run = %run, file = %id.lfn, site = %id.site, %attempt, bytes = carried.size,
                ms = took.as_millis(), "file available"
            );
        }
        let step = self.parts.ledger.ended(run, id, attempt, outcome, now);
        self.keep(step);
    }

    pub(super) fn call_back(&mut self, at: &FileAtSite, attempt: AttemptId) {
        if let Some(running) = self.running.get_mut(at).filter(|running| running.attempt == attempt) {
            running.called_back = true;
            running.cancel.cancel();
        }
    }

    /// Cancels every attempt and waits until they have cleared up, within the limit of one.
    pub(super) async fn call_all_back(&mut self) {
        for running in self.running.values() {
            running.cancel.cancel();
        }
        let limit = self.parts.patience.cancel.saturating_mul(2);
        let gone = async {
            for running in self.running.values_mut() {
                // The attempt's end drops the sender of its reports.
                while running.report.changed().await.is_ok() {}
            }
        };
        if tokio::time::timeout(limit, gone).await.is_err() {
            tracing::warn!("attempts did not end in time; what they leave is swept");
        }
    }
}
