//! What a running mover answers, as tables and progress bars.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::io::IsTerminal;
use std::time::Duration;

use anyhow::anyhow;
use bytesize::ByteSize;
use comfy_table::{Cell, CellAlignment, Table, presets};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use lightrail_topics::events::TransferState;
use lightrail_topics::{Experiment, RunKey};

use super::remote::Remote;
use crate::config::near;
use crate::view::{NotKnown, Readiness, RunFilter, RunView, TransferFilter, TransferView, WhyView};
use lightrail_service::command::Failure;
use lightrail_service::say;

/// How often a watcher asks.
const EVERY: Duration = Duration::from_secs(1);

/// Prints runs and transfers once.
pub(super) async fn status(remote: &Remote, experiment: Option<Experiment>) -> Result<(), Failure> {
    say!("{}", readiness(&remote.ready().await?));
    let runs = runs(remote, experiment).await?;
    say!("{}", run_table(&runs));
    let transfers = remote.transfers(&TransferFilter::default()).await?;
    let of_runs: Vec<&TransferView> =
        transfers.iter().filter(|transfer| runs.iter().any(|run| run.run == transfer.run)).collect();
    if !of_runs.is_empty() {
        say!("{}", transfer_table(&of_runs));
    }
    Ok(())
}

/// Prints for each missing file the one thing that it waits for.
pub(super) async fn why(remote: &Remote, run: &RunKey) -> Result<(), Failure> {
    say!("{}", why_text(&remote.why(run).await?));
    Ok(())
}

/// Shows a bar per run until it is interrupted; without a terminal, the table again and again.
pub(super) async fn watch(remote: &Remote, experiment: Option<Experiment>) -> Result<(), Failure> {
    let bars = MultiProgress::new();
    let head = bars.add(ProgressBar::new_spinner());
    head.set_style(style("{spinner} {msg}")?);
    let mut shown: BTreeMap<String, ProgressBar> = BTreeMap::new();
    let mut tick = tokio::time::interval(EVERY);
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            stopped = tokio::signal::ctrl_c() => return stopped.map_err(|why| Failure::Other(anyhow!(why))),
        }
        let runs = runs(remote, experiment.clone()).await?;
        let ready = readiness(&remote.ready().await?);
        if !std::io::stderr().is_terminal() {
            say!("{ready}\n{}", run_table(&runs));
            continue;
        }
        head.set_message(ready);
        head.tick();
        for run in runs.iter().rev() {
            let name = name(run);
            let bar = if let Some(bar) = shown.get(&name) {
                bar
            } else {
                let bar = bars.add(ProgressBar::new(0));
                bar.set_style(style("{prefix:28} {bar:30} {bytes:>10}/{total_bytes:10} {msg}")?);
                bar.set_prefix(name.clone());
                shown.entry(name).or_insert(bar)
            };
            bar.set_length(run.bytes);
            bar.set_position(run.bytes_available);
            bar.set_message(format!("{}/{} files, {}{}", run.available, run.files, run.state, failed(run)));
        }
    }
}

fn style(template: &str) -> Result<ProgressStyle, Failure> {
    ProgressStyle::with_template(template).map_err(|why| Failure::Other(anyhow!(why)))
}

/// The runs wanted. An experiment that has none is a name that is not known.
async fn runs(remote: &Remote, experiment: Option<Experiment>) -> Result<Vec<RunView>, Failure> {
    let runs = remote.runs(&RunFilter { experiment: experiment.clone(), limit: None }).await?;
    let Some(experiment) = experiment.filter(|_| runs.is_empty()) else { return Ok(runs) };
    let all = remote.runs(&RunFilter { experiment: None, limit: Some(10_000) }).await?;
    let mut names: Vec<&str> = all.iter().map(|run| run.run.experiment.as_str()).collect();
    names.dedup();
    let near = near(experiment.as_str(), names).into_iter().map(str::to_owned).collect();
    Err(Failure::usage(NotKnown { what: "experiment".to_owned(), name: experiment.to_string(), near }))
}

pub(super) fn readiness(readiness: &Readiness) -> String {
    let Readiness { ready, notes, queued, under_way, outbox } = readiness;
    let word = if *ready { "ready" } else { "not ready" };
    let mut text = format!("{word}: {under_way} under way, {queued} queued, {outbox} messages to publish");
    for note in notes {
        text.push_str("; ");
        text.push_str(note);
    }
    text
}

fn name(run: &RunView) -> String {
    run.site.as_ref().map_or_else(|| run.run.to_string(), |site| format!("{}@{site}", run.run))
}

fn failed(run: &RunView) -> String {
    if run.failed == 0 { String::new() } else { format!(", {} failed", run.failed) }
}

fn size(bytes: u64) -> String {
    ByteSize(bytes).display().si().to_string()
}

fn right(text: impl Display) -> Cell {
    Cell::new(text).set_alignment(CellAlignment::Right)
}

fn table(head: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::UTF8_HORIZONTAL_ONLY).set_header(head);
    table
}

pub(super) fn run_table(runs: &[RunView]) -> Table {
    let mut table = table(&["run", "site", "state", "files", "bytes", "first file", "ended"]);
    for run in runs {
        let after_end = match (run.first_file, run.ended) {
            (Some(first), Some(ended)) => format!("{:.1} s after its end", first.since(ended).as_secs_f64()),
            (Some(first), None) => first.to_string(),
            (None, _) => String::new(),
        };
        table.add_row([
            Cell::new(&run.run),
            Cell::new(run.site.as_ref().map_or("", |site| site.as_str())),
            Cell::new(format!("{}{}", run.state, failed(run))),
            right(format!("{}/{}", run.available, run.files)),
            right(format!("{}/{}", size(run.bytes_available), size(run.bytes))),
            Cell::new(after_end),
            Cell::new(run.ended.map(|ended| ended.to_string()).unwrap_or_default()),
        ]);
    }
    table
}

pub(super) fn transfer_table(transfers: &[&TransferView]) -> Table {
    let mut table = table(&["file", "to", "state", "tries", "bytes", "server", "waits for"]);
    for transfer in transfers {
        let state = match (transfer.state, &transfer.step) {
            (Some(TransferState::Carrying), Some(step)) => step.clone(),
            (Some(state), _) => format!("{state:?}").to_lowercase(),
            (None, _) => "gone".to_owned(),
        };
        let bytes = match (transfer.bytes, transfer.size) {
            (Some(bytes), Some(of)) => format!("{}/{}", size(bytes), size(of)),
            (_, Some(of)) => size(of),
            _ => String::new(),
        };
        table.add_row([
            Cell::new(transfer.lfn.file_name()),
            Cell::new(&transfer.site),
            Cell::new(state),
            right(transfer.tries),
            right(bytes),
            Cell::new(transfer.to_server.as_deref().unwrap_or_default()),
            Cell::new(transfer.why.as_deref().unwrap_or_default()),
        ]);
    }
    table
}

pub(super) fn why_text(why: &WhyView) -> String {
    let mut text = format!("run {}", why.run);
    for site in &why.sites {
        let name = site.site.as_ref().map_or_else(String::new, |site| format!("{site}: "));
        text.extend(["\n", &name, &site.summary]);
        for (lfn, waits_for) in &site.missing {
            text.extend(["\n  ", lfn.file_name(), ": ", waits_for]);
        }
    }
    text
}
