//! Which site a piece of work goes to: where it is predicted to finish first, by the bytes that are still to be moved, the queue
//! and the run, as measured so far. Outages are walls, limits and allocations are kept, what is placed stays unless another site
//! is clearly better; and every decision says why. Pure: `now` is an argument, and nothing is asked or sent.

mod estimate;
mod forecast;
pub mod replay;
mod silence;
#[cfg(test)]
mod tests;

use std::fmt;
use std::time::Duration;

use lightrail_topics::{Millis, SiteName};

pub use estimate::{Class, Estimates, Rate};
pub use forecast::{Times, bytes_for_people, for_people, forecast};
pub use silence::silence;

/// A time during which a site neither takes data nor runs jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outage {
    /// When it begins.
    pub from: Millis,
    /// When it ends; none where nobody knows.
    pub to: Option<Millis>,
}

impl Outage {
    /// Whether it is under way.
    pub fn is_now(&self, now: Millis) -> bool {
        self.from <= now && self.to.is_none_or(|to| now < to)
    }
}

/// A piece of work that was placed at a site before and is not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ahead {
    /// It runs, and is expected to end then.
    Running(Millis),
    /// Its data are there, and it waits for its turn.
    Waiting,
    /// So many bytes of it are still to be moved.
    Coming(u64),
}

/// What is known of a site that may take a piece of work.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// The site.
    pub site: SiteName,
    /// Bytes of the work that are not there yet.
    pub bytes: u64,
    /// What was placed there before, in the order of its data's coming.
    pub ahead: Vec<Ahead>,
    /// How fast data come there; none where it was never measured.
    pub rate: Option<Rate>,
    /// From a file's last byte until work that waits for it may begin.
    pub settling: Duration,
    /// How many pieces of work run there at once.
    pub slots: usize,
    /// How long such work runs there; none where it was never measured.
    pub run: Option<Duration>,
    /// How long the scheduler lets a job wait that is submitted now.
    pub wait: Duration,
    /// From the end of the run until its results are where they belong.
    pub after: Duration,
    /// Known outages, in any order.
    pub outages: Vec<Outage>,
    /// How many more pieces of work it may have; none where there is no limit.
    pub room: Option<usize>,
    /// Node-seconds that are left to be spent; none where nobody counts.
    pub allocation: Option<u64>,
    /// Why it is held for lost, if it is.
    pub lost: Option<String>,
}

impl Candidate {
    /// Pieces of work that do not run yet: what Balsam goes by.
    pub fn backlog(&self) -> usize {
        self.ahead.iter().filter(|ahead| !matches!(ahead, Ahead::Running(_))).count()
    }

    /// Why nothing can be placed there now, if so.
    pub fn unfit(&self, wanted: &Wanted, now: Millis) -> Option<Unfit> {
        if let Some(why) = &self.lost {
            return Some(Unfit::Lost(why.clone()));
        }
        if self.outages.iter().any(|outage| outage.is_now(now) && outage.to.is_none()) {
            return Some(Unfit::Out);
        }
        if self.room == Some(0) {
            return Some(Unfit::Full);
        }
        self.allocation
            .filter(|left| *left < wanted.node_seconds)
            .map(|left| Unfit::Allocation { left, needed: wanted.node_seconds })
    }
}

/// What is to be placed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Where it is placed already and not begun, if it is.
    pub placed: Option<SiteName>,
    /// Node-seconds that it may spend.
    pub node_seconds: u64,
}

/// Why a site takes no work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// It is held for lost.
    Lost(String),
    /// It is out, and nobody says until when.
    Out,
    /// It has as much as it may.
    Full,
    /// Its allocation does not suffice.
    Allocation {
        /// Node-seconds left.
        left: u64,
        /// Node-seconds that the work may spend.
        needed: u64,
    },
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lost(why) => write!(f, "lost: {why}"),
            Self::Out => f.write_str("out, nobody says until when"),
            Self::Full => f.write_str("has as many jobs as it may"),
            Self::Allocation { left, needed } => {
                write!(f, "has {left} node-seconds left of its allocation, {needed} are needed")
            }
        }
    }
}

/// Another site takes what is placed and not begun, of which nothing is lost by placing it anew, when it saves this share of the time
/// that is left,
const SAVED_SHARE: f64 = 0.05;
/// and at least so much.
const SAVED_LEAST: Duration = Duration::from_secs(5);

/// By what a site was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Because {
    /// It finishes first.
    Soonest,
    /// Another one finishes earlier, but not by enough to move what is placed.
    Stays,
    /// Something was never measured, so the fewest pieces of work that do not run yet decided.
    ShortestBacklog,
    /// No other one can take it.
    Only,
}

