//! One attempt at one file, step after step. Looks first, copies to a new name, publishes only what is verified, and clears
//! its temporary file away where it fails. Never tries twice what failed, never decides what comes after.

use futures::future::join_all;
use lightrail_topics::{Checksum, Millis, TransferId};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::choose::ranked;
use super::copying::copy_watched;
use super::engine::{CopyOrder, Engine, Phase, Place, Progress, Stat};
use super::look::{Hear, Seen, limited, look};
use super::names::{SitePath, Temporary, transfer_hash};
use super::publish::{Publication, publish};
use super::site::{Patience, Site};
use super::verify::{End, SumPlan, judge, plan, sums};
use super::{Carried, Job, Report, Step};
use crate::clock::Clock;
use crate::fault::{Fault, FaultClass, Side};

/// Makes one attempt at one transfer.
///
/// `report` always holds the latest step. When `cancel` is cancelled the attempt ends soon and clears up, unless the file is
/// verified already: then it is finished if that takes no longer than one call may. Every wait is limited by `patience`.
///
/// After any fault the final name holds what it held before, or the whole verified file (a rename whose answer was lost), or nothing (a
/// different old file was set aside, and then the rename failed): never a part. A temporary file that could not be removed is named by
/// the attempt; give that to the next one.
pub async fn carry(
    job: &Job,
    engine: &dyn Engine,
    patience: &Patience,
    clock: &dyn Clock,
    report: &watch::Sender<Report>,
    cancel: &CancellationToken,
) -> Result<Carried, Fault> {
    let path = job.to.path(&job.transfer.lfn);
    let temporary_of =
        |attempt| Temporary::of(&job.mover, &job.transfer, attempt).file_name(&job.transfer.lfn);
    let flow = Flow {
        job,
        engine,
        patience,
        clock,
        report,
        cancel,
        source_path: job.from.path(&job.transfer.lfn),
        temporary: path.beside(&temporary_of(job.attempt)),
        stale: job
            .stale
            .iter()
            .map(|(generation, attempt)| {
                let earlier = TransferId { generation: *generation, ..job.transfer.clone() };
                path.beside(&Temporary::of(&job.mover, &earlier, *attempt).file_name(&earlier.lfn))
            })
            .collect(),
        earlier: job.earlier_temporaries.iter().map(|attempt| path.beside(&temporary_of(*attempt))).collect(),
        path,
        started: clock.now(),
    };
    flow.run().await
}

struct Flow<'a> {
    job: &'a Job,
    engine: &'a dyn Engine,
    patience: &'a Patience,
    clock: &'a dyn Clock,
    report: &'a watch::Sender<Report>,
    cancel: &'a CancellationToken,
    source_path: SitePath,
    temporary: SitePath,
    earlier: Vec<SitePath>,
    stale: Vec<SitePath>,
    path: SitePath,
    started: Millis,
}

/// What the looks at both sites led to.
struct Prepared {
    source_server: Option<String>,
    source: Stat,
    destination_server: Option<String>,
    sums: SumPlan,
    /// Destination servers to avoid, and those that did not answer: not waited for a second time.
    hurried: Vec<String>,
    /// The server that has the file already, and its sum.
    there: Option<(Option<String>, Option<Checksum>)>,
}

