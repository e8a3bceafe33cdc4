//! Golden files of every event version, deterministic ids, round trips through the wire and through an outbox row.

use std::path::PathBuf;
use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::events::{
    Cause, ClosedBy, ConfigurePlace, Extent, ExtentKind, FailureClass, FileTiming, IndexPosition, IndexState,
    JobEnd, JobIdentity, JobStep, LeftOut, ManifestFile, MissingFile, Numbers, Outcome, Registration,
    ShotData, Stage, StageTimes, Task, TransferState, Trigger, Verified, Work,
};
use crate::image::TrialNumber;
use crate::record::{DecodeError, Event, Record, decode};
use crate::topic::Topics;

const AT: Millis = Millis(1_599_040_981_741);
const SOURCE: &str = "lightrail-mover/nersc";

fn lfn(name: &str) -> Lfn {
    format!("/mfx/mfxlv9518/xtc/{name}").parse().unwrap()
}

fn site() -> SiteName {
    "NERSC".parse().unwrap()
}

fn run() -> RunKey {
    "mfxlv9518/12".parse().unwrap()
}

fn cause() -> Cause {
    Cause {
        class: "endpoint".to_owned(),
        code: "stalled".to_owned(),
        text: "no byte for 10 s".to_owned(),
        endpoint: Some("dtn04.example.org:1094".to_owned()),
    }
}

fn a_file() -> FileAvailable {
    FileAvailable {
        lfn: lfn("mfxlv9518-r0012-s00-c00.xtc"),
        run: run(),
        site: site(),
        generation: Generation(2),
        size: 3_805_078_488,
        checksum: Some("adler32:0a1b2c3d".parse().unwrap()),
        verified: Verified::Checksum,
        unchecked: Some("d41d8cd98f00b204e9800998ecf8427e".parse().unwrap()),
        url: "root://door.example.org:1094//data/mfx/mfxlv9518/xtc/mfxlv9518-r0012-s00-c00.xtc".to_owned(),
        already_there: false,
        registration: Registration {
            created: Some("2020-09-02T10:00:00+00:00".parse().unwrap()),
            path: Some("/u2/pcds/pds/mfx/mfxlv9518/xtc/mfxlv9518-r0012-s00-c00.xtc".to_owned()),
            host: Some("daq-mfx-dss01".to_owned()),
            size: Some(3_805_078_488),
            checksum: None,
            mtime: None,
        },
        source_mtime: 1_599_040_800,
        timing: FileTiming {
            seen: Some(Millis(AT.0 - 9000)),
            ready: Some(Millis(AT.0 - 5000)),
            started: Some(Millis(AT.0 - 4000)),
            copied: Some(Millis(AT.0 - 500)),
            verified: Some(AT),
        },
        attempt: Some("00ab12cd.1".parse().unwrap()),
    }
}

fn manifest() -> RunManifest {
    RunManifest {
        run: run(),
        site: site(),
        began: Some(Millis(AT.0 - 600_000)),
        ended: Some(Millis(AT.0 - 10_000)),
        closed_by: ClosedBy::EndTime,
        files: vec![ManifestFile {
            lfn: lfn("mfxlv9518-r0012-s00-c00.xtc"),
            generation: Generation(2),
            size: 3_805_078_488,
            checksum: Some("adler32:0a1b2c3d".parse().unwrap()),
            url: "root://door.example.org:1094//data/mfx/mfxlv9518/xtc/mfxlv9518-r0012-s00-c00.xtc"
                .to_owned(),
        }],
        left_out: vec![LeftOut {
            lfn: lfn("mfxlv9518-r0012-s80-c00.xtc"),
            by: "configuration".to_owned(),
            why: "stream 80 is not waited for".to_owned(),
        }],
        first_file: Some(AT),
        at: AT,
    }
}

fn an_image() -> Image {
    let extent = |stream, offset| Extent {
        lfn: lfn(&format!("mfxlv9518-r0012-s{stream:03}-c001.xtc2")),
        offset,
        length: 8_388_716,
        kind: ExtentKind::Dgram,
    };
    let configure = |stream| ConfigurePlace {
        lfn: lfn(&format!("mfxlv9518-r0012-s{stream:03}-c000.xtc2")),
        offset: 0,
        length: 12_340,
    };
    Image {
        image: "mfxlv9518/12/972144180-441866239".parse().unwrap(),
        trial: TrialNumber(3),
        site: site(),
        extents: vec![extent(0, 43_072), extent(1, 9_000_000_000)],
        configure: vec![configure(0), configure(1)],
        names_epoch: 2_166_136_261,
        shot: ShotData {
            photon_energy: Some(9504.5),
            pulse_id: Some(4_158_371_412),
            event_codes: vec![40, 140],
            detector_distance: Some(0.095),
        },
    }
}

