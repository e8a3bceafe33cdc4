//! The trial that files are worked under: a file, or what the data themselves tell, and what the command line changes of it.
//! Checked as every trial is; can be written out, so that the services work the same.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use crate::trial::{Parameters, Sha256, TrialError};

/// What the command line says of the trial.
#[derive(Clone, Debug, Default)]
pub struct Wishes {
    /// A trial's file.
    pub trial: Option<PathBuf>,
    /// `detector.name`.
    pub detector: Option<String>,
    /// `detector.kind`.
    pub kind: Option<String>,
    /// Geometry in place of the trial's.
    pub geometry: Option<PathBuf>,
    /// Constants in place of the trial's.
    pub constants: Vec<PathBuf>,
    /// Masks in place of the trial's.
    pub masks: Vec<PathBuf>,
    /// Single keys, `spots.peakfinder8.snr=6`.
    pub set: Vec<String>,
}

/// What is seen of the data before a trial is chosen.
#[derive(Clone, Debug, PartialEq)]
pub enum Told {
    /// Nothing of use.
    Nothing,
    /// LCLS-II: detectors that have images, with what the DAQ calls their type.
    Detectors(Vec<(String, String)>),
    /// CBF with a header in Pilatus' style: counts.
    Counts {
        /// Above, a pixel is saturated.
        cutoff: Option<f64>,
    },
    /// CBF of values that were calibrated by whoever wrote it.
    Corrected,
}

/// A trial, and where its relative paths begin.
#[derive(Clone, Debug)]
pub struct Chosen {
    /// The trial.
    pub parameters: Parameters,
    /// The folder that its relative paths count from.
    pub base: PathBuf,
    /// The same as TOML.
    pub text: String,
}

/// Why there is no trial.
#[derive(Debug, thiserror::Error)]
pub enum ChoiceError {
    /// A file that was named cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The trial is wrong.
    #[error("{of}")]
    Trial {
        /// Whose.
        of: String,
        /// What is wrong.
        source: TrialError,
    },
    /// A `--set` that is no key and value.
    #[error("--set {0}: {1}")]
    Set(String, String),
    /// The data do not tell which detector to take, and nobody has said it.
    #[error("which detector is to be worked? {0}")]
    Detector(String),
}

/// The trial for data that tell so much.
pub fn choose(wishes: &Wishes, told: &Told) -> Result<Chosen, ChoiceError> {
    let (mut table, base) = match &wishes.trial {
        Some(path) => {
            let text = read(path)?;
            let text = String::from_utf8_lossy(&text);
            let of = || format!("trial {}", path.display());
            let syntax = |e: toml::de::Error| ChoiceError::Trial {
                of: of(),
                source: TrialError::Syntax(e.to_string()),
            };
            (text.parse::<toml::Table>().map_err(syntax)?, path.parent().unwrap_or(Path::new("")).to_owned())
        }
        None => (by_data(wishes, told)?, PathBuf::new()),
    };
    if let Some(name) = &wishes.detector {
        put(&mut table, "detector.name", name.clone().into())
            .map_err(|why| ChoiceError::Set(name.clone(), why))?;
    }
    if let Some(kind) = &wishes.kind {
        put(&mut table, "detector.kind", kind.clone().into())
            .map_err(|why| ChoiceError::Set(kind.clone(), why))?;
    }
    let geometry: Vec<PathBuf> = wishes.geometry.iter().cloned().collect();
    for (key, paths) in [("geometry", &geometry), ("constants", &wishes.constants), ("masks", &wishes.masks)]
    {
        if !paths.is_empty() {
            let inputs = paths.iter().map(|path| input(path)).collect::<Result<Vec<_>, _>>()?;
            table.insert(key.to_owned(), toml::Value::Array(inputs));
        }
    }
    for text in &wishes.set {
        let wrong = |why: String| ChoiceError::Set(text.clone(), why);
        let (key, value) = text
            .split_once('=')
            .ok_or_else(|| wrong("is not KEY=VALUE, such as spots.peakfinder8.snr=6".to_owned()))?;
        let (key, value) = (key.trim(), value.trim());
        // What is no TOML is text.
        let parsed = format!("v = {value}").parse::<toml::Table>().ok().and_then(|mut one| one.remove("v"));
        put(&mut table, key, parsed.unwrap_or_else(|| value.into())).map_err(wrong)?;
    }
    let text =
        toml::to_string(&table).map_err(|e| ChoiceError::Set("the trial".to_owned(), e.to_string()))?;
    let of = || {
        wishes.trial.as_ref().map_or_else(
            || "the trial made of the command line".to_owned(),
            |p| format!("trial {}", p.display()),
        )
    };
    let parameters =
        Parameters::from_toml(&text).map_err(|source| ChoiceError::Trial { of: of(), source })?;
    Ok(Chosen { parameters, base, text })
}

