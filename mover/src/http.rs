//! The mover's HTTP interface: health, metrics, what is moved and why not, wishes with a token, and the call that the
//! logbook makes. It only asks the owner, each time with a limit, and turns the answers into JSON; it decides nothing.

mod ask;
mod logbook_call;
#[cfg(test)]
pub(crate) mod tests;
mod wishes;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::Router;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use lightrail_topics::{Experiment, RunKey, RunNumber};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::config::{Config, SecretError, SecretText};
use crate::view::{NotKnown, Question, RunFilter, TransferFilter};

pub use ask::{Asker, NoAnswer};
pub use wishes::{Action, WishBody};

/// How long the owner may take to answer a page.
const ANSWERS_WITHIN: Duration = Duration::from_secs(10);

/// What the interface is made with.
#[derive(Debug)]
pub struct Interface {
    /// Puts questions to the owner.
    pub asker: Asker,
    /// What whoever wishes something has to show. Without it nobody can.
    pub token: Option<SecretText>,
    /// The secret part of the path on which the logbook calls.
    pub secret_prefix: Option<SecretText>,
    /// The metrics of this process.
    pub metrics: PrometheusHandle,
}

impl Interface {
    /// Reads the secrets that the configuration names.
    pub fn new(
        config: &crate::config::Http,
        asker: Asker,
        metrics: PrometheusHandle,
    ) -> Result<Self, SecretError> {
        let read = |secret: &Option<crate::config::Secret>| {
            secret.as_ref().map(crate::config::Secret::read).transpose()
        };
        Ok(Self { asker, token: read(&config.token)?, secret_prefix: read(&config.secret_prefix)?, metrics })
    }
}

/// Why the interface cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address cannot be had.
    #[error("address {0} cannot be listened on")]
    Listen(SocketAddr, #[source] std::io::Error),
    /// A secret cannot be read.
    #[error("a secret of the http interface cannot be read")]
    Secret(#[from] SecretError),
}

/// Begins to serve as configured; ends when the handle is aborted.
pub async fn serve(config: &Config, questions: mpsc::Sender<Question>) -> Result<JoinHandle<()>, ServeError> {
    let interface =
        Interface::new(&config.http, Asker::new(questions), lightrail_service::telemetry::metrics())?;
    let address = config.http.listen;
    let listener = TcpListener::bind(address).await.map_err(|why| ServeError::Listen(address, why))?;
    tracing::info!(address = %listener.local_addr().unwrap_or(address), "http interface listens");
    Ok(tokio::spawn(serve_on(listener, interface)))
}

/// Serves on a socket until it is dropped.
async fn serve_on(listener: TcpListener, interface: Interface) {
    if let Err(error) = axum::serve(listener, router(Arc::new(interface))).await {
        tracing::error!(%error, "http interface ended");
    }
}

fn router(interface: Arc<Interface>) -> Router {
    let routes = Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .route("/runs", get(runs))
        .route("/transfers", get(transfers))
        .route("/why/{experiment}/{run}", get(why))
        .route("/ws/{experiment}/check_files_for_run", post(logbook_call::open))
        .route("/{secret}/ws/{experiment}/check_files_for_run", post(logbook_call::secret));
    Action::ALL
        .into_iter()
        .fold(routes, |routes, action| {
            routes
                .route(action.path(), post(move |state, head, body| wishes::wish(state, head, body, action)))
        })
        .with_state(interface)
}

type Shared = State<Arc<Interface>>;

/// Why a request is not answered as asked.
#[derive(Debug)]
enum Refusal {
    /// The request is not understood.
    Bad(String),
    /// Nobody can wish anything here, or the token is not the right one.
    Forbidden(StatusCode, &'static str),
    /// A name that the mover does not know.
    NotKnown(NotKnown),
    /// The owner has not answered.
    NoAnswer(NoAnswer),
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, error, near) = match self {
            Self::Bad(why) => (StatusCode::BAD_REQUEST, why, None),
            Self::Forbidden(status, why) => (status, why.to_owned(), None),
            Self::NotKnown(unknown) => (StatusCode::NOT_FOUND, unknown.to_string(), Some(unknown)),
            Self::NoAnswer(why) => (StatusCode::SERVICE_UNAVAILABLE, why.to_string(), None),
        };
        (status, Json(serde_json::json!({ "error": error, "unknown": near }))).into_response()
    }
}

impl From<NoAnswer> for Refusal {
    fn from(why: NoAnswer) -> Self {
        Self::NoAnswer(why)
    }
}

impl From<NotKnown> for Refusal {
    fn from(unknown: NotKnown) -> Self {
        Self::NotKnown(unknown)
    }
}

async fn ready(State(interface): Shared) -> Response {
    match interface.asker.ask(ANSWERS_WITHIN, Question::Ready).await {
        Ok(readiness) => {
            let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
            (status, Json(readiness)).into_response()
        }
        Err(why) => Refusal::from(why).into_response(),
    }
}

async fn metrics(State(interface): Shared) -> Response {
    interface.metrics.run_upkeep();
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], interface.metrics.render()).into_response()
}

async fn runs(
    State(interface): Shared,
    filter: Result<Query<RunFilter>, axum::extract::rejection::QueryRejection>,
) -> Result<Response, Refusal> {
    let Query(filter) = filter.map_err(|why| Refusal::Bad(why.body_text()))?;
    let runs = interface.asker.ask(ANSWERS_WITHIN, |reply| Question::Runs(filter, reply)).await?;
    Ok(Json(runs).into_response())
}

async fn transfers(
    State(interface): Shared,
    filter: Result<Query<TransferFilter>, axum::extract::rejection::QueryRejection>,
) -> Result<Response, Refusal> {
    let Query(filter) = filter.map_err(|why| Refusal::Bad(why.body_text()))?;
    let transfers = interface.asker.ask(ANSWERS_WITHIN, |reply| Question::Transfers(filter, reply)).await?;
    Ok(Json(transfers).into_response())
}

async fn why(
    State(interface): Shared,
    Path((experiment, run)): Path<(String, String)>,
) -> Result<Response, Refusal> {
    let bad = |why: lightrail_topics::IdError| Refusal::Bad(why.to_string());
    let experiment: Experiment = experiment.parse().map_err(bad)?;
    let run: RunNumber = run.parse().map_err(bad)?;
    let key = RunKey { experiment, run };
    let view = interface.asker.ask(ANSWERS_WITHIN, |reply| Question::Why(key, reply)).await??;
    Ok(Json(view).into_response())
}
