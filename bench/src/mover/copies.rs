//! One file of 20 kB, 1 MB and 50 MB: the native engine's whole flow against `xrdcp --tpc only`.

use std::time::Instant;

use lightrail_mover::carry::native::{Native, NativeSettings};
use lightrail_mover::carry::{Job, Patience, Report, Site, carry};
use lightrail_mover::clock::SystemClock;
use lightrail_tests::Stage;
use lightrail_topics::{AttemptId, Generation, Lfn, TransferId};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::peer;
use crate::report::{Bar, Row};

pub(super) async fn measure(stage: &Stage, quick: bool) -> anyhow::Result<Vec<Row>> {
    let engine = Native::new(NativeSettings::default());
    let mut rows = Vec::new();
    for (name, size, bar) in [("20 kB", 20_000, 50.0), ("1 MB", 1_000_000, 20.0), ("50 MB", 50_000_000, 6.0)]
    {
        let (mut ours, mut peers) = (Vec::new(), Vec::new());
        // The first of each side opens connections and is not counted.
        for round in 0..if quick { 4 } else { 10 } {
            let mine = new_file(stage, size)?;
            let begun = Instant::now();
            one(stage, &engine, &mine, size).await?;
            let took = begun.elapsed().as_secs_f64();
            let peer = peer::patiently("xrdcp", async || {
                let theirs = new_file(stage, size)?;
                peer::xrdcp(stage, &[theirs.to_string()], "/mfx/peer/xtc", 1).await
            });
            let peer = peer.await?.as_secs_f64();
            if round > 0 {
                ours.push(took * 1e3);
                peers.push(peer * 1e3);
            }
        }
        rows.push(Row::against(format!("one {name} file"), "ms", &ours, &peers, Bar::AtMost(1.0 / bar)));
    }
    Ok(rows)
}

/// A new file at the source, of an experiment that no mover looks at.
pub(super) fn new_file(stage: &Stage, size: u64) -> anyhow::Result<Lfn> {
    let lfn: Lfn = format!("/mfx/bench/xtc/b{:016x}.xtc2", fastrand::u64(..)).parse()?;
    let bytes = lightrail_tests::stage::random(size);
    stage.slac.write(fastrand::usize(..stage.slac.servers()), lfn.as_str(), &bytes)?;
    Ok(lfn)
}

async fn one(stage: &Stage, engine: &Native, lfn: &Lfn, size: u64) -> anyhow::Result<()> {
    let site = |name: &str, door: String, prefix: &str| -> anyhow::Result<Site> {
        let mut site = Site::new(name.parse()?, Some(door), prefix);
        site.mode = Some(0o440);
        Ok(site)
    };
    let job = Job {
        transfer: TransferId { lfn: lfn.clone(), generation: Generation::FIRST, site: "NERSC".parse()? },
        attempt: AttemptId { start: fastrand::u32(..), n: 1 },
        mover: "bench".parse()?,
        from: site("SLAC", stage.slac.door(), stage.slac.prefix())?,
        to: site("NERSC", stage.nersc.door(), stage.nersc.prefix())?,
        size: Some(size),
        checksum: None,
        avoid: Vec::new(),
        prefer: None,
        earlier_temporaries: Vec::new(),
        stale: Vec::new(),
    };
    let (report, _) = watch::channel(Report::start());
    carry(&job, engine, &Patience::default(), &SystemClock, &report, &CancellationToken::new()).await?;
    Ok(())
}
