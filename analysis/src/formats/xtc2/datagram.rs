//! Datagrams and the Xtc containers in them. Walks and checks extents, never looks into values.

use std::fmt;

use crate::formats::{FormatError, bytes};

/// Bytes of a datagram's header, the root container's included.
pub const HEADER: usize = 24;
/// The largest datagram, header included (`Dgram::MaxSize`).
pub const MAX_DATAGRAM: usize = 1 << 24;
/// Bytes of a container's header.
pub(crate) const XTC_HEADER: usize = 12;
/// Containers in containers: real files have three.
const MAX_DEPTH: usize = 8;

/// When a datagram was made. Ordered by time; the number that psana calls `timestamp`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// From its parts.
    pub fn new(seconds: u32, nanoseconds: u32) -> Self {
        Self(u64::from(seconds) << 32 | u64::from(nanoseconds))
    }

    /// Seconds since 1990-01-01 UTC.
    pub fn seconds(self) -> u32 {
        u32::try_from(self.0 >> 32).expect("32 bits are left")
    }

    /// Nanoseconds of the second.
    pub fn nanoseconds(self) -> u32 {
        u32::try_from(self.0 & 0xffff_ffff).expect("32 bits are left")
    }

    /// Milliseconds since 1970-01-01 UTC.
    pub fn unix_millis(self) -> i64 {
        const FROM_1970_TO_1990: i64 = 631_152_000;
        (i64::from(self.seconds()) + FROM_1970_TO_1990) * 1000 + i64::from(self.nanoseconds() / 1_000_000)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:09}", self.seconds(), self.nanoseconds())
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What a datagram is for: a transition of the DAQ, or an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[allow(missing_docs)] // the DAQ's own words
pub enum Service {
    ClearReadout = 0,
    Reset = 1,
    Configure = 2,
    Unconfigure = 3,
    BeginRun = 4,
    EndRun = 5,
    BeginStep = 6,
    EndStep = 7,
    Enable = 8,
    Disable = 9,
    SlowUpdate = 10,
    /// An event.
    L1Accept = 12,
}

impl Service {
    const ALL: [Self; 12] = [
        Self::ClearReadout,
        Self::Reset,
        Self::Configure,
        Self::Unconfigure,
        Self::BeginRun,
        Self::EndRun,
        Self::BeginStep,
        Self::EndStep,
        Self::Enable,
        Self::Disable,
        Self::SlowUpdate,
        Self::L1Accept,
    ];
}

/// What the DAQ says went wrong with a container: bits 0-11 flags, 12-15 the detector's own.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Damage(pub u16);

impl Damage {
    /// Whether nothing went wrong.
    pub fn is_none(self) -> bool {
        self.0 == 0
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const WORDS: [(u16, &str); 8] = [
            (0, "truncated"),
            (1, "out of order"),
            (2, "out of synch"),
            (3, "corrupted"),
            (4, "dropped"),
            (5, "missing data"),
            (6, "timed out"),
            (12, "user"),
        ];
        let mut rest = self.0;
        let mut separator = "";
        for (bit, word) in WORDS.iter().filter(|(bit, _)| self.0 & 1 << bit != 0) {
            write!(f, "{separator}{word}")?;
            separator = ", ";
            rest &= !(1 << bit);
        }
        match (rest, self.0) {
            (0, 0) => f.write_str("none"),
            (0, _) => Ok(()),
            (rest, _) => write!(f, "{separator}bits {rest:#06x}"),
        }
    }
}

/// The first 24 bytes of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// When.
    pub timestamp: Timestamp,
    /// What for.
    pub service: Service,
    /// The whole word: type, service, trigger lines, readout groups.
    pub env: u32,
    /// The sender's number.
    pub src: u32,
    /// Damage of the whole.
    pub damage: Damage,
    /// Bytes of the whole datagram, header included; at least [`HEADER`], at most [`MAX_DATAGRAM`].
    pub size: usize,
}

