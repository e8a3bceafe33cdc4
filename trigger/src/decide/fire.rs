//! Rules against runs: the conditions of each, with their values. A rule fires for a run when all of them hold.

use std::fmt;

use lightrail_topics::events::{Class, Rule, RunParam, Trigger};
use lightrail_topics::{RunInTrial, RunKey, SiteName};

use super::book::Book;
use super::placing::Placed;
use super::runs::{Belongs, Nonrec, Run};
use super::when::{self, Facts, Verdict};

/// What a condition is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// The rule is about this run: its experiment and numbers.
    About,
    /// The site is one at which this decider runs jobs.
    Site,
    /// The run belongs to the rule's dataset.
    Dataset,
    /// Its trigger.
    Trigger,
    /// A part of its `when`.
    When,
}

/// One condition of a rule for a run, with its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// What it is about.
    pub what: What,
    /// Whether it holds.
    pub holds: Verdict,
    /// What was looked at, for people.
    pub text: String,
}

impl Condition {
    fn new(what: What, holds: bool, text: impl Into<String>) -> Self {
        Self { what, holds: if holds { Verdict::Yes } else { Verdict::No }, text: text.into() }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.holds, self.text)
    }
}

impl Book {
    /// Each condition of a rule for a run; it fires when all hold.
    pub fn conditions(&self, rule: &Rule, key: &RunKey) -> Vec<Condition> {
        let run = self.run(key);
        let mut all = vec![Condition::new(
            What::About,
            rule.is_about(key),
            "the rule is about this experiment and run",
        )];
        let site = self.site_of(rule, key);
        match self.placed(rule, key) {
            Some(Placed::Nowhere(why)) => all.push(Condition::new(What::Site, false, why)),
            Some(Placed::At(_, why)) => {
                all.push(Condition::new(What::Site, self.runs_at(site), format!("it is placed: {why}")));
            }
            None => {
                all.push(Condition::new(What::Site, self.runs_at(site), format!("jobs are run at {site}")))
            }
        }
        if let Some(name) = &rule.dataset {
            let belongs = self.belongs(name, key);
            let text = match &belongs {
                Belongs::Yes => format!("the run belongs to dataset {name}"),
                Belongs::NoSuch => format!("there is no dataset {name} of experiment {}", key.experiment),
                Belongs::NotInGroups => format!("the run is in none of the groups of dataset {name}"),
                Belongs::Lacks(tags) => {
                    let tags: Vec<&str> = tags.iter().map(lightrail_topics::TagName::as_str).collect();
                    format!("for dataset {name} the run lacks tag {}", tags.join(", "))
                }
            };
            all.push(Condition::new(What::Dataset, belongs == Belongs::Yes, text));
        }
        let text = format!("{}: {}", rule.trigger, self.trigger_said(rule, key, run));
        all.push(Condition::new(What::Trigger, self.is_triggered(rule, key, site), text));
        if let Some(when) = &rule.when {
            let facts = self.facts(rule, key, run);
            for part in when.parts() {
                let values = facts.values(part).join("; ");
                let values = if values.is_empty() { values } else { format!(" ({values})") };
                let text = format!("{}{values}", when.text_of(part));
                all.push(Condition { what: What::When, holds: facts.test(part), text });
            }
        }
        all
    }

    /// Whether all conditions hold: the same answer, without a word of it.
    pub(super) fn fires(&self, rule: &Rule, key: &RunKey) -> bool {
        let site = self.site_of(rule, key);
        let is_nowhere = matches!(self.placed(rule, key), Some(Placed::Nowhere(_)));
        if !rule.is_about(key) || !self.runs_at(site) || is_nowhere {
            return false;
        }
        let run = self.run(key);
        self.is_triggered(rule, key, site)
            && rule.dataset.as_ref().is_none_or(|name| self.belongs(name, key) == Belongs::Yes)
            && rule.when.as_ref().is_none_or(|when| {
                let facts = self.facts(rule, key, run);
                facts.test(when.root()) == Verdict::Yes
            })
    }

    /// Why a rule fired, in one line.
    pub(super) fn reason(&self, rule: &Rule, key: &RunKey) -> String {
        let conditions = self.conditions(rule, key);
        let told = conditions
            .iter()
            .filter(|condition| matches!(condition.what, What::Trigger | What::When | What::Dataset));
        told.map(|condition| condition.text.as_str()).collect::<Vec<_>>().join("; ")
    }

    pub(super) fn runs_at(&self, site: &SiteName) -> bool {
        self.limits.at_once.contains_key(site)
    }

