//! The IRI Facility API of a simulated facility: facility, status and compute, with idempotency keys and problems in RFC 9457's
//! form. Accounts, storage and file systems are not simulated.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use serde_json::{Map, Value, json};

use super::machine::{Machine, Shown, Submission};
use super::scenario::Outage;
use super::world::World;
use crate::executor::Ending;

type Here = State<Arc<World>>;
type Asked = Query<Vec<(String, String)>>;

/// What a job's specification may hold: anything else is refused.
const SPEC: [&str; 15] = [
    "executable",
    "container",
    "arguments",
    "directory",
    "name",
    "inherit_environment",
    "environment",
    "stdin_path",
    "stdout_path",
    "stderr_path",
    "resources",
    "attributes",
    "pre_launch",
    "post_launch",
    "launcher",
];
/// How many are told at once where nobody says.
const PAGE: usize = 100;

/// All addresses, below a version's.
pub(super) fn routes() -> Router<Arc<World>> {
    Router::new()
        .route("/facility", get(facility))
        .route("/facility/sites", get(|here: Here| async move { Json(vec![site(&here)]) }))
        .route("/facility/sites/{id}", get(|here: Here| async move { Json(site(&here)) }))
        .route("/status/resources", get(resources))
        .route("/status/resources/{id}", get(one_resource))
        .route("/status/incidents", get(incidents))
        .route("/status/incidents/{id}", get(one_incident))
        .route("/status/events", get(events))
        .route("/compute/resources", get(compute_resources))
        .route("/compute/job/{resource}", post(launch))
        .route("/compute/status/{resource}", post(jobs))
        .route("/compute/status/{resource}/{id}", get(job))
        .route("/compute/cancel/{resource}/{id}", delete(cancel))
}

fn problem(status: StatusCode, detail: &str) -> Response {
    let body = json!({
        "type": "about:blank", "status": status.as_u16(), "title": status.canonical_reason(), "detail": detail,
        "instance": null, "invalid_params": [],
    });
    (status, [("content-type", "application/problem+json")], body.to_string()).into_response()
}

/// Refuses what nobody asked to be able to ask.
fn unknown(query: &[(String, String)], known: &[&str]) -> Option<Response> {
    let unknown = query.iter().find(|(key, _)| !known.contains(&key.as_str()));
    unknown.map(|(key, _)| problem(StatusCode::BAD_REQUEST, &format!("unknown query parameter {key}")))
}

fn value<'q>(query: &'q [(String, String)], name: &str) -> Option<&'q str> {
    query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
}

/// `offset` and `limit` of a list.
fn page(query: &[(String, String)], all: Vec<Value>) -> Vec<Value> {
    let number =
        |name: &str, usual: usize| value(query, name).and_then(|text| text.parse().ok()).unwrap_or(usual);
    all.into_iter().skip(number("offset", 0)).take(number("limit", PAGE)).collect()
}

async fn facility(State(world): Here) -> Response {
    let began = world.at(Duration::ZERO);
    Json(json!({
        "id": "simulated", "last_modified": began, "self_uri": "/facility", "name": "A simulated facility",
        "short_name": "simulated", "description": "for tests and drills; no facility", "site_uris": ["/facility/sites/simulated"],
    }))
    .into_response()
}

fn site(world: &World) -> Value {
    let resources: Vec<String> =
        world.scenario.resources.keys().map(|name| format!("/status/resources/{name}")).collect();
    json!({
        "id": "simulated", "last_modified": world.at(Duration::ZERO), "self_uri": "/facility/sites/simulated",
        "name": "A simulated site", "short_name": "simulated", "operating_organization": "nobody", "resource_uris": resources,
    })
}

