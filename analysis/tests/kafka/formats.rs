//! Runs of other formats than LCLS-II's on the whole way: a mover says that they are there, index publishes their images, the
//! worker reads each by its extents.

// The generator of LCLS-I files, for there are no public ones, and what it finds beside itself.
#[allow(dead_code, reason = "it is the library's tests' too")]
#[path = "../../src/formats/xtc/tests/generate.rs"]
mod generate;

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use hdf5_writer::{DatasetBuilder, Hdf5Builder, Hdf5Writer, WriteOptions};
use lightrail_analysis::formats::cbf::{self, Mini};
use lightrail_analysis::formats::xtc::{Src, Time, TypeId};
use lightrail_analysis::frame::Shape;
use lightrail_topics::events::{
    ClosedBy, ExtentKind, Image, IndexState, ManifestFile, Outcome, RunManifest, Trial,
};
use lightrail_topics::{EventId, Generation, Lfn, Millis, SiteTopic};
use sha2::{Digest as _, Sha256};

use crate::desk::{Desk, available, come, once, run_key, serve};
use crate::play::{self, EXPERIMENT, HIT_EVERY, SIDE, SPOTS};
use crate::stage::{SOON, Stage, on_stage, partitions};

/// Images of a run.
const IMAGES: usize = 25;

/// A CXI file: images in one dataset, of each its photon energy, its fiducial and the position of the detector's encoder.
fn cxi(path: &Path) -> Result<()> {
    let (n, side) = (IMAGES as u64, SIDE as u64);
    let pixels: Vec<u16> = (0..IMAGES).flat_map(|n| play::pixels(n.is_multiple_of(HIT_EVERY))).collect();
    let each = |of: &dyn Fn(f64) -> f64| (0..25_u8).map(|n| of(n.into())).collect::<Vec<_>>();
    let file = Hdf5Builder::new()
        .dataset(DatasetBuilder::typed_data("entry_1/data_1/data", [n, side, side], &pixels)?)
        .dataset(DatasetBuilder::typed_data("LCLS/photon_energy_eV", [n], &each(&|n| 9500.0 + n))?)
        .dataset(DatasetBuilder::typed_data("LCLS/fiducial", [n], &each(&|n| 70.0 + 3.0 * n))?)
        .dataset(DatasetBuilder::typed_data("LCLS/detector_1/EncoderValue", [n], &each(&|n| n - 440.0))?);
    Hdf5Writer::new(fs::File::create(path)?, WriteOptions::default()).finish(file.into_plan()?)?;
    Ok(())
}

/// A run's files, written by `write`, and the manifest that a mover would make of them.
fn taken(
    stage: &Stage,
    run: u32,
    names: &[String],
    write: impl Fn(usize, &Path) -> Result<()>,
) -> Result<RunManifest> {
    let mut files = Vec::new();
    for (number, name) in names.iter().enumerate() {
        let lfn: Lfn = format!("/mfx/{EXPERIMENT}/{name}").parse()?;
        let path = stage.data().join(lfn.as_str().trim_start_matches('/'));
        fs::create_dir_all(path.parent().context("a folder")?)?;
        write(number, &path)?;
        let (size, url) = (fs::metadata(&path)?.len(), format!("file://{}", path.display()));
        files.push(ManifestFile { lfn, generation: Generation(1), size, checksum: None, url });
    }
    Ok(RunManifest {
        run: run_key(run),
        site: stage.site.clone(),
        began: None,
        ended: None,
        closed_by: ClosedBy::EndTime,
        files,
        left_out: Vec::new(),
        first_file: None,
        at: Millis(0),
    })
}

/// The usual trial with another geometry.
fn trial_with(stage: &Stage, name: &str, geometry: &str) -> Result<Trial> {
    let mut trial = play::trial(&stage.calibration(), 1, 1, "")?;
    fs::write(stage.calibration().join(name), geometry)?;
    trial.parameters["geometry"][0]["path"] = name.into();
    trial.parameters["geometry"][0]["sha256"] = format!("{:x}", Sha256::digest(geometry.as_bytes())).into();
    Ok(trial)
}

/// One that leaves the length to the data: the encoder's position in mm and 0.573224 m.
fn trial(stage: &Stage) -> Result<Trial> {
    play::trial(&stage.calibration(), 1, 1, "")?;
    let usual = fs::read_to_string(stage.calibration().join("geometry-1.geom"))?;
    let stored = "clen = /LCLS/detector_1/EncoderValue\ncoffset = 0.573224";
    let geometry = usual.replace("clen = 0.1", stored);
    ensure!(geometry != usual);
    trial_with(stage, "encoder.geom", &geometry)
}

