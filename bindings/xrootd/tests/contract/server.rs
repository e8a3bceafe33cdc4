//! A real data server on a free port of this machine, killed when its guard is dropped.
//! It listens on IPv4 only: on a dual stack the peers of a third-party copy do not recognise each other on loopback.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;
use tokio::net::TcpStream;
use xrootd::{Endpoint, ErrorKind, FileSystem, Url};

/// Far above what any step here takes.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// How it copies from others; the copy program must be named last.
const TPC: &str = "ofs.tpc autorm ttl 60 120 xfr 16 streams 0 pgm /usr/bin/xrdcp --server";

/// A running data server with a store of its own.
pub(crate) struct Server {
    child: Child,
    folder: TempDir,
    pub(crate) endpoint: Endpoint,
}

impl Server {
    /// Starts one and waits until it answers.
    pub(crate) async fn start() -> Result<Self> {
        Self::start_with(TPC).await
    }

    /// With lines of the caller's for third-party copies.
    pub(crate) async fn start_with(lines: &str) -> Result<Self> {
        Self::begin(lines, None).await
    }

    /// One that talks to nobody who does not have this key.
    pub(crate) async fn start_with_key(key: &Path) -> Result<Self> {
        Self::begin(TPC, Some(key)).await
    }

    /// Now and then an `xrootd` 5.5.3 ends with a SIGSEGV before its first log line: then it is started again.
    async fn begin(lines: &str, key: Option<&Path>) -> Result<Self> {
        for _ in 0..3 {
            match Self::begin_once(lines, key).await {
                Err(error) if error.to_string().contains("SIGSEGV") => eprintln!("started again: {error:#}"),
                outcome => return outcome,
            }
        }
        Self::begin_once(lines, key).await
    }

    async fn begin_once(lines: &str, key: Option<&Path>) -> Result<Self> {
        // Not the usual temporary folder, which may lie in memory, where the server cannot keep checksums.
        let folder = tempfile::Builder::new().prefix("xrootd-contract-").tempdir_in("/var/tmp")?;
        let root = folder.path().display();
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        for part in ["store/data", "adm", "log"] {
            fs::create_dir_all(folder.path().join(part))?;
        }
        let user = nobody(&folder)?;
        let mut command = match user {
            Some((user, group)) => {
                let mut command = Command::new("setpriv");
                command.arg(format!("--reuid={user}")).arg(format!("--regid={group}"));
                command.arg("--clear-groups").arg("xrootd");
                command
            }
            None => Command::new("xrootd"),
        };
        let mut security = String::new();
        if let Some(key) = key {
            let own = folder.path().join("key");
            fs::copy(key, &own)?;
            fs::set_permissions(&own, fs::Permissions::from_mode(0o600))?;
            if let Some((user, group)) = user {
                chown(&own, Some(user), Some(group))?;
            }
            let place = own.display();
            security =
                format!("xrootd.seclib libXrdSec.so\nsec.protocol sss -s {place}\nsec.protbind * only sss\n");
            // For its copy program, which is a client.
            command.env("XrdSecSSSKT", own);
        }
        let config = folder.path().join("xrootd.cfg");
        fs::write(
            &config,
            format!(
                "all.export /data\noss.localroot {root}/store\nall.adminpath {root}/adm\nall.pidpath {root}/adm\n\
                 xrd.port {port}\nxrd.network dnr norpipa\nxrootd.chksum max 2 adler32 crc32c\n{security}{lines}\n"
            ),
        )?;
        command.args(["-I", "v4", "-l"]).arg(folder.path().join("log/log")).arg("-c").arg(&config);
        let child = command
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("starting xrootd (Debian: apt-get install xrootd-server)")?;
        let mut server = Self { child, folder, endpoint: Endpoint::new("localhost", port)? };
        server.answers().await?;
        Ok(server)
    }

    /// What it has written to its log.
    pub(crate) fn log(&self) -> Result<String> {
        Ok(fs::read_to_string(self.folder.path().join("log/log"))?)
    }

