//! What the Superfacility API says of its resources, in our words. Pure.

use lightrail_topics::events::{Health, KnownOutage};
use lightrail_topics::{Millis, ResourceName};
use serde_json::Value;

use super::{Part, instant, not_over, short, text, unknown};

/// One resource, by `/status` and the two lists of outages.
pub(super) fn part(name: &ResourceName, status: &Value, outages: [&Value; 2], now: Millis) -> Part {
    let is_it = |object: &&Value| object.get("name").and_then(Value::as_str) == Some(name.as_str());
    let Some(found) = status.as_array().into_iter().flatten().find(is_it) else {
        return unknown(name, "the interface does not know it");
    };
    let word = found.get("status").and_then(Value::as_str).unwrap_or_default();
    let health = match word.to_ascii_lowercase().as_str() {
        "active" => Health::Up,
        "degraded" => Health::Degraded,
        "unavailable" => Health::Down,
        _ => Health::Unknown,
    };
    let of_it = outages.into_iter().flat_map(flat).filter(is_it).filter_map(outage).collect();
    let told = [text(found, "description"), text(found, "notes"), word.to_owned()];
    let told = told.into_iter().find(|told| !told.is_empty()).unwrap_or_default();
    Part { resource: name.clone(), health, text: short(&told), outages: not_over(of_it, now) }
}

/// Outages come in a list per resource; all of them.
fn flat(lists: &Value) -> impl Iterator<Item = &Value> {
    let objects = lists.as_array().into_iter().flatten();
    objects.flat_map(|one| one.as_array().map_or_else(|| vec![one], |list| list.iter().collect()))
}

fn outage(object: &Value) -> Option<KnownOutage> {
    let status = object.get("status").and_then(Value::as_str).unwrap_or_default().to_ascii_lowercase();
    if matches!(status.as_str(), "cancelled" | "completed") {
        return None;
    }
    let from = instant(object, "start_at")?;
    let planned = status == "planned";
    Some(KnownOutage { from, to: instant(object, "end_at"), planned, text: text(object, "description") })
}
