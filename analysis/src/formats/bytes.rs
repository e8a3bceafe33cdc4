//! Little-endian numbers and texts at any place of a byte slice, aligned or not; nothing behind its end.

/// `N` bytes at a place.
pub(crate) fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

/// A `u16` at a place.
pub(crate) fn u16(bytes: &[u8], at: usize) -> Option<u16> {
    array(bytes, at).map(u16::from_le_bytes)
}

/// A `u32` at a place.
pub(crate) fn u32(bytes: &[u8], at: usize) -> Option<u32> {
    array(bytes, at).map(u32::from_le_bytes)
}

/// A `u64` at a place.
pub(crate) fn u64(bytes: &[u8], at: usize) -> Option<u64> {
    array(bytes, at).map(u64::from_le_bytes)
}

/// The text before the first NUL, if it can be printed as it is: ASCII without control characters.
pub(crate) fn text(bytes: &[u8]) -> Option<&str> {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    let text = &bytes[..end];
    text.iter().all(|byte| (0x20..0x7f).contains(byte)).then(|| std::str::from_utf8(text).ok()).flatten()
}

/// All `u16` of a slice; an odd last byte is left out.
pub(crate) fn u16s(bytes: &[u8]) -> Vec<u16> {
    bytes.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect()
}

/// All numbers of four bytes of a slice, made by `number`.
pub(crate) fn fours<T>(bytes: &[u8], number: fn([u8; 4]) -> T) -> Vec<T> {
    bytes.chunks_exact(4).map(|four| number([four[0], four[1], four[2], four[3]])).collect()
}
