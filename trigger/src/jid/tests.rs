//! The whole life of a workflow's job by the calls that the logbook makes, on local processes.

use std::time::Duration;

use lightrail_compose::scratch::Scratch;
use lightrail_compose::wait;
use serde_json::{Value, json};

use super::*;
use crate::config::Config;

const LIMIT: Duration = Duration::from_secs(30);

struct Logbook {
    address: SocketAddr,
    serving: JoinHandle<()>,
    client: reqwest::Client,
}

impl Logbook {
    async fn start(folder: &FilePath, more: &str) -> Self {
        let text = format!(
            "decider = \"a\"\n[kafka]\nbootstrap = [\"127.0.0.1:9\"]\n[sites.NERSC]\nfolder = {:?}\nclaims = {:?}\n\
            [sites.NERSC.script]\naccount = \"m1759\"\n[jid]\nlisten = \"127.0.0.1:0\"\n{more}",
            folder.join("jobs"),
            folder.join("claims")
        );
        let config = Config::parse(&text).unwrap_or_else(|faults| panic!("{faults:#?}"));
        let sites =
            config.sites.iter().map(|(name, site)| (name.clone(), Arc::new(AtSite::new(site).unwrap())));
        let (serving, address) = serve(config.jid.unwrap(), sites.collect()).await.unwrap();
        Self { address, serving, client: reqwest::Client::new() }
    }

    /// One that lets in only who has a token; with the key by which tokens are signed.
    async fn start_with_key(folder: &FilePath) -> (Self, String) {
        let (private, public) = crate::jwt::tests::pair();
        let key = folder.join("public.pem");
        std::fs::write(&key, public).unwrap();
        (Self::start(folder, &format!("public_key = {key:?}\nloopback = false\n")).await, private)
    }

    async fn post(&self, path: &str, body: &Value, token: Option<&str>) -> (u16, Value) {
        let mut request = self.client.post(format!("http://{}/jid/ws/{path}", self.address)).json(body);
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap())
    }

    async fn call(&self, verb: &str, body: &Value) -> Value {
        let (status, answer) = self.post(&format!("mfxlv9518/{verb}"), body, None).await;
        assert_eq!((status, &answer["success"]), (200, &json!(true)), "{verb}: {answer}");
        answer["value"].clone()
    }

    async fn until(&self, job: &Value, status: &str) -> Value {
        wait::until(status, LIMIT, async || {
            let told = self.call("job_statuses", &json!([job])).await;
            (told[0]["status"] == status).then(|| told[0].clone())
        })
        .await
        .unwrap()
    }
}

