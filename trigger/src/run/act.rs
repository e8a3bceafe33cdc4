//! What follows from a plan: its messages, each batch in one transaction, and then what these stand for. An error that says that
//! nothing was committed is tried again with the next plan; one that says that somebody else decides ends the life.

use std::sync::atomic::Ordering;
use std::time::Instant;

use lightrail_topics::events::{Job, JobStep};
use lightrail_topics::kafka::{KafkaError, PublishError, Publisher};
use lightrail_topics::{Message, message};

use super::jobs::Work;
use super::{LifeEnd, MOST_DOUBLED, RIVAL_SPEAKS, Service, now};
use crate::decide::{Action, Book, Input};
use crate::facility::Report;
use crate::follow::{self, Counting};
use crate::metric;

impl Service {
    /// Plans, and does what is planned. Whether something has changed by that.
    pub(super) async fn act(
        &mut self,
        publisher: &Publisher,
        book: &mut Book,
        work: &mut Work,
    ) -> Result<bool, LifeEnd> {
        let begin = Instant::now();
        let actions = book.plan(now());
        metrics::histogram!(metric::DECIDE_SECONDS).record(begin.elapsed().as_secs_f64());
        let mut is_new = false;
        for action in actions {
            match action {
                Action::Publish(steps) => {
                    let messages = steps.iter().map(|job| message::job(job, &self.source)).collect();
                    if let Some(error) = self.commit(publisher, messages, work.epoch).await? {
                        tracing::warn!(%error, "steps of jobs are not published yet");
                        continue;
                    }
                    is_new = true;
                    for job in steps {
                        said(&job);
                        let (identity, is_over) = (job.identity.clone(), job.step.is_final());
                        book.take(Input::Job(job), now());
                        if let Some(why) = book.stopped_job(&identity).filter(|_| is_over) {
                            tracing::error!(%identity, why, "job is not tried again");
                            metrics::counter!(metric::STOPPED).increment(1);
                        }
                    }
                }
                Action::Route(experiment, route) => {
                    let said = message::route_override(&experiment, Some(&route), &self.source, route.at);
                    if let Some(error) = self.commit(publisher, vec![said], work.epoch).await? {
                        tracing::warn!(%error, "where data go is not published yet");
                        continue;
                    }
                    let (to, expires) = (&route.to, route.expires);
                    tracing::warn!(%experiment, ?to, %expires, reason = route.reason, "data go elsewhere");
                    metrics::counter!(metric::FAILOVERS).increment(1);
                    is_new = true;
                    book.take(Input::Override(experiment, Some(route)), now());
                }
                Action::Submit(name) => self.submit(book, work, name),
                Action::Fence(name) => self.fence(book, work, name),
                Action::End(name, id, how) => self.end(book, work, name, id, how),
            }
        }
        for site in self.places.keys() {
            metrics::gauge!(metric::JOBS, "site" => site.to_string())
                .set(u32::try_from(book.open_at(site)).unwrap_or(u32::MAX));
        }
        Ok(is_new)
    }

    /// Says how far results are counted, when that is due.
    pub(super) async fn say_counts(
        &self,
        publisher: &Publisher,
        book: &Book,
        counting: &mut Counting,
        epoch: u64,
    ) -> Result<(), LifeEnd> {
        let due = counting.due(book, now());
        if due.is_empty() {
            return Ok(());
        }
        let messages = due.iter().map(|counted| message::counted(counted, &self.source)).collect();
        match self.commit(publisher, messages, epoch).await? {
            None => counting.said(&due, now()),
            Some(error) => tracing::warn!(%error, "how far results are counted is not published yet"),
        }
        Ok(())
    }

    /// Commits messages in one transaction. An error that is given back says that nothing of them is there, and to try again.
    pub(super) async fn commit(
        &self,
        publisher: &Publisher,
        messages: Vec<Message>,
        epoch: u64,
    ) -> Result<Option<KafkaError>, LifeEnd> {
        match publisher.publish(messages).await {
            Ok(_) => {
                self.fenced.store(0, Ordering::Relaxed);
                Ok(None)
            }
            Err(PublishError::Retriable(error)) => Ok(Some(error)),
            Err(PublishError::Fenced(why)) => {
                // A rival says its epoch as soon as it has read what is there; a transaction of our own that took too long says none.
                // Each time it is waited for longer: two that both read for long would fence each other for ever.
                let times = self.fenced.fetch_add(1, Ordering::Relaxed).min(MOST_DOUBLED);
                tokio::time::sleep(RIVAL_SPEAKS * 2_u32.pow(times)).await;
                let patience = self.config.decide.patience;
                let newest = follow::newest_epoch(&self.connection, &self.topics, patience).await?;
                if newest > epoch {
                    return Err(LifeEnd::Rival(newest));
                }
                Err(LifeEnd::Publish(PublishError::Fenced(why)))
            }
            Err(error) => Err(LifeEnd::Publish(error)),
        }
    }

    /// Says what a report on a facility has changed.
    pub(super) async fn say_facility(
        &self,
        publisher: &Publisher,
        book: &mut Book,
        report: &Report,
        epoch: u64,
    ) -> Result<(), LifeEnd> {
        let news = book.facility_news(report, now());
        if news.is_empty() {
            return Ok(());
        }
        let messages = news.iter().map(|status| message::facility_status(status, &self.source)).collect();
        if let Some(error) = self.commit(publisher, messages, epoch).await? {
            tracing::warn!(%error, "how a facility is is not published yet");
            return Ok(());
        }
        for status in news {
            let (resource, health) = (status.key(), status.health.word());
            tracing::info!(%resource, health, text = status.text, outages = status.outages.len(), "facility");
            book.take(Input::Facility(status), now());
        }
        Ok(())
    }
}

fn said(job: &Job) {
    let (name, identity, step) = (&job.job, &job.identity, job.step.word());
    tracing::info!(job = %name, %identity, step, what = ?job.step, "job");
    metrics::counter!(metric::STEPS, "step" => step).increment(1);
    if let JobStep::Ended { waited: Some(waited), .. } = &job.step {
        metrics::counter!(metric::WAITED_NODE_SECONDS).increment(*waited);
    }
}
