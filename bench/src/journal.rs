//! The journal against bare sled: the ledger's cycles accept, claim and finish with their rows, in batches with one
//! flush each, and the same bytes in the same batches with the same flushes by sled alone.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use lightrail_mover::carry::{Carried, Verified};
use lightrail_mover::config;
use lightrail_mover::journal::{Journal, RowKind, SledJournal, as_bytes};
use lightrail_mover::ledger::rows::Write;
use lightrail_mover::ledger::{Doors, ExperimentRules, Ledger, Limits, Outcome, Rules, Step};
use lightrail_topics::events::{ClosedBy, Registration};
use lightrail_topics::{Lfn, Millis, RunKey, RunNumber, SiteName};

use crate::processor;
use crate::report::{Bar, Row, tell};

/// Cycles in one batch, as the owner puts together what is ready.
const BATCH: usize = 64;
const BATCHES: usize = 20;
const FILES_PER_RUN: usize = 18;
/// Bytes of sled's cache on either side.
const CACHE: u64 = 256 << 20;

struct Open;

impl Doors for Open {
    fn is_open(&self, _: &SiteName) -> bool {
        true
    }

    fn servers(&self, _: &SiteName) -> Vec<String> {
        Vec::new()
    }
}

pub(crate) fn measure(quick: bool) -> anyhow::Result<Vec<Row>> {
    let mut rows = Vec::new();
    let sizes: &[usize] = if quick { &[10_000, 100_000] } else { &[10_000, 100_000, 1_000_000] };
    for queued in sizes.iter().copied() {
        let runs = if quick { 3 } else { 9 };
        rows.extend(tell(at_size(queued, runs)?));
    }
    Ok(rows)
}

fn at_size(queued: usize, runs: usize) -> anyhow::Result<Vec<Row>> {
    let folder = tempfile::tempdir_in("target").context("no folder below target")?;
    let before = processor::resident("self")?;
    let mut world = World::new(&folder.path().join("journal"))?;
    world.fill(queued)?;
    #[allow(clippy::cast_precision_loss)]
    let per_entry = |bytes: u64| bytes as f64 / queued as f64;
    let memory = per_entry(processor::resident("self")?.saturating_sub(before));
    let disk = per_entry(folder_size(&folder.path().join("journal"))?);

    let (mut ours, mut peer, mut single) = (Vec::new(), Vec::new(), Vec::new());
    let (mut plans, mut decided) = (Vec::new(), Vec::new());
    // As the journal sets it, so that only what is done with it differs.
    let bare = sled::Config::new()
        .path(folder.path().join("bare"))
        .cache_capacity(CACHE)
        .mode(sled::Mode::LowSpace)
        .flush_every_ms(None)
        .open()?;
    world.copy_to(&bare)?;
    for _ in 0..runs {
        let Cycles { elapsed, batches, plan, deciding } = world.cycles()?;
        #[allow(clippy::cast_precision_loss)]
        let rate = |elapsed: Duration| (BATCH * BATCHES) as f64 / elapsed.as_secs_f64();
        ours.push(rate(elapsed));
        plans.push(plan.as_secs_f64() * 1e6);
        decided.push(deciding.as_secs_f64() * 1e6);
        peer.push(rate(replay(&bare, &batches)?));
        single.push(rate(one_by_one(&bare, &batches)?));
    }
    drop(world);
    let journal = folder.path().join("journal");
    let begun = Instant::now();
    let (opened, _) = SledJournal::open(&settings(&journal), &"bench".parse()?, "here")?;
    let mut ledger = Ledger::new(rules());
    for kind in RowKind::ALL {
        opened.scan(kind, &mut |row| ledger.load(row))?;
    }
    ledger.index();
    let open = begun.elapsed().as_secs_f64();
    Ok(vec![
        Row::against(
            format!("cycles at {queued} queued, against sled alone"),
            "1/s",
            &ours,
            &peer,
            Bar::AtLeast(0.5),
        ),
        Row::against(
            format!("cycles at {queued} queued, against single inserts"),
            "1/s",
            &ours,
            &single,
            Bar::Told,
        ),
        Row::against(
            format!("sled alone in batches at {queued}, against single inserts"),
            "1/s",
            &peer,
            &single,
            Bar::Told,
        ),
        Row::alone(format!("memory per entry at {queued}"), "bytes", &[memory]),
        Row::alone(format!("disk per entry at {queued}"), "bytes", &[disk]),
        Row::alone(format!("one planning step at {queued}"), "us", &plans),
        Row::alone(format!("deciding on one cycle at {queued}, without the journal"), "us", &decided),
        Row::alone(format!("time to open with {queued}"), "s", &[open]),
    ])
}

