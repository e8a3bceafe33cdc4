//! Played runs read back by the code that reads real ones: images, shots, truth, and a trial that fits.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use lightrail_topics::RunNumber;
use lightrail_topics::events::{ConfigurePlace, Extent, ExtentKind};
use lightrail_topics::image::EventId;

use Service::{BeginRun, BeginStep, Configure, Disable, Enable, EndRun, EndStep, L1Accept, SlowUpdate};

use super::*;
use crate::decode::{Decoder, Setup};
use crate::formats::xtc2::smd::{Entry, SmdReader};
use crate::formats::xtc2::{Datagram, datagrams};
use crate::frame::{Frame, Shot};
use crate::inputs;
use crate::pipeline::Workspace;
use crate::simulate::{Model, Need, Plan, Room, need};
use crate::trial::Parameters;

fn place(out: &Path) -> Place {
    Place {
        out: out.to_owned(),
        instrument: "mfx".parse().unwrap(),
        experiment: "mfxsim0126".parse().unwrap(),
    }
}

fn schedule() -> Schedule {
    Schedule {
        first_run: RunNumber(3),
        runs: 1,
        images: 9,
        rate: 120.0,
        paced: false,
        streams: 4,
        chunk_images: None,
        pool: 0,
        threads: 2,
        begin: 1_136_073_600,
    }
}

fn small(seed: u64) -> Simulator {
    Simulator::new(Plan { hit_rate: 0.5, ..Plan::new(Model::Jungfrau32k, seed) }).unwrap()
}

fn played(simulator: &Simulator, place: &Place, schedule: &Schedule) -> Vec<News> {
    let mut news = Vec::new();
    play(simulator, place, schedule, &Stop::default(), &mut |one| news.push(one)).unwrap();
    news
}

/// All files below a folder with their bytes.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.insert(path.clone(), std::fs::read(&path).unwrap());
        }
    }
    found
}

#[test]
fn the_same_seed_gives_the_same_bytes_on_any_number_of_threads() {
    for pool in [0, 4] {
        let of = |seed, threads| {
            let folder = tempfile::tempdir().unwrap();
            let schedule = Schedule { pool, threads, ..schedule() };
            played(&small(seed), &place(folder.path()), &schedule);
            let files = files(folder.path()).into_iter();
            files.map(|(path, bytes)| (path.strip_prefix(folder.path()).unwrap().to_owned(), bytes)).collect()
        };
        let (one, three, other): (BTreeMap<_, _>, BTreeMap<_, _>, BTreeMap<_, _>) =
            (of(1, 1), of(1, 3), of(2, 1));
        assert!(one == three, "{pool}");
        assert!(one.keys().eq(other.keys()) && one != other);
        let names: Vec<&str> = one.keys().map(|path| path.to_str().unwrap()).collect();
        assert_eq!(
            names,
            [
                "mfx/mfxsim0126/calib/beamstop.npy",
                "mfx/mfxsim0126/calib/gains.npy",
                "mfx/mfxsim0126/calib/jungfrau32k.geom",
                "mfx/mfxsim0126/calib/pedestals.npy",
                "mfx/mfxsim0126/calib/status.npy",
                "mfx/mfxsim0126/truth/mfxsim0126-r0003.jsonl",
                "mfx/mfxsim0126/truth/structure-factors.csv",
                "mfx/mfxsim0126/xtc/mfxsim0126-r0003-s000-c000.xtc2",
                "mfx/mfxsim0126/xtc/smalldata/mfxsim0126-r0003-s000-c000.smd.xtc2",
                "trial.toml",
            ]
        );
    }
}

/// All images of a run, by their timestamps, read as a worker reads them.
fn read(place: &Place, run: RunNumber, model: Model, streams: usize) -> (Setup, Vec<(EventId, Frame, Shot)>) {
    let mut configure = Vec::new();
    let mut by_time: BTreeMap<Timestamp, Vec<(Extent, Vec<u8>)>> = BTreeMap::new();
    for stream in 0..streams {
        let lfn = place.small(run, stream);
        let small = std::fs::read(place.path(&lfn)).unwrap();
        let first = Datagram::parse(&small, 0).unwrap().bytes.len();
        configure.push((ConfigurePlace { lfn, offset: 0, length: first as u64 }, small[..first].to_vec()));
        let (mut reader, mut entries) = (SmdReader::new(), Vec::new());
        reader.read(&small, &mut entries).unwrap();
        assert_eq!(reader.position(), small.len() as u64);
        for entry in entries {
            let Entry::Event(at) = entry else { continue };
            let lfn = place.big(run, stream, at.chunk);
            let big = std::fs::read(place.path(&lfn)).unwrap();
            let bytes = big[at.offset as usize..at.offset as usize + at.size as usize].to_vec();
            let extent =
                Extent { lfn, offset: at.offset, length: u64::from(at.size), kind: ExtentKind::Dgram };
            by_time.entry(at.timestamp).or_default().push((extent, bytes));
        }
    }
    let decoder = Decoder::new(model.name(), model.kind(), &configure).unwrap();
    let mut setup = None;
    let images = by_time.into_iter().map(|(at, extents)| {
        let event = EventId::Time { seconds: at.seconds(), nanoseconds: at.nanoseconds(), fiducial: None };
        let extents: Vec<(&Extent, &[u8])> = extents.iter().map(|(e, bytes)| (e, bytes.as_slice())).collect();
        assert_eq!(extents.len(), streams);
        let (frame, shot) = decoder.decode(&event, &extents).unwrap();
        setup.get_or_insert_with(|| decoder.setup(&event, &extents).unwrap());
        (event, frame, shot)
    });
    let images = images.collect();
    (setup.unwrap(), images)
}

