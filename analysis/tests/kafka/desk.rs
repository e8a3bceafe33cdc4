//! An operator's and a mover's desk for cases about index: manifests, services of this process, and what topics hold.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use lightrail_analysis::config::Config;
use lightrail_analysis::index;
use lightrail_compose::{manifests, wait};
use lightrail_topics::events::{
    FileAvailable, FileTiming, Image, IndexState, Indexed, ManifestFile, Registration, RunCorrected,
    RunManifest, Verified,
};
use lightrail_topics::kafka::{Admin, Publisher, Timeouts, read_to_end};
use lightrail_topics::{
    Channel, Event, Generation, Message, Millis, RunKey, SiteName, SiteTopic, Topic, decode, message,
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::play::EXPERIMENT;
use crate::stage::{SOON, Stage};

/// A case's tools.
pub(crate) struct Desk<'s> {
    pub(crate) stage: &'s Stage,
    pub(crate) here: SiteName,
    pub(crate) there: SiteName,
}

/// A service of this process; it ends with its handle.
pub(crate) struct Serving {
    stop: CancellationToken,
    ended: JoinHandle<()>,
}

impl Serving {
    pub(crate) async fn stop(self) -> Result<()> {
        self.stop.cancel();
        tokio::time::timeout(SOON, self.ended).await?.context("it ends well")
    }
}

/// Begins a service of this process.
pub(crate) fn serve(config: Config) -> Serving {
    let stop = CancellationToken::new();
    let running = index::run(config, None, stop.clone());
    let ended = tokio::spawn(async move { running.await.expect("index serves") });
    Serving { stop, ended }
}

impl<'s> Desk<'s> {
    /// Makes what a stage does not have: the mover's topics, and a second site's.
    pub(crate) async fn at(stage: &'s Stage, partitions: i32) -> Result<Self> {
        let (here, there): (SiteName, SiteName) = (stage.site.clone(), "THERE".parse()?);
        let topics = &stage.topics;
        let mut specs = topics.analysis_specs(std::slice::from_ref(&there), partitions, 1);
        specs.extend([topics.spec(Topic::RunsAvailable, 2, 1), topics.spec(Topic::FilesAvailable, 2, 1)]);
        Admin::new(&stage.connection, SOON).create_topics(&specs).await?;
        Ok(Self { stage, here, there })
    }

    pub(crate) fn config(&self, site: &SiteName, more: &str) -> Result<Config> {
        let prefix = self.stage.topics.name(Topic::Trials);
        let text = format!(
            "site = '{site}'\n[kafka]\nbootstrap = ['{}']\nprefix = '{}'\n[sites.HERE]\nfolder = '{data}'\n\
             growing = true\n[sites.THERE]\nfolder = '{there}'\n[trials]\nfolder = '{}'\n[index]\nbatch = 100\nretry = '300ms'\n\
             look = '50ms'\n{more}\n",
            self.stage.connection.bootstrap,
            prefix.strip_suffix("trials").context("a prefix")?,
            self.stage.calibration().display(),
            data = self.stage.data().display(),
            there = self.stage.there.clone().unwrap_or_else(|| self.stage.data()).display(),
        );
        Config::parse(&text).map_err(|faults| anyhow::anyhow!("{faults:?}"))
    }

    pub(crate) async fn say(&self, messages: Vec<Message>) -> Result<()> {
        let id = format!("{}desk-{:x}", self.stage.topics.name(Topic::Trials), fastrand::u64(..));
        let publisher =
            Publisher::start(&self.stage.connection, &self.stage.topics, &id, Timeouts::default())?;
        publisher.init(SOON).await?;
        publisher.publish(messages).await?;
        Ok(())
    }

    async fn read(&self, channel: impl Into<Channel>) -> Result<Vec<(i32, Event)>> {
        let name = self.stage.topics.name(channel);
        let records = read_to_end(&self.stage.connection, &[name], &BTreeMap::new(), SOON).await?;
        let all = records.iter().map(|record| Ok((record.partition, decode(&self.stage.topics, record)?)));
        let all: Result<Vec<_>> = all.collect();
        Ok(all?.into_iter().filter(|(_, event)| *event != Event::Settled).collect())
    }

