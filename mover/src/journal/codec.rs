//! Rows as bytes: keys that sort so that a run is one range, values as postcard, or JSON where a type leaves fields
//! out. An LFN in a key is shortened by what the run's key already says; the way back is exact.

use lightrail_topics::events::WishKey;
use lightrail_topics::{Experiment, Lfn, RunKey, RunNumber};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::RowKind;
use crate::ledger::rows::{PartitionKey, Row, RowKey};

/// Why a row and its bytes do not match.
#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    /// The value is not of its type.
    #[error("a value of kind {0:?} is not of its type")]
    Value(RowKind, #[source] Box<dyn std::error::Error + Send + Sync>),
    /// The journal's own row is not of its type.
    #[error("the header row is not of its type")]
    Header(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The key is not of its kind.
    #[error("a key of {0} bytes is of no kind")]
    Key(usize),
}

/// The key of the journal's own row; sorts before all others.
pub(super) const HEADER: &[u8] = &[0];

/// The kind of a row by its key.
pub(super) fn kind_of(row: &RowKey) -> RowKind {
    match row {
        RowKey::Run(_) => RowKind::Run,
        RowKey::File(..) => RowKind::File,
        RowKey::Wish(_) => RowKind::Wish,
        RowKey::Route(_) => RowKind::Route,
        RowKey::Override(_) => RowKind::Override,
        RowKey::Experiment(_) => RowKind::Experiment,
        RowKey::Outbox(_) => RowKind::Outbox,
        RowKey::Position(_) => RowKind::Position,
    }
}

/// A row's key and value.
pub(super) fn encode(row: &Row) -> Result<(Vec<u8>, Vec<u8>), CodecError> {
    Ok(match row {
        Row::Run(run, value) => (run_key(RowKind::Run, run), binary(RowKind::Run, value)?),
        Row::File(run, lfn, value) => (file_key(run, lfn), binary(RowKind::File, value)?),
        Row::Wish(key, value) => (text_key(RowKind::Wish, &key.to_string()), json(RowKind::Wish, value)?),
        Row::Route(key, value) => (text_key(RowKind::Route, key.as_str()), json(RowKind::Route, value)?),
        Row::Override(key, value) => {
            (text_key(RowKind::Override, key.as_str()), json(RowKind::Override, value)?)
        }
        Row::Experiment(key, value) => {
            (text_key(RowKind::Experiment, key.as_str()), binary(RowKind::Experiment, value)?)
        }
        Row::Outbox(place, value) => (outbox_key(*place), binary(RowKind::Outbox, value)?),
        Row::Position(key, value) => (position_key(key), binary(RowKind::Position, value)?),
    })
}

/// The bytes of a row's key.
pub(super) fn encode_key(row: &RowKey) -> Vec<u8> {
    let kind = kind_of(row);
    match row {
        RowKey::Run(run) => run_key(kind, run),
        RowKey::File(run, lfn) => file_key(run, lfn),
        RowKey::Wish(key) => text_key(kind, &key.to_string()),
        RowKey::Route(key) | RowKey::Override(key) | RowKey::Experiment(key) => text_key(kind, key.as_str()),
        RowKey::Outbox(place) => outbox_key(*place),
        RowKey::Position(key) => position_key(key),
    }
}

/// Where the files of a run begin.
pub(super) fn files_of(run: &RunKey) -> Vec<u8> {
    run_key(RowKind::File, run)
}

/// A row from its bytes.
pub(super) fn decode(key: &[u8], value: &[u8]) -> Result<Row, CodecError> {
    let refused = || CodecError::Key(key.len());
    let (kind, rest) = key.split_first().ok_or_else(refused)?;
    let kind = RowKind::ALL.into_iter().find(|known| *known as u8 == *kind).ok_or_else(refused)?;
    let text = || std::str::from_utf8(rest).map_err(|_| refused());
    let experiment = || text()?.parse::<Experiment>().map_err(|_| refused());
    Ok(match kind {
        RowKind::Run => Row::Run(
            parse_run(rest).filter(|(_, rest)| rest.is_empty()).ok_or_else(refused)?.0,
            from_binary(kind, value)?,
        ),
        RowKind::File => {
            let (run, rest) = parse_run(rest).ok_or_else(refused)?;
            let lfn = long_lfn(&run, rest).ok_or_else(refused)?;
            Row::File(run, lfn, from_binary(kind, value)?)
        }
        RowKind::Wish => {
            Row::Wish(text()?.parse::<WishKey>().map_err(|_| refused())?, from_json(kind, value)?)
        }
        RowKind::Route => Row::Route(experiment()?, from_json(kind, value)?),
        RowKind::Override => Row::Override(experiment()?, from_json(kind, value)?),
        RowKind::Experiment => Row::Experiment(experiment()?, from_binary(kind, value)?),
        RowKind::Outbox => {
            let place = rest.try_into().map_err(|_| refused())?;
            Row::Outbox(u64::from_be_bytes(place), from_binary(kind, value)?)
        }
        RowKind::Position => {
            let (topic, partition) = rest.split_last_chunk::<4>().ok_or_else(refused)?;
            let topic = std::str::from_utf8(topic).map_err(|_| refused())?.to_owned();
            Row::Position(
                PartitionKey { topic, partition: i32::from_be_bytes(*partition) },
                from_binary(kind, value)?,
            )
        }
    })
}

fn binary<T: Serialize>(kind: RowKind, value: &T) -> Result<Vec<u8>, CodecError> {
    postcard::to_stdvec(value).map_err(|why| CodecError::Value(kind, why.into()))
}

fn from_binary<T: DeserializeOwned>(kind: RowKind, bytes: &[u8]) -> Result<T, CodecError> {
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Ok(value),
        Ok(_) => Err(CodecError::Value(kind, "it has bytes left".into())),
        Err(why) => Err(CodecError::Value(kind, why.into())),
    }
}

