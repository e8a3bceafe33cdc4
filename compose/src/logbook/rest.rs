//! The logbook's REST calls, answered as the LCLS logbook answers them: 200 with `success`, 500 with plain text, JSON as
//! Python writes it. Decides nothing: the book does.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, Query, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use lightrail_topics::{Experiment, RunNumber};
use serde_json::{Map, Value, json};

use lightrail_topics::logbook::book::{Refusal, is_big};
use lightrail_topics::logbook::python;

use super::{Absence, Shared};

/// The rules begin below `/ws/lgbk`, so that addresses hold `lgbk/lgbk` as at LCLS.
pub(super) fn router(shared: Arc<Shared>) -> Router {
    let rules = Router::new()
        .route("/run_control/{exp}/ws/start_run", get(start_run).post(start_run))
        .route("/run_control/{exp}/ws/end_run", get(end_run).post(end_run))
        .route("/run_control/{exp}/ws/current_run", get(current_run))
        .route("/run_control/{exp}/ws/add_run_params", post(add_run_params))
        .route("/lgbk/{exp}/ws/current_run", get(current_run))
        .route("/lgbk/{exp}/ws/add_run_params", post(add_run_params))
        .route("/lgbk/{exp}/ws/register_file", post(register_file))
        .route("/lgbk/{exp}/ws/file_available_at_location", get(file_available).post(file_available))
        .route(
            "/lgbk/{exp}/ws/check_and_move_run_files_to_location",
            get(check_and_move).post(check_and_move),
        )
        .route("/lgbk/{exp}/ws/dm_locations", get(dm_locations))
        .route("/lgbk/{exp}/ws/files", get(files))
        .route("/lgbk/{exp}/ws/{run}/files", get(run_files))
        .route("/lgbk/{exp}/ws/{run}/files_for_live_mode", get(live_paths))
        .route("/lgbk/{exp}/ws/{run}/files_for_live_mode_at_location", get(live_run))
        .route("/lgbk/{exp}/ws/files_for_live_mode_at_location", get(live))
        .route("/lgbk/{exp}/ws/runs", get(runs))
        .route("/lgbk/{exp}/ws/runs/{run}", get(run))
        .layer(axum::middleware::from_fn_with_state(Arc::clone(&shared), presence))
        .with_state(shared);
    Router::new().nest("/ws/lgbk", rules)
}

type Asked = Query<HashMap<String, String>>;
type Answer = Result<Response, Refused>;
type Book = State<Arc<Shared>>;

/// A refusal as an answer.
struct Refused(Refusal);

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self(refusal)
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        match self.0 {
            Refusal::BadInput(text) => (StatusCode::INTERNAL_SERVER_ERROR, text).into_response(),
            Refusal::Logical(text) => written(&json!({ "success": false, "errormsg": text })),
        }
    }
}

fn written(value: &Value) -> Response {
    // Flask's default for a returned text; clients of the real one must not look at it either.
    ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], python::dumps(value)).into_response()
}

fn success(value: Value) -> Response {
    let mut answer = Map::new();
    answer.insert("success".into(), true.into());
    answer.insert("value".into(), value);
    written(&Value::Object(answer))
}

/// Stands for the whole service being away.
async fn presence(State(shared): Book, request: Request, next: Next) -> Response {
    match shared.absence() {
        Absence::None => next.run(request).await,
        Absence::BadGateway => {
            (StatusCode::BAD_GATEWAY, "<html><body>502 Bad Gateway</body></html>").into_response()
        }
        Absence::Silent => std::future::pending().await,
    }
}

fn text(asked: &Asked, name: &str, else_say: &str) -> Result<String, Refusal> {
    let given = asked.get(name).filter(|given| !given.is_empty());
    given.cloned().ok_or_else(|| Refusal::BadInput(else_say.to_owned()))
}

fn run_number(given: &str) -> Result<RunNumber, Refusal> {
    given.parse().map_err(|_| Refusal::BadInput(format!("Cannot find run document for {given}")))
}

fn optional_run(asked: &Asked) -> Result<Option<RunNumber>, Refusal> {
    asked.get("run_num").map(|given| run_number(given)).transpose()
}

fn experiment(given: &str) -> Result<Experiment, Refusal> {
    given
        .parse()
        .map_err(|_| Refusal::BadInput(format!("Experiment {given} does not exist in the experiment cache")))
}

