//! What is said of a run at a site: available once, corrected when something changes after that, incomplete when what
//! is missing has failed or is overdue. Pure.

use lightrail_topics::events::{
    LeftOut, ManifestFile, MissingFile, RunCorrected, RunIncomplete, RunManifest,
};
use lightrail_topics::{Lfn, Millis, RunKey, SiteName, message};

use super::rows::{FileRow, RunSiteRow, State, Transfer};
use super::{Ledger, Step};

/// Who leaves out what no run waits for.
pub(super) const CONFIGURATION: &str = "configuration";

/// How a file of a closed run counts at a site.
enum Standing {
    Available(ManifestFile),
    LeftOut(LeftOut),
    /// Not there, and nothing will change that unasked.
    Lost(MissingFile),
    /// Not there yet.
    Awaited(MissingFile),
}

impl Ledger {
    /// Says what is to be said of the run now at each of its sites. Whether some of its files are still awaited.
    pub(super) fn announce(&mut self, key: &RunKey, now: Millis, step: &mut Step) -> bool {
        if self.behind {
            return true;
        }
        let overdue = self.experiment_rules(&key.experiment).overdue;
        let Some(run) = self.runs.get(key) else { return false };
        let in_time = run.row.closed.is_none_or(|(_, at)| now.since(at) < overdue);
        let witness = self.find_awaited(key);
        let awaited = witness.is_some();
        if let Some(run) = self.runs.get_mut(key) {
            run.awaited = witness;
        }
        let Some(run) = self.runs.get(key) else { return false };
        let sites: Vec<SiteName> = run.row.sites.iter().map(|site| site.site.clone()).collect();
        if awaited && in_time && sites.len() == 1 {
            return true;
        }
        for site in sites {
            self.announce_at(key, &site, now, step);
        }
        awaited
    }

    /// From now on nothing is said of runs: what the logbook said before the start is not all known. A manifest made now could
    /// name a file as it was announced once, where the destination has the next generation already.
    pub fn fall_behind(&mut self) {
        self.behind = true;
    }

    /// Whether nothing is said of runs yet.
    pub fn is_behind(&self) -> bool {
        self.behind
    }

    /// All that the logbook said before the start is known: what is to be said of runs is said now.
    pub fn caught_up(&mut self, now: Millis) -> Step {
        let mut step = Step::default();
        if std::mem::take(&mut self.behind) {
            step.touched_runs.clone_from(&self.restless);
        }
        self.finish(step, now)
    }

    /// A file that the run waits for, the one that was found last time if it still is one. Looks at each file once
    /// while a run's files come in, not at all of them each time.
    fn find_awaited(&self, key: &RunKey) -> Option<Lfn> {
        let run = self.runs.get(key)?;
        let said = run.row.sites.iter().all(|site| site.available);
        let waits = |lfn: &Lfn, file: &FileRow| {
            let open = file.sites.iter().any(|transfer| !super::transfer::is_terminal(&transfer.state));
            open && (said || !self.is_not_waited(key, lfn))
        };
        let from = run.awaited.as_ref();
        let after = from.into_iter().flat_map(|lfn| run.files.range(lfn.clone()..));
        after.chain(&run.files).find(|(lfn, file)| waits(lfn, file)).map(|(lfn, _)| lfn.clone())
    }

    fn announce_at(&mut self, key: &RunKey, site: &SiteName, now: Millis, step: &mut Step) {
        let Some(run) = self.runs.get(key) else { return };
        let Some((closed_by, closed_at)) = run.row.closed else { return };
        let Some(said) = run.row.sites.iter().find(|said| said.site == *site).cloned() else { return };
        if !run.row.listed {
            return;
        }
        let (mut files, mut left_out, mut lost, mut awaited) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for (lfn, file) in &run.files {
            match self.standing(key, lfn, file, site, said.available) {
                Some(Standing::Available(file)) => files.push(file),
                Some(Standing::LeftOut(file)) => left_out.push(file),
                Some(Standing::Lost(file)) => lost.push(file),
                Some(Standing::Awaited(file)) => awaited.push(file),
                None => {}
            }
        }
        let all_cancelled = files.is_empty() && !left_out.is_empty() && run.files.len() == left_out.len();
        let overdue = now.since(closed_at) >= self.experiment_rules(&key.experiment).overdue;
        let complete = lost.is_empty() && awaited.is_empty() && !all_cancelled;
        let available = u32::try_from(files.len()).unwrap_or(u32::MAX);
        let manifest = RunManifest {
            run: key.clone(),
            site: site.clone(),
            began: run.row.began,
            ended: run.row.ended,
            closed_by,
            files,
            left_out: left_out.clone(),
            first_file: said.first_file,
            at: now,
        };
        let source = self.rules.source.clone();
        let Some(row) = self.run_site_mut(key, site) else { return };
        if row.available {
            // A correction waits until nothing is under way any more: it is the whole manifest again.
            if let Some(because) = row.changed.clone().filter(|_| awaited.is_empty()) {
                row.changed = None;
                row.corrected += 1;
                let event = RunCorrected { number: row.corrected, because, manifest };
                step.messages.push(message::run_corrected(&event, &source, now));
            }
        } else if complete {
            row.available = true;
            row.changed = None;
            step.messages.push(message::run_available(&manifest, &source, now));
        } else if awaited.is_empty() || overdue {
            let mut missing = lost;
            missing.append(&mut awaited);
            if missing.is_empty() {
                missing =
                    left_out.into_iter().map(|file| MissingFile { lfn: file.lfn, why: file.why }).collect();
            }
            let names: Vec<&str> = missing.iter().map(|file| file.lfn.as_str()).collect();
            let what = message::stable_hash(names.join("\n").as_bytes());
            if row.incomplete == 0 || row.incomplete_said != what {
                row.incomplete += 1;
                row.incomplete_said = what;
                let event = RunIncomplete {
                    number: row.incomplete,
                    run: key.clone(),
                    site: site.clone(),
                    missing,
                    available,
                    at: now,
                };
                step.messages.push(message::run_incomplete(&event, &source, now));
            }
        }
    }

