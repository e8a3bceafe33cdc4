use lightrail_topics::Lfn;

use super::*;

/// Nobody listens; what was said is kept by the logbook itself.
struct Nobody;

impl Sink for Nobody {
    async fn send(&self, _: &str, _: &str) -> anyhow::Result<()> {
        Ok(())
    }
}

fn experiment() -> Experiment {
    "mfxlv9518".parse().unwrap()
}

async fn logbook() -> Logbook {
    let logbook = Logbook::serve(Nobody, LogbookOptions::default()).await.unwrap();
    logbook.register_experiment(&experiment(), &"mfx".parse().unwrap(), &["NERSC".parse().unwrap()]);
    logbook
}

fn report(path: &str) -> FileReport {
    let created = Some("2020-09-02T10:00:00Z".parse().unwrap());
    let host = Some("daq-mfx-dss01".to_owned());
    let lfn: Lfn = path.parse().unwrap();
    FileReport {
        created,
        hostname: host,
        absolute_path: Some(format!("/u2/pcds/pds{path}")),
        ..FileReport::new(lfn)
    }
}

const XTC: &str = "/mfx/mfxlv9518/xtc/mfxlv9518-r0001-s00-c00.xtc";
const SMD: &str = "/mfx/mfxlv9518/xtc/smalldata/mfxlv9518-r0001-s00-c00.smd.xtc";

