//! The command line as an operator has it: the real program, its exit status, what it says where, and what is on the topics after it.
//! Cases that need a broker share one, each with topics of its own; the others have none that would answer.

use std::fs;
use std::path::{Path, PathBuf};

use lightrail_compose::kafka::Kafka;
use lightrail_compose::process::{Proc, Start};
use lightrail_compose::scratch::Scratch;
use lightrail_compose::services::{self, Ran};
use lightrail_compose::wait;
use lightrail_topics::events::{Class, Job, JobIdentity, JobStep, PoolJob, Rule, RunJob};
use lightrail_topics::kafka::Publisher;
use lightrail_topics::{Event, Message, Millis, Topic, TrialNumber, message};
use lightrail_trigger::config::{Config, EXAMPLE};
use tokio::sync::OnceCell;

use crate::facilities::available;
use crate::stage::{SOON, Stage, run, site};

const PROGRAM: &str = "lightrail-trigger";
/// Where no broker is.
const NOWHERE: &str = "127.0.0.1:1";

async fn program(args: &[&str]) -> Ran {
    services::run(PROGRAM, args, SOON).await.unwrap()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// It ended with that status and said nothing but errors, which are given.
#[track_caller]
fn refused(ran: &Ran, status: i32) -> &str {
    assert_eq!(ran.status.code(), Some(status), "{ran:?}");
    assert_eq!(ran.stdout, "", "{ran:?}");
    &ran.stderr
}

/// It did what it should and complained of nothing; what it said is given.
#[track_caller]
fn done(ran: Ran) -> String {
    assert_eq!((ran.status.code(), ran.stderr.as_str()), (Some(0), ""), "{ran:?}");
    ran.stdout
}

/// Lines without the spaces that make columns of them.
fn lines(told: &str) -> Vec<String> {
    told.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

/// An operator's folder, with the configuration of a trigger of two sites.
struct Folder(Scratch);

impl Folder {
    fn new(bootstrap: &str, prefix: &str) -> Self {
        let folder = Self(Scratch::new().unwrap());
        folder.put("trigger.toml", &folder.config(bootstrap, prefix));
        folder
    }

    fn config(&self, bootstrap: &str, prefix: &str) -> String {
        let root = self.0.path().display();
        let of = |name: &str| {
            format!(
                "[sites.{name}]\nfolder = \"{root}/{name}\"\nclaims = \"{root}/{name}-claims\"\n\
                [sites.{name}.analysis]\nprogram = \"/bin/true\"\nconfig = \"/nowhere/analysis.toml\"\n"
            )
        };
        format!(
            "decider = \"test\"\n[kafka]\nbootstrap = [\"{bootstrap}\"]\nprefix = \"{prefix}\"\n{}{}\
            [pools.night]\nsite = \"NERSC\"\nclass = \"live\"\nmax = 2\n",
            of("NERSC"),
            of("OLCF")
        )
    }

    fn put(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, text).unwrap();
        path
    }

    /// Runs a command with this configuration.
    async fn run(&self, args: &[&str]) -> Ran {
        let config = self.0.path().join("trigger.toml");
        program(&[args, &["--config", text(&config)]].concat()).await
    }
}

/// The same with topics on the broker.
struct Operator {
    folder: Folder,
    stage: Stage,
    publisher: Publisher,
}

impl Operator {
    async fn sits_down() -> Self {
        // Never dropped: the keeper of `compose` ends it with this program.
        static KAFKA: OnceCell<Kafka> = OnceCell::const_new();
        let kafka = KAFKA.get_or_try_init(Kafka::named_or_start).await.unwrap();
        let prefix = format!("cli-{:08x}.", fastrand::u32(..));
        let folder = Folder::new(kafka.bootstrap(), &prefix);
        let config = Config::load(&folder.0.path().join("trigger.toml")).unwrap();
        let (stage, publisher) = Stage::prepare(kafka, config).await;
        Self { folder, stage, publisher }
    }

    async fn done(&self, args: &[&str]) -> String {
        done(self.folder.run(args).await)
    }

    /// The command is refused for what was said or named.
    async fn refused(&self, args: &[&str]) -> String {
        refused(&self.folder.run(args).await, 2).to_owned()
    }

    async fn say(&self, messages: Vec<Message>) {
        self.publisher.publish(messages).await.unwrap();
    }

    /// The rules that were ever put, in their order.
    async fn rules(&self) -> Vec<Rule> {
        let all = self.stage.all(Topic::Rules).await.into_iter();
        let rules = all.filter_map(|event| if let Event::Rule(_, rule) = event { rule } else { None });
        rules.collect()
    }

    /// How many messages a topic has.
    async fn count(&self, topic: Topic) -> usize {
        self.stage.all(topic).await.len()
    }
}

const FAULTY: &str = r#"[rules.good]
trigger = "END_OF_RUN"
site = "NERSC"
[[rules.good.tasks]]
task = "note"
program = "/bin/true"
[rules.bad]
trigger = "END_OF_RUNS"
site = "NERCS"
[[rules.bad.tasks]]
task = "note"
program = "true"
"#;

/// What is wrong with [`FAULTY`], each with its file, line and key.
fn faults_of(path: &Path) -> [String; 3] {
    let told = [
        "line 8: rules.bad.trigger: trigger `END_OF_RUNS` is refused",
        "line 9: rules.bad.site: site `NERCS` is not configured, did you mean `NERSC`?",
        "line 12: rules.bad.tasks.program: is no absolute path",
    ];
    told.map(|fault| format!("{}: {fault}", path.display()))
}

#[track_caller]
fn are_the_faults_of(errors: &str, path: &Path) {
    let faults = faults_of(path);
    assert_eq!(errors.lines().count(), faults.len(), "{errors}");
    for (line, fault) in errors.lines().zip(faults) {
        assert!(line.starts_with(&fault), "{line} should be {fault}");
    }
}

#[tokio::test]
async fn a_configuration_is_right_or_all_that_is_wrong_with_it_is_told_with_its_place() {
    let folder = Folder::new(NOWHERE, "cli.");
    let example = folder.put("example.toml", EXAMPLE);
    let said = done(program(&["check-config", text(&example)]).await);
    assert_eq!(said, format!("{}: right; decides as main, 3 sites\n", example.display()));
    let wrong = EXAMPLE.replace("executor = \"sge\"", "executor = \"sgee\"").replace("listen =", "listn =");
    let line = |of: &str| wrong.lines().position(|line| line.contains(of)).unwrap() + 1;
    let (sge, listen) = (line("\"sgee\""), line("listn = \"127.0.0.1:8746\""));
    let wrong = folder.put("wrong.toml", &wrong);
    let ran = program(&["check-config", text(&wrong)]).await;
    let errors: Vec<&str> = refused(&ran, 2).lines().collect();
    let place = |line: usize, key: &str| format!("{}: line {line}: {key}: ", wrong.display());
    assert_eq!(errors.len(), 3, "{errors:#?}");
    assert!(errors[0].starts_with(&place(sge, "sites.CLUSTER.executor")), "{errors:#?}");
    assert!(errors[1].contains(": jid.listen: is missing"), "{errors:#?}");
    assert!(errors[2].starts_with(&place(listen, "jid.listn")), "{errors:#?}");
    assert!(errors[2].ends_with("unknown setting, did you mean `listen`?"), "{errors:#?}");
    let nowhere = folder.0.path().join("nowhere.toml");
    for args in [&["check-config", text(&nowhere)][..], &["rules", "list", "--config", text(&nowhere)]] {
        let ran = program(args).await;
        let errors = refused(&ran, 2);
        assert!(errors.contains(text(&nowhere)) && errors.contains("No such file"), "{errors}");
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_file_of_rules_is_told_before_kafka_is_looked_for() {
    let folder = Folder::new(NOWHERE, "cli.");
    let path = folder.put("rules.toml", FAULTY);
    for command in [&["rules", "apply"][..], &["dry-run"]] {
        let ran = folder.run(&[command, &[text(&path)]].concat()).await;
        are_the_faults_of(refused(&ran, 2), &path);
        let nowhere = folder.0.path().join("nowhere.toml");
        let ran = folder.run(&[command, &[text(&nowhere)]].concat()).await;
        let errors = refused(&ran, 2);
        assert!(errors.starts_with(&format!("{} cannot be read: No such", nowhere.display())), "{errors}");
    }
}

#[tokio::test]
async fn a_simulated_facility_says_what_it_is_for_and_a_faulty_scenario_is_refused_with_its_places() {
    let folder = Folder::new(NOWHERE, "cli.");
    let jobs = folder.0.path().join("jobs");
    let scenario = |more: &str| format!("listen = \"127.0.0.1:0\"\nfolder = {jobs:?}\n{more}");
    let right = folder.put("right.toml", &scenario("[resources.perlmutter]\nstatus = \"degraded\"\n"));
    let start = Start::new("facility", services::program(PROGRAM).unwrap(), folder.0.path());
    let facility = Proc::start(start.args(["simulate-facility", text(&right)])).unwrap();
    let address = wait::until("its addresses", SOON, async || {
        let told = facility.output();
        let line = told.lines().find(|line| line.trim().starts_with("SF API 1.2"))?;
        told.contains("IRI").then(|| line.split_whitespace().last().unwrap_or_default().to_owned())
    });
    let address = address.await.unwrap();
    let told = facility.output();
    assert!(told.starts_with("a simulated facility, for tests and drills; it is no facility\n"), "{told}");
    let status = reqwest::get(format!("{address}/status/perlmutter")).await.unwrap().text().await.unwrap();
    assert!(status.contains("\"degraded\""), "{status}");
    facility.term();
    assert_eq!(facility.wait_exit(SOON).await.unwrap().code(), Some(0), "{}", facility.output());

    let wrong =
        "[resources.perlmutter]\nstatus = \"actve\"\n[[outages]]\nresource = \"cori\"\nend = \"5s\"\n";
    let wrong = folder.put("wrong.toml", &scenario(wrong));
    let ran = program(&["simulate-facility", text(&wrong)]).await;
    let errors: Vec<&str> = refused(&ran, 2).lines().collect();
    let place = |line: usize, key: &str| format!("{}: line {line}: {key}: ", wrong.display());
    assert_eq!(errors.len(), 2, "{errors:#?}");
    assert!(errors[0].starts_with(&place(4, "resources.perlmutter.status")), "{errors:#?}");
    assert_eq!(errors[1], place(6, "outages.resource") + "`cori` is none of [resources]");

    // A key that it names is part of it, too.
    let keyless = folder.put("keyless.toml", &scenario("[clients.abc]\npublic_key = \"/nowhere/key.pem\"\n"));
    let ran = program(&["simulate-facility", text(&keyless)]).await;
    let errors = refused(&ran, 2);
    assert!(
        errors.starts_with("public key /nowhere/key.pem of client abc cannot be read: No such"),
        "{errors}"
    );
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let taken_too = folder.put("taken.toml", &scenario("").replace("127.0.0.1:0", &address));
    let ran = program(&["simulate-facility", text(&taken_too)]).await;
    assert!(refused(&ran, 1).starts_with(&format!("address {address} cannot be listened on")), "{ran:?}");
}

/// Rules that are right: one of two sites, one asked for by hand.
const RULES: &str = r#"[rules.live]
trigger = "ALL_FILES_TRANSFERRED"
when = "'good' in tags and files.size > 500"
sites = ["NERSC", "OLCF"]
experiment = "mfxx1"
first_run = 1
last_run = 9
trial = 3
[[rules.live.tasks]]
task = "work"
workers = 2
[[rules.live.tasks]]
task = "note"
after = ["work"]
program = "/bin/echo"
[rules.by-hand]
trigger = "MANUAL"
site = "NERSC"
dataset = "lyso"
[[rules.by-hand.tasks]]
task = "note"
program = "/bin/true"
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rules_are_put_whole_or_not_at_all_listed_and_taken_away() {
    let operator = Operator::sits_down().await;
    let told = operator.done(&["rules", "list"]).await;
    assert_eq!(told, "there are no rules: `lightrail-trigger rules apply FILE` puts some there\n");
    let path = operator.folder.put("faulty.toml", FAULTY);
    are_the_faults_of(&operator.refused(&["rules", "apply", text(&path)]).await, &path);
    assert_eq!(operator.count(Topic::Rules).await, 0, "not the good one either");

    let path = operator.folder.put("rules.toml", RULES);
    let apply = ["rules", "apply", text(&path)];
    let told = operator.done(&apply).await;
    assert_eq!(told, "rule by-hand: applied, version 1\nrule live: applied, version 1\n");
    let told = operator.done(&apply).await;
    assert_eq!(told, "rule by-hand: says the same as version 1\nrule live: says the same as version 1\n");
    assert_eq!(operator.count(Topic::Rules).await, 2);
    operator.folder.put("rules.toml", &RULES.replace("last_run = 9", "last_run = 8"));
    let told = operator.done(&apply).await;
    assert_eq!(told, "rule by-hand: says the same as version 1\nrule live: applied, version 2\n");
    assert_eq!(operator.count(Topic::Rules).await, 3);

    let listed = lines(&operator.done(&["rules", "list"]).await);
    let [head, by_hand, live] = &listed[..] else { panic!("{listed:#?}") };
    assert_eq!(head, "rule version trigger about sites trial tasks by at");
    assert!(by_hand.starts_with("by-hand 1 MANUAL all, dataset lyso NERSC note (/bin/true) "), "{by_hand}");
    let about =
        "live 2 ALL_FILES_TRANSFERRED mfxx1 runs 1 to 8 NERSC, OLCF 3 work (2 workers), note (/bin/echo) ";
    assert!(live.starts_with(about), "{live}");

    assert_eq!(operator.refused(&["rules", "remove", "lve"]).await, "no rule is named `lve`\n");
    assert_eq!(operator.done(&["rules", "remove", "live"]).await, "rule live: taken away\n");
    let all = operator.stage.all(Topic::Rules).await;
    assert!(matches!(all.last(), Some(Event::Rule(name, None)) if name.as_str() == "live"), "{all:?}");
    let listed = lines(&operator.done(&["rules", "list"]).await);
    assert!(listed.len() == 2 && listed[1].starts_with("by-hand 1 "), "{listed:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_is_not_there_is_named_with_who_makes_it() {
    let Operator { folder, stage, .. } = Operator::sits_down().await;
    let prefix = stage.topics.name(Topic::Rules) + ".none.";
    folder.put("trigger.toml", &folder.config(&stage.connection.bootstrap, &prefix));
    let lacks = async |args: &[&str], topic: &str| {
        let ran = folder.run(args).await;
        let errors = refused(&ran, 1);
        assert!(errors.contains("`topics --create` of lightrail-trigger, "), "{args:?}: {errors}");
        assert!(errors.ends_with(&format!(": topic {prefix}{topic} is not there\n")), "{args:?}: {errors}");
    };
    lacks(&["rules", "list"], "rules").await;
    lacks(&["tags", "list", "mfxx1"], "rules").await;
    let ran = folder.run(&["topics"]).await;
    assert!(refused(&ran, 1).ends_with(&format!(": topic {prefix}rules is not there\n")), "{ran:?}");
    lacks(&["rules", "list"], "rules").await;
    let told = done(folder.run(&["topics", "--create"]).await);
    let said = |topic: &str, word: &str| format!("{prefix}{topic}: {word}\n");
    assert!(told.contains(&said("rules", "made")) && told.contains(&said("jobs", "made")), "{told}");
    let told = done(folder.run(&["topics"]).await);
    assert!(told.contains(&said("rules", "there")) && !told.contains("made"), "{told}");
    assert!(done(folder.run(&["rules", "list"]).await).starts_with("there are no rules"));
    // What the mover says, which only it makes.
    let rules = folder.put("rules.toml", RULES);
    for args in [&["explain", "mfxx1", "1"][..], &["pools"], &["dry-run", text(&rules)]] {
        lacks(args, "runs.available").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tags_and_datasets_are_put_listed_and_taken_away() {
    let operator = Operator::sits_down().await;
    let tags = ["tags", "list", "mfxx1"];
    assert_eq!(operator.done(&tags).await, "no run of mfxx1 has a tag\n");
    let add = operator.done(&["tags", "add", "mfxx1", "1-3", "lyso", "good"]).await;
    assert_eq!(add, "mfxx1: 3 of 3 runs changed\n");
    let again = operator.done(&["tags", "add", "mfxx1", "2-4", "good", "lyso"]).await;
    assert_eq!(again, "mfxx1: 1 of 3 runs changed\n");
    let remove = operator.done(&["tags", "remove", "mfxx1", "2-3", "lyso"]).await;
    assert_eq!(remove, "mfxx1: 2 of 2 runs changed\n");
    operator.done(&["tags", "remove", "mfxx1", "3", "good"]).await;
    operator.done(&["tags", "add", "mfxx2", "1", "other"]).await;
    let told = operator.done(&tags).await;
    assert_eq!(told, "mfxx1/1: good, lyso\nmfxx1/2: good\nmfxx1/4: good, lyso\n");
    let before = operator.count(Topic::Rules).await;
    let endless = operator.refused(&["tags", "add", "mfxx1", "12-end", "late"]).await;
    assert!(endless.starts_with("say which runs, as 12-20, up to 10000 at once"), "{endless}");

    let told = operator.done(&["datasets", "list"]).await;
    assert!(told.starts_with("there are no datasets: "), "{told}");
    let good = "[mfxx1.groups]\nnear = [\"1-2\", \"9\"]\n";
    let faulty =
        format!("{good}far = [\"3-1\"]\n[mfxx1.datasets.lyso]\ntags = [\"lyso\"]\ngroups = [\"dark\"]\n");
    let path = operator.folder.put("faulty.toml", &faulty);
    let errors = operator.refused(&["datasets", "apply", text(&path)]).await;
    let [range, group] = errors.lines().collect::<Vec<_>>()[..] else { panic!("{errors}") };
    let place = |line: usize, key: &str| format!("{}: line {line}: mfxx1.{key}: ", path.display());
    assert!(range.starts_with(&place(3, "groups.far")), "{errors}");
    assert!(group.starts_with(&(place(6, "datasets.lyso.groups") + "names `dark`")), "{errors}");
    assert_eq!(operator.count(Topic::Rules).await, before, "nothing of it was put");

    let path = operator.folder.put("groups.toml", good);
    let group = "group near of mfxx1: 1-2, 9\n";
    assert_eq!(operator.done(&["datasets", "apply", text(&path)]).await, group);
    // A group that was put before is known.
    let set = "[mfxx1.datasets.lyso]\ntags = [\"lyso\", \"good\"]\nof = \"union\"\ngroups = [\"near\"]\n";
    let path = operator.folder.put("sets.toml", set);
    let set = "dataset lyso of mfxx1: runs with one of good, lyso, of groups near\n";
    assert_eq!(operator.done(&["datasets", "apply", text(&path)]).await, set);
    assert_eq!(operator.done(&["datasets", "list"]).await, format!("{group}{set}"));
    let remove = ["datasets", "remove", "mfxx1", "lyso"];
    assert_eq!(operator.done(&remove).await, "dataset lyso of mfxx1: taken away\n");
    assert_eq!(operator.refused(&remove).await, "no dataset of mfxx1 is named `lyso`\n");
    assert_eq!(operator.done(&["datasets", "list"]).await, group);
}

/// Steps of a job as a decider says them: it is intended, then it runs.
fn steps(identity: &JobIdentity, reason: &str) -> Vec<Message> {
    let intended = JobStep::Intended {
        reason: reason.to_owned(),
        rule_version: 1,
        site: site("NERSC"),
        class: Class::Live,
        workers: true,
        nodes: 1,
        workers_each: None,
        placed: None,
        moves: None,
        ahead: false,
        spills: false,
    };
    let running = JobStep::Running { id: "4711".to_owned() };
    let of = |(place, step)| {
        let (job, identity) = (identity.name(), identity.clone());
        message::job(&Job { job, identity, place, epoch: 1, step, at: Millis(2000) }, "test")
    };
    [(0, intended), (1, running)].into_iter().map(of).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn explain_and_pools_say_what_holds_what_lacks_and_what_became_of_jobs() {
    let operator = Operator::sits_down().await;
    // A tag tells nothing of the run, which need not be there yet.
    operator.done(&["tags", "add", "mfxx1", "1", "good"]).await;
    let explain = ["explain", "mfxx1", "1"];
    let told = operator.done(&explain).await;
    let [rules, run_1] = told.lines().collect::<Vec<_>>()[..] else { panic!("{told}") };
    assert!(rules.starts_with("there are no rules"), "{told}");
    assert_eq!(run_1, "nothing is known of run mfxx1/1 yet");
    let path = operator.folder.put("rules.toml", RULES);
    operator.done(&["rules", "apply", text(&path)]).await;
    operator.say(vec![available(1, "NERSC"), available(2, "NERSC")]).await;

    let (told, of_2, refused) = tokio::join!(
        operator.done(&["explain", "mfxx1", "1", "live"]),
        operator.done(&["explain", "mfxx1", "2"]),
        operator.refused(&["explain", "mfxx1", "1", "lve"]),
    );
    for line in [
        "rule live (version 1) fires for run mfxx1/1, reprocess\n",
        "\n  yes: 'good' in tags (tags are good)\n",
        "\n  yes: files.size > 500 (files.size is 1000)\n",
        "\n  results under trial 3: not complete, 0 of 0 images so far published\n",
        "\n  task work: no job\n",
    ] {
        assert!(told.contains(line), "{line}: {told}");
    }
    assert!(!told.contains("by-hand") && !told.contains("nothing is known"), "{told}");
    for line in [
        "rule by-hand (version 1) does not fire for run mfxx1/2, live\n",
        "\n  no: there is no dataset lyso of experiment mfxx1\n",
        "\n  no: MANUAL: nobody has asked for it\n",
        "rule live (version 1) does not fire for run mfxx1/2, reprocess\n",
        "\n  no: 'good' in tags (the run has no tags)\n",
    ] {
        assert!(of_2.contains(line), "{line}: {of_2}");
    }
    assert_eq!(refused, "no rule is named `lve`\n");

    let asked = operator.done(&["ask", "by-hand", "mfxx1", "2"]).await;
    assert_eq!(asked, "rule by-hand is asked for run mfxx1/2, request 1\n");
    let asked = operator.done(&["ask", "by-hand", "mfxx1", "2"]).await;
    assert_eq!(asked, "rule by-hand is asked for run mfxx1/2, request 2\n");
    let (told, pools) =
        tokio::join!(operator.done(&["explain", "mfxx1", "2", "by-hand"]), operator.done(&["pools"]));
    assert!(told.contains("\n  yes: MANUAL: asked for 2 times\n"), "{told}");
    assert_eq!(pools, "no pool has started a job\n");
    let refused = operator.refused(&["ask", "live", "mfxx1", "1"]).await;
    assert_eq!(refused, "rule live fires by ALL_FILES_TRANSFERRED; only a MANUAL one is asked for\n");
    assert_eq!(operator.refused(&["ask", "lve", "mfxx1", "1"]).await, "no rule is named `lve`\n");

    let job = JobIdentity::from(RunJob {
        rule: "live".parse().unwrap(),
        run: run(1),
        trial: Some(TrialNumber(3)),
        task: "work".parse().unwrap(),
        request: None,
        attempt: 1,
    });
    let of_pool = PoolJob { pool: "night".parse().unwrap(), site: site("NERSC"), slot: 2, attempt: 1 };
    let of_pool = JobIdentity::from(of_pool);
    operator.say([steps(&job, "it was time"), steps(&of_pool, "30 images wait")].concat()).await;
    let (told, pools) = tokio::join!(operator.done(&explain), operator.done(&["pools"]));
    let line = format!(
        "\n  task work, attempt 1: job {} running at 1970-01-01T00:00:02.000Z as 4711; started because it was time\n",
        job.name()
    );
    assert!(told.contains(&line) && told.contains("\n  task note: no job\n"), "{told}");
    let pools = lines(&pools);
    let [head, slot] = &pools[..] else { panic!("{pools:#?}") };
    assert_eq!(head, "pool site class slot attempt state at started because");
    assert_eq!(slot, "night NERSC live 2 1 running as 4711 1970-01-01T00:00:02.000Z 30 images wait");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rules_are_rehearsed_over_the_past_and_replayed_under_another_trial() {
    let operator = Operator::sits_down().await;
    operator.say(vec![available(1, "NERSC"), available(2, "NERSC")]).await;
    operator.done(&["tags", "add", "mfxx1", "1", "good"]).await;
    let path = operator.folder.put("rules.toml", RULES);
    let rehearse = async |more: &[&str]| {
        let mut told = lines(&operator.done(&[&["dry-run", text(&path)], more].concat()).await);
        let last = told.pop().unwrap();
        // Without the time at which it would have been.
        let fired = told.iter().skip(1).map(|line| line.split_once(' ').unwrap().1.to_owned());
        (fired.collect::<Vec<_>>(), last)
    };
    let fired = |class: &str| {
        let why = "ALL_FILES_TRANSFERRED: all 1 files are at the site; 'good' in tags (tags are good); \
            files.size > 500 (files.size is 1000)";
        vec![format!("live mfxx1/1 {class} {why}")]
    };
    let closing = |times: usize| format!("{times} times a rule would have fired; nothing was submitted");
    // They mostly wait for Kafka, so at once.
    let (all, later, runs, experiment, never) = tokio::join!(
        rehearse(&[]),
        rehearse(&["--since", "1970-01-02T00:00:00Z"]),
        rehearse(&["--runs", "2-9"]),
        rehearse(&["--experiment", "mfxx2"]),
        rehearse(&["--since", "2100-01-01T00:00:00Z"]),
    );
    assert_eq!(all, (fired("live"), closing(1)));
    // What had ended by then is reprocessed.
    assert_eq!(later, (fired("reprocess"), closing(1)));
    for none in [runs, experiment, never] {
        assert_eq!(none, (Vec::new(), closing(0)));
    }
    assert!(operator.rules().await.is_empty(), "nothing was put");

    let replay = async |rule: &str, runs: &str, more: &[&str]| {
        operator.folder.run(&[&["replay", rule, "mfxx1", runs], more].concat()).await
    };
    operator.done(&["rules", "apply", text(&path)]).await;
    for (rule, trial, why) in [
        ("lve", "4", "no rule is named `lve`"),
        ("by-hand", "4", "rule by-hand is MANUAL: `lightrail-trigger ask` has it run again"),
        ("live", "3", "rule live works under trial 3; a replay wants another trial"),
    ] {
        let ran = replay(rule, "1", &["--trial", trial]).await;
        assert_eq!(refused(&ran, 2), format!("{why}\n"));
    }
    let told = done(replay("live", "1", &["--trial", "4", "--dry-run"]).await);
    assert!(told.contains(" live-trial-4 ") && told.contains(" reprocess "), "{told}");
    assert!(told.ends_with("\n1 runs would be worked again; nothing was put\n"), "{told}");
    let count = operator.rules().await.len();
    let told = done(replay("live", "1", &["--trial", "4"]).await);
    let put = "\n1 runs are to be worked again\nrule live-trial-4: applied, version 1\n";
    assert!(told.ends_with(put) && told.contains(" reprocess "), "{told}");
    let rules = operator.rules().await;
    let again = rules.last().unwrap();
    assert_eq!(rules.len(), count + 1, "the rule itself stays as it is");
    let of = (again.rule.as_str(), again.trial, again.first_run, again.last_run);
    assert_eq!(of, ("live-trial-4", Some(TrialNumber(4)), Some(run(1).run), Some(run(1).run)));
    assert_eq!((&again.tasks, again.trigger), (&rules[1].tasks, rules[1].trigger));

    // Twice is once; for further runs it grows, and never takes the place of what was begun for others.
    let told = done(replay("live", "1", &["--trial", "4"]).await);
    assert!(told.ends_with("\nrule live-trial-4: says the same as version 1\n"), "{told}");
    let ran = replay("live", "2", &["--trial", "4"]).await;
    let why =
        "rule live-trial-4 is there for other runs (mfxx1 runs 1 to 1), and this would take its place: ";
    assert!(refused(&ran, 2).starts_with(why), "{ran:?}");
    let told = done(replay("live", "1-2", &["--trial", "4"]).await);
    assert!(told.ends_with("\nrule live-trial-4: applied, version 2\n"), "{told}");
}
