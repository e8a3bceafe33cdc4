//! What the same files need with XRootD's own tool: one `xrdcp --tpc only` per file, as many at once as the mover has
//! slots, small files first, checksums compared; new names at the destination.

use std::process::Stdio;

use anyhow::{Context as _, ensure};
use futures::StreamExt as _;
use lightrail_topics::Lfn;

use super::tally::Course;
use crate::logbook::now;

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

/// Copies the files and says how that went; the clock begins at the call.
///
/// # Errors
/// When `xrdcp` is missing or fails for a file; its own words are in the message.
pub(super) async fn copy(route: &Route, files: &[(Lfn, u64)], at_once: usize) -> anyhow::Result<Course> {
    let mut files = files.to_vec();
    files.sort_by_key(|(_, size)| *size);
    let mut course = Course { ended: Some(now()), ..Course::default() };
    let mut copies = futures::stream::iter(files)
        .map(|(lfn, size)| {
            let (from, to) = (route.source(&lfn), route.destination(&lfn));
            async move { one(&from, &to).await.map(|()| size) }
        })
        .buffer_unordered(at_once);
    while let Some(size) = copies.next().await {
        course.bytes += size?;
        course.files += 1;
        course.first.get_or_insert(now());
    }
    course.whole = Some(now());
    Ok(course)
}

async fn one(from: &str, to: &str) -> anyhow::Result<()> {
    let mut command = tokio::process::Command::new("xrdcp");
    command.args(["--nopbar", "--tpc", "only", "--cksum", "adler32:source", from, to]);
    let output =
        command.stdin(Stdio::null()).kill_on_drop(true).output().await.context("cannot run xrdcp")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "xrdcp of {from} to {to} failed: {}", said.trim());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logbook::{Logbook, LogbookOptions};
    use crate::play::{Play, Stage, same_bytes};
    use crate::{Cluster, ClusterOptions};

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
        let course = copy(&route, &files, 16).await.unwrap();
        assert_eq!((course.files, course.bytes), (run.files.len(), run.bytes()));
        for file in &run.files {
            let there = format!("{}xrdcp.{}", file.lfn.folder(), file.lfn.file_name());
            assert!(same_bytes(&nersc.path_of(&there), &file.path).unwrap(), "{there}");
        }
        println!("first {:?}, whole {:?}", course.to_first(), course.to_whole());
    }
}
