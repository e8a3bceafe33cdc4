//! One real Apache Kafka broker in KRaft mode, on a plain JVM: started on its own ports and data folder, killed, stopped
//! and started again with its data. A broker that somebody else runs (`LIGHTRAIL_KAFKA`) is used but never touched.

pub mod access;
pub mod jars;
mod prepared;
mod secure;
mod settings;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use crate::parts::{Part, Parts, Processes, READY_WITHIN};
use crate::ports::Port;
use crate::process::{Start, tail};
use crate::scratch::Scratch;
use crate::wait;
use prepared::Prepared;
use settings::Ports;

/// What every short-lived JVM gets: a start in seconds counts, peak speed does not.
const FAST_JVM: &[&str] = &["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-XX:-UsePerfData"];

/// How a broker differs from the usual one.
#[derive(Debug, Clone, Default)]
pub struct KafkaOptions {
    /// Data of an earlier broker, or a folder to keep; a scratch folder when absent.
    pub data: Option<PathBuf>,
    /// Lines for `server.properties`, stronger than ours.
    pub broker: Vec<(String, String)>,
    /// A second listener with TLS where this user logs in by SCRAM-SHA-256.
    pub login: Option<Login>,
    /// With the JVM's full compiler and 1 GiB of heap, as benchmarks want it; tests start faster without.
    pub for_benchmarks: bool,
}

/// A user of the listener with TLS.
#[derive(Debug, Clone)]
pub struct Login {
    /// Its name.
    pub user: String,
    /// Its password.
    pub password: String,
}

/// A broker that answers.
#[derive(Debug)]
pub struct Kafka {
    bootstrap: String,
    /// None: it is somebody else's.
    ours: Option<Broker>,
}

#[derive(Debug)]
struct Broker {
    // Dropped in this order: the process before the folder and the ports that it uses.
    part: Box<dyn Part>,
    port: Port,
    _controller: Port,
    secure: Option<(Port, PathBuf)>,
    data: PathBuf,
    _scratch: Scratch,
}

impl Kafka {
    /// Starts a broker as a process and waits until it answers.
    ///
    /// # Errors
    /// When jars or a JVM are missing, or it does not answer in time; the message ends with its log.
    pub async fn start(options: KafkaOptions) -> anyhow::Result<Self> {
        Self::start_by(&Processes, options).await
    }

    /// The broker that `LIGHTRAIL_KAFKA` names, else a new one.
    ///
    /// # Errors
    /// As [`Kafka::start`].
    pub async fn named_or_start() -> anyhow::Result<Self> {
        match std::env::var("LIGHTRAIL_KAFKA") {
            Ok(bootstrap) if !bootstrap.is_empty() => Ok(Self::named(bootstrap)),
            _ => Self::start(KafkaOptions::default()).await,
        }
    }

    /// A broker that somebody else runs: used, never touched, not even looked for.
    pub fn named(bootstrap: impl Into<String>) -> Self {
        Self { bootstrap: bootstrap.into(), ours: None }
    }

    /// Starts a broker in the given way.
    ///
    /// # Errors
    /// As [`Kafka::start`].
    pub async fn start_by(parts: &dyn Parts, options: KafkaOptions) -> anyhow::Result<Self> {
        let prepared = Prepared::get().await?;
        let scratch = Scratch::new()?;
        let data = options.data.clone().unwrap_or_else(|| scratch.path().join("data"));
        let (port, controller_port) = (Port::take()?, Port::take()?);
        let keystore = scratch.path().join("keystore.p12");
        let secure = match &options.login {
            Some(_) => Some((Port::take()?, secure::make(&keystore).await?)),
            None => None,
        };
        let ports = Ports {
            plain: port.number(),
            controller: controller_port.number(),
            secure: secure.as_ref().map(|(port, _)| port.number()),
        };
        let properties = scratch.path().join("server.properties");
        let text = settings::server_properties(&data, ports, &keystore, &options);
        std::fs::write(&properties, text).context("cannot write server.properties")?;
        if !data.join("meta.properties").exists() {
            prepared.format(&data, &properties, options.login.as_ref()).await?;
        }
        let archive = prepared.archive_option().filter(|_| parts.use_this_machines_java());
        let mut start = Start::new("kafka", "java", scratch.path());
        if options.for_benchmarks {
            start = start.args(["-Xms1g", "-Xmx1g", "-XX:+UseSerialGC", "-XX:-UsePerfData"]);
        } else {
            start = start.args(FAST_JVM.iter().copied()).args(["-Xms256m", "-Xmx512m"]);
        }
        let start = start
            .args(archive)
            .args(["-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp"])
            .args([prepared.class_path, "kafka.Kafka".into(), properties.into_os_string()]);
        let start = Start { shares: vec![prepared.jars, data.clone()], ..start };
        let part = parts.run(start).await?;
        let bootstrap = format!("127.0.0.1:{port}");
        let broker = Broker { part, port, _controller: controller_port, secure, data, _scratch: scratch };
        broker.ready().await?;
        Ok(Self { bootstrap, ours: Some(broker) })
    }

