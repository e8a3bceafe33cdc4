//! CBF (imgCIF) images: a CIF text header, and the pixels in binary sections packed by `x-CBF_BYTE_OFFSET` or `x-CBF_PACKED`.
//! Takes the bytes of a whole file; never panics on damaged ones, and allocates no more than [`MOST_PIXELS`] whatever they say.
//!
//! Source: International Tables for Crystallography G, chapters 2.3 and 5.6 (CBF), and the DECTRIS Pilatus CBF header
//! specification. Where the axes put the pixels is read by [`crate::geometry::cbf`].

mod byte_offset;
mod cif;
mod mini;
mod packed;
mod write;

use md5::{Digest as _, Md5};

use super::FormatError;
use crate::frame::{Frame, Pixels, Shape, Shot};
pub use cif::Cif;
pub use mini::Mini;
pub use write::write;

/// More pixels than any detector has (a 16-megapixel detector four times over); a header that says more is damaged.
pub const MOST_PIXELS: usize = 1 << 26;

/// h c in eV angstrom.
const EV_ANGSTROM: f64 = 12_398.419_84;

/// Why a file gives no image.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CbfError {
    /// The text header cannot be read.
    #[error("CBF header, line {line}: {what}")]
    Header {
        /// From 1.
        line: usize,
        /// What is wrong.
        what: String,
    },
    /// The file ends before the pixels do.
    #[error("CBF file ends in binary section {section}: {there} of its {size} bytes are there")]
    Truncated {
        /// From 1.
        section: usize,
        /// Bytes it should have.
        size: u64,
        /// Bytes that are there.
        there: u64,
    },
    /// The file has no pixels.
    #[error("CBF file without a binary section")]
    NoImage,
    /// A way of packing that is not read.
    #[error("CBF binary section {section}: {what} is not supported")]
    Unsupported {
        /// From 1.
        section: usize,
        /// What it is.
        what: String,
    },
    /// The packed pixels contradict themselves or the header.
    #[error("CBF binary section {section} is damaged: {what}")]
    Damaged {
        /// From 1.
        section: usize,
        /// What is wrong.
        what: String,
    },
}

impl CbfError {
    /// The same in the terms of all formats.
    pub fn general(&self) -> FormatError {
        match self {
            Self::Truncated { size, there, .. } => {
                FormatError::Truncated { what: "CBF binary section", at: 0, missing: size - there }
            }
            Self::NoImage => FormatError::absent("binary section in the CBF file"),
            Self::Unsupported { .. } => FormatError::Unsupported { what: self.to_string() },
            Self::Header { .. } | Self::Damaged { .. } => {
                FormatError::corrupt("CBF file", 0, self.to_string())
            }
        }
    }
}

/// A CBF file whose text has been read and whose binary sections have been found.
#[derive(Debug)]
pub struct Cbf<'b> {
    cif: Cif<'b>,
    sections: Vec<Section<'b>>,
}

/// How the pixels of a section are packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Packing {
    None,
    ByteOffset,
    Packed { second_version: bool, uncorrelated: bool },
}

/// One binary section: pixels of one array.
#[derive(Clone, Debug)]
struct Section<'b> {
    packing: Packing,
    element: Element,
    /// Columns, rows, sections.
    size: [usize; 3],
    md5: Option<String>,
    data: &'b [u8],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Element {
    bytes: usize,
    signed: bool,
    real: bool,
}

impl Section<'_> {
    fn pixels(&self) -> usize {
        self.size.iter().product()
    }
}

impl<'b> Cbf<'b> {
    /// Reads the text and finds the binary sections, without unpacking them.
    pub fn read(bytes: &'b [u8]) -> Result<Self, CbfError> {
        let (cif, found) = cif::read(bytes)?;
        let mut pixels = 0_usize;
        let mut sections = Vec::with_capacity(found.len());
        for (at, binary) in found.iter().enumerate() {
            let section = section(at + 1, binary)?;
            pixels = pixels.saturating_add(section.pixels());
            if pixels > MOST_PIXELS {
                let what = format!("its header says {pixels} pixels and more");
                return Err(CbfError::Damaged { section: at + 1, what });
            }
            sections.push(section);
        }
        Ok(Self { cif, sections })
    }

