//! LCLS-II streams: by the small file, which follows chunk switches, or by the headers of the big files.

use lightrail_topics::events::{ConfigurePlace, Extent, ExtentKind, ShotData};
use lightrail_topics::{EventId, Lfn};

use super::{Configured, Event, Found, Role, Want, beside, big_beside};
use crate::formats::FormatError;
use crate::formats::xtc2::smd::{Chunk, Entry, SmdReader, chunk};
use crate::formats::xtc2::{Configuration, Datagram, HEADER, Header, Service, Timestamp};

/// Beam and timing data are a few hundred bytes: a stream whose events are larger holds something else besides, which is not
/// worth reading for them.
const SHOT_AT_MOST: u64 = 64 << 10;

fn id(timestamp: Timestamp) -> EventId {
    EventId::Time { seconds: timestamp.seconds(), nanoseconds: timestamp.nanoseconds(), fiducial: None }
}

/// What a stream of that configuration gives.
fn role(configuration: &Configuration, detector: &str) -> Role {
    let of_shot = |kind: &str| kind.starts_with("ebeam") || matches!(kind, "ts" | "timing");
    if configuration.image_names(detector).next().is_some() {
        Role::Detector
    } else if configuration.names().any(|names| of_shot(&names.kind)) {
        Role::Shot
    } else {
        Role::Nothing
    }
}

impl Found {
    /// An event of an LCLS-II stream, where it gives something.
    fn event(&mut self, timestamp: Timestamp, extent: Extent, until: u64) {
        self.passed = Some(id(timestamp)).max(self.passed.take());
        let wanted = match self.role {
            Role::Detector => true,
            Role::Shot => extent.length <= SHOT_AT_MOST,
            Role::Nothing => false,
        };
        if wanted {
            let (epoch, role) = (self.configured.len(), self.role);
            let (extents, shot) = (vec![extent], ShotData::default());
            self.events.push(Event { id: id(timestamp), extents, epoch, role, shot, until });
        }
    }

    /// Names came: with Configure the first ones, with a later transition others.
    fn configure(
        &mut self,
        header: (Timestamp, Service),
        place: ConfigurePlace,
        configuration: &Configuration,
    ) {
        let (timestamp, service) = header;
        if service == Service::Configure {
            self.configured.clear();
        }
        self.configured.push(Configured { from: id(timestamp), place });
        self.role = role(configuration, &self.detector);
        let images = configuration.names().filter(|names| names.image_field().is_some());
        self.detectors.extend(images.map(|names| names.detector.clone()));
    }
}

/// The small file.
#[derive(Clone, Debug)]
pub(super) struct Small {
    lfn: Lfn,
    reader: SmdReader,
    /// The big file of the present chunk.
    big: Lfn,
    /// Bytes behind the position that were no whole datagram.
    cut: usize,
}

impl Small {
    pub(super) fn of(lfn: &Lfn) -> Option<Self> {
        let big = big_beside(lfn, ".smd.xtc2", ".xtc2")?;
        Some(Self { lfn: lfn.clone(), reader: SmdReader::new(), big, cut: 0 })
    }

    pub(super) fn wants(&self) -> Want {
        Want { lfn: self.lfn.clone(), offset: self.position(), length: None }
    }

    pub(super) fn position(&self) -> u64 {
        self.reader.position()
    }

    pub(super) fn rest(&self) -> Option<String> {
        (self.cut > 0).then(|| format!("cut at byte {}", self.position()))
    }

    pub(super) fn take(&mut self, bytes: &[u8], found: &mut Found) -> Result<(), FormatError> {
        let (mut rest, mut entries) = (bytes, Vec::new());
        // One datagram at a time, so that each meets the names of its moment.
        while !rest.is_empty() {
            let size = match Header::parse(rest, self.position()) {
                Ok(header) => header.size,
                Err(error) if error.is_truncated() => break,
                Err(error) => return Err(error),
            };
            let Some((one, others)) = rest.split_at_checked(size) else { break };
            self.reader.read(one, &mut entries)?;
            rest = others;
            for entry in entries.drain(..) {
                self.entry(entry, found)?;
            }
        }
        self.cut = rest.len();
        Ok(())
    }

