//! What makes rules fire, one by one: recorders, parameters, expressions, datasets; what a correction runs again, and what becomes
//! of a rule's jobs when it goes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use lightrail_topics::events::{
    Class, Dataset, Job, JobEnd, JobStep, Rule, RunParam, RunRange, TagsOf, Task, Trigger, Withdrawal, Work,
};
use lightrail_topics::when::Literal;
use lightrail_topics::{Lfn, Millis, RunAtSite, RunKey, RunNumber, SiteName, TrialNumber};

use super::{Action, Book, Fired, Input, Limits, Said, Tally, rehearse};
use crate::executor::{Ending, SchedulerId, Seen, Sighting};

fn site() -> SiteName {
    "NERSC".parse().unwrap()
}

fn run(number: u32) -> RunKey {
    format!("mfxlv9518/{number}").parse().unwrap()
}

fn at_site(number: u32) -> RunAtSite {
    RunAtSite { run: run(number), site: site() }
}

fn file(number: u32, stream: u32) -> Lfn {
    format!("/mfx/mfxlv9518/xtc/mfxlv9518-r{number:04}-s{stream:02}-c00.xtc").parse().unwrap()
}

fn rule(trigger: Trigger) -> Rule {
    Rule {
        rule: "live".parse().unwrap(),
        version: 1,
        trigger,
        run_param: None,
        when: None,
        dataset: None,
        experiment: Some("mfxlv9518".parse().unwrap()),
        first_run: None,
        last_run: None,
        site: site(),
        or_at: Vec::new(),
        trial: Some(TrialNumber(3)),
        tasks: vec![Task {
            task: "work".parse().unwrap(),
            work: Work::Command {
                program: "/bin/true".to_owned(),
                arguments: Vec::new(),
                inputs: Vec::new(),
                outputs: Vec::new(),
            },
            after: Vec::new(),
            nodes: 1,
            seconds: 60,
            attempts: 3,
            only: None,
            ahead: None,
        }],
        since: Some(Millis(0)),
        who: "auser".to_owned(),
        at: Millis(0),
    }
}

fn put(book: &mut Book, rule: &Rule) {
    book.take(Input::Rule(rule.rule.clone(), Some(rule.clone())), Millis(0));
}

fn limits() -> Limits {
    Limits {
        grace: Duration::from_secs(120),
        again: Duration::from_secs(30),
        lands_within: Duration::from_secs(1800),
        at_once: BTreeMap::from([(site(), 20)]),
        for_live: BTreeMap::new(),
        ..Limits::default()
    }
}

fn book() -> Book {
    Book::new(limits())
}

/// Commits what is planned, and gives it.
fn published(book: &mut Book) -> Vec<Job> {
    let mut all = Vec::new();
    for action in book.plan(Millis(0)) {
        if let Action::Publish(steps) = action {
            for job in &steps {
                book.take(Input::Job(job.clone()), Millis(0));
            }
            all.extend(steps);
        }
    }
    all
}

fn intents(book: &mut Book) -> Vec<u32> {
    published(book).iter().map(|job| job.identity.run().unwrap().run.0).collect()
}

fn said(params: &[(&str, Literal)], files: Vec<Lfn>, closed: bool) -> Said {
    let params = params.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    Said { closed, params, files, ..Said::default() }
}

#[test]
fn a_run_begins_by_whatever_is_said_of_it_first() {
    for first in [Input::Said(run(1), Said::default()), Input::FileAvailable(at_site(1), file(1, 0), 1)] {
        let mut book = book();
        put(&mut book, &rule(Trigger::StartOfRun));
        // People may tag a run before it is there.
        book.take(Input::Tags(run(1), ["a".parse().unwrap()].into()), Millis(0));
        assert_eq!(intents(&mut book), [0; 0]);
        book.take(first, Millis(0));
        assert_eq!(intents(&mut book), [1]);
    }
}