#[tokio::test(flavor = "multi_thread")]
async fn hdf5_and_cbf_runs_go_from_their_files_to_one_result_per_image() -> Result<()> {
    on_stage(partitions(2), async |stage| {
        let applied = trial(stage)?;
        stage.apply(&[applied]).await?;
        let hdf5 = taken(stage, 31, &["hdf5/run0031.cxi".to_owned()], |_, path| cxi(path))?;
        let names: Vec<String> = (0..IMAGES).map(|n| format!("cbf/run0032-{n:04}.cbf")).collect();
        let header = Mini { wavelength: Some(1.3), distance: Some(0.2), ..Mini::default() };
        let cbf = taken(stage, 32, &names, |n, path| {
            let pixels: Vec<i32> =
                play::pixels(n.is_multiple_of(HIT_EVERY)).into_iter().map(i32::from).collect();
            let shape = Shape { panels: 1, rows: SIDE, columns: SIDE };
            Ok(fs::write(path, cbf::write("image", shape, &pixels, &header))?)
        })?;
        let worker = stage.worker("a")?;
        let desk = Desk::at(stage, 2).await?;
        let service = serve(desk.config(&desk.here, "")?);
        desk.say(vec![available(&hdf5), available(&cbf)]).await?;
        for run in [31, 32] {
            desk.until_closed(run, 1, IMAGES as u64).await?;
        }
        let published = desk.images(SiteTopic::ImagesLive, &desk.here).await?;
        once(&published, 2 * IMAGES)?;
        service.stop().await?;
        let images: Vec<Image> = published.into_iter().map(|(_, image)| image).collect();
        let mut witness = stage.witness();
        witness.until(images.len(), SOON).await?;
        witness.judge(&images)?;
        for image in &images {
            let (result, is_hdf5) = (witness.of(image), image.image.run == run_key(31));
            let n = match &image.image.event {
                EventId::Frame { frame, .. } if is_hdf5 => usize::try_from(*frame)?,
                EventId::Frame { file, frame: 0 } => file.as_str()[8..12].parse()?,
                event => anyhow::bail!("{event}"),
            };
            let (outcome, spots) =
                if n.is_multiple_of(HIT_EVERY) { (Outcome::Hit, 10..=SPOTS) } else { (Outcome::Miss, 0..=0) };
            ensure!(result.outcome == outcome, "{n}: {result:?}");
            let numbers = &result.numbers;
            ensure!(spots.contains(&usize::try_from(numbers.spots.unwrap_or(999))?), "{n}: {result:?}");
            let step = f64::from(u32::try_from(n)?);
            let (energy, distance, pulse) = if is_hdf5 {
                (9500.0 + step, 0.133_224 + step * 1e-3, Some(70 + 3 * n as u64))
            } else {
                (12_398.419_84 / 1.3, 0.2, None)
            };
            let near =
                |found: Option<f64>, by_hand: f64| found.is_some_and(|f| (f / by_hand - 1.0).abs() < 1e-6);
            ensure!(
                near(numbers.photon_energy, energy) && near(numbers.detector_distance, distance),
                "{result:?}"
            );
            ensure!(numbers.pulse_id == pulse && result.used.is_some(), "{result:?}");
            ensure!(numbers.resolution.is_some() == (outcome == Outcome::Hit), "{result:?}");
        }
        ensure!(worker.is_running());
        Ok(())
    })
    .await
}

/// A master file that links to `links_data_000001.h5`, `..2.h5` and one that is nowhere; what it says holds for all images.
const MASTER: &[u8] = include_bytes!("../../src/formats/h5/tests/links_master.h5");

