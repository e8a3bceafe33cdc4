//! The Superfacility API 1.2 of a simulated facility: tokens for signed statements, health, jobs, tasks, and of a machine's commands
//! `sacct` and `scancel`.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};

use super::machine::{Shown, Submission};
use super::scenario::Outage;
use super::world::World;
use crate::executor::Ending;

type Here = State<Arc<World>>;

/// All addresses.
pub(super) fn routes() -> Router<Arc<World>> {
    let api = Router::new()
        .route("/status", get(all_status))
        .route("/status/{name}", get(status))
        .route("/status/outages", get(|here: Here| async move { all_outages(&here, false) }))
        .route("/status/outages/planned", get(|here: Here| async move { all_outages(&here, true) }))
        .route(
            "/status/outages/{name}",
            get(|here: Here, name: Path<String>| async move { outages(&here, &name, false) }),
        )
        .route(
            "/status/outages/planned/{name}",
            get(|here: Here, name: Path<String>| async move { outages(&here, &name, true) }),
        )
        .route(
            "/status/notes",
            get(|here: Here| async move { Json(vec![json!([]); here.scenario.resources.len()]) }),
        )
        .route("/status/notes/{name}", get(|| async { Json(json!([])) }))
        .route("/meta/changelog", get(|| async { Json(json!([])) }))
        .route("/meta/config", get(|| async { Json(json!([{"key": "simulated", "value": "true"}])) }))
        .route("/account/", get(account))
        .route("/compute/jobs/{machine}", get(jobs).post(submit))
        .route("/compute/jobs/{machine}/{id}", get(job).delete(cancel))
        .route("/tasks", get(tasks))
        .route("/tasks/{id}", get(task))
        .route("/utilities/command/{machine}", post(command));
    Router::new().route("/c2id/token", post(token)).nest("/api/v1.2", api)
}

/// Name and value pairs of a form.
fn form(body: &[u8]) -> Vec<(String, String)> {
    form_urlencoded::parse(body).into_owned().collect()
}

fn value<'f>(form: &'f [(String, String)], name: &str) -> Option<&'f str> {
    form.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
}

fn refused(status: StatusCode, why: &str) -> Response {
    (status, Json(json!({"detail": why}))).into_response()
}

/// Wrong input, as the API tells it.
fn invalid(name: &str, why: &str) -> Response {
    let detail = json!([{"loc": ["body", name], "msg": why, "type": "value_error"}]);
    (StatusCode::UNPROCESSABLE_ENTITY, Json(json!({"detail": detail}))).into_response()
}

fn denied(world: &World, headers: &HeaderMap) -> Option<Response> {
    let token = headers.get("authorization").and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    let is_good = token.is_some_and(|token| world.is_token(token));
    (!is_good).then(|| refused(StatusCode::UNAUTHORIZED, "Could not validate credentials"))
}

async fn token(State(world): Here, headers: HeaderMap, body: Bytes) -> Response {
    let form = form(&body);
    let no = |why: &str| {
        let body = json!({"error": "invalid_client", "error_description": why});
        (StatusCode::UNAUTHORIZED, Json(body)).into_response()
    };
    if value(&form, "grant_type") != Some("client_credentials") {
        let body = json!({"error": "unsupported_grant_type"});
        return (StatusCode::BAD_REQUEST, Json(body)).into_response();
    }
    let kind = value(&form, "client_assertion_type");
    if kind != Some("urn:ietf:params:oauth:client-assertion-type:jwt-bearer") {
        return no("no client_assertion of type jwt-bearer");
    }
    let statement = value(&form, "client_assertion").unwrap_or_default();
    // Who it claims to be says which key it has to be signed by.
    let Some(claims) = world.scenario.clients.keys().find_map(|client| {
        let claims = world.key(client)?.read(statement).ok()?;
        let is = |key: &str| claims.get(key).and_then(Value::as_str) == Some(client);
        (is("iss") && is("sub")).then_some(claims)
    }) else {
        return no("no known client has signed this");
    };
    let host = headers.get("host").and_then(|host| host.to_str().ok()).unwrap_or_default();
    let here = format!("http://{host}/c2id/token");
    if claims.get("aud").and_then(Value::as_str) != Some(&here) {
        return no("the statement is for somebody else");
    }
    if claims.get("exp").and_then(Value::as_i64).is_none_or(|until| until <= crate::run::now().0 / 1000) {
        return no("the statement is no longer good");
    }
    let life = world.scenario.token_life.as_secs_f64();
    let answer = json!({
        "access_token": world.new_token(), "scope": "openid", "token_type": "Bearer", "expires_in": life.ceil(),
    });
    Json(answer).into_response()
}

