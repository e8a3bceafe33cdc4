//! What every way to start parts has to hold: functions that fail with what does not, written once and run by the suites
//! for processes and for containers.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use lightrail_topics::kafka::{Acks, Admin, Connection, PlainProducer, read_to_end};
use lightrail_topics::topic::{Topic, Topics};

use super::Parts;
use crate::kafka::KafkaOptions;
use crate::scratch::Scratch;
use crate::xrootd::{Cluster, ClusterOptions, PREFIX, Server, make_keytab};

const LIMIT: Duration = Duration::from_secs(30);
const LFN: &str = "/mfx/mfxlv9518/xtc/e1234-r0012-s00-c00.xtc";

/// Messages survive SIGKILL, a stopped broker is silent until it goes on, and after the drop port and folder are gone.
///
/// # Errors
/// What of it does not hold.
pub async fn a_broker_is_killed_stopped_and_dropped(parts: &dyn Parts) -> anyhow::Result<()> {
    let begin = Instant::now();
    let kafka = parts.kafka(KafkaOptions::default()).await?;
    println!("Kafka ready after {:?}", begin.elapsed());
    let connection = Connection::plain(kafka.bootstrap(), "compose-test");
    let topics = Topics::new("t.")?;
    let admin = |limit| Admin::new(&connection, limit);
    admin(LIMIT).create_topics(&[topics.spec(Topic::Runs, 1, 1)]).await?;
    let topic = topics.name(Topic::Runs);
    let producer = PlainProducer::start(&connection, Acks::All, LIMIT)?;
    producer.send(&topic, None, &[], Some(b"run 12")).await?;

    kafka.kill().await?;
    let port: u16 = kafka.bootstrap().rsplit(':').next().context("an address has a port")?.parse()?;
    ensure!(!listens(port).await, "a killed broker takes connections");
    let begin = Instant::now();
    kafka.restart().await?;
    println!("Kafka ready again {:?} after SIGKILL", begin.elapsed());
    let records = read_to_end(&connection, &[topic], &BTreeMap::new(), LIMIT).await?;
    let values: Vec<_> = records.iter().filter_map(|record| record.value.as_deref()).collect();
    ensure!(values == [b"run 12"], "after SIGKILL the topic holds {values:?}");

    kafka.stop()?;
    ensure!(admin(Duration::from_secs(2)).reach().await.is_err(), "a stopped broker answers");
    kafka.cont()?;
    admin(LIMIT).reach().await?;

    let data = kafka.data()?.to_path_buf();
    drop(kafka);
    ensure!(!listens(port).await, "a dropped broker takes connections");
    ensure!(!data.exists(), "a dropped broker's folder {} is still there", data.display());
    Ok(())
}

/// A file of one site is copied by the other's server, `xrdcp` finds the checksums equal, and it can be read by the door.
///
/// # Errors
/// What of it does not hold.
pub async fn a_third_party_copy_goes_from_door_to_door(parts: &dyn Parts) -> anyhow::Result<()> {
    let begin = Instant::now();
    let (slac, nersc) = both(parts, None).await?;
    println!("two clusters ready after {:?}", begin.elapsed());
    let bytes: Vec<u8> = (0..2_000_000_u32).map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect();
    slac.write(1, LFN, &bytes)?;
    let copied = third_party_copy(&slac, &nersc, None).await?;
    ensure!(copied.status.success(), "{copied:?}\n{}", nersc.server(0).log());
    ensure!(std::fs::read(nersc.path_of(LFN))? == bytes, "the copy differs");

    let scratch = Scratch::new()?;
    let back = scratch.path().join("back");
    let read = run("xrdcp", &["--silent", &nersc.url(LFN), &back.display().to_string()]).await?;
    ensure!(read.status.success(), "{read:?}");
    ensure!(std::fs::read(&back)? == bytes, "what is read by the door differs");
    Ok(())
}

