//! Scripts as their golden texts say; names that want to break out, run by a shell; the claim.

use std::process::Command;

use lightrail_topics::events::RunJob;

use super::*;

fn identity() -> JobIdentity {
    let job = RunJob {
        rule: "live-hits".parse().unwrap(),
        run: "mfxlv9518/12".parse().unwrap(),
        trial: Some(lightrail_topics::TrialNumber(3)),
        task: "work".parse().unwrap(),
        request: None,
        attempt: 1,
    };
    job.into()
}

struct Given {
    identity: JobIdentity,
    site: SiteName,
    analysis: Analysis,
}

fn given() -> Given {
    let analysis =
        Analysis { program: "/opt/lightrail-analysis".into(), config: "/etc/it's here.toml".into() };
    Given { identity: identity(), site: "NERSC".parse().unwrap(), analysis }
}

fn compose(work: &Work, head: &Head, folder: &Path) -> String {
    let given = given();
    script(&given, work, head, folder).compose().unwrap()
}

fn script<'a>(given: &'a Given, work: &'a Work, head: &'a Head, folder: &'a Path) -> Script<'a> {
    Script {
        identity: &given.identity,
        site: &given.site,
        work,
        nodes: 1,
        seconds: 5400,
        head,
        folder,
        claims: folder,
        analysis: Some(&given.analysis),
        after: &[],
        gives_way: false,
        spills: false,
    }
}

/// A script as it is run by a shell: that of a specification is its argument.
fn shells(script: &Script<'_>) -> String {
    let text = script.compose().unwrap();
    match script.head.dialect {
        Dialect::Iri => serde_json::from_str::<serde_json::Value>(&text).unwrap()["arguments"][1]
            .as_str()
            .unwrap()
            .to_owned(),
        _ => text,
    }
}

fn local() -> Head {
    Head { dialect: Dialect::Local, wishes: Wishes::default() }
}

fn command(arguments: &[&str]) -> Work {
    Work::Command {
        program: "/usr/bin/printf".to_owned(),
        arguments: arguments.iter().map(|argument| argument.parse().unwrap()).collect(),
        inputs: Vec::new(),
        outputs: Vec::new(),
    }
}

#[test]
fn a_slurm_script_of_workers_is_as_it_was() {
    let wishes =
        Wishes { queue: Some("realtime".to_owned()), account: Some("lcls".to_owned()), ..Wishes::default() };
    let head = Head { dialect: Dialect::Slurm, wishes };
    let text =
        compose(&Work::Analysis { workers: 4, images_per_worker: None }, &head, Path::new("/scratch/jobs"));
    insta::assert_snapshot!(text);
}

#[test]
fn a_specification_for_iri_is_as_it_was() {
    let word = |text: &str| Some(text.to_owned());
    let wishes = Wishes {
        account: word("m1759"),
        qos: word("realtime"),
        reservation: word("lv95"),
        ..Wishes::default()
    };
    let head = Head { dialect: Dialect::Iri, wishes };
    let text = compose(&command(&["it's {run}"]), &head, Path::new("/scratch/jobs"));
    insta::assert_snapshot!(text);
}

#[test]
fn a_specification_for_iri_asks_for_what_its_interface_has_a_name_for() {
    let head = Head { dialect: Dialect::Iri, wishes: wishes() };
    let (given, work) = (given(), command(&["x"]));
    let plain = script(&given, &work, &head, Path::new("/scratch/jobs"));
    let asked = |script: &Script<'_>| {
        let spec: serde_json::Value = serde_json::from_str(&script.compose().unwrap()).unwrap();
        let attributes = &spec["attributes"];
        format!(
            "{} cores, reservation {}, {}",
            spec["resources"]["cpu_cores_per_process"],
            attributes["reservation_id"],
            attributes["custom_attributes"]
        )
    };
    let gives_way = Script { gives_way: true, ..plain.clone() };
    let spills = Script { spills: true, ..plain.clone() };
    insta::assert_snapshot!([&plain, &gives_way, &spills].map(asked).join("\n"), @r#"
    64 cores, reservation "lv95", {"slurm.qos":"realtime","slurm.constraint":"gpu&hbm80g"}
    64 cores, reservation null, {"slurm.qos":"preempt","slurm.constraint":"gpu&hbm80g"}
    64 cores, reservation null, {"slurm.qos":"realtime","slurm.constraint":"gpu&hbm80g"}
    "#);
}

