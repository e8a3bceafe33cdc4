//! NumPy's `.npy`: one array. Reads versions 1 to 3 in C order, little endian; writes version 1.
//!
//! Source: NumPy Enhancement Proposal 1 and `numpy.lib.format`.

use super::array::{Array, Element, byte_len};
use super::{FormatError, bytes};

const MAGIC: &[u8] = b"\x93NUMPY";
const WHAT: &str = "npy file";

/// Types as NumPy names them, booleans as bytes.
const TYPES: [(&str, Element); 12] = [
    ("|b1", Element::U8),
    ("|u1", Element::U8),
    ("|i1", Element::I8),
    ("<u2", Element::U16),
    ("<i2", Element::I16),
    ("<u4", Element::U32),
    ("<i4", Element::I32),
    ("<u8", Element::U64),
    ("<i8", Element::I64),
    ("<f4", Element::F32),
    ("<f8", Element::F64),
    ("<u1", Element::U8),
];

/// Whether bytes begin as such a file does.
pub fn is_npy(bytes: &[u8]) -> bool {
    bytes.starts_with(MAGIC)
}

/// Reads a whole file.
pub fn read(file: &[u8]) -> Result<Array, FormatError> {
    let corrupt = |why: String| FormatError::corrupt(WHAT, 0, why);
    if !is_npy(file) {
        return Err(corrupt("it does not begin as one".to_owned()));
    }
    let cut = |missing: usize| FormatError::Truncated { what: WHAT, at: 0, missing: missing as u64 };
    let version = *file.get(6).ok_or_else(|| cut(4))?;
    let (begin, length) = match version {
        1 => (10_usize, bytes::u16(file, 8).map(usize::from)),
        2 | 3 => (12, bytes::u32(file, 8).map(|length| length as usize)),
        _ => return Err(FormatError::Unsupported { what: format!("npy version {version}") }),
    };
    let end = begin + length.ok_or_else(|| cut(begin.saturating_sub(file.len())))?;
    let head = file.get(begin..end).ok_or_else(|| cut(end - file.len()))?;
    let head = std::str::from_utf8(head).map_err(|_| corrupt("its head is no text".to_owned()))?;
    let value = |key: &str| {
        let at = head.find(&format!("'{key}':")).map(|at| at + key.len() + 3);
        at.map(|at| head[at..].trim_start()).ok_or_else(|| corrupt(format!("its head has no `{key}`")))
    };
    let descr = value("descr")?;
    let name = descr.strip_prefix('\'').and_then(|rest| rest.split('\'').next());
    let element = TYPES.iter().find(|(known, _)| Some(*known) == name).map(|(_, element)| *element);
    let element = element.ok_or_else(|| FormatError::Unsupported {
        what: format!(
            "npy array of `{}`",
            name.unwrap_or_else(|| descr.split(',').next().unwrap_or_default())
        ),
    })?;
    if !value("fortran_order")?.starts_with("False") {
        let what = "npy array in Fortran's order (write numpy.ascontiguousarray of it)".to_owned();
        return Err(FormatError::Unsupported { what });
    }
    let shape = value("shape")?;
    let inner = shape.strip_prefix('(').and_then(|rest| rest.split(')').next());
    let dims = inner.and_then(|inner| {
        let axes = inner.split(',').map(str::trim).filter(|axis| !axis.is_empty());
        axes.map(|axis| axis.parse().ok()).collect::<Option<Vec<usize>>>()
    });
    let dims = dims.ok_or_else(|| corrupt("its shape cannot be read".to_owned()))?;
    let size = byte_len(&dims, element).ok_or_else(|| corrupt(format!("a shape of {dims:?} cannot be")))?;
    let data = &file[end..];
    let data = data.get(..size).ok_or_else(|| cut(size - data.len()))?;
    Array::new(dims, element, data.to_vec())
}

