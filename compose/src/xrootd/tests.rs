//! Two real clusters: a file in by one door, a third-party copy to the other, daemons killed and taken back.

use super::*;

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
