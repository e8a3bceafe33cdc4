//! Writes XTC2 streams with their small files as the DAQ does, for the simulator and tests. Whoever uses it names times and
//! values; nothing here makes any up.
//!
//! ```
//! use lightrail_analysis::formats::xtc2::write::{Event, StreamSetup, StreamWriter};
//! use lightrail_analysis::formats::xtc2::{Service, Timestamp};
//!
//! let at = |n: u32| Timestamp::new(1_112_036_891, n);
//! let setup = StreamSetup::jungfrau("mfxx00121", 7, 1, "jungfrau", &[0], [1, 4, 8]).with_beam();
//! let mut stream = StreamWriter::new(setup, Vec::new(), Vec::new());
//! stream.configure(at(0))?;
//! for (n, service) in [Service::BeginRun, Service::BeginStep, Service::Enable].into_iter().enumerate() {
//!     stream.transition(service, at(1 + n as u32))?;
//! }
//! let pixels = [7u16; 32];
//! let event = Event { segments: &[&pixels], photon_energy: Some(9500.0), pulse_id: 1, event_codes: &[40] };
//! let place = stream.event(at(10), &event)?;
//! for (n, service) in [Service::Disable, Service::EndStep, Service::EndRun].into_iter().enumerate() {
//!     stream.transition(service, at(11 + n as u32))?;
//! }
//! let (big, small) = stream.finish()?;
//! assert!(big.len() as u64 > place.offset + u64::from(place.size) && !small.is_empty());
//! # Ok::<(), std::io::Error>(())
//! ```

mod build;
mod setup;

use std::io::{self, Write};

pub use build::{Builder, Cell};
pub use setup::StreamSetup;

use super::datagram::{HEADER, MAX_DATAGRAM, Service, Timestamp};
use super::smd::Place;

/// A shot's values for one stream.
#[derive(Clone, Copy, Debug)]
pub struct Event<'a> {
    /// Raw pixels of each segment of the set-up, in its order, each as long as its shape says.
    pub segments: &'a [&'a [u16]],
    /// Photon energy in eV; left out of the data when `None` or when the stream has no beam data.
    pub photon_energy: Option<f64>,
    /// The accelerator's pulse id; used when the stream has a timing detector.
    pub pulse_id: u64,
    /// Event codes below 288; likewise.
    pub event_codes: &'a [u16],
}

/// An event's datagram made beforehand, to be written again and again at other times without being built anew. What the
/// timing system says is not in it: that is another each time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prepared {
    bytes: Vec<u8>,
    size: usize,
}

impl Prepared {
    /// The datagram of an event for a stream.
    ///
    /// # Errors
    /// As [`StreamWriter::event`].
    pub fn new(setup: &StreamSetup, event: &Event<'_>) -> io::Result<Self> {
        let mut builder = Builder::default();
        builder.begin(Service::L1Accept, Timestamp::default(), setup.node());
        setup.put_image(&mut builder, Timestamp::default(), 0, event)?;
        let length = builder.bytes().len();
        setup.put_timing(&mut builder, Timestamp::default(), (event.pulse_id, event.event_codes))?;
        let mut bytes = builder.into_bytes();
        let size = bytes.len();
        fits(size)?;
        bytes.truncate(length);
        Ok(Self { bytes, size })
    }

    /// Bytes of the datagram.
    pub fn size(&self) -> usize {
        self.size
    }
}

/// One stream: the big file and the small one beside it, written together. Both writers get whole datagrams, each by a few
/// `write_all`s, in order; give it a `BufWriter` where that matters.
#[derive(Debug)]
pub struct StreamWriter<B, S> {
    setup: StreamSetup,
    big: B,
    small: S,
    offset: u64,
    chunk: u32,
    events: u64,
    builder: Builder,
    index: Builder,
}

impl<B: Write, S: Write> StreamWriter<B, S> {
    /// Nothing is written yet.
    pub fn new(setup: StreamSetup, big: B, small: S) -> Self {
        let (builder, index) = (Builder::default(), Builder::default());
        Self { setup, big, small, offset: 0, chunk: 0, events: 0, builder, index }
    }

    /// Where the small file is written.
    pub fn small(&self) -> &S {
        &self.small
    }

    /// Bytes written to the present big file.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The first datagram: all names. The small file gets those of its own besides.
    pub fn configure(&mut self, timestamp: Timestamp) -> io::Result<()> {
        self.begin(Service::Configure, timestamp);
        for names in self.setup.all_names() {
            self.builder.names(names);
        }
        self.setup.put_settings(&mut self.builder)?;
        self.index.begin_like(&self.builder);
        self.index.names(&self.setup.smd_info);
        self.put_small()?;
        self.put_big().map(drop)
    }

