//! One file's whole way between two real clusters, and what happens to it when servers die under it. Limits here are the
//! issue's: what is dead or hung is noticed within 15 s.

use std::time::{Duration, Instant};

use adler2::adler32_slice;
use lightrail_compose::loopfs::LoopFs;
use lightrail_compose::require::{Need, require};
use lightrail_compose::scratch::Scratch;
use lightrail_compose::{Cluster, ClusterOptions, xrootd};
use lightrail_mover::carry::native::Native;
use lightrail_mover::carry::xrdcp::Xrdcp;
use lightrail_mover::carry::{Carried, Engine, Job, Patience, Place, Report, Step, Verified, carry};
use lightrail_mover::clock::SystemClock;
use lightrail_mover::fault::{Fault, FaultClass, Side};
use lightrail_topics::{AttemptId, Checksum, ChecksumKind, Lfn};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::grounds::{Clusters, Ground};

/// What the issue allows for noticing, and what a loaded machine adds.
const NOTICED: Duration = Duration::from_secs(15);
const SLACK: Duration = Duration::from_secs(4);

fn lfn(name: &str) -> Lfn {
    format!("/mfx/mfxlv9518/xtc/{name}").parse().unwrap()
}

fn bytes(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    fastrand::Rng::with_seed(length as u64).fill(&mut bytes);
    bytes
}

fn job(clusters: &Clusters, lfn: &Lfn, n: u32) -> Job {
    Job {
        transfer: format!("{lfn}@NERSC#1").parse().unwrap(),
        attempt: AttemptId { start: 0x5eed, n },
        mover: "test".parse().unwrap(),
        from: clusters.from().clone(),
        to: clusters.to().clone(),
        size: None,
        checksum: None,
        avoid: Vec::new(),
        prefer: None,
        earlier_temporaries: (1..n).map(|n| AttemptId { start: 0x5eed, n }).collect(),
        stale: Vec::new(),
    }
}

async fn run(engine: &dyn Engine, job: &Job) -> Result<Carried, Fault> {
    let (report, _news) = watch::channel(Report::start());
    carry(job, engine, &Patience::default(), &SystemClock, &report, &CancellationToken::new()).await
}

/// Runs an attempt and does something as soon as its bytes move.
async fn run_and(
    engine: &dyn Engine,
    job: &Job,
    act: impl FnOnce(&Report),
) -> (Result<Carried, Fault>, Duration) {
    let (report, mut news) = watch::channel(Report::start());
    let (patience, cancel) = (Patience::default(), CancellationToken::new());
    let attempt = carry(job, engine, &patience, &SystemClock, &report, &cancel);
    tokio::pin!(attempt);
    let begun = tokio::select! {
        done = &mut attempt => panic!("ended before its bytes moved: {done:?}"),
        now = news.wait_for(|now| matches!(now.step, Step::Copying { .. })) => {
            act(&now.unwrap());
            Instant::now()
        }
    };
    (attempt.await, begun.elapsed())
}

