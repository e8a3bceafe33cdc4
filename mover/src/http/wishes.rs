//! Wishes by HTTP: a POST with the token, whose body names what is wished of what, by whom and why.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use lightrail_topics::events::WishKey;
use serde::{Deserialize, Serialize};

use super::{ANSWERS_WITHIN, Interface, Refusal};
use crate::view::{Question, WishChange};

/// What can be wished; each is a path of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// See [`WishChange::Ask`].
    Request,
    /// See [`WishChange::Pause`].
    Pause,
    /// See [`WishChange::Resume`].
    Resume,
    /// See [`WishChange::Cancel`].
    Cancel,
    /// See [`WishChange::Requeue`].
    Requeue,
    /// See [`WishChange::Prioritise`].
    Prioritise,
    /// See [`WishChange::Drain`].
    Drain,
}

impl Action {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Request,
        Self::Pause,
        Self::Resume,
        Self::Cancel,
        Self::Requeue,
        Self::Prioritise,
        Self::Drain,
    ];

    /// Where it is asked for.
    pub fn path(self) -> &'static str {
        match self {
            Self::Request => "/request",
            Self::Pause => "/pause",
            Self::Resume => "/resume",
            Self::Cancel => "/cancel",
            Self::Requeue => "/requeue",
            Self::Prioritise => "/prioritise",
            Self::Drain => "/drain",
        }
    }

    fn change(self, priority: Option<i32>) -> Result<WishChange, Refusal> {
        match (self, priority) {
            (Self::Prioritise, Some(priority)) => Ok(WishChange::Prioritise(priority)),
            (Self::Prioritise, None) => {
                Err(Refusal::Bad("the body has no `priority`, a whole number".to_owned()))
            }
            (_, Some(_)) => Err(Refusal::Bad("only /prioritise takes a `priority`".to_owned())),
            (Self::Request, None) => Ok(WishChange::Ask),
            (Self::Pause, None) => Ok(WishChange::Pause),
            (Self::Resume, None) => Ok(WishChange::Resume),
            (Self::Cancel, None) => Ok(WishChange::Cancel),
            (Self::Requeue, None) => Ok(WishChange::Requeue),
            (Self::Drain, None) => Ok(WishChange::Drain),
        }
    }
}

/// The body of a wish.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WishBody {
    /// Of what: `*`, an experiment, experiment/run or an LFN, then `@` and a site, or nothing for all sites.
    pub of: WishKey,
    /// Who wishes.
    pub who: String,
    /// Why.
    #[serde(default)]
    pub why: String,
    /// For `/prioritise`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<i32>,
}

/// The longest name of who wishes, in characters.
const WHO: usize = 100;
/// The longest reason, in characters.
const WHY: usize = 1000;

pub(super) async fn wish(
    State(interface): State<Arc<Interface>>,
    headers: HeaderMap,
    body: Bytes,
    action: Action,
) -> Result<Response, Refusal> {
    // The token comes first: whoever cannot show it learns nothing about what would be understood.
    allowed(&interface, &headers)?;
    let body: WishBody = serde_json::from_slice(&body)
        .map_err(|why| Refusal::Bad(format!("the body is not understood: {why}")))?;
    let fits = |text: &str, most: usize| text.chars().count() <= most && !text.chars().any(char::is_control);
    if body.who.trim().is_empty() || !fits(&body.who, WHO) || !fits(&body.why, WHY) {
        return Err(Refusal::Bad(
            "`who` has to be said, and `who` and `why` be short and of one line".to_owned(),
        ));
    }
    let change = action.change(body.priority)?;
    let WishBody { of, who, why, .. } = body;
    let wished =
        interface.asker.ask(ANSWERS_WITHIN, |reply| Question::Wish(of, change, who, why, reply)).await??;
    Ok(Json(wished).into_response())
}

fn allowed(interface: &Interface, headers: &HeaderMap) -> Result<(), Refusal> {
    let Some(token) = &interface.token else {
        let why = "this mover takes no wishes by HTTP: its configuration names no http.token_file";
        return Err(Refusal::Forbidden(StatusCode::FORBIDDEN, why));
    };
    let shown = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    match shown.and_then(|value| value.strip_prefix("Bearer ")) {
        Some(shown) if is_same(shown, token.expose()) => Ok(()),
        Some(_) => Err(Refusal::Forbidden(StatusCode::UNAUTHORIZED, "the token is not the right one")),
        None => {
            Err(Refusal::Forbidden(StatusCode::UNAUTHORIZED, "show the token: Authorization: Bearer ..."))
        }
    }
}

/// Compares in a time that does not tell where the texts differ.
pub(super) fn is_same(shown: &str, secret: &str) -> bool {
    let differences = shown.bytes().zip(secret.bytes()).fold(0, |all, (a, b)| all | (a ^ b));
    std::hint::black_box(differences) == 0 && shown.len() == secret.len()
}