impl Chosen {
    /// The trial as a file that means the same from anywhere: every path in it whole.
    pub fn portable(&self) -> String {
        let mut table: toml::Table = self.text.parse().unwrap_or_default();
        let base = whole(&self.base).unwrap_or_else(|_| self.base.clone());
        for key in ["geometry", "constants", "masks"] {
            let Some(toml::Value::Array(inputs)) = table.get_mut(key) else { continue };
            for input in inputs {
                if let Some(toml::Value::String(path)) = input.get_mut("path") {
                    *path = base.join(&*path).display().to_string();
                }
            }
        }
        toml::to_string(&table).unwrap_or_else(|_| self.text.clone())
    }

    /// The same trial with this geometry, which the data have themselves, where it names none.
    #[must_use]
    pub fn with_geometry(mut self, path: &Path, bytes: &[u8]) -> Self {
        if self.parameters.geometry.is_empty() {
            let path = whole(path).unwrap_or_else(|_| path.to_owned());
            // `display` never fails to be written, and what it writes as text is quoted by TOML.
            let path = toml::Value::from(path.display().to_string());
            let _ = write!(self.text, "\n[[geometry]]\npath = {path}\nsha256 = \"{}\"\n", Sha256::of(bytes));
        }
        self
    }
}

/// A path that means the same from anywhere, without the `..` that a trial's paths may not have.
fn whole(path: &Path) -> std::io::Result<std::path::PathBuf> {
    std::fs::canonicalize(path).or_else(|_| std::path::absolute(path))
}

fn read(path: &Path) -> Result<Vec<u8>, ChoiceError> {
    std::fs::read(path).map_err(|source| ChoiceError::Read { path: path.to_owned(), source })
}

/// A file as a trial names it.
fn input(path: &Path) -> Result<toml::Value, ChoiceError> {
    let whole = whole(path).map_err(|source| ChoiceError::Read { path: path.to_owned(), source })?;
    let mut table = toml::Table::new();
    table.insert("path".to_owned(), whole.display().to_string().into());
    table.insert("sha256".to_owned(), Sha256::of(&read(path)?).to_string().into());
    Ok(toml::Value::Table(table))
}

/// Sets a key such as `a.b.c`.
fn put(table: &mut toml::Table, key: &str, value: toml::Value) -> Result<(), String> {
    match key.split_once('.') {
        None if key.is_empty() => Err("has no key".to_owned()),
        None => {
            table.insert(key.to_owned(), value);
            Ok(())
        }
        Some((first, rest)) => {
            let inner =
                table.entry(first.to_owned()).or_insert_with(|| toml::Value::Table(toml::Table::new()));
            let inner = inner.as_table_mut().ok_or_else(|| format!("`{first}` is no table"))?;
            put(inner, rest, value)
        }
    }
}

/// What is sensible where nobody has said more than the data do.
fn by_data(wishes: &Wishes, told: &Told) -> Result<toml::Table, ChoiceError> {
    let text = match told {
        Told::Counts { cutoff } => {
            let cutoff = cutoff.map(|cutoff| format!("[calibration]\nsaturation = {cutoff:?}\n"));
            format!(
                "[detector]\nname = \"image\"\nkind = \"counts\"\n{}\
                 [spots.peakfinder8]\nthreshold = 5.0\nsnr = 5.0\n[powder]\nmisses_every = 1\n",
                cutoff.unwrap_or_default()
            )
        }
        // No threshold in units that are not known: the noise of each ring decides, and a spot needs some pixels.
        Told::Corrected => "[detector]\nname = \"image\"\nkind = \"corrected\"\n[calibration]\nedge = 1\n\
             [spots.peakfinder8]\nthreshold = 0.0\nsnr = 6.0\nmin_pixels = 3\nlocal_bg_radius = 4\n\
             [powder]\nmisses_every = 1\n"
            .to_owned(),
        Told::Detectors(there) => {
            let named =
                there.iter().filter(|(name, _)| wishes.detector.as_ref().is_none_or(|wished| wished == name));
            let known: Vec<(&str, &str)> =
                named.filter_map(|(name, kind)| Some((name.as_str(), kind_of(kind)?))).collect();
            match known.as_slice() {
                [(name, kind)] => {
                    format!("[detector]\nname = \"{name}\"\nkind = \"{kind}\"\n[powder]\nmisses_every = 10\n")
                }
                _ if wishes.detector.is_some() && wishes.kind.is_some() => {
                    "[powder]\nmisses_every = 10\n".to_owned()
                }
                _ => {
                    let there: Vec<String> =
                        there.iter().map(|(name, kind)| format!("{name} ({kind})")).collect();
                    let there = if there.is_empty() { "none".to_owned() } else { there.join(", ") };
                    let how = "give --trial trial.toml, or --detector NAME and --kind KIND";
                    return Err(ChoiceError::Detector(format!(
                        "detectors with images in the data: {there}; {how}"
                    )));
                }
            }
        }
        Told::Nothing if wishes.detector.is_some() && wishes.kind.is_some() => {
            "[powder]\nmisses_every = 10\n".to_owned()
        }
        Told::Nothing => {
            let how =
                "these files do not tell it: give --trial trial.toml, or --detector NAME and --kind KIND";
            return Err(ChoiceError::Detector(how.to_owned()));
        }
    };
    text.parse().map_err(|e: toml::de::Error| ChoiceError::Detector(e.to_string()))
}