fn json<T: Serialize>(kind: RowKind, value: &T) -> Result<Vec<u8>, CodecError> {
    serde_json::to_vec(value).map_err(|why| CodecError::Value(kind, why.into()))
}

fn from_json<T: DeserializeOwned>(kind: RowKind, bytes: &[u8]) -> Result<T, CodecError> {
    serde_json::from_slice(bytes).map_err(|why| CodecError::Value(kind, why.into()))
}

fn text_key(kind: RowKind, text: &str) -> Vec<u8> {
    let mut key = vec![kind as u8];
    key.extend_from_slice(text.as_bytes());
    key
}

fn outbox_key(place: u64) -> Vec<u8> {
    let mut key = vec![RowKind::Outbox as u8];
    key.extend_from_slice(&place.to_be_bytes());
    key
}

fn position_key(at: &PartitionKey) -> Vec<u8> {
    let mut key = text_key(RowKind::Position, &at.topic);
    key.extend_from_slice(&at.partition.to_be_bytes());
    key
}

/// Experiment, a zero (no experiment's name holds one), the run big-endian: runs sort by number.
fn run_key(kind: RowKind, run: &RunKey) -> Vec<u8> {
    let mut key = Vec::with_capacity(64);
    key.push(kind as u8);
    key.extend_from_slice(run.experiment.as_str().as_bytes());
    key.push(0);
    key.extend_from_slice(&run.run.0.to_be_bytes());
    key
}

fn parse_run(rest: &[u8]) -> Option<(RunKey, &[u8])> {
    let end = rest.iter().position(|byte| *byte == 0)?;
    let experiment = std::str::from_utf8(&rest[..end]).ok()?.parse().ok()?;
    let (run, rest) = rest[end + 1..].split_first_chunk::<4>()?;
    Some((RunKey { experiment, run: RunNumber(u32::from_be_bytes(*run)) }, rest))
}

/// The folders that stand for one byte in a short LFN, by their place here: append, never reorder.
const FOLDERS: [&str; 6] = ["xtc/smalldata/", "xtc/index/", "xtc/", "hdf5/", "cbf/", "xtc/md5/"];
/// Stands for an LFN written out.
const WHOLE: u8 = 255;
/// Added to the folder's byte where the name begins with `<experiment>-r<run>`.
const USUAL_NAME: u8 = 128;

fn usual_start(run: &RunKey) -> String {
    format!("{}-r{:04}", run.experiment, run.run.0)
}

fn file_key(run: &RunKey, lfn: &Lfn) -> Vec<u8> {
    let mut key = files_of(run);
    if let Some(short) = short_lfn(run, lfn) {
        key.extend(short);
    } else {
        key.push(WHOLE);
        key.extend_from_slice(lfn.as_str().as_bytes());
    }
    key
}

