//! The example is the reference: it parses, names every setting, and its defaults are the code's.

use lightrail_service::settings::example;

use super::parse::whole;
use super::*;

fn faults(text: &str) -> Vec<String> {
    Config::parse(text).expect_err("it is wrong").iter().map(Fault::to_string).collect()
}

const MINIMAL: &str = r#"mover = "m"
source = "SLAC"
kafka.bootstrap = ["127.0.0.1:9092"]
journal.folder = "/tmp/j"
[sites.SLAC]
door = "a:1094"
prefix = "/data"
[sites.NERSC]
door = "b:1094"
prefix = "/data"
"#;

#[test]
fn the_example_parses_and_its_commented_defaults_are_the_codes() {
    let example = Config::parse(EXAMPLE).expect("the example is right");
    let spelled_out = example::uncommented(EXAMPLE, false);
    assert!(spelled_out.contains("\nstall = "), "the comments were not found");
    let mut spelled_out = Config::parse(&spelled_out).expect("its defaults are right");
    // A site's limits stand once, at NERSC; at SLAC they are the same defaults.
    assert_eq!(example, spelled_out);
    let nersc = spelled_out.sites.remove(&"NERSC".parse().unwrap()).unwrap();
    let slac = spelled_out.sites.remove(&"SLAC".parse().unwrap()).unwrap();
    assert_eq!(Site { door: slac.door.clone(), prefix: slac.prefix.clone(), ..nersc }, slac);
}

#[test]
fn the_example_names_every_setting() {
    // Two that exclude each other cannot both be there; each pair is one setting in two ways.
    let text = example::uncommented(EXAMPLE, true);
    let without_env: String =
        text.lines().filter(|l| !l.contains("_env = ")).flat_map(|l| [l, "\n"]).collect();
    Config::parse(&without_env).unwrap_or_else(|faults| panic!("{faults:#?}"));

    let keys = example::Keys::of(&text, whole);
    assert!(keys.asked.len() > 80, "only {} settings", keys.asked.len());
    // What is asked of one site or experiment is the same for all.
    let missing = keys.missing(|key| {
        key.replace("sites.SLAC.", "sites.NERSC.").replace("experiments.mfxlv9518.", "experiments.default.")
    });
    assert!(missing.is_empty(), "the example does not name {missing:?}");
}

#[test]
fn a_minimal_file_is_enough() {
    let config = Config::parse(MINIMAL).unwrap();
    assert_eq!(config.start_from, None);
    assert_eq!(config.logbook, None);
    assert!(config.http.listen.ip().is_loopback());
    assert_eq!(config.kafka.bootstrap_servers(), "127.0.0.1:9092");
    assert_eq!(config.destinations().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["NERSC"]);
}

