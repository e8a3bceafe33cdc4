//! Moves runs' images that are not worked yet from one site to another: a member of the first site's groups takes them, and
//! in one transaction they go to the second site, others' images back to the end of the first one's topic, and the group's
//! position past them. Whoever held them before cannot commit them any more.
//!
//! The transaction of a run's images has the run's own transactional id, as its publication has: neither can come between
//! the other's reading of how far the run is and its writing.

mod line;
mod there;
mod transact;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use lightrail_topics::events::Image;
use lightrail_topics::kafka::{
    Admin, GroupMetadata, KafkaError, PublishError, Publisher, Taken, Taker, TakerEvent, TakerSettings,
    fold_to_end,
};
use lightrail_topics::message::stable_hash;
use lightrail_topics::{Event, Experiment, ImageInTrial, Record, RunInTrial, SiteName, Topic, decode};

use self::line::{Batch, Line, batch};
pub use self::there::Lack;
use self::there::{Needed, lacking};
use super::progress::Kept;
use super::publish::Place;
use crate::config::Site;
use crate::trial::Runs;
use crate::work::decide::Lane;

/// What is to be moved.
#[derive(Clone, Debug)]
pub struct Reroute {
    /// Of this experiment.
    pub experiment: Experiment,
    /// These of its runs.
    pub runs: Runs,
    /// From this site.
    pub from: SiteName,
    /// To this one.
    pub to: SiteName,
    /// Where that one's files lie.
    pub files: Site,
}

/// What was moved.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    /// Images that are now the second site's, by run and trial.
    pub images: BTreeMap<RunInTrial, u64>,
    /// Others' images that were put back.
    pub put_back: u64,
}

/// Why it could not be done, or not to the end. What was moved until then is moved whole.
#[derive(Debug, thiserror::Error)]
pub enum RerouteError {
    /// Kafka does not do it.
    #[error("kafka does not do it")]
    Kafka(#[from] KafkaError),
    /// Kafka does not take it.
    #[error("kafka does not take the images")]
    Publish(#[from] PublishError),
    /// Another process has taken our place in the group.
    #[error("another process has taken our place in the group: {0}")]
    Fenced(String),
    /// The second site does not have what the images lie in.
    #[error(
        "{site} lacks {} of the files that the images lie in, such as {}; have them moved there first",
        lacking.len(),
        lacking.first().map(Lack::to_string).unwrap_or_default()
    )]
    Lacking {
        /// The second site.
        site: SiteName,
        /// What it lacks.
        lacking: Vec<Lack>,
    },
}

/// Most images of one transaction.
const AT_ONCE: usize = 500;
/// A member that was silent for so long is dead to the group; it stays so long after it has left.
const SESSION: Duration = Duration::from_secs(6);

/// Moves them; ends when both groups of the first site have passed what was on their topics when it began.
pub async fn reroute(place: &Place, asked: &Reroute) -> Result<Moved, RerouteError> {
    let mut moving = Moving::new(place, asked);
    let mut needed = Needed::default();
    for side in moving.sides() {
        needed.merge(moving.survey(&side).await?.needed);
    }
    moving.check(&needed).await?;
    // From now on nobody publishes for the first site what the ends below do not know.
    moving.take_over().await?;
    for side in moving.sides() {
        moving.lane(&side).await?;
    }
    Ok(moving.moved)
}

/// What stands on one of the first site's topics.
#[derive(Default)]
struct Survey {
    /// Per partition the offset after its last image, where the group is not past it.
    ends: BTreeMap<i32, i64>,
    /// What the images that are to be moved lie in.
    needed: Needed,
}

/// One of the first site's topics with its group.
struct Side {
    lane: Lane,
    topic: String,
    group: String,
}

struct Moving<'p> {
    place: &'p Place,
    asked: &'p Reroute,
    admin: Admin,
    kept: Kept,
    publishers: HashMap<Option<RunInTrial>, Publisher>,
    /// Spreads what is moved over the second site's partitions.
    count: usize,
    partitions: usize,
    moved: Moved,
}

