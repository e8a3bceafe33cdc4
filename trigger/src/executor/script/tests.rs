//! Scripts as their golden texts say; names that want to break out, run by a shell; the claim.

use std::process::Command;

use super::*;

fn identity() -> JobIdentity {
    JobIdentity {
        rule: "live-hits".parse().unwrap(),
        run: "mfxlv9518/12".parse().unwrap(),
        trial: Some(lightrail_topics::TrialNumber(3)),
        task: "work".parse().unwrap(),
        request: None,
        attempt: 1,
    }
}

fn compose(work: &Work, header: &Header, folder: &Path) -> String {
    let site = "NERSC".parse().unwrap();
    let analysis =
        Analysis { program: "/opt/lightrail-analysis".into(), config: "/etc/it's here.toml".into() };
    let script = Script {
        identity: &identity(),
        site: &site,
        work,
        nodes: 2,
        seconds: 5400,
        header,
        folder,
        claims: folder,
        analysis: Some(&analysis),
    };
    script.compose().unwrap()
}

fn command(arguments: &[&str]) -> Work {
    Work::Command {
        program: "/usr/bin/printf".to_owned(),
        arguments: arguments.iter().map(|argument| argument.parse().unwrap()).collect(),
    }
}

#[test]
fn a_slurm_script_of_workers_is_as_it_was() {
    let slurm = SlurmHeader {
        partition: Some("realtime".to_owned()),
        account: Some("lcls".to_owned()),
        ..SlurmHeader::default()
    };
    let text = compose(&Work::Analysis { workers: 4 }, &Header::Slurm(slurm), Path::new("/scratch/jobs"));
    insta::assert_snapshot!(text);
}

#[test]
fn a_local_script_of_a_command_is_as_it_was() {
    let text = compose(&command(&["%s\\n", "--run={run}"]), &Header::Local, Path::new("/scratch/jobs"));
    insta::assert_snapshot!(text);
}

fn shell(script: &str, id: &str) -> (Option<i32>, String) {
    let output =
        Command::new("/bin/bash").args(["-c", script]).env("LIGHTRAIL_LOCAL_ID", id).output().unwrap();
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
    for text in hostile {
        let folder = tempfile::tempdir().unwrap();
        let script = compose(&command(&["%s", text]), &Header::Local, folder.path());
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
    for _ in 0..60 {
        let text: String =
            (0..fastrand::usize(1..12)).map(|_| letters[fastrand::usize(..letters.len())]).collect();
        let doubled = text.replace('{', "{{").replace('}', "}}");
        let folder = tempfile::tempdir().unwrap();
        let script = compose(&command(&["%s", &doubled]), &Header::Local, folder.path());
        assert_eq!(shell(&script, "1"), (Some(0), text.clone()), "{text}");
    }
}

#[test]
fn one_copy_of_a_job_works_and_a_requeue_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let script = compose(&command(&["worked"]), &Header::Local, folder.path());
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
    let script = compose(&command(&["worked"]), &Header::Local, folder.path());
    assert_eq!(shell(&script, "7").0, Some(i32::from(COPY)));
    // Nor where no claim can be made; but that is a failure, and no copy.
    let script = compose(&command(&["worked"]), &Header::Local, &folder.path().join("not there"));
    assert_eq!(shell(&script, "7").0, Some(1));
}