/// The lines of a run's truth without the first.
fn truth(place: &Place, run: RunNumber) -> Vec<serde_json::Value> {
    let text = std::fs::read_to_string(place.truth(run)).unwrap();
    text.lines().skip(1).map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn what_is_written_is_read_as_it_was_drawn_and_its_trial_fits() {
    for model in [Model::Jungfrau1M, Model::Epix10kaQuad] {
        let folder = tempfile::tempdir().unwrap();
        let place = place(folder.path());
        let simulator = Simulator::new(Plan { hit_rate: 0.5, ..Plan::new(model, 5) }).unwrap();
        let schedule = Schedule { images: 5, streams: 2, chunk_images: Some(2), ..schedule() };
        let news = played(&simulator, &place, &schedule);
        let opened: Vec<String> = news
            .iter()
            .filter_map(|news| match news {
                News::Opened(_, lfn) => Some(lfn.file_name().to_owned()),
                _ => None,
            })
            .collect();
        assert_eq!(opened.len(), 8);
        assert!(opened[6].ends_with("-s000-c002.xtc2"), "{opened:?}");

        let run = schedule.first_run;
        let (setup, images) = read(&place, run, model, 2);
        let truth = truth(&place, run);
        assert_eq!((images.len(), truth.len()), (5, 5));
        let trial = std::fs::read_to_string(place.trial()).unwrap();
        let parameters = Parameters::from_toml(&trial).unwrap();
        let chain = inputs::compile(&parameters, run, setup, folder.path()).unwrap();
        let mut workspace = Workspace::default();
        for (index, (event, frame, shot)) in images.iter().enumerate() {
            let drawn = simulator.image(run.0, index as u64, &Wanted::ANY);
            assert!(frame == &drawn.frame && shot == &drawn.shot, "{model} {index} {shot:?}");
            assert_eq!(truth[index]["event"], event.to_string());
            assert_eq!(truth[index]["hit"], drawn.truth.hit());
            let told: Truth = serde_json::from_value(truth[index].clone()).unwrap();
            assert_eq!(told.crystals.len(), drawn.truth.crystals.len());
            assert_eq!(told.spots.len(), drawn.truth.spots.len());
            for (told, drawn) in told.spots.iter().zip(&drawn.truth.spots) {
                let same = (told.panel, told.hkl, told.good) == (drawn.panel, drawn.hkl, drawn.good);
                assert!(
                    same && (told.x - drawn.x).abs() < 1e-4
                        && (told.intensity - drawn.intensity).abs() < 1e-4
                );
            }
            let outcome = chain.process(&mut workspace, &[(frame, shot)]).remove(0).unwrap();
            assert_eq!(outcome.photon_energy, Some(drawn.truth.photon_energy));
            let strong = drawn.truth.findable(25.0).count();
            assert_eq!(
                outcome.hit,
                drawn.truth.hit(),
                "{model} {index}: {strong}, found {}",
                outcome.spots.len()
            );
        }
    }
}

#[test]
fn the_truth_of_a_run_and_of_its_crystal_is_written_whole() {
    let folder = tempfile::tempdir().unwrap();
    let place = place(folder.path());
    let plan = Plan {
        cell: "61,62,63,90,90,90".parse().unwrap(),
        space_group: "P212121".parse().unwrap(),
        resolution: 8.0,
        ..Plan::new(Model::Jungfrau32k, 21)
    };
    let simulator = Simulator::new(plan).unwrap();
    played(&simulator, &place, &schedule());
    // The head of a run's truth: what is hidden from the analysis, and what its spots were drawn from.
    let text = std::fs::read_to_string(place.truth(RunNumber(3))).unwrap();
    let head: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    for (key, wanted) in [
        ("experiment", serde_json::json!("mfxsim0126")),
        ("run", 3.into()),
        ("seed", 21.into()),
        ("detector", "jungfrau32k".into()),
        ("photon_energy", simulator.plan().photon_energy.into()),
        ("distance", simulator.plan().distance.into()),
        ("cell", "61,62,63,90,90,90".into()),
        ("space_group", "P212121".into()),
        ("resolution", 8.0.into()),
    ] {
        assert_eq!(head[key], wanted, "{key}");
    }
    let shifts: Vec<Shift> = serde_json::from_value(head["shifts"].clone()).unwrap();
    assert_eq!(shifts, simulator.shifts());
    assert!(!shifts.is_empty() && shifts.iter().all(|shift| shift.x.abs().max(shift.y.abs()) > 0.0));

    let text = std::fs::read_to_string(place.structure_factors()).unwrap();
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("h,k,l,F2"));
    let mut factors = BTreeMap::new();
    for line in lines {
        let (indices, squared) = line.rsplit_once(',').unwrap();
        let hkl: Vec<i32> = indices.split(',').map(|index| index.parse().unwrap()).collect();
        let known = factors.insert(hkl, squared.parse::<f64>().unwrap());
        assert_eq!(known, None, "{line} is there twice");
    }
    // In 222 with orthogonal axes one of each set has no negative index, and all of a sphere are there but those that a
    // screw axis forbids: odd ones along an axis.
    let mut wanted = Vec::new();
    for (h, k, l) in (0..9).flat_map(|h| (0..9).flat_map(move |k| (0..9).map(move |l| (h, k, l)))) {
        let [x, y, z] = [f64::from(h) / 61.0, f64::from(k) / 62.0, f64::from(l) / 63.0];
        let zeros = [h, k, l].iter().filter(|index| **index == 0).count();
        let forbidden = zeros == 3 || (zeros == 2 && (h + k + l) % 2 == 1);
        if !forbidden && (x * x + y * y + z * z).sqrt() <= 1.0 / 8.0 {
            wanted.push([h, k, l]);
        }
    }
    let mut there: Vec<[i32; 3]> =
        factors.keys().map(|hkl| [hkl[0].abs(), hkl[1].abs(), hkl[2].abs()]).collect();
    there.sort_unstable();
    assert_eq!(there, wanted);
    assert!(factors.values().all(|squared| *squared >= 0.0));
    let mean = factors.values().sum::<f64>() / factors.len() as f64;
    assert!((mean - 1.0).abs() < 0.2, "{mean} of {}", factors.len());
}

