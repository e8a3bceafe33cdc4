//! The example is the reference: it parses, names every setting, and its defaults are the code's.

use std::collections::BTreeSet;

use lightrail_service::settings::{Book, DeValue, Section};
use toml::de::DeTable;

use super::parse::whole;
use super::*;

/// The example with its comments removed: `# key = value` (defaults), and `#: ` (examples) where wanted.
fn uncommented(examples: bool) -> String {
    let is_setting = |text: &str| {
        let key = text.split(" = ").next().unwrap_or_default();
        text.contains(" = ") && key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_') && !key.is_empty()
    };
    EXAMPLE
        .lines()
        .map(|line| match line.strip_prefix("#: ") {
            Some(rest) if examples => rest,
            Some(_) => "",
            None => match line.strip_prefix("# ") {
                Some(rest) if is_setting(rest) => rest,
                _ => line,
            },
        })
        .fold(String::new(), |all, line| all + line + "\n")
}

#[test]
fn the_example_parses_and_its_commented_defaults_are_the_codes() {
    let example = Config::parse(EXAMPLE).unwrap_or_else(|faults| panic!("{faults:#?}"));
    let spelled_out = uncommented(false);
    assert!(spelled_out.contains("\npoll = "), "the comments were not found");
    assert_eq!(example, Config::parse(&spelled_out).expect("its defaults are right"));
}

#[test]
fn the_example_names_every_setting() {
    let text = uncommented(true);
    Config::parse(&text).unwrap_or_else(|faults| panic!("{faults:#?}"));
    let book = Book::new(&text);
    let (table, errors) = DeTable::parse_recoverable(&text);
    assert!(errors.is_empty());
    whole(Section::top(&book, table.get_ref()));
    let asked = book.asked();
    assert!(asked.len() > 25, "only {} settings", asked.len());
    let named: BTreeSet<String> =
        table.get_ref().iter().flat_map(|(key, value)| keys(key.get_ref(), value.get_ref())).collect();
    // What is asked of one site is asked of all. And a secret is named by file or by environment variable.
    let of_any_site = |key: &String| match key.strip_prefix("sites.").and_then(|rest| rest.split_once('.')) {
        Some((_, rest)) => format!("sites.{}", rest.replace("token_env", "token_file")),
        None => key.clone(),
    };
    let named: BTreeSet<String> = named.iter().map(of_any_site).collect();
    let is_named = |key: &String| named.contains(&of_any_site(key));
    let missing: Vec<&String> = asked.iter().filter(|key| !is_named(key)).collect();
    assert!(missing.is_empty(), "the example does not name {missing:?}");
}

fn keys(path: &str, value: &DeValue<'_>) -> Vec<String> {
    let mut all = vec![path.to_owned()];
    if let DeValue::Table(table) = value {
        for (key, value) in table {
            all.extend(keys(&format!("{path}.{}", key.get_ref()), value.get_ref()));
        }
    }
    all
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
[sites.NERSC.analysis]
program = "/x"
[decide]
grace = "5s"
"#;
    let faults = Config::parse(text).expect_err("it is wrong");
    let said = faults.iter().map(Fault::to_string).collect::<Vec<_>>().join("\n");
    insta::assert_snapshot!(said);
}