impl Drop for Logbook {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

fn signed(private: &str, user: &str, experiment: &str) -> String {
    let until = crate::run::now().0 / 1000 + 600;
    let claims = json!({"iss": "PCDS", "sub": user, "scp": experiment, "exp": until});
    crate::jwt::SigningKey::from_pem(private).unwrap().sign(&claims, Some("PCDS_ARP")).unwrap()
}

fn job(id: &str, text: &str) -> Value {
    json!({
        "_id": id, "experiment": "mfxlv9518", "run_num": 12, "user": "auser", "status": "START", "arp_root_job_id": "6b00",
        "def": {
            "name": "idx", "executable": "/bin/bash", "parameters": format!("-c {text:?}"), "trigger": "MANUAL",
            "location": "NERSC", "run_as_user": "auser",
        },
    })
}

#[tokio::test]
async fn a_workflows_job_is_started_once_tells_its_progress_and_its_end() {
    let scratch = Scratch::new().unwrap();
    let logbook = Logbook::start(scratch.path(), "").await;
    let names = "EXPERIMENT RUN_NUM ARP_JOB_ID ARP_ROOT_JOB_ID ARP_LOCATION ARP_SLURM_ACCOUNT";
    let text = format!(
        "for name in {names}; do echo $name=${{!name}}; done; echo Authorization=${{Authorization-none}}; echo $JID_UPDATE_COUNTERS; \
        echo $ARP_UPDATE_COUNTERS; until [ -e ../go ]; do sleep 0.05; done"
    );
    let first = job("6b00da1a", &text);
    let started = logbook.call("start_job", &first).await;
    assert_eq!(started["status"], "SUBMITTED");
    logbook.until(&first, "RUNNING").await;
    // Once more, as a logbook does whose call was cut off.
    let again = logbook.call("start_job", &first).await;
    assert_eq!(again["tool_id"], started["tool_id"]);
    let said = wait::until("the job's log", LIMIT, async || {
        let said = logbook.call("job_log_file", &first).await;
        let said = said.as_str().unwrap().to_owned();
        (said.matches("replace_counters").count() == 2).then_some(said)
    })
    .await
    .unwrap();
    let lines: Vec<&str> = said.lines().collect();
    let [environment @ .., older_address, address] = &lines[..] else { panic!("{said}") };
    assert_eq!(older_address, address);
    insta::assert_snapshot!(environment.join("\n"), @r"
    EXPERIMENT=mfxlv9518
    RUN_NUM=12
    ARP_JOB_ID=6b00da1a
    ARP_ROOT_JOB_ID=6b00
    ARP_LOCATION=NERSC
    ARP_SLURM_ACCOUNT=m1759
    Authorization=none
    ");
    let progress = json!([{"key": "<b>Last Event</b>", "value": 920}]);
    let answer = logbook.client.post(*address).json(&progress).send().await.unwrap();
    assert_eq!(answer.json::<Value>().await.unwrap()["success"], true);
    assert_eq!(logbook.call("get_counters", &first).await, progress);
    std::fs::write(scratch.path().join("jobs/go"), "").unwrap();
    let done = logbook.until(&first, "DONE").await;
    assert_eq!(done["counters"], progress);
    assert!(logbook.call("job_details", &first).await.as_str().unwrap().contains("state DONE"));

    let failing = job("6b00da1b", "exit 3");
    logbook.call("start_job", &failing).await;
    logbook.until(&failing, "FAILED").await;
    let endless = job("6b00da1c", "exec sleep 600");
    logbook.call("start_job", &endless).await;
    logbook.until(&endless, "RUNNING").await;
    logbook.call("kill_job", &endless).await;
    logbook.until(&endless, "EXITED").await;
}

#[tokio::test]
async fn a_job_has_the_token_under_which_it_was_started_and_is_asked_for_alone_or_in_a_list() {
    let scratch = Scratch::new().unwrap();
    let (logbook, private) = Logbook::start_with_key(scratch.path()).await;
    let token = signed(&private, "auser", "mfxlv9518");
    let call = async |verb: &str, body: &Value| {
        let (status, answer) = logbook.post(&format!("mfxlv9518/{verb}"), body, Some(&token)).await;
        assert_eq!((status, &answer["success"]), (200, &json!(true)), "{verb}: {answer}");
        answer["value"].clone()
    };
    let first = job("6b00da1a", "echo $Authorization");
    // Before anybody has started it, it is as it came.
    let told = call("job_statuses", &first).await;
    assert_eq!((&told["_id"], &told["status"]), (&first["_id"], &json!("START")));
    let started = call("start_job", &first).await;
    let done = wait::until("the job to be done", LIMIT, async || {
        let told = call("job_statuses", &first).await;
        (told["status"] == "DONE").then_some(told)
    });
    let done = done.await.unwrap();
    assert_eq!((&done["_id"], &done["tool_id"]), (&first["_id"], &started["tool_id"]));
    assert_eq!(call("job_log_file", &first).await, format!("Bearer {token}\n"));
    assert_eq!(call("job_statuses", &json!([])).await, json!([]));
    let other = job("6b00da1b", "true");
    let told = call("job_statuses", &json!([other, first])).await;
    let told: Vec<(&Value, &Value)> =
        told.as_array().unwrap().iter().map(|told| (&told["_id"], &told["status"])).collect();
    assert_eq!(told, [(&json!("6b00da1b"), &json!("START")), (&json!("6b00da1a"), &json!("DONE"))]);
}

#[tokio::test]
async fn what_is_wrong_is_refused_with_the_reason_and_starts_nothing() {
    let scratch = Scratch::new().unwrap();
    let (logbook, private) = Logbook::start_with_key(scratch.path()).await;
    let signed = |user: &str, experiment: &str| signed(&private, user, experiment);
    let good = job("6b00da1a", "true");
    let refused = async |verb: &str, body: &Value, token: Option<&str>| {
        let (status, answer) = logbook.post(&format!("mfxlv9518/{verb}"), body, token).await;
        assert_eq!(answer["success"], false, "{answer}");
        (status, answer["errormsg"].as_str().unwrap().to_owned())
    };
    assert_eq!(refused("start_job", &good, None).await.0, 401);
    assert_eq!(refused("start_job", &good, Some(&signed("auser", "mfxlv9519"))).await.0, 401);
    assert!(
        refused("start_job", &good, Some(&signed("another", "mfxlv9518")))
            .await
            .1
            .contains("not of user auser")
    );
    let token = signed("auser", "mfxlv9518");
    let mut elsewhere = good.clone();
    elsewhere["def"]["location"] = "S3DF".into();
    assert!(refused("start_job", &elsewhere, Some(&token)).await.1.contains("there are NERSC"));
    let mut misnamed = good.clone();
    misnamed["def"]["executible"] = "/bin/true".into();
    assert!(refused("start_job", &misnamed, Some(&token)).await.1.contains("did you mean def.executable?"));
    assert!(refused("start_jobs", &good, Some(&token)).await.1.contains("there are start_job"));
    let nobody = logbook.post("replace_counters/mfxlv9518/6b00da1a", &json!([]), None).await.1;
    assert!(nobody["errormsg"].as_str().unwrap().contains("no job"), "{nobody}");
    assert!(!scratch.path().join("jobs").exists());
    assert_eq!(logbook.post("mfxlv9518/start_job", &good, Some(&token)).await.1["success"], true);
    let other = job("6b00da1a", "false");
    assert!(refused("start_job", &other, Some(&token)).await.1.contains("with other work"));
}
