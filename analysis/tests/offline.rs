//! `process` and `plot` as a user runs them, on real files, on simulated ones whose truth is known, and on damaged copies.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use hdf5_writer::{DatasetBuilder, Hdf5Builder, Hdf5Writer, WriteOptions};
use lightrail_analysis::formats::h5::H5;
use lightrail_analysis::formats::npy;
use lightrail_analysis::process::{Seen, csv};
use lightrail_compose::require;
use lightrail_topics::events::Outcome;

struct Said {
    status: i32,
    out: String,
    err: String,
}

fn run<S: AsRef<std::ffi::OsStr>>(arguments: &[S]) -> Said {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lightrail-analysis"));
    let Output { status, stdout, stderr } = command.args(arguments).output().expect("the program is there");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    Said { status: status.code().unwrap_or(-1), out: text(stdout), err: text(stderr) }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path of letters")
}

/// The results that a run of `process` wrote.
fn results(out: &Path) -> Vec<Seen> {
    let table = fs::read_to_string(out.join("results.csv")).expect("a table");
    csv::read(&table).expect("results")
}

fn count(seen: &[Seen], outcome: Outcome) -> usize {
    seen.iter().filter(|seen| seen.outcome == outcome).count()
}

/// Real CSPAD images: (one, the other).
fn cspad(test: &str) -> Option<[PathBuf; 2]> {
    let folder = require::data(test)?.join("cspad");
    Some(["401", "701"].map(|end| folder.join(format!("idx-20130301060858{end}.cbf"))))
}

#[test]
fn cbf_files_need_nothing_else() {
    let Some([one, two]) = cspad("cbf_files_need_nothing_else") else { return };
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let said = run(&["process", "--out", text(&out), text(&one), text(&two)]);
    assert_eq!(said.status, 0, "{}{}", said.out, said.err);
    assert!(said.out.contains("core-seconds per image"), "{}", said.out);
    let seen = results(&out);
    assert_eq!((seen.len(), count(&seen, Outcome::Hit)), (2, 2));
    // About 1.2726 angstrom, a little different in each shot; the detector stood 130 mm from the crystals.
    assert!(seen.iter().all(|s| s.photon_energy.is_some_and(|e| (e - 9745.0).abs() < 5.0)), "{seen:?}");
    assert!(seen.iter().all(|s| s.distance.is_some_and(|d| (d - 0.130).abs() < 0.001)), "{seen:?}");
    assert!(fs::read(out.join("results.parquet")).unwrap().starts_with(b"PAR1"));

    // The peak list has the same counts, in the plane that CrystFEL's geometry of the CSPAD is for.
    let cxi = H5::of_bytes(fs::read(out.join("spots.cxi")).unwrap()).unwrap();
    let of = |name: &str| cxi.numbers(&format!("/entry_1/result_1/{name}")).unwrap();
    let counts: Vec<f64> = seen.iter().map(|seen| f64::from(seen.spots.unwrap())).collect();
    assert_eq!(of("nPeaks"), counts);
    let (x, y) = (of("peakXPosRaw"), of("peakYPosRaw"));
    assert!(x.iter().all(|x| (0.0..1552.0).contains(x)) && y.iter().all(|y| (0.0..1480.0).contains(y)));
    assert!(x.iter().any(|x| *x > 1164.0), "spots in the fourth quadrant");

    // The trial that was written gives the same again.
    let again = folder.path().join("again");
    let trial = out.join("trial.toml");
    let said =
        run(&["process", "--quiet", "--trial", text(&trial), "--out", text(&again), text(&one), text(&two)]);
    assert_eq!(said.status, 0, "{}{}", said.out, said.err);
    assert_eq!(
        results(&again).iter().map(|s| s.spots).collect::<Vec<_>>(),
        seen.iter().map(|s| s.spots).collect::<Vec<_>>()
    );

    // Pictures of all of it.
    let picture = |name: &str| folder.path().join(name);
    for (arguments, made) in [
        (vec!["plot", "image", text(&one), "-o"], vec!["image.png"]),
        (vec!["plot", "image", "--theme", "dark", "--no-spots", text(&two), "-o"], vec!["image.svg"]),
        (vec!["plot", "powder", text(&out), "-o"], vec!["powder.png"]),
        (vec!["plot", "rate", text(&out), text(&out.join("results.csv")), "-o"], vec!["rate.svg"]),
    ] {
        let named = picture(made[0]);
        let mut arguments = arguments;
        arguments.push(text(&named));
        let said = run(&arguments);
        assert_eq!(said.status, 0, "{arguments:?} {}{}", said.out, said.err);
        for line in said.out.lines() {
            let bytes = fs::read(line).unwrap();
            let is_svg = bytes.starts_with(b"<svg");
            assert!(is_svg || bytes.starts_with(b"\x89PNG"), "{line}");
            let svg = String::from_utf8_lossy(&bytes);
            assert!(!is_svg || line.contains("rate") || svg.contains(">resolution (Å)<"), "{line}");
        }
        assert!(!said.out.is_empty());
    }
    assert!(picture("powder-hits.png").exists());
}

