//! psana's own programs read what we write, and we read what they write: the wheel on PyPI has `xtcreader`, `xtcwriter` and
//! `smdwriter`. Skipped where it cannot be had.

use std::path::Path;
use std::process::Command;

use lightrail_analysis::formats::xtc2::smd::{Entry, Place as Shot, SmdReader};
use lightrail_analysis::formats::xtc2::{Configuration, Datagram, Service, datagrams, values};
use lightrail_analysis::frame::Pixels;
use lightrail_analysis::simulate::{Model, Place, Plan, Schedule, Simulator, Stop, Wanted, play};
use lightrail_compose::psana::psana;
use lightrail_topics::RunNumber;

/// What `xtcreader` prints of a datagram, in our words.
fn line(number: usize, datagram: &Datagram<'_>) -> String {
    let (header, extent) = (datagram.header, datagram.bytes.len() - 12);
    let service = format!("{:?}", header.service);
    let (seconds, nanoseconds) = (header.timestamp.seconds(), header.timestamp.nanoseconds());
    format!(
        "event {number}, {service:>11} transition:  time 0x{seconds:08x}.0x{nanoseconds:08x},  env 0x{:08x}, payloadSize {} \
         damage 0x{:x} extent {extent}",
        header.env,
        extent - 12,
        header.damage.0,
    )
}

/// The lines of that kind in its output, of all the datagrams of a file.
fn lines(said: &str) -> Vec<&str> {
    said.lines().filter(|line| line.starts_with("event ")).collect()
}

fn ours(bytes: &[u8]) -> Vec<String> {
    (1..).zip(datagrams(bytes, 0)).map(|(n, datagram)| line(n, &datagram.expect("a datagram"))).collect()
}

fn shots(small: &[u8]) -> Vec<Shot> {
    let (mut reader, mut entries) = (SmdReader::new(), Vec::new());
    reader.read(small, &mut entries).expect("a small file");
    assert_eq!(reader.position(), small.len() as u64, "all of it is read");
    let shots = entries.into_iter().filter_map(|entry| match entry {
        Entry::Event(shot) => Some(shot),
        _ => None,
    });
    shots.collect()
}