fn names(clusters: &Clusters) -> Vec<String> {
    let folder = clusters.nersc.path_of("/mfx/mfxlv9518/xtc");
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_travel_between_real_clusters() {
    let mut clusters = Clusters::start().await;
    clusters.set_mode(0o440);
    let native = Native::default();
    for site in [clusters.from(), clusters.to()] {
        assert_eq!(native.servers(site).await.unwrap().len(), 2, "{}", site.name);
    }

    let mut servers = std::collections::BTreeSet::new();
    for (n, size) in [0, 1, 27_000, 1_000_000, 50_000_000].into_iter().enumerate() {
        let lfn = lfn(&format!("mfxlv9518-r0001-s{n:02}-c00.xtc2"));
        let content = bytes(size);
        clusters.slac.write(n % 2, lfn.as_str(), &content).unwrap();
        let mut job = job(&clusters, &lfn, 1);
        job.size = Some(size as u64);
        job.checksum = Some(Checksum::from_u32(ChecksumKind::Adler32, adler32_slice(&content)));
        let begun = Instant::now();
        let carried = run(&native, &job).await.unwrap();
        println!("{size} bytes in {:?}", begun.elapsed());
        assert!(std::fs::read(clusters.nersc.path_of(lfn.as_str())).unwrap() == content, "{lfn}");
        assert_eq!((carried.verified, carried.bytes_moved), (Verified::Checksum, size as u64));
        assert_eq!(carried.checksum, job.checksum);
        assert_eq!(carried.url, clusters.nersc.url(lfn.as_str()));
        assert_eq!(carried.source_server.as_deref(), Some(clusters.slac.server(n % 2).address()));
        assert_eq!(clusters.mode(clusters.to(), &clusters.to().path(&lfn)), 0o440);
        servers.insert(carried.destination_server.unwrap());
        let again = run(&native, &Job { attempt: AttemptId { start: 0x5eed, n: 2 }, ..job }).await.unwrap();
        assert!(again.already_there && again.bytes_moved == 0, "{again:?}");
    }
    assert!(
        servers.iter().all(|server| (0..2).any(|n| clusters.nersc.server(n).address() == server)),
        "{servers:?}"
    );
    assert_eq!(names(&clusters).len(), 5, "no temporary file is left: {:?}", names(&clusters));

    let old = lfn("mfxlv9518-r0002-s00-c00.xtc2");
    clusters.slac.write(0, old.as_str(), &bytes(5000)).unwrap();
    clusters.nersc.write(0, old.as_str(), b"an old file").unwrap();
    let carried = run(&native, &job(&clusters, &old, 1)).await.unwrap();
    let aside = clusters.nersc.path_of(old.as_str()).with_file_name(carried.set_aside.unwrap());
    assert_eq!(std::fs::read(aside).unwrap(), b"an old file");
    assert!(std::fs::read(clusters.nersc.path_of(old.as_str())).unwrap() == bytes(5000));

    let wrong = lfn("mfxlv9518-r0003-s00-c00.xtc2");
    clusters.slac.write(0, wrong.as_str(), &bytes(5000)).unwrap();
    let mut announced = job(&clusters, &wrong, 1);
    announced.checksum = Some("adler32:12345678".parse().unwrap());
    let fault = run(&native, &announced).await.unwrap_err();
    assert_eq!((fault.class, fault.side), (FaultClass::Integrity, Side::Source), "{fault:?}");
    assert!(!clusters.nersc.path_of(wrong.as_str()).exists());

    let missing = run(&native, &job(&clusters, &lfn("mfxlv9518-r0004-s00-c00.xtc2"), 1)).await.unwrap_err();
    assert_eq!((missing.class, missing.code.as_str()), (FaultClass::SourceNotReady, "source-missing"));

    let secret = lfn("mfxlv9518-r0005-s00-c00.xtc2");
    let path = clusters.slac.write(0, secret.as_str(), &bytes(5000)).unwrap();
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o000)).unwrap();
    let fault = run(&native, &job(&clusters, &secret, 1)).await.unwrap_err();
    assert_eq!(
        (fault.class, fault.code.as_str()),
        (FaultClass::Credential, "permission-denied"),
        "{fault:?}"
    );
    assert_eq!(fault.side, Side::Source, "{fault:?}");

    let by_tool = lfn("mfxlv9518-r0006-s00-c00.xtc2");
    clusters.slac.write(1, by_tool.as_str(), &bytes(300_000)).unwrap();
    run(&Xrdcp::new(Native::default()), &job(&clusters, &by_tool, 1)).await.unwrap();
    assert!(std::fs::read(clusters.nersc.path_of(by_tool.as_str())).unwrap() == bytes(300_000));
    assert!(names(&clusters).iter().all(|name| !name.starts_with('.')), "{:?}", names(&clusters));
}

/// A file big enough to be caught on its way.
const BIG: usize = 800_000_000;

