//! Simulated images through stages that panic, hang and never come back.

use std::path::Path;
use std::sync::Condvar;

use lightrail_topics::RunNumber;

use super::*;
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
