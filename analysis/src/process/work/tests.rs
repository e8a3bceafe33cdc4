//! Simulated images through stages that panic, hang and never come back; an LCLS-I run from its files to its results.

use std::path::{Path, PathBuf};
use std::sync::Condvar;

use lightrail_topics::{EventId, RunNumber};

use super::*;
use crate::formats::xtc::tests::generate::{self, Stream};
use crate::process::{self, Told, Wishes};
use crate::simulate::{self, Model, Place, Plan, Schedule, Simulator};
use crate::source::Settings;
use crate::work::stages::Chained;

/// What an image does in its spot finding.
#[derive(Clone, Copy)]
enum Does {
    Work,
    Panic,
    Hang,
}

/// The stages, with faults by an image's place in its run. What hangs does so until it is let go.
struct Faulty {
    inner: Chained,
    does: fn(usize) -> Does,
    order: Vec<Image>,
    free: (Mutex<bool>, Condvar),
}

impl Faulty {
    fn let_go(&self) {
        *self.free.0.lock().unwrap() = true;
        self.free.1.notify_all();
    }
}

impl Stages for Faulty {
    fn work(&self, images: &[(&Job, &Progress)], workspace: &mut Workspace) -> Vec<Result<Worked, Bad>> {
        for (job, progress) in images {
            progress.begin(Stage::Spotfind);
            let number = self.order.iter().position(|image| *image == *job.image).unwrap();
            match (self.does)(number) {
                Does::Work => {}
                Does::Panic => panic!("no spot is like this one"),
                Does::Hang => {
                    let held = self.free.0.lock().unwrap();
                    drop(self.free.1.wait_while(held, |free| !*free).unwrap());
                }
            }
        }
        self.inner.work(images, workspace)
    }
}

fn simulated(out: &Path) -> String {
    let simulator = Simulator::new(Plan { hit_rate: 0.5, ..Plan::new(Model::Jungfrau32k, 5) }).unwrap();
    let (instrument, experiment) = ("mfx".parse().unwrap(), "mfxsim0126".parse().unwrap());
    let place = Place { out: out.to_owned(), instrument, experiment };
    let run = RunNumber(1);
    let schedule = Schedule {
        first_run: run,
        runs: 1,
        images: 9,
        rate: 120.0,
        paced: false,
        streams: 1,
        chunk_images: None,
        pool: 0,
        threads: 2,
        begin: 1_136_073_600,
    };
    simulate::play(&simulator, &place, &schedule, &simulate::Stop::default(), &mut |_| {}).unwrap();
    place.path(&place.big(run, 0, 0)).display().to_string()
}