impl<'p> Moving<'p> {
    fn new(place: &'p Place, asked: &'p Reroute) -> Self {
        let admin = Admin::new(&place.connection, Duration::from_secs(20));
        let (publishers, moved) = (HashMap::new(), Moved::default());
        Self { place, asked, admin, kept: Kept::default(), publishers, count: 0, partitions: 1, moved }
    }

    fn is_asked(&self, of: &RunInTrial) -> bool {
        is_asked(self.asked, of)
    }

    /// The same when the same is asked for again: it takes over at once what one that was killed has held.
    fn name(&self) -> String {
        let Reroute { experiment, runs, to, .. } = self.asked;
        format!("reroute-{:016x}", stable_hash(format!("{experiment} {runs} {to}").as_bytes()))
    }

    fn sides(&self) -> [Side; 2] {
        let topics = &self.place.topics;
        Lane::ALL.map(|lane| Side {
            lane,
            topic: topics.name(lane.channel(&self.asked.from)),
            group: lane.group(topics, &self.asked.from),
        })
    }

    /// Refuses to move images to where their files are not.
    async fn check(&self, needed: &Needed) -> Result<(), RerouteError> {
        let lacking = lacking(self.place, &self.asked.to, &self.asked.files, needed).await?;
        if lacking.is_empty() {
            return Ok(());
        }
        Err(RerouteError::Lacking { site: self.asked.to.clone(), lacking })
    }

    /// One of the two topics.
    async fn lane(&mut self, side: &Side) -> Result<(), RerouteError> {
        let Survey { ends, needed } = self.survey(side).await?;
        // What has come meanwhile.
        self.check(&needed).await?;
        if ends.is_empty() {
            return Ok(());
        }
        let to = self.place.topics.name(side.lane.channel(&self.asked.to));
        self.partitions = self.admin.partitions(&to).await?.len().max(1);
        let settings = TakerSettings {
            group: side.group.clone(),
            instance: self.name(),
            session_timeout: SESSION,
            topic: side.topic.clone(),
            capacity: 4 * AT_ONCE,
            hand_over: Duration::from_secs(2),
        };
        let connection = self.place.connection.named("lightrail-reroute");
        let (taker, mut taken) = Taker::join(&connection, &settings)?;
        let outcome = self.take(side, &ends, &mut taken).await;
        taker.leave().await;
        outcome
    }

    /// What the group has not passed yet.
    async fn survey(&self, side: &Side) -> Result<Survey, KafkaError> {
        let topics = std::slice::from_ref(&side.topic);
        let from: BTreeMap<(String, i32), i64> =
            self.admin.committed(&side.group, topics).await?.into_iter().collect();
        let marks = self.admin.watermarks(&side.topic).await?;
        // What the topic no longer holds was worked or is lost: reading begins at what it has.
        let from = from.into_iter().filter(|((_, partition), at)| {
            marks.iter().any(|(this, first, end)| this == partition && (first..=end).contains(&at))
        });
        let (names, asked) = (self.place.topics.clone(), self.asked.clone());
        let take = move |survey: &mut Survey, record: Record| {
            survey.ends.insert(record.partition, record.offset + 1);
            if let Ok(event) = decode(&names, &record)
                && let Some(image) = image_of(&event)
                && is_asked(&asked, &run_in_trial(image))
            {
                survey.needed.add(image);
            }
        };
        let limit = self.place.patience.max(Duration::from_secs(300));
        fold_to_end(&self.place.connection, topics, &from.collect(), limit, Survey::default(), take).await
    }

