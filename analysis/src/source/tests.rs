//! Local files, and files that a test plays: faults, order, the number of open files.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::StreamExt as _;
use tokio::sync::Semaphore;

use super::*;

fn extent(file: &Location, offset: u64, length: u64) -> Extent {
    Extent { file: file.clone(), offset, length }
}

#[test]
fn locations_are_read_in_all_their_forms() {
    let remote: Location = "root://door.nersc.gov//data/mfx/a.xtc2?token=secret".parse().unwrap();
    assert_eq!(remote.to_string(), "root://door.nersc.gov:1094//data/mfx/a.xtc2", "no secret is shown");
    assert_eq!((remote.door().as_deref(), remote.name()), (Some("door.nersc.gov:1094"), "a.xtc2"));
    assert_eq!(remote.beside("b.xtc2").to_string(), "root://door.nersc.gov:1094//data/mfx/b.xtc2");
    for text in ["/data/a.xtc2", "file:///data/a.xtc2"] {
        let local: Location = text.parse().unwrap();
        assert_eq!(local.local_path(), Some(std::path::Path::new("/data/a.xtc2")));
        assert_eq!((local.door(), local.name()), (None, "a.xtc2"));
        assert_eq!(local.beside("b"), Location::local("/data/b"));
    }
    for bad in ["", "http://h/a", "root://h", "file://h/a"] {
        assert!(bad.parse::<Location>().is_err(), "{bad:?} was taken");
    }
}

/// What the played files do.
struct Played {
    opened: AtomicUsize,
    /// Permits let reads go on; a closed one lets all.
    gate: Semaphore,
    answer: fn(&Location, u64, u32) -> Result<Vec<u8>, SourceError>,
    under_way: AtomicUsize,
    most: AtomicUsize,
    opened_by_file: Mutex<HashMap<Location, usize>>,
}

impl Played {
    fn new(answer: fn(&Location, u64, u32) -> Result<Vec<u8>, SourceError>) -> Arc<Self> {
        Arc::new(Self {
            opened: AtomicUsize::new(0),
            gate: Semaphore::new(1000),
            answer,
            under_way: AtomicUsize::new(0),
            most: AtomicUsize::new(0),
            opened_by_file: Mutex::default(),
        })
    }
}

/// The played files as something to open.
struct Shelf(Arc<Played>);

struct Open(Location, Arc<Played>);

#[async_trait]
impl Files for Shelf {
    async fn open(&self, file: &Location, _: Duration) -> Result<Arc<dyn Handle>, SourceError> {
        self.0.opened.fetch_add(1, Ordering::SeqCst);
        *self.0.opened_by_file.lock().unwrap().entry(file.clone()).or_default() += 1;
        // So that others may ask meanwhile.
        tokio::task::yield_now().await;
        Ok(Arc::new(Open(file.clone(), Arc::clone(&self.0))))
    }
}

#[async_trait]
impl Handle for Open {
    async fn size(&self, _: Duration) -> Result<u64, SourceError> {
        Ok(1 << 40)
    }

    async fn read(&self, offset: u64, length: u32, _: Vec<u8>, _: Duration) -> Result<Vec<u8>, SourceError> {
        let Open(file, played) = self;
        let now = played.under_way.fetch_add(1, Ordering::SeqCst) + 1;
        played.most.fetch_max(now, Ordering::SeqCst);
        // The earlier the offset, the later the answer: later reads overtake.
        for _ in 0..20u64.saturating_sub(offset) {
            tokio::task::yield_now().await;
        }
        played.gate.acquire().await.unwrap().forget();
        played.under_way.fetch_sub(1, Ordering::SeqCst);
        (played.answer)(file, offset, length)
    }
}

fn source(played: &Arc<Played>, settings: Settings) -> Source {
    Source::over(Arc::new(Shelf(Arc::clone(played))), settings)
}

#[tokio::test]
async fn many_reads_are_under_way_and_their_order_is_kept() {
    let played = Played::new(|_, offset, _| Ok(vec![u8::try_from(offset).unwrap()]));
    let source = source(&played, Settings { in_flight: 5, ..Settings::default() });
    let file = Location::local("/a");
    let answers: Vec<u8> =
        source.read_all((0..40).map(|n| extent(&file, n, 1))).map(|read| read.unwrap()[0]).collect().await;
    assert_eq!(answers, (0..40).collect::<Vec<u8>>());
    assert_eq!(played.most.load(Ordering::SeqCst), 5);
    assert_eq!(played.opened.load(Ordering::SeqCst), 1, "one file is opened once, whoever asks at once");
}

#[tokio::test]
async fn the_least_recently_used_file_is_closed() {
    let played = Played::new(|_, _, _| Ok(vec![0]));
    let source = source(&played, Settings { handles: 2, ..Settings::default() });
    let [a, b, c] = ["/a", "/b", "/c"].map(Location::local);
    for file in [&a, &b, &a, &c, &a, &b] {
        source.read(&extent(file, 0, 1)).await.unwrap();
        assert!(source.cache.len() <= 2);
    }
    let opened = played.opened_by_file.lock().unwrap().clone();
    assert_eq!((opened[&a], opened[&b], opened[&c]), (1, 2, 1));
}

#[tokio::test]
async fn a_file_that_does_not_answer_is_left_at_the_deadline_and_opened_anew() {
    let played = Played::new(|_, _, _| Ok(vec![7]));
    played.gate.acquire_many(1000).await.unwrap().forget();
    let source = source(&played, Settings { deadline: Duration::from_millis(30), ..Settings::default() });
    let file = Location::local("/a");
    let error = source.read(&extent(&file, 0, 1)).await.unwrap_err();
    assert!(matches!(error, SourceError::NoAnswer { .. }) && !error.concerns_file(), "{error:?}");
    assert_eq!((error.file(), source.cache.len()), (&file, 0));
    played.gate.add_permits(10);
    assert_eq!(source.read(&extent(&file, 0, 1)).await.unwrap(), [7]);
    assert_eq!(played.opened.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn an_impossible_extent_is_refused_without_opening_anything() {
    let played = Played::new(|_, _, _| Ok(Vec::new()));
    let source = source(&played, Settings::default());
    let file = Location::local("/a");
    for (offset, length) in [(0, 1 << 32), (0, u64::MAX), (u64::MAX, 2)] {
        let error = source.read(&extent(&file, offset, length)).await.unwrap_err();
        assert!(matches!(error, SourceError::TooLong { .. }) && error.concerns_file(), "{error}");
    }
    assert_eq!(played.opened.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_buffer_is_used_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    std::fs::write(&path, (0..200).collect::<Vec<u8>>()).unwrap();
    let (source, file) = (Source::new(Settings::default()), Location::local(path));
    let first = source.read(&extent(&file, 0, 150)).await.unwrap();
    let place = first.as_ptr();
    let second = source.read_into(&extent(&file, 100, 50), first).await.unwrap();
    assert_eq!(second, (100..150).collect::<Vec<u8>>());
    assert_eq!(second.as_ptr(), place);
}