#[test]
fn a_paced_run_takes_the_time_that_its_rate_says_and_an_unpaced_one_does_not() {
    let took = |paced: bool, rate: f64| {
        let folder = tempfile::tempdir().unwrap();
        let schedule = Schedule { images: 41, rate, pool: 2, paced, ..schedule() };
        let begun = Instant::now();
        let mut at = Vec::new();
        let mut ended = None;
        play(&small(3), &place(folder.path()), &schedule, &Stop::default(), &mut |news| match news {
            News::Images(..) => at.push(begun.elapsed()),
            News::RunEnds(_, played) => ended = Some(played),
            _ => {}
        })
        .unwrap();
        let first = at[0];
        (at.into_iter().map(|at| at.saturating_sub(first)).collect::<Vec<_>>(), ended.unwrap())
    };
    let (times, played) = took(true, 100.0);
    // Forty steps of 10 ms. No image comes before its time (the first may have come a little late itself).
    assert!(played.took >= Duration::from_millis(400), "{:?}", played.took);
    for (n, at) in (0..).zip(&times) {
        let due = Duration::from_millis(10 * n);
        assert!(*at + played.latest >= due, "image {n} after {at:?}, at most {:?} late", played.latest);
    }
    let (times, played) = took(false, 1.0);
    assert_eq!(played.latest, Duration::ZERO);
    assert!(times[40] < Duration::from_secs(20), "as fast as they can be made: {times:?}");
}

