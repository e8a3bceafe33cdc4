//! `[kafka]`: how Kafka is reached and what our topics are called there.

use std::collections::BTreeMap;

use lightrail_topics::kafka::Connection;
use lightrail_topics::topic::{PrefixError, Topics};

use super::read::Section;
use super::secret::{Secret, SecretError, secret_of};
use super::value::{Door, List, PropertyText};

/// Properties that our clients set themselves: another value would break what they promise.
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

/// How Kafka is reached and what its topics are called.
#[derive(Clone, Debug, PartialEq)]
pub struct Kafka {
    /// `bootstrap`: brokers to ask first.
    pub bootstrap: Vec<Door>,
    /// `prefix`: stands before the names of our own topics; empty by default. The logbook's names are whole.
    pub prefix: String,
    /// `partitions` of the topics that `topics --create` makes, from 1.
    pub partitions: u32,
    /// `replication` of those topics; the broker's default where it is left out.
    pub replication: Option<u32>,
    /// `[kafka.properties]`: librdkafka's own names, passed through.
    pub properties: BTreeMap<String, Property>,
}

/// The value of a librdkafka property.
#[derive(Clone, Debug, PartialEq)]
pub enum Property {
    /// As it stands in the file.
    Plain(String),
    /// Read when the service starts.
    Secret(Secret),
}

impl Kafka {
    /// Reads `[kafka]`; the caller may ask for more of the section, and finishes it.
    pub fn read(section: &Section<'_, '_>) -> Option<Self> {
        let bootstrap = section.required::<List<_>>("bootstrap").map(|list| list.0);
        if bootstrap.as_ref().is_some_and(Vec::is_empty) {
            section.fault("bootstrap", "names no broker");
        }
        let prefix: String = section.optional("prefix").unwrap_or_default();
        topic_name(section, "prefix", &prefix);
        let partitions = section.or("partitions", 4);
        let replication = section.optional("replication");
        let properties = properties(section.section("properties"));
        Some(Self { bootstrap: bootstrap?, prefix, partitions, replication, properties })
    }

    /// The brokers as librdkafka wants them: `host:port,host:port`.
    pub fn bootstrap_servers(&self) -> String {
        self.bootstrap.iter().map(Door::to_string).collect::<Vec<_>>().join(",")
    }

    /// All properties for librdkafka, secrets read.
    pub fn client_properties(&self) -> Result<BTreeMap<String, String>, SecretError> {
        self.properties
            .iter()
            .map(|(name, property)| {
                let value = match property {
                    Property::Plain(text) => text.clone(),
                    Property::Secret(secret) => secret.read()?.expose().to_owned(),
                };
                Ok((name.clone(), value))
            })
            .collect()
    }

    /// A connection under this client's name, secrets read.
    pub fn connection(&self, client_id: impl Into<String>) -> Result<Connection, SecretError> {
        let plain = Connection::plain(self.bootstrap_servers(), client_id);
        Ok(Connection { properties: self.client_properties()?, ..plain })
    }

    /// The names of our topics.
    pub fn topics(&self) -> Result<Topics, PrefixError> {
        Topics::new(&self.prefix)
    }

    /// Partitions and copies as Kafka's own numbers; -1 is the broker's default.
    pub fn partitions_and_replication(&self) -> (i32, i32) {
        let number = |number: u32| i32::try_from(number).unwrap_or(i32::MAX);
        (number(self.partitions), self.replication.map_or(-1, number))
    }

    /// The secrets that the properties name.
    pub fn secrets(&self) -> impl Iterator<Item = &Secret> {
        self.properties.values().filter_map(|property| match property {
            Property::Secret(secret) => Some(secret),
            Property::Plain(_) => None,
        })
    }
}

/// Notes a fault where a setting cannot be a topic's name, or the beginning of one.
pub fn topic_name(section: &Section<'_, '_>, key: &str, name: &str) {
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
            section.fault(&key, "is set by the service itself; remove it");
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