/// A ledger and its journal.
struct World {
    ledger: Ledger,
    journal: SledJournal,
    now: Millis,
    next: usize,
    writes: Vec<Write>,
}

/// What a number of cycles took and wrote.
struct Cycles {
    elapsed: Duration,
    batches: Vec<Vec<Write>>,
    /// Of one planning step.
    plan: Duration,
    /// Of one cycle, without the journal.
    deciding: Duration,
}

impl World {
    fn new(folder: &Path) -> anyhow::Result<Self> {
        let (journal, _) = SledJournal::open(&settings(folder), &"bench".parse()?, "here")?;
        let now = Millis(1_700_000_000_000);
        Ok(Self { ledger: Ledger::new(rules()), journal, now, next: 0, writes: Vec::new() })
    }

    fn keep(&mut self, step: Step) {
        self.writes.extend(step.writes);
    }

    /// The next file of a run that is closed: ready at once.
    fn accept(&mut self) -> anyhow::Result<()> {
        let (run, stream) = (self.next / FILES_PER_RUN, self.next % FILES_PER_RUN);
        self.next += 1;
        let run = RunKey { experiment: "mfxlv9518".parse()?, run: RunNumber(u32::try_from(run)?) };
        let lfn: Lfn =
            format!("/mfx/mfxlv9518/xtc/mfxlv9518-r{:04}-s{stream:03}-c000.xtc2", run.run).parse()?;
        let registration =
            Registration { size: Some(1000 + stream as u64), mtime: Some(5), ..Registration::default() };
        self.now.0 += 1;
        let step = self.ledger.found(&run, &lfn, &registration, (true, false), self.now);
        self.keep(step);
        if stream == 0 {
            let step = self.ledger.close(&run, ClosedBy::Request, self.now);
            self.keep(step);
        }
        Ok(())
    }

    fn fill(&mut self, files: usize) -> anyhow::Result<()> {
        for _ in 0..files {
            self.accept()?;
            if self.writes.len() > 5000 {
                self.journal.commit(&std::mem::take(&mut self.writes))?;
            }
        }
        self.journal.commit(&std::mem::take(&mut self.writes))?;
        self.journal.flush()?;
        Ok(())
    }

    /// Accepts, claims and finishes.
    fn cycles(&mut self) -> anyhow::Result<Cycles> {
        let mut batches = Vec::new();
        let (mut planning, mut writing) = (Duration::ZERO, Duration::ZERO);
        let begun = Instant::now();
        for _ in 0..BATCHES {
            for _ in 0..BATCH {
                self.accept()?;
            }
            let mut orders = Vec::new();
            while orders.len() < BATCH {
                let planned = Instant::now();
                let (order, step) = self.ledger.plan(&Open, 1, self.now).context("nothing can start")?;
                planning += planned.elapsed();
                self.keep(step);
                orders.push(order);
                if orders.len() % 8 == 0 || orders.len() == BATCH {
                    // Slots are few: what has started ends before more can start.
                    for order in orders.iter().skip(orders.len().saturating_sub(8)) {
                        let outcome = Outcome::Verified(Box::new(carried(self.now)));
                        let step =
                            self.ledger.ended(&order.run, &order.transfer, order.attempt, outcome, self.now);
                        self.writes.extend(step.writes);
                    }
                }
            }
            let writes = std::mem::take(&mut self.writes);
            let written = Instant::now();
            self.journal.commit(&writes)?;
            self.journal.flush()?;
            writing += written.elapsed();
            batches.push(writes);
        }
        let steps = u32::try_from(BATCH * BATCHES)?;
        let elapsed = begun.elapsed();
        Ok(Cycles {
            elapsed,
            batches,
            plan: planning / steps,
            deciding: elapsed.saturating_sub(writing) / steps,
        })
    }

