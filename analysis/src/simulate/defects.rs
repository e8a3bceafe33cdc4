//! What is not ideal of a detector: every pixel's own pedestal and gain, hot and dead pixels, dead ASICs, and panels that stand
//! a little beside the place that the geometry file gives them.

use serde::{Deserialize, Serialize};

use super::model::Model;
use super::plan::Plan;
use super::random::{NORMAL_BITS, NORMALS, Purpose, Random};
use crate::detectors::{Constants, Kind, Mask, Modes};
use crate::frame::Shape;
use crate::geometry::{Geometry, Panel};

/// Where a panel truly is, as seen from where the geometry file has it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Shift {
    /// Pixels along x.
    pub x: f64,
    /// Pixels along y.
    pub y: f64,
    /// Degrees about z, through the panel's middle, from x towards y.
    pub turn: f64,
}

/// Faults of the pixels.
#[derive(Clone, Debug, Default)]
pub(super) struct Defects {
    /// Pixels that see light of their own, and how much, photons.
    pub(super) hot: Vec<(u32, f64)>,
    /// Pixels that see nothing, of dead ASICs too.
    pub(super) dead: Vec<u32>,
}

/// Draws a shift for every panel.
pub(super) fn shifts(plan: &Plan, panels: usize) -> Vec<Shift> {
    let one = |panel: usize| {
        let mut random = Random::of(plan.seed, Purpose::Shifts, &[panel as u64]);
        let mut within = |most: f64| random.between(-most, most);
        Shift { x: within(plan.shift), y: within(plan.shift), turn: within(plan.turn) }
    };
    (0..panels).map(one).collect()
}

/// The geometry with every panel moved.
pub(super) fn moved(geometry: &Geometry, shifts: &[Shift]) -> Geometry {
    let mut moved = geometry.clone();
    for (panel, shift) in moved.panels.iter_mut().zip(shifts) {
        move_panel(panel, shift);
    }
    moved
}

fn move_panel(panel: &mut Panel, shift: &Shift) {
    let middle = panel.position(
        (panel.columns.start + panel.columns.end - 1) as f64 / 2.0,
        (panel.rows.start + panel.rows.end - 1) as f64 / 2.0,
    );
    let (sin, cos) = shift.turn.to_radians().sin_cos();
    let turned = |v: [f64; 3]| [cos * v[0] - sin * v[1], sin * v[0] + cos * v[1], v[2]];
    let size = panel.pixel_size();
    let from_middle: [f64; 3] = std::array::from_fn(|i| panel.origin[i] - middle[i]);
    let back = turned(from_middle);
    panel.origin = std::array::from_fn(|i| middle[i] + back[i]);
    panel.origin[0] += shift.x * size;
    panel.origin[1] += shift.y * size;
    panel.fast = turned(panel.fast);
    panel.slow = turned(panel.slow);
}

/// Draws the faults. Every dead pixel and every second hot one is marked in the status that analysis gets.
pub(super) fn defects(plan: &Plan, shape: Shape) -> (Defects, Vec<u64>) {
    let mut random = Random::of(plan.seed, Purpose::Defects, &[]);
    let mut status = vec![0_u64; shape.len()];
    let mut defects = Defects::default();
    for _ in 0..(plan.dead * shape.len() as f64).round() as usize {
        defects.dead.push(random.below(shape.len()) as u32);
    }
    let (rows, columns) = plan.detector.asic();
    for _ in 0..plan.dead_asics {
        let panel = random.below(shape.panels);
        let row = random.below(shape.rows / rows) * rows;
        let column = random.below(shape.columns / columns) * columns;
        let first = panel * shape.panel_len() + row * shape.columns + column;
        defects.dead.extend(
            (0..rows).flat_map(|r| (0..columns).map(move |c| (first + r * shape.columns + c) as u32)),
        );
    }
    defects.dead.sort_unstable();
    defects.dead.dedup();
    for pixel in &defects.dead {
        status[*pixel as usize] = 1;
    }
    for n in 0..(plan.hot * shape.len() as f64).round() as usize {
        let pixel = random.below(shape.len());
        let photons = 10.0 + 60.0 * random.exponential();
        defects.hot.push((pixel as u32, photons));
        status[pixel] |= u64::from(n % 2 == 0) << 1;
    }
    defects.hot.sort_unstable_by_key(|(pixel, _)| *pixel);
    defects.hot.dedup_by_key(|(pixel, _)| *pixel);
    (defects, status)
}

/// Draws every pixel's pedestals and gains about those of the model: 60 ADU and 2 %, other modes likewise.
pub(super) fn constants(plan: &Plan, shape: Shape, status: Vec<u64>) -> Constants {
    let model: Model = plan.detector;
    let modes = model.modes();
    let length = shape.len();
    let mut pedestals = vec![0.0; modes * length];
    let mut gains = vec![1.0; modes * length];
    for stage in model.stages() {
        let mut random = Random::of(plan.seed, Purpose::Constants, &[stage.mode as u64]);
        let place = stage.mode * length..(stage.mode + 1) * length;
        let pixels = pedestals[place.clone()].iter_mut().zip(&mut gains[place]);
        for (pedestal, gain) in pixels {
            let bits = random.bits();
            let normal = |bits: u64| f64::from(NORMALS[(bits & ((1 << NORMAL_BITS) - 1)) as usize]);
            *pedestal = (stage.pedestal + 60.0 * normal(bits)) as f32;
            *gain = (stage.gain * (1.0 + 0.02 * normal(bits >> 32))) as f32;
        }
    }
    let of = |values| Some(Modes { shape, modes, values });
    let configuration = (model.kind() == Kind::Epix10ka).then(|| Modes {
        shape,
        modes: 1,
        values: vec![super::model::EPIX10KA_CONFIGURATION; length],
    });
    Constants {
        pedestals: of(pedestals),
        offsets: None,
        gains: of(gains),
        status: Some(Modes { shape, modes: 1, values: status }),
        configuration,
    }
}

/// What a user would mask: the beam stop's shadow.
pub(super) fn mask(plan: &Plan, shape: Shape, geometry: &Geometry) -> Mask {
    let mut mask = Mask::open(shape);
    let radius = plan.beam_stop * plan.detector.pixel();
    for (good, place) in mask.good.iter_mut().zip(geometry.positions(shape)) {
        *good = f64::from(place[0]).hypot(f64::from(place[1])) >= radius;
    }
    mask
}
