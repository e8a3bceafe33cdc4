//! What every engine must do, in plain functions over the trait. A new engine is done when it passes these.

use std::time::{Duration, Instant};

use adler2::adler32_slice;
use lightrail_mover::carry::{CopyOrder, Engine, Patience, Phase, Place, Progress, SitePath, Stat, SumOrder};
use lightrail_mover::fault::{Fault, FaultClass, Side};
use lightrail_topics::{Checksum, ChecksumKind, Lfn};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::grounds::Ground;

/// Everything, one after the other, in a folder of its own.
pub(crate) async fn keep_contract(engine: &dyn Engine, ground: &dyn Ground) {
    let suite =
        Suite { engine, ground, patience: Patience::default(), folder: format!("e{}", fastrand::u32(..)) };
    suite.servers_answer().await;
    suite.looks_tell_what_is_there().await;
    suite.copies_are_exact().await;
    suite.copies_never_overwrite().await;
    suite.a_missing_source_is_the_source_s_fault().await;
    suite.checksums_are_right().await;
    suite.renames_move().await;
    suite.removing_twice_is_harmless().await;
    suite.listings_are_whole().await;
    suite.modes_are_set().await;
    suite.many_copies_go_at_once().await;
    suite.a_cancelled_copy_ends_soon().await;
    suite.a_dropped_copy_harms_nobody().await;
}

struct Suite<'a> {
    engine: &'a dyn Engine,
    ground: &'a dyn Ground,
    patience: Patience,
    folder: String,
}

fn bytes(length: usize) -> Vec<u8> {
    let mut rng = fastrand::Rng::with_seed(length as u64);
    let mut bytes = vec![0; length];
    rng.fill(&mut bytes);
    bytes
}