#[test]
fn a_local_script_of_a_command_is_as_it_was() {
    let text = compose(&command(&["%s\\n", "--run={run}"]), &local(), Path::new("/scratch/jobs"));
    insta::assert_snapshot!(text);
}

/// A command of a shell with inputs and outputs, whose braces are doubled.
fn with_files(body: &str, inputs: &[String], outputs: &[String]) -> Work {
    let all = |texts: &[String]| {
        texts.iter().map(|text| text.replace('{', "{{").replace('}', "}}").parse().unwrap()).collect()
    };
    Work::Command {
        program: "/bin/bash".to_owned(),
        arguments: all(&["-c".to_owned(), body.to_owned()]),
        inputs: all(inputs),
        outputs: all(outputs),
    }
}

#[test]
fn a_script_of_a_command_with_inputs_and_outputs_is_as_it_was() {
    let mut work = command(&["x"]);
    if let Work::Command { inputs, outputs, .. } = &mut work {
        inputs.push("/data/{experiment}/it's/r{run}".parse().unwrap());
        outputs.extend(["/data/r{run}-{trial}.h5", "/data/r{run}.log"].map(|path| path.parse().unwrap()));
    }
    insta::assert_snapshot!(compose(&work, &local(), Path::new("/scratch/jobs")));
    if let Work::Command { inputs, .. } = &mut work {
        inputs.push("geometry".parse().unwrap());
    }
    let (given, head) = (given(), local());
    let refused = script(&given, &work, &head, Path::new("/scratch/jobs")).compose();
    assert_eq!(refused, Err(ScriptError::Relative("geometry".to_owned())));
}

#[test]
fn a_command_begins_with_its_inputs_and_has_failed_without_its_outputs() {
    for name in
        ["a b", "$(touch broken)", "'; touch broken; '", "`touch broken`", "*", "\\", "\"", "é{}", "-n"]
    {
        let folder = tempfile::tempdir().unwrap();
        let path = |of: &str| folder.path().join(format!("{of}{name}")).to_str().unwrap().to_owned();
        let (input, output) = (path("in"), path("out"));
        let body = format!("echo worked; [ ! -e \"$0.makes\" ] || touch {}", quoted(&output));
        let makes = folder.path().join("work.makes");
        let mut work = with_files(&body, std::slice::from_ref(&input), std::slice::from_ref(&output));
        if let Work::Command { arguments, .. } = &mut work {
            arguments.push(folder.path().join("work").to_str().unwrap().parse().unwrap());
        }
        let text = format!(
            "cd {}\n{}",
            quoted(folder.path().to_str().unwrap()),
            compose(&work, &local(), folder.path())
        );
        let job = identity().name();
        let said = format!("job {job} does not begin: its input {input} is not there\n");
        assert_eq!(shell(&text, "1"), (Some(i32::from(NO_INPUT)), said));
        std::fs::write(&input, "").unwrap();
        let said = format!("worked\njob {job} has failed: its output {output} is not there\n");
        assert_eq!(shell(&text, "1"), (Some(i32::from(NO_OUTPUT)), said));
        std::fs::write(&makes, "").unwrap();
        assert_eq!(shell(&text, "1"), (Some(0), "worked\n".to_owned()));
        assert!(!folder.path().join("broken").exists(), "{name}");
    }
    // Its own failure stays its own.
    let folder = tempfile::tempdir().unwrap();
    let work = with_files("exit 3", &[], &["/not there".to_owned()]);
    assert_eq!(shell(&compose(&work, &local(), folder.path()), "1"), (Some(3), String::new()));
}

#[test]
fn a_command_with_outputs_is_told_what_its_script_is_told() {
    for signal in ["TERM", "USR1"] {
        let folder = tempfile::tempdir().unwrap();
        let body = format!(
            "trap 'echo told; exit 3' TERM USR1; kill -{signal} $PPID; for i in {{1..400}}; do sleep 0.05; done"
        );
        let work = with_files(&body, &[], &["/".to_owned()]);
        let said = shell(&compose(&work, &local(), folder.path()), "1");
        assert_eq!(said, (Some(3), "told\n".to_owned()), "{signal}");
    }
}

/// All that a site can wish for.
fn wishes() -> Wishes {
    let word = |text: &str| Some(text.to_owned());
    Wishes {
        queue: word("regular"),
        account: word("m1759"),
        qos: word("realtime"),
        reservation: word("lv95"),
        reservation_jobs: Some(4),
        constraint: word("gpu&hbm80g"),
        cores: Some(64),
        parallel: word("mpi"),
        warning: Some(120),
        preemptible: Some(Preemptible { class: "preempt".to_owned(), shortest: Some(7200) }),
        setup: Vec::new(),
        environment: [("OMP_NUM_THREADS".to_owned(), "it's 4".to_owned())].into(),
        container: None,
    }
}

