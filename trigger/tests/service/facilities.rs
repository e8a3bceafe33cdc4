//! The trigger on a real broker between two simulated facilities: work is placed, one facility becomes unavailable, and what was there
//! is done at the other one; the data go there too, and a trigger that is started anew knows all of it. The mover is the test itself.

use std::path::Path;

use lightrail_compose::kafka::{Kafka, KafkaOptions};
use lightrail_compose::scratch::Scratch;
use lightrail_compose::wait;
use lightrail_topics::events::{
    ClosedBy, Health, JobEnd, JobStep, ManifestFile, RouteOverride, Rule, RunManifest, Task, TransferEvent,
    TransferState, Trigger, Work,
};
use lightrail_topics::{Event, Generation, Message, Millis, Topic, message};
use lightrail_trigger::config::Config;
use lightrail_trigger::simulate::Facility;
use lightrail_trigger::simulate::scenario::Scenario;

use crate::stage::{SOON, Stage, run, site};

fn lfn(number: u32) -> lightrail_topics::Lfn {
    format!("/mfx/mfxx1/xtc/mfxx1-r{number:04}-s00-c00.xtc").parse().unwrap()
}

async fn facility(listen: &str, folder: &Path, resource: &str, status: &str) -> Facility {
    let folder = folder.join(resource).display().to_string();
    let text = format!(
        "listen = \"{listen}\"\nfolder = {folder:?}\niri_token = \"12345\"\n[resources.{resource}]\nstatus = \"{status}\"\n\
        [resources.{resource}.machine]\nslots = 2\n"
    );
    Facility::start(Scenario::parse(&text).unwrap()).await.unwrap()
}

/// At the first site a job works as long as this folder is there, at the other one it is done at once.
fn rule(while_there: &Path) -> Rule {
    let body = format!("[ {{site}} = OLCF ] || while [ -e {} ]; do sleep 0.2; done", while_there.display());
    let arguments = ["-c", &body].map(|argument| argument.parse().unwrap());
    Rule {
        rule: "live".parse().unwrap(),
        version: 1,
        trigger: Trigger::AllFilesTransferred,
        run_param: None,
        when: None,
        dataset: None,
        experiment: Some("mfxx1".parse().unwrap()),
        first_run: None,
        last_run: None,
        site: site("NERSC"),
        or_at: vec![site("OLCF")],
        trial: None,
        tasks: vec![Task {
            task: "work".parse().unwrap(),
            work: Work::Command { program: "/bin/sh".to_owned(), arguments: arguments.into() },
            after: Vec::new(),
            nodes: 1,
            seconds: 900,
            attempts: 3,
            only: None,
            ahead: None,
        }],
        since: None,
        who: "test".to_owned(),
        at: Millis(0),
    }
}

fn available(number: u32, at: &str) -> Message {
    let file = ManifestFile {
        lfn: lfn(number),
        generation: Generation::FIRST,
        size: 1000,
        checksum: None,
        url: "file:///nowhere".to_owned(),
    };
    let manifest = RunManifest {
        run: run(number),
        site: site(at),
        began: None,
        ended: None,
        closed_by: ClosedBy::EndTime,
        files: vec![file],
        left_out: Vec::new(),
        first_file: None,
        at: Millis(1),
    };
    message::run_available(&manifest, "test", Millis(1))
}

/// The mover would copy a run's file.
fn ready(number: u32, to: &str, at: Millis) -> Message {
    let event = TransferEvent {
        lfn: lfn(number),
        run: run(number),
        site: site(to),
        generation: Generation::FIRST,
        state: TransferState::Ready,
        registration: None,
        attempt: None,
        place: 0,
        tries: 0,
        at,
        cause: None,
        next_try: None,
        bytes: None,
        from_server: None,
        to_server: None,
        history: Vec::new(),
    };
    message::transfer(&event, "test", at)
}