fn progress() -> Indexed {
    Indexed {
        run: run(),
        trial: TrialNumber(3),
        site: site(),
        number: 2,
        live: true,
        images: 30_000,
        state: IndexState::Closed,
        manifest: Some("0123456789abcdef".parse().unwrap()),
        positions: vec![IndexPosition {
            lfn: lfn("smalldata/mfxlv9518-r0012-s000-c000.smd.xtc2"),
            generation: Some(Generation(1)),
            offset: 2_280_848,
            events: 30_000,
            digest: "00112233445566aa".parse().unwrap(),
        }],
        at: AT,
    }
}

fn a_result() -> ImageResult {
    ImageResult {
        image: an_image().image,
        trial: TrialNumber(3),
        site: site(),
        outcome: Outcome::Failed,
        stage: Stage::Spotfind,
        cause: Some("spot finding stopped: index 5 is out of range".to_owned()),
        numbers: Numbers {
            spots: Some(57),
            resolution: Some(1.93),
            saturated: Some(3),
            saturation: Some(1.0),
            intensity: Some(1_234_567.5),
            photon_energy: Some(9504.5),
            pulse_id: Some(4_158_371_412),
            event_codes: vec![40, 140],
            detector_distance: Some(0.095),
        },
        times: StageTimes {
            waited: 12_345,
            read: Some(4000),
            queued: Some(15),
            calibrate: Some(2500),
            spotfind: Some(3100),
            decide: Some(4),
        },
        worker: "nid001234-3".parse().unwrap(),
        used: Some("9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08".parse().unwrap()),
    }
}

fn a_trial() -> Trial {
    let parameters = json!({ "detector": "jungfrau", "spots": { "threshold": 5.0, "min_pixels": 2 } });
    Trial {
        experiment: "mfxlv9518".parse().unwrap(),
        trial: TrialNumber(3),
        live: true,
        parameters: parameters.as_object().unwrap().clone(),
        who: "auser".to_owned(),
        at: AT,
    }
}

fn a_rule() -> Rule {
    let task = |name: &str, work, after: &[&str]| Task {
        task: name.parse().unwrap(),
        work,
        after: after.iter().map(|name| name.parse().unwrap()).collect(),
        nodes: 2,
        seconds: 3600,
        attempts: 3,
    };
    let merge = Work::Command {
        program: "/usr/bin/merge".to_owned(),
        arguments: vec!["--run={run}".parse().unwrap(), "{{plain}}".parse().unwrap()],
    };
    Rule {
        rule: "live-hits".parse().unwrap(),
        version: 2,
        trigger: Trigger::AllFilesTransferred,
        experiment: Some("mfxlv9518".parse().unwrap()),
        first_run: Some("10".parse().unwrap()),
        last_run: None,
        site: site(),
        trial: Some(TrialNumber(3)),
        tasks: vec![task("work", Work::Analysis { workers: 4 }, &[]), task("merge", merge, &["work"])],
        who: "auser".to_owned(),
        at: AT,
    }
}

fn a_job(place: u32, step: JobStep) -> Job {
    let identity = JobIdentity {
        rule: "live-hits".parse().unwrap(),
        run: run(),
        trial: Some(TrialNumber(3)),
        task: "work".parse().unwrap(),
        request: None,
        attempt: 1,
    };
    Job { job: identity.name(), identity, place, epoch: 7, step, at: AT }
}

