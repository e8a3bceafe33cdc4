//! A file of rules: read whole with every fault named at once, before any of it takes effect.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use lightrail_service::settings::{self, Fault, List, Section, Setting};
use lightrail_service::settings_from_text;
use lightrail_topics::events::{Argument, Class, Field, Piece, Rule, RunParam, Task, Trigger, Work};
use lightrail_topics::{DatasetName, Millis, RuleName, SiteName, TaskName, When};

use crate::config::Config;
use crate::decide::MOVES;

/// The example, which a test reads.
pub const EXAMPLE: &str = include_str!("../rules.example.toml");

/// Ids of `topics` as settings of this crate.
struct As<T>(T);

macro_rules! as_settings {
    ($($type:ty => $expected:literal),* $(,)?) => {
        $(impl std::str::FromStr for As<$type> {
            type Err = <$type as std::str::FromStr>::Err;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map(Self)
            }
        }
        settings_from_text! { As<$type> => $expected })*
    };
}

as_settings! {
    TaskName => "a task such as \"work\"",
    Trigger => "one of LCLS's seven triggers, such as \"ALL_FILES_TRANSFERRED\"",
    Argument => "a text such as \"--run={run}\"",
    When => "a test such as \"run.number >= 12 and 'sample-a' in tags\"",
    SiteName => "a site such as \"NERSC\"",
    DatasetName => "a dataset such as \"lysozyme\"",
    Class => "\"live\" or \"reprocess\"",
}

/// A number of a run or a trial, which may be 0.
struct Number(u32);

impl Setting for Number {
    const EXPECTED: &'static str = "a whole number";

    fn read(value: &settings::DeValue<'_>) -> Result<Self, String> {
        let digits = value.as_integer().ok_or_else(String::new)?;
        u32::from_str_radix(digits.as_str(), digits.radix())
            .map(Self)
            .map_err(|_| format!("{} is out of range", digits.as_str()))
    }
}

/// Reads a file of rules for this configuration: `[rules.<NAME>]`, each with `[[rules.<NAME>.tasks]]`.
///
/// # Errors
/// All faults, in the order of the text.
pub fn parse(text: &str, config: &Config, who: &str, at: Millis) -> Result<Vec<Rule>, Vec<Fault>> {
    settings::parse(text, |top| {
        let section = top.section("rules");
        let mut rules = BTreeMap::new();
        for key in section.names() {
            match key.parse::<RuleName>() {
                Ok(name) => {
                    let read = rule(name.clone(), section.section(&key), config, who, at);
                    rules.insert(name, read);
                }
                Err(why) => section.fault(&key, why.to_string()),
            }
        }
        if rules.is_empty() {
            top.fault("rules", "is missing: say [rules.NAME] and what it starts");
        }
        top.finish();
        rules.into_values().collect()
    })
}

fn rule(name: RuleName, section: Section<'_, '_>, config: &Config, who: &str, at: Millis) -> Option<Rule> {
    let trigger = section.required("trigger").map(|As::<Trigger>(trigger)| trigger);
    let run_param = run_param(&section, trigger);
    needs_logbook(&section, trigger, config);
    let when = section.optional("when").map(|As::<When>(when)| when);
    let dataset = section.optional("dataset").map(|As::<DatasetName>(dataset)| dataset);
    let sites = sites(&section, config);
    let number = |key: &str| section.optional(key).map(|Number(number)| number);
    let (first_run, last_run, trial) = (number("first_run"), number("last_run"), number("trial"));
    let experiment = section.optional("experiment");
    if let (Some(first), Some(last)) = (first_run, last_run)
        && first > last
    {
        section.fault("last_run", "lies before first_run: the rule is about no run");
    }
    let mut names = BTreeSet::new();
    let mut tasks = Vec::new();
    for section in section.sections("tasks") {
        tasks.push(task(section, trial.is_some(), &sites, config, &mut names));
    }
    if tasks.is_empty() {
        section.fault("tasks", "is missing: say [[rules.NAME.tasks]] and what it runs");
    }
    section.finish();
    let mut sites = sites.into_iter();
    Some(Rule {
        rule: name,
        version: 0,
        trigger: trigger?,
        run_param,
        when,
        dataset,
        experiment,
        first_run: first_run.map(lightrail_topics::RunNumber),
        last_run: last_run.map(lightrail_topics::RunNumber),
        site: sites.next()?,
        or_at: sites.collect(),
        trial: trial.map(lightrail_topics::TrialNumber),
        tasks: tasks.into_iter().collect::<Option<_>>()?,
        since: None,
        who: who.to_owned(),
        at,
    })
}

