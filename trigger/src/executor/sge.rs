//! Grid Engine by its own commands: qsub, one `qstat` for all jobs in XML, qacct for those that qstat knows no more, qdel. Absent is
//! never taken for done.

use std::collections::BTreeSet;

use async_trait::async_trait;
use lightrail_topics::JobName;
use lightrail_topics::events::{FailureClass, JobEnd};

use super::commands::{Commands, has_any};
use super::{Ending, Executor, ExecutorError, SchedulerId, Seen, Sighting, SubmitFault};

/// Parts of the messages with which qsub refuses a job for good.
const REFUSALS: [&str; 7] = [
    "job rejected",
    "was rejected",
    "unknown resource",
    "no suitable queues",
    "unable to run job: unknown",
    "invalid option",
    "does not exist",
];

/// A Grid Engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sge {
    /// Its commands.
    pub commands: Commands,
}

#[async_trait]
impl Executor for Sge {
    async fn submit(&self, _: &JobName, script: &str) -> Result<SchedulerId, SubmitFault> {
        let said = self.commands.submit("qsub", &["-terse"], script, |said| has_any(said, &REFUSALS)).await?;
        let id = said.lines().last().unwrap_or_default().trim();
        id.parse().map_err(|_| SubmitFault::Unknown(format!("qsub said {:?}", said.trim())))
    }

    async fn look(&self, names: &BTreeSet<JobName>) -> Result<Vec<Sighting>, ExecutorError> {
        let mut found = qstat(&self.commands.run("qstat", &["-xml"]).await?, names);
        let known: BTreeSet<JobName> = found.iter().map(|sighting| sighting.name.clone()).collect();
        for name in names.difference(&known) {
            // Not in its accounts yet, which begin with the first job that ends, or never there: nothing is seen of it.
            match self.commands.run("qacct", &["-j", name.as_str()]).await {
                Ok(said) => found.extend(qacct(&said, names)),
                Err(error) if has_any(&error.why, &["not found", "accounting: no such file"]) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }

    /// Grid Engine signals running jobs by suspending or deleting them only: whoever is to finish is deleted, with the warning
    /// (`-notify`) before it.
    async fn end(&self, id: &SchedulerId, _: Ending) -> Result<(), ExecutorError> {
        match self.commands.run("qdel", &[&id.to_string()]).await {
            Err(error) if !has_any(&error.why, &["does not exist", "already in deletion"]) => Err(error),
            _ => Ok(()),
        }
    }
}

/// The text of an element; ours hold words and numbers only.
fn element<'x>(xml: &'x str, name: &str) -> Option<&'x str> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    rest.split_once(&format!("</{name}>")).map(|(text, _)| text.trim())
}

/// `qstat -xml`: a `job_list` per job.
fn qstat(xml: &str, names: &BTreeSet<JobName>) -> Vec<Sighting> {
    let read = |job: &str| {
        let name: JobName = element(job, "JB_name")?.parse().ok()?;
        if !names.contains(&name) {
            return None;
        }
        let id: SchedulerId = element(job, "JB_job_number")?.parse().ok()?;
        Some(Sighting { name, id, seen: seen(element(job, "state")?)? })
    };
    xml.split("<job_list").skip(1).filter_map(read).collect()
}

/// Grid Engine's letters: `qw`, `hqw`, `t`, `r`, `s`, `Rr`, `dr`, `Eqw`.
fn seen(letters: &str) -> Option<Seen> {
    let has = |letter: char| letters.contains(letter);
    Some(if has('E') {
        // It stays in the queue with its fault until somebody deletes it; told as its end, so that another attempt may follow.
        let end = JobEnd::Failed { class: FailureClass::Node, text: format!("state {letters}") };
        Seen::Ended { end, exit: None }
    } else if has('s') || has('S') || has('T') {
        // By somebody, with its queue, or for its queue has too much to do.
        Seen::Suspended
    } else if has('r') || has('t') {
        Seen::Running
    } else if has('h') {
        Seen::Held
    } else if has('w') || has('R') {
        Seen::Pending
    } else {
        return None;
    })
}

/// `qacct -j`: blocks under lines of `=`, in each `key   value`.
fn qacct(text: &str, names: &BTreeSet<JobName>) -> Vec<Sighting> {
    let read = |block: &str| {
        let field = |key: &str| {
            block
                .lines()
                .find_map(|line| line.strip_prefix(key)?.strip_prefix(' '))
                .map(str::trim)
                .unwrap_or_default()
        };
        let name: JobName = field("jobname").parse().ok()?;
        if !names.contains(&name) {
            return None;
        }
        let id: SchedulerId = field("jobnumber").parse().ok()?;
        Some(Sighting { name, id, seen: ended(field("failed"), field("exit_status"), field("deleted_by")) })
    };
    text.split("==============================================================").filter_map(read).collect()
}