const DIALECTS: [Dialect; 7] =
    [Dialect::Local, Dialect::Slurm, Dialect::Pbs, Dialect::Torque, Dialect::Lsf, Dialect::Sge, Dialect::Iri];

#[test]
fn each_schedulers_head_is_as_it_was() {
    let given = given();
    let (work, after) = (command(&["x"]), ["12".parse().unwrap(), "13".parse().unwrap()]);
    let mut all = String::new();
    for dialect in DIALECTS {
        let head = Head { dialect, wishes: wishes() };
        let script =
            Script { nodes: 3, after: &after, ..script(&given, &work, &head, Path::new("/scratch/jobs")) };
        let _ = writeln!(all, "== {dialect:?}\n{}", script.head().unwrap());
        let gives_way = Script { gives_way: true, ..script.clone() }.head().unwrap();
        let spills = Script { spills: true, ..script.clone() }.head().unwrap();
        let whole = script.head().unwrap();
        for (name, other) in [("gives way", gives_way), ("spills", spills)] {
            let new = other.lines().filter(|line| !whole.contains(line)).map(|line| format!("+{line}"));
            let gone = whole.lines().filter(|line| !other.contains(line)).map(|line| format!("-{line}"));
            let _ = writeln!(all, "{name}: {}", gone.chain(new).collect::<Vec<_>>().join(" "));
        }
    }
    insta::assert_snapshot!(all);
}

#[test]
fn workers_on_several_nodes_are_started_on_each_and_told_what_the_script_is_told() {
    let given = given();
    let (work, folder) = (Work::Analysis { workers: 2, images_per_worker: None }, Path::new("/scratch/jobs"));
    let head = Head { dialect: Dialect::Slurm, wishes: Wishes::default() };
    insta::assert_snapshot!(Script { nodes: 2, ..script(&given, &work, &head, folder) }.body().unwrap());
    let head = Head { dialect: Dialect::Lsf, wishes: Wishes::default() };
    let refused = Script { nodes: 2, ..script(&given, &work, &head, folder) }.compose();
    assert_eq!(refused, Err(ScriptError::Nodes(2)));
}

#[test]
fn work_in_a_container_is_started_by_its_engine_with_all_that_it_is_to_find() {
    let folder = tempfile::tempdir().unwrap();
    let mut all = String::new();
    for engine in [Engine::Shifter, Engine::PodmanHpc, Engine::Apptainer] {
        let container = Container {
            engine,
            image: "docker:slaclab/psana:4.0".to_owned(),
            volumes: vec!["/scratch:/data".to_owned()],
        };
        let head = Head {
            dialect: Dialect::Slurm,
            wishes: Wishes { container: Some(container), ..Wishes::default() },
        };
        let text = compose(&command(&["it's"]), &head, folder.path());
        let told = text.lines().filter(|line| line.contains("image") || line.contains("psana"));
        all.extend(told.flat_map(|line| [line, "\n"]));
        // What an engine's command is given is one word each, whatever is in it: here it prints them.
        let bin = folder.path().join("bin");
        std::fs::create_dir_all(&bin).unwrap();
        for name in ["shifter", "podman-hpc", "apptainer"] {
            let path = bin.join(name);
            std::fs::write(&path, "#!/bin/sh\nprintf '<%s>' \"$@\"\n").unwrap();
            std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        }
        let output = Command::new("/bin/bash")
            .args(["-c", &text])
            .env("SLURM_JOB_ID", "7")
            .env("PATH", format!("{}:/usr/bin:/bin", bin.display()))
            .output()
            .unwrap();
        all.push_str(&String::from_utf8_lossy(&output.stdout));
        all.push('\n');
    }
    insta::assert_snapshot!(all);
}

