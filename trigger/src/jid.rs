//! LCLS's job interface, as the logbook calls it: a workflow's job is started, asked for, read, killed, and tells its progress. Each
//! job is written down in its site's folder before it is submitted and is found again by its name, so that a start that is repeated
//! starts nothing twice. Decides nothing about runs: the logbook does, by its own triggers.

mod control;
mod door;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::net::SocketAddr;
use std::path::{Path as FilePath, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::{ConnectInfo, DefaultBodyLimit, Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use lightrail_topics::events::JobEnd;
use lightrail_topics::{Experiment, JobName, SiteName};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::config::JidAt;
use crate::executor::{Ending, Head, Script, Seen, Sighting, SubmitFault};
use crate::jwt::{CheckingKey, JwtError};
use crate::run::AtSite;
use control::{Control, is_id};
use door::{Door, Pass};

/// How large a call may be; progress is told in lines, not in pictures.
const BODY: usize = 256 * 1024;
/// How much of a job's log is told: its end.
const LOG: u64 = 1024 * 1024;

/// Why the job interface does not begin.
#[derive(Debug, thiserror::Error)]
pub enum JidError {
    /// The logbook's public key cannot be read.
    #[error("public key {} cannot be read", path.display())]
    Unreadable {
        /// Its file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It is none.
    #[error("public key {}", path.display())]
    NoKey {
        /// Its file.
        path: PathBuf,
        /// Why.
        #[source]
        source: JwtError,
    },
    /// Its address is taken.
    #[error("address {address} cannot be listened on")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

struct Jid {
    at: JidAt,
    /// Where jobs find it.
    address: String,
    door: Door,
    sites: BTreeMap<SiteName, Arc<AtSite>>,
    /// Jobs whose submission is under way.
    starting: Mutex<BTreeSet<JobName>>,
}

/// The key by which the logbook's tokens are checked, where one is named.
///
/// # Errors
/// When its file cannot be read or holds none.
pub(crate) fn key(at: &JidAt) -> Result<Option<CheckingKey>, JidError> {
    let Some(path) = &at.public_key else { return Ok(None) };
    let text = std::fs::read_to_string(path)
        .map_err(|source| JidError::Unreadable { path: path.clone(), source })?;
    let key = CheckingKey::from_pem(&text);
    key.map(Some).map_err(|source| JidError::NoKey { path: path.clone(), source })
}

/// Begins to serve, and gives its address; ends when the handle is aborted.
///
/// # Errors
/// When the key cannot be read or the address is taken.
pub(crate) async fn serve(
    at: JidAt,
    sites: BTreeMap<SiteName, Arc<AtSite>>,
) -> Result<(JoinHandle<()>, SocketAddr), JidError> {
    let key = key(&at)?;
    let failed = |source| JidError::Listen { address: at.listen, source };
    let listener = TcpListener::bind(at.listen).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    let address = at.address.clone().unwrap_or_else(|| format!("http://{bound}"));
    tracing::info!(%bound, address, "job interface listens");
    let door = Door { key, loopback: at.loopback };
    let jid = Arc::new(Jid { address, door, sites, starting: Mutex::default(), at });
    let routes = Router::new()
        .route("/jid/ws/replace_counters/{experiment}/{job}", post(replace_counters))
        .route("/jid/ws/{experiment}/{verb}", post(call))
        .layer(DefaultBodyLimit::max(BODY))
        .with_state(jid);
    let serving = tokio::spawn(async move {
        let service = routes.into_make_service_with_connect_info::<SocketAddr>();
        if let Err(error) = axum::serve(listener, service).await {
            tracing::error!(%error, "job interface ended");
        }
    });
    Ok((serving, bound))
}

fn yes(value: impl Into<Value>) -> Response {
    Json(json!({"success": true, "value": value.into()})).into_response()
}

/// As the logbook shows it to whoever asked.
fn no(why: impl std::fmt::Display) -> Response {
    let why = why.to_string();
    tracing::warn!(why, "a call of the job interface is refused");
    Json(json!({"success": false, "errormsg": why, "value": null})).into_response()
}

async fn call(
    State(jid): State<Arc<Jid>>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    Path((experiment, verb)): Path<(String, String)>,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> Response {
    let experiment: Experiment = match experiment.parse() {
        Ok(experiment) => experiment,
        Err(why) => return no(why),
    };
    let authorization = headers.get("authorization").and_then(|value| value.to_str().ok());
    let token = authorization.and_then(|value| value.strip_prefix("Bearer "));
    let pass = match jid.door.pass(from.ip(), token, &experiment, crate::run::now().0 / 1000) {
        Ok(pass) => pass,
        Err(why) => {
            tracing::warn!(%from, why, "a call of the job interface is not let in");
            let body = json!({"success": false, "errormsg": why, "value": null});
            return (StatusCode::UNAUTHORIZED, Json(body)).into_response();
        }
    };
    // The logbook asks for the states of several jobs, or of one.
    let (documents, is_list) = match body {
        Value::Array(all) if verb == "job_statuses" => (all, true),
        one => (vec![one], false),
    };
    let mut controls = Vec::new();
    for document in &documents {
        match jid.admitted(document, &experiment, &pass) {
            Ok(control) => controls.push(control),
            Err(why) => return no(why),
        }
    }
    if is_list {
        return match jid.states(&controls).await {
            Ok(states) => yes(states),
            Err(why) => no(why),
        };
    }
    let Some(control) = controls.first() else { return no("nothing is asked for") };
    let answer = match verb.as_str() {
        "start_job" => jid.start(control, authorization).await,
        "job_statuses" => jid.states(&controls).await.map(|mut states| states.pop().unwrap_or_default()),
        "job_details" => jid.details(control).await.map(Value::from),
        "job_log_file" => jid.log(control).await.map(Value::from),
        "kill_job" => jid.kill(control).await,
        "get_counters" => jid.site(control).map(|site| counters(site, &control.id)),
        other => Err(format!(
            "{other} is nothing that can be asked; there are start_job, job_statuses, job_details, job_log_file, kill_job, get_counters"
        )),
    };
    answer.map_or_else(no, yes)
}

/// From the job itself, which has no token: only for a job that was started here, and only its progress.
async fn replace_counters(
    State(jid): State<Arc<Jid>>,
    Path((_, job)): Path<(String, String)>,
    Json(body): Json<Value>,
) -> Response {
    let is_counter = |counter: &Value| {
        let is_plain =
            |key: &str| counter.get(key).is_some_and(|value| value.is_string() || value.is_number());
        is_plain("key") && is_plain("value")
    };
    if !body.as_array().is_some_and(|all| all.len() <= 100 && all.iter().all(is_counter)) {
        return no("counters are a list of at most 100 {\"key\", \"value\"}");
    }
    let known = jid.sites.values().find(|site| is_id(&job) && kept(site, &job, "json").is_file());
    let Some(site) = known else { return no(format!("no job {job:.40} was started here")) };
    match write(&kept(site, &job, "counters"), &body) {
        Ok(()) => yes(body),
        Err(why) => no(why),
    }
}

/// Where a job's document or counters are kept.
fn kept(site: &AtSite, job: &str, what: &str) -> PathBuf {
    site.site.folder.join("arp").join(format!("{job}.{what}"))
}

/// Replaces a file whole.
fn write(path: &FilePath, value: &Value) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("{} cannot be written: {error}", path.display());
    std::fs::create_dir_all(path.parent().unwrap_or(path)).map_err(failed)?;
    let new = path.with_extension(format!("new{}", fastrand::u32(..)));
    std::fs::write(&new, value.to_string()).and_then(|()| std::fs::rename(&new, path)).map_err(failed)
}

fn counters(site: &AtSite, job: &str) -> Value {
    let read = std::fs::read(kept(site, job, "counters")).ok();
    read.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_else(|| json!([]))
}

/// The logbook's word for what a scheduler says.
fn word(seen: &Seen) -> &'static str {
    match seen {
        Seen::Pending | Seen::Held => "SUBMITTED",
        // The logbook has no word for one that is stopped.
        Seen::Running | Seen::Suspended => "RUNNING",
        Seen::Ended { end: JobEnd::Done, .. } => "DONE",
        Seen::Ended { end: JobEnd::Failed { .. }, .. } => "FAILED",
        Seen::Ended { end: JobEnd::Cancelled { .. } | JobEnd::Withdrawn { .. }, .. } => "EXITED",
    }
}

/// Where a job's output is.
fn output(site: &AtSite, sighting: &Sighting) -> PathBuf {
    site.site.head.output(&site.site.folder, &sighting.name, &sighting.id)
}

/// Of several copies the one that works, or did.
fn best(sightings: &[Sighting], name: &JobName) -> Option<Sighting> {
    let copies = sightings.iter().filter(|sighting| sighting.name == *name);
    copies
        .filter(|sighting| !matches!(sighting.seen, Seen::Ended { exit: Some(crate::executor::COPY), .. }))
        .max_by_key(|sighting| match sighting.seen {
            Seen::Running | Seen::Suspended => 2,
            Seen::Ended { .. } => 1,
            Seen::Pending | Seen::Held => 0,
        })
        .cloned()
}

impl Jid {
    /// A document that is right, of a job that whoever calls may touch.
    fn admitted(&self, document: &Value, experiment: &Experiment, pass: &Pass) -> Result<Control, String> {
        let control = Control::read(document).map_err(|faults| faults.to_string())?;
        if control.run.experiment != *experiment {
            return Err(format!("the job is of experiment {}, not {experiment}", control.run.experiment));
        }
        if !pass.is_good_for(&control.user) {
            return Err(format!("the bearer token is not of user {}", control.user));
        }
        self.site(&control)?;
        Ok(control)
    }

    fn site(&self, control: &Control) -> Result<&Arc<AtSite>, String> {
        let known = || self.sites.keys().map(SiteName::as_str).collect::<Vec<_>>().join(", ");
        self.sites.get(&control.location).ok_or_else(|| {
            format!("def.location {} is no site of ours; there are {}", control.location, known())
        })
    }

    /// What the schedulers know of jobs, each asked once.
    async fn seen(&self, controls: &[Control]) -> Result<Vec<Option<Sighting>>, String> {
        let mut names: BTreeMap<&SiteName, BTreeSet<JobName>> = BTreeMap::new();
        for control in controls {
            names.entry(&control.location).or_default().insert(control.identity().name());
        }
        let mut found = Vec::new();
        for (site, names) in names {
            if let Some(site) = self.sites.get(site) {
                found.extend(site.executor.look(&names).await.map_err(|error| error.to_string())?);
            }
        }
        Ok(controls.iter().map(|control| best(&found, &control.identity().name())).collect())
    }

    /// The document as it came, with what is known of the job now.
    fn told(&self, control: &Control, seen: Option<&Sighting>) -> Value {
        let mut document = control.document.clone();
        if let Some(sighting) = seen {
            document.insert("status".to_owned(), word(&sighting.seen).into());
            document.insert("tool_id".to_owned(), sighting.id.to_string().into());
            if let Ok(site) = self.site(control) {
                let log = output(site, sighting);
                document.insert("log_file_path".to_owned(), log.to_string_lossy().into());
            }
        }
        if let Ok(site) = self.site(control) {
            document.insert("counters".to_owned(), counters(site, &control.id));
        }
        document.into()
    }

    async fn states(&self, controls: &[Control]) -> Result<Vec<Value>, String> {
        let seen = self.seen(controls).await?;
        Ok(controls.iter().zip(&seen).map(|(control, seen)| self.told(control, seen.as_ref())).collect())
    }

    async fn start(&self, control: &Control, authorization: Option<&str>) -> Result<Value, String> {
        let name = control.identity().name();
        let is_first = self.starting.lock().unwrap_or_else(PoisonError::into_inner).insert(name.clone());
        if !is_first {
            return Err("the job is being started; ask for its status".to_owned());
        }
        let outcome = self.start_alone(control, &name, authorization).await;
        self.starting.lock().unwrap_or_else(PoisonError::into_inner).remove(&name);
        outcome
    }

    async fn start_alone(
        &self,
        control: &Control,
        name: &JobName,
        authorization: Option<&str>,
    ) -> Result<Value, String> {
        let site = self.site(control)?;
        let path = kept(site, &control.id, "json");
        if let Ok(bytes) = std::fs::read(&path) {
            let earlier = serde_json::from_slice(&bytes).ok().and_then(|value| Control::read(&value).ok());
            if earlier.is_some_and(|earlier| !earlier.is_same_job(control)) {
                return Err(format!("job {} was started before, with other work", control.id));
            }
        }
        // Written down before anything is submitted.
        write(&path, &control.document.clone().into())?;
        if let Some(sighting) = self.seen(std::slice::from_ref(control)).await?.pop().flatten() {
            return Ok(self.told(control, Some(&sighting)));
        }
        let script = self.script(site, control, authorization)?;
        match site.executor.submit(name, &script).await {
            Ok(id) => {
                tracing::info!(job = %name, %id, arp = control.id, run = %control.run, "job of a workflow is submitted");
                let sighting = Sighting { name: name.clone(), id, seen: Seen::Pending };
                Ok(self.told(control, Some(&sighting)))
            }
            Err(fault @ SubmitFault::Refused(_)) => Err(fault.to_string()),
            // Whatever became of it, one copy works: it may be started again.
            Err(fault) => Err(format!("{fault}; ask for its status, or start it again")),
        }
    }

    /// The job's script, with what jobs of the real interface find in their environment.
    fn script(
        &self,
        site: &AtSite,
        control: &Control,
        authorization: Option<&str>,
    ) -> Result<String, String> {
        let counters =
            format!("{}/jid/ws/replace_counters/{}/{}", self.address, control.run.experiment, control.id);
        let mut head: Head = site.site.head.clone();
        let account = head.wishes.account.clone().unwrap_or_default();
        let mut more = vec![
            ("ARP_UPDATE_COUNTERS", counters.clone()),
            ("JID_UPDATE_COUNTERS", counters),
            ("ARP_JOB_ID", control.id.clone()),
            ("ARP_ROOT_JOB_ID", control.root.clone()),
            ("ARP_LOCATION", control.location.to_string()),
            ("ARP_SLURM_ACCOUNT", account),
        ];
        more.extend(authorization.map(|authorization| ("Authorization", authorization.to_owned())));
        head.wishes.environment.extend(more.into_iter().map(|(name, value)| (name.to_owned(), value)));
        let folders = [&site.site.folder, &site.site.claims];
        folders.into_iter().try_for_each(std::fs::create_dir_all).map_err(|error| error.to_string())?;
        let script = Script {
            identity: &control.identity(),
            site: &control.location,
            work: &control.work,
            nodes: 1,
            seconds: self.at.time.as_secs(),
            head: &head,
            folder: &site.site.folder,
            claims: &site.site.claims,
            analysis: None,
            after: &[],
            gives_way: false,
            spills: false,
        };
        script.compose().map_err(|error| error.to_string())
    }

    async fn details(&self, control: &Control) -> Result<String, String> {
        let name = control.identity().name();
        let seen = self.seen(std::slice::from_ref(control)).await?.pop().flatten();
        let what = match seen {
            Some(sighting) => {
                format!("id {}\nstate {} ({:?})", sighting.id, word(&sighting.seen), sighting.seen)
            }
            None => "its scheduler does not know it".to_owned(),
        };
        Ok(format!("job {name} of run {} at {}\n{what}\n", control.run, control.location))
    }

    /// The end of what a job has printed.
    async fn log(&self, control: &Control) -> Result<String, String> {
        let site = self.site(control)?;
        let seen = self.seen(std::slice::from_ref(control)).await?.pop().flatten();
        let sighting = seen.ok_or("its scheduler does not know it")?;
        let path = output(site, &sighting);
        let read = || -> std::io::Result<Vec<u8>> {
            let mut file = std::fs::File::open(&path)?;
            let length = file.metadata()?.len();
            file.seek(SeekFrom::Start(length.saturating_sub(LOG)))?;
            let mut text = Vec::new();
            file.take(LOG).read_to_end(&mut text)?;
            Ok(text)
        };
        let text = read().map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    async fn kill(&self, control: &Control) -> Result<Value, String> {
        let site = self.site(control)?;
        let name = control.identity().name();
        let copies = site.executor.look(&BTreeSet::from([name])).await.map_err(|error| error.to_string())?;
        for copy in copies.iter().filter(|copy| !matches!(copy.seen, Seen::Ended { .. })) {
            site.executor.end(&copy.id, Ending::Cancel).await.map_err(|error| error.to_string())?;
        }
        let seen = self.seen(std::slice::from_ref(control)).await?.pop().flatten();
        Ok(self.told(control, seen.as_ref()))
    }
}
