//! What is known of sites beside their jobs: how their facilities are, whether their schedulers answer, what comes there by the
//! mover, and how long things take there, all as measured so far. Says when a site is held for lost. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use lightrail_topics::events::{FacilityStatus, Health, Measured, StatusBy, TransferState};
use lightrail_topics::{Experiment, Lfn, Millis, ResourceAtSite, RunKey, RunNumber, SiteName};

use crate::facility::Report;
use crate::place::{Estimates, Outage, for_people, silence};

/// A change of a transfer's state, as far as it tells of sites.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransferSeen {
    /// The file.
    pub lfn: Lfn,
    /// Its run.
    pub run: RunKey,
    /// Where to.
    pub site: SiteName,
    /// The state that it has now.
    pub state: TransferState,
    /// The file's bytes, where they are said.
    pub size: Option<u64>,
    /// Bytes that the attempt has moved.
    pub moved: Option<u64>,
    /// The destination's fault, in words, where it was one.
    pub fault: Option<String>,
    /// When.
    pub at: Millis,
}

/// A file that is still to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Coming {
    size: u64,
    /// Since when it could have been copied.
    ready: Option<Millis>,
    /// Since when it is being copied.
    carried: Option<Millis>,
}

/// So old a wish for a transfer says nothing any more.
const FORGOTTEN: Duration = Duration::from_secs(24 * 3600);

/// All of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Sites {
    facility: BTreeMap<ResourceAtSite, FacilityStatus>,
    /// Since when a scheduler does not answer, and what came of asking it.
    mute: BTreeMap<SiteName, (Millis, String)>,
    coming: BTreeMap<(SiteName, RunKey), BTreeMap<Lfn, Coming>>,
    /// When a file arrived last.
    heard: BTreeMap<SiteName, Millis>,
    /// Since when nothing but faults of the destination is said of its transfers.
    faulty: BTreeMap<SiteName, (Millis, String)>,
    /// Where the newest run of an experiment goes.
    goes: BTreeMap<Experiment, (RunNumber, BTreeSet<SiteName>)>,
    /// What was measured before anything is decided, to be taken in the order of time: site, bytes, begin and end.
    unsorted: Vec<(Millis, SiteName, u64, Millis)>,
    decides: bool,
    /// How a facility is is said again after so long: what was not has nobody to say it any more.
    heartbeat: Duration,
    pub(super) estimates: Estimates,
    /// Node-seconds that jobs have spent.
    pub(super) spent: BTreeMap<SiteName, u64>,
}

impl Sites {
    /// Nothing is known; how facilities are is said again after so long.
    pub(super) fn new(heartbeat: Duration) -> Self {
        Self { heartbeat, ..Self::default() }
    }

    /// What was read is all there is: from here on everything comes in its order.
    pub(super) fn begin(&mut self) {
        self.decides = true;
        let mut measured = std::mem::take(&mut self.unsorted);
        measured.sort();
        for (to, site, bytes, from) in measured {
            self.estimates.moved(&site, bytes, from, to);
        }
    }

    /// A part of a facility, as its topic says.
    pub(super) fn facility(&mut self, status: FacilityStatus) {
        self.facility.insert(status.key(), status);
    }

    /// What a report changes of what the topic says, and what is to be said again after so long.
    pub(super) fn report(&self, report: &Report, heartbeat: Duration, now: Millis) -> Vec<FacilityStatus> {
        let measured = Some(self.measured(&report.site, now)).filter(|measured| !measured.is_empty());
        let status = report.parts.iter().map(|part| FacilityStatus {
            site: report.site.clone(),
            resource: part.resource.clone(),
            by: report.by,
            health: part.health,
            text: part.text.clone(),
            outages: part.outages.clone(),
            measured,
            since: now,
            at: now,
        });
        let told = status.filter_map(|status| match self.facility.get(&status.key()) {
            Some(known) if known.says_the_same(&status) && now < known.at.plus(heartbeat) => None,
            Some(known) if known.health == status.health => {
                Some(FacilityStatus { since: known.since, ..status })
            }
            _ => Some(status),
        });
        told.collect()
    }

