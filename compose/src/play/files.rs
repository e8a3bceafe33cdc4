//! Puts files into a server's store the way a DAQ does: written as `<name>.inprogress`, renamed when whole, never
//! overwritten. Bytes are random but seeded, so that nothing can compress them and two runs of a test see the same.

use std::fs::File;
use std::io::{BufRead as _, Read as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use lightrail_topics::{Checksum, ChecksumKind};

use crate::scratch::{give_to_servers, make_folder_for_servers};

/// Large enough that the calls do not count.
const BLOCK: usize = 1 << 20;

/// Where the bytes come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Bytes {
    Random { seed: u64, size: u64 },
    Of(PathBuf),
}

/// Writes a file and gives its size and adler32, which are of what was written, not read back.
pub(super) fn put(bytes: &Bytes, path: &Path) -> anyhow::Result<(u64, Checksum)> {
    let folder = path.parent().context("a file has a folder")?;
    make_folder_for_servers(folder)?;
    let mut name = path.file_name().context("a file has a name")?.to_owned();
    name.push(".inprogress");
    let growing = folder.join(name);
    let written = write(bytes, &growing).with_context(|| format!("cannot write {}", growing.display()))?;
    give_to_servers(&growing)?;
    std::fs::rename(&growing, path).with_context(|| format!("cannot rename to {}", path.display()))?;
    Ok(written)
}

fn write(bytes: &Bytes, path: &Path) -> anyhow::Result<(u64, Checksum)> {
    let mut file = File::create_new(path)?;
    let mut sum = adler2::Adler32::new();
    let mut block = vec![0; BLOCK];
    let mut size = 0;
    let mut append = |block: &[u8]| -> anyhow::Result<()> {
        sum.write_slice(block);
        size += block.len() as u64;
        Ok(file.write_all(block)?)
    };
    match bytes {
        Bytes::Random { seed, size } => {
            let mut rng = fastrand::Rng::with_seed(*seed);
            let mut left = *size;
            while left > 0 {
                let part = usize::try_from(left).unwrap_or(BLOCK).min(BLOCK);
                rng.fill(&mut block[..part]);
                append(&block[..part])?;
                left -= part as u64;
            }
        }
        Bytes::Of(source) => {
            let mut source_file =
                File::open(source).with_context(|| format!("cannot read {}", source.display()))?;
            loop {
                let part = source_file.read(&mut block)?;
                if part == 0 {
                    break;
                }
                append(&block[..part])?;
            }
        }
    }
    Ok((size, Checksum::from_u32(ChecksumKind::Adler32, sum.checksum())))
}

/// The size and adler32 of a file that lies somewhere, to compare with what was written.
///
/// # Errors
/// When it cannot be read.
pub fn read_back(path: &Path) -> anyhow::Result<(u64, Checksum)> {
    let mut file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut sum = adler2::Adler32::new();
    let mut block = vec![0; BLOCK];
    let mut size = 0;
    loop {
        let part = file.read(&mut block)?;
        if part == 0 {
            break;
        }
        sum.write_slice(&block[..part]);
        size += part as u64;
    }
    Ok((size, Checksum::from_u32(ChecksumKind::Adler32, sum.checksum())))
}

/// Whether both files have the same bytes.
///
/// # Errors
/// When one cannot be read.
pub fn same_bytes(one: &Path, other: &Path) -> anyhow::Result<bool> {
    let open = |path: &Path| {
        File::open(path)
            .map(std::io::BufReader::new)
            .with_context(|| format!("cannot read {}", path.display()))
    };
    let (mut one, mut other) = (open(one)?, open(other)?);
    if one.get_ref().metadata()?.len() != other.get_ref().metadata()?.len() {
        return Ok(false);
    }
    loop {
        let (left, right) = (one.fill_buf()?, other.fill_buf()?);
        let part = left.len().min(right.len());
        if part == 0 {
            return Ok(left.is_empty() && right.is_empty());
        }
        if left[..part] != right[..part] {
            return Ok(false);
        }
        one.consume(part);
        other.consume(part);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_what_was_said_of_it_and_is_never_overwritten() {
        let scratch = crate::scratch::Scratch::new().unwrap();
        let path = scratch.path().join("a/b/file.xtc2");
        let bytes = Bytes::Random { seed: 7, size: 3 * BLOCK as u64 + 17 };
        let written = put(&bytes, &path).unwrap();
        assert_eq!(written.0, 3 * BLOCK as u64 + 17);
        assert_eq!(read_back(&path).unwrap(), written);
        let copy = scratch.path().join("copy");
        assert_eq!(put(&Bytes::Of(path.clone()), &copy).unwrap(), written);
        assert!(same_bytes(&path, &copy).unwrap());
        std::fs::write(&copy, vec![0; 3 * BLOCK + 17]).unwrap();
        assert!(!same_bytes(&path, &copy).unwrap());
        assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }
}
