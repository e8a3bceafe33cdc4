//! A real Slurm, and what can befall a job there: each time what is seen of it is what Slurm says.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use lightrail_compose::scratch::Scratch;
use lightrail_compose::slurm::{ACCOUNT, QOS, Slurm as Real, slurm, slurm_with_accounts};
use lightrail_compose::wait;
use lightrail_topics::JobName;
use lightrail_topics::events::{FailureClass, JobEnd};

use super::{History, Slurm};
use crate::executor::commands::Commands;
use crate::executor::{Ending, Executor as _, SchedulerId, Seen, Sighting, SubmitFault};

/// Slurm looks at its limits every 30 s.
const LIMIT: Duration = Duration::from_secs(90);

struct Case {
    real: Real,
    executor: Slurm,
    scratch: Scratch,
}

impl Case {
    async fn submit(&self, name: &str, options: &str, body: &str) -> Result<SchedulerId, SubmitFault> {
        let folder: &Path = self.scratch.path();
        let text = format!(
            "#!/bin/bash\n#SBATCH --job-name={name}\n#SBATCH --chdir={0}\n#SBATCH --output={0}/%x.out\n{options}\n{body}\n",
            folder.display()
        );
        self.executor.submit(&name.parse().unwrap(), &text).await
    }

    /// What is seen of a job, once `is` holds.
    async fn until(&self, name: &str, what: &str, is: impl Fn(&Seen) -> bool) -> Sighting {
        let name: JobName = name.parse().unwrap();
        let waited = format!("{name} {what}");
        let found = wait::until(&waited, LIMIT, async || {
            // While the controller is away nothing is known.
            let seen = self.executor.look(&BTreeSet::from([name.clone()])).await.ok()?;
            seen.into_iter().find(|sighting| is(&sighting.seen))
        });
        found.await.unwrap_or_else(|error| panic!("{error}\n{}", self.real.output()))
    }

    async fn ended(&self, name: &str) -> (Seen, String) {
        let sighting = self.until(name, "to end", |seen| matches!(seen, Seen::Ended { .. })).await;
        let id = sighting.id.to_string();
        let said = self.real.run("scontrol", &["--oneliner", "show", "job", &id]).await.unwrap();
        let state = said.split(' ').find_map(|word| word.strip_prefix("JobState=")).unwrap_or_default();
        (sighting.seen, state.to_owned())
    }

    /// Waits until the accounts say so of a job.
    async fn accounts(&self, id: &SchedulerId, columns: &str, line: &str) {
        let (id, format) = (format!("--jobs={id}"), format!("--format={columns}"));
        let arguments = ["--noheader", "--parsable2", "--allocations", &format, &id];
        wait::until(&format!("the accounts to say {line}"), LIMIT, async || {
            let said = self.real.run("sacct", &arguments).await.ok()?;
            (said.trim() == line).then_some(())
        })
        .await
        .unwrap_or_else(|error| panic!("{error}\n{}", self.real.output()));
    }

