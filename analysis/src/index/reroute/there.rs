//! Whether a site has the files that images need: its place is asked where it can be looked at from here, else what the mover
//! has said on `files.available` counts.

use std::collections::BTreeMap;
use std::fmt;

use futures::StreamExt as _;
use lightrail_topics::events::{FileEvent, Image};
use lightrail_topics::kafka::{KafkaError, fold_to_end};
use lightrail_topics::{Event, Lfn, Record, SiteName, Topic, decode};

use super::super::publish::Place;
use crate::config::{self, Site};
use crate::source::SourceError;

/// The files that images need, each up to the end of its last piece.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Needed(BTreeMap<Lfn, u64>);

impl Needed {
    /// Adds what an image needs.
    pub(super) fn add(&mut self, image: &Image) {
        let extents = image.extents.iter().map(|extent| (&extent.lfn, extent.offset, extent.length));
        let configure = image.configure.iter().map(|place| (&place.lfn, place.offset, place.length));
        for (lfn, offset, length) in extents.chain(configure) {
            let end = self.0.entry(lfn.clone()).or_default();
            *end = (*end).max(offset.saturating_add(length));
        }
    }

    /// All of both.
    pub(super) fn merge(&mut self, other: Self) {
        for (lfn, needed) in other.0 {
            let end = self.0.entry(lfn).or_default();
            *end = (*end).max(needed);
        }
    }
}

/// A file that is not as it has to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lack {
    /// Which.
    pub lfn: Lfn,
    /// What is the matter.
    pub why: String,
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.lfn, self.why)
    }
}

/// Files that are asked for at the same time.
const AT_ONCE: usize = 16;

/// What a site lacks.
pub(super) async fn lacking(
    place: &Place,
    site: &SiteName,
    files: &Site,
    needed: &Needed,
) -> Result<Vec<Lack>, KafkaError> {
    let can_be_seen = match &files.place {
        config::Place::Folder(folder) => folder.is_dir(),
        config::Place::Behind { .. } => true,
    };
    let looks = needed.0.iter().map(async |(lfn, end)| {
        let size = place.source.size(&files.location(lfn)).await;
        (lfn.clone(), *end, seen(can_be_seen, size, *end))
    });
    let mut looks = futures::stream::iter(looks).buffered(AT_ONCE);
    let (mut lacking, mut unseen) = (Vec::new(), Vec::new());
    while let Some((lfn, end, seen)) = looks.next().await {
        match seen {
            Seen::There => {}
            Seen::Not(why) => lacking.push(Lack { lfn, why }),
            Seen::Unknown(why) => unseen.push((lfn, end, why)),
        }
    }
    if unseen.is_empty() {
        return Ok(lacking);
    }
    let said = said(place, site).await?;
    for (lfn, end, why) in unseen {
        match said.get(&lfn) {
            Some(size) if *size >= end => {}
            Some(size) => {
                let why = format!("it was announced with {size} bytes, and byte {end} is needed");
                lacking.push(Lack { lfn, why });
            }
            None => lacking.push(Lack { lfn, why: format!("it is not announced, and {why}") }),
        }
    }
    Ok(lacking)
}

/// What looking at a file has told.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    There,
    Not(String),
    Unknown(String),
}

fn seen(can_be_seen: bool, size: Result<u64, SourceError>, end: u64) -> Seen {
    match size {
        Ok(size) if size >= end => Seen::There,
        Ok(size) => Seen::Not(format!("it has {size} bytes, and byte {end} is needed")),
        Err(SourceError::Missing { .. }) if can_be_seen => Seen::Not("it is not there".to_owned()),
        Err(SourceError::Missing { .. }) => Seen::Unknown("the site's folder is not mounted here".to_owned()),
        Err(error) => Seen::Unknown(format!("its place cannot be asked ({error})")),
    }
}

/// The files that are announced at a site, with their sizes. Nothing where nobody announces files.
async fn said(place: &Place, site: &SiteName) -> Result<BTreeMap<Lfn, u64>, KafkaError> {
    let (topics, site) = (place.topics.clone(), site.clone());
    let take = move |said: &mut BTreeMap<Lfn, u64>, record: Record| match decode(&topics, &record) {
        Ok(Event::File(FileEvent::Available(file))) if file.site == site => {
            said.insert(file.lfn, file.size);
        }
        Ok(Event::File(FileEvent::Gone(file))) if file.site == site => drop(said.remove(&file.lfn)),
        _ => {}
    };
    let names = [place.topics.name(Topic::FilesAvailable)];
    let from = BTreeMap::new();
    let all = fold_to_end(&place.connection, &names, &from, place.patience, BTreeMap::new(), take);
    match all.await {
        Err(KafkaError::UnknownTopic(_)) => Ok(BTreeMap::new()),
        said => said,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Location;

    #[test]
    fn what_cannot_be_seen_is_not_taken_for_lost() {
        let file = Location::local("/data/x");
        let missing = || Err(SourceError::Missing { file: file.clone() });
        assert_eq!(seen(true, Ok(10), 10), Seen::There);
        assert!(matches!(seen(true, Ok(9), 10), Seen::Not(why) if why.contains("9 bytes")));
        assert!(matches!(seen(true, missing(), 1), Seen::Not(_)));
        assert!(matches!(seen(false, missing(), 1), Seen::Unknown(why) if why.contains("mounted")));
        let away = SourceError::NoAnswer { file: file.clone(), source: None };
        assert!(matches!(seen(true, Err(away), 1), Seen::Unknown(_)));
    }
}
