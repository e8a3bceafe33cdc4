//! The text of a broker's `server.properties`, as a function of ports, folder and options. Reads and starts nothing.

use std::fmt::Write as _;
use std::path::Path;

use super::KafkaOptions;

/// What the broker's listeners are called in its own configuration.
pub(super) const SECURE: &str = "SECURE";

/// The ports of one broker.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ports {
    pub(super) plain: u16,
    pub(super) controller: u16,
    pub(super) secure: Option<u16>,
}

/// Settings of a broker for tests, in the order in which a reader looks for them.
///
/// The short session is for restarts: after SIGKILL a broker waits for its own old session (9 s by default) before
/// it opens its port. Clients may ask for sessions as short as one second. Everything has one replica.
const FIXED: &[(&str, &str)] = &[
    ("process.roles", "broker,controller"),
    ("node.id", "1"),
    ("controller.listener.names", "CONTROLLER"),
    ("inter.broker.listener.name", "PLAINTEXT"),
    ("broker.session.timeout.ms", "2000"),
    ("broker.heartbeat.interval.ms", "500"),
    ("offsets.topic.replication.factor", "1"),
    ("offsets.topic.num.partitions", "4"),
    ("transaction.state.log.replication.factor", "1"),
    ("transaction.state.log.min.isr", "1"),
    ("transaction.state.log.num.partitions", "4"),
    ("share.coordinator.state.topic.replication.factor", "1"),
    ("share.coordinator.state.topic.min.isr", "1"),
    ("group.initial.rebalance.delay.ms", "0"),
    ("group.min.session.timeout.ms", "1000"),
    ("group.consumer.min.session.timeout.ms", "3000"),
    ("group.consumer.session.timeout.ms", "6000"),
    ("group.consumer.min.heartbeat.interval.ms", "500"),
    ("group.consumer.heartbeat.interval.ms", "500"),
    ("auto.create.topics.enable", "false"),
];

pub(super) fn server_properties(
    data: &Path,
    ports: Ports,
    keystore: &Path,
    options: &KafkaOptions,
) -> String {
    let Ports { plain, controller, secure } = ports;
    let mut listeners = format!("PLAINTEXT://127.0.0.1:{plain},CONTROLLER://127.0.0.1:{controller}");
    let mut advertised = format!("PLAINTEXT://127.0.0.1:{plain}");
    if let Some(port) = secure {
        // By name: clients compare it with the certificate's.
        let listener = format!(",{SECURE}://localhost:{port}");
        listeners += &listener;
        advertised += &listener;
    }
    let mut text = String::new();
    let mut line = |key: &str, value: &str| {
        let _ = writeln!(text, "{key}={value}");
    };
    for (key, value) in FIXED {
        line(key, value);
    }
    line("controller.quorum.voters", &format!("1@127.0.0.1:{controller}"));
    line("listeners", &listeners);
    line("advertised.listeners", &advertised);
    line("log.dirs", &data.display().to_string());
    let protocols = "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SECURE:SASL_SSL";
    line("listener.security.protocol.map", protocols);
    if secure.is_some() {
        line("sasl.enabled.mechanisms", "SCRAM-SHA-256");
        line("listener.name.secure.sasl.enabled.mechanisms", "SCRAM-SHA-256");
        line(
            "listener.name.secure.scram-sha-256.sasl.jaas.config",
            "org.apache.kafka.common.security.scram.ScramLoginModule required;",
        );
        line("ssl.keystore.type", "PKCS12");
        line("ssl.keystore.location", &keystore.display().to_string());
        line("ssl.keystore.password", super::secure::STORE_PASSWORD);
    }
    // Later lines win in a properties file.
    for (key, value) in &options.broker {
        line(key, value);
    }
    text
}
