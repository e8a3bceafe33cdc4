//! The folder stays in proportion to its content, however often rows change.

use super::*;

/// Accepts, claims and finishes files, as the mover does, in commits of a run each.
fn cycles(journal: &mut SledJournal, runs: std::ops::Range<u32>) {
    for run in runs {
        let all = |file: &dyn Fn(u32) -> FileRow| {
            (0..18).map(|stream| put_file(run, stream, file(stream))).collect::<Vec<_>>()
        };
        let mut accept = all(&waiting);
        accept.extend([put_run(run), position("runs", run.into())]);
        journal.commit(&accept).unwrap();
        journal.flush().unwrap();
        for (stream, claim) in all(&waiting).into_iter().enumerate() {
            journal.commit(&[claim]).unwrap();
            let stream = u32::try_from(stream).unwrap();
            journal
                .commit(&[put_file(run, stream, finished(stream)), position("out", stream.into())])
                .unwrap();
        }
        journal.flush().unwrap();
    }
}

#[test]
fn a_compacted_journal_is_the_same_journal() {
    let folder = tempfile::tempdir().unwrap();
    let (mut journal, _) = open(folder.path());
    cycles(&mut journal, 0..30);
    let (rows, header) = (everything(&journal), journal.header());
    let before = journal.bytes_on_disk().unwrap();
    let Compacted::Done { after, .. } = journal.compact(before).unwrap() else { panic!("it was told to") };
    assert!(after < before, "{after} of {before}");
    assert!(everything(&journal) == rows);
    assert_eq!(journal.header(), header);
    cycles(&mut journal, 30..31);
    drop(journal);
    assert_eq!(open(folder.path()).1, Opened::Live);
}

#[test]
fn a_kill_in_the_middle_of_a_compaction_leaves_one_whole_journal() {
    let folder = tempfile::tempdir().unwrap();
    let at = |ending: &str| folder.path().join(format!("journal{ending}"));
    let (mut journal, _) = open(folder.path());
    cycles(&mut journal, 0..3);
    let rows = everything(&journal);
    drop(journal);
    // Killed while the new folder was being written, and between the two renames.
    std::fs::create_dir(at(".new")).unwrap();
    std::fs::write(at(".new").join("db"), "half").unwrap();
    let (journal, opened) = open(folder.path());
    assert!(opened == Opened::Live && everything(&journal) == rows && !at(".new").exists());
    drop(journal);
    std::fs::create_dir(at(".new")).unwrap();
    std::fs::rename(at(""), at(".old")).unwrap();
    let (journal, opened) = open(folder.path());
    assert!(opened == Opened::Live && everything(&journal) == rows && !at(".old").exists());
}

/// A million transfers, and the folder against ten times its content or 256 MiB. Minutes in a debug build: part of
/// the campaign (`LIGHTRAIL_JOURNAL_MILLION=1`), which says here that it was not asked for.
#[test]
fn a_million_transfers_do_not_fill_the_disk() {
    let transfers: u32 = if std::env::var_os("LIGHTRAIL_JOURNAL_MILLION").is_some() {
        1_000_000
    } else {
        println!("20,000 transfers instead of a million; LIGHTRAIL_JOURNAL_MILLION=1 does them all");
        20_000
    };
    let folder = tempfile::tempdir().unwrap();
    let (mut journal, _) = open(folder.path());
    let runs = transfers / 18;
    let step = (runs / 20).max(1);
    for first in (0..runs).step_by(step as usize) {
        cycles(&mut journal, first..runs.min(first + step));
        journal.compact_if_needed().unwrap();
        let (disk, content) = (journal.bytes_on_disk().unwrap(), journal.header().bytes);
        println!("{} rows, {content} bytes of content, {disk} on disk", journal.header().rows);
        assert!(disk <= (10 * content).max(256 << 20), "{disk} bytes on disk for {content}");
    }
    let header = journal.header();
    drop(journal);
    let begun = std::time::Instant::now();
    let (journal, opened) = open(folder.path());
    println!("opened {} rows in {:?}", header.rows, begun.elapsed());
    assert_eq!((opened, journal.header()), (Opened::Live, header));
}
