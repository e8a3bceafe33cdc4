//! Taking another mover's place in the group, and telling who has taken ours.
//!
//! A static member that joins under a name that is in use replaces the one before, but Kafka goes on showing it with the
//! client id and host of that one. So whoever takes over joins once, which ends the other's intake, leaves, waits until the
//! group has forgotten the member, and joins again under its own client id.

use std::time::Duration;

use lightrail_topics::kafka::{GroupReader, GroupSettings, KafkaEvent};

use super::RunError;
use super::ground::{FOLLOWED, Ground};
use crate::rival::rival;

/// After so long without a heartbeat Kafka forgets the member.
pub(super) const SESSION: Duration = Duration::from_secs(10);
/// How long one who was replaced looks for the name of the other, who joins again when the group has forgotten both.
const NAMED_WITHIN: Duration = Duration::from_secs(25);

impl Ground<'_> {
    /// How this mover is a member of its group.
    pub(super) fn membership(&self) -> GroupSettings {
        GroupSettings {
            group: self.identity.group(),
            instance: Some(self.identity.instance()),
            session_timeout: SESSION,
            topics: self.names(&FOLLOWED),
            capacity: 1000,
        }
    }

    /// Ends another member's intake and has the group forget it. Does nothing where there is none.
    pub(super) async fn take_place(&self) -> Result<(), RunError> {
        let looks = "looks who has its name";
        let Some(who) = self.patiently(looks, async || rival(&self.admin, &self.identity).await).await else {
            return Ok(());
        };
        self.life.phase(format!("takes over from {who}"));
        let (group, mut events) = GroupReader::join(&self.connection, &self.membership(), |_, _| None)?;
        let joined = async {
            while let Some(event) = events.recv().await {
                if matches!(event, KafkaEvent::Assigned(_)) {
                    return;
                }
            }
        };
        if tokio::time::timeout(SESSION * 3, joined).await.is_err() {
            tracing::warn!("the group gives nothing; going on");
        }
        drop(events);
        group.stop().await;
        let name = self.identity.group();
        let forgotten = async {
            while !self.patiently(looks, async || self.admin.members(&name).await).await.is_empty() {
                tokio::time::sleep(Duration::from_millis(250)).await;
            }
        };
        if tokio::time::timeout(SESSION * 3, forgotten).await.is_err() {
            tracing::warn!("the group still has a member; going on");
        }
        Ok(())
    }

    /// The name of the mover that has replaced this one, if one has: one that was fenced by its own client has no
    /// successor. One that takes over and is not seen in time comes to be seen when this one joins again.
    pub(super) async fn successor(&self) -> Option<String> {
        let named = async {
            loop {
                if let Ok(Some(who)) = rival(&self.admin, &self.identity).await {
                    return who;
                }
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        };
        tokio::time::timeout(NAMED_WITHIN, named).await.ok()
    }
}