    /// Gives sled alone the same rows to begin with.
    fn copy_to(&self, bare: &sled::Db) -> anyhow::Result<()> {
        for kind in RowKind::ALL {
            let mut batch = sled::Batch::default();
            let mut failed = None;
            self.journal.scan(kind, &mut |row| match as_bytes(&[Write::Put(row)]) {
                Ok(rows) => {
                    for (key, value) in rows {
                        batch.insert(key, value.unwrap_or_default());
                    }
                }
                Err(error) => failed = Some(error),
            })?;
            if let Some(error) = failed {
                return Err(error.into());
            }
            bare.apply_batch(batch)?;
        }
        bare.flush()?;
        Ok(())
    }
}

fn replay(bare: &sled::Db, batches: &[Vec<Write>]) -> anyhow::Result<Duration> {
    let encoded = batches.iter().map(|writes| as_bytes(writes)).collect::<Result<Vec<_>, _>>()?;
    let begun = Instant::now();
    for rows in encoded {
        let mut batch = sled::Batch::default();
        for (key, value) in rows {
            match value {
                Some(value) => batch.insert(key, value),
                None => batch.remove(key),
            }
        }
        bare.apply_batch(batch)?;
        bare.flush()?;
    }
    Ok(begun.elapsed())
}

fn one_by_one(bare: &sled::Db, batches: &[Vec<Write>]) -> anyhow::Result<Duration> {
    let encoded = batches.iter().map(|writes| as_bytes(writes)).collect::<Result<Vec<_>, _>>()?;
    let begun = Instant::now();
    for rows in encoded {
        for (key, value) in rows {
            match value {
                Some(value) => bare.insert(key, value)?,
                None => bare.remove(key)?,
            };
        }
        bare.flush()?;
    }
    Ok(begun.elapsed())
}

fn carried(now: Millis) -> Carried {
    Carried {
        size: 1000,
        checksum: "adler32:0a0b0c0d".parse().ok(),
        verified: Verified::Checksum,
        unchecked: None,
        already_there: false,
        source_mtime: 5,
        source_server: Some("localhost:1094".to_owned()),
        destination_server: Some("localhost:1095".to_owned()),
        url: String::new(),
        bytes_moved: 1000,
        set_aside: None,
        started: now,
        copied: now,
        verified_at: now,
    }
}

fn settings(folder: &Path) -> config::Journal {
    config::Journal { folder: folder.to_owned(), reserve: 0, cache: CACHE }
}

fn rules() -> Rules {
    let nersc: SiteName = "NERSC".parse().expect("a name as sites have them");
    Rules {
        source: "lightrail-mover/bench".to_owned(),
        source_site: "SLAC".parse().expect("a name as sites have them"),
        experiments: std::collections::BTreeMap::default(),
        default: ExperimentRules {
            to: Some(vec![nersc.clone()]),
            overdue: Duration::from_secs(3600),
            ..ExperimentRules::default()
        },
        limits: Limits::default(),
        urls: [(nersc, "root://door:1094//data".to_owned())].into(),
        small_below: 1_000_000,
        tries: 5,
        settle: Duration::from_secs(5),
        has_logbook: false,
        silent_after: Duration::from_secs(600),
    }
}

fn folder_size(folder: &Path) -> anyhow::Result<u64> {
    let mut size = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let meta = entry.metadata()?;
        size += if meta.is_dir() { folder_size(&entry.path())? } else { meta.len() };
    }
    Ok(size)
}
