//! What is in a file: configuration, detectors, algorithms and versions, events, transitions, chunk switches, damage. For
//! people and as JSON; local files and `root://` URLs. Reads headers of a large file's events and only some of them whole.

mod datasets;
mod lcls1;
mod lcls2;
#[cfg(test)]
mod tests;
mod text;
mod walk;
mod window;

use std::borrow::Cow;

use serde::Serialize;

use crate::formats::cbf::Cbf;
use crate::formats::{FormatError, h5, npy, xtc, xtc2};
use crate::source::{Location, Source, SourceError};
use window::Window;

/// Events are looked into one by one up to here; of a larger file only the first.
const WHOLE_FILE: u64 = 64 << 20;
/// How many.
const LOOKED_INTO: u64 = 100;
/// The largest CBF or index file that is read.
const MOST_WHOLE: u64 = 1 << 30;

/// Why a file could not be looked at.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    /// Its bytes could not be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// It is of no format that is known here.
    #[error("{file} is no XTC2, XTC, index, HDF5, CBF or NumPy file: {why}")]
    Unknown {
        /// The file.
        file: Location,
        /// What it is not.
        why: String,
    },
}

/// What is in a file. What a format does not have is left empty, and out of the JSON.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Report {
    /// Its name.
    pub file: String,
    /// Its length.
    pub bytes: u64,
    /// Its format, in words.
    pub format: Cow<'static, str>,
    /// Single facts: name and value.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub facts: Vec<(String, String)>,
    /// What its configuration says of detectors.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub detectors: Vec<Detector>,
    /// Its transitions, in its order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub transitions: Vec<Transition>,
    /// Its events together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub events: Option<Events>,
    /// Of a small file: where the events lie, by chunk of the big one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub chunks: Vec<Chunk>,
    /// Datasets of an HDF5 file.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub datasets: Vec<h5::Listed>,
    /// What the DAQ marked as damaged.
    pub damage: Vec<Damaged>,
    /// What made reading end early, and where.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
}

/// A detector as the configuration, or its first event, describes it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Detector {
    /// Its name.
    pub name: String,
    /// Its type.
    pub kind: String,
    /// What makes its values, with its version.
    pub algorithm: String,
    /// Its segments.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub segments: Vec<u32>,
    /// Its values: names with type and shape.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<String>,
}

/// A transition of the DAQ.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Transition {
    /// Which.
    pub name: String,
    /// When, UTC.
    pub time: String,
    /// Where it begins.
    pub at: u64,
    /// Its length.
    pub bytes: u64,
    /// What it changes: names, a chunk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub says: Option<String>,
}

/// All events of a file.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Events {
    /// How many.
    pub count: u64,
    /// Of how many the values were looked into.
    pub looked_into: u64,
    /// The first event's id.
    pub first: String,
    /// Its time, UTC.
    pub first_time: String,
    /// The last one's id.
    pub last: String,
    /// Its time, UTC.
    pub last_time: String,
    /// The shortest datagram.
    pub least_bytes: u64,
    /// The longest.
    pub most_bytes: u64,
    /// How many come before the one before them.
    pub out_of_order: u64,
    /// Events a second, where the times make sense.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<f64>,
}

/// Events of a small file in one chunk of the big one.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Chunk {
    /// Its number.
    pub number: u32,
    /// The file's name; none for the one that the stream begins with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// How many events lie there.
    pub events: u64,
    /// Where the first of them begins.
    pub from: u64,
    /// Where the last of them ends.
    pub to: u64,
}

/// A kind of damage.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Damaged {
    /// Of what.
    pub of: String,
    /// Which.
    pub what: String,
    /// How many events have it.
    pub events: u64,
    /// Where the first of them begins.
    pub first_at: u64,
}

