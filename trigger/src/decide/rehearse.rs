//! What rules would have done: past events told to a book once more, in the order of their time, and each firing noted. Decides by
//! the same code as when it counts; nothing is intended, so nothing can be submitted.

use std::collections::BTreeSet;

use lightrail_topics::events::{Class, Rule};
use lightrail_topics::{Millis, RuleName, RunKey};

use super::Input;
use super::book::{Book, Limits};

/// A rule that would have fired.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fired {
    /// When: the event that made it fire.
    pub at: Millis,
    /// The rule.
    pub rule: RuleName,
    /// The run.
    pub run: RunKey,
    /// How urgent its work would have been.
    pub class: Class,
    /// Why.
    pub reason: String,
}

/// Tells events to rules, and gives what fires. Events of rules themselves, and of jobs, are passed over: the rules are these.
/// What people say of runs (tags, groups, datasets) is told first, for only the newest of it is kept.
pub fn rehearse(limits: Limits, rules: &[Rule], events: Vec<(Millis, Input)>) -> Vec<Fired> {
    let mut book = Book::new(limits);
    for rule in rules {
        book.take(Input::Rule(rule.rule.clone(), Some(rule.clone())), Millis(0));
    }
    let is_peoples = |input: &Input| matches!(input, Input::Tags(..) | Input::Group(..) | Input::Dataset(..));
    let (sets, events): (Vec<_>, Vec<_>) = events.into_iter().partition(|(_, input)| is_peoples(input));
    for (at, input) in sets {
        book.take(input, at);
    }
    let (mut fired, mut all) = (BTreeSet::new(), Vec::new());
    for (at, input) in events {
        if matches!(input, Input::Rule(..) | Input::Job(_) | Input::Counted(_)) {
            continue;
        }
        let run = input.run().cloned();
        book.take(input, at);
        let Some(run) = run else { continue };
        book.place(&run, at);
        for rule in rules {
            let which = (rule.rule.clone(), run.clone());
            if fired.contains(&which) || !book.fires(rule, &run) {
                continue;
            }
            let (class, reason) = (book.class(rule, &run), book.reason(rule, &run));
            all.push(Fired { at, rule: rule.rule.clone(), run: run.clone(), class, reason });
            fired.insert(which);
        }
    }
    all
}