#[tokio::test(flavor = "multi_thread")]
async fn with_streaming_whole_images_are_published_as_their_files_come() -> Result<()> {
    on_stage(partitions(2), async |stage| {
        const LINKED: usize = 5;
        let applied = trial(stage)?;
        stage.apply(&[applied]).await?;
        let of_master = ["data_000001", "data_000002", "master"].map(|name| format!("hdf5/links_{name}.h5"));
        let names: Vec<String> =
            (0..IMAGES).map(|n| format!("cbf/run0033-{n:04}.cbf")).chain(of_master).collect();
        let header = Mini { wavelength: Some(1.1), distance: Some(0.2), ..Mini::default() };
        let run = taken(stage, 33, &names, |n, path| match n.checked_sub(IMAGES) {
            None => {
                let pixels: Vec<i32> = play::pixels(false).into_iter().map(i32::from).collect();
                let shape = Shape { panels: 1, rows: SIDE, columns: SIDE };
                Ok(fs::write(path, cbf::write("image", shape, &pixels, &header))?)
            }
            Some(2) => Ok(fs::write(path, MASTER)?),
            Some(_) => {
                let (images, side) = (LINKED as u64, SIDE as u64);
                let pixels: Vec<u16> = (0..LINKED).flat_map(|_| play::pixels(false)).collect();
                let data = DatasetBuilder::typed_data("entry/data/data", [images, side, side], &pixels)?;
                let plan = Hdf5Builder::new().dataset(data).into_plan()?;
                Ok(Hdf5Writer::new(fs::File::create(path)?, WriteOptions::default())
                    .finish(plan)
                    .map(drop)?)
            }
        })?;
        let worker = stage.worker("a")?;
        let desk = Desk::at(stage, 2).await?;
        let config = || desk.config(&desk.here, "[experiments.default]\nstreaming = true");
        let service = serve(config()?);
        let comes = |files: &[usize]| files.iter().map(|n| come(&run, &run.files[*n])).collect();
        let (first, second, master) = (IMAGES, IMAGES + 1, IMAGES + 2);
        // What says no photon energy itself, and by its name has a master, waits for it; the others do not wait.
        let frames = |from: usize, to: usize| (from..to).collect::<Vec<_>>();
        desk.say(comes(&[vec![second], frames(10, 20)].concat())).await?;
        let early = desk.until_published(10, &desk.here).await?;
        ensure!(early.iter().all(|(_, image)| image.extents[0].kind == ExtentKind::Cbf), "{early:?}");
        // Another process goes on, though what was published is no beginning of what is there now.
        service.stop().await?;
        desk.say(comes(&frames(0, 8))).await?;
        let service = serve(config()?);
        desk.until_published(18, &desk.here).await?;
        desk.say(comes(&[master])).await?;
        desk.until_published(18 + LINKED, &desk.here).await?;
        desk.say(comes(&[vec![first], frames(8, 10), frames(20, IMAGES - 1)].concat())).await?;
        desk.until_published(IMAGES - 1 + 2 * LINKED, &desk.here).await?;
        let states: Vec<IndexState> = desk.indexed().await?.into_values().map(|of| of.state).collect();
        ensure!(states == [IndexState::Growing], "{states:?}");
        // The last file is told by the run alone.
        desk.say(vec![available(&run)]).await?;
        let all = IMAGES + 2 * LINKED;
        desk.until_closed(33, 1, all as u64).await?;
        let published = desk.images(SiteTopic::ImagesLive, &desk.here).await?;
        once(&published, all)?;
        service.stop().await?;
        let images: Vec<Image> = published.into_iter().map(|(_, image)| image).collect();
        let mut witness = stage.witness();
        witness.until(all, SOON).await?;
        witness.judge(&images)?;
        for image in &images {
            let numbers = &witness.of(image).numbers;
            let is_cbf = image.extents[0].kind == ExtentKind::Cbf;
            let (wavelength, distance) = if is_cbf { (1.1, 0.2) } else { (1.3, 0.15) };
            let told = numbers.photon_energy.zip(numbers.detector_distance);
            let is_near = |(energy, metres): (f64, f64)| {
                (energy * wavelength / 12_398.419_84 - 1.0).abs() < 1e-6
                    && (metres / distance - 1.0).abs() < 1e-6
            };
            ensure!(told.is_some_and(is_near), "{}: {numbers:?}", image.image);
        }
        ensure!(worker.is_running());
        Ok(())
    })
    .await
}

/// The generator's detector.
fn jungfrau() -> Src {
    Src::detector(48, 0, 43, 0)
}

/// Spots of every second shot of it.
const BRIGHT: u32 = 24;

/// A shot: noise about 10, and 12 spots of four pixels on each of its two modules.
fn shot(n: usize) -> Vec<u16> {
    let mut pixels: Vec<u16> =
        (0..2 * 512 * 1024_usize).map(|at| 8 + u16::try_from(at * 7919 % 13 % 5).unwrap()).collect();
    for spot in 0..if n.is_multiple_of(2) { BRIGHT as usize } else { 0 } {
        let (panel, row, column) = (spot / 12, spot / 4 % 3, spot % 4);
        let corner = (panel * 512 + 60 + 150 * row) * 1024 + 80 + 250 * column;
        for (step, value) in [(0, 900), (1, 700), (1024, 800), (1025, 600)] {
            pixels[corner + step] = value;
        }
    }
    pixels
}

