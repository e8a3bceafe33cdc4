//! A simulated beam time, by the program: files while they are taken, and what the logbook says of them on a real broker.

use std::collections::BTreeMap;
use std::process::Output;

use anyhow::{Context as _, Result, ensure};
use lightrail_topics::kafka::read_to_end;
use lightrail_topics::logbook::{Crud, LogbookEvent, LogbookTopic, parse};
use lightrail_topics::{RunNumber, Topic, Topics};

use crate::stage::{SOON, on_stage, partitions};

async fn simulate(folder: &std::path::Path, arguments: &[&str]) -> Result<Output> {
    let mut program = tokio::process::Command::new(env!("CARGO_BIN_EXE_lightrail-analysis"));
    program.arg("simulate").args(arguments).current_dir(folder).kill_on_drop(true);
    Ok(tokio::time::timeout(SOON, program.output()).await??)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_simulated_beam_time_is_announced_as_the_logbook_announces_runs() -> Result<()> {
    on_stage(partitions(1), async |stage| {
        let prefix = format!("logbook-{:08x}.", fastrand::u32(..));
        let kafka = stage.connection.bootstrap.clone();
        let done = simulate(
            stage.folder(),
            &[
                "--detector=jungfrau1M",
                "--runs=2",
                "--images=12",
                "--streams=2",
                "--chunk-images=8",
                "--unpaced",
                "--pool=3",
                "--out=daq",
                "--partitions=1",
                "--locations=HERE,THERE",
                &format!("--kafka={kafka}"),
                &format!("--topics-prefix={prefix}"),
            ],
        )
        .await?;
        let (said, complaint) =
            (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
        ensure!(done.status.success(), "{said}{complaint}");
        ensure!(said.starts_with("2 runs of 12 images of jungfrau1M (2x512x1024): "), "{said}");
        ensure!(said.contains("run 2: 12 images, "), "{said}");

        let topics = Topics::default().with_logbook_prefix(&prefix)?;
        let read = async |topic| -> Result<Vec<LogbookEvent>> {
            let channel = LogbookTopic::of(topic).context("a topic of the logbook")?;
            let records =
                read_to_end(&stage.connection, &[topics.name(topic)], &BTreeMap::new(), SOON).await?;
            let bodies = records.iter().map(|record| record.value.as_deref().unwrap_or_default());
            Ok(bodies.map(|body| parse(channel, body)).collect::<Result<_, _>>()?)
        };
        let experiments = read(Topic::Experiments).await?;
        let [LogbookEvent::Experiment { dm_locations: Some(locations), .. }] = &experiments[..] else {
            anyhow::bail!("{experiments:?}")
        };
        ensure!(locations.iter().map(ToString::to_string).eq(["HERE", "THERE"]), "{locations:?}");
        // Begun and ended in turn; each end names all files of its run, and all of them are there by then.
        let mut ends = 0;
        for event in read(Topic::Runs).await? {
            let LogbookEvent::Run { crud, run: Some(run), .. } = event else { continue };
            let is_end = crud == Crud::Update;
            ensure!(run.closed == is_end && run.num == RunNumber(1 + ends / 2), "{run:?}");
            ends += 1;
            let files = run.file_catalog.unwrap_or_default();
            ensure!(files.len() == if is_end { 6 } else { 0 }, "{files:?}");
            for file in &files {
                let path = file.registration.path.as_deref().context("a path")?;
                ensure!(std::path::Path::new(path).is_file(), "{path}");
                ensure!(path.ends_with(file.lfn.as_str()), "{path}");
            }
        }
        ensure!(ends == 4);
        let files = read(Topic::FileCatalog).await?;
        let created =
            files.iter().filter(|event| matches!(event, LogbookEvent::File { crud: Crud::Create, .. }));
        ensure!(created.count() == 12 && files.len() == 12);
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_beam_time_that_cannot_be_is_refused_with_a_status_that_says_whose_fault_it_is() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let ended = async |arguments: &[&str]| -> Result<(Option<i32>, String)> {
        let done = simulate(folder.path(), arguments).await?;
        Ok((done.status.code(), String::from_utf8_lossy(&done.stderr).into_owned()))
    };
    let (status, said) = ended(&["--detector=jungfrau32k", "--images=1000000000000"]).await?;
    ensure!(status == Some(1) && said.contains("take fewer images, a smaller detector"), "{said}");
    let (status, said) = ended(&["--detector=jungfrau32k", "--hit-rate=2"]).await?;
    ensure!(status == Some(2) && said.contains("the hit rate is 2, and must be from 0 to 1"), "{said}");
    let (status, said) = ended(&["--detector=jungfrau3M"]).await?;
    ensure!(status == Some(2) && said.contains("there are: jungfrau4M"), "{said}");
    ensure!(std::fs::read_dir(folder.path())?.next().is_none(), "nothing is begun");
    Ok(())
}
