//! Real XRootD clusters: a redirector and its data servers, each an `xrootd` with its `cmsd`, on ports of their own.
//! Starts them in the order that makes them ready at once, and gives every daemon out to be tormented. Copies nothing.

mod server;
mod settings;
mod sss;
mod store;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, ensure};

use crate::parts::{Parts, Processes, READY_WITHIN};
use crate::ports::Port;
use crate::process::{Start, tail};
use crate::scratch::{self, Scratch};
use crate::wait;
pub use server::Server;
use settings::{MANAGER, Ports, server_name};
pub use sss::make_keytab;
pub use store::slow_checksum;

/// The folder that clusters export: an LFN's path at the site is this and the LFN.
pub const PREFIX: &str = "/data";

/// How long one daemon may take to open its port or socket.
const DAEMON_WITHIN: Duration = Duration::from_secs(30);

/// How a cluster is built.
#[derive(Debug, Clone)]
pub struct ClusterOptions {
    /// The site's name, for messages.
    pub name: String,
    /// Number of data servers.
    pub servers: usize,
    /// All servers see one store, as on a Lustre; otherwise each has its own.
    pub shared_store: bool,
    /// The key file that clients must have (from [`make_keytab`]); without one everybody is let in.
    pub sss: Option<PathBuf>,
    /// The arguments of `xrootd.chksum`; see also [`slow_checksum`].
    pub chksum: String,
    /// Third-party copies that one data server takes at a time.
    pub xfr: u32,
    /// More lines for the configuration file.
    pub extra: Vec<String>,
    /// An existing folder for the stores (a mounted small file system, a user's data); a scratch folder when absent.
    pub store: Option<PathBuf>,
}

impl Default for ClusterOptions {
    fn default() -> Self {
        Self {
            name: "SITE".to_owned(),
            servers: 2,
            shared_store: false,
            sss: None,
            chksum: "max 2 adler32 crc32c".to_owned(),
            xfr: 9,
            extra: Vec::new(),
            store: None,
        }
    }
}

impl ClusterOptions {
    /// The usual two: servers that each have their own disks (`SLAC`) ...
    pub fn separate(name: &str) -> Self {
        Self { name: name.to_owned(), ..Self::default() }
    }

    /// ... and servers that share one store (`NERSC`).
    pub fn shared(name: &str) -> Self {
        Self { name: name.to_owned(), shared_store: true, ..Self::default() }
    }
}

/// A cluster that answers through its redirector.
#[derive(Debug)]
pub struct Cluster {
    name: String,
    // Dropped in this order: daemons before the ports and folders that they use.
    redirector: Server,
    redirector_cmsd: Server,
    servers: Vec<Server>,
    cmsds: Vec<Server>,
    stores: Vec<PathBuf>,
    sss: Option<PathBuf>,
    _claims: Vec<Port>,
    scratch: Scratch,
}

/// How often a start is tried: now and then an `xrootd` 5.5.3 ends with a SIGSEGV before its first log line.
pub(super) const TRIES: u32 = 4;

/// Whether a daemon ended without a word.
pub(super) fn died_early(error: &anyhow::Error) -> bool {
    let text = format!("{error:#}");
    text.contains(server::HAS_ENDED) && text.contains(server::NO_LOG)
}

impl Cluster {
    /// Starts a cluster of processes and waits until every data server can be reached through the redirector.
    ///
    /// # Errors
    /// When a daemon cannot be started or the cluster is not ready in time; the message ends with a log.
    pub async fn start(options: ClusterOptions) -> anyhow::Result<Self> {
        Self::start_by(&Processes, options).await
    }

    /// Starts a cluster in the given way.
    ///
    /// # Errors
    /// As [`Cluster::start`].
    pub async fn start_by(parts: &dyn Parts, options: ClusterOptions) -> anyhow::Result<Self> {
        let name = options.name.clone();
        let mut left = TRIES;
        loop {
            left -= 1;
            match Self::try_start(parts, options.clone()).await {
                Err(error) if left > 0 && died_early(&error) => {
                    eprintln!("the XRootD cluster {name} is started again: {error:#}");
                }
                outcome => return outcome.with_context(|| format!("cannot start the XRootD cluster {name}")),
            }
        }
    }

