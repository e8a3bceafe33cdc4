//! A beam time with known truth: a crystal's diffraction, background, detector and its faults, and the files that a DAQ writes
//! of it. The numbers depend on a [`Plan`] alone: the same plan gives the same images byte for byte, on however many threads.
//!
//! [`Simulator::image`] gives an image with its truth in memory, [`play`] writes runs as a DAQ does. Forward model (Kirian et al. 2010, Opt.
//! Express 18, 5713; White 2014, Phil. Trans. R. Soc. B 369, 20130330), see [`Plan`].
//!
//! ```
//! use lightrail_analysis::simulate::{Model, Plan, Simulator, Wanted};
//!
//! let simulator = Simulator::new(Plan::new(Model::Jungfrau32k, 7))?;
//! let image = simulator.image(1, 0, &Wanted::HIT);
//! assert_eq!(image.frame.shape, Model::Jungfrau32k.shape());
//! assert!(image.truth.findable(25.0).count() > 20);
//! assert_eq!(image.frame, simulator.image(1, 0, &Wanted::HIT).frame);
//! # Ok::<(), lightrail_analysis::simulate::PlanError>(())
//! ```

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    clippy::cast_possible_wrap,
    clippy::many_single_char_names,
    reason = "photons, pixels and indices are small numbers, and their names the field's"
)]

mod announce;
mod crystal;
mod dealt;
mod defects;
mod diffraction;
mod error;
mod inputs;
mod model;
mod place;
mod plan;
mod play;
mod random;
mod recorder;
mod render;
mod room;
mod symmetry;
#[cfg(test)]
mod tests;
mod truth;

pub use announce::Announcer;
pub use crystal::{Cell, CellError, Matrix};
pub use defects::Shift;
pub use error::SimulateError;
pub use model::{Model, ModelError};
pub use place::Place;
pub use plan::{Partiality, Plan, PlanError};
pub use play::{News, RunPlayed, Schedule, Stop, play};
pub use recorder::Written;
pub use render::{Image, Simulator, Wanted};
pub use room::{Need, Room, need};
pub use symmetry::{SpaceGroup, SpaceGroupError};
pub use truth::{Crystal, Truth, TruthSpot};
