//! What only clusters of processes do: checksums by a script, small disks, refused configurations.

use super::*;
use crate::loopfs::LoopFs;
use crate::parts::contract::run;
use crate::require::{Need, require};

#[tokio::test]
async fn a_slow_checksum_is_right_and_slow() {
    let scratch = Scratch::new().unwrap();
    let chksum = slow_checksum(scratch.path(), Duration::from_secs(2)).unwrap();
    let cluster =
        Cluster::start(ClusterOptions { chksum, ..ClusterOptions::separate("SLAC") }).await.unwrap();
    cluster.write(0, "/mfx/mfxlv9518/xtc/a.xtc", b"Wikipedia").unwrap();
    let begin = std::time::Instant::now();
    let url = format!("root://{}", cluster.server(0).address());
    let output = run("xrdfs", &[&url, "query", "checksum", "/data/mfx/mfxlv9518/xtc/a.xtc"]).await.unwrap();
    assert_eq!(
        String::from_utf8_lossy(&output.stdout).trim().trim_end_matches('\0'),
        "adler32 11e60398",
        "{output:?}"
    );
    assert!(begin.elapsed() > Duration::from_secs(2));
}

#[tokio::test]
async fn nothing_is_left_after_drop() {
    let cluster = Cluster::start(ClusterOptions::shared("NERSC")).await.unwrap();
    let folder = cluster.folder().to_path_buf();
    let ports: Vec<u16> =
        [cluster.redirector(), cluster.redirector_cmsd(), cluster.server(0), cluster.server(1)]
            .iter()
            .filter_map(|server| port_of(server.address()))
            .collect();
    assert_eq!(ports.len(), 4);
    drop(cluster);
    assert!(!folder.exists());
    for port in ports {
        assert!(
            std::net::TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, port)).is_ok(),
            "port {port} is free again"
        );
    }
}

#[tokio::test]
async fn a_full_store_refuses_and_takes_again_when_there_is_room() {
    let scratch = Scratch::new().unwrap();
    let disk = require("a_full_store_refuses", Need::Loop, LoopFs::create(scratch.path(), 64));
    let Some(disk) = disk else { return };
    let store = Some(disk.path().to_path_buf());
    let cluster = Cluster::start(ClusterOptions { store, ..ClusterOptions::shared("NERSC") }).await.unwrap();
    let source = scratch.path().join("source");
    std::fs::write(&source, vec![7; 4 << 20]).unwrap();
    let copy = async |name: &str| {
        // To the data server itself: the redirector may refuse or not, by what it knows of the space.
        let url = format!("root://{}//data/{name}", cluster.server(0).address());
        run("xrdcp", &["--silent", source.to_str().unwrap(), &url]).await.unwrap()
    };
    assert!(copy("a").await.status.success());
    disk.fill(1 << 20).unwrap();
    let refused = copy("b").await;
    assert!(String::from_utf8_lossy(&refused.stderr).contains("no space left"), "{refused:?}");
    disk.make_room().unwrap();
    assert!(copy("c").await.status.success());
}

#[tokio::test]
async fn a_configuration_that_is_refused_is_told_at_once() {
    let extra = vec!["cms.delay startup 0".to_owned()];
    let begin = std::time::Instant::now();
    let options = ClusterOptions { extra, ..ClusterOptions::separate("SLAC") };
    let error = Cluster::start(options).await.unwrap_err();
    let text = format!("{error:#}");
    assert!(text.contains("it has ended") && text.contains("may not be less than 1"), "{text}");
    assert!(begin.elapsed() < Duration::from_secs(10));
}
