//! The LCLS-II format on real files, on files written here, and on damaged copies of both.

mod real;
mod written;

use std::path::Path;

use super::smd::{Entry, Place, SmdReader};
use super::*;
use crate::formats::{FormatError, damaged, fuzz};

/// The shots of a small file.
fn places(small: &[u8]) -> Vec<Place> {
    entries(small)
        .into_iter()
        .filter_map(|entry| if let Entry::Event(place) = entry { Some(place) } else { None })
        .collect()
}

fn entries(small: &[u8]) -> Vec<Entry> {
    let (mut reader, mut entries) = (SmdReader::new(), Vec::new());
    reader.read(small, &mut entries).unwrap();
    assert_eq!(reader.position(), small.len() as u64, "all of it is read");
    entries
}

fn read(path: impl AsRef<Path>) -> Vec<u8> {
    std::fs::read(path.as_ref()).unwrap_or_else(|error| panic!("{}: {error}", path.as_ref().display()))
}

#[test]
fn times_count_from_1990_and_keep_their_order() {
    let time = Timestamp::new(1_112_036_891, 582_256_987);
    assert_eq!((time.seconds(), time.nanoseconds()), (1_112_036_891, 582_256_987));
    assert_eq!(time.to_string(), "1112036891.582256987");
    // 2025-03-28T17:48:11.582Z
    assert_eq!(time.unix_millis(), 1_743_188_891_582);
    assert!(time > Timestamp::new(1_112_036_891, 582_256_986) && time < Timestamp::new(1_112_036_892, 0));
}

#[test]
fn damage_is_said_in_words() {
    assert_eq!(Damage(0).to_string(), "none");
    assert_eq!(Damage(0b11).to_string(), "truncated, out of order");
    assert_eq!(Damage(0x2020).to_string(), "missing data, bits 0x2000");
}

/// A datagram of that service with one container as its payload, its extent as told.
fn datagram(service: u32, kind: u16, extent: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for word in [
        5,
        7,
        service << 24,
        0,
        0,
        24 + u32::try_from(payload.len()).unwrap(),
        0,
        u32::from(kind) << 16,
        extent,
    ] {
        bytes.extend_from_slice(&u32::to_le_bytes(word));
    }
    bytes.extend_from_slice(payload);
    bytes
}

#[test]
fn what_cannot_be_is_refused_and_what_is_cut_is_not_yet_there() {
    let good = datagram(12, 1, 12, &[]);
    assert_eq!(Datagram::parse(&good, 0).unwrap().header.timestamp, Timestamp::new(7, 5));
    for cut in 0..good.len() {
        let error = Datagram::parse(&good[..cut], 100).unwrap_err();
        assert!(error.is_truncated() && error.to_string().contains("at byte 100"), "{error}");
    }
    let no_service = Datagram::parse(&datagram(11, 1, 12, &[]), 0).unwrap_err();
    assert_eq!(no_service.to_string(), "damaged datagram at byte 0: there is no service 11");
    let mut huge = good.clone();
    huge[20..24].copy_from_slice(&(1u32 << 24).to_le_bytes());
    assert!(
        matches!(Datagram::parse(&huge, 0), Err(FormatError::Corrupt { .. })),
        "larger than any datagram"
    );
    let mut tiny = good.clone();
    tiny[20..24].copy_from_slice(&11u32.to_le_bytes());
    assert!(matches!(Datagram::parse(&tiny, 0), Err(FormatError::Corrupt { .. })));
    let walk = |bytes: &[u8]| {
        Datagram::parse(bytes, 0).unwrap().leaves().find_map(Result::err).map(|e| e.to_string())
    };
    assert_eq!(walk(&good), None);
    let beyond = walk(&datagram(12, 1, 13, &[])).unwrap();
    assert_eq!(beyond, "damaged container at byte 24: its 13 bytes do not fit into the 12 of what holds it");
    assert!(walk(&datagram(12, 1, 0, &[])).is_some(), "an extent of nothing would never end");
    assert!(walk(&datagram(12, 1, 12, &[0; 5])).is_some(), "five bytes are no container");
}

#[test]
fn containers_in_containers_have_an_end() {
    let mut inner = Vec::new();
    for _ in 0..20 {
        let extent = u32::try_from(inner.len() + 12).unwrap();
        let mut outer = Vec::new();
        for word in [0, 0, extent] {
            outer.extend_from_slice(&u32::to_le_bytes(word));
        }
        outer.extend_from_slice(&inner);
        inner = outer;
    }
    let bytes = datagram(12, 0, u32::try_from(inner.len() + 12).unwrap(), &inner);
    let error = Datagram::parse(&bytes, 0).unwrap().leaves().find_map(Result::err).unwrap();
    assert!(error.to_string().contains("deeper than 8"), "{error}");
}

#[test]
fn an_event_must_be_what_its_message_says() {
    let good = datagram(12, 1, 12, &[]);
    let time = Timestamp::new(7, 5);
    Datagram::event(&good, 0, time).unwrap();
    let said = |bytes: &[u8], time| Datagram::event(bytes, 0, time).unwrap_err().to_string();
    assert!(said(&good, Timestamp::new(7, 6)).contains("its time is 7.000000005, not 7.000000006"));
    assert!(said(&datagram(8, 1, 12, &[]), time).contains("it is a Enable"));
    let longer = [good.as_slice(), &[0]].concat();
    assert!(said(&longer, time).contains("it has 36 bytes, not 37"));
}

proptest::proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
        fuzz::xtc2(&bytes);
        fuzz::smd(&bytes);
    }
}