fn body(bytes: &Bytes) -> Result<Value, Refusal> {
    let refused = || Refusal::BadInput("Internal Server Error".into());
    python::loads(std::str::from_utf8(bytes).map_err(|_| refused())?).map_err(|_| refused())
}

fn params(bytes: &Bytes) -> Result<Map<String, Value>, Refusal> {
    if bytes.is_empty() {
        return Ok(Map::new());
    }
    match body(bytes)? {
        Value::Object(params) => Ok(params),
        _ => Err(Refusal::BadInput("Internal Server Error".into())),
    }
}

async fn start_run(State(shared): Book, Path(exp): Path<String>, asked: Asked, bytes: Bytes) -> Answer {
    let (exp, number, params) = (experiment(&exp)?, optional_run(&asked)?, params(&bytes)?);
    let kind = asked.get("run_type").map_or("DATA", String::as_str);
    Ok(success(shared.said(|book, now| book.start_run(&exp, number, kind, params, now))?))
}

async fn end_run(State(shared): Book, Path(exp): Path<String>) -> Answer {
    let exp = experiment(&exp)?;
    Ok(success(shared.said(|book, now| book.end_run(&exp, now))?))
}

async fn current_run(State(shared): Book, Path(exp): Path<String>, asked: Asked) -> Answer {
    let run = shared.book().current_run(&experiment(&exp)?)?;
    let skip = asked.get("skipClosedRuns").is_some_and(|given| given == "true");
    let run = run.filter(|run| !skip || run["end_time"].is_null());
    Ok(run.map_or_else(|| written(&json!({ "success": false, "value": null })), success))
}

async fn add_run_params(State(shared): Book, Path(exp): Path<String>, asked: Asked, bytes: Bytes) -> Answer {
    let (exp, number, params) = (experiment(&exp)?, optional_run(&asked)?, params(&bytes)?);
    Ok(success(shared.said(|book, _| book.add_run_params(&exp, number, params))?))
}

async fn register_file(State(shared): Book, Path(exp): Path<String>, bytes: Bytes) -> Answer {
    let exp = experiment(&exp)?;
    let register = |file: Value| {
        let Value::Object(file) = file else { return Err(Refusal::BadInput("Internal Server Error".into())) };
        shared.said(|book, now| Ok((Value::Null, vec![book.register_file(&exp, file, now)?])))
    };
    match body(&bytes)? {
        Value::Array(files) => {
            let mut answers = Vec::new();
            for file in files {
                match register(file) {
                    Ok(_) => answers.push(json!({ "success": true })),
                    Err(Refusal::Logical(text)) => {
                        answers.push(json!({ "success": false, "errormsg": text }));
                    }
                    Err(bad) => return Err(bad.into()),
                }
            }
            Ok(written(&Value::Array(answers)))
        }
        file => match register(file) {
            Ok(_) => Ok(written(&json!({ "success": true }))),
            // A single file is refused as bad input, one of a list by its own answer.
            Err(Refusal::Logical(text) | Refusal::BadInput(text)) => Err(Refusal::BadInput(text).into()),
        },
    }
}

async fn file_available(State(shared): Book, Path(exp): Path<String>, asked: Asked) -> Answer {
    let exp = experiment(&exp)?;
    let location = text(&asked, "location", "Please specify the location.")?;
    shared.book().check_location(&exp, &location)?;
    let path = text(&asked, "file_path", "Please specify the file path.")?;
    let run = run_number(&text(&asked, "run_num", "Please specify the run number")?)?;
    shared.said(|book, now| {
        Ok((Value::Null, vec![book.file_available_at_location(&exp, run, &path, &location, now)?]))
    })?;
    Ok(written(&json!({ "success": true })))
}