#[test]
fn a_cut_file_costs_its_own_image_only() {
    let Some([one, two]) = cspad("a_cut_file_costs_its_own_image_only") else { return };
    let folder = tempfile::tempdir().unwrap();
    let cut = folder.path().join("idx-20130301060858401.cbf");
    let bytes = fs::read(&one).unwrap();
    fs::write(&cut, &bytes[..bytes.len() / 2]).unwrap();
    let whole = folder.path().join("idx-20130301060858701.cbf");
    fs::copy(&two, &whole).unwrap();
    let out = folder.path().join("out");
    let said = run(&["process", "--out", text(&out), text(&cut), text(&whole)]);
    assert_eq!(said.status, 1, "{}{}", said.out, said.err);
    let seen = results(&out);
    assert_eq!((count(&seen, Outcome::Unreadable), count(&seen, Outcome::Hit)), (1, 1));
    assert!(said.out.contains("1 of 2 images have no result (1 unreadable)"), "{}", said.out);
    assert!(said.out.contains("such as: "), "{}", said.out);
    let table = fs::read_to_string(out.join("results.csv")).unwrap();
    assert!(table.contains("401.cbf:0") && table.contains("ends") || table.contains("needs"), "{table}");
}

/// A CXI file as Cheetah makes it of the CSPAD: images of noise with one spot of nine pixels about (fast, slow), the position of
/// the detector's encoder for each where there are some.
fn cxi(path: &Path, (fast, slow): (usize, usize), images: usize, encoder: &[f64]) {
    let (rows, columns) = (1480, 1552);
    let mut pixels: Vec<u16> =
        (0..13_u16).map(|i| 10 + i * 7 % 13 % 7).cycle().take(images * rows * columns).collect();
    for image in pixels.chunks_mut(rows * columns) {
        for (row, column) in (0..3).flat_map(|row| (0..3).map(move |column| (row, column))) {
            image[(slow + row - 1) * columns + fast + column - 1] = 1000;
        }
    }
    let (n, shape) = (images as u64, [images as u64, rows as u64, columns as u64]);
    let mut made = Hdf5Builder::new()
        .dataset(DatasetBuilder::typed_data("entry_1/data_1/data", shape, &pixels).expect("an HDF5 file"))
        .dataset(
            DatasetBuilder::typed_data("LCLS/photon_energy_eV", [n], &vec![9500.0; images])
                .expect("an HDF5 file"),
        );
    if !encoder.is_empty() {
        let path = "LCLS/detector_1/EncoderValue";
        made = made.dataset(DatasetBuilder::typed_data(path, [n], encoder).expect("an HDF5 file"));
    }
    let writer = Hdf5Writer::new(fs::File::create(path).expect("an HDF5 file"), WriteOptions::default());
    writer.finish(made.into_plan().expect("an HDF5 file")).expect("an HDF5 file");
}

