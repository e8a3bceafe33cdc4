//! The command line: what can be said, and who does it. Prints for people on standard output, faults on standard error.
//! Decides nothing.

mod explain;
mod kafka;
mod pools;
mod rehearse;
mod rules;
mod sets;
mod simulate;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::anyhow;
use clap::{Args, Parser, Subcommand};
use lightrail_topics::{Experiment, RuleName, RunKey, RunNumber};

use crate::config::{Config, Place};
use crate::run::TriggerError;

use lightrail_service::command::{self, Failure, Threads};
use lightrail_service::say;

/// Decides what to run where, and sees it through.
#[derive(Debug, Parser)]
#[command(
    name = "lightrail-trigger",
    version,
    propagate_version = true,
    after_help = "Exit status: 0 done, 1 failed, 2 wrong configuration, rules, usage or name, \
    3 another process decides now."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Decide until SIGTERM. What was submitted goes on; the next start takes it up.
    Run {
        #[command(flatten)]
        file: ConfigFile,
        /// Where health and metrics are asked for; by default where the configuration says.
        #[arg(long, value_name = "ADDRESS")]
        listen: Option<SocketAddr>,
    },
    /// Check a configuration and list all that is wrong with it.
    CheckConfig {
        /// The configuration.
        file: PathBuf,
    },
    /// Compare the topics on Kafka with what they should be.
    Topics {
        #[command(flatten)]
        file: ConfigFile,
        /// Make those that are not there. Safe to repeat; never changes one that is there.
        #[arg(long)]
        create: bool,
    },
    /// Rules: what starts work.
    Rules {
        #[command(subcommand)]
        command: rules::Rules,
    },
    /// Tags that people put on runs.
    Tags {
        #[command(subcommand)]
        command: sets::Tags,
    },
    /// Groups of runs and datasets: which runs a rule is about.
    Datasets {
        #[command(subcommand)]
        command: sets::Datasets,
    },
    /// Say what a file's rules would have done with all that has happened. Nothing is submitted.
    DryRun(rehearse::DryRun),
    /// Put a rule once more for earlier runs, under a new trial: as reprocessing, which gives way to live runs.
    Replay(rehearse::Replay),
    /// The standing pools' jobs, and why each was started.
    Pools {
        #[command(flatten)]
        file: ConfigFile,
    },
    /// Have a MANUAL rule fire for a run, once more with each call.
    Ask {
        /// The rule.
        rule: RuleName,
        /// The experiment.
        experiment: Experiment,
        /// The run.
        run: RunNumber,
        #[command(flatten)]
        file: ConfigFile,
    },
    /// Serve a simulated facility (SF API 1.2 and IRI) from a scenario, over local processes: for tests and drills.
    SimulateFacility {
        /// The scenario.
        scenario: PathBuf,
    },
    /// Say for a run why each rule fires or does not, and what became of its jobs.
    Explain {
        /// The experiment.
        experiment: Experiment,
        /// The run.
        run: RunNumber,
        /// This rule only.
        rule: Option<RuleName>,
        #[command(flatten)]
        file: ConfigFile,
    },
}

#[derive(Debug, Args)]
struct ConfigFile {
    /// The trigger's configuration.
    #[arg(long, value_name = "FILE", env = "LIGHTRAIL_TRIGGER_CONFIG")]
    config: PathBuf,
}

impl ConfigFile {
    fn load(&self) -> Result<Config, Failure> {
        Ok(Config::load(&self.config)?)
    }
}

/// Does what the command line says; the exit status tells the truth.
pub fn main() -> ExitCode {
    command::run(Threads::Cores, obey(Cli::parse().command))
}

