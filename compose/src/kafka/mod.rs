//! One real Apache Kafka broker in KRaft mode, on a plain JVM: started on its own ports and data folder, killed, stopped
//! and started again with its data. A broker that somebody else runs (`LIGHTRAIL_KAFKA`) is used but never touched.

pub mod jars;
mod secure;
mod settings;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};

use crate::parts::{Part, Parts, Processes, READY_WITHIN};
use crate::ports::Port;
use crate::process::{Start, tail};
use crate::scratch::Scratch;
use crate::wait;
use settings::Ports;

/// Any 22 characters of base64 do; all test brokers are one another's strangers all the same, for no two share a port.
const CLUSTER_ID: &str = "bGlnaHRyYWlsLXRlc3RzIQ";

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
            Ok(bootstrap) if !bootstrap.is_empty() => Ok(Self { bootstrap, ours: None }),
            _ => Self::start(KafkaOptions::default()).await,
        }
    }

    /// Starts a broker in the given way.
    ///
    /// # Errors
    /// As [`Kafka::start`].
    pub async fn start_by(parts: &dyn Parts, options: KafkaOptions) -> anyhow::Result<Self> {
        let jars = jars::folder().await?;
        let scratch = Scratch::new()?;
        let data = options.data.clone().unwrap_or_else(|| scratch.path().join("data"));
        let (port, controller) = (Port::take()?, Port::take()?);
        let keystore = scratch.path().join("keystore.p12");
        let secure = match &options.login {
            Some(_) => Some((Port::take()?, secure::make(&keystore).await?)),
            None => None,
        };
        let ports = Ports {
            plain: port.number(),
            controller: controller.number(),
            secure: secure.as_ref().map(|(port, _)| port.number()),
        };
        let properties = scratch.path().join("server.properties");
        let text = settings::server_properties(&data, ports, &keystore, &options);
        std::fs::write(&properties, text).context("cannot write server.properties")?;
        if !data.join("meta.properties").exists() {
            format(&jars, &properties, options.login.as_ref()).await?;
        }
        let part = parts.run(start_of(&jars, scratch.path(), &properties, options.for_benchmarks)).await?;
        let bootstrap = format!("127.0.0.1:{port}");
        let broker = Broker { part, port, _controller: controller, secure, data, _scratch: scratch };
        broker.ready().await?;
        Ok(Self { bootstrap, ours: Some(broker) })
    }

    /// Where clients begin: `host:port`.
    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// The listener with TLS and SCRAM and the certificate file to trust, where one was asked for.
    pub fn secure_bootstrap(&self) -> Option<(String, &Path)> {
        let (port, certificate) = self.ours.as_ref()?.secure.as_ref()?;
        Some((format!("localhost:{port}"), certificate))
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
    #[expect(clippy::unused_async, reason = "in a container this takes the engine's time")]
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

fn start_of(jars: &Path, folder: &Path, properties: &Path, for_benchmarks: bool) -> Start {
    let speed: &[&str] = if for_benchmarks {
        &["-Xms1g", "-Xmx1g"]
    } else {
        &["-Xms256m", "-Xmx512m", "-XX:TieredStopAtLevel=1"]
    };
    Start::new("kafka", "java", folder)
        .args(speed.iter().copied())
        .args([
            "-XX:+UseSerialGC",
            "-XX:-UsePerfData",
            "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
            "-cp",
        ])
        .args([jars.join("*").into_os_string()])
        .args(["kafka.Kafka".into(), properties.as_os_str().to_owned()])
}

/// A new data folder has to be formatted; users that log in by SCRAM are written at the same time.
async fn format(jars: &Path, properties: &Path, login: Option<&Login>) -> anyhow::Result<()> {
    let mut command = tokio::process::Command::new("java");
    command
        .args(["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-XX:-UsePerfData", "-cp"])
        .arg(jars.join("*"));
    command.args(["kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c"]).arg(properties);
    if let Some(Login { user, password }) = login {
        command.args(["--add-scram", &format!("SCRAM-SHA-256=[name={user},password={password}]")]);
    }
    let output = command.stdin(std::process::Stdio::null()).kill_on_drop(true).output().await;
    let output = output.context("cannot run java: install a JRE, version 17 or newer")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "Kafka's data folder could not be formatted: {}", said.trim());
    Ok(())
}