async fn get(logbook: &Logbook, rule: &str) -> (u16, String) {
    let answer = reqwest::get(format!("{}{rule}", logbook.url())).await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

async fn value(logbook: &Logbook, rule: &str) -> Value {
    let (status, text) = get(logbook, rule).await;
    assert_eq!(status, 200, "{text}");
    serde_json::from_str::<Value>(&text).unwrap()["value"].clone()
}

/// The messages of a run have the members of the real ones, in their order.
#[tokio::test]
async fn messages_have_the_shape_of_the_real_ones() {
    let Some(data) = crate::require::data("logbook::messages_have_the_shape_of_the_real_ones") else {
        return;
    };
    let real = std::fs::read_to_string(data.join("events/logbook-messages.json")).unwrap();
    let real: Vec<Value> = serde_json::from_str(&real).unwrap();

    let logbook = logbook().await;
    let exp = experiment();
    logbook.start_run(&exp, None).unwrap();
    logbook
        .add_run_params(
            &exp,
            None,
            &[("DAQ Detectors/MfxEndstation-0|Epix10ka2M-0", 1.0), ("MFX:DIA:MMS:07.DF", 1.0)],
        )
        .unwrap();
    for (path, size) in [(XTC, 3_805_078_488), (SMD, 1111)] {
        logbook
            .register_file(&exp, &FileReport { size: Some(size), run: Some(RunNumber(1)), ..report(path) })
            .unwrap();
    }
    let available = format!("/lgbk/{exp}/ws/file_available_at_location?location=NERSC&run_num=1&file_path=");
    assert_eq!(get(&logbook, &format!("{available}{XTC}")).await, (200, r#"{"success": true}"#.into()));
    logbook.end_run(&exp).unwrap();
    assert_eq!(get(&logbook, &format!("{available}/mfx/mfxlv9518/xtc/unknown.xtc")).await.0, 200);
    logbook.start_run(&exp, None).unwrap();
    logbook.start_run(&exp, None).unwrap();
    logbook
        .register_file(
            &exp,
            &FileReport { size: Some(3_805_078_488), run: Some(RunNumber(1)), ..report(XTC) },
        )
        .unwrap();
    logbook.settle().await;

    // Which of the twenty real messages each of ours must look like.
    let like = [0, 3, 4, 5, 6, 9, 10, 12, 15, 16, 17, 19];
    let said = logbook.said();
    assert_eq!(said.len(), like.len(), "{said:#?}");
    for (ours, like) in said.iter().zip(like) {
        assert_eq!(ours.topic, real[like]["topic"], "message {like}");
        let ours: Value = serde_json::from_str(&ours.body).unwrap();
        assert_eq!(shape(&ours), shape(&real[like]["value"]), "message {like}");
    }
}

/// Names and kinds of members, in order, and the shape of texts: digits as `0`, identifiers left out.
fn shape(value: &Value) -> String {
    match value {
        Value::Object(members) => {
            let members = members.iter().filter(|(name, _)| *name != "params" && *name != "contact_info");
            let members: Vec<String> =
                members.map(|(name, value)| format!("{name}: {}", shape(value))).collect();
            format!("{{{}}}", members.join(", "))
        }
        Value::Array(items) => format!("[{}]", items.first().map(shape).unwrap_or_default()),
        Value::String(text) if text.contains("T1") || text.contains("T0") || text.contains("T2") => {
            text.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect()
        }
        Value::String(_) => "text".into(),
        Value::Number(_) => "number".into(),
        other => other.to_string(),
    }
}

#[tokio::test]
async fn a_parameter_that_is_no_number_stands_bare_in_messages_and_answers() {
    let logbook = logbook().await;
    logbook.start_run(&experiment(), None).unwrap();
    logbook.add_run_params(&experiment(), None, &[("EBEAM", f64::NAN)]).unwrap();
    logbook.end_run(&experiment()).unwrap();
    assert!(logbook.said().iter().filter(|said| said.body.contains(r#""EBEAM": NaN"#)).count() == 2);
    let (_, runs) = get(&logbook, "/lgbk/mfxlv9518/ws/runs").await;
    assert!(runs.contains(r#""EBEAM": NaN"#), "{runs}");
}

#[tokio::test]
async fn bad_input_is_500_with_text_and_a_logical_failure_is_200() {
    let logbook = logbook().await;
    logbook.start_run(&experiment(), None).unwrap();
    let rule = "/lgbk/mfxlv9518/ws/file_available_at_location?run_num=1&file_path=/a&location=MARS";
    assert_eq!(get(&logbook, rule).await, (500, "Please specify a valid location".into()));
    let client = reqwest::Client::new();
    let post = |body: &'static str| {
        client.post(format!("{}/lgbk/mfxlv9518/ws/register_file", logbook.url())).body(body).send()
    };
    let single = post("{\"size\": 1}").await.unwrap();
    assert_eq!(single.status(), 500);
    assert_eq!(single.text().await.unwrap(), "File registration missing keys {'path'}");
    let listed = post(r#"[{"size": 1}, {"path": "/mfx/mfxlv9518/xtc/a.xtc"}]"#).await.unwrap();
    assert_eq!(
        listed.text().await.unwrap(),
        r#"[{"success": false, "errormsg": "File registration missing keys {'path'}"}, {"success": true}]"#
    );
    let moved =
        get(&logbook, "/lgbk/mfxlv9518/ws/check_and_move_run_files_to_location?location=NERSC&run_num=1")
            .await;
    assert_eq!(moved.0, 200);
    assert!(moved.1.starts_with(r#"{"success": false, "errormsg": "This site has not"#), "{}", moved.1);
    assert_eq!(get(&logbook, "/lgbk/mfxlv9518/ws/runs/9").await.0, 500);
    logbook.set_absence(Absence::BadGateway);
    assert_eq!(get(&logbook, "/lgbk/mfxlv9518/ws/runs").await.0, 502);
    logbook.set_absence(Absence::None);
    assert_eq!(get(&logbook, "/lgbk/mfxlv9518/ws/runs").await.0, 200);
}

#[tokio::test]
async fn the_two_answers_to_is_the_run_there_differ() {
    let logbook = logbook().await;
    let exp = experiment();
    logbook.start_run(&exp, None).unwrap();
    logbook.register_file(&exp, &report(XTC)).unwrap();
    logbook.register_file(&exp, &report(SMD)).unwrap();
    logbook.end_run(&exp).unwrap();
    let available =
        format!("/lgbk/{exp}/ws/file_available_at_location?location=NERSC&run_num=1&file_path={XTC}");
    assert_eq!(get(&logbook, &available).await.0, 200);
    let one = value(&logbook, "/lgbk/mfxlv9518/ws/1/files_for_live_mode_at_location?location=NERSC").await;
    let all = value(&logbook, "/lgbk/mfxlv9518/ws/files_for_live_mode_at_location?location=NERSC").await;
    assert_eq!((&one["all_present"], one["files"].as_array().unwrap().len()), (&Value::Bool(true), 1));
    assert_eq!((&all[0]["all_present"], all[0]["files"].as_array().unwrap().len()), (&Value::Bool(false), 2));
    assert_eq!(logbook.present_at(&exp, &"NERSC".parse().unwrap()), [XTC]);

    // Registered again, it is present nowhere.
    logbook.register_file(&exp, &report(XTC)).unwrap();
    assert!(logbook.present_at(&exp, &"NERSC".parse().unwrap()).is_empty());
    let unknown = value(&logbook, "/lgbk/cxic00120/ws/files_for_live_mode_at_location?location=NERSC").await;
    assert_eq!(unknown, serde_json::json!([]));
    let locations = value(&logbook, "/lgbk/mfxlv9518/ws/dm_locations").await;
    assert_eq!((&locations[0]["name"], &locations[1]["name"]), (&"SLAC".into(), &"NERSC".into()));
}

/// What lies on Kafka in the end, by offset, of the topic `runs`: CRUD, number and whether the run is closed.
async fn on_kafka(bootstrap: &str, prefix: &str) -> Vec<String> {
    let connection = Connection::plain(bootstrap, "test");
    let topic = format!("{prefix}runs");
    let limit = std::time::Duration::from_secs(30);
    let records = lightrail_topics::kafka::read_to_end(
        &connection,
        &[topic],
        &std::collections::BTreeMap::default(),
        limit,
    )
    .await
    .unwrap();
    records
        .iter()
        .map(|record| {
            assert!(record.key.is_none() && record.headers.is_empty(), "{record:?}");
            let body: Value = serde_json::from_slice(record.value.as_deref().unwrap()).unwrap();
            let closed = if body["value"]["end_time"].is_null() { "open" } else { "closed" };
            format!("{} {} {closed}", body["CRUD"].as_str().unwrap(), body["value"]["num"])
        })
        .collect()
}

/// The plain course and every mischief, on a real broker.
#[tokio::test(flavor = "multi_thread")]
async fn messages_reach_kafka_without_keys_and_headers_and_mischief_happens_there_only() {
    let kafka = crate::Kafka::named_or_start().await.unwrap();
    let exp = experiment();
    // Message 0 is the experiment; 1 and 2 open and close run 1, 3 opens run 2.
    for (mischief, expected) in [
        (vec![], vec!["Create 1 open", "Update 1 closed", "Create 2 open"]),
        (vec![Mischief::Lose(2)], vec!["Create 1 open", "Create 2 open"]),
        (
            vec![Mischief::Double(1)],
            vec!["Create 1 open", "Create 1 open", "Update 1 closed", "Create 2 open"],
        ),
        (vec![Mischief::Swap(1)], vec!["Update 1 closed", "Create 1 open", "Create 2 open"]),
        (vec![Mischief::Swap(3)], vec!["Create 1 open", "Update 1 closed", "Create 2 open"]),
    ] {
        let prefix = format!("logbook-{:016x}.", fastrand::u64(..));
        let options = LogbookOptions { partitions: 1, mischief, ..LogbookOptions::default() };
        let logbook = Logbook::start(kafka.bootstrap(), &prefix, options).await.unwrap();
        logbook.register_experiment(&exp, &"mfx".parse().unwrap(), &[]);
        logbook.start_run(&exp, None).unwrap();
        logbook.end_run(&exp).unwrap();
        logbook.start_run(&exp, None).unwrap();
        logbook.settle().await;
        assert_eq!(on_kafka(kafka.bootstrap(), &prefix).await, expected);
        assert_eq!(logbook.said().len(), 4, "the logbook itself never notices");
    }
}

/// The mover's own call: `present` sets a location, any other word takes it away, silence leaves it, and Kafka hears nothing.
#[tokio::test]
async fn check_and_move_believes_the_movers_answer() {
    let logbook = logbook().await;
    let exp = experiment();
    logbook.start_run(&exp, None).unwrap();
    let third = "/mfx/mfxlv9518/xtc/mfxlv9518-r0001-s01-c00.xtc";
    for path in [XTC, SMD, third] {
        logbook.register_file(&exp, &report(path)).unwrap();
    }
    for path in [SMD, third] {
        let rule =
            format!("/lgbk/{exp}/ws/file_available_at_location?location=NERSC&run_num=1&file_path={path}");
        assert_eq!(get(&logbook, &rule).await.0, 200);
    }
    let said = logbook.said().len();
    let answer = serde_json::json!({ "files": { XTC: "present", SMD: "pending" } });
    let questions = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&questions);
    let route = axum::routing::post(move |axum::Json(question): axum::Json<Value>| async move {
        locked(&heard).push(question);
        axum::Json(answer)
    });
    let mover = axum::Router::new().route("/secret/ws/{exp}/check_files_for_run", route);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    logbook.set_mover(Some(format!("http://{}/secret/", listener.local_addr().unwrap())));
    tokio::spawn(async move { axum::serve(listener, mover).await });

    let rule = "/lgbk/mfxlv9518/ws/check_and_move_run_files_to_location?location=NERSC&run_num=1";
    let typed = format!("{rule}&restore_missing_files=true&file_types_to_restore=XTC");
    let answered = value(&logbook, &typed).await;
    assert_eq!(answered["dmstatus"], serde_json::json!({ XTC: "present", SMD: "pending" }));
    assert_eq!(logbook.present_at(&exp, &"NERSC".parse().unwrap()), [XTC, third]);
    assert_eq!(logbook.said().len(), said);
    let question = locked(&questions).remove(0);
    assert_eq!(
        (&question["instrument"], &question["run_num"], &question["restore_missing_files"]),
        (&Value::from("MFX"), &Value::from(1), &Value::Bool(true))
    );
    // Without file types the real one asks for no file at all.
    assert_eq!(value(&logbook, rule).await["matching_files"], serde_json::json!([]));
}