impl Flow<'_> {
    async fn run(&self) -> Result<Carried, Fault> {
        self.step(Step::Looking);
        let prepared = self.cancellable(self.prepare()).await?;
        if let Some((server, checksum)) = prepared.there.clone() {
            let now = self.clock.now();
            return Ok(self.carried(&prepared, server, checksum, now, 0));
        }
        match self.copy_and_publish(&prepared).await {
            Ok((mut carried, set_aside)) => {
                carried.set_aside = set_aside;
                Ok(carried)
            }
            Err(fault) => {
                self.clear(prepared.destination_server.as_deref()).await;
                Err(fault)
            }
        }
    }

    fn step(&self, step: Step) {
        self.report.send_modify(|report| report.step = step);
    }

    async fn cancellable<T>(&self, work: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
        tokio::select! {
            biased;
            done = work => done,
            () = self.cancel.cancelled() => Err(Fault::cancelled("the attempt was cancelled")),
        }
    }

    async fn prepare(&self) -> Result<Prepared, Fault> {
        let (from, to) = (&self.job.from, &self.job.to);
        let hear = Hear::AllBut(&self.job.avoid);
        let (at_source, at_destination) = tokio::try_join!(
            look(self.engine, from, Side::Source, &self.source_path, self.patience, Hear::OneHolder),
            look(self.engine, to, Side::Destination, &self.path, self.patience, hear),
        )?;
        let (source_server, source) = self.choose_source(&at_source)?;
        let destination_server = self.choose_destination(&at_destination);
        let silent = |side, seen: &[Seen]| {
            let silent = seen.iter().filter(|one| one.found.is_err() && !one.is_late);
            silent.filter_map(|one| Some((side, one.server.clone()?))).collect::<Vec<_>>()
        };
        self.report.send_modify(|report| {
            report.source_server.clone_from(&source_server);
            report.destination_server.clone_from(&destination_server);
            report.silent = silent(Side::Source, &at_source);
            report.silent.extend(silent(Side::Destination, &at_destination));
        });

        self.remove_stale(&at_destination).await?;
        let source_place = Place { site: from, server: source_server.as_deref() };
        let destination_place = Place { site: to, server: destination_server.as_deref() };
        let (source_offers, destination_offers, ()) = tokio::try_join!(
            self.offers(Side::Source, source_place),
            self.offers(Side::Destination, destination_place),
            async {
                self.remove_earlier(&at_destination).await;
                Ok(())
            },
        )?;
        let announced = self.job.checksum.as_ref();
        let sums = plan(announced, &source_offers, &destination_offers, &to.kinds, to.verify)?;
        let silent =
            at_destination.iter().filter(|one| one.found.is_err()).filter_map(|one| one.server.clone());
        let hurried = self.job.avoid.iter().cloned().chain(silent).collect();
        let mut prepared = Prepared { source_server, source, destination_server, sums, hurried, there: None };
        prepared.there = self.already_there(&prepared, &at_destination).await?;
        Ok(prepared)
    }

    async fn offers(
        &self,
        side: Side,
        place: Place<'_>,
    ) -> Result<Vec<lightrail_topics::ChecksumKind>, Fault> {
        let call = self.engine.checksums_offered(place);
        limited(self.patience.call, "which checksums it offers", side, place, call).await
    }

    /// The server to copy from: one that has the file as it was announced, if any has.
    fn choose_source(&self, seen: &[Seen]) -> Result<(Option<String>, Stat), Fault> {
        let name = &self.job.from.name;
        let not_ready = |code: &str, text: String| {
            Err(Fault::new(FaultClass::SourceNotReady, code, text).at(Side::Source, None))
        };
        let holders: Vec<(&Seen, Stat)> = seen
            .iter()
            .filter_map(|one| one.found.as_ref().ok().copied().flatten().map(|stat| (one, stat)))
            .collect();
        if holders.is_empty() {
            // A server that did not answer may be the one that has it.
            if let Some(Err(fault)) = seen.iter().map(|one| &one.found).find(|found| found.is_err()) {
                return Err(fault.clone());
            }
            return not_ready("source-missing", format!("{} is not at {name}", self.source_path));
        }
        let right_size = |stat: &Stat| self.job.size.is_none_or(|size| size == stat.size);
        let as_announced: Vec<&(&Seen, Stat)> = holders.iter().filter(|(_, stat)| right_size(stat)).collect();
        let Some((lone, stat)) = as_announced.first() else {
            let (have, announced) = (holders[0].1.size, self.job.size.unwrap_or_default());
            let text =
                format!("{} has {have} bytes at {name} where {announced} were announced", self.source_path);
            return not_ready("source-size", text);
        };
        let servers: Vec<String> = as_announced.iter().filter_map(|(one, _)| one.server.clone()).collect();
        // Every attempt begins with another server.
        let turn = self.turn().wrapping_add(u64::from(self.job.attempt.n));
        let best = ranked(&servers, None, &self.job.avoid, turn).into_iter().next();
        let chosen = as_announced.iter().find(|(one, _)| one.server == best).map_or(*stat, |(_, stat)| *stat);
        if chosen.folder {
            let text = format!("{} is a folder at {name}", self.source_path);
            return Err(Fault::new(FaultClass::Permanent, "is-a-folder", text).at(Side::Source, None));
        }
        Ok((best.or_else(|| lone.server.clone()), chosen))
    }

    /// The server to copy to: one that just answered.
    fn choose_destination(&self, seen: &[Seen]) -> Option<String> {
        let answered: Vec<String> =
            seen.iter().filter(|one| one.found.is_ok()).filter_map(|one| one.server.clone()).collect();
        ranked(&answered, self.job.prefer.as_deref(), &self.job.avoid, self.turn()).into_iter().next()
    }

    fn turn(&self) -> u64 {
        transfer_hash(&self.job.transfer)
    }

    async fn remove_earlier(&self, seen: &[Seen]) {
        let servers = seen.iter().filter(|one| one.found.is_ok());
        let pairs = servers.flat_map(|one| self.earlier.iter().map(|path| (one.server.as_deref(), path)));
        join_all(pairs.map(|(server, path)| self.remove(server, path))).await;
    }

    /// What an earlier generation may still be renamed from is gone, by the word of at least one server, or the attempt
    /// ends.
    async fn remove_stale(&self, seen: &[Seen]) -> Result<(), Fault> {
        for path in &self.stale {
            let servers = seen.iter().filter(|one| one.found.is_ok());
            let removals = servers.map(|one| async {
                let place = Place { site: &self.job.to, server: one.server.as_deref() };
                matches!(timeout(self.patience.call, self.engine.remove(place, path)).await, Ok(Ok(_)))
            });
            if !join_all(removals).await.contains(&true) {
                let text =
                    format!("{path}, left by an earlier generation of the file, cannot be removed yet");
                return Err(Fault::new(FaultClass::Transient, "leftover", text));
            }
        }
        Ok(())
    }

    async fn remove(&self, server: Option<&str>, path: &SitePath) {
        let place = Place { site: &self.job.to, server };
        match timeout(self.patience.cancel, self.engine.remove(place, path)).await {
            Ok(Ok(removed)) => tracing::debug!(%path, server, removed, "temporary file cleared away"),
            Ok(Err(fault)) => tracing::info!(%path, server, %fault, "temporary file stays for the sweep"),
            Err(_) => tracing::info!(%path, server, "temporary file stays for the sweep: no answer"),
        }
    }

    async fn clear(&self, server: Option<&str>) {
        self.step(Step::Clearing);
        self.remove(server, &self.temporary).await;
    }

    /// Whether a destination server has the file already, and its sum.
    async fn already_there(
        &self,
        prepared: &Prepared,
        seen: &[Seen],
    ) -> Result<Option<(Option<String>, Option<Checksum>)>, Fault> {
        for one in seen {
            let Ok(Some(stat)) = &one.found else { continue };
            if stat.folder || stat.size != prepared.source.size {
                continue;
            }
            let site: &Site = &self.job.to;
            let place = Place { site, server: one.server.as_deref() };
            let end = End { place, path: &self.path, fresh: site.recheck };
            let got =
                sums(self.engine, &prepared.sums, self.source_end(prepared), end, stat.size, self.patience)
                    .await?;
            match judge(self.job.checksum.as_ref(), &got) {
                Ok(()) => return Ok(Some((one.server.clone(), got.destination))),
                Err(fault) if fault.side == Side::Source => return Err(fault),
                // Another file of the same size: it is set aside once the new copy is verified.
                Err(_) => {}
            }
        }
        Ok(None)
    }

    fn source_end<'a>(&'a self, prepared: &'a Prepared) -> End<'a> {
        let place = Place { site: &self.job.from, server: prepared.source_server.as_deref() };
        End { place, path: &self.source_path, fresh: false }
    }

    async fn copy_and_publish(&self, prepared: &Prepared) -> Result<(Carried, Option<String>), Fault> {
        let total = prepared.source.size;
        let place = Place { site: &self.job.to, server: prepared.destination_server.as_deref() };
        let order = CopyOrder {
            from: self.source_end(prepared).place,
            from_path: &self.source_path,
            to: place,
            to_path: &self.temporary,
            size: total,
            patience: self.patience,
        };
        self.step(Step::Opening);
        copy_watched(self.engine, order, self.cancel, |progress| self.step(step_of(progress, total))).await?;
        let copied = self.clock.now();

        self.step(Step::Summing);
        let checksum = self.cancellable(self.verify(prepared, place)).await?;

        let publication = Publication {
            engine: self.engine,
            place,
            temporary: &self.temporary,
            path: &self.path,
            size: total,
            checksum: checksum.as_ref(),
            patience: self.patience,
            hurried: &prepared.hurried,
            clock: self.clock,
        };
        let publishing = publish(publication, || self.step(Step::Renaming), || self.step(Step::Confirming));
        // So near its end it is finished, unless something hangs: then what it did shows in the next attempt's first look.
        let too_late = async {
            self.cancel.cancelled().await;
            sleep(self.patience.call).await;
        };
        let published = tokio::select! {
            biased;
            published = publishing => published?,
            () = too_late => return Err(Fault::cancelled("the attempt was cancelled while it was renaming")),
        };
        if published.by_another {
            self.clear(prepared.destination_server.as_deref()).await;
        }
        Ok((self.carried(prepared, published.server, checksum, copied, total), published.set_aside))
    }

    /// The copy is the source's, the source did not change, and the file's mode is set.
    async fn verify(&self, prepared: &Prepared, place: Place<'_>) -> Result<Option<Checksum>, Fault> {
        let source = self.source_end(prepared);
        let copy = End { place, path: &self.temporary, fresh: false };
        let size = prepared.source.size;
        let got = sums(self.engine, &prepared.sums, source, copy, size, self.patience).await?;
        // After the sums, so that the source's is one of a file that did not change.
        let (now, ()) = tokio::try_join!(self.stat(Side::Source, source), self.set_mode(copy))?;
        if now != Some(prepared.source) {
            let text = format!("{} changed while it was copied", self.source_path);
            return Err(Fault::new(FaultClass::SourceNotReady, "source-changed", text).at(Side::Source, None));
        }
        let judged = judge(self.job.checksum.as_ref(), &got).map_err(|fault| match fault.side {
            Side::Destination => fault.at(Side::Destination, place.address()),
            _ => fault,
        });
        // Equal sums need no size beside them, and the last look has one; what has none, or is wrong, is looked at here.
        if got.destination.is_none() || judged.is_err() {
            let arrived = self.stat(Side::Destination, copy).await?.map(|stat| stat.size);
            if arrived != Some(size) {
                let found = arrived.map_or("nothing".to_owned(), |bytes| format!("{bytes} bytes"));
                let text = format!("{found} arrived of {size} bytes of {}", self.source_path);
                let fault = Fault::new(FaultClass::Integrity, "size-mismatch", text);
                return Err(fault.at(Side::Destination, place.address()));
            }
        }
        judged?;
        Ok(got.destination)
    }

    async fn set_mode(&self, copy: End<'_>) -> Result<(), Fault> {
        let Some(mode) = self.job.to.mode else { return Ok(()) };
        let call = self.engine.set_mode(copy.place, copy.path, mode);
        limited(self.patience.call, "a change of mode", Side::Destination, copy.place, call).await
    }

    async fn stat(&self, side: Side, end: End<'_>) -> Result<Option<Stat>, Fault> {
        let what = format!("a look at {}", end.path);
        limited(self.patience.call, &what, side, end.place, self.engine.stat(end.place, end.path)).await
    }

    fn carried(
        &self,
        prepared: &Prepared,
        server: Option<String>,
        checksum: Option<Checksum>,
        copied: Millis,
        bytes_moved: u64,
    ) -> Carried {
        Carried {
            size: prepared.source.size,
            checksum,
            verified: prepared.sums.verified(),
            unchecked: prepared.sums.unchecked.clone(),
            already_there: bytes_moved == 0 && prepared.there.is_some(),
            source_mtime: prepared.source.mtime,
            source_server: prepared.source_server.clone(),
            destination_server: server,
            url: self.job.to.url(&self.job.transfer.lfn),
            bytes_moved,
            set_aside: None,
            started: self.started,
            copied,
            verified_at: self.clock.now(),
        }
    }
}

fn step_of(progress: Progress, total: u64) -> Step {
    match progress.phase {
        Phase::Opening => Step::Opening,
        Phase::Waiting => Step::Waiting,
        Phase::Copying => Step::Copying { bytes: progress.bytes, total },
        Phase::Closing => Step::Closing,
    }
}
