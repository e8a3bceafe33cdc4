//! HDF5: which datasets hold images (NXmx, CXI), where each image's chunks lie and how they are unpacked. The file's structure
//! is read by `hdf5-reader` over any ranged read; a chunk's bytes are unpacked here, without the file.
//!
//! To index: [`H5::open`], [`H5::images`], [`H5::table`], [`H5::shots`]. To read an image: [`Layout::of_header`] of what the
//! table says the header is, [`Layout::frame`] of its chunks' bytes. A master file and a virtual dataset have no image of their
//! own: [`H5::linked`] tells the files that do, which are indexed themselves.
//!
//! Sources: HDF5 File Format Specification 3.0; the NXmx application definition; Maia 2012, Nature Methods 9, 854 (CXI).

pub mod filter;
mod layout;
mod links;
mod mapped;
mod meta;
#[cfg(test)]
mod tests;

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use hdf5_reader::chunk_index::{self, ChunkEntry};
use hdf5_reader::error::Error;
use hdf5_reader::messages::HdfMessage;
use hdf5_reader::messages::layout::{ChunkIndexing, DataLayout};
use hdf5_reader::object_header::ObjectHeader;
use hdf5_reader::{Dataset, FilterRegistry, Hdf5File, OpenOptions, btree_v1, extensible_array, fixed_array};

pub use hdf5_reader::storage::{BlockCacheStorage, DynStorage, RangeRequestStorage, Storage, StorageBuffer};
pub use layout::Layout;
pub use meta::Shots;

use super::FormatError;
use super::array::{Array, MOST_ELEMENTS};
use filter::Filter;

/// The largest dataset that is read whole: constants, numbers per image.
const MOST_READ: usize = MOST_ELEMENTS * 8;
/// Groups in groups that are looked through.
const DEEPEST: usize = 12;
/// Objects that are listed of a file.
const MOST_LISTED: usize = 10_000;

/// An open file.
pub struct H5 {
    file: Hdf5File,
    storage: DynStorage,
}

impl std::fmt::Debug for H5 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("H5").field("bytes", &self.storage.len()).finish_non_exhaustive()
    }
}

/// A dataset as a listing shows it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Listed {
    /// Its path.
    pub path: String,
    /// Its dimensions.
    pub dims: Vec<u64>,
    /// Its type, as in `u16`.
    pub kind: String,
}

/// Where a dataset's images lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// The dataset's path.
    pub dataset: String,
    /// How it is stored.
    pub layout: Layout,
    /// The pieces of the dataset's object header in the file; what [`Layout::of_header`] needs, in its order.
    pub header: Vec<Range<u64>>,
    /// Of each image its chunks in the file, in the order of panels, rows and columns; `None` for one that is not (wholly)
    /// stored. In a file that is cut they may lie beyond its end.
    pub images: Vec<Option<Vec<Range<u64>>>>,
}

/// Whether bytes begin as an HDF5 file does.
pub fn is_hdf5(bytes: &[u8]) -> bool {
    bytes.starts_with(b"\x89HDF\r\n\x1a\n")
}

impl H5 {
    /// Over ranged reads of a file. Nothing is cached of chunks.
    pub fn open(storage: DynStorage) -> Result<Self, FormatError> {
        let file = Hdf5File::from_storage_with_options(Arc::clone(&storage), options());
        let file = file.map_err(|error| general("HDF5 file", 0, &error))?;
        let block = file.superblock();
        let sizes = (block.offset_size, block.length_size);
        if sizes != (layout::OFFSET_SIZE, layout::OFFSET_SIZE) || block.base_address != 0 {
            let what = format!(
                "HDF5 file with offsets of {} bytes and a user block of {} bytes",
                block.offset_size, block.base_address
            );
            return Err(FormatError::Unsupported { what });
        }
        Ok(Self { file, storage })
    }

    /// Of a whole file's bytes.
    pub fn of_bytes(bytes: Vec<u8>) -> Result<Self, FormatError> {
        Self::open(Arc::new(hdf5_reader::storage::BytesStorage::new(bytes)))
    }

    /// All datasets by path, in the order of the file's groups, at most ten thousand.
    pub fn list(&self) -> Result<Vec<Listed>, FormatError> {
        let mut found = Vec::new();
        let mut seen = std::collections::HashSet::new();
        let root = self.file.root_group().map_err(|error| general("HDF5 group", 0, &error))?;
        let mut stack = vec![(String::new(), root)];
        while let Some((path, group)) = stack.pop() {
            if !seen.insert(group.address()) || path.matches('/').count() > DEEPEST {
                continue;
            }
            // A link that leads nowhere (a file that is not there) hides one object, not the file.
            let Ok((groups, datasets)) = group.member_names() else { continue };
            for name in datasets {
                if found.len() == MOST_LISTED {
                    return Ok(found);
                }
                if let Ok(dataset) = group.dataset(&name) {
                    let kind = layout::element(dataset.dtype())
                        .map_or_else(|_| type_word(dataset.dtype()), |element| element.word().to_owned());
                    found.push(Listed {
                        path: format!("{path}/{name}"),
                        dims: dataset.shape().to_vec(),
                        kind,
                    });
                }
            }
            for name in groups.into_iter().rev() {
                if let Ok(child) = group.group(&name) {
                    stack.push((format!("{path}/{name}"), child));
                }
            }
        }
        Ok(found)
    }

