//! Reads a TOML table setting by setting and keeps every fault with its key and line, so that one run of
//! `check-config` names them all. Knows nothing of what the settings mean; opens nothing.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// One thing wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fault {
    /// The line in the file, from 1.
    pub line: usize,
    /// The setting, such as `sites.NERSC.door`; empty where the text is no TOML at all.
    pub key: String,
    /// What is wrong with it and what to do.
    pub what: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: ", self.line)?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.what)
    }
}

/// The text being read, the faults found so far and the settings asked for.
#[derive(Debug)]
pub struct Book<'t> {
    text: &'t str,
    faults: RefCell<Vec<Fault>>,
    asked: RefCell<BTreeSet<String>>,
}

impl<'t> Book<'t> {
    /// Of this text, nothing found yet.
    pub fn new(text: &'t str) -> Self {
        Self { text, faults: RefCell::default(), asked: RefCell::default() }
    }

    /// The line, from 1, in which a byte of the text lies.
    pub fn line(&self, offset: usize) -> usize {
        1 + self.text.bytes().take(offset).filter(|byte| *byte == b'\n').count()
    }

    /// Notes a fault.
    pub fn fault(&self, line: usize, key: impl Into<String>, what: impl Into<String>) {
        self.faults.borrow_mut().push(Fault { line, key: key.into(), what: what.into() });
    }

    /// All faults in the order of the file.
    pub fn into_faults(self) -> Vec<Fault> {
        let mut faults = self.faults.into_inner();
        faults.sort();
        faults.dedup();
        faults
    }

    /// Every setting that was asked for, whether or not the file has it: what a test holds an example against.
    pub fn asked(&self) -> BTreeSet<String> {
        self.asked.borrow().clone()
    }
}

/// A value that a setting can have.
pub trait Setting: Sized {
    /// What is expected, with an example: `a duration such as "90s"`.
    const EXPECTED: &'static str;

    /// Reads the value; an error says more than that [`Self::EXPECTED`] was expected, or is empty.
    fn read(value: &DeValue<'_>) -> Result<Self, String>;
}

/// A table of the file, or one that it leaves out.
#[derive(Debug)]
pub struct Section<'b, 't> {
    book: &'b Book<'t>,
    /// The dotted key of the table, empty for the whole file.
    path: String,
    line: usize,
    table: Option<&'b DeTable<'t>>,
    known: RefCell<Vec<String>>,
}

impl<'b, 't> Section<'b, 't> {
    /// The whole file.
    pub fn top(book: &'b Book<'t>, table: &'b DeTable<'t>) -> Self {
        Self::new(book, "", 1, Some(table))
    }

    fn new(book: &'b Book<'t>, path: &str, line: usize, table: Option<&'b DeTable<'t>>) -> Self {
        Self { book, path: path.to_owned(), line, table, known: RefCell::default() }
    }