    /// How many files of its store the process has open.
    pub(crate) fn open_files(&self) -> Result<usize> {
        let store = self.folder.path().join("store");
        let open = fs::read_dir(format!("/proc/{}/fd", self.child.id()))?;
        // One that is closed meanwhile is not open.
        Ok(open
            .flatten()
            .filter_map(|fd| fs::read_link(fd.path()).ok())
            .filter(|at| at.starts_with(&store))
            .count())
    }

    async fn answers(&mut self) -> Result<()> {
        let until = Instant::now() + SOON;
        loop {
            if let Some(status) = self.child.try_wait()? {
                anyhow::bail!("xrootd ended with {status}:\n{}", self.log().unwrap_or_default());
            }
            // The port first: the library does not try again for a while what has refused it once.
            if TcpStream::connect(("127.0.0.1", self.endpoint.port())).await.is_ok() {
                match self.fs().ping(SOON).await {
                    Ok(()) => return Ok(()),
                    // It answers; whether it believes us is not the question here.
                    Err(error) if error.kind() == ErrorKind::Credential => return Ok(()),
                    Err(error) => anyhow::bail!("{error}"),
                }
            }
            ensure!(Instant::now() < until, "nobody listens yet:\n{}", self.log().unwrap_or_default());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub(crate) fn fs(&self) -> FileSystem {
        FileSystem::new(&self.endpoint)
    }

    pub(crate) fn url(&self, path: &str) -> Url {
        Url::new(&self.endpoint, path)
    }

    /// Where a path of the server lies on this machine's disk.
    pub(crate) fn on_disk(&self, path: &str) -> PathBuf {
        self.folder.path().join("store").join(path.trim_start_matches('/'))
    }

    /// Puts a file there behind the server's back, owned like the store.
    pub(crate) fn put(&self, path: &str, content: &[u8]) -> Result<()> {
        let place = self.on_disk(path);
        fs::write(&place, content)?;
        self.own(&place)
    }

    /// Puts a file of zeros there that takes no space.
    pub(crate) fn put_sparse(&self, path: &str, size: u64) -> Result<()> {
        let place = self.on_disk(path);
        fs::File::create(&place)?.set_len(size)?;
        self.own(&place)
    }

    fn own(&self, place: &Path) -> Result<()> {
        let owner = fs::metadata(self.folder.path().join("store"))?;
        chown(place, Some(owner.uid()), Some(owner.gid()))?;
        fs::set_permissions(place, fs::Permissions::from_mode(0o644))?;
        Ok(())
    }

    /// Kills the process, as a crash would.
    pub(crate) fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Stops the process, all of its threads: a server that hangs while its port still answers.
    pub(crate) async fn freeze(&self) -> Result<()> {
        self.signal("STOP")?;
        let until = Instant::now() + SOON;
        while !self.is_frozen()? {
            ensure!(Instant::now() < until, "it does not stop");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }

    /// Lets it go on.
    pub(crate) fn thaw(&self) -> Result<()> {
        self.signal("CONT")
    }

    fn is_frozen(&self) -> Result<bool> {
        for task in fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            let stat = fs::read_to_string(task?.path().join("stat"))?;
            // The state stands behind the name, which is in brackets.
            if !stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('T')) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn signal(&self, name: &str) -> Result<()> {
        let status =
            Command::new("kill").arg(format!("-{name}")).arg(self.child.id().to_string()).status()?;
        ensure!(status.success(), "kill -{name} said {status}");
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The server refuses to run as root: the user that it runs as instead, who is given the folder.
fn nobody(folder: &TempDir) -> Result<Option<(u32, u32)>> {
    if fs::metadata("/proc/self")?.uid() != 0 {
        return Ok(None);
    }
    let id = |flag: &str| -> Result<u32> {
        let said = Command::new("id").arg(flag).arg("nobody").output()?;
        Ok(String::from_utf8(said.stdout)?.trim().parse()?)
    };
    let (user, group) = (id("-u")?, id("-g")?);
    for part in ["", "store", "store/data", "adm", "log"] {
        let part = folder.path().join(part);
        chown(&part, Some(user), Some(group))?;
        fs::set_permissions(&part, fs::Permissions::from_mode(0o755))?;
    }
    Ok(Some((user, group)))
}
