//! One circuit breaker per endpoint: after enough failures in a row nothing is sent there for a while, then one probe
//! goes out, and its outcome decides. Pure: `now` is an argument; what a failure means is asked of the fault.

use std::collections::BTreeMap;
use std::time::Duration;

use lightrail_topics::Millis;

use crate::fault::Fault;

/// When breakers open and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerPolicy {
    /// Failures in a row that open it. 5.
    pub failures: u32,
    /// How long it stays open at first; doubled by every failed probe. 10 s.
    pub first: Duration,
    /// The longest it stays open. 5 min.
    pub longest: Duration,
    /// After that long a probe that nobody reported counts as lost, and another one may go. 2 min.
    pub probe: Duration,
}

impl Default for BreakerPolicy {
    fn default() -> Self {
        Self {
            failures: 5,
            first: Duration::from_secs(10),
            longest: Duration::from_secs(300),
            probe: Duration::from_secs(120),
        }
    }
}

/// Whether something may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Nothing is known against the endpoint.
    Free,
    /// It goes alone, and what comes of it decides: its end has to be told by [`Breaker::probed`].
    Probe,
    /// Not now.
    Refused,
}

/// The state of one breaker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Breaker {
    /// All may go.
    Closed {
        /// Failures in a row so far.
        failures: u32,
    },
    /// None may go.
    Open {
        /// Since when.
        since: Millis,
        /// When a probe may go.
        until: Millis,
        /// How long it is open this time.
        pause: Duration,
        /// Why.
        why: Fault,
    },
    /// One probe is under way.
    HalfOpen {
        /// Since when it has not been closed.
        since: Millis,
        /// When the probe counts as lost.
        until: Millis,
        /// How long it was open before.
        pause: Duration,
        /// Why it was opened.
        why: Fault,
    },
}

impl Default for Breaker {
    fn default() -> Self {
        Self::Closed { failures: 0 }
    }
}

impl Breaker {
    /// When something may go next: now if the answer is not later than now.
    pub fn free_at(&self) -> Option<Millis> {
        match self {
            Self::Closed { .. } => None,
            Self::Open { until, .. } | Self::HalfOpen { until, .. } => Some(*until),
        }
    }

    /// Whether something may go now.
    pub fn admits(&self, now: Millis) -> bool {
        self.free_at().is_none_or(|at| at <= now)
    }

    /// Lets something go, if it may; what goes through a breaker that is not closed is its probe.
    pub fn admit(&mut self, now: Millis, policy: &BreakerPolicy) -> Admission {
        if !self.admits(now) {
            return Admission::Refused;
        }
        match self {
            Self::Closed { .. } => Admission::Free,
            Self::Open { since, pause, why, .. } | Self::HalfOpen { since, pause, why, .. } => {
                let (since, pause, why) = (*since, *pause, why.clone());
                *self = Self::HalfOpen { since, until: now.plus(policy.probe), pause, why };
                Admission::Probe
            }
        }
    }

    /// A probe has ended. Where neither [`Self::succeeded`] nor [`Self::failed`] said so it tells nothing of the endpoint
    /// (the file was not ready, the other side failed, somebody called it back), and the next one may go at once.
    pub fn probed(&mut self, now: Millis) {
        if let Self::HalfOpen { until, .. } = self {
            *until = now.min(*until);
        }
    }

    /// Something worked there. What was sent before it opened says nothing about now.
    pub fn succeeded(&mut self) {
        if !matches!(self, Self::Open { .. }) {
            *self = Self::default();
        }
    }

    /// Something failed there.
    pub fn failed(&mut self, fault: &Fault, now: Millis, policy: &BreakerPolicy) {
        match self {
            _ if !fault.counts_against_endpoint() => {}
            Self::Closed { failures } => {
                *failures = failures.saturating_add(1);
                if fault.opens_breaker() || *failures >= policy.failures {
                    *self = Self::opened(now, now, policy.first, fault);
                }
            }
            // Sent before it opened: known already.
            Self::Open { .. } => {}
            Self::HalfOpen { since, pause, .. } => {
                let pause = pause.saturating_mul(2).min(policy.longest);
                *self = Self::opened(*since, now, pause, fault);
            }
        }
    }

    fn opened(since: Millis, now: Millis, pause: Duration, fault: &Fault) -> Self {
        Self::Open { since, until: now.plus(pause), pause, why: fault.clone() }
    }
}

/// The breakers of all endpoints.
#[derive(Clone, Debug, Default)]
pub struct Breakers {
    policy: BreakerPolicy,
    /// Only those that are not in their first state.
    by_endpoint: BTreeMap<String, Breaker>,
}

impl Breakers {
    /// All closed.
    pub fn new(policy: BreakerPolicy) -> Self {
        Self { policy, by_endpoint: BTreeMap::new() }
    }

    /// Whether something may be sent to that endpoint now.
    pub fn admits(&self, endpoint: &str, now: Millis) -> bool {
        self.by_endpoint.get(endpoint).is_none_or(|breaker| breaker.admits(now))
    }

