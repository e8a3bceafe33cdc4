//! Intake from Kafka: hands the group's records to the owner one after the other. Where reading begins is told by the
//! journal's positions, never by the group's.

use lightrail_topics::kafka::{KafkaError, KafkaEvent};
use tokio::sync::mpsc;

use crate::owner::Input;

/// Why intake has ended.
#[derive(Debug)]
pub enum IntakeEnd {
    /// Nobody takes records any more.
    Stopped,
    /// Somebody has joined under our name: another process, or our own client after it lost its session.
    Fenced(String),
    /// A position lies outside its partition, or the client can do no more.
    Failed(KafkaError),
}

/// Feeds records to the owner until the group or the owner ends.
pub async fn feed(mut events: mpsc::Receiver<KafkaEvent>, inputs: mpsc::Sender<Input>) -> IntakeEnd {
    while let Some(event) = events.recv().await {
        match event {
            KafkaEvent::Record(record) => {
                if inputs.send(Input::Record(record)).await.is_err() {
                    return IntakeEnd::Stopped;
                }
            }
            KafkaEvent::Assigned(partitions) => {
                for (topic, partition, position) in partitions {
                    tracing::info!(topic, partition, position, "reading begins");
                }
            }
            KafkaEvent::Revoked(partitions) => {
                tracing::warn!(partitions = partitions.len(), "partitions taken away");
            }
            KafkaEvent::Fault(error) if error.is_retriable() => {
                tracing::warn!(error = %error, "kafka is troubled; reading goes on by itself");
            }
            KafkaEvent::Fault(error) => return IntakeEnd::Failed(error),
            KafkaEvent::Fenced(who) => return IntakeEnd::Fenced(who),
        }
    }
    IntakeEnd::Stopped
}
