//! What is said on the command line, and what is printed.

use clap::CommandFactory;

use super::*;
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