    fn standing(
        &self,
        key: &RunKey,
        lfn: &Lfn,
        file: &FileRow,
        site: &SiteName,
        said: bool,
    ) -> Option<Standing> {
        let transfer = file.sites.iter().find(|transfer| transfer.site == *site)?;
        let missing = |why: String| MissingFile { lfn: lfn.clone(), why };
        Some(match &transfer.state {
            State::Done(done) => Standing::Available(ManifestFile {
                lfn: lfn.clone(),
                generation: transfer.generation,
                size: done.size,
                checksum: done.checksum.clone(),
                url: self.url(lfn, site),
            }),
            State::Cancelled => {
                let wish = self.wish_for(key, lfn, site);
                Standing::LeftOut(LeftOut {
                    lfn: lfn.clone(),
                    by: wish.cancelled_by.unwrap_or_else(|| "an operator".to_owned()),
                    why: wish
                        .cancelled_why
                        .filter(|why| !why.is_empty())
                        .unwrap_or_else(|| "cancelled".to_owned()),
                })
            }
            _ if !said && self.is_not_waited(key, lfn) => Standing::LeftOut(LeftOut {
                lfn: lfn.clone(),
                by: CONFIGURATION.to_owned(),
                why: format!(
                    "runs of {} do not wait for stream {}",
                    key.experiment,
                    lfn.stream().unwrap_or_default()
                ),
            }),
            State::Gone => Standing::Lost(missing("was available and is gone".to_owned())),
            State::Failed => Standing::Lost(missing(failure(transfer))),
            State::Waiting | State::Ready | State::Carrying(_) | State::Delayed(_) => {
                Standing::Awaited(missing(failure(transfer)))
            }
        })
    }

    pub(super) fn is_not_waited(&self, key: &RunKey, lfn: &Lfn) -> bool {
        let rules = self.experiment_rules(&key.experiment);
        lfn.stream().is_some_and(|stream| rules.not_waited_streams.contains(&stream))
    }

    /// Notes that a file is awaited, again or late. One that no run waits for changes only a manifest that names it; otherwise it
    /// comes as a correction by itself.
    pub(super) fn note_awaited(
        &mut self,
        key: &RunKey,
        lfn: &Lfn,
        site: &SiteName,
        (is_named, because): (bool, &str),
    ) {
        if is_named || !self.is_not_waited(key, lfn) {
            self.note_change(key, site, &format!("{}: {because}", lfn.file_name()));
        }
    }

    /// Notes that the run's manifest is no longer what was said, if one was said.
    pub(super) fn note_change(&mut self, key: &RunKey, site: &SiteName, what: &str) {
        if let Some(row) = self.run_site_mut(key, site).filter(|row| row.available) {
            match &mut row.changed {
                Some(changes) if changes.contains(what) => {}
                Some(changes) if changes.len() < 500 => {
                    changes.push_str("; ");
                    changes.push_str(what);
                }
                Some(_) => {}
                None => row.changed = Some(what.to_owned()),
            }
        }
    }

    pub(super) fn run_site_mut(&mut self, key: &RunKey, site: &SiteName) -> Option<&mut RunSiteRow> {
        self.runs.get_mut(key)?.row.sites.iter_mut().find(|row| row.site == *site)
    }
}

fn failure(transfer: &Transfer) -> String {
    match transfer.history.last() {
        Some(cause) => format!("{} after {} tries: {}", cause.code, transfer.tries, cause.text),
        None => "not copied yet".to_owned(),
    }
}
