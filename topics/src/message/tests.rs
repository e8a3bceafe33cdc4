//! Golden files of every event version, deterministic ids, round trips through the wire and through an outbox row.

use std::path::PathBuf;
use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::events::FileTiming;
use crate::record::{DecodeError, Event, Record, decode};
use crate::topic::Topics;

mod samples;
use samples::*;

fn as_json(message: &Message) -> Value {
    let headers: serde_json::Map<String, Value> =
        message.headers.headers().into_iter().map(|(key, value)| (key.to_owned(), value.into())).collect();
    let payload = message.payload.as_deref().map(|payload| serde_json::from_slice::<Value>(payload).unwrap());
    json!({ "topic": message.channel.to_string(), "key": message.key, "headers": headers, "payload": payload })
}

/// The record that a reader gets of such a message.
fn record(golden: &Value) -> Record {
    let headers = golden["headers"].as_object().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    Record {
        topic: golden["topic"].as_str().unwrap().into(),
        partition: 0,
        offset: 0,
        key: Some(text(&golden["key"]).into_bytes()).filter(|key| !key.is_empty()),
        value: (!golden["payload"].is_null()).then(|| golden["payload"].to_string().into_bytes()),
        headers: headers.map(|(key, value)| (key.clone(), Some(text(value).into_bytes()))).collect(),
        timestamp: None,
    }
}

fn decoded(golden: &Value) -> Result<Event, DecodeError> {
    decode(&Topics::default(), &record(golden))
}

fn golden_folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("golden")
}

#[test]
fn messages_are_as_the_golden_files_say() {
    let update = std::env::var_os("UPDATE").is_some();
    for (name, message) in samples() {
        let path = golden_folder().join(format!("{name}.v{}.json", message.headers.kind.version()));
        let ours = format!("{:#}\n", as_json(&message));
        if update {
            std::fs::create_dir_all(golden_folder()).unwrap();
            std::fs::write(&path, &ours).unwrap();
        }
        let golden = std::fs::read_to_string(&path)
            .unwrap_or_else(|error| panic!("{}: {error}; UPDATE=1 writes it", path.display()));
        assert_eq!(
            ours, golden,
            "{name}: a reader of this version would see something else; UPDATE=1 accepts it"
        );
    }
}

/// Also files of versions that are written no more.
#[test]
fn every_golden_file_is_understood() {
    let mut seen = 0;
    for entry in std::fs::read_dir(golden_folder()).unwrap() {
        let path = entry.unwrap().path();
        let golden: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        let event = decoded(&golden).unwrap_or_else(|error| panic!("{}: {}", path.display(), error.reason()));
        if golden["payload"].is_null() {
            continue;
        }
        // What we do not know is kept out and is no error, at the top and inside.
        let mut newer = golden.clone();
        newer["payload"]["from_the_future"] = json!({ "x": [1] });
        if let Some(manifest) = newer["payload"].get_mut("manifest").filter(|manifest| manifest.is_object()) {
            manifest["from_the_future"] = json!(1);
        }
        assert_eq!(decoded(&newer).unwrap(), event, "{}", path.display());
        seen += 1;
    }
    assert!(seen >= Kind::ALL.len() - 1, "a golden file for each kind of event");
}

#[test]
fn a_missing_field_is_named() {
    let mut wrong = 0;
    for (name, message) in samples() {
        let golden = as_json(&message);
        let Some(payload) = golden["payload"].as_object() else { continue };
        for field in payload.keys() {
            let mut without = golden.clone();
            without["payload"].as_object_mut().unwrap().remove(field);
            if let Err(error) = decoded(&without) {
                let reason = error.reason();
                assert!(
                    reason.contains(&format!("missing field `{field}`")),
                    "{name} without {field}: {reason}"
                );
                wrong += 1;
            }
        }
    }
    assert!(wrong > 40, "most fields are required: {wrong}");
}

