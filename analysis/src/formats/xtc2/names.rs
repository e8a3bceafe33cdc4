//! Names: which detectors a stream has, and which fields their values have. Read from Configure, and from `BeginRun` when the
//! DAQ reconfigured; never from events.

use std::collections::BTreeMap;
use std::fmt;

use super::datagram::{Datagram, TypeId, Xtc};
use crate::formats::{FormatError, bytes};

/// The most dimensions that a field has; a shape has room for them.
pub const MAX_RANK: usize = 5;
/// Bytes of names before their fields, without the container's header.
pub(crate) const NAME_INFO: usize = 1036;
/// Bytes of one field's description.
pub(crate) const NAME: usize = 524;
/// Bytes of a text in them.
pub(crate) const TEXT: usize = 256;

/// The key from values to names, within one stream: node in bits 8-19, names in bits 0-7.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NamesId(pub u32);

impl NamesId {
    /// Of a node (below 4096) and its names.
    pub fn new(node: u16, names: u8) -> Self {
        Self(u32::from(node & 0xfff) << 8 | u32::from(names))
    }
}

/// A version of an algorithm, such as 2.0.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Version(pub u32);

impl Version {
    /// From its parts.
    pub fn new(major: u8, minor: u8, micro: u8) -> Self {
        Self(u32::from(major) << 16 | u32::from(minor) << 8 | u32::from(micro))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0 >> 16, self.0 >> 8 & 0xff, self.0 & 0xff)
    }
}

/// Which processing gave the values, such as `raw 2.0.0`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Algorithm {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: Version,
}

impl Algorithm {
    /// From its parts.
    pub fn new(name: &str, version: Version) -> Self {
        Self { name: name.to_owned(), version }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.version)
    }
}

/// What a field's elements are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // numbers of those widths
pub enum FieldType {
    U8 = 0,
    U16 = 1,
    U32 = 2,
    U64 = 3,
    I8 = 4,
    I16 = 5,
    I32 = 6,
    I64 = 7,
    F32 = 8,
    F64 = 9,
    /// Bytes of a text, NUL-terminated.
    Text = 10,
    /// An `i32` that an enumeration names.
    EnumValue = 11,
    /// An `i32` of that enumeration.
    EnumEntry = 12,
}

impl FieldType {
    const ALL: [Self; 13] = [
        Self::U8,
        Self::U16,
        Self::U32,
        Self::U64,
        Self::I8,
        Self::I16,
        Self::I32,
        Self::I64,
        Self::F32,
        Self::F64,
        Self::Text,
        Self::EnumValue,
        Self::EnumEntry,
    ];

    /// Bytes of one element.
    pub fn size(self) -> usize {
        match self {
            Self::U8 | Self::I8 | Self::Text => 1,
            Self::U16 | Self::I16 => 2,
            Self::U32 | Self::I32 | Self::F32 | Self::EnumValue | Self::EnumEntry => 4,
            Self::U64 | Self::I64 | Self::F64 => 8,
        }
    }

    /// As in `u16`.
    pub fn word(self) -> &'static str {
        const WORDS: [&str; 13] = [
            "u8",
            "u16",
            "u32",
            "u64",
            "i8",
            "i16",
            "i32",
            "i64",
            "f32",
            "f64",
            "text",
            "enum",
            "enum entry",
        ];
        WORDS[self as usize]
    }
}

/// One field of a detector's values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// What its elements are.
    pub kind: FieldType,
    /// Its dimensions: 0 for a single number, at most [`MAX_RANK`].
    pub rank: usize,
}

impl Field {
    /// From its parts.
    pub fn new(name: &str, kind: FieldType, rank: usize) -> Self {
        Self { name: name.to_owned(), kind, rank }
    }
}

/// What one segment of a detector gives, by one algorithm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    /// What its values refer to.
    pub id: NamesId,
    /// The detector's name in this experiment, such as `jungfrau`.
    pub detector: String,
    /// Its type, such as `epix10ka`.
    pub kind: String,
    /// Its serial number or whatever the DAQ knows it by.
    pub serial: String,
    /// Which segment of the detector.
    pub segment: u32,
    /// What made the values.
    pub algorithm: Algorithm,
    /// The values' fields, in the order in which they lie.
    pub fields: Vec<Field>,
}

