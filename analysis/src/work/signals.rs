//! The signals that end a worker: SIGTERM, SIGINT and SIGUSR1 (a batch system's warning before preemption) let it finish what it
//! has begun; a second SIGTERM or SIGINT stops it at once. Only tells; what is finished the session decides.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::Shutdown;

impl Shutdown {
    /// A shutdown that this process's signals bring about. Needs a runtime.
    ///
    /// # Errors
    /// When signals cannot be waited for.
    pub fn by_signals() -> io::Result<Self> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut preempt = signal(SignalKind::user_defined1())?;
        let shutdown = Self::default();
        let told = shutdown.clone();
        tokio::spawn(async move {
            async fn stop(terminate: &mut Signal, interrupt: &mut Signal) {
                tokio::select! {
                    _ = terminate.recv() => tracing::info!("SIGTERM"),
                    _ = interrupt.recv() => tracing::info!("SIGINT"),
                }
            }
            tokio::select! {
                () = stop(&mut terminate, &mut interrupt) => {}
                _ = preempt.recv() => tracing::info!("SIGUSR1"),
            }
            told.drain.cancel();
            // A batch system's warning is often followed by SIGTERM: only that one's second means haste.
            stop(&mut terminate, &mut interrupt).await;
            told.now.cancel();
        });
        Ok(shutdown)
    }
}
