//! What HDF5 does to a chunk before it is stored, undone: deflate, byte shuffle, Fletcher's sum, bitshuffle and LZ4. Takes the
//! chunk's bytes; allocates no more than these can hold.
//!
//! Sources: HDF5 File Format Specification 3.0, IV.A.2.l; the registered filters' own descriptions (32004 LZ4; 32008
//! bitshuffle: Masui et al. 2015, Astronomy and Computing 12, 181).

use std::borrow::Cow;
use std::fmt;

use crate::formats::FormatError;

/// One filter of a dataset's pipeline, as it was applied when writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filter {
    /// 1: zlib.
    Deflate,
    /// 2: first bytes of all elements, then second bytes, ...
    Shuffle {
        /// Bytes of an element.
        size: usize,
    },
    /// 3: a sum of four bytes behind.
    Fletcher32,
    /// 32004: LZ4 in blocks.
    Lz4,
    /// 32008: bits transposed in blocks.
    Bitshuffle {
        /// Bytes of an element.
        size: usize,
        /// Elements of a block; 0 for the filter's own choice.
        block: usize,
        /// Whether the blocks are packed by LZ4 then.
        lz4: bool,
    },
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Deflate => "gzip",
            Self::Shuffle { .. } => "shuffle",
            Self::Fletcher32 => "fletcher32",
            Self::Lz4 => "LZ4",
            Self::Bitshuffle { lz4: true, .. } => "bitshuffle with LZ4",
            Self::Bitshuffle { lz4: false, .. } => "bitshuffle",
        })
    }
}

/// The most that LZ4 and deflate can pack into a byte, rounded up.
const LZ4_RATIO: usize = 256;
const DEFLATE_RATIO: usize = 1040;
const WHAT: &str = "chunk";

impl Filter {
    /// By its number and values in the dataset's header; `size` is that of an element.
    pub fn of(id: u16, values: &[u32], size: usize) -> Result<Self, FormatError> {
        let value = |at: usize| values.get(at).map_or(0, |value| *value as usize);
        let unsupported = |what: String| Err(FormatError::Unsupported { what });
        Ok(match id {
            1 => Self::Deflate,
            2 => Self::Shuffle { size: if value(0) > 0 { value(0) } else { size } },
            3 => Self::Fletcher32,
            32004 => Self::Lz4,
            32008 => {
                let own = if value(2) > 0 { value(2) } else { size };
                match value(4) {
                    0 => Self::Bitshuffle { size: own, block: value(3), lz4: false },
                    2 => Self::Bitshuffle { size: own, block: value(3), lz4: true },
                    other => return unsupported(format!("HDF5 bitshuffle with packing {other}")),
                }
            }
            other => return unsupported(format!("HDF5 filter {other}")),
        })
    }
}

/// The chunk as it was before the filters: `size` bytes. `at` is its place in the file, for messages.
pub fn undo<'b>(
    filters: &[Filter],
    stored: &'b [u8],
    size: usize,
    at: u64,
) -> Result<Cow<'b, [u8]>, FormatError> {
    let mut bytes = Cow::Borrowed(stored);
    for (place, filter) in filters.iter().enumerate().rev() {
        let sums = filters[..place].iter().filter(|before| **before == Filter::Fletcher32).count();
        let size = size + 4 * sums;
        let undone = match *filter {
            Filter::Deflate => inflate(&bytes, size).map(Cow::Owned),
            Filter::Shuffle { size: element } => unshuffle(&bytes, element).map(Cow::Owned),
            Filter::Fletcher32 => sum_agrees(&bytes).map(|()| match bytes {
                Cow::Borrowed(all) => Cow::Borrowed(&all[..all.len() - 4]),
                Cow::Owned(mut all) => {
                    all.truncate(all.len() - 4);
                    Cow::Owned(all)
                }
            }),
            Filter::Lz4 => unpack(&bytes, size).map(Cow::Owned),
            Filter::Bitshuffle { size: element, lz4: true, .. } => {
                bits_packed(&bytes, element, size).map(Cow::Owned)
            }
            Filter::Bitshuffle { size: element, block, lz4: false } => {
                bits_plain(&bytes, element, block).map(Cow::Owned)
            }
        };
        bytes = undone.map_err(|why| FormatError::corrupt(WHAT, at, why))?;
    }
    if bytes.len() != size {
        let why = format!("it holds {} bytes, {size} were expected", bytes.len());
        return Err(FormatError::corrupt(WHAT, at, why));
    }
    Ok(bytes)
}

