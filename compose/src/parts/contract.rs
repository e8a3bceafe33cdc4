//! What every way to start parts has to hold: written once, run by processes and by containers.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use lightrail_topics::kafka::{Acks, Admin, Connection, PlainProducer, read_to_end};
use lightrail_topics::topic::{Topic, Topics};

use super::Parts;
use crate::kafka::KafkaOptions;
use crate::scratch::Scratch;
use crate::xrootd::{Cluster, ClusterOptions, PREFIX, Server, make_keytab};

const LIMIT: Duration = Duration::from_secs(30);
const LFN: &str = "/mfx/mfxlv9518/xtc/e1234-r0012-s00-c00.xtc";

/// Messages survive SIGKILL, a stopped broker is silent, and after the drop port and folder are gone.
pub(crate) async fn a_broker_is_killed_stopped_and_dropped(parts: &dyn Parts) {
    let begin = Instant::now();
    let kafka = parts.kafka(KafkaOptions::default()).await.unwrap();
    println!("Kafka ready after {:?}", begin.elapsed());
    let connection = Connection::plain(kafka.bootstrap(), "compose-test");
    let topics = Topics::new("t.").unwrap();
    let admin = |limit| Admin::new(&connection, limit);
    admin(LIMIT).create_topics(&[topics.spec(Topic::Runs, 1, 1)]).await.unwrap();
    let topic = topics.name(Topic::Runs);
    let producer = PlainProducer::start(&connection, Acks::All, LIMIT).unwrap();
    producer.send(&topic, None, &[], Some(b"run 12")).await.unwrap();

    kafka.kill().await.unwrap();
    let port: u16 = kafka.bootstrap().rsplit(':').next().unwrap().parse().unwrap();
    assert!(!listens(port).await);
    let begin = Instant::now();
    kafka.restart().await.unwrap();
    println!("Kafka ready again {:?} after SIGKILL", begin.elapsed());
    let records = read_to_end(&connection, &[topic], &BTreeMap::new(), LIMIT).await.unwrap();
    assert_eq!(records.iter().map(|record| record.value.clone().unwrap()).collect::<Vec<_>>(), [b"run 12"]);

    kafka.stop().unwrap();
    assert!(admin(Duration::from_secs(2)).reach().await.is_err());
    kafka.cont().unwrap();
    admin(LIMIT).reach().await.unwrap();

    let data = kafka.data().unwrap().to_path_buf();
    drop(kafka);
    assert!(!listens(port).await);
    assert!(!data.exists(), "the data folder is removed");
}

/// A file put in at one site is copied by the destination's server, and `xrdcp` finds the checksums equal.
pub(crate) async fn a_third_party_copy_goes_from_door_to_door(parts: &dyn Parts) {
    let begin = Instant::now();
    let (slac, nersc) = tokio::try_join!(
        parts.cluster(ClusterOptions::separate("SLAC")),
        parts.cluster(ClusterOptions::shared("NERSC"))
    )
    .unwrap();
    println!("two clusters ready after {:?}", begin.elapsed());
    let bytes: Vec<u8> = (0..2_000_000_u32).map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect();
    slac.write(1, LFN, &bytes).unwrap();
    let output = third_party_copy(&slac, &nersc, None).await;
    assert!(output.status.success(), "{output:?}\n{}", nersc.server(0).log());
    assert_eq!(std::fs::read(nersc.path_of(LFN)).unwrap(), bytes);

    let back = tempfile::NamedTempFile::new().unwrap();
    let output = run("xrdcp", &["--force", "--silent", &nersc.url(LFN), back.path().to_str().unwrap()]).await;
    assert!(output.status.success(), "{output:?}");
    assert_eq!(std::fs::read(back.path()).unwrap(), bytes);
}

/// With a shared secret only who has the key gets in, and the servers among themselves.
pub(crate) async fn with_sss_only_who_has_the_key_copies(parts: &dyn Parts) {
    let scratch = Scratch::new().unwrap();
    let keytab = make_keytab(scratch.path()).await.unwrap();
    let with_key = |options: ClusterOptions| ClusterOptions { sss: Some(keytab.clone()), ..options };
    let (slac, nersc) = tokio::try_join!(
        parts.cluster(with_key(ClusterOptions::separate("SLAC"))),
        parts.cluster(with_key(ClusterOptions::shared("NERSC")))
    )
    .unwrap();
    slac.write(0, LFN, b"secret").unwrap();
    let stranger = third_party_copy(&slac, &nersc, None).await;
    assert!(String::from_utf8_lossy(&stranger.stderr).contains("Auth failed"), "{stranger:?}");
    let friend = third_party_copy(&slac, &nersc, Some(&keytab)).await;
    assert!(friend.status.success(), "{friend:?}");
    assert_eq!(std::fs::read(nersc.path_of(LFN)).unwrap(), b"secret");
}

/// Each of a cluster's four kinds of daemon is killed and comes back; a stopped server answers nothing until it goes on.
pub(crate) async fn daemons_are_killed_and_stopped(parts: &dyn Parts) {
    let cluster = parts.cluster(ClusterOptions::shared("NERSC")).await.unwrap();
    let server = cluster.server(0);
    let stat = async || {
        let mut command = tokio::process::Command::new("xrdfs");
        command.args([server.address(), "stat", PREFIX]).kill_on_drop(true);
        tokio::time::timeout(Duration::from_secs(2), command.output()).await
    };
    assert!(stat().await.unwrap().unwrap().status.success());
    server.stop();
    assert!(stat().await.is_err(), "a stopped server answers nothing");
    assert!(server.is_running());
    server.cont();
    assert!(stat().await.unwrap().unwrap().status.success());

    torment(&cluster, "a data server", server).await;
    torment(&cluster, "its cmsd", cluster.cmsd(0)).await;
    torment(&cluster, "the redirector", cluster.redirector()).await;
    torment(&cluster, "its cmsd", cluster.redirector_cmsd()).await;
}

async fn torment(cluster: &Cluster, what: &str, server: &Server) {
    server.kill();
    assert!(!server.is_running());
    let begin = Instant::now();
    server.restart().await.unwrap();
    cluster.ready(Duration::from_secs(60)).await.unwrap();
    println!("{what} killed and started again: ready after {:?}", begin.elapsed());
}

async fn third_party_copy(from: &Cluster, to: &Cluster, key: Option<&Path>) -> std::process::Output {
    let mut command = tokio::process::Command::new("xrdcp");
    command.args(["--silent", "--tpc", "only", "--cksum", "adler32", &from.url(LFN), &to.url(LFN)]);
    command.env_remove("XrdSecSSSKT").envs(key.map(|key| ("XrdSecSSSKT", key))).kill_on_drop(true);
    tokio::time::timeout(LIMIT, command.output()).await.expect("ends in time").unwrap()
}

/// Runs a program to its end.
pub(crate) async fn run(program: &str, args: &[&str]) -> std::process::Output {
    let mut command = tokio::process::Command::new(program);
    command.args(args).stdin(Stdio::null()).kill_on_drop(true);
    tokio::time::timeout(LIMIT, command.output()).await.expect("ends in time").unwrap()
}

async fn listens(port: u16) -> bool {
    tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok()
}
