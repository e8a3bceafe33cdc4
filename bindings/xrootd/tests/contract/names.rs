//! Questions about names, to a real server.

use std::time::Duration;

use anyhow::{Context, Result};
use futures::{StreamExt as _, TryStreamExt as _};
use xrootd::tpc::{self, Capability};
use xrootd::{ErrorKind, FileSystem};

use crate::server::{SOON, Server};

/// Futures must be able to move between threads, handles be shared.
#[test]
fn everything_may_cross_threads() {
    fn sent<T: Send>(_: &T) {}
    fn shared<T: Send + Sync>() {}
    shared::<FileSystem>();
    shared::<xrootd::File>();
    shared::<tpc::Copying>();
    let fs = FileSystem::new(&"localhost:9".parse().expect("an endpoint"));
    sent(&fs.stat("/a", SOON));
    sent(&fs.checksum("/a", "adler32", SOON));
    sent(&fs.locate("/a", true, SOON));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_is_seen_renamed_and_removed() -> Result<()> {
    let server = Server::start().await?;
    let fs = server.fs();
    assert_eq!(fs.stat("/data/a", SOON).await?, None);
    server.put("/data/a", b"123456789")?;
    let seen = fs.stat("/data/a", SOON).await?.context("/data/a is there")?;
    assert_eq!((seen.size, seen.is_dir, seen.readable, seen.writable), (9, false, true, true));
    let age = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs().cast_signed()
        - seen.mtime;
    assert!((-5..60).contains(&age), "mtime is {age} s ago");

    fs.mv("/data/a", "/data/b", SOON).await?;
    assert_eq!(fs.stat("/data/a", SOON).await?, None);
    assert_eq!(
        fs.stat("/data/b", SOON).await?.context("/data/b")?.id,
        seen.id,
        "the same file under a new name"
    );
    let again = fs.mv("/data/a", "/data/b", SOON).await.expect_err("there is nothing to rename");
    assert_eq!(again.kind(), ErrorKind::NotFound, "{again}");

    fs.chmod("/data/b", 0o440, SOON).await?;
    assert!(!fs.stat("/data/b", SOON).await?.context("/data/b")?.writable);
    fs.rm("/data/b", SOON).await?;
    assert_eq!(fs.stat("/data/b", SOON).await?, None);
    let again = fs.rm("/data/b", SOON).await.expect_err("there is nothing to remove");
    assert_eq!(again.kind(), ErrorKind::NotFound, "{again}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn folders_are_made_listed_and_removed() -> Result<()> {
    let server = Server::start().await?;
    let fs = server.fs();
    let deep = fs.mkdir("/data/x/y/z", 0o755, false, SOON).await.expect_err("its parents are missing");
    assert_eq!(deep.kind(), ErrorKind::NotFound, "{deep}");
    fs.mkdir("/data/x/y/z", 0o755, true, SOON).await?;
    fs.mkdir("/data/x/y/z", 0o755, true, SOON).await?;
    assert!(fs.stat("/data/x/y", SOON).await?.context("/data/x/y")?.is_dir);
    for number in 0..300 {
        server.put(&format!("/data/x/y/file {number}"), &vec![0; number])?;
    }
    let mut listed = fs.dirlist("/data/x/y", SOON).await?;
    assert_eq!(listed.len(), 301);
    listed.sort_by_key(|entry| entry.stat.as_ref().map(|stat| (stat.is_dir, stat.size)));
    assert_eq!(listed[299].name, "file 299");
    assert_eq!(listed[299].stat.as_ref().map(|stat| stat.size), Some(299));
    assert_eq!((listed[300].name.as_str(), listed[300].stat.as_ref().map(|s| s.is_dir)), ("z", Some(true)));
    let full = fs.rmdir("/data/x/y", SOON).await.expect_err("it is not empty");
    assert_eq!(full.kind(), ErrorKind::Exists, "{full}");
    fs.rmdir("/data/x/y/z", SOON).await?;
    let nothing = fs.dirlist("/data/nothing", SOON).await.expect_err("there is no such folder");
    assert_eq!(nothing.kind(), ErrorKind::NotFound, "{nothing}");
    Ok(())
}

/// A server that has too many to compute sends whoever asks for one more away for 30 s, longer than is waited for here.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_sums_are_told_without_a_wait() -> Result<()> {
    let server = Server::start().await?;
    let fs = server.fs();
    for number in 0..1000 {
        server.put(&format!("/data/{number}"), &[7; 16_000])?;
    }
    let sums = futures::stream::iter(0..1000)
        .map(|number| {
            let fs = &fs;
            async move { fs.checksum(&format!("/data/{number}"), "adler32", SOON).await }
        })
        .buffer_unordered(16);
    let told: Vec<_> = sums.try_collect().await?;
    assert!(told.len() == 1000 && told.iter().all(|sum| *sum == told[0]), "{:?}", told[0]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_tells_checksums_space_and_configuration() -> Result<()> {
    let server = Server::start().await?;
    let fs = server.fs();
    server.put("/data/a", b"123456789")?;
    assert_eq!(fs.checksum("/data/a", "adler32", SOON).await?, ("adler32".to_owned(), "091e01de".to_owned()));
    assert_eq!(fs.checksum("/data/a", "crc32c", SOON).await?, ("crc32c".to_owned(), "e3069283".to_owned()));
    let missing = fs.checksum("/data/b", "adler32", SOON).await.expect_err("no such file");
    assert_eq!(missing.kind(), ErrorKind::NotFound, "{missing}");
    let unknown = fs.checksum("/data/a", "sha999", SOON).await.expect_err("no such kind");
    assert_eq!(unknown.kind(), ErrorKind::Unsupported, "{unknown}");

    let values = fs.query_config(&["chksum", "nonsense", "tpc"], SOON).await?;
    assert!(values[0].contains("adler32") && values[0].contains("crc32c"), "{values:?}");
    assert_eq!((values[1].as_str(), values[2].as_str()), ("nonsense", "1"));
    assert_eq!(tpc::capability(&fs, SOON).await?, Capability { tpc: true, delegation: false });
    let plain = Server::start_with("").await?;
    assert!(!tpc::capability(&plain.fs(), SOON).await?.tpc, "it has no ofs.tpc line");

    let space = fs.space("/data", SOON).await?;
    let (total, free) = (space.total.context("total")?, space.free.context("free")?);
    assert!(free > 0 && free <= total, "{space:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_data_server_locates_its_own_files() -> Result<()> {
    let server = Server::start().await?;
    server.put("/data/a", b"1")?;
    for refresh in [false, true] {
        let fs = server.fs();
        assert_eq!(fs.locate("/data/a", refresh, SOON).await?, std::slice::from_ref(&server.endpoint));
        assert_eq!(fs.deep_locate("/data/a", refresh, SOON).await?, std::slice::from_ref(&server.endpoint));
    }
    assert_eq!(server.fs().locate("/data/b", true, SOON).await?, []);
    Ok(())
}

#[tokio::test]
async fn paths_that_would_be_read_otherwise_never_leave() {
    let fs = FileSystem::new(&"localhost:9".parse().expect("an endpoint"));
    for path in ["relative", "/a?b=c", "/a/../b", "/a\0b", "/a\nb"] {
        let refused = fs.stat(path, Duration::from_secs(1)).await.expect_err(path);
        assert_eq!(refused.kind(), ErrorKind::Invalid, "{refused}");
    }
}