    async fn try_start(parts: &dyn Parts, options: ClusterOptions) -> anyhow::Result<Self> {
        ensure!(options.servers > 0, "a cluster needs a data server");
        let scratch = Scratch::new()?;
        let folder = scratch.path().to_path_buf();
        for below in ["adm", "log", "home"] {
            scratch::make_folder_for_servers(&folder.join(below))?;
        }
        let stores = store::make(&folder, &options)?;
        if let Some(keytab) = &options.sss {
            store::copy_keytab(keytab, &folder.join("sss.keytab"))?;
        }
        let claims: Vec<Port> = (0..options.servers + 2).map(|_| Port::take()).collect::<Result<_, _>>()?;
        let numbers: Vec<u16> = claims.iter().map(Port::number).collect();
        let ports = Ports { redirector: numbers[0], manager: numbers[1], servers: numbers[2..].to_vec() };
        let config = folder.join("cluster.cfg");
        std::fs::write(&config, settings::text(&folder, &ports, &stores, &options))
            .context("cannot write the configuration")?;

        // A daemon that does not find its partner tries again only after 3 to 10 s. So: every cmsd first, the xrootds when
        // the sockets are there, the redirector when the servers have logged in.
        let daemons = Daemons {
            parts,
            folder: &folder,
            config: &config,
            site: &options.name,
            sss: options.sss.is_some(),
            stores: &stores,
        };
        let redirector_cmsd = daemons.run("cmsd", MANAGER, format!("localhost:{}", ports.manager)).await?;
        redirector_cmsd.listens().await?;
        let mut cmsds = Vec::new();
        for index in 0..options.servers {
            let name = server_name(index);
            cmsds.push(daemons.run("cmsd", &name, name.clone()).await?);
        }
        let mut servers = Vec::new();
        for (index, port) in ports.servers.iter().enumerate() {
            let name = server_name(index);
            let socket = folder.join("adm").join(&name).join(".olb/olbd.admin");
            let what = format!("its socket {}", socket.display());
            cmsds[index].lives_until(&what, async || socket.exists().then_some(())).await?;
            servers.push(daemons.run("xrootd", &name, format!("localhost:{port}")).await?);
        }
        for (server, cmsd) in servers.iter().zip(&cmsds) {
            server.listens().await?;
            cmsd.lives_until("it to log in at the manager", async || cmsd.has_logged_in().then_some(()))
                .await?;
        }
        let redirector = daemons.run("xrootd", MANAGER, format!("localhost:{}", ports.redirector)).await?;
        redirector.listens().await?;
        let cluster = Self {
            name: options.name,
            redirector,
            redirector_cmsd,
            servers,
            cmsds,
            stores,
            sss: options.sss,
            _claims: claims,
            scratch,
        };
        cluster.ready(READY_WITHIN).await?;
        Ok(cluster)
    }

    /// Waits until every data server can be reached through the redirector.
    ///
    /// # Errors
    /// When that is not so after `limit`; the message ends with the redirector's log.
    pub async fn ready(&self, limit: Duration) -> anyhow::Result<()> {
        let wanted: Vec<u16> = self.servers.iter().filter_map(|server| port_of(server.address())).collect();
        wait::until(&format!("all data servers of {} behind its redirector", self.name), limit, async || {
            if !self.cmsds.iter().all(Server::has_logged_in) {
                return None;
            }
            let located = self.xrdfs(&["locate", "*"]).await?;
            // Not `ServerPending`: one that was lost and is not back yet.
            wanted.iter().all(|port| located.contains(&format!(":{port} Server "))).then_some(())
        })
        .await
        .with_context(|| {
            let logs = [&self.redirector, &self.redirector_cmsd].map(|daemon| tail(&daemon.log(), 15));
            format!("the redirector's logs end with:\n{}", logs.join("\n"))
        })
    }