#[test]
fn all_faults_are_listed_with_key_and_line() {
    let text = r#"mover = "a name"
source = "SLAK"
strat_from = "now"
[kafka]
bootstrap = ["localhost"]
[kafka.properties]
"sasl.password" = "hunter2"
"group.id" = "mine"
[journal]
folder = "/tmp/j"
reserve = 5
[sites.SLAC]
door = "a:1094"
prefix = "data"
engin = "native"
verify = "checksun"
mode = "0999"
[sites.NERSC]
prefix = "/data"
transfers = 4
reserved_small = 4
[experiments.default]
to = ["NERCS", "NERSC"]
[patience]
stall = "10 apples"
[http]
listen = "0.0.0.0:80"
"#;
    let found = faults(text).join("\n");
    insta::assert_snapshot!(found, @r#"
    line 1: mover: mover `a name` is refused: 1 to 32 letters, digits, - and _, beginning with a letter or digit; expected a name such as "lcls-to-nersc"
    line 2: source: site `SLAK` is not configured, did you mean `SLAC`?
    line 3: strat_from: unknown setting, did you mean `start_from`?
    line 5: kafka.bootstrap: `localhost` names no port; expected host:port, such as "dtn04.nersc.gov:1094"
    line 7: kafka.properties.sasl.password: is a secret; use "sasl.password_file" or "sasl.password_env"
    line 8: kafka.properties.group.id: is set by the service itself; remove it
    line 11: journal.reserve: expected a size in words such as "8MiB" or "100GB"
    line 14: sites.SLAC.prefix: `data` does not begin with /; expected an absolute path such as "/data/psdm"
    line 15: sites.SLAC.engin: unknown setting, did you mean `engine`?
    line 16: sites.SLAC.verify: `checksun` is none of its words, did you mean `checksum`?; expected "checksum" or "size"
    line 17: sites.SLAC.mode: `0999` is no mode; expected an octal mode in quotes such as "0440"
    line 18: sites.NERSC.door: is missing; copies by XRootD need host:port (or say engine = "posix")
    line 21: sites.NERSC.reserved_small: leaves no slot of 4 for big files; make it less
    line 23: experiments.default.to: site `NERCS` is not configured, did you mean `NERSC`?
    line 25: patience.stall: `10 apples` is no duration; expected a duration in words such as "90s", "10m", "7d"
    line 27: http.listen: 0.0.0.0:80 can be reached from outside; give a token_file or token_env
    "#);
}

#[test]
fn what_is_no_toml_says_where() {
    let found = faults("mover = \"m\"\nsource = \n[kafka\n");
    assert!(found.iter().any(|fault| fault.starts_with("line 2: is no TOML: ")), "{found:?}");
}

#[test]
fn hostile_values_are_refused() {
    for (wrong, because) in [
        ("mover = \"../x\"", "mover"),
        ("journal.cache = \"0MiB\"", "nothing"),
        ("journal.cache = \"5\"", "no unit"),
        ("retry.tries = 0", "out of range"),
        ("retry.tries = -1", "out of range"),
        ("retry.factor = 0.5", "out of range"),
        ("retry.first = \"1h\"", "longer than max"),
        ("sweep.every = \"0s\"", "nothing"),
        ("sweep.every = \"4000y\"", "100 years"),
        ("logbook.url = \"https://me:secret@host/lgbk\"", "password"),
        ("logbook.token = \"secret\"", "unknown setting"),
        ("http.token_file = \"/a\"\nhttp.token_env = \"A\"", "keep one"),
        ("patience.call = \"1m\"", "longer than silence"),
        ("watch = [{ folder = \"rel\", experiment = \"mfxlv9518\" }]", "no absolute path"),
    ] {
        let text = MINIMAL.replacen("mover = \"m\"", &format!("{wrong}\nmover = \"m\""), 1);
        let found = faults(&text).join("\n");
        assert!(found.contains(because), "{wrong}: {found}");
    }
}

#[test]
fn a_door_that_xrootd_needs_must_be_there() {
    let posix = MINIMAL.replace("door = \"b:1094\"", "engine = \"posix\"").replace("door = \"a:1094\"\n", "");
    Config::parse(&posix).unwrap();
    let without = MINIMAL.replace("door = \"b:1094\"\n", "");
    assert_eq!(
        faults(&without),
        ["line 8: sites.NERSC.door: is missing; copies by XRootD need host:port (or say engine = \"posix\")"]
    );
}

#[test]
fn secrets_come_from_files_and_are_never_shown() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mover.toml");
    let secret = folder.path().join("token");
    let text = format!("http.token_file = {:?}\n{MINIMAL}", secret.display().to_string());
    std::fs::write(&file, &text).unwrap();
    let missing = Config::load(&file).unwrap_err().to_string();
    assert!(
        missing.contains("mover.toml: line 1: http.token_file: ") && missing.contains("No such file"),
        "{missing}"
    );

    std::fs::write(&secret, "s3cret\n").unwrap();
    let config = Config::load(&file).unwrap();
    let token = config.http.token.as_ref().unwrap().read().unwrap();
    assert_eq!(token.expose(), "s3cret");
    assert!(!format!("{config:?} {token:?}").contains("s3cret"));

    std::fs::write(&secret, "two\nlines\n").unwrap();
    assert!(Config::load(&file).unwrap_err().to_string().contains("not one line"));
}

#[test]
fn a_routes_file_is_read_with_the_same_care() {
    let sites: Vec<SiteName> = vec!["NERSC".parse().unwrap(), "S3DF".parse().unwrap()];
    let right = "[mfxlv9518]\nto = [\"NERSC\", \"S3DF\"]\nnot_waited_streams = [80]\n[old]\nremove = true\n";
    let lines = RouteLine::parse(right, &sites).unwrap();
    assert_eq!(lines.iter().map(|line| line.experiment.as_str()).collect::<Vec<_>>(), ["mfxlv9518", "old"]);
    assert_eq!(lines[0].route.as_ref().unwrap().to, sites);
    assert_eq!(lines[1].route, None);
    let wrong = "[mfxlv9518]\nto = [\"NERCS\"]\nstream = true\n[MFX]\n[none]\n[empty]\nto = []\n";
    let faults: Vec<String> =
        RouteLine::parse(wrong, &sites).unwrap_err().iter().map(Fault::to_string).collect();
    insta::assert_snapshot!(faults.join("\n"), @r#"
    line 2: mfxlv9518.to: site `NERCS` is not configured, did you mean `NERSC`?
    line 3: mfxlv9518.stream: unknown setting, did you mean `streaming`?
    line 4: MFX: experiment `MFX` is refused: 1 to 64 of a-z, 0-9, - and _, beginning with a letter or digit
    line 5: none.to: is missing; expected a site such as "NERSC"
    line 7: empty.to: names no site; remove = true ends a route
    "#);
}

#[test]
fn the_logbooks_topics_have_one_prefix() {
    let with =
        |names: &str| Config::parse(&MINIMAL.replacen("[sites.SLAC]", &format!("{names}\n[sites.SLAC]"), 1));
    let right = with(
        "[kafka.logbook]\nruns = \"a.runs\"\nfile_catalog = \"a.file_catalog\"\nexperiments = \"a.experiments\"",
    );
    assert_eq!(right.unwrap().logbook_topics.runs, "a.runs");
    let wrong = with("[kafka.logbook]\nruns = \"a.runs\"").unwrap_err();
    let keys: Vec<&str> = wrong.iter().map(|fault| fault.key.as_str()).collect();
    assert_eq!(keys, ["kafka.logbook.experiments", "kafka.logbook.file_catalog"]);
}