fn told(world: &World, name: &str) -> Option<Value> {
    let (resource, health) = (world.scenario.resources.get(name)?, world.health(name)?);
    let kind = match resource.kind.as_str() {
        "compute" => "urn:doe-iri:resource:compute:system",
        "filesystem" => "urn:doe-iri:resource:storage:system",
        _ => "urn:doe-iri:resource:service",
    };
    let endpoints = if resource.machine.is_some() { vec!["compute"] } else { Vec::new() };
    Some(json!({
        "id": name, "last_modified": crate::run::now(), "resource_type": kind, "self_uri": format!("/status/resources/{name}"),
        "site_uri": "/facility/sites/simulated", "capability_uris": [], "name": name, "description": resource.full_name,
        "group": resource.kind, "current_status": health.iri_word(), "supported_endpoints": endpoints,
    }))
}

async fn resources(State(world): Here, Query(query): Asked) -> Response {
    let known = ["name", "group", "resource_type", "current_status", "offset", "limit", "modified_since"];
    if let Some(refused) = unknown(&query, &known) {
        return refused;
    }
    let is_wanted = |told: &Value| {
        query.iter().all(|(key, value)| match key.as_str() {
            "offset" | "limit" | "modified_since" => true,
            key => told.get(key).and_then(Value::as_str).is_some_and(|told| told.starts_with(value.as_str())),
        })
    };
    let all =
        world.scenario.resources.keys().filter_map(|name| told(&world, name)).filter(is_wanted).collect();
    Json(page(&query, all)).into_response()
}

async fn one_resource(State(world): Here, Path(id): Path<String>) -> Response {
    let told = told(&world, &id);
    told.map_or_else(|| problem(StatusCode::NOT_FOUND, "no such resource"), |told| Json(told).into_response())
}

/// An outage as an incident, once it is told at all.
fn incident(world: &World, at: usize, outage: &Outage) -> Option<Value> {
    let now = world.since();
    if !outage.planned && now < outage.begin {
        return None;
    }
    let resolution = if now < outage.begin {
        "pending"
    } else if now < outage.end {
        "unresolved"
    } else {
        "completed"
    };
    let kind = if outage.planned { "planned" } else { "unplanned" };
    Some(json!({
        "id": at.to_string(), "last_modified": crate::run::now(), "status": if now < outage.end && now >= outage.begin { "down" } else { "up" },
        "start": world.at(outage.begin), "end": world.at(outage.end), "type": kind, "resolution": resolution,
        "event_uris": [format!("/status/events/{at}")], "resource_uris": [format!("/status/resources/{}", outage.resource)],
        "self_uri": format!("/status/incidents/{at}"), "name": outage.description, "description": outage.description,
    }))
}

async fn incidents(State(world): Here, Query(query): Asked) -> Response {
    let known = [
        "status",
        "type",
        "resolution",
        "resource_id",
        "name",
        "from",
        "to",
        "time",
        "modified_since",
        "offset",
        "limit",
    ];
    if let Some(refused) = unknown(&query, &known) {
        return refused;
    }
    let about = value(&query, "resource_id");
    let outages = world.scenario.outages.iter().enumerate();
    let all: Vec<Value> = outages
        .filter(|(_, outage)| about.is_none_or(|name| name == outage.resource))
        .filter_map(|(at, outage)| incident(&world, at, outage))
        .filter(|told| {
            ["status", "type", "resolution", "name"]
                .iter()
                .all(|key| value(&query, key).is_none_or(|wanted| told[*key] == wanted))
        })
        .collect();
    if all.is_empty() {
        return problem(StatusCode::NOT_FOUND, "no incident matches");
    }
    Json(page(&query, all)).into_response()
}

async fn one_incident(State(world): Here, Path(id): Path<String>) -> Response {
    let found = id.parse::<usize>().ok().and_then(|at| incident(&world, at, world.scenario.outages.get(at)?));
    found
        .map_or_else(|| problem(StatusCode::NOT_FOUND, "no such incident"), |told| Json(told).into_response())
}

async fn events(State(world): Here) -> Response {
    let now = world.since();
    let outages = world.scenario.outages.iter().enumerate().filter(|(_, outage)| outage.begin <= now);
    let all: Vec<Value> = outages
        .map(|(at, outage)| {
            json!({
                "id": at.to_string(), "last_modified": crate::run::now(), "occurred_at": world.at(outage.begin), "status": "down",
                "self_uri": format!("/status/events/{at}"), "resource_uri": format!("/status/resources/{}", outage.resource),
                "incident_uri": format!("/status/incidents/{at}"), "name": outage.description, "description": outage.description,
            })
        })
        .collect();
    Json(all).into_response()
}

