//! How a dataset of images is stored: from its object header alone, and from stored chunks to a frame. What an image message
//! names as `configure` for HDF5 is that header, in its pieces.

use hdf5_reader::Datatype;
use hdf5_reader::error::ByteOrder;
use hdf5_reader::messages::HdfMessage;
use hdf5_reader::messages::layout::DataLayout;
use hdf5_reader::object_header::ObjectHeader;
use hdf5_reader::storage::{Storage, StorageBuffer};

use super::filter::{self, Filter};
use super::{general, to_usize};
use crate::formats::FormatError;
use crate::formats::array::Element;
use crate::formats::cbf::MOST_PIXELS;
use crate::frame::{Frame, Pixels, Shape};

/// Bytes of offsets and lengths in all files that are read here.
pub(super) const OFFSET_SIZE: u8 = 8;
/// The most chunks that a frame may be cut into.
const MOST_CHUNKS: usize = 1 << 16;

/// How a dataset's images are stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// How many images there is room for.
    pub frames: u64,
    /// One image's shape: `[n, rows, columns]`, `[n, panels, rows, columns]`, or one image `[rows, columns]`.
    pub shape: Shape,
    /// What a pixel is.
    pub element: Element,
    /// Images, panels, rows and columns of a chunk; the whole image where it is not cut.
    pub chunk: [usize; 4],
    /// What was done to the chunks, in the order of writing.
    pub filters: Vec<Filter>,
}

impl Layout {
    /// From the pieces of the dataset's object header: each with its place in the file, the one that the header begins with
    /// first.
    pub fn of_header(pieces: &[(u64, &[u8])]) -> Result<Self, FormatError> {
        let &[(first, _), ..] = pieces else { return Err(FormatError::absent("object header")) };
        let pieces = pieces.iter().map(|(at, bytes)| (*at, bytes.to_vec())).collect();
        let header = ObjectHeader::parse_at_storage(&Pieces(pieces), first, OFFSET_SIZE, OFFSET_SIZE);
        Self::new(&header.map_err(|error| general("object header", first, &error))?)
    }

    pub(super) fn new(header: &ObjectHeader) -> Result<Self, FormatError> {
        let messages = &header.messages;
        let unsupported = |what: String| Err(FormatError::Unsupported { what });
        let space = messages.iter().find_map(|message| match message {
            HdfMessage::Dataspace(space) => Some(space),
            _ => None,
        });
        let kind = messages.iter().find_map(|message| match message {
            HdfMessage::Datatype(kind) => Some(&kind.datatype),
            _ => None,
        });
        let layout = messages.iter().find_map(|message| match message {
            HdfMessage::DataLayout(layout) => Some(&layout.layout),
            _ => None,
        });
        let (Some(space), Some(kind), Some(layout)) = (space, kind, layout) else {
            return Err(FormatError::absent("dataset of images: its header lacks its shape, type or layout"));
        };
        let element = element(kind)?;
        let dims: Vec<usize> = space.dims.iter().map(|axis| to_usize(*axis)).collect();
        let (frames, shape) = match *dims.as_slice() {
            [rows, columns] => (1, Shape { panels: 1, rows, columns }),
            [frames, rows, columns] => (frames, Shape { panels: 1, rows, columns }),
            [frames, panels, rows, columns] => (frames, Shape { panels, rows, columns }),
            _ => return unsupported(format!("HDF5 dataset of {} dimensions as images", dims.len())),
        };
        let pixels = shape.panels.checked_mul(shape.rows).and_then(|n| n.checked_mul(shape.columns));
        if !pixels.is_some_and(|pixels| (1..=MOST_PIXELS).contains(&pixels)) {
            return unsupported(format!("HDF5 images of {dims:?} pixels"));
        }
        let mut filters = Vec::new();
        for message in messages {
            if let HdfMessage::FilterPipeline(pipeline) = message {
                for filter in &pipeline.filters {
                    filters.push(Filter::of(filter.id, &filter.client_data, element.size())?);
                }
            }
        }
        let chunk = match layout {
            DataLayout::Contiguous { .. } => [1, shape.panels, shape.rows, shape.columns],
            DataLayout::Chunked { dims: chunk, .. } => {
                let chunk: Vec<usize> = chunk.iter().take(dims.len()).map(|axis| *axis as usize).collect();
                match *chunk.as_slice() {
                    [rows, columns] => [1, 1, rows, columns],
                    [frames, rows, columns] => [frames, 1, rows, columns],
                    [frames, panels, rows, columns] => [frames, panels, rows, columns],
                    _ => return unsupported(format!("HDF5 chunks of {} dimensions", chunk.len())),
                }
            }
            DataLayout::Compact { .. } => {
                return unsupported("an HDF5 dataset within its own header as images".to_owned());
            }
        };
        let in_chunk = chunk.iter().try_fold(1_usize, |n, axis| n.checked_mul(*axis));
        if !in_chunk.is_some_and(|pixels| (1..=MOST_PIXELS).contains(&pixels)) {
            return unsupported(format!("HDF5 chunks of {chunk:?} pixels"));
        }
        let layout = Self { frames: frames as u64, shape, element, chunk, filters };
        if layout.chunks() > MOST_CHUNKS {
            return unsupported(format!("HDF5 images of {} chunks", layout.chunks()));
        }
        Ok(layout)
    }

