//! LCLS-I streams: by the small file, whose proxies say where a detector lies and which holds what is small itself, or by the
//! index file, which has offsets only.

use lightrail_topics::events::{ConfigurePlace, Extent, ExtentKind, ShotData};
use lightrail_topics::{EventId, Lfn};

use super::{Configured, Event, Found, Role, Want, big_beside};
use crate::formats::FormatError;
use crate::formats::xtc::idx::{Index, RECORD};
use crate::formats::xtc::{Configuration, Datagram, HEADER, Header, Service, Time, image, smd};
use crate::frame::Shot;

/// The pulse id that is none.
const NO_FIDUCIAL: u32 = 0x1_ffff;

fn id(time: Time) -> EventId {
    EventId::Time { seconds: time.seconds, nanoseconds: time.nanoseconds, fiducial: Some(time.fiducial) }
}

fn shot_data(shot: Shot) -> ShotData {
    ShotData {
        photon_energy: shot.photon_energy,
        pulse_id: shot.pulse_id,
        event_codes: shot.event_codes,
        detector_distance: shot.detector_distance,
    }
}

/// The small file.
#[derive(Clone, Debug)]
pub(super) struct Small {
    lfn: Lfn,
    big: Lfn,
    at: u64,
    configuration: Configuration,
    cut: usize,
}

impl Small {
    pub(super) fn of(lfn: &Lfn) -> Option<Self> {
        let big = big_beside(lfn, ".smd.xtc", ".xtc")?;
        Some(Self { lfn: lfn.clone(), big, at: 0, configuration: Configuration::default(), cut: 0 })
    }

    pub(super) fn wants(&self) -> Want {
        Want { lfn: self.lfn.clone(), offset: self.at, length: None }
    }

    pub(super) fn position(&self) -> u64 {
        self.at
    }

    pub(super) fn rest(&self) -> Option<String> {
        (self.cut > 0).then(|| format!("cut at byte {}", self.at))
    }

    pub(super) fn take(&mut self, bytes: &[u8], found: &mut Found) -> Result<(), FormatError> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let datagram = match Datagram::parse(rest, self.at) {
                Ok(datagram) => datagram,
                Err(error) if error.is_truncated() => break,
                Err(error) => return Err(error),
            };
            self.datagram(&datagram, found)?;
            self.at += datagram.bytes.len() as u64;
            rest = &rest[datagram.bytes.len()..];
        }
        self.cut = rest.len();
        Ok(())
    }

    fn datagram(&mut self, datagram: &Datagram<'_>, found: &mut Found) -> Result<(), FormatError> {
        let time = datagram.header.time;
        match datagram.header.service {
            Service::Configure => {
                self.configuration = Configuration::of(datagram)?;
                let length = datagram.bytes.len() as u64;
                let place = ConfigurePlace { lfn: self.lfn.clone(), offset: self.at, length };
                found.configured = vec![Configured { from: id(time), place }];
                found.detectors = self.configuration.detectors().collect();
            }
            Service::L1Accept => {
                let extents = self.extents(datagram, &found.detector)?;
                if extents.is_empty() {
                    return Ok(());
                }
                let mut shot = Shot::default();
                image::shot(datagram, &mut shot)?;
                found.role = Role::Detector;
                let (epoch, until) = (found.configured.len(), self.at + datagram.bytes.len() as u64);
                let (role, shot) = (Role::Detector, shot_data(shot));
                found.events.push(Event { id: id(time), extents, epoch, role, shot, until });
            }
            _ => {}
        }
        Ok(())
    }

    /// Where the detector lies in this event; nowhere when the event has none of it.
    fn extents(&self, datagram: &Datagram<'_>, detector: &str) -> Result<Vec<Extent>, FormatError> {
        let mut proxies = Vec::new();
        for proxy in smd::proxies(datagram) {
            let proxy = proxy?;
            if self.configuration.is_named(proxy.src, detector) {
                proxies.push(proxy);
            }
        }
        let whole = smd::place(datagram)?;
        let of_proxies: u64 = proxies.iter().map(|proxy| u64::from(proxy.size)).sum();
        let dgram = |kind| Extent {
            lfn: self.big.clone(),
            offset: whole.offset,
            length: u64::from(whole.size),
            kind,
        };
        if proxies.is_empty() {
            // A small detector has no proxy: its data are in the small file, and in the whole datagram.
            let mut leaves = datagram.leaves().filter_map(Result::ok);
            let is_there =
                leaves.any(|xtc| image::is_image(&xtc) && self.configuration.is_named(xtc.src, detector));
            return Ok(if is_there { vec![dgram(ExtentKind::Dgram)] } else { Vec::new() });
        }
        // A whole datagram tells its time, by which a wrong place is found out: worth a quarter more of reading.
        if u64::from(whole.size) <= of_proxies + of_proxies / 4 {
            return Ok(vec![dgram(ExtentKind::Dgram)]);
        }
        let extent = |proxy: smd::Proxy| Extent {
            lfn: self.big.clone(),
            offset: proxy.offset,
            length: u64::from(proxy.size),
            kind: ExtentKind::Xtc,
        };
        Ok(proxies.into_iter().map(extent).collect())
    }
}

