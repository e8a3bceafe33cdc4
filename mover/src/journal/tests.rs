//! One contract that both journals keep, then what only the one on disk has to stand: damage, older copies, a second
//! process, growth.

mod damage;
mod full;
mod growth;
mod kill;

use std::collections::BTreeMap;
use std::path::Path;

use lightrail_topics::events::{Route, Verified, Wish};
use lightrail_topics::{Checksum, ChecksumKind, Generation, Lfn, Millis, MoverName, RunKey};

use super::*;
use crate::config;
use crate::ledger::rows::{Done, ExperimentRow, RunSiteRow, Said, State, Told, Transfer};

fn run_key(number: u32) -> RunKey {
    format!("mfxlv9518/{number}").parse().unwrap()
}

fn lfn(run: u32, stream: u32) -> Lfn {
    format!("/mfx/mfxlv9518/xtc/smalldata/mfxlv9518-r{run:04}-s{stream:02}-c00.smd.xtc").parse().unwrap()
}

/// A finished file as the ledger keeps it.
fn finished(stream: u32) -> FileRow {
    let checksum = Some(Checksum::from_u32(ChecksumKind::Adler32, stream.wrapping_mul(0x9e37_79b9)));
    let done = Done {
        size: 107_376_049_552,
        checksum: checksum.clone(),
        verified: Verified::Checksum,
        source_mtime: 1_763_715_600,
        at: Millis(1_763_715_601_123),
    };
    let mut transfer = Transfer::new("NERSC".parse().unwrap(), Generation::FIRST);
    transfer.state = State::Done(done);
    let said = Said {
        created: Some((Millis(1_763_715_500_000), true)),
        path: Told::Hash(0x1234_5678_9abc_def0),
        host: Told::Hash(0x0fed_cba9_8765_4321),
        size: None,
        checksum: None,
        mtime: None,
    };
    FileRow { said, seen: None, whole: false, sites: vec![transfer] }
}

fn waiting(stream: u32) -> FileRow {
    let mut file = finished(stream);
    file.sites[0].state = State::Ready;
    file.said.path = Told::Text("/u2/pcds/pds/mfx/mfxlv9518/xtc/some-file".to_owned());
    file
}

fn put_file(run: u32, stream: u32, file: FileRow) -> Write {
    Write::Put(Row::File(run_key(run), lfn(run, stream), file))
}

fn put_run(run: u32) -> Write {
    let row = RunRow {
        heard: Millis(run.into()),
        sites: vec![RunSiteRow::new("NERSC".parse().unwrap())],
        ..RunRow::default()
    };
    Write::Put(Row::Run(run_key(run), row))
}

fn position(topic: &str, offset: i64) -> Write {
    Write::Put(Row::Position(PartitionKey { topic: topic.to_owned(), partition: 3 }, offset))
}

fn settings(folder: &Path) -> config::Journal {
    config::Journal { folder: folder.join("journal"), reserve: 1 << 20, cache: 16 << 20 }
}

fn mover() -> MoverName {
    "lcls-to-nersc".parse().unwrap()
}

fn open(folder: &Path) -> (SledJournal, Opened) {
    SledJournal::open(&settings(folder), &mover(), "here").unwrap()
}

/// All rows, for comparison.
fn everything(journal: &dyn Journal) -> Vec<Row> {
    RowKind::ALL.into_iter().flat_map(|kind| journal.all(kind).unwrap()).collect()
}