    /// How many chunks an image is cut into along panels, rows and columns.
    pub fn grid(&self) -> [usize; 3] {
        let [_, panels, rows, columns] = self.chunk;
        let Shape { panels: p, rows: r, columns: c } = self.shape;
        [p.div_ceil(panels), r.div_ceil(rows), c.div_ceil(columns)]
    }

    /// How many chunks an image has.
    pub fn chunks(&self) -> usize {
        self.grid().iter().fold(1, |n, axis| n.saturating_mul(*axis))
    }

    /// Bytes of a chunk before the filters.
    pub fn chunk_bytes(&self) -> usize {
        self.chunk.iter().product::<usize>() * self.element.size()
    }

    /// Image `number` from the stored chunks that hold it, in the order of panels, rows and columns, each with its place in the
    /// file.
    pub fn frame(&self, number: u64, chunks: &[(u64, &[u8])]) -> Result<Frame, FormatError> {
        if number >= self.frames {
            return Err(FormatError::absent(format!("image {number}: the dataset has {}", self.frames)));
        }
        if chunks.len() != self.chunks() {
            let there = chunks.len();
            return Err(FormatError::absent(format!(
                "whole image: of {} chunks there are {there}",
                self.chunks()
            )));
        }
        let [frames, panels, rows, columns] = self.chunk;
        let size = self.element.size();
        let within = to_usize(number % frames.max(1) as u64) * panels * rows * columns * size;
        let length = panels * rows * columns * size;
        let plain = |(at, stored): (u64, &[u8])| -> Result<Vec<u8>, FormatError> {
            let all = filter::undo(&self.filters, stored, self.chunk_bytes(), at)?;
            Ok(if all.len() == length { all.into_owned() } else { all[within..within + length].to_vec() })
        };
        if let (1, &[chunk]) = (self.chunks(), chunks) {
            let bytes = plain(chunk)?;
            if length == self.shape.len() * size {
                return Ok(Frame { shape: self.shape, pixels: pixels(self.element, &bytes)? });
            }
        }
        // Every chunk is unpacked before room is made for the whole, so that the room is no more than they hold.
        let parts = chunks.iter().map(|chunk| plain(*chunk)).collect::<Result<Vec<_>, _>>()?;
        let mut bytes = vec![0; self.shape.len() * size];
        let [_, down, across] = self.grid();
        for (place, part) in parts.iter().enumerate() {
            let (panel, row, column) = (place / (down * across), place / across % down, place % across);
            let (panel, row, column) = (panel * panels, row * rows, column * columns);
            let width = columns.min(self.shape.columns - column) * size;
            for p in 0..panels.min(self.shape.panels - panel) {
                for r in 0..rows.min(self.shape.rows - row) {
                    let from = (p * rows + r) * columns * size;
                    let to = (panel + p) * self.shape.panel_len() + (row + r) * self.shape.columns + column;
                    bytes[to * size..to * size + width].copy_from_slice(&part[from..from + width]);
                }
            }
        }
        Ok(Frame { shape: self.shape, pixels: pixels(self.element, &bytes)? })
    }
}

