//! Who a worker is to Kafka: its groups, its name in them, and the transactional id of its slot, by which a restart fences
//! what a killed predecessor has left. Names only.

use lightrail_topics::kafka::{Admin, KafkaError, Member, Stake};
use lightrail_topics::{Channel, SiteName, SiteTopic, Topic, Topics, WorkerName};

use super::decide::Lane;

impl Lane {
    /// The lane's topic.
    pub fn topic(self) -> SiteTopic {
        match self {
            Self::Live => SiteTopic::ImagesLive,
            Self::Reprocess => SiteTopic::ImagesReprocess,
        }
    }

    /// The lane's topic at a site.
    pub fn channel(self, site: &SiteName) -> Channel {
        self.topic().at(site)
    }

    /// The group of a site's workers on this lane. Its committed positions are what has been worked.
    pub fn group(self, topics: &Topics, site: &SiteName) -> String {
        topics.workers(self.channel(site))
    }

    /// That group for who commits its positions.
    pub fn stake(self, topics: &Topics, site: &SiteName) -> Stake {
        Stake { group: self.group(topics, site), beside: topics.name(Topic::Results) }
    }
}

/// Who a worker is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The worker's slot: the same after a restart; one works under it at a time.
    pub slot: WorkerName,
    /// Whose images it works.
    pub site: SiteName,
    /// Tells this process from others of its slot.
    pub process: String,
}

impl Identity {
    /// This process in a slot.
    pub fn new(slot: WorkerName, site: SiteName, host: &str) -> Self {
        let process = format!("{host}:{}:{:08x}", std::process::id(), fastrand::u32(..));
        Self { slot, site, process }
    }

    /// The producer's transactional id.
    pub fn transactional_id(&self, topics: &Topics) -> String {
        format!("{}.worker.{}", topics.name(Lane::Live.channel(&self.site)), self.slot)
    }

    /// The groups whose positions its transactions commit.
    pub fn stakes(&self, topics: &Topics) -> Vec<Stake> {
        Lane::ALL.map(|lane| lane.stake(topics, &self.site)).to_vec()
    }

    /// `client.id`: slot and process, for a person and for [`Self::successor`].
    pub fn client_id(&self) -> String {
        format!("{}@{}", self.slot, self.process)
    }

    /// `ce_source` of our messages.
    pub fn source(&self) -> String {
        format!("lightrail-analysis/work/{}@{}", self.slot, self.site)
    }

    /// The members of our groups that are in our slot, this process or another.
    pub async fn members(&self, admin: &Admin, topics: &Topics) -> Result<Vec<Member>, KafkaError> {
        let slot = format!("{}-", self.slot);
        let mut ours = Vec::new();
        for lane in Lane::ALL {
            let members = admin.members(&lane.group(topics, &self.site)).await?;
            ours.extend(members.into_iter().filter(|m| m.id.strip_prefix(&slot).is_some_and(is_uuid)));
        }
        Ok(ours)
    }
}

/// The broker names a static member by its instance and a UUID; slot `a` is not slot `a-b`.
fn is_uuid(text: &str) -> bool {
    text.len() == 36 && text.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_belong_to_site_and_slot() {
        let topics = Topics::new("lightrail.").unwrap();
        let identity = Identity::new("nid1-3".parse().unwrap(), "NERSC".parse().unwrap(), "nid1");
        assert_eq!(Lane::Live.group(&topics, &identity.site), "lightrail.images.live.NERSC.workers");
        let id = identity.transactional_id(&topics);
        assert_eq!(id, "lightrail.images.live.NERSC.worker.nid1-3");
        assert!(
            is_uuid("6a2f41a3-c54c-4ce4-9b8e-2e5f6e4d5b10") && !is_uuid("4-6a2f41a3-c54c-4ce4-9b8e-2e5f6e4d")
        );
    }
}
