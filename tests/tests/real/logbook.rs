//! The mover and the logbook: reports, its own call, what cannot be understood.

use std::time::Duration;

use lightrail_compose::wait;
use lightrail_tests::stage::{SOON, experiment, nersc};
use lightrail_tests::{Judge, Setup, on_stage};
use lightrail_topics::Topic;
use lightrail_topics::kafka::{Acks, Connection, PlainProducer};
use serde_json::{Value, json};

const MIB: u64 = 1 << 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reports_arrive_at_the_logbook_small_files_first() -> anyhow::Result<()> {
    on_stage("reports", Setup::default(), async |stage| {
        let runs = stage.take(&stage.runs(1, 1, 40 * MIB, 21)?).await?;
        stage.until_available(&runs, SOON).await?;
        let files = runs[0].files.len();
        wait::until("all files to be reported", SOON, async || {
            (stage.logbook.present_at(&experiment(), &nersc()).len() == files).then_some(())
        })
        .await?;
        let reported: Vec<String> = stage
            .logbook
            .said()
            .iter()
            .filter(|message| message.topic == "file_catalog")
            .filter_map(|message| serde_json::from_str::<Value>(&message.body).ok())
            .filter(|body| body["CRUD"] == "Update")
            .filter_map(|body| body["value"]["path"].as_str().map(str::to_owned))
            .collect();
        anyhow::ensure!(reported.len() == files, "{} reports for {files} files", reported.len());
        let last_small = reported.iter().rposition(|path| path.contains("/smalldata/"));
        let first_big = reported.iter().position(|path| !path.contains("/smalldata/"));
        anyhow::ensure!(last_small < first_big, "reported in this order: {reported:#?}");
        Judge::of(stage).verify(stage, &runs).await
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_logbooks_own_call_is_answered_with_pending_and_then_present() -> anyhow::Result<()> {
    on_stage("check_files_for_run", Setup::default(), async |stage| {
        stage.announce()?;
        let names = [("mfxlv9518-r0001-s000-c000.xtc2", MIB), ("mfxlv9518-r0001-s001-c000.xtc2", MIB)];
        let open = stage.daq().open_found(&stage.made_up(1, &names)?).await?;
        let ask = async || -> anyhow::Result<Value> {
            let url = format!("http://127.0.0.1:{}/ws/mfxlv9518/check_files_for_run", stage.pages);
            let unknown = "/mfx/mfxlv9518/xtc/mfxlv9518-r0001-s009-c000.xtc2";
            let mut files: Vec<String> = open.files.iter().map(|file| file.lfn.to_string()).collect();
            files.push(unknown.to_owned());
            let call = json!({ "location": "NERSC", "run_num": 1, "experiment_name": "mfxlv9518",
                "instrument": "MFX", "restore_missing_files": false, "files": files });
            let begin = std::time::Instant::now();
            let answer = reqwest::Client::new().post(url).json(&call).send().await?.json::<Value>().await?;
            anyhow::ensure!(begin.elapsed() < Duration::from_secs(2), "it took {:?}", begin.elapsed());
            anyhow::ensure!(answer["files"].get(unknown).is_none(), "an unknown file is told of: {answer}");
            Ok(answer["files"].clone())
        };
        let all =
            |answer: &Value, word: &str| open.files.iter().all(|file| answer[file.lfn.as_str()] == word);
        wait::until("both files to be pending", SOON, async || {
            all(&ask().await.ok()?, "pending").then_some(())
        })
        .await?;
        let run = stage.daq().close(open.clone())?;
        stage.until_available(std::slice::from_ref(&run), SOON).await?;
        let answer = ask().await?;
        anyhow::ensure!(all(&answer, "present"), "the answer is {answer}");
        Judge::of(stage).verify(stage, &[run]).await
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_understood_is_a_dead_letter_and_stops_nothing() -> anyhow::Result<()> {
    on_stage("dead letters", Setup::default(), async |stage| {
        let producer =
            PlainProducer::start(&Connection::plain(stage.bootstrap(), "vandal"), Acks::All, SOON)?;
        let catalog = stage.topics.name(Topic::FileCatalog);
        let hostile = r#"{"experiment_name":"mfxlv9518","CRUD":"Create","value":{"path":"/mfx/mfxlv9518/xtc/../../x","run_num":1}}"#;
        let letters: [&[u8]; 4] = [b"no json", b"\xff\xfe\x00", b"{}", hostile.as_bytes()];
        for letter in letters {
            producer.send(&catalog, None, &[], Some(letter)).await?;
        }
        let runs = stage.take(&stage.runs(1, 1, 10 * MIB, 22)?).await?;
        stage.until_available(&runs, SOON).await?;
        let mut judge = Judge::of(stage);
        judge.letters = letters.len();
        judge.verify(stage, &runs).await?;
        let seen = stage.witness.account().await?;
        for letter in &seen.letters {
            let bytes = letter.value.as_deref().and_then(lightrail_topics::record::from_base64).unwrap_or_default();
            anyhow::ensure!(letters.contains(&bytes.as_slice()), "a letter has other bytes: {letter:?}");
            anyhow::ensure!(letter.topic == catalog && !letter.reason.is_empty(), "{letter:?}");
        }
        Ok(())
    })
    .await
}