/// What a number is; other types are no pixels.
pub(super) fn element(kind: &Datatype) -> Result<Element, FormatError> {
    let unsupported = || FormatError::Unsupported { what: format!("HDF5 numbers of type {kind:?}") };
    match kind {
        Datatype::FixedPoint { size, byte_order, .. } | Datatype::FloatingPoint { size, byte_order }
            if *size > 1 && *byte_order != ByteOrder::LittleEndian =>
        {
            Err(FormatError::Unsupported { what: "big-endian HDF5 numbers".to_owned() })
        }
        Datatype::FixedPoint { size, signed, .. } => Ok(match (size, signed) {
            (1, false) => Element::U8,
            (1, true) => Element::I8,
            (2, false) => Element::U16,
            (2, true) => Element::I16,
            (4, false) => Element::U32,
            (4, true) => Element::I32,
            (8, false) => Element::U64,
            (8, true) => Element::I64,
            _ => return Err(unsupported()),
        }),
        Datatype::FloatingPoint { size: 4, .. } => Ok(Element::F32),
        Datatype::FloatingPoint { size: 8, .. } => Ok(Element::F64),
        // h5py writes booleans as an enumeration.
        Datatype::Enum { base, .. } => element(base),
        _ => Err(unsupported()),
    }
}

/// Pixels of that type; narrower integers become 16 bits.
#[allow(clippy::cast_possible_truncation)] // calibrated values are good to f32
fn pixels(element: Element, bytes: &[u8]) -> Result<Pixels, FormatError> {
    fn each<const N: usize, T>(bytes: &[u8], of: impl Fn([u8; N]) -> T) -> Vec<T> {
        bytes.as_chunks::<N>().0.iter().map(|one| of(*one)).collect()
    }
    Ok(match element {
        Element::U8 => Pixels::U16(each(bytes, |[a]: [u8; 1]| u16::from(a))),
        Element::I8 => Pixels::I16(each(bytes, |[a]: [u8; 1]| i16::from(a.cast_signed()))),
        Element::U16 => Pixels::U16(each(bytes, u16::from_le_bytes)),
        Element::I16 => Pixels::I16(each(bytes, i16::from_le_bytes)),
        Element::U32 => Pixels::U32(each(bytes, u32::from_le_bytes)),
        Element::I32 => Pixels::I32(each(bytes, i32::from_le_bytes)),
        Element::F32 => Pixels::F32(each(bytes, f32::from_le_bytes)),
        Element::F64 => Pixels::F32(each(bytes, |eight| f64::from_le_bytes(eight) as f32)),
        Element::U64 | Element::I64 => {
            return Err(FormatError::Unsupported { what: format!("pixels of type {}", element.word()) });
        }
    })
}

/// Some pieces of a file, nothing else of it.
struct Pieces(Vec<(u64, Vec<u8>)>);

impl Storage for Pieces {
    fn len(&self) -> u64 {
        self.0.iter().map(|(at, bytes)| at.saturating_add(bytes.len() as u64)).max().unwrap_or(0)
    }

    fn read_range(&self, offset: u64, len: usize) -> Result<StorageBuffer, hdf5_reader::error::Error> {
        let found = self.0.iter().find_map(|(at, bytes)| {
            let from = usize::try_from(offset.checked_sub(*at)?).ok()?;
            bytes.get(from..from.checked_add(len)?)
        });
        let end = hdf5_reader::error::Error::UnexpectedEof { offset, needed: len as u64, available: 0 };
        found.map(|bytes| StorageBuffer::from_vec(bytes.to_vec())).ok_or(end)
    }
}