impl Names {
    pub(crate) fn parse(xtc: &Xtc<'_>) -> Result<Self, FormatError> {
        const WHAT: &str = "names";
        let corrupt = |why: &str| FormatError::corrupt(WHAT, xtc.at, why);
        let (Some(info), Some(list)) = (xtc.payload.get(..NAME_INFO), xtc.payload.get(NAME_INFO..)) else {
            return Err(corrupt("they are too short"));
        };
        if list.len() % NAME != 0 {
            return Err(corrupt("they do not end where a field ends"));
        }
        let text = |from: usize| {
            let text = info.get(from..from + TEXT).and_then(bytes::text);
            text.map(str::to_owned).ok_or_else(|| corrupt("a name has characters that no name has"))
        };
        let word = |at: usize| bytes::u32(info, at).unwrap_or_default();
        let fields = list.chunks_exact(NAME).map(|field| {
            let name = field.get(TEXT + 4..2 * TEXT + 4).and_then(bytes::text);
            let name = name.ok_or_else(|| corrupt("a field's name has characters that no name has"))?;
            let kind = bytes::u32(field, NAME - 8).unwrap_or(u32::MAX);
            let kind = usize::try_from(kind).ok().and_then(|kind| FieldType::ALL.get(kind)).copied();
            let kind = kind.ok_or_else(|| corrupt(&format!("field {name} has an unknown type")))?;
            let rank = bytes::u32(field, NAME - 4).unwrap_or(u32::MAX) as usize;
            if rank > MAX_RANK {
                return Err(corrupt(&format!("field {name} has {rank} dimensions")));
            }
            Ok(Field { name: name.to_owned(), kind, rank })
        });
        Ok(Self {
            id: NamesId(xtc.src),
            kind: text(4)?,
            detector: text(4 + TEXT)?,
            serial: text(4 + 2 * TEXT)?,
            algorithm: Algorithm { name: text(4 + 3 * TEXT)?, version: Version(word(4 + 4 * TEXT)) },
            segment: word(8 + 4 * TEXT),
            fields: fields.collect::<Result<_, _>>()?,
        })
    }

    /// The field of that name, and which it is.
    pub fn field(&self, name: &str) -> Option<(usize, &Field)> {
        self.fields.iter().enumerate().find(|(_, field)| field.name == name)
    }

    /// The field that holds this segment's pixels: of algorithm `raw`, two or three dimensions of numbers; the one named `raw`
    /// before the first other.
    pub fn image_field(&self) -> Option<&Field> {
        let is_image = |field: &&Field| {
            let pixel = matches!(
                field.kind,
                FieldType::U16 | FieldType::I16 | FieldType::U32 | FieldType::I32 | FieldType::F32
            );
            pixel && (2..=3).contains(&field.rank)
        };
        if self.algorithm.name != "raw" {
            return None;
        }
        let mut images = self.fields.iter().filter(is_image);
        images.clone().find(|field| field.name == "raw").or_else(|| images.next())
    }
}

/// All names of one stream at one time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Configuration {
    names: BTreeMap<NamesId, Names>,
    epoch: u32,
}

impl Configuration {
    /// From a Configure datagram.
    pub fn of(datagram: &Datagram<'_>) -> Result<Self, FormatError> {
        let mut configuration = Self::default();
        configuration.add(datagram)?;
        Ok(configuration)
    }

    /// Takes the names of a later transition, and tells whether there were any: then a new epoch has begun.
    pub fn update(&mut self, datagram: &Datagram<'_>) -> Result<bool, FormatError> {
        let changed = self.add(datagram)?;
        self.epoch += u32::from(changed);
        Ok(changed)
    }

    fn add(&mut self, datagram: &Datagram<'_>) -> Result<bool, FormatError> {
        let mut changed = false;
        for xtc in datagram.leaves() {
            let xtc = xtc?;
            if xtc.kind == TypeId::NAMES {
                let names = Names::parse(&xtc)?;
                self.names.insert(names.id, names);
                changed = true;
            }
        }
        Ok(changed)
    }

    /// How often names came after Configure.
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// The names that values refer to.
    pub fn get(&self, id: NamesId) -> Option<&Names> {
        self.names.get(&id)
    }

    /// All names, by id.
    pub fn names(&self) -> impl Iterator<Item = &Names> {
        self.names.values()
    }

    /// The names that give a detector's pixels, one per segment.
    pub fn image_names<'a>(&'a self, detector: &'a str) -> impl Iterator<Item = &'a Names> {
        self.names().filter(move |names| names.detector == detector && names.image_field().is_some())
    }
}