/// Zeros to be written over, when so many bytes can come out of these.
fn room(stored: &[u8], size: usize, ratio: usize) -> Result<Vec<u8>, String> {
    if size > stored.len().saturating_mul(ratio).saturating_add(64) {
        return Err(format!("{} bytes cannot hold {size}", stored.len()));
    }
    Ok(vec![0; size])
}

fn inflate(stored: &[u8], size: usize) -> Result<Vec<u8>, String> {
    let mut out = room(stored, size, DEFLATE_RATIO)?;
    let mut inflater = flate2::Decompress::new(true);
    let ended = inflater.decompress(stored, &mut out, flate2::FlushDecompress::Finish);
    match ended {
        Ok(flate2::Status::StreamEnd) if inflater.total_out() == size as u64 => Ok(out),
        Ok(_) => Err(format!("it inflates to other than {size} bytes")),
        Err(error) => Err(format!("it cannot be inflated: {error}")),
    }
}

fn unshuffle(bytes: &[u8], size: usize) -> Result<Vec<u8>, String> {
    if size == 0 {
        return Err("elements of no bytes".to_owned());
    }
    let count = bytes.len() / size;
    let mut out = bytes.to_vec();
    // What is left behind the last whole element lies as it is.
    for (row, values) in bytes[..count * size].chunks_exact(count.max(1)).enumerate() {
        for (element, value) in out.chunks_exact_mut(size).zip(values) {
            element[row] = *value;
        }
    }
    Ok(out)
}

/// Fletcher's sum over 16-bit words, big endian, stored little endian behind them.
fn sum_agrees(bytes: &[u8]) -> Result<(), String> {
    let data = bytes.len().checked_sub(4).ok_or("no room for its sum")?;
    let (data, sum) = bytes.split_at(data);
    let said = u32::from_le_bytes([sum[0], sum[1], sum[2], sum[3]]);
    let fold = |sum: u32| (sum & 0xffff) + (sum >> 16);
    let (mut low, mut high) = (0_u32, 0_u32);
    // So few that neither sum overflows.
    for part in data.chunks(720) {
        for pair in part.chunks(2) {
            let word = u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |byte| u32::from(*byte));
            low += word;
            high += low;
        }
        (low, high) = (fold(low), fold(high));
    }
    let found = fold(high) << 16 | fold(low);
    // Early versions stored it with its bytes in pairs exchanged.
    let swapped = (found & 0x00ff_00ff) << 8 | (found >> 8 & 0x00ff_00ff);
    if said == found || said == swapped {
        Ok(())
    } else {
        Err(format!("its sum is {found:#010x}, it says {said:#010x}"))
    }
}

/// The 12 bytes that both packed filters begin with: the size of all, and that of a block.
fn block_header(stored: &[u8], size: usize) -> Result<(usize, &[u8]), String> {
    let (head, rest) = stored.split_at_checked(12).ok_or("it is too short")?;
    let number = |bytes: &[u8]| bytes.iter().fold(0_u64, |all, byte| all << 8 | u64::from(*byte));
    let (all, block) = (number(&head[..8]), number(&head[8..]));
    if all != size as u64 {
        return Err(format!("it says that it holds {all} bytes, {size} were expected"));
    }
    let block = usize::try_from(block).unwrap_or(usize::MAX);
    if block == 0 || block > 1 << 30 {
        return Err(format!("blocks of {block} bytes cannot be"));
    }
    Ok((block, rest))
}

/// The next block: its length, big endian, then its bytes.
fn next_block<'b>(rest: &mut &'b [u8]) -> Result<&'b [u8], String> {
    let (length, others) = rest.split_at_checked(4).ok_or("a block is missing")?;
    let length = u32::from_be_bytes([length[0], length[1], length[2], length[3]]) as usize;
    let (block, others) =
        others.split_at_checked(length).ok_or_else(|| format!("a block of {length} bytes is cut"))?;
    *rest = others;
    Ok(block)
}

