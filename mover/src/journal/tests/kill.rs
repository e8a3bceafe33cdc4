//! A real kill -9 of a process that writes: what it had flushed is there, and the rest is a whole prefix.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use super::*;

/// Tells the child where to write; without it the child's test has nothing to do.
const FOLDER: &str = "LIGHTRAIL_JOURNAL_KILL_FOLDER";
const CHILD: &str = "journal::tests::kill::the_process_that_is_killed";
const KILLS: usize = 12;

/// Commits and flushes without end, and says each number after its flush. Only where the other test has started it.
#[test]
fn the_process_that_is_killed() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let (mut journal, opened) = open(Path::new(&folder));
    println!("opened {opened:?}");
    let mut number = journal.header().commits;
    loop {
        number += 1;
        let stream = u32::try_from(number % 40).unwrap();
        let mut writes = vec![position("runs", i64::try_from(number).unwrap()), put_run(stream)];
        writes.extend((0..18).map(|file| put_file(stream, file, waiting(file))));
        journal.commit(&writes).unwrap();
        // Not every commit is flushed: a kill finds some that are on their way.
        if number % 3 == 0 {
            journal.flush().unwrap();
            println!("flushed {number}");
        }
        if number % 400 == 0 {
            let before = journal.bytes_on_disk().unwrap();
            journal.compact(before).unwrap();
        }
    }
}

#[test]
fn what_was_flushed_survives_kill_9_at_any_moment() {
    let folder = tempfile::tempdir().unwrap();
    let mut random = fastrand::Rng::with_seed(9);
    let mut flushed = 0;
    for kill in 0..KILLS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", CHILD, "--nocapture", "--test-threads=1"])
            .env(FOLDER, folder.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        // A random number of flushes, and then in the middle of whatever comes next.
        let wanted = random.usize(1..200);
        let mut seen = 0;
        for line in lines {
            assert!(
                !line.contains("Damaged") && !line.contains("RolledBack") && !line.contains("Gone"),
                "{line}"
            );
            if let Some(number) = line.strip_prefix("flushed ") {
                flushed = number.parse::<u64>().unwrap();
                seen += 1;
                if seen == wanted {
                    child.kill().unwrap();
                }
            }
        }
        child.wait().unwrap();
        assert!(seen >= wanted, "kill {kill}: the child ended by itself after {seen} flushes");
        let (journal, opened) = open(folder.path());
        assert_eq!(opened, Opened::Live, "kill {kill}");
        let commits = journal.header().commits;
        assert!(commits >= flushed, "kill {kill}: {commits} commits, {flushed} were flushed");
        let positions: Vec<i64> = journal.positions().unwrap().into_values().collect();
        assert_eq!(positions, [i64::try_from(commits).unwrap()], "kill {kill}: not a prefix");
    }
}
