//! What a mover would announce of a run whose files lie in a folder, for tests and benchmarks without one. Moves nothing, and knows
//! no checksum.

use std::io;
use std::path::Path;

use lightrail_topics::events::{ClosedBy, ManifestFile, RunManifest};
use lightrail_topics::{Generation, Lfn, Millis, RunKey, SiteName};

/// The manifest of a run's files, big and small, below the folder of a site; in the order of their names.
///
/// # Errors
/// A folder of the run cannot be read.
pub fn of_folder(
    folder: &Path,
    run: &RunKey,
    site: &SiteName,
    generation: Generation,
    at: Millis,
) -> io::Result<RunManifest> {
    let experiment = run.experiment.as_str();
    // As LCLS names them.
    let instrument = experiment.get(..3).unwrap_or(experiment);
    let mut files = Vec::new();
    for below in ["", "smalldata/"] {
        let place = format!("/{instrument}/{experiment}/xtc/{below}");
        for entry in std::fs::read_dir(folder.join(&place[1..]))? {
            let entry = entry?;
            let lfn: Result<Lfn, _> = format!("{place}{}", entry.file_name().to_string_lossy()).parse();
            let Some(lfn) = lfn.ok().filter(|lfn| lfn.run() == Some(run.run)) else { continue };
            let (size, url) = (entry.metadata()?.len(), format!("file://{}", entry.path().display()));
            files.push(ManifestFile { lfn, generation, size, checksum: None, url });
        }
    }
    files.sort_by(|a, b| a.lfn.cmp(&b.lfn));
    Ok(RunManifest {
        run: run.clone(),
        site: site.clone(),
        began: None,
        ended: None,
        closed_by: ClosedBy::EndTime,
        files,
        left_out: Vec::new(),
        first_file: None,
        at,
    })
}
