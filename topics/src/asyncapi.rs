//! Our topics as an AsyncAPI 3 document, generated from the types that are sent, so that it cannot drift from them. A test
//! keeps `asyncapi.json` in step. Never here: a schema written by hand for an event of ours.

use schemars::generate::{SchemaGenerator, SchemaSettings};
use schemars::transform::RecursiveTransform;
use serde_json::{Map, Value, json};

use crate::events::{
    Counted, Dataset, DeadLetter, Decider, FacilityStatus, FileAvailable, FileGone, Image, ImageResult,
    Indexed, Job, JobAsked, Route, RouteOverride, Rule, RunCorrected, RunGroup, RunIncomplete, RunManifest,
    RunTags, Start, TransferEvent, Trial, Wish,
};
use crate::ids::SiteName;
use crate::message::Kind;
use crate::topic::{Channel, Keeping, SiteTopic, Topic};

/// The document.
pub fn document() -> Value {
    // AsyncAPI's own schema dialect is a superset of draft 7.
    let settings = SchemaSettings::draft07().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
    });
    let mut generator = settings.with_transform(RecursiveTransform(drop_nulls)).into_generator();
    let mut messages = Map::new();
    for kind in Kind::ALL {
        messages.insert(kind.as_str().to_owned(), message(kind, &mut generator));
    }
    for (name, what) in LOGBOOK {
        messages.insert(format!("logbook.{name}"), logbook_message(name, what));
    }
    let mut channels = Map::new();
    let mut operations = Map::new();
    for (name, channel) in all_channels() {
        channels.insert(name.clone(), described(&name, &channel));
        for (service, action) in operators(&channel) {
            let reference = json!({ "$ref": format!("#/channels/{name}") });
            let operation = json!({ "action": action, "channel": reference });
            operations.insert(format!("{service}.{action}.{name}"), operation);
        }
    }
    let mut schemas: Map<String, Value> = generator.take_definitions(true).into_iter().collect();
    schemas.sort_keys();
    schemas.insert("Headers".to_owned(), headers());
    json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "Lightrail",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "What Lightrail says on Kafka, and what it reads of the LCLS logbook. Topic names take a \
                prefix. Readers drop repeats by ce_id; with read_committed there are none. Fields that a reader does not \
                know are to be passed over.",
            "license": { "name": "Apache-2.0" },
        },
        "defaultContentType": "application/json",
        "channels": channels,
        "operations": operations,
        "components": { "messages": messages, "schemas": schemas },
    })
}

const LOGBOOK: [(&str, &str); 4] = [
    ("runs", "a run began, changed or ended"),
    ("file_catalog", "a file was registered, or is somewhere"),
    ("experiments", "an experiment was made or changed"),
    ("workflow_jobs", "a job of the logbook's workflows"),
];

/// All channels with their addresses; a site's own stand for those of all sites.
fn all_channels() -> Vec<(String, Channel)> {
    let any = "any".parse::<SiteName>().expect("a word is a site's name");
    let of = Topic::ALL.into_iter().map(|topic| (topic.base_name().to_owned(), Channel::Of(topic)));
    let at =
        SiteTopic::ALL.into_iter().map(|topic| (format!("{}.{{site}}", topic.base_name()), topic.at(&any)));
    of.chain(at).collect()
}

/// Which service sends to a channel, and which receives from it.
fn operators(channel: &Channel) -> Vec<(&'static str, &'static str)> {
    use Topic::{
        DeadLetters, FacilityStatus, FileCatalog, FilesAvailable, ImagesIndexed, Jobs, Requests, Results,
        Routes, RoutesOverride, Rules, Runs, RunsAvailable, Transfers, Trials,
    };
    let Channel::Of(topic) = *channel else { return vec![("analysis", "send"), ("analysis", "receive")] };
    let mut found = Vec::new();
    if !Topic::ANALYSIS.contains(&topic) && !Topic::TRIGGER.contains(&topic) {
        // `routes` by the mover's command line, for operators.
        if matches!(topic, DeadLetters | FilesAvailable | Requests | Routes | RunsAvailable | Transfers) {
            found.push(("mover", "send"));
        }
        // Its own announcements are read back at a start.
        if topic != DeadLetters {
            found.push(("mover", "receive"));
        }
    }
    if matches!(topic, DeadLetters | Trials | ImagesIndexed | Results) {
        found.push(("analysis", "send"));
    }
    if matches!(topic, FilesAvailable | RunsAvailable | Trials | ImagesIndexed | Results) {
        found.push(("analysis", "receive"));
    }
    // Rules by its command line, for operators; what it says itself is read back at a start.
    if matches!(topic, Rules | Jobs | FacilityStatus | RoutesOverride) {
        found.push(("trigger", "send"));
    }
    if matches!(topic, Rules | Jobs | Runs | FileCatalog | FilesAvailable | RunsAvailable)
        || matches!(topic, ImagesIndexed | Results | FacilityStatus | RoutesOverride | Transfers)
    {
        found.push(("trigger", "receive"));
    }
    found
}

