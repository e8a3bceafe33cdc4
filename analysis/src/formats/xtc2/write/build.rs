//! Builds one datagram after the other in one buffer: names and values as containers.

use std::io;

use super::refused;
use crate::formats::xtc2::datagram::{HEADER, Service, Timestamp, TypeId, XTC_HEADER};
use crate::formats::xtc2::names::{Algorithm, FieldType, MAX_RANK, NAME_INFO, Names, TEXT};

/// One field's value, of the field's type.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)] // numbers of those widths
pub enum Cell<'a> {
    U8(u8),
    U16(u16),
    U32(u32),
    U64(u64),
    F64(f64),
    /// Written with its NUL, padded to four bytes.
    Text(&'a str),
    /// An array by its shape, slowest dimension first.
    U8s(&'a [u32], &'a [u8]),
    /// An array by its shape, slowest dimension first.
    U16s(&'a [u32], &'a [u16]),
}

/// Builds datagrams; the buffer is kept from one to the next.
#[derive(Clone, Debug, Default)]
pub struct Builder {
    bytes: Vec<u8>,
}

impl Builder {
    /// Begins a datagram that a node (the sender's number) makes; what was built before is gone.
    pub fn begin(&mut self, service: Service, timestamp: Timestamp, node: u16) {
        self.bytes.clear();
        let readout_group = 1;
        self.u32(timestamp.nanoseconds());
        self.u32(timestamp.seconds());
        self.u32((service as u32) << 24 | readout_group);
        self.container(u32::from(node), TypeId::PARENT);
        self.close(HEADER - XTC_HEADER);
    }

    /// Begins the datagram that the small file has for `big`: the same; an `EndRun` only its header.
    pub(super) fn begin_like(&mut self, big: &Self) {
        self.bytes.clear();
        let is_end = big.bytes.get(11).is_some_and(|env| env & 0xf == Service::EndRun as u8);
        let whole = if is_end { &big.bytes[..HEADER] } else { &big.bytes[..] };
        self.bytes.extend_from_slice(whole);
        self.close(HEADER - XTC_HEADER);
    }

    /// Adds names.
    pub fn names(&mut self, names: &Names) {
        let begin = self.container(names.id.0, TypeId::NAMES);
        let arrays = names.fields.iter().filter(|field| field.rank > 0).count();
        self.u32(u32::try_from(arrays).unwrap_or(u32::MAX));
        self.text(&names.kind);
        self.text(&names.detector);
        self.text(&names.serial);
        self.algorithm(&names.algorithm);
        self.u32(names.segment);
        debug_assert_eq!(self.bytes.len(), begin + XTC_HEADER + NAME_INFO);
        for field in &names.fields {
            self.algorithm(&Algorithm::new("", super::super::Version::default()));
            self.text(&field.name);
            self.u32(field.kind as u32);
            self.u32(u32::try_from(field.rank).unwrap_or(u32::MAX));
        }
        self.close(begin);
        self.close(HEADER - XTC_HEADER);
    }

