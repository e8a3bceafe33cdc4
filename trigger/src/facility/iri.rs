//! What the IRI Facility API says of a resource, in our words. Pure.

use lightrail_topics::events::{Health, KnownOutage};
use lightrail_topics::{Millis, ResourceName};
use serde_json::Value;

use super::{Part, instant, not_over, text};

/// One resource, and the incidents that are about it.
pub(super) fn part(name: &ResourceName, resource: &Value, incidents: &Value, now: Millis) -> Part {
    let word = resource.get("current_status").and_then(Value::as_str).unwrap_or_default();
    let health = match word.to_ascii_lowercase().as_str() {
        "up" => Health::Up,
        "degraded" => Health::Degraded,
        "down" => Health::Down,
        _ => Health::Unknown,
    };
    let outages: Vec<KnownOutage> = incidents.as_array().into_iter().flatten().filter_map(outage).collect();
    let outages = not_over(outages, now);
    // What is wrong now says more than what the resource is.
    let is_now = |outage: &&KnownOutage| outage.from <= now;
    let told = outages.iter().find(is_now).map(|outage| outage.text.clone());
    let told = told.filter(|told| !told.is_empty()).unwrap_or_else(|| word.to_owned());
    Part { resource: name.clone(), health, text: told, outages }
}

/// A reservation takes nothing away from those who have it, and one that only degrades is no wall.
fn outage(object: &Value) -> Option<KnownOutage> {
    let word = |key: &str| object.get(key).and_then(Value::as_str).unwrap_or_default().to_ascii_lowercase();
    let is_over = matches!(word("resolution").as_str(), "cancelled" | "completed");
    if is_over || word("type") == "reservation" || word("status") == "degraded" {
        return None;
    }
    let from = instant(object, "start")?;
    let told = [text(object, "description"), text(object, "name")];
    let told = told.into_iter().find(|told| !told.is_empty()).unwrap_or_default();
    Some(KnownOutage { from, to: instant(object, "end"), planned: word("type") == "planned", text: told })
}