    async fn take(
        &mut self,
        side: &Side,
        ends: &BTreeMap<i32, i64>,
        taken: &mut Taken,
    ) -> Result<(), RerouteError> {
        let mut lines: BTreeMap<i32, Line> = BTreeMap::new();
        let mut member: Option<GroupMetadata> = None;
        let mut worked: Option<HashSet<ImageInTrial>> = None;
        let mut look = tokio::time::interval(Duration::from_millis(500));
        // After a transaction that does not stand events come first: its partition may have gone.
        let mut stands = true;
        'next: loop {
            let holds = |most: usize| lines.values().any(|line| line.len() >= most);
            let is_full = holds(self.at_once());
            let has_work = member.is_some() && holds(1);
            tokio::select! {
                biased;
                // What has come is taken first: a transaction costs the broker the same however many images it has.
                event = taken.next(), if !(has_work && is_full && stands) => match event {
                    None => return Err(KafkaError::Fatal("the taker has ended".to_owned()).into()),
                    Some(TakerEvent::Given(given)) => {
                        lines = given.partitions.iter().map(|begin| (begin.partition, Line::new(begin))).collect();
                        if lines.values().any(Line::replays) && worked.is_none() {
                            tracing::warn!(group = side.group, "the group has lost positions; what results hold is passed over");
                            worked = Some(self.worked().await?);
                        }
                        member = Some(given.group);
                    }
                    Some(TakerEvent::Taken(_release)) => {
                        lines.clear();
                        member = None;
                    }
                    Some(TakerEvent::Record(record)) => {
                        let is_wanted = ends.get(&record.partition).is_some_and(|end| record.offset < *end);
                        if let Some(line) = lines.get_mut(&record.partition).filter(|_| is_wanted) {
                            let what = decode(&self.place.topics, &record);
                            line.push(&record, what, worked.as_ref());
                        }
                    }
                    Some(TakerEvent::Fault(fault)) if fault.is_retriable() => {
                        tracing::warn!(error = %fault, "kafka does not answer well");
                    }
                    Some(TakerEvent::Fault(fault)) => return Err(fault.into()),
                    Some(TakerEvent::Fenced(why)) => return Err(RerouteError::Fenced(why)),
                },
                _ = look.tick(), if !has_work => {
                    for (partition, end) in ends {
                        if self.committed(side, *partition).await?.is_none_or(|at| at < *end) {
                            continue 'next;
                        }
                    }
                    return Ok(());
                }
                () = std::future::ready(()), if has_work => {
                    if let (Some(member), Some((partition, batch))) = (&member, self.next(&lines)) {
                        let note = lines.get(&partition).map(|line| line.note.clone()).unwrap_or_default();
                        // What is not committed is tried again, unless its partition has gone meanwhile.
                        stands = self.transact(side, (partition, note), &batch, member.clone()).await?;
                        if stands {
                            if let Some(line) = lines.get_mut(&partition) {
                                line.passed(batch.next);
                            }
                            self.count_moved(&batch);
                        }
                    }
                }
            }
        }
    }

    fn at_once(&self) -> usize {
        self.place.batch.clamp(1, AT_ONCE)
    }

    fn next(&self, lines: &BTreeMap<i32, Line>) -> Option<(i32, Batch)> {
        lines.iter().find_map(|(partition, line)| {
            let of = |image: &Image| Some(run_in_trial(image)).filter(|of| self.is_asked(of));
            Some((*partition, batch(line, self.at_once(), of)?))
        })
    }

    fn count_moved(&mut self, batch: &Batch) {
        self.moved.put_back += batch.others.len() as u64;
        if let Some(of) = &batch.of {
            *self.moved.images.entry(of.clone()).or_default() += batch.moved.len() as u64;
        }
    }

    /// Images that have results.
    async fn worked(&self) -> Result<HashSet<ImageInTrial>, KafkaError> {
        let names = [self.place.topics.name(Topic::Results)];
        let take = |found: &mut HashSet<ImageInTrial>, record: Record| {
            let key = record.key.as_deref().and_then(|key| std::str::from_utf8(key).ok());
            found.extend(key.and_then(|key| key.parse().ok()));
        };
        let limit = self.place.patience.max(Duration::from_secs(600));
        fold_to_end(&self.place.connection, &names, &BTreeMap::new(), limit, HashSet::new(), take).await
    }
}

fn is_asked(asked: &Reroute, of: &RunInTrial) -> bool {
    of.run.experiment == asked.experiment && asked.runs.contains(of.run.run)
}

fn run_in_trial(image: &Image) -> RunInTrial {
    RunInTrial { run: image.image.run.clone(), trial: image.trial }
}

/// Whether an event is an image.
fn image_of(event: &Event) -> Option<&Image> {
    if let Event::Image(_, image) = event { Some(image) } else { None }
}
