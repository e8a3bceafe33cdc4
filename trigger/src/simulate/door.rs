//! What is wrong with a simulated interface, as its scenario says: every call passes here before and after it is done.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{Method, StatusCode};
use axum::middleware::Next;
use axum::response::{Html, IntoResponse as _, Response};

use super::scenario::{Call, Mischief};
use super::world::World;

/// Lets a call pass, or not.
pub(super) async fn pass(State(world): State<Arc<World>>, request: Request, next: Next) -> Response {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let mischief = world.mischief(about(&method, &path));
    tracing::debug!(%method, path, ?mischief, "call");
    match mischief {
        None => next.run(request).await,
        Some(Mischief::Delay(takes)) => {
            tokio::time::sleep(takes).await;
            next.run(request).await
        }
        Some(Mischief::Lost) => {
            // In a task of its own: it is done also when whoever asked does not wait.
            let _ = tokio::spawn(next.run(request)).await;
            std::future::pending().await
        }
        Some(Mischief::Garbage) => {
            next.run(request).await;
            Html("<html><body><h1>Something went wrong</h1></body></html>").into_response()
        }
        Some(Mischief::Away) => (StatusCode::SERVICE_UNAVAILABLE, "upstream is away\n").into_response(),
        Some(Mischief::Busy) => {
            (StatusCode::TOO_MANY_REQUESTS, [("Retry-After", "1")], "too many requests\n").into_response()
        }
        Some(Mischief::Denied) => (StatusCode::UNAUTHORIZED, "token is expired\n").into_response(),
    }
}

/// What a call is about.
fn about(method: &Method, path: &str) -> Call {
    let has = |part: &str| path.contains(part);
    if has("/c2id/") {
        Call::Token
    } else if *method == Method::DELETE {
        Call::Cancel
    } else if (has("/compute/jobs/") || has("/compute/job/")) && *method == Method::POST {
        Call::Submit
    } else if has("/compute/") {
        Call::Jobs
    } else if has("/tasks") {
        Call::Task
    } else if has("/utilities/") {
        Call::Command
    } else {
        Call::Status
    }
}
