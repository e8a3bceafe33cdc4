//! One run's publication as a task of the service: until all of it is published, with what it says and counts meanwhile.

use std::time::{Duration, Instant};

use lightrail_topics::SiteTopic;
use lightrail_topics::events::Indexed;
use tokio::sync::watch;

use super::super::files::RunFiles;
use super::super::metric;
use super::super::progress::Kept;
use super::super::publish::{Place, Publication, PublishFault, Purpose};

/// Publishes a run until all of it is published, and returns what was said of it last; one that grows is looked at again after
/// `pause`, and at each news of its files.
pub(super) async fn publish(
    place: &Place,
    purpose: Purpose,
    kept: Kept,
    mut files: watch::Receiver<RunFiles>,
    pause: Duration,
) -> Result<Option<Indexed>, PublishFault> {
    let begun = Instant::now();
    let of = purpose.of.clone();
    let lane = if purpose.topic == SiteTopic::ImagesLive { "live" } else { "reprocess" };
    let present = files.borrow_and_update().clone();
    let mut publication = Publication::begin(place, purpose, kept, &present).await?;
    let (mut new, mut late) = (0, 0);
    loop {
        let present = files.borrow_and_update().clone();
        let published = publication.go_on(&present).await?;
        new += published.new;
        metrics::counter!(metric::IMAGES, "lane" => lane).increment(published.new);
        metrics::counter!(metric::FAULTS).increment(published.faults.len() as u64);
        metrics::counter!(metric::LATE).increment(published.late.saturating_sub(late) as u64);
        // A stream that is added later has all be looked at anew, and the count begin anew.
        late = late.max(published.late);
        for fault in published.faults {
            tracing::warn!(run = %of, fault, "an index file is not whole");
        }
        if published.is_done && published.lacking > 0 {
            let images = published.lacking;
            tracing::warn!(run = %of, images, "images wait for files that the run leaves out");
        }
        if published.is_done {
            let seconds = begun.elapsed().as_secs_f64();
            tracing::info!(run = %of, images = published.all, new, seconds, "run is indexed");
            return Ok(publication.said().cloned());
        }
        let news = files.changed();
        let growing = !present.growing.is_empty();
        tokio::select! {
            told = news => if told.is_err() { return Ok(None) },
            () = tokio::time::sleep(pause), if growing => {}
        }
    }
}