    /// The dotted key of a setting of this table.
    pub fn key(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    /// Whether the file has this table at all.
    pub fn is_given(&self) -> bool {
        self.table.is_some()
    }

    /// The line of a setting, or of its table where it is left out.
    pub fn line_of(&self, name: &str) -> usize {
        self.table
            .and_then(|table| table.get_key_value(name))
            .map_or(self.line, |(key, _)| self.book.line(key.span().start))
    }

    /// Says that a setting is wrong.
    pub fn fault(&self, name: &str, what: impl Into<String>) {
        self.book.fault(self.line_of(name), self.key(name), what);
    }

    fn value(&self, name: &str) -> Option<&'b Spanned<DeValue<'t>>> {
        self.known.borrow_mut().push(name.to_owned());
        self.book.asked.borrow_mut().insert(self.key(name));
        self.table.and_then(|table| table.get(name))
    }

    /// A setting that may be left out.
    pub fn optional<T: Setting>(&self, name: &str) -> Option<T> {
        match T::read(self.value(name)?.get_ref()) {
            Ok(value) => Some(value),
            Err(why) if why.is_empty() => {
                self.fault(name, format!("expected {}", T::EXPECTED));
                None
            }
            Err(why) => {
                self.fault(name, format!("{why}; expected {}", T::EXPECTED));
                None
            }
        }
    }

    /// A setting that has a default.
    pub fn or<T: Setting>(&self, name: &str, default: T) -> T {
        self.optional(name).unwrap_or(default)
    }

    /// A setting that must be there.
    pub fn required<T: Setting>(&self, name: &str) -> Option<T> {
        if self.table.is_none_or(|table| !table.contains_key(name)) {
            self.value(name);
            self.fault(name, format!("is missing; expected {}", T::EXPECTED));
            return None;
        }
        self.optional(name)
    }

    /// A table inside this one, empty where it is left out.
    #[must_use]
    pub fn section(&self, name: &str) -> Section<'b, 't> {
        let found = self.value(name);
        let table = found.and_then(|value| value.get_ref().as_table());
        if found.is_some() && table.is_none() {
            self.fault(name, format!("expected a table [{}]", self.key(name)));
        }
        Section::new(self.book, &self.key(name), self.line_of(name), table)
    }

    /// The tables of a list `[[name]]`.
    pub fn sections(&self, name: &str) -> Vec<Section<'b, 't>> {
        let Some(value) = self.value(name) else { return Vec::new() };
        let Some(list) = value.get_ref().as_array() else {
            self.fault(name, format!("expected a list of tables [[{}]]", self.key(name)));
            return Vec::new();
        };
        let path = self.key(name);
        list.iter()
            .filter_map(|item| {
                let line = self.book.line(item.span().start);
                let table = item.get_ref().as_table();
                if table.is_none() {
                    self.book.fault(line, path.clone(), format!("expected a table [[{path}]]"));
                }
                table.map(|table| Section::new(self.book, &path, line, Some(table)))
            })
            .collect()
    }

    /// The names in this table, all of which count as known: for tables whose keys the user chooses.
    pub fn names(&self) -> Vec<String> {
        let names: Vec<String> =
            self.table.into_iter().flat_map(|t| t.keys()).map(|k| k.get_ref().to_string()).collect();
        self.known.borrow_mut().extend(names.iter().cloned());
        names
    }

    /// The tables inside this one whose names the user chooses, such as sites: each read by `of`. A name that is none is a fault.
    pub fn named<K, T>(&self, of: impl Fn(Section<'b, 't>) -> T) -> BTreeMap<K, T>
    where
        K: FromStr<Err: fmt::Display> + Ord,
    {
        let mut all = BTreeMap::new();
        for name in self.names() {
            match name.parse::<K>() {
                Ok(key) => drop(all.insert(key, of(self.section(&name)))),
                Err(why) => self.fault(&name, why.to_string()),
            }
        }
        all
    }

    /// Says of every setting that nobody asked for that it is unknown.
    pub fn finish(self) {
        let known = self.known.borrow();
        for name in self.table.into_iter().flat_map(|table| table.keys()) {
            let name = name.get_ref().as_ref();
            if known.iter().any(|k| k == name) {
                continue;
            }
            let near = nearest(name, known.iter().map(String::as_str));
            let hint = match near {
                Some(near) => format!("unknown setting, did you mean `{near}`?"),
                None => "unknown setting".to_owned(),
            };
            self.fault(name, hint);
        }
    }
}

/// The name that was probably meant, if one is near: at most a third of the letters differ.
pub fn nearest<'n>(wrong: &str, known: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    near(wrong, known).into_iter().next()
}

/// The names that may have been meant, nearest first, at most three.
pub fn near<'n>(wrong: &str, known: impl IntoIterator<Item = &'n str>) -> Vec<&'n str> {
    let wrong_lower = wrong.to_lowercase();
    let mut found: Vec<(usize, &str)> = known
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(&wrong_lower, &name.to_lowercase()), name))
        .filter(|(distance, name)| distance * 3 <= wrong.chars().count().max(name.chars().count()))
        .collect();
    found.sort_unstable();
    found.dedup();
    found.into_iter().take(3).map(|(_, name)| name).collect()
}
