//! What lies in the folder into which the DAQ writes: runs that are being taken, told by files that end in `.inprogress`. Looks
//! only where it is told to, and only at names and sizes.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;

use lightrail_topics::{Experiment, FileKind, Lfn, RunKey};

use super::files::{RunFiles, There};

/// The runs of an experiment that the DAQ takes now, and those of `followed` as they are now, below a site's folder.
pub(super) fn look(
    root: &Path,
    experiment: &Experiment,
    followed: &BTreeSet<RunKey>,
) -> io::Result<BTreeMap<RunKey, RunFiles>> {
    let instrument: String = experiment.as_str().chars().take(3).collect();
    let mut runs: BTreeMap<RunKey, RunFiles> = BTreeMap::new();
    for folder in ["", "smalldata/"] {
        let place = format!("/{instrument}/{experiment}/xtc/{folder}");
        let entries = match std::fs::read_dir(root.join(place.trim_start_matches('/'))) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name();
            let lfn: Option<Lfn> = name.to_str().and_then(|name| format!("{place}{name}").parse().ok());
            let Some(lfn) = lfn.filter(|lfn| matches!(lfn.kind(), FileKind::Xtc | FileKind::Smd)) else {
                continue;
            };
            let Some(run) = lfn.run() else { continue };
            let files = runs.entry(RunKey { experiment: experiment.clone(), run }).or_default();
            if lfn.is_in_progress() {
                files.growing.insert(lfn.finished());
            } else {
                // It may be renamed meanwhile, or go.
                let Ok(metadata) = entry.metadata() else { continue };
                files.there.insert(lfn, There { generation: None, size: metadata.len() });
            }
        }
    }
    runs.retain(|run, files| !files.growing.is_empty() || followed.contains(run));
    for files in runs.values_mut() {
        // A file that was renamed between the looks counts as done.
        files.growing.retain(|lfn| !files.there.contains_key(lfn));
        if files.growing.is_empty() {
            *files = RunFiles::closed(std::mem::take(&mut files.there));
        }
    }
    Ok(runs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_followed_from_their_first_growing_file_to_their_last() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("mfx/mfxx00121/xtc/smalldata");
        std::fs::create_dir_all(&folder).unwrap();
        let write = |name: &str| std::fs::write(folder.join(name), b"x").unwrap();
        for name in
            ["mfxx00121-r0001-s000-c000.smd.xtc2", "mfxx00121-r0002-s000-c000.smd.xtc2.inprogress", "notes"]
        {
            write(name);
        }
        let experiment: Experiment = "mfxx00121".parse().unwrap();
        let runs = look(root.path(), &experiment, &BTreeSet::new()).unwrap();
        let [(run, files)] = &runs.into_iter().collect::<Vec<_>>()[..] else { panic!("one run grows") };
        assert_eq!((run.run.0, files.growing.len(), files.is_closed()), (2, 1, false));
        assert_eq!(files.index()[0].file_name(), "mfxx00121-r0002-s000-c000.smd.xtc2");
        let begin = folder.join("mfxx00121-r0002-s000-c000.smd.xtc2.inprogress");
        std::fs::rename(begin, folder.join("mfxx00121-r0002-s000-c000.smd.xtc2")).unwrap();
        let followed = BTreeSet::from([run.clone()]);
        let runs = look(root.path(), &experiment, &followed).unwrap();
        assert!(runs.len() == 1 && runs[run].is_closed());
        assert!(look(root.path(), &experiment, &BTreeSet::new()).unwrap().is_empty());
        assert!(look(root.path(), &"nothing".parse().unwrap(), &followed).unwrap().is_empty());
    }
}
