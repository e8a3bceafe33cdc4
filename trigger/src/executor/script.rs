//! The script that a job is: directives for its scheduler, the claim, the environment, the work. Every value is quoted by its
//! type; nothing that an event says can break out. Pure.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use lightrail_topics::events::{Field, JobIdentity, Piece, Work};
use lightrail_topics::{JobName, SiteName};

/// The exit status of a copy that ended because another one has the job's claim.
pub const COPY: u8 = 119;

/// What a scheduler is told in the script's head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Header {
    /// Nothing.
    Local,
    /// Slurm's directives.
    Slurm(SlurmHeader),
}

/// What Slurm is told, where it is not left to its own defaults. All are words: see [`is_word`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SlurmHeader {
    /// `--partition`.
    pub partition: Option<String>,
    /// `--account`.
    pub account: Option<String>,
    /// `--qos`.
    pub qos: Option<String>,
    /// `--reservation`.
    pub reservation: Option<String>,
    /// `--constraint`.
    pub constraint: Option<String>,
}

/// How analysis workers are started at a site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Analysis {
    /// The program `lightrail-analysis`, as nodes see it.
    pub program: PathBuf,
    /// Its configuration.
    pub config: PathBuf,
}

/// All that a script is made of.
#[derive(Clone, Debug)]
pub struct Script<'a> {
    /// The job.
    pub identity: &'a JobIdentity,
    /// Where it runs.
    pub site: &'a SiteName,
    /// What it runs.
    pub work: &'a Work,
    /// Its nodes.
    pub nodes: u32,
    /// Its time, seconds.
    pub seconds: u64,
    /// The head.
    pub header: &'a Header,
    /// Where its output goes: a folder that nodes see.
    pub folder: &'a Path,
    /// The folder of the site's claims.
    pub claims: &'a Path,
    /// How analysis workers are started there.
    pub analysis: Option<&'a Analysis>,
}

/// Why no script can be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScriptError {
    /// The site does not say how analysis workers are started.
    #[error("site {0} says no [sites.{0}.analysis]: no workers can be started there")]
    NoAnalysis(SiteName),
    /// An argument asks for the trial and the rule has none.
    #[error("an argument asks for {{trial}}, and the rule has none")]
    NoTrial,
    /// A path is not UTF-8.
    #[error("path {0} is no UTF-8 text")]
    Path(String),
}

/// Whether a value can stand in a directive: letters, digits and a few signs, none of which means anything to a parser.
pub fn is_word(text: &str) -> bool {
    let good =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b'/' | b'+' | b'@');
    !text.is_empty() && text.len() <= 200 && !text.starts_with('-') && text.bytes().all(good)
}

/// A text as one word of a shell, whatever is in it.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

fn path(path: &Path) -> Result<&str, ScriptError> {
    path.to_str().ok_or_else(|| ScriptError::Path(path.display().to_string()))
}

