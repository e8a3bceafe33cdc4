//! Deciding: rules against runs gives wanted jobs; a job's committed steps and what its scheduler was seen to say give the next
//! step. Pure: no clock, no input, nothing is sent; what is to be done comes out as [`Action`]s.
//!
//! An intent is committed before its job is submitted. A job that somebody may have submitted is looked up by its name until
//! the grace time has passed; only then it is submitted once more, and the claim that each copy makes first lets one work.

mod book;
mod fire;
mod life;
#[cfg(test)]
mod tests;

use lightrail_topics::events::{Indexed, Job, Rule};
use lightrail_topics::{JobName, RuleName, RunAtSite, RunInTrial, RunKey, SiteName};

pub use book::{AtSite, Book, Limits};
pub(crate) use fire::is_fired;
pub use fire::{Condition, Known, What};
pub use life::Phase;

use crate::executor::{Ending, SchedulerId, Sighting, SubmitFault};

/// What a decider is told.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// A rule was put on its topic, or taken away.
    Rule(RuleName, Option<Rule>),
    /// A run takes no more data.
    RunEnded(RunKey),
    /// A file of a run is available at a site.
    FileAvailable(RunAtSite),
    /// A run is available at a site, with so many files.
    RunAvailable(RunAtSite, usize),
    /// How far a run's images are published.
    Indexed(Indexed),
    /// An image of a run has its result.
    Result(RunInTrial),
    /// A step of a job was committed: by this decider now, or found at its start.
    Job(Job),
    /// A MANUAL rule is to fire for a run, for the how manieth time.
    Asked(RuleName, RunKey, u32),
    /// What became of a submission.
    Submitted(JobName, Result<SchedulerId, SubmitFault>),
    /// A site's scheduler was asked for all jobs of these names, and knows these.
    Looked {
        /// The site.
        site: SiteName,
        /// The names asked for.
        asked: Vec<JobName>,
        /// What it knows.
        seen: Vec<Sighting>,
    },
    /// No copy of the job can begin to work any more.
    Fenced(JobName),
}

/// What a decider wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Commit these steps in one transaction, and tell each as [`Input::Job`].
    Publish(Vec<Job>),
    /// Submit a job; its intent is committed.
    Submit(JobName),
    /// Take a job's claim, so that no copy of it begins to work.
    Fence(JobName),
    /// Have a job ended.
    End(JobName, SchedulerId, Ending),
}