/// `site`, one of them; or `sites`, several; or `site = "any"` for all that there are.
fn sites(section: &Section<'_, '_>, config: &Config) -> Vec<SiteName> {
    let known: Vec<SiteName> = config.sites.keys().cloned().collect();
    let site: Option<SiteName> = section.optional("site");
    let listed: Option<Vec<SiteName>> = section
        .optional::<List<As<SiteName>>>("sites")
        .map(|list| list.0.into_iter().map(|As(site)| site).collect());
    let is_any = site.as_ref().is_some_and(|site| site.as_str() == "any");
    let (key, sites) = match (site, listed) {
        (Some(_), None) if is_any => ("site", known.clone()),
        (Some(_), Some(_)) if !is_any => {
            section.fault("sites", "is there beside site; say one of them");
            return Vec::new();
        }
        (Some(site), None) => ("site", vec![site]),
        (_, Some(listed)) => ("sites", listed),
        (None, None) => {
            section.fault(
                "site",
                "is missing; expected a site such as \"NERSC\", or sites = [\"NERSC\", \"OLCF\"]",
            );
            return Vec::new();
        }
    };
    let mut seen = BTreeSet::new();
    for site in &sites {
        settings::known_site(section, key, site, &known);
        if !seen.insert(site) {
            section.fault(key, format!("names {site} twice"));
        }
    }
    if sites.is_empty() {
        section.fault(key, "names no site");
    }
    sites
}

/// LCLS's own names for what `RUN_PARAM_IS_VALUE` waits for.
fn run_param(section: &Section<'_, '_>, trigger: Option<Trigger>) -> Option<RunParam> {
    let name: Option<String> = section.optional("run_param_name");
    let value: Option<String> = section.optional("run_param_value");
    if trigger == Some(Trigger::RunParamIsValue) {
        for (key, given) in [("run_param_name", name.is_some()), ("run_param_value", value.is_some())] {
            if !given {
                section.fault(key, "is missing, and RUN_PARAM_IS_VALUE never fires without it");
            }
        }
    } else if trigger.is_some() && (name.is_some() || value.is_some()) {
        section.fault(
            "run_param_name",
            "is for trigger = \"RUN_PARAM_IS_VALUE\"; `when` tests parameters with any",
        );
    }
    Some(RunParam { name: name?, value: value? })
}

/// Without the logbook nobody says a run's parameters.
fn needs_logbook(section: &Section<'_, '_>, trigger: Option<Trigger>, config: &Config) {
    if trigger == Some(Trigger::RunParamIsValue) && config.logbook.is_none() {
        section
            .fault("trigger", "needs kafka.logbook in the configuration: run parameters are said there only");
    }
}

/// A task; `before` are the names of those that stand before it, which it may come after: so no task waits for itself.
fn task(
    section: Section<'_, '_>,
    has_trial: bool,
    sites: &[SiteName],
    config: &Config,
    before: &mut BTreeSet<TaskName>,
) -> Option<Task> {
    let name = section.required("task").map(|As::<TaskName>(name)| name);
    let after: Vec<As<TaskName>> = section.optional::<List<_>>("after").map_or_else(Vec::new, |list| list.0);
    for As(other) in &after {
        if !before.contains(other) {
            section.fault("after", format!("names `{other}`, which is no task before this one"));
        }
    }
    if name.as_ref().is_some_and(|name| name.as_str().ends_with(MOVES)) {
        section.fault(
            "task",
            format!("ends with `{MOVES}`, as those do which move images between a rule's sites"),
        );
    }
    if let Some(name) = &name
        && !before.insert(name.clone())
    {
        section.fault("task", format!("`{name}` is there twice"));
    }
    let workers: Option<u32> = section.optional("workers");
    let images_per_worker: Option<u32> = section.optional("images_per_worker");
    if images_per_worker.is_some() && workers.is_none() {
        section.fault("images_per_worker", "is for workers: say how many there are at most");
    }
    let program: Option<String> = section.optional("program");
    let arguments: Vec<As<Argument>> =
        section.optional::<List<_>>("arguments").map_or_else(Vec::new, |list| list.0);
    let inputs = files(&section, "inputs");
    let outputs = files(&section, "outputs");
    let nodes = section.or("nodes", 1);
    let time = section.or("time", Duration::from_secs(3600));
    let attempts = section.or("attempts", 3);
    let only = section.optional("only").map(|As::<Class>(class)| class);
    let ahead = section.optional::<Duration>("ahead").map(|ahead| ahead.as_secs().max(1));
    if ahead.is_some() && (workers.is_none() || !after.is_empty()) {
        section.fault(
            "ahead",
            "is for workers that come after no other task: nothing else can wait for a run's images",
        );
    }
    let work = match (workers, program) {
        (Some(workers), None) => {
            if !has_trial {
                section.fault("workers", "needs the rule's `trial`: results are complete under one");
            }
            let mut places = sites.iter().filter_map(|site| config.sites.get(site));
            if nodes > 1 && places.any(|place| !place.head.dialect.starts_on_each_node()) {
                section.fault(
                    "nodes",
                    "is 1 for workers at this site, whose scheduler starts them on one; take more workers",
                );
            }
            let mut places = sites.iter().filter_map(|site| config.sites.get(site));
            if places.any(|place| place.analysis.is_none()) {
                section
                    .fault("workers", "needs [sites.NAME.analysis] of the rule's site in the configuration");
            }
            let given = [
                ("arguments", arguments.is_empty()),
                ("inputs", inputs.is_empty()),
                ("outputs", outputs.is_empty()),
            ];
            for (key, _) in given.iter().filter(|(_, is_empty)| !is_empty) {
                section.fault(key, "belong to a program, and this task starts workers");
            }
            Some(Work::Analysis { workers, images_per_worker })
        }
        (None, Some(program)) => {
            if !program.starts_with('/') {
                section.fault("program", "is no absolute path");
            }
            let arguments: Vec<Argument> = arguments.into_iter().map(|As(argument)| argument).collect();
            for (key, of) in [("arguments", &arguments), ("inputs", &inputs), ("outputs", &outputs)] {
                if !has_trial && of.iter().flat_map(Argument::fields).any(|field| field == Field::Trial) {
                    section.fault(key, "ask for {trial}, and the rule has none");
                }
            }
            Some(Work::Command { program, arguments, inputs, outputs })
        }
        (Some(_), Some(_)) => {
            section.fault("workers", "is there beside program; a task does one of them");
            None
        }
        (None, None) => {
            section.fault("program", "is missing; say program = \"/path\", or workers = 4");
            None
        }
    };
    section.finish();
    Some(Task {
        task: name?,
        work: work?,
        after: after.into_iter().map(|As(name)| name).collect(),
        nodes,
        seconds: time.as_secs().max(1),
        attempts,
        only,
        ahead,
    })
}

