//! The journal's folder lost, damaged, rolled back, on a full disk: what was asked for is found again, nothing twice.

use std::path::Path;
use std::time::Duration;

use lightrail_compose::loopfs::LoopFs;
use lightrail_compose::process::{Proc, Start};
use lightrail_compose::require::{Need, require};
use lightrail_compose::scratch::Scratch;
use lightrail_compose::{services, wait};
use lightrail_tests::guard::files_below;
use lightrail_tests::stage::SOON;
use lightrail_tests::{Judge, Setup, Stage, on_stage};
use lightrail_topics::kafka::{Admin, Connection};
use serde_json::Value;

const MIB: u64 = 1 << 20;
const LONG: Duration = Duration::from_secs(120);

/// One run is there, two more are under way when the mover is killed; then its journal suffers.
async fn damaged(
    case: &str,
    damage: impl AsyncFnOnce(&mut Stage) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut setup = Setup::default();
    setup.settings.set("sites.NERSC", "transfers", 4);
    on_stage(case, setup, async |stage| {
        let scripts = stage.runs(1, 3, 90 * MIB, 71)?;
        let mut runs = stage.take(&scripts[..1]).await?;
        stage.until_available(&runs, SOON).await?;
        keep_a_copy(&stage.journal(), &stage.folder().join("older"))?;
        runs.extend(stage.take(&scripts[1..]).await?);
        let count = runs[0].files.len() + 4;
        let under_way = stage.witness.until("more files to be available", SOON, |seen| {
            (seen.available().count() >= count).then_some(())
        });
        under_way.await?;
        stage.mover()?.kill();
        damage(stage).await?;
        stage.start_mover().await?;
        stage.until_available(&runs, LONG).await?;
        Judge::of(stage).verify(stage, &runs).await
    })
    .await
}

fn keep_a_copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    for (path, _) in files_below(from) {
        let copy = to.join(path.strip_prefix(from)?);
        std::fs::create_dir_all(copy.parent().unwrap_or(to))?;
        std::fs::copy(&path, &copy)?;
    }
    Ok(())
}

