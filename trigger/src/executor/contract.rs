//! What every executor has to do, played on each that can be had here: the local one, and Slurm where it can be started.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use lightrail_compose::scratch::Scratch;
use lightrail_compose::{sge, slurm, wait};
use lightrail_service::settings::{Secret, SecretSource};
use lightrail_topics::JobName;
use lightrail_topics::events::{FailureClass, JobEnd};

use super::{
    Commands, Ending, Executor, History, Iri, IriAt, Local, Pbs, SchedulerId, Seen, Sfapi, SfapiAt, Sge,
    Sighting, Slurm, SubmitFault,
};
use crate::simulate::Facility;
use crate::simulate::scenario::Scenario;

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

/// How a shell's script is made what an executor takes.
type Make = fn(&str, &Path, &str) -> String;

/// What all do. Whether one takes a name twice is left to it.
async fn contract(executor: &dyn Executor, folder: &Path, script: Make) {
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
}

/// A name twice: both are seen, as an honest scheduler shows them.
async fn takes_a_name_twice(executor: &dyn Executor, folder: &Path) {
    let done: JobName = "lrdone".parse().unwrap();
    let one = executor.submit(&done, &script("lrdone", folder, "true")).await.unwrap();
    until_both(executor, &done, &one).await;
}

async fn until_both(executor: &dyn Executor, name: &JobName, one: &SchedulerId) {
    let both = wait::until("both copies to be seen", LIMIT, async || {
        let seen = executor.look(&BTreeSet::from([name.clone()])).await.expect("it can be asked");
        (seen.len() == 2 && seen.iter().any(|sighting| sighting.id == *one)).then_some(())
    });
    both.await.unwrap();
}

#[tokio::test]
async fn local_processes() {
    let scratch = Scratch::new().unwrap();
    let executor = Local::new(scratch.path().join("spool"));
    contract(&executor, scratch.path(), script).await;
    takes_a_name_twice(&executor, scratch.path()).await;
    // One that takes too long, and does not listen.
    let long: JobName = "lrlong".parse().unwrap();
    let text = "#!/bin/bash\n#LIGHTRAIL --time=1\ntrap 'echo >warned' TERM\nwhile :; do sleep 0.1; done\n";
    let id = executor.submit(&long, text).await.unwrap();
    let ended = until(&executor, &long, "a job to time out", |seen| matches!(seen, Seen::Ended { .. })).await;
    let is_timeout =
        matches!(ended.seen, Seen::Ended { end: JobEnd::Failed { class: FailureClass::Timeout, .. }, .. });
    assert!(is_timeout, "{ended:?}");
    assert!(scratch.path().join("spool").join(id.to_string()).join("warned").is_file());
}

#[tokio::test]
async fn a_real_slurm() {
    let Some(slurm) = slurm::slurm("executor::contract::a_real_slurm").await else { return };
    let scratch = Scratch::new().unwrap();
    let executor = Slurm {
        commands: Commands { folder: Some(slurm.commands()), within: Duration::from_secs(10) },
        history: History::Jobcomp(slurm.jobcomp()),
    };
    contract(&executor, scratch.path(), script).await;
    takes_a_name_twice(&executor, scratch.path()).await;
    let nope: JobName = "lrnope".parse().unwrap();
    let refused = script("lrnope", scratch.path(), "#SBATCH --partition=nope\ntrue");
    let fault = executor.submit(&nope, &refused).await.unwrap_err();
    assert!(matches!(fault, SubmitFault::Refused(_)), "{fault:?}");
}