impl Header {
    /// Reads a header at the begin of `bytes`, which lie at byte `at` of their file.
    pub fn parse(bytes: &[u8], at: u64) -> Result<Self, FormatError> {
        const WHAT: &str = "datagram";
        let Some(header) = bytes::array::<HEADER>(bytes, 0) else {
            return Err(FormatError::Truncated { what: WHAT, at, missing: (HEADER - bytes.len()) as u64 });
        };
        let word = |place| bytes::u32(&header, place).unwrap_or_default();
        let env = word(8);
        let number = env >> 24 & 0xf;
        let service = Service::ALL.into_iter().find(|service| *service as u32 == number);
        let service =
            service.ok_or_else(|| FormatError::corrupt(WHAT, at, format!("there is no service {number}")))?;
        let root =
            XtcHeader::parse(&header[12..]).ok_or_else(|| FormatError::corrupt(WHAT, at, "no root"))?;
        if root.kind != TypeId::PARENT {
            return Err(FormatError::corrupt(WHAT, at, format!("its root is of type {}", root.kind.0)));
        }
        let size = (root.extent as usize).saturating_add(12);
        if !(HEADER..=MAX_DATAGRAM).contains(&size) {
            return Err(FormatError::corrupt(WHAT, at, format!("a size of {size} bytes cannot be")));
        }
        let timestamp = Timestamp::new(word(4), word(0));
        Ok(Self { timestamp, service, env, src: root.src, damage: root.damage, size })
    }
}

/// A whole datagram.
#[derive(Clone, Copy, Debug)]
pub struct Datagram<'a> {
    /// Its header.
    pub header: Header,
    /// Where it lies in its file.
    pub at: u64,
    /// All of its bytes, header included.
    pub bytes: &'a [u8],
}

impl<'a> Datagram<'a> {
    /// Reads the datagram at the begin of `bytes`, which lie at byte `at` of their file; what follows it is left alone.
    pub fn parse(bytes: &'a [u8], at: u64) -> Result<Self, FormatError> {
        let header = Header::parse(bytes, at)?;
        match bytes.get(..header.size) {
            Some(bytes) => Ok(Self { header, at, bytes }),
            None => {
                let missing = (header.size - bytes.len()) as u64;
                Err(FormatError::Truncated { what: "datagram", at, missing })
            }
        }
    }

    /// What an image message's extent must hold: one event of this time, and nothing else.
    pub fn event(bytes: &'a [u8], at: u64, timestamp: Timestamp) -> Result<Self, FormatError> {
        let datagram = Self::parse(bytes, at)?;
        let corrupt = |why| Err(FormatError::corrupt("event", at, why));
        if datagram.header.service != Service::L1Accept {
            return corrupt(format!("it is a {:?}", datagram.header.service));
        }
        if datagram.header.timestamp != timestamp {
            return corrupt(format!("its time is {}, not {timestamp}", datagram.header.timestamp));
        }
        if datagram.bytes.len() != bytes.len() {
            return corrupt(format!("it has {} bytes, not {}", datagram.bytes.len(), bytes.len()));
        }
        Ok(datagram)
    }

    /// All that is no mere container, in the file's order. Ends with the first error.
    pub fn leaves(&self) -> Leaves<'a> {
        let children = Children { rest: &self.bytes[HEADER..], at: self.at + HEADER as u64 };
        Leaves { stack: vec![children] }
    }
}

/// The datagrams of a file's bytes, from byte `at` of that file on. Ends with the first error; a cut datagram at the end is
/// [`FormatError::Truncated`].
pub fn datagrams(bytes: &[u8], at: u64) -> Datagrams<'_> {
    Datagrams { rest: bytes, at }
}

/// See [`datagrams`].
#[derive(Clone, Debug)]
pub struct Datagrams<'a> {
    rest: &'a [u8],
    at: u64,
}

impl Datagrams<'_> {
    /// Where the next datagram begins; after an error, where that one did.
    pub fn position(&self) -> u64 {
        self.at
    }
}

