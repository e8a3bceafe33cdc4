//! The logbook's own call, `check_files_for_run`, with its words and its lenience. It answers within two seconds
//! whatever happens; a file of which nothing can be said is left out, for any word but `present` makes the logbook
//! forget that the file is there.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use lightrail_topics::{Experiment, Lfn, RunKey, RunNumber, SiteName};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::Interface;
use super::wishes::is_same;
use crate::view::Question;

/// Leaves half a second of the two for the way.
const ANSWERS_WITHIN: Duration = Duration::from_millis(1500);

/// What the logbook sends. What is not understood of it is as if it were not there.
#[derive(Debug, Deserialize)]
struct Call {
    location: Option<String>,
    run_num: Option<Value>,
    #[serde(default)]
    restore_missing_files: Value,
    #[serde(default)]
    files: Vec<Value>,
}

/// A question that makes sense.
#[derive(Debug, PartialEq)]
struct Asked {
    run: RunKey,
    site: SiteName,
    files: Vec<Lfn>,
    restore: bool,
}

/// Without a secret in the path, where none is configured.
pub(super) async fn open(
    State(interface): State<Arc<Interface>>,
    Path(experiment): Path<String>,
    body: Bytes,
) -> Result<Json<Value>, StatusCode> {
    if interface.secret_prefix.is_some() {
        Err(StatusCode::NOT_FOUND)
    } else {
        Ok(answer(&interface, &experiment, &body).await)
    }
}

/// With the secret in the path. A wrong one looks like a path that is not there.
pub(super) async fn secret(
    State(interface): State<Arc<Interface>>,
    Path((shown, experiment)): Path<(String, String)>,
    body: Bytes,
) -> Result<Json<Value>, StatusCode> {
    match &interface.secret_prefix {
        Some(secret) if is_same(&shown, secret.expose()) => Ok(answer(&interface, &experiment, &body).await),
        _ => Err(StatusCode::NOT_FOUND),
    }
}

async fn answer(interface: &Interface, experiment: &str, body: &[u8]) -> Json<Value> {
    let mut files = Map::new();
    match understand(experiment, body) {
        Ok(Asked { run, site, files: asked, restore }) => {
            let question = |reply| Question::Present(run.clone(), site, asked, restore, reply);
            match interface.asker.ask(ANSWERS_WITHIN, question).await {
                Ok(told) => {
                    files.extend(told.into_iter().map(|(lfn, presence)| (lfn.to_string(), json!(presence))));
                }
                Err(why) => {
                    tracing::warn!(%run, error = %why, "logbook's question for files is answered with nothing");
                }
            }
        }
        Err(why) => tracing::warn!(experiment, why, "logbook's question for files is not understood"),
    }
    Json(json!({ "files": files }))
}

fn understand(experiment: &str, body: &[u8]) -> Result<Asked, String> {
    let call: Call = serde_json::from_slice(body).map_err(|why| why.to_string())?;
    let experiment: Experiment = experiment.parse().map_err(|why| format!("{why}"))?;
    // A number, or a text where the logbook could not make it one.
    let run: RunNumber = match &call.run_num {
        Some(Value::String(text)) => text.trim().parse().map_err(|why| format!("{why}"))?,
        Some(number) => number.to_string().parse().map_err(|why| format!("{why}"))?,
        None => return Err("it has no run_num".to_owned()),
    };
    let site: SiteName =
        call.location.ok_or("it has no location")?.parse().map_err(|why| format!("{why}"))?;
    let files = call.files.iter().filter_map(|file| file.as_str()?.parse::<Lfn>().ok());
    let files = files.filter(|lfn| lfn.experiment() == experiment).collect();
    let restore = match &call.restore_missing_files {
        Value::Bool(restore) => *restore,
        Value::String(text) => text.eq_ignore_ascii_case("true"),
        _ => false,
    };
    Ok(Asked { run: RunKey { experiment, run }, site, files, restore })
}