/// With a shared secret only who has the key gets in, and the servers among themselves.
///
/// # Errors
/// What of it does not hold.
pub async fn with_sss_only_who_has_the_key_copies(parts: &dyn Parts) -> anyhow::Result<()> {
    let scratch = Scratch::new()?;
    let keytab = make_keytab(scratch.path()).await?;
    let (slac, nersc) = both(parts, Some(&keytab)).await?;
    slac.write(0, LFN, b"secret")?;
    let stranger = third_party_copy(&slac, &nersc, None).await?;
    ensure!(String::from_utf8_lossy(&stranger.stderr).contains("Auth failed"), "{stranger:?}");
    let friend = third_party_copy(&slac, &nersc, Some(&keytab)).await?;
    ensure!(friend.status.success(), "{friend:?}");
    ensure!(std::fs::read(nersc.path_of(LFN))? == b"secret", "the copy differs");
    Ok(())
}

/// Each of a cluster's four kinds of daemon is killed and comes back; a stopped server answers nothing until it goes on.
///
/// # Errors
/// What of it does not hold.
pub async fn daemons_are_killed_and_stopped(parts: &dyn Parts) -> anyhow::Result<()> {
    let cluster = parts.cluster(ClusterOptions::shared("NERSC")).await?;
    let server = cluster.server(0);
    ensure!(answers(server).await, "a running server does not answer");
    server.stop();
    ensure!(!answers(server).await, "a stopped server answers");
    ensure!(server.is_running(), "a stopped server has ended");
    server.cont();
    ensure!(answers(server).await, "a server that goes on does not answer");

    torment(&cluster, "a data server", server).await?;
    torment(&cluster, "its cmsd", cluster.cmsd(0)).await?;
    torment(&cluster, "the redirector", cluster.redirector()).await?;
    torment(&cluster, "its cmsd", cluster.redirector_cmsd()).await
}

async fn both(parts: &dyn Parts, keytab: Option<&Path>) -> anyhow::Result<(Cluster, Cluster)> {
    let with_key = |options: ClusterOptions| ClusterOptions { sss: keytab.map(Path::to_path_buf), ..options };
    tokio::try_join!(
        parts.cluster(with_key(ClusterOptions::separate("SLAC"))),
        parts.cluster(with_key(ClusterOptions::shared("NERSC")))
    )
}

async fn torment(cluster: &Cluster, what: &str, server: &Server) -> anyhow::Result<()> {
    server.kill();
    ensure!(!server.is_running(), "{what} lives after SIGKILL");
    let begin = Instant::now();
    server.restart().await?;
    cluster.ready(Duration::from_secs(60)).await?;
    println!("{what} killed and started again: ready after {:?}", begin.elapsed());
    Ok(())
}

/// Whether it tells within 2 s what it has.
async fn answers(server: &Server) -> bool {
    let mut command = tokio::process::Command::new("xrdfs");
    command.args([server.address(), "stat", PREFIX]).stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(Duration::from_secs(2), command.output()).await;
    output.is_ok_and(|output| output.is_ok_and(|output| output.status.success()))
}

async fn third_party_copy(from: &Cluster, to: &Cluster, key: Option<&Path>) -> anyhow::Result<Output> {
    let mut command = tokio::process::Command::new("xrdcp");
    command.args(["--silent", "--tpc", "only", "--cksum", "adler32", &from.url(LFN), &to.url(LFN)]);
    command.env_remove("XrdSecSSSKT").envs(key.map(|key| ("XrdSecSSSKT", key)));
    end(command).await
}

/// Runs a program to its end.
pub(crate) async fn run(program: &str, args: &[&str]) -> anyhow::Result<Output> {
    let mut command = tokio::process::Command::new(program);
    command.args(args);
    end(command).await
}

async fn end(mut command: tokio::process::Command) -> anyhow::Result<Output> {
    let what = command.as_std().get_program().display().to_string();
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output();
    let output = tokio::time::timeout(LIMIT, output).await.with_context(|| format!("{what} does not end"))?;
    output.with_context(|| format!("cannot run {what}"))
}

async fn listens(port: u16) -> bool {
    tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok()
}
