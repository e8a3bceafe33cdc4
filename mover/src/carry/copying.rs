//! Watches one copy: a started copy must grow, everything else must end within its limit while the server answers its
//! pings. [`Watch`] is pure; [`copy_watched`] and [`attended`] do the waiting. Never tries anything again.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use super::engine::{CopyOrder, Engine, Phase, Place, Progress};
use super::look::limited;
use super::site::Patience;
use crate::fault::{Fault, FaultClass, Side};

/// What is known of a copy's movement. Times count from the copy's start.
#[derive(Clone, Copy, Debug)]
pub(super) struct Watch {
    size: u64,
    phase: Phase,
    bytes: u64,
    /// When the phase began or, while copying, when it last grew.
    since: Duration,
}

impl Watch {
    pub(super) fn new(size: u64) -> Self {
        Self { size, phase: Phase::Opening, bytes: 0, since: Duration::ZERO }
    }

    /// Takes in what the engine reports.
    pub(super) fn saw(&mut self, progress: Progress, now: Duration) {
        // A copy that has all its bytes is closing, whatever the engine calls it.
        let full = progress.phase == Phase::Copying && progress.bytes >= self.size;
        let phase = if full { Phase::Closing } else { progress.phase };
        if phase != self.phase || progress.bytes > self.bytes {
            self.since = now;
        }
        self.phase = phase;
        self.bytes = self.bytes.max(progress.bytes);
    }

    /// How long the present state may last.
    pub(super) fn limit(&self, patience: &Patience) -> Duration {
        match self.phase {
            Phase::Opening => patience.silence,
            Phase::Waiting => patience.slot,
            Phase::Copying => patience.stall,
            Phase::Closing => patience.closing(self.size),
        }
    }

    /// When it is too late.
    pub(super) fn deadline(&self, patience: &Patience) -> Duration {
        self.since.saturating_add(self.limit(patience))
    }

    /// The fault of one that is too late.
    fn overdue(&self, order: &CopyOrder<'_>) -> Fault {
        let pair = format!("from {} to {}", address(order.from), address(order.to));
        let limit = humantime::format_duration(self.limit(order.patience));
        let (code, text) = match self.phase {
            Phase::Opening => {
                ("no-answer", format!("opening {} {pair} took longer than {limit}", order.from_path))
            }
            Phase::Waiting => ("no-slot", format!("no slot at {} within {limit}", address(order.to))),
            Phase::Copying => (
                "stalled",
                format!("copy {pair} stood still at {} of {} bytes for {limit}", self.bytes, self.size),
            ),
            Phase::Closing => {
                ("slow-close", format!("closing {} {pair} took longer than {limit}", order.to_path))
            }
        };
        Fault::new(FaultClass::Transient, code, text)
    }
}

fn address(place: Place<'_>) -> String {
    place.address().unwrap_or(place.site.name.as_str()).to_owned()
}

/// Runs a copy to its end, or stops it: when asked to, when it does not move, when its server is silent.
pub(super) async fn copy_watched(
    engine: &dyn Engine,
    order: CopyOrder<'_>,
    cancel: &CancellationToken,
    mut saw: impl FnMut(Progress),
) -> Result<(), Fault> {
    let patience = order.patience;
    let (progress, mut news) = watch::channel(Progress::START);
    let stop = CancellationToken::new();
    let begun = Instant::now();
    let mut watch = Watch::new(order.size);

    let copy = engine.copy(order, &progress, &stop);
    tokio::pin!(copy);
    let vigil = until_silent(engine, order.to, Side::Destination, patience);
    tokio::pin!(vigil);

    let fault = loop {
        let deadline = begun + watch.deadline(patience);
        tokio::select! {
            biased;
            done = &mut copy => return done,
            () = cancel.cancelled() => break Fault::cancelled("the copy was cancelled"),
            // The sender outlives this loop, so this is never an error.
            Ok(()) = news.changed() => {
                let now = *news.borrow_and_update();
                watch.saw(now, begun.elapsed());
                saw(now);
            }
            fault = &mut vigil => break fault,
            () = sleep_until(deadline) => break watch.overdue(&order),
        }
    };
    stop.cancel();
    // Whatever the copy says now: it was stopped for the fault found here.
    let stopped = timeout(patience.cancel, &mut copy);
    if fault.is_cancelled() || fault.endpoint.is_some() {
        let _ = stopped.await;
        return Err(fault);
    }
    let (_, fault) = tokio::join!(stopped, blame(engine, &order, fault));
    Err(fault)
}

