//! The loops that touch every pixel, each compiled for AVX-512, for AVX2 and for any processor, chosen while running. Nothing
//! here knows what a spot is; the only `unsafe` of the crate is in `simd/level.rs`.
//!
//! A kernel is one safe body; the compiler makes vector code of it per level without contracting or reordering a sum that the
//! body does not, so all levels give the same bits: the portable one is the scalar twin that the others are tested against.

mod kernels;
mod level;
#[cfg(test)]
mod tests;

pub(crate) use kernels::{Plain, RUN, Run, TILE, add, calibrate, sample, screen, screen_values, sums};
pub(crate) use level::Level;
