//! Runs of small images as a DAQ would write them, with the messages that an index would publish, and trials that fit.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::Context as _;
use lightrail_analysis::formats::xtc2::write::{Event, StreamSetup, StreamWriter};
use lightrail_analysis::formats::xtc2::{Service, Timestamp};
use lightrail_analysis::trial::Parameters;
use lightrail_topics::events::{ConfigurePlace, Extent, ExtentKind, Image, ShotData, Trial};
use lightrail_topics::message::stable_hash;
use lightrail_topics::{EventId, ImageKey, Lfn, Millis, RunKey, RunNumber, SiteName, TrialNumber};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

/// The one experiment.
pub(crate) const EXPERIMENT: &str = "mfxx00121";
/// Rows and columns of its detector, which has one panel per stream.
pub(crate) const SIDE: usize = 48;
/// Of so many images one is a hit.
pub(crate) const HIT_EVERY: usize = 10;
/// Spots of a hit.
pub(crate) const SPOTS: usize = 16;

/// Writes a run of `streams` big files below `folder`; its images as messages for a site under a trial.
pub(crate) fn run(
    folder: &Path,
    number: u32,
    streams: usize,
    images: usize,
    trial: u32,
    site: &SiteName,
) -> anyhow::Result<Vec<Image>> {
    let begin = 1_112_036_891;
    let at = |n: usize| {
        let n = u32::try_from(n).unwrap();
        Timestamp::new(begin + n / 1000, n % 1000 * 1_000_000 + 1)
    };
    let key = RunKey { experiment: EXPERIMENT.parse()?, run: RunNumber(number) };
    let mut published: Vec<Image> = (0..images)
        .map(|n| {
            let (seconds, nanoseconds) = (at(n + 10).seconds(), at(n + 10).nanoseconds());
            let event = EventId::Time { seconds, nanoseconds, fiducial: None };
            Image {
                image: ImageKey { run: key.clone(), event },
                trial: TrialNumber(trial),
                site: site.clone(),
                extents: Vec::new(),
                configure: Vec::new(),
                names_epoch: 0,
                shot: ShotData { pulse_id: Some(n as u64), ..ShotData::default() },
            }
        })
        .collect();
    let (hit, miss) = (pixels(true), pixels(false));
    let side = u32::try_from(SIDE)?;
    for stream in 0..streams {
        let lfn: Lfn =
            format!("/mfx/{EXPERIMENT}/xtc/{EXPERIMENT}-r{number:04}-s{stream:03}-c000.xtc2").parse()?;
        let segment = u32::try_from(stream)?;
        let node = u16::try_from(stream + 1)?;
        let setup = StreamSetup::jungfrau(EXPERIMENT, number, node, "jungfrau", &[segment], [1, side, side]);
        let setup = if stream == 0 { setup.with_beam() } else { setup };
        let mut writer = StreamWriter::new(setup, Vec::new(), Vec::new());
        writer.configure(at(0))?;
        let configure = ConfigurePlace { lfn: lfn.clone(), offset: 0, length: writer.offset() };
        for (n, service) in [Service::BeginRun, Service::BeginStep, Service::Enable].into_iter().enumerate() {
            writer.transition(service, at(n + 1))?;
        }
        for (n, image) in published.iter_mut().enumerate() {
            let pixels = if n % HIT_EVERY == 0 { &hit } else { &miss };
            let event = Event {
                segments: &[pixels],
                photon_energy: Some(9500.0),
                pulse_id: n as u64,
                event_codes: &[],
            };
            let place = writer.event(at(n + 10), &event)?;
            let (offset, length) = (place.offset, u64::from(place.size));
            image.extents.push(Extent { lfn: lfn.clone(), offset, length, kind: ExtentKind::Dgram });
            image.configure.push(configure.clone());
        }
        let (big, small) = writer.finish()?;
        let path = folder.join(lfn.as_str().trim_start_matches('/'));
        let beside = path.parent().context("a file lies in a folder")?.join("smalldata");
        fs::create_dir_all(&beside)?;
        fs::write(path, big)?;
        fs::write(beside.join(lfn.file_name().replace(".xtc2", ".smd.xtc2")), small)?;
    }
    for image in &mut published {
        image.names_epoch = u32::try_from(stable_hash(format!("{:?}", image.configure).as_bytes()) >> 32)?;
    }
    Ok(published)
}

/// An image: a background of 10 that is not flat, and the spots of a hit.
pub(crate) fn pixels(is_hit: bool) -> Vec<u16> {
    let mut pixels: Vec<u16> = (0..SIDE * SIDE).map(|at| 9 + u16::try_from(at * 7 % 3).unwrap()).collect();
    for spot in 0..if is_hit { SPOTS } else { 0 } {
        pixels[(spot / 4 * 12 + 5) * SIDE + spot % 4 * 12 + 5] = 500;
        pixels[(spot / 4 * 12 + 5) * SIDE + spot % 4 * 12 + 6] = 400;
    }
    pixels
}

/// A trial for such runs of so many streams, its geometry written below `folder`.
pub(crate) fn trial(folder: &Path, number: u32, streams: usize, more: &str) -> anyhow::Result<Trial> {
    let last = SIDE - 1;
    let mut geometry = String::from("clen = 0.1\nres = 13333.3\ndim0 = %\ndim2 = ss\ndim3 = fs\n");
    if streams == 1 {
        geometry = String::from("clen = 0.1\nres = 13333.3\n");
    }
    for panel in 0..streams {
        let plane = if streams > 1 { format!("p{panel}/dim1 = {panel}\n") } else { String::new() };
        let corner = panel * (SIDE + 4);
        let _ = writeln!(
            geometry,
            "{plane}p{panel}/min_fs = 0\np{panel}/max_fs = {last}\np{panel}/min_ss = 0\np{panel}/max_ss = {last}\n\
             p{panel}/fs = +1.0x +0.0y\np{panel}/ss = -0.0x +1.0y\np{panel}/corner_x = {corner}\np{panel}/corner_y = 60"
        );
    }
    let name = format!("geometry-{streams}.geom");
    fs::create_dir_all(folder)?;
    fs::write(folder.join(&name), &geometry)?;
    let sum = format!("{:x}", Sha256::digest(geometry.as_bytes()));
    let text = format!(
        "{more}\n[detector]\nname = 'jungfrau'\nkind = 'counts'\n[spots.peakfinder8]\nthreshold = 50\n\
         [hit]\nmin_spots = 10\n[[geometry]]\npath = '{name}'\nsha256 = '{sum}'\n"
    );
    Parameters::from_toml(&text)?;
    let parameters: Map<String, Value> = toml::from_str(&text)?;
    Ok(Trial {
        experiment: EXPERIMENT.parse()?,
        trial: TrialNumber(number),
        live: true,
        parameters,
        who: "a test".to_owned(),
        at: Millis(0),
    })
}
