//! Carries the logbook's messages to Kafka in the order in which they were said, as the real one sends them: no key, no
//! headers, nobody waits. One task owns the courier and the producer.

use std::future::Future;

use tokio::sync::{mpsc, oneshot};

use super::mischief::Courier;
use lightrail_topics::logbook::book::Message;

/// Where messages go.
pub(super) trait Sink: Send + 'static {
    /// Sends one message; resolves when it has arrived.
    fn send(&self, topic: &str, body: &str) -> impl Future<Output = anyhow::Result<()>> + Send;
}

enum Letter {
    Send(Message),
    /// Answers when everything before it has arrived, what a mischief holds back included.
    Settle(oneshot::Sender<()>),
}

/// The door to the task that sends.
#[derive(Clone, Debug)]
pub(super) struct Post(mpsc::UnboundedSender<Letter>);

impl Post {
    /// Starts the task; it ends when the last door is dropped.
    pub(super) fn start(sink: impl Sink, mut courier: Courier) -> Self {
        let (door, mut letters) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Some(letter) = letters.recv().await {
                let (messages, answer) = match letter {
                    Letter::Send(message) => (courier.take(message), None),
                    Letter::Settle(answer) => (courier.release().into_iter().collect(), Some(answer)),
                };
                for message in messages {
                    // The real one drops the producer's answer: what Kafka does not take is lost.
                    if let Err(error) = sink.send(message.topic, &message.body).await {
                        tracing::warn!(
                            topic = message.topic,
                            error = format!("{error:#}"),
                            "the logbook's message is lost"
                        );
                    }
                }
                if let Some(answer) = answer {
                    let _ = answer.send(());
                }
            }
        });
        Self(door)
    }

    pub(super) fn send(&self, message: Message) {
        let _ = self.0.send(Letter::Send(message));
    }

    pub(super) async fn settle(&self) {
        let (answer, answered) = oneshot::channel();
        if self.0.send(Letter::Settle(answer)).is_ok() {
            let _ = answered.await;
        }
    }
}