/// The index file: offsets without lengths, which stand in the big file's headers.
#[derive(Clone, Debug)]
pub(super) struct Idx {
    lfn: Lfn,
    big: Lfn,
    state: State,
}

#[derive(Clone, Debug)]
enum State {
    /// The whole index file is wanted.
    Begin,
    /// The big file's Configure is wanted: so many bytes of it.
    Configure(Index, usize),
    /// The header of this shot is wanted.
    Shot(Index, usize, Configuration),
    /// All is read.
    Done(u64),
}

impl Idx {
    pub(super) fn of(lfn: &Lfn) -> Option<Self> {
        let big = big_beside(lfn, ".xtc.idx", ".xtc")?;
        Some(Self { lfn: lfn.clone(), big, state: State::Begin })
    }

    pub(super) fn wants(&self) -> Option<Want> {
        let big = |offset, length: usize| Want { lfn: self.big.clone(), offset, length: Some(length as u64) };
        match &self.state {
            State::Begin => Some(Want { lfn: self.lfn.clone(), offset: 0, length: None }),
            State::Configure(_, length) => Some(big(0, *length)),
            State::Shot(index, shot, _) => Some(big(index.shots[*shot].offset, HEADER)),
            State::Done(_) => None,
        }
    }

    pub(super) fn position(&self) -> u64 {
        if let State::Done(length) = self.state { length } else { 0 }
    }

    pub(super) fn rest(&self) -> Option<String> {
        match &self.state {
            State::Done(_) => None,
            State::Begin => Some("is cut".to_owned()),
            State::Configure(..) | State::Shot(..) => {
                Some(format!("{} ends before its index does", self.big.file_name()))
            }
        }
    }

    pub(super) fn take(&mut self, bytes: &[u8], found: &mut Found) -> Result<(), FormatError> {
        match std::mem::replace(&mut self.state, State::Begin) {
            State::Begin => match Index::parse(bytes) {
                Ok(index) => self.state = State::Configure(index, HEADER),
                Err(error) if error.is_truncated() => {}
                Err(error) => return Err(error),
            },
            State::Configure(index, wanted) => {
                let size = match Header::parse(bytes, 0) {
                    Ok(header) => header.size,
                    Err(error) if error.is_truncated() => wanted,
                    Err(error) => return Err(error),
                };
                if bytes.len() < size {
                    self.state = State::Configure(index, size);
                    return Ok(());
                }
                let configure = Datagram::parse(bytes, 0)?;
                if configure.header.service != Service::Configure {
                    let why = format!("it begins with a {:?}", configure.header.service);
                    return Err(FormatError::corrupt("stream", 0, why));
                }
                let configuration = Configuration::of(&configure)?;
                let place = ConfigurePlace { lfn: self.big.clone(), offset: 0, length: size as u64 };
                found.configured = vec![Configured { from: id(configure.header.time), place }];
                found.detectors = configuration.detectors().collect();
                self.go_on(index, 0, configuration, &found.detector);
            }
            State::Shot(index, shot, configuration) => {
                let (offset, time) = (index.shots[shot].offset, index.shots[shot].time);
                if bytes.len() < HEADER {
                    self.state = State::Shot(index, shot, configuration);
                    return Ok(());
                }
                let header = Header::parse(bytes, offset)?;
                if header.time != time {
                    let why = format!("its time is {}, not {time} as its index says", header.time);
                    return Err(FormatError::corrupt("event", offset, why));
                }
                let (lfn, length) = (self.big.clone(), header.size as u64);
                let extents = vec![Extent { lfn, offset, length, kind: ExtentKind::Dgram }];
                let codes = index.codes.iter().enumerate().take(32);
                let codes = codes.filter(|(bit, _)| index.shots[shot].codes >> bit & 1 == 1);
                let data = ShotData {
                    pulse_id: (time.fiducial != NO_FIDUCIAL).then_some(u64::from(time.fiducial)),
                    event_codes: codes.map(|(_, code)| u16::from(*code)).collect(),
                    ..ShotData::default()
                };
                found.role = Role::Detector;
                let until = index.header + RECORD * (shot as u64 + 1);
                found.events.push(Event {
                    id: id(time),
                    extents,
                    epoch: 1,
                    role: Role::Detector,
                    shot: data,
                    until,
                });
                self.go_on(index, shot + 1, configuration, &found.detector);
            }
            done @ State::Done(_) => self.state = done,
        }
        Ok(())
    }

    /// To the next shot that has the detector, from `shot` on.
    fn go_on(&mut self, index: Index, shot: usize, configuration: Configuration, detector: &str) {
        let segments: Vec<usize> = (0..index.segments.len())
            .filter(|segment| {
                let sources = &index.segments[*segment].sources;
                sources.iter().any(|(src, _)| configuration.is_named(*src, detector))
            })
            .collect();
        let has = |shot: &crate::formats::xtc::idx::Shot| {
            segments.iter().any(|segment| *segment >= 32 || shot.empty >> segment & 1 == 0)
        };
        let next = (shot..index.shots.len()).find(|shot| has(&index.shots[*shot]));
        self.state = match next {
            Some(next) => State::Shot(index, next, configuration),
            None => State::Done(index.header + RECORD * index.shots.len() as u64),
        };
    }
}
