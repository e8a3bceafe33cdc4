//! Runs of other formats than LCLS-II's on the whole way: a mover says that they are there, index publishes their images, the
//! worker reads each by its extents.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use hdf5_writer::{DatasetBuilder, Hdf5Builder, Hdf5Writer, WriteOptions};
use lightrail_analysis::formats::cbf::{self, Mini};
use lightrail_analysis::frame::Shape;
use lightrail_topics::events::{ClosedBy, Image, ManifestFile, Outcome, RunManifest, Trial};
use lightrail_topics::{EventId, Generation, Lfn, Millis, SiteTopic};
use sha2::{Digest as _, Sha256};

use crate::desk::{Desk, available, once, run_key, serve};
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

/// The usual trial with a geometry that leaves the length to the data: the encoder's position in mm and 0.573224 m.
fn trial(stage: &Stage) -> Result<Trial> {
    let mut trial = play::trial(&stage.calibration(), 1, 1, "")?;
    let usual = fs::read_to_string(stage.calibration().join("geometry-1.geom"))?;
    let stored = "clen = /LCLS/detector_1/EncoderValue\ncoffset = 0.573224";
    let geometry = usual.replace("clen = 0.1", stored);
    ensure!(geometry != usual);
    fs::write(stage.calibration().join("encoder.geom"), &geometry)?;
    trial.parameters["geometry"][0]["path"] = "encoder.geom".into();
    trial.parameters["geometry"][0]["sha256"] = format!("{:x}", Sha256::digest(geometry.as_bytes())).into();
    Ok(trial)
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