/// A trial for its two modules, one below the other.
fn trial_of_two_modules(stage: &Stage) -> Result<Trial> {
    let mut geometry = String::from("clen = 0.1\nres = 13333.3\ndim0 = %\ndim2 = ss\ndim3 = fs\n");
    for (panel, corner) in [(0, -520), (1, 8)] {
        writeln!(
            geometry,
            "p{panel}/dim1 = {panel}\np{panel}/min_fs = 0\np{panel}/max_fs = 1023\np{panel}/min_ss = 0\n\
             p{panel}/max_ss = 511\np{panel}/fs = +1.0x\np{panel}/ss = +1.0y\np{panel}/corner_x = -512\n\
             p{panel}/corner_y = {corner}"
        )?;
    }
    let mut trial = trial_with(stage, "two.geom", &geometry)?;
    trial.parameters["detector"]["name"] = "Jungfrau1M".into();
    Ok(trial)
}

#[tokio::test(flavor = "multi_thread")]
async fn lcls_i_runs_go_from_their_small_or_index_files_to_one_result_per_image() -> Result<()> {
    on_stage(partitions(2), async |stage| {
        let shots = 5;
        stage.apply(&[trial_of_two_modules(stage)?]).await?;
        let stream = generate::Stream::jungfrau_of(shots, &shot);
        let index = stream.index(2);
        let files: [(&str, &str, &[u8]); 3] = [
            ("", "xtc", &stream.big),
            ("index/", "xtc.idx", &index),
            ("smalldata/", "smd.xtc", &stream.small),
        ];
        // One run has an index file only, the other one a small file too.
        let mut manifests = Vec::new();
        for (run, of) in [(41, &files[..2]), (42, &files[..])] {
            let name = |(folder, end, _): &(&str, &str, &[u8])| {
                format!("xtc/{folder}{EXPERIMENT}-r{run:04}-s00-c00.{end}")
            };
            let names: Vec<String> = of.iter().map(name).collect();
            manifests.push(taken(stage, run, &names, |n, path| Ok(fs::write(path, of[n].2)?))?);
        }
        let worker = stage.worker("a")?;
        let desk = Desk::at(stage, 2).await?;
        let service = serve(desk.config(&desk.here, "")?);
        desk.say(manifests.iter().map(available).collect()).await?;
        for run in [41, 42] {
            let indexed = desk.until_closed(run, 1, u64::from(shots)).await?;
            let [read] = &indexed.positions[..] else { anyhow::bail!("one stream: {indexed:?}") };
            let ends = if run == 41 { ".xtc.idx" } else { ".smd.xtc" };
            ensure!(read.lfn.as_str().ends_with(ends), "{read:?}");
        }
        let published = desk.images(SiteTopic::ImagesLive, &desk.here).await?;
        once(&published, 2 * usize::try_from(shots)?)?;
        service.stop().await?;
        let images: Vec<Image> = published.into_iter().map(|(_, image)| image).collect();
        let mut witness = stage.witness();
        witness.until(images.len(), SOON).await?;
        witness.judge(&images)?;
        for image in &images {
            let EventId::Time { nanoseconds, fiducial, .. } = image.image.event else {
                anyhow::bail!("{image:?}")
            };
            let n = nanoseconds / generate::time(1).nanoseconds;
            let Time { fiducial: pulse, .. } = generate::time(n);
            let (result, is_hit) = (witness.of(image), n.is_multiple_of(2));
            let (outcome, spots) = if is_hit { (Outcome::Hit, BRIGHT) } else { (Outcome::Miss, 0) };
            let numbers = &result.numbers;
            ensure!((result.outcome, numbers.spots) == (outcome, Some(spots)), "{n}: {result:?}");
            ensure!(fiducial == Some(pulse) && numbers.pulse_id == Some(pulse.into()), "{n}: {result:?}");
            let energy = Some(generate::energy(usize::try_from(n)?));
            ensure!(numbers.photon_energy == energy && numbers.event_codes == [40, 140], "{n}: {result:?}");
        }
        ensure!(worker.is_running());
        Ok(())
    })
    .await
}
