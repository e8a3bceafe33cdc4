//! Deciding: rules against runs gives wanted jobs; a job's committed steps and what its scheduler was seen to say give the next
//! step. Pure: no clock, no input, nothing is sent; what is to be done comes out as [`Action`]s.
//!
//! An intent is committed before its job is submitted. A job that somebody may have submitted is looked up by its name until
//! the grace time has passed; only then it is submitted once more, and the claim that each copy makes first lets one work.

#[cfg(test)]
mod absent_tests;
mod ahead;
#[cfg(test)]
mod ahead_tests;
mod allocation;
#[cfg(test)]
mod beam_tests;
mod book;
mod failover;
mod fire;
mod life;
mod moving;
mod outlook;
mod placing;
mod pools;
mod rehearse;
mod retries;
mod room;
#[cfg(test)]
mod rule_tests;
mod runs;
#[cfg(test)]
mod site_tests;
mod sites;
mod sizing;
#[cfg(test)]
mod tests;
mod wanted;
mod when;

use std::collections::BTreeSet;

use lightrail_topics::events::{
    Class, Dataset, FacilityStatus, Indexed, Job, ResultsOf, RouteOverride, Rule, RunRange,
};
use lightrail_topics::{
    DatasetName, Experiment, GroupName, JobName, Lfn, Millis, RuleName, RunAtSite, RunInTrial, RunKey,
    SiteName, TagName,
};

pub use book::{Book, Limits};
pub use fire::{Condition, What};
pub use life::{Life, Phase};
pub use moving::{MOVES, MOVES_WITHIN};
pub use pools::Pool;
pub use rehearse::{Fired, rehearse};
pub use runs::{AtSite, Belongs, Nonrec, Run, Said, Tally};
pub use sites::TransferSeen;
pub use when::Verdict;

use crate::executor::{Ending, SchedulerId, Sighting, SubmitFault};

/// What a decider is told.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// A rule was put on its topic, or taken away.
    Rule(RuleName, Option<Rule>),
    /// All tags of a run.
    Tags(RunKey, BTreeSet<TagName>),
    /// Runs that belong together; none takes the group away.
    Group(Experiment, GroupName, Option<Vec<RunRange>>),
    /// A dataset; none takes it away.
    Dataset(Experiment, DatasetName, Option<Dataset>),
    /// The logbook has said something of a run.
    Said(RunKey, Said),
    /// A file of a run was registered.
    Registered(RunKey, Lfn),
    /// A run takes no more data; when it ended, where that is known.
    RunEnded(RunKey, Option<Millis>),
    /// A file of a run is available at a site, with so many bytes.
    FileAvailable(RunAtSite, Lfn, u64),
    /// A file of a run is no longer at a site.
    FileGone(RunAtSite, Lfn),
    /// A run is available at a site, with these files, or was corrected; when it ended, where that is known.
    RunAvailable(RunAtSite, Tally, Option<Millis>),
    /// An ended run lacks files at a site.
    RunIncomplete {
        /// Which and where.
        run: RunAtSite,
        /// Whether all that it lacks are recorders' files.
        recorders_only: bool,
        /// When this was known.
        at: Millis,
    },
    /// A transfer's state has changed.
    Transfer(TransferSeen),
    /// How a part of a facility is, as was said on its topic.
    Facility(FacilityStatus),
    /// Where an experiment's data go for a while; none ends it.
    Override(Experiment, Option<RouteOverride>),
    /// A scheduler was asked: why it did not answer, where it did not.
    Answered(SiteName, Option<String>),
    /// So many images of a class wait at a site, to be worked.
    Backlog(SiteName, Class, u64),
    /// How far a run's images are published.
    Indexed(Indexed),
    /// An image of a run has its result.
    Result(RunInTrial),
    /// How many results runs had when a decider counted them.
    Counted(Vec<ResultsOf>),
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
    /// A job's claim is taken: no copy of it can begin to work any more.
    Fenced {
        /// The job.
        job: JobName,
        /// Whether a copy of it had begun before.
        claimed: bool,
    },
}

impl Input {
    /// The run whose rules it may make fire.
    pub fn run(&self) -> Option<&RunKey> {
        match self {
            Self::Tags(run, _)
            | Self::Said(run, _)
            | Self::Registered(run, _)
            | Self::RunEnded(run, _)
            | Self::Asked(_, run, _) => Some(run),
            Self::FileAvailable(at, ..)
            | Self::FileGone(at, _)
            | Self::RunAvailable(at, ..)
            | Self::RunIncomplete { run: at, .. } => Some(&at.run),
            Self::Indexed(indexed) => Some(&indexed.run),
            Self::Result(of) => Some(&of.run),
            Self::Transfer(seen) => Some(&seen.run),
            Self::Job(job) => job.identity.run(),
            _ => None,
        }
    }
}

/// What a decider wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Commit these steps in one transaction, and tell each as [`Input::Job`].
    Publish(Vec<Job>),
    /// Commit where an experiment's data go for a while, and tell it as [`Input::Override`].
    Route(Experiment, RouteOverride),
    /// Submit a job; its intent is committed.
    Submit(JobName),
    /// Take a job's claim, so that no copy of it begins to work.
    Fence(JobName),
    /// Have a job ended.
    End(JobName, SchedulerId, Ending),
}