fn told(world: &World, name: &str) -> Option<Value> {
    let (resource, health) = (world.scenario.resources.get(name)?, world.health(name)?);
    let description = format!("System is {}", health.word());
    Some(json!({
        "name": name, "full_name": resource.full_name, "description": description,
        "system_type": resource.kind, "notes": [], "status": health.word(), "updated_at": crate::run::now(),
    }))
}

async fn all_status(State(world): Here) -> Response {
    let all: Vec<Value> = world.scenario.resources.keys().filter_map(|name| told(&world, name)).collect();
    Json(all).into_response()
}

async fn status(State(world): Here, Path(name): Path<String>) -> Response {
    told(&world, &name)
        .map_or_else(|| refused(StatusCode::NOT_FOUND, "no such resource"), |told| Json(told).into_response())
}

fn outage(world: &World, outage: &Outage) -> Value {
    let now = world.since();
    let status = if now < outage.begin {
        "Planned"
    } else if now < outage.end {
        "Active"
    } else {
        "Completed"
    };
    json!({
        "name": outage.resource, "start_at": world.at(outage.begin), "end_at": world.at(outage.end),
        "description": outage.description, "notes": outage.description, "status": status,
        "swo": "fully_down", "update_at": crate::run::now(),
    })
}

fn outages(world: &World, name: &str, planned: bool) -> Response {
    if !world.scenario.resources.contains_key(name) {
        return refused(StatusCode::NOT_FOUND, "no such resource");
    }
    let all: Vec<Value> = world.outages(name, planned).map(|known| outage(world, known)).collect();
    Json(all).into_response()
}

fn all_outages(world: &World, planned: bool) -> Response {
    let of = |name: &String| world.outages(name, planned).map(|known| outage(world, known)).collect();
    let all: Vec<Vec<Value>> =
        world.scenario.resources.keys().map(of).filter(|all: &Vec<Value>| !all.is_empty()).collect();
    Json(all).into_response()
}

async fn account(State(world): Here, headers: HeaderMap) -> Response {
    if let Some(denied) = denied(&world, &headers) {
        return denied;
    }
    let user = &world.scenario.user;
    Json(json!({
        "uid": 1000, "name": user, "lastname": user, "firstname": "", "middlename": "", "workphone": "", "otherPhones": "",
        "email": "", "suspendLogin": false,
    }))
    .into_response()
}

/// A machine's answer, where it is there.
macro_rules! machine {
    ($world:ident, $headers:ident, $name:ident) => {{
        if let Some(denied) = denied(&$world, &$headers) {
            return denied;
        }
        match $world.machine(&$name) {
            Some(machine) => machine,
            None if $world.has_machine(&$name) => {
                return refused(StatusCode::SERVICE_UNAVAILABLE, "the machine is unavailable");
            }
            None => return refused(StatusCode::NOT_FOUND, "no such machine"),
        }
    }};
}

async fn submit(State(world): Here, Path(name): Path<String>, headers: HeaderMap, body: Bytes) -> Response {
    let machine = machine!(world, headers, name).clone();
    let form = form(&body);
    let Some(job) = value(&form, "job") else { return invalid("job", "field required") };
    if value(&form, "isPath").is_none_or(|is_path| !is_path.eq_ignore_ascii_case("false")) {
        return invalid("isPath", "a simulated machine takes a script's text alone");
    }
    let submission = read(job);
    let is_script = job.starts_with("#!");
    let id = world.begin_task();
    tokio::spawn(async move {
        tokio::time::sleep(machine.submission).await;
        let result = if is_script {
            let job = machine.submit(submission).await.to_string();
            json!({"status": "ok", "jobid": job, "error": null})
        } else {
            let error = "sbatch: error: This does not look like a batch script.";
            json!({"status": "error", "jobid": null, "error": error})
        };
        world.end_task(id, result);
    });
    begun(id)
}