    async fn failed(&self, name: &str) -> (FailureClass, String) {
        match self.ended(name).await {
            (Seen::Ended { end: JobEnd::Failed { class, .. }, .. }, said) => (class, said),
            (seen, said) => panic!("{name}: {seen:?}, {said}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_seen_of_a_job_is_what_slurm_says() {
    let Some(real) = slurm("executor::slurm::tests::what_is_seen_of_a_job_is_what_slurm_says").await else {
        return;
    };
    let commands = Commands { folder: Some(real.commands()), within: Duration::from_secs(10) };
    let executor = Slurm { commands, history: History::Jobcomp(real.jobcomp()) };
    let case = Case { real, executor, scratch: Scratch::new().unwrap() };
    let control = async |arguments: &[&str]| case.real.run("scontrol", arguments).await.unwrap();

    for (option, word) in [("partition=nope", "partition"), ("reservation=nope", "reservation")] {
        match case.submit("lrnope", &format!("#SBATCH --{option}"), "true").await {
            Err(SubmitFault::Refused(why)) => assert!(why.to_lowercase().contains(word), "{why}"),
            other => panic!("{option}: {other:?}"),
        }
    }
    // Its time is over, as far as Slurm goes; it is looked for at the end.
    let late = case.submit("lrlate", "#SBATCH --time=1 --ntasks=1", "sleep 600").await.unwrap();
    case.until("lrlate", "to run", |seen| *seen == Seen::Running).await;
    control(&["update", &format!("JobId={late}"), "EndTime=now"]).await;

    case.submit("lrdone", "", "true").await.unwrap();
    let (seen, said) = case.ended("lrdone").await;
    assert_eq!((seen, said.as_str()), (Seen::Ended { end: JobEnd::Done, exit: Some(0) }, "COMPLETED"));
    case.submit("lrfail", "", "exit 7").await.unwrap();
    assert_eq!(case.failed("lrfail").await, (FailureClass::Application, "FAILED".to_owned()));
    let held = case.submit("lrheld", "#SBATCH --hold", "true").await.unwrap();
    case.until("lrheld", "to be held", |seen| *seen == Seen::Held).await;
    control(&["release", &held.to_string()]).await;
    assert!(case.ended("lrheld").await.1.starts_with("COMPLETED"));

    // The controller goes and comes back: nobody is taken for gone.
    case.submit("lrlasts", "", "until [ -e go ]; do sleep 0.1; done").await.unwrap();
    case.until("lrlasts", "to run", |seen| *seen == Seen::Running).await;
    let starts = case.real.output().matches("slurmctld is started again").count();
    control(&["shutdown", "slurmctld"]).await;
    wait::until("the controller to be started again", LIMIT, async || {
        let seen = case.executor.look(&BTreeSet::from(["lrlasts".parse().unwrap()])).await;
        assert!(seen.is_err() || seen.unwrap().iter().all(|sighting| sighting.seen == Seen::Running));
        (case.real.output().matches("slurmctld is started again").count() > starts).then_some(())
    })
    .await
    .unwrap();
    case.until("lrlasts", "to run still", |seen| *seen == Seen::Running).await;
    std::fs::write(case.scratch.path().join("go"), "").unwrap();
    assert!(case.ended("lrlasts").await.1.starts_with("COMPLETED"));

    assert_eq!(case.failed("lrlate").await.0, FailureClass::Timeout);

    // Gives way to an urgent one: warned, put back by itself, and done after it. Nowhere in between was it failed.
    let body = "echo began >>low; [ -e urgent-was-here ] && exit 0\n\
        trap 'scontrol requeue $SLURM_JOB_ID; exit 0' USR1\nwhile :; do sleep 0.1; done";
    let path = format!("export PATH='{}':$PATH\n{body}", case.real.commands().display());
    case.submit("lrlow", "#SBATCH --partition=debug --exclusive --requeue --signal=B:USR1@60", &path)
        .await
        .unwrap();
    case.until("lrlow", "to run", |seen| *seen == Seen::Running).await;
    case.submit("lrhigh", "#SBATCH --partition=realtime --exclusive", "touch urgent-was-here; sleep 1")
        .await
        .unwrap();
    let is_back = |seen: &Seen| {
        assert!(!matches!(seen, Seen::Ended { .. }), "it gives way, and is not over: {seen:?}");
        *seen == Seen::Pending
    };
    let back = case.until("lrlow", "to be put back", is_back).await;
    // What Slurm has written down of its first start is not told besides.
    let known = case.executor.look(&BTreeSet::from([back.name])).await.unwrap();
    assert!(known.len() == 1 && !matches!(known[0].seen, Seen::Ended { .. }), "{known:?}");
    assert!(case.ended("lrhigh").await.1.starts_with("COMPLETED"));
    let (seen, said) = case.ended("lrlow").await;
    assert_eq!((seen, said.as_str()), (Seen::Ended { end: JobEnd::Done, exit: Some(0) }, "COMPLETED"));
    let began = std::fs::read_to_string(case.scratch.path().join("low")).unwrap();
    assert_eq!(began.lines().count(), 2);

    // Its node goes.
    case.submit("lrnode", "#SBATCH --no-requeue", "sleep 600").await.unwrap();
    case.until("lrnode", "to run", |seen| *seen == Seen::Running).await;
    control(&["update", "NodeName=lightrail-slurm", "State=DOWN", "Reason=drill"]).await;
    assert_eq!(case.failed("lrnode").await, (FailureClass::Node, "NODE_FAIL".to_owned()));
}

/// Slurm with slurmdbd: accounts and qualities of service are looked at, and sacct knows of every job what squeue has known.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_accounts_what_sacct_tells_of_a_job_is_what_squeue_has_told() {
    let test = "executor::slurm::tests::with_accounts_what_sacct_tells_of_a_job_is_what_squeue_has_told";
    let Some(real) = slurm_with_accounts(test).await else { return };
    let commands = Commands { folder: Some(real.commands()), within: Duration::from_secs(10) };
    let executor = Slurm { commands, history: History::Sacct };
    let case = Case { real, executor, scratch: Scratch::new().unwrap() };
    let control = async |arguments: &[&str]| case.real.run("scontrol", arguments).await.unwrap();

    for option in ["qos=nope", "account=nope"] {
        match case.submit("lrnope", &format!("#SBATCH --{option}"), "true").await {
            Err(SubmitFault::Refused(why)) => assert!(why.starts_with("sbatch: error:"), "{why}"),
            other => panic!("{option}: {other:?}"),
        }
    }
    let late = case.submit("lrlate", "#SBATCH --time=1 --ntasks=1", "sleep 600").await.unwrap();
    case.until("lrlate", "to run", |seen| *seen == Seen::Running).await;
    control(&["update", &format!("JobId={late}"), "EndTime=now"]).await;
    let mut ids = vec![late];
    for qos in QOS {
        let name = format!("lr{qos}");
        let options = format!("#SBATCH --qos={qos} --account={ACCOUNT}");
        let id = case.submit(&name, &options, "true").await.unwrap();
        case.ended(&name).await;
        let line = format!("{qos}|{ACCOUNT}|COMPLETED");
        case.accounts(&id, "QOS,Account,State", &line).await;
        ids.push(id);
    }
    ids.push(case.submit("lrfail", "", "exit 7").await.unwrap());
    case.ended("lrfail").await;
    let cancelled = case.submit("lrcut", "", "sleep 600").await.unwrap();
    case.until("lrcut", "to run", |seen| *seen == Seen::Running).await;
    case.executor.end(&cancelled, Ending::Cancel).await.unwrap();
    case.ended("lrcut").await;
    let again = case
        .submit("lragain", "#SBATCH --requeue", "[ -e was-here ] || { touch was-here; sleep 600; }")
        .await;
    let again = again.unwrap();
    wait::until("the job to be under way", LIMIT, async || {
        case.scratch.path().join("was-here").is_file().then_some(())
    })
    .await
    .unwrap();
    control(&["requeue", &again.to_string()]).await;
    case.ended("lragain").await;
    case.ended("lrlate").await;
    ids.extend([cancelled, again]);
    ids.push(case.submit("lrnode", "#SBATCH --no-requeue", "sleep 600").await.unwrap());
    case.until("lrnode", "to run", |seen| *seen == Seen::Running).await;
    control(&["update", "NodeName=lightrail-slurm", "State=DOWN", "Reason=drill"]).await;
    case.ended("lrnode").await;

    let names = ["lrlate", "lrrealtime", "lrpreempt", "lrfail", "lrcut", "lragain", "lrnode"];
    let names: BTreeSet<JobName> = names.into_iter().map(|name| name.parse().unwrap()).collect();
    let of = |mut seen: Vec<Sighting>| {
        seen.sort_by(|one, other| one.name.cmp(&other.name));
        seen
    };
    let told = of(case.executor.look(&names).await.unwrap());
    assert_eq!(told.len(), names.len(), "{told:?}");
    wait::until("sacct to tell the same", LIMIT, async || {
        let history = of(case.executor.ended(&names).await.ok()?);
        let same =
            history.iter().zip(&told).all(|(one, other)| one.id == other.id && alike(&one.seen, &other.seen));
        (history.len() == told.len() && same).then_some(())
    })
    .await
    .unwrap_or_else(|error| panic!("{error}: squeue told {told:#?}\n{}", case.real.output()));
    assert!(ids.len() == names.len() && ids.iter().all(|id| told.iter().any(|one| one.id == *id)), "{ids:?}");
}

/// The same but for words (squeue says CANCELLED, sacct who has done it) and for the exit of a job that did not end by itself.
fn alike(one: &Seen, other: &Seen) -> bool {
    let (Seen::Ended { end: one, exit }, Seen::Ended { end: other, exit: other_exit }) = (one, other) else {
        return one == other;
    };
    match (one, other) {
        (JobEnd::Failed { class, .. }, JobEnd::Failed { class: other, .. }) => {
            class == other && (*class != FailureClass::Application || exit == other_exit)
        }
        (JobEnd::Cancelled { .. }, JobEnd::Cancelled { .. }) => true,
        (one, other) => one == other && exit == other_exit,
    }
}