    /// A dataset read whole, as an array of numbers.
    pub fn array(&self, path: &str) -> Result<Array, FormatError> {
        let dataset = self.dataset(path)?;
        let element = layout::element(dataset.dtype())?;
        let dims = dataset.shape().iter().map(|axis| to_usize(*axis)).collect();
        // Damaged files promise more than they hold: what is not stored is not made room for.
        let wanted = dataset.raw_byte_len().map_err(|error| general("HDF5 dataset", 0, &error))?;
        if wanted as u64 > self.storage.len().saturating_mul(1100) {
            let why = format!("{path} is of {wanted} bytes in a file of {}", self.storage.len());
            return Err(FormatError::corrupt("HDF5 dataset", dataset.address(), why));
        }
        let bytes = dataset.read_raw_bytes();
        Array::new(dims, element, bytes.map_err(|error| general("HDF5 dataset", dataset.address(), &error))?)
    }

    /// A text, such as `/entry/definition`; `None` where there is none.
    pub fn text(&self, path: &str) -> Option<String> {
        self.dataset(path)
            .ok()
            .filter(|dataset| dataset.num_elements().is_ok_and(|n| n == 1))?
            .read_string()
            .ok()
    }

    /// The numbers of a dataset; `None` where there is none, or it is none of numbers.
    pub fn numbers(&self, path: &str) -> Option<Vec<f64>> {
        self.array(path).ok().map(|array| array.to_f64())
    }

    /// Whether a dataset is there.
    pub fn has(&self, path: &str) -> bool {
        self.dataset(path).is_ok()
    }

    /// A number that an attribute of a dataset says.
    pub fn attribute(&self, path: &str, name: &str) -> Option<String> {
        self.dataset(path).ok()?.attribute(name).ok()?.read_string().ok()
    }

    /// Where the images of a dataset lie.
    pub fn table(&self, path: &str) -> Result<Table, FormatError> {
        let dataset = self.dataset(path)?;
        let address = dataset.address();
        let fault = |error: Error| general("HDF5 chunk table", address, &error);
        let recorded = Recorded { storage: Arc::clone(&self.storage), read: Mutex::new(Vec::new()) };
        let header =
            ObjectHeader::parse_at_storage(&recorded, address, layout::OFFSET_SIZE, layout::OFFSET_SIZE);
        let header = header.map_err(fault)?;
        let layout = Layout::new(&header)?;
        let mut entries = self.entries(&header, &layout).map_err(fault)?;
        // Indices of chunks that no filter has changed do not say how long they are.
        for entry in entries.iter_mut().filter(|entry| entry.size == 0) {
            entry.size = layout.chunk_bytes() as u64;
        }
        let images = images(&layout, &entries, address)?;
        let read = recorded.read.into_inner().unwrap_or_else(PoisonError::into_inner);
        Ok(Table { dataset: path.to_owned(), layout, header: merged(read, address), images })
    }

    fn dataset(&self, path: &str) -> Result<Dataset, FormatError> {
        self.file.dataset(path).map_err(|error| match innermost(&error) {
            Error::DatasetNotFound(_) | Error::GroupNotFound(_) => {
                FormatError::absent(format!("dataset {path} in the HDF5 file"))
            }
            _ => general("HDF5 file", 0, &error),
        })
    }

