//! A mover's configuration as a table of keys that a case changes one by one, and its text. Knows no default of the mover.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Keys and values (as TOML text) by table; the table `""` is the top.
#[derive(Clone, Debug, Default)]
pub struct Settings(BTreeMap<String, BTreeMap<String, String>>);

impl Settings {
    /// Sets a key to a value that is written as it is: `true`, `8`, `["NERSC"]`.
    pub fn set(&mut self, table: &str, key: &str, value: impl std::fmt::Display) -> &mut Self {
        self.0.entry(table.to_owned()).or_default().insert(key.to_owned(), value.to_string());
        self
    }

    /// Sets a key to a text.
    pub fn text(&mut self, table: &str, key: &str, value: impl std::fmt::Display) -> &mut Self {
        self.set(table, key, format!("{:?}", value.to_string()))
    }

    /// Adds what another says, which goes above what is here.
    pub fn add(&mut self, other: &Self) {
        for (table, keys) in &other.0 {
            self.0.entry(table.clone()).or_default().extend(keys.clone());
        }
    }

    /// Takes a whole table away.
    pub fn remove(&mut self, table: &str) -> &mut Self {
        self.0.remove(table);
        self
    }

    /// Takes a key away.
    pub fn remove_key(&mut self, table: &str, key: &str) -> &mut Self {
        if let Some(keys) = self.0.get_mut(table) {
            keys.remove(key);
        }
        self
    }

    /// The file.
    pub fn toml(&self) -> String {
        let mut text = String::new();
        // The top comes first, for `""` sorts before every name.
        for (table, keys) in &self.0 {
            if !table.is_empty() {
                let _ = writeln!(text, "\n[{table}]");
            }
            for (key, value) in keys {
                let _ = writeln!(text, "{key} = {value}");
            }
        }
        text
    }
}
