//! The ledger's behaviour, told as stories: what the logbook says, in which order, and what is said of runs and files.

use std::collections::BTreeMap;
use std::time::Duration;

use lightrail_topics::events::{Subject, Wish, WishKey};
use lightrail_topics::logbook::{LogbookTopic, parse};
use lightrail_topics::{FileAtSite, Lfn, Message, Millis, RunKey, SiteName};

use super::rows::{Row, Write};
use super::*;
use crate::carry::{Carried, Verified};
use crate::fault::{Fault, FaultClass};

struct Open;

impl Doors for Open {
    fn is_open(&self, _: &SiteName) -> bool {
        true
    }

    fn servers(&self, _: &SiteName) -> Vec<String> {
        Vec::new()
    }
}

/// A ledger with a clock, and everything that it has said so far.
struct Story {
    ledger: Ledger,
    now: Millis,
    said: Vec<Message>,
    effects: Vec<Effect>,
    rows: BTreeMap<String, Row>,
}

fn rules() -> Rules {
    Rules {
        source: "lightrail-mover/test".to_owned(),
        source_site: "SLAC".parse().unwrap(),
        experiments: BTreeMap::new(),
        default: ExperimentRules {
            to: Some(vec!["NERSC".parse().unwrap()]),
            not_waited_streams: vec![80, 81],
            overdue: Duration::from_secs(600),
            ..ExperimentRules::default()
        },
        limits: Limits::default(),
        urls: [("NERSC".parse().unwrap(), "root://door:1094//data".to_owned())].into(),
        small_below: 1_000_000,
        tries: 3,
        settle: Duration::from_secs(5),
        has_logbook: true,
        silent_after: Duration::from_secs(600),
    }
}

impl Story {
    fn new() -> Self {
        Self::with(rules())
    }

    fn with(rules: Rules) -> Self {
        Self {
            ledger: Ledger::new(rules),
            now: Millis(1_000_000),
            said: Vec::new(),
            effects: Vec::new(),
            rows: BTreeMap::new(),
        }
    }

    fn take(&mut self, step: Step) {
        for write in step.writes {
            match write {
                Write::Put(Row::Outbox(_, message)) => self.said.push(message),
                Write::Put(row @ Row::Run(..)) => {
                    let Row::Run(key, _) = &row else { continue };
                    self.rows.insert(key.to_string(), row);
                }
                Write::Put(row @ Row::File(..)) => {
                    let Row::File(_, lfn, _) = &row else { continue };
                    self.rows.insert(lfn.to_string(), row);
                }
                _ => {}
            }
        }
        self.effects.extend(step.effects);
    }

    fn hear(&mut self, topic: LogbookTopic, value: &str) {
        let event = parse(topic, value.as_bytes()).unwrap();
        self.now.0 += 10;
        let step = self.ledger.logbook(&event, self.now, self.now);
        self.take(step);
    }

