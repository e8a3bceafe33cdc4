//! Datagrams and the containers in them. Walks and checks extents by the rules of the small file's writer, and refuses a child
//! that goes beyond its parent; never looks into payloads.

use std::fmt;

use super::src::Src;
use crate::formats::{FormatError, bytes};

/// Bytes of a datagram's header, the root container's included.
pub const HEADER: usize = 40;
/// The largest datagram: the small file's writer has no room for more.
pub const MAX_DATAGRAM: usize = 64 << 20;
/// Bytes of a container's header.
pub const XTC_HEADER: usize = 20;
/// What precedes the root container.
pub(super) const SEQUENCE: usize = HEADER - XTC_HEADER;
/// Real files have four.
const MAX_DEPTH: usize = 8;

/// When a datagram was made. Ordered by time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time {
    /// Seconds since 1970-01-01 UTC.
    pub seconds: u32,
    /// Nanoseconds of the second.
    pub nanoseconds: u32,
    /// The 360 Hz pulse id, below 2^17; 0x1ffff where there is none.
    pub fiducial: u32,
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:09}/{}", self.seconds, self.nanoseconds, self.fiducial)
    }
}

/// What a datagram is for: a transition of the DAQ, or an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[allow(missing_docs)] // the DAQ's own words
pub enum Service {
    Reset = 1,
    Map = 2,
    Unmap = 3,
    Configure = 4,
    Unconfigure = 5,
    BeginRun = 6,
    EndRun = 7,
    BeginCalibCycle = 8,
    EndCalibCycle = 9,
    Enable = 10,
    Disable = 11,
    /// An event.
    L1Accept = 12,
}

impl Service {
    const ALL: [Self; 12] = [
        Self::Reset,
        Self::Map,
        Self::Unmap,
        Self::Configure,
        Self::Unconfigure,
        Self::BeginRun,
        Self::EndRun,
        Self::BeginCalibCycle,
        Self::EndCalibCycle,
        Self::Enable,
        Self::Disable,
        Self::L1Accept,
    ];
}

/// What went wrong with a container: bits 0-23 flags, 24-31 the detector's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Damage(pub u32);

impl Damage {
    const INCOMPLETE: u32 = 1 << 15;

    /// Whether nothing went wrong.
    pub fn is_none(self) -> bool {
        self.0 == 0
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const WORDS: [(u32, &str); 7] = [
            (1, "dropped"),
            (11, "uninitialised"),
            (12, "out of order"),
            (13, "out of synch"),
            (14, "user"),
            (15, "incomplete"),
            (16, "contains incomplete"),
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
            (rest, _) => write!(f, "{separator}bits {rest:#010x}"),
        }
    }
}

/// What a payload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TypeId {
    /// Its number.
    pub number: u16,
    /// Its version.
    pub version: u16,
    /// Whether it is compressed.
    pub compressed: bool,
}

impl TypeId {
    /// From its parts, not compressed.
    pub fn new(number: u16, version: u16) -> Self {
        Self { number, version, compressed: false }
    }

    /// The word in the container.
    pub fn word(self) -> u32 {
        u32::from(self.compressed) << 31 | u32::from(self.version) << 16 | u32::from(self.number)
    }

    /// From the word in the container.
    pub fn from_word(word: u32) -> Self {
        let [a, b, c, d] = word.to_le_bytes();
        let version = u16::from_le_bytes([c, d]);
        Self { number: u16::from_le_bytes([a, b]), version: version & 0x7fff, compressed: version >> 15 == 1 }
    }

    /// The type's name, where it is known here.
    pub fn name(self) -> Option<&'static str> {
        NAMES.iter().find(|(number, _)| *number == self.number).map(|(_, name)| *name)
    }
}

impl fmt::Display for TypeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => write!(f, "{name}V{}", self.version),
            None => write!(f, "type {} V{}", self.number, self.version),
        }
    }
}

