//! A real Grid Engine on this machine: master and execution daemon of Debian's packages, unpacked and never installed. They live in a
//! mount, UTS, network and PID namespace of their own, for Grid Engine wants a host name with an address that is not the loopback's;
//! its commands enter it. The host's `/etc` stays as it is. Everything in it ends with the part.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};

use crate::packages::unpacked;
use crate::process::{Proc, Start, tail};
use crate::require::{Need, require};
use crate::scratch::Scratch;
use crate::wait;

const PACKAGES: [&str; 9] = [
    "gridengine-master",
    "gridengine-exec",
    "gridengine-client",
    "gridengine-common",
    "libtirpc3",
    "libhwloc15",
    "libdb5.3",
    "libjemalloc2",
    "libmunge2",
];

const READY_WITHIN: Duration = Duration::from_secs(60);

/// Its host, its configuration (root may submit, ends are written down at once, no job's shell reads the profile of who runs it), its
/// daemons, one queue that looks at its jobs every second and takes them however busy this machine is.
const INSIDE: &str = r#"
set -e
hostname lightrail-sge
ip link set lo up
ip address add 10.99.99.1/32 dev lo
mount --bind "$folder/hosts" /etc/hosts
mount -t overlay overlay -o "lowerdir=$root/usr:/usr" /usr
cp -a "$root/var/lib/gridengine" "$SGE_ROOT"
mkdir -p "$SGE_ROOT/default/common" "$folder/qmaster/job_scripts" "$folder/spooldb" "$folder/execd"
sed "s,^admin_user.*,admin_user none,; s,/var/spool/gridengine,$folder,; s,^binary_path.*,binary_path $bin," \
    /usr/share/gridengine/default-bootstrap >"$SGE_ROOT/default/common/bootstrap"
hostname >"$SGE_ROOT/default/common/act_qmaster"
sed "s,^min_[ug]id,& 0 #,; s,^execd_spool_dir.*,execd_spool_dir $folder/execd,; s,flush_time=00:00:15,accounting_flush_time=00:00:00 flush_time=00:00:01,;
    s,^load_report_time.*,load_report_time 00:00:01,; s,^login_shells.*,login_shells none," \
    /usr/share/gridengine/default-configuration | sed 's, #.*,,' >"$folder/configuration"
"$bin/spoolinit" berkeleydb libspoolb "$folder/spooldb" init
"$bin/spooldefaults" configuration "$folder/configuration"
"$bin/spooldefaults" complexes /usr/share/gridengine/util/resources/centry
"$bin/spooldefaults" usersets /usr/share/gridengine/util/resources/usersets
"$bin/spooldefaults" managers root
"$bin/sge_qmaster"
until "$bin/qconf" -sh; do sleep 0.1; done
"$bin/qconf" -as lightrail-sge
printf 'group_name @allhosts\nhostlist lightrail-sge\n' >"$folder/group"
"$bin/qconf" -Ahgrp "$folder/group"
"$bin/sge_execd"
"$bin/qconf" -sq | sed 's,^qname .*,qname main.q,; s,^hostlist .*,hostlist @allhosts,; s,^slots .*,slots 4,
    s,^load_thresholds .*,load_thresholds NONE,
    s,^pe_list .*,pe_list NONE,; s,^shell .*,shell /bin/bash,; s,^notify .*,notify 00:00:02,' >"$folder/queue"
"$bin/qconf" -Aq "$folder/queue"
"$bin/qconf" -ssconf | sed 's,^schedule_interval.*,schedule_interval 0:0:1,; s,^flush_\(submit\|finish\)_sec.*,flush_\1_sec 1,' \
    >"$folder/scheduler"
"$bin/qconf" -Msconf "$folder/scheduler"
echo grid engine is ready
exec sleep infinity
"#;

/// A running Grid Engine.
#[derive(Debug)]
pub struct Sge {
    // Dropped before its folder.
    proc: Proc,
    folder: Scratch,
}