#[test]
fn recorders_files_are_not_waited_for_where_the_rule_says_so() {
    // By what the logbook has registered: the run's end says it all, a late file adds itself.
    let mut book = book();
    put(&mut book, &rule(Trigger::AllNonrecFilesTransferred));
    book.take(Input::FileAvailable(at_site(1), file(1, 0), 1), Millis(0));
    book.take(Input::Registered(run(1), file(1, 2)), Millis(0));
    assert_eq!(intents(&mut book), [0; 0], "the run has not ended");
    book.take(Input::Said(run(1), said(&[], vec![file(1, 0), file(1, 1), file(1, 80)], true)), Millis(0));
    assert_eq!(intents(&mut book), [0; 0]);
    let explained =
        book.conditions(&rule(Trigger::AllNonrecFilesTransferred), &run(1)).pop().unwrap().to_string();
    let expected = format!(
        "no: ALL_NONREC_FILES_TRANSFERRED: 2 of 3 files that are no recorder's are not at the site yet, such as {}",
        file(1, 1)
    );
    assert_eq!(explained, expected);
    book.take(Input::FileAvailable(at_site(1), file(1, 1), 1), Millis(0));
    book.take(Input::FileAvailable(at_site(1), file(1, 2), 1), Millis(0));
    assert_eq!(intents(&mut book), [1]);
    // By what the mover says is missing.
    for (recorders_only, expected) in [(false, vec![]), (true, vec![2])] {
        book.take(Input::RunIncomplete { run: at_site(2), recorders_only, at: Millis(1) }, Millis(0));
        assert_eq!(intents(&mut book), expected);
    }
    // By the manifest: what the mover did not wait for is left out there.
    book.take(Input::RunAvailable(at_site(3), Tally::default(), None), Millis(0));
    assert_eq!(intents(&mut book), [3]);
}

#[test]
fn a_parameter_is_a_value_however_it_is_written() {
    let mut book = book();
    let param = |name: &str, value: &str| Some(RunParam { name: name.to_owned(), value: value.to_owned() });
    put(&mut book, &Rule { run_param: param("SmallData", "done"), ..rule(Trigger::RunParamIsValue) });
    let number = Rule {
        rule: "number".parse().unwrap(),
        run_param: param("gain", "1"),
        ..rule(Trigger::RunParamIsValue)
    };
    put(&mut book, &number);
    let text = |text: &str| Literal::Text(text.to_owned());
    book.take(Input::Said(run(1), said(&[("SmallData", text("running"))], vec![], false)), Millis(0));
    assert_eq!(intents(&mut book), [0; 0]);
    book.take(Input::Said(run(1), said(&[("SmallData", text("done"))], vec![], true)), Millis(0));
    assert_eq!(intents(&mut book), [1]);
    for (number, value) in [(2, Literal::Number(1.0)), (3, text("1.0")), (4, Literal::Truth(true))] {
        book.take(Input::Said(run(number), said(&[("gain", value)], vec![], false)), Millis(0));
        assert_eq!(intents(&mut book), [number]);
    }
    let explained = book.conditions(&number, &run(1)).pop().unwrap().to_string();
    assert_eq!(explained, "no: RUN_PARAM_IS_VALUE: the run has no parameter 'gain' yet, wanted is '1'");
}

