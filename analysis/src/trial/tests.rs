use super::*;
use lightrail_topics::RunNumber;
use serde_json::{Value, json};

fn faults(text: &str) -> Vec<String> {
    match Parameters::from_toml(text) {
        Err(TrialError::Faults(faults)) => faults.iter().map(ToString::to_string).collect(),
        other => panic!("{other:?}"),
    }
}

const HEAD: &str = "[detector]\nname = 'jungfrau'\nkind = 'jungfrau'\n";

#[test]
fn the_example_is_a_trial_and_survives_the_topic() {
    let parameters = Parameters::from_toml(EXAMPLE).unwrap();
    let back = Parameters::from_json(&serde_json::to_value(&parameters).unwrap()).unwrap();
    assert_eq!(parameters, back);
    assert!(parameters.live);
    let of =
        |run| parameters.constants.iter().find(|c| c.runs.contains(RunNumber(run))).unwrap().path.as_str();
    assert_eq!(of(11), "/calib/mfxlv9518/jungfrau-r1.h5");
    assert_eq!(of(12), "/calib/mfxlv9518/jungfrau-r12.h5");
}

#[test]
fn what_is_left_out_has_the_documented_default() {
    let parameters = Parameters::from_toml(HEAD).unwrap();
    let value = serde_json::to_value(&parameters).unwrap();
    let at = |value: &Value, path: &str| path.split('.').try_fold(value.clone(), |v, k| v.get(k).cloned());
    for key in KEYS.iter().filter(|key| !key.path.starts_with("detector.")) {
        match at(&value, key.path) {
            Some(Value::Number(n)) => {
                assert_eq!(n.as_f64(), key.default.parse().ok(), "{}", key.path);
            }
            Some(Value::Bool(b)) => assert_eq!(b.to_string(), key.default, "{}", key.path),
            Some(Value::String(s)) => assert_eq!(s, key.default, "{}", key.path),
            Some(other) => panic!("{}: {other}", key.path),
            None => assert!(
                key.default.parse::<f64>().is_err() || key.path.contains("dispersion"),
                "{}",
                key.path
            ),
        }
    }
    let dispersion = serde_json::to_value(Dispersion::default()).unwrap();
    for (name, value) in dispersion.as_object().unwrap() {
        let key = KEYS.iter().find(|key| key.path == format!("spots.dispersion.{name}")).unwrap();
        assert_eq!(value.as_f64().map_or(value.to_string(), |v| v.to_string()), key.default);
    }
}

#[test]
fn every_field_of_the_types_is_a_documented_key() {
    fn leaves(place: &str, value: &Value, all: &mut Vec<String>) {
        match value {
            Value::Object(map) => map.iter().for_each(|(k, v)| {
                leaves(&if place.is_empty() { k.clone() } else { format!("{place}.{k}") }, v, all);
            }),
            Value::Array(items) if items.iter().all(Value::is_object) => {
                for v in items {
                    leaves(place, v, all);
                }
            }
            _ => all.push(place.into()),
        }
    }
    let mut full = Parameters::from_toml(EXAMPLE).unwrap();
    full.detector.distance = Some(0.1);
    full.calibration.gains = Some(vec![41.0, -1.4, -0.1]);
    full.calibration.min_raw = Some(0.0);
    full.calibration.saturation = Some(16000.0);
    full.hit = HitRule {
        coarsest: Some(40.0),
        finest: Some(2.0),
        resolution: Some(3.0),
        min_total: Some(0.0),
        max_total: Some(1.0),
        ..HitRule::default()
    };
    let mut all = Vec::new();
    leaves("", &serde_json::to_value(&full).unwrap(), &mut all);
    full.spots = SpotFinder::Dispersion(Dispersion::default());
    leaves("", &serde_json::to_value(&full).unwrap(), &mut all);
    all.sort();
    all.dedup();
    let mut known: Vec<_> = KEYS.iter().map(|key| key.path.to_owned()).collect();
    known.sort();
    assert_eq!(all, known);
}

