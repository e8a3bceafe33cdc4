//! The interface on a real socket, with an owner that is played.

use lightrail_topics::Millis;
use lightrail_topics::events::Wish;
use metrics_exporter_prometheus::PrometheusBuilder;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::*;
use crate::config::{Secret, SecretSource};
use crate::view::{Presence, Readiness, WhySite, WhyView, WishChange, Wished};

const LFN: &str = "/mfx/mfxlv9518/xtc/mfxlv9518-r0012-s00-c00.xtc";

/// A mover's interface on a free port.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    client: reqwest::Client,
    serving: JoinHandle<()>,
}

impl Running {
    /// Serves on a free port; `token` and `prefix` as configured.
    pub(crate) async fn start(
        owner: mpsc::Sender<Question>,
        token: Option<&str>,
        prefix: Option<&str>,
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let secret = |name: &str, text: Option<&str>| {
            text.map(|text| {
                let path = folder.path().join(name);
                std::fs::write(&path, text).unwrap();
                Secret::new(SecretSource::File(path), name, 1).read().unwrap()
            })
        };
        let recorder = PrometheusBuilder::new().build_recorder();
        metrics::with_local_recorder(&recorder, || metrics::counter!("files_total").increment(3));
        let interface = Interface {
            asker: Asker::new(owner),
            token: secret("token", token),
            secret_prefix: secret("prefix", prefix),
            metrics: recorder.handle(),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = tokio::spawn(serve_on(listener, interface));
        Self { address, client: reqwest::Client::new(), serving }
    }

    async fn get(&self, path: &str) -> (u16, String) {
        let answer = self.client.get(format!("http://{}{path}", self.address)).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    async fn post(&self, path: &str, token: Option<&str>, body: &Value) -> (u16, Value) {
        let mut request = self.client.post(format!("http://{}{path}", self.address)).json(body);
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap_or(Value::Null))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// An owner that answers as the tests expect it.
pub(crate) fn owner() -> mpsc::Sender<Question> {
    let (send, mut receive) = mpsc::channel(8);
    tokio::spawn(async move {
        while let Some(question) = receive.recv().await {
            play(question);
        }
    });
    send
}

fn play(question: Question) {
    match question {
        Question::Runs(_, reply) => drop(reply.send(Vec::new())),
        Question::Transfers(_, reply) => drop(reply.send(Vec::new())),
        Question::Why(run, reply) if run.run.0 == 12 => {
            let missing = vec![(LFN.parse().unwrap(), "its run is still open".to_owned())];
            let site =
                WhySite { site: Some("NERSC".parse().unwrap()), summary: "1 of 2 files".to_owned(), missing };
            drop(reply.send(Ok(WhyView { run, sites: vec![site] })));
        }
        Question::Why(run, reply) => {
            let what = format!("run of {}", run.experiment);
            drop(reply.send(Err(NotKnown { what, name: run.run.to_string(), near: vec!["12".to_owned()] })));
        }
        Question::Ready(reply) => {
            let notes = vec!["waits for Kafka".to_owned()];
            drop(reply.send(Readiness { ready: false, notes, ..Readiness::default() }));
        }
        Question::Present(_, _, files, _, reply) => {
            drop(reply.send(files.into_iter().map(|lfn| (lfn, Presence::Present)).collect()));
        }
        Question::Wish(_, change, who, why, reply) => {
            let priority = if let WishChange::Prioritise(priority) = change { Some(priority) } else { None };
            let held = (change == WishChange::Pause).then_some(true);
            let wish = Wish { held, priority, who, why, at: Millis(1), ..Wish::default() };
            drop(reply.send(Ok(Wished { wish, transfers: 18, published: true })));
        }
    }
}

#[tokio::test]
async fn pages_answer_and_name_what_they_do_not_know() {
    let mover = Running::start(owner(), None, None).await;
    assert_eq!(mover.get("/healthz").await, (200, "ok\n".to_owned()));
    let (status, ready) = mover.get("/readyz").await;
    assert!(status == 503 && ready.contains("waits for Kafka"), "{status} {ready}");
    let (status, metrics) = mover.get("/metrics").await;
    assert!(status == 200 && metrics.contains("files_total 3"), "{metrics}");
    assert_eq!(mover.get("/runs?experiment=mfxlv9518&limit=5").await, (200, "[]".to_owned()));
    assert_eq!(mover.get("/transfers?run=mfxlv9518/12").await.0, 200);
    for wrong in [
        "/runs?experiment=..",
        "/runs?expermient=x",
        "/transfers?limit=many",
        "/why/mfxlv9518/twelve",
        "/why/..%2f/1",
    ] {
        let (status, why) = mover.get(wrong).await;
        assert!(status == 400 && why.contains("error"), "{wrong}: {status} {why}");
    }
    let (status, why) = mover.get("/why/mfxlv9518/12").await;
    assert!(status == 200 && why.contains("its run is still open"), "{why}");
    let (status, why) = mover.get("/why/mfxlv9518/13").await;
    assert!(status == 404 && why.contains("run of mfxlv9518 `13` is unknown, did you mean `12`?"), "{why}");
}

#[tokio::test]
async fn a_wish_needs_the_token_and_says_who_and_what() {
    let mover = Running::start(owner(), Some("s3cret\n"), None).await;
    let body = json!({ "of": "mfxlv9518/12@NERSC", "who": "me", "why": "full disk" });
    for (token, expected) in
        [(None, 401), (Some("wrong"), 401), (Some("s3cre"), 401), (Some(""), 401), (Some("s3cret"), 200)]
    {
        assert_eq!(mover.post("/pause", token, &body).await.0, expected, "{token:?}");
    }
    let (_, wished) = mover.post("/pause", Some("s3cret"), &body).await;
    assert_eq!(
        (&wished["wish"]["held"], &wished["wish"]["who"], &wished["transfers"]),
        (&json!(true), &json!("me"), &json!(18))
    );
    let first = json!({ "of": "mfxlv9518", "who": "me", "priority": 7 });
    assert_eq!(mover.post("/prioritise", Some("s3cret"), &first).await.1["wish"]["priority"], 7);
    for (path, wrong) in [
        ("/prioritise", json!({ "of": "mfxlv9518", "who": "me" })),
        ("/pause", first),
        ("/pause", json!({ "of": "../etc", "who": "me" })),
        ("/pause", json!({ "of": "mfxlv9518@../x", "who": "me" })),
        ("/pause", json!({ "of": "mfxlv9518", "who": " " })),
        ("/pause", json!({ "of": "mfxlv9518", "who": "me\u{7}" })),
        ("/pause", json!({ "of": "mfxlv9518", "who": "me", "hwy": "x" })),
        ("/pause", json!([1])),
    ] {
        let (status, answer) = mover.post(path, Some("s3cret"), &wrong).await;
        assert!(status == 400 && answer["error"].is_string(), "{path} {wrong}: {status} {answer}");
    }
    let closed = Running::start(owner(), None, None).await;
    let (status, why) = closed.post("/pause", Some("s3cret"), &body).await;
    assert!(status == 403 && why["error"].as_str().unwrap().contains("http.token_file"), "{why}");
}

#[tokio::test]
async fn the_logbooks_call_is_answered_in_its_words() {
    let call = json!({
        "location": "NERSC", "run_num": 12, "experiment_name": "mfxlv9518", "instrument": "MFX",
        "restore_missing_files": true, "files": [LFN, "/etc/passwd", 5, "/mfx/other/xtc/a.xtc"],
    });
    let open = Running::start(owner(), None, None).await;
    let path = "/ws/mfxlv9518/check_files_for_run";
    assert_eq!(open.post(path, None, &call).await, (200, json!({ "files": { LFN: "present" } })));
    let as_text = json!({ "location": "NERSC", "run_num": "12", "files": [LFN] });
    assert_eq!(open.post(path, None, &as_text).await, (200, json!({ "files": { LFN: "present" } })));
    for odd in [
        json!({}),
        json!({ "location": "..", "run_num": 1 }),
        json!({ "run_num": "x", "location": "A" }),
        json!(7),
    ] {
        assert_eq!(open.post(path, None, &odd).await, (200, json!({ "files": {} })), "{odd}");
    }
    assert_eq!(open.post("/guess/ws/mfxlv9518/check_files_for_run", None, &call).await.0, 404);

    let closed = Running::start(owner(), None, Some("hidden-part")).await;
    assert_eq!(closed.post(path, None, &call).await.0, 404);
    assert_eq!(closed.post("/guess/ws/mfxlv9518/check_files_for_run", None, &call).await.0, 404);
    assert_eq!(closed.post("/hidden-part/ws/mfxlv9518/check_files_for_run", None, &call).await.0, 200);
}

#[tokio::test]
async fn an_owner_that_does_not_answer_leaves_the_logbooks_files_out_within_two_seconds() {
    let (send, mut receive) = mpsc::channel(8);
    let mover = Running::start(send, None, None).await;
    let call = json!({ "location": "NERSC", "run_num": 12, "files": [LFN] });
    let begun = std::time::Instant::now();
    let answer = mover.post("/ws/mfxlv9518/check_files_for_run", None, &call).await;
    assert_eq!(answer, (200, json!({ "files": {} })));
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    // It was asked, and then it is gone: said at once.
    assert!(matches!(receive.recv().await, Some(Question::Present(..))));
    drop(receive);
    let (status, why) = mover.get("/readyz").await;
    assert!(status == 503 && why.contains("takes no questions"), "{why}");
}
