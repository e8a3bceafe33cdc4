//! Reading and writing: one suite, run on a real server and on local files through the same library.

use anyhow::{Context, Result};
use xrootd::{ErrorKind, File, OpenFlags, Url};

use crate::server::{SOON, Server};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_at_a_server_keep_the_contract() -> Result<()> {
    let server = Server::start().await?;
    contract(&server.url("/data/new/file")).await?;
    let denied =
        File::open(&server.url("/elsewhere/a"), OpenFlags::READ, 0, SOON).await.expect_err("not exported");
    assert_eq!(denied.kind(), ErrorKind::PermissionDenied, "{denied}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn local_files_keep_the_contract() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("file");
    contract(&Url::local(path.to_str().context("a path in UTF-8")?)).await
}

async fn contract(url: &Url) -> Result<()> {
    let missing = File::open(url, OpenFlags::READ, 0, SOON).await.expect_err("there is nothing yet");
    assert_eq!(missing.kind(), ErrorKind::NotFound, "{missing}");

    let new = OpenFlags::NEW | OpenFlags::UPDATE | OpenFlags::MAKE_PATH;
    let file = File::open(url, new, 0o640, SOON).await?;
    let data: Vec<u8> = (0..300_000u32).map(|n| n.to_le_bytes()[n as usize % 2]).collect();
    file.write(0, data.clone(), SOON).await?;
    file.write(data.len() as u64, b"tail".to_vec(), SOON).await?;
    file.sync(SOON).await?;
    assert_eq!(file.stat(true, SOON).await?.size, data.len() as u64 + 4);
    file.truncate(data.len() as u64, SOON).await?;
    assert_eq!(
        file.last_server().as_ref().map(xrootd::Endpoint::port),
        url.endpoint().map(xrootd::Endpoint::port)
    );
    file.close(SOON).await?;

    let exists = File::open(url, new, 0o640, SOON).await.expect_err("it is there now");
    assert_eq!(exists.kind(), ErrorKind::Exists, "{exists}");

    let file = File::open(url, OpenFlags::READ, 0, SOON).await?;
    assert_eq!(file.read(0, 1_000_000, SOON).await?, data, "less than asked for, at the end only");
    assert_eq!(file.read(299_990, 100, SOON).await?, data[299_990..]);
    assert_eq!(file.read(300_000, 100, SOON).await?, b"", "nothing behind the end");
    let many: Vec<_> = (0..50u64).map(|n| file.read(n * 1000, 1000, SOON)).collect();
    for (n, part) in futures::future::join_all(many).await.into_iter().enumerate() {
        assert_eq!(part?, data[n * 1000..(n + 1) * 1000]);
    }
    let refused = file.write(0, b"x".to_vec(), SOON).await.expect_err("it is open for reading");
    assert_eq!(refused.kind(), ErrorKind::Invalid, "{refused}");
    file.close(SOON).await?;

    let file = File::open(url, OpenFlags::DELETE | OpenFlags::UPDATE, 0o640, SOON).await?;
    assert_eq!(file.stat(true, SOON).await?.size, 0, "emptied");
    assert_eq!(file.property("no such property"), None);
    drop(file);
    Ok(())
}
