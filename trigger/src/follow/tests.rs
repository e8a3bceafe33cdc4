//! What the logbook's, the mover's and people's messages make fire: as they lie on their topics, to the jobs that are intended.

use std::sync::Arc;

use lightrail_topics::events::{
    ClosedBy, FileAvailable, FileGone, FileTiming, JobStep, ManifestFile, MissingFile, Registration, Rule,
    RunCorrected, RunIncomplete, RunParam, RunTags, Task, Trigger, Verified, Work,
};
use lightrail_topics::logbook::book::{Book as Logbook, FileReport, Message as Said};
use lightrail_topics::{Experiment, Generation, Lfn, Message, RunNumber, SiteName, message};
use serde_json::{Map, Value, json};

use super::*;
use crate::decide::{Action, Limits};

const NOW: Millis = Millis(1_795_000_000_000);
const NOTHING: [String; 0] = [];

fn site(name: &str) -> SiteName {
    name.parse().unwrap()
}

fn experiment() -> Experiment {
    "mfxlv9518".parse().unwrap()
}

fn run() -> RunKey {
    "mfxlv9518/1".parse().unwrap()
}

fn lfn(stream: u32) -> Lfn {
    format!("/mfx/mfxlv9518/xtc/mfxlv9518-r0001-s{stream:02}-c00.xtc").parse().unwrap()
}

fn record(topic: &str, key: Option<&str>, value: Option<&[u8]>) -> Record {
    let key = key.map(|key| key.as_bytes().to_vec());
    let value = value.map(<[u8]>::to_vec);
    Record {
        topic: Arc::from(topic),
        partition: 0,
        offset: 0,
        key,
        value,
        headers: Vec::new(),
        timestamp: None,
    }
}

/// As it lies on its topic.
fn lying(message: &Message) -> Record {
    let headers = message.headers.headers().into_iter();
    let headers = headers.map(|(name, text)| (name.to_owned(), Some(text.into_bytes()))).collect();
    let topic = Topics::default().name(&message.channel);
    Record { headers, ..record(&topic, Some(&message.key), message.payload.as_deref()) }
}

fn available(stream: u32, at: &str) -> Message {
    let file = FileAvailable {
        lfn: lfn(stream),
        run: run(),
        site: site(at),
        generation: Generation(1),
        size: 100,
        checksum: None,
        verified: Verified::Size,
        unchecked: None,
        url: "root://door//file".to_owned(),
        already_there: false,
        registration: Registration::default(),
        source_mtime: 0,
        timing: FileTiming::default(),
        attempt: None,
    };
    message::file_available(&file, "mover", NOW)
}

fn gone(stream: u32, at: &str) -> Message {
    let file =
        FileGone { lfn: lfn(stream), run: run(), site: site(at), generation: Generation(1), seen: NOW };
    message::file_gone(&file, "mover", NOW)
}

fn manifest(streams: &[u32], at: &str) -> RunManifest {
    let file = |stream: &u32| ManifestFile {
        lfn: lfn(*stream),
        generation: Generation(1),
        size: 100,
        checksum: None,
        url: "root://door//file".to_owned(),
    };
    RunManifest {
        run: run(),
        site: site(at),
        began: None,
        ended: None,
        closed_by: ClosedBy::EndTime,
        files: streams.iter().map(file).collect(),
        left_out: Vec::new(),
        first_file: None,
        at: NOW,
    }
}

fn whole(streams: &[u32], at: &str) -> Message {
    message::run_available(&manifest(streams, at), "mover", NOW)
}

fn incomplete(number: u32, streams: &[u32], at: &str) -> Message {
    let missing =
        streams.iter().map(|stream| MissingFile { lfn: lfn(*stream), why: "it is overdue".to_owned() });
    let run = RunIncomplete {
        number,
        run: run(),
        site: site(at),
        missing: missing.collect(),
        available: 1,
        at: NOW,
    };
    message::run_incomplete(&run, "mover", NOW)
}

fn params(name: &str, value: impl Into<Value>) -> Map<String, Value> {
    [(name.to_owned(), value.into())].into_iter().collect()
}

/// The logbook with one experiment, and a decider that reads what it and others say.
struct Desk {
    logbook: Logbook,
    book: Book,
}