    /// All stored chunks of a dataset.
    fn entries(&self, header: &ObjectHeader, layout: &Layout) -> Result<Vec<ChunkEntry>, Error> {
        const SIZE: u8 = layout::OFFSET_SIZE;
        let mut of = header.messages.iter().filter_map(|message| match message {
            HdfMessage::DataLayout(layout) => Some(&layout.layout),
            _ => None,
        });
        let mut spaces = header.messages.iter().filter_map(|message| match message {
            HdfMessage::Dataspace(space) => Some(space),
            _ => None,
        });
        let (Some(of), Some(space)) = (of.next(), spaces.next()) else { return Ok(Vec::new()) };
        let (shape, storage) = (space.dims.as_slice(), self.storage.as_ref());
        let rank = u32::from(space.rank);
        match of {
            DataLayout::Compact { .. } => Ok(Vec::new()),
            DataLayout::Contiguous { address: u64::MAX, .. } => Ok(Vec::new()),
            DataLayout::Contiguous { address, .. } => {
                let size = layout.chunk_bytes() as u64;
                let entry = |frame: u64| {
                    let mut offsets = vec![0; shape.len()];
                    if shape.len() > 2 {
                        offsets[0] = frame;
                    }
                    let address = address.saturating_add(frame.saturating_mul(size));
                    ChunkEntry { address, size, filter_mask: 0, offsets }
                };
                // As many as lie in the file: a damaged header may promise more.
                let stored = self.storage.len() / size.max(1);
                Ok((0..layout.frames.min(stored)).map(entry).collect())
            }
            DataLayout::Chunked { address: u64::MAX, .. } => Ok(Vec::new()),
            DataLayout::Chunked { address, dims, chunk_indexing, .. } => {
                let dims = dims.get(..shape.len()).unwrap_or(dims);
                match chunk_indexing {
                    None => btree_v1::collect_btree_v1_leaves_storage(
                        storage,
                        *address,
                        SIZE,
                        SIZE,
                        Some(rank),
                        dims,
                        None,
                    )
                    .map(|leaves| leaves.into_iter().filter_map(|leaf| of_leaf(leaf, shape.len())).collect()),
                    Some(ChunkIndexing::SingleChunk { filtered_size, filters }) => {
                        let rank = shape.len();
                        Ok(vec![chunk_index::single_chunk_entry(*address, *filtered_size, *filters, rank)])
                    }
                    Some(ChunkIndexing::Implicit) => chunk_index::collect_implicit_chunk_entries(
                        *address,
                        shape,
                        dims,
                        layout.element.size(),
                        None,
                        self.storage.len(),
                    ),
                    Some(ChunkIndexing::FixedArray { .. }) => {
                        fixed_array::collect_fixed_array_chunk_entries_storage(
                            storage, *address, SIZE, SIZE, shape, dims, None,
                        )
                    }
                    Some(ChunkIndexing::ExtensibleArray { .. }) => {
                        extensible_array::collect_extensible_array_chunk_entries_storage(
                            storage,
                            *address,
                            SIZE,
                            SIZE,
                            shape,
                            space.max_dims.as_deref(),
                            dims,
                            None,
                        )
                    }
                    Some(ChunkIndexing::BTreeV2) => chunk_index::collect_v2_chunk_entries_storage(
                        storage, *address, SIZE, SIZE, rank, dims, None,
                    ),
                }
            }
        }
    }
}

/// How files are opened.
fn options() -> OpenOptions {
    let mut filters = FilterRegistry::new();
    for id in [32004, 32008] {
        filters.register(id, Box::new(own_filter));
    }
    OpenOptions::default()
        .with_filter_registry(filters)
        .with_chunk_cache_bytes(0)
        .with_max_chunk_bytes(MOST_READ)
        .with_max_read_bytes(MOST_READ)
        .with_max_object_header_bytes(16 << 20)
}

fn of_leaf((key, address): (btree_v1::BTreeV1Key, u64), rank: usize) -> Option<ChunkEntry> {
    match key {
        btree_v1::BTreeV1Key::RawData { chunk_size, filter_mask, offsets } => Some(ChunkEntry {
            address,
            size: u64::from(chunk_size),
            filter_mask,
            offsets: offsets.get(..rank)?.to_vec(),
        }),
        btree_v1::BTreeV1Key::Group { .. } => None,
    }
}

/// Chunks by image.
fn images(
    layout: &Layout,
    entries: &[ChunkEntry],
    at: u64,
) -> Result<Vec<Option<Vec<Range<u64>>>>, FormatError> {
    let corrupt = |why: String| FormatError::corrupt("HDF5 chunk table", at, why);
    let (per_image, in_chunk) = (layout.chunks(), layout.chunk[0]);
    // An image that has no chunk at all is none: room is made for those that have.
    let last = entries.iter().map(first_image).max();
    let known = last.map_or(0, |last| last.saturating_add(in_chunk as u64)).min(layout.frames);
    if known > (entries.len() as u64).saturating_mul(in_chunk as u64).saturating_mul(1024) {
        return Err(corrupt(format!("{} chunks for {known} images", entries.len())));
    }
    let mut images: Vec<Vec<Option<Range<u64>>>> = vec![Vec::new(); to_usize(known)];
    let [_, down, across] = layout.grid();
    for entry in entries {
        // One beyond the file's end is told by whoever reads it: the others are good.
        let range = entry.address..entry.address.saturating_add(entry.size);
        if entry.filter_mask != 0 {
            let what = format!("HDF5 chunk at byte {} for which filters were left out", entry.address);
            return Err(FormatError::Unsupported { what });
        }
        let axis = |from_last: usize| {
            let place =
                entry.offsets.len().checked_sub(from_last).filter(|at| *at > 0 || entry.offsets.len() == 2);
            place.map_or(0, |place| to_usize(entry.offsets[place]))
        };
        let [_, panels, rows, columns] = layout.chunk;
        let panel = if entry.offsets.len() == 4 { axis(3) / panels } else { 0 };
        let place = (panel * down + axis(2) / rows) * across + axis(1) / columns;
        let first = to_usize(first_image(entry));
        for image in first..first.saturating_add(in_chunk).min(images.len()) {
            let chunks = &mut images[image];
            chunks.resize(per_image, None);
            // Chunks beyond the dataset's present size may be left over in the file.
            if let Some(chunk) = chunks.get_mut(place) {
                *chunk = Some(range.clone());
            }
        }
    }
    let whole = |chunks: Vec<Option<Range<u64>>>| {
        chunks.into_iter().collect::<Option<Vec<_>>>().filter(|chunks| !chunks.is_empty())
    };
    let mut images: Vec<_> = images.into_iter().map(whole).collect();
    // Those behind the last chunk, where the dataset is not absurdly longer than what is stored.
    if layout.frames <= 1 << 24 {
        images.resize(to_usize(layout.frames), None);
    }
    Ok(images)
}

