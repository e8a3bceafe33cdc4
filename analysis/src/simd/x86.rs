//! The kernels of `lines.rs` in the vector instructions of x86-64; each says what its twin there says, bit for bit: no sum is
//! contracted or reordered. Nothing here is called but by that file.

#[allow(clippy::wildcard_imports)] // every second word is an instruction
use std::arch::x86_64::*;

use super::kernels::Plain;
use super::lines::{Cores, Entries, LANES, Line, Lines, PARTS, Rectangle, Side, Sides, Strays};
use crate::detectors::Steps;

type Row = [__m256i; LANES];

/// A tile that is whole, into lines.
#[target_feature(enable = "avx2")]
pub(super) fn lay_out(pixels: &[u16], rectangle: &Rectangle, out: &mut Lines<u16>) {
    let (blocks, _) = out.as_chunks_mut::<LANES>();
    for (number, block) in blocks.iter_mut().enumerate() {
        let first = rectangle.first + number * LANES;
        let line = |row: usize| &pixels[first + row * rectangle.stride..][..LANES];
        if rectangle.upright >> number & 1 == 0 {
            for (row, out) in block.iter_mut().enumerate() {
                out.copy_from_slice(line(row));
            }
            continue;
        }
        let mut rows = [_mm256_setzero_si256(); LANES];
        for (row, register) in rows.iter_mut().enumerate() {
            *register = load_raw(line(row).first_chunk().expect("sixteen pixels"));
        }
        for (column, out) in transpose(&rows).into_iter().zip(block) {
            // SAFETY: the array holds the 32 bytes that are written; no alignment is asked for.
            #[allow(unsafe_code)]
            unsafe {
                _mm256_storeu_si256(out.as_mut_ptr().cast(), column);
            }
        }
    }
}

/// Sixteen columns of sixteen rows.
#[target_feature(enable = "avx2")]
fn transpose(rows: &Row) -> Row {
    let (upper, lower) = (halves(&rows[..8]), halves(&rows[8..]));
    std::array::from_fn(|column| {
        let (upper, lower) = (upper[column % 8], lower[column % 8]);
        if column < 8 {
            _mm256_permute2x128_si256::<0x20>(upper, lower)
        } else {
            _mm256_permute2x128_si256::<0x31>(upper, lower)
        }
    })
}

