//! The images against their truth: statistics, calibration, and that nothing but the plan decides them.

use super::*;
use crate::frame::{Pixels, Shot};
use crate::pipeline::{Chain, Workspace};
use crate::trial::Parameters;

fn plan(seed: u64) -> Plan {
    Plan::new(Model::Jungfrau32k, seed)
}

/// A chain that gives photons, with what analysis gets.
fn chain(simulator: &Simulator) -> Chain {
    let kind = simulator.plan().detector.kind();
    let text = format!(
        "[detector]\nname = 'd'\nkind = '{kind}'\nphoton_energy = {}\n[calibration]\nunit = 'photon'\n\
         [spots.peakfinder8]\nthreshold = 4\nsnr = 6\nmax_pixels = 40\nlocal_bg_radius = 4\n",
        simulator.plan().photon_energy
    );
    let parameters = Parameters::from_toml(&text).unwrap();
    let masks = [simulator.mask().clone()];
    Chain::compile(&parameters, simulator.shape(), simulator.geometry(), simulator.constants(), &masks)
        .unwrap()
}

#[test]
fn the_same_plan_gives_the_same_images_in_any_order_and_another_seed_others() {
    let (one, two) = (Simulator::new(plan(5)).unwrap(), Simulator::new(plan(5)).unwrap());
    let first: Vec<Image> = (0..6).map(|i| one.image(1, i, &Wanted::ANY)).collect();
    let backwards: Vec<Image> = (0..6).rev().map(|i| two.image(1, i, &Wanted::ANY)).collect();
    assert!(first.iter().eq(backwards.iter().rev()));
    assert!(first[0].frame != first[1].frame && first[0].frame != one.image(2, 0, &Wanted::ANY).frame);
    let other = Simulator::new(plan(6)).unwrap();
    assert!(other.image(1, 0, &Wanted::ANY).frame != first[0].frame);
    assert!(other.shifts() != one.shifts() && other.constants() != one.constants());
}

#[test]
fn hits_and_doubles_come_at_their_rates_and_energies_about_their_mean() {
    let plan = Plan { hit_rate: 0.3, double_rate: 0.25, resolution: 8.0, ..plan(9) };
    let simulator = Simulator::new(plan).unwrap();
    let truths: Vec<Truth> = (0..4000).map(|i| simulator.truth(3, i, &Wanted::ANY)).collect();
    let count = |of: &dyn Fn(&Truth) -> bool| truths.iter().filter(|truth| of(truth)).count() as f64;
    let hits = count(&|truth| truth.hit());
    assert!((hits / 4000.0 - 0.3).abs() < 0.03, "{hits}");
    let doubles = count(&|truth| truth.crystals.len() == 2);
    assert!((doubles / hits - 0.25).abs() < 0.05, "{doubles} of {hits}");
    let mean = truths.iter().map(|truth| truth.photon_energy).sum::<f64>() / 4000.0;
    assert!((mean / 9537.0 - 1.0).abs() < 5e-5, "{mean}");
    let misses_have_no_spots = truths.iter().all(|truth| truth.hit() || truth.spots.is_empty());
    assert!(misses_have_no_spots);
    assert_eq!(simulator.truth(3, 1, &Wanted { crystals: Some(3), scale: Some(2.0) }).crystals.len(), 3);
}

#[test]
fn calibrated_images_are_the_photons_that_were_drawn() {
    let plan = Plan { hot: 0.0, dead: 0.0, noise: 0.05, ..plan(11) };
    let simulator = Simulator::new(plan).unwrap();
    let chain = chain(&simulator);
    let mut workspace = Workspace::default();
    let (mut sum, mut expected, mut pixels) = (0.0, 0.0, 0.0);
    for index in 0..20 {
        let image = simulator.image(1, index, &Wanted::MISS);
        let values = chain.values(&mut workspace, &image.frame).unwrap();
        for (value, good) in values.iter().zip(&simulator.mask().good) {
            if *good {
                let value = f64::from(*value);
                // A photon is 390 ADU: what is left besides whole photons is noise and the shot's own energy.
                assert!((value - value.round()).abs() < 0.3, "{value}");
                sum += value;
                pixels += 1.0;
            }
        }
        expected += mean_background(&simulator) * image.truth.background;
    }
    let (mean, expected) = (sum / pixels, expected / 20.0);
    assert!((mean / expected - 1.0).abs() < 0.01, "{mean} {expected}");
}