#[test]
fn an_unknown_key_is_refused_with_the_nearest_one() {
    assert_eq!(
        faults(&format!("{HEAD}[spots.peakfinder8]\nthreshhold = 3\nmin_pix = 2\n")),
        [
            "spots.peakfinder8.min_pix: unknown key, did you mean `spots.peakfinder8.min_pixels`?",
            "spots.peakfinder8.threshhold: unknown key, did you mean `spots.peakfinder8.threshold`?",
        ]
    );
    assert_eq!(
        faults(&format!("snr = 4\n{HEAD}")),
        ["snr: unknown key, did you mean `spots.peakfinder8.snr`?"]
    );
    assert_eq!(
        faults(&format!("{HEAD}[spots.peakfinder9]\nsnr = 4")),
        ["spots.peakfinder9: unknown key, did you mean `spots.peakfinder8`?"]
    );
}

#[test]
fn a_value_out_of_range_is_refused_with_the_range() {
    assert_eq!(
        faults(&format!(
            "{HEAD}[spots.peakfinder8]\nsnr = 0.5\nmin_pixels = -1\n[hit]\nmin_spots = 'many'\n"
        )),
        [
            "hit.min_spots: \"many\" is out of range; write a whole number from 0 to 100000",
            "spots.peakfinder8.min_pixels: -1 is out of range; write a whole number from 1 to 10000",
            "spots.peakfinder8.snr: 0.5 is out of range; write a number from 1 to 100",
        ]
    );
    assert_eq!(
        faults("[detector]\nname = 'a'\nkind = 'jungfrow'\n"),
        [
            "detector.kind: \"jungfrow\" is none of jungfrau, epix10ka, epix100, cspad, rayonix, counts, corrected, \
          did you mean `jungfrau`?"
        ]
    );
    assert_eq!(faults(&format!("hit = 3\n{HEAD}")), ["hit: is a section, not a value; 3 is not"]);
}

#[test]
fn what_does_not_fit_together_is_refused() {
    assert_eq!(
        faults(&format!(
            "{HEAD}[calibration]\ngains = [41.0]\nunit = 'photon'\n[hit]\ncoarsest = 2\nfinest = 3\n\
             [spots.peakfinder8]\nmin_pixels = 50\nmax_pixels = 40"
        )),
        [
            "spots.peakfinder8.min_pixels: 50 is more than max_pixels 40",
            "hit.coarsest: 2 angstrom must be more than hit.finest, 3 angstrom",
            "calibration.gains: jungfrau has 3 gains, none of them 0; [41.0] are not",
            "detector.photon_energy: is needed where calibration.unit is `photon`: write it in eV",
        ]
    );
    assert_eq!(
        faults("[detector]\nname = 'a'\nkind = 'cspad'\n[calibration]\ncommon_mode = 2"),
        ["calibration.common_mode: 2 is none that cspad knows; write one of [0, 1, 5]"]
    );
}

#[test]
fn runs_read_as_people_write_them() {
    for (text, inside, outside) in
        [("12", 12, 13), ("12-20", 20, 21), ("12-end", 4000, 11), (" 3 - 4 ", 4, 5), ("12-end", 12, 0)]
    {
        let runs: Runs = text.parse().unwrap();
        assert!(runs.contains(RunNumber(inside)) && !runs.contains(RunNumber(outside)), "{text}");
        assert_eq!(runs.to_string().parse::<Runs>().unwrap(), runs);
    }
    assert!(Runs::default().contains(RunNumber(0)));
    for wrong in ["", "x", "5-3", "-4", "3-", "end"] {
        assert!(wrong.parse::<Runs>().is_err(), "{wrong}");
    }
    let refused =
        json!({"detector": {"name": "a", "kind": "counts"}, "masks": [{"path": "m", "sha256": "12"}]});
    let Err(TrialError::Faults(faults)) = Parameters::from_json(&refused) else { panic!() };
    assert!(faults[0].what.contains("is no SHA-256 checksum"), "{faults:?}");
}