impl Desk {
    /// Rules of one task each, by these names.
    fn of(rules: &[Rule]) -> Self {
        let mut logbook = Logbook::default();
        let instrument = "mfx".parse().unwrap();
        logbook.register_experiment(&experiment(), &instrument, vec![site("NERSC"), site("OLCF")]);
        let at_once = ["NERSC", "OLCF"].map(|name| (site(name), 20)).into();
        let mut book = Book::new(Limits { at_once, ..Limits::default() });
        book.begin(1, NOW);
        let mut desk = Self { logbook, book };
        for rule in rules {
            desk.puts(rule);
        }
        desk
    }

    /// A rule at NERSC for each trigger that needs nobody's hand, by the trigger's name; those for files also at OLCF.
    fn of_each_trigger() -> Self {
        let at_nersc = Trigger::ALL.into_iter().filter(|trigger| *trigger != Trigger::Manual);
        let at_olcf =
            [Trigger::FirstFileTransferred, Trigger::AllFilesTransferred, Trigger::AllNonrecFilesTransferred];
        let rules = at_nersc.map(|trigger| of(trigger, "NERSC"));
        Self::of(&rules.chain(at_olcf.map(|trigger| of(trigger, "OLCF"))).collect::<Vec<_>>())
    }

    fn puts(&mut self, rule: &Rule) {
        self.hears(&message::rule(&rule.rule, Some(rule), "auser", NOW));
    }

    /// One of our own topics says this.
    fn hears(&mut self, message: &Message) {
        assert!(self.reads(&lying(message)), "{message:?}");
    }

    /// The logbook says this.
    fn is_told(&mut self, said: &[Said]) {
        for said in said {
            assert!(self.reads(&record(said.topic, None, Some(said.body.as_bytes()))), "{said:?}");
        }
    }

    /// Whether there was anything to be understood.
    fn reads(&mut self, record: &Record) -> bool {
        let input = understood(&Topics::default(), record);
        input.map(|input| self.book.take(input, NOW)).is_some()
    }

    fn begins(&mut self) {
        let begun = self.logbook.start_run(&experiment(), None, "DATA", params("energy", 9.5), NOW);
        self.is_told(&begun.unwrap().1);
    }

    fn has(&mut self, params: Map<String, Value>) {
        let said = self.logbook.add_run_params(&experiment(), None, params);
        self.is_told(&said.unwrap().1);
    }

    fn registers(&mut self, stream: u32) {
        let file = FileReport::new(lfn(stream)).document();
        let said = self.logbook.register_file(&experiment(), file, NOW).unwrap();
        self.is_told(&[said]);
    }

    /// The logbook believes a file to be at a site.
    fn believes(&mut self, stream: u32, at: &str) {
        let path = lfn(stream).to_string();
        let said =
            self.logbook.file_available_at_location(&experiment(), RunNumber(1), &path, at, NOW).unwrap();
        self.is_told(&[said]);
    }

    fn ends(&mut self) {
        let ended = self.logbook.end_run(&experiment(), NOW);
        self.is_told(&ended.unwrap().1);
    }

    /// What fires by now and has not before: the rules of all jobs that are intended.
    fn fired(&mut self) -> Vec<String> {
        let mut fired = Vec::new();
        for action in self.book.plan(NOW) {
            let Action::Publish(jobs) = action else { continue };
            for job in jobs {
                if let JobStep::Intended { site, .. } = &job.step {
                    fired.push(format!("{} at {site}", job.identity.of_run().unwrap().rule));
                }
                self.book.take(Input::Job(job), NOW);
            }
        }
        fired.sort_unstable();
        fired
    }

    /// Why a trigger has come or not, as `explain` says it.
    fn why(&self, name: &str) -> Vec<String> {
        let rule = self.book.rules().find(|rule| rule.rule.as_str() == name).unwrap();
        self.book.conditions(rule, &run()).iter().map(ToString::to_string).collect()
    }
}

