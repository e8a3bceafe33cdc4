//! Publishes a run's images under a trial for a site: fences whoever did before, reads how far it is, reads the run's index
//! files, and publishes what is missing, each batch with its progress in one transaction. Decides nothing about when.

mod read;
mod whole;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::PathBuf;
use std::time::Duration;

use lightrail_topics::events::{IndexState, Indexed};
use lightrail_topics::kafka::{Admin, Connection, KafkaError, PublishError, Publisher, Timeouts};
use lightrail_topics::{EventId, Lfn, Millis, RunInTrial, SiteName, SiteTopic, Topic, Topics, message};

use super::files::RunFiles;
use super::fit::{self, Fits, Unfit};
use super::kept::{published_keys, read_progress};
use super::progress::{Kept, Progress, Step};
use super::stream::Stream;
use super::{Join, Joined};
use crate::config::Site;
use crate::source::{Source, SourceError};
use crate::trial::Parameters;

use self::whole::WholeFiles;

pub(super) use self::read::growing_location;

/// `ce_source` of what index says.
pub(super) const SOURCE: &str = "lightrail-analysis/index";

/// Where and with what a site's images are published.
#[derive(Clone, Debug)]
pub struct Place {
    /// The broker.
    pub connection: Connection,
    /// The topics' names.
    pub topics: Topics,
    /// Reads the site's files.
    pub source: Source,
    /// The site.
    pub site: SiteName,
    /// How its files are read.
    pub files: Site,
    /// All sites that may have published something.
    pub sites: Vec<SiteName>,
    /// Where relative paths of trials begin.
    pub base: PathBuf,
    /// The most images of one transaction.
    pub batch: usize,
    /// How long others' open transactions are waited for.
    pub patience: Duration,
    /// Trials that are known to fit.
    pub fits: Fits,
}

/// Why a run is not published, or not further.
#[derive(Debug, thiserror::Error)]
pub enum PublishFault {
    /// Another process publishes this run under this trial.
    #[error("another process has taken over the publication of {0}")]
    Fenced(RunInTrial),
    /// It was begun for another site and is left to it.
    #[error("{of} was begun for {site} and is left to it; `reroute` moves it")]
    Elsewhere {
        /// What.
        of: RunInTrial,
        /// For which.
        site: SiteName,
    },
    /// The trial does not fit the data.
    #[error("trial {trial} does not fit the data of run {run}: {why}", trial = of.trial, run = of.run)]
    Refused {
        /// What.
        of: RunInTrial,
        /// What differs.
        why: String,
    },
    /// A file cannot be read.
    #[error("a file of the run cannot be read")]
    Source(#[from] SourceError),
    /// Kafka does not do it.
    #[error("kafka does not do it")]
    Kafka(#[from] KafkaError),
    /// Kafka does not take it.
    #[error("kafka does not take the images")]
    Publish(#[source] PublishError),
    /// An index file was registered again: everything is read anew.
    #[error("{0} was registered again")]
    Registered(Lfn),
}

/// What a publication is for.
#[derive(Clone, Debug)]
pub struct Purpose {
    /// The run under its trial.
    pub of: RunInTrial,
    /// What the trial says.
    pub parameters: Parameters,
    /// The topic.
    pub topic: SiteTopic,
    /// Whether what a correction brings is to be added later.
    pub live: bool,
    /// Of the images these only; all where there is none.
    pub only: Option<HashSet<EventId>>,
}

/// A publication under way.
#[derive(Debug)]
pub struct Publication<'p> {
    place: &'p Place,
    purpose: Purpose,
    publisher: Publisher,
    progress: Progress,
    join: Join,
    partitions: usize,
    is_resumed: bool,
    is_checked: bool,
    whole: WholeFiles,
    /// How long growing files are.
    sizes: BTreeMap<Lfn, u64>,
    told: usize,
    lacking: usize,
}

/// How far a publication is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Published {
    /// Images published by this call.
    pub new: u64,
    /// Images published for all sites.
    pub all: u64,
    /// Whether the run is closed and all its images are published.
    pub is_done: bool,
    /// What was wrong with its index files, since the last call.
    pub faults: Vec<String>,
    /// Parts that came after their image.
    pub late: usize,
    /// Images that are not published, for the closed run lacks files of theirs.
    pub lacking: usize,
}

impl<'p> Publication<'p> {
    /// Fences, and reads what is published; the run's index files are read beside. `kept` is what is known of what is published;
    /// it may be old.
    pub async fn begin(
        place: &'p Place,
        purpose: Purpose,
        kept: Kept,
        files: &RunFiles,
    ) -> Result<Self, PublishFault> {
        let of = purpose.of.clone();
        let id = transactional_id(&place.topics, &of);
        let publisher = Publisher::start(&place.connection, &place.topics, &id, Timeouts::default())?;
        let topic = place.topics.name(purpose.topic.at(&place.site));
        let mut publication = Self {
            place,
            purpose,
            publisher,
            progress: Progress::default(),
            join: Join::new(),
            partitions: 0,
            is_resumed: false,
            is_checked: false,
            whole: WholeFiles::default(),
            sizes: BTreeMap::new(),
            told: 0,
            lacking: 0,
        };
        let admin = Admin::new(&place.connection, place.patience);
        let fence = publication.publisher.clone();
        let known = async {
            fence.init(place.patience).await.map_err(|error| fenced(&of, error))?;
            // Only from here on what is read stays true: nobody else goes on with it.
            Ok::<_, PublishFault>(read_progress(place, &of, kept).await?)
        };
        let (known, partitions, read) =
            tokio::join!(known, admin.partitions(&topic), publication.read(files));
        publication.progress = known?;
        if let Some(site) = publication.progress.owner().filter(|owner| **owner != place.site) {
            return Err(PublishFault::Elsewhere { of, site: site.clone() });
        }
        publication.partitions = partitions?.len();
        // Of a run that is left to another site the files need not be here.
        read?;
        Ok(publication)
    }

