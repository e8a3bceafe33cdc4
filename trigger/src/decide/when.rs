//! A rule's `when` and `RUN_PARAM_IS_VALUE` against what is known of a run: yes, no, or not known yet, and the values that were
//! looked at. Total: no text that parses can make it fail or run long.

use std::collections::BTreeSet;
use std::fmt;

use lightrail_topics::RunKey;
use lightrail_topics::events::RunParam;
use lightrail_topics::when::{Clause, Comparison, Fact, Literal, Operand, Test};

use super::runs::{AtSite, Run, Tally};

/// All that a test may look at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts<'a> {
    pub(super) key: &'a RunKey,
    pub(super) run: Option<&'a Run>,
    pub(super) at: Option<&'a AtSite>,
    /// Images and results under the rule's trial, where it has one.
    pub(super) counts: Option<(u64, u64)>,
}

/// What came of a test. What is not known makes no rule fire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It holds.
    Yes,
    /// It does not.
    No,
    /// Something that it needs is not known yet.
    Unknown,
}

impl Verdict {
    fn opposite(self) -> Self {
        match self {
            Self::Yes => Self::No,
            Self::No => Self::Yes,
            Self::Unknown => Self::Unknown,
        }
    }

    fn known(yes: bool) -> Self {
        if yes { Self::Yes } else { Self::No }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Yes => "yes",
            Self::No => "no",
            Self::Unknown => "unknown",
        })
    }
}

/// A value, borrowed from wherever it stands.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Value<'a> {
    Number(f64),
    Text(&'a str),
    Truth(bool),
}

impl<'a> Value<'a> {
    fn of(literal: &'a Literal) -> Self {
        match literal {
            Literal::Number(number) => Self::Number(*number),
            Literal::Text(text) => Self::Text(text),
            Literal::Truth(truth) => Self::Truth(*truth),
        }
    }

    /// As a number, where it can be one: control systems write numbers as text, and truth as 0 and 1.
    fn number(self) -> Option<f64> {
        match self {
            Self::Number(number) => Some(number),
            Self::Text(text) => text.trim().parse::<f64>().ok().filter(|number| number.is_finite()),
            Self::Truth(truth) => Some(if truth { 1.0 } else { 0.0 }),
        }
    }

    fn truth(self) -> Option<bool> {
        match self {
            Self::Truth(truth) => Some(truth),
            Self::Number(number) if Some(number) == Self::Truth(false).number() => Some(false),
            Self::Number(number) if Some(number) == Self::Truth(true).number() => Some(true),
            Self::Text(text) if text.eq_ignore_ascii_case("true") => Some(true),
            Self::Text(text) if text.eq_ignore_ascii_case("false") => Some(false),
            _ => None,
        }
    }

    fn equals(self, other: Self) -> bool {
        match (self, other) {
            (Self::Text(one), Self::Text(other)) => one == other,
            (Self::Truth(truth), value) | (value, Self::Truth(truth)) => value.truth() == Some(truth),
            (one, other) => one.number().is_some_and(|one| Some(one) == other.number()),
        }
    }
}

impl fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Text(text) => Literal::Text(text.chars().take(200).collect()).fmt(f),
            Self::Truth(truth) => truth.fmt(f),
        }
    }
}

fn count(number: u64) -> Value<'static> {
    #[expect(clippy::cast_precision_loss, reason = "exact below 2^53, and no count or size comes near")]
    Value::Number(number as f64)
}

