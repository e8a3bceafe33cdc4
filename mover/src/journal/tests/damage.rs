//! A damaged, older or missing folder: either all that was flushed is there, or a fresh journal says why. Never less
//! without a word.

use std::fs;
use std::path::PathBuf;

use super::*;

/// A journal with a history: several segments' worth of commits, flushed, closed; and all its rows.
fn with_history(folder: &Path, commits: u32) -> Vec<Row> {
    let (mut journal, _) = open(folder);
    for number in 0..commits {
        let mut writes = vec![put_run(number % 40), position("runs", number.into())];
        writes.extend((0..12).map(|stream| put_file(number % 40, stream, waiting(stream + number))));
        journal.commit(&writes).unwrap();
        if number % 16 == 0 {
            journal.flush().unwrap();
        }
    }
    journal.flush().unwrap();
    everything(&journal)
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), &target).unwrap();
        }
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_dir() {
            all.extend(files(&entry.path()));
        } else {
            all.push(entry.path());
        }
    }
    all.sort();
    all
}

/// Opens a copy of `whole` after `harm`, twice: the verdict must be safe and must last.
fn harmed(whole: &Path, rows: &[Row], what: &str, harm: impl FnOnce(&Path)) -> Opened {
    let folder = tempfile::tempdir().unwrap();
    copy(whole, folder.path());
    harm(&folder.path().join("journal"));
    let (mut journal, opened) = open(folder.path());
    match &opened {
        Opened::Live => assert!(everything(&journal) == rows, "{what}: opened with other rows"),
        Opened::Fresh { because } => {
            assert_eq!(everything(&journal), [], "{what}: {because}");
            if let Because::Damaged { aside, .. } | Because::RolledBack { aside, .. } = because {
                assert!(aside.is_dir(), "{what}: {} is not there", aside.display());
            }
        }
    }
    // It works from here on.
    journal.commit(&[position("after", 1)]).unwrap();
    journal.flush().unwrap();
    let after = everything(&journal);
    drop(journal);
    let (journal, again) = open(folder.path());
    assert_eq!(again, Opened::Live, "{what}");
    assert!(everything(&journal) == after, "{what}");
    opened
}

#[test]
fn a_truncated_or_corrupted_folder_is_whole_or_says_why() {
    let whole = tempfile::tempdir().unwrap();
    let rows = with_history(whole.path(), 600);
    assert_eq!(harmed(whole.path(), &rows, "nothing", |_| ()), Opened::Live);
    let names = files(&whole.path().join("journal"));
    assert!(names.len() >= 2, "{names:?}");
    let mut verdicts = BTreeMap::new();
    let mut random = fastrand::Rng::with_seed(20_261_121);
    for name in names {
        let inside = name.strip_prefix(whole.path().join("journal")).unwrap().to_owned();
        let length = fs::metadata(&name).unwrap().len();
        let mut verdict = |what: String, harm: &dyn Fn(&Path)| {
            let opened = harmed(whole.path(), &rows, &what, |folder| harm(&folder.join(&inside)));
            let word = if opened == Opened::Live { "live" } else { "fresh" };
            *verdicts.entry(word).or_insert(0) += 1;
        };
        for eighth in 0..8 {
            let at = length * eighth / 8;
            verdict(format!("{} cut to {at} of {length}", inside.display()), &|file| {
                fs::OpenOptions::new().write(true).open(file).unwrap().set_len(at).unwrap();
            });
        }
        for _ in 0..8 {
            let (at, count) = (random.u64(0..length.max(1)), random.usize(1..4096));
            let noise: Vec<u8> = (0..count).map(|_| random.u8(..)).collect();
            verdict(format!("{} overwritten at {at}, {count} bytes", inside.display()), &|file| {
                let mut bytes = fs::read(file).unwrap();
                let from = usize::try_from(at).unwrap().min(bytes.len());
                let end = bytes.len().min(from + count);
                bytes[from..end].copy_from_slice(&noise[..end - from]);
                fs::write(file, bytes).unwrap();
            });
        }
        verdict(format!("{} removed", inside.display()), &|file| fs::remove_file(file).unwrap());
    }
    println!("{verdicts:?}");
    assert!(verdicts.get("fresh").is_some_and(|fresh| *fresh > 5), "nothing was harmed: {verdicts:?}");
}

#[test]
fn an_older_copy_of_the_folder_is_told_from_the_present_one() {
    let folder = tempfile::tempdir().unwrap();
    let older = tempfile::tempdir().unwrap();
    with_history(folder.path(), 20);
    copy(&folder.path().join("journal"), older.path());
    with_history(folder.path(), 20);
    fs::remove_dir_all(folder.path().join("journal")).unwrap();
    copy(older.path(), &folder.path().join("journal"));
    let (_, opened) = open(folder.path());
    assert!(
        matches!(opened, Opened::Fresh { because: Because::RolledBack { flushed: 40, found: 20, .. } }),
        "{opened:?}"
    );
}

#[test]
fn a_folder_that_is_gone_or_emptied_or_of_another_format_says_so() {
    let folder = tempfile::tempdir().unwrap();
    with_history(folder.path(), 2);
    fs::remove_dir_all(folder.path().join("journal")).unwrap();
    assert_eq!(open(folder.path()).1, Opened::Fresh { because: Because::Gone });
    for name in files(&folder.path().join("journal")) {
        fs::remove_file(name).unwrap();
    }
    let because = open(folder.path()).1;
    assert!(
        matches!(&because, Opened::Fresh { because: Because::Gone | Because::Damaged { .. } }),
        "{because:?}"
    );

    let (journal, _) = open(folder.path());
    let other = Header { format: 4711, ..journal.header() }.to_bytes().unwrap();
    drop(journal);
    let db = sled::open(folder.path().join("journal")).unwrap();
    db.insert(codec::HEADER, other).unwrap();
    db.flush().unwrap();
    drop(db);
    let opened = open(folder.path()).1;
    assert!(matches!(&opened, Opened::Fresh { because: Because::Format { found: 4711, .. } }), "{opened:?}");
}

#[test]
fn a_commit_without_flush_is_whole_or_absent_after_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let killed = tempfile::tempdir().unwrap();
    let (mut journal, _) = open(folder.path());
    journal.commit(&[put_run(1), position("runs", 1)]).unwrap();
    journal.flush().unwrap();
    let flushed = everything(&journal);
    // Some commits reach the disk without being asked to, when a segment is full: what is there is a whole prefix.
    for number in 2..2000 {
        journal
            .commit(&[put_run(number), put_file(number, 0, waiting(0)), position("runs", number.into())])
            .unwrap();
    }
    copy(folder.path(), killed.path());
    let (survivor, opened) = open(killed.path());
    assert_eq!(opened, Opened::Live);
    let header = survivor.header();
    assert!(header.commits < 1999, "the test wants some commits to be lost");
    let runs = survivor.all(RowKind::Run).unwrap().len() as u64;
    let positions: Vec<i64> = survivor.positions().unwrap().into_values().collect();
    assert_eq!((runs, positions), (header.commits, vec![i64::try_from(header.commits).unwrap()]));
    assert!(
        flushed.iter().all(|row| matches!(row, Row::Position(..)) || everything(&survivor).contains(row))
    );
}
