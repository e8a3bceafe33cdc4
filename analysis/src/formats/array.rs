//! Arrays of numbers as files hold them: dimensions, what an element is, little-endian bytes. Turned into the types that
//! constants and masks have; never interpreted here.

use super::FormatError;

/// More elements than any constant has: seven gain modes of a detector of 64 megapixels.
pub const MOST_ELEMENTS: usize = 7 << 26;

/// What an element is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // numbers of those widths
pub enum Element {
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    U64,
    I64,
    F32,
    F64,
}

impl Element {
    /// Bytes of one.
    pub fn size(self) -> usize {
        match self {
            Self::U8 | Self::I8 => 1,
            Self::U16 | Self::I16 => 2,
            Self::U32 | Self::I32 | Self::F32 => 4,
            Self::U64 | Self::I64 | Self::F64 => 8,
        }
    }

    /// As in `u16`.
    pub fn word(self) -> &'static str {
        match self {
            Self::U8 => "u8",
            Self::I8 => "i8",
            Self::U16 => "u16",
            Self::I16 => "i16",
            Self::U32 => "u32",
            Self::I32 => "i32",
            Self::U64 => "u64",
            Self::I64 => "i64",
            Self::F32 => "f32",
            Self::F64 => "f64",
        }
    }
}

/// An array, the last dimension fastest. `bytes.len()` is the product of the dimensions times the element's size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Array {
    /// Length along each dimension, slowest first; empty for a single number.
    pub dims: Vec<usize>,
    /// What an element is.
    pub element: Element,
    bytes: Vec<u8>,
}

impl Array {
    /// An array of these bytes, little endian.
    ///
    /// # Errors
    /// Fewer or more bytes than the dimensions need, or more than [`MOST_ELEMENTS`].
    pub fn new(dims: Vec<usize>, element: Element, bytes: Vec<u8>) -> Result<Self, FormatError> {
        let needed = byte_len(&dims, element);
        if needed != Some(bytes.len()) {
            let why = format!("{} bytes for {dims:?} of {}", bytes.len(), element.word());
            return Err(FormatError::corrupt("array", 0, why));
        }
        Ok(Self { dims, element, bytes })
    }