/// One message of each kind, and the tombstones.
fn samples() -> Vec<(&'static str, Message)> {
    let key: WishKey = "mfxlv9518/12@NERSC".parse().unwrap();
    let mfx: Experiment = "mfxlv9518".parse().unwrap();
    let gone = FileGone { lfn: a_file().lfn, run: run(), site: site(), generation: Generation(2), seen: AT };
    let corrected =
        RunCorrected { number: 1, because: "stream 80 came late".to_owned(), manifest: manifest() };
    let incomplete = RunIncomplete {
        number: 1,
        run: run(),
        site: site(),
        missing: vec![MissingFile {
            lfn: lfn("mfxlv9518-r0012-s01-c00.xtc"),
            why: "no space left".to_owned(),
        }],
        available: 11,
        at: AT,
    };
    let changed = TransferEvent {
        lfn: a_file().lfn,
        run: run(),
        site: site(),
        generation: Generation(2),
        state: TransferState::Failed,
        registration: None,
        attempt: Some("00ab12cd.3".parse().unwrap()),
        place: 1,
        tries: 3,
        at: AT,
        cause: Some(cause()),
        next_try: None,
        bytes: Some(1_048_576),
        from_server: Some("psexport01.example.org:1094".to_owned()),
        to_server: Some("dtn04.example.org:1094".to_owned()),
        history: vec![cause(), cause()],
    };
    let wanted = Wish {
        asked: Some(true),
        asked_again: 1,
        priority: Some(10),
        who: "auser".to_owned(),
        at: AT,
        why: "beam time tonight".to_owned(),
        ..Wish::default()
    };
    let begin = Start { mover: "nersc".parse().unwrap(), from: Millis(AT.0 - 1), at: AT };
    let to = Route {
        to: vec![site(), "S3DF".parse().unwrap()],
        streaming: Some(true),
        transfers: Some(4),
        not_waited_streams: Some(vec![80, 81]),
        who: "auser".to_owned(),
        at: AT,
    };
    let failover = RouteOverride {
        to: vec!["OLCF".parse().unwrap()],
        move_begun: true,
        reason: "NERSC is down".to_owned(),
        expires: Millis(AT.0 + 3_600_000),
        at: AT,
    };
    let dead = DeadLetter {
        topic: "runs".to_owned(),
        partition: 0,
        offset: 17,
        key: None,
        value: Some("bm8gSlNPTg==".to_owned()),
        reason: "the message is no JSON: expected ident at line 1 column 2".to_owned(),
        by: SOURCE.to_owned(),
        at: AT,
    };
    let intended =
        JobStep::Intended { reason: "all 12 files are at NERSC".to_owned(), rule_version: 2, site: site() };
    let asked = JobAsked {
        rule: "live-hits".parse().unwrap(),
        run: run(),
        request: 2,
        who: "auser".to_owned(),
        at: AT,
    };
    let end = JobEnd::Failed { class: FailureClass::Timeout, text: "TIMEOUT 0:1".to_owned() };
    let ended = JobStep::Ended { id: Some("4242".to_owned()), end };
    let decides =
        Decider { decider: "main".parse().unwrap(), epoch: 7, place: "host:4711".to_owned(), at: AT };
    vec![
        ("file.available", file_available(&a_file(), SOURCE, AT)),
        ("file.gone", file_gone(&gone, SOURCE, AT)),
        ("run.available", run_available(&manifest(), SOURCE, AT)),
        ("run.corrected", run_corrected(&corrected, SOURCE, AT)),
        ("run.incomplete", run_incomplete(&incomplete, SOURCE, AT)),
        ("transfer", transfer(&changed, SOURCE, AT)),
        ("wish", wish(&key, Some(&wanted), SOURCE, AT)),
        ("wish.removed", wish(&key, None, SOURCE, AT)),
        ("start", start(&begin, SOURCE, AT)),
        ("route", route(&mfx, Some(&to), SOURCE, AT)),
        ("route.removed", route(&mfx, None, SOURCE, AT)),
        ("route.override", route_override(&mfx, Some(&failover), SOURCE, AT)),
        ("route.override.removed", route_override(&mfx, None, SOURCE, AT)),
        ("dead-letter", dead_letter(&dead, SOURCE, AT)),
        ("settled", settled(Topic::FilesAvailable, 3, SOURCE, AT)),
        ("image", image(&an_image(), SiteTopic::ImagesLive, SOURCE, AT)),
        ("indexed", indexed(&progress(), SOURCE, AT)),
        ("result", result(&a_result(), SOURCE, AT)),
        ("trial", trial(&a_trial(), SOURCE, AT)),
        ("rule", rule(&a_rule().rule, Some(&a_rule()), SOURCE, AT)),
        ("rule.removed", rule(&a_rule().rule, None, SOURCE, AT)),
        ("job", job(&a_job(0, intended), SOURCE)),
        ("job.submitted", job(&a_job(1, JobStep::Submitted { id: "4242".to_owned() }), SOURCE)),
        ("job.running", job(&a_job(2, JobStep::Running { id: "4242".to_owned() }), SOURCE)),
        ("job.ended", job(&a_job(3, ended), SOURCE)),
        ("job.given_up", job(&a_job(4, JobStep::GivenUp { why: "not seen for 120 s".to_owned() }), SOURCE)),
        ("decider", decider(&decides, SOURCE)),
        ("job.asked", job_asked(&asked, SOURCE)),
    ]
}

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
