//! What is done with jobs: schedulers are asked, scripts composed and submitted, claims taken, jobs told to end. Each in a task of its
//! own, which tells what became of it; none decides.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use lightrail_topics::events::{Argument, Class, Piece, Work as Task};
use lightrail_topics::kafka::Admin;
use lightrail_topics::{JobName, SiteName, SiteTopic};
use tokio::task::{AbortHandle, JoinSet};

use super::{AtSite, Service};
use crate::decide::{Book, Input, Life, MOVES_WITHIN};
use crate::executor::{Ending, SchedulerId, Script, SubmitFault};
use crate::metric;

/// Images of a backlog are counted up to so many; beyond that its length is told by offsets.
const COUNTED: u64 = 2000;
/// The limit of each question about a backlog.
const LAG_WITHIN: Duration = Duration::from_secs(20);

/// What is under way in a life; it ends with it.
pub(super) struct Work {
    pub(super) tasks: JoinSet<()>,
    /// Tasks that take claims.
    pub(super) fencing: BTreeMap<JobName, AbortHandle>,
    /// The task that looks at backlogs.
    pub(super) backlogs: Option<AbortHandle>,
    /// Sites whose schedulers are being asked.
    pub(super) looking: BTreeSet<SiteName>,
    pub(super) epoch: u64,
}

impl Service {
    /// Has each scheduler asked for all jobs at once, unless it still is.
    pub(super) fn look(&self, book: &Book, work: &mut Work) {
        for (site, place) in &self.places {
            let asked = book.watched(site);
            if (asked.is_empty() && !book.is_mute(site)) || !work.looking.insert(site.clone()) {
                continue;
            }
            let (executor, site) = (Arc::clone(&place.executor), site.clone());
            let (told, epoch) = (self.told.clone(), work.epoch);
            work.tasks.spawn(async move {
                let names: BTreeSet<JobName> = asked.iter().cloned().collect();
                let looked = executor.look(&names).await;
                let fault = looked.as_ref().err().map(ToString::to_string);
                let _ = told.send((epoch, Input::Answered(site.clone(), fault)));
                let (asked, seen) = match looked {
                    Ok(seen) => (asked, seen),
                    Err(error) => {
                        tracing::warn!(%site, %error, "scheduler does not answer");
                        metrics::counter!(metric::SCHEDULER_FAULTS, "site" => site.to_string()).increment(1);
                        // Nothing is known then, not even that a job is absent.
                        (Vec::new(), Vec::new())
                    }
                };
                // The receiver lives as long as the service.
                let _ = told.send((epoch, Input::Looked { site, asked, seen }));
            });
        }
    }

    /// Has the backlog of each pool's topic looked at, unless it still is.
    pub(super) fn look_at_backlogs(&self, work: &mut Work) {
        let lanes: BTreeSet<(SiteName, Class, u64)> = self
            .config
            .pools
            .values()
            .map(|pool| {
                let enough =
                    u64::from(pool.max) * u64::from(pool.workers) * u64::from(pool.images_per_worker);
                (pool.site.clone(), pool.class, enough.min(COUNTED))
            })
            .collect();
        if lanes.is_empty() || work.backlogs.as_ref().is_some_and(|task| !task.is_finished()) {
            return;
        }
        let admin = Admin::new(&self.connection, LAG_WITHIN);
        let (topics, told, epoch) = (self.topics.clone(), self.told.clone(), work.epoch);
        work.backlogs = Some(work.tasks.spawn(async move {
            for (site, class, enough) in lanes {
                let topic = match class {
                    Class::Live => SiteTopic::ImagesLive,
                    Class::Reprocess => SiteTopic::ImagesReprocess,
                };
                let channel = topic.at(&site);
                match admin.lag(&topics.workers(&channel), &topics.name(&channel), enough).await {
                    Ok(lag) => {
                        let labels = [("site", site.to_string()), ("class", class.to_string())];
                        #[expect(clippy::cast_precision_loss, reason = "a gauge is a number for people")]
                        metrics::gauge!(metric::BACKLOG, &labels).set(lag.records as f64);
                        let _ = told.send((epoch, Input::Backlog(site, class, lag.records)));
                    }
                    Err(error) => tracing::warn!(%channel, %error, "backlog cannot be looked at"),
                }
            }
        }));
    }

