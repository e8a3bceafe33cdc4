//! One mover per name: who this mover is to Kafka, and whether another living one has its name.

use lightrail_topics::MoverName;
use lightrail_topics::kafka::{Admin, KafkaError};

/// Who this mover is: name, host and journal folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The mover's name: one lives at a time.
    pub mover: MoverName,
    /// The host.
    pub host: String,
    /// The journal's folder.
    pub folder: String,
    /// Stands before the names of our topics; movers of different prefixes have nothing to do with each other.
    pub prefix: String,
}

impl Identity {
    /// The consumer group.
    pub fn group(&self) -> String {
        format!("{}lightrail-mover-{}", self.prefix, self.mover)
    }

    /// The static member's name in the group.
    pub fn instance(&self) -> String {
        self.mover.to_string()
    }

    /// The producer's transactional id.
    pub fn transactional_id(&self) -> String {
        format!("{}lightrail-mover-{}", self.prefix, self.mover)
    }

    /// `client.id`: name, host and folder, for a person and for [`rival`].
    pub fn client_id(&self) -> String {
        format!("{}@{}:{}", self.mover, self.host, self.folder)
    }

    /// `ce_source` of our messages.
    pub fn source(&self) -> String {
        format!("lightrail-mover/{}", self.mover)
    }
}

/// The living member of our group on another host or folder, if there is one. A killed predecessor on this host and
/// folder is none.
pub async fn rival(admin: &Admin, identity: &Identity) -> Result<Option<String>, KafkaError> {
    let members = admin.members(&identity.group()).await?;
    let ours = identity.client_id();
    Ok(members.into_iter().find(|member| member.client_id != ours).map(|member| {
        let host = member.host.trim_start_matches('/').to_owned();
        format!("{} (from {host})", member.client_id)
    }))
}
