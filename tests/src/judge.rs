//! The rules that must hold at the end of every case, counted from what is on the topics and what lies in the stores. The
//! numbers are those of the design's list of rules. Says every breach, not only the first.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use lightrail_compose::play::{PlayedFile, PlayedRun, read_back, same_bytes};
use lightrail_compose::wait;
use lightrail_topics::events::{FileAvailable, FileEvent, RunManifest, TransferState};
use lightrail_topics::{ChecksumKind, FileAtSite, Lfn, RunKey, SiteName};

use crate::guard::{files_below, is_hidden};
use crate::stage::{Stage, nersc};
use crate::witness::Seen;

/// How long the mover may take to have nothing left to do once the last announcement is there.
const QUIET_WITHIN: Duration = Duration::from_secs(40);

/// What a case expects at its end beyond the rules.
#[derive(Clone, Debug)]
pub struct Judge {
    /// Where the files must be: the site, and the folder in which LFNs begin there.
    pub at: Vec<(SiteName, PathBuf)>,
    /// Files that cannot arrive: their runs are incomplete and say so.
    pub lost: BTreeSet<Lfn>,
    /// Files that were registered several times; each time is one announcement.
    pub generations: BTreeMap<Lfn, usize>,
    /// Whether no fault kept an older run from its slot, so that rule 6 can be counted.
    pub in_order: bool,
    /// How many dead letters there must be.
    pub letters: usize,
    /// Whether a mover runs that can be asked.
    pub asks: bool,
    /// Files at the destination that are not of these runs: names that are set aside, other people's files.
    pub others: BTreeSet<PathBuf>,
}

impl Judge {
    /// Everything arrived at NERSC.
    pub fn of(stage: &Stage) -> Self {
        Self {
            at: vec![(nersc(), stage.nersc.store(0))],
            lost: BTreeSet::new(),
            generations: BTreeMap::new(),
            in_order: false,
            letters: 0,
            asks: true,
            others: BTreeSet::new(),
        }
    }

    /// The same, and the order counts.
    pub fn in_order(stage: &Stage) -> Self {
        Self { in_order: true, ..Self::of(stage) }
    }

    /// Holds the rules against what is announced and what lies at the destinations. `runs` is all that was played, in the
    /// order in which it was closed.
    ///
    /// # Errors
    /// When a rule is broken: every breach in a line of its own.
    pub async fn verify(&self, stage: &Stage, runs: &[PlayedRun]) -> anyhow::Result<()> {
        let mut breaches = Vec::new();
        if self.asks {
            self.ended(stage, runs, &mut breaches).await;
        }
        let seen = stage.witness.account().await?;
        let (judge, guarded, played) = (self.clone(), stage.guard().sizes(), runs.to_vec());
        let counted = seen.clone();
        let looked = tokio::task::spawn_blocking(move || {
            let mut breaches = Vec::new();
            for (site, store) in &judge.at {
                judge.at_the_destination(&counted, site, store, &played, &mut breaches);
            }
            for (path, sizes) in guarded {
                let right: BTreeSet<u64> = versions(&path, &played).collect();
                let wrong: Vec<u64> = sizes.difference(&right).copied().collect();
                if !right.is_empty() && !judge.is_registered_again(&path) && !wrong.is_empty() {
                    breaches.push(format!("rule 4: {} was seen with {wrong:?} bytes", path.display()));
                }
            }
            breaches
        });
        breaches.extend(looked.await.context("the thread that looks at the stores ended")?);
        self.counts(&seen, runs, &mut breaches);
        if self.in_order {
            order(&seen, runs, &mut breaches);
        }
        if seen.letters.len() != self.letters {
            breaches.push(format!(
                "{} dead letters instead of {}: {:?}",
                seen.letters.len(),
                self.letters,
                seen.letters
            ));
        }
        breaches.extend(seen.odd.iter().map(|odd| format!("not understood: {odd}")));
        let log = stage.mover.as_ref().map(lightrail_compose::services::Mover::log).unwrap_or_default();
        breaches.extend(
            log.lines().filter(|line| line.contains("panicked at")).map(|line| format!("a panic: {line}")),
        );
        breaches.extend(
            log.lines()
                .filter(|line| line.contains("step refused"))
                .map(|line| format!("an illegal step: {line}")),
        );
        ensure!(breaches.is_empty(), "the rules are broken:\n{}", breaches.join("\n"));
        Ok(())
    }

