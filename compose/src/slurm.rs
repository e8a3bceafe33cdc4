//! A real Slurm on this machine: munged, slurmctld and slurmd of Debian's packages, unpacked into the cache folder and never
//! installed, for they conflict with other schedulers' packages. They live in a mount, UTS and PID namespace of their own with a
//! host name of their own; the host's `/etc` stays as it is. Everything in it ends with the part. Without slurmdbd it takes every
//! account and passes over every QOS; with it (and a MariaDB) it knows those of [`ACCOUNT`] and [`QOS`], and no others.

pub mod double;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, ensure};

use crate::packages::unpacked;
use crate::ports::Port;
use crate::process::{Proc, Start, tail};
use crate::require::{Need, require};
use crate::scratch::Scratch;
use crate::wait;

/// The packages that are unpacked, with those that they need and a Debian may lack.
const PACKAGES: [&str; 13] = [
    "slurmctld",
    "slurmd",
    "slurm-client",
    "slurm-wlm-basic-plugins",
    "munge",
    "libmunge2",
    "liblua5.1-0",
    "libhwloc15",
    // qsub, qstat and qdel as torque has them, over Slurm.
    "slurm-wlm-torque",
    "libslurm-perl",
    "libslurmdb-perl",
    "libslurm38",
    "libswitch-perl",
];

/// What accounts need besides.
const ACCOUNTS: [&str; 6] =
    ["slurmdbd", "slurm-wlm-mysql-plugin", "mariadb-server-core", "libmariadb3", "libaio1", "liburing2"];

/// The account that a Slurm with accounts has,
pub const ACCOUNT: &str = "m1759";
/// and the qualities of service that its one user may ask for, with what is normal.
pub const QOS: [&str; 2] = ["realtime", "preempt"];

/// The host name inside.
const HOST: &str = "lightrail-slurm";
const READY_WITHIN: Duration = Duration::from_secs(60);

/// Names for the namespaces' own host, the daemon that Slurm looks for by a fixed path, then the daemons.
/// Daemons are called by their own names, not by those that Debian gives the files: by its name slurmctld knows that it is one, and
/// falls when it speaks to slurmdbd under another.
const INSIDE: &str = r#"
set -e
hostname lightrail-slurm
mount --bind "$folder/hosts" /etc/hosts
mount -t overlay overlay -o "lowerdir=$folder/sbin:/usr/sbin" /usr/sbin
"$root/usr/sbin/munged" --foreground --force --socket="$folder/munge.socket" --key-file="$folder/munge.key" \
    --pid-file="$folder/munged.pid" --log-file="$folder/munged.log" --seed-file="$folder/munge.seed" &
until [ -S "$folder/munge.socket" ]; do sleep 0.05; done
if [ -n "$accounts" ]; then
    database() {
        "$accounts/usr/sbin/mariadbd" --no-defaults --user=root --basedir="$accounts/usr" --datadir="$folder/db" \
            --lc-messages-dir="$accounts/usr/share/mysql" --plugin-dir="$accounts/usr/lib/mysql/plugin" --skip-networking \
            --socket="$folder/db.socket" --pid-file="$folder/db.pid" --innodb-buffer-pool-size=32M --innodb-log-file-size=16M \
            --innodb-lock-wait-timeout=900 --innodb-flush-log-at-trx-commit=2 "$@"
    }
    { printf 'create database mysql;\nuse mysql;\n'
      cat "$accounts/usr/share/mysql/mysql_system_tables.sql" "$accounts/usr/share/mysql/mysql_system_tables_data.sql" |
          sed '/@current_hostname/d'
      printf "flush privileges;\ncreate user 'slurm'@'localhost' identified by 'local';\ngrant all on *.* to 'slurm'@'localhost';\n"
    } >"$folder/tables.sql"
    database --bootstrap <"$folder/tables.sql"
    database &
    until [ -S "$folder/db.socket" ]; do sleep 0.05; done
    "$accounts/usr/sbin/slurmdbd" -D &
    manage() { "$root/usr/bin/sacctmgr" --immediate --quiet "$@" || [ $? = 1 ]; }
    until manage add cluster lightrail && "$root/usr/bin/sacctmgr" --noheader show cluster | grep -q lightrail; do sleep 0.1; done
    manage add account "$account"
    for one in $qos; do manage add qos "$one"; done
    manage add user root Account="$account" DefaultAccount="$account" QOS="normal,$(echo $qos | tr ' ' ,)"
fi
while :; do "$folder/sbin/slurmctld" -D || true; echo slurmctld is started again; sleep 0.2; done &
"$folder/sbin/slurmd" -D -N lightrail-slurm &
wait
"#;