/// Grid Engine where it can be started; otherwise the test is skipped and says so.
pub async fn sge(test: &str) -> Option<Sge> {
    let started = Sge::start().await;
    require(test, Need::Sge, started)
}

impl Sge {
    /// Starts one of its own; its queue takes jobs on return.
    ///
    /// # Errors
    /// Where packages cannot be had, namespaces cannot be made, or it does not get ready.
    pub async fn start() -> anyhow::Result<Self> {
        ensure!(rustix::process::geteuid().is_root(), "Grid Engine in namespaces of its own needs root");
        let root = tokio::task::spawn_blocking(|| unpacked("sge", &PACKAGES)).await??;
        let folder = Scratch::new()?;
        let hosts = "127.0.0.1 localhost\n10.99.99.1 lightrail-sge\n";
        std::fs::write(folder.path().join("hosts"), hosts).context("cannot write to the scratch folder")?;
        let environment = environment(&root, folder.path())?;
        let mut start = Start::new("sge", "unshare", folder.path())
            .args([
                "--mount",
                "--uts",
                "--net",
                "--pid",
                "--fork",
                "--kill-child",
                "--mount-proc",
                "sh",
                "-c",
                INSIDE,
            ])
            .env("root", root.as_os_str())
            .env("folder", folder.path().as_os_str());
        for (key, value) in &environment {
            start = start.env(key, value);
        }
        let sge = Self { proc: Proc::start(start)?, folder };
        sge.wrap(&environment)?;
        let ready = wait::until("Grid Engine's queue to take jobs", READY_WITHIN, async || {
            let is_ready = sge.proc.output().contains("grid engine is ready");
            (is_ready || !sge.proc.is_running()).then_some(is_ready)
        });
        let is_ready = ready.await.with_context(|| tail(&sge.proc.output(), 30))?;
        ensure!(is_ready, "it has ended: {}", tail(&sge.proc.output(), 30));
        Ok(sge)
    }

    /// The folder of its commands, which need no environment.
    pub fn commands(&self) -> PathBuf {
        self.folder.path().join("bin")
    }

    /// Commands that enter its namespaces: those of the process that made them.
    fn wrap(&self, environment: &[(&str, String)]) -> anyhow::Result<()> {
        use std::os::unix::fs::PermissionsExt as _;
        let exported: Vec<String> =
            environment.iter().map(|(key, value)| format!("{key}='{value}'")).collect();
        std::fs::create_dir_all(self.commands()).context("cannot make a folder")?;
        for command in ["qsub", "qstat", "qacct", "qdel", "qconf"] {
            let path = self.commands().join(command);
            let text = format!(
                "#!/bin/sh\nexec nsenter --target {} --mount --uts --net --wd=\"$PWD\" -- env {} /usr/lib/gridengine/{command} \"$@\"\n",
                self.proc.pid(),
                exported.join(" ")
            );
            std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))?;
        }
        Ok(())
    }
}

/// What its daemons and its commands find in their environment.
fn environment(root: &Path, folder: &Path) -> anyhow::Result<Vec<(&'static str, String)>> {
    let lib = root.join("usr/lib");
    let found = std::fs::read_dir(&lib).with_context(|| format!("no {}", lib.display()))?;
    let libraries = found
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .find(|path| path.join("libjemalloc.so.2").exists())
        .with_context(|| format!("no libjemalloc below {}", lib.display()))?;
    Ok(vec![
        ("LD_LIBRARY_PATH", format!("{}:{}", libraries.display(), lib.join("gridengine").display())),
        ("SGE_ROOT", folder.join("sge").display().to_string()),
        ("SGE_CELL", "default".to_owned()),
        // In a network of its own, so whichever.
        ("SGE_QMASTER_PORT", "6444".to_owned()),
        ("SGE_EXECD_PORT", "6445".to_owned()),
        ("bin", "/usr/lib/gridengine".to_owned()),
    ])
}
