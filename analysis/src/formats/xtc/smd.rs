//! The small file of a stream (`*.smd.xtc`): each shot's place in the big one, with proxies for what is too large to be copied.
//!
//! Source: pdsdata `index/src/smldata.cc`, `psddl/smldata.ddl.h`.

use super::datagram::{
    Damage, Datagram, HEADER, MAX_DATAGRAM, SEQUENCE, SMD_OFFSET, SMD_PROXY, TypeId, XTC_HEADER, Xtc,
};
use super::src::Src;
use crate::formats::{FormatError, bytes};

/// A shot's place in the big file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Where its datagram begins.
    pub offset: u64,
    /// How long that is; at most [`MAX_DATAGRAM`].
    pub size: u32,
}

/// A large container's place in the big file: one read of these bytes gives one detector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proxy {
    /// Who made it.
    pub src: Src,
    /// What went wrong with it.
    pub damage: Damage,
    /// What its payload is.
    pub kind: TypeId,
    /// Where its header begins.
    pub offset: u64,
    /// How long it is, header included.
    pub size: u32,
}

/// Where the shot lies whose small datagram this is.
pub fn place(datagram: &Datagram<'_>) -> Result<Place, FormatError> {
    let corrupt = |why: &str| FormatError::corrupt("place of a shot", datagram.at, why);
    // The writer puts it first.
    let first = datagram.leaves().next().ok_or_else(|| corrupt("its event has none"))??;
    if first.kind.number != SMD_OFFSET {
        return Err(corrupt("its event has none"));
    }
    let (Some(offset), Some(extent)) = (bytes::u64(first.payload, 0), bytes::u32(first.payload, 8)) else {
        return Err(corrupt("it is too short"));
    };
    let size = (extent as usize).saturating_add(SEQUENCE);
    if !(HEADER..=MAX_DATAGRAM).contains(&size) {
        return Err(corrupt(&format!("a size of {size} bytes cannot be")));
    }
    end(offset, size).ok_or_else(|| corrupt("its end is beyond all"))?;
    Ok(Place { offset, size: u32::try_from(size).unwrap_or(u32::MAX) })
}

/// The large containers of a shot, from its small datagram.
pub fn proxies(datagram: &Datagram<'_>) -> impl Iterator<Item = Result<Proxy, FormatError>> {
    datagram.leaves().filter_map(|xtc| match xtc {
        Ok(xtc) if xtc.kind.number == SMD_PROXY => Some(proxy(&xtc)),
        Ok(_) => None,
        Err(error) => Some(Err(error)),
    })
}

fn proxy(xtc: &Xtc<'_>) -> Result<Proxy, FormatError> {
    let corrupt = |why: &str| FormatError::corrupt("proxy", xtc.at, why);
    let (Some(offset), Some(kind), Some(size)) =
        (bytes::u64(xtc.payload, 0), bytes::u32(xtc.payload, 8), bytes::u32(xtc.payload, 12))
    else {
        return Err(corrupt("it is too short"));
    };
    if !(XTC_HEADER..=MAX_DATAGRAM).contains(&(size as usize)) {
        return Err(corrupt(&format!("a size of {size} bytes cannot be")));
    }
    end(offset, size as usize).ok_or_else(|| corrupt("its end is beyond all"))?;
    Ok(Proxy { src: xtc.src, damage: xtc.damage, kind: TypeId::from_word(kind), offset, size })
}

/// The end, where a signed number of 64 bits holds it, as the writer's does.
fn end(offset: u64, size: usize) -> Option<u64> {
    offset.checked_add(size as u64).filter(|end| i64::try_from(*end).is_ok())
}
