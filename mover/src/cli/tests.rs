//! What is said on the command line, and what is printed.

use clap::CommandFactory;

use super::*;
use crate::config::{Secret, SecretSource};
use crate::http::tests as played;
use crate::view::{Readiness, RunView, WhySite, WhyView};

fn parsed(words: &str) -> Result<Command, clap::Error> {
    Cli::try_parse_from(words.split_whitespace()).map(|cli| cli.command)
}

#[test]
fn the_definition_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn names_are_checked_before_anything_is_asked() {
    let right = parsed("m request mfxlv9518 12 --to NERSC --why because --url http://h:1").unwrap();
    assert!(matches!(right, Command::Request { run: RunNumber(12), to: Some(_), .. }));
    assert!(matches!(
        parsed("m pause * --url http://h:1").unwrap(),
        Command::Pause(Of { subject: Subject::Everything, .. })
    ));
    let low = parsed("m prioritise mfxlv9518/12 -5 --url http://h:1").unwrap();
    assert!(matches!(low, Command::Prioritise { priority: -5, .. }));
    let wrong = [
        "m request ../etc 12 --url http://h",
        "m why mfxlv9518 twelve --url http://h",
        "m pause /etc/passwd --url http://h",
    ];
    for wrong in wrong {
        assert_eq!(parsed(wrong).unwrap_err().exit_code(), 2, "{wrong}");
    }
}

#[test]
fn tables_say_what_a_person_wants_to_know() {
    let run = RunView {
        run: "mfxlv9518/12".parse().unwrap(),
        site: Some("NERSC".parse().unwrap()),
        state: "moving".to_owned(),
        began: None,
        ended: Some("2020-09-02T10:03:01Z".parse().unwrap()),
        files: 18,
        available: 5,
        failed: 1,
        bytes: 30_000_000_000,
        bytes_available: 12_000_000,
        first_file: Some("2020-09-02T10:03:03.5Z".parse().unwrap()),
    };
    let table = show::run_table(&[run]).to_string();
    for part in
        ["mfxlv9518/12", "NERSC", "moving, 1 failed", "5/18", "12.0 MB/30.0 GB", "2.5 s after its end"]
    {
        assert!(table.contains(part), "{part} is not in\n{table}");
    }
    let missing = vec![("/mfx/mfxlv9518/xtc/a.xtc".parse().unwrap(), "its run is still open".to_owned())];
    let site = WhySite {
        site: Some("NERSC".parse().unwrap()),
        summary: "1 of 2 files are missing".to_owned(),
        missing,
    };
    let why = WhyView { run: "mfxlv9518/12".parse().unwrap(), sites: vec![site] };
    assert_eq!(
        show::why_text(&why),
        "run mfxlv9518/12\nNERSC: 1 of 2 files are missing\n  a.xtc: its run is still open"
    );
    let notes = vec!["waits for Kafka".to_owned()];
    let text = show::readiness(&Readiness { notes, ..Readiness::default() });
    assert_eq!(text, "not ready: 0 under way, 0 queued, 0 messages to publish; waits for Kafka");
}

fn run_key(number: u32) -> RunKey {
    format!("mfxlv9518/{number}").parse().unwrap()
}

/// The status that the program would exit with, and what it would say.
fn status_of(failure: &Failure) -> (u8, String) {
    let code = match failure {
        Failure::Usage(_) => 2,
        Failure::Status(status, _) => *status,
        Failure::Other(_) => 1,
    };
    assert_eq!(format!("{:?}", failure.exit_code()), format!("{:?}", ExitCode::from(code)));
    (code, failure.to_string())
}

#[tokio::test]
async fn a_running_mover_is_asked_and_its_refusals_become_exit_statuses() {
    let mover = played::Running::start(played::owner(), Some("s3cret"), None).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, "s3cret\n").unwrap();
    let token = Secret::new(SecretSource::File(file), "--token-file", 0).read().unwrap();
    let at = |token| Remote::at(format!("http://{}", mover.address), token).unwrap();

    let remote = at(Some(token));
    assert_eq!(remote.ready().await.unwrap().notes, ["waits for Kafka"]);
    assert_eq!(remote.why(&run_key(12)).await.unwrap().sites[0].missing.len(), 1);
    let (code, words) = status_of(&remote.why(&run_key(13)).await.unwrap_err());
    assert_eq!((code, words.as_str()), (2, "run of mfxlv9518 `13` is unknown, did you mean `12`?"));
    let body = WishBody {
        of: "mfxlv9518/12@NERSC".parse().unwrap(),
        who: "me@here".to_owned(),
        why: "full disk".to_owned(),
        priority: None,
    };
    let wished = remote.wish(Action::Pause, &body).await.unwrap();
    assert_eq!((wished.wish.held, wished.wish.why.as_str(), wished.transfers), (Some(true), "full disk", 18));

    let (code, words) = status_of(&at(None).wish(Action::Pause, &body).await.unwrap_err());
    assert!(code == 1 && words.contains("token"), "{code} {words}");
    // An experiment without runs is a name that is not known.
    let nobody = show::status(&remote, Some("nobody".parse().unwrap())).await.unwrap_err();
    assert_eq!(status_of(&nobody), (2, "experiment `nobody` is unknown".to_owned()));
    show::status(&remote, None).await.unwrap();
}

#[tokio::test]
async fn nobody_or_somebody_else_at_the_address_is_said() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (code, words) =
        status_of(&Remote::at(format!("http://{free}"), None).unwrap().ready().await.unwrap_err());
    assert!(code == 1 && words.starts_with(&format!("no mover answers at http://{free}")), "{code} {words}");

    let other = axum::Router::new().fallback(|| async { "hello" });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let serving = tokio::spawn(async move { axum::serve(listener, other).await });
    let (code, words) = status_of(&Remote::at(url, None).unwrap().why(&run_key(1)).await.unwrap_err());
    assert!(code == 1 && words.contains("is no mover of this version"), "{code} {words}");
    serving.abort();
}

#[test]
fn the_address_comes_from_the_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mover.toml");
    let text = crate::config::EXAMPLE
        .replace("# listen = \"127.0.0.1:8741\"", "listen = \"0.0.0.0:99\"\ntoken_env = \"NO_SUCH\"");
    std::fs::write(&file, text).unwrap();
    let running = |url: Option<&str>| Running {
        config: Some(file.clone()),
        url: url.map(str::to_owned),
        token_file: None,
    };
    // The token cannot be read here, which only a wish would mind.
    assert_eq!(Remote::of(&running(None)).unwrap().url(), "http://127.0.0.1:99");
    assert_eq!(Remote::of(&running(Some("http://there:1/"))).unwrap().url(), "http://there:1");
    std::fs::write(&file, "mover = 5").unwrap();
    let (code, words) = status_of(&Remote::of(&running(None)).unwrap_err());
    assert!(code == 2 && words.lines().count() > 3, "{code} {words}");
}
