//! A thousand small files: files per second, and the processor time of the mover's own process per file, against a bare
//! loop of the binding's calls in this process.

use std::time::{Duration, Instant};

use lightrail_tests::Stage;
use lightrail_tests::stage::nersc;

use super::bare::Bare;
use super::{copies, peer};
use crate::processor;
use crate::report::{Bar, Row};

const FILES: usize = 1000;
const SIZE: u64 = 20_000;

pub(super) async fn measure(stage: &Stage, quick: bool) -> anyhow::Result<Vec<Row>> {
    let bare = Bare::new(stage)?;
    let (mut rates, mut bare_rates, mut cpu, mut bare_cpu) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    #[allow(clippy::cast_precision_loss)]
    let files = FILES as f64;
    for round in 0..if quick { 1 } else { 3 } {
        let number = 7000 + round;
        let names: Vec<String> =
            (0..FILES).map(|at| format!("mfxlv9518-r{number:04}-s{at:04}-c000.smd.xtc2")).collect();
        let named: Vec<(&str, u64)> = names.iter().map(|name| (name.as_str(), SIZE)).collect();
        let run = stage.made_up(number, &named)?;
        let (key, site) = (run.key.clone(), nersc());
        let open = stage.daq().open_found(&run).await?;
        let pid = stage.mover()?.pid();
        let (begun, used) = (Instant::now(), processor::time(&pid.to_string())?);
        stage.daq().close(open)?;
        let limit = Duration::from_secs(300);
        stage
            .witness
            .until("the run to be available", limit, |seen| seen.manifest(&key, &site).map(drop))
            .await?;
        rates.push(files / begun.elapsed().as_secs_f64());
        cpu.push(processor::time(&pid.to_string())?.saturating_sub(used).as_secs_f64() * 1e3 / files);

        let mut used = Duration::ZERO;
        let took = peer::patiently("the bare loop", async || {
            let mut orders = Vec::new();
            for _ in 0..FILES {
                let lfn = copies::new_file(stage, SIZE)?.to_string();
                orders.push((lfn.clone(), lfn, SIZE));
            }
            let (begun, before) = (Instant::now(), processor::time("self")?);
            bare.copy_all(&orders, 16).await?;
            used = processor::time("self")?.saturating_sub(before);
            Ok(begun.elapsed())
        });
        bare_rates.push(files / took.await?.as_secs_f64());
        bare_cpu.push(used.as_secs_f64() * 1e3 / files);
    }
    let mut limit = Row::alone("mover's processor time per small file (to reach: 2)", "ms", &cpu);
    limit.bar = Some(2.0);
    limit.holds = Some(limit.ours <= 2.0);
    Ok(vec![
        Row::against("a thousand 20 kB files, against the bare loop", "1/s", &rates, &bare_rates, Bar::Told),
        limit,
        Row::against(
            "processor time per small file, against the bare loop",
            "ms",
            &cpu,
            &bare_cpu,
            Bar::AtMost(2.0),
        ),
    ])
}
