//! The flow of one file on the memory engine, in paused time: what it does when all is well, each thing that can be wrong,
//! and then everything at once, driven by seeds.

use std::collections::HashSet;
use std::time::Duration;

use lightrail_topics::{AttemptId, Checksum, ChecksumKind, Lfn, Millis, SiteName};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::digest::of_bytes;
use super::faulty::Faulty;
use super::memory::{Health, Memory, MemorySite};
use super::*;
use crate::clock::TokioClock;
use crate::fault::{Fault, FaultClass, Side};

mod seeds;
mod spoilt;

/// A source and a destination of two servers each, over one store each.
struct Bottle {
    memory: Memory,
    from: Site,
    to: Site,
    lfn: Lfn,
    clock: TokioClock,
    patience: Patience,
}

fn site(name: &str) -> Site {
    Site::new(
        name.parse().unwrap(),
        Some(format!("{}:1094", name.to_lowercase())),
        format!("/{}", name.to_lowercase()),
    )
}

const NOW: Millis = Millis(1_700_000_000_000);

impl Bottle {
    fn new() -> Self {
        Self::with(MemorySite::shared(&["s1", "s2"]), MemorySite::shared(&["d1", "d2"]))
    }

    fn with(source: MemorySite, destination: MemorySite) -> Self {
        let (from, to) = (site("SLAC"), site("NERSC"));
        Self {
            memory: Memory::new().with(&from.name, source).with(&to.name, destination),
            from,
            to,
            lfn: "/mfx/mfxlv9518/xtc/mfxlv9518-r0012-s00-c00.xtc2".parse().unwrap(),
            clock: TokioClock::starting_at(NOW),
            patience: Patience::default(),
        }
    }

    fn job(&self, n: u32) -> Job {
        Job {
            transfer: format!("{}@{}#1", self.lfn, self.to.name).parse().unwrap(),
            attempt: AttemptId { start: 0xab, n },
            mover: "test".parse().unwrap(),
            from: self.from.clone(),
            to: self.to.clone(),
            size: None,
            checksum: None,
            avoid: Vec::new(),
            prefer: None,
            earlier_temporaries: (1..n).map(|n| AttemptId { start: 0xab, n }).collect(),
            stale: Vec::new(),
        }
    }

    async fn run(&self, job: &Job) -> Result<Carried, Fault> {
        self.run_on(&self.memory, job).await
    }

    async fn run_on(&self, engine: &dyn Engine, job: &Job) -> Result<Carried, Fault> {
        let (report, _news) = watch::channel(Report::start());
        carry(job, engine, &self.patience, &self.clock, &report, &CancellationToken::new()).await
    }

    fn source(&self) -> SitePath {
        self.from.path(&self.lfn)
    }

    fn target(&self) -> SitePath {
        self.to.path(&self.lfn)
    }

    fn arrived(&self) -> Option<Vec<u8>> {
        self.memory.get(&self.to.name, &self.target()).map(|file| file.bytes)
    }

    fn names(&self, site: &SiteName) -> Vec<String> {
        self.memory
            .paths(site)
            .iter()
            .map(|path| path.rsplit('/').next().unwrap_or_default().to_owned())
            .collect()
    }
}