/// Files of a task: absolute paths, with the same words as arguments.
fn files(section: &Section<'_, '_>, key: &str) -> Vec<Argument> {
    let files = section.optional::<List<As<Argument>>>(key).map_or_else(Vec::new, |list| list.0);
    let files: Vec<Argument> = files.into_iter().map(|As(file)| file).collect();
    // No word that stands for something begins with a slash.
    let is_absolute =
        |file: &Argument| matches!(file.0.first(), Some(Piece::Text(text)) if text.starts_with('/'));
    for file in files.iter().filter(|file| !is_absolute(file)) {
        section.fault(key, format!("names `{file}`, which is no absolute path"));
    }
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<Rule>, String> {
        let config =
            Config { logbook: Some(String::new()), ..Config::parse(crate::config::EXAMPLE).unwrap() };
        parse(text, &config, "auser", Millis(0))
            .map_err(|faults| faults.iter().map(Fault::to_string).collect::<Vec<_>>().join("\n"))
    }

    #[test]
    fn the_example_is_right() {
        let rules = read(EXAMPLE).unwrap();
        let names: Vec<&str> = rules.iter().map(|rule| rule.rule.as_str()).collect();
        assert_eq!(names, ["begun", "live-hits", "lysozyme", "small-data"]);
        assert_eq!(rules[1].tasks.len(), 2);
        assert_eq!(rules[1].tasks[1].after.len(), 1);
        assert_eq!(rules[1].tasks[0].ahead, Some(600));
        let sites: Vec<&str> = rules[3].sites().map(SiteName::as_str).collect();
        assert_eq!(sites, ["NERSC", "CLUSTER"]);
        let any = EXAMPLE.replace("sites = [\"NERSC\", \"CLUSTER\"]", "site = \"any\"");
        assert_eq!(read(&any).unwrap()[3].sites().count(), 3);
    }

    #[test]
    fn parameters_need_the_logbook() {
        let config = Config::parse(crate::config::EXAMPLE).unwrap();
        let faults = parse(EXAMPLE, &config, "auser", Millis(0)).unwrap_err();
        let [fault] = faults.as_slice() else { panic!("{faults:?}") };
        assert!(fault.to_string().contains("rules.small-data.trigger: needs kafka.logbook"), "{fault}");
    }

    #[test]
    fn all_faults_are_listed_with_key_and_line() {
        let text = r#"
[rules.live]
trigger = "ALL_FILES"
site = "NERCS"
[[rules.live.tasks]]
task = "work"
workers = 2
images_per_worker = 0
inputs = ["/data/{run}"]
after = ["merge"]
[[rules.live.tasks]]
task = "work"
program = "merge"
arguments = ["{runs}"]
inputs = ["/data/{runs}"]
outputs = ["/data/{trial}", "geometry", "{experiment}/x"]
[rules.param]
trigger = "RUN_PARAM_IS_VALUE"
site = "NERSC"
run_param_name = "SmallData"
run_param_val = "done"
when = "run.number > 3 and files.cont > 4"
[[rules.param.tasks]]
task = "a"
program = "/x"
only = "again"
images_per_worker = 50
[rules.other]
trigger = "START_OF_RUN"
run_param_name = "x"
site = "LAPTOP"
first_run = 3
last_run = 2
[[rules.other.tasks]]
task = "a"
workers = 1
program = "/x"
[[rules.other.tasks]]
task = "b"
[rules.several]
trigger = "END_OF_RUN"
sites = ["NERSC", "NERSC", "OLFC"]
[[rules.several.tasks]]
task = "a"
program = "/x"
ahead = "1m"
[rules.both]
trigger = "END_OF_RUN"
site = "NERSC"
sites = ["LAPTOP"]
[[rules.both.tasks]]
task = "a"
program = "/x"
[rules.none]
trigger = "END_OF_RUN"
site = "NERSC"
tiral = 3
"#;
        insta::assert_snapshot!(read(text).unwrap_err());
    }
}
