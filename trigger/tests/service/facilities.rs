//! The trigger on a real broker between two simulated facilities: work is placed, one facility becomes unavailable, and what was there
//! is done at the other one; the data go there too, and a trigger that is started anew knows all of it. The mover is the test itself.

use std::path::Path;

use lightrail_compose::kafka::{Kafka, KafkaOptions};
use lightrail_compose::wait;
use lightrail_topics::events::{
    ClosedBy, Health, JobEnd, JobStep, ManifestFile, RouteOverride, RunManifest, TransferEvent,
    TransferState, Work,
};
use lightrail_topics::{Event, Generation, Message, Millis, Topic, message};

use crate::pair::{Pair, rule_of_both};
use crate::stage::{SOON, Stage, run, site};

fn lfn(number: u32) -> lightrail_topics::Lfn {
    format!("/mfx/mfxx1/xtc/mfxx1-r{number:04}-s00-c00.xtc").parse().unwrap()
}

/// At the first site a job works as long as this folder is there, at the other one it is done at once.
fn work(while_there: &Path) -> Work {
    let body = format!("[ {{site}} = OLCF ] || while [ -e {} ]; do sleep 0.2; done", while_there.display());
    let arguments = ["-c", &body].map(|argument| argument.parse().unwrap());
    Work::Command {
        program: "/bin/sh".to_owned(),
        arguments: arguments.into(),
        inputs: Vec::new(),
        outputs: Vec::new(),
    }
}

fn job(number: u32, attempt: u32) -> String {
    format!("live {} work attempt {attempt}", run(number))
}

pub(crate) fn available(number: u32, at: &str) -> Message {
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn work_goes_to_another_facility_when_its_own_is_lost() {
    let kafka = Kafka::start(KafkaOptions::default()).await.unwrap();
    let pair = Pair::start().await;
    let config = pair.config(kafka.bootstrap(), "facilities.", |_| String::new());
    let (stage, publisher) = Stage::prepare(&kafka, config).await;

    let (stop, running) = stage.begin();
    stage.status("NERSC/perlmutter", Health::Up).await;
    stage.status("OLCF/frontier", Health::Up).await;
    let rule = rule_of_both(None, work(pair.folder()));
    let rule_message = message::rule(&rule.rule, Some(&rule), "test", Millis(1));
    publisher.publish(vec![rule_message, available(1, "NERSC"), available(1, "OLCF")]).await.unwrap();
    let intent =
        stage.step(&job(1, 1), "to be intended", |step| matches!(step, JobStep::Intended { .. })).await;
    let JobStep::Intended { site: at, placed: Some(why), .. } = intent else { panic!("{intent:?}") };
    assert_eq!(at, site("NERSC"));
    assert!(why.starts_with("NERSC has the shortest backlog"), "{why}");
    stage.step(&job(1, 1), "to run", |step| matches!(step, JobStep::Running { .. })).await;

    let _pair = pair.lose_nersc().await;
    let down = stage.status("NERSC/perlmutter", Health::Down).await;
    publisher.publish(vec![ready(2, "NERSC", down.at)]).await.unwrap();
    let given_up =
        stage.step(&job(1, 1), "to be given up", |step| matches!(step, JobStep::GivenUp { .. })).await;
    let JobStep::GivenUp { why, id: Some(_) } = given_up else { panic!("{given_up:?}") };
    assert!(why.starts_with("site NERSC is lost: "), "{why}");
    let intent =
        stage.step(&job(1, 2), "to be intended", |step| matches!(step, JobStep::Intended { .. })).await;
    let JobStep::Intended { site: at, placed: Some(why), .. } = intent else { panic!("{intent:?}") };
    assert_eq!(at, site("OLCF"));
    assert!(why.starts_with("OLCF is the only one that can take it (NERSC: lost: "), "{why}");
    let is_done = |step: &JobStep| matches!(step, JobStep::Ended { end: JobEnd::Done, .. });
    stage.step(&job(1, 2), "to be done", is_done).await;
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
        stage.step(&job(2, 1), "to be intended", |step| matches!(step, JobStep::Intended { .. })).await;
    let JobStep::Intended { site: at, .. } = &intent else { panic!("{intent:?}") };
    assert_eq!(*at, site("OLCF"), "{intent:?}");
    stage.step(&job(2, 1), "to be done", is_done).await;
    let routes = stage.all(Topic::RoutesOverride).await.len();
    assert_eq!(routes, 1);
    stop.cancel();
    running.await.unwrap();
}