/// A file of `f32`, the last dimension fastest. `values.len()` is the product of the dimensions.
pub fn write_f32(dims: &[usize], values: &[f32]) -> Vec<u8> {
    write(dims, "<f4", 4, values.iter().flat_map(|value| value.to_le_bytes()))
}

/// A file of bytes, such as a mask.
pub fn write_u8(dims: &[usize], values: &[u8]) -> Vec<u8> {
    write(dims, "|u1", 1, values.iter().copied())
}

fn write(dims: &[usize], kind: &str, size: usize, values: impl Iterator<Item = u8>) -> Vec<u8> {
    let axes: Vec<String> = dims.iter().map(ToString::to_string).collect();
    // A tuple of one has a comma.
    let comma = if dims.len() == 1 { "," } else { "" };
    let mut head =
        format!("{{'descr': '{kind}', 'fortran_order': False, 'shape': ({}{comma}), }}", axes.join(", "));
    // The data begin at a multiple of 64.
    head.extend(std::iter::repeat_n(' ', 63 - (MAGIC.len() + 4 + head.len()) % 64));
    head.push('\n');
    let mut file = Vec::with_capacity(MAGIC.len() + 4 + head.len() + size * dims.iter().product::<usize>());
    file.extend_from_slice(MAGIC);
    file.extend_from_slice(&[1, 0]);
    file.extend_from_slice(&u16::try_from(head.len()).unwrap_or(u16::MAX).to_le_bytes());
    file.extend_from_slice(head.as_bytes());
    file.extend(values);
    file
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formats::{damaged, fuzz};

    /// As NumPy 1.24 writes `numpy.arange(6, dtype='u2').reshape(2, 3)`.
    fn of_numpy() -> Vec<u8> {
        let mut file = b"\x93NUMPY\x01\x00\x76\x00".to_vec();
        let head = "{'descr': '<u2', 'fortran_order': False, 'shape': (2, 3), }";
        file.extend_from_slice(format!("{head:<117}\n").as_bytes());
        file.extend((0..6_u16).flat_map(u16::to_le_bytes));
        file
    }

    #[test]
    fn what_numpy_writes_is_read_and_what_is_written_is_read() {
        let array = read(&of_numpy()).unwrap();
        assert_eq!((array.dims.as_slice(), array.element), (&[2, 3][..], Element::U16));
        assert_eq!(array.to_bits(), [0, 1, 2, 3, 4, 5]);
        let values = [1.5, -2.0, 3.25, 0.0, 7.0, 8.0];
        for dims in [vec![6], vec![2, 3], vec![1, 2, 3, 1]] {
            let file = write_f32(&dims, &values);
            assert_eq!((file.len() - 24) % 64, 0);
            let array = read(&file).unwrap();
            assert_eq!((array.dims, array.element), (dims, Element::F32));
        }
        assert_eq!(read(&write_u8(&[2], &[0, 1])).unwrap().to_f32(), [0.0, 1.0]);
    }

    #[test]
    fn what_cannot_be_read_is_said() {
        let said = |from: &str, to: &str| {
            let file = of_numpy();
            let head: String = file[10..128].iter().map(|byte| char::from(*byte)).collect();
            let head = format!("{:<117.117}\n", head.trim_end().replace(from, to));
            let file = [&file[..10], head.as_bytes(), &file[128..]].concat();
            read(&file).unwrap_err().to_string()
        };
        assert_eq!(said("<u2", ">u2"), "npy array of `>u2` cannot be read");
        assert!(said("False", "True").contains("Fortran's order (write numpy.ascontiguousarray"));
        assert_eq!(said("2, 3", "20, 3"), "npy file at byte 0 needs 108 bytes more than there are");
        assert!(said("2, 3", "9999999999, 99999999999").contains("cannot be"));
        for cut in 0..of_numpy().len() {
            assert!(read(&of_numpy()[..cut]).is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn damaged_copies_never_do_harm() {
        damaged::each("npy", &of_numpy(), 1, 2000, fuzz::npy);
    }
}
