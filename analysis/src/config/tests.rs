//! The example is the reference: it parses, names every setting, and its defaults are the code's.

use lightrail_service::settings::example;

use super::parse::whole;
use super::*;

fn faults(text: &str) -> Vec<String> {
    Config::parse(text).expect_err("it is wrong").iter().map(Fault::to_string).collect()
}

const MINIMAL: &str = r#"site = "NERSC"
kafka.bootstrap = ["127.0.0.1:9092"]
[sites.NERSC]
folder = "/data"
"#;

#[test]
fn the_example_parses_and_its_commented_defaults_are_the_codes() {
    let example = Config::parse(EXAMPLE).expect("the example is right");
    let spelled_out = example::uncommented(EXAMPLE, false);
    assert!(spelled_out.contains("\nlook = "), "the comments were not found");
    assert_eq!(example, Config::parse(&spelled_out).expect("its defaults are right"));
}

#[test]
fn the_example_names_every_setting() {
    let text = example::uncommented(EXAMPLE, true);
    Config::parse(&text).unwrap_or_else(|faults| panic!("{faults:#?}"));
    let keys = example::Keys::of(&text, whole);
    assert!(keys.asked.len() > 40, "only {} settings", keys.asked.len());
    // What is asked of one experiment is asked of all; a site has either a folder or a door.
    let missing = keys.missing(|key| {
        let key = key.replace("experiments.mfxlv9518.", "experiments.default.");
        match key.strip_prefix("sites.").and_then(|rest| rest.split_once('.')) {
            Some((_, setting)) => format!("sites.{setting}"),
            None => key,
        }
    });
    assert!(missing.is_empty(), "the example does not name {missing:?}");
}

#[test]
fn a_minimal_file_is_enough() {
    let config = Config::parse(MINIMAL).unwrap();
    let rules = config.experiments.of(&"mfxlv9518".parse().unwrap());
    assert_eq!((rules.site.as_str(), rules.streaming), ("NERSC", false));
    let lfn = "/mfx/mfxlv9518/xtc/mfxlv9518-r0001-s000-c000.xtc2".parse().unwrap();
    let here = config.here().location(&lfn);
    assert_eq!(here.to_string(), "/data/mfx/mfxlv9518/xtc/mfxlv9518-r0001-s000-c000.xtc2");
    let door = MINIMAL.replace("folder = \"/data\"", "door = \"dtn:1094\"\nprefix = \"/psdm/\"");
    let there = Config::parse(&door).unwrap().here().location(&lfn);
    assert_eq!(there.to_string(), "root://dtn:1094//psdm/mfx/mfxlv9518/xtc/mfxlv9518-r0001-s000-c000.xtc2");
}

#[test]
fn all_faults_are_listed_with_key_and_line() {
    let text = r#"site = "NERCS"
[kafka]
bootstrap = ["localhost"]
[kafka.properties]
"sasl.password" = "hunter2"
"group.id" = "mine"
[sites.NERSC]
folder = "data"
door = "a:1"
[sites.S3DF]
door = "a:1094"
growing = true
[sites.OLCF]
flder = "/data"
[experiments.default]
site = "S3FD"
streming = true
[index]
look = "10 apples"
[work]
hand_over = "6s"
threads = 0
powder_every = "61s"
[http]
index = "localhost"
"#;
    insta::assert_snapshot!(faults(text).join("\n"), @r#"
    line 1: site: site `NERCS` is not configured, did you mean `NERSC`?
    line 3: kafka.bootstrap: `localhost` names no port; expected host:port, such as "dtn04.nersc.gov:1094"
    line 5: kafka.properties.sasl.password: is a secret; use "sasl.password_file" or "sasl.password_env"
    line 6: kafka.properties.group.id: is set by the service itself; remove it
    line 8: sites.NERSC.folder: is no absolute path
    line 8: sites.NERSC.folder: is there beside door or prefix; keep the one way in which files are read
    line 10: sites.S3DF.prefix: is missing; a door needs what stands before the LFN in its paths
    line 13: sites.OLCF.folder: is missing; say folder = "/path", or door and prefix
    line 14: sites.OLCF.flder: unknown setting, did you mean `folder`?
    line 16: experiments.default.site: site `S3FD` is not configured, did you mean `S3DF`?
    line 17: experiments.default.streming: unknown setting, did you mean `streaming`?
    line 19: index.look: `10 apples` is no duration; expected a duration in words such as "90s", "10m", "7d"
    line 21: work.hand_over: is not shorter than session, in which the group gives up a silent worker
    line 22: work.threads: 0 is out of range; expected a whole number from 1
    line 23: work.powder_every: is longer than 1m: that much a worker that is killed may lose
    line 25: http.index: invalid socket address syntax; expected address:port, such as "127.0.0.1:8741"
    "#);
}

#[test]
fn secrets_come_from_files_and_are_never_shown() {
    let folder = tempfile::tempdir().unwrap();
    let (file, secret) = (folder.path().join("analysis.toml"), folder.path().join("password"));
    let text = format!("{MINIMAL}[kafka.properties]\n\"sasl.password_file\" = {secret:?}\n")
        .replace("kafka.bootstrap = [\"127.0.0.1:9092\"]\n", "");
    let text =
        text.replace("[kafka.properties]", "[kafka]\nbootstrap = [\"127.0.0.1:9092\"]\n[kafka.properties]");
    std::fs::write(&file, &text).unwrap();
    let missing = Config::load(&file).unwrap_err().to_string();
    assert!(missing.contains("sasl.password_file: ") && missing.contains("No such file"), "{missing}");
    std::fs::write(&secret, "s3cret\n").unwrap();
    let config = Config::load(&file).unwrap();
    assert_eq!(config.kafka.client_properties().unwrap()["sasl.password"], "s3cret");
    assert!(!format!("{config:?}").contains("s3cret"));
}
