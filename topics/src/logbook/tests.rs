//! The logbook's twenty messages as it sent them, made-up worse ones, and arbitrary bytes.

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn parsed(topic: LogbookTopic, value: &Value) -> Result<LogbookEvent, LogbookError> {
    parse(topic, value.to_string().as_bytes())
}

fn run(value: &Value) -> RunDoc {
    let message = json!({ "experiment_name": "mfxlv9518", "CRUD": "Update", "value": value });
    match parsed(LogbookTopic::Runs, &message).unwrap() {
        LogbookEvent::Run { run: Some(run), .. } => run,
        other => panic!("{other:?}"),
    }
}

fn file(value: &Value) -> Result<FileDoc, LogbookError> {
    let message = json!({ "experiment_name": "mfxlv9518", "CRUD": "Create", "value": value });
    match parsed(LogbookTopic::FileCatalog, &message)? {
        LogbookEvent::File { file: Some(file), .. } => Ok(file),
        other => panic!("{other:?}"),
    }
}

/// One line per message of `events/logbook-messages.json`.
fn summary(event: &LogbookEvent) -> String {
    match event {
        LogbookEvent::Run { crud, run: Some(run), .. } => {
            let files = run.file_catalog.as_ref().map(Vec::len);
            format!("run {crud:?} {} closed={} files={files:?}", run.num, run.closed)
        }
        LogbookEvent::File { crud, file: Some(file), .. } => {
            let FileDoc { lfn, run, registration, locations, create, .. } = file;
            let run = run.map_or_else(|| "-".to_owned(), |run| run.to_string());
            format!(
                "file {crud:?} {} run={run} size={:?} at={locations:?} create={create}",
                lfn.file_name(),
                registration.size
            )
        }
        LogbookEvent::Experiment { crud, dm_locations, .. } => {
            format!("experiment {crud:?} {dm_locations:?}")
        }
        LogbookEvent::Job { crud, job: Some(job), .. } => {
            let run = job.run.map_or_else(|| "-".to_owned(), |run| run.to_string());
            format!(
                "job {crud:?} {} run={run} at={}",
                job.status.as_deref().unwrap(),
                job.location.as_deref().unwrap()
            )
        }
        LogbookEvent::File { crud, file: None, .. } => format!("file {crud:?} null"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_logbooks_twenty_messages_are_understood() {
    let Some(data) = lightrail_compose::require::data("the logbook's twenty messages") else { return };
    let text = std::fs::read(data.join("events/logbook-messages.json")).unwrap();
    let messages: Vec<Value> = serde_json::from_slice(&text).unwrap();
    assert_eq!(messages.len(), 20);
    let said: Vec<String> = messages
        .iter()
        .filter_map(|message| {
            let topic = match message["topic"].as_str().unwrap() {
                "runs" => LogbookTopic::Runs,
                "file_catalog" => LogbookTopic::FileCatalog,
                "experiments" => LogbookTopic::Experiments,
                "workflow_jobs" => LogbookTopic::WorkflowJobs,
                _ => return None,
            };
            Some(summary(&parsed(topic, &message["value"]).unwrap()))
        })
        .collect();
    assert_eq!(
        said,
        [
            "experiment Create Some([NERSC])",
            "run Create 1 closed=false files=None",
            "run Update 1 closed=false files=None",
            "file Create mfxlv9518-r0001-s00-c00.xtc run=1 size=Some(3805078488) at=[] create=true",
            "file Create mfxlv9518-r0001-s00-c00.smd.xtc run=1 size=Some(1111) at=[] create=true",
            "file Create mfxlv9518-r0001-s00-c00.xtc.idx run=1 size=Some(222) at=[] create=true",
            "file Create mfxlv9518-r0001-s80-c00.xtc run=1 size=Some(99) at=[] create=true",
            "file Update mfxlv9518-r0001-s00-c00.xtc run=1 size=Some(3805078488) at=[NERSC] create=false",
            "run Update 1 closed=true files=Some(4)",
            "file Update mfxlv9518-r0001-s80-c00.xtc run=1 size=Some(99) at=[NERSC] create=false",
            "file Update null",
            "job Create START run=1 at=NERSC",
            "job Update RUNNING run=1 at=NERSC",
            "run Create 2 closed=false files=None",
            "run Update 2 closed=true files=Some(0)",
            "run Create 3 closed=false files=None",
            "run Update 3 closed=true files=Some(0)",
            "file Create mfxlv9518-r0001-s00-c00.xtc run=1 size=Some(3805078488) at=[] create=true",
        ]
    );
}

#[test]
fn a_run_end_with_bare_nan_and_infinity_still_closes_the_run() {
    let text = br#"{"experiment_name": "mfxlv9518", "CRUD": "Update", "value": {"num": 7, "end_time": "2020-09-02T10:03:01+00:00",
        "params": {"a": NaN, "b": [Infinity, -Infinity,NaN], "c": "NaN, Infinity", "d\\": -Infinity, "e": "\"NaN"},
        "duration": NaN, "file_catalog": []}}"#;
    let LogbookEvent::Run { run: Some(run), .. } = parse(LogbookTopic::Runs, text).unwrap() else { panic!() };
    assert!(run.closed && run.num == RunNumber(7) && run.file_catalog == Some(vec![]));
    assert_eq!(run.end_time, Some("2020-09-02T10:03:01Z".parse().unwrap()));
    let mended: Value = serde_json::from_slice(&mend(text)).unwrap();
    assert_eq!(mended["value"]["params"]["c"], "NaN, Infinity");
    assert_eq!(mended["value"]["params"]["b"], json!([null, null, null]));
    assert!(mended["value"]["params"]["d\\"].is_null());
    // Such a token elsewhere is not made better.
    assert!(parse(LogbookTopic::Runs, b"{NaN: 1}").is_err());
    assert!(parse(LogbookTopic::Runs, b"NaN").is_err());
}

#[test]
fn what_is_missing_or_odd_in_a_run_is_not_guessed() {
    let bare = run(&json!({ "num": 3 }));
    assert!(
        !bare.closed && bare.file_catalog.is_none() && bare.begin_time.is_none() && bare.unread.is_empty()
    );
    assert_eq!(run(&json!({ "num": 3.0 })).num, RunNumber(3));
    assert_eq!(run(&json!({ "num": "3" })).num, RunNumber(3));
    let odd =
        run(&json!({ "num": 3, "end_time": 12, "begin_time": "2020-09-02T10:00:00", "file_catalog": "x" }));
    assert!(odd.closed, "an end that cannot be read is an end all the same");
    assert_eq!((odd.end_time, odd.unread), (None, vec!["file_catalog", "end_time"]));
    assert_eq!(odd.begin_time.unwrap().to_string(), "2020-09-02T10:00:00Z");
    for bad in [
        json!({}),
        json!({ "num": null }),
        json!({ "num": -1 }),
        json!({ "num": 1.5 }),
        json!({ "num": "x" }),
    ] {
        let message = json!({ "experiment_name": "mfxlv9518", "value": bad });
        let error = parsed(LogbookTopic::Runs, &message).unwrap_err().to_string();
        assert!(error.starts_with("num should be a run number, and is "), "{error}");
    }
}

#[test]
fn one_bad_file_does_not_hide_a_runs_end() {
    let good = "/mfx/mfxlv9518/xtc/mfxlv9518-r0003-s00-c00.xtc";
    let run = run(&json!({ "num": 3, "end_time": "2020-09-02T10:00:00Z", "file_catalog": [
        { "path": good }, { "path": "/mfx/mfxlv9518/xtc/../../etc/passwd" }, { "path": "/cxi/cxi78513/xtc/a.xtc" },
        { "size": 3 }, null, { "path": "/mfx/mfxlv9518/hdf5/master.h5" },
    ]}));
    let names: Vec<&str> = run.file_catalog.as_ref().unwrap().iter().map(|file| file.lfn.as_str()).collect();
    assert_eq!(names, [good, "/mfx/mfxlv9518/hdf5/master.h5"]);
    assert!(run.file_catalog.unwrap().iter().all(|file| file.run == Some(RunNumber(3)) && !file.create));
    let why: Vec<&str> = run.bad_files.iter().map(|(_, why)| why.as_str()).collect();
    assert!(why[0].ends_with("is refused: has . or .. as a part"), "{why:?}");
    assert!(why[1].contains("the folder of cxi78513"), "{why:?}");
    assert_eq!(why[2], "path should be a text, and is missing");
    assert_eq!(why[3], "a member of file_catalog should be an object, and is null");
    assert_eq!(why.len(), 4);
}

#[test]
fn a_file_says_what_it_can() {
    let path = "/mfx/mfxlv9518/xtc/mfxlv9518-r0012-s03-c01.xtc";
    let least = file(&json!({ "path": path, "run_num": 99 })).unwrap();
    assert_eq!(least.run, Some(RunNumber(12)), "the name, not the run that happened to be open");
    assert_eq!(least.registration, Registration::default());
    assert!(least.create && least.unread.is_empty());
    let unnamed = file(&json!({ "path": "/mfx/mfxlv9518/hdf5/a.h5", "run_num": 99 })).unwrap();
    assert_eq!(unnamed.run, Some(RunNumber(99)));

    let most =
        file(&json!({ "path": path, "absolute_path": "/u2/x", "hostname": "daq", "size": 12.0, "gen": 2,
        "create_timestamp": "2020-09-02T10:00:00.000001", "checksum": "0x00d41d8cd98f00b204e9800998ecf8427e",
        "locations": { "NERSC": { "asof": "x" }, "SLAC": null, "../x": {} } }))
        .unwrap();
    assert_eq!(most.registration.size, Some(12));
    assert!(most.registration.created.unwrap().has_fraction());
    assert_eq!(most.locations, ["NERSC".parse().unwrap()]);
    assert_eq!(most.unread, ["checksum"], "neither its kind nor a length that tells it");
    let sum = file(&json!({ "path": path, "checksum": "ADLER32:AB", "size": "", "hostname": 4 })).unwrap();
    assert_eq!(sum.registration.checksum.unwrap().to_string(), "adler32:000000ab");
    assert_eq!((sum.registration.size, sum.unread), (None, vec!["hostname"]));
}

#[test]
fn what_cannot_be_a_message_says_why() {
    for (text, why) in [
        (&b""[..], "no JSON"),
        (b"\xff\xfe", "no JSON"),
        (b"[]", "the message should be an object, and is []"),
        (br#"{"CRUD":"Create"}"#, "experiment_name should be a text, and is missing"),
        (br#"{"experiment_name":"../etc"}"#, "experiment_name is refused"),
        (br#"{"experiment_name":"mfxlv9518","value":[1]}"#, "value should be an object, and is [1]"),
        (br#"{"experiment_name":"mfxlv9518","value":{"path":7}}"#, "path should be a text, and is 7"),
        (
            br#"{"experiment_name":"mfxlv9518","value":{"path":"/cxi/cxi1/xtc/a.xtc"}}"#,
            "lies in the folder of cxi1",
        ),
    ] {
        let error = lenient::with_causes(&parse(LogbookTopic::FileCatalog, text).unwrap_err());
        assert!(error.contains(why), "{error}");
    }
    let deep = "[".repeat(100_000);
    assert!(parse(LogbookTopic::Runs, deep.as_bytes()).is_err(), "refused, not a stack overflow");
    for nothing in
        [&br#"{"experiment_name":"mfxlv9518","value":null}"#[..], br#"{"experiment_name":"mfxlv9518"}"#]
    {
        let event = parse(LogbookTopic::Experiments, nothing).unwrap();
        let LogbookEvent::Experiment { crud: Crud::Other, dm_locations: None, .. } = event else { panic!() };
    }
}

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,20}".prop_map(Value::from),
        Just(json!("2020-09-02T10:00:00")),
        Just(json!("/mfx/mfxlv9518/xtc/mfxlv9518-r0012-s03-c01.xtc")),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        let key = prop_oneof![
            Just("num"),
            Just("path"),
            Just("end_time"),
            Just("file_catalog"),
            Just("size"),
            Just("locations"),
            Just("params"),
            Just("dm_locations"),
            Just("def"),
            Just("run_num"),
            Just("create_timestamp"),
        ];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((key, inner), 0..6).prop_map(|pairs| {
                Value::Object(pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
            }),
        ]
    })
}

const TOPICS: [LogbookTopic; 4] =
    [LogbookTopic::Runs, LogbookTopic::FileCatalog, LogbookTopic::Experiments, LogbookTopic::WorkflowJobs];

proptest! {
    #[test]
    fn arbitrary_bytes_are_refused_or_read_and_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        for topic in TOPICS {
            let _ = parse(topic, &bytes);
        }
    }

    /// Cut, doubled and broken forms of a real message.
    #[test]
    fn damaged_messages_never_panic(cut in 0_usize..300, at in 0_usize..300, byte in any::<u8>()) {
        let whole = br#"{"experiment_name":"mfxlv9518","CRUD":"Update","value":{"num":1,"params":{"x":NaN,"y":-Infinity},"end_time":"2020-09-02T10:03:01.741000+00:00","file_catalog":[{"path":"/mfx/mfxlv9518/xtc/mfxlv9518-r0001-s00-c00.xtc","size":3805078488,"locations":{"NERSC":{"asof":"2020"}}}]}}"#;
        let mut damaged = whole[..cut.min(whole.len())].to_vec();
        if let Some(place) = damaged.get_mut(at) {
            *place = byte;
        }
        for topic in TOPICS {
            let _ = parse(topic, &damaged);
        }
    }

    /// Whatever the fields hold: a file that is let in is the experiment's, and its name is one that parses.
    #[test]
    fn nothing_of_another_experiment_gets_in(value in json_value()) {
        let message = json!({ "experiment_name": "mfxlv9518", "CRUD": "Create", "value": value });
        for topic in TOPICS {
            let files = match parsed(topic, &message) {
                Ok(LogbookEvent::File { file: Some(file), .. }) => vec![file],
                Ok(LogbookEvent::Run { run: Some(run), .. }) => run.file_catalog.unwrap_or_default(),
                _ => Vec::new(),
            };
            for file in files {
                let folder = file.lfn.experiment();
                prop_assert_eq!(folder.as_str(), "mfxlv9518");
                prop_assert_eq!(file.lfn.as_str().parse::<Lfn>().unwrap(), file.lfn);
            }
        }
    }

    /// Mending changes bare tokens only: what was JSON before stays what it was.
    #[test]
    fn mending_leaves_json_alone(value in json_value()) {
        let text = value.to_string();
        prop_assert_eq!(&*mend(text.as_bytes()), text.as_bytes());
    }
}