/// Asks the mover which files of a run it has, and believes it. Says nothing on Kafka.
async fn check_and_move(State(shared): Book, Path(exp): Path<String>, asked: Asked) -> Answer {
    let exp = experiment(&exp)?;
    let location = text(&asked, "location", "Please specify the location.")?;
    shared.book().check_location(&exp, &location)?;
    let run = run_number(&text(&asked, "run_num", "Please specify the run number")?)?;
    let restore = asked.get("restore_missing_files").is_some_and(|given| given == "true");
    let types = asked.get("file_types_to_restore").map(String::as_str).unwrap_or_default();
    let Some(mover) = shared.mover() else {
        return Err(
            Refusal::Logical("This site has not been configured with a mover endpoint.".into()).into()
        );
    };
    // Without types no pattern matches and the list is empty: a bug of the real one that its clients live with.
    let matching: Vec<Value> = shared
        .book()
        .files(&exp, Some(run))
        .into_iter()
        .filter(|file| {
            types.split(',').any(|kind| is_of_type(kind, file["path"].as_str().unwrap_or_default()))
        })
        .collect();
    let paths: Vec<&Value> = matching.iter().map(|file| &file["path"]).collect();
    let question = json!({
        "location": location, "run_num": run.0, "experiment_name": exp.as_str(),
        "instrument": shared.book().instrument(&exp)?, "restore_missing_files": restore, "files": paths,
    });
    let failed = |error: reqwest::Error| Refusal::BadInput(format!("Internal Server Error: {error}"));
    let asked =
        reqwest::Client::new().post(format!("{mover}ws/{exp}/check_files_for_run")).json(&question).send();
    let answer: Value = asked.await.map_err(failed)?.json().await.map_err(failed)?;
    let statuses = answer["files"].as_object().cloned().unwrap_or_default();
    let mut book = shared.book();
    for (path, status) in &statuses {
        let Some(file) = matching.iter().find(|file| file["path"] == path.as_str()) else { continue };
        let known = file["locations"].get(&location).is_some();
        if status == "present" && !known {
            book.set_location(&exp, run, path, &location, Some(super::now()))?;
        } else if status != "present" && known {
            book.set_location(&exp, run, path, &location, None)?;
        }
    }
    let files = book.files(&exp, Some(run));
    Ok(success(json!({ "run_files": files, "matching_files": paths, "dmstatus": statuses })))
}

/// The kinds of files that people can ask to be restored, by the folder of an LFN.
fn is_of_type(kind: &str, path: &str) -> bool {
    match kind {
        "XTC" => path.contains("/xtc/"),
        "HDF5" => path.contains("/hdf5/"),
        _ => false,
    }
}

async fn dm_locations(State(shared): Book, Path(exp): Path<String>) -> Answer {
    Ok(success(shared.book().dm_locations(&experiment(&exp)?)?))
}

async fn files(State(shared): Book, Path(exp): Path<String>) -> Answer {
    Ok(success(Value::Array(shared.book().files(&experiment(&exp)?, None))))
}

async fn run_files(State(shared): Book, Path((exp, run)): Path<(String, String)>) -> Answer {
    Ok(success(Value::Array(shared.book().files(&experiment(&exp)?, Some(run_number(&run)?)))))
}

async fn live_paths(State(shared): Book, Path((exp, run)): Path<(String, String)>) -> Answer {
    let files = shared.book().files(&experiment(&exp)?, Some(run_number(&run)?));
    let paths = files.iter().map(|file| file["path"].clone());
    Ok(success(paths.filter(|path| path.as_str().is_some_and(is_big)).collect()))
}

const NO_LOCATION: &str = "Please pass in a valid data management location name using the location parameter";

async fn live_run(State(shared): Book, Path((exp, run)): Path<(String, String)>, asked: Asked) -> Answer {
    let location = text(&asked, "location", NO_LOCATION)?;
    Ok(success(shared.book().live_run(&experiment(&exp)?, run_number(&run)?, &location)?))
}

async fn live(State(shared): Book, Path(exp): Path<String>, asked: Asked) -> Answer {
    let location = text(&asked, "location", NO_LOCATION)?;
    Ok(success(experiment(&exp).map_or(json!([]), |exp| shared.book().live(&exp, &location))))
}

async fn runs(State(shared): Book, Path(exp): Path<String>, asked: Asked) -> Answer {
    let params = asked.get("includeParams").is_none_or(|given| given != "false");
    Ok(success(shared.book().runs(&experiment(&exp)?, params)?))
}

async fn run(State(shared): Book, Path((exp, run)): Path<(String, String)>) -> Answer {
    Ok(success(shared.book().run(&experiment(&exp)?, run_number(&run)?)?))
}
