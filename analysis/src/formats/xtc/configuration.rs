//! What a Configure datagram says that is needed to decode events: names of detectors, how many modules and sections they
//! have, and what their pixels were set to.

use std::collections::{BTreeMap, BTreeSet};

use super::datagram::{
    ALIAS_CONFIG, CSPAD_CONFIG, Datagram, EPIX_10KA_2M_CONFIG, EPIX_10KA_CONFIG, EPIX_10KA_QUAD_CONFIG,
    JUNGFRAU_CONFIG, Xtc,
};
use super::epix10ka;
use super::src::{Level, Src};
use crate::detectors::Modes;
use crate::formats::{FormatError, bytes};
use crate::frame::Shape;

/// Which sections (2x1 sensors, 8 per quadrant) of a CSPAD are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CspadSections {
    /// Quadrants that are read; bit i for quadrant i.
    pub quads: u8,
    /// Sections stored of each; bit i for section i.
    pub sections: [u8; 4],
}

/// What events are decoded with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Configuration {
    aliases: BTreeMap<String, Src>,
    /// All detectors and other data sources that are configured.
    sources: BTreeSet<Src>,
    epix10kas: BTreeMap<Src, Modes<u8>>,
    jungfraus: BTreeMap<Src, Shape>,
    cspads: BTreeMap<Src, CspadSections>,
}

impl Configuration {
    /// From a Configure datagram.
    pub fn of(datagram: &Datagram<'_>) -> Result<Self, FormatError> {
        let mut this = Self::default();
        for xtc in datagram.leaves() {
            let xtc = xtc?;
            if xtc.src.level() == Some(Level::Source) {
                this.sources.insert(xtc.src);
            }
            if !xtc.damage.is_none() || xtc.kind.compressed {
                continue;
            }
            match xtc.kind.number {
                ALIAS_CONFIG => this.add_aliases(&xtc)?,
                JUNGFRAU_CONFIG => {
                    this.jungfraus.insert(xtc.src, jungfrau(&xtc)?);
                }
                CSPAD_CONFIG => {
                    this.cspads.insert(xtc.src, cspad(&xtc)?);
                }
                EPIX_10KA_CONFIG | EPIX_10KA_2M_CONFIG | EPIX_10KA_QUAD_CONFIG => {
                    match epix10ka::pixels(&xtc) {
                        Ok(pixels) => drop(this.epix10kas.insert(xtc.src, pixels)),
                        // A trial may say it, and other detectors are read.
                        Err(FormatError::Unsupported { .. }) => {}
                        Err(error) => return Err(error),
                    }
                }
                _ => {}
            }
        }
        Ok(this)
    }

    /// The names that people gave to sources.
    pub fn aliases(&self) -> impl Iterator<Item = (&str, Src)> {
        self.aliases.iter().map(|(name, src)| (name.as_str(), *src))
    }

    /// Whether a source has this name, by alias or as psana writes it.
    pub fn is_named(&self, src: Src, name: &str) -> bool {
        self.aliases.get(name) == Some(&src) || src.to_string() == name
    }

    /// Whether a source of this name is configured; not known where none is.
    pub fn has(&self, name: &str) -> Option<bool> {
        let known = !self.sources.is_empty();
        known.then(|| {
            self.aliases.contains_key(name) || self.sources.iter().any(|src| src.to_string() == name)
        })
    }

    /// The detectors with images that are configured: by alias, where they have one, and as psana writes them.
    pub fn detectors(&self) -> impl Iterator<Item = String> {
        self.sources.iter().filter(|src| src.has_images()).flat_map(|src| {
            let aliases = self.aliases.iter().filter(move |(_, of)| *of == src).map(|(name, _)| name.clone());
            aliases.chain([src.to_string()])
        })
    }

    /// What the pixels of an `ePix10ka` were set to.
    pub fn epix10ka(&self, detector: &str) -> Option<&Modes<u8>> {
        self.epix10kas.iter().find(|(src, _)| self.is_named(**src, detector)).map(|(_, pixels)| pixels)
    }

    /// Modules, rows and columns of a Jungfrau.
    pub fn jungfrau(&self, src: Src) -> Option<Shape> {
        self.jungfraus.get(&src).copied()
    }

    /// The sections of a CSPAD.
    pub fn cspad(&self, src: Src) -> Option<CspadSections> {
        self.cspads.get(&src).copied()
    }

    /// The shape of a detector's images by its name, where the configuration tells it.
    pub fn shape_of(&self, detector: &str) -> Option<Shape> {
        let named = |src: &&Src| self.is_named(**src, detector);
        if let Some(src) = self.jungfraus.keys().find(named) {
            return self.jungfrau(*src);
        }
        if let Some(pixels) = self.epix10ka(detector) {
            return Some(pixels.shape);
        }
        let cspad = self.cspads.keys().find(named);
        cspad.map(|_| Shape { panels: 32, rows: 185, columns: 388 })
    }

    fn add_aliases(&mut self, xtc: &Xtc<'_>) -> Result<(), FormatError> {
        const RECORD: usize = 40;
        let corrupt = |why: &str| FormatError::corrupt("aliases", xtc.at, why);
        let count = bytes::u32(xtc.payload, 0).ok_or_else(|| corrupt("they are too short"))? as usize;
        let records = xtc.payload[4..].chunks_exact(RECORD);
        if count > records.len() {
            return Err(corrupt("there are fewer than they say"));
        }
        for record in records.take(count) {
            let word = |at| bytes::u32(record, at).unwrap_or_default();
            let name = bytes::text(&record[8..39]);
            let name = name.ok_or_else(|| corrupt("one has characters that no name has"))?;
            self.aliases.insert(name.to_owned(), Src { log: word(0), phy: word(4) });
        }
        Ok(())
    }
}

fn jungfrau(xtc: &Xtc<'_>) -> Result<Shape, FormatError> {
    let corrupt = |why: &str| FormatError::corrupt("Jungfrau's configuration", xtc.at, why);
    let word = |at| bytes::u32(xtc.payload, at).ok_or_else(|| corrupt("it is too short"));
    let shape = Shape { panels: word(0)? as usize, rows: word(4)? as usize, columns: word(8)? as usize };
    // Module info has room for 32 in its last version; a module is one sensor.
    if !(1..=32).contains(&shape.panels) || (shape.rows, shape.columns) != (512, 1024) {
        return Err(corrupt(&format!("{shape} is no Jungfrau")));
    }
    Ok(shape)
}

fn cspad(xtc: &Xtc<'_>) -> Result<CspadSections, FormatError> {
    let corrupt = |why: &str| FormatError::corrupt("CSPAD's configuration", xtc.at, why);
    let word = |at| bytes::u32(xtc.payload, at).ok_or_else(|| corrupt("it is too short"));
    // asicMask, quadMask and (from V2 on) roiMask follow each other; V3 has thresholds before them, V5 one more delay.
    let at = match xtc.kind.version {
        1 | 2 => 36,
        3 | 4 => 72,
        5 => 76,
        version => {
            return Err(FormatError::Unsupported { what: format!("a CSPAD's configuration V{version}") });
        }
    };
    let quads = word(at + 4)?.to_le_bytes()[0] & 0xf;
    let sections = if xtc.kind.version == 1 {
        [if word(at)? & 0xf == 1 { 0x3 } else { 0xff }; 4]
    } else {
        word(at + 8)?.to_le_bytes()
    };
    Ok(CspadSections { quads, sections })
}