async fn compute_resources(State(world): Here, headers: HeaderMap) -> Response {
    if let Some(denied) = denied(&world, &headers) {
        return denied;
    }
    let machines = world.scenario.resources.iter().filter(|(_, resource)| resource.machine.is_some());
    Json(machines.filter_map(|(name, _)| told(&world, name)).collect::<Vec<_>>()).into_response()
}

fn denied(world: &World, headers: &HeaderMap) -> Option<Response> {
    let token = headers.get("authorization").and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    (token != Some(world.scenario.iri_token.as_str()))
        .then(|| problem(StatusCode::UNAUTHORIZED, "the bearer token is not taken"))
}

fn machine(world: &World, headers: &HeaderMap, name: &str) -> Result<Machine, Response> {
    if let Some(denied) = denied(world, headers) {
        return Err(denied);
    }
    match world.machine(name) {
        Some(machine) => Ok(machine.clone()),
        None if world.has_machine(name) => {
            Err(problem(StatusCode::SERVICE_UNAVAILABLE, "the resource is down"))
        }
        None => Err(problem(StatusCode::NOT_FOUND, "no such compute resource")),
    }
}

async fn launch(State(world): Here, Path(name): Path<String>, headers: HeaderMap, body: Bytes) -> Response {
    let machine = match machine(&world, &headers, &name) {
        Ok(machine) => machine,
        Err(refused) => return refused,
    };
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let Ok(spec) = serde_json::from_slice::<Value>(&body) else {
        return problem(StatusCode::BAD_REQUEST, "the body is no JSON");
    };
    let submission = match read(&spec, header("x-iri-facility-project")) {
        Ok(submission) => submission,
        Err(why) => return problem(StatusCode::BAD_REQUEST, &why),
    };
    let Some(key) = header("idempotency-key") else {
        tokio::time::sleep(machine.submission).await;
        let id = machine.submit(submission).await;
        return launched(&world, &machine, id, "miss").await;
    };
    let key = format!("{name} {key}");
    match world.launch(&key, &spec) {
        Some((body, _)) if body != spec => {
            problem(StatusCode::UNPROCESSABLE_ENTITY, "the key was used for another job")
        }
        Some((_, Some(id))) => launched(&world, &machine, id, "hit").await,
        Some((_, None)) => {
            let mut refused = problem(StatusCode::CONFLICT, "a launch under this key is in flight");
            refused.headers_mut().insert("retry-after", 2.into());
            refused
        }
        None => {
            tokio::time::sleep(machine.submission).await;
            let id = machine.submit(submission).await;
            world.launched(&key, id);
            launched(&world, &machine, id, "miss").await
        }
    }
}

async fn launched(world: &World, machine: &Machine, id: u32, word: &'static str) -> Response {
    let jobs = machine.jobs().await;
    let told = jobs.iter().find(|job| job.id == id).and_then(|job| told_job(world, job, false));
    ([("idempotency-key-reply", word)], Json(told)).into_response()
}

/// A specification as what a machine runs.
fn read(spec: &Value, project: Option<&str>) -> Result<Submission, String> {
    let members = spec.as_object().ok_or("a job specification is an object")?;
    if let Some(key) = members.keys().find(|key| !SPEC.contains(&key.as_str())) {
        return Err(format!("{key}: unknown; a job specification has no such member"));
    }
    let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
    let account = text(spec.pointer("/attributes/account"));
    if account.is_some() == project.is_some() {
        return Err("exactly one of attributes.account and X-IRI-Facility-Project".to_owned());
    }
    let quoted = |text: &str| format!("'{}'", text.replace('\'', r"'\''"));
    let executable = text(spec.get("executable")).ok_or("executable: field required")?;
    let mut script = String::from("#!/bin/bash\n");
    for (name, value) in spec.get("environment").and_then(Value::as_object).unwrap_or(&Map::new()) {
        let is_name = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        let value = value.as_str().filter(|_| is_name).ok_or("environment: names and texts")?;
        let _ = writeln!(script, "export {name}={}", quoted(value));
    }
    let _ = write!(script, "exec {}", quoted(&executable));
    for argument in spec.get("arguments").and_then(Value::as_array).unwrap_or(&Vec::new()) {
        script.push(' ');
        script.push_str(&quoted(argument.as_str().ok_or("arguments: a list of texts")?));
    }
    let seconds = spec.pointer("/attributes/duration").and_then(Value::as_u64);
    Ok(Submission {
        name: text(spec.get("name")).unwrap_or_default(),
        comment: String::new(),
        script: script + "\n",
        folder: text(spec.get("directory")).map(Into::into),
        output: text(spec.get("stdout_path")),
        limit: seconds.map(Duration::from_secs),
        spec: Some(spec.clone()),
    })
}

