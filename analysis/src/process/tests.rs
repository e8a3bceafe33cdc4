use std::io::Cursor;

use ::parquet::file::reader::{FileReader as _, SerializedFileReader};
use ::parquet::record::Field;
use lightrail_topics::events::{Numbers, Outcome, Stage, StageTimes};
use lightrail_topics::{EventId, ImageKey};
use proptest::prelude::*;

use super::table::COLUMNS;
use super::*;
use crate::formats::h5::H5;
use crate::frame::Shape;
use crate::pipeline::{Reason, Spot};

fn spot(panel: u16, fast: f32, slow: f32, intensity: f32) -> Spot {
    Spot {
        panel,
        fast,
        slow,
        intensity,
        peak: intensity / 2.0,
        background: 1.0,
        sigma: 1.0,
        snr: 9.0,
        pixels: 4,
        resolution: 2.5,
    }
}

fn row(event: EventId, outcome: Outcome, spots: Vec<Spot>) -> Row {
    let is_bad = !matches!(outcome, Outcome::Hit | Outcome::Miss);
    let numbers = Numbers {
        spots: u32::try_from(spots.len()).ok().filter(|_| !is_bad),
        resolution: (outcome == Outcome::Hit).then_some(2.25),
        saturation: (outcome == Outcome::Hit).then_some(0.5),
        photon_energy: Some(9500.5),
        pulse_id: Some(77),
        event_codes: vec![40, 141],
        ..Numbers::default()
    };
    Row {
        image: ImageKey { run: "mfxlv9518/12".parse().unwrap(), event },
        file: "mfxlv9518-r0012-s000-c000.xtc2".parse().unwrap(),
        outcome,
        stage: Stage::Spotfind,
        cause: is_bad.then(|| "said \"no\", twice,\nand left".to_owned()),
        reason: (outcome == Outcome::Miss).then_some(Reason::FewSpots),
        numbers,
        times: StageTimes::default(),
        used: None,
        spots,
    }
}

fn time(seconds: u32) -> EventId {
    EventId::Time { seconds, nanoseconds: 5, fiducial: None }
}

fn rows() -> Vec<Row> {
    vec![
        row(time(1), Outcome::Hit, vec![spot(0, 1.0, 2.5, 30.0), spot(3, 4.0, 0.0, 60.0)]),
        row(time(2), Outcome::Miss, Vec::new()),
        row(time(3), Outcome::Unreadable, Vec::new()),
        row(
            EventId::Frame { file: "a.cbf".parse().unwrap(), frame: 4 },
            Outcome::Hit,
            vec![spot(1, 0.0, 0.0, 5.0)],
        ),
    ]
}

#[test]
fn results_as_csv() {
    let mut text = Vec::new();
    csv::write(&rows(), &mut text).unwrap();
    let text = String::from_utf8(text).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with("experiment,run,event,unix_time_s,file,outcome,reason,spots,"), "{text}");
    let begin = "mfxlv9518,12,1-5,631152001";
    assert!(
        lines[1].starts_with(begin) && lines[1].contains(",hit,,2,2.25,,0.5,,9500.5,,77,40 141,spotfind,"),
        "{text}"
    );
    assert!(lines[2].contains(",miss,few spots,0,"), "{text}");
    // A cause with a line end takes two lines.
    assert!(lines[3].ends_with("\"said \"\"no\"\", twice,") && lines[4].starts_with("and left\","), "{text}");
    assert!(lines[5].starts_with("mfxlv9518,12,a.cbf:4,,") && lines.len() == 6, "{text}");
    let seen = csv::read(&text).unwrap();
    let outcomes: Vec<Outcome> = seen.iter().map(|seen| seen.outcome).collect();
    assert_eq!(outcomes, rows().iter().map(|row| row.outcome).collect::<Vec<_>>());
    assert_eq!(seen[0].spots, Some(2));
    assert_eq!(
        (seen[0].experiment.as_str(), seen[0].run, seen[0].photon_energy),
        ("mfxlv9518", 12, Some(9500.5))
    );
    // LCLS-II counts from 1990.
    assert!(seen[0].at.is_some_and(|at| (at - 631_152_001.000_000_005).abs() < 1e-6), "{seen:?}");
    assert_eq!(seen[3].at, None);
    assert!(csv::read("a,b\n1,2\n").unwrap_err().contains("no column `experiment`"));
    assert!(csv::read("").unwrap_err().contains("empty"));
    let broken = text.replace("miss", "hmm");
    assert!(csv::read(&broken).unwrap_err().contains("record 3: `outcome`"));
}

