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