    /// Reads on and publishes what is complete and there.
    pub async fn go_on(&mut self, files: &RunFiles) -> Result<Published, PublishFault> {
        self.read(files).await?;
        if !self.is_resumed {
            self.resume().await?;
            self.is_resumed = true;
        }
        let before = self.progress.images();
        loop {
            let (sizes, only) = (&self.sizes, &self.purpose.only);
            let size = |lfn: &Lfn| sizes.get(lfn).copied().unwrap_or(0);
            let mut images =
                self.join.next(self.place.batch, |joined| files.is_closed() || files.has(joined, size));
            let is_last = images.len() < self.place.batch;
            // What lies in a file that a closed run leaves out comes with the correction that brings it.
            let before = images.len();
            images.retain(|joined| files.has(joined, size));
            self.lacking += before - images.len();
            if let Some(only) = only {
                images.retain(|joined| only.contains(&joined.event));
            }
            self.check(files, &images).await?;
            if !images.is_empty() || is_last {
                self.publish(files, &images).await?;
            }
            if is_last {
                break;
            }
        }
        let faults = self.join.faults();
        let new_faults = faults.get(self.told..).unwrap_or_default().to_vec();
        self.told = faults.len();
        Ok(Published {
            new: self.progress.images() - before,
            all: self.progress.images(),
            is_done: self.is_done(files),
            faults: new_faults,
            late: self.join.late(),
            lacking: self.lacking,
        })
    }

    /// What the site has said of it last.
    pub fn said(&self) -> Option<&Indexed> {
        self.progress.at(&self.place.site)
    }

    fn is_done(&self, files: &RunFiles) -> bool {
        files.is_closed() && self.join.is_done()
    }

    /// Goes on where whoever published before has stopped.
    async fn resume(&mut self) -> Result<(), PublishFault> {
        let published = self.progress.images();
        let Err(why) = self.join.resume(self.progress.positions(), published) else { return Ok(()) };
        tracing::warn!(run = %self.purpose.of, %why, "what is published is not known from positions; the topics are read");
        let keys = published_keys(self.place, &self.purpose.of).await?;
        if (keys.len() as u64) < published {
            tracing::error!(
                run = %self.purpose.of,
                found = keys.len(),
                published,
                "images that were published are no longer on their topics; they may be published again"
            );
        }
        self.join.skip(keys);
        Ok(())
    }