#[test]
fn results_as_parquet_have_the_same_columns_and_values() {
    let rows = rows();
    let file = tempfile::tempfile().unwrap();
    parquet::write(&rows, file.try_clone().unwrap()).unwrap();
    let reader = SerializedFileReader::new(file).unwrap();
    let read: Vec<_> = reader.get_row_iter(None).unwrap().map(Result::unwrap).collect();
    assert_eq!(read.len(), rows.len());
    for (found, row) in read.iter().zip(&rows) {
        let columns: Vec<_> = found.get_column_iter().collect();
        assert_eq!(columns.len(), COLUMNS.len());
        for ((name, field), column) in columns.into_iter().zip(COLUMNS) {
            assert_eq!(name, column.name);
            let value = match field {
                Field::Null => table::Value::None,
                Field::Str(text) => table::Value::Text(text.clone()),
                Field::Long(number) => table::Value::Whole(*number),
                Field::Double(number) => table::Value::Real(*number),
                other => panic!("{other:?}"),
            };
            assert_eq!(value, (column.value)(row), "{name}");
        }
    }
}

#[test]
fn spots_as_a_peak_list() {
    let rows = rows();
    let hits: Vec<&Row> = rows.iter().filter(|row| row.outcome == Outcome::Hit).collect();
    let shape = Shape { panels: 4, rows: 512, columns: 1024 };
    let mut file = Cursor::new(Vec::new());
    cxi::write(&hits, shape, None, &mut file).unwrap();
    let file = H5::of_bytes(file.into_inner()).unwrap();
    let of = |name: &str| file.numbers(&format!("/entry_1/result_1/{name}")).unwrap();
    assert_eq!(of("nPeaks"), [2.0, 1.0]);
    // Images with fewer spots are filled up; modules stand below each other.
    assert_eq!(of("peakXPosRaw"), [1.0, 4.0, 0.0, 0.0]);
    assert_eq!(of("peakYPosRaw"), [2.5, 3.0 * 512.0, 512.0, 0.0]);
    assert_eq!(of("peakTotalIntensity"), [30.0, 60.0, 5.0, 0.0]);
    assert_eq!(file.numbers("/LCLS/photon_energy_eV").unwrap(), [9500.5, 9500.5]);
    assert_eq!(file.numbers("/LCLS/machineTime").unwrap(), [631_152_001.0, 0.0]);
    let dims: Vec<_> =
        file.list().unwrap().into_iter().filter(|one| one.path.ends_with("peakXPosRaw")).collect();
    assert_eq!(dims[0].dims, [2, 2]);
    // Without hits there is a file too.
    let mut none = Cursor::new(Vec::new());
    cxi::write(&[], shape, None, &mut none).unwrap();
    assert!(H5::of_bytes(none.into_inner()).unwrap().has("/entry_1/result_1/nPeaks"));
}

#[test]
fn the_summary_tells_counts_rates_and_causes() {
    let mut rows = rows();
    rows.extend((0..3).map(|n| Row {
        cause: Some(format!("file ends at byte {n}")),
        ..row(time(9 + n), Outcome::Unreadable, Vec::new())
    }));
    let summary = Summary {
        rows: &rows,
        faults: &["s001: the file ends in a datagram".to_owned()],
        left: 2,
        stuck: false,
        elapsed: std::time::Duration::from_secs(2),
        processor: std::time::Duration::from_secs(7),
        threads: 2,
    };
    assert!(!summary.is_whole());
    let text = summary.to_string();
    for told in [
        "mfxlv9518/12",
        "3.5 images/s on 2 cores: 1.8 images/s per core, 1.0000 core-seconds per image (2.0 s in all)",
        "4 of 7 images have no result (4 unreadable):\n  3 unreadable, such as: file ends at byte 0\n",
        "images may be missing: s001: the file ends in a datagram\n",
        "stopped: 2 images were not begun\n",
    ] {
        assert!(text.contains(told), "{told}: {text}");
    }
    let whole = Summary { rows: &rows[..2], faults: &[], left: 0, ..summary };
    assert!(whole.is_whole());
}

proptest! {
    #[test]
    fn any_cause_comes_back_from_the_table(cause in "[ -~\n\r,\"äé]{0,40}", spots: u32, seconds: u32) {
        let mut one = row(time(seconds), Outcome::Failed, Vec::new());
        (one.cause, one.numbers.spots) = (Some(cause), Some(spots));
        let two = row(time(seconds), Outcome::Miss, Vec::new());
        let mut text = Vec::new();
        csv::write(&[one, two], &mut text).unwrap();
        let seen = csv::read(&String::from_utf8(text).unwrap()).unwrap();
        prop_assert_eq!(seen.len(), 2);
        prop_assert_eq!((seen[0].spots, seen[0].outcome, seen[1].outcome), (Some(spots), Outcome::Failed, Outcome::Miss));
        prop_assert_eq!(seen[0].at, unix_seconds(&time(seconds)).map(|at| at.to_string().parse().unwrap()));
    }
}
