//! Images that go to another site: each has one result whichever site works it, whoever held it before, and however often
//! the moving itself is killed.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use lightrail_analysis::index::{self, Again, Moved, Reroute, RerouteError, again, reroute};
use lightrail_compose::process::Start;
use lightrail_compose::wait;
use lightrail_topics::events::{
    FileAvailable, FileGone, FileTiming, Image, Indexed, Registration, Trial, Verified,
};
use lightrail_topics::{Generation, Lfn, Millis, SiteTopic, TrialNumber, message};

use crate::desk::{Desk, available, manifest, once, run_key, serve};
use crate::play::{self, EXPERIMENT};
use crate::stage::{SOON, Stage, on_stage, partitions};
use crate::witness::Witness;

/// Two runs, published here live under the first trial and again under the second; all their images.
async fn two_runs(stage: &Stage, images: usize) -> Result<Vec<Image>> {
    let desk = Desk::at(stage, 3).await?;
    let live = play::trial(&stage.calibration(), 1, 1, "")?;
    let second = Trial { live: false, ..play::trial(&stage.calibration(), 2, 1, "")? };
    stage.apply(&[live, second]).await?;
    let mut all = Vec::new();
    for run in [1, 2] {
        let of_run = play::run(&stage.data(), run, 1, images, 1, &desk.here)?;
        desk.say(vec![available(&manifest(&stage.data(), run, &desk.here, 1)?)]).await?;
        all.extend(of_run.iter().map(|image| Image { trial: TrialNumber(2), ..image.clone() }));
        all.extend(of_run);
    }
    let config = desk.config(&desk.here, "")?;
    let place = index::place(&config, "asker")?;
    let service = serve(config);
    for run in [1, 2] {
        desk.until_closed(run, 1, images as u64).await?;
    }
    service.stop().await?;
    let asked = Again {
        experiment: EXPERIMENT.parse()?,
        runs: "1-2".parse().unwrap(),
        trial: TrialNumber(2),
        only: Vec::new(),
        of: None,
    };
    let mut said = Vec::new();
    again(&place, &asked, |_, outcome| said.push(outcome.map(|published| published.new))).await?;
    for new in said {
        ensure!(new? == images as u64);
    }
    Ok(all)
}

/// Has a run's files at the second site as well.
fn copy_there(stage: &Stage, run: u32) -> Result<()> {
    let there = stage.there.as_deref().context("a second site")?;
    for below in ["", "smalldata"] {
        let place = Path::new("mfx").join(EXPERIMENT).join("xtc").join(below);
        fs::create_dir_all(there.join(&place))?;
        for entry in fs::read_dir(stage.data().join(&place))? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().contains(&format!("-r{run:04}-")) {
                fs::copy(entry.path(), there.join(&place).join(entry.file_name()))?;
            }
        }
    }
    Ok(())
}

async fn moves(desk: &Desk<'_>, run: u32) -> Result<Result<Moved, RerouteError>> {
    let config = desk.config(&desk.here, "")?;
    let place = index::place(&config, "operator")?;
    let asked = Reroute {
        experiment: EXPERIMENT.parse()?,
        runs: run.to_string().parse().unwrap(),
        from: desk.here.clone(),
        to: desk.there.clone(),
        files: config.sites[&desk.there].clone(),
    };
    Ok(tokio::time::timeout(2 * SOON, reroute(&place, &asked)).await?)
}

/// What `images.indexed` says of a run at both sites.
fn counts(all: &BTreeMap<String, Indexed>, run: u32, trial: u32) -> Result<[&Indexed; 2]> {
    let of = |site: &str| all.get(&format!("{EXPERIMENT}/{run}/{trial}@{site}")).context("a count");
    Ok([of("HERE")?, of("THERE")?])
}