/// The plan's radial function over the good pixels, in its own words.
fn mean_background(simulator: &Simulator) -> f64 {
    let plan = simulator.plan();
    let places = simulator.true_geometry().positions(simulator.shape());
    let good = places.iter().zip(&simulator.mask().good).filter(|(_, good)| **good);
    let means: Vec<f64> = good
        .map(|([x, y, z], _)| {
            let [x, y, z] = [x, y, z].map(|v| f64::from(*v));
            let theta = (x.hypot(y) / z).atan() / 2.0;
            let q = 2.0 * theta.sin() / plan.wavelength();
            let radial = 0.3 + (-(q / 0.12).powi(2)).exp() + 1.6 * (-((q - 0.31) / 0.05).powi(2)).exp();
            let along = |v: f64| 1.0 - v * v / (x * x + y * y + z * z);
            plan.background * radial * (plan.polarisation * along(x) + (1.0 - plan.polarisation) * along(y))
        })
        .collect();
    means.iter().sum::<f64>() / means.len() as f64
}

#[test]
fn spots_hold_the_photons_of_their_truth_and_strong_pixels_switch_their_gain() {
    let plan = Plan { background: 0.0, hot: 0.0, dead: 0.0, intensity: 20_000.0, beam_stop: 0.0, ..plan(12) };
    let simulator = Simulator::new(plan).unwrap();
    let chain = chain(&simulator);
    let mut workspace = Workspace::default();
    let (mut seen, mut true_sum, mut switched) = (0.0, 0.0, [0; 4]);
    for index in 0..10 {
        let image = simulator.image(1, index, &Wanted::HIT);
        let Pixels::U16(raw) = &image.frame.pixels else { unreachable!() };
        for raw in raw {
            switched[usize::from(raw >> 14)] += 1;
        }
        let values = chain.values(&mut workspace, &image.frame).unwrap();
        seen += values.iter().map(|v| f64::from(*v)).sum::<f64>();
        true_sum += image.truth.spots.iter().map(|spot| spot.intensity).sum::<f64>();
        let shape = simulator.shape();
        for spot in image.truth.spots.iter().filter(|spot| spot.good && spot.intensity > 2000.0) {
            let alone =
                image.truth.spots.iter().filter(|o| (o.x - spot.x).hypot(o.y - spot.y) < 16.0).count() == 1;
            let (column, row) = (spot.x.round() as usize, spot.y.round() as usize);
            if !alone || column < 6 || row < 6 || column + 6 > shape.columns || row + 6 > shape.rows {
                continue;
            }
            let (mut sum, mut x, mut y) = (0.0, 0.0, 0.0);
            for (r, c) in (row - 5..row + 6).flat_map(|r| (column - 5..column + 6).map(move |c| (r, c))) {
                let value = f64::from(values[r * shape.columns + c]);
                (sum, x, y) = (sum + value, x + value * c as f64, y + value * r as f64);
            }
            let sigma = spot.intensity.sqrt().hypot(0.01 * spot.intensity);
            assert!((sum - spot.intensity).abs() < 6.0 * sigma, "{sum} {spot:?}");
            assert!((x / sum - spot.x).hypot(y / sum - spot.y) < 0.15, "{x} {y} {sum} {spot:?}");
        }
    }
    // Spots at the panel's edge lose a part.
    assert!(seen / true_sum > 0.96 && seen / true_sum < 1.01, "{seen} {true_sum}");
    assert!(
        switched[0] > 300_000 && switched[1] > 200 && switched[2] == 0 && switched[3] > 5,
        "{switched:?}"
    );
}

