//! The same reads and kernels without Kafka: threads side by side, each reads a few images at a time into buffers that it keeps,
//! decodes them and takes them through the worker's own stages, powders included.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use lightrail_analysis::decode::Decoder;
use lightrail_analysis::inputs;
use lightrail_analysis::pipeline::{Chain, Workspace};
use lightrail_analysis::trial::Parameters;
use lightrail_analysis::work::powder::Sums;
use lightrail_analysis::work::stages::{Chained, Job, Progress, Stages as _};
use lightrail_topics::Lfn;
use lightrail_topics::events::Image;

/// As many as a worker's thread takes together.
const TOGETHER: usize = 4;

/// Tables of the trial, made once as a worker makes them.
pub(super) struct Alone {
    store: PathBuf,
    decoder: Arc<Decoder>,
    chain: Arc<Chain>,
    powders: Arc<Sums>,
}

impl Alone {
    /// For a run whose images all have one configuration.
    pub(super) fn new(store: &Path, parameters: &Parameters, image: &Image) -> anyhow::Result<Self> {
        let read = |lfn: &Lfn, offset, length| {
            let mut bytes = Vec::new();
            read(&File::open(path(store, lfn))?, offset, length, &mut bytes)?;
            anyhow::Ok(bytes)
        };
        let configure = image
            .configure
            .iter()
            .map(|place| anyhow::Ok((place.clone(), read(&place.lfn, place.offset, place.length)?)));
        let configure = configure.collect::<anyhow::Result<Vec<_>>>()?;
        let detector = &parameters.detector;
        let decoder = Decoder::new(&detector.name, detector.kind, &configure)?;
        let extents = image.extents.iter().map(|extent| read(&extent.lfn, extent.offset, extent.length));
        let extents = extents.collect::<anyhow::Result<Vec<_>>>()?;
        let pieces: Vec<_> = image.extents.iter().zip(extents.iter().map(Vec::as_slice)).collect();
        let setup = decoder.setup(&image.image.event, &pieces)?;
        let chain = inputs::compile(parameters, image.image.run.run, setup, store)?;
        let powders = Arc::new(Sums::new(store.join("powders"), "alone".parse()?));
        Ok(Self { store: store.to_owned(), decoder: Arc::new(decoder), chain: Arc::new(chain), powders })
    }

    /// Images a second of so many side by side, each with tables of its own, as workers have them.
    #[allow(clippy::cast_precision_loss)] // numbers of images
    pub(super) fn rate(all: &[Self], images: &[Image]) -> anyhow::Result<f64> {
        let threads = all.len();
        let share = images.len() / threads;
        let begun = Instant::now();
        std::thread::scope(|scope| {
            let parts = all.iter().zip(images.chunks(share));
            let all: Vec<_> = parts.map(|(one, part)| scope.spawn(|| one.work(part, TOGETHER))).collect();
            all.into_iter().try_for_each(|one| one.join().expect("a thread that works").map(drop))
        })?;
        Ok((share * threads) as f64 / begun.elapsed().as_secs_f64())
    }

    /// How long each image takes when it is worked by itself.
    pub(super) fn one_by_one(&self, images: &[Image]) -> anyhow::Result<Vec<Duration>> {
        self.work(images, 1)
    }

    /// How long each few took.
    fn work(&self, images: &[Image], together: usize) -> anyhow::Result<Vec<Duration>> {
        let stages = Chained { powders: Some(self.powders.clone()) };
        let (mut workspace, progress) = (Workspace::default(), Progress::default());
        let (mut files, mut buffers): (Vec<(Lfn, File)>, Vec<Vec<u8>>) = (Vec::new(), Vec::new());
        let mut times = Vec::with_capacity(images.len() / together);
        for images in images.chunks(together) {
            let begun = Instant::now();
            let mut jobs = Vec::with_capacity(together);
            for image in images {
                let mut extents = Vec::with_capacity(image.extents.len());
                for extent in &image.extents {
                    if !files.iter().any(|(lfn, _)| *lfn == extent.lfn) {
                        files.push((extent.lfn.clone(), File::open(path(&self.store, &extent.lfn))?));
                    }
                    let (_, file) =
                        files.iter().find(|(lfn, _)| *lfn == extent.lfn).context("opened just now")?;
                    let mut bytes = buffers.pop().unwrap_or_default();
                    read(file, extent.offset, extent.length, &mut bytes)?;
                    extents.push(bytes);
                }
                let (decoder, chain) = (self.decoder.clone(), self.chain.clone());
                jobs.push(Job { image: Arc::new(image.clone()), extents, decoder, chain });
            }
            let given: Vec<_> = jobs.iter().map(|job| (job, &progress)).collect();
            for worked in stages.work(&given, &mut workspace) {
                worked.map_err(|bad| anyhow::anyhow!("an image ended badly: {bad:?}"))?;
            }
            buffers.extend(jobs.into_iter().flat_map(|job| job.extents));
            times.push(begun.elapsed());
        }
        Ok(times)
    }
}

fn path(store: &Path, lfn: &Lfn) -> PathBuf {
    store.join(lfn.as_str().trim_start_matches('/'))
}

fn read(file: &File, offset: u64, length: u64, into: &mut Vec<u8>) -> anyhow::Result<()> {
    into.resize(usize::try_from(length)?, 0);
    file.read_exact_at(into, offset).context("a file of the run is too short")
}
