//! Puts a question to the owner and waits for its answer, but never for ever.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::{mpsc, oneshot};

use crate::view::Question;

/// Reaches the owner; cheap to clone.
#[derive(Clone)]
pub struct Asker(Arc<dyn Fn(Question) -> BoxFuture<'static, bool> + Send + Sync>);

impl fmt::Debug for Asker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Asker")
    }
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoAnswer {
    /// The owner is busy, or waits for a disk.
    #[error("the mover does not answer; try again")]
    Late,
    /// The owner is not there yet, or has ended.
    #[error("the mover takes no questions now; /readyz tells what it waits for")]
    Gone,
}

impl Asker {
    /// Asks by the channel from which the owner takes its inputs.
    pub fn new<I: From<Question> + Send + 'static>(inputs: mpsc::Sender<I>) -> Self {
        Self(Arc::new(move |question| {
            let inputs = inputs.clone();
            async move { inputs.send(question.into()).await.is_ok() }.boxed()
        }))
    }

    /// Asks, and waits at most for `limit`.
    pub async fn ask<A>(
        &self,
        limit: Duration,
        question: impl FnOnce(oneshot::Sender<A>) -> Question,
    ) -> Result<A, NoAnswer> {
        let (reply, answer) = oneshot::channel();
        let asked = (self.0)(question(reply));
        let both = async {
            if asked.await { answer.await.map_err(|_| NoAnswer::Gone) } else { Err(NoAnswer::Gone) }
        };
        tokio::time::timeout(limit, both).await.unwrap_or(Err(NoAnswer::Late))
    }
}