#[test]
fn who_gives_way_is_put_back_into_its_queue_after_a_warning_and_only_then() {
    let folder = tempfile::tempdir().unwrap();
    let given = given();
    let head = Head { dialect: Dialect::Slurm, wishes: wishes() };
    let bin = folder.path().join("bin");
    std::fs::create_dir_all(&bin).unwrap();
    let scontrol = bin.join("scontrol");
    std::fs::write(&scontrol, "#!/bin/sh\necho \"$@\"\n").unwrap();
    std::fs::set_permissions(&scontrol, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    for (signal, said) in [("USR1", "requeue 7\n"), ("TERM", "")] {
        let text = format!("trap 'exit 3' USR1 TERM; kill -{signal} $PPID; while :; do sleep 0.05; done");
        let work = Work::Command {
            program: "/bin/bash".to_owned(),
            arguments: ["-c".to_owned(), text]
                .iter()
                .map(|text| text.replace('{', "{{").parse().unwrap())
                .collect(),
            inputs: Vec::new(),
            outputs: Vec::new(),
        };
        let script = Script { gives_way: true, ..script(&given, &work, &head, folder.path()) };
        let output = Command::new("/bin/bash")
            .args(["-c", &script.compose().unwrap()])
            .env("SLURM_JOB_ID", "7")
            .env("PATH", format!("{}:/usr/bin:/bin", bin.display()))
            .output()
            .unwrap();
        assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stdout).as_ref()), (Some(3), said));
    }
}

/// Runs a script as a job of any scheduler finds itself, with this id.
fn shell(script: &str, id: &str) -> (Option<i32>, String) {
    let mut bash = Command::new("/bin/bash");
    for name in ["LIGHTRAIL_LOCAL_ID", "SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID", "JOB_ID"] {
        bash.env(name, id);
    }
    let output = bash.args(["-c", script]).output().unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn nothing_breaks_out_of_its_quotes() {
    let hostile = [
        "$(touch broken)",
        "`touch broken`",
        "'; touch broken; '",
        "\"; touch broken; \"",
        "a b  c",
        "*",
        "~",
        "!!",
        "\\",
        "'",
        "''",
        "$HOME",
        "&& touch broken",
        "| touch broken",
        "#",
        "-",
        "--",
        "é\u{202e}",
        "%s%n",
    ];
    let given = given();
    let all = hostile.iter().flat_map(|text| DIALECTS.map(|dialect| (*text, dialect)));
    for (text, dialect) in all {
        let folder = tempfile::tempdir().unwrap();
        let mut wishes = wishes();
        wishes.environment.insert("HOSTILE".to_owned(), text.to_owned());
        let (work, head) = (command(&["%s", text]), Head { dialect, wishes });
        let script = shells(&script(&given, &work, &head, folder.path()));
        let script = format!("cd '{}'\n{script}", folder.path().display());
        let (code, said) = shell(&script, "1");
        assert_eq!((code, said.as_str()), (Some(0), text));
        assert_eq!(
            std::fs::read_dir(folder.path()).unwrap().count(),
            1,
            "{text}: more than the claim is there"
        );
    }
    // And drawn ones.
    let letters: Vec<char> = "'\"`$(){}\\;&|<>*?[]!#~ ab\u{e9}-=%".chars().collect();
    for dialect in DIALECTS.into_iter().cycle().take(70) {
        let text: String =
            (0..fastrand::usize(1..12)).map(|_| letters[fastrand::usize(..letters.len())]).collect();
        let doubled = text.replace('{', "{{").replace('}', "}}");
        let folder = tempfile::tempdir().unwrap();
        let (work, head) = (command(&["%s", &doubled]), Head { dialect, wishes: wishes() });
        let script = shells(&script(&given, &work, &head, folder.path()));
        assert_eq!(shell(&script, "1"), (Some(0), text.clone()), "{text}");
    }
}

#[test]
fn one_copy_of_a_job_works_and_a_requeue_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let script = compose(&command(&["worked"]), &local(), folder.path());
    assert_eq!(shell(&script, "7"), (Some(0), "worked".to_owned()));
    let (code, said) = shell(&script, "8");
    assert_eq!(code, Some(i32::from(COPY)));
    assert!(said.contains("is not worked by 8") && said.contains("says '7'"), "{said}");
    assert_eq!(shell(&script, "7"), (Some(0), "worked".to_owned()));
    let claims = crate::executor::Claims(folder.path().to_owned());
    assert_eq!(claims.fence(&identity().name()).unwrap(), Some("7".to_owned()));
    // Given up before it began: it never does.
    let folder = tempfile::tempdir().unwrap();
    let claims = crate::executor::Claims(folder.path().to_owned());
    assert_eq!(claims.fence(&identity().name()).unwrap(), None);
    let script = compose(&command(&["worked"]), &local(), folder.path());
    assert_eq!(shell(&script, "7").0, Some(i32::from(COPY)));
    // Nor where no claim can be made; but that is a failure, and no copy.
    let script = compose(&command(&["worked"]), &local(), &folder.path().join("not there"));
    assert_eq!(shell(&script, "7").0, Some(1));
}