fn unpack(stored: &[u8], size: usize) -> Result<Vec<u8>, String> {
    let (block, mut rest) = block_header(stored, size)?;
    let mut out = room(stored, size, LZ4_RATIO)?;
    for part in out.chunks_mut(block) {
        let packed = next_block(&mut rest)?;
        if packed.len() == part.len() {
            part.copy_from_slice(packed);
        } else {
            lz4(packed, part)?;
        }
    }
    Ok(out)
}

fn lz4(packed: &[u8], out: &mut [u8]) -> Result<(), String> {
    match lz4_flex::block::decompress_into(packed, out) {
        Ok(length) if length == out.len() => Ok(()),
        Ok(length) => Err(format!("a block unpacks to {length} bytes, not {}", out.len())),
        Err(error) => Err(format!("a block cannot be unpacked: {error}")),
    }
}

fn bits_packed(stored: &[u8], element: usize, size: usize) -> Result<Vec<u8>, String> {
    let (block, mut rest) = block_header(stored, size)?;
    let mut out = room(stored, size, LZ4_RATIO)?;
    let mut scratch = Vec::new();
    // Fewer than 8 elements at the end are stored as they are.
    let (blocks, left) = whole(&mut out, element)?;
    if block % (8 * element) != 0 {
        return Err(format!("blocks of {block} bytes of elements of {element}"));
    }
    for part in blocks.chunks_mut(block) {
        let packed = next_block(&mut rest)?;
        scratch.resize(part.len(), 0);
        lz4(packed, &mut scratch)?;
        transpose(&scratch, element, part);
    }
    left.copy_from_slice(rest.get(..left.len()).ok_or("its end is missing")?);
    Ok(out)
}

fn bits_plain(stored: &[u8], element: usize, block: usize) -> Result<Vec<u8>, String> {
    let mut out = stored.to_vec();
    let (blocks, _) = whole(&mut out, element)?;
    // The filter's own choice: 8 KiB, whole groups of 8, at least 128.
    let own = (8192 / element / 8 * 8).max(128);
    let block = if block == 0 { own } else { block };
    if block % 8 != 0 || block > 1 << 30 {
        return Err(format!("blocks of {block} elements"));
    }
    for (part, bytes) in blocks.chunks_mut(block * element).zip(stored.chunks(block * element)) {
        transpose(&bytes[..part.len()], element, part);
    }
    Ok(out)
}

/// The elements in groups of 8, and what is left behind them.
fn whole(bytes: &mut [u8], element: usize) -> Result<(&mut [u8], &mut [u8]), String> {
    if !(1..=64).contains(&element) {
        return Err(format!("elements of {element} bytes"));
    }
    let length = bytes.len() / (8 * element) * (8 * element);
    Ok(bytes.split_at_mut(length))
}

/// Bits back into elements: row 8 b + k of `bits` holds bit k of byte b of all elements. Both have whole groups of 8.
fn transpose(bits: &[u8], element: usize, out: &mut [u8]) {
    let groups = out.len() / (8 * element);
    for byte in 0..element {
        let rows = &bits[8 * byte * groups..8 * (byte + 1) * groups];
        for group in 0..groups {
            let eight = std::array::from_fn(|row| rows[row * groups + group]);
            let turned = turn(u64::from_le_bytes(eight)).to_le_bytes();
            let first = group * 8 * element + byte;
            for (at, value) in turned.into_iter().enumerate() {
                out[first + at * element] = value;
            }
        }
    }
}

/// A square of 8 x 8 bits turned over its diagonal (Warren, Hacker's Delight 7-3).
fn turn(mut x: u64) -> u64 {
    let t = (x ^ (x >> 7)) & 0x00aa_00aa_00aa_00aa;
    x ^= t ^ (t << 7);
    let t = (x ^ (x >> 14)) & 0x0000_cccc_0000_cccc;
    x ^= t ^ (t << 14);
    let t = (x ^ (x >> 28)) & 0x0000_0000_f0f0_f0f0;
    x ^ t ^ (t << 28)
}