/// Of eight rows columns n and n + 8 in register n.
#[target_feature(enable = "avx2")]
fn halves(r: &[__m256i]) -> [__m256i; 8] {
    let two = |a: usize| (_mm256_unpacklo_epi16(r[a], r[a + 1]), _mm256_unpackhi_epi16(r[a], r[a + 1]));
    let ((a0, a1), (a2, a3), (a4, a5), (a6, a7)) = (two(0), two(2), two(4), two(6));
    let four = |a: __m256i, b: __m256i| (_mm256_unpacklo_epi32(a, b), _mm256_unpackhi_epi32(a, b));
    let ((b0, b1), (b2, b3), (b4, b5), (b6, b7)) = (four(a0, a2), four(a1, a3), four(a4, a6), four(a5, a7));
    let eight = |a: __m256i, b: __m256i| [_mm256_unpacklo_epi64(a, b), _mm256_unpackhi_epi64(a, b)];
    let ([c0, c1], [c2, c3], [c4, c5], [c6, c7]) =
        (eight(b0, b4), eight(b1, b5), eight(b2, b6), eight(b3, b7));
    [c0, c1, c2, c3, c4, c5, c6, c7]
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub(super) fn calibrate_avx512(
    raw: &Lines<u16>,
    (entries, steps): (&[Entries], Steps),
    plain: Plain,
    out: &mut Lines<f32>,
) -> u64 {
    let (from, count) = range(plain);
    let (shift, base) = (_mm_cvtsi32_si128(steps.shift.cast_signed()), _mm512_set1_epi32(scaled(steps)));
    let mut odd = 0;
    for (number, ((raw, entries), out)) in raw.iter().zip(entries).zip(out).enumerate() {
        let (raw, offset, scale) = (load_raw(raw), load_raw(&entries.offset), load_raw(&entries.scale));
        let adc = _mm512_sll_epi32(_mm512_cvtepu16_epi32(raw), shift);
        let above = _mm512_cvtepi32_ps(_mm512_sub_epi32(adc, _mm512_cvtepu16_epi32(offset)));
        let has = _mm256_test_epi16_mask(scale, scale);
        let scale = _mm512_slli_epi32::<{ Steps::ROUNDED }>(_mm512_cvtepu16_epi32(scale));
        let scale = _mm512_castsi512_ps(_mm512_maskz_add_epi32(has, scale, base));
        store16(out, _mm512_mul_ps(above, scale));
        let any = _mm256_cmpge_epu16_mask(_mm256_sub_epi16(raw, from), count)
            | _mm256_mask_test_epi16_mask(!has, offset, offset)
            != 0;
        odd |= u64::from(any) << number;
    }
    odd
}

#[target_feature(enable = "avx2")]
pub(super) fn calibrate_avx2(
    raw: &Lines<u16>,
    (entries, steps): (&[Entries], Steps),
    plain: Plain,
    out: &mut Lines<f32>,
) -> u64 {
    let (from, count) = range(plain);
    let (shift, base) = (_mm_cvtsi32_si128(steps.shift.cast_signed()), _mm256_set1_epi32(scaled(steps)));
    let zero = _mm256_setzero_si256();
    let mut odd = 0;
    for (number, ((raw, entries), out)) in raw.iter().zip(entries).zip(out).enumerate() {
        let (raw, offset, scale) = (load_raw(raw), load_raw(&entries.offset), load_raw(&entries.scale));
        let (raws, offsets, scales) = (wide(raw), wide(offset), wide(scale));
        for half in 0..2 {
            let adc = _mm256_sll_epi32(raws[half], shift);
            let above = _mm256_cvtepi32_ps(_mm256_sub_epi32(adc, offsets[half]));
            let has_none = _mm256_cmpeq_epi32(scales[half], zero);
            let scale =
                _mm256_add_epi32(_mm256_slli_epi32::<{ Steps::ROUNDED.cast_signed() }>(scales[half]), base);
            let scale = _mm256_castsi256_ps(_mm256_andnot_si256(has_none, scale));
            store8(out, half, _mm256_mul_ps(above, scale));
        }
        let above = _mm256_sub_epi16(raw, from);
        let is_odd = _mm256_cmpeq_epi16(_mm256_max_epu16(above, count), above);
        let none = _mm256_andnot_si256(_mm256_cmpeq_epi16(offset, zero), _mm256_cmpeq_epi16(scale, zero));
        let any = _mm256_movemask_epi8(_mm256_or_si256(is_odd, none)) != 0;
        odd |= u64::from(any) << number;
    }
    odd
}

/// The first plain value, and how many there are.
#[inline]
#[target_feature(enable = "avx2")]
fn range(plain: Plain) -> (__m256i, __m256i) {
    let count = plain.to.wrapping_sub(plain.from);
    (_mm256_set1_epi16(plain.from.cast_signed()), _mm256_set1_epi16(count.cast_signed()))
}

/// What makes scales of their codes, for distances in steps of the offset: a power of two goes from one to the other, so that
/// the product is the same.
fn scaled(steps: Steps) -> i32 {
    (steps.base - (steps.shift << 23)).cast_signed()
}

/// Sixteen numbers of 16 bits as 32 bits, the lower eight first.
#[inline]
#[target_feature(enable = "avx2")]
fn wide(numbers: __m256i) -> [__m256i; 2] {
    let halves = [_mm256_castsi256_si128(numbers), _mm256_extracti128_si256::<1>(numbers)];
    halves.map(|half| _mm256_cvtepu16_epi32(half))
}

#[inline]
#[target_feature(enable = "avx")]
fn load_raw(raw: &[u16; LANES]) -> __m256i {
    // SAFETY: the array holds the 32 bytes that are read; no alignment is asked for.
    #[allow(unsafe_code)]
    unsafe {
        _mm256_loadu_si256(raw.as_ptr().cast())
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub(super) fn moments_avx512(
    values: &Lines<f32>,
    lines: &[Line],
    cores: &Cores,
    sides: &mut Sides,
    strays: &mut Vec<Strays>,
) {
    let shifts = _mm512_setr_epi32(0, 0, 4, 4, 8, 8, 12, 12, 16, 16, 20, 20, 24, 24, 28, 28);
    for (number, (line, values)) in lines.iter().zip(values).enumerate() {
        let (window, near) = line.window();
        let [lower, upper] = cores.windows[window..].first_chunk().expect("room for a line");
        let both = |lower, upper| _mm512_mask_blend_ps(near, load16(upper), load16(lower));
        let centre = both(&lower.centre, &upper.centre);
        let (low, high) = (both(&lower.low, &upper.low), both(&lower.high, &upper.high));
        let values = load16(values);
        // A permutation looks at the lower four bits of each lane.
        let of = |places: u64, has: u16| {
            let places = _mm512_srlv_epi32(_mm512_set1_epi64(places.cast_signed()), shifts);
            let value = _mm512_permutexvar_ps(places, values);
            let inside = _mm512_mask_cmp_ps_mask::<_CMP_GT_OQ>(has, value, low);
            let inside = _mm512_mask_cmp_ps_mask::<_CMP_LT_OQ>(inside, value, high);
            (_mm512_maskz_sub_ps(inside, value, centre), has & !inside)
        };
        let (a, first) = of(line.first, line.has_first);
        let (b, second) = of(line.second, line.has_second);
        let sum = _mm512_add_ps(a, b);
        let square = _mm512_add_ps(_mm512_mul_ps(a, a), _mm512_mul_ps(b, b));
        let sides: &mut [Side; 2] =
            sides.0[number % PARTS][window..].first_chunk_mut().expect("room for a line");
        for (side, lanes) in sides.iter_mut().zip([near, !near]) {
            // Whole lines are written: what is written by a mask cannot be read again at once.
            let add = |to: &mut [f32; LANES], values: __m512| {
                let sum = _mm512_add_ps(load16(to), _mm512_maskz_mov_ps(lanes, values));
                store16(to, sum);
            };
            add(&mut side.sum, sum);
            add(&mut side.square, square);
        }
        if first | second != 0 {
            strays.push(Strays { line: number, first, second });
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load16(values: &[f32; LANES]) -> __m512 {
    // SAFETY: the array holds the 64 bytes that are read; no alignment is asked for.
    #[allow(unsafe_code)]
    unsafe {
        _mm512_loadu_ps(values.as_ptr())
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn store16(to: &mut [f32; LANES], values: __m512) {
    // SAFETY: the array holds the 64 bytes that are written; no alignment is asked for.
    #[allow(unsafe_code)]
    unsafe {
        _mm512_storeu_ps(to.as_mut_ptr(), values);
    }
}

#[target_feature(enable = "avx2")]
pub(super) fn moments_avx2(
    values: &Lines<f32>,
    lines: &[Line],
    cores: &Cores,
    sides: &mut Sides,
    strays: &mut Vec<Strays>,
) {
    let shifts =
        [_mm256_setr_epi32(0, 0, 4, 4, 8, 8, 12, 12), _mm256_setr_epi32(16, 16, 20, 20, 24, 24, 28, 28)];
    let bits = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
    for (number, (line, values)) in lines.iter().zip(values).enumerate() {
        let (window, near) = line.window();
        let [lower, upper] = cores.windows[window..].first_chunk().expect("room for a line");
        let sides: &mut [Side; 2] =
            sides.0[number % PARTS][window..].first_chunk_mut().expect("room for a line");
        let values = [load8(values, 0), load8(values, 1)];
        let mut outside = [0_u16; 2];
        for (half, shifts) in shifts.into_iter().enumerate() {
            let lanes = |of: u16| {
                let of = _mm256_and_si256(_mm256_set1_epi32(i32::from(of >> (half * 8))), bits);
                _mm256_castsi256_ps(_mm256_cmpeq_epi32(of, bits))
            };
            let is_near = lanes(near);
            let both = |lower, upper| _mm256_blendv_ps(load8(upper, half), load8(lower, half), is_near);
            let centre = both(&lower.centre, &upper.centre);
            let (low, high) = (both(&lower.low, &upper.low), both(&lower.high, &upper.high));
            // A permutation looks at the lower three bits of each lane; the fourth, moved to the sign, says which half.
            let pick = |places: u64, has: u16| {
                let places = _mm256_srlv_epi32(_mm256_set1_epi64x(places.cast_signed()), shifts);
                let of = |half: __m256| _mm256_permutevar8x32_ps(half, places);
                let is_upper = _mm256_castsi256_ps(_mm256_slli_epi32::<28>(places));
                let value = _mm256_blendv_ps(of(values[0]), of(values[1]), is_upper);
                let (above, below) =
                    (_mm256_cmp_ps::<_CMP_GT_OQ>(value, low), _mm256_cmp_ps::<_CMP_LT_OQ>(value, high));
                let inside = _mm256_and_ps(lanes(has), _mm256_and_ps(above, below));
                let outside = _mm256_movemask_ps(_mm256_andnot_ps(inside, lanes(has)));
                #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // eight bits
                let outside = (outside as u16) << (half * 8);
                (_mm256_and_ps(inside, _mm256_sub_ps(value, centre)), outside)
            };
            let (a, first) = pick(line.first, line.has_first);
            let (b, second) = pick(line.second, line.has_second);
            outside[0] |= first;
            outside[1] |= second;
            let sum = _mm256_add_ps(a, b);
            let square = _mm256_add_ps(_mm256_mul_ps(a, a), _mm256_mul_ps(b, b));
            let [lower, upper] = &mut *sides;
            for (side, upper) in [(lower, false), (upper, true)] {
                let add = |to: &mut [f32; LANES], values: __m256| {
                    let mine = if upper {
                        _mm256_andnot_ps(is_near, values)
                    } else {
                        _mm256_and_ps(is_near, values)
                    };
                    let sum = _mm256_add_ps(load8(to, half), mine);
                    store8(to, half, sum);
                };
                add(&mut side.sum, sum);
                add(&mut side.square, square);
            }
        }
        if outside != [0; 2] {
            strays.push(Strays { line: number, first: outside[0], second: outside[1] });
        }
    }
}

#[inline]
#[target_feature(enable = "avx")]
fn load8(values: &[f32; LANES], half: usize) -> __m256 {
    let half: &[f32; 8] = &values.as_chunks().0[half];
    // SAFETY: the array holds the 32 bytes that are read; no alignment is asked for.
    #[allow(unsafe_code)]
    unsafe {
        _mm256_loadu_ps(half.as_ptr())
    }
}

#[inline]
#[target_feature(enable = "avx")]
fn store8(to: &mut [f32; LANES], half: usize, values: __m256) {
    let half: &mut [f32; 8] = &mut to.as_chunks_mut().0[half];
    // SAFETY: the array holds the 32 bytes that are written; no alignment is asked for.
    #[allow(unsafe_code)]
    unsafe {
        _mm256_storeu_ps(half.as_mut_ptr(), values);
    }
}

/// Asks for values into the second-level cache.
#[inline]
pub(super) fn ask_for<T>(values: &[T]) {
    let first: *const i8 = values.as_ptr().cast();
    for line in (0..size_of_val(values)).step_by(64) {
        // SAFETY: the address is within the slice, and asking changes nothing but caches.
        #[allow(unsafe_code)]
        unsafe {
            _mm_prefetch::<_MM_HINT_T1>(first.add(line));
        }
    }
}
