//! What every executor has to do, played on each that can be had here: the local one, and Slurm where it can be started.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use lightrail_compose::scratch::Scratch;
use lightrail_compose::{slurm, wait};
use lightrail_topics::JobName;
use lightrail_topics::events::JobEnd;

use super::{Ending, Executor, History, Local, Seen, Sighting, Slurm};

const LIMIT: Duration = Duration::from_secs(30);

async fn until(executor: &dyn Executor, name: &JobName, what: &str, is: impl Fn(&Seen) -> bool) -> Sighting {
    let names = BTreeSet::from([name.clone()]);
    wait::until(what, LIMIT, async || {
        let seen = executor.look(&names).await.expect("it can be asked");
        seen.into_iter().find(|sighting| is(&sighting.seen))
    })
    .await
    .unwrap()
}

fn script(name: &str, folder: &Path, body: &str) -> String {
    let folder = folder.display();
    format!(
        "#!/bin/bash\n#SBATCH --job-name={name}\n#SBATCH --output={folder}/%j.out\n#SBATCH --chdir={folder}\n{body}\n"
    )
}

async fn contract(executor: &dyn Executor, folder: &Path) {
    let names = ["lrdone", "lrfails", "lrends", "lrcut", "lrunknown"];
    let [done, fails, ends, cut, unknown] = names.map(|name| name.parse::<JobName>().unwrap());

    assert_eq!(executor.look(&BTreeSet::from([unknown.clone()])).await.unwrap(), []);

    let id = executor.submit(&done, &script("lrdone", folder, "echo it ran >done.txt")).await.unwrap();
    let ended = until(executor, &done, "a job to be done", |seen| matches!(seen, Seen::Ended { .. })).await;
    assert_eq!((ended.id, ended.seen), (id, Seen::Ended { end: JobEnd::Done, exit: Some(0) }));

    executor.submit(&fails, &script("lrfails", folder, "exit 7")).await.unwrap();
    let failed = until(executor, &fails, "a job to fail", |seen| matches!(seen, Seen::Ended { .. })).await;
    assert!(matches!(failed.seen, Seen::Ended { end: JobEnd::Failed { .. }, exit: Some(7) }), "{failed:?}");

    let body = "trap 'exit 0' TERM; echo >ready; while :; do sleep 0.1; done";
    executor.submit(&ends, &script("lrends", folder, body)).await.unwrap();
    let running = until(executor, &ends, "a job to run", |seen| *seen == Seen::Running).await;
    let ready = executor.look(&BTreeSet::from([ends.clone(), unknown])).await.unwrap();
    assert_eq!(ready.len(), 1, "{ready:?}");
    // Told again and again, as the trigger does, for the script may not have come to its trap.
    let finished = wait::until("a job to finish", LIMIT, async || {
        executor.end(&running.id, Ending::Finish).await.expect("it can be told");
        let seen = executor.look(&BTreeSet::from([ends.clone()])).await.expect("it can be asked");
        seen.into_iter().find(|sighting| matches!(sighting.seen, Seen::Ended { .. }))
    })
    .await
    .unwrap();
    assert!(matches!(finished.seen, Seen::Ended { .. }));

    executor.submit(&cut, &script("lrcut", folder, "sleep 600")).await.unwrap();
    let running = until(executor, &cut, "a job to run", |seen| *seen == Seen::Running).await;
    executor.end(&running.id, Ending::Cancel).await.unwrap();
    let ended = until(executor, &cut, "a job to end", |seen| matches!(seen, Seen::Ended { .. })).await;
    assert!(matches!(ended.seen, Seen::Ended { end: JobEnd::Cancelled { .. }, .. }), "{ended:?}");
    executor.end(&running.id, Ending::Cancel).await.unwrap();

    // A name twice: both are seen, as an honest scheduler shows them.
    let one = executor.submit(&done, &script("lrdone", folder, "true")).await.unwrap();
    let both = wait::until("both copies to be seen", LIMIT, async || {
        let seen = executor.look(&BTreeSet::from([done.clone()])).await.expect("it can be asked");
        (seen.len() == 2 && seen.iter().any(|sighting| sighting.id == one)).then_some(())
    });
    both.await.unwrap();
}

#[tokio::test]
async fn local_processes() {
    let scratch = Scratch::new().unwrap();
    contract(&Local::new(scratch.path().join("spool")), scratch.path()).await;
}

#[tokio::test]
async fn a_real_slurm() {
    let Some(slurm) = slurm::slurm("executor::contract::a_real_slurm").await else { return };
    let scratch = Scratch::new().unwrap();
    let executor = Slurm {
        commands: Some(slurm.commands()),
        within: Duration::from_secs(10),
        history: History::Jobcomp(slurm.jobcomp()),
    };
    contract(&executor, scratch.path()).await;
    let nope: JobName = "lrnope".parse().unwrap();
    let refused = script("lrnope", scratch.path(), "#SBATCH --partition=nope\ntrue");
    let fault = executor.submit(&nope, &refused).await.unwrap_err();
    assert!(matches!(fault, super::SubmitFault::Refused(_)), "{fault:?}");
}
