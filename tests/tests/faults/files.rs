//! Faults of files: full disks, sources that are not what was announced, sums that are wrong or late, missing permission.

use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lightrail_compose::loopfs::LoopFs;
use lightrail_compose::play::read_back;
use lightrail_compose::require::{Need, require};
use lightrail_compose::scratch::{Scratch, give_to_servers};
use lightrail_compose::xrootd::slow_checksum;
use lightrail_compose::{ClusterOptions, logbook::FileReport, wait};
use lightrail_tests::stage::{SOON, experiment, nersc, random};
use lightrail_tests::{Judge, Setup, Stage, on_stage};
use lightrail_topics::{RunKey, RunNumber};

const MIB: u64 = 1 << 20;
const LONG: Duration = Duration::from_secs(120);
const NAMES: [(&str, u64); 3] = [
    ("mfxlv9518-r0001-s000-c000.xtc2", MIB),
    ("mfxlv9518-r0001-s001-c000.xtc2", 2 * MIB),
    ("mfxlv9518-r0001-s000-c000.smd.xtc2", 30_000),
];

/// Waits for the run to be said incomplete, and gives what is missing and why.
async fn missing(stage: &Stage, run: &RunKey) -> anyhow::Result<Vec<(String, String)>> {
    let what = format!("run {run} to be incomplete");
    let missing = stage.witness.until(&what, LONG, |seen| {
        let last = seen.incomplete(run, &nersc()).last().copied()?;
        Some(last.missing.iter().map(|file| (file.lfn.to_string(), file.why.clone())).collect())
    });
    missing.await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_destination_is_waited_for_until_it_has_room() -> anyhow::Result<()> {
    let case = "a_full_destination_is_waited_for_until_it_has_room";
    let scratch = Scratch::new()?;
    let Some(disk) = require(case, Need::Loop, LoopFs::create(scratch.path(), 96)) else { return Ok(()) };
    let nersc = ClusterOptions { store: Some(disk.path().to_path_buf()), ..ClusterOptions::shared("NERSC") };
    let setup = Setup { nersc: Some(nersc), ..Setup::default() };
    on_stage("a full destination", setup, async |stage| {
        disk.fill(6 * MIB)?;
        let runs = stage.take(&stage.runs(1, 2, 40 * MIB, 61)?).await?;
        let cause = stage.witness.until("the full disk to be noticed", SOON, |seen| {
            seen.transfers
                .iter()
                .filter_map(|said| said.event.cause.clone())
                .find(|cause| cause.class == "endpoint")
        });
        let cause = cause.await?;
        println!("noticed as {} {}: {}", cause.class, cause.code, cause.text);
        wait::until("why to say that the disk is full", SOON, async || {
            let (_, why) = stage.get("/why/mfxlv9518/1").await.ok()?;
            why.to_lowercase().contains("space").then_some(())
        })
        .await?;
        disk.make_room()?;
        stage.until_available(&runs, LONG).await?;
        let mut judge = Judge::of(stage);
        judge.at[0].1 = stage.nersc.store(0);
        judge.verify(stage, &runs).await?;
        stage.mover = None;
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_source_fails_and_the_rest_of_the_run_arrives() -> anyhow::Result<()> {
    on_stage("a missing source", few_tries(), async |stage| {
        stage.announce()?;
        let open = stage.daq().open_found(&stage.made_up(1, &NAMES)?).await?;
        let lost = open.files[0].clone();
        let bytes = std::fs::read(&lost.path)?;
        std::fs::remove_file(&lost.path)?;
        let run = stage.daq().close(open)?;
        let missing = missing(stage, &run.key).await?;
        println!("missing: {missing:?}");
        anyhow::ensure!(missing.len() == 1 && missing[0].0 == lost.lfn.as_str(), "missing are {missing:?}");
        let mut judge = Judge::of(stage);
        judge.lost.insert(lost.lfn.clone());
        judge.verify(stage, std::slice::from_ref(&run)).await?;
        // It comes after all, and is tried again because somebody says so.
        std::fs::write(&lost.path, bytes)?;
        give_to_servers(&lost.path)?;
        stage.command_ok(&["requeue", "mfxlv9518/1"]).await?;
        stage.until_available(std::slice::from_ref(&run), SOON).await?;
        Judge::of(stage).verify(stage, &[run]).await
    })
    .await
}

fn few_tries() -> Setup {
    let mut setup = Setup::default();
    // A redirector may need a second or two to find a new file.
    setup.settings.set("retry", "tries", 4).text("retry", "first", "1s");
    setup
}

/// A source whose size is not what its registration says.
async fn of_another_size(case: &str, said: impl Fn(u64) -> u64) -> anyhow::Result<()> {
    on_stage(case, few_tries(), async |stage| {
        stage.announce()?;
        let open = stage.daq().open_found(&stage.made_up(1, &NAMES)?).await?;
        let odd = open.files[1].clone();
        let report = FileReport {
            run: Some(RunNumber(1)),
            absolute_path: Some(odd.path.display().to_string()),
            hostname: Some("daq-mfx-cmp001".to_owned()),
            created: Some(lightrail_topics::Millis(2_000_000_000_000)),
            size: Some(said(odd.size)),
            ..FileReport::new(odd.lfn.clone())
        };
        stage.logbook.register_file(&experiment(), &report)?;
        let run = stage.daq().close(open)?;
        let missing = missing(stage, &run.key).await?;
        println!("missing: {missing:?}");
        anyhow::ensure!(missing.len() == 1 && missing[0].0 == odd.lfn.as_str(), "missing are {missing:?}");
        let mut judge = Judge::of(stage);
        judge.lost.insert(odd.lfn.clone());
        judge.verify(stage, &[run]).await
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_shorter_than_announced_is_not_announced_further() -> anyhow::Result<()> {
    of_another_size("a shorter source", |size| size + 1000).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_longer_than_announced_is_not_announced_further() -> anyhow::Result<()> {
    of_another_size("a longer source", |size| size - 1000).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_source_is_a_file_like_others() -> anyhow::Result<()> {
    on_stage("an empty source", Setup::default(), async |stage| {
        stage.announce()?;
        let names = [("mfxlv9518-r0001-s000-c000.xtc2", 0), ("mfxlv9518-r0001-s001-c000.xtc2", MIB)];
        let run = stage.daq().take_found(&stage.made_up(1, &names)?).await?;
        stage.until_available(std::slice::from_ref(&run), SOON).await?;
        Judge::of(stage).verify(stage, &[run]).await
    })
    .await
}

fn append(path: &std::path::Path) -> anyhow::Result<()> {
    use std::io::Write as _;
    Ok(std::fs::File::options().append(true).open(path)?.write_all(&random(1000))?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_changes_while_it_is_read_arrives_as_it_is_in_the_end() -> anyhow::Result<()> {
    let mut setup = Setup::default();
    setup.settings.set("retry", "tries", 50);
    on_stage("a changing source", setup, async |stage| {
        stage.announce()?;
        let names = [("mfxlv9518-r0001-s000-c000.xtc2", 20 * MIB), ("mfxlv9518-r0001-s001-c000.xtc2", MIB)];
        let open = stage.daq().open_found(&stage.made_up(1, &names)?).await?;
        let changing = open.files[0].clone();
        // It changes from before the first attempt until one has failed by it, so that no attempt falls between two changes.
        let ended = Arc::new(AtomicBool::new(false));
        let writer = tokio::spawn({
            let (path, ended) = (changing.path.clone(), ended.clone());
            async move {
                while !ended.load(Ordering::Relaxed) {
                    append(&path)?;
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
                anyhow::Ok(())
            }
        });
        let mut run = stage.daq().close(open)?;
        let failed = stage.witness.until("an attempt to fail by the change", SOON, |seen| {
            seen.transfers
                .iter()
                .any(|said| said.event.cause.is_some() && said.event.lfn == changing.lfn)
                .then_some(())
        });
        let failed = failed.await;
        ended.store(true, Ordering::Relaxed);
        writer.await??;
        failed?;
        // XRootD believes a stored sum while the file's time in whole seconds is the same.
        let later = std::time::SystemTime::now() + Duration::from_secs(2);
        std::fs::File::options().append(true).open(&changing.path)?.set_modified(later)?;
        (run.files[0].size, run.files[0].checksum) = read_back(&changing.path)?;
        stage.until_available(std::slice::from_ref(&run), LONG).await?;
        Judge::of(stage).verify(stage, &[run]).await
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_with_a_wrong_checksum_in_its_registration_is_never_announced() -> anyhow::Result<()> {
    on_stage("a wrong checksum", few_tries(), async |stage| {
        stage.announce()?;
        let open = stage.daq().open_found(&stage.made_up(1, &NAMES)?).await?;
        let odd = open.files[1].clone();
        let report = FileReport {
            run: Some(RunNumber(1)),
            absolute_path: Some(odd.path.display().to_string()),
            created: Some(lightrail_topics::Millis(2_000_000_000_000)),
            checksum: Some("adler32:deadbeef".to_owned()),
            ..FileReport::new(odd.lfn.clone())
        };
        stage.logbook.register_file(&experiment(), &report)?;
        let run = stage.daq().close(open)?;
        let missing = missing(stage, &run.key).await?;
        println!("missing: {missing:?}");
        anyhow::ensure!(
            missing.len() == 1 && missing[0].0 == odd.lfn.as_str() && missing[0].1.contains("deadbeef"),
            "missing are {missing:?}"
        );
        let mut judge = Judge::of(stage);
        judge.lost.insert(odd.lfn.clone());
        judge.verify(stage, &[run]).await
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_checksum_that_takes_longer_than_15_seconds_is_no_hang() -> anyhow::Result<()> {
    let scratch = Scratch::new()?;
    let chksum = slow_checksum(scratch.path(), Duration::from_secs(18))?;
    let setup = Setup {
        nersc: Some(ClusterOptions { chksum, ..ClusterOptions::shared("NERSC") }),
        ..Setup::default()
    };
    on_stage("a slow checksum", setup, async |stage| {
        stage.announce()?;
        let run = stage.daq().take_found(&stage.made_up(1, &NAMES[..2])?).await?;
        stage.until_available(std::slice::from_ref(&run), LONG).await?;
        let attempts = stage
            .witness
            .look(|seen| seen.transfers.iter().filter(|said| said.event.cause.is_some()).count());
        anyhow::ensure!(attempts == 0, "{attempts} attempts failed: slow was taken for hung");
        Judge::of(stage).verify(stage, &[run]).await
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_destination_without_permission_fails_with_that_reason() -> anyhow::Result<()> {
    on_stage("no permission", few_tries(), async |stage| {
        stage.announce()?;
        let folder = stage.nersc.path_of("/mfx/mfxlv9518/xtc");
        std::fs::create_dir_all(&folder)?;
        std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o555))?;
        let run = stage.daq().take_found(&stage.made_up(1, &NAMES)?).await?;
        let missing = missing(stage, &run.key).await?;
        println!("missing: {missing:?}");
        anyhow::ensure!(
            missing.iter().all(|(_, why)| why.to_lowercase().contains("permission")),
            "{missing:?}"
        );
        let mut judge = Judge::of(stage);
        judge.lost.extend(run.files.iter().map(|file| file.lfn.clone()));
        judge.verify(stage, std::slice::from_ref(&run)).await?;
        for folder in ["/mfx", "/mfx/mfxlv9518", "/mfx/mfxlv9518/xtc"] {
            let folder = stage.nersc.path_of(folder);
            std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o755))?;
            give_to_servers(&folder)?;
        }
        stage.command_ok(&["requeue", "mfxlv9518"]).await?;
        stage.until_available(std::slice::from_ref(&run), SOON).await?;
        Judge::of(stage).verify(stage, &[run]).await
    })
    .await
}
