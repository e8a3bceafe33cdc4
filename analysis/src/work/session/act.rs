//! What the decider says, done: reads and threads begun, results made, transactions published, the lag looked at.

use std::sync::Arc;
use std::time::{Duration, Instant};

use lightrail_topics::Message;
use lightrail_topics::events::{ImageResult, Outcome, Stage};
use lightrail_topics::kafka::{Position, PublishError};

use super::super::decide::{Action, Commit, Event, Lane, Why};
use super::super::held::{Output, now};
use super::super::line::Ticket;
use super::super::metric;
use super::super::stages::{Bad, Worked};
use super::super::threads::Assigned;
use super::{End, Session, Told};

/// Live images behind that are counted one by one; more are known by their offsets.
const COUNTED: u64 = 256;
impl Session<'_> {
    pub(super) fn act(&mut self, action: Action) {
        match action {
            Action::Read(ticket) => self.read(ticket),
            Action::Compute(ticket) => self.compute(ticket),
            Action::TimedOut(ticket) => {
                self.crew.threads.give_up(ticket);
                let Some(held) = self.images.get(&ticket) else { return };
                let stage = held.progress.stage();
                tracing::warn!(image = %held.image.key(), ?stage, "image took longer than its trial allows");
                self.finish(ticket, Err(Bad::timeout(stage)));
            }
            Action::Crashed(ticket, times) => {
                let Some(held) = self.images.get(&ticket) else { return };
                tracing::error!(image = %held.image.key(), times, "image has ended its worker's process each time");
                let cause = format!("it was begun {times} times, and each time its process ended");
                self.finish(ticket, Err(Bad::new(Outcome::Crashed, Stage::Read, cause)));
            }
            Action::Forget(ticket) => self.forget(ticket),
            Action::Commit(commit) => self.commit(commit),
            Action::Look => {
                let (life, tell) = (self.life, self.tell.clone());
                let group = Lane::Live.group(&life.topics, &life.identity.site);
                let (admin, topic) = (life.admin.clone(), self.lanes[Lane::Live as usize].topic.clone());
                self.tasks.spawn(async move {
                    let _ = tell.send(Told::Looked(admin.lag(&group, &topic, COUNTED).await));
                });
            }
            Action::Release(lane) => self.lanes[lane as usize].release(),
            Action::Left(why) => {
                let end = match (why, self.away.take()) {
                    (Why::Door, Some(file)) => End::Door(file),
                    (Why::Stuck, _) => End::Stuck,
                    _ => End::Asked,
                };
                self.ends(end);
            }
        }
    }

    fn read(&mut self, ticket: Ticket) {
        let Some(held) = self.images.get_mut(&ticket) else { return };
        let (reading, image, tell) = (self.reading.clone(), held.image.clone(), self.tell.clone());
        let task = self.tasks.spawn(async move {
            let outcome = reading.read(image).await;
            let _ = tell.send(Told::Read(ticket, outcome));
        });
        held.take(task);
    }

    fn compute(&mut self, ticket: Ticket) {
        let Some(held) = self.images.get_mut(&ticket) else { return };
        let (progress, limit) = (held.progress.clone(), held.limit);
        let Some(job) = held.begin().map(Arc::new) else { return };
        self.crew.threads.assign(Assigned { ticket, job, progress, limit });
    }

    fn forget(&mut self, ticket: Ticket) {
        self.outputs.remove(&ticket);
        if let Some(reading) = self.images.remove(&ticket).and_then(|held| held.reading) {
            reading.abort();
        }
    }

    /// Makes an image's result; it waits for its transaction.
    pub(super) fn finish(&mut self, ticket: Ticket, outcome: Result<Worked, Bad>) {
        let Some(held) = self.images.remove(&ticket) else { return };
        let by = (self.life.identity.site.clone(), self.life.identity.slot.clone());
        let (result, at) = held.result(&by, outcome);
        let output = Output::result(held.lane, result, at, &self.life.identity.source());
        self.outputs.insert(ticket, output);
    }

    fn commit(&mut self, commit: Commit) {
        let Commit { lane, tickets, positions } = commit;
        let doing = &self.lanes[lane as usize];
        let Some(group) = doing.group.clone() else { return };
        let positions = positions.into_iter().map(|(partition, next, note)| Position {
            topic: doing.topic.clone(),
            partition,
            next,
            note: note.to_string(),
        });
        let positions: Vec<Position> = positions.collect();
        let messages: Vec<Message> =
            tickets.iter().filter_map(|ticket| Some(self.outputs.get(ticket)?.message.clone())).collect();
        self.publishing = tickets;
        let (publisher, tell) = (Arc::clone(&self.publisher), self.tell.clone());
        self.tasks.spawn(async move {
            let begun = Instant::now();
            let outcome = publisher.publish_with_positions(messages, positions, group).await;
            let _ = tell.send(Told::Published(outcome.map(drop), begun.elapsed()));
        });
    }

    /// A transaction has ended.
    pub(super) fn published(&mut self, outcome: Result<(), PublishError>, took: Duration) {
        let tickets = std::mem::take(&mut self.publishing);
        let ended = if outcome.is_ok() { "committed" } else { "aborted" };
        metrics::counter!(metric::TRANSACTIONS, "outcome" => ended).increment(1);
        match outcome {
            Ok(()) => {
                metrics::histogram!(metric::TRANSACTION_SECONDS).record(took.as_secs_f64());
                for ticket in tickets {
                    if let Some(output) = self.outputs.remove(&ticket) {
                        count(&output);
                    }
                }
                self.step(Event::Committed);
            }
            Err(PublishError::Retriable(error)) => {
                tracing::warn!(%error, "results are not committed; they are tried again");
                self.step(Event::NotCommitted);
            }
            Err(PublishError::Refused { index, why }) => {
                let with_message = tickets.iter().filter(|ticket| self.outputs.contains_key(ticket));
                if let Some(ticket) = with_message.copied().nth(index) {
                    let source = self.life.identity.source();
                    let shorter =
                        self.outputs.get(&ticket).and_then(|output| output.refused(&why, &source, now()));
                    match shorter {
                        Some(output) => drop(self.outputs.insert(ticket, output)),
                        None => drop(self.outputs.remove(&ticket)),
                    }
                }
                tracing::error!(why, "kafka refuses a result");
                self.step(Event::NotCommitted);
            }
            // By a successor, or since our own transaction was open for too long: the groups tell.
            Err(PublishError::Fenced(why)) => self.ends(End::Fenced(why)),
            Err(error @ PublishError::Fatal(_)) => self.ends(End::Again(error.to_string())),
        }
    }
}

fn count(output: &Output) {
    let Some(result) = &output.result else { return };
    let ImageResult { outcome, times, .. } = result;
    let outcome = match outcome {
        Outcome::Hit => "hit",
        Outcome::Miss => "miss",
        Outcome::Timeout => "timeout",
        Outcome::Crashed => "crashed",
        Outcome::Unreadable => "unreadable",
        Outcome::Refused => "refused",
        Outcome::Failed => "failed",
    };
    metrics::counter!(metric::RESULTS, "lane" => output.lane.name(), "outcome" => outcome).increment(1);
    let parts = [
        ("waited", Some(times.waited)),
        ("read", times.read),
        ("queued", times.queued),
        ("calibrate", times.calibrate),
        ("spotfind", times.spotfind),
        ("decide", times.decide),
    ];
    for (part, micros) in parts {
        if let Some(micros) = micros {
            let seconds = Duration::from_micros(micros).as_secs_f64();
            metrics::histogram!(metric::SECONDS, "part" => part).record(seconds);
        }
    }
}
