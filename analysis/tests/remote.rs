//! `process`, `plot image` and `inspect` on files behind a real XRootD door: the same as from the disk, and what is shown meanwhile.

use std::path::Path;
use std::process::{Command, Output};

use lightrail_compose::{Cluster, ClusterOptions};

const PROGRAM: &str = env!("CARGO_BIN_EXE_lightrail-analysis");

fn run(arguments: &[&str]) -> Output {
    Command::new(PROGRAM).args(arguments).output().expect("it starts")
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path of letters")
}

fn err(said: &Output) -> String {
    String::from_utf8_lossy(&said.stderr).into_owned()
}

/// The results without where time went.
fn results(out: &Path) -> Vec<String> {
    let table = std::fs::read_to_string(out.join("results.csv")).expect("a table");
    let names: Vec<&str> = table.lines().next().expect("a header").split(',').collect();
    let timed: Vec<usize> = (0..names.len()).filter(|at| names[*at].ends_with("_us")).collect();
    assert_eq!(timed.len(), 3, "{names:?}");
    let kept = |line: &str| {
        let fields = line.split(',').enumerate().filter(|(at, _)| !timed.contains(at));
        fields.map(|(_, field)| field.to_owned()).collect::<Vec<_>>().join(",")
    };
    table.lines().map(kept).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn runs_behind_a_door_are_processed_as_those_on_the_disk() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let beam = folder.path().join("beam");
    let simulated = run(&[
        "simulate",
        "--out",
        text(&beam),
        "--runs",
        "1",
        "--images",
        "40",
        "--hit-rate",
        "0.5",
        "--detector",
        "jungfrau32k",
        "--streams",
        "1",
        "--chunk-images",
        "25",
        "--unpaced",
        "--seed",
        "11",
    ]);
    assert!(simulated.status.success(), "{}", err(&simulated));
    let cluster = Cluster::start(ClusterOptions { servers: 1, ..ClusterOptions::separate("SITE") }).await?;
    let (mut here, mut there) = (Vec::new(), Vec::new());
    for inner in ["", "smalldata/"] {
        for entry in std::fs::read_dir(beam.join("mfx/mfxsim0126/xtc").join(inner))? {
            let path = entry?.path();
            let Some(name) = path.file_name().and_then(|name| name.to_str()).filter(|_| path.is_file())
            else {
                continue;
            };
            let lfn = format!("/mfx/mfxsim0126/xtc/{inner}{name}");
            cluster.write(0, &lfn, &std::fs::read(&path)?)?;
            if name.ends_with("-c000.xtc2") {
                here.push(text(&path).to_owned());
                there.push(cluster.url(&lfn));
            }
        }
    }
    assert_eq!(there.len(), 1, "the first chunk is named; its small file and the second chunk are found");
    let trial = beam.join("trial.toml");
    let out = |name: &str| folder.path().join(name);
    let arguments = |name: &str, files: &[String]| {
        let mut all: Vec<String> = ["process", "--trial", text(&trial), "--out"].map(str::to_owned).to_vec();
        all.push(text(&out(name)).to_owned());
        all.extend(files.iter().cloned());
        all
    };
    let near = arguments("near", &here);
    let near = run(&near.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(near.status.success(), "{}", err(&near));
    // Where nobody looks there is no bar.
    assert!(!err(&near).contains('\u{1b}'), "{}", err(&near));

    // On a terminal, which `script` is, there is one.
    let far: Vec<String> = arguments("far", &there).iter().map(|word| format!("'{word}'")).collect();
    let line = format!("{PROGRAM} {}", far.join(" "));
    let far = Command::new("script").args(["-qec", &line, "/dev/null"]).output()?;
    let shown = String::from_utf8_lossy(&far.stdout);
    assert!(far.status.success(), "{shown}");
    assert!(shown.contains("/40 images") && shown.contains("hits") && shown.contains("left"), "{shown}");
    assert!(shown.contains("core-seconds per image"), "{shown}");
    assert_eq!(results(&out("far")), results(&out("near")));
    assert_eq!(results(&out("far")).len(), 41);
    for file in ["spots.cxi", "trial.toml"] {
        assert!(std::fs::read(out("far").join(file))? == std::fs::read(out("near").join(file))?, "{file}");
    }

    let picture = out("far.svg");
    let drawn =
        run(&["plot", "image", "--trial", text(&trial), "--image", "3", "-o", text(&picture), &there[0]]);
    assert!(drawn.status.success() && picture.is_file(), "{}", err(&drawn));

    // A file that is not there is told before anything is worked, with its URL.
    let nowhere = cluster.url("/mfx/mfxsim0126/xtc/mfxsim0126-r0009-s000-c000.xtc2");
    let missing = run(&["process", "--trial", text(&trial), &nowhere]);
    assert_eq!(missing.status.code(), Some(2), "{}", err(&missing));
    assert!(err(&missing).contains(&nowhere) && err(&missing).contains("is not there"), "{}", err(&missing));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_behind_a_door_are_inspected_as_those_on_the_disk() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let beam = folder.path().join("beam");
    let mut simulate = vec!["simulate", "--out", text(&beam), "--runs", "1", "--images", "30", "--seed", "5"];
    simulate.extend(["--detector", "jungfrau32k", "--streams", "1", "--chunk-images", "20", "--unpaced"]);
    let simulated = run(&simulate);
    assert!(simulated.status.success(), "{}", err(&simulated));
    let cluster = Cluster::start(ClusterOptions { servers: 1, ..ClusterOptions::separate("SITE") }).await?;
    let (mut near, mut far) = (Vec::new(), Vec::new());
    for name in ["mfxsim0126-r0001-s000-c000.xtc2", "smalldata/mfxsim0126-r0001-s000-c000.smd.xtc2"] {
        let path = beam.join("mfx/mfxsim0126/xtc").join(name);
        let lfn = format!("/mfx/mfxsim0126/xtc/{name}");
        cluster.write(0, &lfn, &std::fs::read(&path)?)?;
        near.push(text(&path).to_owned());
        far.push(cluster.url(&lfn));
    }
    let inspect = |more: &[&str], files: &[String]| {
        let files = files.iter().map(String::as_str);
        let said = run(&["inspect"].into_iter().chain(more.iter().copied()).chain(files).collect::<Vec<_>>());
        (said.status.code(), String::from_utf8(said.stdout.clone()).expect("text"), err(&said))
    };

    // One line of JSON for each of several files, the same from both places.
    let (status, told, errors) = inspect(&["--json"], &far);
    assert_eq!(status, Some(0), "{errors}");
    assert_eq!(told, inspect(&["--json"], &near).1);
    let reports: Vec<serde_json::Value> = told.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let [big, small] = &reports[..] else { panic!("two files: {told}") };
    assert_eq!(big["file"], "mfxsim0126-r0001-s000-c000.xtc2");
    assert_eq!(big["bytes"], std::fs::metadata(&near[0])?.len());
    assert_eq!((&big["events"]["count"], &small["events"]["count"]), (&20.into(), &30.into()));
    let chunks: Vec<_> = small["chunks"].as_array().expect("chunks").iter().map(|c| &c["events"]).collect();
    assert_eq!(chunks, [20, 10], "{small}");
    let is_jungfrau = |detector: &serde_json::Value| detector["name"] == "jungfrau";
    assert!(big["detectors"].as_array().expect("detectors").iter().any(is_jungfrau), "{big}");
    assert!(big.get("fault").is_none() && small.get("fault").is_none());

    // The same for people.
    let (status, told, errors) = inspect(&[], &far);
    assert_eq!(status, Some(0), "{errors}");
    assert_eq!(told, inspect(&[], &near).1);
    for line in [
        "mfxsim0126-r0001-s000-c000.xtc2: LCLS-II stream (XTC2), ",
        "\nmfxsim0126-r0001-s000-c000.smd.xtc2: ",
        "\n  chunk 0: 20 events in the stream's first file, ",
        "\nevents: 30, 120.0 a second\n",
    ] {
        assert!(told.contains(line), "{line}: {told}");
    }

    // One that is cut is told as far as it goes, and counts in the status.
    let bytes = std::fs::read(&near[0])?;
    cluster.write(0, "/mfx/mfxsim0126/xtc/cut.xtc2", &bytes[..bytes.len() - 1000])?;
    let cut = cluster.url("/mfx/mfxsim0126/xtc/cut.xtc2");
    let (status, told, errors) = inspect(&["--json"], &[cut.clone(), far[1].clone()]);
    assert_eq!(status, Some(1), "{told}");
    let reports: Vec<serde_json::Value> = told.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    assert_eq!((reports.len(), &reports[0]["events"]["count"]), (2, &19.into()), "{told}");
    assert!(reports[0]["fault"].is_string() && reports[1].get("fault").is_none(), "{told}");
    assert!(errors.contains("of 2 files 1 are damaged or cut"), "{errors}");
    let (status, told, _) = inspect(&[], &[cut]);
    assert!(status == Some(1) && told.contains("\nFAULT: "), "{told}");
    let nowhere = cluster.url("/mfx/mfxsim0126/xtc/gone.xtc2");
    let (status, told, errors) = inspect(&["--json"], std::slice::from_ref(&nowhere));
    assert!(status == Some(1) && told.is_empty() && errors.contains(&nowhere), "{told}{errors}");
    Ok(())
}