/// torque's commands as Debian has them: wrappers over Slurm, which tell no exit status and take no signal.
#[tokio::test]
async fn torques_commands_over_a_real_slurm() {
    let Some(slurm) = slurm::slurm("executor::contract::torques_commands_over_a_real_slurm").await else {
        return;
    };
    let scratch = Scratch::new().unwrap();
    let commands = Commands { folder: Some(slurm.commands()), within: Duration::from_secs(10) };
    let executor = Pbs { commands, is_torque: true };
    let script: Make = |name, folder, body| {
        let folder = folder.display();
        format!(
            "#!/bin/bash\n#PBS -N {name}\n#PBS -o {folder}/{name}.out\n#PBS -j oe\n#PBS -l nodes=1:ppn=1,walltime=0:10:00\n#PBS -r y\ncd {folder}\n{body}\n"
        )
    };
    let [done, cut, unknown] = ["lrdone", "lrcut", "lrunknown"].map(|name| name.parse::<JobName>().unwrap());
    assert_eq!(executor.look(&BTreeSet::from([unknown])).await.unwrap(), []);
    let body = "echo ${PBS_JOBID:-$SLURM_JOB_ID} >id.txt; until [ -e go ]; do sleep 0.1; done";
    let id = executor.submit(&done, &script("lrdone", scratch.path(), body)).await.unwrap();
    let running = until(&executor, &done, "a job to run", |seen| *seen == Seen::Running).await;
    assert_eq!(running.id, id);
    wait::until("the job to say its id", LIMIT, async || {
        let said = std::fs::read_to_string(scratch.path().join("id.txt")).unwrap_or_default();
        (said.trim() == id.to_string()).then_some(())
    })
    .await
    .unwrap();
    std::fs::write(scratch.path().join("go"), "").unwrap();
    assert!(scratch.path().join("lrdone.out").is_file(), "its output is where its directives say");
    until(&executor, &done, "a job to end", |seen| matches!(seen, Seen::Ended { .. })).await;
    executor.submit(&cut, &script("lrcut", scratch.path(), "sleep 600")).await.unwrap();
    let running = until(&executor, &cut, "a job to run", |seen| *seen == Seen::Running).await;
    executor.end(&running.id, Ending::Finish).await.unwrap();
    let ended = until(&executor, &cut, "a job to end", |seen| matches!(seen, Seen::Ended { .. })).await;
    assert!(matches!(ended.seen, Seen::Ended { end: JobEnd::Cancelled { .. }, .. }), "{ended:?}");
    executor.end(&running.id, Ending::Cancel).await.unwrap();
}

#[tokio::test]
async fn a_real_grid_engine() {
    let Some(sge) = sge::sge("executor::contract::a_real_grid_engine").await else { return };
    let scratch = Scratch::new().unwrap();
    let executor =
        Sge { commands: Commands { folder: Some(sge.commands()), within: Duration::from_secs(10) } };
    let script: Make = |name, folder, body| {
        let folder = folder.display();
        format!(
            "#!/bin/bash\n#$ -N {name}\n#$ -S /bin/bash\n#$ -wd {folder}\n#$ -o {folder}/$JOB_NAME.out\n#$ -j y\n{body}\n"
        )
    };
    contract(&executor, scratch.path(), script).await;
    // A name twice is seen as long as both are in the queue; qacct tells of both after that.
    let (twice, limited): (JobName, JobName) = ("lrdone".parse().unwrap(), "lrtime".parse().unwrap());
    let again = executor.submit(&twice, &script("lrdone", scratch.path(), "true")).await.unwrap();
    until_both(&executor, &twice, &again).await;
    executor
        .submit(&limited, &script("lrtime", scratch.path(), "#$ -l h_rt=0:00:02\nsleep 600"))
        .await
        .unwrap();
    let ended =
        until(&executor, &limited, "a job to time out", |seen| matches!(seen, Seen::Ended { .. })).await;
    let is_timeout =
        matches!(ended.seen, Seen::Ended { end: JobEnd::Failed { class: FailureClass::Timeout, .. }, .. });
    assert!(is_timeout, "{ended:?}");
    for wrong in ["-q nope.q", "-l nope=1", "-P nope"] {
        let refused = script("lrnope", scratch.path(), &format!("#$ {wrong}\ntrue"));
        let fault = executor.submit(&"lrnope".parse().unwrap(), &refused).await.unwrap_err();
        assert!(matches!(fault, SubmitFault::Refused(_)), "{wrong}: {fault:?}");
    }
}

