//! From TOML to [`Config`]: names and defaults of all settings, and what must agree between them.
//! Goes on after a fault, so that all are found.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use lightrail_service::settings::{Kafka, Log, Section, topic_name};
use lightrail_service::{settings_from_text, settings_from_words};
use lightrail_topics::SiteName;

use super::{Config, Decide, Place, Site};
use crate::executor::{Analysis, Header, History, Slurm, SlurmHeader, is_word};

const SECOND: Duration = Duration::from_secs(1);

#[derive(Clone, Copy)]
enum Kind {
    Local,
    Slurm,
}

/// The decider's name, as a type of this crate.
struct Name(lightrail_topics::DeciderName);

impl std::str::FromStr for Name {
    type Err = lightrail_topics::IdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

settings_from_text! { Name => "a name such as \"main\"" }
settings_from_words! {
    Kind => "\"local\" or \"slurm\"" { "local" => Kind::Local, "slurm" => Kind::Slurm },
}

/// The whole file. `None` only when a fault was noted.
pub(super) fn whole(top: Section<'_, '_>) -> Option<Config> {
    let decider = top.required("decider").map(|Name(name)| name);
    let kafka_section = top.section("kafka");
    let kafka = Kafka::read(&kafka_section);
    let logbook: Option<String> = kafka_section.optional("logbook");
    if let Some(prefix) = &logbook {
        topic_name(&kafka_section, "logbook", prefix);
    }
    kafka_section.finish();
    let sites_section = top.section("sites");
    let sites = sites(&sites_section);
    if sites.is_empty() {
        top.fault("sites", "names no site: say [sites.NERSC] and how jobs run there");
    }
    let decide = decide(top.section("decide"));
    for (name, site) in &sites {
        if let Some(Site { executor: Place::Slurm { slurm, .. }, .. }) = site
            && decide.grace <= slurm.within * 2
        {
            let text =
                format!("is too long for site {name}: decide.grace must be longer than two such calls");
            sites_section.section(name.as_str()).section("slurm").fault("within", text);
        }
    }
    let http = top.section("http");
    let listen = http.or("listen", ([127, 0, 0, 1], 8744).into());
    http.finish();
    let log = Log::read(top.section("log"));
    top.finish();
    Some(Config {
        decider: decider?,
        kafka: kafka?,
        logbook: logbook.map(|prefix| if prefix == "." { String::new() } else { prefix }),
        sites: sites.into_iter().map(|(name, site)| Some((name, site?))).collect::<Option<_>>()?,
        decide,
        listen,
        log,
    })
}

fn sites(section: &Section<'_, '_>) -> BTreeMap<SiteName, Option<Site>> {
    let mut sites = BTreeMap::new();
    for key in section.names() {
        match key.parse::<SiteName>() {
            Ok(name) => drop(sites.insert(name, site(section.section(&key)))),
            Err(why) => section.fault(&key, why.to_string()),
        }
    }
    sites
}

/// A path that nodes see: whole, and of letters that mean nothing to a scheduler.
fn plain_path(section: &Section<'_, '_>, key: &str, path: Option<PathBuf>) -> Option<PathBuf> {
    let path = path?;
    if !path.is_absolute() {
        section.fault(key, "is no absolute path");
    } else if !path.to_str().is_some_and(is_word) {
        section.fault(key, "holds what a scheduler may misread: letters, digits and . _ - + @ / only");
    }
    Some(path)
}

fn site(section: Section<'_, '_>) -> Option<Site> {
    let kind = section.or("executor", Kind::Local);
    let folder = plain_path(&section, "folder", section.required("folder"));
    let claims = plain_path(&section, "claims", section.required("claims"));
    let at_once = section.or("at_once", 10);
    let slurm = slurm(section.section("slurm"));
    let analysis_section = section.section("analysis");
    let analysis = analysis_section.is_given().then(|| {
        let program = plain_path(&analysis_section, "program", analysis_section.required("program"));
        let config = plain_path(&analysis_section, "config", analysis_section.required("config"));
        Some(Analysis { program: program?, config: config? })
    });
    if analysis.is_none() {
        // Asked for all the same, so that they are known names.
        let _ = analysis_section.optional::<PathBuf>("program");
        let _ = analysis_section.optional::<PathBuf>("config");
    }
    analysis_section.finish();
    section.finish();
    Some(Site {
        executor: match kind {
            Kind::Local => Place::Local,
            Kind::Slurm => slurm,
        },
        folder: folder?,
        claims: claims?,
        at_once,
        analysis: match analysis {
            Some(analysis) => Some(analysis?),
            None => None,
        },
    })
}

fn slurm(section: Section<'_, '_>) -> Place {
    let commands = plain_path(&section, "commands", section.optional("commands"));
    let within = section.or("within", 20 * SECOND);
    let jobcomp = plain_path(&section, "jobcomp", section.optional("jobcomp"));
    let word = |key: &str| {
        let value: Option<String> = section.optional(key);
        if value.as_deref().is_some_and(|value| !is_word(value)) {
            section.fault(key, "is no word: letters, digits and . _ - + @ / only");
        }
        value
    };
    let header = SlurmHeader {
        partition: word("partition"),
        account: word("account"),
        qos: word("qos"),
        reservation: word("reservation"),
        constraint: word("constraint"),
    };
    section.finish();
    let history = jobcomp.map_or(History::Sacct, History::Jobcomp);
    Place::Slurm { slurm: Slurm { commands, within, history }, header: Header::Slurm(header) }
}

fn decide(section: Section<'_, '_>) -> Decide {
    let decide = Decide {
        poll: section.or("poll", 5 * SECOND),
        grace: section.or("grace", 120 * SECOND),
        again: section.or("again", 30 * SECOND),
        patience: section.or("patience", 60 * SECOND),
    };
    if decide.grace <= decide.poll * 2 {
        section.fault("grace", "is not longer than two polls, in which a job must be seen");
    }
    section.finish();
    decide
}
