//! The second way to start the parts: each daemon in a Docker container of its own, by `testcontainers`, with the same
//! command line, the same folders and the host's network, so that addresses mean the same inside and outside.

mod engine;
mod image;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use testcontainers::core::{Mount, WaitFor};
use testcontainers::runners::AsyncRunner as _;
use testcontainers::{ContainerAsync, GenericImage, ImageExt as _};

use anyhow::Context as _;

use crate::kafka::{Kafka, KafkaOptions};
use crate::keeper;
use crate::parts::{Part, Parts};
use crate::process::Start;
use crate::scratch::NOBODY;
use crate::xrootd::{Cluster, ClusterOptions};
use engine::{docker, docker_now};
use image::Purpose;

const START_WITHIN: Duration = Duration::from_secs(60);

/// Parts in containers of an engine that answers.
#[derive(Debug, Clone)]
pub struct Containers {
    kafka_image: String,
    xrootd_image: String,
}

impl Containers {
    /// Finds or starts the engine and gets the images ready, which the first time may take minutes.
    ///
    /// # Errors
    /// When there is no engine or no image: for a test a reason to be skipped.
    pub async fn find() -> anyhow::Result<Self> {
        engine::up().await?;
        let kafka_image = image::ready(Purpose::Kafka).await?;
        let xrootd_image = image::ready(Purpose::Xrootd).await?;
        Ok(Self { kafka_image, xrootd_image })
    }
}

#[async_trait]
impl Parts for Containers {
    async fn run(&self, start: Start) -> anyhow::Result<Box<dyn Part>> {
        let image = if start.program == "java" { &self.kafka_image } else { &self.xrootd_image };
        Ok(Box::new(Container::start(image, start).await?))
    }

    fn use_this_machines_java(&self) -> bool {
        false
    }

    async fn kafka(&self, options: KafkaOptions) -> anyhow::Result<Kafka> {
        Kafka::start_by(self, options).await
    }

    async fn cluster(&self, options: ClusterOptions) -> anyhow::Result<Cluster> {
        Cluster::start_by(self, options).await
    }
}

/// One daemon in its container.
#[derive(Debug)]
struct Container {
    name: String,
    /// The engine's name for it.
    id: String,
    /// Removes the container at the drop, and returns when it is gone.
    _running: ContainerAsync<GenericImage>,
}

impl Container {
    async fn start(image: &str, start: Start) -> anyhow::Result<Self> {
        let (name, tag) = image.rsplit_once(':').unwrap_or((image, "latest"));
        let id = format!("lightrail-{}-{}-{:08x}", keeper::mark(), start.name, fastrand::u32(..));
        keeper::remove_container(&id);
        let text =
            |text: &std::ffi::OsStr| text.to_str().map(str::to_owned).context("an argument is no text");
        let args = start.args.iter().map(|arg| text(arg)).collect::<Result<Vec<_>, _>>()?;
        let mut request = GenericImage::new(name, tag)
            .with_entrypoint(&text(&start.program)?)
            .with_wait_for(WaitFor::Nothing)
            .with_cmd(args)
            .with_container_name(&id)
            .with_network("host")
            .with_user(user(start.as_nobody))
            .with_working_dir(start.folder.display().to_string())
            .with_env_var(keeper::MARK, keeper::mark())
            .with_startup_timeout(START_WITHIN);
        for folder in shared(&start) {
            let path = folder.display().to_string();
            request = request.with_mount(Mount::bind_mount(path.clone(), path));
        }
        for (key, value) in &start.env {
            request = request.with_env_var(key, text(value)?);
        }
        let running =
            request.start().await.with_context(|| format!("cannot start {} in {image}", start.name))?;
        Ok(Self { name: start.name, id, _running: running })
    }

    fn signal(&self, signal: &str) {
        // It may have ended by itself, which is no fault here.
        if let Err(error) = docker_now(&["kill", "--signal", signal, &self.id]) {
            tracing::debug!(part = self.name, signal, "{error:#}");
        }
    }
}

#[async_trait]
impl Part for Container {
    fn name(&self) -> &str {
        &self.name
    }

    fn is_running(&self) -> bool {
        docker_now(&["inspect", "--format", "{{.State.Running}}", &self.id]).is_ok_and(|said| said == "true")
    }

    fn kill(&self) {
        self.signal("KILL");
        let _ = docker_now(&["wait", &self.id]);
    }

    fn stop(&self) {
        self.signal("STOP");
    }

    fn cont(&self) {
        self.signal("CONT");
    }

    fn term(&self) {
        self.signal("TERM");
    }

    async fn start_again(&self) -> anyhow::Result<()> {
        self.kill();
        docker(&["start", &self.id], START_WITHIN).await.map(drop)
    }

    fn output(&self) -> String {
        let output = std::process::Command::new("docker").args(["logs", &self.id]).output();
        output.map_or_else(
            |_| String::new(),
            |output| {
                [output.stdout, output.stderr]
                    .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
                    .concat()
            },
        )
    }
}

/// The same user that a process would have.
fn user(as_nobody: bool) -> String {
    let (user, group) = (rustix::process::geteuid(), rustix::process::getegid());
    if as_nobody && user.is_root() {
        format!("{NOBODY}:{NOBODY}")
    } else {
        format!("{}:{}", user.as_raw(), group.as_raw())
    }
}

/// The folders that it sees, under their own names; none inside another.
fn shared(start: &Start) -> Vec<&Path> {
    let mut folders: Vec<&Path> =
        std::iter::once(start.folder.as_path()).chain(start.shares.iter().map(PathBuf::as_path)).collect();
    folders.sort_unstable();
    folders.dedup_by(|inner, outer| inner.starts_with(*outer));
    folders
}
