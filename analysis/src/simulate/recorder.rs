//! The DAQ's recorders: each writes some streams of a run, big and small files together, in a thread of its own. Does what it is
//! told in order; decides nothing.

use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use lightrail_topics::{Lfn, RunNumber};

use super::dealt::Dealt;
use super::error::SimulateError;
use super::place::Place;
use crate::formats::xtc2::write::{StreamSetup, StreamWriter};
use crate::formats::xtc2::{Service, Timestamp};

/// Orders that may wait at a recorder: a slow disk holds the whole DAQ up, as it should.
const WAITING: usize = 8;

/// What a recorder is told.
#[derive(Clone, Debug)]
pub(super) enum Order {
    /// Write a transition.
    Transition(Service, Timestamp),
    /// Write a shot.
    Shot { timestamp: Timestamp, dealt: Arc<Dealt>, pulse_id: u64, event_codes: Arc<[u16]> },
    /// Go on in the chunk of that number.
    Chunk(Timestamp, u32),
}

/// The recorders of a run.
#[derive(Debug)]
pub(super) struct Recorders {
    threads: Vec<Recorder>,
}

#[derive(Debug)]
struct Recorder {
    orders: SyncSender<Order>,
    thread: JoinHandle<Result<Vec<Written>, SimulateError>>,
}

/// A file of a run that is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// The file.
    pub lfn: Lfn,
    /// Its bytes.
    pub size: u64,
}

impl Recorders {
    /// Opens a run's files, which must not be there, and starts the threads.
    pub(super) fn start(
        place: &Place,
        run: RunNumber,
        setups: &[StreamSetup],
        threads: usize,
    ) -> Result<Self, SimulateError> {
        let mut parts: Vec<Vec<Stream>> =
            (0..threads.clamp(1, setups.len().max(1))).map(|_| Vec::new()).collect();
        for (number, setup) in setups.iter().enumerate() {
            let part = number % parts.len();
            parts[part].push(Stream::open(place, run, number, setup.clone())?);
        }
        let start = |streams: Vec<Stream>| {
            let (orders, told) = sync_channel(WAITING);
            Recorder { orders, thread: thread::spawn(move || record(streams, &told)) }
        };
        Ok(Self { threads: parts.into_iter().map(start).collect() })
    }

    /// Tells all of them. `false` when one of them has failed: [`Recorders::finish`] says why.
    #[must_use]
    pub(super) fn tell(&self, order: &Order) -> bool {
        self.threads.iter().all(|recorder| recorder.orders.send(order.clone()).is_ok())
    }

    /// Waits until all is written and every file has its final name.
    pub(super) fn finish(self) -> Result<Vec<Written>, SimulateError> {
        let mut written = Vec::new();
        let mut failure = None;
        for Recorder { orders, thread } in self.threads {
            drop(orders);
            match thread.join() {
                Ok(Ok(files)) => written.extend(files),
                Ok(Err(error)) => failure = failure.or(Some(error)),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        written.sort_by(|one, other| one.lfn.cmp(&other.lfn));
        failure.map_or(Ok(written), Err)
    }
}

fn record(mut streams: Vec<Stream>, told: &Receiver<Order>) -> Result<Vec<Written>, SimulateError> {
    let mut written = Vec::new();
    while let Ok(order) = told.recv() {
        for stream in &mut streams {
            stream.obey(&order, &mut written)?;
        }
    }
    for stream in streams {
        stream.finish(&mut written)?;
    }
    Ok(written)
}

/// A stream's files.
#[derive(Debug)]
struct Stream {
    place: Place,
    run: RunNumber,
    number: usize,
    writer: StreamWriter<File, File>,
    chunk: u32,
}

impl Stream {
    fn open(place: &Place, run: RunNumber, number: usize, setup: StreamSetup) -> Result<Self, SimulateError> {
        let big = create(place, &place.big(run, number, 0))?;
        let small = create(place, &place.small(run, number))?;
        let writer = StreamWriter::new(setup, big, small);
        Ok(Self { place: place.clone(), run, number, writer, chunk: 0 })
    }

    fn big(&self) -> Lfn {
        self.place.big(self.run, self.number, self.chunk)
    }

    fn obey(&mut self, order: &Order, written: &mut Vec<Written>) -> Result<(), SimulateError> {
        let path = self.place.in_progress(&self.big());
        match order {
            Order::Transition(Service::Configure, timestamp) => {
                self.writer.configure(*timestamp).map_err(SimulateError::io(&path))
            }
            Order::Transition(service, timestamp) => {
                self.writer.transition(*service, *timestamp).map_err(SimulateError::io(&path))
            }
            Order::Shot { timestamp, dealt, pulse_id, event_codes } => {
                let part = &dealt.parts[self.number];
                let again = self.writer.event_again(*timestamp, part, (*pulse_id, event_codes));
                again.map(drop).map_err(SimulateError::io(&path))
            }
            Order::Chunk(timestamp, chunk) => {
                let next = self.place.big(self.run, self.number, *chunk);
                let file = create(&self.place, &next)?;
                let told = self.writer.next_chunk(*timestamp, next.file_name(), file);
                drop(told.map_err(SimulateError::io(&path))?);
                let done = self.big();
                self.chunk = *chunk;
                close(&self.place, done, written)
            }
        }
    }

    fn finish(self, written: &mut Vec<Written>) -> Result<(), SimulateError> {
        let (big, small) = (self.big(), self.place.small(self.run, self.number));
        let path = self.place.in_progress(&big);
        drop(self.writer.finish().map_err(SimulateError::io(&path))?);
        // The small file first: whoever sees the big one under its name finds its index.
        close(&self.place, small, written)?;
        close(&self.place, big, written)
    }
}

/// A new file, under the name that says that it is written.
fn create(place: &Place, lfn: &Lfn) -> Result<File, SimulateError> {
    let path = place.in_progress(lfn);
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(SimulateError::io(folder))?;
    }
    OpenOptions::new().write(true).create_new(true).open(&path).map_err(SimulateError::io(&path))
}

fn close(place: &Place, lfn: Lfn, written: &mut Vec<Written>) -> Result<(), SimulateError> {
    let (from, to) = (place.in_progress(&lfn), place.path(&lfn));
    let size = fs::metadata(&from).map_err(SimulateError::io(&from))?.len();
    fs::rename(&from, &to).map_err(SimulateError::io(&to))?;
    written.push(Written { lfn, size });
    Ok(())
}

/// The first file of a run that is there already, written or being written.
pub(super) fn present(place: &Place, run: RunNumber, streams: usize) -> Option<PathBuf> {
    let files = (0..streams).flat_map(|stream| [place.big(run, stream, 0), place.small(run, stream)]);
    let paths = files.flat_map(|lfn| [place.path(&lfn), place.in_progress(&lfn)]);
    paths.into_iter().find(|path: &PathBuf| Path::new(path).symlink_metadata().is_ok())
}