#[test]
fn an_expression_is_explained_with_its_values() {
    let mut book = book();
    let when =
        "run.number >= 12 and param('beam energy') > 9 keV and 'sample-a' in tags and files.count >= 2";
    let rule = Rule { when: Some(when.parse().unwrap()), ..rule(Trigger::StartOfRun) };
    put(&mut book, &rule);
    book.take(Input::FileAvailable(at_site(12), file(12, 0), 5), Millis(0));
    assert_eq!(intents(&mut book), [0; 0]);
    let explained = |book: &Book| {
        let all = book.conditions(&rule, &run(12));
        all.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    };
    insta::assert_snapshot!(explained(&book), @r"
    yes: the rule is about this experiment and run
    yes: jobs are run at NERSC
    yes: START_OF_RUN: the run has begun
    yes: run.number >= 12 (run.number is 12)
    unknown: param('beam energy') > 9 keV (param('beam energy') is not known)
    no: 'sample-a' in tags (the run has no tags)
    no: files.count >= 2 (files.count is 1)
    ");
    book.take(Input::Tags(run(12), ["sample-a".parse().unwrap()].into()), Millis(0));
    book.take(Input::FileAvailable(at_site(12), file(12, 1), 5), Millis(0));
    assert_eq!(intents(&mut book), [0; 0]);
    let energy = [("beam energy", Literal::Number(9500.0))];
    book.take(Input::Said(run(12), said(&energy, vec![], false)), Millis(0));
    let jobs = published(&mut book);
    let JobStep::Intended { reason, .. } = &jobs[0].step else { panic!("{jobs:?}") };
    assert_eq!(
        reason,
        "START_OF_RUN: the run has begun; run.number >= 12 (run.number is 12); param('beam energy') > 9 keV (param('beam \
        energy') is 9500); 'sample-a' in tags (tags are sample-a); files.count >= 2 (files.count is 2)"
    );
}

#[test]
fn datasets_hold_runs_by_tags_and_groups_now_and_as_they_come() {
    let mut book = book();
    put(
        &mut book,
        &Rule { dataset: Some("lysozyme".parse().unwrap()), ..rule(Trigger::AllFilesTransferred) },
    );
    let mfx = run(1).experiment;
    let tags = |names: &[&str]| -> BTreeSet<_> { names.iter().map(|name| name.parse().unwrap()).collect() };
    for number in 1..=5 {
        book.take(Input::RunAvailable(at_site(number), Tally::default(), Some(Millis(1))), Millis(0));
    }
    for (number, names) in [(1, ["a", "b"]), (2, ["a", "c"]), (3, ["b", "c"]), (9, ["a", "b"])] {
        book.take(Input::Tags(run(number), tags(&names)), Millis(0));
    }
    assert_eq!(intents(&mut book), [0; 0], "there is no such dataset");
    let set = |of: TagsOf, groups: &[&str]| Dataset {
        experiment: mfx.clone(),
        dataset: "lysozyme".parse().unwrap(),
        of,
        tags: tags(&["a", "b"]).into_iter().collect(),
        groups: groups.iter().map(|name| name.parse().unwrap()).collect(),
        who: "auser".to_owned(),
        at: Millis(0),
    };
    let put_set = |book: &mut Book, set: Dataset| {
        book.take(Input::Dataset(mfx.clone(), set.dataset.clone(), Some(set)), Millis(0));
    };
    put_set(&mut book, set(TagsOf::Intersection, &[]));
    assert_eq!(intents(&mut book), [1]);
    put_set(&mut book, set(TagsOf::Union, &["late"]));
    assert_eq!(intents(&mut book), [0; 0], "there is no such group");
    let late = vec![RunRange { first: RunNumber(3), last: None }];
    book.take(Input::Group(mfx.clone(), "late".parse().unwrap(), Some(late)), Millis(0));
    assert_eq!(intents(&mut book), [3], "run 2 is in no group, 1 was worked");
    put_set(&mut book, set(TagsOf::Union, &[]));
    assert_eq!(intents(&mut book), [2]);
    // Tags that come later, and runs that do.
    book.take(Input::Tags(run(4), tags(&["b"])), Millis(0));
    assert_eq!(intents(&mut book), [4]);
    book.take(Input::RunAvailable(at_site(9), Tally::default(), Some(Millis(1))), Millis(0));
    assert_eq!(intents(&mut book), [9]);
}

#[test]
fn a_corrected_rule_runs_nothing_again_and_new_parameters_all_of_it_as_reprocessing() {
    let mut book = book();
    let first = Rule { at: Millis(100), ..rule(Trigger::AllFilesTransferred) };
    let first = Rule { since: Some(first.since_after(None)), ..first };
    put(&mut book, &first);
    for (number, ended) in [(1, 50), (2, 150)] {
        book.take(Input::RunAvailable(at_site(number), Tally::default(), Some(Millis(ended))), Millis(0));
    }
    let classes = |book: &mut Book| -> Vec<(u32, Class)> {
        let class = |job: &Job| match &job.step {
            JobStep::Intended { class, .. } => Some((job.identity.run().unwrap().run.0, *class)),
            _ => None,
        };
        published(book).iter().filter_map(class).collect()
    };
    assert_eq!(classes(&mut book), [(2, Class::Live), (1, Class::Reprocess)]);
    // Another decider, a later version, a mended word: nothing.
    let corrected =
        Rule { version: 2, at: Millis(200), when: "run.number > 0".parse().ok(), ..first.clone() };
    let corrected = Rule { since: Some(corrected.since_after(Some(&first))), ..corrected };
    assert_eq!(corrected.since, Some(Millis(100)));
    book.begin(7, Millis(0));
    put(&mut book, &corrected);
    assert_eq!(classes(&mut book), []);
    // New parameters: both again, though run 2 was live; a run that ends later is live.
    let anew = Rule { version: 3, at: Millis(300), trial: Some(TrialNumber(4)), ..corrected.clone() };
    let anew = Rule { since: Some(anew.since_after(Some(&corrected))), ..anew };
    put(&mut book, &anew);
    book.take(Input::RunAvailable(at_site(3), Tally::default(), Some(Millis(350))), Millis(0));
    assert_eq!(classes(&mut book), [(3, Class::Live), (1, Class::Reprocess), (2, Class::Reprocess)]);
}

#[test]
fn a_task_for_one_class_counts_as_done_for_the_other() {
    let mut book = book();
    let plain = rule(Trigger::AllFilesTransferred);
    let index =
        Task { task: "index".parse().unwrap(), only: Some(Class::Reprocess), ..plain.tasks[0].clone() };
    let work = Task { after: vec!["index".parse().unwrap()], ..plain.tasks[0].clone() };
    put(&mut book, &Rule { tasks: vec![index, work], since: Some(Millis(100)), ..plain });
    for (number, ended) in [(1, 50), (2, 150)] {
        book.take(Input::RunAvailable(at_site(number), Tally::default(), Some(Millis(ended))), Millis(0));
    }
    let tasks: Vec<String> = published(&mut book).iter().map(|job| job.identity.to_string()).collect();
    assert_eq!(tasks, ["live mfxlv9518/2/3 work attempt 1", "live mfxlv9518/1/3 index attempt 1"]);
}

#[test]
fn a_rule_that_goes_takes_its_workers_and_what_waits_with_it() {
    let mut book = book();
    let plain = rule(Trigger::AllFilesTransferred);
    let workers =
        Task { work: Work::Analysis { workers: 2, images_per_worker: None }, ..plain.tasks[0].clone() };
    let note = Task { task: "note".parse().unwrap(), ..plain.tasks[0].clone() };
    let late = Task { task: "late".parse().unwrap(), ..plain.tasks[0].clone() };
    let rule = Rule { tasks: vec![workers, note, late], ..plain };
    put(&mut book, &rule);
    book.take(Input::RunAvailable(at_site(1), Tally::default(), Some(Millis(1))), Millis(0));
    let jobs = published(&mut book);
    let id = |job: &Job| -> SchedulerId { job.job.to_string().parse().unwrap() };
    book.plan(Millis(0));
    let look = |book: &mut Book, seen: [Seen; 3]| {
        let sightings = jobs.iter().zip(seen);
        let seen =
            sightings.map(|(job, seen)| Sighting { name: job.job.clone(), id: id(job), seen }).collect();
        let asked = jobs.iter().map(|job| job.job.clone()).collect();
        book.take(Input::Looked { site: site(), asked, seen }, Millis(0));
    };
    look(&mut book, [Seen::Running, Seen::Running, Seen::Pending]);
    while !published(&mut book).is_empty() {}
    book.take(Input::Rule(rule.rule.clone(), None), Millis(0));
    let told: Vec<(String, JobStep)> = published(&mut book)
        .into_iter()
        .map(|job| (job.identity.of_run().unwrap().task.to_string(), job.step))
        .collect();
    let why = Withdrawal::RuleRemoved;
    let withdrawn = |task: &str, index: usize| {
        (task.to_owned(), JobStep::Withdrawn { id: id(&jobs[index]).to_string(), why })
    };
    let mut told_tasks: Vec<&str> = told.iter().map(|(task, _)| task.as_str()).collect();
    told_tasks.sort_unstable();
    assert_eq!(told_tasks, ["late", "work"], "a program that runs comes to its end");
    assert!(told.contains(&withdrawn("work", 0)) && told.contains(&withdrawn("late", 2)), "{told:?}");
    // Whoever decides next knows it, and tells them again.
    book.begin(2, Millis(0));
    let ends = book.plan(Millis(0));
    let end = |index: usize, how: Ending| Action::End(jobs[index].job.clone(), id(&jobs[index]), how);
    assert!(ends.contains(&end(0, Ending::Finish)) && ends.contains(&end(2, Ending::Cancel)), "{ends:?}");
    assert_eq!(ends.len(), 2);
    let cancelled = Seen::Ended { end: JobEnd::Cancelled { text: "CANCELLED by 0".to_owned() }, exit: None };
    let done = Seen::Ended { end: JobEnd::Done, exit: Some(0) };
    look(&mut book, [done.clone(), done, cancelled]);
    let ended: BTreeMap<String, JobEnd> = published(&mut book)
        .into_iter()
        .filter_map(|job| match job.step {
            JobStep::Ended { end, .. } => Some((job.identity.of_run().unwrap().task.to_string(), end)),
            _ => None,
        })
        .collect();
    let expected =
        [("late", JobEnd::Withdrawn { why }), ("note", JobEnd::Done), ("work", JobEnd::Withdrawn { why })];
    assert_eq!(ended, expected.map(|(task, end)| (task.to_owned(), end)).into());
    // Put back, it goes on where it was.
    put(&mut book, &rule);
    let again: Vec<String> = published(&mut book).iter().map(|job| job.identity.to_string()).collect();
    assert_eq!(again, ["live mfxlv9518/1/3 work attempt 2", "live mfxlv9518/1/3 late attempt 2"]);
}

#[test]
fn a_rehearsal_tells_when_rules_would_have_fired_and_why() {
    let all = rule(Trigger::AllFilesTransferred);
    let when = "'good' in tags and files.size >= 10".parse().ok();
    let first = Rule { rule: "first".parse().unwrap(), when, ..rule(Trigger::FirstFileTransferred) };
    let tally = Tally { count: 2, size: 12, largest: 6 };
    let events = vec![
        (Millis(1), Input::FileAvailable(at_site(1), file(1, 0), 6)),
        (Millis(2), Input::FileAvailable(at_site(2), file(2, 0), 6)),
        (Millis(3), Input::Rule("live".parse().unwrap(), None)),
        (Millis(4), Input::FileAvailable(at_site(1), file(1, 1), 6)),
        (Millis(5), Input::RunAvailable(at_site(1), tally, Some(Millis(0)))),
        (Millis(6), Input::RunAvailable(at_site(1), tally, Some(Millis(0)))),
        // Tags are kept as they are now.
        (Millis(9), Input::Tags(run(1), ["good".parse().unwrap()].into())),
    ];
    let fired = rehearse(limits(), &[first, all], events);
    let said = |one: &Fired| format!("{} {} {} {}: {}", one.at.0, one.rule, one.run, one.class, one.reason);
    let said: Vec<String> = fired.iter().map(said).collect();
    insta::assert_snapshot!(said.join("\n"), @r"
    4 first mfxlv9518/1 live: FIRST_FILE_TRANSFERRED: a file is at the site; 'good' in tags (tags are good); files.size >= 10 (files.size is 12)
    5 live mfxlv9518/1 live: ALL_FILES_TRANSFERRED: all 2 files are at the site
    ");
}
