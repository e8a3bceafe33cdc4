//! Where Kafka is and how to get in. Properties are librdkafka's own and passed through (TLS, SASL), except the few that
//! this module's promises rest on.

use std::collections::BTreeMap;
use std::fmt;

use rdkafka::config::{ClientConfig, RDKafkaLogLevel};

use super::error::KafkaError;

/// Where Kafka is and how to get in.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Connection {
    /// `host:port`, several with commas.
    pub bootstrap: String,
    /// librdkafka's properties: `security.protocol`, `sasl.mechanism`, `sasl.password`, `ssl.ca.location` ...
    pub properties: BTreeMap<String, String>,
    /// How the client names itself to the broker, in logs and in metrics.
    pub client_id: String,
}

/// Properties that are not passed through, since what this module promises rests on them.
const OURS: [&str; 13] = [
    "bootstrap.servers",
    "metadata.broker.list",
    "client.id",
    "group.id",
    "group.instance.id",
    "group.protocol",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "auto.offset.reset",
    "isolation.level",
    "transactional.id",
    "enable.idempotence",
    "enable.partition.eof",
];

impl Connection {
    /// A connection without TLS and passwords.
    pub fn plain(bootstrap: impl Into<String>, client_id: impl Into<String>) -> Self {
        Self { bootstrap: bootstrap.into(), properties: BTreeMap::new(), client_id: client_id.into() }
    }

    /// The same connection under another client's name.
    #[must_use]
    pub fn named(&self, client_id: impl Into<String>) -> Self {
        Self { client_id: client_id.into(), ..self.clone() }
    }

    /// Says what is wrong with the settings without any connection: a property that is ours, unknown or malformed.
    pub fn check(&self) -> Result<(), KafkaError> {
        self.config()?.create_native_config().map(drop).map_err(|error| KafkaError::settings(&error))
    }

    /// The properties common to all clients.
    pub(super) fn config(&self) -> Result<ClientConfig, KafkaError> {
        if let Some(ours) = self.properties.keys().find(|key| OURS.contains(&key.as_str())) {
            return Err(KafkaError::Settings(format!("property `{ours}` cannot be set from outside")));
        }
        if self.bootstrap.trim().is_empty() {
            return Err(KafkaError::Settings("no bootstrap server is named".to_owned()));
        }
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &self.bootstrap)
            .set("client.id", &self.client_id)
            .set("socket.keepalive.enable", "true")
            // A broker that comes back is found within two seconds instead of ten.
            .set("reconnect.backoff.max.ms", "2000")
            // librdkafka waits half of it before each further connection, also of a new client's, where nothing has failed.
            .set("reconnect.backoff.ms", "20")
            .set("topic.metadata.refresh.interval.ms", "10000");
        for (key, value) in &self.properties {
            config.set(key, value);
        }
        config.set_log_level(RDKafkaLogLevel::Info);
        Ok(config)
    }
}

// Values may be secrets; only the keys are shown.
impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("bootstrap", &self.bootstrap)
            .field("client_id", &self.client_id)
            .field("properties", &self.properties.keys().collect::<Vec<_>>())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_checked_without_a_broker_and_secrets_are_not_shown() {
        let mut connection = Connection::plain("127.0.0.1:1", "test");
        connection.properties.insert("sasl.password".into(), "hunter2".into());
        assert!(connection.check().is_ok());
        assert!(!format!("{connection:?}").contains("hunter2"));
        connection.properties.insert("sasl.pasword".into(), "x".into());
        let unknown = connection.check().unwrap_err().to_string();
        assert!(unknown.contains("sasl.pasword"), "{unknown}");
        connection.properties = [("group.id".to_owned(), "x".to_owned())].into();
        assert!(connection.check().unwrap_err().to_string().contains("group.id"));
    }
}
