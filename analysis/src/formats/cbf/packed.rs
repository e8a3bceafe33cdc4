//! `x-CBF_PACKED` (J. P. Abrahams' packing as CBF defines it, version 1 and 2): groups of differences of equal width in bits
//! to a mean of the neighbours that were unpacked before. Pure; every bit that is read is known to be there.

/// How the pixels lie and which version packed them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    /// Pixels of a row.
    pub(super) columns: usize,
    /// Rows of a section.
    pub(super) rows: usize,
    /// Four bits of width code instead of three.
    pub(super) second_version: bool,
    /// Sections do not predict each other.
    pub(super) uncorrelated: bool,
}

/// Number of elements, least, greatest, reserved: u64 each, before the bits.
const PREAMBLE: usize = 32;

/// Unpacks into all of `pixels`, whose number is a multiple of a section's, and gives how many bytes were left over. An error
/// says what is wrong with the bytes.
pub(super) fn unpack(bytes: &[u8], layout: &Layout, pixels: &mut [i32]) -> Result<usize, String> {
    let preamble = bytes.get(..PREAMBLE).ok_or("it is shorter than its preamble")?;
    let count = u64_at(preamble, 0);
    if count != pixels.len() as u64 {
        return Err(format!("it packs {count} elements, the header says {}", pixels.len()));
    }
    let mut differences = Differences::new(&bytes[PREAMBLE..], layout.second_version);
    let area = layout.columns * layout.rows;
    for section in 0..pixels.len().checked_div(area).unwrap_or(0) {
        let (before, here) = pixels.split_at_mut(section * area);
        let below = if section == 0 { &[] } else { &before[(section - 1) * area..] };
        let first = below.first().copied().unwrap_or(0);
        let below = if layout.uncorrelated { &[] } else { below };
        unpack_section(&mut differences, layout.columns, first, below, &mut here[..area])
            .ok_or_else(|| format!("its bits end in section {} of the array", section + 1))?;
    }
    let found = pixels.iter().fold((i32::MAX, i32::MIN), |(l, g), v| (l.min(*v), g.max(*v)));
    if said_range(preamble)
        .is_some_and(|(least, most)| i64::from(found.0) < least || i64::from(found.1) > most)
    {
        return Err(format!("its pixels reach from {} to {}, beyond what it says itself", found.0, found.1));
    }
    Ok(differences.bytes.len() - differences.at + differences.held as usize / 8)
}

/// The least and greatest pixel that the preamble says; nothing where the writer left them out.
fn said_range(preamble: &[u8]) -> Option<(i64, i64)> {
    let (least, greatest) = (u64_at(preamble, 8).cast_signed(), u64_at(preamble, 16).cast_signed());
    (least < greatest).then_some((least, greatest))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|eight| eight.try_into().ok()).map_or(0, u64::from_le_bytes)
}

/// One section, whose first pixel is predicted as `first`; `below` is the section before it if that takes part in the means,
/// else empty. `None` when the bits end.
fn unpack_section(
    differences: &mut Differences<'_>,
    columns: usize,
    first: i32,
    below: &[i32],
    pixels: &mut [i32],
) -> Option<()> {
    let (top, rest) = pixels.split_at_mut(columns);
    let mut left = first;
    for pixel in top.iter_mut() {
        left = left.wrapping_add(differences.next()?);
        *pixel = left;
    }
    let mut up: &[i32] = top;
    for (row, here) in rest.chunks_exact_mut(columns).enumerate() {
        let at = (row + 1) * columns;
        if let Some(below_here) = below.get(at..at + columns) {
            row_on_section(differences, up, &below[at - columns..at], below_here, here)?;
        } else {
            row_alone(differences, up, here)?;
        }
        up = here;
    }
    Some(())
}

/// A row of a section that stands alone: the mean of left, up-right, up and up-left.
fn row_alone(differences: &mut Differences<'_>, up: &[i32], here: &mut [i32]) -> Option<()> {
    let last = here.len() - 1;
    if last == 0 {
        // A column: there is neither left nor right.
        here[0] = up[0].wrapping_add(differences.next()?);
        return Some(());
    }
    let mut left = mean(sum([up[0], up[1]]), 1).wrapping_add(differences.next()?);
    here[0] = left;
    for column in 1..last {
        let sum = sum([left, up[column + 1], up[column], up[column - 1]]);
        left = mean(sum, 2).wrapping_add(differences.next()?);
        here[column] = left;
    }
    here[last] = mean(sum([left, up[last]]), 1).wrapping_add(differences.next()?);
    Some(())
}