#[test]
fn a_pool_is_dealt_out_with_new_times_and_pulses_at_the_hit_rate() {
    let folder = tempfile::tempdir().unwrap();
    let place = place(folder.path());
    let schedule = Schedule { images: 200, pool: 6, ..schedule() };
    let news = played(&small(8), &place, &schedule);
    let Some(News::RunEnds(run, result)) = news.last() else { panic!("{:?}", news.last()) };
    assert_eq!((*run, result.images, result.files.len()), (schedule.first_run, 200, 2));
    assert!((70..130).contains(&result.hits), "{}", result.hits);
    let (_, images) = read(&place, *run, Model::Jungfrau32k, 1);
    let truth = truth(&place, *run);
    let mut first_of: BTreeMap<u64, usize> = BTreeMap::new();
    for (index, ((_, frame, shot), told)) in images.iter().zip(&truth).enumerate() {
        assert_eq!(shot.pulse_id, told["pulse_id"].as_u64());
        let energy = shot.photon_energy.unwrap() - told["photon_energy"].as_f64().unwrap();
        assert!(energy.abs() < 1e-6, "{energy}");
        let first = *first_of.entry(told["pool"].as_u64().unwrap()).or_insert(index);
        assert!(frame == &images[first].1);
    }
    assert_eq!(first_of.len(), 6, "all of the pool are dealt");
    let mut pulses: Vec<_> = images.iter().map(|(_, _, shot)| shot.pulse_id).collect();
    pulses.dedup();
    assert_eq!(pulses.len(), 200);
}

#[test]
fn a_run_is_taken_as_a_daq_takes_it() {
    let folder = tempfile::tempdir().unwrap();
    let place = place(folder.path());
    // While a run is taken its files say so; the end is asked for at the fifth image.
    let stop = Stop::default();
    let mut growing = Vec::new();
    let schedule = Schedule { images: 1000, runs: 2, rate: 3.0, ..schedule() };
    let mut last = None;
    play(&small(3), &place, &schedule, &stop, &mut |news| match news {
        News::Opened(_, lfn) => growing.push((place.in_progress(&lfn).exists(), place.path(&lfn).exists())),
        News::Images(_, 5) => stop.stop(),
        News::RunEnds(run, result) => last = Some((run, result.images)),
        _ => {}
    })
    .unwrap();
    assert_eq!(growing, [(true, false), (true, false)]);
    assert_eq!(last, Some((RunNumber(3), 5)), "no second run is begun");
    let left = files(folder.path());
    assert!(left.keys().all(|path| !path.to_str().unwrap().ends_with(".inprogress")));
    let big = &left[&place.path(&place.big(RunNumber(3), 0, 0))];
    let services: Vec<Service> = datagrams(big, 0).map(|datagram| datagram.unwrap().header.service).collect();
    assert_eq!(
        services,
        [
            Configure, BeginRun, BeginStep, Enable, L1Accept, L1Accept, L1Accept, SlowUpdate, L1Accept,
            L1Accept, Disable, EndStep, EndRun
        ]
    );
    let mut times: Vec<Timestamp> =
        datagrams(big, 0).map(|datagram| datagram.unwrap().header.timestamp).collect();
    assert!(times.is_sorted());
    times.dedup();
    assert_eq!(times.len(), 13);
}

#[test]
fn what_is_there_already_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let place = place(folder.path());
    played(&small(3), &place, &schedule());
    let before = files(folder.path());
    let refused = |seed, schedule: &Schedule| {
        play(&small(seed), &place, schedule, &Stop::default(), &mut |_| {}).unwrap_err().to_string()
    };
    assert!(refused(3, &schedule()).contains("-s000-c000.xtc2 is there already: take another --first-run"));
    let next = Schedule { first_run: RunNumber(4), ..schedule() };
    assert!(refused(4, &next).contains("is there already, made by another plan: take another --out"));
    assert!(files(folder.path()) == before);
    played(&small(3), &place, &next);
    assert!(files(folder.path()).len() == before.len() + 3);
}

#[test]
fn room_is_told_beforehand_and_close_to_what_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let place = place(folder.path());
    let schedule = Schedule { images: 60, runs: 2, ..schedule() };
    let simulator = small(3);
    let told = need(&simulator, &place, &schedule);
    played(&simulator, &place, &schedule);
    let written: u64 = files(folder.path()).values().map(|bytes| bytes.len() as u64).sum();
    // Constants and the like are counted generously.
    assert!(told.disk >= written && told.disk - (12 << 20) < written, "{} {written}", told.disk);
    let all = Room::look(&folder.path().join("not/there/yet")).unwrap();
    all.check(&told, folder.path()).unwrap();
    let much = need(&simulator, &place, &Schedule { images: 1 << 40, ..schedule.clone() });
    let refused = all.check(&much, folder.path()).unwrap_err().to_string();
    assert!(refused.contains(" needs ") && refused.contains("take fewer images"), "{refused}");
    let room = Room { disk: u64::MAX, in_memory: true, memory: Some(1 << 30) };
    let refused = room.check(&Need { disk: 1 << 30, memory: 1 }, folder.path()).unwrap_err().to_string();
    assert!(refused.starts_with("the memory needs 1.0 GiB"), "{refused}");
}