    /// Lets something go to that endpoint, if it may.
    pub fn admit(&mut self, endpoint: &str, now: Millis) -> Admission {
        match self.by_endpoint.get_mut(endpoint) {
            Some(breaker) => breaker.admit(now, &self.policy),
            None => Admission::Free,
        }
    }

    /// The probe of that endpoint has ended, whatever came of it.
    pub fn probed(&mut self, endpoint: &str, now: Millis) {
        if let Some(breaker) = self.by_endpoint.get_mut(endpoint) {
            breaker.probed(now);
        }
    }

    /// Something worked there.
    pub fn succeeded(&mut self, endpoint: &str) {
        if let Some(breaker) = self.by_endpoint.get_mut(endpoint) {
            breaker.succeeded();
            if *breaker == Breaker::default() {
                self.by_endpoint.remove(endpoint);
            }
        }
    }

    /// Something failed there.
    pub fn failed(&mut self, endpoint: &str, fault: &Fault, now: Millis) {
        if fault.counts_against_endpoint() {
            self.by_endpoint.entry(endpoint.to_owned()).or_default().failed(fault, now, &self.policy);
        }
    }

    /// The endpoints with something against them, for pages and metrics.
    pub fn troubled(&self) -> impl Iterator<Item = (&str, &Breaker)> {
        self.by_endpoint.iter().map(|(endpoint, breaker)| (endpoint.as_str(), breaker))
    }

    /// When the next of them may be probed.
    pub fn next_probe(&self) -> Option<Millis> {
        self.by_endpoint.values().filter_map(Breaker::free_at).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::FaultClass;

    fn fault(class: FaultClass) -> Fault {
        Fault::new(class, "test", "it failed")
    }

    const POLICY: BreakerPolicy = BreakerPolicy {
        failures: 3,
        first: Duration::from_secs(10),
        longest: Duration::from_secs(30),
        probe: Duration::from_secs(60),
    };

    #[test]
    fn it_opens_after_failures_in_a_row_and_one_probe_decides() {
        let mut breakers = Breakers::new(POLICY);
        let at = |seconds: i64| Millis(seconds * 1000);
        for _ in 0..2 {
            breakers.failed("d1", &fault(FaultClass::Transient), at(0));
        }
        breakers.succeeded("d1");
        for _ in 0..2 {
            breakers.failed("d1", &fault(FaultClass::Transient), at(0));
        }
        assert!(breakers.admits("d1", at(0)), "not in a row");
        breakers.failed("d1", &fault(FaultClass::Transient), at(0));
        assert!(breakers.admit("d1", at(9)) == Admission::Refused && breakers.admits("d2", at(9)));
        breakers.succeeded("d1");
        assert!(!breakers.admits("d1", at(9)), "sent before it opened");
        assert_eq!(breakers.admit("d1", at(10)), Admission::Probe);
        assert_eq!(breakers.admit("d1", at(10)), Admission::Refused, "one probe");
        breakers.failed("d1", &fault(FaultClass::Transient), at(11));
        assert_eq!(breakers.next_probe(), Some(at(31)), "twice as long");
        assert_eq!(breakers.admit("d1", at(31)), Admission::Probe);
        breakers.succeeded("d1");
        assert_eq!(breakers.troubled().count(), 0);
    }

    #[test]
    fn one_endpoint_wide_fault_opens_it_and_a_lost_probe_is_replaced() {
        let mut breakers = Breakers::new(POLICY);
        breakers.failed("d1", &fault(FaultClass::Integrity), Millis(0));
        assert!(breakers.admits("d1", Millis(0)));
        breakers.failed("d1", &fault(FaultClass::Endpoint), Millis(0));
        assert!(!breakers.admits("d1", Millis(0)));
        assert_eq!(breakers.admit("d1", Millis(10_000)), Admission::Probe);
        assert_eq!(breakers.admit("d1", Millis(69_999)), Admission::Refused);
        assert_eq!(breakers.admit("d1", Millis(70_000)), Admission::Probe);
    }

    #[test]
    fn a_probe_that_tells_nothing_of_the_endpoint_leaves_its_place_to_the_next() {
        let mut breakers = Breakers::new(POLICY);
        breakers.failed("d1", &fault(FaultClass::Endpoint), Millis(0));
        assert_eq!(breakers.admit("d1", Millis(10_000)), Admission::Probe);
        breakers.failed("d1", &fault(FaultClass::SourceNotReady), Millis(10_100));
        breakers.probed("d1", Millis(10_100));
        assert_eq!(breakers.admit("d1", Millis(10_100)), Admission::Probe, "no lost probe is waited for");
        breakers.failed("d1", &fault(FaultClass::Transient), Millis(10_200));
        breakers.probed("d1", Millis(10_200));
        assert_eq!(breakers.next_probe(), Some(Millis(30_200)), "what a probe did tell stands");
    }
}
