//! The text of a cluster's configuration file, as a function of ports, folders and options. Reads and starts nothing.

use std::fmt::Write as _;
use std::path::Path;

use super::ClusterOptions;

/// The names by which the daemons (`-n`) find their part of the file.
pub(super) const MANAGER: &str = "man";

pub(super) fn server_name(index: usize) -> String {
    format!("ds{index}")
}

/// Port numbers of one cluster.
#[derive(Debug, Clone)]
pub(super) struct Ports {
    pub(super) redirector: u16,
    pub(super) manager: u16,
    pub(super) servers: Vec<u16>,
}

/// One file for all daemons. Traps that this text avoids: `nodnr` (third-party copy compares host names), `ofs.tpc
/// require|allow` (broken in 5.5), `cms.sched affinity randomized` (unknown in 5.5); `pgm` must come last.
pub(super) fn text(
    folder: &Path,
    ports: &Ports,
    stores: &[std::path::PathBuf],
    options: &ClusterOptions,
) -> String {
    let folder = folder.display();
    let ClusterOptions { xfr, chksum, .. } = options;
    let mut text = format!(
        "all.export {prefix}\n\
         all.adminpath {folder}/adm\n\
         all.pidpath {folder}/adm\n\
         xrd.homepath {folder}/home\n\
         xrd.network dnr norpipa\n\
         xrootd.chksum {chksum}\n\
         ofs.tpc autorm ttl 60 120 xfr {xfr} streams 0 pgm /usr/bin/xrdcp --server\n\
         all.manager localhost:{manager}\n\
         cms.delay startup 1 lookup 1 qdl 2 suspend 1\n\
         cms.space linger 0 recalc 15 min 1% 10m 2% 20m\n",
        prefix = super::PREFIX,
        manager = ports.manager,
    );
    if options.shared_store {
        // Every server sees every file at once: nobody has to be asked, and a new file costs no wait of 2 to 5 s.
        text += "cms.dfs lookup distrib mdhold 0 redirect immed\n";
    }
    if options.sss.is_some() {
        let _ = write!(
            text,
            "xrootd.seclib libXrdSec.so\nsec.protocol sss -s {folder}/sss.keytab\nsec.protbind * only sss\n"
        );
    }
    let _ = write!(
        text,
        "if named {MANAGER}\nall.role manager\noss.localroot {}\nxrd.port {} if exec xrootd\nxrd.port {} if exec cmsd\n",
        stores[0].display(),
        ports.redirector,
        ports.manager
    );
    for (index, (port, store)) in ports.servers.iter().zip(stores).enumerate() {
        let _ = write!(
            text,
            "else if named {}\nall.role server\noss.localroot {}\nxrd.port {port} if exec xrootd\n",
            server_name(index),
            store.display()
        );
    }
    text += "fi\n";
    for line in &options.extra {
        text += line;
        text.push('\n');
    }
    text
}
