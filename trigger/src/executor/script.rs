//! The script that a job is: directives for its scheduler, the claim, the environment, the work. Every value is quoted by its
//! type; nothing that an event says can break out. Pure.

mod container;
mod head;
mod spec;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use lightrail_topics::events::{Argument, Field, JobIdentity, Piece, Work};
use lightrail_topics::{JobName, SiteName};

pub use container::{Container, Engine, is_image, is_volume};
pub use head::{Dialect, Head, Preemptible, Wishes, is_constraint, is_word};

use super::SchedulerId;

/// The exit status of a copy that ended because another one has the job's claim.
pub const COPY: u8 = 119;
/// That of a program that was not started, for an input was not there.
pub const NO_INPUT: u8 = 118;
/// That of a program which went well and has left an output out.
pub const NO_OUTPUT: u8 = 117;

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
    pub head: &'a Head,
    /// Where its output goes: a folder that nodes see.
    pub folder: &'a Path,
    /// The folder of the site's claims.
    pub claims: &'a Path,
    /// How analysis workers are started there.
    pub analysis: Option<&'a Analysis>,
    /// Jobs that are done before its scheduler starts it.
    pub after: &'a [SchedulerId],
    /// Whether it gives way to others, where the site says how.
    pub gives_way: bool,
    /// Whether it goes without the reservation: there is no room in it, or it is none.
    pub spills: bool,
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
    /// An argument asks for the run and the job is a pool's.
    #[error("an argument asks for the run, and a pool's job has none")]
    NoRun,
    /// A file of a task is named by no absolute path.
    #[error("{0} is no absolute path: inputs and outputs are looked for by these")]
    Relative(String),
    /// The site's scheduler does not start workers on several nodes.
    #[error(
        "workers on {0} nodes: this site's scheduler starts them on one; ask for more jobs, or for more workers"
    )]
    Nodes(u32),
    /// A path is not UTF-8.
    #[error("path {0} is no UTF-8 text")]
    Path(String),
}

/// A text as one word of a shell, whatever is in it.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

fn path(path: &Path) -> Result<&str, ScriptError> {
    path.to_str().ok_or_else(|| ScriptError::Path(path.display().to_string()))
}

