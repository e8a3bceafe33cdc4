//! One question to every server of a site: what lies at this path? Knows when it may stop listening to the slow.
//! Never decides what the answers mean.

use std::time::Duration;

use futures::stream::{FuturesUnordered, StreamExt};
use tokio::time::{Instant, sleep_until, timeout};

use super::engine::{Engine, Place, Stat};
use super::names::SitePath;
use super::site::{Patience, Site};
use crate::fault::{Fault, Side};

/// What one server said.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    /// The server; none where the site itself was asked.
    pub(super) server: Option<String>,
    /// What it said.
    pub(super) found: Result<Option<Stat>, Fault>,
    /// It was not waited for to the end: slower than the others, which need not mean anything.
    pub(super) is_late: bool,
}

/// Who has to be heard.
#[derive(Clone, Copy, Debug)]
pub(super) enum Hear<'a> {
    /// All but these, who get a short grace after the others.
    AllBut(&'a [String]),
    /// One that has the file; the others get a short grace after it.
    OneHolder,
}

/// Waits for a call no longer than that, and blames the silence on the place.
pub(super) async fn limited<T>(
    limit: Duration,
    what: &str,
    side: Side,
    place: Place<'_>,
    call: impl Future<Output = Result<T, Fault>>,
) -> Result<T, Fault> {
    match timeout(limit, call).await {
        Ok(answer) => answer.map_err(|fault| fault.on(side)),
        Err(_) => Err(Fault::no_answer(what, place.address(), limit).on(side)),
    }
}

/// Asks all servers of a site at once. A fault if none of them answered.
pub(super) async fn look(
    engine: &dyn Engine,
    site: &Site,
    whose: Side,
    path: &SitePath,
    patience: &Patience,
    hear: Hear<'_>,
) -> Result<Vec<Seen>, Fault> {
    let door = Place { site, server: None };
    let named = limited(patience.call, "for its data servers", whose, door, engine.servers(site)).await?;
    let servers: Vec<Option<String>> =
        if named.is_empty() { vec![None] } else { named.into_iter().map(Some).collect() };

    let mut answers: Vec<Option<Result<Option<Stat>, Fault>>> = vec![None; servers.len()];
    let mut asked: FuturesUnordered<_> = servers
        .iter()
        .enumerate()
        .map(|(index, server)| async move {
            let place = Place { site, server: server.as_deref() };
            let what = format!("a look at {path}");
            (index, limited(patience.look, &what, whose, place, engine.stat(place, path)).await)
        })
        .collect();

    let mut end: Option<Instant> = None;
    loop {
        if end.is_none() && heard_enough(hear, &servers, &answers) {
            end = Some(Instant::now() + patience.grace);
        }
        let grace_over = async {
            match end {
                Some(end) => sleep_until(end).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            next = asked.next() => match next {
                Some((index, answer)) => answers[index] = Some(answer),
                None => break,
            },
            () = grace_over => break,
        }
    }
    drop(asked);

    let seen: Vec<Seen> = servers
        .into_iter()
        .zip(answers)
        .map(|(server, answer)| {
            let is_late = answer.is_none();
            let late =
                || Err(Fault::no_answer("with the others", server.as_deref(), patience.grace).on(whose));
            let found = answer.unwrap_or_else(late);
            Seen { server, found, is_late }
        })
        .collect();
    if seen.iter().all(|one| one.found.is_err()) {
        let first = seen.into_iter().find_map(|one| one.found.err());
        return Err(first.expect("a site has at least one place"));
    }
    Ok(seen)
}

fn heard_enough(
    hear: Hear<'_>,
    servers: &[Option<String>],
    answers: &[Option<Result<Option<Stat>, Fault>>],
) -> bool {
    let mut both = servers.iter().zip(answers);
    match hear {
        Hear::OneHolder => both.any(|(_, answer)| matches!(answer, Some(Ok(Some(_))))),
        Hear::AllBut(hurried) => {
            let anybody = answers.iter().any(|answer| matches!(answer, Some(Ok(_))));
            anybody
                && both.all(|(server, answer)| {
                    answer.is_some() || server.as_ref().is_some_and(|name| hurried.contains(name))
                })
        }
    }
}
