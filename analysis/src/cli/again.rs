//! `reprocess`: puts images of earlier runs again under a new trial.

use anyhow::anyhow;
use clap::{Args, builder::PossibleValuesParser, builder::TypedValueParser as _};
use lightrail_topics::events::Outcome;
use lightrail_topics::{Experiment, TrialNumber};

use super::ConfigFile;
use crate::index::{Again, AgainError, again, place};
use crate::trial::Runs;
use lightrail_service::command::Failure;
use lightrail_service::say;

/// What is to be put again.
#[derive(Debug, Args)]
pub(super) struct Reprocess {
    /// The experiment.
    experiment: Experiment,
    /// Its runs, such as 12, 12-20, 12-end, all.
    runs: Runs,
    /// Under this trial.
    #[arg(long, value_name = "N")]
    trial: TrialNumber,
    /// Only images that ended so, such as unreadable,timeout,crashed.
    #[arg(long, value_delimiter = ',', value_parser = outcomes())]
    only: Vec<Outcome>,
    /// Under which trial they ended so; by default the highest other one under which the run has results.
    #[arg(long, value_name = "N", requires = "only")]
    of: Option<TrialNumber>,
    #[command(flatten)]
    file: ConfigFile,
}

const OUTCOMES: [(&str, Outcome); 7] = [
    ("hit", Outcome::Hit),
    ("miss", Outcome::Miss),
    ("timeout", Outcome::Timeout),
    ("crashed", Outcome::Crashed),
    ("unreadable", Outcome::Unreadable),
    ("refused", Outcome::Refused),
    ("failed", Outcome::Failed),
];

fn outcomes() -> impl clap::builder::TypedValueParser<Value = Outcome> {
    PossibleValuesParser::new(OUTCOMES.map(|(word, _)| word)).try_map(|word| {
        let found = OUTCOMES.iter().find(|(known, _)| *known == word);
        found.map(|(_, outcome)| *outcome).ok_or_else(|| anyhow!("{word} is no outcome"))
    })
}

impl Reprocess {
    pub(super) async fn obey(self) -> Result<(), Failure> {
        let config = self.file.load()?;
        let place = place(&config, "lightrail-analysis-cli").map_err(|error| Failure::Usage(error.into()))?;
        let Self { experiment, runs, trial, only, of, .. } = self;
        let mut failed = 0;
        let asked = Again { experiment, runs, trial, only, of };
        let outcome = again(&place, &asked, |run, outcome| match outcome {
            Ok(published) => {
                say!("run {run}: {} images put under trial {trial}, {} in all", published.new, published.all);
                for fault in published.faults {
                    say!("run {run}: {fault}");
                }
            }
            Err(error) => {
                failed += 1;
                eprintln!("run {run}: {:#}", anyhow::Error::new(error));
            }
        });
        let outcome = outcome.await;
        crate::source::shutdown();
        match outcome {
            Ok(()) if failed == 0 => Ok(()),
            Ok(()) => Err(Failure::Other(anyhow!("{failed} runs were not put again"))),
            Err(error @ (AgainError::NoTrial(_) | AgainError::NoRun { .. })) => {
                Err(Failure::Usage(error.into()))
            }
            Err(error) => Err(Failure::Other(error.into())),
        }
    }
}