    /// Rule 7: nothing is under way any more, and the mover can say why of every run.
    async fn ended(&self, stage: &Stage, runs: &[PlayedRun], breaches: &mut Vec<String>) {
        let quiet = wait::until("the mover to have nothing left to do", QUIET_WITHIN, async || {
            let (status, text) = stage.get("/readyz").await.ok()?;
            let answer: serde_json::Value = serde_json::from_str(&text).ok()?;
            let idle = ["queued", "under_way", "outbox"].iter().all(|key| answer[key] == 0);
            (status == 200 && idle).then_some(())
        });
        if let Err(error) = quiet.await {
            let page = stage.get("/readyz").await.map_or_else(|e| format!("{e:#}"), |(_, text)| text);
            breaches.push(format!("rule 7: {error:#}: {page}"));
        }
        for run in runs {
            let page = format!("/why/{}/{}", run.key.experiment, run.key.run);
            // One that was fenced by a session of its own that had ended answers again in a moment.
            let answer = wait::until("the mover to take questions", QUIET_WITHIN, async || {
                Some(stage.get(&page).await).filter(|answer| !matches!(answer, Ok((503, _))))
            });
            match answer.await {
                Ok(Ok((200, text))) => {
                    let answer: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
                    let sites = answer["sites"].as_array().cloned().unwrap_or_default();
                    let missing: usize =
                        sites.iter().filter_map(|site| site["missing"].as_array()).map(Vec::len).sum();
                    let lost = run.files.iter().filter(|file| self.lost.contains(&file.lfn)).count();
                    if sites.is_empty() || missing != lost * self.at.len() {
                        breaches.push(format!("rule 7: {page} says {text}"));
                    }
                }
                other => breaches.push(format!("rule 7: {page} answers {other:?}")),
            }
        }
    }

    /// Rules 2 and 4: what is announced lies there, whole; what lies there under a final name is a source's bytes.
    fn at_the_destination(
        &self,
        seen: &Seen,
        site: &SiteName,
        store: &Path,
        runs: &[PlayedRun],
        breaches: &mut Vec<String>,
    ) {
        let path_of = |lfn: &Lfn| store.join(lfn.as_str().trim_start_matches('/'));
        let mut last: BTreeMap<&Lfn, &FileEvent> = BTreeMap::new();
        for said in &seen.files {
            let (lfn, at) = match &said.event {
                FileEvent::Available(file) => (&file.lfn, &file.site),
                FileEvent::Gone(file) => (&file.lfn, &file.site),
            };
            if at == site {
                last.insert(lfn, &said.event);
            }
        }
        for event in last.values() {
            let FileEvent::Available(file) = event else { continue };
            match read_back(&path_of(&file.lfn)) {
                Ok((size, sum)) => {
                    let said = file.checksum.as_ref().filter(|said| said.kind() == ChecksumKind::Adler32);
                    if size != file.size || said.is_some_and(|said| *said != sum) {
                        breaches.push(format!(
                            "rule 2: {} at {site} has {size} bytes and {sum}, announced were {} and {:?}",
                            file.lfn, file.size, file.checksum
                        ));
                    }
                }
                Err(error) => breaches.push(format!("rule 2: announced at {site}, but {error:#}")),
            }
        }
        let sources: HashMap<PathBuf, &PlayedFile> =
            runs.iter().flat_map(|run| &run.files).map(|file| (path_of(&file.lfn), file)).collect();
        for (path, size) in files_below(store) {
            if self.others.contains(&path) {
                continue;
            }
            match sources.get(&path) {
                Some(file) if self.lost.contains(&file.lfn) => {
                    breaches.push(format!(
                        "rule 4: {} cannot have arrived, yet has {size} bytes",
                        path.display()
                    ));
                }
                Some(file) => match same_bytes(&path, &file.path) {
                    Ok(true) => {}
                    Ok(false) => {
                        breaches.push(format!("rule 4: {} has other bytes than its source", path.display()))
                    }
                    Err(error) => breaches.push(format!("rule 4: {error:#}")),
                },
                None if is_hidden(&path) => breaches.push(format!("rule 4: left over is {}", path.display())),
                None => breaches.push(format!("rule 4: nobody asked for {}", path.display())),
            }
        }
    }

