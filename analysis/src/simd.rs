//! The loops that touch every pixel, each for AVX-512, for AVX2 and for any processor, chosen while running. Nothing here knows
//! what a spot is; the only `unsafe` of the crate is in three files of `simd/`.
//!
//! Most kernels are one safe body, compiled per level; those that move pixels between lanes are said in instructions in `x86.rs`
//! too. Nothing contracts or reorders a sum that the body does not, so all levels give the same bits: the portable one is the
//! scalar twin that the others are tested against.

mod kernels;
mod level;
mod lines;
#[cfg(test)]
#[allow(clippy::large_stack_arrays)] // a test has room for a tile
mod tests;
#[cfg(target_arch = "x86_64")]
mod x86;

pub(crate) use kernels::{CHUNK, Plain, Run, Sums, add, calibrate, sample, within};
pub use level::Level;
pub(crate) use lines::{
    BLOCKS, Core, Cores, Entries, LANES, LINES, Line, Lines, PIXELS, Rectangle, Sides, Strays, ask_for,
    calibrate_lines, lay_out, lay_out_plainly, moments,
};