#[test]
fn where_the_length_is_stored_a_shots_encoder_or_the_trial_says_the_true_distance() {
    let test = "where_the_length_is_stored_a_shots_encoder_or_the_trial_says_the_true_distance";
    let Some(data) = require::data(test) else { return };
    let geometry = data.join("geometry/cspad-cxiformat.geom");
    let folder = tempfile::tempdir().unwrap();
    // The middle of pixel (100, 50) of `q0a0`, by hand from the file: corner, fs, ss and res.
    let (x, y): (f64, f64) =
        (443.819 + 100.5 * 0.004_806 - 50.5 * 0.999_989, -49.8719 + 100.5 * 0.999_989 + 50.5 * 0.004_806);
    let radius = x.hypot(y) / 9090.91;
    let angstrom = |distance: f64| 12_398.42 / 9500.0 / (2.0 * ((radius / distance).atan() / 2.0).sin());
    let worked = |encoder: &[f64], more: &[&str]| {
        let (file, out) = (folder.path().join("r0012.cxi"), folder.path().join("out"));
        cxi(&file, (100, 50), 2, encoder);
        let mut arguments = vec!["process", "--quiet", "--kind", "counts", "--detector", "cspad"];
        arguments.extend(["--set", "hit.min_spots=1", "--set", "spots.peakfinder8.threshold=500"]);
        arguments.extend(["--geometry", text(&geometry), "--out", text(&out), "--images"]);
        arguments.extend(more);
        arguments.push(text(&file));
        let said = run(&arguments);
        assert_eq!(said.status, 0, "{}{}", said.out, said.err);
        let distances: Vec<Option<f64>> = results(&out).iter().map(|seen| seen.distance).collect();
        let spots = H5::of_bytes(fs::read(out.join("spots.cxi")).unwrap()).unwrap();
        let resolutions = spots.numbers("/entry_1/result_1/peakResolutionAngstrom").unwrap();
        assert_eq!((distances.len(), resolutions.len()), (2, 2));
        let written = fs::read_to_string(out.join("hits.geom")).unwrap();
        let clen = written.lines().find_map(|line| line.strip_prefix("clen = ")).unwrap();
        (distances, resolutions, clen.parse::<f64>().unwrap())
    };
    let are = |(distances, resolutions, clen): &(Vec<Option<f64>>, Vec<f64>, f64), expected: [f64; 2]| {
        for ((distance, resolution), expected) in distances.iter().zip(resolutions).zip(expected) {
            assert!(distance.is_some_and(|d| (d - expected).abs() < 1e-9), "{distances:?}");
            let angstrom = angstrom(expected);
            assert!((resolution / angstrom - 1.0).abs() < 1e-4, "{resolution} A, {angstrom} by hand");
        }
        assert!((clen - expected[1]).abs() < 1e-9, "CrystFEL is told {clen}");
    };
    // The stage's position and the geometry's coffset of 0.573224 m.
    are(&worked(&[-440.0, -400.5], &[]), [0.133_224, 0.172_724]);
    are(&worked(&[-440.0, -400.5], &["--set", "detector.distance=0.2"]), [0.133_224, 0.172_724]);
    // The trial's distance is the true one.
    are(&worked(&[], &["--set", "detector.distance=0.133"]), [0.133; 2]);
    // Nobody says one: no resolution, whatever the coffset.
    let (distances, resolutions, _) = worked(&[], &[]);
    assert_eq!(distances, [None; 2]);
    assert!(resolutions.iter().all(|d| d.is_nan()), "{resolutions:?}");
}

