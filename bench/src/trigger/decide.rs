//! What it costs to look at everything again: ten thousand runs against fifty rules, on one core, without Kafka.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use lightrail_topics::events::JobEnd;
use lightrail_topics::when::Literal;
use lightrail_topics::{Lfn, Millis, RunAtSite, RunKey, SiteName};
use lightrail_trigger::config::Config;
use lightrail_trigger::decide::{Action, Book, Input, Limits, Said, Tally};
use lightrail_trigger::executor::{SchedulerId, Seen, Sighting};
use lightrail_trigger::{datasets, rules};

use crate::report::Row;

const RUNS: u32 = 10_000;
const RULES: u32 = 50;
/// One in so many rules fires for every run.
const FIRES: u32 = 10;
const EXPERIMENTS: u32 = 10;
/// As the issue of the trigger asks, seconds.
const BAR: f64 = 1.0;
const CONFIG: &str = "decider = \"bench\"\n[kafka]\nbootstrap = [\"127.0.0.1:9092\"]\nlogbook = \".\"\n\
    [sites.NERSC]\nexecutor = \"local\"\nfolder = \"/tmp\"\nclaims = \"/tmp\"\n";

pub(super) fn settings() -> String {
    format!(
        "decide: {RUNS} runs of {EXPERIMENTS} experiments, {RULES} rules of all triggers with tests and datasets, {} of which fire \
         for every run",
        RULES / FIRES
    )
}

/// One core: nothing here has a thread.
pub(super) fn measure(quick: bool) -> anyhow::Result<Vec<Row>> {
    let times = if quick { 3 } else { 11 };
    let mut book = told()?;
    // All that fires is wanted, and there is room for a few.
    let fresh = again(&book, times)?;
    work_all(&mut book)?;
    let rested = again(&book, times)?;
    let row = |name: &str, times: &[f64]| {
        let median = crate::report::median(times);
        let name = format!("{RUNS} runs x {RULES} rules looked at again, {name}");
        Row::judged(name, "s", median, None, BAR, median <= BAR, times.len())
    };
    Ok(vec![row("all that fires wanted", &fresh), row("all work done", &rested)])
}

/// Seconds from a rule that is put again until everything is planned.
fn again(book: &Book, times: usize) -> anyhow::Result<Vec<f64>> {
    let rule = book.rules().next().context("no rule")?.clone();
    let mut took = Vec::new();
    for _ in 0..times {
        let mut book = book.clone();
        let begun = Instant::now();
        book.take(Input::Rule(rule.rule.clone(), Some(rule.clone())), Millis(2));
        let actions = book.plan(Millis(2));
        took.push(begun.elapsed().as_secs_f64());
        drop(actions);
    }
    Ok(took)
}

fn site() -> anyhow::Result<SiteName> {
    Ok("NERSC".parse()?)
}

fn run(number: u32) -> anyhow::Result<RunKey> {
    Ok(format!("mfxbn{:02}26/{}", number % EXPERIMENTS, 1 + number / EXPERIMENTS).parse()?)
}

/// Everything that is known of ten thousand runs, and the rules.
fn told() -> anyhow::Result<Book> {
    let config = Config::parse(CONFIG).map_err(|faults| anyhow::anyhow!("{faults:?}"))?;
    let limits =
        Limits { at_once: BTreeMap::from([(site()?, 100)]), ..lightrail_trigger::run::limits(&config) };
    let mut book = Book::new(limits);
    for number in 0..RUNS {
        let key = run(number)?;
        let files: Vec<Lfn> = (0..8)
            .map(|stream| {
                let (experiment, run) = (&key.experiment, key.run);
                format!("/mfx/{experiment}/xtc/{experiment}-r{run:04}-s{stream:02}-c00.xtc2").parse()
            })
            .collect::<Result<_, _>>()?;
        let ended = Some(Millis(i64::from(number) * 300_000));
        let params = [("beam energy", 9.5), ("SAMPLE:temperature", 293.0)];
        let said = Said {
            ended,
            closed: true,
            kind: Some("DATA".to_owned()),
            sample: Some("lysozyme".to_owned()),
            params: params
                .into_iter()
                .map(|(name, value)| (name.to_owned(), Literal::Number(value)))
                .collect(),
            files,
            ..Said::default()
        };
        book.take(Input::Said(key.clone(), said), Millis(1));
        book.take(Input::Tags(key.clone(), ["sample-a".parse()?].into()), Millis(1));
        let tally = Tally { count: 8, size: 60_000_000_000, largest: 8_000_000_000 };
        book.take(Input::RunAvailable(RunAtSite { run: key, site: site()? }, tally, ended), Millis(1));
    }
    let mut sets = String::new();
    for experiment in 0..EXPERIMENTS {
        let _ = write!(sets, "[mfxbn{experiment:02}26.datasets.all]\ntags = [\"sample-b\"]\n");
    }
    let sets = datasets::parse(&sets, &[], "bench", Millis(0));
    for set in sets.map_err(|faults| anyhow::anyhow!("{faults:?}"))?.datasets {
        let (experiment, name) = (set.experiment.clone(), set.dataset.clone());
        book.take(Input::Dataset(experiment, name, Some(set)), Millis(1));
    }
    let read = rules::parse(&texts(), &config, "bench", Millis(0));
    for rule in read.map_err(|faults| anyhow::anyhow!("{faults:?}"))? {
        book.take(Input::Rule(rule.rule.clone(), Some(rule)), Millis(1));
    }
    book.begin(1, Millis(1));
    Ok(book)
}

