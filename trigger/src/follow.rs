//! What the trigger reads of Kafka: rules, tags and datasets, runs, files, how far results are, and its own jobs; all to the
//! present end, then as it comes. The topics are the truth and are read at every start; results, of which there are many, from
//! where the decider before has counted them. Decides nothing.

mod counting;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use lightrail_topics::events::{FileEvent, RunEvent, RunManifest, TransferEvent};
use lightrail_topics::kafka::{Admin, Connection, Isolation, KafkaError, Offset, Reader, fold_to_end};
use lightrail_topics::{
    Event, LogTime, LogbookEvent, Millis, Record, RunAtSite, RunInTrial, RunKey, Topic, Topics, decode,
};

use crate::decide::{Book, Input, Said, Tally, TransferSeen};
use crate::metric;

pub(crate) use counting::Counting;

/// What is followed; the trigger's own topic too, for another one may say there that it decides now. The logbook's topics only
/// where they are wanted. In the order in which they are read at a start: counts before what is counted.
pub(crate) fn followed(logbook: bool) -> Vec<Topic> {
    let mut wanted = vec![
        Topic::Rules,
        Topic::Jobs,
        Topic::RunsAvailable,
        Topic::FilesAvailable,
        Topic::FacilityStatus,
        Topic::Transfers,
        Topic::RoutesOverride,
        Topic::ImagesIndexed,
        Topic::Results,
    ];
    if logbook {
        wanted.extend([Topic::Runs, Topic::FileCatalog]);
    }
    wanted
}

/// So old transfers tell nothing of how fast data come: 6 hours, in milliseconds.
const TRANSFERS_SINCE: i64 = 6 * 3600 * 1000;

/// What is read to its end at a start.
struct Read {
    book: Book,
    next: BTreeMap<(String, i32), i64>,
    epoch: u64,
    counting: Counting,
}

/// Everything that is there, read into a book, and where reading goes on.
pub(crate) struct Begun {
    /// The book.
    pub(crate) book: Book,
    /// The newest epoch of any decider.
    pub(crate) epoch: u64,
    /// How far results are counted, and said to be.
    pub(crate) counting: Counting,
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
    let followed = followed(logbook);
    let results = topics.name(Topic::Results);
    // Those that nothing was written to begin at their first offset.
    let (mut next, mut ends) = (BTreeMap::new(), BTreeMap::new());
    for topic in &followed {
        let name = topics.name(*topic);
        for (partition, first, end) in admin.watermarks(&name).await? {
            next.insert((name.clone(), partition), first);
            if *topic == Topic::Results {
                ends.insert(partition, (first, end));
            }
        }
    }
    let counts = counting::last(connection, topics, limit).await?;
    let (counting, counts) = match counts.filter(|counts| counts.fit(&ends)) {
        Some(counts) => (counts.counting, counts.results),
        // None, or of a topic that was made anew: counted from its beginning.
        None => (Counting::new(&ends), Vec::new()),
    };
    let mut from = BTreeMap::new();
    for (partition, offset) in counting.positions() {
        next.insert((results.clone(), partition), offset);
        from.insert((results.clone(), partition), offset);
    }
    // Of transfers, of which there are many, what was lately said: what was measured before fades anyhow.
    let transfers = topics.name(Topic::Transfers);
    let since = Millis(crate::run::now().0.saturating_sub(TRANSFERS_SINCE));
    for (partition, offset) in admin.offsets_for_time(&transfers, since).await? {
        next.insert((transfers.clone(), partition), offset);
        from.insert((transfers.clone(), partition), offset);
    }
    let mut into = Read { book, next, epoch: 0, counting };
    into.book.take(Input::Counted(counts), Millis(0));
    let ours = topics.clone();
    let take = move |read: &mut Read, record: Record| {
        if let Some(next) = read.next.get_mut(&(record.topic.to_string(), record.partition)) {
            *next = record.offset + 1;
        }
        read.epoch = read.epoch.max(epoch(&ours, &record).unwrap_or(0));
        if let Some(input) = understood(&ours, &record) {
            read.counting.taken(&record, &results, &input);
            // Nothing of what is read depends on the time.
            read.book.take(input, Millis(0));
        }
    };
    let names: Vec<String> = followed.into_iter().map(|topic| topics.name(topic)).collect();
    let read = fold_to_end(connection, &names, &from, limit, into, take).await?;
    let positions =
        read.next.into_iter().map(|((topic, partition), next)| (topic, partition, Offset::At(next)));
    Ok(Begun { book: read.book, epoch: read.epoch, counting: read.counting, positions: positions.collect() })
}

impl Begun {
    /// Begins to follow what comes.
    pub(crate) fn follow(&self, connection: &Connection) -> Result<Reader, KafkaError> {
        Reader::assign(connection, &self.positions, Isolation::ReadCommitted)
    }
}

