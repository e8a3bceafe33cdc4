//! Parts in a folder: what is written when, and that nothing is lost or counted twice.

use lightrail_topics::TrialNumber;
use lightrail_topics::events::ShotData;

use super::*;
use crate::simulate::{Model, Plan, Simulator};
use crate::trial::Parameters;

fn chain() -> Chain {
    let simulator = Simulator::new(Plan::new(Model::Jungfrau32k, 1)).unwrap();
    let kind = simulator.plan().detector.kind();
    let parameters = Parameters::from_toml(&format!(
        "[detector]\nname = 'd'\nkind = '{kind}'\nphoton_energy = 9000\n[spots.peakfinder8]\nthreshold = 4\n"
    ));
    let (mask, shape) = ([simulator.mask().clone()], simulator.shape());
    Chain::compile(&parameters.unwrap(), shape, simulator.geometry(), simulator.constants(), &mask).unwrap()
}

fn image(trial: u32) -> Image {
    Image {
        image: "mfxlv9518/1/1-1".parse().unwrap(),
        trial: TrialNumber(trial),
        site: "NERSC".parse().unwrap(),
        extents: Vec::new(),
        configure: Vec::new(),
        names_epoch: 0,
        shot: ShotData::default(),
    }
}

#[test]
fn where_too_many_are_open_only_the_oldest_are_written_and_nothing_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let (chain, sums) = (chain(), Sums::new(folder.path().to_owned(), "w-1".parse().unwrap()));
    let values = vec![1.0; chain.calibration().shape().len()];
    let last = u32::try_from(OPEN).unwrap() + 2;
    for trial in 1..=last {
        sums.add(&image(trial), &chain, true, &values);
    }
    sums.write_surplus();
    let written =
        |folder: &Path| -> Vec<u32> { runs(folder).unwrap().into_iter().map(|of| of.trial.0).collect() };
    assert_eq!(written(folder.path()), [1, 2], "the two that nobody has added to for longest");

    // What still comes for one that was given up begins another part, and makes another the oldest.
    sums.add(&image(1), &chain, true, &values);
    sums.write_surplus();
    assert_eq!(written(folder.path()), [1, 2, 3]);
    sums.write(None);
    for trial in 1..=last {
        let of = RunInTrial { run: image(trial).image.run, trial: TrialNumber(trial) };
        let [whole] = &read(folder.path(), &of).unwrap()[..] else { panic!("one whole of {of}") };
        let (images, parts, value) = if trial == 1 { (2, 2, 2.0) } else { (1, 1, 1.0) };
        assert_eq!((whole.head.hits, whole.parts), (images, parts), "{of}");
        assert_eq!(whole.powders.hits.sum, vec![value; values.len()], "{of}");
    }
}

#[test]
fn hits_of_the_run_that_are_in_no_part_are_missing() {
    let folder = tempfile::tempdir().unwrap();
    let (chain, sums) = (chain(), Sums::new(folder.path().to_owned(), "w-1".parse().unwrap()));
    let values = vec![1.0; chain.calibration().shape().len()];
    sums.add(&image(1), &chain, true, &values);
    sums.add(&image(1), &chain, false, &values);
    sums.write(None);
    // A worker that is killed before it writes.
    Sums::new(folder.path().to_owned(), "w-2".parse().unwrap()).add(&image(1), &chain, true, &values);
    let table = "experiment,run,unix_time_s,outcome,spots\nmfxlv9518,1,1,hit,9\nmfxlv9518,1,2,hit,9\n\
                 mfxlv9518,1,3,miss,0\nmfxlv9518,2,4,hit,9\n";
    let of = RunInTrial { run: image(1).image.run, trial: TrialNumber(1) };
    let mut results = crate::process::csv::read(table).unwrap();
    results.retain(|result| result.is_of(&of));
    let [whole] = &read(folder.path(), &of).unwrap()[..] else { panic!("one whole") };
    assert_eq!((whole.head.hits, whole.missing(&results)), (1, 1));
    assert_eq!(whole.missing(&results[1..]), 0);
}
