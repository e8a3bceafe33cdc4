//! Real files instead of made-up ones: each folder of a tree that holds files directly is a run. Reads names only; the
//! files themselves are copied, never moved and never written to.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use lightrail_topics::{Experiment, Instrument, Lfn, RunKey, RunNumber};

/// A run made of files that lie somewhere: names to be, and where the bytes are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundRun {
    /// Which run.
    pub key: RunKey,
    /// Its files.
    pub files: Vec<(Lfn, PathBuf)>,
}

/// Makes runs, numbered from `first`, of the files below `tree`. `smalldata` and `index` belong to the folder above them.
///
/// # Errors
/// When the tree cannot be read, holds no file, or a name makes no LFN.
pub fn runs_of(
    tree: &Path,
    instrument: &Instrument,
    experiment: &Experiment,
    first: RunNumber,
) -> anyhow::Result<Vec<FoundRun>> {
    let mut folders = BTreeMap::new();
    walk(tree, &mut folders)?;
    anyhow::ensure!(!folders.is_empty(), "no files in {}", tree.display());
    let mut taken = BTreeSet::new();
    let mut runs = Vec::new();
    for (number, files) in (first.0..).zip(folders.into_values()) {
        let key = RunKey { experiment: experiment.clone(), run: RunNumber(number) };
        let mut named = Vec::new();
        for path in files {
            let name = path.file_name().and_then(|name| name.to_str());
            let name = name.with_context(|| format!("the name of {} is not UTF-8", path.display()))?;
            let lfn = [name_in(experiment, key.run, name), format!("r{number:04}-{name}")]
                .iter()
                .map(|name| format!("/{instrument}/{experiment}/{}{name}", folder_of(name)))
                .find(|lfn| !taken.contains(lfn))
                .with_context(|| format!("two files named {name} in one run"))?;
            taken.insert(lfn.clone());
            named.push((lfn.parse().with_context(|| format!("{} cannot be moved", path.display()))?, path));
        }
        runs.push(FoundRun { key, files: named });
    }
    Ok(runs)
}

fn walk(folder: &Path, folders: &mut BTreeMap<PathBuf, Vec<PathBuf>>) -> anyhow::Result<()> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut paths = entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>()?;
    paths.sort();
    for path in paths {
        if path.is_dir() {
            walk(&path, folders)?;
        } else if path.is_file() {
            let inside = folder.file_name().is_some_and(|name| name == "smalldata" || name == "index");
            let run = if inside { folder.parent().unwrap_or(folder) } else { folder };
            folders.entry(run.to_path_buf()).or_default().push(path);
        }
    }
    Ok(())
}

/// LCLS's names get this experiment and run (`xpptut15-r0014-s000-c000.xtc2` is another's); all others stay.
fn name_in(experiment: &Experiment, run: RunNumber, name: &str) -> String {
    let stream = name.match_indices("-r").find_map(|(at, _)| {
        let rest = &name[at + 2..];
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        (digits >= 4 && rest[digits..].starts_with("-s")).then(|| &rest[digits..])
    });
    stream.map_or_else(|| name.to_owned(), |stream| format!("{experiment}-r{:04}{stream}", run.0))
}

fn folder_of(name: &str) -> &'static str {
    let ends = |ends: &[&str]| ends.iter().any(|end| name.ends_with(end));
    if ends(&[".smd.xtc", ".smd.xtc2"]) {
        "xtc/smalldata/"
    } else if ends(&[".idx"]) {
        "xtc/index/"
    } else if ends(&[".h5", ".hdf5", ".nxs", ".cxi"]) {
        "hdf5/"
    } else if ends(&[".cbf", ".cbf.gz"]) {
        "cbf/"
    } else {
        "xtc/"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_folder_with_files_is_a_run_with_names_of_its_own() {
        let Some(data) = crate::require::data("play::every_folder_with_files_is_a_run_with_names_of_its_own")
        else {
            return;
        };
        let (instrument, experiment) = ("mfx".parse().unwrap(), "mfxlv9518".parse().unwrap());
        let runs = runs_of(&data.join("xtc2"), &instrument, &experiment, RunNumber(5)).unwrap();
        let names: Vec<String> =
            runs.iter().flat_map(|run| &run.files).map(|(lfn, _)| lfn.to_string()).collect();
        assert_eq!((runs.len(), names.len()), (5, 19));
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), 19);
        assert!(names.contains(&"/mfx/mfxlv9518/xtc/test_epix_calib.xtc2".into()), "{names:?}");
        assert!(
            names.contains(&"/mfx/mfxlv9518/xtc/smalldata/mfxlv9518-r0008-s002-c000.smd.xtc2".into()),
            "{names:?}"
        );
    }
}