impl<'a> Iterator for Datagrams<'a> {
    type Item = Result<Datagram<'a>, FormatError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let datagram = Datagram::parse(self.rest, self.at);
        match &datagram {
            Ok(datagram) => {
                self.rest = &self.rest[datagram.bytes.len()..];
                self.at += datagram.bytes.len() as u64;
            }
            Err(_) => self.rest = &[],
        }
        Some(datagram)
    }
}

/// The number of a container's type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TypeId(pub(crate) u16);

impl TypeId {
    pub(crate) const PARENT: Self = Self(0);
    pub(crate) const SHAPES_DATA: Self = Self(1);
    pub(crate) const SHAPES: Self = Self(2);
    pub(crate) const DATA: Self = Self(3);
    pub(crate) const NAMES: Self = Self(4);
}

struct XtcHeader {
    src: u32,
    damage: Damage,
    kind: TypeId,
    extent: u32,
}

impl XtcHeader {
    fn parse(bytes: &[u8]) -> Option<Self> {
        Some(Self {
            src: bytes::u32(bytes, 0)?,
            damage: Damage(bytes::u16(bytes, 4)?),
            kind: TypeId(bytes::u16(bytes, 6)? & 0xfff),
            extent: bytes::u32(bytes, 8)?,
        })
    }
}

/// A container with its payload.
#[derive(Clone, Copy, Debug)]
pub struct Xtc<'a> {
    /// The sender, or for names and values their [`super::NamesId`].
    pub src: u32,
    /// What went wrong with it.
    pub damage: Damage,
    pub(crate) kind: TypeId,
    /// Where it lies in its file.
    pub at: u64,
    /// What is in it, its header not included.
    pub payload: &'a [u8],
}

impl<'a> Xtc<'a> {
    pub(crate) fn children(&self) -> Children<'a> {
        Children { rest: self.payload, at: self.at + XTC_HEADER as u64 }
    }
}

/// The containers of a payload, one after the other.
#[derive(Clone, Debug)]
pub(crate) struct Children<'a> {
    rest: &'a [u8],
    at: u64,
}

impl<'a> Iterator for Children<'a> {
    type Item = Result<Xtc<'a>, FormatError>;

    fn next(&mut self) -> Option<Self::Item> {
        const WHAT: &str = "container";
        let (rest, at) = (std::mem::take(&mut self.rest), self.at);
        if rest.is_empty() {
            return None;
        }
        let Some(header) = XtcHeader::parse(rest) else {
            return Some(Err(FormatError::corrupt(
                WHAT,
                at,
                format!("{} bytes are no container", rest.len()),
            )));
        };
        let extent = header.extent as usize;
        if extent < XTC_HEADER {
            return Some(Err(FormatError::corrupt(
                WHAT,
                at,
                format!("an extent of {extent} bytes cannot be"),
            )));
        }
        let Some((this, others)) = rest.split_at_checked(extent) else {
            let why = format!("its {extent} bytes do not fit into the {} of what holds it", rest.len());
            return Some(Err(FormatError::corrupt(WHAT, at, why)));
        };
        self.rest = others;
        self.at = at + extent as u64;
        let payload = &this[XTC_HEADER..];
        Some(Ok(Xtc { src: header.src, damage: header.damage, kind: header.kind, at, payload }))
    }
}

/// See [`Datagram::leaves`].
#[derive(Clone, Debug)]
pub struct Leaves<'a> {
    stack: Vec<Children<'a>>,
}

impl<'a> Iterator for Leaves<'a> {
    type Item = Result<Xtc<'a>, FormatError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.stack.last_mut()?.next() {
                None => drop(self.stack.pop()),
                Some(Ok(xtc)) if xtc.kind == TypeId::PARENT => {
                    if self.stack.len() == MAX_DEPTH {
                        self.stack.clear();
                        let why = format!("it lies deeper than {MAX_DEPTH} containers");
                        return Some(Err(FormatError::corrupt("container", xtc.at, why)));
                    }
                    self.stack.push(xtc.children());
                }
                Some(Ok(xtc)) => return Some(Ok(xtc)),
                Some(Err(error)) => {
                    self.stack.clear();
                    return Some(Err(error));
                }
            }
        }
    }
}