fn bytes(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn simulated(out: &Path, model: Model) -> (Simulator, Place) {
    let simulator = Simulator::new(Plan::new(model, 3)).expect("a plan");
    let place = Place {
        out: out.to_owned(),
        instrument: "mfx".parse().expect("an instrument"),
        experiment: "mfxsim0126".parse().expect("an experiment"),
    };
    let schedule = Schedule {
        first_run: RunNumber(1),
        runs: 1,
        images: 3,
        rate: 2.0,
        paced: false,
        streams: 2,
        chunk_images: None,
        pool: 0,
        threads: 2,
        begin: 1_136_073_600,
    };
    play(&simulator, &place, &schedule, &Stop::default(), &mut |_| {}).expect("a run");
    (simulator, place)
}

#[test]
fn what_we_write_is_read_by_psana() {
    let Some(psana) = psana("what_we_write_is_read_by_psana") else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let (simulator, place) = simulated(folder.path(), Model::Jungfrau1M);
    for stream in 0..2 {
        let path = place.path(&place.big(RunNumber(1), stream, 0));
        let file = path.to_str().expect("a plain name");
        let said = psana.tool("xtcreader", folder.path(), &["-f", file, "-d", "-w", "6"]).expect("xtcreader");
        let big = bytes(&path);
        assert_eq!(lines(&said), ours(&big));
        for index in 0..3 {
            let image = simulator.image(1, index, &Wanted::ANY);
            let Pixels::U16(pixels) = &image.frame.pixels else { panic!("a Jungfrau writes u16") };
            let first: Vec<String> =
                pixels[stream * 512 * 1024..][..6].iter().map(ToString::to_string).collect();
            let raw = format!("'raw' (shape: 1 512 1024):  {}", first.join(" "));
            assert!(said.lines().any(|line| line.trim_end() == raw), "{raw}");
            if stream == 0 {
                let energy =
                    format!("'ebeamPhotonEnergy': {:.6}", image.shot.photon_energy.expect("an energy"));
                assert!(said.lines().any(|line| line == energy), "{energy}");
                let pulse = format!("'pulseId': {}", image.shot.pulse_id.expect("a pulse"));
                assert!(said.lines().any(|line| line == pulse), "{pulse}");
            }
        }
        // Its small files say the same as ours.
        let small = place.path(&place.small(RunNumber(1), stream));
        let own = bytes(&small);
        let file = small.to_str().expect("a plain name");
        let said = psana.tool("xtcreader", folder.path(), &["-f", file, "-d"]).expect("xtcreader");
        assert_eq!(lines(&said), ours(&own));
        let theirs = made_small(&psana, folder.path(), &path);
        let (own, theirs) = (shots(&own), shots(&theirs));
        assert_eq!(own.len(), 3);
        assert_eq!(own, theirs);
        for shot in &own {
            let offset = format!("'intOffset': {}", shot.offset);
            assert!(said.lines().any(|line| line == offset), "{offset}");
        }
    }
}

/// The small file that psana makes of a big one.
fn made_small(psana: &lightrail_compose::psana::Psana, folder: &Path, big: &Path) -> Vec<u8> {
    psana.tool("smdwriter", folder, &["-f", big.to_str().expect("a plain name")]).expect("smdwriter");
    bytes(&folder.join("smd.xtc2"))
}

#[test]
fn epix10ka_panels_that_we_write_are_read_by_psana() {
    let Some(psana) = psana("epix10ka_panels_that_we_write_are_read_by_psana") else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let (_, place) = simulated(folder.path(), Model::Epix10kaQuad);
    let path = place.path(&place.big(RunNumber(1), 1, 0));
    let file = path.to_str().expect("a plain name");
    let said = psana.tool("xtcreader", folder.path(), &["-f", file, "-d", "-w", "2"]).expect("xtcreader");
    assert_eq!(lines(&said), ours(&bytes(&path)));
    let panels = said.lines().filter(|line| line.starts_with("'raw' (shape: 352 384)")).count();
    assert_eq!(panels, 6, "two panels in each of three images");
}

#[test]
fn what_psana_writes_is_read_by_us() {
    let Some(psana) = psana("what_psana_writes_is_read_by_us") else { return };
    let folder = tempfile::tempdir().expect("a folder");
    psana.tool("xtcwriter", folder.path(), &["-f", "data.xtc2", "-n", "20"]).expect("xtcwriter");
    let big = bytes(&folder.path().join("data.xtc2"));
    let said = psana.tool("xtcreader", folder.path(), &["-f", "data.xtc2", "-d"]).expect("xtcreader");
    assert_eq!(lines(&said), ours(&big));
    let small = made_small(&psana, folder.path(), &folder.path().join("data.xtc2"));
    let shots = shots(&small);
    let events = datagrams(&big, 0).filter(|datagram| {
        datagram.as_ref().is_ok_and(|datagram| datagram.header.service == Service::L1Accept)
    });
    assert_eq!(shots.len(), events.count());
    let configuration =
        Configuration::of(&Datagram::parse(&big, 0).expect("a Configure")).expect("its names");
    for shot in shots {
        let from = usize::try_from(shot.offset).expect("a small file");
        let datagram = Datagram::event(&big[from..from + shot.size as usize], shot.offset, shot.timestamp);
        let datagram = datagram.expect("an event where the small file says");
        let mut seen = 0;
        for part in values(&datagram, &configuration) {
            let part = part.expect("values");
            let get = |name: &str| part.get(name).expect("a value");
            if let Some(float) = get("floatFex").and_then(|value| value.float()) {
                assert!((float - 41.0).abs() < 1e-9, "{float}");
                assert_eq!(get("charStrFex").and_then(|value| value.text()), Some("Test String"));
                seen += 1;
            }
            if let Some(array) = get("arrayRaw").and_then(|value| value.u16s()) {
                assert!(array.into_iter().eq(0..18), "counts up");
                seen += 1;
            }
        }
        assert!(seen >= 2, "the writer's two detectors");
    }
}

#[test]
fn psanas_own_routines_give_the_sums_that_calibration_is_compared_with() {
    let test = "psanas_own_routines_give_the_sums_that_calibration_is_compared_with";
    let (Some(psana), Some(data)) = (psana(test), lightrail_compose::require::data(test)) else { return };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/psana_calibration.py");
    let said = Command::new(psana.python()).arg(script).arg(data).output().expect("Python");
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    let made = String::from_utf8(said.stdout).expect("text");
    let kept = include_str!("../src/inputs/psana.tsv");
    assert_eq!(made.lines().count(), kept.lines().count());
    for (made, kept) in made.lines().zip(kept.lines()) {
        for (made, kept) in made.split('\t').zip(kept.split('\t')) {
            // Sums of other machines differ in what is lost in adding.
            let near = |one: f64, other: f64| (one - other).abs() <= 1e-11 * other.abs();
            let is_near = matches!((made.parse(), kept.parse()), (Ok(one), Ok(other)) if near(one, other));
            assert!(made == kept || is_near, "{made} and not {kept}");
        }
    }
}
