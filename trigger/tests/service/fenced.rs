//! A trigger that is fenced on a real broker though nobody else decides, as by a transaction of its own that took too long: it begins a
//! new life, and what it was about to say is said and done once.

use lightrail_compose::kafka::{Kafka, KafkaOptions};
use lightrail_compose::scratch::Scratch;
use lightrail_compose::wait;
use lightrail_topics::events::{JobEnd, JobStep, Rule, Work};
use lightrail_topics::kafka::{Publisher, Timeouts};
use lightrail_topics::{Event, Millis, Topic, message};
use lightrail_trigger::config::Config;

use crate::facilities::available;
use crate::pair::rule_of_both;
use crate::stage::{SOON, Stage, run, site};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trigger_that_is_fenced_while_nobody_else_speaks_begins_anew_and_does_all_once() {
    let kafka = Kafka::start(KafkaOptions::default()).await.unwrap();
    let scratch = Scratch::new().unwrap();
    let path = |name: &str| scratch.path().join(name).display().to_string();
    let text = format!(
        "decider = \"test\"\n[kafka]\nbootstrap = [\"{}\"]\nprefix = \"fenced.\"\n[http]\nlisten = \"127.0.0.1:0\"\n\
        [decide]\npoll = \"300ms\"\ngrace = \"5s\"\n[sites.LAPTOP]\nfolder = {:?}\nclaims = {:?}\n",
        kafka.bootstrap(),
        path("jobs"),
        path("claims"),
    );
    let config = Config::parse(&text).unwrap_or_else(|faults| panic!("{faults:#?}"));
    let (stage, publisher) = Stage::prepare(&kafka, config).await;
    let arguments = ["-c".to_owned(), format!("echo worked >>{}", path("worked"))];
    let work = Work::Command {
        program: "/bin/sh".to_owned(),
        arguments: arguments.map(|argument| argument.parse().unwrap()).into(),
        inputs: Vec::new(),
        outputs: Vec::new(),
    };
    let rule = Rule { site: site("LAPTOP"), or_at: Vec::new(), ..rule_of_both(None, work) };
    publisher.publish(vec![message::rule(&rule.rule, Some(&rule), "test", Millis(1))]).await.unwrap();
    let (stop, running) = stage.begin();
    let lives = async || {
        let all = stage.all(Topic::Jobs).await.into_iter();
        let epochs = all.filter_map(|event| match event {
            Event::Decider(decider) => Some(decider.epoch),
            _ => None,
        });
        epochs.collect::<Vec<_>>()
    };
    wait::until("the trigger to decide", SOON, async || (lives().await == [1]).then_some(())).await.unwrap();

    // Whoever has its transactional id fences it; this one has nothing to say.
    let id = format!("{}.trigger", stage.topics.name(Topic::Jobs));
    let silent = Publisher::start(&stage.connection, &stage.topics, &id, Timeouts::default()).unwrap();
    silent.init(SOON).await.unwrap();
    publisher.publish(vec![available(1, "LAPTOP")]).await.unwrap();
    let job = format!("live {} work attempt 1", run(1));
    let is_done = |step: &JobStep| matches!(step, JobStep::Ended { end: JobEnd::Done, .. });
    stage.step(&job, "to be done", is_done).await;
    assert_eq!(lives().await, [1, 2]);
    assert!(!running.is_finished());
    let all = stage.all(Topic::Jobs).await.into_iter();
    let intended = all.filter_map(|event| match event {
        Event::Job(job) => matches!(job.step, JobStep::Intended { .. }).then_some(job.epoch),
        _ => None,
    });
    assert_eq!(intended.collect::<Vec<_>>(), [2]);
    assert_eq!(std::fs::read_to_string(path("worked")).unwrap(), "worked\n");
    stop.cancel();
    running.await.unwrap();
}