    pub(super) fn submit(&self, book: &Book, work: &mut Work, name: JobName) {
        let Some(life) = book.job(&name) else { return };
        let Some(place) = self.places.get(&life.site) else { return };
        let Some((task_work, nodes, seconds)) = work_of(book, life, place) else { return };
        let wishes = &place.site.head.wishes;
        let script = Script {
            identity: &life.identity,
            site: &life.site,
            work: &task_work,
            nodes,
            seconds,
            head: &place.site.head,
            folder: &place.site.folder,
            claims: &place.site.claims,
            analysis: place.site.analysis.as_ref(),
            after: &[],
            gives_way: life.class == Class::Reprocess,
            spills: life.spills,
        };
        let spilled = Script { spills: true, ..script.clone() };
        let spilled = spilled.compose().ok().filter(|_| wishes.reservation.is_some() && !life.spills);
        let script = script.compose().map_err(|error| SubmitFault::Refused(error.to_string()));
        let (executor, told, epoch) = (Arc::clone(&place.executor), self.told.clone(), work.epoch);
        let folders = [place.site.folder.clone(), place.site.claims.clone()];
        work.tasks.spawn(async move {
            let outcome = match (script, folders.iter().try_for_each(std::fs::create_dir_all)) {
                (Ok(script), Ok(())) => executor.submit(&name, &script).await,
                (Err(fault), _) => Err(fault),
                // Not on this machine, perhaps: the job itself finds out whether its node has them.
                (Ok(script), Err(error)) => {
                    tracing::warn!(%error, "folders of the site cannot be made from here");
                    executor.submit(&name, &script).await
                }
            };
            let outcome = match (outcome, spilled) {
                // The reservation is over, or not ours: a run does not wait for another one.
                (Err(SubmitFault::Refused(why)), Some(spilled))
                    if why.to_lowercase().contains("reservation") =>
                {
                    tracing::warn!(job = %name, why, "job goes without the reservation");
                    executor.submit(&name, &spilled).await
                }
                (outcome, _) => outcome,
            };
            let word = match &outcome {
                Ok(_) => "taken",
                Err(SubmitFault::Refused(_)) => "refused",
                Err(SubmitFault::Unknown(_)) => "unknown",
            };
            metrics::counter!(metric::SUBMISSIONS, "outcome" => word).increment(1);
            if let Err(fault) = &outcome {
                tracing::warn!(job = %name, %fault, "job was not submitted as it should be");
            }
            let _ = told.send((epoch, Input::Submitted(name, outcome)));
        });
    }

    pub(super) fn fence(&self, book: &Book, work: &mut Work, name: JobName) {
        let Some(life) = book.job(&name) else { return };
        let Some(place) = self.places.get(&life.site) else { return };
        let (claims, told, epoch) = (place.claims.clone(), self.told.clone(), work.epoch);
        let is_needed = !life.is_fenced_on_kafka();
        // The folder may be on a file system that is as lost as its site: then it is not asked for once more.
        if work.fencing.get(&name).is_some_and(|task| !task.is_finished()) {
            let folder = claims.0.display();
            tracing::error!(job = %name, %folder, is_needed, "folder of claims does not answer");
            return;
        }
        let fencing = work.tasks.spawn_blocking({
            let name = name.clone();
            move || match claims.fence(&name) {
                Ok(holder) => {
                    tracing::warn!(job = %name, ?holder, "job is not seen any more and is given up");
                    let _ = told.send((epoch, Input::Fenced { claimed: holder.is_some(), job: name }));
                }
                // Where the claim is needed the job waits for it: what it runs may still be at work.
                Err(error) => tracing::error!(job = %name, %error, is_needed, "claim cannot be taken"),
            }
        });
        work.fencing.retain(|_, task| !task.is_finished());
        work.fencing.insert(name, fencing);
    }

    pub(super) fn end(&self, book: &Book, work: &mut Work, name: JobName, id: SchedulerId, how: Ending) {
        let Some(place) = book.job(&name).and_then(|life| self.places.get(&life.site)) else { return };
        let executor = Arc::clone(&place.executor);
        tracing::info!(job = %name, %id, ?how, "job is told to end");
        work.tasks.spawn(async move {
            if let Err(error) = executor.end(&id, how).await {
                tracing::warn!(job = %name, %id, %error, "job cannot be told to end");
            }
        });
    }
}

/// What a job runs, on how many nodes, for how long.
fn work_of(book: &Book, life: &Life, place: &AtSite) -> Option<(Task, u32, u64)> {
    if let Some(pool) = book.pool(life) {
        return Some((
            Task::Analysis { workers: pool.workers, images_per_worker: None },
            pool.nodes,
            pool.seconds,
        ));
    }
    let Some(from) = &life.moves else {
        return book.task_work(life);
    };
    // Where no workers are started, none of their images are moved either: the rule was refused.
    let analysis = place.site.analysis.as_ref()?;
    let run = life.identity.run()?;
    let words = [
        "reroute",
        run.experiment.as_str(),
        &run.run.to_string(),
        "--from",
        from.as_str(),
        "--to",
        life.site.as_str(),
        "--config",
        analysis.config.to_str()?,
    ];
    let arguments = words.iter().map(|word| Argument(vec![Piece::Text((*word).to_owned())])).collect();
    let program = analysis.program.to_str()?.to_owned();
    Some((Task::Command { program, arguments, inputs: Vec::new(), outputs: Vec::new() }, 1, MOVES_WITHIN))
}
