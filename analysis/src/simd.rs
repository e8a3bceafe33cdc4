//! The loops that touch every pixel, each compiled for AVX-512, for AVX2 and for any processor, chosen while running. Nothing
//! here knows what a spot is; the only `unsafe` of the crate is in `simd/level.rs`.
//!
//! A kernel is one safe body; the compiler makes vector code of it per level without contracting or reordering a sum that the
//! body does not, so all levels give the same bits: the portable one is the scalar twin that the others are tested against.

mod kernels;
mod level;
#[cfg(test)]
#[allow(clippy::large_stack_arrays)] // a test has room for a tile
mod tests;

pub(crate) use kernels::{
    BUFFER, CHUNK, Core, LANES, NOWHERE, Plain, RUN, Rectangle, Run, SIDE, Segment, Side, Sums, add, arrange,
    calibrate, calibrate_tile, moments, sample, within,
};
pub(crate) use level::Level;
