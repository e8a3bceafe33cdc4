//! Files named on a command line as files of runs: what each is, what belongs together, and where the files beside them lie.
//! Nothing is looked up here.
//!
//! All of the analysis names files by LFN. A file that does not lie where LCLS would put it gets the LFN that it would have.

use std::collections::BTreeMap;

use lightrail_topics::{Experiment, FileKind, Lfn, RunKey, RunNumber};

use crate::source::Location;

/// The experiment of files whose name tells none.
const NO_EXPERIMENT: &str = "local";

/// A text that names no file that is read here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}`: {why}")]
pub struct FileError {
    /// As it was given.
    pub text: String,
    /// What is wrong with it.
    pub why: String,
}

/// A folder as it was named: its path or URL without the file, and what follows a file's name in a URL.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Folder {
    text: String,
    after: String,
}

impl Folder {
    /// The folder and the name of a file.
    fn of(text: &str) -> (Self, &str) {
        let (path, after) = match text.split_once('?') {
            Some((path, _)) if text.contains("://") => text.split_at(path.len()),
            _ => (text, ""),
        };
        let (folder, name) = path.rsplit_once('/').map_or(("", path), |(folder, name)| (folder, name));
        let text = if folder.is_empty() && path.starts_with('/') { "/" } else { folder };
        (Self { text: text.to_owned(), after: after.to_owned() }, name)
    }

    fn file(&self, name: &str) -> Option<Location> {
        let slash = if self.text.is_empty() || self.text == "/" { "" } else { "/" };
        format!("{}{slash}{name}{}", self.text, self.after).parse().ok()
    }

    /// The folder above, when this one has that name.
    fn above(&self, name: &str) -> Option<Self> {
        let text = match self.text.strip_suffix(name)? {
            "" => String::new(),
            rest => rest.strip_suffix('/')?.to_owned(),
        };
        Some(Self { text, after: self.after.clone() })
    }

    fn below(&self, name: &str) -> Self {
        let slash = if self.text.is_empty() || self.text == "/" { "" } else { "/" };
        Self { text: format!("{}{slash}{name}", self.text), after: self.after.clone() }
    }
}

/// The files of one run.
#[derive(Clone, Debug)]
pub struct RunFiles {
    /// The run.
    pub run: RunKey,
    /// LCLS files that are streams or index streams, one per stream: an index file where one was named.
    pub streams: Vec<Lfn>,
    /// Files of which each is one image, or holds its own index.
    pub single: Vec<Lfn>,
}

/// All files that were named.
#[derive(Clone, Debug, Default)]
pub struct Files {
    /// The runs, in order.
    pub runs: Vec<RunFiles>,
    /// Where the folders of LFNs lie.
    folders: BTreeMap<String, Folder>,
}

impl Files {
    /// Of paths and URLs. `run` is the number of files whose name tells none.
    ///
    /// # Errors
    /// The first that cannot be read here, or two that would be the same file.
    pub fn new(texts: &[String], run: Option<RunNumber>) -> Result<Self, FileError> {
        let mut files = Self::default();
        let mut runs: BTreeMap<RunKey, RunFiles> = BTreeMap::new();
        for text in texts {
            let refused = |why: String| FileError { text: text.clone(), why };
            let lfn = files.add(text)?;
            let key = RunKey { experiment: lfn.experiment(), run: lfn.run().or(run).unwrap_or(RunNumber(0)) };
            let empty = || RunFiles { run: key.clone(), streams: Vec::new(), single: Vec::new() };
            let of_run = runs.entry(key.clone()).or_insert_with(empty);
            match lfn.kind() {
                FileKind::Xtc | FileKind::Smd | FileKind::Idx => add_stream(&mut of_run.streams, lfn),
                FileKind::Cbf | FileKind::Hdf5 if of_run.single.contains(&lfn) => {
                    return Err(refused(
                        "a file of this name was named before; process them apart".to_owned(),
                    ));
                }
                FileKind::Cbf | FileKind::Hdf5 => of_run.single.push(lfn),
                FileKind::Md5 | FileKind::Other => {
                    let why = "none of .xtc2, .xtc, .smd.xtc2, .smd.xtc, .xtc.idx, .cbf, .h5, .cxi, .nxs";
                    return Err(refused(why.to_owned()));
                }
            }
        }
        files.runs = runs.into_values().collect();
        Ok(files)
    }