/// What is foreseen for a site.
#[derive(Clone, Debug, PartialEq)]
pub struct Foreseen {
    /// The site.
    pub site: SiteName,
    /// Pieces of work there that do not run yet.
    pub backlog: usize,
    /// When what happens, or why it takes nothing; none where something was never measured.
    pub times: Result<Option<Times>, Unfit>,
}

/// A choice, with its reasons.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// Where it goes.
    pub site: SiteName,
    /// By what.
    pub because: Because,
    /// All candidates.
    pub foreseen: Vec<Foreseen>,
    /// When it was made.
    pub at: Millis,
}

impl Decision {
    /// What is foreseen at the site that was chosen, where it is known.
    pub fn times(&self) -> Option<Times> {
        let chosen = self.foreseen.iter().find(|foreseen| foreseen.site == self.site)?;
        chosen.times.clone().ok().flatten()
    }
}

/// Nobody takes it, and why each does not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no site can take it: {}", each(.0))]
pub struct Nowhere(pub Vec<(SiteName, Unfit)>);

fn each(unfit: &[(SiteName, Unfit)]) -> String {
    if unfit.is_empty() {
        return "none is named".to_owned();
    }
    unfit.iter().map(|(site, why)| format!("{site} {why}")).collect::<Vec<_>>().join("; ")
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let because = match self.because {
            Because::Soonest => "finishes first",
            Because::Stays => "keeps it, for no other saves enough",
            Because::ShortestBacklog => {
                "has the shortest backlog, which decides where something was never measured"
            }
            Because::Only => "is the only one that can take it",
        };
        write!(f, "{} {because} ", self.site)?;
        let told = self.foreseen.iter().map(|foreseen| match &foreseen.times {
            Ok(Some(times)) => format!("{}: {}", foreseen.site, times.told(self.at)),
            Ok(None) => format!("{}: not measured yet, backlog {}", foreseen.site, foreseen.backlog),
            Err(why) => format!("{}: {why}", foreseen.site),
        });
        write!(f, "({})", told.collect::<Vec<_>>().join("; "))
    }
}

/// Chooses a site. Among equals the one that is named first.
///
/// # Errors
/// When no site can take it.
pub fn choose(wanted: &Wanted, candidates: &[Candidate], now: Millis) -> Result<Decision, Nowhere> {
    let foreseen: Vec<Foreseen> = candidates
        .iter()
        .map(|candidate| Foreseen {
            site: candidate.site.clone(),
            backlog: candidate.backlog(),
            times: candidate.unfit(wanted, now).map_or_else(|| Ok(forecast(candidate, now)), Err),
        })
        .collect();
    let fit: Vec<&Foreseen> = foreseen.iter().filter(|foreseen| foreseen.times.is_ok()).collect();
    let measured: Vec<(&SiteName, Millis)> = fit
        .iter()
        .filter_map(|foreseen| Some((&foreseen.site, foreseen.times.as_ref().ok()?.as_ref()?.finishes)))
        .collect();
    let placed = wanted.placed.as_ref().filter(|placed| fit.iter().any(|one| one.site == **placed));
    let (site, because) = if let [only] = fit[..] {
        (only.site.clone(), Because::Only)
    } else if measured.len() == fit.len() && !fit.is_empty() {
        soonest(&measured, placed, now)
    } else if let Some(placed) = placed {
        (placed.clone(), Because::Stays)
    } else {
        let shortest = fit.iter().min_by_key(|one| one.backlog).map(|one| one.site.clone());
        let Some(site) = shortest else {
            let why = |one: Foreseen| one.times.err().map(|why| (one.site, why));
            return Err(Nowhere(foreseen.into_iter().filter_map(why).collect()));
        };
        (site, Because::ShortestBacklog)
    };
    Ok(Decision { site, because, foreseen, at: now })
}

fn soonest(measured: &[(&SiteName, Millis)], placed: Option<&SiteName>, now: Millis) -> (SiteName, Because) {
    let (mut site, mut because) = (measured[0].0, Because::Soonest);
    let mut best = measured[0].1;
    for (other, finishes) in &measured[1..] {
        if *finishes < best {
            (site, best) = (other, *finishes);
        }
    }
    if let Some((placed, finishes)) = measured.iter().find(|(site, _)| Some(*site) == placed)
        && *placed != site
    {
        let left = finishes.since(now);
        let saved = finishes.since(best);
        if saved < SAVED_LEAST || saved.as_secs_f64() < SAVED_SHARE * left.as_secs_f64() {
            (site, because) = (placed, Because::Stays);
        }
    }
    (site.clone(), because)
}