    fn entry(&mut self, entry: Entry, found: &mut Found) -> Result<(), FormatError> {
        match entry {
            Entry::Event(place) => {
                let (lfn, offset, length) = (self.big.clone(), place.offset, u64::from(place.size));
                let extent = Extent { lfn, offset, length, kind: ExtentKind::Dgram };
                found.event(place.timestamp, extent, self.position());
            }
            Entry::Chunk { chunk, .. } => self.big = file_of(&self.big, &chunk, self.position())?,
            Entry::Transition { changed: false, .. } => {}
            Entry::Transition { timestamp, service, offset, size, .. } => {
                let place = ConfigurePlace { lfn: self.lfn.clone(), offset, length: u64::from(size) };
                found.configure((timestamp, service), place, self.reader.configuration());
            }
        }
        Ok(())
    }
}

fn file_of(big: &Lfn, chunk: &Chunk, at: u64) -> Result<Lfn, FormatError> {
    let refused = || FormatError::corrupt("chunk", at, format!("`{}` is no file's name", chunk.file));
    beside(big, &chunk.file).ok_or_else(refused)
}

/// The big files, datagram by datagram: of an event only the header is read, of anything else all of it.
#[derive(Clone, Debug)]
pub(super) struct Big {
    /// The file of the present chunk.
    lfn: Lfn,
    at: u64,
    /// Bytes of the datagram there that are wanted: its header, or all of it.
    wanted: usize,
    configuration: Configuration,
    chunk: u32,
    next: Option<Lfn>,
    cut: bool,
}

impl Big {
    pub(super) fn of(lfn: &Lfn) -> Self {
        let configuration = Configuration::default();
        Self { lfn: lfn.clone(), at: 0, wanted: HEADER, configuration, chunk: 0, next: None, cut: false }
    }

    pub(super) fn wants(&self) -> Want {
        Want { lfn: self.lfn.clone(), offset: self.at, length: Some(self.wanted as u64) }
    }

    pub(super) fn position(&self) -> u64 {
        self.at
    }

    pub(super) fn rest(&self) -> Option<String> {
        self.cut.then(|| format!("cut at byte {} of {}", self.at, self.lfn.file_name()))
    }

    /// Goes on in the next chunk's file, where there is one.
    pub(super) fn next_chunk(&mut self) -> bool {
        let Some(next) = self.next.take() else { return false };
        (self.lfn, self.at, self.wanted) = (next, 0, HEADER);
        true
    }

    pub(super) fn take(&mut self, bytes: &[u8], found: &mut Found) -> Result<(), FormatError> {
        self.cut = !bytes.is_empty() && bytes.len() < self.wanted;
        if bytes.len() < self.wanted {
            return Ok(());
        }
        let header = Header::parse(bytes, self.at)?;
        if header.service == Service::L1Accept {
            let (lfn, offset, length) = (self.lfn.clone(), self.at, header.size as u64);
            let extent = Extent { lfn, offset, length, kind: ExtentKind::Dgram };
            found.event(header.timestamp, extent, self.at + length);
        } else if bytes.len() < header.size {
            self.wanted = header.size;
            return Ok(());
        } else {
            self.transition(&Datagram::parse(bytes, self.at)?, found)?;
        }
        self.at += header.size as u64;
        self.wanted = HEADER;
        Ok(())
    }

    fn transition(&mut self, datagram: &Datagram<'_>, found: &mut Found) -> Result<(), FormatError> {
        let Header { timestamp, service, .. } = datagram.header;
        let changed = match service {
            // A further chunk may begin with a Configure of its own: it says the same.
            Service::Configure if self.chunk > 0 => false,
            Service::Configure => {
                self.configuration = Configuration::of(datagram)?;
                true
            }
            _ => self.configuration.update(datagram)?,
        };
        if changed {
            let (lfn, length) = (self.lfn.clone(), datagram.bytes.len() as u64);
            let place = ConfigurePlace { lfn, offset: self.at, length };
            found.configure((timestamp, service), place, &self.configuration);
        }
        if service == Service::Enable
            && let Some(chunk) = chunk(datagram, &self.configuration)?
            && chunk.number > self.chunk
        {
            self.next = Some(file_of(&self.lfn, &chunk, self.at)?);
            self.chunk = chunk.number;
        }
        Ok(())
    }
}