/// The first image in a chunk.
fn first_image(entry: &ChunkEntry) -> u64 {
    if entry.offsets.len() > 2 { entry.offsets[0] } else { 0 }
}

/// What was read of the file, in pieces that touch nothing else; the one with the header's begin first.
fn merged(mut read: Vec<Range<u64>>, first: u64) -> Vec<Range<u64>> {
    read.sort_by_key(|range| (range.start, range.end));
    let mut pieces: Vec<Range<u64>> = Vec::new();
    for range in read {
        match pieces.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => pieces.push(range),
        }
    }
    pieces.sort_by_key(|piece| !piece.contains(&first));
    if let Some(head) = pieces.first_mut().filter(|piece| piece.start < first && piece.contains(&first)) {
        head.start = first;
    }
    pieces
}

/// A storage that keeps in mind what was read of it.
struct Recorded {
    storage: DynStorage,
    read: Mutex<Vec<Range<u64>>>,
}

impl Storage for Recorded {
    fn len(&self) -> u64 {
        self.storage.len()
    }

    fn read_range(&self, offset: u64, len: usize) -> Result<StorageBuffer, Error> {
        let buffer = self.storage.read_range(offset, len)?;
        let range = offset..offset + buffer.len() as u64;
        self.read.lock().unwrap_or_else(PoisonError::into_inner).push(range);
        Ok(buffer)
    }
}

/// Filters that `hdf5-reader` does not have, for datasets read whole. The size comes with the chunk.
fn own_filter(
    description: &hdf5_reader::messages::filter_pipeline::FilterDescription,
    stored: &[u8],
    size: usize,
) -> Result<Vec<u8>, Error> {
    let fault = |error: FormatError| Error::InvalidData(error.to_string());
    let filter = Filter::of(description.id, &description.client_data, size).map_err(fault)?;
    let whole = match filter {
        Filter::Bitshuffle { lz4: false, .. } => stored.len(),
        _ => {
            let head = stored.get(..8).unwrap_or_default();
            to_usize(head.iter().fold(0, |all, byte| all << 8 | u64::from(*byte)))
        }
    };
    Ok(filter::undo(&[filter], stored, whole, 0).map_err(fault)?.into_owned())
}

/// A type that holds no numbers, in a word.
fn type_word(kind: &hdf5_reader::Datatype) -> String {
    use hdf5_reader::Datatype;
    if matches!(kind, Datatype::String { .. } | Datatype::VarLen { .. }) {
        return "text".to_owned();
    }
    let text = format!("{kind:?}");
    text.split([' ', '{', '(']).next().unwrap_or_default().to_ascii_lowercase()
}

pub(super) fn to_usize(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// The fault itself, without where it was met.
fn innermost(mut error: &Error) -> &Error {
    while let Error::Context { source, .. } = error {
        error = source;
    }
    error
}

/// A fault of the structure in the terms of all formats.
pub(super) fn general(what: &'static str, at: u64, error: &Error) -> FormatError {
    match innermost(error) {
        Error::UnexpectedEof { needed, available, offset } => {
            FormatError::Truncated { what, at: *offset, missing: needed.saturating_sub(*available).max(1) }
        }
        Error::DatasetNotFound(name) | Error::GroupNotFound(name) | Error::AttributeNotFound(name) => {
            FormatError::absent(format!("{name} in the HDF5 file"))
        }
        Error::Io(error) => FormatError::absent(format!("answer to a read of the HDF5 file: {error}")),
        inner => {
            let text = error.to_string();
            if inner.to_string().starts_with("unsupported") {
                FormatError::Unsupported { what: format!("HDF5 file ({text})") }
            } else {
                FormatError::corrupt(what, at, text)
            }
        }
    }
}