/// A row of a section on another: twice as many neighbours, those of the section before included.
fn row_on_section(
    differences: &mut Differences<'_>,
    up: &[i32],
    below_up: &[i32],
    below: &[i32],
    here: &mut [i32],
) -> Option<()> {
    let last = here.len() - 1;
    if last == 0 {
        here[0] = mean(sum([up[0], below_up[0]]), 1).wrapping_add(differences.next()?);
        return Some(());
    }
    let mut left = mean(sum([up[0], up[1], below_up[0], below_up[1]]), 2).wrapping_add(differences.next()?);
    here[0] = left;
    for column in 1..last {
        let sum = sum([left, up[column + 1], up[column], up[column - 1]])
            + sum([below[column], below_up[column + 1], below_up[column], below_up[column - 1]]);
        left = mean(sum, 3).wrapping_add(differences.next()?);
        here[column] = left;
    }
    here[last] =
        mean(sum([left, up[last], below[last], below_up[last]]), 2).wrapping_add(differences.next()?);
    Some(())
}

fn sum<const N: usize>(values: [i32; N]) -> i64 {
    values.into_iter().map(i64::from).sum()
}

/// The rounded mean of 2^`log` values of that sum.
#[allow(clippy::cast_possible_truncation)] // a mean of i32 is one
fn mean(sum: i64, log: u32) -> i32 {
    ((sum + (1 << log >> 1)) >> log) as i32
}

/// The differences one after the other, out of groups of equal width.
#[derive(Debug)]
struct Differences<'b> {
    bytes: &'b [u8],
    /// The next byte to take bits from.
    at: usize,
    bits: u64,
    held: u32,
    /// Bits that were taken beyond the end.
    missing: bool,
    /// Left of the group.
    left: u32,
    width: u32,
    second_version: bool,
}

impl<'b> Differences<'b> {
    fn new(bytes: &'b [u8], second_version: bool) -> Self {
        Self { bytes, at: 0, bits: 0, held: 0, missing: false, left: 0, width: 0, second_version }
    }

    /// Up to 32 bits, the least significant first.
    #[inline]
    fn take(&mut self, width: u32) -> u64 {
        if self.held < width {
            self.refill();
            if self.held < width {
                self.missing = true;
                return 0;
            }
        }
        let value = self.bits & ((1 << width) - 1);
        self.bits >>= width;
        self.held -= width;
        value
    }

    #[inline]
    fn refill(&mut self) {
        if let Some(eight) = self.bytes.get(self.at..self.at + 8).and_then(|b| b.try_into().ok()) {
            // As many whole bytes as there is room for.
            let room = (63 - self.held) / 8;
            self.bits |= u64::from_le_bytes(eight) << self.held;
            self.held += room * 8;
            self.bits &= (1 << self.held) - 1;
            self.at += room as usize;
        } else {
            while self.held <= 56 {
                let Some(byte) = self.bytes.get(self.at) else { return };
                self.bits |= u64::from(*byte) << self.held;
                self.held += 8;
                self.at += 1;
            }
        }
    }

    /// The next difference; `None` when the bits have ended.
    #[inline]
    fn next(&mut self) -> Option<i32> {
        if self.left == 0 {
            self.group()?;
        }
        self.left -= 1;
        if self.width == 0 {
            return Some(0);
        }
        let bits = self.take(self.width);
        if self.missing {
            return None;
        }
        let shift = 64 - self.width;
        #[allow(clippy::cast_possible_truncation)] // at most 32 bits, extended by its sign
        Some(((bits << shift).cast_signed() >> shift) as i32)
    }

    #[cold]
    fn group(&mut self) -> Option<()> {
        const FIRST: [u32; 8] = [0, 4, 5, 6, 7, 8, 16, 32];
        const SECOND: [u32; 16] = [0, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 32];
        self.left = 1 << self.take(3);
        self.width = if self.second_version {
            SECOND[usize::try_from(self.take(4)).ok()?]
        } else {
            FIRST[usize::try_from(self.take(3)).ok()?]
        };
        (!self.missing).then_some(())
    }
}
