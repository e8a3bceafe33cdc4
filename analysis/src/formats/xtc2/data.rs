//! Values of a datagram by their names: slices of its bytes, with type and shape.

use super::datagram::{Damage, Datagram, TypeId, Xtc};
use super::names::{Configuration, Field, FieldType, MAX_RANK, Names, NamesId};
use crate::formats::{FormatError, bytes};

/// The values in a datagram with the names that `configuration` has for them. Ends with the first error.
pub fn values<'a>(
    datagram: &Datagram<'a>,
    configuration: &'a Configuration,
) -> impl Iterator<Item = Result<ShapesData<'a>, FormatError>> {
    let with_names = move |xtc: Result<Xtc<'a>, FormatError>| match xtc {
        Ok(xtc) if xtc.kind == TypeId::SHAPES_DATA => Some(ShapesData::parse(&xtc, configuration)),
        Ok(_) => None,
        Err(error) => Some(Err(error)),
    };
    datagram.leaves().filter_map(with_names)
}

/// One segment's values.
#[derive(Clone, Copy, Debug)]
pub struct ShapesData<'a> {
    /// What they are.
    pub names: &'a Names,
    /// What went wrong with them.
    pub damage: Damage,
    at: u64,
    shapes: &'a [u8],
    data: &'a [u8],
}

impl<'a> ShapesData<'a> {
    fn parse(xtc: &Xtc<'a>, configuration: &'a Configuration) -> Result<Self, FormatError> {
        const WHAT: &str = "values";
        let id = NamesId(xtc.src);
        let names = configuration.get(id);
        let names = names
            .ok_or_else(|| FormatError::corrupt(WHAT, xtc.at, format!("no names have the id {:#x}", id.0)))?;
        let (mut shapes, mut data) = (None, None);
        for child in xtc.children() {
            let child = child?;
            let place = match child.kind {
                TypeId::SHAPES => &mut shapes,
                TypeId::DATA => &mut data,
                _ => continue,
            };
            if place.replace(child.payload).is_some() {
                return Err(FormatError::corrupt(WHAT, xtc.at, "they have two of shapes or data"));
            }
        }
        let (Some(shapes), Some(data)) = (shapes, data) else {
            return Err(FormatError::corrupt(WHAT, xtc.at, "they lack shapes or data"));
        };
        Ok(Self { names, damage: xtc.damage, at: xtc.at, shapes, data })
    }

    /// The value of the field of that name; `None` without such a field.
    pub fn get(&self, name: &str) -> Result<Option<Value<'a>>, FormatError> {
        for value in self.iter() {
            let value = value?;
            if value.field.name == name {
                return Ok(Some(value));
            }
        }
        Ok(None)
    }

    /// All values, in the order of the fields. Ends with the first error.
    pub fn iter(&self) -> impl Iterator<Item = Result<Value<'a>, FormatError>> + use<'a> {
        let (names, at, mut shapes, mut data) = (self.names, self.at, self.shapes, self.data);
        let mut fields = names.fields.iter();
        std::iter::from_fn(move || {
            let field = fields.next()?;
            let corrupt = |why: &str| {
                let why = format!("field {} of {}: {why}", field.name, names.detector);
                FormatError::corrupt("values", at, why)
            };
            let mut take = || {
                let mut shape = [0; MAX_RANK];
                let mut length = field.kind.size();
                if field.rank > 0 {
                    let (this, others) =
                        shapes.split_at_checked(4 * MAX_RANK).ok_or_else(|| corrupt("no shape"))?;
                    for (axis, length) in shape.iter_mut().enumerate().take(field.rank) {
                        *length = bytes::u32(this, 4 * axis).unwrap_or_default();
                    }
                    shapes = others;
                    for axis in &shape[..field.rank] {
                        length =
                            length.checked_mul(*axis as usize).ok_or_else(|| corrupt("a size beyond all"))?;
                    }
                }
                let (this, others) = data.split_at_checked(length).ok_or_else(|| {
                    corrupt(&format!("its {length} bytes do not fit into the {} that are left", data.len()))
                })?;
                data = others;
                Ok(Value { field, shape, bytes: this })
            };
            let value = take();
            if value.is_err() {
                fields = [].iter();
            }
            Some(value)
        })
    }
}

/// One field's value: its bytes, little endian, perhaps unaligned. `bytes.len()` = product of the shape x size of an element.
#[derive(Clone, Copy, Debug)]
pub struct Value<'a> {
    /// What it is.
    pub field: &'a Field,
    shape: [u32; MAX_RANK],
    /// The elements.
    pub bytes: &'a [u8],
}

impl<'a> Value<'a> {
    /// Length along each dimension, slowest first; empty for a single number.
    pub fn shape(&self) -> &[u32] {
        &self.shape[..self.field.rank]
    }

    /// A single whole number that is not negative.
    pub fn unsigned(&self) -> Option<u64> {
        if self.field.rank > 0 {
            return None;
        }
        match self.field.kind {
            FieldType::U8 => self.bytes.first().map(|byte| u64::from(*byte)),
            FieldType::U16 => bytes::u16(self.bytes, 0).map(u64::from),
            FieldType::U32 => bytes::u32(self.bytes, 0).map(u64::from),
            FieldType::U64 => bytes::u64(self.bytes, 0),
            _ => self.signed().and_then(|value| u64::try_from(value).ok()),
        }
    }

    /// A single whole number with a sign, an enumeration's included.
    pub fn signed(&self) -> Option<i64> {
        if self.field.rank > 0 {
            return None;
        }
        match self.field.kind {
            FieldType::I8 => bytes::array(self.bytes, 0).map(|one| i64::from(i8::from_le_bytes(one))),
            FieldType::I16 => bytes::array(self.bytes, 0).map(|two| i64::from(i16::from_le_bytes(two))),
            FieldType::I32 | FieldType::EnumValue | FieldType::EnumEntry => {
                bytes::array(self.bytes, 0).map(|four| i64::from(i32::from_le_bytes(four)))
            }
            FieldType::I64 => bytes::array(self.bytes, 0).map(i64::from_le_bytes),
            _ => None,
        }
    }

    /// A single number with a fraction.
    pub fn float(&self) -> Option<f64> {
        if self.field.rank > 0 {
            return None;
        }
        match self.field.kind {
            FieldType::F32 => bytes::array(self.bytes, 0).map(|four| f64::from(f32::from_le_bytes(four))),
            FieldType::F64 => bytes::array(self.bytes, 0).map(f64::from_le_bytes),
            _ => None,
        }
    }

    /// A text.
    pub fn text(&self) -> Option<&'a str> {
        if self.field.kind == FieldType::Text { bytes::text(self.bytes) } else { None }
    }

    /// An array of `u16`.
    pub fn u16s(&self) -> Option<Vec<u16>> {
        (self.field.kind == FieldType::U16).then(|| bytes::u16s(self.bytes))
    }
}