fn of(trigger: Trigger, at: &str) -> Rule {
    let run_param = RunParam { name: "SmallData".to_owned(), value: "done".to_owned() };
    let (program, arguments) = ("/bin/true".to_owned(), Vec::new());
    let task = Task {
        task: "work".parse().unwrap(),
        work: Work::Command { program, arguments, inputs: Vec::new(), outputs: Vec::new() },
        after: Vec::new(),
        nodes: 1,
        seconds: 60,
        attempts: 3,
        only: None,
        ahead: None,
    };
    Rule {
        rule: format!("{trigger}-{at}").to_lowercase().replace('_', "-").parse().unwrap(),
        version: 1,
        trigger,
        run_param: (trigger == Trigger::RunParamIsValue).then_some(run_param),
        when: None,
        dataset: None,
        experiment: None,
        first_run: None,
        last_run: None,
        site: site(at),
        or_at: Vec::new(),
        trial: None,
        tasks: vec![task],
        since: None,
        who: "auser".to_owned(),
        at: Millis(0),
    }
}

#[test]
fn each_trigger_comes_by_its_own_message() {
    let mut desk = Desk::of_each_trigger();
    desk.begins();
    assert_eq!(desk.fired(), ["start-of-run-nersc at NERSC"]);
    desk.has(params("SmallData", "running"));
    desk.registers(0);
    desk.registers(80);
    assert_eq!(desk.fired(), NOTHING);
    desk.has(params("SmallData", "done"));
    assert_eq!(desk.fired(), ["run-param-is-value-nersc at NERSC"]);
    desk.hears(&available(0, "NERSC"));
    assert_eq!(desk.fired(), ["first-file-transferred-nersc at NERSC"]);
    // Only its end says which files it has.
    desk.ends();
    assert_eq!(desk.fired(), ["all-nonrec-files-transferred-nersc at NERSC", "end-of-run-nersc at NERSC"]);
    desk.hears(&available(80, "NERSC"));
    assert_eq!(desk.fired(), NOTHING, "it is the mover that says that all are there");
    desk.hears(&whole(&[0, 80], "NERSC"));
    assert_eq!(desk.fired(), ["all-files-transferred-nersc at NERSC"]);
    // All of it once more, as after a restart or a correction.
    desk.hears(&available(0, "NERSC"));
    desk.ends();
    let manifest = manifest(&[0, 80], "NERSC");
    let corrected = RunCorrected { number: 1, because: "a file was registered again".to_owned(), manifest };
    desk.hears(&message::run_corrected(&corrected, "mover", NOW));
    assert_eq!(desk.fired(), NOTHING);
}

