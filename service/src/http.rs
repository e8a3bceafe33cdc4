//! The HTTP interface of a service: `/healthz`, `/readyz` with what it waits for, `/metrics`. Reads what it is given, asks
//! nobody, decides nothing.

use std::net::SocketAddr;

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Whether a service does its work.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Readiness {
    /// Whether it does.
    pub ready: bool,
    /// What it does or waits for.
    pub notes: Vec<String>,
}

impl Readiness {
    /// It does its work.
    pub fn ready(note: impl Into<String>) -> Self {
        Self { ready: true, notes: vec![note.into()] }
    }

    /// It waits for something.
    pub fn waits(note: impl Into<String>) -> Self {
        Self { ready: false, notes: vec![note.into()] }
    }
}

/// Why the interface cannot begin.
#[derive(Debug, thiserror::Error)]
#[error("address {address} cannot be listened on")]
pub struct ListenError {
    address: SocketAddr,
    source: std::io::Error,
}

/// Begins to serve; ends when the handle is aborted.
pub async fn serve(
    address: SocketAddr,
    readiness: watch::Receiver<Readiness>,
) -> Result<JoinHandle<()>, ListenError> {
    let listener = TcpListener::bind(address).await.map_err(|source| ListenError { address, source })?;
    tracing::info!(address = %listener.local_addr().unwrap_or(address), "http interface listens");
    let routes = Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(readiness);
    Ok(tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, routes).await {
            tracing::error!(%error, "http interface ended");
        }
    }))
}

async fn ready(State(readiness): State<watch::Receiver<Readiness>>) -> Response {
    let readiness = readiness.borrow().clone();
    let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(readiness)).into_response()
}

async fn metrics() -> Response {
    let metrics = crate::telemetry::metrics();
    metrics.run_upkeep();
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], metrics.render()).into_response()
}