fn begun(task: usize) -> Response {
    Json(json!({"task_id": task.to_string(), "status": "OK", "error": null})).into_response()
}

/// What a script's directives say, as far as a simulated machine follows them.
fn read(script: &str) -> Submission {
    let mut read = Submission { script: script.to_owned(), ..Submission::default() };
    for line in script.lines().filter_map(|line| line.strip_prefix("#SBATCH ")) {
        let (key, value) = line.trim().split_once(['=', ' ']).unwrap_or((line.trim(), ""));
        let value = value.trim().trim_matches('"');
        match key {
            "--job-name" | "-J" => value.clone_into(&mut read.name),
            "--comment" => value.clone_into(&mut read.comment),
            "--chdir" | "-D" => read.folder = Some(value.into()),
            "--output" | "-o" => read.output = Some(value.to_owned()),
            "--time" | "-t" => read.limit = limit(value),
            _ => {}
        }
    }
    read
}

/// `minutes`, `minutes:seconds` or `hours:minutes:seconds`.
fn limit(text: &str) -> Option<Duration> {
    let parts: Vec<u64> = text.split(':').map(str::parse).collect::<Result<_, _>>().ok()?;
    let seconds = match parts.as_slice() {
        [minutes] => minutes * 60,
        [minutes, seconds] => minutes * 60 + seconds,
        [hours, minutes, seconds] => hours * 3600 + minutes * 60 + seconds,
        _ => return None,
    };
    Some(Duration::from_secs(seconds))
}

async fn jobs(
    State(world): Here,
    Path(name): Path<String>,
    Query(query): Query<Vec<(String, String)>>,
    headers: HeaderMap,
) -> Response {
    let machine = machine!(world, headers, name).clone();
    rows(&world, &machine.jobs().await, &query)
}

async fn job(
    State(world): Here,
    Path((name, id)): Path<(String, String)>,
    Query(query): Query<Vec<(String, String)>>,
    headers: HeaderMap,
) -> Response {
    let machine = machine!(world, headers, name).clone();
    let query = [query, vec![("kwargs".to_owned(), format!("jobid={id}"))]].concat();
    rows(&world, &machine.jobs().await, &query)
}

fn rows(world: &World, jobs: &[Shown], query: &[(String, String)]) -> Response {
    let sacct = value(query, "sacct").is_some_and(|text| text.eq_ignore_ascii_case("true"));
    let filters: Vec<(&str, &str)> = query
        .iter()
        .filter(|(key, _)| key == "kwargs")
        .filter_map(|(_, filter)| filter.split_once('='))
        .collect();
    let is_wanted = |job: &Shown| {
        filters.iter().all(|(key, value)| match *key {
            "jobid" => value.split(',').any(|id| id == job.id.to_string()),
            "user" => *value == world.scenario.user,
            _ => true,
        })
    };
    let wanted = jobs.iter().filter(|job| is_wanted(job) && (sacct || job.is_queued()));
    let output: Vec<Value> = wanted.filter_map(|job| row(world, job, sacct)).collect();
    Json(json!({"status": "OK", "output": output, "error": null})).into_response()
}

fn row(world: &World, job: &Shown, sacct: bool) -> Option<Value> {
    let state = world.told(job)?;
    let time =
        |at: Option<lightrail_topics::Millis>| at.map_or_else(|| "N/A".to_owned(), |at| at.to_string());
    let (id, exit) = (job.id.to_string(), format!("{}:{}", job.exit.0, job.exit.1));
    Some(if sacct {
        json!({
            "jobid": id, "jobidraw": id, "jobname": job.submission.name, "state": state, "exitcode": exit,
            "user": world.scenario.user, "comment": job.submission.comment, "submit": time(Some(job.submitted)),
            "start": time(job.started), "end": time(job.ended), "nnodes": "1", "partition": "simulated",
        })
    } else {
        json!({
            "jobid": id, "name": job.submission.name, "state": state, "st": state.get(..2), "reason": "None",
            "user": world.scenario.user, "comment": job.submission.comment, "submit_time": time(Some(job.submitted)),
            "start_time": time(job.started), "end_time": time(job.ended), "nodes": "1", "partition": "simulated",
        })
    })
}