/// All that was ever said of runs, with when, in the order of time; results only where they are wanted. Of compacted topics only
/// the newest is there.
pub(crate) async fn history(
    connection: &Connection,
    topics: &Topics,
    logbook: bool,
    results: bool,
    limit: Duration,
) -> Result<Vec<(Millis, Input)>, KafkaError> {
    let wanted = followed(logbook).into_iter().filter(|topic| match topic {
        Topic::Jobs | Topic::Transfers | Topic::FacilityStatus | Topic::RoutesOverride => false,
        Topic::Results => results,
        _ => true,
    });
    let names: Vec<String> = wanted.map(|topic| topics.name(topic)).collect();
    let ours = topics.clone();
    let take = move |read: &mut Vec<(Millis, Input)>, record: Record| {
        if let Some(input) = understood(&ours, &record) {
            read.push((record.timestamp.unwrap_or(Millis(0)), input));
        }
    };
    let mut read = fold_to_end(connection, &names, &BTreeMap::new(), limit, Vec::new(), take).await?;
    read.sort_by_key(|(at, _)| *at);
    Ok(read)
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
        Event::RunTags(run, tags) => {
            let tags = tags.map_or_else(Default::default, |tags| tags.tags.into_iter().collect());
            Some(Input::Tags(run, tags))
        }
        Event::RunGroup(experiment, name, group) => {
            Some(Input::Group(experiment, name, group.map(|group| group.runs)))
        }
        Event::Dataset(experiment, name, set) => Some(Input::Dataset(experiment, name, set)),
        Event::Job(job) => Some(Input::Job(job)),
        Event::JobAsked(asked) => Some(Input::Asked(asked.rule, asked.run, asked.request)),
        Event::Indexed(indexed) => Some(Input::Indexed(indexed)),
        Event::Result(result) => {
            Some(Input::Result(RunInTrial { run: result.image.run, trial: result.trial }))
        }
        Event::File(FileEvent::Available(file)) => {
            Some(Input::FileAvailable(RunAtSite { run: file.run, site: file.site }, file.lfn, file.size))
        }
        Event::File(FileEvent::Gone(file)) => {
            Some(Input::FileGone(RunAtSite { run: file.run, site: file.site }, file.lfn))
        }
        Event::Transfer(event) => Some(Input::Transfer(transfer(event))),
        Event::Facility(status) => Some(Input::Facility(status)),
        Event::RouteOverride(experiment, route) => Some(Input::Override(experiment, route)),
        Event::Run(RunEvent::Available(manifest)) => Some(available(&manifest)),
        Event::Run(RunEvent::Corrected(corrected)) => Some(available(&corrected.manifest)),
        // Closed, whatever it lacks.
        Event::Run(RunEvent::Incomplete(incomplete)) => Some(Input::RunIncomplete {
            recorders_only: incomplete.missing.iter().all(|file| file.lfn.is_recorders()),
            run: RunAtSite { run: incomplete.run, site: incomplete.site },
            at: incomplete.at,
        }),
        Event::Logbook(LogbookEvent::Run { experiment, run: Some(run), .. }) => {
            let files = run.file_catalog.into_iter().flatten().map(|file| file.lfn).collect();
            let said = Said {
                began: run.begin_time.map(LogTime::millis),
                ended: run.end_time.map(LogTime::millis),
                closed: run.closed,
                kind: run.kind,
                sample: run.sample,
                params: run.params,
                files,
            };
            Some(Input::Said(RunKey { experiment, run: run.num }, said))
        }
        Event::Logbook(LogbookEvent::File { experiment, file: Some(file), .. }) => {
            Some(Input::Registered(RunKey { experiment, run: file.run? }, file.lfn))
        }
        _ => None,
    }
}

/// What a transfer's change tells of its site. A fault is the destination's unless the source's server has it.
fn transfer(event: TransferEvent) -> TransferSeen {
    let cause = event.cause.filter(|cause| cause.class == "endpoint");
    let is_sources = |endpoint: &Option<String>| endpoint.is_none() || *endpoint == event.from_server;
    TransferSeen {
        fault: cause.filter(|cause| !is_sources(&cause.endpoint)).map(|cause| cause.text),
        size: event.registration.and_then(|registration| registration.size),
        moved: event.bytes,
        lfn: event.lfn,
        run: event.run,
        site: event.site,
        state: event.state,
        at: event.at,
    }
}

/// What a manifest says; whoever did not say when the run ended has known it by then.
fn available(manifest: &RunManifest) -> Input {
    let at = RunAtSite { run: manifest.run.clone(), site: manifest.site.clone() };
    let files = Tally::of(manifest.files.iter().map(|file| file.size));
    Input::RunAvailable(at, files, Some(manifest.ended.unwrap_or(manifest.at)))
}