#[test]
fn lcls_ii_files_with_and_without_what_they_need() {
    let Some(data) = require::data("lcls_ii_files_with_and_without_what_they_need") else { return };
    let file = data.join("xtc2/test_jungfrau05M_calib.xtc2");
    let folder = tempfile::tempdir().unwrap();
    // Without constants it is said what is missing, before any image.
    let said = run(&["process", text(&file)]);
    assert_eq!(said.status, 2, "{}{}", said.out, said.err);
    assert!(said.err.contains("--geometry"), "{}", said.err);
    let geometry = folder.path().join("half.geom");
    let lines = [
        "clen = 0.1",
        "photon_energy = 9500",
        "res = 13333.3",
        "p0/min_fs = 0",
        "p0/max_fs = 1023",
        "p0/min_ss = 0",
        "p0/max_ss = 511",
        "p0/corner_x = -512",
        "p0/corner_y = -256",
        "p0/fs = +1.0x",
        "p0/ss = +1.0y",
        "p0/data = /data",
        "p0/dim0 = %",
        "p0/dim1 = ss",
        "p0/dim2 = fs",
        "",
    ];
    fs::write(&geometry, lines.join("\n")).unwrap();
    let with = |file: &Path, out: &Path| {
        run(&[
            "process",
            "--detector",
            "jungfrau",
            "--kind",
            "corrected",
            "--geometry",
            text(&geometry),
            "--set",
            "detector.photon_energy=9500",
            "--out",
            text(out),
            text(file),
        ])
    };
    let out = folder.path().join("out");
    let said = with(&file, &out);
    assert_eq!(said.status, 0, "{}{}", said.out, said.err);
    let seen = results(&out);
    assert_eq!(seen.len(), 2);
    assert!(seen.iter().all(|seen| seen.at.is_some() && seen.photon_energy == Some(9500.0)), "{seen:?}");
    // Another detector's name is told from those that are there.
    let said = run(&[
        "process",
        "--detector",
        "jf",
        "--kind",
        "jungfrau",
        "--geometry",
        text(&geometry),
        text(&file),
    ]);
    assert_eq!(said.status, 2, "{}{}", said.out, said.err);
    assert!(said.err.contains("no images of `jf`; it has jungfrau"), "{}", said.err);

    // The second event is cut: it gets its cause, the first its result.
    let cut = folder.path().join("cut.xtc2");
    let bytes = fs::read(&file).unwrap();
    fs::write(&cut, &bytes[..bytes.len() - 600_000]).unwrap();
    let out = folder.path().join("cut");
    let said = with(&cut, &out);
    assert_eq!(said.status, 1, "{}{}", said.out, said.err);
    let seen = results(&out);
    let worked = count(&seen, Outcome::Hit) + count(&seen, Outcome::Miss);
    assert_eq!(worked, 1, "{}{}", said.out, said.err);
    let told = count(&seen, Outcome::Unreadable) == 1 || said.out.contains("images may be missing");
    assert!(told, "{}", said.out);
}

#[test]
fn what_is_simulated_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("beam");
    let said = run(&[
        "simulate",
        "--out",
        text(&out),
        "--runs",
        "2",
        "--images",
        "60",
        "--hit-rate",
        "0.5",
        "--detector",
        "jungfrau32k",
        "--streams",
        "2",
        "--unpaced",
        "--seed",
        "7",
        "--chunk-images",
        "40",
    ]);
    assert_eq!(said.status, 0, "{}{}", said.out, said.err);
    let mut files = Vec::new();
    let mut trial = None;
    let mut folders = vec![out.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            if path.is_dir() {
                folders.push(path);
            } else if name == "trial.toml" {
                trial = Some(path);
            } else if path.extension().is_some_and(|ending| ending == "xtc2") && !name.contains(".smd.") {
                files.push(text(&path).to_owned());
            }
        }
    }
    let trial = trial.expect("a trial that fits");
    let results_folder = folder.path().join("results");
    let mut arguments = vec!["process", "--trial", text(&trial), "--out", text(&results_folder)];
    arguments.extend(files.iter().map(String::as_str));
    let said = run(&arguments);
    assert_eq!(said.status, 0, "{}{}", said.out, said.err);
    let seen = results(&results_folder);
    assert_eq!(seen.len(), 120, "{}", said.out);
    assert!(seen.iter().all(|seen| seen.at.is_some()));
    let hits = count(&seen, Outcome::Hit);
    assert!((30..=75).contains(&hits), "{hits} of 120, half of them with a crystal");
    // A small file that is damaged in its middle costs nothing while the big one is there.
    let one = files.iter().find(|file| file.ends_with("-c000.xtc2")).expect("a first chunk");
    let one = Path::new(one);
    let name = one.file_stem().and_then(|stem| stem.to_str()).expect("a name");
    let small = one.with_file_name("smalldata").join(format!("{name}.smd.xtc2"));
    let mut bytes = fs::read(&small).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 300].fill(0xff);
    fs::write(&small, bytes).unwrap();
    let again = folder.path().join("again");
    let mut arguments = vec!["process", "--quiet", "--trial", text(&trial), "--out", text(&again)];
    arguments.extend(files.iter().map(String::as_str));
    let said = run(&arguments);
    assert_eq!(said.status, 0, "{}{}", said.out, said.err);
    assert_eq!(results(&again), seen);

    let powder = folder.path().join("powder.svg");
    let said = run(&["plot", "powder", text(&results_folder), "--run", "mfxsim0126/1", "-o", text(&powder)]);
    assert_eq!(said.status, 0, "{}{}", said.out, said.err);
    let rate = folder.path().join("rate.svg");
    let said = run(&["plot", "rate", text(&results_folder), "-o", text(&rate)]);
    assert_eq!(said.status, 0, "{}{}", said.out, said.err);
    let svg = fs::read_to_string(rate).unwrap();
    assert!(svg.contains(">run 1<") && svg.contains(">run 2<") && svg.contains("120 images"), "{svg}");
}