    /// Whether the trial fits the data, by the first image that can be decoded.
    async fn check(&mut self, files: &RunFiles, images: &[Joined]) -> Result<(), PublishFault> {
        if self.is_checked {
            return Ok(());
        }
        let parameters = &self.purpose.parameters;
        let refused = |why| PublishFault::Refused { of: self.purpose.of.clone(), why };
        if images.is_empty() {
            return match self.others_than(&parameters.detector.name) {
                Some(there) if files.is_closed() => Err(refused(format!(
                    "the data have no images of `{}` (detector.name of the trial); they have {there}",
                    parameters.detector.name
                ))),
                _ => Ok(()),
            };
        }
        match fit::check(self.place, parameters, self.purpose.of.run.run, images).await {
            Ok(()) => self.is_checked = true,
            Err(Unfit::Trial(why)) => return Err(refused(why)),
            Err(Unfit::Source(error)) => return Err(error.into()),
        }
        Ok(())
    }

    /// The detectors of which there are images, where all streams are known and none has the one that is wanted.
    fn others_than(&self, detector: &str) -> Option<String> {
        let streams = self.join.streams();
        let there: BTreeSet<&str> = streams.iter().flat_map(Stream::detectors).collect();
        let is_known = streams.iter().all(|stream| stream.faults().is_empty());
        (is_known && !there.is_empty() && !there.contains(detector))
            .then(|| there.into_iter().collect::<Vec<_>>().join(", "))
    }

    /// One transaction: images, and how far the run is.
    async fn publish(&mut self, files: &RunFiles, images: &[Joined]) -> Result<(), PublishFault> {
        let of = &self.purpose.of;
        let (site, at) = (&self.place.site, now());
        let is_done = self.is_done(files);
        // A choice of images is no beginning of any file: what is published is then known by the images' keys.
        let positions = match &self.purpose.only {
            Some(_) => self.progress.positions().to_vec(),
            None => self.join.positions(),
        };
        let step = Step {
            state: if is_done { IndexState::Closed } else { IndexState::Growing },
            manifest: files.manifest.clone().filter(|_| is_done),
            positions,
        };
        let next = self.progress.next(of, site, self.purpose.live, images.len() as u64, step, at);
        let is_known = || self.progress.at(site).is_some_and(|before| says_the_same(before, &next));
        if images.is_empty() && (!is_done || is_known()) {
            return Ok(());
        }
        let count = usize::try_from(self.progress.images()).unwrap_or(0);
        let mut messages = Vec::with_capacity(images.len() + 1);
        for (n, joined) in images.iter().enumerate() {
            let image = joined.image(&of.run, of.trial, site);
            let partition = i32::try_from((count + n) % self.partitions.max(1)).ok();
            messages.push((message::image(&image, self.purpose.topic, SOURCE, at), partition));
        }
        messages.push((message::indexed(&next, SOURCE, at), None));
        self.publisher.publish_to(messages, None).await.map_err(|error| fenced(of, error))?;
        self.progress.take(next);
        Ok(())
    }
}

/// Whether two messages differ in nothing but their number and time.
fn says_the_same(before: &Indexed, next: &Indexed) -> bool {
    let alike = Indexed { number: before.number, at: before.at, ..next.clone() };
    *before == alike
}

/// Made from experiment, run and trial, so that whoever publishes a run fences whoever did before, at whatever site.
pub(super) fn transactional_id(topics: &Topics, of: &RunInTrial) -> String {
    format!("{}.index.{}.{}.{}", topics.name(Topic::ImagesIndexed), of.run.experiment, of.run.run, of.trial)
}

pub(super) fn fenced(of: &RunInTrial, error: PublishError) -> PublishFault {
    match error {
        PublishError::Fenced(_) => PublishFault::Fenced(of.clone()),
        error => PublishFault::Publish(error),
    }
}

/// The machine's time.
pub(super) fn now() -> Millis {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
