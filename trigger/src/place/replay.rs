//! Policies of choosing a site, scored on an experiment's measured numbers: the same arrivals and the same draws of rates and run
//! times for each policy, in virtual time. A policy sees what was measured before, never what is drawn. Nothing here decides
//! anything outside of it.

pub mod balsam;
mod bound;
mod draws;
mod policy;
mod site;
#[cfg(test)]
mod tests;

use lightrail_topics::SiteName;

pub use bound::least_makespan;
pub use draws::Draws;
pub use policy::Policy;

use policy::Placer;

/// A site as it was measured. All times are seconds.
#[derive(Clone, Debug, PartialEq)]
pub struct Measured {
    /// Its name.
    pub site: SiteName,
    /// How many jobs' data come there in a minute, in the mean.
    pub per_minute: f64,
    /// The standard deviation of that rate over its mean; it drifts log-normally.
    pub spread: f64,
    /// From a job's data until it may begin.
    pub delay: f64,
    /// How many jobs run there at once.
    pub nodes: usize,
    /// How long one runs, in the median.
    pub run: f64,
    /// From its end until its results are where they belong.
    pub after: f64,
}

impl Measured {
    /// Jobs per minute that it sustains.
    pub fn capacity(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "some nodes")]
        let nodes = self.nodes as f64;
        self.per_minute.min(60.0 * nodes / self.run)
    }
}

/// Jobs that come together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Arrival {
    /// When, seconds.
    pub at: f64,
    /// How many.
    pub jobs: usize,
}

/// What befalls a site.
#[derive(Clone, Debug, PartialEq)]
pub enum Trouble {
    /// Everybody knows from the beginning that it is out from one time to another.
    Planned(SiteName, f64, f64),
    /// Nothing comes of it any more from this time on, and nobody says so.
    Fails(SiteName, f64),
}

/// What is replayed.
#[derive(Clone, Debug, PartialEq)]
pub struct Case {
    /// The sites, in the order in which round robin goes.
    pub sites: Vec<Measured>,
    /// The jobs, in the order of their times.
    pub arrivals: Vec<Arrival>,
    /// A site with so many jobs that do not run yet is given none.
    pub most: usize,
    /// What befalls a site.
    pub troubles: Vec<Trouble>,
    /// Until when rates are drawn, seconds: long after the last result.
    pub until: f64,
}

/// What became of one job.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outcome {
    /// When it came, seconds.
    pub arrived: f64,
    /// Where its result is from, as the index of the site.
    pub site: usize,
    /// When its result was there; infinite for a job that was lost.
    pub done: f64,
}

/// Replays a case under a policy; what became of each job, in the order in which they came. Jobs that no site was given are not
/// among them.
pub fn play(case: &Case, policy: Policy, draws: &Draws) -> Vec<Outcome> {
    let mut placer = Placer::new(case, policy, draws);
    for arrival in &case.arrivals {
        placer.watch_until(arrival.at);
        placer.arrives(*arrival);
    }
    placer.watch_to_the_end();
    placer.results()
}

/// The value that so many percent of the jobs' times from arrival to result are at most.
pub fn percentile(results: &[Outcome], percent: usize) -> f64 {
    let mut times: Vec<f64> = results.iter().map(|result| result.done - result.arrived).collect();
    times.sort_by(f64::total_cmp);
    times.get(times.len().saturating_sub(1) * percent / 100).copied().unwrap_or(f64::NAN)
}

/// How many results came in each minute until a time, over all sites or one.
pub fn per_minute(results: &[Outcome], site: Option<usize>, until: f64) -> f64 {
    let of = results.iter().filter(|result| site.is_none_or(|site| result.site == site));
    let done: Vec<f64> = of.map(|result| result.done).filter(|done| *done <= until).collect();
    let (first, last) =
        done.iter().fold((f64::INFINITY, 0.0_f64), |(low, high), done| (low.min(*done), high.max(*done)));
    #[expect(clippy::cast_precision_loss, reason = "thousands")]
    let steps = done.len().saturating_sub(1) as f64;
    60.0 * steps / (last - first)
}

/// When the last result was there; infinite where a job was lost.
pub fn makespan(results: &[Outcome]) -> f64 {
    results.iter().fold(0.0, |last, result| last.max(result.done))
}