/// What every journal must do. Starts empty.
fn contract(journal: &mut dyn Journal) {
    assert_eq!(everything(journal), []);
    let experiment: lightrail_topics::Experiment = "mfxlv9518".parse().unwrap();
    let wish = Wish { held: Some(true), who: "me".to_owned(), ..wish() };
    let route = Route {
        to: vec!["NERSC".parse().unwrap()],
        streaming: None,
        transfers: None,
        not_waited_streams: Some(vec![80, 81]),
        who: "me".to_owned(),
        at: Millis(5),
    };
    let message = lightrail_topics::message::wish(&"*".parse().unwrap(), Some(&wish), "mover", Millis(7));
    let mut writes =
        vec![put_run(10), put_run(9), put_run(1000), position("runs", 7), position("file_catalog", 9)];
    writes.extend((0..5).rev().map(|stream| put_file(10, stream, waiting(stream))));
    writes.push(put_file(9, 0, waiting(0)));
    writes.push(put_file(11, 0, waiting(0)));
    writes.push(Write::Put(Row::Wish("*".parse().unwrap(), wish.clone())));
    writes.push(Write::Put(Row::Route(experiment.clone(), route.clone())));
    writes.push(Write::Put(Row::Experiment(
        experiment.clone(),
        ExperimentRow { dm_locations: route.to.clone() },
    )));
    for place in [300, 2, 65_536] {
        writes.push(Write::Put(Row::Outbox(place, message.clone())));
    }
    journal.commit(&writes).unwrap();
    journal.flush().unwrap();
    assert_eq!((journal.header().rows, journal.header().commits), (writes.len() as u64, 1));

    // In the order of numbers, not of text.
    let runs = journal.all(RowKind::Run).unwrap();
    let numbers: Vec<u32> =
        runs.iter().map(|row| if let Row::Run(key, _) = row { key.run.0 } else { 0 }).collect();
    assert_eq!(numbers, [9, 10, 1000]);
    let outbox = journal.all(RowKind::Outbox).unwrap();
    let places: Vec<u64> =
        outbox.iter().map(|row| if let Row::Outbox(place, _) = row { *place } else { 0 }).collect();
    assert_eq!(places, [2, 300, 65_536]);
    assert_eq!(outbox[0], Row::Outbox(2, message));
    assert_eq!(journal.all(RowKind::Wish).unwrap(), [Row::Wish("*".parse().unwrap(), wish)]);
    assert_eq!(journal.all(RowKind::Route).unwrap(), [Row::Route(experiment, route)]);
    assert_eq!(journal.positions().unwrap().values().copied().collect::<Vec<_>>(), [9, 7]);

    // A run is its own row and its own files; files without their run's row are no run.
    let (_, files) = journal.run(&run_key(10)).unwrap().unwrap();
    let streams: Vec<u16> = files.iter().map(|(lfn, _)| lfn.stream().unwrap()).collect();
    assert_eq!(streams, [0, 1, 2, 3, 4]);
    assert_eq!(files[3].1, waiting(3));
    assert_eq!(journal.run(&run_key(11)).unwrap(), None);
    assert_eq!(journal.run(&run_key(1000)).unwrap().unwrap().1, []);

    // Replace, remove, remove what is not there; of two writes to one key the last counts.
    let bytes_before = journal.header().bytes;
    journal
        .commit(&[
            put_file(10, 3, waiting(3)),
            put_file(10, 3, finished(3)),
            Write::Remove(RowKey::File(run_key(10), lfn(10, 4))),
            Write::Remove(RowKey::Outbox(77)),
            Write::Remove(RowKey::Outbox(300)),
            position("runs", 8),
        ])
        .unwrap();
    journal.commit(&[]).unwrap();
    journal.flush().unwrap();
    assert_eq!(
        journal.get(&RowKey::File(run_key(10), lfn(10, 3))).unwrap(),
        Some(match put_file(10, 3, finished(3)) {
            Write::Put(row) => row,
            Write::Remove(_) => unreachable!(),
        })
    );
    assert_eq!(journal.get(&RowKey::Outbox(300)).unwrap(), None);
    assert_eq!((journal.header().rows, journal.header().commits), (writes.len() as u64 - 2, 2));
    assert!(journal.header().bytes < bytes_before);
    assert!(journal.room().unwrap().is_enough());

    let before = everything(journal);
    journal.flush().unwrap();
    assert_eq!(journal.reopen().unwrap(), Opened::Live);
    assert_eq!(everything(journal), before);
    assert!(matches!(journal.compact_if_needed().unwrap(), Compacted::NotNeeded { .. }));
    assert_eq!(everything(journal), before);
}