    /// Adds values, one cell per field of the names.
    ///
    /// # Errors
    /// As [`io::ErrorKind::InvalidInput`] cells that are not what the names say.
    pub fn data(&mut self, names: &Names, cells: &[Cell<'_>]) -> io::Result<()> {
        if names.fields.len() != cells.len() {
            let why = format!("{} has {} fields, not {}", names.detector, names.fields.len(), cells.len());
            return Err(refused(&why));
        }
        for (field, cell) in names.fields.iter().zip(cells) {
            let (kind, rank, fits) = cell.what();
            if (field.kind, field.rank) != (kind, rank) || !fits {
                return Err(refused(&format!(
                    "field {} of {} is not what its names say",
                    field.name, names.detector
                )));
            }
        }
        let begin = self.container(names.id.0, TypeId::SHAPES_DATA);
        let shapes = self.container(0, TypeId::SHAPES);
        for cell in cells {
            let length;
            let shape = match cell {
                Cell::U8s(shape, _) | Cell::U16s(shape, _) => *shape,
                Cell::Text(text) => {
                    length = [u32::try_from(padded(text)).unwrap_or(u32::MAX)];
                    &length[..]
                }
                _ => continue,
            };
            for axis in 0..MAX_RANK {
                self.u32(shape.get(axis).copied().unwrap_or_default());
            }
        }
        self.close(shapes);
        let data = self.container(0, TypeId::DATA);
        for cell in cells {
            match *cell {
                Cell::U8(value) => self.bytes.push(value),
                Cell::U16(value) => self.bytes.extend_from_slice(&value.to_le_bytes()),
                Cell::U32(value) => self.u32(value),
                Cell::U64(value) => self.bytes.extend_from_slice(&value.to_le_bytes()),
                Cell::F64(value) => self.bytes.extend_from_slice(&value.to_le_bytes()),
                Cell::Text(text) => {
                    let end = self.bytes.len() + padded(text);
                    self.bytes.extend_from_slice(text.as_bytes());
                    self.bytes.resize(end, 0);
                }
                Cell::U8s(_, values) => self.bytes.extend_from_slice(values),
                Cell::U16s(_, values) => {
                    let at = self.bytes.len();
                    self.bytes.resize(at + 2 * values.len(), 0);
                    for (place, value) in self.bytes[at..].chunks_exact_mut(2).zip(values) {
                        place.copy_from_slice(&value.to_le_bytes());
                    }
                }
            }
        }
        self.close(data);
        self.close(begin);
        self.close(HEADER - XTC_HEADER);
        Ok(())
    }

    /// The datagram as it is now.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The datagram as it is now; the builder is gone.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    fn u32(&mut self, value: u32) {
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    /// Begins a container; its extent is set by [`Builder::close`].
    fn container(&mut self, src: u32, kind: TypeId) -> usize {
        let begin = self.bytes.len();
        self.u32(src);
        self.u32(u32::from(kind.0) << 16);
        self.u32(0);
        begin
    }

    fn close(&mut self, begin: usize) {
        // What is too long for the number is refused as too long for a datagram before it is written.
        let extent = u32::try_from(self.bytes.len() - begin).unwrap_or(u32::MAX);
        self.bytes[begin + 8..begin + 12].copy_from_slice(&extent.to_le_bytes());
    }

    fn algorithm(&mut self, algorithm: &Algorithm) {
        self.text(&algorithm.name);
        self.u32(algorithm.version.0);
    }

    /// A text of fixed length, its last byte NUL.
    fn text(&mut self, text: &str) {
        let end = self.bytes.len() + TEXT;
        self.bytes.extend_from_slice(&text.as_bytes()[..text.len().min(TEXT - 1)]);
        self.bytes.resize(end, 0);
    }
}

fn padded(text: &str) -> usize {
    (text.len() + 1).next_multiple_of(4)
}

impl Cell<'_> {
    /// Type, rank, and whether an array is as long as its shape says.
    fn what(&self) -> (FieldType, usize, bool) {
        let fits = |shape: &[u32], length: usize| {
            shape.len() <= MAX_RANK && shape.iter().map(|axis| *axis as usize).product::<usize>() == length
        };
        match self {
            Self::U8(_) => (FieldType::U8, 0, true),
            Self::U16(_) => (FieldType::U16, 0, true),
            Self::U32(_) => (FieldType::U32, 0, true),
            Self::U64(_) => (FieldType::U64, 0, true),
            Self::F64(_) => (FieldType::F64, 0, true),
            Self::Text(_) => (FieldType::Text, 1, true),
            Self::U8s(shape, values) => (FieldType::U8, shape.len(), fits(shape, values.len())),
            Self::U16s(shape, values) => (FieldType::U16, shape.len(), fits(shape, values.len())),
        }
    }
}
