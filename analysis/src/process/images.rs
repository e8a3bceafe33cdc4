//! From a run's files to its images, as the index makes them, and what the first bytes tell of the data.

use std::collections::{BTreeSet, HashSet};

use lightrail_topics::events::Image;
use lightrail_topics::{FileKind, Lfn, RunNumber, SiteName, TrialNumber};

mod linked;

use super::chosen::{Chosen, Told};
use super::files::{Files, RunFiles, small_beside};
use crate::formats::cbf::Cbf;
use crate::formats::xtc2::{Configuration, Datagram, HEADER, Header};
use crate::geometry::Geometry;
use crate::geometry::crystfel::Encoder;
use crate::index::whole;
use crate::index::{Join, Joined, Stream};
use crate::inputs;
use crate::source::{Extent as Bytes, Location, Source, SourceError};

/// Bytes of an index file that are read at once.
const AT_ONCE: u64 = 32 << 20;
/// A larger Configure is damaged.
const MOST_CONFIGURE: u64 = 64 << 20;

/// The images of one run.
#[derive(Clone, Debug, Default)]
pub struct RunImages {
    /// In order of their events.
    pub images: Vec<Image>,
    /// What was wrong with the files that name them: images may be missing.
    pub faults: Vec<String>,
    /// The detectors that have images, where the one that was asked for has none.
    pub others: Vec<String>,
    /// Where the pixels are, where a file says that apart from its images (HDF5).
    pub plane: Option<Geometry>,
}

/// What of a run's files is wanted.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The detector, by its name in the data.
    pub detector: String,
    /// Where HDF5 files hold its distance.
    pub encoder: Option<Encoder>,
}

impl Wanted {
    /// What a trial wants of a run. A geometry that cannot be read is told where the trial is compiled.
    pub fn by(chosen: &Chosen, run: RunNumber) -> Self {
        let Chosen { parameters, base, .. } = chosen;
        let encoder = inputs::encoder(parameters, run, base).ok().flatten();
        Self { detector: parameters.detector.name.clone(), encoder }
    }
}

/// The trial's number and the site's name of work without services.
fn nobody() -> (TrialNumber, SiteName) {
    (TrialNumber(0), "LOCAL".parse().expect("letters"))
}

/// The images of a run's files.
///
/// # Errors
/// A named file that cannot be read at all. Damage within one is a fault of the images.
pub async fn of_run(
    files: &Files,
    run: &RunFiles,
    wanted: &Wanted,
    source: &Source,
) -> Result<RunImages, SourceError> {
    let detector = wanted.detector.as_str();
    let (trial, site) = nobody();
    let mut found = RunImages::default();
    let mut join = Join::new();
    for lfn in &run.streams {
        let lfn = match small_beside(lfn) {
            Some(small) if is_there(files, &small, source).await => small,
            _ => lfn.clone(),
        };
        let Some(mut stream) = Stream::of(&lfn, detector) else {
            found.faults.push(format!("{}: its name is none of an index or a stream", lfn.file_name()));
            continue;
        };
        read(&mut stream, files, source).await?;
        // A small file that is damaged says nothing of what lies behind: the big file does.
        if let (false, Some(big)) = (stream.faults().is_empty(), stream.big_file())
            && is_there(files, &big, source).await
            && let Some(mut whole) = Stream::of(&big, detector)
        {
            read(&mut whole, files, source).await?;
            stream = whole;
        }
        join.add(stream);
    }
    found.images.extend(join.all().iter().map(|image| image.image(&run.run, trial, &site)));
    found.faults.extend(join.faults());
    let there: BTreeSet<&str> = join.streams().iter().flat_map(Stream::detectors).collect();
    if found.images.is_empty() && !there.is_empty() && !there.contains(detector) {
        found.others = there.into_iter().map(str::to_owned).collect();
        let others = found.others.join(", ");
        found.faults.push(format!("run {} has no images of `{detector}`; it has {others}", run.run));
    }
    let mut joined = Vec::new();
    for lfn in &run.single {
        let Some(place) = files.location(lfn) else { continue };
        match lfn.kind() {
            FileKind::Hdf5 => {
                joined.extend(linked::of_hdf5(lfn, &place, wanted, source, &mut found).await?);
            }
            _ => joined.push(whole::cbf(lfn, source.size(&place).await?)),
        }
    }
    // A master file and a file that it points to may both be named: the image of which more is said counts.
    joined.sort_by_key(|image: &Joined| image.shot.photon_energy.is_none());
    let mut seen = HashSet::new();
    joined.retain(|image| seen.insert(image.event.clone()));
    joined.sort_by(|one, other| one.event.cmp(&other.event));
    found.images.extend(joined.iter().map(|image| image.image(&run.run, trial, &site)));
    Ok(found)
}

