//! What the owner knows of sites from moment to moment: their data servers and which endpoints are left alone.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use lightrail_topics::{Millis, SiteName};

use crate::carry::breaker::{Admission, Breaker, Breakers};
use crate::carry::{Carried, Site};
use crate::fault::{Fault, Side};
use crate::ledger::{Doors, Order};

/// The code of a fault that is nothing but silence.
const NO_ANSWER: &str = "no-answer";

/// The sites, as configured and as experienced.
#[derive(Debug)]
pub struct Sites {
    by_name: BTreeMap<SiteName, Site>,
    servers: HashMap<SiteName, Vec<String>>,
    /// Those that have not answered since the start.
    unheard: BTreeSet<SiteName>,
    breakers: Breakers,
    mend_for: Duration,
}

/// The sites at one instant, as the planner asks for them.
#[derive(Debug)]
pub(super) struct DoorsNow<'a> {
    sites: &'a Sites,
    now: Millis,
}

impl Sites {
    /// All endpoints trusted, no server known but the configured ones.
    pub fn new(
        sites: BTreeMap<SiteName, Site>,
        servers: HashMap<SiteName, Vec<String>>,
        breakers: Breakers,
        mend_for: Duration,
    ) -> Self {
        let unheard = sites.keys().cloned().collect();
        Self { by_name: sites, servers, unheard, breakers, mend_for }
    }

    /// A site.
    pub fn site(&self, name: &SiteName) -> Option<&Site> {
        self.by_name.get(name)
    }

    /// The names of all sites.
    pub fn names(&self) -> impl Iterator<Item = &SiteName> {
        self.by_name.keys()
    }

    pub(super) fn mend_for_ms(&self) -> i64 {
        i64::try_from(self.mend_for.as_millis()).unwrap_or(i64::MAX)
    }

    /// Sites that have not answered since the start.
    pub(super) fn unheard(&self) -> impl Iterator<Item = &SiteName> {
        self.unheard.iter()
    }

    pub(super) fn learn(&mut self, site: SiteName, servers: Vec<String>) {
        self.unheard.remove(&site);
        if !servers.is_empty() && self.servers.get(&site) != Some(&servers) {
            tracing::info!(%site, servers = servers.join(","), "data servers known");
            self.servers.insert(site, servers);
        }
    }

    pub(super) fn doors(&self, now: Millis) -> DoorsNow<'_> {
        DoorsNow { sites: self, now }
    }

    /// A transfer goes. Given back are the endpoints of which it is the probe: their [`Self::probed`] is due at its end.
    pub(super) fn admitted(&mut self, order: &Order, now: Millis) -> Vec<String> {
        let sites = [&order.transfer.site, &order.from];
        // Every attempt looks at all servers of both sites that are not left alone.
        let servers = sites.iter().filter_map(|site| self.servers.get(site)).flatten().cloned();
        let endpoints: Vec<String> =
            sites.iter().map(|site| site.as_str().to_owned()).chain(servers).collect();
        let probes = endpoints
            .into_iter()
            .filter(|endpoint| matches!(self.breakers.admit(endpoint, now), Admission::Probe));
        probes.collect()
    }

    /// Probes have ended, whatever came of them.
    pub(super) fn probed(&mut self, endpoints: &[String], now: Millis) {
        for endpoint in endpoints {
            self.breakers.probed(endpoint, now);
        }
    }

    /// Servers to be used last, since they are left alone.
    pub(super) fn left_alone(&self, now: Millis) -> Vec<String> {
        let alone = self.breakers.troubled().filter(|(_, breaker)| !breaker.admits(now));
        alone.map(|(endpoint, _)| endpoint.to_owned()).collect()
    }

    /// Servers that an attempt asked: those that did not answer are left alone after some such silences, one that was left
    /// alone for its silence and has answered is trusted again.
    pub(super) fn asked(
        &mut self,
        to: &SiteName,
        from: Option<&SiteName>,
        (silent, limit): (&[(Side, String)], Duration),
        now: Millis,
    ) {
        for (side, server) in silent {
            let fault = Fault::no_answer("a look", Some(server), limit).on(*side);
            self.failed(to, from, &fault, now);
        }
        let is_silent = |server: &str| silent.iter().any(|(_, mute)| mute == server);
        let answered: Vec<String> = self
            .breakers
            .troubled()
            .filter(|(server, breaker)| {
                let for_silence = matches!(breaker, Breaker::HalfOpen { why, .. } if why.code == NO_ANSWER);
                for_silence && !is_silent(server)
            })
            .map(|(server, _)| server.to_owned())
            .collect();
        for server in answered {
            self.breakers.succeeded(&server);
        }
    }

    pub(super) fn worked(&mut self, to: &SiteName, from: Option<&SiteName>, carried: &Carried) {
        for site in [Some(to), from].into_iter().flatten() {
            self.breakers.succeeded(site.as_str());
        }
        for server in [&carried.source_server, &carried.destination_server].into_iter().flatten() {
            self.breakers.succeeded(server);
        }
    }

    /// One server's fault counts against that server while the site has others; a door's or a whole site's against the
    /// site.
    pub(super) fn failed(&mut self, to: &SiteName, from: Option<&SiteName>, fault: &Fault, now: Millis) {
        let site = match fault.side {
            Side::Source => from,
            Side::Destination => Some(to),
            Side::Neither => None,
        };
        let Some(site) = site else { return };
        match &fault.endpoint {
            Some(server)
                if self.servers.get(site).is_some_and(|known| known.len() > 1 && known.contains(server)) =>
            {
                self.breakers.failed(server, fault, now);
            }
            _ => self.breakers.failed(site.as_str(), fault, now),
        }
    }

    /// Endpoints that are left alone now, with the reason.
    pub fn troubled(&self) -> Vec<(String, String)> {
        self.breakers
            .troubled()
            .filter_map(|(endpoint, breaker)| match breaker {
                Breaker::Open { why, .. } | Breaker::HalfOpen { why, .. } => {
                    Some((endpoint.to_owned(), why.text.clone()))
                }
                Breaker::Closed { .. } => None,
            })
            .collect()
    }
}

impl Doors for DoorsNow<'_> {
    fn is_open(&self, site: &SiteName) -> bool {
        self.sites.breakers.admits(site.as_str(), self.now)
    }

    fn reason(&self, site: &SiteName) -> Option<String> {
        let troubled = self.sites.troubled();
        troubled.into_iter().find(|(endpoint, _)| endpoint == site.as_str()).map(|(_, why)| why)
    }

    fn servers(&self, site: &SiteName) -> Vec<String> {
        let all = self.sites.servers.get(site).cloned().unwrap_or_default();
        let trusted: Vec<String> =
            all.iter().filter(|server| self.sites.breakers.admits(server, self.now)).cloned().collect();
        if trusted.is_empty() { all } else { trusted }
    }
}
