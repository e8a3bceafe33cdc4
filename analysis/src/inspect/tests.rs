//! Reports of the real files, as snapshots; of damaged ones; of files made here.

use std::path::Path;

use super::*;
use crate::source::Settings;

async fn look(path: &Path) -> Report {
    inspect(&Source::new(Settings::default()), &Location::local(path)).await.unwrap()
}

#[tokio::test]
async fn the_real_files_are_told_in_clear_text() {
    let Some(data) = lightrail_compose::require::data("inspect real files") else { return };
    for (file, name) in [
        ("xtc2/test_jungfrau05M_calib.xtc2", "jungfrau"),
        ("xtc2/test_epix_calib.xtc2", "epix"),
        ("xtc2/chunking/xpptut15-r0014-s000-c000.xtc2", "chunking"),
        ("xtc2/chunking/smalldata/xpptut15-r0014-s000-c000.smd.xtc2", "chunking-small"),
        ("xtc2/fakesteps/xpptut15-r0014-s001-c000.xtc2", "steps"),
        ("cspad/idx-20130301060858401.cbf", "cspad"),
    ] {
        let report = look(&data.join(file)).await;
        assert_eq!(report.fault, None, "{file}");
        insta::assert_snapshot!(name, report.to_string());
    }
}

#[tokio::test]
async fn hdf5_and_numpy_files_are_told() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/formats/h5/tests");
    for name in ["nxmx", "cxi"] {
        let report = look(&folder.join(format!("{name}.h5"))).await;
        insta::assert_snapshot!(name, report.to_string());
    }
    let report = look(&folder.join("nxmx.h5")).await;
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["format"], "HDF5 (NXmx)");
    assert_eq!(json["datasets"][1]["dims"], serde_json::json!([3, 33, 40]));
    assert!(json.get("detectors").is_none() && json.get("fault").is_none());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pedestals.npy");
    std::fs::write(&path, npy::write_f32(&[2, 2], &[1.0, -3.5, 2.0, f32::NAN])).unwrap();
    let report = look(&path).await;
    let facts: Vec<&str> = report.facts.iter().map(|(_, value)| value.as_str()).collect();
    assert_eq!(facts, ["[2, 2] f32", "-3.5 to 2"]);
}

#[tokio::test]
async fn lcls1_files_are_told_with_their_small_ones() {
    let stream = crate::formats::xtc::tests::generate::Stream::jungfrau(3);
    let folder = tempfile::tempdir().unwrap();
    let put = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let paths = [
        ("lcls1", put("e123-r0007-s00-c00.xtc", &stream.big)),
        ("lcls1-small", put("e123-r0007-s00-c00.smd.xtc", &stream.small)),
        ("lcls1-index", put("e123-r0007-s00-c00.xtc.idx", &stream.index(2))),
    ];
    for (name, path) in paths {
        insta::assert_snapshot!(name, look(&path).await.to_string());
    }
}

#[tokio::test]
async fn what_is_cut_or_damaged_is_told_after_what_could_be_read() {
    let stream = crate::formats::xtc::tests::generate::Stream::jungfrau(3);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cut.xtc");
    let (_, last, _) = stream.shots[2];
    std::fs::write(&path, &stream.big[..last + 1000]).unwrap();
    let report = look(&path).await;
    assert_eq!(report.events.as_ref().unwrap().count, 2);
    let fault = report.fault.clone().unwrap();
    assert!(fault.starts_with(&format!("datagram at byte {last} needs ")), "{fault}");
    assert!(report.to_string().ends_with(&format!("FAULT: {fault}\n")));
    // The DAQ's own marks are counted by detector and kind.
    let mut marked = stream.big.clone();
    for (_, at, _) in &stream.shots[..2] {
        marked[at + 40 + 20 + 1] = 1 << 4;
    }
    std::fs::write(&path, &marked).unwrap();
    let report = look(&path).await;
    let damage = &report.damage[0];
    assert_eq!((report.damage.len(), damage.events, damage.what.as_str()), (1, 2, "out of order"));
    assert_eq!(damage.of, "JungfrauElementV2 of MfxEndstation.0:Jungfrau.0");
    std::fs::write(&path, b"no image at all, but long enough to be looked at").unwrap();
    let error = inspect(&Source::new(Settings::default()), &Location::local(&path)).await.unwrap_err();
    assert!(error.to_string().contains("is no XTC2, XTC, index, HDF5, CBF or NumPy file"), "{error}");
    let gone = inspect(&Source::new(Settings::default()), &Location::local("/nowhere/a.xtc2")).await;
    assert!(matches!(gone, Err(InspectError::Source(SourceError::Missing { .. }))));
}