    /// Names a file, and remembers where its folder lies.
    fn add(&mut self, text: &str) -> Result<Lfn, FileError> {
        let refused = |why: String| FileError { text: text.to_owned(), why };
        text.parse::<Location>().map_err(|error| refused(error.to_string()))?;
        let (folder, name) = Folder::of(text);
        let small = folder.above("smalldata").map(|above| ("smalldata/", above));
        let (inner, base) = small
            .or_else(|| folder.above("index").map(|above| ("index/", above)))
            .unwrap_or(("", folder.clone()));
        let experiment = experiment(name);
        let instrument: String = experiment.as_str().chars().take(3).collect();
        let area = match name.trim_end_matches(".gz").rsplit_once('.').map(|(_, ending)| ending) {
            Some("cbf") => "cbf",
            Some("h5" | "hdf5" | "cxi" | "nxs") => "hdf5",
            _ => "xtc",
        };
        let inner = if area == "xtc" { inner } else { "" };
        let base = if area == "xtc" { base } else { folder };
        let root = format!("/{instrument}/{experiment}/{area}/");
        let lfn: Lfn = format!("{root}{inner}{name}").parse().map_err(|error| {
            let lightrail_topics::LfnError { why, .. } = error;
            refused(format!("cannot be named: {why}"))
        })?;
        match self.folders.get(&root) {
            Some(known) if *known != base => {
                let why = format!(
                    "lies in another folder than the files of {experiment} before it; process them apart"
                );
                return Err(refused(why));
            }
            Some(_) => {}
            None => {
                if area == "xtc" {
                    for inner in ["smalldata", "index"] {
                        self.folders.insert(format!("{root}{inner}/"), base.below(inner));
                    }
                }
                self.folders.insert(root, base);
            }
        }
        Ok(lfn)
    }

    /// The first CBF file of these rows that lies on this machine, with its bytes: the geometry of all where the trial names
    /// none.
    pub fn cbf_of(&self, rows: &[super::Row]) -> Option<(std::path::PathBuf, Vec<u8>)> {
        let worked = |row: &&super::Row| row.used.is_some();
        rows.iter().filter(worked).find_map(|row| {
            let single = self.runs.iter().flat_map(|run| &run.single);
            let lfn = single
                .filter(|lfn| lfn.kind() == FileKind::Cbf)
                .find(|lfn| lfn.file_name() == row.file.as_str())?;
            let path = self.location(lfn)?.local_path()?.to_owned();
            let bytes = std::fs::read(&path).ok()?;
            Some((path, bytes))
        })
    }

    /// Where a file lies that was named, or that is beside one that was.
    pub fn location(&self, lfn: &Lfn) -> Option<Location> {
        self.folders.get(lfn.folder())?.file(lfn.file_name())
    }
}

/// The experiment that a file's name begins with, such as `mfxlv9518-r0012-...`.
fn experiment(name: &str) -> Experiment {
    let named = name.split_once("-r").map(|(experiment, _)| experiment);
    let is_one = |text: &&str| text.len() >= 4 && text.bytes().all(|b| b.is_ascii_alphanumeric());
    let parsed = named.filter(is_one).and_then(|text| text.to_ascii_lowercase().parse().ok());
    parsed.unwrap_or_else(|| NO_EXPERIMENT.parse().expect("letters"))
}

/// Of one stream an index file is better than the stream, and its first chunk stands for all.
fn add_stream(streams: &mut Vec<Lfn>, lfn: Lfn) {
    let worth = |lfn: &Lfn| (lfn.kind().is_index(), std::cmp::Reverse(lfn.chunk().unwrap_or(0)));
    let same = |other: &Lfn| match (other.stream(), lfn.stream()) {
        (Some(one), Some(two)) => one == two,
        _ => *other == lfn,
    };
    match streams.iter_mut().find(|other| same(other)) {
        Some(other) if worth(&lfn) > worth(other) => *other = lfn,
        Some(_) => {}
        None => streams.push(lfn),
    }
}