async fn cancel(
    State(world): Here,
    Path((name, id)): Path<(String, String)>,
    headers: HeaderMap,
) -> Response {
    let machine = machine!(world, headers, name).clone();
    let is_ended = match id.parse() {
        Ok(number) => machine.end(number, Ending::Cancel).await,
        Err(_) => false,
    };
    let task = world.begin_task();
    let result = if is_ended {
        json!({"status": "ok", "output": "", "error": null})
    } else {
        let error = format!("scancel: error: Kill job error on job id {id}: Invalid job id specified");
        json!({"status": "error", "output": "", "error": error})
    };
    world.end_task(task, result);
    begun(task)
}

async fn tasks(State(world): Here, headers: HeaderMap) -> Response {
    if let Some(denied) = denied(&world, &headers) {
        return denied;
    }
    let all: Vec<Value> = (1..=world.tasks()).filter_map(|id| told_task(&world, id)).collect();
    Json(json!({"tasks": all})).into_response()
}

fn told_task(world: &World, id: usize) -> Option<Value> {
    let result = world.task(id)?;
    let status = if result.is_some() { "completed" } else { "new" };
    // JSON within a string, as the real one.
    Some(json!({"id": id.to_string(), "status": status, "result": result.map(|result| result.to_string())}))
}

async fn task(State(world): Here, Path(id): Path<String>, headers: HeaderMap) -> Response {
    if let Some(denied) = denied(&world, &headers) {
        return denied;
    }
    let known = id.parse().ok().and_then(|id| told_task(&world, id));
    known.map_or_else(|| refused(StatusCode::NOT_FOUND, "no such task"), |task| Json(task).into_response())
}

async fn command(State(world): Here, Path(name): Path<String>, headers: HeaderMap, body: Bytes) -> Response {
    let machine = machine!(world, headers, name).clone();
    let form = form(&body);
    let Some(line) = value(&form, "executable") else { return invalid("executable", "field required") };
    let words: Vec<&str> = line.split_whitespace().collect();
    let (output, error) = match words.as_slice() {
        ["sacct", options @ ..] => {
            let names: Vec<&str> = options
                .iter()
                .find_map(|word| word.strip_prefix("--name="))
                .map_or_else(Vec::new, |names| names.split(',').collect());
            let jobs = machine.jobs().await;
            let told =
                jobs.iter().filter(|job| names.contains(&job.submission.name.as_str())).filter_map(|job| {
                    let state = world.told(job)?;
                    Some(format!(
                        "{}|{}|{state}|{}:{}\n",
                        job.id, job.submission.name, job.exit.0, job.exit.1
                    ))
                });
            (told.collect::<String>(), None)
        }
        ["scancel", options @ .., id] => {
            let how = if options.contains(&"--signal=TERM") { Ending::Finish } else { Ending::Cancel };
            let is_ended = match id.parse() {
                Ok(number) => machine.end(number, how).await,
                Err(_) => false,
            };
            let error = format!("scancel: error: Kill job error on job id {id}: Invalid job id specified");
            (String::new(), (!is_ended).then_some(error))
        }
        _ => (String::new(), Some(format!("bash: {line}: a simulated machine knows sacct and scancel"))),
    };
    let task = world.begin_task();
    let (status, code) = if error.is_none() { ("ok", 0) } else { ("error", 1) };
    world.end_task(task, json!({"status": status, "output": output, "error": error, "exit_code": code}));
    begun(task)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scripts_directives_are_followed() {
        let text = "#!/bin/bash\n#SBATCH --job-name=lra\n#SBATCH -t 1:30\n#SBATCH --comment=\"a b\"\n#SBATCH --output=/x/%j.out\ntrue\n";
        let read = read(text);
        assert_eq!((read.name.as_str(), read.comment.as_str()), ("lra", "a b"));
        assert_eq!((read.limit, read.output.as_deref()), (Some(Duration::from_secs(90)), Some("/x/%j.out")));
        assert_eq!(limit("1:00:00"), Some(Duration::from_secs(3600)));
        assert_eq!(limit("x"), None);
    }
}