/// Who is to blame for a copy that does not move: a server that is silent, else the destination's, since another one can
/// be tried there.
async fn blame(engine: &dyn Engine, order: &CopyOrder<'_>, fault: Fault) -> Fault {
    let limit = order.patience.cancel;
    let (source, destination) = tokio::join!(
        limited(limit, "a ping", Side::Source, order.from, engine.ping(order.from)),
        limited(limit, "a ping", Side::Destination, order.to, engine.ping(order.to)),
    );
    match (source, destination) {
        (Err(_), Ok(())) => fault.at(Side::Source, order.from.address()),
        _ => fault.at(Side::Destination, order.to.address()),
    }
}

/// Waits for work of a server that may take long, within a limit and only while the server answers pings.
pub(super) async fn attended<T>(
    engine: &dyn Engine,
    place: Place<'_>,
    side: Side,
    what: &str,
    limit: Duration,
    patience: &Patience,
    work: impl Future<Output = Result<T, Fault>>,
) -> Result<T, Fault> {
    tokio::select! {
        biased;
        done = limited(limit, what, side, place, work) => done,
        fault = until_silent(engine, place, side, patience) => Err(fault),
    }
}

/// Pings a server for as long as it answers.
async fn until_silent(engine: &dyn Engine, place: Place<'_>, side: Side, patience: &Patience) -> Fault {
    let mut heard = Instant::now();
    loop {
        sleep(patience.ping_every).await;
        let end = heard + patience.silence;
        match timeout_at(end, engine.ping(place)).await {
            Ok(Ok(())) => heard = Instant::now(),
            // It may be starting again: silence counts from the last answer.
            Ok(Err(_)) if Instant::now() < end => {}
            Ok(Err(fault)) => return fault.at(side, place.address()),
            Err(_) => {
                return Fault::no_answer("a ping", place.address(), patience.silence)
                    .at(side, place.address());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn only_a_started_copy_must_grow() {
        let patience = Patience::default();
        let mut watch = Watch::new(100);
        assert_eq!(watch.deadline(&patience), 15 * SECOND, "opening");
        watch.saw(Progress { phase: Phase::Waiting, bytes: 0 }, SECOND);
        assert_eq!(watch.deadline(&patience), SECOND + patience.slot);
        watch.saw(Progress { phase: Phase::Copying, bytes: 0 }, 300 * SECOND);
        assert_eq!(watch.deadline(&patience), 310 * SECOND);
        watch.saw(Progress { phase: Phase::Copying, bytes: 10 }, 305 * SECOND);
        watch.saw(Progress { phase: Phase::Copying, bytes: 10 }, 309 * SECOND);
        watch.saw(Progress { phase: Phase::Copying, bytes: 5 }, 309 * SECOND);
        assert_eq!(watch.deadline(&patience), 315 * SECOND, "counted from the last growth");
        watch.saw(Progress { phase: Phase::Copying, bytes: 100 }, 314 * SECOND);
        assert_eq!(watch.deadline(&patience), 314 * SECOND + patience.closing(100), "full size: closing");
    }

    #[test]
    fn an_empty_file_is_closing_as_soon_as_it_is_started() {
        let mut watch = Watch::new(0);
        watch.saw(Progress { phase: Phase::Copying, bytes: 0 }, SECOND);
        assert_eq!(watch.phase, Phase::Closing);
    }
}
