//! The seam between what is started (a broker, a cluster's daemons) and how: as plain processes here, in containers in
//! `containers`. Whoever torments a part sees only [`Part`].

pub mod contract;
#[cfg(test)]
mod tests;

use std::time::Duration;

use async_trait::async_trait;

use crate::kafka::{Kafka, KafkaOptions};
use crate::process::{Proc, Start};
use crate::xrootd::{Cluster, ClusterOptions};

/// One running daemon and what can be done to it.
#[async_trait]
pub trait Part: Send + Sync + std::fmt::Debug {
    /// What messages call it.
    fn name(&self) -> &str;
    /// Whether it has not ended.
    fn is_running(&self) -> bool;
    /// SIGKILL; gone on return.
    fn kill(&self);
    /// SIGSTOP: hangs, with its connections open.
    fn stop(&self);
    /// SIGCONT.
    fn cont(&self);
    /// SIGTERM.
    fn term(&self);
    /// The same again on the same data.
    ///
    /// # Errors
    /// When it cannot be started.
    async fn start_again(&self) -> anyhow::Result<()>;
    /// What it has written to its standard output and error.
    fn output(&self) -> String;
}

#[async_trait]
impl Part for Proc {
    fn name(&self) -> &str {
        Self::name(self)
    }
    fn is_running(&self) -> bool {
        Self::is_running(self)
    }
    fn kill(&self) {
        Self::kill(self);
    }
    fn stop(&self) {
        Self::stop(self);
    }
    fn cont(&self) {
        Self::cont(self);
    }
    fn term(&self) {
        Self::term(self);
    }
    async fn start_again(&self) -> anyhow::Result<()> {
        Self::start_again(self)
    }
    fn output(&self) -> String {
        Self::output(self)
    }
}

/// A way to start parts.
#[async_trait]
pub trait Parts: Send + Sync {
    /// Starts one daemon. Its folder and output are the same paths for every way.
    ///
    /// # Errors
    /// When it cannot be started.
    async fn run(&self, start: Start) -> anyhow::Result<Box<dyn Part>>;

    /// Whether `java` in a started part is the one of this machine.
    fn use_this_machines_java(&self) -> bool;

    /// A Kafka broker.
    ///
    /// # Errors
    /// When it does not get ready.
    async fn kafka(&self, options: KafkaOptions) -> anyhow::Result<Kafka>;

    /// An XRootD cluster.
    ///
    /// # Errors
    /// When it does not get ready.
    async fn cluster(&self, options: ClusterOptions) -> anyhow::Result<Cluster>;
}

/// Parts as plain processes on this machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct Processes;

#[async_trait]
impl Parts for Processes {
    async fn run(&self, start: Start) -> anyhow::Result<Box<dyn Part>> {
        Ok(Box::new(Proc::start(start)?))
    }

    fn use_this_machines_java(&self) -> bool {
        true
    }

    async fn kafka(&self, options: KafkaOptions) -> anyhow::Result<Kafka> {
        Kafka::start_by(self, options).await
    }

    async fn cluster(&self, options: ClusterOptions) -> anyhow::Result<Cluster> {
        Cluster::start_by(self, options).await
    }
}

/// How long a part may take until it answers, on a machine that does other things too.
pub const READY_WITHIN: Duration = Duration::from_secs(90);
