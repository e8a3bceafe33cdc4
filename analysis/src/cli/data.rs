//! What `process` and `plot image` are told of their data: which files, and under which trial they are worked.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use lightrail_topics::RunNumber;
use lightrail_topics::events::Image;

use crate::detectors::Kind;
use crate::process::{self, Chosen, Files, Wanted, Wishes};
use crate::source::{Settings, Source};
use crate::trial::Unit;
use lightrail_service::command::Failure;

/// Files, and the trial they are worked under.
#[derive(Debug, Args)]
pub(super) struct Data {
    /// Files of runs by path or root:// URL: .xtc2 (with or without smalldata/*.smd.xtc2 beside), .smd.xtc2, .xtc, .smd.xtc,
    /// .xtc.idx, .cbf, .h5, .cxi, .nxs. Further chunks of a stream are found by themselves.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<String>,
    #[command(flatten)]
    trial: Trial,
    /// The run of files whose name tells none, for ranges of runs in the trial.
    #[arg(long, value_name = "NUMBER", help_heading = "Data")]
    run: Option<RunNumber>,
    /// How long one read may take.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = humantime::parse_duration, help_heading = "Data")]
    deadline: Duration,
}

/// A trial, and what is changed of it.
#[derive(Clone, Debug, Args)]
pub(super) struct Trial {
    /// The trial: detector, constants, masks, geometry, spot finder, hit rule. Relative paths in it count from its folder.
    #[arg(long = "trial", id = "trial", value_name = "FILE", help_heading = "Trial")]
    file: Option<PathBuf>,
    /// The detector's name in the data (for HDF5: its dataset's path).
    #[arg(long, value_name = "NAME", help_heading = "Trial")]
    detector: Option<String>,
    /// What its raw pixels mean: jungfrau, epix10ka, epix100, cspad, rayonix, counts, corrected.
    #[arg(long, value_name = "KIND", help_heading = "Trial")]
    kind: Option<String>,
    /// Geometry: CrystFEL's .geom, psana's .data, or a .cbf with axes.
    #[arg(long, value_name = "FILE", help_heading = "Trial")]
    geometry: Option<PathBuf>,
    /// Constants: .npy, psana text or HDF5; may be given several times.
    #[arg(long, value_name = "FILE", help_heading = "Trial")]
    constants: Vec<PathBuf>,
    /// Mask, not zero where a pixel is good; may be given several times, all count.
    #[arg(long, value_name = "FILE", help_heading = "Trial")]
    mask: Vec<PathBuf>,
    /// Sets one key of the trial, such as spots.peakfinder8.snr=6; may be given several times.
    #[arg(long, value_name = "KEY=VALUE", help_heading = "Trial")]
    set: Vec<String>,
}

impl Trial {
    pub(super) fn wishes(&self) -> Wishes {
        let Self { file, detector, kind, geometry, constants, mask, set } = self.clone();
        Wishes { trial: file, detector, kind, geometry, constants, masks: mask, set }
    }
}

/// Data that were looked at: their images, and the trial for them.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) files: Files,
    pub(super) chosen: Chosen,
    pub(super) source: Source,
    pub(super) images: Vec<Image>,
    pub(super) faults: Vec<String>,
    /// Whether some run has images, but none of the trial's detector.
    pub(super) is_of_others: bool,
    pub(super) planes: HashMap<lightrail_topics::RunKey, crate::geometry::Geometry>,
}

impl Data {
    /// Looks at the files.
    pub(super) async fn open(&self) -> Result<Opened, Failure> {
        let usage = |error: anyhow::Error| Failure::Usage(error);
        let files = Files::new(&self.files, self.run).map_err(|error| usage(error.into()))?;
        let source = Source::new(Settings { deadline: self.deadline, ..Settings::default() });
        let told =
            process::told(&files, &source).await.context("the data cannot be looked at").map_err(usage)?;
        let chosen = process::choose(&self.trial.wishes(), &told).map_err(|error| usage(error.into()))?;
        let (mut images, mut faults, mut planes) = (Vec::new(), Vec::new(), HashMap::new());
        let mut is_of_others = false;
        for run in &files.runs {
            let wanted = Wanted::by(&chosen, run.run.run);
            let found = process::of_run(&files, run, &wanted, &source).await;
            let found = found.with_context(|| format!("run {} cannot be indexed", run.run)).map_err(usage)?;
            images.extend(found.images);
            faults.extend(found.faults);
            is_of_others |= !found.others.is_empty();
            planes.extend(found.plane.map(|plane| (run.run.clone(), plane)));
        }
        Ok(Opened { files, chosen, source, images, faults, is_of_others, planes })
    }
}

/// What a calibrated value counts, in a word.
pub(super) fn unit(chosen: &Chosen) -> &'static str {
    match (chosen.parameters.calibration.unit, chosen.parameters.detector.kind) {
        (Unit::Photon, _) => "photons",
        (Unit::Native, Kind::Jungfrau | Kind::Epix10ka | Kind::Epix100) => "keV",
        (Unit::Native, Kind::Cspad | Kind::Rayonix) => "ADU",
        (Unit::Native, Kind::Counts) => "counts",
        (Unit::Native, Kind::Corrected) => "value",
    }
}