impl<'a> Facts<'a> {
    fn value(&self, operand: &'a Operand) -> Option<Value<'a>> {
        let fact = match operand {
            Operand::Literal(literal) => return Some(Value::of(literal)),
            Operand::Param(name) => return self.run?.params.get(name).map(Value::of),
            Operand::Field(fact) => fact,
        };
        let tally = || self.at.map_or_else(Tally::default, AtSite::tally);
        match fact {
            Fact::RunNumber => Some(Value::Number(f64::from(self.key.run.0))),
            Fact::RunExperiment => Some(Value::Text(self.key.experiment.as_str())),
            Fact::RunType => self.run?.kind.as_deref().map(Value::Text),
            Fact::RunSample => self.run?.sample.as_deref().map(Value::Text),
            Fact::RunEnded => Some(Value::Truth(self.run.is_some_and(|run| run.ended))),
            Fact::RunDuration => {
                let run = self.run?;
                let millis = run.ended_at?.0.checked_sub(run.began_at?.0)?;
                #[expect(clippy::cast_precision_loss, reason = "exact below 2^53 ms")]
                Some(Value::Number(millis as f64 / 1000.0))
            }
            Fact::FilesCount => Some(count(tally().count as u64)),
            Fact::FilesSize => Some(count(tally().size)),
            Fact::FilesLargest => Some(count(tally().largest)),
            Fact::ImagesCount => self.counts.map(|(images, _)| count(images)),
            Fact::ResultsCount => self.counts.map(|(_, results)| count(results)),
        }
    }

    /// Whether a test holds.
    pub(super) fn test(&self, clause: &'a Clause) -> Verdict {
        match &clause.test {
            Test::All(parts) => self.joined(parts, Verdict::No),
            Test::Any(parts) => self.joined(parts, Verdict::Yes),
            Test::Not(of) => self.test(of).opposite(),
            Test::Compare(left, comparison, right) => {
                let (Some(left), Some(right)) = (self.value(left), self.value(right)) else {
                    return Verdict::Unknown;
                };
                compare(left, *comparison, right)
            }
            Test::OneOf(operand, list) => match self.value(operand) {
                Some(value) => Verdict::known(list.iter().any(|one| value.equals(Value::of(one)))),
                None => Verdict::Unknown,
            },
            Test::Like(operand, pattern) => match self.value(operand) {
                Some(Value::Text(text)) => Verdict::known(is_like(text, pattern)),
                Some(value) => Verdict::known(is_like(&value.to_string(), pattern)),
                None => Verdict::Unknown,
            },
            Test::Tagged(tag) => Verdict::known(self.run.is_some_and(|run| run.tags.contains(tag))),
            Test::Known(operand) => Verdict::known(self.value(operand).is_some()),
            Test::Holds(operand) => match self.value(operand).and_then(Value::truth) {
                Some(truth) => Verdict::known(truth),
                None => Verdict::Unknown,
            },
        }
    }

    /// One part that comes out as `decides` decides; else all must be known.
    fn joined(&self, parts: &'a [Clause], decides: Verdict) -> Verdict {
        let mut all = decides.opposite();
        for part in parts {
            match self.test(part) {
                verdict if verdict == decides => return decides,
                Verdict::Unknown => all = Verdict::Unknown,
                _ => {}
            }
        }
        all
    }

    /// The values that a test looks at, for people: `run.number is 12`.
    pub(super) fn values(&self, clause: &'a Clause) -> Vec<String> {
        let mut said = Vec::new();
        self.say(clause, &mut said);
        let mut seen = BTreeSet::new();
        said.retain(|value| seen.insert(value.clone()));
        said
    }

    fn say(&self, clause: &'a Clause, said: &mut Vec<String>) {
        let mut one = |operand: &'a Operand| {
            let name = match operand {
                Operand::Literal(_) => return,
                Operand::Field(fact) => fact.as_str().to_owned(),
                Operand::Param(name) => format!("param('{name}')"),
            };
            said.push(match self.value(operand) {
                Some(value) => format!("{name} is {value}"),
                None => format!("{name} is not known"),
            });
        };
        match &clause.test {
            Test::All(parts) | Test::Any(parts) => parts.iter().for_each(|part| self.say(part, said)),
            Test::Not(of) => self.say(of, said),
            Test::Compare(left, _, right) => [left, right].into_iter().for_each(one),
            Test::OneOf(operand, _)
            | Test::Like(operand, _)
            | Test::Known(operand)
            | Test::Holds(operand) => {
                one(operand);
            }
            Test::Tagged(_) => {
                let tags: Vec<&str> = self
                    .run
                    .into_iter()
                    .flat_map(|run| &run.tags)
                    .map(lightrail_topics::TagName::as_str)
                    .collect();
                said.push(if tags.is_empty() {
                    "the run has no tags".to_owned()
                } else {
                    format!("tags are {}", tags.join(", "))
                });
            }
        }
    }
}

fn compare(left: Value<'_>, comparison: Comparison, right: Value<'_>) -> Verdict {
    let ordered = |holds: fn(f64, f64) -> bool| match (left.number(), right.number()) {
        (Some(left), Some(right)) => Verdict::known(holds(left, right)),
        _ => Verdict::Unknown,
    };
    match comparison {
        Comparison::Equal => Verdict::known(left.equals(right)),
        Comparison::Unequal => Verdict::known(!left.equals(right)),
        Comparison::Less => ordered(|left, right| left < right),
        Comparison::AtMost => ordered(|left, right| left <= right),
        Comparison::More => ordered(|left, right| left > right),
        Comparison::AtLeast => ordered(|left, right| left >= right),
    }
}

