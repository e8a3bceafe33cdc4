//! What it costs to look at everything again: ten thousand runs against fifty rules, on one core, without Kafka.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use lightrail_topics::events::{JobEnd, TransferState};
use lightrail_topics::when::Literal;
use lightrail_topics::{JobName, Lfn, Millis, RunAtSite, RunKey, SiteName};
use lightrail_trigger::config::Config;
use lightrail_trigger::decide::{Action, Book, Input, Life, Said, Tally, TransferSeen};
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
/// Runs that are done before the others come, so that rules of several sites know how long everything takes.
const FIRST: u32 = 100;
/// Runs that are still on their way to each site.
const COMING: u32 = 300;
/// Jobs at a site at once.
const AT_ONCE: usize = 100;
const SITES: [&str; 3] = ["NERSC", "OLCF", "ALCF"];

pub(super) fn settings() -> String {
    format!(
        "decide: {RUNS} runs of {EXPERIMENTS} experiments, {RULES} rules of all triggers with tests and datasets, {} of which fire \
         for every run; at one site, and again at {} sites, all measured, with {AT_ONCE} jobs at each and {COMING} more runs on their way",
        RULES / FIRES,
        SITES.len()
    )
}

/// One core: nothing here has a thread.
pub(super) fn measure(quick: bool) -> anyhow::Result<Vec<Row>> {
    let times = if quick { 3 } else { 11 };
    let mut rows = Vec::new();
    let mut row = |name: &str, book: &Book| {
        let times = again(book, times)?;
        let median = crate::report::median(&times);
        let name = format!("{RUNS} runs x {RULES} rules looked at again, {name}");
        rows.push(Row::judged(name, "s", median, None, BAR, median <= BAR, times.len()));
        anyhow::Ok(())
    };
    let mut book = ruled(&SITES[..1])?;
    tell(&mut book, &SITES[..1], 0..RUNS)?;
    // All that fires is wanted, and there is room for a few.
    row("all that fires wanted", &book)?;
    work_all(&mut book, RUNS, false)?;
    row("all work done", &book)?;

    let mut book = ruled(&SITES)?;
    measured(&mut book)?;
    tell(&mut book, &SITES, 0..FIRST)?;
    work_all(&mut book, FIRST, true)?;
    tell(&mut book, &SITES, FIRST..RUNS)?;
    row("rules of several sites, all that fires wanted", &book)?;
    step(&mut book)?;
    row("rules of several sites, as many jobs as there is room for", &book)?;
    Ok(rows)
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

fn run(number: u32) -> anyhow::Result<RunKey> {
    Ok(format!("mfxbn{:02}26/{}", number % EXPERIMENTS, 1 + number / EXPERIMENTS).parse()?)
}

fn lfn(run: &RunKey, stream: u32) -> anyhow::Result<Lfn> {
    let RunKey { experiment, run } = run;
    Ok(format!("/mfx/{experiment}/xtc/{experiment}-r{run:04}-s{stream:02}-c00.xtc2").parse()?)
}

/// What is known of runs that are at all these sites.
fn tell(book: &mut Book, sites: &[&str], runs: std::ops::Range<u32>) -> anyhow::Result<()> {
    for number in runs {
        let key = run(number)?;
        let files = (0..8).map(|stream| lfn(&key, stream)).collect::<Result<_, _>>()?;
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
        for site in sites {
            let at = RunAtSite { run: key.clone(), site: site.parse()? };
            book.take(Input::RunAvailable(at, tally, ended), Millis(1));
        }
    }
    Ok(())
}

/// How fast data come to each site, and what is still on its way.
fn measured(book: &mut Book) -> anyhow::Result<()> {
    for site in SITES {
        let mut transfer = |run: RunKey, state, at| {
            let seen = TransferSeen {
                lfn: lfn(&run, 0)?,
                run,
                site: site.parse()?,
                state,
                size: Some(8_000_000_000),
                moved: (state == TransferState::Done).then_some(8_000_000_000),
                fault: None,
                at: Millis(at),
            };
            book.take(Input::Transfer(seen), Millis(1));
            anyhow::Ok(())
        };
        transfer(run(RUNS)?, TransferState::Carrying, -8000)?;
        transfer(run(RUNS)?, TransferState::Done, 0)?;
        for number in RUNS + 1..=RUNS + COMING {
            transfer(run(number)?, TransferState::Ready, 1)?;
        }
    }
    Ok(())
}

/// A book that decides, with all rules and datasets.
fn ruled(sites: &[&str]) -> anyhow::Result<Book> {
    let mut config =
        "decider = \"bench\"\n[kafka]\nbootstrap = [\"127.0.0.1:9092\"]\nlogbook = \".\"\n".to_owned();
    for site in sites {
        let _ = write!(config, "[sites.{site}]\nfolder = \"/tmp\"\nclaims = \"/tmp\"\nat_once = {AT_ONCE}\n");
    }
    let config = Config::parse(&config).map_err(|faults| anyhow::anyhow!("{faults:?}"))?;
    let mut book = Book::new(lightrail_trigger::run::limits(&config));
    let mut sets = String::new();
    for experiment in 0..EXPERIMENTS {
        let _ = write!(sets, "[mfxbn{experiment:02}26.datasets.all]\ntags = [\"sample-b\"]\n");
    }
    let sets = datasets::parse(&sets, &[], "bench", Millis(0));
    for set in sets.map_err(|faults| anyhow::anyhow!("{faults:?}"))?.datasets {
        let (experiment, name) = (set.experiment.clone(), set.dataset.clone());
        book.take(Input::Dataset(experiment, name, Some(set)), Millis(1));
    }
    let read = rules::parse(&texts(sites), &config, "bench", Millis(0));
    for rule in read.map_err(|faults| anyhow::anyhow!("{faults:?}"))? {
        book.take(Input::Rule(rule.rule.clone(), Some(rule)), Millis(1));
    }
    book.begin(1, Millis(1));
    Ok(book)
}

/// Rules as people write them.
fn texts(sites: &[&str]) -> String {
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
            "[rules.r{number}]\ntrigger = \"{trigger}\"\nsites = {sites:?}\n{when}\n\
             [[rules.r{number}.tasks]]\ntask = \"work\"\nprogram = \"/bin/true\"\n"
        );
    }
    text
}

