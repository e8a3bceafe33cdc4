//! The suites' stage: the real parts, a mover, the analysis beside it, somebody who counts what is announced, and the rules that
//! must hold at the end of every case. Never here: a case, or a look into a service other than the one that its users have.

pub mod analysis;
pub mod guard;
pub mod images;
pub mod judge;
pub mod play;
pub mod settings;
pub mod stage;
pub mod witness;

pub use analysis::Analysis;
pub use images::Images;
pub use judge::Judge;
pub use settings::Settings;
pub use stage::{Setup, Stage, on_stage};
pub use witness::{Seen, Witness};

/// Whether the long versions are wanted.
pub fn campaign() -> bool {
    std::env::var_os("LIGHTRAIL_CAMPAIGN").is_some_and(|value| value == "1")
}