/// Whether a text has a pattern; goes back to the last `*` only, so it never takes longer than both lengths multiplied.
fn is_like(text: &str, pattern: &str) -> bool {
    let (text, pattern): (Vec<char>, Vec<char>) = (text.chars().collect(), pattern.chars().collect());
    let (mut at, mut of, mut star) = (0, 0, None);
    while at < text.len() {
        match pattern.get(of) {
            Some('*') => {
                star = Some((at, of));
                of += 1;
            }
            Some(one) if *one == '?' || *one == text[at] => {
                at += 1;
                of += 1;
            }
            _ => {
                let Some((from, which)) = star else { return false };
                star = Some((from + 1, which));
                (at, of) = (from + 1, which + 1);
            }
        }
    }
    pattern[of..].iter().all(|one| *one == '*')
}

/// Whether a run's parameter has the value; nothing where it has none.
pub(super) fn is_value(run: Option<&Run>, wanted: &RunParam) -> Option<bool> {
    let value = Value::of(run?.params.get(&wanted.name)?);
    let text = Value::Text(&wanted.value);
    let same_number = value.number().is_some_and(|number| Some(number) == text.number());
    Some(value.equals(text) || same_number)
}

/// A run's parameter, for people.
pub(super) fn said(run: Option<&Run>, name: &str) -> Option<String> {
    Some(Value::of(run?.params.get(name)?).to_string())
}

#[cfg(test)]
mod tests {
    use lightrail_topics::When;

    use super::*;
    use crate::decide::runs::Said;

    fn tested(text: &str) -> (Verdict, Vec<String>) {
        let when: When = text.parse().unwrap();
        let key: RunKey = "mfxlv9518/12".parse().unwrap();
        let mut run = Run::default();
        let params = [
            ("energy", Literal::Number(9500.0)),
            ("MFX:DIA:MMS:07.DF", Literal::Text("1".to_owned())),
            ("SmallData", Literal::Text("done".to_owned())),
            ("DAQ", Literal::Truth(true)),
        ];
        let params = params.map(|(name, value)| (name.to_owned(), value)).into();
        let lfn =
            |number: u32| format!("/mfx/mfxlv9518/xtc/mfxlv9518-r0012-s{number:02}-c00.xtc").parse().unwrap();
        run.said(Said { sample: Some("lysozyme".to_owned()), params, ..Said::default() });
        run.tags = ["sample-a".parse().unwrap()].into();
        run.file("NERSC".parse().unwrap(), lfn(0), 3_000);
        run.file("NERSC".parse().unwrap(), lfn(1), 5_000);
        let at = run.at(&"NERSC".parse().unwrap());
        let facts = Facts { key: &key, run: Some(&run), at, counts: None };
        (facts.test(when.root()), facts.values(when.root()))
    }

    #[test]
    fn tests_hold_do_not_or_are_not_known() {
        let yes = [
            "run.number >= 12 and run.number < 13",
            "param('energy') > 9 keV and param('energy') in [1, 9500]",
            "param('MFX:DIA:MMS:07.DF') == 1 and param('MFX:DIA:MMS:07.DF') = '1' and param('MFX:DIA:MMS:07.DF') < 2",
            "param('DAQ') and param('DAQ') == true and param('DAQ') == 1",
            "'sample-a' in tags and not 'sample-b' in tags",
            "files.count == 2 and files.size = 8 kB and files.largest == 5000",
            "run.sample like 'lyso*' and run.sample like '*s?zyme' and run.sample not like 'lyso'",
            "not run.ended and not known(run.type) and not known(results.count)",
            "param('none') == 1 or run.experiment == 'mfxlv9518'",
        ];
        for text in yes {
            assert_eq!(tested(text), (Verdict::Yes, tested(text).1), "{text}");
        }
        let no = [
            "run.number != 12",
            "param('none') == 1 and run.number > 12",
            "param('SmallData') == 'running'",
            "param('SmallData') == 3",
            "'other' in tags",
        ];
        for text in no {
            assert_eq!(tested(text).0, Verdict::No, "{text}");
        }
        let unknown = [
            "param('none') == 1",
            "not param('none') > 1",
            "param('SmallData') > 3",
            "run.duration > 5 min or run.ended",
            "param('energy')",
            "param('none') == 1 and run.number == 12",
        ];
        for text in unknown {
            assert_eq!(tested(text).0, Verdict::Unknown, "{text}");
        }
        let said = tested("param('none') == 1 or param('energy') > 3 or 'a' in tags and run.number > 3").1;
        assert_eq!(
            said,
            [
                "param('none') is not known",
                "param('energy') is 9500",
                "tags are sample-a",
                "run.number is 12"
            ]
        );
    }

    #[test]
    fn patterns_are_matched_in_bounded_time() {
        let text = "a".repeat(2000);
        assert!(!is_like(&text, &format!("{}b", "a*".repeat(500))));
        assert!(is_like(&text, "a*a") && is_like("", "*") && !is_like("", "?") && is_like("abcab", "*ab"));
    }
}