    /// The header's items.
    pub fn cif(&self) -> &Cif<'b> {
        &self.cif
    }

    /// The header in Pilatus' style, if there is one.
    pub fn mini(&self) -> Option<Mini> {
        self.cif.value("_array_data.header_contents").map(Mini::read)
    }

    /// Panels, rows and columns of the image: the sections one after the other, each a stack of panels.
    pub fn shape(&self) -> Result<Shape, CbfError> {
        let first = self.sections.first().ok_or(CbfError::NoImage)?;
        let [columns, rows, _] = first.size;
        let mut panels = 0;
        for (at, section) in self.sections.iter().enumerate() {
            if section.size[..2] != first.size[..2] {
                let what = format!("{:?} pixels after sections of {columns} x {rows}", section.size);
                return Err(CbfError::Unsupported { section: at + 1, what });
            }
            panels += section.size[2];
        }
        Ok(Shape { panels, rows, columns })
    }

    /// Unpacks all pixels.
    pub fn frame(&self) -> Result<Frame, CbfError> {
        let shape = self.shape()?;
        let mut pixels = vec![0_i32; shape.len()];
        let mut rest = pixels.as_mut_slice();
        for (at, section) in self.sections.iter().enumerate() {
            let (own, others) = rest.split_at_mut(section.pixels().min(rest.len()));
            rest = others;
            let damaged = |what: String| CbfError::Damaged { section: at + 1, what };
            match section.packing {
                Packing::ByteOffset => byte_offset::unpack(section.data, own).map_err(damaged)?,
                Packing::Packed { second_version, uncorrelated } => {
                    let layout = packed::Layout {
                        columns: section.size[0],
                        rows: section.size[1],
                        second_version,
                        uncorrelated,
                    };
                    packed::unpack(section.data, &layout, own).map_err(damaged)?;
                }
                Packing::None => plain(section, own).map_err(damaged)?,
            }
        }
        Ok(Frame { shape, pixels: Pixels::I32(pixels) })
    }

    /// Photon energy and distance as the header says them. The distance of axes is part of their geometry; here it is that
    /// of a header in Pilatus' style only.
    pub fn shot(&self) -> Shot {
        let mini = self.mini().unwrap_or_default();
        let wavelength = self.cif.number("_diffrn_radiation_wavelength.wavelength").or(mini.wavelength);
        Shot {
            photon_energy: wavelength.filter(|a| *a > 0.0).map(|a| EV_ANGSTROM / a),
            detector_distance: mini.distance,
            ..Shot::default()
        }
    }

    /// Whether each section has the MD5 sum that its header says; sections without one are taken as whole. Found in
    /// `lightrail-analysis inspect`; the pipeline does not spend the time.
    pub fn sums_agree(&self) -> Result<(), CbfError> {
        use base64::Engine as _;
        for (at, section) in self.sections.iter().enumerate() {
            let found = base64::engine::general_purpose::STANDARD.encode(Md5::digest(section.data));
            if let Some(said) = section.md5.as_deref().filter(|said| *said != found) {
                let what = format!("its MD5 sum is {found}, the header says {said}");
                return Err(CbfError::Damaged { section: at + 1, what });
            }
        }
        Ok(())
    }
}