fn wish() -> Wish {
    Wish {
        asked: None,
        asked_again: 0,
        held: None,
        cancelled: None,
        requeued: 0,
        priority: None,
        drained: None,
        left_out: None,
        who: String::new(),
        at: Millis(3),
        why: String::new(),
    }
}

#[test]
fn the_journal_in_memory_keeps_the_contract() {
    contract(&mut MemoryJournal::new("lcls-to-nersc", 1));
}

#[test]
fn the_journal_on_disk_keeps_the_contract() {
    let folder = tempfile::tempdir().unwrap();
    let (mut journal, opened) = open(folder.path());
    assert_eq!(opened, Opened::Fresh { because: Because::New });
    contract(&mut journal);
    let before = (everything(&journal), journal.header());
    drop(journal);
    let (journal, opened) = open(folder.path());
    assert_eq!(opened, Opened::Live);
    assert_eq!((everything(&journal), journal.header()), before);
}

#[test]
fn a_crash_in_memory_loses_the_newest_commits_only() {
    let mut journal = MemoryJournal::new("m", 1);
    journal.commit(&[position("a", 1)]).unwrap();
    journal.flush().unwrap();
    journal.commit(&[position("a", 2)]).unwrap();
    journal.commit(&[position("a", 3), position("b", 1)]).unwrap();
    journal.commit(&[position("c", 1)]).unwrap();
    journal.crash(1);
    assert_eq!(journal.positions().unwrap().into_values().collect::<Vec<_>>(), [2]);
    assert_eq!(journal.header().commits, 2);
    journal.break_disk();
    assert!(journal.commit(&[position("a", 9)]).unwrap_err().needs_reopen());
    assert_eq!(journal.reopen().unwrap(), Opened::Live);
    assert_eq!(journal.positions().unwrap().into_values().collect::<Vec<_>>(), [2]);
}

#[test]
fn a_folder_is_one_processs_and_one_movers() {
    let folder = tempfile::tempdir().unwrap();
    SledJournal::is_free(&settings(folder.path())).unwrap();
    let (journal, _) = open(folder.path());
    assert!(matches!(
        SledJournal::is_free(&settings(folder.path())),
        Err(LockError::Held { holder: Some(_), .. })
    ));
    let in_use = SledJournal::set_aside(&settings(folder.path()), &mover(), "there", "rebuild").unwrap_err();
    assert!(matches!(in_use, JournalError::Lock(LockError::Held { .. })), "{in_use}");
    let refused = SledJournal::open(&settings(folder.path()), &mover(), "there").unwrap_err().to_string();
    assert!(
        refused.ends_with(&format!("in use by mover lcls-to-nersc on here, process {}", std::process::id())),
        "{refused}"
    );
    drop(journal);
    let other: MoverName = "other".parse().unwrap();
    let refused = SledJournal::open(&settings(folder.path()), &other, "here").unwrap_err().to_string();
    assert!(refused.contains("belongs to mover lcls-to-nersc, not other"), "{refused}");
    assert_eq!(open(folder.path()).1, Opened::Live);
    let aside =
        SledJournal::set_aside(&settings(folder.path()), &mover(), "here", "rebuild").unwrap().unwrap();
    assert!(aside.to_string_lossy().contains("journal.rebuild-") && aside.is_dir(), "{}", aside.display());
    assert_eq!(SledJournal::set_aside(&settings(folder.path()), &mover(), "here", "rebuild").unwrap(), None);
    assert_eq!(open(folder.path()).1, Opened::Fresh { because: Because::Gone });
}

#[test]
fn a_finished_files_line_with_its_key_is_under_150_bytes() {
    let (key, value) = codec::encode(&Row::File(run_key(12), lfn(12, 3), finished(3))).unwrap();
    assert!(key.len() + value.len() < 150, "{} + {}", key.len(), value.len());
    let bytes: BTreeMap<&str, usize> = BTreeMap::from([("key", key.len()), ("value", value.len())]);
    println!("{bytes:?}");
}
