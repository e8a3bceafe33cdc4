//! A site is lost in the middle of a run: real workers at one site, the real `reroute` as a job at the other, real workers there, and one
//! result for each image, also when those that were lost wake up again. The mover is the test itself.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use lightrail_compose::kafka::{Kafka, KafkaOptions};
use lightrail_compose::process::{Proc, read_lossy, tail};
use lightrail_compose::{manifests, services, wait};
use lightrail_topics::events::{Health, JobEnd, JobStep, Outcome, RouteOverride, Withdrawal, Work};
use lightrail_topics::{Event, Generation, Message, Millis, Topic, TrialNumber, message};
use rustix::process::{Pid, Signal, kill_process_group};

use crate::pair::{Pair, rule_of_both};
use crate::stage::{SOON, Stage, run, site};

const IMAGES: usize = 400;
const TRIAL: TrialNumber = TrialNumber(3);
const PREFIX: &str = "reroute.";

/// The run's files at a site, as its mover would name them.
fn available(data: &Path, at: &str) -> Message {
    let manifest = manifests::of_folder(data, &run(1), &site(at), Generation::FIRST, Millis(1)).unwrap();
    assert_eq!(manifest.files.len(), 2, "the run and its index");
    message::run_available(&manifest, "test", Millis(1))
}

/// The analysis of both sites: a folder each, where the second one's is empty, and the services' configuration.
struct Analysis {
    folder: PathBuf,
}

impl Analysis {
    /// Takes the run, and applies the trial that fits it.
    async fn prepare(folder: &Path, bootstrap: &str) -> Self {
        let analysis = Self { folder: folder.to_owned() };
        let (nersc, images) = (analysis.data("NERSC").display().to_string(), IMAGES.to_string());
        let run = ["--experiment", "mfxx1", "--instrument", "mfx", "--runs", "1", "--images", &images];
        let detector = ["--detector", "jungfrau32k", "--streams", "1", "--pool", "50", "--unpaced"];
        analysis.run(&[&["simulate", "--out", &nersc], &run[..], &detector].concat()).await;
        for name in ["NERSC", "OLCF"] {
            let mut text = format!(
                "site = \"{name}\"\n[kafka]\nbootstrap = [\"{bootstrap}\"]\nprefix = \"{PREFIX}\"\n\
                [trials]\nfolder = {nersc:?}\n[index]\nretry = \"1s\"\n\
                [work]\nworker = \"{name}\"\nthreads = 1\nsession = \"6s\"\n"
            );
            // One result in a transaction: there is time to lose the site in the middle of the run.
            if name == "NERSC" {
                text += "results = 1\nahead = 1\n";
            }
            for site in ["NERSC", "OLCF"] {
                let data = analysis.data(site).display().to_string();
                let _ = writeln!(text, "[sites.{site}]\nfolder = {data:?}");
            }
            std::fs::write(analysis.config(name), text).unwrap();
        }
        let (trial, config) = (format!("{nersc}/trial.toml"), analysis.config("NERSC").display().to_string());
        let number = TRIAL.to_string();
        let of = ["--experiment", "mfxx1", "--trial", &number, "--config", &config];
        analysis.run(&[&["trials", "apply", &trial], &of[..]].concat()).await;
        analysis
    }

    async fn run(&self, args: &[&str]) {
        let ran = services::run("lightrail-analysis", args, SOON).await.unwrap();
        assert!(ran.status.success(), "{args:?}: {}{}", ran.stdout, ran.stderr);
    }

    fn data(&self, site: &str) -> PathBuf {
        self.folder.join(site)
    }

    fn config(&self, site: &str) -> PathBuf {
        self.folder.join(format!("analysis-{site}.toml"))
    }

    fn index(&self, site: &str) -> Proc {
        let command = ["index", "--listen", "127.0.0.1:0"];
        services::start_analysis(&format!("index-{site}"), &command, &self.config(site), &[]).unwrap()
    }

    /// Copies the run's files to the second site.
    fn bring(&self) {
        for below in ["mfx/mfxx1/xtc", "mfx/mfxx1/xtc/smalldata"] {
            std::fs::create_dir_all(self.data("OLCF").join(below)).unwrap();
            for entry in std::fs::read_dir(self.data("NERSC").join(below)).unwrap() {
                let path = entry.unwrap().path();
                if path.is_file() {
                    let to = self.data("OLCF").join(below).join(path.file_name().unwrap());
                    std::fs::copy(path, to).unwrap();
                }
            }
        }
    }
}