/// What the MIME header of a binary says.
fn section<'b>(number: usize, binary: &cif::Binary<'b>) -> Result<Section<'b>, CbfError> {
    let unsupported = |what: String| CbfError::Unsupported { section: number, what };
    let damaged = |what: String| CbfError::Damaged { section: number, what };
    let kind = binary.header("content-type").unwrap_or_default().to_ascii_lowercase();
    let packing = if kind.contains("x-cbf_byte_offset") {
        Packing::ByteOffset
    } else if kind.contains("x-cbf_packed") {
        Packing::Packed {
            second_version: kind.contains("x-cbf_packed_v2"),
            uncorrelated: kind.contains("uncorrelated_sections"),
        }
    } else if kind.contains("conversions") && !kind.contains("x-cbf_none") {
        return Err(unsupported(format!("the packing of `{kind}`")));
    } else {
        Packing::None
    };
    if packing == Packing::None {
        let encoding = binary.header("content-transfer-encoding").unwrap_or("binary").to_ascii_lowercase();
        if encoding != "binary" {
            return Err(unsupported(format!("the encoding `{encoding}`")));
        }
    }
    let element = binary.header("x-binary-element-type").unwrap_or("signed 32-bit integer").trim_matches('"');
    let element = match element.to_ascii_lowercase().as_str() {
        "unsigned 8-bit integer" => Element { bytes: 1, signed: false, real: false },
        "signed 8-bit integer" => Element { bytes: 1, signed: true, real: false },
        "unsigned 16-bit integer" => Element { bytes: 2, signed: false, real: false },
        "signed 16-bit integer" => Element { bytes: 2, signed: true, real: false },
        "unsigned 32-bit integer" => Element { bytes: 4, signed: false, real: false },
        "signed 32-bit integer" => Element { bytes: 4, signed: true, real: false },
        "signed 32-bit real ieee" => Element { bytes: 4, signed: true, real: true },
        other => return Err(unsupported(format!("the element type `{other}`"))),
    };
    if element.real {
        return Err(unsupported("a section of real numbers".to_owned()));
    }
    if binary
        .header("x-binary-element-byte-order")
        .is_some_and(|order| order.trim_matches('"') != "LITTLE_ENDIAN")
    {
        return Err(unsupported("big-endian order".to_owned()));
    }
    let whole = |key: &str| {
        binary.header(key).map(|v| v.parse::<usize>().map_err(|_| damaged(format!("`{key}: {v}`"))))
    };
    let count = whole("x-binary-number-of-elements").transpose()?;
    let columns = whole("x-binary-size-fastest-dimension").transpose()?.or(count).unwrap_or(0);
    let rows = whole("x-binary-size-second-dimension").transpose()?.unwrap_or(1);
    let panels = whole("x-binary-size-third-dimension").transpose()?.unwrap_or(1).max(1);
    let pixels = columns.checked_mul(rows).and_then(|n| n.checked_mul(panels));
    match pixels.filter(|n| *n > 0 && *n <= MOST_PIXELS) {
        Some(n) if count.is_none_or(|said| said == n) => {}
        _ => {
            return Err(damaged(format!(
                "{columns} x {rows} x {panels} pixels, number of elements {count:?}"
            )));
        }
    }
    let md5 = binary.header("content-md5").map(str::to_owned);
    Ok(Section { packing, element, size: [columns, rows, panels], md5, data: binary.data })
}

/// Pixels that are not packed, little endian.
fn plain(section: &Section<'_>, pixels: &mut [i32]) -> Result<(), String> {
    let width = section.element.bytes;
    if section.data.len() < pixels.len() * width {
        return Err(format!("{} bytes for {} pixels of {width}", section.data.len(), pixels.len()));
    }
    for (pixel, bytes) in pixels.iter_mut().zip(section.data.chunks_exact(width)) {
        *pixel = match (bytes, section.element.signed) {
            (&[a], true) => i32::from(a.cast_signed()),
            (&[a], false) => i32::from(a),
            (&[a, b], true) => i32::from(i16::from_le_bytes([a, b])),
            (&[a, b], false) => i32::from(u16::from_le_bytes([a, b])),
            (&[a, b, c, d], _) => i32::from_le_bytes([a, b, c, d]),
            _ => return Err(format!("elements of {width} bytes")),
        };
    }
    Ok(())
}

#[cfg(test)]
mod tests;
