//! What Kafka holds of runs' publications, read to its present end: how far each is, and where that is not enough the images
//! that are there.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use lightrail_topics::kafka::{Connection, KafkaError, fold_to_end, read_to_end};
use lightrail_topics::{EventId, ImageInTrial, Record, RunInTrial, SiteTopic, Topic, Topics};

use super::progress::{Kept, Progress};
use super::publish::Place;

/// How far a run is, read to the present end.
pub(super) async fn read_progress(
    place: &Place,
    of: &RunInTrial,
    kept: Kept,
) -> Result<Progress, KafkaError> {
    Ok(read_kept(&place.connection, &place.topics, kept, place.patience).await?.of(of))
}

/// What `images.indexed` says, read to its present end from where `kept` has stopped.
pub(super) async fn read_kept(
    connection: &Connection,
    topics: &Topics,
    mut kept: Kept,
    limit: Duration,
) -> Result<Kept, KafkaError> {
    let name = [topics.name(Topic::ImagesIndexed)];
    let records = match read_to_end(connection, &name, &kept.next, limit).await {
        Err(KafkaError::OutOfRange { .. }) => {
            kept = Kept::default();
            read_to_end(connection, &name, &kept.next, limit).await?
        }
        records => records?,
    };
    for record in &records {
        kept.take(topics, record);
    }
    Ok(kept)
}

/// The images of a run under a trial that are on the image topics of any site.
pub(super) async fn published_keys(place: &Place, of: &RunInTrial) -> Result<HashSet<EventId>, KafkaError> {
    let channels = place.sites.iter().flat_map(|site| SiteTopic::ALL.map(|topic| topic.at(site)));
    let names: Vec<String> = channels.map(|channel| place.topics.name(channel)).collect();
    let of = of.clone();
    let take = move |found: &mut HashSet<EventId>, record: Record| {
        let key = record.key.as_deref().and_then(|key| std::str::from_utf8(key).ok());
        let key: Option<ImageInTrial> = key.and_then(|key| key.parse().ok());
        if let Some(key) = key.filter(|key| key.image.run == of.run && key.trial == of.trial) {
            found.insert(key.image.event);
        }
    };
    let limit = place.patience.max(Duration::from_secs(600));
    fold_to_end(&place.connection, &names, &BTreeMap::new(), limit, HashSet::new(), take).await
}
