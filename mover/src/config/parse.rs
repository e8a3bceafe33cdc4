//! From TOML to [`Config`]: names and defaults of all settings, and what must agree between them.
//! Goes on after a fault, so that all are found.

mod places;

use std::time::Duration;

use lightrail_service::settings::{self, Fault, Kafka, Log, Section, Size, Url, secret, topic_name};
use lightrail_topics::SiteName;

use super::{
    Breaker, Config, Http, Journal, Logbook, LogbookTopics, Patience, Retry, Shutdown, Sweep, Watch,
};

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

pub(super) fn parse(text: &str) -> Result<Config, Vec<Fault>> {
    settings::parse(text, whole)
}

/// The whole file. `None` only when a fault was noted.
pub(super) fn whole(top: Section<'_, '_>) -> Option<Config> {
    let mover = top.required("mover");
    let host = top.optional("host");
    let source: Option<SiteName> = top.required("source");
    let start_from = top.optional("start_from");
    let (kafka, logbook_topics) = kafka(top.section("kafka"));
    let journal = journal(top.section("journal"));
    let sites = places::sites(&top.section("sites"));
    let names: Vec<SiteName> = sites.keys().cloned().collect();
    let experiments = places::experiments(&top.section("experiments"), &names, source.as_ref());
    let watch: Option<Vec<Watch>> = top
        .sections("watch")
        .into_iter()
        .map(|section| places::watch(section, source.as_ref(), &names))
        .collect();
    let patience = patience(top.section("patience"));
    let retry = retry(top.section("retry"));
    let breaker = breaker(top.section("breaker"));
    let logbook = logbook(top.section("logbook"));
    let http = http(top.section("http"));
    let sweep = sweep(top.section("sweep"));
    let shutdown = shutdown(top.section("shutdown"));
    let log = Log::read(top.section("log"));
    if let Some(source) = &source {
        places::agree(&top, source, &sites, &names);
    }
    top.finish();
    Some(Config {
        mover: mover?,
        host,
        source: source?,
        start_from,
        kafka: kafka?,
        logbook_topics,
        journal: journal?,
        sites: sites.into_iter().map(|(name, site)| Some((name, site?))).collect::<Option<_>>()?,
        experiments,
        watch: watch?,
        patience,
        retry,
        breaker,
        logbook: logbook?,
        http,
        sweep,
        shutdown,
        log,
    })
}

fn kafka(section: Section<'_, '_>) -> (Option<Kafka>, LogbookTopics) {
    let kafka = Kafka::read(&section);
    let names = section.section("logbook");
    let name = |key: &str| {
        let name = names.or(key, key.to_owned());
        topic_name(&names, key, &name);
        name
    };
    let logbook = LogbookTopics {
        runs: name("runs"),
        file_catalog: name("file_catalog"),
        experiments: name("experiments"),
    };
    let prefix_of = |key: &str, name: &str| name.strip_suffix(key).map(str::to_owned);
    let first = prefix_of("runs", &logbook.runs);
    for (key, name) in [
        ("runs", &logbook.runs),
        ("file_catalog", &logbook.file_catalog),
        ("experiments", &logbook.experiments),
    ] {
        if first.is_none() || prefix_of(key, name) != first {
            names.fault(key, format!("`{name}` is not `{key}` with the one prefix that all of them have"));
        }
    }
    names.finish();
    section.finish();
    (kafka, logbook)
}

fn journal(section: Section<'_, '_>) -> Option<Journal> {
    let folder = section.required("folder");
    let reserve = section.or("reserve", Size(GIB)).0;
    let cache = section.or("cache", Size(64 * MIB)).0;
    section.finish();
    Some(Journal { folder: folder?, reserve, cache })
}

fn patience(section: Section<'_, '_>) -> Patience {
    let patience = Patience {
        stall: section.or("stall", 10 * SECOND),
        silence: section.or("silence", 15 * SECOND),
        call: section.or("call", 10 * SECOND),
        slot: section.or("slot", 10 * MINUTE),
        finish: section.or("finish", MINUTE),
        slowest: section.or("slowest", Size(20 * MIB)).0,
    };
    if patience.call > patience.silence {
        section.fault("call", "is longer than silence, which could then not be kept");
    }
    section.finish();
    patience
}

fn retry(section: Section<'_, '_>) -> Retry {
    let retry = Retry {
        tries: section.or("tries", 8),
        first: section.or("first", 2 * SECOND),
        factor: section.or("factor", 2.0),
        max: section.or("max", 5 * MINUTE),
    };
    if retry.first > retry.max {
        section.fault("first", "is longer than max");
    }
    section.finish();
    retry
}

fn breaker(section: Section<'_, '_>) -> Breaker {
    let breaker =
        Breaker { failures: section.or("failures", 5), open_for: section.or("open_for", 30 * SECOND) };
    section.finish();
    breaker
}

/// Outer `None`: a fault was noted. Inner `None`: there is no logbook.
#[allow(clippy::option_option, reason = "the two are told apart once, by the one caller")]
fn logbook(section: Section<'_, '_>) -> Option<Option<Logbook>> {
    let is_given = section.is_given();
    let url = if is_given { section.required("url") } else { section.optional("url") };
    let user = section.optional("user");
    let token = secret(&section, "token");
    let report = section.or("report", true);
    let silent_after = section.or("silent_after", 30 * MINUTE);
    let answer = section.or("answer", 10 * SECOND);
    section.finish();
    if !is_given {
        return Some(None);
    }
    let Url(url) = url?;
    Some(Some(Logbook { url, user, token, report, silent_after, answer }))
}

fn http(section: Section<'_, '_>) -> Http {
    let listen = section.or("listen", ([127, 0, 0, 1], 8741).into());
    let token = secret(&section, "token");
    let secret_prefix = secret(&section, "secret_prefix");
    if !std::net::SocketAddr::ip(&listen).is_loopback() && token.is_none() {
        section
            .fault("listen", format!("{listen} can be reached from outside; give a token_file or token_env"));
    }
    section.finish();
    Http { listen, token, secret_prefix }
}

fn sweep(section: Section<'_, '_>) -> Sweep {
    let sweep = Sweep { every: section.or("every", 10 * MINUTE), mend_for: section.or("mend_for", 7 * DAY) };
    section.finish();
    sweep
}

fn shutdown(section: Section<'_, '_>) -> Shutdown {
    let shutdown = Shutdown { drain_for: section.or("drain_for", MINUTE) };
    section.finish();
    shutdown
}