    fn run(&mut self, crud: &str, num: u32, rest: &str) {
        let value = format!(r#"{{"experiment_name":"mfxl1","CRUD":"{crud}","value":{{"num":{num}{rest}}}}}"#);
        self.hear(LogbookTopic::Runs, &value);
    }

    fn begin(&mut self, num: u32) {
        self.run("Create", num, &format!(r#","begin_time":"2026-01-01T00:{num:02}:00Z","end_time":null"#));
    }

    fn end(&mut self, num: u32, files: &[&str]) {
        let list: Vec<String> = files.iter().map(|name| format!(r#"{{"path":"{}"}}"#, lfn(name))).collect();
        let rest = format!(r#","end_time":"2026-01-01T00:{num:02}:30Z","file_catalog":[{}]"#, list.join(","));
        self.run("Update", num, &rest);
    }

    fn file(&mut self, crud: &str, name: &str, created: &str) {
        let value = format!(
            r#"{{"experiment_name":"mfxl1","CRUD":"{crud}","value":{{"path":"{}","create_timestamp":"{created}"}}}}"#,
            lfn(name)
        );
        self.hear(LogbookTopic::FileCatalog, &value);
    }

    /// Starts and verifies everything that can start, in order; gives the names.
    fn carry_all(&mut self) -> Vec<String> {
        let mut names = Vec::new();
        while let Some((order, step)) = self.ledger.plan(&Open, 7, self.now) {
            self.take(step);
            names.push(order.transfer.lfn.file_name().to_owned());
            let outcome = Outcome::Verified(Box::new(carried(self.now)));
            let step = self.ledger.ended(&order.run, &order.transfer, order.attempt, outcome, self.now);
            self.take(step);
        }
        names
    }

    fn fail_next(&mut self, class: FaultClass) {
        let (order, step) = self.ledger.plan(&Open, 7, self.now).expect("something can start");
        self.take(step);
        let outcome = Outcome::Failed(Fault::new(class, "test", "it broke"), Duration::from_secs(1));
        let step = self.ledger.ended(&order.run, &order.transfer, order.attempt, outcome, self.now);
        self.take(step);
    }

    fn wait(&mut self, seconds: u64) {
        self.now = self.now.plus(Duration::from_secs(seconds));
        let step = self.ledger.tick(self.now);
        self.take(step);
    }

    /// The `ce_id`s of what was said about runs.
    fn runs_said(&self) -> Vec<&str> {
        self.said
            .iter()
            .map(|message| message.headers.id.as_str())
            .filter(|id| id.starts_with("run."))
            .collect()
    }

    fn files_said(&self) -> Vec<&str> {
        self.said
            .iter()
            .map(|message| message.headers.id.as_str())
            .filter(|id| id.starts_with("file."))
            .collect()
    }
}

fn lfn(name: &str) -> Lfn {
    let folder = if name.contains(".smd.") { "smalldata/" } else { "" };
    format!("/mfx/mfxl1/xtc/{folder}mfxl1-{name}").parse().unwrap()
}

fn at(name: &str) -> FileAtSite {
    FileAtSite { lfn: lfn(name), site: "NERSC".parse().unwrap() }
}

fn run_key(num: u32) -> RunKey {
    RunKey { experiment: "mfxl1".parse().unwrap(), run: RunNumber(num) }
}

fn carried(now: Millis) -> Carried {
    Carried {
        size: 10,
        checksum: Some("adler32:0a".parse().unwrap()),
        verified: Verified::Checksum,
        unchecked: None,
        already_there: false,
        source_mtime: 5,
        source_server: None,
        destination_server: None,
        url: String::new(),
        bytes_moved: 10,
        set_aside: None,
        started: now,
        copied: now,
        verified_at: now,
    }
}

const BIG: &str = "r0001-s000-c000.xtc2";
const SMALL: &str = "r0001-s000-c000.smd.xtc2";
const T: &str = "2026-01-01T00:01:00.000001";

#[test]
fn a_run_is_moved_when_it_is_closed_and_announced_once() {
    let mut story = Story::new();
    story.begin(1);
    story.file("Create", BIG, T);
    story.file("Create", SMALL, T);
    assert!(story.carry_all().is_empty(), "the run is open");
    story.end(1, &[BIG, SMALL]);
    assert_eq!(story.carry_all(), [format!("mfxl1-{SMALL}"), format!("mfxl1-{BIG}")]);
    assert_eq!(story.files_said().len(), 2);
    assert_eq!(story.runs_said(), ["run.available:mfxl1/1@NERSC"]);
    // The echo of our own report, a repeat of the end, a later change of parameters: nothing new.
    story.file("Update", BIG, "2026-01-01T00:01:00+00:00");
    story.end(1, &[BIG, SMALL]);
    story.run("Update", 1, r#","end_time":"2026-01-01T00:01:30Z""#);
    assert!(story.carry_all().is_empty());
    assert_eq!(story.runs_said().len(), 1);
}

#[test]
fn lost_doubled_or_swapped_messages_announce_the_same_run() {
    type Message = fn(&mut Story);
    // Each message of the play left out, doubled, or put at the end.
    let play: [(&str, Message); 5] = [
        ("begin 1", |story| story.begin(1)),
        ("big", |story| story.file("Create", BIG, T)),
        ("small", |story| story.file("Create", SMALL, T)),
        ("end 1", |story| story.end(1, &[BIG, SMALL])),
        ("begin 2", |story| story.begin(2)),
    ];
    for broken in 0..play.len() {
        for how in ["lost", "doubled", "last"] {
            let mut story = Story::new();
            for (place, (_, message)) in play.iter().enumerate() {
                match (place == broken, how) {
                    (true, "lost" | "last") => {}
                    (true, _) => {
                        message(&mut story);
                        message(&mut story);
                    }
                    (false, _) => message(&mut story),
                }
            }
            if how == "last" {
                play[broken].1(&mut story);
            }
            // Whoever is asked about the run gets the truth.
            if story.effects.contains(&Effect::AskLogbook(run_key(1))) {
                let file = |name: &str| {
                    let value = format!(r#"{{"path":"{}","create_timestamp":"{T}"}}"#, lfn(name));
                    let document = serde_json::from_str(&value).unwrap();
                    lightrail_topics::logbook::file_doc(&"mfxl1".parse().unwrap(), &document, false).unwrap()
                };
                let answer = RunAnswer { run: None, files: vec![file(BIG), file(SMALL)] };
                let step = story.ledger.logbook_answer(&run_key(1), &answer, story.now);
                story.take(step);
            }
            story.carry_all();
            assert_eq!(story.runs_said(), ["run.available:mfxl1/1@NERSC"], "{} {how}", play[broken].0);
            assert_eq!(story.files_said().len(), 2, "{} {how}", play[broken].0);
        }
    }
}

#[test]
fn a_run_is_closed_by_the_next_ones_start_and_its_files_are_asked_for() {
    let mut story = Story::new();
    story.begin(1);
    story.file("Create", BIG, T);
    story.begin(2);
    story.carry_all();
    assert_eq!(story.effects, [Effect::AskLogbook(run_key(1)), Effect::Report(at(BIG))]);
    assert!(story.runs_said().is_empty(), "nobody has told its files");
    story.wait(600);
    assert_eq!(story.runs_said(), ["run.available:mfxl1/1@NERSC"], "nobody tells: what is known is believed");
}

#[test]
fn nothing_is_said_of_runs_until_what_the_logbook_said_before_the_start_is_known() {
    let mut story = Story::new();
    story.ledger.fall_behind();
    story.begin(1);
    story.end(1, &[BIG]);
    story.carry_all();
    story.wait(60);
    assert_eq!(story.files_said().len(), 1, "of files it is said at once");
    assert!(story.runs_said().is_empty());
    story.file("Create", SMALL, T);
    let step = story.ledger.caught_up(story.now);
    story.take(step);
    assert!(story.runs_said().is_empty(), "the second file is awaited");
    story.carry_all();
    assert_eq!(story.runs_said(), ["run.available:mfxl1/1@NERSC"], "with both, and no correction");
}

#[test]
fn an_empty_run_is_available_and_late_files_are_corrections() {
    let mut story = Story::new();
    story.begin(1);
    story.end(1, &[]);
    assert_eq!(story.runs_said(), ["run.available:mfxl1/1@NERSC"]);
    story.file("Create", BIG, T);
    story.carry_all();
    assert_eq!(story.runs_said()[1..], ["run.corrected:mfxl1/1@NERSC#1"]);
    story.file("Create", BIG, "2026-01-01T01:00:00.5");
    story.carry_all();
    assert_eq!(story.runs_said()[2..], ["run.corrected:mfxl1/1@NERSC#2"]);
    assert_eq!(story.files_said().last().unwrap(), &format!("file.available:{}@NERSC#2", lfn(BIG)));
}

#[test]
fn streams_that_a_run_need_not_wait_for_come_as_corrections() {
    let mut story = Story::new();
    story.begin(1);
    story.end(1, &[BIG, "r0001-s080-c000.xtc2"]);
    let (order, step) = story.ledger.plan(&Open, 7, story.now).unwrap();
    story.take(step);
    assert_eq!(order.transfer.lfn, lfn(BIG));
    let outcome = Outcome::Verified(Box::new(carried(story.now)));
    let step = story.ledger.ended(&order.run, &order.transfer, order.attempt, outcome, story.now);
    story.take(step);
    assert_eq!(story.runs_said(), ["run.available:mfxl1/1@NERSC"]);
    story.carry_all();
    assert_eq!(story.runs_said().last().unwrap(), &"run.corrected:mfxl1/1@NERSC#1");
}

#[test]
fn a_file_that_fails_too_often_makes_its_run_incomplete_until_it_is_requeued() {
    let mut story = Story::new();
    story.begin(1);
    story.end(1, &[BIG, SMALL]);
    for _ in 0..3 {
        story.fail_next(FaultClass::Transient);
        story.carry_all();
        story.wait(2);
    }
    assert_eq!(story.runs_said(), ["run.incomplete:mfxl1/1@NERSC#1"]);
    assert!(story.carry_all().is_empty());
    let key = WishKey { subject: Subject::Run(run_key(1)), site: None };
    let wish = Wish { requeued: 1, who: "op".to_owned(), ..Wish::default() };
    let step = story.ledger.wished(&key, &wish, story.now);
    story.take(step);
    story.carry_all();
    assert_eq!(story.runs_said()[1..], ["run.available:mfxl1/1@NERSC"]);
}

#[test]
fn a_cancelled_file_is_left_out_by_name() {
    let mut story = Story::new();
    story.begin(1);
    story.end(1, &[BIG, SMALL]);
    let key = WishKey { subject: Subject::File(lfn(BIG)), site: None };
    let wish =
        Wish { cancelled: Some(true), who: "ann".to_owned(), why: "too big".to_owned(), ..Wish::default() };
    let step = story.ledger.wished(&key, &wish, story.now);
    story.take(step);
    assert_eq!(story.carry_all().len(), 1);
    let said = story.said.iter().find(|message| message.headers.id.starts_with("run.available")).unwrap();
    let text = String::from_utf8(said.payload.clone().unwrap()).unwrap();
    assert!(text.contains(r#""by":"ann","why":"too big""#), "{text}");
}

#[test]
fn a_late_file_that_was_cancelled_and_is_wanted_again_is_a_second_correction() {
    let mut story = Story::new();
    story.begin(1);
    story.end(1, &[]);
    story.file("Create", BIG, T);
    let key = WishKey { subject: Subject::Run(run_key(1)), site: None };
    let cancelled = Wish { cancelled: Some(true), who: "ann".to_owned(), ..Wish::default() };
    let step = story.ledger.wished(&key, &cancelled, story.now);
    story.take(step);
    assert_eq!(story.runs_said()[1..], ["run.corrected:mfxl1/1@NERSC#1"], "it is named as left out");
    let wanted = Wish { requeued: 1, who: "ann".to_owned(), ..Wish::default() };
    let step = story.ledger.wished(&key, &wanted, story.now);
    story.take(step);
    let row = &story.ledger.runs().next().unwrap().1.sites[0];
    assert!(row.changed.is_some(), "what was said is no longer true");
    story.carry_all();
    assert_eq!(story.runs_said()[2..], ["run.corrected:mfxl1/1@NERSC#2"], "and then as available");
}

#[test]
fn a_registration_again_of_an_unchanged_file_moves_nothing_and_reports_again() {
    let mut story = Story::new();
    story.begin(1);
    story.file("Create", BIG, T);
    story.end(1, &[BIG]);
    story.carry_all();
    story.effects.clear();
    story.now.0 += 1000;
    story.file("Create", BIG, T);
    assert_eq!(story.effects, [Effect::Report(at(BIG)), Effect::LookAtSource(run_key(1), lfn(BIG))]);
    let step = story.ledger.source_seen(&run_key(1), &lfn(BIG), 10, 5, story.now);
    story.take(step);
    assert!(story.carry_all().is_empty());
    let step = story.ledger.source_seen(&run_key(1), &lfn(BIG), 11, 6, story.now);
    story.take(step);
    assert_eq!(story.carry_all().len(), 1, "a changed source is a new generation");
    assert_eq!(story.files_said().last().unwrap(), &format!("file.available:{}@NERSC#2", lfn(BIG)));
}

#[test]
fn a_report_that_a_killed_mover_did_not_make_is_made_when_the_logbook_shows_that_it_is_missing() {
    let mut story = Story::new();
    story.begin(1);
    story.end(1, &[BIG, SMALL]);
    story.carry_all();
    story.effects.clear();
    let file = |name: &str, locations: &str| {
        let value = format!(r#"{{"path":"{}","locations":{locations}}}"#, lfn(name));
        let document = serde_json::from_str(&value).unwrap();
        lightrail_topics::logbook::file_doc(&"mfxl1".parse().unwrap(), &document, false).unwrap()
    };
    let there = r#"{"NERSC":{"asof":"2026-01-01T00:02:00Z"}}"#;
    let answer = RunAnswer { run: None, files: vec![file(BIG, "{}"), file(SMALL, there)] };
    let step = story.ledger.logbook_answer(&run_key(1), &answer, story.now);
    story.take(step);
    assert!(story.effects.is_empty(), "it may be under way");
    story.now.0 += 100_000;
    let step = story.ledger.logbook_answer(&run_key(1), &answer, story.now);
    story.take(step);
    assert_eq!(story.effects, [Effect::Report(at(BIG))]);
}

#[test]
fn a_file_that_is_gone_is_said_once_and_comes_back_only_when_asked_for() {
    let mut story = Story::new();
    story.begin(1);
    story.end(1, &[BIG]);
    story.carry_all();
    let step = story.ledger.vanished(&run_key(1), &at(BIG), story.now);
    story.take(step);
    assert_eq!(story.files_said().last().unwrap(), &format!("file.gone:{}@NERSC#1", lfn(BIG)));
    assert_eq!(story.runs_said().last().unwrap(), &"run.corrected:mfxl1/1@NERSC#1");
    story.wait(1000);
    assert!(story.carry_all().is_empty());
    let key = WishKey { subject: Subject::Run(run_key(1)), site: None };
    let wish = Wish { asked: Some(true), asked_again: 1, who: "op".to_owned(), ..Wish::default() };
    let step = story.ledger.wished(&key, &wish, story.now);
    story.take(step);
    assert_eq!(story.carry_all().len(), 1);
    assert_eq!(story.files_said().last().unwrap(), &format!("file.available:{}@NERSC#2", lfn(BIG)));
}

#[test]
fn what_is_loaded_from_the_journal_goes_on_as_before() {
    let mut story = Story::new();
    story.begin(1);
    story.end(1, &[BIG, SMALL]);
    let (_, step) = story.ledger.plan(&Open, 7, story.now).unwrap();
    story.take(step);
    let mut again = Story::new();
    for row in story.rows.values().cloned() {
        again.ledger.load(row);
    }
    again.ledger.index();
    assert_eq!(again.carry_all().len(), 2, "the attempt under way is made again");
    assert_eq!(again.runs_said(), ["run.available:mfxl1/1@NERSC"]);
}

#[test]
fn pausing_holds_and_the_narrowest_wish_wins() {
    let mut story = Story::new();
    let wish = |held| Wish { held: Some(held), who: "op".to_owned(), ..Wish::default() };
    let all = WishKey { subject: Subject::Everything, site: None };
    let step = story.ledger.wished(&all, &wish(true), story.now);
    story.take(step);
    story.begin(1);
    story.end(1, &[BIG]);
    story.begin(2);
    story.end(2, &["r0002-s000-c000.xtc2"]);
    assert!(story.carry_all().is_empty());
    let run = WishKey { subject: Subject::Run(run_key(2)), site: None };
    let step = story.ledger.wished(&run, &wish(false), story.now);
    story.take(step);
    assert_eq!(story.carry_all(), ["mfxl1-r0002-s000-c000.xtc2"]);
    let step = story.ledger.wished(&all, &wish(false), story.now);
    story.take(step);
    assert_eq!(story.carry_all().len(), 1);
}

fn rules_of_two_sites() -> Rules {
    let mut rules = rules();
    rules.urls.insert("OLCF".parse().unwrap(), "root://olcf:1094//data".to_owned());
    rules
}

fn sites_of(story: &Story, run: u32) -> Vec<String> {
    story.ledger.run(&run_key(run)).unwrap().sites.iter().map(|site| site.site.to_string()).collect()
}

fn failover(now: Millis, move_begun: bool) -> RouteOverride {
    RouteOverride {
        to: vec!["OLCF".parse().unwrap()],
        move_begun,
        runs: Vec::new(),
        reason: "NERSC is down".to_owned(),
        expires: now.plus(Duration::from_secs(100)),
        at: now,
    }
}

#[test]
fn a_failover_holds_for_whole_runs_that_have_not_begun_and_ends_by_itself() {
    let mut story = Story::with(rules_of_two_sites());
    story.begin(1);
    story.end(1, &[BIG, SMALL]);
    let (_, step) = story.ledger.plan(&Open, 7, story.now).unwrap();
    story.take(step);
    story.begin(2);
    let experiment = "mfxl1".parse().unwrap();
    let step = story.ledger.overridden(&experiment, Some(&failover(story.now, false)), story.now);
    story.take(step);
    assert_eq!((sites_of(&story, 1), sites_of(&story, 2)), (vec!["NERSC".into()], vec!["OLCF".to_owned()]));
    story.wait(200);
    story.begin(3);
    assert_eq!(sites_of(&story, 3), ["NERSC"]);
}

#[test]
fn a_failover_that_moves_takes_begun_runs_along_wholly() {
    let mut story = Story::with(rules_of_two_sites());
    story.begin(1);
    story.end(1, &[BIG, SMALL]);
    let (order, step) = story.ledger.plan(&Open, 7, story.now).unwrap();
    story.take(step);
    let experiment = "mfxl1".parse().unwrap();
    let step = story.ledger.overridden(&experiment, Some(&failover(story.now, true)), story.now);
    story.take(step);
    assert_eq!(sites_of(&story, 1), ["OLCF"]);
    assert!(story.effects.contains(&Effect::CallBack(order.transfer.at(), order.attempt)));
    let step =
        story.ledger.ended(&order.run, &order.transfer, order.attempt, Outcome::Interrupted, story.now);
    story.take(step);
    assert_eq!(story.carry_all().len(), 2);
    assert_eq!(story.runs_said(), ["run.available:mfxl1/1@OLCF"]);
}

#[test]
fn a_failover_brings_the_whole_runs_that_it_names_and_leaves_them_where_they_are() {
    let mut story = Story::with(rules_of_two_sites());
    for run in [1, 2] {
        story.begin(run);
        story.end(run, &[BIG]);
    }
    story.carry_all();
    let experiment = "mfxl1".parse().unwrap();
    let route =
        RouteOverride { runs: vec!["1".parse().unwrap(), "9".parse().unwrap()], ..failover(story.now, true) };
    for _ in 0..2 {
        let step = story.ledger.overridden(&experiment, Some(&route), story.now);
        story.take(step);
    }
    assert_eq!(sites_of(&story, 1), ["NERSC", "OLCF"]);
    assert_eq!(sites_of(&story, 2), ["NERSC"]);
    assert_eq!(story.carry_all().len(), 1);
    story.wait(200);
    assert_eq!(sites_of(&story, 1), ["NERSC", "OLCF"], "it stays there when the failover is over");
}

#[test]
fn without_configuration_the_logbooks_locations_decide_and_a_run_without_route_gets_one_later() {
    let mut rules = rules_of_two_sites();
    rules.default.to = None;
    let mut story = Story::with(rules);
    story.begin(1);
    story.end(1, &[BIG]);
    assert!(sites_of(&story, 1).is_empty() && story.carry_all().is_empty());
    story.hear(
        LogbookTopic::Experiments,
        r#"{"experiment_name":"mfxl1","CRUD":"Update","value":{"params":{"dm_locations":"NERSC SLAC ELSEWHERE"}}}"#,
    );
    assert_eq!(sites_of(&story, 1), ["NERSC"], "the source and unknown places are no destinations");
    assert_eq!(story.carry_all().len(), 1);
    assert_eq!(story.runs_said(), ["run.available:mfxl1/1@NERSC"]);
}

#[test]
fn streaming_moves_a_chunk_when_the_next_one_is_registered() {
    let mut rules = rules();
    rules.default.streaming = true;
    let mut story = Story::with(rules);
    story.begin(1);
    story.file("Create", BIG, T);
    assert!(story.carry_all().is_empty());
    story.file("Create", "r0001-s000-c001.xtc2", T);
    assert_eq!(story.carry_all(), [format!("mfxl1-{BIG}")]);
    assert!(story.runs_said().is_empty());
    story.end(1, &[BIG, "r0001-s000-c001.xtc2"]);
    assert_eq!(story.carry_all(), ["mfxl1-r0001-s000-c001.xtc2"]);
    assert_eq!(story.runs_said(), ["run.available:mfxl1/1@NERSC"]);
}