async fn obey(command: Command) -> Result<(), Failure> {
    match command {
        Command::Run { file, listen } => {
            let mut config = file.load()?;
            config.listen = listen.unwrap_or(config.listen);
            lightrail_service::telemetry::start(&config.log).map_err(Failure::Usage)?;
            crate::run::run(config, command::stopped()?).await.map_err(|error| match error {
                TriggerError::Rival(..) => Failure::Status(3, error.into()),
                error => Failure::Other(error.into()),
            })
        }
        Command::CheckConfig { file } => {
            let config = Config::load(&file)?;
            keys(&config)?;
            say!("{}: right; decides as {}, {} sites", file.display(), config.decider, config.sites.len());
            Ok(())
        }
        Command::Topics { file, create } => kafka::topics(&file.load()?, create).await,
        Command::Rules { command } => command.obey().await,
        Command::Tags { command } => command.obey().await,
        Command::Datasets { command } => command.obey().await,
        Command::DryRun(asked) => asked.obey().await,
        Command::Replay(asked) => asked.obey().await,
        Command::Pools { file } => pools::list(&file.load()?).await,
        Command::Ask { rule, experiment, run, file } => {
            rules::ask(&file.load()?, rule, RunKey { experiment, run }).await
        }
        Command::SimulateFacility { scenario } => simulate::facility(&scenario).await,
        Command::Explain { experiment, run, rule, file } => {
            explain::explain(&file.load()?, experiment, run, rule).await
        }
    }
}

/// Whether the keys that a configuration names can be used; every one that cannot is named.
fn keys(config: &Config) -> Result<(), Failure> {
    let mut faults = Vec::new();
    for (name, site) in &config.sites {
        if let Place::Sfapi(at) = &site.executor
            && let Err(error) = at.check_key()
        {
            faults.push(format!("sites.{name}.sfapi.key: {:#}", anyhow::Error::from(error)));
        }
    }
    if let Some(Err(error)) = config.jid.as_ref().map(crate::jid::key) {
        faults.push(format!("jid.public_key: {:#}", anyhow::Error::from(error)));
    }
    if faults.is_empty() { Ok(()) } else { Err(Failure::Usage(anyhow!("{}", faults.join("\n")))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_that_cannot_be_used_is_named_with_what_is_wrong_with_it() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let (private, public) = crate::jwt::tests::pair();
        let path = |name: &str| folder.path().join(name).display().to_string();
        let write = |name: &str, text: &str, mode: u32| {
            std::fs::write(path(name), text).unwrap();
            std::fs::set_permissions(path(name), std::fs::Permissions::from_mode(mode)).unwrap();
        };
        let text = format!(
            "decider = \"test\"\n[kafka]\nbootstrap = [\"localhost:9092\"]\n[sites.NERSC]\nexecutor = \"sfapi\"\nfolder = \"/jobs\"\n\
            claims = \"/claims\"\n[sites.NERSC.sfapi]\nuser = \"a\"\nkey = {:?}\n[jid]\nlisten = \"127.0.0.1:0\"\npublic_key = {:?}\n",
            path("client.pem"),
            path("logbook.pem"),
        );
        let config = Config::parse(&text).unwrap_or_else(|faults| panic!("{faults:#?}"));
        let told = || match keys(&config) {
            Ok(()) => String::new(),
            Err(Failure::Usage(error)) => error.to_string().replace(&path(""), ""),
            Err(other) => panic!("{other:?}"),
        };
        assert_eq!(
            told(),
            "sites.NERSC.sfapi.key: key file client.pem cannot be read: No such file or directory (os error 2)\n\
             jid.public_key: public key logbook.pem cannot be read: No such file or directory (os error 2)"
        );
        write("logbook.pem", &public, 0o644);
        write("client.pem", &format!("client\n{private}"), 0o644);
        assert_eq!(told(), "sites.NERSC.sfapi.key: key file client.pem can be read by others: chmod 600 it");
        write("client.pem", &format!("client\n{public}"), 0o600);
        assert!(
            told().starts_with("sites.NERSC.sfapi.key: key file client.pem holds no RSA key: "),
            "{}",
            told()
        );
        write("client.pem", &format!("client\n{private}"), 0o600);
        assert_eq!(told(), "");
    }
}