fn put_big(clusters: &Clusters, lfn: &Lfn) {
    let path = clusters.slac.write(0, lfn.as_str(), b"").unwrap();
    // Sparse: costs no disk at the source.
    std::fs::OpenOptions::new().write(true).open(path).unwrap().set_len(BIG as u64).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_server_is_noticed_in_time_and_the_file_goes_another_way() {
    let clusters = Clusters::start().await;
    let native = Native::default();
    let big = lfn("mfxlv9518-r0001-s00-c00.xtc2");
    put_big(&clusters, &big);
    let server = |address: &str| {
        (0..2).map(|n| clusters.nersc.server(n)).find(|server| server.address() == address).unwrap()
    };

    let first = job(&clusters, &big, 1);
    let mut stopped = String::new();
    let (done, took) = run_and(&native, &first, |now| {
        stopped = now.destination_server.clone().unwrap();
        server(&stopped).stop();
    })
    .await;
    let fault = done.unwrap_err();
    println!("stopped destination: {fault} after {took:?}");
    assert_eq!((fault.class, fault.side), (FaultClass::Transient, Side::Destination), "{fault:?}");
    assert_eq!(fault.endpoint.as_deref(), Some(stopped.as_str()));
    assert!(took < NOTICED + SLACK, "{took:?}");

    let mut second = job(&clusters, &big, 2);
    second.avoid = vec![stopped.clone()];
    let begun = Instant::now();
    let carried = run(&native, &second).await.unwrap();
    println!("the other way in {:?}", begun.elapsed());
    assert_ne!(carried.destination_server.as_deref(), Some(stopped.as_str()));
    server(&stopped).cont();
    std::fs::remove_file(clusters.nersc.path_of(big.as_str())).unwrap();

    let (done, took) = run_and(&native, &job(&clusters, &big, 3), |_| clusters.slac.server(0).kill()).await;
    let fault = done.unwrap_err();
    println!("killed source: {fault} after {took:?}");
    assert_eq!((fault.class, fault.side), (FaultClass::Transient, Side::Source), "{fault:?}");
    assert!(took < NOTICED + SLACK, "{took:?}");
    let begun = Instant::now();
    let fault = run(&native, &job(&clusters, &big, 4)).await.unwrap_err();
    assert_eq!(fault.side, Side::Source, "{fault:?}");
    assert!(begun.elapsed() < NOTICED, "{:?}: {fault}", begun.elapsed());
    clusters.slac.server(0).restart().await.unwrap();
    // The client does not try an unreachable server again for two seconds.
    let back = async || {
        let site = clusters.from();
        native.ping(Place { site, server: Some(clusters.slac.server(0).address()) }).await.ok()
    };
    lightrail_compose::wait::until("the source to answer again", Duration::from_secs(30), back)
        .await
        .unwrap();

    let (done, took) = run_and(&native, &job(&clusters, &big, 5), |now| {
        stopped = now.destination_server.clone().unwrap();
        server(&stopped).kill();
    })
    .await;
    let fault = done.unwrap_err();
    println!("killed destination: {fault} after {took:?}");
    assert_eq!(
        (fault.class, fault.endpoint.as_deref()),
        (FaultClass::Transient, Some(stopped.as_str())),
        "{fault:?}"
    );
    assert!(took < NOTICED, "{took:?}");
    let begun = Instant::now();
    let carried = run(&native, &job(&clusters, &big, 6)).await.unwrap();
    println!("past a dead server in {:?}", begun.elapsed());
    assert_ne!(carried.destination_server.as_deref(), Some(stopped.as_str()));
    assert_eq!(carried.size, BIG as u64);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hung_door_is_noticed_in_time() {
    let clusters = Clusters::start().await;
    let small = lfn("mfxlv9518-r0001-s00-c00.xtc2");
    clusters.slac.write(0, small.as_str(), &bytes(1000)).unwrap();
    for daemon in [clusters.nersc.redirector(), clusters.slac.redirector_cmsd()] {
        daemon.stop();
        let begun = Instant::now();
        let done = run(&Native::default(), &job(&clusters, &small, 1)).await;
        println!("{}: {:?} after {:?}", daemon.address(), done.as_ref().err(), begun.elapsed());
        assert!(begun.elapsed() < NOTICED, "{:?}", begun.elapsed());
        assert_eq!(done.unwrap_err().class, FaultClass::Transient);
        daemon.cont();
        clusters.nersc.ready(Duration::from_secs(60)).await.unwrap();
        clusters.slac.ready(Duration::from_secs(60)).await.unwrap();
    }
    run(&Native::default(), &job(&clusters, &small, 2)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_checksum_may_take_longer_than_a_silence() {
    let scratch = tempfile::tempdir().unwrap();
    std::fs::set_permissions(scratch.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let chksum = xrootd::slow_checksum(scratch.path(), Duration::from_secs(18)).unwrap();
    let (slac, nersc) = tokio::try_join!(
        Cluster::start(ClusterOptions::separate("SLAC")),
        Cluster::start(ClusterOptions { chksum, ..ClusterOptions::shared("NERSC") }),
    )
    .unwrap();
    let clusters = Clusters::of(slac, nersc);
    let slow = lfn("mfxlv9518-r0001-s00-c00.xtc2");
    clusters.slac.write(0, slow.as_str(), &bytes(1000)).unwrap();
    let begun = Instant::now();
    let carried = run(&Native::default(), &job(&clusters, &slow, 1)).await.unwrap();
    println!("slow sums: {:?}", begun.elapsed());
    assert_eq!(
        carried.checksum,
        Some(Checksum::from_u32(ChecksumKind::Adler32, adler32_slice(&bytes(1000))))
    );
    assert!(begun.elapsed() > Duration::from_secs(18), "the sum was not slow: nothing was tested");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_its_endpoint_s_fault_and_room_ends_it() {
    let scratch = Scratch::new().unwrap();
    let disk = LoopFs::create(scratch.path(), 192);
    let Some(disk) = require("whole::a_full_disk", Need::Loop, disk) else { return };
    let (slac, nersc) = tokio::try_join!(
        Cluster::start(ClusterOptions::separate("SLAC")),
        Cluster::start(ClusterOptions {
            store: Some(disk.path().to_owned()),
            ..ClusterOptions::shared("NERSC")
        }),
    )
    .unwrap();
    let clusters = Clusters::of(slac, nersc);
    disk.fill(2_000_000).unwrap();
    for (engine, size) in [(0, 5_000_000), (0, 60_000_000), (1, 5_000_000)] {
        let lfn = lfn(&format!("mfxlv9518-r0001-s0{engine}-c00-{size}.xtc2"));
        clusters.slac.write(0, lfn.as_str(), &bytes(size)).unwrap();
        let engine: &dyn Engine =
            if engine == 0 { &Native::default() } else { &Xrdcp::new(Native::default()) };
        let begun = Instant::now();
        let fault = run(engine, &job(&clusters, &lfn, 1)).await.unwrap_err();
        println!("full: {fault:?} after {:?}", begun.elapsed());
        assert_eq!((fault.class, fault.code.as_str()), (FaultClass::Endpoint, "no-space"), "{fault:?}");
        assert_eq!(fault.side, Side::Destination);
        assert!(begun.elapsed() < NOTICED, "{:?}", begun.elapsed());
        assert!(names(&clusters).iter().all(|name| !name.starts_with('.')), "{:?}", names(&clusters));
    }
    disk.make_room().unwrap();
    let lfn = lfn("mfxlv9518-r0001-s00-c00-5000000.xtc2");
    run(&Native::default(), &job(&clusters, &lfn, 2)).await.unwrap();
    assert!(std::fs::read(clusters.nersc.path_of(lfn.as_str())).unwrap() == bytes(5_000_000));
}