    /// How many elements.
    pub fn len(&self) -> usize {
        self.bytes.len() / self.element.size()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// All as `f32`: nearest.
    #[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss)] // constants are good to f32
    pub fn to_f32(&self) -> Vec<f32> {
        match self.element {
            Element::U8 => self.each(|[a]: [u8; 1]| f32::from(a)),
            Element::I8 => self.each(|[a]: [u8; 1]| f32::from(a.cast_signed())),
            Element::U16 => self.each(|two| f32::from(u16::from_le_bytes(two))),
            Element::I16 => self.each(|two| f32::from(i16::from_le_bytes(two))),
            Element::U32 => self.each(|four| u32::from_le_bytes(four) as f32),
            Element::I32 => self.each(|four| i32::from_le_bytes(four) as f32),
            Element::U64 => self.each(|eight| u64::from_le_bytes(eight) as f32),
            Element::I64 => self.each(|eight| i64::from_le_bytes(eight) as f32),
            Element::F32 => self.each(f32::from_le_bytes),
            Element::F64 => self.each(|eight| f64::from_le_bytes(eight) as f32),
        }
    }

    /// All as `f64`.
    #[allow(clippy::cast_precision_loss)] // numbers beyond 2^53 are no physical quantities
    pub fn to_f64(&self) -> Vec<f64> {
        match self.element {
            Element::F64 => self.each(f64::from_le_bytes),
            Element::U32 => self.each(|four| f64::from(u32::from_le_bytes(four))),
            Element::I32 => self.each(|four| f64::from(i32::from_le_bytes(four))),
            Element::U64 => self.each(|eight| u64::from_le_bytes(eight) as f64),
            Element::I64 => self.each(|eight| i64::from_le_bytes(eight) as f64),
            _ => self.to_f32().into_iter().map(f64::from).collect(),
        }
    }

    /// All as bits; numbers with a fraction are cut, negative and non-finite ones become all bits.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // checked in `real`
    pub fn to_bits(&self) -> Vec<u64> {
        let real = |value: f64| if value.is_finite() && value >= 0.0 { value as u64 } else { u64::MAX };
        let signed = |value: i64| u64::try_from(value).unwrap_or(u64::MAX);
        match self.element {
            Element::U8 => self.each(|[a]: [u8; 1]| u64::from(a)),
            Element::I8 => self.each(|[a]: [u8; 1]| signed(a.cast_signed().into())),
            Element::U16 => self.each(|two| u64::from(u16::from_le_bytes(two))),
            Element::I16 => self.each(|two| signed(i16::from_le_bytes(two).into())),
            Element::U32 => self.each(|four| u64::from(u32::from_le_bytes(four))),
            Element::I32 => self.each(|four| signed(i32::from_le_bytes(four).into())),
            Element::U64 => self.each(u64::from_le_bytes),
            Element::I64 => self.each(|eight| signed(i64::from_le_bytes(eight))),
            Element::F32 => self.each(|four| real(f32::from_le_bytes(four).into())),
            Element::F64 => self.each(|eight| real(f64::from_le_bytes(eight))),
        }
    }

    fn each<const N: usize, T>(&self, of: impl Fn([u8; N]) -> T) -> Vec<T> {
        let (elements, _) = self.bytes.as_chunks::<N>();
        elements.iter().map(|element| of(*element)).collect()
    }
}

/// Bytes of an array; `None` for one that is too large to be.
pub(super) fn byte_len(dims: &[usize], element: Element) -> Option<usize> {
    let count = dims.iter().try_fold(1_usize, |n, axis| n.checked_mul(*axis))?;
    (count <= MOST_ELEMENTS).then(|| count * element.size())
}

/// The text of numbers that psana writes: `#` lines of comments and of dimensions (`# NDIM 3`, `# DIM:1 32`), then the values
/// in any number of lines. Without dimensions the lines are the rows.
pub fn read_text(text: &str) -> Result<Array, FormatError> {
    const WHAT: &str = "text of numbers";
    let mut said: Vec<usize> = Vec::new();
    let (mut rows, mut columns) = (0_usize, None);
    let mut bytes = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let wrong = |why: String| FormatError::corrupt(WHAT, 0, format!("line {}: {why}", at + 1));
        if let Some(comment) = line.trim_start().strip_prefix('#') {
            if let Some(axis) = comment.trim_start().strip_prefix("DIM:") {
                let length = axis.split_whitespace().nth(1).and_then(|length| length.parse().ok());
                said.push(length.ok_or_else(|| wrong(format!("`{}` is no dimension", comment.trim())))?);
            }
            continue;
        }
        let mut here = 0;
        for word in line.split([' ', '\t', ',', '\r']).filter(|word| !word.is_empty()) {
            let value: f64 = word.parse().map_err(|_| wrong(format!("`{word}` is no number")))?;
            bytes.extend_from_slice(&value.to_le_bytes());
            here += 1;
        }
        if here > 0 {
            rows += 1;
            if said.is_empty() && columns.is_some_and(|columns| columns != here) {
                return Err(wrong(format!("{here} numbers after lines of {}", columns.unwrap_or_default())));
            }
            columns = columns.or(Some(here));
        }
    }
    let count = bytes.len() / 8;
    if count == 0 {
        return Err(FormatError::absent("number in the text"));
    }
    let dims = if said.is_empty() { vec![rows, count / rows] } else { said };
    if byte_len(&dims, Element::F64) != Some(bytes.len()) {
        return Err(FormatError::corrupt(WHAT, 0, format!("it has {count} numbers, its head says {dims:?}")));
    }
    Array::new(dims, Element::F64, bytes)
}
