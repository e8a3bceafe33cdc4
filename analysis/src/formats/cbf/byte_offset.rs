//! `x-CBF_BYTE_OFFSET`: each pixel as its difference to the one before, in one byte, or in two, four or eight behind a byte,
//! two or four that say so. Pure, and fast where one byte suffices, which is nearly everywhere.

/// Unpacks into all of `pixels`. An error says what is wrong with the bytes.
pub(super) fn unpack(bytes: &[u8], pixels: &mut [i32]) -> Result<(), String> {
    let mut at = 0_usize;
    let mut value = 0_i32;
    let mut done = 0_usize;
    while done < pixels.len() {
        // Eight small differences at a time: one test instead of eight.
        while let (Some(eight), Some(out)) = (bytes.get(at..at + 8), pixels.get_mut(done..done + 8)) {
            let Ok(eight) = <[u8; 8]>::try_from(eight) else { break };
            if has_escape(u64::from_le_bytes(eight)) {
                break;
            }
            for (pixel, byte) in out.iter_mut().zip(eight) {
                value = value.wrapping_add(i32::from(byte.cast_signed()));
                *pixel = value;
            }
            at += 8;
            done += 8;
        }
        // One by one up to the next eight, or to the end.
        let until = pixels.len().min(done + 8);
        while done < until {
            let (difference, used) = difference(bytes.get(at..).unwrap_or_default())
                .ok_or_else(|| format!("its bytes end at pixel {done} of {}", pixels.len()))?;
            value = value.wrapping_add(difference);
            pixels[done] = value;
            at += used;
            done += 1;
        }
    }
    Ok(())
}

/// Whether one of eight bytes is 0x80.
fn has_escape(eight: u64) -> bool {
    const LOW: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    // The classic test for a zero byte, on the bytes with 0x80 turned to zero. It is exact as a whole.
    let zeroed = eight ^ HIGH;
    zeroed.wrapping_sub(LOW) & !zeroed & HIGH != 0
}

/// The difference at the start of `bytes`, wrapped to 32 bits, and the bytes it takes.
#[allow(clippy::cast_possible_truncation)] // differences wrap, as pixels do
fn difference(bytes: &[u8]) -> Option<(i32, usize)> {
    let small = bytes.first()?.cast_signed();
    if small != i8::MIN {
        return Some((i32::from(small), 1));
    }
    let medium = i16::from_le_bytes(bytes.get(1..3)?.try_into().ok()?);
    if medium != i16::MIN {
        return Some((i32::from(medium), 3));
    }
    let large = i32::from_le_bytes(bytes.get(3..7)?.try_into().ok()?);
    if large != i32::MIN {
        return Some((large, 7));
    }
    let huge = i64::from_le_bytes(bytes.get(7..15)?.try_into().ok()?);
    Some((huge as i32, 15))
}

/// Packs pixels.
pub(super) fn pack(pixels: &[i32]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(pixels.len() + pixels.len() / 8);
    let mut before = 0_i64;
    for pixel in pixels {
        let difference = i64::from(*pixel) - before;
        before = i64::from(*pixel);
        match (i8::try_from(difference), i16::try_from(difference), i32::try_from(difference)) {
            (Ok(small), ..) if small != i8::MIN => bytes.push(small.cast_unsigned()),
            (_, Ok(medium), _) if medium != i16::MIN => {
                bytes.push(0x80);
                bytes.extend(medium.to_le_bytes());
            }
            (_, _, Ok(large)) if large != i32::MIN => {
                bytes.extend([0x80, 0x00, 0x80]);
                bytes.extend(large.to_le_bytes());
            }
            _ => {
                bytes.extend([0x80, 0x00, 0x80, 0x00, 0x00, 0x00, 0x80]);
                bytes.extend(difference.to_le_bytes());
            }
        }
    }
    bytes
}
