//! A real full disk: a small file system of its own. Needs the right to mount; where there is none, says so.

use std::process::Command;

use super::*;

/// A file system of some MiB, unmounted when dropped.
struct Small(tempfile::TempDir);

impl Small {
    /// `None`, with a word why, where nothing can be mounted; a failure where `LIGHTRAIL_REQUIRE` names `loop`.
    fn mount(mebibytes: u32) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let size = format!("size={mebibytes}m");
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(folder.path()).output();
        if mounted.is_ok_and(|output| output.status.success()) {
            return Some(Self(folder));
        }
        let required = std::env::var("LIGHTRAIL_REQUIRE").unwrap_or_default();
        assert!(!required.split(',').any(|part| part == "loop"), "no file system can be mounted here");
        println!("skipped: no file system can be mounted here");
        None
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg(self.0.path()).status();
        assert!(unmounted.is_ok_and(|status| status.success()), "{} stays mounted", self.0.path().display());
    }
}

#[test]
fn a_full_disk_fails_in_an_orderly_way_and_what_was_flushed_is_there_when_there_is_room_again() {
    let Some(small) = Small::mount(24) else { return };
    let (mut journal, _) = open(small.0.path());
    journal.commit(&[put_run(0)]).unwrap();
    journal.flush().unwrap();
    let ballast = small.0.path().join("ballast");
    assert!(journal.room().unwrap().is_enough());
    std::fs::write(&ballast, vec![1; 12 << 20]).unwrap();

    let mut flushed = Vec::new();
    let mut number = 0;
    let error = loop {
        number += 1;
        assert!(number < 100_000, "24 MiB hold more than they can");
        let mut writes = vec![put_run(number)];
        writes.extend((0..18).map(|stream| put_file(number, stream, waiting(stream))));
        match journal.commit(&writes).and_then(|()| journal.flush()) {
            Ok(()) => flushed.push(number),
            Err(error) => break error,
        }
    };
    assert!(error.needs_reopen(), "{error:?}");
    assert!(!journal.room().unwrap().is_enough(), "{}", journal.room().unwrap());
    // Until it is opened again every call fails, and none hangs or panics.
    assert!(journal.commit(&[put_run(1)]).is_err() && journal.all(RowKind::Run).is_err());
    // Without room it may not open; it must not lose anything by trying.
    let without_room = journal.reopen();
    println!("{} runs were flushed; without room it opens as {without_room:?}", flushed.len());
    assert!(!matches!(without_room, Ok(Opened::Fresh { .. })), "{without_room:?}");

    std::fs::remove_file(&ballast).unwrap();
    assert_eq!(journal.reopen().unwrap(), Opened::Live);
    assert!(journal.room().unwrap().is_enough());
    for number in flushed {
        assert_eq!(journal.run(&run_key(number)).unwrap().unwrap().1.len(), 18, "run {number}");
    }
    journal.commit(&[put_run(1_000_000)]).unwrap();
    journal.flush().unwrap();
    drop(journal);
    assert_eq!(open(small.0.path()).1, Opened::Live);
}