fn bytes(length: usize) -> Vec<u8> {
    (0..length).map(|n| u8::try_from(n * 7 % 251).unwrap()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_file_arrives_whole_under_its_own_name() {
    let mut bottle = Bottle::new();
    bottle.to.mode = Some(0o440);
    for length in [0, 1, 20_000, 1_000_000] {
        bottle.lfn = format!("/mfx/mfxlv9518/xtc/mfxlv9518-r0012-s00-c00-{length}.xtc2").parse().unwrap();
        bottle.memory.put(&bottle.from.name, &bottle.source(), bytes(length));
        let mut job = bottle.job(1);
        job.size = Some(length as u64);
        let carried = bottle.run(&job).await.unwrap();
        let file = bottle.memory.get(&bottle.to.name, &bottle.target()).unwrap();
        assert_eq!((file.bytes.len(), file.mode), (length, 0o440));
        assert_eq!(file.bytes, bytes(length));
        assert_eq!(
            (carried.size, carried.bytes_moved, carried.already_there),
            (length as u64, length as u64, false)
        );
        assert_eq!(carried.checksum, Some(of_bytes(ChecksumKind::Adler32, &bytes(length))));
        assert_eq!(carried.verified, Verified::Checksum);
        assert_eq!(carried.url, format!("root://nersc:1094//nersc{}", bottle.lfn));
        assert!(carried.started <= carried.copied && carried.copied <= carried.verified_at);
    }
    assert_eq!(bottle.names(&bottle.to.name).len(), 4, "no temporary file is left");
}

#[tokio::test(start_paused = true)]
async fn progress_names_the_steps_and_the_servers() {
    let bottle = Bottle::new();
    bottle.memory.put(&bottle.from.name, &bottle.source(), bytes(80_000));
    let (report, mut news) = watch::channel(Report::start());
    let job = bottle.job(1);
    let cancel = CancellationToken::new();
    let work = carry(&job, &bottle.memory, &bottle.patience, &bottle.clock, &report, &cancel);
    tokio::pin!(work);
    let mut seen = Vec::new();
    let carried = loop {
        tokio::select! {
            biased;
            done = &mut work => break done.unwrap(),
            _ = news.changed() => seen.push(news.borrow_and_update().clone()),
        }
    };
    let steps: Vec<Step> = seen.iter().map(|report| report.step.clone()).collect();
    for step in
        [Step::Copying { bytes: 40_000, total: 80_000 }, Step::Closing, Step::Summing, Step::Confirming]
    {
        assert!(steps.contains(&step), "{step:?} in {steps:?}");
    }
    let last = seen.last().unwrap();
    assert_eq!(
        (&last.source_server, &last.destination_server),
        (&carried.source_server, &carried.destination_server)
    );
    assert!(carried.destination_server.is_some());
}

#[tokio::test(start_paused = true)]
async fn what_is_there_already_is_done_without_moving_a_byte() {
    let bottle = Bottle::new();
    bottle.memory.put(&bottle.from.name, &bottle.source(), bytes(1000));
    bottle.memory.put(&bottle.to.name, &bottle.target(), bytes(1000));
    let carried = bottle.run(&bottle.job(1)).await.unwrap();
    assert_eq!((carried.already_there, carried.bytes_moved), (true, 0));
    assert!(carried.checksum.is_some());
}

#[tokio::test(start_paused = true)]
async fn a_different_old_file_is_set_aside_and_kept() {
    let bottle = Bottle::new();
    bottle.memory.put(&bottle.from.name, &bottle.source(), bytes(1000));
    bottle.memory.put(&bottle.to.name, &bottle.target(), vec![7; 1000]);
    let aside = format!("{}.1700000000", bottle.lfn.file_name());
    bottle.memory.put(&bottle.to.name, &bottle.target().beside(&aside), "an older one");
    let carried = bottle.run(&bottle.job(1)).await.unwrap();
    let name = carried.set_aside.unwrap();
    assert_eq!(name, format!("{}.1700000001", bottle.lfn.file_name()), "the first name was taken");
    assert_eq!(
        bottle.memory.get(&bottle.to.name, &bottle.target().beside(&name)).unwrap().bytes,
        vec![7; 1000]
    );
    assert_eq!(bottle.arrived(), Some(bytes(1000)));
}

#[tokio::test(start_paused = true)]
async fn a_source_that_is_not_as_announced_moves_nothing() {
    let bottle = Bottle::new();
    let fault = bottle.run(&bottle.job(1)).await.unwrap_err();
    assert_eq!((fault.class, fault.code.as_str()), (FaultClass::SourceNotReady, "source-missing"));
    bottle.memory.put(&bottle.from.name, &bottle.source(), bytes(1000));
    let mut job = bottle.job(2);
    job.size = Some(1001);
    let fault = bottle.run(&job).await.unwrap_err();
    assert_eq!((fault.class, fault.side), (FaultClass::SourceNotReady, Side::Source));
    assert!(fault.text.contains("has 1000 bytes at SLAC where 1001 were announced"), "{fault}");
    job = bottle.job(3);
    job.checksum = Some("adler32:1234".parse().unwrap());
    let fault = bottle.run(&job).await.unwrap_err();
    assert_eq!((fault.class, fault.code.as_str()), (FaultClass::Integrity, "source-differs"));
    assert!(bottle.memory.paths(&bottle.to.name).is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_source_that_changes_while_it_is_copied_is_not_published() {
    let mut settings = MemorySite::shared(&["d1"]);
    settings.rate = 100;
    let bottle = Bottle::with(MemorySite::shared(&["s1"]), settings);
    bottle.memory.put(&bottle.from.name, &bottle.source(), bytes(1000));
    let job = bottle.job(1);
    let (done, ()) = tokio::join!(bottle.run(&job), async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        bottle.memory.put(&bottle.from.name, &bottle.source(), vec![1; 1000]);
    });
    let fault = done.unwrap_err();
    assert_eq!((fault.class, fault.code.as_str()), (FaultClass::SourceNotReady, "source-changed"));
    assert!(bottle.memory.paths(&bottle.to.name).is_empty());
}

#[tokio::test(start_paused = true)]
async fn without_a_common_checksum_the_site_decides() {
    let offering =
        |kinds: &[ChecksumKind]| MemorySite { offers: kinds.to_vec(), ..MemorySite::shared(&["x"]) };
    let mut bottle = Bottle::with(offering(&[ChecksumKind::Adler32]), offering(&[ChecksumKind::Crc32c]));
    bottle.memory.put(&bottle.from.name, &bottle.source(), bytes(1000));
    let fault = bottle.run(&bottle.job(1)).await.unwrap_err();
    assert!(fault.is_permanent() && fault.code == "cannot-verify", "{fault:?}");
    bottle.to.verify = Verify::Size;
    let md5: Checksum = "d41d8cd98f00b204e9800998ecf8427e".parse().unwrap();
    let mut job = bottle.job(2);
    job.checksum = Some(md5.clone());
    let carried = bottle.run(&job).await.unwrap();
    assert_eq!(
        (carried.verified, carried.checksum, carried.unchecked),
        (Verified::SizeOnly, None, Some(md5))
    );
}

#[tokio::test(start_paused = true)]
async fn a_dead_or_hung_server_is_passed_by_within_the_limits() {
    for health in [Health::Refuses, Health::Hangs] {
        let bottle = Bottle::new();
        bottle.memory.put(&bottle.from.name, &bottle.source(), bytes(1000));
        bottle.memory.set_health(&bottle.from.name, "s1", health);
        bottle.memory.set_health(&bottle.to.name, "d1", health);
        let mut job = bottle.job(1);
        job.prefer = Some("d1".to_owned());
        let begun = Instant::now();
        let (report, news) = watch::channel(Report::start());
        let cancel = CancellationToken::new();
        let carried =
            carry(&job, &bottle.memory, &bottle.patience, &bottle.clock, &report, &cancel).await.unwrap();
        let mut silent = vec![(Side::Destination, "d1".to_owned())];
        if health == Health::Refuses {
            silent.insert(0, (Side::Source, "s1".to_owned()));
        }
        assert!(silent.iter().all(|one| news.borrow().silent.contains(one)), "said, though all went well");
        assert_eq!(carried.source_server.as_deref(), Some("s2"));
        assert_eq!(carried.destination_server.as_deref(), Some("d2"));
        assert!(begun.elapsed() < Duration::from_secs(12), "{health:?}: {:?}", begun.elapsed());
        job.avoid = vec!["d1".to_owned()];
        bottle.memory.delete(&bottle.to.name, &bottle.target());
        let begun = Instant::now();
        bottle.run(&job).await.unwrap();
        assert!(
            begun.elapsed() < Duration::from_secs(1),
            "avoided servers are not waited for: {:?}",
            begun.elapsed()
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_copy_that_stands_still_is_stopped_and_its_server_named() {
    for (at, name, side) in [("from", "s1", Side::Source), ("to", "d1", Side::Destination)] {
        let slow = |server: &str| MemorySite { rate: 100, ..MemorySite::shared(&[server]) };
        let bottle = Bottle::with(slow("s1"), slow("d1"));
        bottle.memory.put(&bottle.from.name, &bottle.source(), bytes(1000));
        let (job, begun) = (bottle.job(1), Instant::now());
        let site = if at == "from" { &bottle.from.name } else { &bottle.to.name };
        let (done, ()) = tokio::join!(bottle.run(&job), async {
            tokio::time::sleep(Duration::from_secs(5)).await;
            bottle.memory.set_health(site, name, Health::Hangs);
        });
        let fault = done.unwrap_err();
        assert_eq!((fault.class, fault.code.as_str()), (FaultClass::Transient, "stalled"), "{fault}");
        assert_eq!((fault.side, fault.endpoint.as_deref()), (side, Some(name)), "{fault}");
        let took = begun.elapsed();
        assert!(took < Duration::from_secs(25), "stopped after {took:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn waiting_for_a_slot_is_no_stall() {
    let settings = MemorySite { slots: 1, rate: 100, ..MemorySite::shared(&["d1"]) };
    let bottle = Bottle::with(MemorySite::shared(&["s1"]), settings);
    let mut other = Bottle::new();
    other.lfn = "/mfx/mfxlv9518/xtc/other.xtc2".parse().unwrap();
    bottle.memory.put(&bottle.from.name, &bottle.source(), bytes(6000));
    bottle.memory.put(&bottle.from.name, &other.source(), bytes(100));
    let (first, mut second) = (bottle.job(1), bottle.job(1));
    second.transfer.lfn = other.lfn.clone();
    let (a, b) = tokio::join!(bottle.run(&first), async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        bottle.run(&second).await
    });
    let (a, b) = (a.unwrap(), b.unwrap());
    assert!(b.verified_at.since(a.started) > Duration::from_secs(60), "it waited for the first one's minute");
}

#[tokio::test(start_paused = true)]
async fn cancelling_stops_the_copy_and_clears_it_away() {
    let settings = MemorySite { rate: 20, ..MemorySite::shared(&["d1"]) };
    let bottle = Bottle::with(MemorySite::shared(&["s1"]), settings);
    bottle.memory.put(&bottle.from.name, &bottle.source(), bytes(1000));
    let (report, _news) = watch::channel(Report::start());
    let (cancel, job) = (CancellationToken::new(), bottle.job(1));
    let begun = Instant::now();
    let (done, ()) =
        tokio::join!(carry(&job, &bottle.memory, &bottle.patience, &bottle.clock, &report, &cancel), async {
            tokio::time::sleep(Duration::from_secs(30)).await;
            cancel.cancel();
        });
    assert!(done.unwrap_err().is_cancelled());
    assert!(begun.elapsed() < Duration::from_millis(30_100), "{:?}", begun.elapsed());
    assert!(bottle.memory.paths(&bottle.to.name).is_empty());
}

#[tokio::test(start_paused = true)]
async fn only_our_own_forgotten_temporaries_are_swept() {
    let bottle = Bottle::new();
    let folder = bottle.target().folder();
    let (job, other) = (bottle.job(1), bottle.job(2));
    let mine = |job: &Job| temporary_name(&job.transfer.lfn, &job.mover, &job.transfer, job.attempt);
    let foreign = temporary_name(&bottle.lfn, &"other".parse().unwrap(), &job.transfer, job.attempt);
    for name in [mine(&job), mine(&other), foreign.clone(), ".hidden".to_owned(), "data.xtc".to_owned()] {
        bottle.memory.put(&bottle.to.name, &folder.inside(&name), "x");
    }
    let running = HashSet::from([Temporary::of(&other.mover, &other.transfer, other.attempt)]);
    let swept = sweep_leftovers(&bottle.memory, &bottle.to, &folder, &job.mover, &running, &bottle.patience)
        .await
        .unwrap();
    assert_eq!((swept.removed.len(), swept.running), (1, 1));
    assert_eq!(swept.removed[0].1, mine(&job));
    let mut left = vec![mine(&other), foreign, ".hidden".to_owned(), "data.xtc".to_owned()];
    left.sort();
    assert_eq!(bottle.names(&bottle.to.name), left);
}