/// What the DAQ's type of a detector is for us.
fn kind_of(word: &str) -> Option<&'static str> {
    let kinds = [
        ("jungfrau", "jungfrau"),
        ("epix10ka", "epix10ka"),
        ("epix100", "epix100"),
        ("cspad", "cspad"),
        ("rayonix", "rayonix"),
    ];
    kinds.into_iter().find(|(begin, _)| word.to_ascii_lowercase().starts_with(begin)).map(|(_, kind)| kind)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detectors::Kind;
    use crate::trial::SpotFinder;

    #[test]
    fn what_the_data_tell_is_enough_for_a_trial() {
        let none = Wishes::default();
        let counts = choose(&none, &Told::Counts { cutoff: Some(65535.0) }).unwrap();
        assert_eq!(
            (counts.parameters.detector.kind, counts.parameters.calibration.saturation),
            (Kind::Counts, Some(65535.0))
        );
        let values = choose(&none, &Told::Corrected).unwrap();
        assert_eq!(values.parameters.detector.kind, Kind::Corrected);
        let there = |kinds: &[(&str, &str)]| {
            Told::Detectors(
                kinds.iter().map(|(name, kind)| ((*name).to_owned(), (*kind).to_owned())).collect(),
            )
        };
        let one = choose(&none, &there(&[("jf", "jungfrau"), ("cam", "opal")])).unwrap();
        assert_eq!(
            (one.parameters.detector.name.as_str(), one.parameters.detector.kind),
            ("jf", Kind::Jungfrau)
        );
        let two = choose(&none, &there(&[("a", "jungfrau"), ("b", "epix10kaquad")])).unwrap_err();
        assert!(two.to_string().contains("a (jungfrau), b (epix10kaquad)"), "{two}");
        let named = Wishes { detector: Some("b".into()), ..Wishes::default() };
        let one = choose(&named, &there(&[("a", "jungfrau"), ("b", "epix10kaquad")])).unwrap();
        assert_eq!(one.parameters.detector.kind, Kind::Epix10ka);
        assert!(choose(&none, &Told::Nothing).unwrap_err().to_string().contains("--detector NAME"));
    }

    #[test]
    fn the_command_line_changes_single_keys() {
        let set = ["spots.peakfinder8.snr = 7.5", "detector.name=Front", "hit.min_spots=3"]
            .map(str::to_owned)
            .to_vec();
        let chosen = choose(&Wishes { set, ..Wishes::default() }, &Told::Corrected).unwrap();
        let SpotFinder::Peakfinder8(p) = &chosen.parameters.spots else { panic!("{chosen:?}") };
        assert_eq!((p.snr.to_string().as_str(), chosen.parameters.hit.min_spots), ("7.5", 3));
        assert_eq!(chosen.parameters.detector.name, "Front");
        for (set, why) in [
            ("snr", "KEY=VALUE"),
            ("spots.peakfinder8.snrr=6", "snr"),
            ("detector.name.x=1", "no table"),
            ("hit.min_spots=-1", "hit.min_spots"),
        ] {
            let wishes = Wishes { set: vec![set.to_owned()], ..Wishes::default() };
            let error = choose(&wishes, &Told::Corrected).unwrap_err();
            let text = format!("{:#}", anyhow::Error::from(error));
            assert!(text.contains(why), "{set}: {text}");
        }
    }

    #[test]
    fn files_are_named_with_their_checksums_and_the_trial_can_be_written() {
        let folder = tempfile::tempdir().unwrap();
        let mask = folder.path().join("mask.npy");
        std::fs::write(&mask, b"abc").unwrap();
        let wishes = Wishes { masks: vec![mask.clone()], ..Wishes::default() };
        let chosen =
            choose(&wishes, &Told::Corrected).unwrap().with_geometry(Path::new("/d/a \"b\".cbf"), b"abc");
        let again = Parameters::from_toml(&chosen.portable()).unwrap();
        assert_eq!(again.masks[0].path, mask.display().to_string());
        assert_eq!(again.masks[0].sha256, Sha256::of(b"abc"));
        assert_eq!(again.geometry[0].path, "/d/a \"b\".cbf");
        let trial = folder.path().join("trial.toml");
        std::fs::write(
            &trial,
            "[detector]\nname = \"x\"\nkind = \"counts\"\n[[masks]]\npath = \"m.npy\"\nsha256 = \""
                .to_owned()
                + &"0".repeat(64)
                + "\"\n",
        )
        .unwrap();
        let chosen = choose(&Wishes { trial: Some(trial), ..Wishes::default() }, &Told::Nothing).unwrap();
        let again = Parameters::from_toml(&chosen.portable()).unwrap();
        assert_eq!(again.masks[0].path, folder.path().join("m.npy").display().to_string());
    }
}