/// All committed results: how often by event, and how many by site.
async fn results(stage: &Stage) -> (BTreeMap<String, usize>, BTreeMap<String, usize>) {
    let (mut events, mut sites) = (BTreeMap::new(), BTreeMap::new());
    for event in stage.all(Topic::Results).await {
        let Event::Result(result) = event else { continue };
        assert!(matches!(result.outcome, Outcome::Hit | Outcome::Miss), "{result:?}");
        *events.entry(result.image.to_string()).or_default() += 1;
        *sites.entry(result.site.to_string()).or_default() += 1;
    }
    (events, sites)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_site_that_is_lost_in_the_middle_of_a_run_leaves_its_images_to_another_one_each_to_be_worked_once()
{
    let kafka = Kafka::start(KafkaOptions::default()).await.unwrap();
    let pair = Pair::start().await;
    let config = pair.config(kafka.bootstrap(), PREFIX, |name| {
        let program = services::program("lightrail-analysis").unwrap();
        let config = pair.folder().join(format!("analysis-{name}.toml"));
        format!("[sites.{name}.analysis]\nprogram = {program:?}\nconfig = {config:?}\n")
    });
    let (stage, publisher) = Stage::prepare(&kafka, config).await;
    let analysis = Analysis::prepare(pair.folder(), kafka.bootstrap()).await;
    // The second one finds the run begun at the other site, and leaves it to that.
    let _indices = ["NERSC", "OLCF"].map(|site| analysis.index(site));
    let (stop, running) = stage.begin();
    stage.status("NERSC/perlmutter", Health::Up).await;
    stage.status("OLCF/frontier", Health::Up).await;
    let rule = rule_of_both(Some(TRIAL), Work::Analysis { workers: 1, images_per_worker: None });
    let rule = message::rule(&rule.rule, Some(&rule), "test", Millis(1));
    publisher.publish(vec![rule, available(&analysis.data("NERSC"), "NERSC")]).await.unwrap();

    let work = |attempt: u32| format!("live mfxx1/1/{TRIAL} work attempt {attempt}");
    stage.step(&work(1), "to run", |step| matches!(step, JobStep::Running { .. })).await;
    wait::until("some results", SOON, async || (results(&stage).await.0.len() >= 20).then_some(()))
        .await
        .unwrap();
    // The site hangs, and then it is not there any more.
    let job = pair.job_at_nersc();
    let group: i32 = std::fs::read_to_string(job.join("pid")).unwrap().trim().parse().unwrap();
    let group = Pid::from_raw(group).unwrap();
    kill_process_group(group, Signal::STOP).unwrap();
    let before = results(&stage).await.0.len();
    assert!(before < IMAGES, "the site was too fast to be lost");
    let pair = pair.lose_nersc().await;
    stage.status("NERSC/perlmutter", Health::Down).await;
    let given_up =
        stage.step(&work(1), "to be given up", |step| matches!(step, JobStep::GivenUp { .. })).await;
    let JobStep::GivenUp { why, .. } = given_up else { unreachable!() };
    assert!(why.starts_with("site NERSC is lost: "), "{why}");
    let route: RouteOverride = wait::until("the run to be sent to the other site", SOON, async || {
        stage.all(Topic::RoutesOverride).await.into_iter().find_map(|event| match event {
            Event::RouteOverride(_, route) => route.filter(|route| route.runs == [run(1).run]),
            _ => None,
        })
    })
    .await
    .unwrap();
    assert_eq!(route.to, [site("OLCF")]);
    analysis.bring();
    publisher.publish(vec![available(&analysis.data("OLCF"), "OLCF")]).await.unwrap();

    let is_done = |step: &JobStep| matches!(step, JobStep::Ended { end: JobEnd::Done, .. });
    let moves = format!("live mfxx1/1/{TRIAL} work-reroute attempt 1");
    stage.step(&moves, "to be done", is_done).await;
    // Who was held for lost wakes up, and may not commit what it holds.
    let written = || written(&pair.folder().join("NERSC-jobs"));
    let at_rest = written().len();
    kill_process_group(group, Signal::CONT).unwrap();
    let woken =
        wait::until("the lost worker to notice", SOON, async || (written().len() > at_rest).then_some(()));
    woken.await.unwrap();
    // Told to end, which this interface knows as cancelled.
    let done = stage.step(&work(2), "to end", JobStep::is_final).await;
    let is_complete = matches!(
        done,
        JobStep::Ended { end: JobEnd::Done | JobEnd::Withdrawn { why: Withdrawal::Complete }, .. }
    );
    assert!(is_complete, "{done:?}\n{}", said(pair.folder()));
    let (events, sites) = results(&stage).await;
    let double: Vec<_> = events.iter().filter(|(_, often)| **often != 1).collect();
    assert!(double.is_empty(), "several results: {double:?}");
    assert_eq!(events.len(), IMAGES);
    assert!(sites["NERSC"] >= before && sites["NERSC"] + sites["OLCF"] == IMAGES, "{sites:?}");
    // Not by its scheduler, which knows nothing of it any more.
    kill_process_group(group, Signal::KILL).unwrap();
    stop.cancel();
    running.await.unwrap();
}

/// What the jobs of a folder have written.
fn written(folder: &Path) -> String {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let files = entries.map(|entry| entry.path()).filter(|path| path.is_file());
    files.map(|path| read_lossy(&path)).collect()
}

/// The same of all jobs, the last lines.
fn said(folder: &Path) -> String {
    let each = ["NERSC-jobs", "OLCF-jobs"].map(|site| tail(&written(&folder.join(site)), 40));
    each.join("\n")
}
