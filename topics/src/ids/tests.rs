//! Refusals with their reasons, round trips, arbitrary text.

use proptest::prelude::*;

use super::*;

#[test]
fn ids_say_why_they_refuse() {
    assert!("mfxlv9518".parse::<Experiment>().is_ok());
    for bad in ["", "..", "a/b", "-x", "a\0b", "MFX", &"x".repeat(65)] {
        assert!(bad.parse::<Experiment>().is_err(), "{bad:?}");
    }
    let refused = "a\nb".parse::<SiteName>().unwrap_err().to_string();
    assert!(refused.starts_with("site `a\\nb` is refused: "), "{refused}");
    assert!("+1".parse::<RunNumber>().is_err() && "4294967296".parse::<RunNumber>().is_err());
}

#[test]
fn composed_ids_round_trip() {
    let id: TransferId = "/mfx/mfxlv9518/xtc/mfxlv9518-r0001-s00-c00.xtc@NERSC#3".parse().unwrap();
    assert_eq!(id.generation, Generation(3));
    assert_eq!(id.to_string().parse::<TransferId>().unwrap(), id);
    let attempt: AttemptId = "00ab12cd.7".parse().unwrap();
    assert_eq!((attempt.start, attempt.n), (0x00ab_12cd, 7));
    assert_eq!("mfxlv9518/12@NERSC".parse::<RunAtSite>().unwrap().to_string(), "mfxlv9518/12@NERSC");
}

fn name() -> impl Strategy<Value = String> {
    "[a-z0-9][a-z0-9_-]{0,15}"
}

fn lfn() -> impl Strategy<Value = String> {
    let folder = prop_oneof!["xtc", "xtc/smalldata", "xtc/index", "xtc/md5", "hdf5", "cbf"];
    (name(), name(), folder, "[A-Za-z0-9_][A-Za-z0-9._+=,-]{0,40}").prop_map(
        |(instrument, experiment, folder, name)| format!("/{instrument}/{experiment}/{folder}/{name}"),
    )
}

proptest! {
    #[test]
    fn what_is_well_formed_comes_back_as_it_went_in(
        lfn in lfn(), site in "[A-Za-z0-9][A-Za-z0-9_-]{0,31}", generation in 1_u32.., experiment in name(),
        run in any::<u32>(), start in any::<u32>(), n in any::<u32>(),
    ) {
        let transfer = format!("{lfn}@{site}#{generation}");
        prop_assert_eq!(transfer.parse::<TransferId>().unwrap().to_string(), transfer);
        let at = format!("{experiment}/{run}@{site}");
        prop_assert_eq!(at.parse::<RunAtSite>().unwrap().to_string(), at);
        let attempt = AttemptId { start, n };
        prop_assert_eq!(attempt.to_string().parse::<AttemptId>().unwrap(), attempt);
        for subject in ["*".to_owned(), experiment.clone(), format!("{experiment}/{run}"), lfn] {
            for key in [format!("{subject}@*"), format!("{subject}@{site}")] {
                prop_assert_eq!(key.parse::<crate::events::WishKey>().unwrap().to_string(), key);
            }
        }
    }

    /// Refused with a reason or taken exactly as given; what is taken has no way out of its folder.
    #[test]
    fn any_text_is_refused_or_taken_as_it_is(text in prop_oneof![any::<String>(), "[/.a-z0-9#@* \\PC-]{0,60}"]) {
        macro_rules! holds {
            ($($type:ty),*) => {$(
                match text.parse::<$type>() {
                    Ok(id) => prop_assert_eq!(id.to_string().parse::<$type>().unwrap(), id),
                    Err(error) => prop_assert!(!error.to_string().chars().any(char::is_control)),
                }
            )*};
        }
        holds!(Experiment, SiteName, RunKey, RunAtSite, FileAtSite, TransferId, AttemptId, RunNumber, Lfn);
        if let Ok(lfn) = text.parse::<Lfn>() {
            prop_assert_eq!(lfn.as_str(), &text);
            prop_assert!(!text.split('/').any(|part| part == "..") && !text.contains('\0'));
        }
        let _ = (text.parse::<crate::Checksum>(), text.parse::<crate::LogTime>(), text.parse::<crate::Millis>());
    }

    #[test]
    fn checksums_are_values(value in any::<u32>(), zeros in 0_usize..8, upper in any::<bool>()) {
        let kind = crate::ChecksumKind::Adler32;
        let digits = format!("{value:x}");
        let padded = format!("{}{digits}", "0".repeat(zeros.min(8 - digits.len())));
        let text = if upper { padded.to_uppercase() } else { padded };
        prop_assert_eq!(crate::Checksum::new(kind, &text).unwrap(), crate::Checksum::from_u32(kind, value));
    }

    #[test]
    fn instants_round_trip(ms in -62_135_596_800_000_i64..253_402_300_799_999) {
        let at = crate::Millis(ms);
        prop_assert_eq!(at.to_string().parse::<crate::Millis>().unwrap(), at);
    }
}
