//! Two real clusters: a file in by one door, a third-party copy to the other, daemons killed and taken back.

use super::*;
use crate::loopfs::LoopFs;
use crate::require::{Need, require};

async fn run(program: &str, args: &[&str]) -> std::process::Output {
    let mut command = tokio::process::Command::new(program);
    command.args(args).stdin(Stdio::null()).kill_on_drop(true);
    tokio::time::timeout(Duration::from_secs(60), command.output())
        .await
        .expect("ends within a minute")
        .unwrap()
}

async fn two() -> (Cluster, Cluster) {
    tokio::try_join!(
        Cluster::start(ClusterOptions::separate("SLAC")),
        Cluster::start(ClusterOptions::shared("NERSC"))
    )
    .unwrap()
}

#[tokio::test]
async fn a_third_party_copy_goes_from_door_to_door() {
    let begin = std::time::Instant::now();
    let (slac, nersc) = two().await;
    println!("two clusters ready after {:?}", begin.elapsed());
    let bytes: Vec<u8> = (0..2_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let lfn = "/mfx/mfxlv9518/xtc/e1234-r0012-s00-c00.xtc";
    slac.write(1, lfn, &bytes).unwrap();
    let args = ["--silent", "--tpc", "only", "--cksum", "adler32", &slac.url(lfn), &nersc.url(lfn)];
    let output = run("xrdcp", &args).await;
    assert!(output.status.success(), "{output:?}\n{}", nersc.server(0).log());
    assert_eq!(std::fs::read(nersc.path_of(lfn)).unwrap(), bytes);
}

/// What happens between a daemon's death and the cluster's recovery, in the order in which a test would do it.
async fn torment(cluster: &Cluster, what: &str, server: &Server) {
    server.kill();
    assert!(!server.is_running());
    let begin = std::time::Instant::now();
    server.restart().await.unwrap();
    cluster.ready(Duration::from_secs(60)).await.unwrap();
    println!("{what} killed and started again: ready after {:?}", begin.elapsed());
}

#[tokio::test]
async fn killed_daemons_come_back_on_their_ports() {
    let cluster = Cluster::start(ClusterOptions::shared("NERSC")).await.unwrap();
    torment(&cluster, "a data server", cluster.server(0)).await;
    torment(&cluster, "its cmsd", cluster.cmsd(0)).await;
    torment(&cluster, "the redirector", cluster.redirector()).await;
    torment(&cluster, "its cmsd", cluster.redirector_cmsd()).await;
}

#[tokio::test]
async fn a_stopped_data_server_answers_again_when_it_goes_on() {
    let cluster = Cluster::start(ClusterOptions::separate("SLAC")).await.unwrap();
    let stat = async || {
        let mut command = tokio::process::Command::new("xrdfs");
        command.args([cluster.server(0).address(), "stat", PREFIX]).kill_on_drop(true);
        tokio::time::timeout(Duration::from_secs(2), command.output()).await
    };
    assert!(stat().await.unwrap().unwrap().status.success());
    cluster.server(0).stop();
    assert!(stat().await.is_err(), "a stopped server answers nothing");
    assert!(cluster.server(0).is_running());
    cluster.server(0).cont();
    assert!(stat().await.unwrap().unwrap().status.success());
}

#[tokio::test]
async fn with_sss_only_who_has_the_key_gets_in_and_copies() {
    let scratch = Scratch::new().unwrap();
    let keytab = make_keytab(scratch.path()).await.unwrap();
    let with_key = |options: ClusterOptions| ClusterOptions { sss: Some(keytab.clone()), ..options };
    let (slac, nersc) = tokio::try_join!(
        Cluster::start(with_key(ClusterOptions::separate("SLAC"))),
        Cluster::start(with_key(ClusterOptions::shared("NERSC")))
    )
    .unwrap();
    let lfn = "/mfx/mfxlv9518/xtc/e1234-r0012-s00-c00.xtc";
    slac.write(0, lfn, b"secret").unwrap();
    let (from, to) = (slac.url(lfn), nersc.url(lfn));
    let copy = async |key: Option<&Path>| {
        let mut command = tokio::process::Command::new("xrdcp");
        command
            .args(["--silent", "--tpc", "only", "--cksum", "adler32", &from, &to])
            .env_remove("XrdSecSSSKT");
        command.envs(key.map(|key| ("XrdSecSSSKT", key))).kill_on_drop(true).output().await.unwrap()
    };
    let stranger = copy(None).await;
    assert!(String::from_utf8_lossy(&stranger.stderr).contains("Auth failed"), "{stranger:?}");
    let friend = copy(Some(&keytab)).await;
    assert!(friend.status.success(), "{friend:?}");
    assert_eq!(std::fs::read(nersc.path_of(lfn)).unwrap(), b"secret");
}

#[tokio::test]
async fn a_slow_checksum_is_right_and_slow() {
    let scratch = Scratch::new().unwrap();
    let chksum = slow_checksum(scratch.path(), Duration::from_secs(2)).unwrap();
    let cluster =
        Cluster::start(ClusterOptions { chksum, ..ClusterOptions::separate("SLAC") }).await.unwrap();
    cluster.write(0, "/mfx/mfxlv9518/xtc/a.xtc", b"Wikipedia").unwrap();
    let begin = std::time::Instant::now();
    let url = format!("root://{}", cluster.server(0).address());
    let output = run("xrdfs", &[&url, "query", "checksum", "/data/mfx/mfxlv9518/xtc/a.xtc"]).await;
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
        run("xrdcp", &["--silent", source.to_str().unwrap(), &url]).await
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