/// Folder's byte, the name without its usual start, a slash (no name holds one), the instrument.
fn short_lfn(run: &RunKey, lfn: &Lfn) -> Option<Vec<u8>> {
    let (instrument, rest) = lfn.as_str().strip_prefix('/')?.split_once('/')?;
    let rest = rest.strip_prefix(run.experiment.as_str())?.strip_prefix('/')?;
    let (place, folder) = FOLDERS.iter().enumerate().find(|(_, folder)| rest.starts_with(*folder))?;
    let name = &rest[folder.len()..];
    let mut byte = u8::try_from(place).ok()?;
    let tail = name.strip_prefix(&usual_start(run));
    if tail.is_some() {
        byte += USUAL_NAME;
    }
    let mut short = vec![byte];
    short.extend_from_slice(tail.unwrap_or(name).as_bytes());
    short.push(b'/');
    short.extend_from_slice(instrument.as_bytes());
    Some(short)
}

fn long_lfn(run: &RunKey, bytes: &[u8]) -> Option<Lfn> {
    let (byte, rest) = bytes.split_first()?;
    let rest = std::str::from_utf8(rest).ok()?;
    if *byte == WHOLE {
        return rest.parse().ok();
    }
    let (name, instrument) = rest.rsplit_once('/')?;
    let start = if *byte >= USUAL_NAME { usual_start(run) } else { String::new() };
    let folder = FOLDERS.get(usize::from(*byte % USUAL_NAME))?;
    format!("/{instrument}/{}/{folder}{start}{name}", run.experiment).parse().ok()
}

/// The hash of a row that [`Header::sum`](super::Header::sum) adds up.
pub(super) fn hash(key: &[u8], value: &[u8]) -> u64 {
    let crc = crc32c::crc32c_append(crc32c::crc32c(key), value);
    // The finalizer of splitmix64, so that sums of related rows do not cancel out.
    let mut mixed = u64::from(crc) ^ ((key.len() as u64) << 32) ^ ((value.len() as u64) << 48);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn round_trip(run: &RunKey, lfn: &Lfn) -> usize {
        let key = file_key(run, lfn);
        let (parsed, rest) = parse_run(&key[1..]).unwrap();
        assert_eq!((&parsed, &long_lfn(&parsed, rest).unwrap()), (run, lfn));
        key.len()
    }

    #[test]
    fn usual_names_are_short_and_all_come_back() {
        let run: RunKey = "mfxlv9518/12".parse().unwrap();
        for (lfn, at_most) in [
            ("/mfx/mfxlv9518/xtc/mfxlv9518-r0012-s00-c00.xtc", 40),
            ("/mfx/mfxlv9518/xtc/smalldata/mfxlv9518-r0012-s00-c00.smd.xtc", 40),
            ("/mfx/mfxlv9518/xtc/index/mfxlv9518-r0012-s00-c00.xtc.idx", 40),
            ("/mfx/mfxlv9518/xtc/mfxlv9518-r0013-s00-c00.xtc", 60),
            ("/mfx/mfxlv9518/hdf5/master.h5", 60),
            ("/mfx/other/xtc/e158-r0096-s00-c00.xtc", 80),
        ] {
            let bytes = round_trip(&run, &lfn.parse().unwrap());
            assert!(bytes <= at_most, "{lfn}: {bytes}");
        }
    }

    #[test]
    fn runs_sort_by_number_and_no_experiment_lies_within_another() {
        let key = |run: &str| files_of(&run.parse().unwrap());
        assert!(key("a/2") < key("a/10") && key("a/10") < key("a/4000000000"));
        assert!(!key("ab/1").starts_with(&key("a/1")[..key("a/1").len() - 4]));
    }

    proptest! {
        #[test]
        fn any_lfn_comes_back(name in "[a-zA-Z0-9_][a-zA-Z0-9_.-]{0,40}", number: u32, folder in 0..FOLDERS.len(), own: bool) {
            let run = RunKey { experiment: "mfxlv9518".parse().unwrap(), run: RunNumber(number) };
            let start = if own { usual_start(&run) } else { String::new() };
            if let Ok(lfn) = format!("/mfx/mfxlv9518/{}{start}{name}", FOLDERS[folder]).parse::<Lfn>() {
                round_trip(&run, &lfn);
            }
        }

        #[test]
        fn arbitrary_bytes_are_refused_or_read_and_never_panic(key: Vec<u8>, value: Vec<u8>) {
            let _ = decode(&key, &value);
        }
    }
}
