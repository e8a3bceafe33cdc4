//! From a journal and our own topics to a ledger that can go on: rows are loaded, every announcement that Kafka has is
//! taken in, what waits in the outbox and is there already is struck out. Reads and writes the journal, nothing else.

use std::collections::{BTreeMap, VecDeque};

use lightrail_topics::events::{FileEvent, RunEvent};
use lightrail_topics::{Event, Message, Millis, Record, RunKey, SiteName, Topic, Topics, decode};

use crate::journal::{Journal, JournalError, RowKind};
use crate::ledger::rows::{PartitionKey, Row, RowKey, Write};
use crate::ledger::{Ledger, Rules, Step};
use crate::outbox::{ends, struck_out};

/// What was read back from our own topics.
#[derive(Clone, Copy)]
pub(crate) struct ReadBack<'a> {
    /// The names of the topics.
    pub(crate) topics: &'a Topics,
    /// Every record after `confirmed`, as it stands after the predecessor is fenced.
    pub(crate) records: &'a [Record],
    /// Where reading began.
    pub(crate) confirmed: &'a BTreeMap<(String, i32), i64>,
    /// What happened before is left out, in a rebuild from an instant.
    pub(crate) since: Option<Millis>,
}

/// How many rows are written at once.
const ROWS: usize = 5000;

/// The ledger as the journal has it.
pub(crate) fn load(rules: Rules, journal: &dyn Journal) -> Result<Ledger, JournalError> {
    let mut ledger = Ledger::new(rules);
    for kind in RowKind::ALL {
        journal.scan(kind, &mut |row| ledger.load(row))?;
    }
    ledger.index();
    Ok(ledger)
}

/// Takes every announcement that was read back into ledger and journal, and flushes; gives the outbox rows that are still
/// to be published. Nothing is said of runs until the ledger is told that intake has [caught up](Ledger::caught_up).
pub(crate) fn take_back(
    ledger: &mut Ledger,
    journal: &mut dyn Journal,
    back: ReadBack<'_>,
    is_site: impl Fn(&SiteName) -> bool,
    now: Millis,
) -> Result<Vec<(u64, Message)>, JournalError> {
    ledger.begin_reading_back();
    ledger.fall_behind();
    let mut writes = Vec::new();
    // Wishes last: they are about what the other topics tell.
    let (wishes, others): (Vec<&Record>, Vec<&Record>) = back
        .records
        .iter()
        .partition(|record| back.topics.channel(&record.topic) == Some(Topic::Requests.into()));
    for record in others.into_iter().chain(wishes) {
        if record.ce_time().is_some_and(|at| back.since.is_some_and(|since| at < since)) {
            continue;
        }
        let Ok(event) = decode(back.topics, record) else { continue };
        // Another mover's announcements at sites that this one does not serve are not its business.
        if site_of(&event).is_some_and(|site| !is_site(site)) {
            continue;
        }
        if let Some(run) = run_of(&event).filter(|run| !ledger.holds(run)) {
            if let Some((row, files)) = journal.run(run)? {
                ledger.adopt(run, row, files);
            }
        }
        let step = match &event {
            Event::File(FileEvent::Available(event)) => ledger.read_available(event, now),
            Event::File(FileEvent::Gone(event)) => ledger.read_gone(event, now),
            Event::Run(event) => ledger.read_run(event, now),
            Event::Transfer(event) => ledger.read_transfer(event, now),
            Event::Wish(key, wish) => ledger.read_wish(key, wish.as_ref(), now),
            _ => Step::default(),
        };
        writes.extend(step.writes);
        if writes.len() > ROWS {
            journal.commit(&std::mem::take(&mut writes))?;
        }
    }
    let mut waiting: VecDeque<(u64, Message)> = VecDeque::new();
    journal.scan(RowKind::Outbox, &mut |row| {
        if let Row::Outbox(place, message) = row {
            waiting.push_back((place, message));
        }
    })?;
    for place in struck_out(&mut waiting, back.records) {
        writes.push(Write::Remove(RowKey::Outbox(place)));
    }
    let step = ledger.end_reading_back(now);
    for write in &step.writes {
        if let Write::Put(Row::Outbox(place, message)) = write {
            waiting.push_back((*place, message.clone()));
        }
    }
    writes.extend(step.writes);
    for ((topic, partition), next) in ends(back.confirmed, back.records) {
        writes.push(Write::Put(Row::Position(PartitionKey { topic, partition }, next)));
    }
    journal.commit(&writes)?;
    journal.flush()?;
    Ok(waiting.into())
}

fn run_of(event: &Event) -> Option<&RunKey> {
    match event {
        Event::File(FileEvent::Available(event)) => Some(&event.run),
        Event::File(FileEvent::Gone(event)) => Some(&event.run),
        Event::Transfer(event) => Some(&event.run),
        Event::Run(RunEvent::Available(event)) => Some(&event.run),
        Event::Run(RunEvent::Corrected(event)) => Some(&event.manifest.run),
        Event::Run(RunEvent::Incomplete(event)) => Some(&event.run),
        _ => None,
    }
}

fn site_of(event: &Event) -> Option<&SiteName> {
    match event {
        Event::File(FileEvent::Available(event)) => Some(&event.site),
        Event::File(FileEvent::Gone(event)) => Some(&event.site),
        Event::Transfer(event) => Some(&event.site),
        Event::Run(RunEvent::Available(event)) => Some(&event.site),
        Event::Run(RunEvent::Corrected(event)) => Some(&event.manifest.site),
        Event::Run(RunEvent::Incomplete(event)) => Some(&event.site),
        _ => None,
    }
}