    fn facts<'a>(&self, rule: &Rule, key: &'a RunKey, run: Option<&'a Run>) -> Facts<'a> {
        let counts = rule.trial.map(|trial| self.counts(&RunInTrial { run: key.clone(), trial }));
        Facts { key, run, at: run.and_then(|run| run.at(self.site_of(rule, key))), counts }
    }

    /// Whether its trigger has come for a run, as seen from a site.
    pub(super) fn is_triggered(&self, rule: &Rule, key: &RunKey, site: &SiteName) -> bool {
        self.is_triggered_by(rule, key, self.run(key), site)
    }

    /// The same, with what is known of the run.
    pub(super) fn is_triggered_by(
        &self,
        rule: &Rule,
        key: &RunKey,
        run: Option<&Run>,
        site: &SiteName,
    ) -> bool {
        let at = run.and_then(|run| run.at(site));
        match rule.trigger {
            Trigger::Manual => !self.requests(rule, key).is_empty(),
            Trigger::StartOfRun => run.is_some_and(|run| run.known),
            Trigger::EndOfRun => run.is_some_and(|run| run.ended),
            Trigger::FirstFileTransferred => at.is_some_and(|at| at.first_file),
            Trigger::AllFilesTransferred => at.is_some_and(|at| at.whole.is_some()),
            Trigger::AllNonrecFilesTransferred => run.is_some_and(|run| run.nonrec(site) == Nonrec::Whole),
            Trigger::RunParamIsValue => {
                rule.run_param.as_ref().and_then(|wanted| when::is_value(run, wanted)) == Some(true)
            }
        }
    }

    fn trigger_said(&self, rule: &Rule, key: &RunKey, run: Option<&Run>) -> String {
        let site = self.site_of(rule, key);
        let at = run.and_then(|run| run.at(site));
        let text = match rule.trigger {
            Trigger::Manual => match self.requests(rule, key).len() {
                0 => "nobody has asked for it",
                times => return format!("asked for {times} times"),
            },
            Trigger::StartOfRun if run.is_some_and(|run| run.known) => "the run has begun",
            Trigger::StartOfRun => "nothing is known of the run",
            Trigger::EndOfRun if run.is_some_and(|run| run.ended) => "the run has ended",
            Trigger::EndOfRun => "the run has not ended yet",
            Trigger::FirstFileTransferred if at.is_some_and(|at| at.first_file) => "a file is at the site",
            Trigger::FirstFileTransferred => "no file is at the site yet",
            Trigger::AllFilesTransferred => match at.and_then(|at| at.whole) {
                Some(files) => return format!("all {} files are at the site", files.count),
                None => "not all files are at the site yet",
            },
            Trigger::AllNonrecFilesTransferred => match run.map(|run| run.nonrec(site)) {
                Some(Nonrec::Whole) => "all files but recorders' are at the site",
                Some(Nonrec::Lacks(lacks, all, such)) => {
                    return format!(
                        "{lacks} of {all} files that are no recorder's are not at the site yet, such as {such}"
                    );
                }
                Some(Nonrec::Unsaid) | None => {
                    "the run has not ended yet, or nobody has said which files it has"
                }
            },
            Trigger::RunParamIsValue => {
                let Some(RunParam { name, value }) = &rule.run_param else {
                    return "the rule does not say which parameter".to_owned();
                };
                return match when::said(run, name) {
                    Some(said) => format!("parameter '{name}' is {said}, wanted is '{value}'"),
                    None => format!("the run has no parameter '{name}' yet, wanted is '{value}'"),
                };
            }
        };
        text.to_owned()
    }

    /// The requests of a rule for a run: their numbers for MANUAL, one without a number else.
    pub fn requests(&self, rule: &Rule, run: &RunKey) -> Vec<Option<u32>> {
        if rule.trigger != Trigger::Manual {
            return vec![None];
        }
        let of = |request| (run.clone(), rule.rule.clone(), request);
        self.asked.range(of(0)..=of(u32::MAX)).map(|(_, _, request)| Some(*request)).collect()
    }

    /// How urgent a rule's work for a run is. One that had ended before the rule wanted it under its trial is reprocessed; what a
    /// person asks for by hand is waited for.
    pub fn class(&self, rule: &Rule, key: &RunKey) -> Class {
        let since = rule.since.unwrap_or(rule.at);
        let ended = self.run(key).and_then(|run| run.ended_at);
        match ended {
            Some(ended) if ended < since && rule.trigger != Trigger::Manual => Class::Reprocess,
            _ => Class::Live,
        }
    }
}
