//! `inspect`: what is in a file, local or behind a door.

use anyhow::{Context as _, anyhow};
use clap::Args;

use crate::inspect::inspect;
use crate::source::{Location, Settings, Source};
use lightrail_service::command::Failure;
use lightrail_service::say;

/// Which files, and how to tell.
#[derive(Debug, Args)]
pub(super) struct Inspect {
    /// Paths or `root://` URLs of XTC2, XTC, their small files and indices, HDF5, CBF or NumPy files.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<Location>,
    /// As JSON, one line per file.
    #[arg(long)]
    json: bool,
}

impl Inspect {
    pub(super) async fn obey(self) -> Result<(), Failure> {
        let source = Source::new(Settings::default());
        let outcome = self.tell(&source).await;
        crate::source::shutdown();
        outcome
    }

    async fn tell(&self, source: &Source) -> Result<(), Failure> {
        let (mut unread, mut faulty) = (0, 0);
        for file in &self.files {
            let report = match inspect(source, file).await {
                Ok(report) => report,
                // It keeps nobody from seeing the others.
                Err(error) if self.files.len() > 1 => {
                    eprintln!("{:#}", anyhow::Error::new(error));
                    unread += 1;
                    continue;
                }
                Err(error) => return Err(Failure::Other(error.into())),
            };
            faulty += u32::from(report.fault.is_some());
            if self.json {
                let line = serde_json::to_string(&report).context("a report is no JSON")?;
                say!("{line}");
            } else {
                say!("{}", report.to_string().trim_end());
            }
        }
        let counts = [(unread, "cannot be read"), (faulty, "are damaged or cut")];
        let told =
            counts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}"));
        let told = told.collect::<Vec<_>>().join(" and ");
        if told.is_empty() {
            return Ok(());
        }
        Err(Failure::Other(anyhow!("of {} files {told}", self.files.len())))
    }
}