/// Topic and counts agree about a run that was moved, and nothing of others is at the second site.
async fn judge_counts(desk: &Desk<'_>, images: u64) -> Result<[u64; 2]> {
    let indexed = desk.indexed().await?;
    let mut moved = [0; 2];
    for (at, (topic, trial)) in
        [(SiteTopic::ImagesLive, 1), (SiteTopic::ImagesReprocess, 2)].into_iter().enumerate()
    {
        let there = desk.images(topic, &desk.there).await?;
        ensure!(there.iter().all(|(_, image)| image.image.run == run_key(1) && image.site == desk.there));
        once(&there, there.len())?;
        let [left, taken] = counts(&indexed, 1, trial)?;
        ensure!(left.images + taken.images == images, "{left:?} {taken:?}");
        ensure!(taken.images == there.len() as u64, "{taken:?} {}", there.len());
        ensure!(left.positions.is_empty() && taken.positions.len() == 1, "{left:?} {taken:?}");
        ensure!(
            indexed[&format!("{EXPERIMENT}/2/{trial}@HERE")].images == images,
            "of another run nothing moves"
        );
        moved[at] = taken.images;
    }
    Ok(moved)
}

fn of_run(witness: &Witness, images: &[Image], site: &str) -> usize {
    let of = images.iter().filter(|image| image.image.run == run_key(1));
    let results = of.filter_map(|image| witness.results.get(&image.key().to_string()));
    results.flatten().filter(|result| result.site.as_str() == site).count()
}

