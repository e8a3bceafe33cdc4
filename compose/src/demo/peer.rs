//! What the same files need with XRootD's own tool: one `xrdcp --tpc only` per file, several at once, small files first,
//! checksums compared; new names at the destination. What it fails at is tried again, as a careful script would.

use std::process::Stdio;
use std::time::Duration;

use anyhow::Context as _;
use futures::StreamExt as _;
use lightrail_topics::Lfn;

use super::tally::Course;
use crate::logbook::now;
use crate::xrootd::RESOLVER;

/// The ends of the copies: `host:port` and prefix of both doors.
#[derive(Clone, Debug)]
pub(super) struct Route {
    pub(super) from: (String, String),
    pub(super) to: (String, String),
}

impl Route {
    fn source(&self, lfn: &Lfn) -> String {
        format!("root://{}/{}{lfn}", self.from.0, self.from.1)
    }

    /// Beside the mover's own, under a name that it never looks at.
    fn destination(&self, lfn: &Lfn) -> String {
        format!("root://{}/{}{}xrdcp.{}", self.to.0, self.to.1, lfn.folder(), lfn.file_name())
    }
}

/// Copies at once; of 4, 8 and 16 this was `xrdcp`'s best.
pub(super) const AT_ONCE: usize = 8;
/// Tries per file.
const TRIES: u32 = 3;
/// How long a try may take, and so much longer for each of so many bytes: a copy that hangs would never say so.
const PATIENCE: Duration = Duration::from_secs(20);
const SLOWEST: u64 = 4 << 20;

/// Copies the files and says how that went, and what failed on the way; the clock begins at the call. A file that failed
/// for good leaves the course without an end.
///
/// # Errors
/// When `xrdcp` cannot be run.
pub(super) async fn copy(route: &Route, files: &[(Lfn, u64)]) -> anyhow::Result<(Course, Vec<String>)> {
    let mut files = files.to_vec();
    files.sort_by_key(|(_, size)| *size);
    let wanted = files.len();
    let mut course = Course { ended: Some(now()), ..Course::default() };
    let mut failures = Vec::new();
    let mut copies =
        futures::stream::iter(files)
            .map(|(lfn, size)| {
                let (from, to) = (route.source(&lfn), route.destination(&lfn));
                let limit = PATIENCE + Duration::from_secs(size / SLOWEST);
                async move {
                    several(&from, &to, limit).await.map(|(arrived, failures)| (size, arrived, failures))
                }
            })
            .buffer_unordered(AT_ONCE);
    while let Some(copied) = copies.next().await {
        let (size, arrived, failed) = copied?;
        failures.extend(failed);
        if arrived {
            course.bytes += size;
            course.files += 1;
            course.first.get_or_insert(now());
        }
    }
    course.whole = (course.files == wanted).then(now);
    Ok((course, failures))
}

/// Whether the file arrived in the end, and what failed before.
async fn several(from: &str, to: &str, limit: Duration) -> anyhow::Result<(bool, Vec<String>)> {
    let mut failures = Vec::new();
    for attempt in 1..=TRIES {
        match one(from, to, attempt > 1, limit).await? {
            None => return Ok((true, failures)),
            Some(failure) => failures.push(format!("try {attempt}: {failure}")),
        }
    }
    Ok((false, failures))
}

/// What went wrong, if anything. A second try has to overwrite what the first one left.
async fn one(from: &str, to: &str, overwrite: bool, limit: Duration) -> anyhow::Result<Option<String>> {
    let mut command = tokio::process::Command::new("xrdcp");
    command.env(RESOLVER.0, RESOLVER.1);
    command.args(["--nopbar", "--tpc", "only", "--cksum", "adler32:source"]);
    command.args(overwrite.then_some("--force")).args([from, to]);
    let ends = command.stdin(Stdio::null()).kill_on_drop(true).output();
    let Ok(output) = tokio::time::timeout(limit, ends).await else {
        return Ok(Some(format!("xrdcp of {from} was ended: it was not done after {} s", limit.as_secs())));
    };
    let output = output.context("cannot run xrdcp")?;
    let said = String::from_utf8_lossy(&output.stderr);
    Ok((!output.status.success()).then(|| format!("xrdcp of {from} failed: {}", said.trim())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logbook::{Logbook, LogbookOptions};
    use crate::play::{Play, Stage, same_bytes};
    use crate::{Cluster, ClusterOptions};

    /// A program that does not end is ended, and that is said.
    #[tokio::test]
    async fn a_copy_that_hangs_is_ended_and_told_of() {
        // A door that takes connections and never answers.
        let door = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let from = format!("root://{}//a", door.local_addr().unwrap());
        let failure = one(&from, "root://localhost:1//b", false, Duration::from_millis(500)).await.unwrap();
        assert!(failure.unwrap().contains("was ended"));
    }

    /// What is played into the stores can be copied through both doors, and arrives as it was.
    #[tokio::test(flavor = "multi_thread")]
    async fn xrdcp_copies_what_was_played() {
        let kafka = crate::Kafka::named_or_start().await.unwrap();
        let (slac, nersc) = tokio::try_join!(
            Cluster::start(ClusterOptions::separate("SLAC")),
            Cluster::start(ClusterOptions::shared("NERSC"))
        )
        .unwrap();
        let prefix = format!("peer-{:016x}.", fastrand::u64(..));
        let logbook = Logbook::start(kafka.bootstrap(), &prefix, LogbookOptions::default()).await.unwrap();
        let (instrument, experiment) = ("mfx".parse().unwrap(), "mfxlv9518".parse().unwrap());
        let play = Play { runs: 1, ..Play::new(instrument, experiment, 8 << 20, 7) };
        let stage = Stage::new(&logbook, (0..2).map(|server| slac.path_on(server, "")).collect());
        stage.announce(&play.experiment, &play.instrument).unwrap();
        let run = stage.perform(&play).await.unwrap().remove(0);
        let route = Route {
            from: (slac.door(), slac.prefix().to_owned()),
            to: (nersc.door(), nersc.prefix().to_owned()),
        };
        let files: Vec<(Lfn, u64)> = run.files.iter().map(|file| (file.lfn.clone(), file.size)).collect();
        let (course, failures) = copy(&route, &files).await.unwrap();
        assert_eq!((course.files, course.bytes), (run.files.len(), run.bytes()), "{failures:?}");
        for file in &run.files {
            let there = format!("{}xrdcp.{}", file.lfn.folder(), file.lfn.file_name());
            assert!(same_bytes(&nersc.path_of(&there), &file.path).unwrap(), "{there}");
        }
        println!("first {:?}, whole {:?}", course.to_first(), course.to_whole());
    }
}