/// The biggest file of the journal, where its rows are.
fn rows(stage: &Stage) -> anyhow::Result<(std::path::PathBuf, u64)> {
    let biggest = files_below(&stage.journal()).into_iter().max_by_key(|(_, size)| *size);
    biggest.ok_or_else(|| anyhow::anyhow!("the journal has no files"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_journal_that_is_gone_is_rebuilt_unasked() -> anyhow::Result<()> {
    damaged("journal gone", async |stage| Ok(std::fs::remove_dir_all(stage.journal())?)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_truncated_journal_is_rebuilt_unasked() -> anyhow::Result<()> {
    damaged("journal truncated", async |stage| {
        let (path, size) = rows(stage)?;
        std::fs::File::options().write(true).open(path)?.set_len(size / 3)?;
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_corrupted_journal_is_rebuilt_unasked() -> anyhow::Result<()> {
    damaged("journal corrupted", async |stage| {
        use std::os::unix::fs::FileExt as _;
        let (path, size) = rows(stage)?;
        let file = std::fs::File::options().write(true).open(path)?;
        for at in (0..size).step_by(4096) {
            file.write_all_at(&[0xa5; 64], at)?;
        }
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_journal_rolled_back_to_an_older_copy_announces_nothing_twice() -> anyhow::Result<()> {
    damaged("journal rolled back", async |stage| {
        std::fs::remove_dir_all(stage.journal())?;
        keep_a_copy(&stage.folder().join("older"), &stage.journal())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_group_offsets_change_nothing() -> anyhow::Result<()> {
    damaged("group offsets lost", async |stage| {
        let admin = Admin::new(&Connection::plain(stage.bootstrap(), "vandal"), Duration::from_secs(10));
        let group = stage.group();
        // A killed member has to time out before its group can be forgotten.
        wait::until("the group to be forgotten", Duration::from_secs(40), async || {
            admin.forget_group(&group).await.ok()
        })
        .await
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_under_the_journal_stops_intake_until_there_is_room() -> anyhow::Result<()> {
    let case = "a_full_disk_under_the_journal_stops_intake_until_there_is_room";
    let scratch = Scratch::new()?;
    let Some(disk) = require(case, Need::Loop, LoopFs::create(scratch.path(), 96)) else { return Ok(()) };
    let mut setup = Setup::default();
    setup.settings.text("journal", "folder", disk.path().join("journal").display());
    on_stage("journal's disk full", setup, async |stage| {
        let first = stage.take(&stage.runs(1, 1, 10 * MIB, 72)?).await?;
        stage.until_available(&first, SOON).await?;
        disk.fill(2 * MIB)?;
        wait::until("the mover to say that its disk is full", SOON, async || {
            let (status, text) = stage.get("/readyz").await.ok()?;
            (status == 503 && text.contains("disk")).then_some(())
        })
        .await?;
        let mut runs = stage.take(&stage.runs(2, 2, 20 * MIB, 73)?).await?;
        stage.logbook.settle().await;
        runs.splice(0..0, first);
        let before = stage.witness.look(|seen| seen.manifests().count());
        anyhow::ensure!(before == 1, "{before} runs were announced on a full disk");
        disk.make_room()?;
        stage.ready(SOON).await?;
        stage.until_available(&runs, LONG).await?;
        Judge::of(stage).verify(stage, &runs).await?;
        stage.mover = None;
        Ok(())
    })
    .await
}

/// What the mover knows, in a form that two journals can be compared by: every transfer with its state, and every run.
async fn knowledge(stage: &Stage, runs: u32) -> anyhow::Result<Value> {
    let mut all = Vec::new();
    for run in 1..=runs {
        let (status, text) = stage.get(&format!("/transfers?run=mfxlv9518/{run}")).await?;
        anyhow::ensure!(status == 200, "transfers are not told: {text}");
        let mut transfers: Value = serde_json::from_str(&text)?;
        for transfer in transfers.as_array_mut().into_iter().flatten() {
            let keys = ["lfn", "run", "site", "generation", "state"];
            if let Some(transfer) = transfer.as_object_mut() {
                transfer.retain(|key, _| keys.contains(&key.as_str()));
            }
        }
        all.push(transfers);
    }
    let (_, text) = stage.get("/runs").await?;
    let mut views: Value = serde_json::from_str(&text)?;
    for view in views.as_array_mut().into_iter().flatten() {
        if let Some(view) = view.as_object_mut() {
            view.retain(|key, _| !["bytes", "first_file"].contains(&key.as_str()));
        }
    }
    all.push(views);
    let mut why = Vec::new();
    for run in 1..=runs {
        let (_, text) = stage.get(&format!("/why/mfxlv9518/{run}")).await?;
        let answer: Value = serde_json::from_str(&text)?;
        why.push(answer["sites"][0]["missing"].as_array().map_or(0, Vec::len).into());
    }
    all.push(Value::Array(why));
    Ok(Value::Array(all))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rebuilt_journal_is_equal_to_the_live_one() -> anyhow::Result<()> {
    let mut setup = Setup::default();
    setup.settings.set("retry", "tries", 2).set("sites.NERSC", "transfers", 3);
    on_stage("rebuild equals live", setup, async |stage| {
        // Done, failed, cancelled, held with a priority, and wanted.
        let scripts = stage.runs(1, 4, 40 * MIB, 74)?;
        let mut runs = stage.take(&scripts[..1]).await?;
        stage.until_available(&runs, SOON).await?;
        let open = stage.daq().open(&scripts[1]).await?;
        let (lost, unwanted) = (open.files[0].clone(), open.files[3].lfn.clone());
        let bytes = std::fs::read(&lost.path)?;
        std::fs::remove_file(&lost.path)?;
        wait::until("the file to be known", SOON, async || {
            stage.get("/why/mfxlv9518/2").await.ok()?.1.contains(unwanted.as_str()).then_some(())
        })
        .await?;
        stage.command_ok(&["cancel", unwanted.as_str(), "--why", "noise"]).await?;
        runs.push(stage.daq().close(open)?);
        let incomplete = stage.witness.until("run 2 to be incomplete", LONG, |seen| {
            (!seen.incomplete(&runs[1].key, &lightrail_tests::stage::nersc()).is_empty()).then_some(())
        });
        incomplete.await?;
        stage.command_ok(&["pause", "mfxlv9518"]).await?;
        runs.extend(stage.take(&scripts[2..]).await?);
        stage.logbook.settle().await;
        wait::until("all files to be known", SOON, async || {
            let (_, why) = stage.get("/why/mfxlv9518/4").await.ok()?;
            runs[3].files.iter().all(|file| why.contains(file.lfn.as_str())).then_some(())
        })
        .await?;
        stage.command_ok(&["prioritise", "mfxlv9518/4", "3"]).await?;
        let live = knowledge(stage, 4).await?;
        stage.mover()?.term();
        stage.mover()?.wait_exit(SOON).await?;
        stage.mover = None;

        let start = Start::new("rebuild", services::program("lightrail-mover")?, stage.folder());
        let config = stage.config().into_os_string();
        let rebuilt = Proc::start(start.args(["rebuild".into(), "--config".into(), config]))?;
        let told = wait::until("the rebuilt mover to know the same", Duration::from_secs(30), async || {
            if !rebuilt.is_running() || stage.get("/readyz").await.ok()?.0 != 200 {
                return None;
            }
            (knowledge(stage, 4).await.ok()? == live).then_some(())
        })
        .await;
        if told.is_err() {
            let now = knowledge(stage, 4).await?;
            anyhow::bail!("live was\n{live:#}\nrebuilt is\n{now:#}\nits log\n{}", rebuilt.output());
        }
        // And it goes on as the live one would have.
        std::fs::write(&lost.path, bytes)?;
        lightrail_compose::scratch::give_to_servers(&lost.path)?;
        for args in [["requeue", "mfxlv9518/2"], ["requeue", unwanted.as_str()], ["resume", "mfxlv9518"]] {
            stage.command_ok(&args).await?;
        }
        stage.until_available(&runs, SOON).await?;
        let first = stage
            .witness
            .look(|seen| seen.manifests().map(|manifest| manifest.run.run.0).collect::<Vec<_>>());
        anyhow::ensure!(
            first.iter().position(|run| *run == 4) < first.iter().position(|run| *run == 3),
            "{first:?}"
        );
        Judge::of(stage).verify(stage, &runs).await
    })
    .await
}