/// How a job has ended: `failed` is 0, or a number and its meaning.
fn ended(failed: &str, exit: &str, deleted_by: &str) -> Seen {
    // `137` or `137 (Killed)`
    let number = |text: &str| text.split_whitespace().next().and_then(|text| text.parse::<u32>().ok());
    let (failed_by, status) = (number(failed).unwrap_or_default(), number(exit).unwrap_or_default());
    let exit = u8::try_from(status).ok();
    let text = format!("failed {failed}, exit_status {status}");
    let class = match failed_by {
        0 if status == 0 => return Seen::Ended { end: JobEnd::Done, exit: Some(0) },
        _ if !matches!(deleted_by, "" | "NONE") => {
            return Seen::Ended {
                end: JobEnd::Cancelled { text: format!("deleted by {deleted_by}") },
                exit: None,
            };
        }
        0 => FailureClass::Application,
        // h_rt, h_cpu or h_vmem, by the master.
        37 | 44 => FailureClass::Timeout,
        // "assumedly after job": a signal ended it, of whomever.
        100 => return Seen::Ended { end: JobEnd::Cancelled { text }, exit: None },
        _ => FailureClass::Node,
    };
    Seen::Ended { end: JobEnd::Failed { class, text }, exit }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(found: &[Sighting]) -> String {
        let lines =
            found.iter().map(|sighting| format!("{} {} {:?}", sighting.name, sighting.id, sighting.seen));
        lines.collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn what_grid_engine_prints_is_read() {
        let names = "abcdefg".chars().map(|letter| format!("lr{letter}").parse().unwrap()).collect();
        let job = |id: u32, name: &str, state: &str| {
            format!(
                "<job_list state=\"running\"><JB_job_number>{id}</JB_job_number><JAT_prio>0.5</JAT_prio>\
                <JB_name>{name}</JB_name><JB_owner>u</JB_owner><state>{state}</state></job_list>"
            )
        };
        let jobs = [
            job(1, "lra", "r"),
            job(2, "lrb", "qw"),
            job(3, "lrc", "hqw"),
            job(4, "lrd", "Eqw"),
            job(5, "lre", "Rr"),
            job(6, "lrf", "dr"),
            job(7, "other", "r"),
            job(8, "lrg", "?"),
        ];
        insta::assert_snapshot!(told(&qstat(&jobs.concat(), &names)));
    }

    #[test]
    fn every_state_has_its_meaning() {
        let letters = [
            "qw", "hqw", "hRwq", "Rq", "t", "r", "Rr", "Rt", "s", "S", "T", "ts", "Rs", "dr", "ds", "Eqw",
            "Ehqw", "d",
        ];
        let told = letters.map(|letters| format!("{letters}: {:?}", seen(letters)));
        let ends = [
            ("0", "0", "NONE"),
            ("0", "7", ""),
            ("0", "137", "auser@host"),
            ("37 : qmaster enforced h_rt, h_cpu, or h_vmem limit", "137 (Killed)", "NONE"),
            ("44 : execd enforced h_rt limit", "137", "NONE"),
            ("100 : assumedly after job", "137", "NONE"),
            ("21 : in recognizing job", "0", "NONE"),
        ];
        let ended =
            ends.map(|(failed, exit, by)| format!("{failed}, {exit}, {by}: {:?}", ended(failed, exit, by)));
        insta::assert_snapshot!([told.join("\n"), ended.join("\n")].join("\n"));
    }

    #[test]
    fn what_its_accounts_print_is_read() {
        let names = "abcd".chars().map(|letter| format!("lr{letter}").parse().unwrap()).collect();
        let record = |id: u32, name: &str, failed: &str, exit: &str| {
            format!(
                "==============================================================\nqname        main.q\njobname      {name}\n\
                jobnumber    {id}\nfailed       {failed}\nexit_status  {exit}\n"
            )
        };
        let records = [
            record(1, "lra", "0", "0"),
            record(2, "lrb", "0", "7"),
            record(3, "lrc", "100 : assumedly after job", "137"),
            record(4, "lrd", "37  : qmaster enforced h_rt, h_cpu, or h_vmem limit", "137"),
            record(5, "other", "0", "0"),
        ];
        insta::assert_snapshot!(told(&qacct(&records.concat(), &names)));
    }
}
