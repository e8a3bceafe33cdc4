//! The LFN: a file's identity at every site, parsed into its parts or refused. The only door by which a path from a
//! message gets in (rule 10). Never touches a file system; knows no site's prefix.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::ids::{Experiment, Instrument, RunNumber};
use crate::time::as_string;

/// A logical file name: `/<instrument>/<experiment>/{xtc|hdf5|cbf}/[smalldata/|index/|md5/]<name>`.
///
/// The text is kept as given, one allocation shared by all clones; the parts are slices of it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lfn(Arc<str>);

/// What a file is, told by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FileKind {
    /// A detector file: `.xtc`, `.xtc2`.
    Xtc,
    /// A small index file: `.smd.xtc`, `.smd.xtc2`.
    Smd,
    /// An LCLS-I index: `.xtc.idx`.
    Idx,
    /// A checksum beside a file: `.md5`.
    Md5,
    /// An HDF5 file: `.h5`, `.hdf5`, `.nxs`, `.cxi`.
    Hdf5,
    /// A CBF image: `.cbf`, `.cbf.gz`.
    Cbf,
    /// Anything else.
    Other,
}

impl FileKind {
    /// Whether analysis can start from it before the big files are there.
    pub fn is_index(self) -> bool {
        matches!(self, Self::Smd | Self::Idx)
    }
}

/// Why a text is no LFN.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("file name `{text}` is refused: {why}")]
pub struct LfnError {
    /// The text, escaped and cut to 120 characters.
    pub text: String,
    /// The rule that it breaks.
    pub why: &'static str,
}

/// The longest whole LFN in bytes: leaves room for a site's prefix below `PATH_MAX`.
pub const MAX_LFN: usize = 1024;
/// The longest part in bytes (`NAME_MAX`).
pub const MAX_PART: usize = 255;

const AREAS: [&str; 3] = ["xtc", "hdf5", "cbf"];
const XTC_FOLDERS: [&str; 3] = ["smalldata", "index", "md5"];

impl Lfn {
    /// The whole text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The instrument's folder.
    pub fn instrument(&self) -> Instrument {
        self.part(0).parse().expect("checked when the LFN was parsed")
    }

    /// The experiment's folder.
    pub fn experiment(&self) -> Experiment {
        self.part(1).parse().expect("checked when the LFN was parsed")
    }

    /// The folder in which the file lies: all but the name, with the slash at its end.
    pub fn folder(&self) -> &str {
        &self.0[..=self.0.rfind('/').unwrap_or(0)]
    }

    /// The file's own name.
    pub fn file_name(&self) -> &str {
        &self.0[self.0.rfind('/').map_or(0, |slash| slash + 1)..]
    }

    /// What the name says the file is.
    pub fn kind(&self) -> FileKind {
        let name = self.file_name();
        let name = name.strip_suffix(".inprogress").unwrap_or(name);
        let ends = |suffixes: &[&str]| suffixes.iter().any(|suffix| name.ends_with(suffix));
        if ends(&[".smd.xtc", ".smd.xtc2"]) {
            FileKind::Smd
        } else if ends(&[".xtc.idx"]) {
            FileKind::Idx
        } else if ends(&[".md5"]) {
            FileKind::Md5
        } else if ends(&[".xtc", ".xtc2"]) {
            FileKind::Xtc
        } else if ends(&[".h5", ".hdf5", ".nxs", ".cxi"]) {
            FileKind::Hdf5
        } else if ends(&[".cbf", ".cbf.gz"]) {
            FileKind::Cbf
        } else {
            FileKind::Other
        }
    }

    /// The run, where the name has one: `-r0014-` or `-r0014.`; LCLS writes at least four digits.
    pub fn run(&self) -> Option<RunNumber> {
        self.number("-r", 4).map(RunNumber)
    }

    /// The stream, where the name has one: `-s03-`, `-s003-`. 80 and 81 are LCLS's recorder streams.
    pub fn stream(&self) -> Option<u16> {
        self.number("-s", 2).and_then(|n| u16::try_from(n).ok())
    }

    /// Whether it is of one of LCLS's recorder streams, 80 and above: slow controls, often late or never there.
    pub fn is_recorders(&self) -> bool {
        self.stream().is_some_and(|stream| stream >= 80)
    }

    /// The chunk, where the name has one: `-c00`, `-c000`. A stream's next chunk is a new file in mid-run.
    pub fn chunk(&self) -> Option<u16> {
        self.number("-c", 2).and_then(|n| u16::try_from(n).ok())
    }

    /// Whether the writer still holds the file open, by LCLS's ending `.inprogress`.
    pub fn is_in_progress(&self) -> bool {
        self.file_name().ends_with(".inprogress")
    }

    /// The name that the file has once its writer is done.
    #[must_use]
    pub fn finished(&self) -> Self {
        match self.0.strip_suffix(".inprogress") {
            Some(finished) => Self(finished.into()),
            None => self.clone(),
        }
    }

    fn part(&self, index: usize) -> &str {
        self.0.split('/').nth(index + 1).unwrap_or_default()
    }

    /// The digits after the last `marker` that end at `-`, `.` or the name's end.
    fn number(&self, marker: &str, at_least: usize) -> Option<u32> {
        let name = self.file_name();
        name.rmatch_indices(marker).find_map(|(at, _)| {
            let rest = &name[at + marker.len()..];
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let ends_well = matches!(rest.as_bytes().get(digits), None | Some(b'-' | b'.' | b'_'));
            if digits >= at_least && ends_well { rest[..digits].parse().ok() } else { None }
        })
    }
}