fn told_job(world: &World, job: &Shown, with_spec: bool) -> Option<Value> {
    let native = world.told(job)?;
    let state = match native.as_str() {
        "PENDING" | "CONFIGURING" | "REQUEUED" => "queued",
        "REQUEUE_HOLD" | "SPECIAL_EXIT" => "held",
        "RUNNING" | "COMPLETING" | "SUSPENDED" => "active",
        "COMPLETED" => "completed",
        "CANCELLED" => "canceled",
        _ => "failed",
    };
    let time = job.ended.or(job.started).unwrap_or(job.submitted);
    let exit = job.ended.map(|_| job.exit.0);
    #[allow(clippy::cast_precision_loss, reason = "the interface tells times as floating-point seconds")]
    let seconds = time.0 as f64 / 1000.0;
    let status = json!({"state": state, "time": seconds, "message": native, "exit_code": exit, "meta_data": {"state": native}});
    let mut told = json!({"id": job.id.to_string(), "status": status});
    if with_spec {
        let named = || json!({"name": job.submission.name});
        told["job_spec"] = job.submission.spec.clone().unwrap_or_else(named);
    }
    Some(told)
}

async fn jobs(
    State(world): Here,
    Path(name): Path<String>,
    Query(query): Asked,
    headers: HeaderMap,
) -> Response {
    let machine = match machine(&world, &headers, &name) {
        Ok(machine) => machine,
        Err(refused) => return refused,
    };
    if let Some(refused) = unknown(&query, &["offset", "limit", "historical", "include_spec"]) {
        return refused;
    }
    let is = |key: &str| value(&query, key) == Some("true");
    let jobs = machine.jobs().await;
    let wanted = jobs.iter().filter(|job| is("historical") || job.is_queued());
    let all = wanted.filter_map(|job| told_job(&world, job, is("include_spec"))).collect();
    Json(page(&query, all)).into_response()
}

async fn job(
    State(world): Here,
    Path((name, id)): Path<(String, String)>,
    Query(query): Asked,
    headers: HeaderMap,
) -> Response {
    let machine = match machine(&world, &headers, &name) {
        Ok(machine) => machine,
        Err(refused) => return refused,
    };
    if let Some(refused) = unknown(&query, &["historical", "include_spec"]) {
        return refused;
    }
    let jobs = machine.jobs().await;
    let found = jobs.iter().find(|job| job.id.to_string() == id);
    let told = found.and_then(|job| told_job(&world, job, value(&query, "include_spec") == Some("true")));
    told.map_or_else(|| problem(StatusCode::NOT_FOUND, "no such job"), |told| Json(told).into_response())
}

async fn cancel(
    State(world): Here,
    Path((name, id)): Path<(String, String)>,
    headers: HeaderMap,
) -> Response {
    let machine = match machine(&world, &headers, &name) {
        Ok(machine) => machine,
        Err(refused) => return refused,
    };
    let is_ended = match id.parse() {
        Ok(number) => machine.end(number, Ending::Cancel).await,
        Err(_) => false,
    };
    if is_ended {
        StatusCode::NO_CONTENT.into_response()
    } else {
        problem(StatusCode::NOT_FOUND, "no such job")
    }
}
