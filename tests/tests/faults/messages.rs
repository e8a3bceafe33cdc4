//! Each message of the logbook's play lost, doubled, swapped with the next, in turn: the same runs are announced.

use std::time::Duration;

use lightrail_compose::logbook::{LogbookOptions, Mischief};
use lightrail_compose::play::{FoundRun, PlayedRun};
use lightrail_tests::stage::{instrument, random};
use lightrail_tests::{Judge, Setup, Stage, on_stage};
use lightrail_topics::{Experiment, RunKey, RunNumber};

/// The experiment's document; of each run its begin, its parameters, three files, its end.
const MESSAGES: usize = 13;

/// Two runs of three files.
async fn play(stage: &Stage, experiment: &Experiment) -> anyhow::Result<Vec<PlayedRun>> {
    stage.daq().announce(experiment, &instrument())?;
    let mut runs = Vec::new();
    for number in [1, 2] {
        let mut files = Vec::new();
        for (at, name) in ["s000-c000.xtc2", "s001-c000.xtc2", "s000-c000.smd.xtc2"].into_iter().enumerate() {
            let below = if at == 2 { "xtc/smalldata" } else { "xtc" };
            let lfn =
                format!("/{}/{experiment}/{below}/{experiment}-r{number:04}-{name}", instrument()).parse()?;
            let path = stage.folder().join(format!("made-{:08x}", fastrand::u32(..)));
            std::fs::write(&path, random(20_000 + fastrand::u64(..1000)))?;
            files.push((lfn, path));
        }
        let key = RunKey { experiment: experiment.clone(), run: RunNumber(number) };
        runs.push(stage.daq().take_found(&FoundRun { key, files }).await?);
    }
    Ok(runs)
}

/// Plays as many experiments as there are messages; something happens to message `k` of the `k`th.
async fn each_message(case: &str, mischief: fn(usize) -> Mischief) -> anyhow::Result<()> {
    let mischief = (0..MESSAGES).map(|k| mischief(k * MESSAGES + k)).collect();
    let mut setup =
        Setup { logbook: LogbookOptions { mischief, ..LogbookOptions::default() }, ..Setup::default() };
    // A report would be one more message of the logbook; and what was lost is asked for soon.
    setup.settings.set("logbook", "report", false).text("logbook", "silent_after", "3s");
    on_stage(case, setup, async |stage| {
        let mut runs = Vec::new();
        for k in 0..MESSAGES {
            let experiment: Experiment = format!("mfxm{k:05}").parse()?;
            runs.extend(play(stage, &experiment).await?);
            let said = stage.logbook.said().len();
            anyhow::ensure!(said == (k + 1) * MESSAGES, "the play has {said} messages after {k} experiments");
        }
        stage.logbook.settle().await;
        stage.until_available(&runs, Duration::from_secs(90)).await?;
        Judge::of(stage).verify(stage, &runs).await
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_message_of_the_logbook_lost_in_turn_loses_no_run() -> anyhow::Result<()> {
    each_message("each message lost", Mischief::Lose).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_message_of_the_logbook_doubled_in_turn_doubles_nothing() -> anyhow::Result<()> {
    each_message("each message doubled", Mischief::Double).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_message_of_the_logbook_swapped_in_turn_changes_nothing() -> anyhow::Result<()> {
    each_message("each message swapped", Mischief::Swap).await
}
