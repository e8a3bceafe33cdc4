//! What is done once per version of Kafka and of Java and then kept beside the jars: a formatted data folder to copy, and
//! an archive of the broker's classes that takes a second and half the processor time off every start.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Context as _, ensure};

use super::jars;
use super::settings::{self, Ports};
use super::{KafkaOptions, Login};
use crate::ports::Port;
use crate::process::{Proc, Start};
use crate::wait;

/// Any 22 characters of base64 do; test brokers never meet.
const CLUSTER_ID: &str = "bGlnaHRyYWlsLXRlc3RzIQ";

const WITHIN: Duration = Duration::from_secs(90);

/// The paths of what is kept.
#[derive(Debug, Clone)]
pub(super) struct Prepared {
    folder: PathBuf,
    /// Where the jars lie.
    pub(super) jars: PathBuf,
    /// The jars in a fixed order: the archive holds only for the same one.
    pub(super) class_path: OsString,
}

impl Prepared {
    /// Makes everything ready, fetching and preparing what is not there yet.
    pub(super) async fn get() -> anyhow::Result<Self> {
        let jars = jars::folder().await?;
        let cache = jars::cache()?;
        let folder = cache.join(format!("kafka-{}-java-{}", jars::VERSION, java_stamp()?));
        let class_path = class_path(&jars)?;
        let prepared = Self { folder, jars, class_path };
        if !prepared.folder.is_dir() {
            let _lock = jars::lock(&cache).await?;
            if !prepared.folder.is_dir() {
                prepared.make(&cache).await?;
            }
        }
        Ok(prepared)
    }

    /// The JVM's option for the archive of classes; none where this JVM could not make one.
    pub(super) fn archive_option(&self) -> Option<OsString> {
        let archive = self.folder.join("classes.jsa");
        archive.exists().then(|| option("-XX:SharedArchiveFile=", &archive))
    }

    /// Fills `data` with what a format makes. With a user for SCRAM it has to be a real format.
    pub(super) async fn format(
        &self,
        data: &Path,
        properties: &Path,
        login: Option<&Login>,
    ) -> anyhow::Result<()> {
        if login.is_some() {
            return format(&self.class_path, properties, login).await;
        }
        std::fs::create_dir_all(data).with_context(|| format!("cannot make {}", data.display()))?;
        for entry in
            std::fs::read_dir(self.folder.join("data")).context("cannot read the formatted folder")?
        {
            let entry = entry.context("cannot read the formatted folder")?;
            std::fs::copy(entry.path(), data.join(entry.file_name()))
                .with_context(|| format!("cannot write to {}", data.display()))?;
        }
        Ok(())
    }

    async fn make(&self, cache: &Path) -> anyhow::Result<()> {
        tracing::info!("preparing Kafka for quick starts, once");
        let building = tempfile::Builder::new()
            .prefix(".prepare-")
            .tempdir_in(cache)
            .context("cannot write to the cache")?;
        let kept = building.path().join("kept");
        let properties = building.path().join("server.properties");
        let (plain, controller) = (Port::take()?, Port::take()?);
        let ports = Ports { plain: plain.number(), controller: controller.number(), secure: None };
        let write = |data: &Path| {
            let text = settings::server_properties(data, ports, Path::new(""), &KafkaOptions::default());
            std::fs::write(&properties, text).context("cannot write server.properties")
        };
        write(&kept.join("data"))?;
        format(&self.class_path, &properties, None).await?;

        // The classes of one whole life: a broker that starts and ends well writes them down.
        let used = building.path().join("used");
        write(&used)?;
        format(&self.class_path, &properties, None).await?;
        let mut start = Start::new("kafka", "java", building.path()).args(super::FAST_JVM.iter().copied());
        start.args.push(option("-XX:ArchiveClassesAtExit=", &kept.join("classes.jsa")));
        start.args.extend(["-cp".into(), self.class_path.clone(), "kafka.Kafka".into(), properties.into()]);
        let broker = Proc::start(start)?;
        wait::for_port("Kafka", plain.number(), WITHIN).await.with_context(|| broker.output())?;
        broker.term();
        broker.wait_exit(WITHIN).await?;
        std::fs::rename(&kept, &self.folder)
            .with_context(|| format!("cannot put {} in place", self.folder.display()))
    }
}

fn option(name: &str, path: &Path) -> OsString {
    let mut option = OsString::from(name);
    option.push(path);
    option
}

fn class_path(jars: &Path) -> anyhow::Result<OsString> {
    let entries = std::fs::read_dir(jars).with_context(|| format!("cannot read {}", jars.display()))?;
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "jar"));
    paths.sort();
    Ok(paths.iter().map(|path| path.as_os_str()).collect::<Vec<_>>().join(":".as_ref()))
}

/// Tells one installation of Java from the next: an archive of classes holds for one only.
fn java_stamp() -> anyhow::Result<u64> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let java = std::env::split_paths(&path).map(|folder| folder.join("java")).find(|java| java.is_file());
    let java = java.context("there is no java: install a JRE, version 17 or newer")?;
    let modified = java.metadata().and_then(|about| about.modified()).context("cannot look at java")?;
    Ok(modified.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()))
}

async fn format(class_path: &OsString, properties: &Path, login: Option<&Login>) -> anyhow::Result<()> {
    let mut command = tokio::process::Command::new("java");
    command.args(super::FAST_JVM).arg("-cp").arg(class_path);
    command.args(["kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c"]).arg(properties);
    if let Some(Login { user, password }) = login {
        command.args(["--add-scram", &format!("SCRAM-SHA-256=[name={user},password={password}]")]);
    }
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output().await;
    let output = output.context("cannot run java: install a JRE, version 17 or newer")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "Kafka's data folder could not be formatted: {}", said.trim());
    Ok(())
}