pub(super) const CONTAINER: u16 = 1;
pub(super) const FRAME: u16 = 2;
pub(super) const EBEAM: u16 = 15;
pub(super) const EVR_DATA: u16 = 19;
pub(super) const CSPAD_ELEMENT: u16 = 28;
pub(super) const CSPAD_CONFIG: u16 = 29;
pub(super) const ALIAS_CONFIG: u16 = 69;
pub(super) const EPIX_ELEMENT: u16 = 75;
pub(super) const SMD_OFFSET: u16 = 90;
pub(super) const SMD_PROXY: u16 = 91;
pub(super) const JUNGFRAU_CONFIG: u16 = 107;
pub(super) const JUNGFRAU_ELEMENT: u16 = 108;
pub(super) const EPIX_10KA_CONFIG: u16 = 112;
pub(super) const EPIX_10KA_2M_CONFIG: u16 = 117;
pub(super) const EPIX_10KA_ARRAY: u16 = 118;
pub(super) const EPIX_10KA_QUAD_CONFIG: u16 = 120;
const FIRST_INVALID: u16 = 124;

const NAMES: [(u16, &str); 22] = [
    (CONTAINER, "Xtc"),
    (FRAME, "Frame"),
    (13, "Epics"),
    (EBEAM, "EBeam"),
    (EVR_DATA, "EvrData"),
    (CSPAD_ELEMENT, "CspadElement"),
    (CSPAD_CONFIG, "CspadConfig"),
    (38, "Index"),
    (51, "CspadCompressedElement"),
    (ALIAS_CONFIG, "AliasConfig"),
    (73, "RayonixConfig"),
    (EPIX_ELEMENT, "EpixElement"),
    (84, "Epix100aConfig"),
    (89, "SmlDataConfig"),
    (SMD_OFFSET, "SmlDataOrigDgramOffset"),
    (SMD_PROXY, "SmlDataProxy"),
    (JUNGFRAU_CONFIG, "JungfrauConfig"),
    (JUNGFRAU_ELEMENT, "JungfrauElement"),
    (EPIX_10KA_CONFIG, "Epix10kaConfig"),
    (EPIX_10KA_2M_CONFIG, "Epix10ka2MConfig"),
    (EPIX_10KA_ARRAY, "Epix10kaArray"),
    (EPIX_10KA_QUAD_CONFIG, "Epix10kaQuadConfig"),
];

/// The first 40 bytes of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// When.
    pub time: Time,
    /// What for.
    pub service: Service,
    /// Events since Configure, low 15 bits.
    pub vector: u32,
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
        let number = word(8) >> 24 & 0xf;
        let service = Service::ALL.into_iter().find(|service| *service as u32 == number);
        let service =
            service.ok_or_else(|| FormatError::corrupt(WHAT, at, format!("there is no service {number}")))?;
        let root = XtcHeader::parse(&header[SEQUENCE..], at + SEQUENCE as u64)?;
        let size = SEQUENCE + root.extent;
        if size > MAX_DATAGRAM {
            return Err(FormatError::corrupt(WHAT, at, format!("a size of {size} bytes cannot be")));
        }
        let time = Time { seconds: word(4), nanoseconds: word(0), fiducial: word(12) & 0x1_ffff };
        Ok(Self { time, service, vector: word(12) >> 17, damage: root.damage, size })
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
    pub fn event(bytes: &'a [u8], at: u64, time: Time) -> Result<Self, FormatError> {
        let datagram = Self::parse(bytes, at)?;
        let corrupt = |why| Err(FormatError::corrupt("event", at, why));
        if datagram.header.service != Service::L1Accept {
            return corrupt(format!("it is a {:?}", datagram.header.service));
        }
        if datagram.header.time != time {
            return corrupt(format!("its time is {}, not {time}", datagram.header.time));
        }
        if datagram.bytes.len() != bytes.len() {
            return corrupt(format!("it has {} bytes, not {}", datagram.bytes.len(), bytes.len()));
        }
        Ok(datagram)
    }

    /// The root container.
    pub fn root(&self) -> Result<Xtc<'a>, FormatError> {
        Xtc::parse(&self.bytes[SEQUENCE..], self.at + SEQUENCE as u64)
    }

    /// All that is no mere container, in the file's order; and containers that are not entered because they are incomplete.
    /// Ends with the first error.
    pub fn leaves(&self) -> Leaves<'a> {
        let children = Children { rest: &self.bytes[HEADER..], at: self.at + HEADER as u64 };
        let is_complete = self.header.damage.0 & Damage::INCOMPLETE == 0;
        Leaves { stack: if is_complete { vec![children] } else { Vec::new() } }
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