#[test]
fn what_a_key_a_type_or_a_tombstone_cannot_be_is_refused() {
    let sample = |wanted: &str| as_json(&samples().into_iter().find(|(name, _)| *name == wanted).unwrap().1);
    let reason = |golden: &Value| decoded(golden).unwrap_err().reason();
    let mut golden = sample("file.available");
    golden["key"] = json!("/mfx/mfxlv9518/xtc/other.xtc@NERSC");
    assert!(reason(&golden).ends_with("disagree"), "{}", reason(&golden));
    golden["key"] = json!("");
    assert_eq!(reason(&golden), "the key is missing or no UTF-8 text");
    let mut golden = sample("file.available");
    golden["payload"] = Value::Null;
    assert_eq!(reason(&golden), "the value is missing");
    golden = sample("file.available");
    golden["headers"]["ce_type"] = json!("run.available");
    assert_eq!(reason(&golden), "event type `run.available` is not known on this topic");
    golden = sample("file.available");
    golden["payload"]["lfn"] = json!("/mfx/mfxlv9518/xtc/../../etc/passwd");
    assert!(reason(&golden).contains("has . or .. as a part"), "{}", reason(&golden));
    golden = sample("wish");
    golden["key"] = json!("mfxlv9518/twelve@NERSC");
    assert!(reason(&golden).contains("run `twelve` is refused"), "{}", reason(&golden));
    golden = sample("start");
    golden["key"] = json!("start@other");
    assert!(reason(&golden).ends_with("disagree"));
    golden = sample("image");
    golden["topic"] = json!("images.live.S3DF");
    assert!(reason(&golden).ends_with("disagrees"), "{}", reason(&golden));
    golden["topic"] = json!("images.reprocess.NERSC");
    assert!(decoded(&golden).is_ok());
    golden = sample("start");
    golden["topic"] = json!("somebody.elses");
    assert_eq!(reason(&golden), "topic `somebody.elses` is none of ours");
}

#[test]
fn ids_name_what_an_event_is_about_and_not_its_numbers_or_times() {
    let again = FileAvailable { size: 1, source_mtime: 0, timing: FileTiming::default(), ..a_file() };
    let id = |message: Message| message.headers.id;
    let first = id(file_available(&a_file(), SOURCE, AT));
    assert_eq!(first, "file.available:/mfx/mfxlv9518/xtc/mfxlv9518-r0012-s00-c00.xtc@NERSC#2");
    assert_eq!(id(file_available(&again, "elsewhere", Millis(0))), first);
    let next = FileAvailable { generation: Generation(3), ..a_file() };
    assert_ne!(id(file_available(&next, SOURCE, AT)), first);
    let emptier = RunManifest { files: vec![], at: Millis(0), ..manifest() };
    assert_eq!(id(run_available(&emptier, SOURCE, AT)), id(run_available(&manifest(), SOURCE, AT)));
    assert_eq!(id(run_available(&manifest(), SOURCE, AT)), "run.available:mfxlv9518/12@NERSC");
    let mut ids: Vec<String> = samples().into_iter().map(|(_, message)| id(message)).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), samples().len(), "no two messages share an id");
}

#[test]
fn a_dead_letter_keeps_the_originals_bytes_and_key() {
    let original = Record {
        topic: Arc::from("file_catalog"),
        partition: 3,
        offset: 5,
        key: Some(b"a key".to_vec()),
        value: Some(vec![0xff, 0x00, b'{']),
        headers: vec![],
        timestamp: None,
    };
    let error = decode(&Topics::default(), &original).unwrap_err();
    let dead = original.dead_letter(&error.reason(), SOURCE, AT);
    assert_eq!(crate::record::from_base64(dead.value.as_ref().unwrap()), original.value);
    let message = dead_letter(&dead, SOURCE, AT);
    assert_eq!(message.key, "a key");
    assert_eq!(message.headers.id, format!("dead-letter:file_catalog/3/5:{SOURCE}"));
    assert_eq!(decoded(&as_json(&message)).unwrap(), Event::DeadLetter(dead));
}

proptest! {
    #[test]
    fn an_outbox_row_gives_the_message_back(index in 0_usize..28, trace in any::<Option<String>>()) {
        let message = samples().swap_remove(index).1.with_traceparent(trace);
        let row = postcard::to_stdvec(&message).unwrap();
        prop_assert_eq!(postcard::from_bytes::<Message>(&row).unwrap(), message);
    }

    #[test]
    fn arbitrary_records_never_panic(
        topic in 0_usize..17,
        key in any::<Option<Vec<u8>>>(),
        value in any::<Option<Vec<u8>>>(),
        kind in any::<Option<Vec<u8>>>(),
    ) {
        let topics = Topics::default();
        let record = Record {
            topic: Arc::from(topics.name(Topic::ALL[topic])),
            partition: 0,
            offset: 0,
            key,
            value,
            headers: vec![("ce_type".to_owned(), kind)],
            timestamp: None,
        };
        if let Err(error) = decode(&topics, &record) {
            prop_assert!(!error.reason().is_empty());
        }
    }

    /// Whatever is written over a good payload: it is read or refused with a reason.
    #[test]
    fn damaged_payloads_never_panic(index in 0_usize..28, at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut golden = record(&as_json(&samples()[index].1));
        if let Some(value) = golden.value.as_mut().filter(|value| !value.is_empty()) {
            let at = at.index(value.len());
            value[at] = byte;
        }
        let _ = decode(&Topics::default(), &golden);
    }
}