impl Script<'_> {
    /// The script.
    ///
    /// # Errors
    /// When the site or the rule lacks what the work needs.
    pub fn compose(&self) -> Result<String, ScriptError> {
        let name = self.identity.name();
        let mut text = String::from("#!/bin/bash\n");
        self.head(&mut text, &name)?;
        let own_id = match self.header {
            Header::Local => "${LIGHTRAIL_LOCAL_ID:?}",
            Header::Slurm(_) => "${SLURM_JOB_ID:?}",
        };
        let claims = quoted(path(self.claims)?);
        let _ = write!(
            text,
            r#"
set -u
id={own_id}
claim={claims}/{name}
# One copy of a job works: the one whose id stands in the claim. A requeue finds its own there.
if ! ln -sT "$id" "$claim" 2>/dev/null && [ "$(readlink "$claim")" != "$id" ]; then
    echo "job {name} is not worked by $id: its claim $claim says '$(readlink "$claim")'"
    [ -L "$claim" ] && exit {COPY}
    exit 1
fi
"#
        );
        self.environment(&mut text, &name);
        match self.work {
            Work::Command { program, arguments } => {
                let mut line = format!("exec {}", quoted(program));
                for argument in arguments {
                    line.push(' ');
                    line.push_str(&quoted(&self.filled(&argument.0, &name)?));
                }
                let _ = writeln!(text, "\n{line}");
            }
            Work::Analysis { workers } => self.workers(&mut text, &name, *workers)?,
        }
        Ok(text)
    }

    fn head(&self, text: &mut String, name: &JobName) -> Result<(), ScriptError> {
        let Header::Slurm(slurm) = self.header else { return Ok(()) };
        let (hours, minutes, seconds) = (self.seconds / 3600, self.seconds / 60 % 60, self.seconds % 60);
        let folder = path(self.folder)?;
        let _ = writeln!(text, "#SBATCH --job-name={name}");
        // Words of ids, blanks and slashes only.
        let _ = writeln!(text, "#SBATCH --comment=\"{}\"", self.identity);
        let _ = writeln!(text, "#SBATCH --chdir={folder}");
        let _ = writeln!(text, "#SBATCH --output={folder}/{name}.%j.out");
        let _ = writeln!(text, "#SBATCH --open-mode=append");
        let _ = writeln!(text, "#SBATCH --nodes={}", self.nodes);
        let _ = writeln!(text, "#SBATCH --time={hours}:{minutes:02}:{seconds:02}");
        let _ = writeln!(text, "#SBATCH --requeue");
        // A warning before the end, to the batch script.
        let _ = writeln!(text, "#SBATCH --signal=B:USR1@30");
        let options = [
            ("partition", &slurm.partition),
            ("account", &slurm.account),
            ("qos", &slurm.qos),
            ("reservation", &slurm.reservation),
            ("constraint", &slurm.constraint),
        ];
        for (option, value) in options {
            if let Some(value) = value {
                let _ = writeln!(text, "#SBATCH --{option}={value}");
            }
        }
        Ok(())
    }

    /// What LCLS's own jobs find in their environment, and ours.
    fn environment(&self, text: &mut String, name: &JobName) {
        let run = &self.identity.run;
        let _ = writeln!(text, "\nexport EXPERIMENT={}", quoted(run.experiment.as_str()));
        let _ = writeln!(text, "export RUN_NUM={}", run.run);
        let _ = writeln!(text, "export LIGHTRAIL_JOB={name}");
        let _ = writeln!(text, "export LIGHTRAIL_SITE={}", quoted(self.site.as_str()));
        if let Some(trial) = self.identity.trial {
            let _ = writeln!(text, "export LIGHTRAIL_TRIAL={trial}");
        }
    }

    fn filled(&self, pieces: &[Piece], name: &JobName) -> Result<String, ScriptError> {
        let mut text = String::new();
        for piece in pieces {
            match piece {
                Piece::Text(plain) => text.push_str(plain),
                Piece::Field(field) => {
                    let value = match field {
                        Field::Experiment => self.identity.run.experiment.to_string(),
                        Field::Run => self.identity.run.run.to_string(),
                        Field::Trial => self.identity.trial.ok_or(ScriptError::NoTrial)?.to_string(),
                        Field::Site => self.site.to_string(),
                        Field::Job => name.to_string(),
                    };
                    text.push_str(&value);
                }
            }
        }
        Ok(text)
    }

    /// Workers until they are told to end. What the script is told they are told: the shell itself would not pass it on.
    fn workers(&self, text: &mut String, name: &JobName, workers: u32) -> Result<(), ScriptError> {
        let analysis = self.analysis.ok_or_else(|| ScriptError::NoAnalysis(self.site.clone()))?;
        let (program, config) = (quoted(path(&analysis.program)?), quoted(path(&analysis.config)?));
        let _ = write!(
            text,
            r#"
pids=()
told=
tell() {{
    told=$1
    kill -"$told" "${{pids[@]}}" 2>/dev/null
}}
trap 'tell TERM' TERM INT
trap 'tell USR1' USR1
for slot in $(seq 1 {workers}); do
    {program} work --config {config} --slot "{name}-$slot" --listen 127.0.0.1:0 &
    pids+=($!)
    [ -z "$told" ] || kill -"$told" $!
done
status=0
for pid in "${{pids[@]}}"; do
    # A signal ends a wait, not the worker.
    while wait "$pid"; code=$?; kill -0 "$pid" 2>/dev/null; do :; done
    [ "$code" -eq 0 ] || status=$code
done
exit "$status"
"#
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests;