/// A facility with a client's key; `more` is added to its scenario.
async fn facility(folder: &Path, more: &str) -> Facility {
    use std::os::unix::fs::PermissionsExt as _;
    let (private, public) = crate::jwt::tests::pair();
    let (key, public_key) = (folder.join("key.pem"), folder.join("public.pem"));
    std::fs::write(&public_key, public).unwrap();
    std::fs::write(&key, format!("abcdefghijklm\n{private}")).unwrap();
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::write(folder.join("token"), "12345\n").unwrap();
    let text = format!(
        "listen = \"127.0.0.1:0\"\nfolder = {:?}\ntoken_life = \"1s\"\n\
        [clients.abcdefghijklm]\npublic_key = {public_key:?}\n[resources.perlmutter.machine]\nqueue_wait = \"100ms\"\n{more}",
        folder.join("facility")
    );
    Facility::start(Scenario::parse(&text).unwrap()).await.unwrap()
}

fn sfapi_at(facility: &Facility, folder: &Path) -> SfapiAt {
    SfapiAt {
        api: facility.sfapi(),
        token: facility.token(),
        machine: "perlmutter".to_owned(),
        user: "auser".to_owned(),
        key: folder.join("key.pem"),
        within: LIMIT,
    }
}

fn sfapi(facility: &Facility, folder: &Path, within: Duration) -> Sfapi {
    Sfapi::new(SfapiAt { within, ..sfapi_at(facility, folder) }).unwrap()
}

fn iri(facility: &Facility, folder: &Path, within: Duration) -> Iri {
    let source = SecretSource::File(folder.join("token"));
    let token = Secret::new(source, "token_file", 1);
    Iri::new(IriAt { api: facility.iri(), resource: "perlmutter".to_owned(), token, within }).unwrap()
}

fn specification(name: &str, folder: &Path, body: &str) -> String {
    let output = folder.join(format!("{name}.out"));
    serde_json::json!({
        "executable": "/bin/bash", "arguments": ["-c", body], "directory": folder, "name": name, "stdout_path": output,
        "attributes": {"account": "m1759"},
    })
    .to_string()
}

#[tokio::test]
async fn a_simulated_facility_by_sfapi() {
    let scratch = Scratch::new().unwrap();
    let facility = facility(scratch.path(), "").await;
    let executor = sfapi(&facility, scratch.path(), LIMIT);
    contract(&executor, scratch.path(), script).await;
    takes_a_name_twice(&executor, scratch.path()).await;
}

