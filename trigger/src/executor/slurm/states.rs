//! What Slurm prints, in our words. A line that is not understood is passed over: it tells nothing. Pure.

use std::collections::BTreeSet;

use lightrail_topics::JobName;
use lightrail_topics::events::{FailureClass, JobEnd};

use crate::executor::commands::has_any;
use crate::executor::{SchedulerId, Seen, Sighting};

/// Parts of the messages with which sbatch refuses a job for good.
const REFUSALS: [&str; 12] = [
    "invalid partition",
    "Invalid account",
    "Invalid qos",
    "Invalid --",
    "Invalid feature specification",
    "Invalid time limit",
    "Requested node configuration is not available",
    "Requested time limit is invalid",
    "This does not look like a batch script",
    "Requested reservation is invalid",
    "Reservation not found",
    "Access denied to requested reservation",
];

/// How sacct is asked for jobs by name, without the names.
pub(in crate::executor) const SACCT: [&str; 5] = [
    "--noheader",
    "--parsable2",
    "--allocations",
    "--starttime=now-7days",
    "--format=JobIDRaw,JobName,State,ExitCode",
];

/// Whether sbatch refuses such a job, now and later.
pub(in crate::executor) fn is_refusal(said: &str) -> bool {
    has_any(said, &REFUSALS)
}

/// Whether scancel says that there is nothing to end any more.
pub(in crate::executor) fn has_ended(said: &str) -> bool {
    // With --batch it prints nothing and ends with the lower byte of the error's number, 2021.
    let is_silent = said == "exit status: 229";
    is_silent || said.contains("Invalid job id specified") || said.contains("already completing or completed")
}

/// `squeue --Format=JobID:|,Name:|,State:|,Reason:|,exit_code:|`, one job a line. The exit code is the wait status there.
pub(super) fn squeue(text: &str, names: &BTreeSet<JobName>) -> Vec<Sighting> {
    let read = |line: &str| {
        let fields: Vec<&str> = line.split('|').map(str::trim).collect();
        let [id, name, state, reason, code, ..] = fields.as_slice() else { return None };
        let code: u32 = code.parse().ok()?;
        sighting(id, name, state, reason, (code >> 8 & 0xff, code & 0x7f), names)
    };
    text.lines().filter_map(read).collect()
}

/// What sacct prints when asked so.
pub(in crate::executor) fn sacct(text: &str, names: &BTreeSet<JobName>) -> Vec<Sighting> {
    let read = |line: &str| {
        let fields: Vec<&str> = line.split('|').map(str::trim).collect();
        let [id, name, state, code, ..] = fields.as_slice() else { return None };
        sighting(id, name, state, "", status(code)?, names)
    };
    text.lines().filter_map(read).collect()
}

/// The log of jobcomp/filetxt: `JobId=1 UserId=.. Name=.. JobState=COMPLETED .. ExitCode=0:0`. Of a requeued job there are
/// several lines; the last one counts.
pub(super) fn jobcomp(text: &str, names: &BTreeSet<JobName>) -> Vec<Sighting> {
    let mut found: Vec<Sighting> = Vec::new();
    for line in text.lines() {
        let field = |key: &str| {
            let at = |word: &'static str, text: &str| text.find(word).map(|at| at + word.len());
            let start = match key {
                "JobId" => at("JobId=", line),
                "Name" => at(" Name=", line),
                "JobState" => at(" JobState=", line),
                _ => at(" ExitCode=", line),
            }?;
            line[start..].split(' ').next()
        };
        let read = || {
            let (id, name) = (field("JobId")?, field("Name")?);
            sighting(id, name, field("JobState")?, "", status(field("ExitCode")?)?, names)
        };
        if let Some(sighting) = read() {
            found.retain(|other| other.id != sighting.id);
            found.push(sighting);
        }
    }
    found
}

/// `exit:signal`.
fn status(text: &str) -> Option<(u32, u32)> {
    let (exit, signal) = text.split_once(':')?;
    Some((exit.parse().ok()?, signal.parse().ok()?))
}

/// A job that is asked for, of the fields that Slurm prints; `status` is its exit status and its signal.
pub(in crate::executor) fn sighting(
    id: &str,
    name: &str,
    state: &str,
    reason: &str,
    status: (u32, u32),
    names: &BTreeSet<JobName>,
) -> Option<Sighting> {
    let name: JobName = name.parse().ok()?;
    let id: SchedulerId = id.parse().ok()?;
    if !names.contains(&name) {
        return None;
    }
    Some(Sighting { name, id, seen: seen(state, reason, status)? })
}