impl Suite<'_> {
    fn lfn(&self, name: &str) -> Lfn {
        format!("/mfx/{}/xtc/{name}", self.folder).parse().unwrap()
    }

    fn here(&self, name: &str) -> SitePath {
        self.ground.from().path(&self.lfn(name))
    }

    fn there(&self, name: &str) -> SitePath {
        self.ground.to().path(&self.lfn(name))
    }

    /// The first server at which a file lies, as the flow would find it.
    async fn source(&self, path: &SitePath) -> Option<String> {
        let site = self.ground.from();
        for server in self.engine.servers(site).await.unwrap() {
            if self.engine.stat(Place { site, server: Some(&server) }, path).await.unwrap().is_some() {
                return Some(server);
            }
        }
        None
    }

    async fn target(&self) -> Option<String> {
        self.engine.servers(self.ground.to()).await.unwrap().into_iter().next()
    }

    fn at<'b>(&'b self, server: Option<&'b String>) -> Place<'b> {
        Place { site: self.ground.to(), server: server.map(String::as_str) }
    }

    async fn copy_with(
        &self,
        from_path: &SitePath,
        to_path: &SitePath,
        size: usize,
        progress: &watch::Sender<Progress>,
        cancel: &CancellationToken,
    ) -> Result<(), Fault> {
        let (source, target) = (self.source(from_path).await, self.target().await);
        let order = CopyOrder {
            from: Place { site: self.ground.from(), server: source.as_deref() },
            from_path,
            to: self.at(target.as_ref()),
            to_path,
            size: size as u64,
            patience: &self.patience,
        };
        let limit = Duration::from_secs(60);
        tokio::time::timeout(limit, self.engine.copy(order, progress, cancel))
            .await
            .expect("ends within a minute")
    }

    async fn copy(&self, from: &SitePath, to: &SitePath, size: usize) -> Result<(), Fault> {
        let (progress, _news) = watch::channel(Progress::START);
        self.copy_with(from, to, size, &progress, &CancellationToken::new()).await
    }

    async fn servers_answer(&self) {
        for site in [self.ground.from(), self.ground.to()] {
            self.engine.ping(Place { site, server: None }).await.unwrap();
            for server in self.engine.servers(site).await.unwrap() {
                self.engine.ping(Place { site, server: Some(&server) }).await.unwrap();
            }
        }
    }

    async fn looks_tell_what_is_there(&self) {
        let path = self.there("seen");
        let server = self.target().await;
        let place = self.at(server.as_ref());
        assert_eq!(self.engine.stat(place, &path).await.unwrap(), None);
        self.ground.put(self.ground.to(), &path, &bytes(1234));
        let Stat { size, mtime, folder } = self.engine.stat(place, &path).await.unwrap().unwrap();
        assert_eq!((size, folder), (1234, false));
        assert!(mtime > 1_500_000_000, "{mtime}");
        self.ground.put(self.ground.to(), &path, &bytes(4321));
        assert_eq!(self.engine.stat(place, &path).await.unwrap().unwrap().size, 4321, "asks the disk");
    }

    async fn copies_are_exact(&self) {
        for size in [0, 1, 20_000, 5_000_000] {
            let name = format!("exact-{size}");
            let (from, to) = (self.here(&name), self.there(&name));
            self.ground.put(self.ground.from(), &from, &bytes(size));
            let (progress, news) = watch::channel(Progress::START);
            self.copy_with(&from, &to, size, &progress, &CancellationToken::new()).await.unwrap();
            assert!(
                self.ground.read(self.ground.to(), &to) == Some(bytes(size)),
                "{size} bytes are the same"
            );
            assert!(
                self.ground.read(self.ground.from(), &from) == Some(bytes(size)),
                "the source is untouched"
            );
            let last = *news.borrow();
            assert!(last.bytes <= size as u64 && last.phase != Phase::Opening, "{last:?}");
        }
    }

    async fn copies_never_overwrite(&self) {
        let (from, to) = (self.here("new"), self.there("taken"));
        self.ground.put(self.ground.from(), &from, &bytes(1000));
        self.ground.put(self.ground.to(), &to, b"somebody else's");
        let fault = self.copy(&from, &to, 1000).await.unwrap_err();
        assert_eq!(fault.code, "exists", "{fault:?}");
        assert_eq!(self.ground.read(self.ground.to(), &to).unwrap(), b"somebody else's");
    }

    async fn a_missing_source_is_the_source_s_fault(&self) {
        let (from, to) = (self.here("missing"), self.there("missing"));
        let source = self.engine.servers(self.ground.from()).await.unwrap().into_iter().next();
        let target = self.target().await;
        let order = CopyOrder {
            from: Place { site: self.ground.from(), server: source.as_deref() },
            from_path: &from,
            to: self.at(target.as_ref()),
            to_path: &to,
            size: 10,
            patience: &self.patience,
        };
        let (progress, _news) = watch::channel(Progress::START);
        let fault = self.engine.copy(order, &progress, &CancellationToken::new()).await.unwrap_err();
        assert_eq!(fault.class, FaultClass::SourceNotReady, "{fault:?}");
        assert_ne!(fault.side, Side::Destination, "{fault:?}");
    }

    async fn checksums_are_right(&self) {
        let path = self.there("summed");
        self.ground.put(self.ground.to(), &path, &bytes(100_000));
        let server = self.target().await;
        let place = self.at(server.as_ref());
        let offers = self.engine.checksums_offered(place).await.unwrap();
        assert!(
            offers.contains(&ChecksumKind::Adler32) && offers.contains(&ChecksumKind::Crc32c),
            "{offers:?}"
        );
        let order = |kind| SumOrder { kind, limit: Duration::from_secs(10), fresh: false };
        let sum = self.engine.checksum(place, &path, order(ChecksumKind::Adler32)).await.unwrap();
        assert_eq!(sum, Checksum::from_u32(ChecksumKind::Adler32, adler32_slice(&bytes(100_000))));
        let sum = self.engine.checksum(place, &path, order(ChecksumKind::Crc32c)).await.unwrap();
        assert_eq!(sum, Checksum::from_u32(ChecksumKind::Crc32c, crc32c::crc32c(&bytes(100_000))));
        assert!(
            self.engine.checksum(place, &self.there("nothing"), order(ChecksumKind::Adler32)).await.is_err()
        );
    }

    async fn renames_move(&self) {
        let (from, to, other) =
            (self.there("renamed").beside(".hidden-from"), self.there("renamed"), self.there("other"));
        self.ground.put(self.ground.to(), &from, b"new");
        let server = self.target().await;
        let place = self.at(server.as_ref());
        self.engine.rename(place, &from, &to).await.unwrap();
        assert_eq!(self.ground.read(self.ground.to(), &from), None);
        assert_eq!(self.ground.read(self.ground.to(), &to).unwrap(), b"new");
        assert!(self.engine.rename(place, &from, &to).await.is_err(), "nothing to rename");
        assert_eq!(self.ground.read(self.ground.to(), &to).unwrap(), b"new");
        if self.ground.refuses_to_replace() {
            self.ground.put(self.ground.to(), &other, b"old");
            let fault = self.engine.rename(place, &to, &other).await.unwrap_err();
            assert_eq!(fault.code, "exists", "{fault:?}");
            assert_eq!(self.ground.read(self.ground.to(), &other).unwrap(), b"old");
            assert_eq!(self.ground.read(self.ground.to(), &to).unwrap(), b"new");
        }
    }

    async fn removing_twice_is_harmless(&self) {
        let path = self.there("removed");
        self.ground.put(self.ground.to(), &path, b"x");
        let server = self.target().await;
        let place = self.at(server.as_ref());
        assert!(self.engine.remove(place, &path).await.unwrap());
        assert!(!self.engine.remove(place, &path).await.unwrap());
        assert_eq!(self.ground.read(self.ground.to(), &path), None);
    }

    async fn listings_are_whole(&self) {
        let folder = self.ground.to().path(&format!("/mfx/{}/hdf5/a", self.folder).parse().unwrap()).folder();
        let server = self.target().await;
        let place = self.at(server.as_ref());
        assert_eq!(self.engine.list(place, &folder).await.unwrap(), None);
        let mut names: Vec<String> = (0..50).map(|n| format!("file-{n:02}")).collect();
        names.insert(0, ".hidden".to_owned());
        for name in &names {
            self.ground.put(self.ground.to(), &folder.inside(name), name.as_bytes());
        }
        let entries = self.engine.list(place, &folder).await.unwrap().unwrap();
        let listed: Vec<&str> = entries.iter().map(|entry| entry.name.as_str()).collect();
        assert_eq!(listed, names);
        let sizes: Vec<Option<u64>> = entries.iter().map(|entry| entry.stat.map(|stat| stat.size)).collect();
        let expected: Vec<Option<u64>> = names.iter().map(|name| Some(name.len() as u64)).collect();
        assert_eq!(sizes, expected);
    }

    async fn modes_are_set(&self) {
        let path = self.there("mode");
        self.ground.put(self.ground.to(), &path, b"x");
        let server = self.target().await;
        self.engine.set_mode(self.at(server.as_ref()), &path, 0o440).await.unwrap();
        assert_eq!(self.ground.mode(self.ground.to(), &path), 0o440);
    }

    async fn many_copies_go_at_once(&self) {
        let names: Vec<String> = (0..24).map(|n| format!("many-{n}")).collect();
        for name in &names {
            self.ground.put(self.ground.from(), &self.here(name), &bytes(10_000 + name.len()));
        }
        let copies = names.iter().map(|name| async move {
            let size = 10_000 + name.len();
            self.copy(&self.here(name), &self.there(name), size).await.unwrap();
            assert!(self.ground.read(self.ground.to(), &self.there(name)) == Some(bytes(size)), "{name}");
        });
        futures::future::join_all(copies).await;
    }

    async fn a_cancelled_copy_ends_soon(&self) {
        let much = self.ground.much();
        let (from, to) = (self.here("cancelled"), self.there("cancelled"));
        self.ground.put(self.ground.from(), &from, &vec![7; much]);
        let (progress, mut news) = watch::channel(Progress::START);
        let cancel = CancellationToken::new();
        let copy = self.copy_with(&from, &to, much, &progress, &cancel);
        let (done, cancelled) = tokio::join!(copy, async {
            news.wait_for(|now| now.phase == Phase::Copying).await.unwrap();
            cancel.cancel();
            Instant::now()
        });
        let fault = done.unwrap_err();
        assert!(fault.is_cancelled(), "{fault:?}");
        assert!(cancelled.elapsed() < Duration::from_secs(3), "took {:?}", cancelled.elapsed());
    }

    async fn a_dropped_copy_harms_nobody(&self) {
        let much = self.ground.much();
        let (from, to) = (self.here("cancelled"), self.there("dropped"));
        let (progress, mut news) = watch::channel(Progress::START);
        let cancel = CancellationToken::new();
        tokio::select! {
            done = self.copy_with(&from, &to, much, &progress, &cancel) => panic!("too fast to be dropped: {done:?}"),
            _ = news.wait_for(|now| now.phase == Phase::Copying) => {}
        }
        let server = self.target().await;
        self.engine.remove(self.at(server.as_ref()), &to).await.unwrap();
        let (small, target) = (self.here("after"), self.there("after"));
        self.ground.put(self.ground.from(), &small, &bytes(1000));
        self.copy(&small, &target, 1000).await.unwrap();
        assert_eq!(self.ground.read(self.ground.to(), &target), Some(bytes(1000)));
    }
}