/// Draft 7 has no `null` in what we write: what is not known is left out.
fn drop_nulls(schema: &mut schemars::Schema) {
    if let Some(Value::Array(types)) = schema.get_mut("type") {
        types.retain(|one| one != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            schema.insert("type".to_owned(), only);
        }
    }
    let Some(Value::Array(any)) = schema.get("anyOf") else { return };
    let rest: Vec<&Value> = any.iter().filter(|one| one["type"] != "null").collect();
    if rest.len() < any.len()
        && let [only] = rest.as_slice()
    {
        let only = (*only).clone();
        schema.remove("anyOf");
        schema.insert("allOf".to_owned(), json!([only]));
    }
}

fn message(kind: Kind, generator: &mut SchemaGenerator) -> Value {
    let (payload, summary, key) = match kind {
        Kind::FileAvailable => (
            tagged(kind, &generator.subschema_for::<FileAvailable>()),
            "a file was verified at its final name",
            "LFN@site",
        ),
        Kind::FileGone => (
            tagged(kind, &generator.subschema_for::<FileGone>()),
            "a file that was available is no longer there",
            "LFN@site",
        ),
        Kind::RunAvailable => (
            tagged(kind, &generator.subschema_for::<RunManifest>()),
            "a closed run, every file verified or named as left out; once",
            "experiment/run@site",
        ),
        Kind::RunCorrected => (
            tagged(kind, &generator.subschema_for::<RunCorrected>()),
            "the whole manifest again, after a change",
            "experiment/run@site",
        ),
        Kind::RunIncomplete => (
            tagged(kind, &generator.subschema_for::<RunIncomplete>()),
            "a closed run of which files have failed or are overdue",
            "experiment/run@site",
        ),
        Kind::Transfer => (
            generator.subschema_for::<TransferEvent>().to_value(),
            "a transfer changed its state",
            "LFN@site",
        ),
        Kind::Wish => (
            generator.subschema_for::<Wish>().to_value(),
            "the whole present wish for the key; a tombstone takes it back",
            "*, experiment, experiment/run or LFN, each @site or @*",
        ),
        Kind::Start => (
            generator.subschema_for::<Start>().to_value(),
            "from when on a mover moves what the logbook says",
            "start@mover",
        ),
        Kind::Route => (
            generator.subschema_for::<Route>().to_value(),
            "where an experiment's data go; a tombstone takes it away",
            "experiment",
        ),
        Kind::RouteOverride => (
            generator.subschema_for::<RouteOverride>().to_value(),
            "a failover; a tombstone ends it",
            "experiment",
        ),
        Kind::Image => (
            generator.subschema_for::<Image>().to_value(),
            "an image to be worked under a trial, with the places of its bytes",
            "experiment/run/event/trial",
        ),
        Kind::Indexed => (
            generator.subschema_for::<Indexed>().to_value(),
            "how far a run's images are published for a site under a trial",
            "experiment/run/trial@site",
        ),
        Kind::Result => (
            generator.subschema_for::<ImageResult>().to_value(),
            "what became of an image under a trial; once",
            "experiment/run/event/trial",
        ),
        Kind::Trial => (
            generator.subschema_for::<Trial>().to_value(),
            "a set of analysis parameters; the first of a key counts",
            "experiment/trial",
        ),
        Kind::Rule => (
            generator.subschema_for::<Rule>().to_value(),
            "what starts work; a tombstone takes it away",
            "rule",
        ),
        Kind::Job => (
            generator.subschema_for::<Job>().to_value(),
            "a step of a batch job's life; its intent comes before it is submitted",
            "job",
        ),
        Kind::Decider => {
            (generator.subschema_for::<Decider>().to_value(), "who decides from here on", "decider@name")
        }
        Kind::JobAsked => (
            generator.subschema_for::<JobAsked>().to_value(),
            "a MANUAL rule is to fire for a run",
            "asked@rule/experiment/run",
        ),
        Kind::RunTags => (
            generator.subschema_for::<RunTags>().to_value(),
            "the tags of a run; a tombstone takes them off",
            "tags@experiment/run",
        ),
        Kind::RunGroup => (
            generator.subschema_for::<RunGroup>().to_value(),
            "runs that belong together; a tombstone takes the group away",
            "group@experiment/group",
        ),
        Kind::Dataset => (
            generator.subschema_for::<Dataset>().to_value(),
            "which runs belong to a dataset; a tombstone takes it away",
            "dataset@experiment/dataset",
        ),
        Kind::Counted => (
            generator.subschema_for::<Counted>().to_value(),
            "how far a topic is counted, and what has changed since the message before",
            "counted@topic",
        ),
        Kind::FacilityStatus => (
            generator.subschema_for::<FacilityStatus>().to_value(),
            "how a part of a facility is, its known outages, and what was measured there",
            "site/resource",
        ),
        Kind::Settled => (
            json!({ "type": "null" }),
            "nothing; written so that a transaction on the partition ends",
            "settled@partition",
        ),
        Kind::DeadLetter => (
            generator.subschema_for::<DeadLetter>().to_value(),
            "what could not be understood, where it was, and why",
            "as the original",
        ),
    };
    json!({
        "name": kind.as_str(),
        "summary": summary,
        "headers": { "$ref": "#/components/schemas/Headers" },
        "payload": payload,
        "bindings": { "kafka": { "key": { "type": "string", "description": key } } },
    })
}

