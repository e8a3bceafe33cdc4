//! A real Slurm, and what can befall a job there: each time what is seen of it is what Slurm says.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use lightrail_compose::scratch::Scratch;
use lightrail_compose::slurm::{Slurm as Real, slurm};
use lightrail_compose::wait;
use lightrail_topics::JobName;
use lightrail_topics::events::{FailureClass, JobEnd};

use super::{History, Slurm};
use crate::executor::commands::Commands;
use crate::executor::{Executor as _, SchedulerId, Seen, Sighting, SubmitFault};

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
    case.until("lrlow", "to be put back", |seen| *seen == Seen::Pending).await;
    assert!(case.ended("lrhigh").await.1.starts_with("COMPLETED"));
    assert!(case.ended("lrlow").await.1.starts_with("COMPLETED"));
    let began = std::fs::read_to_string(case.scratch.path().join("low")).unwrap();
    assert_eq!(began.lines().count(), 2);

    // Its node goes.
    case.submit("lrnode", "#SBATCH --no-requeue", "sleep 600").await.unwrap();
    case.until("lrnode", "to run", |seen| *seen == Seen::Running).await;
    control(&["update", "NodeName=lightrail-slurm", "State=DOWN", "Reason=drill"]).await;
    assert_eq!(case.failed("lrnode").await, (FailureClass::Node, "NODE_FAIL".to_owned()));
}
