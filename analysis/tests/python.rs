//! What `process` writes is read by the programs that scientists read such files with: the peak list by libhdf5 (`h5py`), the
//! Parquet by Arrow (`pyarrow`). Skipped where they cannot be had.

use std::path::{Path, PathBuf};
use std::process::Command;

use lightrail_compose::python::{Python, tables};
use serde_json::Value;

const SCRIPT: &str = include_str!("python/results.py");

/// Runs the program; whether every image was worked.
fn run(arguments: &[&str]) -> bool {
    let said =
        Command::new(env!("CARGO_BIN_EXE_lightrail-analysis")).args(arguments).output().expect("it starts");
    let text = String::from_utf8_lossy(&said.stderr);
    assert!(matches!(said.status.code(), Some(0 | 1)), "{arguments:?}: {text}");
    said.status.success()
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path of letters")
}

/// One simulated run of a single stream, with its trial.
fn simulated(folder: &Path, images: &str, hit_rate: &str) -> (PathBuf, PathBuf) {
    let out = folder.join(format!("beam-{hit_rate}"));
    let of = ["--images", images, "--hit-rate", hit_rate, "--runs", "1", "--streams", "1", "--seed", "3"];
    let which = ["simulate", "--out", text(&out), "--detector", "jungfrau1M", "--unpaced"];
    assert!(run(&[&which[..], &of[..]].concat()));
    (out.join("mfx/mfxsim0126/xtc/mfxsim0126-r0001-s000-c000.xtc2"), out.join("trial.toml"))
}

fn told(python: &Python, results: &Path) -> Value {
    let said = python.run(SCRIPT, &[results]).unwrap_or_else(|error| panic!("{error:#}"));
    serde_json::from_str(&said).expect("JSON")
}

#[test]
fn results_and_spots_are_read_by_libhdf5_and_arrow() {
    let Some(python) = tables("results_and_spots_are_read_by_libhdf5_and_arrow") else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let results = folder.path().join("results");
    let (file, trial) = simulated(folder.path(), "12", "0.5");
    // The last image is cut: a row with a cause and without numbers.
    let length = std::fs::metadata(&file).expect("a run").len();
    let cut = std::fs::OpenOptions::new().write(true).open(&file).expect("a run");
    cut.set_len(length - 3_000_000).expect("shorter");
    let with = ["process", "--quiet", "--images", "--trial", text(&trial), "--out", text(&results)];
    assert!(!run(&[&with[..], &[text(&file)]].concat()));
    let found = told(&python, &results);
    assert_eq!(found["images"], found["hits"], "each hit has its image: {found}");
    assert_eq!(found["rows"], 12, "{found}");
    let hits = found["hits"].as_u64().expect("a number");
    assert!((3..12).contains(&hits) && found["spots"].as_u64() > Some(20 * hits), "{found}");
    // Two modules below each other, as Cheetah and CrystFEL have a Jungfrau 1M.
    assert_eq!(found["plane"], serde_json::json!([1024, 1024]));
    for (column, of) in
        [("run", "int64"), ("outcome", "string"), ("spots", "int64"), ("resolution_angstrom", "double")]
    {
        assert_eq!(found["types"][column], of, "{found}");
    }

    // Without any hit the lists are there, and empty.
    let (file, trial) = simulated(folder.path(), "3", "0");
    let results = folder.path().join("none");
    assert!(run(&["process", "--quiet", "--trial", text(&trial), "--out", text(&results), text(&file)]));
    let found = told(&python, &results);
    assert_eq!(
        (&found["rows"], &found["hits"], &found["lists"][0]),
        (&3.into(), &0.into(), &0.into()),
        "{found}"
    );
}