/// Slurm's states. Preempted is not failed where the job is queued again; nothing here says that a job is gone.
fn seen(state: &str, reason: &str, (exit, signal): (u32, u32)) -> Option<Seen> {
    // `CANCELLED by 1000`
    let word = state.split([' ', '+']).next().unwrap_or_default();
    let text = format!("{state} {exit}:{signal}");
    let failed = |class| Seen::Ended {
        end: JobEnd::Failed { class, text: text.clone() },
        exit: u8::try_from(exit).ok().filter(|_| signal == 0),
    };
    Some(match word {
        "PENDING" if reason.starts_with("JobHeld") => Seen::Held,
        "PENDING" | "CONFIGURING" | "REQUEUED" | "REQUEUE_FED" => Seen::Pending,
        "REQUEUE_HOLD" | "RESV_DEL_HOLD" | "SPECIAL_EXIT" => Seen::Held,
        "RUNNING" | "COMPLETING" | "SIGNALING" | "STAGE_OUT" | "RESIZING" => Seen::Running,
        "STOPPED" | "SUSPENDED" => Seen::Suspended,
        "COMPLETED" => Seen::Ended { end: JobEnd::Done, exit: Some(0) },
        "CANCELLED" | "REVOKED" => Seen::Ended { end: JobEnd::Cancelled { text: text.clone() }, exit: None },
        "FAILED" => failed(FailureClass::Application),
        "TIMEOUT" => failed(FailureClass::Timeout),
        "OUT_OF_MEMORY" => failed(FailureClass::Memory),
        "NODE_FAIL" | "BOOT_FAIL" => failed(FailureClass::Node),
        "DEADLINE" => failed(FailureClass::Deadline),
        // One that is queued again is told as that by squeue, and sacct is asked of those only that squeue knows no more.
        "PREEMPTED" => failed(FailureClass::Preempted),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> BTreeSet<JobName> {
        ["lra", "lrb"].iter().map(|name| name.parse().unwrap()).collect()
    }

    fn told(found: &[Sighting]) -> Vec<String> {
        found
            .iter()
            .map(|sighting| format!("{} {} {:?}", sighting.name, sighting.id, sighting.seen))
            .collect()
    }

    #[test]
    fn squeue_is_read_line_by_line_and_what_is_not_ours_is_passed_over() {
        let text = "4242|lra|RUNNING|None|0|\n7|other|RUNNING|None|0|\n8|lrb|PENDING|JobHeldAdmin|0|\n\
            9|lrb|FAILED|NonZeroExitCode|30464|\n10|lra|NEW_STATE|None|0|\nslurm_load_jobs error\n11|lra|CANCELLED|None|15|\n";
        insta::assert_snapshot!(told(&squeue(text, &names())).join("\n"), @r#"
        lra 4242 Running
        lrb 8 Held
        lrb 9 Ended { end: Failed { class: Application, text: "FAILED 119:0" }, exit: Some(119) }
        lra 11 Ended { end: Cancelled { text: "CANCELLED 0:15" }, exit: None }
        "#);
    }

    #[test]
    fn the_completion_log_and_sacct_say_how_jobs_ended() {
        // As Slurm 22.05 writes it.
        let log = "JobId=1 UserId=root(0) GroupId=root(0) Name=lra JobState=COMPLETED Partition=debug TimeLimit=525600 \
            StartTime=2026-11-28T23:46:33 EndTime=2026-11-28T23:46:36 NodeList=n NodeCnt=1 ProcCnt=1 WorkDir=/tmp \
            ReservationName= Tres=cpu=1 Account= QOS= WcKey= Cluster=unknown SubmitTime=2026-11-28T23:46:32 \
            EligibleTime=2026-11-28T23:46:32 DerivedExitCode=0:0 ExitCode=0:0 \n\
            JobId=2 UserId=root(0) GroupId=root(0) Name=lrb JobState=TIMEOUT DerivedExitCode=0:0 ExitCode=0:1 \n";
        insta::assert_snapshot!(told(&jobcomp(log, &names())).join("\n"), @r#"
        lra 1 Ended { end: Done, exit: Some(0) }
        lrb 2 Ended { end: Failed { class: Timeout, text: "TIMEOUT 0:1" }, exit: None }
        "#);
        let text = "3|lra|NODE_FAIL|1:0\n4|lrb|CANCELLED by 1000|0:15\n5|lrb|PREEMPTED|0:0\n6|lra|OUT_OF_MEMORY|0:125\n";
        insta::assert_snapshot!(told(&sacct(text, &names())).join("\n"), @r#"
        lra 3 Ended { end: Failed { class: Node, text: "NODE_FAIL 1:0" }, exit: Some(1) }
        lrb 4 Ended { end: Cancelled { text: "CANCELLED by 1000 0:15" }, exit: None }
        lrb 5 Ended { end: Failed { class: Preempted, text: "PREEMPTED 0:0" }, exit: Some(0) }
        lra 6 Ended { end: Failed { class: Memory, text: "OUT_OF_MEMORY 0:125" }, exit: None }
        "#);
    }

    #[test]
    fn every_state_has_its_meaning() {
        let states = [
            "PENDING",
            "CONFIGURING",
            "REQUEUED",
            "REQUEUE_FED",
            "REQUEUE_HOLD",
            "RESV_DEL_HOLD",
            "SPECIAL_EXIT",
            "RUNNING",
            "COMPLETING",
            "SIGNALING",
            "STAGE_OUT",
            "RESIZING",
            "STOPPED",
            "SUSPENDED",
            "COMPLETED",
            "CANCELLED",
            "CANCELLED by 1000",
            "REVOKED",
            "FAILED",
            "TIMEOUT",
            "OUT_OF_MEMORY",
            "NODE_FAIL",
            "BOOT_FAIL",
            "DEADLINE",
            "PREEMPTED",
            "NEW_STATE",
            "",
        ];
        let told = states.map(|state| format!("{state}: {:?}", seen(state, "None", (3, 0))));
        let held = format!("PENDING, held by its user: {:?}", seen("PENDING", "JobHeldUser", (0, 0)));
        let signal = format!("FAILED by a signal: {:?}", seen("FAILED", "None", (0, 9)));
        insta::assert_snapshot!([told.join("\n"), held, signal].join("\n"));
    }

    #[test]
    fn only_what_can_never_be_taken_is_refused_for_good() {
        assert!(is_refusal("sbatch: error: Batch job submission failed: Invalid partition name specified"));
        assert!(is_refusal("sbatch: error: invalid partition specified: nope"));
        assert!(!is_refusal(
            "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation"
        ));
        assert!(!is_refusal("sbatch: error: Unable to contact slurm controller (connect failure)"));
    }
}
