//! The index file of a stream (`index/*.xtc.idx`), versions 1 and 2: each shot's offset in the big file, without its length.
//!
//! Source: pdsdata `index/IndexFileStruct.hh`, `index/src/IndexList.cc`.

use super::datagram::{Time, TypeId};
use super::src::Src;
use crate::formats::{FormatError, bytes};

const WHAT: &str = "index";
const TYPE: u16 = 38;
/// Bytes of a shot's record.
pub const RECORD: u64 = 36;

/// A whole index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Index {
    /// The big file's name as the writer noted it.
    pub file: String,
    /// Bytes before the first shot's record; each has [`RECORD`].
    pub header: u64,
    /// All shots.
    pub shots: Vec<Shot>,
    /// All steps of a scan.
    pub cycles: Vec<Cycle>,
    /// Event codes that occur.
    pub codes: Vec<u8>,
    /// Segments of the stream.
    pub segments: Vec<Segment>,
}

/// A shot's place. Its length is in the big file: in the extent of its root container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shot {
    /// When.
    pub time: Time,
    /// Where its datagram begins.
    pub offset: u64,
    /// Damage of the whole.
    pub damage: u32,
    /// Bit i: segment i is damaged; all bits where there are more than 32 segments.
    pub damaged: u32,
    /// Bit i: segment i is **empty**, whatever the writer's comment says.
    pub empty: u32,
    /// Bit i: event code i of [`Index::codes`].
    pub codes: u32,
}

/// A step of a scan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cycle {
    /// Where its `BeginCalibCycle` lies.
    pub offset: u64,
    /// Its first shot.
    pub first: u32,
    /// When, seconds and nanoseconds.
    pub time: (u32, u32),
}

/// A segment with what it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// The process, two words.
    pub process: Src,
    /// Its sources, each with its type.
    pub sources: Vec<(Src, TypeId)>,
}

impl Index {
    /// Reads a whole index file.
    pub fn parse(file: &[u8]) -> Result<Self, FormatError> {
        let mut bytes = Rest { bytes: file, at: 0 };
        let kind = TypeId::from_word(bytes.u32()?);
        if kind.number != TYPE {
            return Err(FormatError::corrupt(WHAT, 0, format!("it begins with {kind}")));
        }
        let name = bytes::text(bytes.take(32)?).unwrap_or_default().to_owned();
        let (cycles, codes, segments, shots) = match kind.version {
            1 => {
                let cycles = u32::from(bytes.u16()?);
                let [codes, segments] = bytes.array()?;
                (cycles, u32::from(codes), u32::from(segments), bytes.u32()?)
            }
            2 => {
                let (cycles, codes, segments) = (bytes.u32()?, bytes.u16()?, bytes.u16()?);
                let shots = bytes.u32()?;
                bytes.take(12)?;
                (cycles, u32::from(codes), u32::from(segments), shots)
            }
            version => {
                return Err(FormatError::Unsupported { what: format!("an index of version {version}") });
            }
        };
        // Read one by one: a wild count ends with the bytes, and nothing is allocated by it.
        Ok(Self {
            file: name,
            header: bytes.at,
            shots: bytes.many(shots, |bytes| {
                let (seconds, nanoseconds, fiducial) = (bytes.u32()?, bytes.u32()?, bytes.u32()?);
                let time = Time { seconds, nanoseconds, fiducial };
                let offset = bytes.offset()?;
                let (damage, damaged, empty, codes) =
                    (bytes.u32()?, bytes.u32()?, bytes.u32()?, bytes.u32()?);
                Ok(Shot { time, offset, damage, damaged, empty, codes })
            })?,
            cycles: bytes.many(cycles, |bytes| {
                let (offset, first) = (bytes.offset()?, bytes.u32()?);
                Ok(Cycle { offset, first, time: (bytes.u32()?, bytes.u32()?) })
            })?,
            codes: bytes.many(codes, |bytes| Ok(bytes.array::<1>()?[0]))?,
            segments: bytes.many(segments, |bytes| {
                let process = bytes.src()?;
                let count = u32::from(bytes.array::<1>()?[0]);
                let sources = bytes.many(count, Rest::src)?;
                let kinds = bytes.many(count, |bytes| bytes.u32().map(TypeId::from_word))?;
                Ok(Segment { process, sources: sources.into_iter().zip(kinds).collect() })
            })?,
        })
    }
}

/// What is still to be read.
struct Rest<'a> {
    bytes: &'a [u8],
    at: u64,
}

impl<'a> Rest<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], FormatError> {
        let (this, rest) = self.bytes.split_at_checked(length).ok_or(FormatError::Truncated {
            what: WHAT,
            at: self.at,
            missing: length.saturating_sub(self.bytes.len()) as u64,
        })?;
        self.bytes = rest;
        self.at += length as u64;
        Ok(this)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], FormatError> {
        let bytes = self.take(N)?;
        Ok(bytes::array(bytes, 0).unwrap_or([0; N]))
    }

    fn u16(&mut self) -> Result<u16, FormatError> {
        self.array().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Result<u32, FormatError> {
        self.array().map(u32::from_le_bytes)
    }

    fn src(&mut self) -> Result<Src, FormatError> {
        Ok(Src { log: self.u32()?, phy: self.u32()? })
    }

    fn offset(&mut self) -> Result<u64, FormatError> {
        let at = self.at;
        let offset = i64::from_le_bytes(self.array()?);
        u64::try_from(offset)
            .map_err(|_| FormatError::corrupt(WHAT, at, format!("{offset} is no place in a file")))
    }

    fn many<T>(
        &mut self,
        count: u32,
        mut one: impl FnMut(&mut Self) -> Result<T, FormatError>,
    ) -> Result<Vec<T>, FormatError> {
        let mut all = Vec::new();
        for _ in 0..count {
            all.push(one(self)?);
        }
        Ok(all)
    }
}
