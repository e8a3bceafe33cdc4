//! From TOML to [`Config`]: names and defaults of all settings, and what must agree between them.
//! Goes on after a fault, so that all are found.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use lightrail_service::settings::{Kafka, Log, Prefix, Section, known_site};
use lightrail_topics::{Experiment, SiteName};

use super::{Config, ExperimentRules, Experiments, Http, Index, Place, Site, Trials, Work};

const MILLI: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

/// The whole file. `None` only when a fault was noted.
pub(super) fn whole(top: Section<'_, '_>) -> Option<Config> {
    let site: Option<SiteName> = top.required("site");
    let kafka_section = top.section("kafka");
    let kafka = Kafka::read(&kafka_section);
    kafka_section.finish();
    let sites: BTreeMap<SiteName, _> = top.section("sites").named(self::site);
    let names: Vec<SiteName> = sites.keys().cloned().collect();
    if let Some(site) = &site {
        known_site(&top, "site", site, &names);
    }
    let experiments = experiments(&top.section("experiments"), &names, site.as_ref());
    let trials = trials(top.section("trials"));
    let source = source(top.section("source"));
    let index = index(top.section("index"));
    let work = work(top.section("work"));
    let http = http(top.section("http"));
    let log = Log::read(top.section("log"));
    top.finish();
    Some(Config {
        site: site?,
        kafka: kafka?,
        sites: sites.into_iter().map(|(name, site)| Some((name, site?))).collect::<Option<_>>()?,
        experiments: experiments?,
        trials,
        source,
        index,
        work,
        http,
        log,
    })
}

fn site(section: Section<'_, '_>) -> Option<Site> {
    let folder: Option<PathBuf> = section.optional("folder");
    let door = section.optional("door");
    let prefix = section.optional("prefix").map(|Prefix(prefix)| prefix);
    let growing = section.or("growing", false);
    if folder.as_ref().is_some_and(|folder| !folder.is_absolute()) {
        section.fault("folder", "is no absolute path");
    }
    let place = match (folder, door, prefix) {
        (Some(folder), None, None) => Some(Place::Folder(folder)),
        (None, Some(door), Some(prefix)) => Some(Place::Behind { door, prefix }),
        (Some(_), _, _) => {
            section
                .fault("folder", "is there beside door or prefix; keep the one way in which files are read");
            None
        }
        (None, Some(_), None) => {
            section.fault("prefix", "is missing; a door needs what stands before the LFN in its paths");
            None
        }
        (None, None, _) => {
            section.fault("folder", "is missing; say folder = \"/path\", or door and prefix");
            None
        }
    };
    if growing && matches!(place, Some(Place::Behind { .. })) {
        section.fault("growing", "needs a folder: files that grow are followed where the DAQ writes them");
    }
    section.finish();
    Some(Site { place: place?, growing })
}

fn experiments(
    section: &Section<'_, '_>,
    sites: &[SiteName],
    here: Option<&SiteName>,
) -> Option<Experiments> {
    let base = here.map(|site| ExperimentRules { site: site.clone(), streaming: false });
    let default = experiment(section.section("default"), base.as_ref(), sites);
    let mut named = BTreeMap::new();
    for key in section.names().into_iter().filter(|key| key != "default") {
        match key.parse::<Experiment>() {
            Ok(name) => {
                if let Some(rules) = experiment(section.section(&key), default.as_ref(), sites) {
                    named.insert(name, rules);
                }
            }
            Err(why) => section.fault(&key, why.to_string()),
        }
    }
    Some(Experiments { default: default?, named })
}

fn experiment(
    section: Section<'_, '_>,
    base: Option<&ExperimentRules>,
    sites: &[SiteName],
) -> Option<ExperimentRules> {
    let site = section.optional::<SiteName>("site");
    if let Some(site) = &site {
        known_site(&section, "site", site, sites);
    }
    let streaming = section.or("streaming", base.is_some_and(|base| base.streaming));
    section.finish();
    Some(ExperimentRules { site: site.or_else(|| base.map(|base| base.site.clone()))?, streaming })
}

fn trials(section: Section<'_, '_>) -> Trials {
    let folder: PathBuf = section.or("folder", "/".into());
    if !folder.is_absolute() {
        section.fault("folder", "is no absolute path");
    }
    section.finish();
    Trials { folder }
}

fn source(section: Section<'_, '_>) -> crate::source::Settings {
    let number = |name, default: u32| section.or(name, default) as usize;
    let settings = crate::source::Settings {
        handles: number("handles", 64),
        deadline: section.or("deadline", 15 * SECOND),
        in_flight: number("in_flight", 16),
    };
    section.finish();
    settings
}

fn index(section: Section<'_, '_>) -> Index {
    let index = Index {
        batch: section.or("batch", 5000),
        look: section.or("look", 200 * MILLI),
        retry: section.or("retry", 10 * SECOND),
        patience: section.or("patience", MINUTE),
    };
    section.finish();
    index
}

fn work(section: Section<'_, '_>) -> Work {
    let work = Work {
        worker: section.optional("worker"),
        threads: section.optional("threads"),
        ahead: section.or("ahead", 8),
        results: section.or("results", 500),
        session: section.or("session", 6 * SECOND),
        transaction: section.or("transaction", 6 * SECOND),
        grace: section.or("grace", 10 * SECOND),
        hand_over: section.or("hand_over", 2 * SECOND),
        reprocess_batch: section.or("reprocess_batch", 200 * MILLI),
        failures: section.or("failures", 5),
        open_for: section.or("open_for", 10 * SECOND),
        powders: section.optional("powders"),
        powder_every: section.or("powder_every", MINUTE),
    };
    if work.hand_over >= work.session {
        section
            .fault("hand_over", "is not shorter than session, in which the group gives up a silent worker");
    }
    if work.powder_every > MINUTE {
        section.fault("powder_every", "is longer than 1m: that much a worker that is killed may lose");
    }
    section.finish();
    work
}

fn http(section: Section<'_, '_>) -> Http {
    let http = Http {
        index: section.or("index", ([127, 0, 0, 1], 8742).into()),
        work: section.or("work", ([127, 0, 0, 1], 8743).into()),
    };
    section.finish();
    http
}