/// A running Slurm.
#[derive(Debug)]
pub struct Slurm {
    // Dropped before its folder.
    proc: Proc,
    _ports: [Port; 3],
    folder: Scratch,
}

/// Slurm where it can be started; otherwise the test is skipped and says so.
pub async fn slurm(test: &str) -> Option<Slurm> {
    let started = Slurm::start().await;
    require(test, Need::Slurm, started)
}

/// The same with accounts.
pub async fn slurm_with_accounts(test: &str) -> Option<Slurm> {
    let started = Slurm::start_with_accounts().await;
    require(test, Need::Slurm, started)
}

impl Slurm {
    /// Starts one of its own; its node is idle on return.
    ///
    /// # Errors
    /// Where packages cannot be had, namespaces cannot be made, or it does not get ready.
    pub async fn start() -> anyhow::Result<Self> {
        Self::start_as(false).await
    }

    /// Starts one that keeps accounts, by slurmdbd on a MariaDB.
    ///
    /// # Errors
    /// As [`Slurm::start`].
    pub async fn start_with_accounts() -> anyhow::Result<Self> {
        Self::start_as(true).await
    }

    async fn start_as(with_accounts: bool) -> anyhow::Result<Self> {
        ensure!(rustix::process::geteuid().is_root(), "Slurm in namespaces of its own needs root");
        let root = tokio::task::spawn_blocking(|| unpacked("slurm-4", &PACKAGES)).await??;
        let accounts = if with_accounts {
            Some(tokio::task::spawn_blocking(|| unpacked("slurm-accounts-1", &ACCOUNTS)).await??)
        } else {
            None
        };
        let possible = Command::new("unshare")
            .args(["--mount", "--uts", "--pid", "--fork", "true"])
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .context("no unshare (package util-linux)")?;
        ensure!(possible.success(), "namespaces cannot be made here (unshare: {possible})");
        let folder = Scratch::new()?;
        let ports = [Port::take()?, Port::take()?, Port::take()?];
        let accounts = accounts.as_deref();
        prepare(&root, accounts, folder.path(), &ports)?;
        let start = Start::new("slurm", "unshare", folder.path())
            .args(["--mount", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", INSIDE])
            .env("root", root.as_os_str())
            .env("folder", folder.path().as_os_str())
            .env("LD_LIBRARY_PATH", libraries(&root, accounts)?)
            .env("SLURM_CONF", folder.path().join("slurm.conf").as_os_str())
            .env("accounts", accounts.map_or_else(Default::default, Path::as_os_str))
            .env("account", ACCOUNT)
            .env("qos", QOS.join(" "))
            // Where slurmdbd looks for its database.
            .env("MYSQL_UNIX_PORT", folder.path().join("db.socket").as_os_str());
        let slurm = Self { proc: Proc::start(start)?, _ports: ports, folder };
        let ready = wait::until("Slurm's node to be idle", READY_WITHIN, async || {
            slurm
                .run("sinfo", &["--noheader", "--format=%T"])
                .await
                .ok()
                .filter(|said| said.starts_with("idle"))
        });
        ready.await.with_context(|| tail(&slurm.proc.output(), 30))?;
        Ok(slurm)
    }

    /// The folder of its commands, which need no environment; torque's qsub, qstat and qdel are among them.
    pub fn commands(&self) -> PathBuf {
        self.folder.path().join("bin")
    }

    /// The log of completed jobs.
    pub fn jobcomp(&self) -> PathBuf {
        self.folder.path().join("jobcomp.log")
    }

    /// Runs one of its commands; what it printed.
    ///
    /// # Errors
    /// When it fails: with what it said.
    pub async fn run(&self, command: &str, arguments: &[&str]) -> anyhow::Result<String> {
        let mut running = tokio::process::Command::new(self.commands().join(command));
        let output = running.args(arguments).stdin(Stdio::null()).kill_on_drop(true).output().await?;
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        ensure!(output.status.success(), "{command} {arguments:?}: {said}");
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// What its daemons have written.
    pub fn output(&self) -> String {
        self.proc.output()
    }
}

fn library_folder(root: &Path) -> anyhow::Result<PathBuf> {
    let lib = root.join("usr/lib");
    let found = std::fs::read_dir(&lib).with_context(|| format!("no {}", lib.display()))?;
    found
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .find(|path| path.join("slurm-wlm").is_dir())
        .with_context(|| format!("no slurm-wlm below {}", lib.display()))
}

fn libraries(root: &Path, accounts: Option<&Path>) -> anyhow::Result<String> {
    let folder = library_folder(root)?;
    let mut libraries = format!("{0}:{0}/slurm-wlm", folder.display());
    if let Some(accounts) = accounts {
        let more = library_folder(accounts)?;
        // libaio is where Debian had its libraries before they moved below /usr.
        let old = accounts.join("lib").join(more.file_name().context("a folder has a name")?);
        libraries = format!("{libraries}:{}:{}", more.display(), old.display());
    }
    Ok(libraries)
}

/// Configuration, key and commands.
fn prepare(root: &Path, accounts: Option<&Path>, folder: &Path, ports: &[Port; 3]) -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    for below in ["ctld", "spool", "bin", "sbin", "db"] {
        std::fs::create_dir(folder.join(below)).with_context(|| format!("cannot make {below}"))?;
    }
    let write = |name: &str, text: &[u8], mode: u32| -> anyhow::Result<()> {
        let path = folder.join(name);
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode))?;
        Ok(())
    };
    let key: Vec<u8> = (0..1024).map(|_| fastrand::u8(..)).collect();
    write("munge.key", &key, 0o400)?;
    write("hosts", format!("127.0.0.1 localhost {HOST}\n").as_bytes(), 0o644)?;
    for daemon in ["slurmctld", "slurmd", "slurmstepd"] {
        let program = root.join("usr/sbin").join(format!("{daemon}-wlm"));
        std::os::unix::fs::symlink(program, folder.join("sbin").join(daemon))
            .context("cannot make a link")?;
    }
    let mut plugins = library_folder(root)?.join("slurm-wlm").display().to_string();
    if let Some(accounts) = accounts {
        plugins = format!("{plugins}:{}", library_folder(accounts)?.join("slurm-wlm").display());
    }
    let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    let (here, libraries) = (folder.display(), libraries(root, accounts)?);
    let [controller, node, database] = ports;
    let accounting = match accounts {
        None => "AccountingStorageType=accounting_storage/none".to_owned(),
        Some(_) => format!(
            "AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={database}
AccountingStoragePass={here}/munge.socket
AccountingStorageEnforce=associations,limits,qos"
        ),
    };
    if accounts.is_some() {
        let configuration = format!(
            "AuthType=auth/munge
AuthInfo=socket={here}/munge.socket
DbdHost={HOST}
DbdAddr=127.0.0.1
DbdPort={database}
SlurmUser=root
PidFile={here}/slurmdbd.pid
PluginDir={plugins}
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser=slurm
StoragePass=local
StorageLoc=slurm
"
        );
        write("slurmdbd.conf", configuration.as_bytes(), 0o600)?;
    }
    let configuration = format!(
        "ClusterName=lightrail
SlurmctldHost={HOST}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={here}/munge.socket,cred_expire=5
PluginDir={plugins}
SlurmctldPort={controller}
SlurmdPort={node}
SlurmctldPidFile={here}/slurmctld.pid
SlurmdPidFile={here}/slurmd.pid
StateSaveLocation={here}/ctld
SlurmdSpoolDir={here}/spool
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=2,sched_min_interval=0,defer_batch
ReturnToService=2
SlurmdParameters=config_overrides
MpiDefault=none
SwitchType=switch/none
MailProg=/bin/true
MinJobAge=300
KillWait=5
InactiveLimit=0
{accounting}
JobCompType=jobcomp/filetxt
JobCompLoc={here}/jobcomp.log
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmctldParameters=preempt_send_user_signal
JobRequeue=1
NodeName={HOST} NodeAddr=127.0.0.1 CPUs={cores} RealMemory=1000 Feature=cpu State=UNKNOWN
PartitionName=debug Nodes=ALL Default=YES MaxTime=INFINITE State=UP PriorityTier=1 PreemptMode=REQUEUE GraceTime=6
PartitionName=realtime Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=100 PreemptMode=OFF
"
    );
    write("slurm.conf", configuration.as_bytes(), 0o644)?;
    let perl = format!("{}/perl5/5.36:{}/usr/share/perl5", library_folder(root)?.display(), root.display());
    for command in ["qsub", "qstat", "qdel"] {
        let text = format!(
            "#!/bin/sh\nexport LD_LIBRARY_PATH='{libraries}' SLURM_CONF='{here}/slurm.conf' PERL5LIB='{perl}'\n\
            exec perl '{}/usr/bin/{command}' \"$@\"\n",
            root.display()
        );
        write(&format!("bin/{command}"), text.as_bytes(), 0o755)?;
    }
    for command in ["sbatch", "squeue", "scancel", "scontrol", "sinfo", "sacct", "sacctmgr"] {
        let text = format!(
            "#!/bin/sh\nexport LD_LIBRARY_PATH='{libraries}' SLURM_CONF='{here}/slurm.conf'\nexec '{}/usr/bin/{command}' \"$@\"\n",
            root.display()
        );
        write(&format!("bin/{command}"), text.as_bytes(), 0o755)?;
    }
    Ok(())
}
