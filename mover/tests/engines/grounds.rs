//! Where the contract is tried: two sites and a way to put and read files there that does not go through the engine.

use std::path::PathBuf;

use lightrail_compose::{Cluster, ClusterOptions};
use lightrail_mover::carry::memory::{Memory, MemorySite};
use lightrail_mover::carry::{Site, SitePath};

/// Two sites and a look behind them.
pub(crate) trait Ground: Sync {
    fn from(&self) -> &Site;
    fn to(&self) -> &Site;
    /// Puts a file at a site.
    fn put(&self, site: &Site, path: &SitePath, bytes: &[u8]);
    /// Reads a file at a site.
    fn read(&self, site: &Site, path: &SitePath) -> Option<Vec<u8>>;
    /// Its permission bits.
    fn mode(&self, site: &Site, path: &SitePath) -> u32;
    /// How many bytes take a while to copy.
    fn much(&self) -> usize;
    /// Whether a rename refuses an existing target.
    fn refuses_to_replace(&self) -> bool;
}

pub(crate) struct InMemory {
    memory: Memory,
    from: Site,
    to: Site,
}

impl InMemory {
    pub(crate) fn new() -> Self {
        let site = |name: &str| Site::new(name.parse().unwrap(), Some(format!("{name}:1")), "/data");
        let (from, to) = (site("SLAC"), site("NERSC"));
        let memory = Memory::new()
            .with(&from.name, MemorySite::shared(&["s1", "s2"]))
            .with(&to.name, MemorySite::shared(&["d1", "d2"]));
        Self { memory, from, to }
    }

    pub(crate) fn engine(&self) -> &Memory {
        &self.memory
    }
}

impl Ground for InMemory {
    fn from(&self) -> &Site {
        &self.from
    }

    fn to(&self) -> &Site {
        &self.to
    }

    fn put(&self, site: &Site, path: &SitePath, bytes: &[u8]) {
        self.memory.put(&site.name, path, bytes);
    }

    fn read(&self, site: &Site, path: &SitePath) -> Option<Vec<u8>> {
        self.memory.get(&site.name, path).map(|file| file.bytes)
    }

    fn mode(&self, site: &Site, path: &SitePath) -> u32 {
        self.memory.get(&site.name, path).unwrap().mode
    }

    fn much(&self) -> usize {
        20_000_000
    }

    fn refuses_to_replace(&self) -> bool {
        false
    }
}

pub(crate) struct Folders {
    _scratch: tempfile::TempDir,
    from: Site,
    to: Site,
}

impl Folders {
    pub(crate) fn new() -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let site = |name: &str| {
            let folder = scratch.path().join(name);
            std::fs::create_dir(&folder).unwrap();
            Site::new(name.parse().unwrap(), None, folder.to_str().unwrap())
        };
        let (from, to) = (site("SLAC"), site("S3DF"));
        Self { _scratch: scratch, from, to }
    }
}

fn put(path: PathBuf, bytes: &[u8]) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, bytes).unwrap();
}

fn mode_of(path: PathBuf) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

impl Ground for Folders {
    fn from(&self) -> &Site {
        &self.from
    }

    fn to(&self) -> &Site {
        &self.to
    }

    fn put(&self, _site: &Site, path: &SitePath, bytes: &[u8]) {
        put(path.as_str().into(), bytes);
    }

    fn read(&self, _site: &Site, path: &SitePath) -> Option<Vec<u8>> {
        std::fs::read(path.as_str()).ok()
    }

    fn mode(&self, _site: &Site, path: &SitePath) -> u32 {
        mode_of(path.as_str().into())
    }

    fn much(&self) -> usize {
        400_000_000
    }

    fn refuses_to_replace(&self) -> bool {
        true
    }
}

/// SLAC, whose two servers have a store each, and NERSC, whose two share one.
pub(crate) struct Clusters {
    pub(crate) slac: Cluster,
    pub(crate) nersc: Cluster,
    from: Site,
    to: Site,
}

impl Clusters {
    pub(crate) async fn start() -> Self {
        let (slac, nersc) = tokio::try_join!(
            Cluster::start(ClusterOptions::separate("SLAC")),
            Cluster::start(ClusterOptions::shared("NERSC")),
        )
        .unwrap();
        Self::of(slac, nersc)
    }

    pub(crate) fn of(slac: Cluster, nersc: Cluster) -> Self {
        let site = |cluster: &Cluster| {
            Site::new(cluster.name().parse().unwrap(), Some(cluster.door()), cluster.prefix())
        };
        let (from, to) = (site(&slac), site(&nersc));
        Self { slac, nersc, from, to }
    }

    pub(crate) fn set_mode(&mut self, mode: u32) {
        self.to.mode = Some(mode);
    }

    fn cluster(&self, site: &Site) -> &Cluster {
        if site.name == self.from.name { &self.slac } else { &self.nersc }
    }

    fn on_disk(&self, site: &Site, server: usize, path: &SitePath) -> PathBuf {
        let below = path.as_str().strip_prefix(&site.prefix).unwrap();
        self.cluster(site).path_on(server, below)
    }
}

impl Ground for Clusters {
    fn from(&self) -> &Site {
        &self.from
    }

    fn to(&self) -> &Site {
        &self.to
    }

    fn put(&self, site: &Site, path: &SitePath, bytes: &[u8]) {
        let below = path.as_str().strip_prefix(&site.prefix).unwrap();
        self.cluster(site).write(0, below, bytes).unwrap();
    }

    fn read(&self, site: &Site, path: &SitePath) -> Option<Vec<u8>> {
        (0..2).find_map(|server| std::fs::read(self.on_disk(site, server, path)).ok())
    }

    fn mode(&self, site: &Site, path: &SitePath) -> u32 {
        mode_of(self.on_disk(site, 0, path))
    }

    fn much(&self) -> usize {
        400_000_000
    }

    fn refuses_to_replace(&self) -> bool {
        false
    }
}