fn config(bootstrap: &str, folder: &Path, nersc: &Facility, olcf: &Facility) -> Config {
    std::fs::write(folder.join("token"), "12345").unwrap();
    let path = |name: &str| folder.join(name).display().to_string();
    let of = |name: &str, api: &str, resource: &str, status: &str| {
        format!(
            "[sites.{name}]\nexecutor = \"iri\"\nfolder = {:?}\nclaims = {:?}\n\
            [sites.{name}.iri]\napi = \"{api}\"\nresource = \"{resource}\"\ntoken_file = {:?}\nwithin = \"2s\"\n\
            [sites.{name}.script]\naccount = \"m1759\"\n[sites.{name}.status]\n{status}\n",
            path(&format!("{name}-jobs")),
            path(&format!("{name}-claims")),
            path("token"),
        )
    };
    // The first one's own interface of the other kind is asked how it is.
    let by_sfapi =
        format!("interface = \"sfapi\"\napi = \"{}\"\nresources = [\"perlmutter\"]", nersc.sfapi());
    let text = format!(
        "decider = \"test\"\n[kafka]\nbootstrap = [\"{bootstrap}\"]\nprefix = \"facilities.\"\n[http]\nlisten = \"127.0.0.1:0\"\n\
        [decide]\npoll = \"300ms\"\ngrace = \"5s\"\nagain = \"1s\"\n\
        [facility]\nevery = \"300ms\"\nlost_after = \"2s\"\ngive_up_after = \"4s\"\nfailover_for = \"10m\"\n{}{}",
        of("NERSC", &nersc.iri(), "perlmutter", &by_sfapi),
        of("OLCF", &olcf.iri(), "frontier", "interface = \"iri\""),
    );
    Config::parse(&text).unwrap_or_else(|faults| panic!("{faults:#?}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn work_goes_to_another_facility_when_its_own_is_lost() {
    let kafka = Kafka::start(KafkaOptions::default()).await.unwrap();
    let scratch = Scratch::new().unwrap();
    let nersc = facility("127.0.0.1:0", scratch.path(), "perlmutter", "active").await;
    let olcf = facility("127.0.0.1:0", scratch.path(), "frontier", "active").await;
    let config = config(kafka.bootstrap(), scratch.path(), &nersc, &olcf);
    let (stage, publisher) = Stage::prepare(&kafka, config).await;

    let (stop, running) = stage.begin();
    stage.status("NERSC/perlmutter", Health::Up).await;
    stage.status("OLCF/frontier", Health::Up).await;
    let rule = rule(scratch.path());
    let rule_message = message::rule(&rule.rule, Some(&rule), "test", Millis(1));
    publisher.publish(vec![rule_message, available(1, "NERSC"), available(1, "OLCF")]).await.unwrap();
    let intent = stage.step(1, 1, "the first job", |step| matches!(step, JobStep::Intended { .. })).await;
    let JobStep::Intended { site: at, placed: Some(why), .. } = intent else { panic!("{intent:?}") };
    assert_eq!(at, site("NERSC"));
    assert!(why.starts_with("NERSC has the shortest backlog"), "{why}");
    stage.step(1, 1, "the first job to run", |step| matches!(step, JobStep::Running { .. })).await;

    // One facility is replaced by one that says that it is unavailable, at the same address.
    let address = nersc.address().to_string();
    drop(nersc);
    let _away = wait::until("the address to be free", SOON, async || {
        let text = format!(
            "listen = \"{address}\"\nfolder = {:?}\niri_token = \"12345\"\n[resources.perlmutter]\nstatus = \"unavailable\"\n\
            [resources.perlmutter.machine]\n",
            scratch.path().join("away").display().to_string()
        );
        Facility::start(Scenario::parse(&text).unwrap()).await.ok()
    })
    .await
    .unwrap();
    let down = stage.status("NERSC/perlmutter", Health::Down).await;
    publisher.publish(vec![ready(2, "NERSC", down.at)]).await.unwrap();
    let given_up = stage
        .step(1, 1, "the first job to be given up", |step| matches!(step, JobStep::GivenUp { .. }))
        .await;
    let JobStep::GivenUp { why, id: Some(_) } = given_up else { panic!("{given_up:?}") };
    assert!(why.starts_with("site NERSC is lost: "), "{why}");
    let intent = stage.step(1, 2, "the second job", |step| matches!(step, JobStep::Intended { .. })).await;
    let JobStep::Intended { site: at, placed: Some(why), .. } = intent else { panic!("{intent:?}") };
    assert_eq!(at, site("OLCF"));
    assert!(why.starts_with("OLCF is the only one that can take it (NERSC: lost: "), "{why}");
    let is_done = |step: &JobStep| matches!(step, JobStep::Ended { end: JobEnd::Done, .. });
    stage.step(1, 2, "the second job to be done", is_done).await;
    let route: RouteOverride = wait::until("the data to be sent elsewhere", SOON, async || {
        stage.all(Topic::RoutesOverride).await.into_iter().find_map(|event| match event {
            Event::RouteOverride(_, route) => route,
            _ => None,
        })
    })
    .await
    .unwrap();
    assert_eq!((&route.to, route.move_begun), (&vec![site("OLCF")], true));
    assert!(route.reason.starts_with("NERSC is lost: ") && route.expires > down.at, "{route:?}");

    // Who is started anew knows it from the topics, and says nothing of it twice.
    stop.cancel();
    running.await.unwrap();
    let (stop, running) = stage.begin();
    publisher.publish(vec![available(2, "OLCF"), available(2, "NERSC")]).await.unwrap();
    let intent =
        stage.step(2, 1, "the next run's job", |step| matches!(step, JobStep::Intended { .. })).await;
    let JobStep::Intended { site: at, .. } = &intent else { panic!("{intent:?}") };
    assert_eq!(*at, site("OLCF"), "{intent:?}");
    stage.step(2, 1, "the next run's job to be done", is_done).await;
    let routes = stage.all(Topic::RoutesOverride).await.len();
    assert_eq!(routes, 1);
    stop.cancel();
    running.await.unwrap();
}