/// Rules as people write them.
fn texts() -> String {
    let mut text = String::new();
    for number in 0..RULES {
        let (trigger, when) = match number % FIRES {
            0 => (
                "ALL_FILES_TRANSFERRED",
                "when = \"run.number >= 1 and files.size > 1 GB and 'sample-a' in tags\"",
            ),
            1 => ("END_OF_RUN", "when = \"param('beam energy') > 9.9 keV and run.type == 'DATA'\""),
            2 => (
                "ALL_NONREC_FILES_TRANSFERRED",
                "when = \"run.sample like 'photosystem*' and files.count > 3\"",
            ),
            3 => ("FIRST_FILE_TRANSFERRED", "when = \"param('SAMPLE:temperature') < 200 or 'cold' in tags\""),
            4 => ("RUN_PARAM_IS_VALUE", "run_param_name = \"SmallData\"\nrun_param_value = \"done\""),
            5 => ("MANUAL", ""),
            6 => ("ALL_FILES_TRANSFERRED", "dataset = \"all\""),
            7 => ("ALL_FILES_TRANSFERRED", "experiment = \"mfxelse26\""),
            8 => ("START_OF_RUN", "when = \"not run.ended\""),
            _ => ("ALL_FILES_TRANSFERRED", "first_run = 9000"),
        };
        let _ = write!(
            text,
            "[rules.r{number}]\ntrigger = \"{trigger}\"\nsite = \"NERSC\"\n{when}\n\
             [[rules.r{number}.tasks]]\ntask = \"work\"\nprogram = \"/bin/true\"\n"
        );
    }
    text
}

/// Lets all that is wanted be done.
fn work_all(book: &mut Book) -> anyhow::Result<()> {
    let site = site()?;
    let begun = Instant::now();
    loop {
        let mut is_new = false;
        for action in book.plan(Millis(2)) {
            is_new = true;
            match action {
                Action::Publish(steps) => {
                    for step in steps {
                        book.take(Input::Job(step), Millis(2));
                    }
                }
                Action::Submit(job) => {
                    let id: SchedulerId = job.to_string().parse()?;
                    book.take(Input::Submitted(job, Ok(id)), Millis(2));
                }
                Action::End(..) | Action::Fence(_) | Action::Route(..) => {}
            }
        }
        let asked = book.watched(&site);
        let ended = |name: &lightrail_topics::JobName| {
            let seen = Seen::Ended { end: JobEnd::Done, exit: Some(0) };
            anyhow::Ok(Sighting { name: name.clone(), id: name.to_string().parse()?, seen })
        };
        let seen = asked.iter().map(ended).collect::<Result<_, _>>()?;
        book.take(Input::Looked { site: site.clone(), asked, seen }, Millis(2));
        if !is_new {
            let jobs = book.jobs().filter(|life| life.is_done()).count();
            let wanted = usize::try_from(RUNS * RULES / FIRES)?;
            ensure!(jobs == wanted, "{jobs} jobs are done, {wanted} were wanted");
            return Ok(());
        }
        ensure!(begun.elapsed() < Duration::from_secs(600), "the jobs are not done");
    }
}