#[test]
fn wrong_usage_is_told_before_anything_is_read() {
    for (arguments, status, why) in [
        (vec!["process", "/nowhere/x.cbf"], 2, "is not there"),
        (vec!["process", "notes.txt"], 2, "none of .xtc2"),
        (vec!["plot", "image", "--range", "5..1", "x.cbf"], 2, "no range"),
        (vec!["plot", "rate", "/nowhere/results.csv"], 2, "cannot be read"),
        (vec!["plot", "powder", "/nowhere"], 2, "cannot be read"),
    ] {
        let said = run(&arguments);
        assert!(
            said.status == status && said.err.contains(why),
            "{arguments:?}: {} {}",
            said.status,
            said.err
        );
    }
    for command in [vec!["process"], vec!["plot", "image"], vec!["plot", "powder"], vec!["plot", "rate"]] {
        let mut arguments = command.clone();
        arguments.push("--help");
        let said = run(&arguments);
        assert!(
            said.status == 0 && said.out.contains("Examples:") && !said.out.contains("TODO"),
            "{command:?}"
        );
    }
}

#[test]
fn a_file_that_cannot_be_inspected_keeps_nobody_from_seeing_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let put = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    };
    let constants = npy::write_f32(&[2, 2], &[1.0, 2.0, 3.0, 4.0]);
    let (first, last) = (put("first.npy", &constants), put("last.npy", &constants));
    let gone = folder.path().join("gone.xtc2");
    let other = put("other.xtc2", b"no image at all, but long enough to be looked at");
    let all = [&gone, &first, &other, &last].map(|path| text(path));
    let said = run(&[&["inspect", "--json"][..], &all].concat());
    assert_eq!(said.status, 1, "{}{}", said.out, said.err);
    let told: Vec<serde_json::Value> =
        said.out.lines().map(|line| serde_json::from_str(line).expect("a report")).collect();
    let names: Vec<_> = told.iter().map(|report| report["file"].as_str().unwrap_or_default()).collect();
    assert_eq!(names, ["first.npy", "last.npy"]);
    let [is_gone, is_other, sum] = said.err.lines().collect::<Vec<_>>()[..] else { panic!("{}", said.err) };
    assert_eq!(is_gone, format!("{} is not there", gone.display()));
    assert!(is_other.starts_with(&format!("{} is no XTC2, XTC, index", other.display())), "{}", said.err);
    assert_eq!(sum, "of 4 files 2 cannot be read");

    // For people the same, with those that are damaged counted beside.
    let cut = put("cut.npy", &constants[..constants.len() - 3]);
    let said = run(&["inspect", text(&cut), text(&gone), text(&first)]);
    assert_eq!(said.status, 1, "{}{}", said.out, said.err);
    assert!(said.out.contains("first.npy: ") && said.out.contains("\nFAULT: "), "{}", said.out);
    let sum = said.err.lines().last();
    assert_eq!(sum, Some("of 3 files 1 cannot be read and 1 are damaged or cut"), "{}", said.err);
    // One alone needs no sum; and all that can be read is well.
    let said = run(&["inspect", text(&gone)]);
    assert_eq!((said.status, said.err), (1, format!("{} is not there\n", gone.display())));
    let said = run(&["inspect", text(&first), text(&last)]);
    assert_eq!((said.status, said.err.as_str()), (0, ""));
}