    /// Where clients begin: `host:port`.
    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// Where clients of the listener with TLS and SCRAM begin, where one was asked for.
    pub fn secure_bootstrap(&self) -> Option<String> {
        let (port, _) = self.ours.as_ref()?.secure.as_ref()?;
        Some(format!("localhost:{port}"))
    }

    /// librdkafka's properties for that listener.
    pub fn secure_properties(&self, user: &str, password: &str) -> Option<BTreeMap<String, String>> {
        let (_, certificate) = self.ours.as_ref()?.secure.as_ref()?;
        let certificate = certificate.display().to_string();
        let pairs = [
            ("security.protocol", "SASL_SSL"),
            ("sasl.mechanism", "SCRAM-SHA-256"),
            ("sasl.username", user),
            ("sasl.password", password),
            ("ssl.ca.location", &certificate),
        ];
        Some(pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).into())
    }

    /// Lets a user of that listener do these things; the broker has to have been started with [`access::AUTHORIZER`].
    ///
    /// # Errors
    /// When the broker is not ours, or refuses.
    pub async fn allow(
        &self,
        user: &str,
        rules: &[(access::Resource<'_>, access::Operation)],
    ) -> anyhow::Result<()> {
        self.ours()?;
        access::allow(&self.bootstrap, user, rules).await
    }

    /// The folder with its data, for damage while it is down.
    ///
    /// # Errors
    /// When the broker is not ours.
    pub fn data(&self) -> anyhow::Result<&Path> {
        Ok(&self.ours()?.data)
    }

    /// SIGKILL.
    ///
    /// # Errors
    /// When the broker is not ours.
    #[expect(clippy::unused_async, reason = "a broker on another machine would take its time")]
    pub async fn kill(&self) -> anyhow::Result<()> {
        self.ours()?.part.kill();
        Ok(())
    }

    /// SIGSTOP: clients' connections stay and nothing answers.
    ///
    /// # Errors
    /// When the broker is not ours.
    pub fn stop(&self) -> anyhow::Result<()> {
        self.ours()?.part.stop();
        Ok(())
    }

    /// SIGCONT.
    ///
    /// # Errors
    /// When the broker is not ours.
    pub fn cont(&self) -> anyhow::Result<()> {
        self.ours()?.part.cont();
        Ok(())
    }

    /// Kills it where it still runs, and starts it again on the same data and ports; returns when it answers.
    ///
    /// # Errors
    /// When the broker is not ours or does not come back in time.
    pub async fn restart(&self) -> anyhow::Result<()> {
        let broker = self.ours()?;
        broker.part.start_again().await?;
        broker.ready().await
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        self.ours.as_ref().map(|broker| broker.part.output()).unwrap_or_default()
    }

    fn ours(&self) -> anyhow::Result<&Broker> {
        self.ours.as_ref().with_context(|| format!("the broker {} is not ours to torment", self.bootstrap))
    }
}

impl Broker {
    async fn ready(&self) -> anyhow::Result<()> {
        let port = self.port.number();
        let what = format!("Kafka to listen on port {port}");
        wait::until(&what, READY_WITHIN, async || {
            let answers = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok();
            (answers || !self.part.is_running()).then_some(answers)
        })
        .await
        .and_then(|answers| if answers { Ok(()) } else { bail!("Kafka ended instead of listening") })
        .with_context(|| format!("its log ends with:\n{}", tail(&self.part.output(), 20)))
    }
}
