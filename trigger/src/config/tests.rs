//! The example is the reference: it parses, names every setting, and its defaults are the code's.

use lightrail_service::settings::example;

use super::parse::whole;
use super::*;

#[test]
fn the_example_parses_and_its_commented_defaults_are_the_codes() {
    let example = Config::parse(EXAMPLE).unwrap_or_else(|faults| panic!("{faults:#?}"));
    let spelled_out = example::uncommented(EXAMPLE, false);
    assert!(spelled_out.contains("\npoll = "), "the comments were not found");
    assert_eq!(example, Config::parse(&spelled_out).expect("its defaults are right"));
}

#[test]
fn the_example_names_every_setting() {
    let text = example::uncommented(EXAMPLE, true);
    Config::parse(&text).unwrap_or_else(|faults| panic!("{faults:#?}"));
    let keys = example::Keys::of(&text, whole);
    assert!(keys.asked.len() > 25, "only {} settings", keys.asked.len());
    // What is asked of one site is asked of all. And a secret is named by file or by environment variable.
    let missing =
        keys.missing(|key| match key.strip_prefix("sites.").and_then(|rest| rest.split_once('.')) {
            Some((_, rest)) => format!("sites.{}", rest.replace("token_env", "token_file")),
            None => key.to_owned(),
        });
    assert!(missing.is_empty(), "the example does not name {missing:?}");
}

#[test]
fn all_faults_are_listed_with_key_and_line() {
    let text = r#"decider = "a b"
[kafka]
bootstrap = ["localhost:9092"]
[sites.NERSC]
executor = "slrum"
folder = "jobs"
claims = "/c l"
[sites.NERSC.script]
qos = "a; b"
parallel = "smp"
constraint = "gpu & x"
reservation_jobs = 3
setup = ["env.sh"]
[sites.NERSC.script.container]
image = "x y"
volumes = ["/a"]
[sites.NERSC.script.environment]
"A B" = "1"
[sites.NERSC.script.preemptible]
shortest = "2h"
[sites.OLCF]
executor = "iri"
folder = "/a"
claims = "/a"
[sites.OLCF.iri]
api = "olcf"
[sites.OLCF.script]
warning = "1m"
cores = 64
[sites.OLCF.script.preemptible]
class = "preempt"
shortest = "1h"
[sites.HERE]
executor = "local"
folder = "/h"
claims = "/h/claims"
[sites.HERE.script]
account = "lcls"
queue = "fast"
reservation = "lv95"
constraint = "gpu"
cores = 2
warning = "1m"
[sites.HERE.script.preemptible]
class = "preempt"
[sites.TORQUE]
executor = "pbs"
folder = "/t"
claims = "/t/claims"
[sites.TORQUE.pbs]
dialect = "torque"
[sites.TORQUE.script]
qos = "high"
warning = "1m"
cores = 2
[sites.TORQUE.script.preemptible]
class = "preempt"
[sites.NERSC.analysis]
program = "/x"
[decide]
grace = "5s"
"#;
    let faults = Config::parse(text).expect_err("it is wrong");
    let said = faults.iter().map(Fault::to_string).collect::<Vec<_>>().join("\n");
    insta::assert_snapshot!(said);
}