/// Looks at a file.
pub async fn inspect(source: &Source, file: &Location) -> Result<Report, InspectError> {
    let mut window = Window::open(source.clone(), file.clone()).await?;
    let report = Report { file: file.name().to_owned(), bytes: window.size(), ..Report::default() };
    let head = window.at(0, 64).await?.to_vec();
    if h5::is_hdf5(&head) {
        let storage = source.ranged(file).await?;
        let report = tokio::task::spawn_blocking(move || datasets::hdf5(report, storage)).await;
        return report.map_err(|error| unknown(file, error.to_string()));
    }
    if head.starts_with(b"###CBF") {
        return Ok(datasets::cbf(report, &whole(&mut window, file).await?));
    }
    if npy::is_npy(&head) {
        return Ok(datasets::npy(report, &whole(&mut window, file).await?));
    }
    let index = head
        .get(..4)
        .map(|word| xtc::TypeId::from_word(u32::from_le_bytes([word[0], word[1], word[2], word[3]])));
    if index.is_some_and(|kind| kind.number == 38 && (1..=2).contains(&kind.version) && !kind.compressed) {
        return Ok(lcls1::index(report, &whole(&mut window, file).await?));
    }
    match (xtc2::Header::parse(&head, 0), xtc::Header::parse(&head, 0)) {
        (Ok(_), _) => Ok(lcls2::stream(report, &mut window).await?),
        (_, Ok(_)) => Ok(lcls1::stream(report, &mut window).await?),
        (Err(two), Err(one)) => Err(unknown(file, format!("{two}; {one}"))),
    }
}

fn unknown(file: &Location, why: String) -> InspectError {
    InspectError::Unknown { file: file.clone(), why }
}

/// All of a file that must be read whole.
async fn whole(window: &mut Window, file: &Location) -> Result<Vec<u8>, InspectError> {
    match usize::try_from(window.size()) {
        Ok(size) if window.size() <= MOST_WHOLE => Ok(window.at(0, size).await?.to_vec()),
        _ => Err(unknown(file, format!("{} bytes are too many for its format", window.size()))),
    }
}

impl Report {
    fn looked_into(&mut self, events: u64) {
        self.events.get_or_insert_with(Events::default).looked_into += events;
    }

    /// Counts an event by its header.
    fn count(&mut self, id: String, time: String, order: std::cmp::Ordering, bytes: u64) {
        let events = self.events.get_or_insert_with(Events::default);
        if events.count == 0 {
            (events.first, events.first_time, events.least_bytes) = (id.clone(), time.clone(), bytes);
        }
        events.count += 1;
        events.out_of_order += u64::from(order == std::cmp::Ordering::Less);
        (events.last, events.last_time) = (id, time);
        events.least_bytes = events.least_bytes.min(bytes);
        events.most_bytes = events.most_bytes.max(bytes);
    }

    fn damaged(&mut self, of: &str, what: String, at: u64) {
        match self.damage.iter_mut().find(|known| known.of == of && known.what == what) {
            Some(known) => known.events += 1,
            None => self.damage.push(Damaged { of: of.to_owned(), what, events: 1, first_at: at }),
        }
    }

    /// Sets the rate from the first and last event's seconds.
    #[allow(clippy::cast_precision_loss)] // a rate to three digits
    fn rate(&mut self, seconds: f64) {
        if let Some(events) = self.events.as_mut().filter(|events| events.count > 1) {
            let rate = (events.count - 1) as f64 / seconds;
            // Made-up files count their events in nanoseconds.
            events.rate = Some(rate).filter(|rate| (1e-3..1e5).contains(rate));
        }
    }

    /// The first fault is told; what comes of it later is not.
    fn fault(&mut self, error: &FormatError) {
        self.fault.get_or_insert_with(|| error.to_string());
    }
}

/// The sums of a CBF file's sections, in words.
fn sums(cbf: &Cbf<'_>) -> String {
    match cbf.sums_agree() {
        Ok(()) => "agree with the header, where it says any".to_owned(),
        Err(error) => error.to_string(),
    }
}
