//! From TOML to [`Config`]: names and defaults of all settings, and what must agree between them.
//! Goes on after a fault, so that all are found.

pub(super) mod places;

use std::collections::BTreeMap;
use std::time::Duration;

use lightrail_topics::SiteName;
use toml::de::DeTable;

use super::read::{Book, Fault, Section};
use super::setting::{List, Property as PropertyText, Size, Url};
use super::{
    Breaker, Config, Http, Journal, Kafka, Log, LogFormat, Logbook, LogbookTopics, Patience, Property, Retry,
    Secret, SecretSource, Shutdown, Sweep, Watch,
};

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

/// Properties that the mover sets itself: another value would break what it promises.
const OURS: [&str; 11] = [
    "auto.offset.reset",
    "bootstrap.servers",
    "client.id",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.idempotence",
    "group.id",
    "group.instance.id",
    "group.protocol",
    "isolation.level",
    "transactional.id",
];

/// Properties that must not stand in the file themselves.
const SECRETS: [&str; 6] = [
    "sasl.password",
    "sasl.oauthbearer.client.secret",
    "sasl.oauthbearer.config",
    "ssl.key.password",
    "ssl.keystore.password",
    "ssl.key.pem",
];

pub(super) fn parse(text: &str) -> Result<Config, Vec<Fault>> {
    let book = Book::new(text);
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        let line = error.span().map_or(1, |span| book.line(span.start));
        book.fault(line, "", format!("is no TOML: {}", error.message().replace('\n', ", ")));
    }
    let config = whole(&book, table.get_ref());
    let faults = book.into_faults();
    match config {
        Some(config) if faults.is_empty() => Ok(config),
        _ => Err(faults),
    }
}

/// The whole file. `None` only when a fault was noted.
pub(super) fn whole<'t>(book: &Book<'t>, table: &DeTable<'t>) -> Option<Config> {
    let top = Section::new(book, "", 1, Some(table));
    let mover = top.required("mover");
    let host = top.optional("host");
    let source: Option<SiteName> = top.required("source");
    let start_from = top.optional("start_from");
    let kafka = kafka(top.section("kafka"));
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
    let log = log(top.section("log"));
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

fn kafka(section: Section<'_, '_>) -> Option<Kafka> {
    let bootstrap = section.required::<List<_>>("bootstrap").map(|list| list.0);
    if bootstrap.as_ref().is_some_and(Vec::is_empty) {
        section.fault("bootstrap", "names no broker");
    }
    let prefix: String = section.optional("prefix").unwrap_or_default();
    topic_name(&section, "prefix", &prefix);
    let partitions = section.or("partitions", 4);
    let replication = section.optional("replication");
    let properties = properties(section.section("properties"));
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
    Some(Kafka { bootstrap: bootstrap?, prefix, partitions, replication, properties, logbook })
}

fn topic_name(section: &Section<'_, '_>, key: &str, name: &str) {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    if name.len() > 200 || !name.bytes().all(good) {
        section.fault(key, format!("`{name}` is no topic's name: up to 200 letters, digits, dots, - and _"));
    }
}

fn properties(section: Section<'_, '_>) -> BTreeMap<String, Property> {
    let mut properties = BTreeMap::new();
    for key in section.names() {
        let secret = ["_file", "_env"].iter().find_map(|end| key.strip_suffix(end).map(|name| (name, *end)));
        let (name, property) = match secret {
            Some((name, end)) => (name, secret_of(&section, name, end).map(Property::Secret)),
            None => (key.as_str(), section.optional(&key).map(|PropertyText(text)| Property::Plain(text))),
        };
        if OURS.contains(&name) {
            section.fault(&key, "is set by the mover itself; remove it");
        } else if SECRETS.contains(&name) && secret.is_none() {
            section.fault(&key, format!("is a secret; use \"{name}_file\" or \"{name}_env\""));
        } else if let Some(property) = property
            && properties.insert(name.to_owned(), property).is_some()
        {
            section.fault(&key, format!("{name} is set twice"));
        }
    }
    section.finish();
    properties
}

/// A secret named by `<name>_file` or `<name>_env`.
fn secret_of(section: &Section<'_, '_>, name: &str, end: &str) -> Option<Secret> {
    let key = format!("{name}{end}");
    let source = match end {
        "_file" => SecretSource::File(section.optional(&key)?),
        _ => SecretSource::Env(section.optional(&key)?),
    };
    Some(Secret::new(source, section.key(&key), section.line_of(&key)))
}

/// A secret that may be left out; naming it in the file itself, or twice, is a fault.
fn secret(section: &Section<'_, '_>, name: &str) -> Option<Secret> {
    let file = secret_of(section, name, "_file");
    let env = secret_of(section, name, "_env");
    if file.is_some() && env.is_some() {
        section.fault(&format!("{name}_env"), format!("{name}_file is there too; keep one"));
    }
    file.or(env)
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

fn log(section: Section<'_, '_>) -> Log {
    let log = Log {
        filter: section.or("filter", "info".to_owned()),
        format: section.or("format", LogFormat::Text),
    };
    section.finish();
    log
}