    fn measured(&self, site: &SiteName, now: Millis) -> Measured {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a rate is no exact number"
        )]
        let whole = |rate: f64| rate.max(0.0) as u64;
        let rate = self.estimates.rate(site, None, now);
        let millis = |took: Duration| u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        Measured {
            rate: rate.map(|rate| whole(rate.now)),
            usual_rate: rate.map(|rate| whole(rate.usual)),
            queue_wait: self.estimates.wait(site).map(millis),
            run_time: self.estimates.run_of_any(site).map(millis),
        }
    }

    /// A scheduler was asked: what came of it, where it does not answer.
    pub(super) fn answered(&mut self, site: SiteName, fault: Option<String>, now: Millis) {
        match fault {
            None => drop(self.mute.remove(&site)),
            Some(why) => drop(self.mute.entry(site).or_insert((now, why))),
        }
    }

    /// Whether a scheduler did not answer when it was asked last.
    pub(super) fn is_mute(&self, site: &SiteName) -> bool {
        self.mute.contains_key(site)
    }

    /// A transfer's state has changed.
    pub(super) fn transfer(&mut self, seen: TransferSeen) {
        let TransferSeen { lfn, run, site, state, size, moved, fault, at } = seen;
        let goes = self.goes.entry(run.experiment.clone()).or_insert_with(|| (run.run, BTreeSet::new()));
        if goes.0 < run.run {
            *goes = (run.run, BTreeSet::new());
        }
        if goes.0 == run.run && state != TransferState::Cancelled {
            goes.1.insert(site.clone());
        }
        match fault {
            Some(why) => drop(self.faulty.entry(site.clone()).or_insert((at, why))),
            None if state == TransferState::Done => drop(self.faulty.remove(&site)),
            None => {}
        }
        let key = (site.clone(), run);
        let files = self.coming.entry(key.clone()).or_default();
        if matches!(state, TransferState::Done | TransferState::Failed | TransferState::Cancelled) {
            let before = files.remove(&lfn);
            if files.is_empty() {
                self.coming.remove(&key);
            }
            if state == TransferState::Done {
                let heard = self.heard.entry(site.clone()).or_insert(at);
                *heard = at.max(*heard);
                let carried = before.and_then(|file| file.carried);
                if let (Some(from), Some(bytes)) = (carried, moved.filter(|bytes| *bytes > 0)) {
                    self.moved(site, bytes, from, at);
                }
            }
            return;
        }
        let file = files.entry(lfn).or_insert(Coming { size: 0, ready: None, carried: None });
        file.size = size.unwrap_or(file.size);
        if state != TransferState::Waiting {
            file.ready = file.ready.or(Some(at));
        }
        file.carried = (state == TransferState::Carrying).then_some(at);
    }

    fn moved(&mut self, site: SiteName, bytes: u64, from: Millis, to: Millis) {
        if self.decides {
            self.estimates.moved(&site, bytes, from, to);
        } else {
            self.unsorted.push((to, site, bytes, from));
        }
    }

    /// An experiment's runs go to these sites only: what was to come elsewhere does not.
    pub(super) fn only_to(&mut self, experiment: &Experiment, sites: &[SiteName]) {
        self.coming.retain(|(site, run), _| run.experiment != *experiment || sites.contains(site));
        // Where nothing is sent any more nothing can fail, or arrive: what is sent there next tells how it is.
        self.faulty.retain(|site, _| sites.contains(site));
        if let Some((_, goes)) = self.goes.get_mut(experiment) {
            *goes = sites.iter().cloned().collect();
        }
    }

    /// Where the newest run of an experiment goes.
    pub(super) fn goes(&self, experiment: &Experiment) -> Option<&BTreeSet<SiteName>> {
        self.goes.get(experiment).map(|(_, sites)| sites)
    }

    /// Whether anything of a run is still to come to a site.
    pub(super) fn comes(&self, site: &SiteName, run: &RunKey) -> bool {
        self.coming.contains_key(&(site.clone(), run.clone()))
    }

    /// Bytes of a run that are still to come to a site; none where nothing is.
    pub(super) fn coming(&self, site: &SiteName, run: &RunKey, now: Millis) -> Option<u64> {
        let files = self.coming.get(&(site.clone(), run.clone()))?;
        Some(left(files, self.arrived(site, now)))
    }

    /// Bytes of each run that are still to come to a site, in the order of runs.
    pub(super) fn all_coming(&self, site: &SiteName, now: Millis) -> Vec<(&RunKey, u64)> {
        let arrived = self.arrived(site, now);
        let of_site = self.coming.iter().filter(|((at, _), _)| at == site);
        of_site.map(|((_, run), files)| (run, left(files, arrived))).collect()
    }

    /// Which part of the files that are being copied to a site is there by now, at the rate as it is.
    fn arrived(&self, site: &SiteName, now: Millis) -> f64 {
        let files =
            self.coming.iter().filter(|((at, _), _)| at == site).flat_map(|(_, files)| files.values());
        let carried = files.filter_map(|file| Some((file.carried?, file.size)));
        let (since, bytes) = carried
            .fold((now, 0_u64), |(since, bytes), (from, size)| (since.min(from), bytes.saturating_add(size)));
        let Some(rate) = self.estimates.rate(site, None, now).filter(|_| bytes > 0) else { return 0.0 };
        let since = self.heard.get(site).map_or(since, |heard| since.max(*heard));
        #[expect(clippy::cast_precision_loss, reason = "a prediction is no exact number")]
        let bytes = bytes as f64;
        (rate.now * now.since(since).as_secs_f64() / bytes).clamp(0.0, 1.0)
    }

    /// The experiments of which anything was moved lately.
    pub(super) fn experiments(&self) -> impl Iterator<Item = &Experiment> {
        self.goes.keys()
    }

    /// The newest run of an experiment of which anything was moved lately.
    pub(super) fn newest(&self, experiment: &Experiment) -> Option<RunKey> {
        let (run, _) = self.goes.get(experiment)?;
        Some(RunKey { experiment: experiment.clone(), run: *run })
    }

    /// Known outages of a site, of any of its parts.
    pub(super) fn outages(&self, site: &SiteName) -> Vec<Outage> {
        let of_site = self.facility.values().filter(|status| status.site == *site);
        let outages = of_site.flat_map(|status| &status.outages);
        outages.map(|outage| Outage { from: outage.from, to: outage.to }).collect()
    }

    /// All parts of a site of which anything was said.
    pub(super) fn parts(&self, site: &SiteName) -> impl Iterator<Item = &FacilityStatus> {
        self.facility.values().filter(move |status| status.site == *site)
    }

    /// Why a site is held for lost, if it has been away for so long. One that is out until an instant that is known is not: that
    /// is waited for, or it is gone around.
    pub(super) fn lost(&self, site: &SiteName, after: Duration, now: Millis) -> Option<String> {
        let outages = self.outages(site);
        if outages.iter().any(|outage| outage.is_now(now) && outage.to.is_some()) {
            return None;
        }
        let is_long = |since: Millis| since.plus(after) <= now;
        let down = self.parts(site).find_map(|status| {
            // Said before the trigger was away for long, it tells nothing of now.
            let is_fresh = self.heartbeat.is_zero() || now < status.at.plus(self.heartbeat * 2);
            let is_away = match status.health {
                Health::Down => true,
                Health::Unknown => status.by == StatusBy::Scheduler,
                Health::Up | Health::Degraded => false,
            };
            let long = for_people(now.since(status.since));
            let (part, word, text) = (&status.resource, status.health.word(), &status.text);
            (is_away && is_fresh && is_long(status.since))
                .then(|| format!("{part} is {word} since {long} ({text})"))
        });
        let mute = || {
            let (since, why) = self.mute.get(site).filter(|(since, _)| is_long(*since))?;
            Some(format!("its scheduler has not answered for {} ({why})", for_people(now.since(*since))))
        };
        let faulty = || {
            let (since, why) = self.faulty.get(site).filter(|(since, _)| is_long(*since))?;
            Some(format!("nothing arrives there for {} ({why})", for_people(now.since(*since))))
        };
        down.or_else(mute).or_else(faulty).or_else(|| self.silent(site, &outages, after, now))
    }

    /// Files should have come there and do not, while they do elsewhere.
    fn silent(&self, site: &SiteName, outages: &[Outage], limit: Duration, now: Millis) -> Option<String> {
        let files =
            self.coming.iter().filter(|((at, _), _)| at == site).flat_map(|(_, files)| files.values());
        let ready = files.filter_map(|file| Some((file.ready?, file.size)));
        let (since, size) = ready.filter(|(since, _)| now < since.plus(FORGOTTEN)).min()?;
        let rate = self.estimates.rate(site, None, now)?;
        #[expect(clippy::cast_precision_loss, reason = "a prediction is no exact number")]
        let takes = Duration::from_secs_f64(rate.seconds_for(size as f64).clamp(0.0, 1e6));
        let heard = self.heard.get(site).copied().unwrap_or(since);
        let due = since.max(heard).plus(takes);
        // A mover that moves nothing at all tells of itself, or of the source.
        let others = self.heard.iter().filter(|(other, _)| *other != site).map(|(_, heard)| *heard).max();
        if others.is_none_or(|heard| heard < due) {
            return None;
        }
        silence(heard, Some(due), outages, limit, now)
    }
}

/// Bytes of these files that are still to come, where such a part of those that are being copied is there.
fn left(files: &BTreeMap<Lfn, Coming>, arrived: f64) -> u64 {
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a prediction is no exact number"
    )]
    let of = |file: &Coming| match file.carried {
        Some(_) => (file.size as f64 * (1.0 - arrived)) as u64,
        None => file.size,
    };
    files.values().map(of).fold(0, u64::saturating_add)
}

#[cfg(test)]
mod tests;
