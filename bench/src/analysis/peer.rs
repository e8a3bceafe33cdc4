//! psana's peakfinder8 and DIALS' spot finder, as programs of their own: `./bench/run peers` installs them.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use lightrail_analysis::frame::Frame;
use lightrail_analysis::pipeline::{Chain, Workspace};
use lightrail_analysis::trial::{Dispersion, SpotFinder};
use serde::Deserialize;

use super::Place;

/// A running peakfinder8 with the settings of a chain.
pub(super) struct Peakfinder8 {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
    folder: tempfile::TempDir,
    rows: usize,
}

/// What it says of a frame.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Answer {
    seconds: f64,
    spots: Vec<[f64; 2]>,
}

impl Peakfinder8 {
    /// Starts it; nothing, with the reason said, where it is not installed.
    pub(super) fn start(chain: &Chain) -> anyhow::Result<Option<Self>> {
        let Some(python) = installed("psana/bin/python") else {
            eprintln!(
                "psana's peakfinder8 is missing: its rows are left out (./bench/run peers installs it)"
            );
            return Ok(None);
        };
        let SpotFinder::Peakfinder8(p) = &chain.parameters().spots else { bail!("another spot finder") };
        let mut child = Command::new(python)
            .arg(script("peakfinder8.py"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("psana's peakfinder8 cannot be started")?;
        let to = child.stdin.take().context("no standard input")?;
        let from = BufReader::new(child.stdout.take().context("no standard output")?);
        let shape = chain.calibration().shape();
        let asic = &chain.regions().all()[0];
        let folder = tempfile::tempdir_in(crate::memory::folder()).context("no folder for frames")?;
        let radius: Vec<f32> = radii(chain);
        write(&folder.path().join("radius"), &radius)?;
        let mut peer = Self { child, to, from, folder, rows: shape.rows };
        let words = [shape.panels * shape.rows, shape.columns];
        let asic = [asic.rows.1 - asic.rows.0, asic.columns.1 - asic.columns.0];
        let folder = peer.folder.path().display().to_string();
        peer.say(&format!(
            "setup {folder} {} {} {} {} {} {} {} {} {}",
            words[0],
            words[1],
            asic[0],
            asic[1],
            p.threshold,
            p.snr,
            p.min_pixels,
            p.max_pixels,
            p.local_bg_radius
        ))?;
        Ok(Some(peer))
    }

    /// Gives it a frame, calibrated as the chain does.
    pub(super) fn load(
        &mut self,
        number: usize,
        chain: &Chain,
        workspace: &mut Workspace,
        frame: &Frame,
    ) -> anyhow::Result<()> {
        let values = chain.values(workspace, frame)?;
        let [values_file, mask_file] =
            ["values", "mask"].map(|end| self.folder.path().join(format!("{number}.{end}")));
        write(&values_file, values)?;
        let good: Vec<u8> = chain.calibration().mask().good.iter().map(|good| u8::from(*good)).collect();
        std::fs::write(&mask_file, good).context("a mask cannot be written")?;
        self.say(&format!("load {number}"))?;
        [values_file, mask_file]
            .iter()
            .try_for_each(std::fs::remove_file)
            .context("a frame cannot be removed")
    }

    /// Its spots in a frame, and the CPU time that they took.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)] // rows
    pub(super) fn find(&mut self, number: usize) -> anyhow::Result<(Vec<Place>, Duration)> {
        let answer = self.say(&format!("find {number}"))?;
        let place = |[x, y]: &[f64; 2]| {
            let panel = (y + 0.5).max(0.0) as usize / self.rows;
            (panel, *x, y - (panel * self.rows) as f64)
        };
        Ok((answer.spots.iter().map(place).collect(), Duration::from_secs_f64(answer.seconds)))
    }

    /// Lets all frames go.
    pub(super) fn forget(&mut self) -> anyhow::Result<()> {
        self.say("forget").map(drop)
    }

    fn say(&mut self, command: &str) -> anyhow::Result<Answer> {
        writeln!(self.to, "{command}").context("psana's peakfinder8 does not listen")?;
        let mut line = String::new();
        self.from.read_line(&mut line)?;
        ensure!(!line.is_empty(), "psana's peakfinder8 ended at `{command}`");
        serde_json::from_str(&line).with_context(|| format!("psana's peakfinder8 says {line}"))
    }
}

impl Drop for Peakfinder8 {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The spots of `dials.find_spots` in a CBF file; nothing, with the reason said, where it is not installed.
pub(super) fn dials(file: &Path, p: &Dispersion) -> anyhow::Result<Option<Vec<Place>>> {
    if Command::new("dials.find_spots").arg("--help").output().is_err() {
        eprintln!("dials.find_spots is missing: its rows are left out (./bench/run peers installs it)");
        return Ok(None);
    }
    let folder = tempfile::tempdir().context("no folder for DIALS")?;
    let run = |command: &mut Command| -> anyhow::Result<Vec<u8>> {
        let output = command.current_dir(folder.path()).output().with_context(|| format!("{command:?}"))?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{command:?} failed: {}", said.trim());
        Ok(output.stdout)
    };
    run(Command::new("dials.import").arg(file.canonicalize()?).arg("output.experiments=all.expt"))?;
    let algorithm = if p.extended { "dispersion_extended" } else { "dispersion" };
    run(Command::new("dials.find_spots").arg("all.expt").args([
        format!("spotfinder.threshold.algorithm={algorithm}"),
        format!("gain={}", p.gain),
        format!("sigma_background={}", p.sigma_b),
        format!("sigma_strong={}", p.sigma_s),
        format!("kernel_size={0},{0}", p.kernel),
        format!("min_local={}", p.min_count),
        format!("global_threshold={}", p.threshold),
        format!("spotfinder.filter.min_spot_size={}", p.min_spot),
        format!("spotfinder.filter.max_spot_size={}", p.max_spot),
        "nproc=1".to_owned(),
        "output.reflections=strong.refl".to_owned(),
    ]))?;
    // The system's Python, which Debian's package is for.
    let told = run(Command::new("/usr/bin/python3").arg(script("dials_spots.py")).arg("strong.refl"))?;
    let spots: Vec<(usize, f64, f64)> = serde_json::from_slice(&told).context("the spots of DIALS")?;
    Ok(Some(spots))
}

/// Where `./bench/run peers` puts what it installs for itself.
fn installed(path: &str) -> Option<PathBuf> {
    let cache = std::env::var_os("LIGHTRAIL_CACHE").map(PathBuf::from).or_else(|| {
        let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
        std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or(home).map(|cache| cache.join("lightrail"))
    })?;
    Some(cache.join("peers").join(path)).filter(|path| path.is_file())
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("peers").join(name)
}

fn write(path: &Path, values: &[f32]) -> anyhow::Result<()> {
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    std::fs::write(path, bytes).with_context(|| format!("{} cannot be written", path.display()))
}

/// The distance of every pixel from the beam, pixels, as the chain takes it.
#[allow(clippy::cast_possible_truncation)] // f32 is what both sides use
fn radii(chain: &Chain) -> Vec<f32> {
    let size = chain.geometry().panels[0].pixel_size();
    let positions = chain.geometry().positions(chain.calibration().shape());
    positions.iter().map(|[x, y, _]| (f64::from(*x).hypot(f64::from(*y)) / size) as f32).collect()
}