/// What is planned is done, once; whether there was anything.
fn step(book: &mut Book) -> anyhow::Result<bool> {
    let actions = book.plan(Millis(2));
    let is_new = !actions.is_empty();
    for action in actions {
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
    Ok(is_new)
}

/// Lets all that is wanted of so many runs be done; where they are seen to run, how long they take is known afterwards.
fn work_all(book: &mut Book, runs: u32, run: bool) -> anyhow::Result<()> {
    let begun = Instant::now();
    loop {
        let is_new = step(book)?;
        for site in SITES {
            let site: SiteName = site.parse()?;
            let asked = book.watched(&site);
            let seen = |name: &JobName| {
                let ended = Seen::Ended { end: JobEnd::Done, exit: Some(0) };
                let seen = if !run || book.job(name).is_some_and(Life::runs) { ended } else { Seen::Running };
                anyhow::Ok(Sighting { name: name.clone(), id: name.to_string().parse()?, seen })
            };
            let seen = asked.iter().map(seen).collect::<Result<_, _>>()?;
            book.take(Input::Looked { site, asked, seen }, Millis(2));
        }
        if !is_new {
            let jobs = book.jobs().filter(|life| life.is_done()).count();
            let wanted = usize::try_from(runs * RULES / FIRES)?;
            ensure!(jobs == wanted, "{jobs} jobs are done, {wanted} were wanted");
            return Ok(());
        }
        ensure!(begun.elapsed() < Duration::from_secs(600), "the jobs are not done");
    }
}