/// An event that shares its topic with others says its type in its payload too.
fn tagged(kind: Kind, schema: &schemars::Schema) -> Value {
    let tag = json!({ "type": "object", "required": ["type"], "properties": { "type": { "const": kind.as_str() } } });
    json!({ "allOf": [tag, schema] })
}

fn logbook_message(name: &str, what: &str) -> Value {
    json!({
        "name": name,
        "summary": what,
        "description": "Written by slaclab/explgbk without key and headers. Read leniently: value may be null, bare NaN \
            and Infinity occur, and whatever a field lacks is taken as not said.",
        "payload": {
            "type": "object",
            "required": ["experiment_name"],
            "properties": {
                "experiment_name": { "type": "string" },
                "CRUD": { "enum": ["Create", "Update", "Delete"] },
                "value": { "type": ["object", "null"] },
            },
        },
    })
}

fn described(address: &str, channel: &Channel) -> Value {
    let kinds = Kind::ALL.into_iter().filter(|kind| kind.is_on(channel)).map(|kind| kind.as_str().to_owned());
    let names: Vec<String> =
        if channel.is_logbooks() { vec![format!("logbook.{channel}")] } else { kinds.collect() };
    let messages: Map<String, Value> = names
        .into_iter()
        .map(|name| {
            let reference = json!({ "$ref": format!("#/components/messages/{name}") });
            (name, reference)
        })
        .collect();
    let mut described = json!({ "address": address, "messages": messages });
    if matches!(channel, Channel::At(..)) {
        described["parameters"] = json!({ "site": { "description": "the site whose workers read it" } });
    }
    if !channel.is_logbooks() {
        let configuration = match channel.keeping() {
            Keeping::ForEver => {
                json!({ "cleanup.policy": ["delete"], "retention.ms": -1, "retention.bytes": -1 })
            }
            Keeping::For(time) => {
                let retention = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
                json!({ "cleanup.policy": ["delete"], "retention.ms": retention, "retention.bytes": -1 })
            }
            // The binding has no member for the compaction's lag.
            Keeping::Newest { .. } => json!({ "cleanup.policy": ["compact"] }),
        };
        described["bindings"] = json!({ "kafka": { "topicConfiguration": configuration } });
    }
    described
}

fn headers() -> Value {
    let text = |what: &str| json!({ "type": "string", "description": what });
    json!({
        "type": "object",
        "description": "CloudEvents 1.0, Kafka binding, binary mode",
        "required": ["ce_specversion", "ce_id", "ce_type", "ce_source", "ce_time"],
        "properties": {
            "ce_specversion": { "const": "1.0" },
            "ce_id": text("what the event is about; a repeat has the same"),
            "ce_type": { "enum": Kind::ALL.map(Kind::as_str) },
            "ce_source": text("who says it"),
            "ce_time": { "type": "string", "format": "date-time", "description": "when it happened" },
            "ce_dataschema": text("urn:lightrail:<type>:<version>"),
            "content-type": { "const": "application/json" },
            "traceparent": text("W3C trace context"),
        },
    })
}

#[cfg(test)]
mod tests;
