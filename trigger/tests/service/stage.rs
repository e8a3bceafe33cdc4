//! A broker with all topics, a trigger within this process, and what it has said.

use std::collections::BTreeMap;
use std::time::Duration;

use lightrail_compose::kafka::Kafka;
use lightrail_compose::wait;
use lightrail_topics::events::{FacilityStatus, Health, JobStep};
use lightrail_topics::kafka::{Admin, Connection, Publisher, Timeouts, read_to_end};
use lightrail_topics::{Channel, Event, RunKey, SiteName, SiteTopic, Topic, Topics, decode};
use lightrail_trigger::config::Config;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub(crate) const SOON: Duration = Duration::from_secs(60);

pub(crate) fn site(name: &str) -> SiteName {
    name.parse().unwrap()
}

pub(crate) fn run(number: u32) -> RunKey {
    format!("mfxx1/{number}").parse().unwrap()
}

pub(crate) struct Stage {
    pub(crate) connection: Connection,
    pub(crate) topics: Topics,
    pub(crate) config: Config,
}

impl Stage {
    /// All topics on a new broker, and who says there what movers, indices and people say.
    pub(crate) async fn prepare(kafka: &Kafka, config: Config) -> (Self, Publisher) {
        let connection = Connection::plain(kafka.bootstrap(), "test");
        let topics = config.kafka.topics().unwrap();
        let own = config.sites.keys().flat_map(|site| SiteTopic::ALL.map(|topic| topic.at(site)));
        let channels = Topic::ALL.into_iter().map(Channel::Of).chain(own);
        let specs: Vec<_> = channels.map(|channel| topics.spec(channel, 1, 1)).collect();
        Admin::new(&connection, SOON).create_topics(&specs).await.unwrap();
        // Named after the topics: cases that share a broker do not fence each other.
        let id = format!("{}.test", topics.name(Topic::Rules));
        let publisher = Publisher::start(&connection, &topics, &id, Timeouts::default()).unwrap();
        publisher.init(SOON).await.unwrap();
        (Self { connection, topics, config }, publisher)
    }

    pub(crate) async fn all(&self, topic: Topic) -> Vec<Event> {
        let names = [self.topics.name(topic)];
        let records = read_to_end(&self.connection, &names, &BTreeMap::new(), SOON).await.unwrap();
        records.iter().map(|record| decode(&self.topics, record).unwrap()).collect()
    }

    /// Waits for a step of a job, which is named as it is for people.
    pub(crate) async fn step(&self, job: &str, what: &str, is: impl Fn(&JobStep) -> bool) -> JobStep {
        let steps = async || {
            let all = self.all(Topic::Jobs).await.into_iter();
            let steps = all.filter_map(|event| match event {
                Event::Job(job) => Some((job.identity.to_string(), job.step)),
                _ => None,
            });
            steps.collect::<Vec<_>>()
        };
        let waited = format!("{job} {what}");
        let found = wait::until(&waited, SOON, async || {
            let mut steps = steps().await.into_iter();
            steps.find(|(of, step)| of == job && is(step)).map(|(_, step)| step)
        });
        match found.await {
            Ok(step) => step,
            Err(error) => panic!("{error}: {:#?}", steps().await),
        }
    }

    pub(crate) async fn status(&self, of: &str, health: Health) -> FacilityStatus {
        let what = format!("{of} to be said to be {}", health.word());
        let found = wait::until(&what, SOON, async || {
            let all = self.all(Topic::FacilityStatus).await.into_iter();
            let mut found = all.filter_map(|event| match event {
                Event::Facility(status) if status.key().to_string() == of => Some(status),
                _ => None,
            });
            found.find(|status| status.health == health)
        });
        found.await.unwrap()
    }

    pub(crate) fn begin(&self) -> (CancellationToken, JoinHandle<()>) {
        let (stop, config) = (CancellationToken::new(), self.config.clone());
        let stopped = stop.clone();
        let running =
            tokio::spawn(async move { lightrail_trigger::run::run(config, stopped).await.unwrap() });
        (stop, running)
    }
}