/// The small files that may lie beside a stream, as LCLS puts them: `smalldata/<name>.smd.xtc2`.
pub(super) fn small_beside(lfn: &Lfn) -> Option<Lfn> {
    if lfn.kind() != FileKind::Xtc || lfn.chunk().is_none_or(|chunk| chunk > 0) {
        return None;
    }
    let (stem, ending) = lfn.file_name().rsplit_once('.')?;
    format!("{}smalldata/{stem}.smd.{ending}", lfn.folder()).parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(texts: &[&str]) -> Result<Files, FileError> {
        Files::new(&texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>(), None)
    }

    fn names(lfns: &[Lfn]) -> Vec<&str> {
        lfns.iter().map(Lfn::as_str).collect()
    }

    #[test]
    fn files_of_a_run_find_each_other() {
        let all = files(&[
            "/d/mfxlv9518-r0012-s001-c000.xtc2",
            "/d/mfxlv9518-r0012-s001-c001.xtc2",
            "/d/smalldata/mfxlv9518-r0012-s002-c000.smd.xtc2",
            "/d/mfxlv9518-r0012-s002-c000.xtc2",
            "/d/mfxlv9518-r0013-s001-c000.xtc2",
        ])
        .unwrap();
        assert_eq!(all.runs.len(), 2);
        assert_eq!(all.runs[0].run.to_string(), "mfxlv9518/12");
        let wanted = [
            "/mfx/mfxlv9518/xtc/mfxlv9518-r0012-s001-c000.xtc2",
            "/mfx/mfxlv9518/xtc/smalldata/mfxlv9518-r0012-s002-c000.smd.xtc2",
        ];
        assert_eq!(names(&all.runs[0].streams), wanted);
        let small = small_beside(&all.runs[0].streams[0]).unwrap();
        let place = all.location(&small).unwrap().to_string();
        assert_eq!(place, "/d/smalldata/mfxlv9518-r0012-s001-c000.smd.xtc2");
        let big: Lfn = "/mfx/mfxlv9518/xtc/mfxlv9518-r0012-s002-c001.xtc2".parse().unwrap();
        assert_eq!(all.location(&big).unwrap().to_string(), "/d/mfxlv9518-r0012-s002-c001.xtc2");
    }

    #[test]
    fn files_of_any_name_and_place_are_read() {
        let all = files(&["a.cbf", "test_jungfrau05M_calib.xtc2", "/x/y.cxi"]).unwrap();
        let run = &all.runs[0];
        assert_eq!(run.run.to_string(), "local/0");
        assert_eq!(names(&run.streams), ["/loc/local/xtc/test_jungfrau05M_calib.xtc2"]);
        assert_eq!(names(&run.single), ["/loc/local/cbf/a.cbf", "/loc/local/hdf5/y.cxi"]);
        assert_eq!(all.location(&run.single[0]).unwrap().to_string(), "a.cbf");
        assert_eq!(all.location(&run.single[1]).unwrap().to_string(), "/x/y.cxi");
        let far = files(&["root://door:1094//d/xpptut15-r0014-s000-c000.xtc2?authz=k"]).unwrap();
        let small = small_beside(&far.runs[0].streams[0]).unwrap();
        let text = far.location(&small).unwrap().to_string();
        assert_eq!(text, "root://door:1094//d/smalldata/xpptut15-r0014-s000-c000.smd.xtc2");
    }

    #[test]
    fn what_cannot_be_read_or_told_apart_is_refused() {
        for (texts, why) in [
            (vec!["notes.txt"], "none of .xtc2"),
            (vec!["a/x.cbf", "b/x.cbf"], "another folder"),
            (vec!["x.cbf", "x.cbf"], "named before"),
            (vec!["http://a/x.cbf"], "root://"),
            (vec!["a b.cbf"], "cannot be named"),
        ] {
            let error = files(&texts).unwrap_err();
            assert!(error.to_string().contains(why), "{error}");
        }
    }
}
