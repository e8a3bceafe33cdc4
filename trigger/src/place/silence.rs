//! When a site is held for lost though nobody says so: something was due there, and nothing at all has been heard since.

use std::time::Duration;

use lightrail_topics::Millis;

use super::{Outage, for_people};

/// Why a site is held for lost, if it is: `due` is when the first of what is under way there should have been heard of. Time in
/// a known outage does not count.
pub fn silence(
    heard: Millis,
    due: Option<Millis>,
    outages: &[Outage],
    limit: Duration,
    now: Millis,
) -> Option<String> {
    let known = outages.iter().filter(|outage| outage.from <= now);
    if known.clone().any(|outage| outage.is_now(now)) {
        return None;
    }
    // What was to come in an outage is due when it is over, and as much later.
    let over = known.filter_map(|outage| outage.to).max();
    let due = due?.max(heard).max(over.unwrap_or(heard));
    let silent = now.since(due);
    (silent > limit).then(|| {
        let (last, late) = (for_people(now.since(heard)), for_people(silent));
        format!("nothing was heard of it for {last}, and something is due for {late}")
    })
}