struct XtcHeader {
    damage: Damage,
    src: Src,
    kind: TypeId,
    extent: usize,
}

impl XtcHeader {
    /// By the rules of the small file's writer.
    fn parse(bytes: &[u8], at: u64) -> Result<Self, FormatError> {
        let corrupt = |why: String| FormatError::corrupt("container", at, why);
        let header = bytes::array::<XTC_HEADER>(bytes, 0);
        let header = header.ok_or_else(|| corrupt(format!("{} bytes are no container", bytes.len())))?;
        let word = |place| bytes::u32(&header, place).unwrap_or_default();
        let damage = Damage(word(0));
        let src = Src { log: word(4), phy: word(8) };
        let kind = TypeId::from_word(word(12));
        let extent = word(16) as usize;
        if extent < XTC_HEADER || !extent.is_multiple_of(4) {
            return Err(corrupt(format!("an extent of {extent} bytes cannot be")));
        }
        if kind.number >= FIRST_INVALID || (kind.number == 0 && damage.is_none()) {
            return Err(corrupt(format!("there is no type {}", kind.number)));
        }
        if src.level().is_none() {
            return Err(corrupt(format!("there is no level {}", src.log >> 24)));
        }
        Ok(Self { damage, src, kind, extent })
    }
}

/// A container with its payload.
#[derive(Clone, Copy, Debug)]
pub struct Xtc<'a> {
    /// What went wrong with it.
    pub damage: Damage,
    /// Who made it.
    pub src: Src,
    /// What its payload is.
    pub kind: TypeId,
    /// Where it lies in its file.
    pub at: u64,
    /// What is in it, its header not included.
    pub payload: &'a [u8],
}

impl<'a> Xtc<'a> {
    /// Reads the container at the begin of `bytes`, which lie at byte `at` of their file; what follows it is left alone.
    pub fn parse(bytes: &'a [u8], at: u64) -> Result<Self, FormatError> {
        let header = XtcHeader::parse(bytes, at)?;
        let payload = bytes.get(XTC_HEADER..header.extent).ok_or_else(|| {
            let why =
                format!("its {} bytes do not fit into the {} of what holds it", header.extent, bytes.len());
            FormatError::corrupt("container", at, why)
        })?;
        Ok(Self { damage: header.damage, src: header.src, kind: header.kind, at, payload })
    }

    /// Bytes of the whole, header included.
    pub fn size(&self) -> usize {
        XTC_HEADER + self.payload.len()
    }
}

/// The containers of a payload, one after the other.
#[derive(Clone, Debug)]
struct Children<'a> {
    rest: &'a [u8],
    at: u64,
}

impl<'a> Iterator for Children<'a> {
    type Item = Result<Xtc<'a>, FormatError>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = std::mem::take(&mut self.rest);
        if rest.is_empty() {
            return None;
        }
        let child = Xtc::parse(rest, self.at);
        if let Ok(child) = &child {
            let extent = child.size();
            self.rest = &rest[extent..];
            self.at += extent as u64;
        }
        Some(child)
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
                Some(Ok(xtc)) if xtc.kind.number == CONTAINER && xtc.damage.0 & Damage::INCOMPLETE == 0 => {
                    if self.stack.len() == MAX_DEPTH {
                        self.stack.clear();
                        let why = format!("it lies deeper than {MAX_DEPTH} containers");
                        return Some(Err(FormatError::corrupt("container", xtc.at, why)));
                    }
                    self.stack.push(Children { rest: xtc.payload, at: xtc.at + XTC_HEADER as u64 });
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
