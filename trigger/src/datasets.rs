//! A file of groups of runs and datasets: read whole with every fault named at once, before any of it takes effect.

use lightrail_service::settings::{self, Fault, List, Section};
use lightrail_service::settings_from_text;
use lightrail_topics::events::{Dataset, RunGroup, RunRange, TagsOf};
use lightrail_topics::{DatasetName, Experiment, GroupName, Millis, TagName};

/// The example, which a test reads.
pub const EXAMPLE: &str = include_str!("../datasets.example.toml");

/// Words of `topics` as settings of this file.
struct As<T>(T);

impl std::str::FromStr for As<RunRange> {
    type Err = lightrail_topics::IdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

impl std::str::FromStr for As<TagName> {
    type Err = lightrail_topics::IdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

impl std::str::FromStr for As<TagsOf> {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "union" => Ok(Self(TagsOf::Union)),
            "intersection" => Ok(Self(TagsOf::Intersection)),
            _ => Err(""),
        }
    }
}

settings_from_text! {
    As<RunRange> => "runs such as \"12\", \"12-20\" or \"12-end\"",
    As<TagName> => "a tag such as \"sample-a\"",
    As<TagsOf> => "\"union\" (runs with one of the tags) or \"intersection\" (runs with all of them)",
}

/// What a file says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sets {
    /// `[EXPERIMENT.groups]`: names and their runs.
    pub groups: Vec<RunGroup>,
    /// `[EXPERIMENT.datasets.NAME]`.
    pub datasets: Vec<Dataset>,
}

/// Reads a file. A dataset's groups are in the same file, or among `known`.
///
/// # Errors
/// All faults, in the order of the text.
pub fn parse(
    text: &str,
    known: &[(Experiment, GroupName)],
    who: &str,
    at: Millis,
) -> Result<Sets, Vec<Fault>> {
    settings::parse(text, |top| {
        let mut sets = Sets::default();
        for key in top.names() {
            match key.parse::<Experiment>() {
                Ok(experiment) => of_experiment(&mut sets, &experiment, top.section(&key), known, who, at),
                Err(why) => top.fault(&key, why.to_string()),
            }
        }
        if top.names().is_empty() {
            top.fault("groups", "nothing is there: say [EXPERIMENT.groups] or [EXPERIMENT.datasets.NAME]");
        }
        top.finish();
        Some(sets)
    })
}

fn of_experiment(
    sets: &mut Sets,
    experiment: &Experiment,
    section: Section<'_, '_>,
    known: &[(Experiment, GroupName)],
    who: &str,
    at: Millis,
) {
    let groups = section.section("groups");
    for key in groups.names() {
        let runs: Option<List<As<RunRange>>> = groups.required(&key);
        match (key.parse::<GroupName>(), runs) {
            (Ok(group), Some(List(runs))) => sets.groups.push(RunGroup {
                experiment: experiment.clone(),
                group,
                runs: runs.into_iter().map(|As(range)| range).collect(),
                who: who.to_owned(),
                at,
            }),
            (Ok(_), None) => {}
            (Err(why), _) => groups.fault(&key, why.to_string()),
        }
    }
    groups.finish();
    let datasets = section.section("datasets");
    for key in datasets.names() {
        let name = key.parse::<DatasetName>().map_err(|why| datasets.fault(&key, why.to_string()));
        let section = datasets.section(&key);
        let tags: Vec<As<TagName>> = section.optional::<List<_>>("tags").map_or_else(Vec::new, |list| list.0);
        let of = section.or("of", As(TagsOf::Intersection)).0;
        let groups: Vec<String> = section.optional::<List<_>>("groups").map_or_else(Vec::new, |list| list.0);
        let mut named = Vec::new();
        for text in groups {
            match text.parse::<GroupName>() {
                Ok(group) => {
                    let is_here =
                        sets.groups.iter().any(|one| one.experiment == *experiment && one.group == group);
                    if !is_here && !known.contains(&(experiment.clone(), group.clone())) {
                        section.fault(
                            "groups",
                            format!("names `{group}`, which nobody has said of {experiment}"),
                        );
                    }
                    named.push(group);
                }
                Err(why) => section.fault("groups", why.to_string()),
            }
        }
        section.finish();
        let Ok(dataset) = name else { continue };
        let mut tags: Vec<TagName> = tags.into_iter().map(|As(tag)| tag).collect();
        tags.sort();
        tags.dedup();
        let (experiment, who) = (experiment.clone(), who.to_owned());
        sets.datasets.push(Dataset { experiment, dataset, of, tags, groups: named, who, at });
    }
    datasets.finish();
    section.finish();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_is_right_and_faults_are_told() {
        let sets = parse(EXAMPLE, &[], "auser", Millis(0)).unwrap();
        assert_eq!((sets.groups.len(), sets.datasets.len()), (2, 2));
        let wrong = "[mfxlv9518.groups]\nlate = [\"20-10\"]\n[mfxlv9518.datasets.a]\ntags = [\"a b\"]\nof = \"both\"\n\
            groups = [\"early\", \"known\"]\ntag = []\n[Mfx.groups]\nx = [\"1\"]\n";
        let known = [("mfxlv9518".parse().unwrap(), "known".parse().unwrap())];
        let faults = parse(wrong, &known, "auser", Millis(0)).unwrap_err();
        insta::assert_snapshot!(faults.iter().map(Fault::to_string).collect::<Vec<_>>().join("\n"));
    }
}
