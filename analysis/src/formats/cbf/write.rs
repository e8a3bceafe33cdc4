//! Writes a CBF file in Pilatus' style, packed by byte offset: for tests, and for handing an image to other programs.

use std::fmt::Write as _;

use base64::Engine as _;
use md5::{Digest as _, Md5};

use super::{Mini, byte_offset};
use crate::frame::Shape;

/// The bytes of a CBF file. `pixels` are `shape.len()`, panel by panel; panels become the third dimension.
pub fn write(name: &str, shape: Shape, pixels: &[i32], header: &Mini) -> Vec<u8> {
    let packed = byte_offset::pack(pixels);
    let mut text =
        format!("###CBF: VERSION 1.5\n\ndata_{name}\n\n_array_data.header_convention \"PILATUS_1.2\"\n");
    text.push_str("_array_data.header_contents\n;\n");
    // Writing into a String cannot fail.
    if let Some([x, y]) = header.pixel_size {
        let _ = writeln!(text, "# Pixel_size {x:e} m x {y:e} m");
    }
    if let Some(cutoff) = header.count_cutoff {
        let _ = writeln!(text, "# Count_cutoff {cutoff} counts");
    }
    if let Some(wavelength) = header.wavelength {
        let _ = writeln!(text, "# Wavelength {wavelength} A");
    }
    if let Some(distance) = header.distance {
        let _ = writeln!(text, "# Detector_distance {distance} m");
    }
    if let Some([x, y]) = header.beam {
        let _ = writeln!(text, "# Beam_xy ({x}, {y}) pixels");
    }
    text.push_str(";\n\n_array_data.data\n;\n--CIF-BINARY-FORMAT-SECTION--\r\n");
    text.push_str("Content-Type: application/octet-stream;\r\n     conversions=\"x-CBF_BYTE_OFFSET\"\r\n");
    let sum = base64::engine::general_purpose::STANDARD.encode(Md5::digest(&packed));
    let _ = write!(
        text,
        "Content-Transfer-Encoding: BINARY\r\nX-Binary-Size: {}\r\nX-Binary-ID: 1\r\n\
         X-Binary-Element-Type: \"signed 32-bit integer\"\r\nX-Binary-Element-Byte-Order: LITTLE_ENDIAN\r\n\
         Content-MD5: {sum}\r\nX-Binary-Number-of-Elements: {}\r\nX-Binary-Size-Fastest-Dimension: {}\r\n\
         X-Binary-Size-Second-Dimension: {}\r\n",
        packed.len(),
        shape.len(),
        shape.columns,
        shape.rows
    );
    if shape.panels > 1 {
        let _ = write!(text, "X-Binary-Size-Third-Dimension: {}\r\n", shape.panels);
    }
    text.push_str("X-Binary-Size-Padding: 0\r\n\r\n");
    let mut bytes = text.into_bytes();
    bytes.extend([0x0c, 0x1a, 0x04, 0xd5]);
    bytes.extend(packed);
    bytes.extend(b"\r\n--CIF-BINARY-FORMAT-SECTION----\r\n;\r\n");
    bytes
}