fn why_refused(text: &str) -> Option<&'static str> {
    if text.len() > MAX_LFN {
        return Some("longer than 1024 bytes");
    }
    if text.chars().any(char::is_control) {
        return Some("holds a control character");
    }
    let Some(rest) = text.strip_prefix('/') else { return Some("does not begin with /") };
    let parts: Vec<&str> = rest.split('/').collect();
    if parts.iter().any(|part| part.is_empty()) {
        return Some("has an empty part");
    }
    if parts.iter().any(|part| *part == "." || *part == "..") {
        return Some("has . or .. as a part");
    }
    if parts.iter().any(|part| part.len() > MAX_PART) {
        return Some("has a part longer than 255 bytes");
    }
    let [instrument, experiment, area, folders @ .., name] = parts.as_slice() else {
        return Some("is not /instrument/experiment/{xtc|hdf5|cbf}/name");
    };
    if instrument.parse::<Instrument>().is_err() {
        return Some("does not begin with an instrument");
    }
    if experiment.parse::<Experiment>().is_err() {
        return Some("its second part is no experiment");
    }
    if !AREAS.contains(area) {
        return Some("its third part is none of xtc, hdf5, cbf");
    }
    match folders {
        [] => {}
        [folder] if *area == "xtc" && XTC_FOLDERS.contains(folder) => {}
        _ => return Some("its folder is none of smalldata, index, md5 under xtc"),
    }
    why_name_refused(name)
}

/// The rule that a file's own name breaks.
pub(crate) fn why_name_refused(name: &str) -> Option<&'static str> {
    if name.is_empty() || name.len() > MAX_PART || name.contains('/') || name.chars().any(char::is_control) {
        return Some("its name is empty, longer than 255 bytes, or holds / or a control character");
    }
    // What a URL, XRootD's opaque data (`?`) or our own keys (`@`, `#`) would read as something else.
    if name.contains(['?', '#', '@', '&', '%', '\\', '"', '\'', '`', '$', '*', ' ', ';', '|', '<', '>']) {
        return Some("its name holds a character that a URL or a shell reads as something else");
    }
    if name.starts_with('.') || name.starts_with('-') {
        return Some("its name begins with . or -");
    }
    None
}

impl FromStr for Lfn {
    type Err = LfnError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match why_refused(text) {
            None => Ok(Self(text.into())),
            Some(why) => {
                Err(LfnError { text: text.chars().take(120).flat_map(char::escape_default).collect(), why })
            }
        }
    }
}

impl fmt::Display for Lfn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Lfn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

as_string!(
    Lfn,
    "Lfn",
    schemars::json_schema!({
        "type": "string",
        "description": "logical file name, the same at every site",
        "examples": ["/mfx/mfxlv9518/xtc/mfxlv9518-r0001-s00-c00.xtc"],
    })
);

#[cfg(test)]
mod tests {
    use super::*;

    fn lfn(text: &str) -> Lfn {
        text.parse().unwrap()
    }

    #[test]
    fn both_generations_of_names_give_their_parts() {
        let one = lfn("/mfx/mfxlv9518/xtc/index/mfxlv9518-r0001-s80-c02.xtc.idx");
        assert_eq!((one.run(), one.stream(), one.chunk()), (Some(RunNumber(1)), Some(80), Some(2)));
        assert_eq!(one.kind(), FileKind::Idx);
        assert_eq!(one.folder(), "/mfx/mfxlv9518/xtc/index/");
        let two = lfn("/xpp/xpptut15/xtc/smalldata/xpptut15-r0014-s001-c000.smd.xtc2.inprogress");
        assert_eq!((two.run(), two.stream(), two.chunk()), (Some(RunNumber(14)), Some(1), Some(0)));
        assert_eq!(two.kind(), FileKind::Smd);
        assert!(two.is_in_progress() && !two.finished().is_in_progress());
        let old = lfn("/cxi/cxi78513/xtc/e158-r0096-s00-c00.xtc");
        assert_eq!(old.run(), Some(RunNumber(96)));
        assert_eq!(lfn("/cxi/cxi78513/hdf5/master.h5").run(), None);
    }

    #[test]
    fn hostile_names_are_refused_with_the_reason() {
        for (text, why) in [
            ("/mfx/mfxlv9518/xtc/../../etc/passwd", ".."),
            ("/etc/passwd", "instrument/experiment"),
            ("mfx/mfxlv9518/xtc/a.xtc", "begin with /"),
            ("/mfx/mfxlv9518/xtc/a\0.xtc", "control"),
            ("/mfx/mfxlv9518/xtc/a?authz=x", "URL"),
            ("/mfx/mfxlv9518/scratch/a.xtc", "third part"),
            ("/mfx/mfxlv9518/hdf5/smalldata/a.h5", "folder"),
            ("/mfx/mfxlv9518/xtc//a.xtc", "empty"),
            ("/mfx/mfxlv9518/xtc/.hidden", "begins with"),
        ] {
            let error = text.parse::<Lfn>().unwrap_err();
            assert!(error.why.contains(why), "{text}: {}", error.why);
        }
        assert!(format!("/mfx/mfxlv9518/xtc/{}", "x".repeat(256)).parse::<Lfn>().is_err());
    }
}