/// Works nine simulated images on two threads; every image may take so many seconds.
async fn worked(seconds: f64, does: fn(usize) -> Does) -> Outcomes {
    let folder = tempfile::tempdir().unwrap();
    let files = Files::new(&[simulated(folder.path())], None).unwrap();
    let trial = Some(folder.path().join("trial.toml"));
    let set = vec![format!("time_limit={seconds:?}")];
    let chosen = process::choose(&Wishes { trial, set, ..Wishes::default() }, &Told::Nothing).unwrap();
    let source = Source::new(Settings::default());
    let wanted = process::Wanted::by(&chosen, files.runs[0].run.run);
    let images = process::of_run(&files, &files.runs[0], &wanted, &source).await.unwrap().images;
    assert_eq!(images.len(), 9);
    let free = (Mutex::new(false), Condvar::new());
    let stages = Arc::new(Faulty { inner: Chained::default(), does, order: images.clone(), free });
    let (planes, stop) = (HashMap::new(), CancellationToken::new());
    let working = Working {
        files: &files,
        chosen: &chosen,
        planes,
        source: &source,
        stages: stages.clone(),
        threads: 2,
        stop,
    };
    let done = work(&working, images, |_| {}).await;
    // Before anything can fail: the runtime waits for its threads.
    stages.let_go();
    done.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_that_hangs_and_one_that_panics_cost_nobody_else() {
    let done = worked(2.0, |number| match number {
        2 | 3 => Does::Hang,
        5 => Does::Panic,
        _ => Does::Work,
    });
    let done = done.await;
    assert_eq!((done.rows.len(), done.left, done.stuck), (9, 0, false));
    for (number, row) in done.rows.iter().enumerate() {
        let cause = row.cause.as_deref();
        let told = match number {
            2 | 3 => (Outcome::Timeout, Stage::Spotfind, Some("it took longer than the trial's time_limit")),
            5 => (Outcome::Failed, Stage::Spotfind, Some("panic: no spot is like this one")),
            _ if row.outcome == Outcome::Hit => (Outcome::Hit, Stage::Spotfind, None),
            _ => (Outcome::Miss, Stage::Spotfind, None),
        };
        assert_eq!((row.outcome, row.stage, cause), told, "{number}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn images_that_never_come_back_end_the_work_and_not_the_table() {
    let done = worked(0.5, |_| Does::Hang).await;
    assert!(done.stuck && done.left > 0, "{} left", done.left);
    assert_eq!(done.rows.len() + done.left, 9);
    // As many as may hang beside others have their result.
    assert_eq!(done.rows.iter().filter(|row| row.outcome == Outcome::Timeout).count(), 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_made_for_the_first_image_has_an_end_too() {
    let cores = Cores::new(1, Duration::from_millis(300));
    let progress = Progress::default();
    assert_eq!(cores.run(&progress, || 7).await.unwrap(), 7);
    let panic = cores.run(&progress, || -> u8 { panic!("no such {}", "file") }).await.unwrap_err();
    assert!(matches!(panic, Fallen::Bad(bad) if bad.cause == "panic: no such file"));
    let (way, wait) = std::sync::mpsc::channel::<()>();
    let wait = Arc::new(Mutex::new(wait));
    for _ in 0..2 {
        let wait = wait.clone();
        let late = cores.run(&progress, move || wait.lock().unwrap().recv().is_ok()).await.unwrap_err();
        assert!(matches!(late, Fallen::Bad(bad) if bad == Bad::timeout(Stage::Read)));
    }
    assert!(matches!(cores.run(&progress, || 7).await.unwrap_err(), Fallen::Stuck));
    drop(way);
    // Those that come back give their places back.
    let whole = async { while cores.run(&progress, || 7).await.is_err() {} };
    tokio::time::timeout(Duration::from_secs(30), whole).await.expect("places");
}

/// A trial for the two modules of an LCLS-I Jungfrau below each other, as counts, and its geometry.
fn trial_of_two_modules(folder: &Path) -> PathBuf {
    let mut lines =
        ["clen = 0.1", "res = 13333.3", "dim0 = %", "dim2 = ss", "dim3 = fs"].map(str::to_owned).to_vec();
    for (panel, corner) in [(0, -520), (1, 8)] {
        let span = ["min_fs = 0", "max_fs = 1023", "min_ss = 0", "max_ss = 511", "fs = +1.0x", "ss = +1.0y"];
        lines.extend(span.map(|line| format!("p{panel}/{line}")));
        lines.push(format!("p{panel}/dim1 = {panel}"));
        lines.extend([format!("p{panel}/corner_x = -512"), format!("p{panel}/corner_y = {corner}")]);
    }
    let geometry = lines.join("\n");
    std::fs::write(folder.join("two.geom"), &geometry).unwrap();
    let path = folder.join("trial.toml");
    let sum = crate::trial::Sha256::of(geometry.as_bytes());
    let text = format!(
        "[detector]\nname = 'Jungfrau1M'\nkind = 'counts'\n[calibration]\nsaturation = 3000\n\
         [spots.peakfinder8]\nthreshold = 50\n[hit]\nmin_spots = 20\n\
         [[geometry]]\npath = 'two.geom'\nsha256 = '{sum}'\n"
    );
    std::fs::write(&path, text).unwrap();
    path
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_lcls_i_runs_files_become_results_whichever_of_them_is_named() {
    // Noise about 10; every second shot has 12 spots of four pixels on each module, one pixel of which is full.
    let image = |n: usize| {
        let mut pixels: Vec<u16> =
            (0..2 * 512 * 1024_usize).map(|i| 8 + u16::try_from(i * 7919 % 13 % 5).unwrap()).collect();
        for (panel, y, x) in (0..2).flat_map(|p| (0..3).flat_map(move |y| (0..4).map(move |x| (p, y, x)))) {
            let at = (panel * 512 + 60 + 150 * y) * 1024 + 80 + 250 * x;
            for (step, value) in [(0, 900), (1, 700), (1024, 800), (1025, 600)] {
                pixels[at + step] = if n.is_multiple_of(2) { value } else { pixels[at + step] };
            }
        }
        if n.is_multiple_of(2) {
            pixels[60 * 1024 + 80] = 4000;
        }
        pixels
    };
    let stream = Stream::jungfrau_of(4, &image);
    let folder = tempfile::tempdir().unwrap();
    let put = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, bytes).unwrap();
        path.display().to_string()
    };
    let name = "mfxl1016-r0007-s00-c00";
    let trial = Some(trial_of_two_modules(folder.path()));
    let chosen = process::choose(&Wishes { trial, ..Wishes::default() }, &Told::Nothing).unwrap();
    let source = Source::new(Settings::default());
    for named in [
        put(&format!("{name}.xtc"), &stream.big),
        put(&format!("index/{name}.xtc.idx"), &stream.index(2)),
        put(&format!("smalldata/{name}.smd.xtc"), &stream.small),
    ] {
        let files = Files::new(std::slice::from_ref(&named), None).unwrap();
        let run = &files.runs[0];
        assert_eq!(run.run.to_string(), "mfxl1016/7");
        let wanted = process::Wanted::by(&chosen, run.run.run);
        let found = process::of_run(&files, run, &wanted, &source).await.unwrap();
        assert_eq!(found.faults, [""; 0], "{named}");
        let (planes, stop) = (HashMap::new(), CancellationToken::new());
        let stages = Arc::new(Chained::default());
        let working =
            Working { files: &files, chosen: &chosen, planes, source: &source, stages, threads: 2, stop };
        let done = work(&working, found.images, |_| {}).await.unwrap();
        assert_eq!((done.rows.len(), done.left), (4, 0), "{named}");
        for (n, row) in done.rows.iter().enumerate() {
            let (time, numbers) = (generate::time(u32::try_from(n).unwrap()), &row.numbers);
            let EventId::Time { seconds, nanoseconds, fiducial } = row.image.event else { panic!("{row:?}") };
            assert_eq!((seconds, nanoseconds), (time.seconds, time.nanoseconds));
            assert_eq!(fiducial, Some(time.fiducial));
            let is_hit = n.is_multiple_of(2);
            let outcome = if is_hit { Outcome::Hit } else { Outcome::Miss };
            assert_eq!((row.outcome, row.cause.as_deref()), (outcome, None), "{named} {n}");
            assert_eq!(numbers.spots, Some(if is_hit { 24 } else { 0 }), "{named} {n}");
            assert_eq!(numbers.saturated, Some(u32::from(is_hit)));
            assert_eq!(numbers.photon_energy, Some(generate::energy(n)));
            assert_eq!(numbers.pulse_id, Some(u64::from(time.fiducial)));
            assert_eq!(numbers.event_codes, [40, 140]);
            let first =
                row.spots.iter().find(|spot| spot.panel == 1 && spot.slow < 100.0 && spot.fast < 100.0);
            if let Some(spot) = first {
                // Weighted by 900, 700, 800 and 600 less a background of 10.
                assert!((f64::from(spot.fast) - (80.0 + 1280.0 / 2960.0)).abs() < 0.01, "{spot:?}");
                assert!((f64::from(spot.slow) - (60.0 + 1380.0 / 2960.0)).abs() < 0.01, "{spot:?}");
                assert!((f64::from(spot.intensity) - 2960.0).abs() < 5.0, "{spot:?}");
            }
            assert_eq!(first.is_some(), is_hit);
        }
    }
}