#[test]
fn a_finder_sees_hits_as_hits_and_misses_as_misses() {
    let simulator = Simulator::new(plan(13)).unwrap();
    let chain = chain(&simulator);
    let mut workspace = Workspace::default();
    let (mut findable, mut found, mut wrong, mut spots) = (0, 0, 0, 0);
    for index in 0..30 {
        let miss = simulator.image(1, index, &Wanted::MISS);
        assert!(!chain.process(&mut workspace, &[(&miss.frame, &miss.shot)]).remove(0).unwrap().hit);
        let image = simulator.image(1, index, &Wanted::HIT);
        let outcome = chain.process(&mut workspace, &[(&image.frame, &image.shot)]).remove(0).unwrap();
        let near =
            |x: f32, y: f32, spot: &TruthSpot| (f64::from(x) - spot.x).hypot(f64::from(y) - spot.y) < 2.0;
        let strong = image.truth.findable(25.0).count();
        assert!(strong < 40 || outcome.hit, "{strong} {}", outcome.spots.len());
        for spot in image.truth.findable(60.0) {
            findable += 1;
            found += usize::from(outcome.spots.iter().any(|other| near(other.fast, other.slow, spot)));
        }
        spots += outcome.spots.len();
        wrong += outcome
            .spots
            .iter()
            .filter(|other| !image.truth.spots.iter().any(|spot| near(other.fast, other.slow, spot)))
            .count();
    }
    assert!(findable > 500 && found * 100 > findable * 90, "{found} of {findable}");
    assert!(wrong * 50 < spots, "{wrong} of {spots}");
}

#[test]
fn panels_stand_beside_their_place_and_defects_where_the_status_says() {
    let plan = Plan { dead_asics: 1, ..Plan::new(Model::Epix10kaQuad, 4) };
    let simulator = Simulator::new(plan).unwrap();
    let size = simulator.plan().detector.pixel();
    for ((written, real), shift) in
        simulator.geometry().panels.iter().zip(&simulator.true_geometry().panels).zip(simulator.shifts())
    {
        assert!(shift.x.abs() <= 0.5 && shift.y.abs() <= 0.5 && shift.turn.abs() <= 0.1);
        let middle = |panel: &crate::geometry::Panel| panel.position(191.5, 175.5);
        let (from, to) = (middle(written), middle(real));
        assert!(((to[0] - from[0]) / size - shift.x).abs() < 1e-9);
        assert!(((to[1] - from[1]) / size - shift.y).abs() < 1e-9);
    }
    let image = simulator.image(1, 0, &Wanted::MISS);
    let Pixels::U16(raw) = &image.frame.pixels else { unreachable!() };
    let status = simulator.constants().status.as_ref().unwrap();
    let dead = raw.iter().zip(status.of(0)).filter(|(raw, _)| **raw == 0);
    let (dead, known) = dead.fold((0, 0), |(n, known), (_, status)| (n + 1, known + (status & 1)));
    assert!(dead >= 176 * 192 && known == dead, "{dead} {known}");
    let outcome =
        chain(&simulator).process(&mut Workspace::default(), &[(&image.frame, &Shot::default())]).remove(0);
    assert!(!outcome.unwrap().hit);
}

#[test]
fn what_cannot_be_is_refused() {
    let refused = |plan: Plan| Simulator::new(plan).unwrap_err().to_string();
    assert_eq!(refused(Plan { hit_rate: 1.5, ..plan(1) }), "the hit rate is 1.5, and must be from 0 to 1");
    assert!(refused(Plan { background: f64::NAN, ..plan(1) }).contains("the background in photons is NaN"));
    assert!("jungfrau3M".parse::<Model>().unwrap_err().to_string().contains("there are: jungfrau4M"));
}
