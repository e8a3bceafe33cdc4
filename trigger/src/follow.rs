//! What the trigger reads of Kafka: rules, runs, files, how far results are, and its own jobs; all to the present end, then as it
//! comes. The topics are the truth and are read whole at every start; no position is kept anywhere. Decides nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use lightrail_topics::events::{FileEvent, RunEvent};
use lightrail_topics::kafka::{Admin, Connection, Isolation, KafkaError, Offset, Reader, fold_to_end};
use lightrail_topics::{
    Event, LogbookEvent, Millis, Record, RunAtSite, RunInTrial, RunKey, Topic, Topics, decode,
};

use crate::decide::{Book, Input};
use crate::metric;

/// What is followed; the trigger's own topic too, for another one may say there that it decides now. The logbook's runs only where
/// they are wanted.
pub(crate) fn followed(logbook: bool) -> Vec<Topic> {
    let mut wanted = vec![
        Topic::Rules,
        Topic::Jobs,
        Topic::RunsAvailable,
        Topic::FilesAvailable,
        Topic::ImagesIndexed,
        Topic::Results,
    ];
    if logbook {
        wanted.push(Topic::Runs);
    }
    wanted
}

/// What is read to its end at a start.
struct Read {
    book: Book,
    next: BTreeMap<(String, i32), i64>,
    epoch: u64,
}

/// Everything that is there, read into a book, and where reading goes on.
pub(crate) struct Begun {
    /// The book.
    pub(crate) book: Book,
    /// The newest epoch of any decider.
    pub(crate) epoch: u64,
    positions: Vec<(String, i32, Offset)>,
}

/// Reads everything that is there into a book. Who decides has fenced its predecessor before.
pub(crate) async fn begin(
    connection: &Connection,
    topics: &Topics,
    logbook: bool,
    book: Book,
    limit: Duration,
) -> Result<Begun, KafkaError> {
    let admin = Admin::new(connection, limit);
    let names: Vec<String> = followed(logbook).into_iter().map(|topic| topics.name(topic)).collect();
    // Those that nothing was written to begin at their first offset.
    let mut next = BTreeMap::new();
    for name in &names {
        for (partition, first, _) in admin.watermarks(name).await? {
            next.insert((name.clone(), partition), first);
        }
    }
    let ours = topics.clone();
    let take = move |read: &mut Read, record: Record| {
        if let Some(next) = read.next.get_mut(&(record.topic.to_string(), record.partition)) {
            *next = record.offset + 1;
        }
        read.epoch = read.epoch.max(epoch(&ours, &record).unwrap_or(0));
        if let Some(input) = understood(&ours, &record) {
            // Nothing of what is read depends on the time.
            read.book.take(input, Millis(0));
        }
    };
    let into = Read { book, next, epoch: 0 };
    let read = fold_to_end(connection, &names, &BTreeMap::new(), limit, into, take).await?;
    let positions =
        read.next.into_iter().map(|((topic, partition), next)| (topic, partition, Offset::At(next)));
    Ok(Begun { book: read.book, epoch: read.epoch, positions: positions.collect() })
}

impl Begun {
    /// Begins to follow what comes.
    pub(crate) fn follow(&self, connection: &Connection) -> Result<Reader, KafkaError> {
        Reader::assign(connection, &self.positions, Isolation::ReadCommitted)
    }
}

/// The newest epoch that any decider has said.
pub(crate) async fn newest_epoch(
    connection: &Connection,
    topics: &Topics,
    limit: Duration,
) -> Result<u64, KafkaError> {
    let ours = topics.clone();
    let take =
        move |newest: &mut u64, record: Record| *newest = (*newest).max(epoch(&ours, &record).unwrap_or(0));
    fold_to_end(connection, &[topics.name(Topic::Jobs)], &BTreeMap::new(), limit, 0, take).await
}

/// The epoch of a decider that says that it decides.
pub(crate) fn epoch(topics: &Topics, record: &Record) -> Option<u64> {
    match decode(topics, record) {
        Ok(Event::Decider(decider)) => Some(decider.epoch),
        _ => None,
    }
}

/// What a record tells a decider. What cannot be understood is said and counted.
pub(crate) fn understood(topics: &Topics, record: &Record) -> Option<Input> {
    let event = match decode(topics, record) {
        Ok(event) => event,
        Err(error) => {
            let (topic, partition, offset) = (&*record.topic, record.partition, record.offset);
            tracing::warn!(topic, partition, offset, why = error.reason(), "a message cannot be understood");
            metrics::counter!(metric::DEAD_LETTERS).increment(1);
            return None;
        }
    };
    match event {
        Event::Rule(name, rule) => Some(Input::Rule(name, rule)),
        Event::Job(job) => Some(Input::Job(job)),
        Event::JobAsked(asked) => Some(Input::Asked(asked.rule, asked.run, asked.request)),
        Event::Indexed(indexed) => Some(Input::Indexed(indexed)),
        Event::Result(result) => {
            Some(Input::Result(RunInTrial { run: result.image.run, trial: result.trial }))
        }
        Event::File(FileEvent::Available(file)) => {
            Some(Input::FileAvailable(RunAtSite { run: file.run, site: file.site }))
        }
        Event::Run(RunEvent::Available(manifest)) => {
            let files = manifest.files.len();
            Some(Input::RunAvailable(RunAtSite { run: manifest.run, site: manifest.site }, files))
        }
        // Closed, whatever it lacks.
        Event::Run(RunEvent::Incomplete(incomplete)) => Some(Input::RunEnded(incomplete.run)),
        Event::Logbook(LogbookEvent::Run { experiment, run: Some(run), .. }) if run.closed => {
            Some(Input::RunEnded(RunKey { experiment, run: run.num }))
        }
        _ => None,
    }
}
