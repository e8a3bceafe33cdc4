//! A gain stage's constants in two bytes each instead of four, for they are most of what an image reads from memory on its way:
//! offsets in steps of a power of two, scales as the upper bits of a float. Rounds once, when a trial is compiled; constants
//! that have no such form are told apart and stay as they are.

use super::Entry;

/// Bits of a scale that are rounded away: of a float's 23 there are 13 left, and of its exponent the lowest three.
const ROUNDED: u32 = 10;
/// Octaves that scales come from.
const OCTAVES: usize = 8;
/// The finest step of offsets, as a power of one half.
const FINEST: u32 = 6;
/// Of a thousand pixels so many may be left out for a finer step.
const LEFT_OUT: usize = 1;

/// What two bytes mean. An offset is rounded to the nearest step (for the pedestals of a 14-bit ADC 1/4 ADU or finer: by 1/8 ADU
/// at most, where the noise is some ADU), a scale to the nearest of 8,192 in its octave (by 1 part in 16,384 at most, where gains are
/// known to some parts in 1,000).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Steps {
    /// An offset is its code times 2^-this, ADU.
    pub(crate) shift: u32,
    /// A scale's bits are these and its code, moved up by [`Steps::ROUNDED`].
    pub(crate) base: u32,
}

/// A pixel's constants in four bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Code {
    pub(crate) offset: u16,
    /// 0 is scale 0.
    pub(crate) scale: u16,
}

impl Code {
    /// Of a pixel whose constants have no code: no scale has an offset but this one.
    pub(crate) const NONE: Self = Self { offset: 1, scale: 0 };
}

impl Steps {
    /// Bits that a scale's code is moved up.
    pub(crate) const ROUNDED: u32 = ROUNDED;

    /// Those that suit most pixels of a table.
    pub(crate) fn of(table: &[Entry]) -> Self {
        let mut scales = [0_usize; 256];
        let mut offsets = [0_usize; FINEST as usize + 1];
        for entry in table.iter().filter(|entry| entry.scale.is_normal() && entry.scale > 0.0) {
            scales[(entry.scale.to_bits() >> 23) as usize] += 1;
            for (shift, fitting) in (0..).zip(&mut offsets) {
                *fitting += usize::from(offset(entry.offset, shift).is_some());
            }
        }
        // Room below, for a kernel moves the exponent down by a step's; and above, for infinity is no scale.
        let octaves = scales[32..255 - OCTAVES].windows(OCTAVES).map(|octaves| octaves.iter().sum::<usize>());
        let (first, _) =
            (32_u32..).zip(octaves).fold((32, 0), |best, next| if next.1 > best.1 { next } else { best });
        let enough = offsets[0] - offsets[0] * LEFT_OUT / 1000;
        let shift =
            (0..).zip(&offsets).filter(|(_, fitting)| **fitting >= enough).map(|(shift, _)| shift).max();
        Self { shift: shift.unwrap_or(0), base: (first << 23) - (1 << ROUNDED) }
    }

    /// The code nearest to a pixel's constants; nothing where none is near.
    pub(crate) fn code(self, entry: Entry) -> Option<Code> {
        if entry.scale == 0.0 {
            return Some(Code::default());
        }
        let nearest = entry.scale.to_bits().wrapping_add(1 << (ROUNDED - 1));
        let scale =
            u16::try_from(nearest.checked_sub(self.base)? >> ROUNDED).ok().filter(|code| *code > 0)?;
        Some(Code { offset: offset(entry.offset, self.shift)?, scale })
    }

    /// The constants of a code.
    #[inline]
    pub(crate) fn entry(self, code: Code) -> Entry {
        let scale = if code.scale == 0 { 0 } else { self.base + (u32::from(code.scale) << ROUNDED) };
        Entry { offset: f32::from(code.offset) * self.step(), scale: f32::from_bits(scale) }
    }

    /// A pixel's constants rounded, or as they are where they have no code.
    pub(crate) fn round(self, entry: Entry) -> Entry {
        self.code(entry).map_or(entry, |code| self.entry(code))
    }

    /// ADU.
    fn step(self) -> f32 {
        f32::from_bits((127 - self.shift) << 23)
    }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // within the range of a u16
fn offset(offset: f32, shift: u32) -> Option<u16> {
    let code = (offset * f32::from_bits((127 + shift) << 23)).round();
    (0.0..=f32::from(u16::MAX)).contains(&code).then_some(code as u16)
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn entry(offset: f32, scale: f32) -> Entry {
        Entry { offset, scale }
    }

    #[test]
    fn what_steps_hold_exactly_stays_as_it_is() {
        let table = [entry(2900.25, 1.0 / 64.0), entry(0.0, 0.75 / 64.0), entry(4000.0, 0.1875)];
        let steps = Steps::of(&table);
        assert_eq!(table.map(|entry| steps.round(entry)), table);
        // Counts are not calibrated.
        let counts = [entry(0.0, 1.0)];
        assert_eq!(Steps::of(&counts).round(counts[0]), counts[0]);
    }

    #[test]
    fn a_masked_pixel_has_a_code_and_what_suits_no_step_has_none() {
        let mut table = vec![entry(3000.0, 0.024); 5000];
        table[7] = entry(4000.0, f32::NAN);
        table[8] = entry(70_000.0, 0.024);
        table[9] = entry(-3.0, 0.024);
        table[10] = entry(3000.0, -0.024);
        table[11] = entry(3000.0, 24.0);
        table[12] = entry(3000.0, 1e-40);
        let steps = Steps::of(&table);
        for (pixel, entry) in table.iter().enumerate() {
            assert_eq!(steps.code(*entry).is_none(), (7..13).contains(&pixel), "{entry:?}");
            let kept = steps.round(*entry);
            assert!(steps.code(*entry).is_some() || kept.offset.to_bits() == entry.offset.to_bits());
        }
        let masked = steps.code(entry(3000.0, 0.0)).unwrap();
        assert_eq!((masked, steps.entry(masked)), (Code::default(), Entry::default()));
        assert_eq!(steps.entry(Code::NONE).scale.to_bits(), 0, "no pixel's own");
    }

    #[test]
    fn a_table_without_a_scale_is_no_trouble() {
        for table in [vec![], vec![entry(1.0, 0.0)], vec![entry(f32::NAN, f32::NAN); 3]] {
            let steps = Steps::of(&table);
            assert!(steps.code(entry(1.0, f32::NAN)).is_none());
            assert_eq!(steps.round(entry(1.0, 0.0)), Entry::default());
        }
    }

    proptest! {
        #[test]
        fn constants_are_rounded_by_no_more_than_is_said(
            pixels in vec((0.0..16_000.0_f32, 0.003..0.4_f32), 1..300),
        ) {
            let table: Vec<Entry> = pixels.iter().map(|(offset, scale)| entry(*offset, *scale)).collect();
            let steps = Steps::of(&table);
            for exact in table {
                let rounded = steps.round(exact);
                prop_assert!((rounded.offset - exact.offset).abs() <= 1.0 / 8.0, "{:?} {:?}", exact, rounded);
                let off = f64::from(rounded.scale) / f64::from(exact.scale) - 1.0;
                prop_assert!(off.abs() <= 1.0 / 16_384.0, "{:?} {:?}", exact, rounded);
                prop_assert_eq!(steps.code(rounded).map(|code| steps.entry(code)), Some(rounded));
            }
        }
    }
}