#[test]
fn a_file_counts_at_the_jobs_own_site_and_at_no_other() {
    let mut desk = Desk::of_each_trigger();
    desk.begins();
    desk.registers(0);
    desk.registers(1);
    desk.registers(80);
    desk.fired();
    // What the logbook believes is not what was verified there.
    desk.believes(0, "NERSC");
    desk.believes(1, "NERSC");
    assert_eq!(desk.fired(), NOTHING);
    desk.hears(&available(0, "OLCF"));
    assert_eq!(desk.fired(), ["first-file-transferred-olcf at OLCF"]);
    desk.hears(&available(1, "OLCF"));
    desk.ends();
    assert_eq!(desk.fired(), ["all-nonrec-files-transferred-olcf at OLCF", "end-of-run-nersc at NERSC"]);
    desk.hears(&whole(&[0, 1], "OLCF"));
    assert_eq!(desk.fired(), ["all-files-transferred-olcf at OLCF"]);
    let triggers = ["first-file-transferred", "all-files-transferred", "all-nonrec-files-transferred"];
    let why = |desk: &Desk, at: &str| {
        let of = |trigger: &str| desk.why(&format!("{trigger}-{at}")).pop().unwrap();
        triggers.map(of).join("\n")
    };
    insta::assert_snapshot!(why(&desk, "olcf"), @r"
    yes: FIRST_FILE_TRANSFERRED: a file is at the site
    yes: ALL_FILES_TRANSFERRED: all 2 files are at the site
    yes: ALL_NONREC_FILES_TRANSFERRED: all files but recorders' are at the site
    ");
    insta::assert_snapshot!(why(&desk, "nersc"), @r"
    no: FIRST_FILE_TRANSFERRED: no file is at the site yet
    no: ALL_FILES_TRANSFERRED: not all files are at the site yet
    no: ALL_NONREC_FILES_TRANSFERRED: 2 of 2 files that are no recorder's are not at the site yet, such as /mfx/mfxlv9518/xtc/mfxlv9518-r0001-s00-c00.xtc
    ");
    // One that comes and goes is not there, and was.
    desk.hears(&available(0, "NERSC"));
    desk.hears(&gone(0, "NERSC"));
    desk.hears(&available(1, "NERSC"));
    assert_eq!(desk.fired(), ["first-file-transferred-nersc at NERSC"]);
    desk.hears(&available(0, "NERSC"));
    assert_eq!(desk.fired(), ["all-nonrec-files-transferred-nersc at NERSC"]);
}

#[test]
fn what_a_site_lacks_is_waited_for_unless_it_is_recorders_and_the_rule_says_so() {
    let mut desk = Desk::of_each_trigger();
    desk.hears(&available(0, "NERSC"));
    desk.fired();
    // The mover says it without the logbook: the run has ended, and lacks something.
    desk.hears(&incomplete(1, &[1, 80], "NERSC"));
    assert_eq!(desk.fired(), ["end-of-run-nersc at NERSC"]);
    desk.hears(&incomplete(1, &[80], "OLCF"));
    assert_eq!(desk.fired(), ["all-nonrec-files-transferred-olcf at OLCF"]);
    desk.hears(&incomplete(2, &[80], "NERSC"));
    assert_eq!(desk.fired(), ["all-nonrec-files-transferred-nersc at NERSC"]);
    assert_eq!(
        desk.why("all-files-transferred-nersc").pop().unwrap(),
        "no: ALL_FILES_TRANSFERRED: not all files are at the site yet"
    );
    assert_eq!(desk.fired(), NOTHING);
}

#[test]
fn a_parameter_has_its_value_as_people_name_it_and_also_after_the_run() {
    let named = |trigger, name: &str, value: &str| {
        let run_param = Some(RunParam { name: name.to_owned(), value: value.to_owned() });
        Rule { run_param, ..of(trigger, "NERSC") }
    };
    let mut desk = Desk::of(&[named(Trigger::RunParamIsValue, "XTC.mode$", "1")]);
    desk.begins();
    assert_eq!(desk.fired(), NOTHING);
    desk.ends();
    let why = "no: RUN_PARAM_IS_VALUE: the run has no parameter 'XTC.mode$' yet, wanted is '1'";
    assert_eq!(desk.why("run-param-is-value-nersc").pop().unwrap(), why);
    desk.has(params("XTC.mode$", 2));
    assert_eq!(desk.fired(), NOTHING);
    let why = "no: RUN_PARAM_IS_VALUE: parameter 'XTC.mode$' is 2, wanted is '1'";
    assert_eq!(desk.why("run-param-is-value-nersc").pop().unwrap(), why);
    desk.has(params("XTC.mode$", 1));
    assert_eq!(desk.fired(), ["run-param-is-value-nersc at NERSC"]);
}

#[test]
fn what_lies_on_the_rules_topic_is_what_runs() {
    let mut desk = Desk::of(&[Rule {
        experiment: Some("mfxl0001".parse().unwrap()),
        ..of(Trigger::StartOfRun, "NERSC")
    }]);
    desk.begins();
    assert_eq!(desk.fired(), NOTHING);
    let about = Rule { when: "'good' in tags".parse().ok(), version: 2, ..of(Trigger::StartOfRun, "NERSC") };
    desk.puts(&about);
    assert_eq!(desk.fired(), NOTHING);
    let tags = |tags: &[&str]| RunTags {
        run: run(),
        tags: tags.iter().map(|tag| tag.parse().unwrap()).collect(),
        who: "auser".to_owned(),
        at: NOW,
    };
    desk.hears(&message::run_tags(&run(), Some(&tags(&["good"])), "auser", NOW));
    desk.hears(&message::run_tags(&run(), None, "auser", NOW));
    assert_eq!(desk.fired(), NOTHING, "its tags are taken off");
    desk.hears(&message::run_tags(&run(), Some(&tags(&["good"])), "auser", NOW));
    desk.hears(&message::rule(&about.rule, None, "auser", NOW));
    assert_eq!(desk.fired(), NOTHING, "its rule is taken away");
    desk.puts(&Rule { version: 3, ..about });
    assert_eq!(desk.fired(), ["start-of-run-nersc at NERSC"]);
}

#[test]
fn a_rule_of_a_site_that_is_not_ours_fires_nothing_and_says_why() {
    let mut desk = Desk::of(&[of(Trigger::AllFilesTransferred, "S3DF"), of(Trigger::StartOfRun, "S3DF")]);
    desk.begins();
    desk.hears(&available(0, "S3DF"));
    desk.ends();
    desk.hears(&whole(&[0], "S3DF"));
    assert_eq!(desk.fired(), NOTHING);
    insta::assert_snapshot!(desk.why("all-files-transferred-s3df").join("\n"), @r"
    yes: the rule is about this experiment and run
    no: jobs are run at S3DF
    yes: ALL_FILES_TRANSFERRED: all 1 files are at the site
    ");
    // Besides one of ours it is none.
    desk.puts(&Rule { or_at: vec![site("OLCF")], ..of(Trigger::FirstFileTransferred, "S3DF") });
    assert_eq!(desk.fired(), NOTHING);
    desk.hears(&available(0, "OLCF"));
    assert_eq!(desk.fired(), ["first-file-transferred-s3df at OLCF"]);
}

#[test]
fn a_faulty_message_changes_nothing() {
    let mut desk = Desk::of_each_trigger();
    desk.begins();
    desk.fired();
    let before = format!("{:?}", desk.book);
    let file = |path: &str| {
        json!({"experiment_name": "mfxlv9518", "CRUD": "Create", "value": {"path": path}}).to_string()
    };
    let ended = json!({"num": "first", "end_time": "2026-11-20T23:39:06+00:00"});
    let logbooks = [
        ("runs", "a page for people".to_owned()),
        ("runs", json!({"experiment_name": "mfxlv9518", "CRUD": "Update", "value": ended}).to_string()),
        (
            "runs",
            json!({"experiment_name": "../x", "CRUD": "Update", "value": {"num": 1, "end_time": "x"}})
                .to_string(),
        ),
        ("runs", json!({"experiment_name": "mfxlv9518", "CRUD": "Delete", "value": null}).to_string()),
        ("file_catalog", file("/mfx/mfxlv9519/xtc/mfxlv9519-r0001-s00-c00.xtc")),
        ("file_catalog", file("/mfx/mfxlv9518/xtc/../../secret")),
        (
            "file_catalog",
            json!({"experiment_name": "mfxlv9518", "CRUD": "Update", "value": null}).to_string(),
        ),
    ];
    for (topic, body) in &logbooks {
        assert!(!desk.reads(&record(topic, None, Some(body.as_bytes()))), "{body}");
    }
    let rule = of(Trigger::StartOfRun, "OLCF");
    let put = lying(&message::rule(&rule.rule, Some(&rule), "auser", NOW));
    let come = [lying(&available(0, "NERSC")), lying(&whole(&[0], "NERSC")), put];
    for record in come {
        let of = |value: Option<&[u8]>, key: &str| Record {
            value: value.map(<[u8]>::to_vec),
            key: Some(key.as_bytes().to_vec()),
            ..record.clone()
        };
        let key = String::from_utf8(record.key.clone().unwrap()).unwrap();
        let mut odd = vec![
            of(Some(b"a page for people"), &key),
            of(Some(b"{}"), &key),
            of(record.value.as_deref(), "a key of another kind"),
            of(record.value.as_deref(), &key.replace("mfxlv9518", "mfxlv9519").replace("olcf", "nersc")),
            Record { key: None, ..record.clone() },
            Record { topic: Arc::from("transfers"), ..record.clone() },
        ];
        // A rule without a value is one that is taken away.
        if &*record.topic != "rules" {
            odd.push(of(None, &key));
        }
        for record in odd {
            assert!(!desk.reads(&record), "{record:?}");
        }
    }
    assert_eq!(format!("{:?}", desk.book), before);
    assert_eq!(desk.fired(), NOTHING);
    // What is odd and can be understood counts: numbers that are none, an end that cannot be read.
    let odd = br#"{"experiment_name": "mfxlv9518", "CRUD": "Update", "value": {"num": "1", "end_time": 12,
        "params": {"energy": NaN, "SmallData": "done"}}}"#;
    assert!(desk.reads(&record("runs", None, Some(odd))));
    assert_eq!(desk.fired(), ["end-of-run-nersc at NERSC", "run-param-is-value-nersc at NERSC"]);
}
