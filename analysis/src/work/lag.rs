//! How far the live group is behind, for whoever would like to work on something else.

use lightrail_topics::kafka::{Admin, KafkaError};
use lightrail_topics::{SiteName, Topics};

use super::decide::Lane;

/// How far a site's live group is behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lag {
    /// Images between the group's positions and the ends of their partitions.
    pub(super) images: u64,
    /// Members of the group.
    pub(super) workers: u64,
}

/// Looks.
pub(super) async fn look(admin: &Admin, topics: &Topics, site: &SiteName) -> Result<Lag, KafkaError> {
    let (topic, group) = (topics.name(Lane::Live.channel(site)), Lane::Live.group(topics, site));
    let names = [topic.clone()];
    let (marks, committed, members) =
        tokio::try_join!(admin.watermarks(&topic), admin.committed(&group, &names), admin.members(&group))?;
    let behind = marks.into_iter().map(|(partition, first, end)| {
        let next = committed.get(&(topic.clone(), partition)).copied().unwrap_or(first);
        // The mark of the last transaction stands behind its images and is no image.
        u64::try_from(end - next.max(first) - 1).unwrap_or(0)
    });
    Ok(Lag { images: behind.sum(), workers: members.len() as u64 })
}