    /// The images on a topic with their partitions.
    pub(crate) async fn images(&self, topic: SiteTopic, site: &SiteName) -> Result<Vec<(i32, Image)>> {
        let events = self.read(topic.at(site)).await?;
        Ok(events
            .into_iter()
            .filter_map(|(partition, event)| match event {
                Event::Image(_, image) => Some((partition, image)),
                _ => None,
            })
            .collect())
    }

    /// Waits until so many live images are published.
    pub(crate) async fn until_published(&self, count: usize, site: &SiteName) -> Result<Vec<(i32, Image)>> {
        wait::until(&format!("{count} images"), SOON, async || {
            let images = self.images(SiteTopic::ImagesLive, site).await.ok()?;
            (images.len() == count).then_some(images)
        })
        .await
    }

    /// The newest message of each run, trial and site.
    pub(crate) async fn indexed(&self) -> Result<BTreeMap<String, Indexed>> {
        let events = self.read(Topic::ImagesIndexed).await?;
        let of = |(_, event)| if let Event::Indexed(indexed) = event { Some(indexed) } else { None };
        Ok(events
            .into_iter()
            .filter_map(of)
            .map(|indexed: Indexed| (indexed.key().to_string(), indexed))
            .collect())
    }

    /// Waits until a run is closed under a trial with so many images.
    pub(crate) async fn until_closed(&self, run: u32, trial: u32, images: u64) -> Result<Indexed> {
        let key = format!("{EXPERIMENT}/{run}/{trial}@");
        wait::until(&format!("run {run} to be closed with {images} images"), SOON, async || {
            let all = self.indexed().await.ok()?;
            let of_run = all.into_iter().filter(|(name, _)| name.starts_with(&key));
            let closed: Vec<Indexed> = of_run.map(|(_, indexed)| indexed).collect();
            let sum: u64 = closed.iter().map(|indexed| indexed.images).sum();
            closed.into_iter().find(|one| one.state == IndexState::Closed && sum == images)
        })
        .await
    }
}

pub(crate) fn run_key(run: u32) -> RunKey {
    format!("{EXPERIMENT}/{run}").parse().unwrap()
}

/// The manifest of a run's files as they lie in a folder.
pub(crate) fn manifest(folder: &Path, run: u32, site: &SiteName, generation: u32) -> Result<RunManifest> {
    Ok(manifests::of_folder(folder, &run_key(run), site, Generation(generation), Millis(0))?)
}

pub(crate) fn available(manifest: &RunManifest) -> Message {
    message::run_available(manifest, "a mover", Millis(0))
}

/// That a file of a run is there.
pub(crate) fn come(of: &RunManifest, file: &ManifestFile) -> Message {
    let event = FileAvailable {
        lfn: file.lfn.clone(),
        run: of.run.clone(),
        site: of.site.clone(),
        generation: file.generation,
        size: file.size,
        checksum: None,
        verified: Verified::Size,
        unchecked: None,
        url: file.url.clone(),
        already_there: false,
        registration: Registration::default(),
        source_mtime: 0,
        timing: FileTiming::default(),
        attempt: None,
    };
    message::file_available(&event, "a mover", Millis(0))
}

pub(crate) fn corrected(manifest: RunManifest, number: u32) -> Message {
    let event = RunCorrected { number, because: "a file came late".to_owned(), manifest };
    message::run_corrected(&event, "a mover", Millis(0))
}

pub(crate) fn events(images: &[(i32, Image)]) -> BTreeSet<String> {
    images.iter().map(|(_, image)| image.key().to_string()).collect()
}

pub(crate) fn once(images: &[(i32, Image)], count: usize) -> Result<()> {
    let keys = events(images);
    ensure!(
        images.len() == count && keys.len() == count,
        "{} messages of {} images, not {count}",
        images.len(),
        keys.len()
    );
    Ok(())
}
