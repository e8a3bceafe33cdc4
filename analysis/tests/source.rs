//! Reading ranges: one suite, run on files of this machine and on files behind a real XRootD door, and what a door that hangs
//! or is gone looks like.

use std::io::Write as _;
use std::time::Duration;

use anyhow::Context as _;
use futures::TryStreamExt as _;
use lightrail_analysis::inspect::inspect;
use lightrail_analysis::source::{Extent, Location, Settings, Source, SourceError};
use lightrail_compose::{Cluster, ClusterOptions};

fn extent(file: &Location, offset: u64, length: u64) -> Extent {
    Extent { file: file.clone(), offset, length }
}

fn content() -> Vec<u8> {
    (0..300_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24).to_le_bytes()[0]).collect()
}

/// The file holds [`content`]; `grow` appends to it.
async fn contract(
    file: &Location,
    grow: impl AsyncFnOnce(&[u8]) -> std::io::Result<()>,
) -> anyhow::Result<()> {
    let (source, content) = (Source::new(Settings { handles: 4, ..Settings::default() }), content());
    assert_eq!(source.read(&extent(file, 0, 300_000)).await?, content);
    assert_eq!(source.read(&extent(file, 299_990, 10)).await?, content[299_990..]);
    assert_eq!(source.read(&extent(file, 7, 0)).await?, b"");
    assert_eq!(source.size(file).await?, 300_000);

    let many = (0..200u64).map(|n| extent(file, n * 1500 % 299_000, 1000));
    let read: Vec<Vec<u8>> = source.read_all(many).try_collect().await?;
    for (n, bytes) in read.into_iter().enumerate() {
        let at = n * 1500 % 299_000;
        assert!(bytes == content[at..at + 1000], "read {n} is in its place");
    }

    for (offset, length) in [(299_999, 2), (300_000, 1), (1 << 50, 10), (0, u64::from(u32::MAX))] {
        let short = source.read(&extent(file, offset, length)).await.expect_err("behind the end");
        assert!(matches!(short, SourceError::Short { size: 300_000, .. }), "{short:?}");
        assert!(short.concerns_file());
    }
    let missing = file.beside("nothing");
    let error = source.read(&extent(&missing, 0, 1)).await.expect_err("there is none");
    assert!(matches!(error, SourceError::Missing { .. }), "{error:?}");
    assert_eq!(error.to_string(), format!("{missing} is not there"));

    // A growing file: what was behind the end is there on the next reading, by the same handle.
    grow(b"tail").await?;
    assert_eq!(source.read(&extent(file, 299_999, 5)).await?, [&content[299_999..], b"tail"].concat());
    Ok(())
}

#[tokio::test]
async fn local_files_keep_the_contract() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("file");
    std::fs::write(&path, content())?;
    let grow = async |tail: &[u8]| append(&path, tail);
    contract(&Location::local(&path), grow).await?;
    let folder = Source::new(Settings::default()).read(&extent(&Location::local(folder.path()), 0, 1)).await;
    assert!(matches!(folder, Err(SourceError::Other { .. })), "{folder:?}");
    Ok(())
}

fn append(path: &std::path::Path, tail: &[u8]) -> std::io::Result<()> {
    std::fs::OpenOptions::new().append(true).open(path)?.write_all(tail)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_behind_a_door_keep_the_contract_and_a_dead_door_is_told_from_them() -> anyhow::Result<()> {
    let cluster = Cluster::start(ClusterOptions { servers: 1, ..ClusterOptions::separate("SITE") }).await?;
    let lfn = "/mfx/mfxx00121/xtc/file";
    let path = cluster.write(0, lfn, &content())?;
    let file: Location = cluster.url(lfn).parse().context("its URL")?;
    contract(&file, async |tail: &[u8]| append(&path, tail)).await?;

    // What is in a file is told alike from here and from there, HDF5's scattered structure too.
    let content_of_h5 = include_bytes!("../src/formats/h5/tests/cxi.h5");
    let lfn_of_h5 = "/mfx/mfxx00121/hdf5/cxi.h5";
    let here = Location::local(cluster.write(0, lfn_of_h5, content_of_h5)?);
    let there: Location = cluster.url(lfn_of_h5).parse().context("its URL")?;
    let source = Source::new(Settings::default());
    let told = inspect(&source, &there).await?;
    assert_eq!(told, inspect(&source, &here).await?);
    assert_eq!((told.datasets.len(), told.fault), (3, None));

    // Both are quick: the limit of one is the answer of the other.
    let source = Source::new(Settings { deadline: Duration::from_secs(3), ..Settings::default() });
    assert_eq!(source.read(&extent(&file, 0, 3)).await?, content()[..3]);
    cluster.server(0).stop();
    let hung = source.read(&extent(&file, 100_000, 100_000)).await.expect_err("it hangs");
    assert!(matches!(hung, SourceError::NoAnswer { .. }), "{hung:?}");
    assert!(!hung.concerns_file());
    cluster.server(0).cont();
    lightrail_compose::wait::until("the server to answer again", Duration::from_secs(30), async || {
        source.read(&extent(&file, 0, 3)).await.ok()
    })
    .await?;

    cluster.server(0).kill();
    cluster.redirector().kill();
    source.forget(&file);
    let gone = source.read(&extent(&file, 0, 3)).await.expect_err("nobody is there");
    assert!(matches!(gone, SourceError::NoAnswer { .. }), "{gone:?}");
    Ok(())
}