impl Script<'_> {
    /// The script, or for IRI the specification.
    ///
    /// # Errors
    /// When the site or the rule lacks what the work needs.
    pub fn compose(&self) -> Result<String, ScriptError> {
        let body = self.body()?;
        match self.head.dialect {
            Dialect::Iri => self.specification(&body),
            _ => Ok(format!("#!/bin/bash\n{}{body}", self.head()?)),
        }
    }

    /// The claim, the environment, the work.
    fn body(&self) -> Result<String, ScriptError> {
        let name = self.identity.name();
        let own_id = self.head.dialect.own_id();
        let claims = quoted(path(self.claims)?);
        let mut text = format!(
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
        // Where the scheduler's directives do not say so.
        if matches!(self.head.dialect, Dialect::Pbs | Dialect::Torque) {
            let _ = writeln!(text, "cd {} || exit 1", quoted(path(self.folder)?));
        }
        let exported = self.environment(&mut text, &name);
        for file in &self.head.wishes.setup {
            let _ = writeln!(text, "set +u; . {} || exit 1; set -u", quoted(path(file)?));
        }
        let exported: Vec<&str> = exported.iter().map(String::as_str).collect();
        let inside = self
            .head
            .wishes
            .container
            .as_ref()
            .map(|container| container.prefix(&exported))
            .unwrap_or_default();
        match self.work {
            Work::Command { program, arguments, inputs, outputs } => {
                self.looked_for(&mut text, inputs, &name)?;
                let mut line = format!("{inside}{}", quoted(program));
                for argument in arguments {
                    line.push(' ');
                    line.push_str(&quoted(&self.filled(&argument.0, &name)?));
                }
                // Where something is left to be done after it, it is a child.
                if self.preemptible().is_some() || !outputs.is_empty() {
                    let start = format!("{line} &\npids+=($!)\n[ -z \"$told\" ] || kill -\"$told\" $!\n");
                    let left = self.left_behind(outputs, &name)?;
                    text.push_str(&self.children(&start, &left));
                } else {
                    let _ = writeln!(text, "\nexec {line}");
                }
            }
            Work::Analysis { workers, .. } => {
                let each = self.workers(&inside, &name, *workers)?;
                if self.nodes == 1 {
                    text.push_str(&self.children(&each, ""));
                } else if self.head.dialect.starts_on_each_node() {
                    let each = quoted(&format!("set -u{}", told(&each, "")));
                    let nodes = self.nodes;
                    let start = format!(
                        "srun --nodes={nodes} --ntasks={nodes} --ntasks-per-node=1 /bin/bash -c {each} &\npids+=($!)\n"
                    );
                    text.push_str(&self.children(&start, ""));
                } else {
                    return Err(ScriptError::Nodes(self.nodes));
                }
            }
        }
        Ok(text)
    }

    /// Runs children until they end, then does what is left, and puts itself back into its queue when it was warned and gives way
    /// to others.
    fn children(&self, start: &str, then: &str) -> String {
        let again = match (self.preemptible(), self.head.dialect) {
            (Some(_), Dialect::Slurm) => "[ \"$told\" != USR1 ] || scontrol requeue \"$id\"\n",
            _ => "",
        };
        told(start, &format!("{then}{again}"))
    }

    /// What LCLS's own jobs find in their environment, and ours, and what the site says; the names of all.
    fn environment(&self, text: &mut String, name: &JobName) -> Vec<String> {
        let job = self.identity.of_run();
        let mut all = Vec::new();
        if let Some(job) = job {
            all.push(("EXPERIMENT", quoted(job.run.experiment.as_str())));
            all.push(("RUN_NUM", job.run.run.to_string()));
        }
        all.push(("LIGHTRAIL_JOB", name.to_string()));
        all.push(("LIGHTRAIL_SITE", quoted(self.site.as_str())));
        if let Some(trial) = job.and_then(|job| job.trial) {
            all.push(("LIGHTRAIL_TRIAL", trial.to_string()));
        }
        let wished = self.head.wishes.environment.iter();
        all.extend(wished.map(|(name, value)| (name.as_str(), quoted(value))));
        text.push('\n');
        for (name, value) in &all {
            let _ = writeln!(text, "export {name}={value}");
        }
        all.into_iter().map(|(name, _)| name.to_owned()).collect()
    }

    /// Paths as words of a shell.
    fn paths(&self, of: &[Argument], name: &JobName) -> Result<String, ScriptError> {
        let paths = of.iter().map(|path| {
            let path = self.filled(&path.0, name)?;
            if path.starts_with('/') { Ok(quoted(&path)) } else { Err(ScriptError::Relative(path)) }
        });
        Ok(paths.collect::<Result<Vec<String>, _>>()?.join(" "))
    }

    /// Inputs are there, or nothing begins.
    fn looked_for(&self, text: &mut String, inputs: &[Argument], name: &JobName) -> Result<(), ScriptError> {
        if !inputs.is_empty() {
            let paths = self.paths(inputs, name)?;
            let _ = write!(
                text,
                r#"
for input in {paths}; do
    [ -e "$input" ] || {{ echo "job {name} does not begin: its input $input is not there"; exit {NO_INPUT}; }}
done
"#
            );
        }
        Ok(())
    }

    /// Whoever went well has left its outputs behind.
    fn left_behind(&self, outputs: &[Argument], name: &JobName) -> Result<String, ScriptError> {
        if outputs.is_empty() {
            return Ok(String::new());
        }
        let paths = self.paths(outputs, name)?;
        Ok(format!(
            r#"for output in {paths}; do
    [ "$status" -ne 0 ] || [ -e "$output" ] || {{ echo "job {name} has failed: its output $output is not there"; status={NO_OUTPUT}; }}
done
"#
        ))
    }

    fn filled(&self, pieces: &[Piece], name: &JobName) -> Result<String, ScriptError> {
        let mut text = String::new();
        for piece in pieces {
            match piece {
                Piece::Text(plain) => text.push_str(plain),
                Piece::Field(field) => {
                    let job = || self.identity.of_run().ok_or(ScriptError::NoRun);
                    let value = match field {
                        Field::Experiment => job()?.run.experiment.to_string(),
                        Field::Run => job()?.run.run.to_string(),
                        Field::Trial => job()?.trial.ok_or(ScriptError::NoTrial)?.to_string(),
                        Field::Site => self.site.to_string(),
                        Field::Job => name.to_string(),
                    };
                    text.push_str(&value);
                }
            }
        }
        Ok(text)
    }

    /// Starts the workers of a node.
    fn workers(&self, inside: &str, name: &JobName, workers: u32) -> Result<String, ScriptError> {
        let analysis = self.analysis.ok_or_else(|| ScriptError::NoAnalysis(self.site.clone()))?;
        let (program, config) = (quoted(path(&analysis.program)?), quoted(path(&analysis.config)?));
        let node = if self.nodes == 1 { "" } else { "$SLURM_NODEID-" };
        Ok(format!(
            r#"for slot in $(seq 1 {workers}); do
    {inside}{program} work --config {config} --slot "{name}-{node}$slot" --listen 127.0.0.1:0 &
    pids+=($!)
    [ -z "$told" ] || kill -"$told" $!
done
"#
        ))
    }
}

/// Starts children, waits for them, and does what is left. What the script is told they are told: the shell itself would not pass
/// it on.
fn told(start: &str, then: &str) -> String {
    format!(
        r#"
pids=()
told=
tell() {{
    told=$1
    kill -"$told" "${{pids[@]}}" 2>/dev/null
}}
trap 'tell TERM' TERM INT
trap 'tell USR1' USR1 USR2
{start}status=0
for pid in "${{pids[@]}}"; do
    # A signal ends a wait, not the child.
    while wait "$pid"; code=$?; kill -0 "$pid" 2>/dev/null; do :; done
    [ "$code" -eq 0 ] || status=$code
done
{then}exit "$status"
"#
    )
}

#[cfg(test)]
mod tests;