#[tokio::test]
async fn a_simulated_facility_by_iri() {
    let scratch = Scratch::new().unwrap();
    let facility = facility(scratch.path(), "").await;
    let executor = iri(&facility, scratch.path(), LIMIT);
    contract(&executor, scratch.path(), specification).await;
    // A name twice is the same job, and another job under the name of one is none.
    let done: JobName = "lrdone".parse().unwrap();
    let same = specification("lrdone", scratch.path(), "echo it ran >done.txt");
    let again = executor.submit(&done, &same).await.unwrap();
    let known = executor.look(&BTreeSet::from([done.clone()])).await.unwrap();
    assert_eq!(known.iter().map(|sighting| &sighting.id).collect::<Vec<_>>(), [&again]);
    let other = executor.submit(&done, &specification("lrdone", scratch.path(), "true")).await;
    assert!(matches!(other, Err(SubmitFault::Unknown(_))), "{other:?}");
    let wrong =
        executor.submit(&"lrodd".parse().unwrap(), r#"{"executable": "/bin/true", "colour": "red"}"#).await;
    assert!(matches!(wrong, Err(SubmitFault::Refused(_))), "{wrong:?}");
}

/// What a facility's interface can do to a submission, and what is known after it: never that nothing was submitted.
#[tokio::test]
async fn a_submission_whose_answer_is_lost_is_found_by_its_name_and_by_iri_is_the_same_job() {
    let short = Duration::from_millis(700);
    for what in ["lost", "garbage"] {
        let scratch = Scratch::new().unwrap();
        let fault = format!("[[faults]]\ncall = \"submit\"\nwhat = \"{what}\"\ntimes = 2\n");
        let facility = facility(scratch.path(), &fault).await;
        let by_sfapi = sfapi(&facility, scratch.path(), short);
        let name: JobName = "lrlost".parse().unwrap();
        let outcome = by_sfapi.submit(&name, &script("lrlost", scratch.path(), "true")).await;
        assert!(matches!(outcome, Err(SubmitFault::Unknown(_))), "{what}: {outcome:?}");
        until(&by_sfapi, &name, "the lost job to end", |seen| matches!(seen, Seen::Ended { .. })).await;

        let name: JobName = "lriri".parse().unwrap();
        let spec = specification("lriri", scratch.path(), "true");
        // The second fault strikes here; what is not understood is not repeated by itself, and what is repeated is one job.
        let by_iri = iri(&facility, scratch.path(), short);
        let mut id = by_iri.submit(&name, &spec).await;
        if id.is_err() {
            id = by_iri.submit(&name, &spec).await;
        }
        let known = by_iri.look(&BTreeSet::from([name])).await.unwrap();
        assert_eq!(known.iter().map(|sighting| &sighting.id).collect::<Vec<_>>(), [&id.unwrap()], "{what}");
    }
}

#[tokio::test]
async fn what_a_facility_does_not_do_or_say_tells_nothing_of_any_job() {
    let scratch = Scratch::new().unwrap();
    let faults = "[[faults]]\ncall = \"jobs\"\nwhat = \"garbage\"\ntimes = 1\n\
        [[faults]]\ncall = \"token\"\nwhat = \"denied\"\ntimes = 1\n\
        [[faults]]\ncall = \"submit\"\nwhat = \"away\"\ntimes = 1\n\
        [[faults]]\ncall = \"jobs\"\nwhat = \"denied\"\ntimes = 2\n";
    let facility = facility(scratch.path(), faults).await;
    let executor = sfapi(&facility, scratch.path(), LIMIT);
    let names = BTreeSet::from(["lraway".parse::<JobName>().unwrap()]);
    let name = names.first().unwrap();
    // No token, and a page for people: nothing is known, and it is said why.
    let said = executor.look(&names).await.unwrap_err().to_string();
    assert!(said.contains("no token") && said.contains("401"), "{said}");
    let said = executor.look(&names).await.unwrap_err().to_string();
    assert!(said.contains("no JSON"), "{said}");
    let outcome = executor.submit(name, &script("lraway", scratch.path(), "true")).await;
    assert!(matches!(&outcome, Err(SubmitFault::Unknown(why)) if why.contains("503")), "{outcome:?}");
    // A token that is not taken any more is renewed by itself, once for a call.
    let said = executor.look(&names).await.unwrap_err().to_string();
    assert!(said.contains("401"), "{said}");
    assert_eq!(executor.look(&names).await.unwrap(), []);
    let unknown =
        Sfapi::new(SfapiAt { key: scratch.path().join("nowhere"), ..sfapi_at(&facility, scratch.path()) })
            .unwrap();
    let said = unknown.look(&names).await.unwrap_err().to_string();
    assert!(said.contains("nowhere cannot be read"), "{said}");
}

/// States that a facility tells and are not so: of an absent job nothing is known, and a failed node is believed.
#[tokio::test]
async fn of_a_job_that_a_facility_does_not_name_nothing_is_seen_and_a_node_that_it_tells_to_have_failed_has()
{
    let scratch = Scratch::new().unwrap();
    let wrong = "[[wrong]]\njob = \"lrgone\"\nstate = \"ABSENT\"\n[[wrong]]\njob = \"lrnode\"\nstate = \"NODE_FAIL\"\n";
    let facility = facility(scratch.path(), wrong).await;
    let by_sfapi = sfapi(&facility, scratch.path(), LIMIT);
    let by_iri = iri(&facility, scratch.path(), LIMIT);
    let [gone, node] = ["lrgone", "lrnode"].map(|name| name.parse::<JobName>().unwrap());
    let file = scratch.path().join("it-ran");
    let body = format!("touch '{}'", file.display());
    by_sfapi.submit(&gone, &script("lrgone", scratch.path(), &body)).await.unwrap();
    let id = by_sfapi.submit(&node, &script("lrnode", scratch.path(), "true")).await.unwrap();
    wait::until("the absent job to have run", LIMIT, async || file.is_file().then_some(())).await.unwrap();
    let both = BTreeSet::from([gone, node]);
    for executor in [&by_sfapi as &dyn Executor, &by_iri] {
        let seen = executor.look(&both).await.unwrap();
        let [Sighting { id: told, seen: Seen::Ended { end: JobEnd::Failed { class, .. }, .. }, .. }] =
            &seen[..]
        else {
            panic!("{seen:?}")
        };
        assert_eq!((told, class), (&id, &FailureClass::Node));
    }
}

/// One that takes longer than is waited for may be submitted all the same; one that is told to come later was not, and is not refused.
#[tokio::test]
async fn a_busy_interface_and_a_slow_one_refuse_nothing_and_submit_nothing_twice() {
    let scratch = Scratch::new().unwrap();
    let faults = "[[faults]]\ncall = \"submit\"\nwhat = \"busy\"\ntimes = 2\n\
        [[faults]]\ncall = \"submit\"\nwhat = \"delay\"\ntakes = \"2s\"\ntimes = 2\n";
    let facility = facility(scratch.path(), faults).await;
    let patient = sfapi(&facility, scratch.path(), LIMIT);
    let names = ["lrbusy", "lriri", "lrslow"].map(|name| name.parse::<JobName>().unwrap());
    let [busy, again, slow] = &names;
    let told = patient.submit(busy, &script("lrbusy", scratch.path(), "true")).await;
    assert!(matches!(&told, Err(SubmitFault::Unknown(why)) if why.contains("answers 429")), "{told:?}");
    // Under its key it comes later by itself, as it is told to; then it is delayed.
    let begin = Instant::now();
    let by_iri = iri(&facility, scratch.path(), LIMIT);
    let id = by_iri.submit(again, &specification("lriri", scratch.path(), "true")).await.unwrap();
    assert!(begin.elapsed() >= Duration::from_secs(3), "{:?}", begin.elapsed());
    let hasty = sfapi(&facility, scratch.path(), Duration::from_millis(700));
    let told = hasty.submit(slow, &script("lrslow", scratch.path(), "true")).await;
    assert!(matches!(&told, Err(SubmitFault::Unknown(why)) if why.contains("does not answer")), "{told:?}");
    let mut known = patient.look(&BTreeSet::from(names.clone())).await.unwrap();
    // Nobody knows of the one that was not waited for.
    known.retain(|sighting| sighting.name != *slow);
    assert_eq!(known.iter().map(|sighting| &sighting.id).collect::<Vec<_>>(), [&id]);
}

/// The token is read at every call: a new one in its file is enough.
#[tokio::test]
async fn under_a_token_that_is_not_good_any_more_nothing_is_submitted_and_it_is_said_why() {
    let scratch = Scratch::new().unwrap();
    let facility = facility(scratch.path(), "").await;
    let executor = iri(&facility, scratch.path(), LIMIT);
    let name: JobName = "lrlate".parse().unwrap();
    let names = BTreeSet::from([name.clone()]);
    let spec = specification("lrlate", scratch.path(), "true");
    let file = scratch.path().join("token");
    for (token, why) in [(Some("expired\n"), "answers 401"), (None, "no token")] {
        match token {
            Some(token) => std::fs::write(&file, token).unwrap(),
            None => std::fs::remove_file(&file).unwrap(),
        }
        let told = executor.submit(&name, &spec).await;
        assert!(matches!(&told, Err(SubmitFault::Unknown(said)) if said.contains(why)), "{told:?}");
        let told = executor.look(&names).await.unwrap_err().to_string();
        assert!(told.starts_with("jobs of resource perlmutter: ") && told.contains(why), "{told}");
        let told = executor.end(&"4242".parse().unwrap(), Ending::Cancel).await.unwrap_err().to_string();
        assert!(told.contains(why), "{told}");
    }
    std::fs::write(&file, "12345\n").unwrap();
    assert_eq!(executor.look(&names).await.unwrap(), []);
    let id = executor.submit(&name, &spec).await.unwrap();
    let known = executor.look(&names).await.unwrap();
    assert_eq!(known.iter().map(|sighting| &sighting.id).collect::<Vec<_>>(), [&id]);
}