async fn from_a_worker(stops: bool) -> Result<()> {
    on_stage(partitions(3), async |stage| {
        stage.there = Some(stage.folder().join("there"));
        let images = two_runs(stage, 300).await?;
        copy_there(stage, 1)?;
        // Slow enough that not all is done before the first is moved, however busy the machine is.
        let worker = stage.faulty("a", "all:20")?;
        let mut witness = stage.witness();
        witness.until(200, SOON).await?;
        if stops {
            worker.stop();
        }
        let (here, there) = (stage.site.clone(), "THERE".parse()?);
        let desk = Desk { stage, here, there };
        let moved = moves(&desk, 1).await??;
        let [live, again] = judge_counts(&desk, 300).await?;
        ensure!(live + again > 0, "there was something to be moved");
        let said: Vec<u64> = moved.images.values().copied().collect();
        ensure!(said == [live, again], "{moved:?}");
        witness.look().await?;
        ensure!(!stops || moved.put_back > 0, "{moved:?}");
        // None is left here, even where somebody wakes who held them.
        ensure!(of_run(&witness, &images, "HERE") as u64 == 600 - live - again);
        if stops {
            worker.cont();
        }
        stage.worker_there("b")?;
        witness.until(images.len(), 3 * SOON).await?;
        witness.judge(&images)?;
        ensure!(of_run(&witness, &images, "THERE") as u64 == live + again);
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_stopped_worker_held_is_worked_at_the_other_site_and_not_again_when_it_wakes() -> Result<()> {
    from_a_worker(true).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_moved_while_its_site_works_on() -> Result<()> {
    from_a_worker(false).await
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_in_the_middle_and_begun_again_it_moves_each_image_once() -> Result<()> {
    on_stage(partitions(3), async |stage| {
        stage.there = Some(stage.folder().join("there"));
        stage.more = "[index]\nbatch = 50\n";
        let images = two_runs(stage, 900).await?;
        copy_there(stage, 1)?;
        let config = stage.configure()?;
        let start = Start::new("reroute", env!("CARGO_BIN_EXE_lightrail-analysis"), stage.folder())
            .args(["reroute", EXPERIMENT, "1", "--from", "HERE", "--to", "THERE", "--config"])
            .args([config.into_os_string()]);
        let program = stage.started(start)?;
        let (here, there) = (stage.site.clone(), "THERE".parse()?);
        let desk = Desk { stage, here, there };
        for more in [1, 500] {
            wait::until("some to be moved", SOON, async || {
                let live = desk.images(SiteTopic::ImagesLive, &desk.there).await.ok()?;
                (live.len() >= more || !program.is_running()).then_some(())
            })
            .await?;
            program.kill();
            program.start_again()?;
        }
        let status = program.wait_exit(2 * SOON).await?;
        ensure!(status.success(), "{status}: {}", program.output());
        ensure!(judge_counts(&desk, 900).await? == [900, 900], "nobody has worked any here");
        stage.worker("a")?;
        stage.worker_there("b")?;
        let mut witness = stage.witness();
        witness.until(images.len(), 3 * SOON).await?;
        witness.judge(&images)?;
        ensure!(of_run(&witness, &images, "THERE") == 1800);
        Ok(())
    })
    .await
}

fn announced(lfn: &Lfn, size: u64) -> FileAvailable {
    FileAvailable {
        lfn: lfn.clone(),
        run: run_key(1),
        site: "THERE".parse().unwrap(),
        generation: Generation::FIRST,
        size,
        checksum: None,
        verified: Verified::Size,
        unchecked: None,
        url: "root://door//x".to_owned(),
        already_there: false,
        registration: Registration::default(),
        source_mtime: 0,
        timing: FileTiming::default(),
        attempt: None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_moved_to_where_its_files_are_not() -> Result<()> {
    on_stage(partitions(3), async |stage| {
        let there = stage.folder().join("there");
        stage.there = Some(there.clone());
        let images = two_runs(stage, 40).await?;
        let run_one = images.iter().find(|image| image.image.run == run_key(1)).context("an image")?;
        let lfn = run_one.extents[0].lfn.clone();
        let desk = Desk { stage, here: stage.site.clone(), there: "THERE".parse()? };
        let refused = async |expected: &str| {
            let error = moves(&desk, 1).await?.err().context("it is refused")?.to_string();
            ensure!(error.contains("THERE lacks 1 ") && error.contains(lfn.as_str()), "{error}");
            ensure!(error.contains(expected), "{error}");
            anyhow::Ok(())
        };
        // The folder is not mounted here. The small file, in which the images' tables lie, is announced, the big one is not.
        let small =
            manifest(&stage.data(), 1, &desk.there, 1)?.files.into_iter().find(|file| file.lfn != lfn);
        let say = async |lfn: &Lfn, size| {
            desk.say(vec![message::file_available(&announced(lfn, size), "a mover", Millis(0))]).await
        };
        say(&small.context("a small file")?.lfn, 1 << 30).await?;
        refused("not announced").await?;
        say(&lfn, 100).await?;
        refused("announced with 100 bytes").await?;
        let gone = FileGone {
            lfn: lfn.clone(),
            run: run_key(1),
            site: desk.there.clone(),
            generation: Generation::FIRST,
            seen: Millis(0),
        };
        desk.say(vec![message::file_gone(&gone, "a mover", Millis(0))]).await?;
        refused("not announced").await?;
        // It can be seen, and lacks the file, or its end.
        copy_there(stage, 1)?;
        let path = there.join(lfn.as_str().trim_start_matches('/'));
        say(&lfn, 1 << 30).await?;
        let whole = fs::read(&path)?;
        fs::remove_file(&path)?;
        refused("is not there").await?;
        fs::write(&path, &whole[..1000])?;
        refused("it has 1000 bytes").await?;
        for topic in SiteTopic::ALL {
            ensure!(desk.images(topic, &desk.there).await?.is_empty(), "nothing was moved");
        }
        ensure!(desk.indexed().await?.values().all(|indexed| indexed.site == desk.here));
        // Announced and not to be seen from here: that is enough.
        fs::remove_dir_all(&there)?;
        let moved = moves(&desk, 1).await??;
        ensure!(moved.images.values().sum::<u64>() == 80 && moved.put_back == 80, "{moved:?}");
        judge_counts(&desk, 40).await?;
        let again = moves(&desk, 1).await??;
        ensure!(again.images.values().sum::<u64>() == 0, "{again:?}");
        Ok(())
    })
    .await
}