    fn is_registered_again(&self, path: &Path) -> bool {
        self.generations.keys().any(|lfn| path.ends_with(lfn.as_str().trim_start_matches('/')))
    }

    /// Rule 5: each thing is said once.
    fn counts(&self, seen: &Seen, runs: &[PlayedRun], breaches: &mut Vec<String>) {
        for (what, ids) in [
            ("files.available", seen.files.iter().map(|said| &said.id).collect::<Vec<_>>()),
            ("runs.available", seen.runs.iter().map(|said| &said.id).collect()),
            ("transfers", seen.transfers.iter().map(|said| &said.id).collect()),
        ] {
            let mut known = BTreeSet::new();
            let twice = ids.into_iter().filter(|id| !known.insert(*id)).collect::<Vec<_>>();
            breaches.extend(twice.iter().map(|id| format!("rule 5: {what} has {id} twice")));
        }
        let mut files: BTreeMap<FileAtSite, Vec<&FileAvailable>> = BTreeMap::new();
        for file in seen.available() {
            let at = FileAtSite { lfn: file.lfn.clone(), site: file.site.clone() };
            files.entry(at).or_default().push(file);
        }
        for (at, events) in &files {
            let generations: BTreeSet<_> = events.iter().map(|event| event.generation).collect();
            if generations.len() != events.len() {
                breaches.push(format!(
                    "rule 5: {}@{} was announced more than once a generation",
                    at.lfn, at.site
                ));
            }
        }
        for (site, _) in &self.at {
            for run in runs {
                for file in &run.files {
                    let at = FileAtSite { lfn: file.lfn.clone(), site: site.clone() };
                    let said = files.remove(&at).map_or(0, |events| events.len());
                    let due = usize::from(!self.lost.contains(&file.lfn));
                    let due = self.generations.get(&file.lfn).copied().unwrap_or(due);
                    if said != due {
                        breaches.push(format!(
                            "rule 5: {}@{site} was announced {said} times instead of {due}",
                            file.lfn
                        ));
                    }
                }
                self.run_counts(seen, run, site, breaches);
            }
        }
        let known: BTreeSet<&RunKey> = runs.iter().map(|run| &run.key).collect();
        breaches.extend(files.keys().map(|at| format!("rule 5: nobody asked for {}@{}", at.lfn, at.site)));
        let unknown = seen.manifests().filter(|manifest| !known.contains(&manifest.run));
        breaches.extend(unknown.map(|manifest| format!("rule 5: nobody took run {}", manifest.run)));
    }