    /// A transition. `BeginRun` says experiment and run; the small file has an `EndRun` without payload, all others alike.
    pub fn transition(&mut self, service: Service, timestamp: Timestamp) -> io::Result<()> {
        if matches!(service, Service::Configure | Service::L1Accept) {
            return Err(refused("Configure and events have calls of their own"));
        }
        self.begin(service, timestamp);
        if service == Service::BeginRun {
            let (names, run) = (&self.setup.run_info, self.setup.run);
            self.builder.data(names, &[Cell::Text(&self.setup.experiment), Cell::U32(run)])?;
        }
        self.index.begin_like(&self.builder);
        self.put_small()?;
        self.put_big().map(drop)
    }

    /// A `BeginRun` that brings all names again, as the DAQ does when it was reconfigured: from here on they hold.
    pub fn reconfigure(&mut self, timestamp: Timestamp) -> io::Result<()> {
        self.begin(Service::BeginRun, timestamp);
        for names in self.setup.all_names() {
            self.builder.names(names);
        }
        self.index.begin_like(&self.builder);
        self.put_small()?;
        self.put_big().map(drop)
    }

    /// Says that the stream goes on in the file `name`, which is `next`: an Enable at the end of the present file. From here on
    /// places count in the new one. Gives back the present file.
    pub fn next_chunk(&mut self, timestamp: Timestamp, name: &str, next: B) -> io::Result<B> {
        self.begin(Service::Enable, timestamp);
        self.chunk += 1;
        self.builder.data(&self.setup.chunk_info, &[Cell::Text(name), Cell::U32(self.chunk)])?;
        self.index.begin_like(&self.builder);
        self.put_small()?;
        self.put_big()?;
        self.big.flush()?;
        self.offset = 0;
        Ok(std::mem::replace(&mut self.big, next))
    }

    /// A shot, and where it was put.
    ///
    /// # Errors
    /// Of the writers; and as [`io::ErrorKind::InvalidInput`] pixels that do not fit the set-up's shape, or more than a datagram
    /// may hold.
    pub fn event(&mut self, timestamp: Timestamp, event: &Event<'_>) -> io::Result<Place> {
        self.build(timestamp, event)?;
        self.put_shot(timestamp)
    }

    /// A shot whose datagram was made before for this stream's set-up, now at this time, with this pulse id and these event
    /// codes: no byte of its pixels is copied here.
    pub fn event_again(
        &mut self,
        timestamp: Timestamp,
        event: &Prepared,
        (pulse_id, event_codes): (u64, &[u16]),
    ) -> io::Result<Place> {
        self.begin(Service::L1Accept, timestamp);
        self.setup.put_timing(&mut self.builder, timestamp, (pulse_id, event_codes))?;
        let (_, image) = event.bytes.split_at(8);
        let timing = &self.builder.bytes()[HEADER..];
        if image.len() + 8 + timing.len() != event.size {
            return Err(refused("the event was made for another set-up"));
        }
        self.big.write_all(&timestamp.nanoseconds().to_le_bytes())?;
        self.big.write_all(&timestamp.seconds().to_le_bytes())?;
        self.big.write_all(image)?;
        self.big.write_all(timing)?;
        self.note_shot(timestamp, event.size)
    }

    /// Flushes both files and gives them back.
    pub fn finish(mut self) -> io::Result<(B, S)> {
        self.big.flush()?;
        self.small.flush()?;
        Ok((self.big, self.small))
    }

    fn begin(&mut self, service: Service, timestamp: Timestamp) {
        self.builder.begin(service, timestamp, self.setup.node());
    }

    fn build(&mut self, timestamp: Timestamp, event: &Event<'_>) -> io::Result<()> {
        self.begin(Service::L1Accept, timestamp);
        self.setup.put_image(&mut self.builder, timestamp, self.events, event)?;
        self.setup.put_timing(&mut self.builder, timestamp, (event.pulse_id, event.event_codes))
    }

    fn put_shot(&mut self, timestamp: Timestamp) -> io::Result<Place> {
        let size = self.put_big()?;
        self.offset -= size as u64;
        self.note_shot(timestamp, size)
    }

    fn note_shot(&mut self, timestamp: Timestamp, size: usize) -> io::Result<Place> {
        let place = Place {
            timestamp,
            chunk: self.chunk,
            offset: self.offset,
            size: u32::try_from(size).map_err(|_| refused("a datagram of more than 4 GiB"))?,
        };
        self.offset += size as u64;
        self.events += 1;
        self.index.begin(Service::L1Accept, timestamp, self.setup.node());
        let cells = [Cell::U64(place.offset), Cell::U64(u64::from(place.size))];
        self.index.data(&self.setup.smd_info, &cells)?;
        self.put_small()?;
        Ok(place)
    }

    fn put_big(&mut self) -> io::Result<usize> {
        let bytes = self.builder.bytes();
        fits(bytes.len())?;
        self.big.write_all(bytes)?;
        self.offset += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn put_small(&mut self) -> io::Result<()> {
        self.small.write_all(self.index.bytes())
    }
}

fn fits(size: usize) -> io::Result<()> {
    if size > MAX_DATAGRAM {
        return Err(refused(&format!("{size} bytes are more than a datagram may have")));
    }
    Ok(())
}

pub(crate) fn refused(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, why)
}
