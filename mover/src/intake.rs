//! Intake: what comes in from Kafka's topics, from folders and from the logbook. Translates; decides nothing.

pub mod folder;
pub mod kafka;

use lightrail_topics::{LogbookEvent, RunKey};

/// The runs that a message of the logbook names.
pub fn runs_named(event: &LogbookEvent) -> Vec<RunKey> {
    let mut runs = Vec::new();
    match event {
        LogbookEvent::Run { experiment, run: Some(doc), .. } => {
            runs.push(RunKey { experiment: experiment.clone(), run: doc.num });
            for file in doc.file_catalog.iter().flatten() {
                runs.extend(file.run.map(|run| RunKey { experiment: file.lfn.experiment(), run }));
            }
        }
        LogbookEvent::File { file: Some(doc), .. } => {
            runs.extend(doc.run.map(|run| RunKey { experiment: doc.lfn.experiment(), run }));
        }
        _ => {}
    }
    runs.sort();
    runs.dedup();
    runs
}

/// Files in a run's list that were refused, with the reason.
pub fn bad_files(event: &LogbookEvent) -> &[(String, String)] {
    match event {
        LogbookEvent::Run { run: Some(doc), .. } => &doc.bad_files,
        _ => &[],
    }
}
