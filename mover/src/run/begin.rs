//! From the configuration to what the owner is made with. Plain translation.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use lightrail_topics::kafka::Connection;
use lightrail_topics::{SiteName, Topics};

use super::RunError;
use crate::carry::backoff::BackoffPolicy;
use crate::carry::breaker::{BreakerPolicy, Breakers};
use crate::carry::native::{Native, NativeSettings};
use crate::carry::posix::Posix;
use crate::carry::xrdcp::Xrdcp;
use crate::carry::{self, Engine, Patience};
use crate::config::{self, Config};
use crate::ledger::queue::{Limits, SiteLimits};
use crate::ledger::{ExperimentRules, Rules};
use crate::owner::Sites;
use crate::rival::Identity;

pub(super) fn identity(config: &Config) -> Identity {
    let folder =
        std::path::absolute(&config.journal.folder).unwrap_or_else(|_| config.journal.folder.clone());
    Identity {
        mover: config.mover.clone(),
        host: config.host_name(),
        folder: folder.display().to_string(),
        prefix: config.kafka.prefix.clone(),
    }
}

pub(super) fn topics(config: &Config) -> Result<Topics, RunError> {
    let refused =
        |what: String, source: Box<dyn std::error::Error + Send + Sync>| RunError::Start { what, source };
    let topics = Topics::new(&config.kafka.prefix)
        .map_err(|error| refused("topic names cannot be made".to_owned(), error.into()))?;
    let names = &config.logbook_topics;
    let prefix = names.runs.strip_suffix("runs").unwrap_or_default().to_owned();
    let expected =
        [(&names.runs, "runs"), (&names.file_catalog, "file_catalog"), (&names.experiments, "experiments")];
    for (name, base) in expected {
        if *name != format!("{prefix}{base}") {
            let what = format!("logbook topic {name} should be called {prefix}{base}, as {} is", names.runs);
            return Err(refused(what, "one prefix stands before all of the logbook's topics".into()));
        }
    }
    topics
        .with_logbook_prefix(&prefix)
        .map_err(|error| refused("topic names cannot be made".to_owned(), error.into()))
}

pub(super) fn connection(config: &Config, identity: &Identity) -> Result<Connection, RunError> {
    config.kafka.connection(identity.client_id()).map_err(|error| RunError::Start {
        what: "kafka's properties cannot be read".to_owned(),
        source: error.into(),
    })
}

pub(super) fn rules(config: &Config, identity: &Identity) -> Rules {
    let limits = Limits {
        sites: config.sites.iter().map(|(name, site)| (name.clone(), limits(site))).collect(),
        experiments: config
            .experiments
            .named
            .iter()
            .filter_map(|(experiment, rules)| Some((experiment.clone(), rules.transfers?)))
            .collect(),
    };
    let smallest = config.destinations().map(|(_, site)| site.small_below).min();
    Rules {
        source: identity.source(),
        source_site: config.source.clone(),
        experiments: config
            .experiments
            .named
            .iter()
            .map(|(experiment, rules)| (experiment.clone(), experiment_rules(rules)))
            .collect(),
        default: experiment_rules(&config.experiments.default),
        limits,
        urls: config.sites.iter().map(|(name, site)| (name.clone(), url_prefix(site))).collect(),
        small_below: smallest.unwrap_or(0),
        tries: config.retry.tries,
        settle: std::time::Duration::from_secs(5),
        has_logbook: config.logbook.is_some(),
        silent_after: config
            .logbook
            .as_ref()
            .map_or(std::time::Duration::from_secs(3600), |logbook| logbook.silent_after),
    }
}

fn limits(site: &config::Site) -> SiteLimits {
    SiteLimits {
        transfers: site.transfers,
        reserved_small: site.reserved_small,
        bytes_in_flight: site.bytes_in_flight,
        per_server: site.per_server,
    }
}

fn experiment_rules(rules: &config::ExperimentRules) -> ExperimentRules {
    ExperimentRules {
        to: rules.to.clone(),
        streaming: rules.streaming,
        not_waited_streams: rules.not_waited_streams.clone(),
        report_early: rules.report_early,
        overdue: rules.overdue,
    }
}

fn url_prefix(site: &config::Site) -> String {
    match &site.door {
        Some(door) => format!("root://{door}/{}", site.prefix),
        None => format!("file://{}", site.prefix),
    }
}

pub(super) fn sites(config: &Config) -> Sites {
    let sites: BTreeMap<SiteName, carry::Site> =
        config.sites.iter().map(|(name, site)| (name.clone(), carried_site(name, site))).collect();
    let servers: HashMap<SiteName, Vec<String>> = config
        .sites
        .iter()
        .map(|(name, site)| (name.clone(), site.servers.iter().map(config::Door::to_string).collect()))
        .collect();
    let policy = BreakerPolicy {
        failures: config.breaker.failures,
        first: config.breaker.open_for,
        ..BreakerPolicy::default()
    };
    Sites::new(sites, servers, Breakers::new(policy), config.sweep.mend_for)
}

fn carried_site(name: &SiteName, site: &config::Site) -> carry::Site {
    let door = site.door.as_ref().map(config::Door::to_string);
    let mut carried = carry::Site::new(name.clone(), door, site.prefix.clone());
    carried.verify = match site.verify {
        config::Verify::Checksum => carry::Verify::Checksum,
        config::Verify::Size => carry::Verify::Size,
    };
    carried.mode = Some(site.mode);
    carried.kinds.clone_from(&site.checksums);
    carried.recheck = site.recheck;
    carried
}

pub(super) fn patience(config: &Config) -> Patience {
    let waits = &config.patience;
    Patience {
        call: waits.call,
        look: waits.call.min(Patience::default().look),
        stall: waits.stall,
        silence: waits.silence,
        slot: waits.slot,
        close: waits.finish,
        checksum: waits.finish,
        slow_rate: waits.slowest,
        ..Patience::default()
    }
}

pub(super) fn backoff(config: &Config) -> BackoffPolicy {
    BackoffPolicy { first: config.retry.first, factor: config.retry.factor, longest: config.retry.max }
}

pub(super) fn engines(config: &Config, patience: Patience) -> HashMap<SiteName, Arc<dyn Engine>> {
    let settings = NativeSettings { patience, ..NativeSettings::default() };
    let native: Arc<dyn Engine> = Arc::new(Native::new(settings));
    config
        .sites
        .iter()
        .map(|(name, site)| {
            let engine: Arc<dyn Engine> = match site.engine {
                config::Engine::Native => native.clone(),
                config::Engine::Xrdcp => Arc::new(Xrdcp::new(Native::new(settings))),
                config::Engine::Posix => Arc::new(Posix),
            };
            (name.clone(), engine)
        })
        .collect()
}
