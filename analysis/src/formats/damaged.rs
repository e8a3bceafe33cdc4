//! Damaged copies of good bytes, for tests: bits turned, ends cut off, lengths replaced by wild ones, parts moved. With
//! `LIGHTRAIL_SEEDS` they become what cargo-fuzz begins with.

/// Damaged copies of a kind of bytes that are kept.
const KEPT: usize = 20;

/// Calls `body` with `rounds` damaged copies of `good`, the same for the same seed. `LIGHTRAIL_CAMPAIGN=1` makes a hundred times
/// as many, others each time; the seed of what goes wrong is then printed. Some are kept for the fuzz target (see [`keep`]).
pub(crate) fn each(target: &str, good: &[u8], seed: u64, rounds: usize, mut body: impl FnMut(&[u8])) {
    const WILD: [u32; 10] =
        [0, 1, 11, 12, 13, 0x7fff_ffff, 0x8000_0000, 0xffff_fff4, 0xffff_ffff, 0x0100_0000];
    let is_campaign = std::env::var_os("LIGHTRAIL_CAMPAIGN").is_some_and(|value| value == "1");
    let (seed, rounds) = if is_campaign { (fastrand::u64(..), 100 * rounds) } else { (seed, rounds) };
    if is_campaign {
        println!("damage of seed {seed}");
    }
    let mut random = fastrand::Rng::with_seed(seed);
    let mut copy = Vec::new();
    keep(target, good);
    for round in 0..rounds {
        copy.clear();
        copy.extend_from_slice(good);
        for _ in 0..random.usize(1..4) {
            if copy.len() < 8 {
                break;
            }
            // Half of the damage at the begin: there are the lengths that everything hangs on.
            let reach = if random.bool() { copy.len().min(4096) } else { copy.len() };
            let at = random.usize(0..reach - 4);
            match random.u8(0..5) {
                0 => copy[at] ^= 1 << random.u8(0..8),
                1 => copy.truncate(at),
                2 => {
                    let wild = WILD[random.usize(0..WILD.len())];
                    copy[at..at + 4].copy_from_slice(&wild.to_le_bytes());
                }
                3 => {
                    let near = u32::from_le_bytes([copy[at], copy[at + 1], copy[at + 2], copy[at + 3]]);
                    let near = near.wrapping_add(random.u32(0..64)).wrapping_sub(32);
                    copy[at..at + 4].copy_from_slice(&near.to_le_bytes());
                }
                _ => {
                    let (from, length) = (random.usize(0..copy.len()), random.usize(0..256));
                    let part = copy[from..copy.len().min(from + length)].to_vec();
                    copy.splice(at..at, part);
                }
            }
        }
        if round < KEPT {
            keep(target, &copy);
        }
        body(&copy);
    }
}

/// Keeps bytes for a fuzz target: in a folder of its name below `LIGHTRAIL_SEEDS`, where that is set.
pub(crate) fn keep(target: &str, bytes: &[u8]) {
    let Some(folder) = std::env::var_os("LIGHTRAIL_SEEDS") else { return };
    let folder = std::path::PathBuf::from(folder).join(target);
    std::fs::create_dir_all(&folder).expect("a folder for seeds");
    let name = format!("{:016x}", lightrail_topics::message::stable_hash(bytes));
    std::fs::write(folder.join(name), bytes).expect("a seed");
}