    fn run_counts(&self, seen: &Seen, run: &PlayedRun, site: &SiteName, breaches: &mut Vec<String>) {
        let lost: BTreeSet<&Lfn> =
            run.files.iter().map(|file| &file.lfn).filter(|lfn| self.lost.contains(lfn)).collect();
        let manifests: Vec<&RunManifest> =
            seen.manifests().filter(|manifest| manifest.run == run.key && manifest.site == *site).collect();
        let incomplete = seen.incomplete(&run.key, site);
        if !lost.is_empty() {
            let named = incomplete
                .last()
                .map(|event| event.missing.iter().map(|file| &file.lfn).collect::<BTreeSet<_>>());
            let explained =
                incomplete.iter().flat_map(|event| &event.missing).all(|file| !file.why.is_empty());
            if !manifests.is_empty() || named.as_ref() != Some(&lost) || !explained {
                breaches.push(format!(
                    "rule 5: run {} lacks {lost:?}, but was announced {} times, and incomplete as {incomplete:?}",
                    run.key,
                    manifests.len()
                ));
            }
            return;
        }
        if manifests.len() != 1 {
            breaches.push(format!(
                "rule 5: run {} was announced {} times at {site}",
                run.key,
                manifests.len()
            ));
        }
        let corrections = seen.corrections(&run.key, site);
        for (at, (number, _)) in corrections.iter().enumerate() {
            if usize::try_from(*number).ok() != Some(at + 1) {
                breaches.push(format!("rule 5: correction {number} of run {} is the {}th", run.key, at + 1));
            }
        }
        let Some(manifest) = corrections.last().map(|(_, manifest)| *manifest).or(manifests.last().copied())
        else {
            return;
        };
        let listed: BTreeMap<&Lfn, _> =
            manifest.files.iter().map(|file| (&file.lfn, (file.size, &file.checksum))).collect();
        let taken: BTreeMap<&Lfn, &PlayedFile> = run.files.iter().map(|file| (&file.lfn, file)).collect();
        if listed.keys().ne(taken.keys()) {
            breaches.push(format!("rule 5: run {} was announced with {:?}", run.key, listed.keys()));
            return;
        }
        for (lfn, (size, sum)) in listed {
            let file = taken[lfn];
            let sum = sum.as_ref().filter(|sum| sum.kind() == ChecksumKind::Adler32);
            if size != file.size || sum.is_some_and(|sum| *sum != file.checksum) {
                breaches.push(format!(
                    "rule 5: the manifest of {} has {lfn} with {size} bytes and {sum:?}",
                    run.key
                ));
            }
        }
    }
}

/// The size that a file may have under this name.
fn versions<'a>(path: &'a Path, runs: &'a [PlayedRun]) -> impl Iterator<Item = u64> + 'a {
    let files = runs.iter().flat_map(|run| &run.files);
    files.filter(move |file| path.ends_with(file.lfn.as_str().trim_start_matches('/'))).map(|file| file.size)
}

/// Rule 6: no transfer of a newer run is started while one of an older run is ready that could use its slot. A big file
/// cannot use a slot that is kept for small ones, so a small file of a newer run may go before it.
fn order(seen: &Seen, runs: &[PlayedRun], breaches: &mut Vec<String>) {
    let age: HashMap<&RunKey, usize> = runs.iter().enumerate().map(|(at, run)| (&run.key, at)).collect();
    // Of each transfer: from when it was ready until it was started.
    let mut waits = Vec::new();
    let mut ready: HashMap<FileAtSite, i64> = HashMap::new();
    for said in &seen.transfers {
        let event = &said.event;
        let at = FileAtSite { lfn: event.lfn.clone(), site: event.site.clone() };
        match event.state {
            TransferState::Ready => drop(ready.insert(at, event.at.0)),
            TransferState::Carrying => {
                let since = ready.remove(&at).unwrap_or(event.at.0);
                waits.push((event, since, event.at.0));
            }
            _ => {}
        }
    }
    for (newer, _, started) in &waits {
        let ahead = waits.iter().find(|(older, since, until)| {
            let same_slots =
                older.site == newer.site && (older.lfn.kind().is_index() || !newer.lfn.kind().is_index());
            age.get(&older.run) < age.get(&newer.run) && same_slots && since < started && started < until
        });
        if let Some((older, since, until)) = ahead {
            breaches.push(format!(
                "rule 6: {} was started at {started} although {} of an older run was ready from {since} to {until}",
                newer.lfn, older.lfn
            ));
        }
    }
}