    /// The site's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The redirector's `host:port`, as it belongs into a URL.
    pub fn door(&self) -> String {
        self.redirector.address().to_owned()
    }

    /// The path that comes before an LFN.
    pub fn prefix(&self) -> &'static str {
        PREFIX
    }

    /// A file's URL at the door.
    pub fn url(&self, lfn: &str) -> String {
        format!("root://{}/{PREFIX}{lfn}", self.door())
    }

    /// The key file that clients have to name in `XrdSecSSSKT`, where the cluster wants one.
    pub fn keytab(&self) -> Option<&Path> {
        self.sss.as_deref()
    }

    /// The `xrootd` of the redirector.
    pub fn redirector(&self) -> &Server {
        &self.redirector
    }

    /// The `cmsd` of the redirector.
    pub fn redirector_cmsd(&self) -> &Server {
        &self.redirector_cmsd
    }

    /// The `xrootd` of data server `index`, from 0.
    pub fn server(&self, index: usize) -> &Server {
        &self.servers[index]
    }

    /// The `cmsd` of data server `index`, from 0.
    pub fn cmsd(&self, index: usize) -> &Server {
        &self.cmsds[index]
    }

    /// The number of data servers.
    pub fn servers(&self) -> usize {
        self.servers.len()
    }

    /// The cluster's configuration, logs and (without a folder given) stores.
    pub fn folder(&self) -> &Path {
        self.scratch.path()
    }

    /// What `xrdfs DOOR ...` answers; None when it fails or does not answer within 3 s.
    pub async fn xrdfs(&self, args: &[&str]) -> Option<String> {
        let mut command = tokio::process::Command::new("xrdfs");
        command.arg(self.door()).args(args).stdin(Stdio::null()).kill_on_drop(true);
        command.env("XRD_CONNECTIONRETRY", "1").env("XRD_CONNECTIONWINDOW", "2").env(RESOLVER.0, RESOLVER.1);
        if let Some(keytab) = &self.sss {
            command.env("XrdSecSSSKT", keytab);
        }
        let output = tokio::time::timeout(Duration::from_secs(3), command.output()).await.ok()?.ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

fn port_of(address: &str) -> Option<u16> {
    address.rsplit(':').next()?.parse().ok()
}

/// Environment of XRootD's programs. Each of them, every copy program too, asks the name server at its start how this machine's
/// own addresses are called; one that drops a question among many would be waited for 5 s. All that is needed here is in
/// `/etc/hosts`: the name server is not asked.
pub const RESOLVER: (&str, &str) = ("RES_OPTIONS", "attempts:0");

/// What all daemons of one cluster have in common.
struct Daemons<'a> {
    parts: &'a dyn Parts,
    folder: &'a Path,
    config: &'a Path,
    site: &'a str,
    sss: bool,
    stores: &'a [PathBuf],
}

impl Daemons<'_> {
    async fn run(&self, program: &str, name: &str, address: String) -> anyhow::Result<Server> {
        let path = |below: String| self.folder.join(below).into_os_string();
        let mut start = Start::new(format!("{}-{name}-{program}", self.site), program, self.folder)
            .args(["-I", "v4", "-n", name, "-l"])
            .args([path(format!("log/{program}.log")), "-c".into(), self.config.into()])
            .args(["-s".into(), path(format!("adm/{program}.{name}.pid"))])
            .env(RESOLVER.0, RESOLVER.1);
        if self.sss {
            // The copy program that a data server forks is a client of the other side.
            start = start.env("XrdSecSSSKT", path("sss.keytab".to_owned()));
        }
        start.as_nobody = true;
        start.shares = self.stores.to_vec();
        // With `-n` the log goes into a folder of that name beside the one given.
        let log = self.folder.join("log").join(name).join(format!("{program}.log"));
        Ok(Server { address, log, part: self.parts.run(start).await? })
    }
}
