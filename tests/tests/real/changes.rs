//! What comes after a run was announced: late files, files registered again.

use lightrail_compose::logbook::FileReport;
use lightrail_compose::play::{PlayedFile, read_back};
use lightrail_tests::stage::{SOON, experiment, nersc, random};
use lightrail_tests::{Judge, Setup, Stage, on_stage};
use lightrail_topics::{Millis, RunKey};

const MIB: u64 = 1 << 20;

fn report(file: &PlayedFile, run: &RunKey, created: Millis) -> FileReport {
    FileReport {
        run: Some(run.run),
        absolute_path: Some(file.path.display().to_string()),
        hostname: Some("daq-mfx-cmp001".to_owned()),
        created: Some(created),
        ..FileReport::new(file.lfn.clone())
    }
}

async fn corrections(stage: &Stage, run: &RunKey, count: usize) -> anyhow::Result<()> {
    let what = format!("correction {count} of run {run}");
    let waited = stage
        .witness
        .until(&what, SOON, |seen| (seen.corrections(run, &nersc()).len() >= count).then_some(()));
    waited.await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn late_and_re_registered_files_come_as_corrections() -> anyhow::Result<()> {
    on_stage("late and re-registered", Setup::default(), async |stage| {
        stage.announce()?;
        let names = [("mfxlv9518-r0001-s000-c000.xtc2", MIB), ("mfxlv9518-r0001-s001-c000.xtc2", 2 * MIB)];
        let mut run = stage.daq().take_found(&stage.made_up(1, &names)?).await?;
        stage.until_available(std::slice::from_ref(&run), SOON).await?;

        let late = stage.made_up(1, &[("mfxlv9518-r0001-s002-c000.xtc2", MIB / 2)])?.files.remove(0);
        let path = stage.slac.write(0, late.0.as_str(), &std::fs::read(&late.1)?)?;
        let (size, checksum) = read_back(&path)?;
        let late = PlayedFile { lfn: late.0, size, checksum, path };
        stage.logbook.register_file(&experiment(), &report(&late, &run.key, Millis(1_700_000_000_000)))?;
        run.files.push(late);
        corrections(stage, &run.key, 1).await?;

        // The same bytes registered again are no news; other bytes under a later registration are.
        let file = &mut run.files[0];
        std::fs::write(&file.path, random(3 * MIB))?;
        // XRootD believes a stored sum while the file's time in whole seconds is the same.
        let later = std::time::SystemTime::now() + std::time::Duration::from_secs(2);
        std::fs::File::options().append(true).open(&file.path)?.set_modified(later)?;
        (file.size, file.checksum) = read_back(&file.path)?;
        let again = file.clone();
        let key = run.key.clone();
        let far = Millis(2_000_000_000_000);
        stage.logbook.register_file(&experiment(), &report(&again, &key, far))?;
        corrections(stage, &run.key, 2).await?;

        let mut judge = Judge::of(stage);
        judge.generations.insert(again.lfn.clone(), 2);
        // The old bytes are set aside, not destroyed.
        let kept = lightrail_tests::guard::files_below(&stage.nersc.store(0));
        let aside: Vec<_> =
            kept.into_iter().map(|(path, _)| path).filter(|path| is_aside(path, &again)).collect();
        anyhow::ensure!(aside.len() == 1, "set aside are {aside:?}");
        judge.others.extend(aside);
        judge.verify(stage, &[run]).await
    })
    .await
}

/// `<name>.<unixtime>`.
fn is_aside(path: &std::path::Path, file: &PlayedFile) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let end = name.strip_prefix(file.lfn.file_name()).and_then(|end| end.strip_prefix('.'));
    end.is_some_and(|end| !end.is_empty() && end.bytes().all(|byte| byte.is_ascii_digit()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unchanged_file_registered_again_is_reported_again_and_not_copied() -> anyhow::Result<()> {
    on_stage("registered again, unchanged", Setup::default(), async |stage| {
        stage.announce()?;
        let run =
            stage.daq().take_found(&stage.made_up(1, &[("mfxlv9518-r0001-s000-c000.xtc2", MIB)])?).await?;
        stage.until_available(std::slice::from_ref(&run), SOON).await?;
        let present = async |what: &str| {
            lightrail_compose::wait::until(what, SOON, async || {
                (stage.logbook.present_at(&experiment(), &nersc()).len() == 1).then_some(())
            })
            .await
        };
        present("the logbook to be told").await?;
        // A repeat of what was said: the same creation time, path and host. The logbook forgets where the file is.
        let said = stage.logbook.said();
        let create = said.iter().find(|message| message.topic == "file_catalog").expect("it was registered");
        let value: serde_json::Value = serde_json::from_str(&create.body)?;
        let created = value["value"]["create_timestamp"].as_str().unwrap_or_default().to_owned();
        let created: Millis = format!("{}Z", &created[..19]).parse()?;
        stage.logbook.register_file(&experiment(), &report(&run.files[0], &run.key, created))?;
        anyhow::ensure!(
            stage.logbook.present_at(&experiment(), &nersc()).is_empty(),
            "the logbook did not forget"
        );
        present("the logbook to be told again").await?;
        Judge::of(stage).verify(stage, &[run]).await
    })
    .await
}