async fn is_there(files: &Files, lfn: &Lfn, source: &Source) -> bool {
    match files.location(lfn) {
        Some(place) => source.size(&place).await.is_ok(),
        None => false,
    }
}

/// Reads a stream to its end.
async fn read(stream: &mut Stream, files: &Files, source: &Source) -> Result<(), SourceError> {
    let mut is_first = true;
    while let Some(want) = stream.wants() {
        let Some(file) = files.location(&want.lfn) else {
            stream.end();
            continue;
        };
        let size = match source.size(&file).await {
            // There is no further chunk. A file that was named must be there.
            Err(SourceError::Missing { .. }) if !is_first => {
                stream.end();
                continue;
            }
            size => size?,
        };
        is_first = false;
        let there = size.saturating_sub(want.offset);
        let length = want.length.unwrap_or(AT_ONCE).min(AT_ONCE).min(there);
        if length == 0 {
            stream.end();
            continue;
        }
        let bytes = source.read(&Bytes { file, offset: want.offset, length }).await?;
        if stream.take(&bytes).is_err() {
            // It has noted the fault, and wants no more.
            break;
        }
        if stream.wants() == Some(want) {
            // The rest is a cut datagram.
            stream.end();
        }
    }
    Ok(())
}

/// What the first file that says something tells of the data.
pub async fn told(files: &Files, source: &Source) -> Result<Told, SourceError> {
    let mut detectors: Vec<(String, String)> = Vec::new();
    for run in files.runs.iter().take(1) {
        for lfn in run.streams.iter().filter(|lfn| lfn.file_name().rsplit('.').next() == Some("xtc2")) {
            let Some(place) = files.location(lfn) else { continue };
            detectors.extend(configured(&place, source).await?);
        }
        if run.single.iter().any(|lfn| lfn.kind() == FileKind::Hdf5) {
            return Ok(Told::Counts { cutoff: None });
        }
        if let Some(place) =
            run.single.iter().find(|lfn| lfn.kind() == FileKind::Cbf).and_then(|lfn| files.location(lfn))
        {
            let length = source.size(&place).await?;
            let bytes = source.read(&Bytes { file: place, offset: 0, length }).await?;
            return Ok(match Cbf::read(&bytes).ok().and_then(|cbf| cbf.mini()) {
                Some(mini) => Told::Counts { cutoff: mini.count_cutoff },
                None => Told::Corrected,
            });
        }
    }
    detectors.sort();
    detectors.dedup();
    Ok(if detectors.is_empty() { Told::Nothing } else { Told::Detectors(detectors) })
}

/// The detectors with images that a stream's Configure names; none where it cannot be read, which is told later.
async fn configured(place: &Location, source: &Source) -> Result<Vec<(String, String)>, SourceError> {
    let size = source.size(place).await?;
    let header = HEADER as u64;
    if size < header {
        return Ok(Vec::new());
    }
    let bytes = source.read(&Bytes { file: place.clone(), offset: 0, length: header }).await?;
    let Ok(found) = Header::parse(&bytes, 0) else { return Ok(Vec::new()) };
    let length = found.size as u64;
    if length > size.min(MOST_CONFIGURE) {
        return Ok(Vec::new());
    }
    let bytes = source.read(&Bytes { file: place.clone(), offset: 0, length }).await?;
    let configuration = Datagram::parse(&bytes, 0).and_then(|datagram| Configuration::of(&datagram));
    let Ok(configuration) = configuration else { return Ok(Vec::new()) };
    let images = configuration.names().filter(|names| names.image_field().is_some());
    Ok(images.map(|names| (names.detector.clone(), names.kind.clone())).collect())
}
