//! A standing pool on a real broker: it grows with the images that wait, and shrinks when they are worked. The worker's part in the group
//! is the test's; its processes only wait to be told to end.

use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use lightrail_compose::kafka::{Kafka, KafkaOptions};
use lightrail_compose::scratch::Scratch;
use lightrail_compose::wait;
use lightrail_topics::events::{Image, JobEnd, JobStep, ShotData, Withdrawal};
use lightrail_topics::kafka::{GroupReader, GroupSettings, KafkaEvent};
use lightrail_topics::{Event, Message, Millis, SiteTopic, Topic, TrialNumber, message};
use lightrail_trigger::config::Config;

use crate::stage::{SOON, Stage, run, site};

const WORKER: &str = "#!/bin/sh\ntrap 'exit 0' TERM\nwhile :; do sleep 0.1; done\n";

fn image(number: u32) -> Message {
    let image = Image {
        image: format!("{}/{number}-1", run(1)).parse().unwrap(),
        trial: TrialNumber(3),
        site: site("LAPTOP"),
        extents: Vec::new(),
        configure: Vec::new(),
        names_epoch: 0,
        shot: ShotData::default(),
    };
    message::image(&image, SiteTopic::ImagesLive, "test", Millis(1))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pool_grows_with_the_images_that_wait_and_shrinks_when_they_are_worked() {
    let kafka = Kafka::start(KafkaOptions::default()).await.unwrap();
    let scratch = Scratch::new().unwrap();
    let path = |name: &str| scratch.path().join(name).display().to_string();
    std::fs::write(path("worker"), WORKER).unwrap();
    std::fs::set_permissions(path("worker"), std::fs::Permissions::from_mode(0o700)).unwrap();
    let text = format!(
        "decider = \"test\"\n[kafka]\nbootstrap = [\"{}\"]\nprefix = \"pools.\"\n[http]\nlisten = \"127.0.0.1:0\"\n\
        [decide]\npoll = \"300ms\"\ngrace = \"5s\"\n\
        [sites.LAPTOP]\nfolder = {:?}\nclaims = {:?}\n[sites.LAPTOP.analysis]\nprogram = {:?}\nconfig = {:?}\n\
        [pools.live]\nsite = \"LAPTOP\"\nclass = \"live\"\nmin = 1\nmax = 3\nimages_per_worker = 10\nidle = \"1s\"\n",
        kafka.bootstrap(),
        path("jobs"),
        path("claims"),
        path("worker"),
        path("analysis.toml"),
    );
    let config = Config::parse(&text).unwrap_or_else(|faults| panic!("{faults:#?}"));
    let (stage, publisher) = Stage::prepare(&kafka, config).await;
    let (stop, running) = stage.begin();
    // The newest step of each slot.
    let slots = async || {
        let mut slots = std::collections::BTreeMap::new();
        for event in stage.all(Topic::Jobs).await {
            if let Event::Job(job) = event {
                slots.insert(job.identity.of_pool().unwrap().slot, job.step);
            }
        }
        slots
    };
    let until = async |what: &str, wanted: &[&str]| {
        let come = wait::until(what, SOON, async || {
            let slots = slots().await;
            slots.values().map(JobStep::word).eq(wanted.iter().copied()).then_some(())
        });
        if let Err(error) = come.await {
            panic!("{error}: {:#?}", slots().await);
        }
    };
    until("the least of its jobs", &["running"]).await;
    publisher.publish((0..25).map(image).collect()).await.unwrap();
    until("a job for every ten images", &["running"; 3]).await;

    // All are worked, as the group says.
    let channel = SiteTopic::ImagesLive.at(&site("LAPTOP"));
    let topic = stage.topics.name(&channel);
    let settings = GroupSettings {
        group: stage.topics.workers(&channel),
        instance: None,
        session_timeout: Duration::from_secs(10),
        topics: vec![topic.clone()],
        capacity: 100,
    };
    let (reader, mut events) = GroupReader::join(&stage.connection, &settings, |_, _| None).unwrap();
    let mut taken = 0;
    while taken < 25 {
        let event = tokio::time::timeout(SOON, events.recv()).await.unwrap();
        if let Some(KafkaEvent::Record(record)) = event {
            taken += 1;
            reader.store(&topic, record.partition, record.offset + 1).unwrap();
        }
    }
    until("the others to be told to end", &["running", "ended", "ended"]).await;
    for (slot, step) in slots().await.into_iter().skip(1) {
        let why = Withdrawal::NotNeeded;
        let JobStep::Ended { end, .. } = step else { panic!("slot {slot}: {step:?}") };
        assert_eq!(end, JobEnd::Withdrawn { why }, "slot {slot}");
    }
    reader.stop().await;
    stop.cancel();
    running.await.unwrap();
    // The last one outlives its trigger; here nobody wants it any more.
    let id = match slots().await.remove(&1) {
        Some(JobStep::Running { id }) => id,
        step => panic!("{step:?}"),
    };
    let pid = std::fs::read_to_string(scratch.path().join("jobs").join(id).join("pid")).unwrap();
    let pid = rustix::process::Pid::from_raw(pid.trim().parse().unwrap()).unwrap();
    rustix::process::kill_process_group(pid, rustix::process::Signal::KILL).unwrap();
}
