//! A mover's configuration as tables of keys that a case changes one by one, its text, and what nearly every case has in it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use lightrail_compose::Cluster;
use lightrail_compose::logbook::Logbook;
use lightrail_compose::ports::Port;
use lightrail_topics::Topic;

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

/// What nearly every case has: delays short enough for a test, all limits of the issue as they are.
pub(crate) fn usual(
    bootstrap: &str,
    prefix: &str,
    folder: &Path,
    slac: &Cluster,
    nersc: &Cluster,
    logbook: &Logbook,
    http: &Port,
) -> Settings {
    let mut settings = Settings::default();
    settings.text("", "mover", "test").text("", "source", "SLAC").text("", "start_from", "earliest");
    settings.set("kafka", "bootstrap", format!("[\"{bootstrap}\"]")).text("kafka", "prefix", prefix);
    for topic in [Topic::Runs, Topic::FileCatalog, Topic::Experiments] {
        settings.text("kafka.logbook", topic.base_name(), format!("{prefix}{topic}"));
    }
    let path = |below: &str| folder.join(below).display().to_string();
    settings.text("journal", "folder", path("journal")).text("journal", "reserve", "16MiB");
    for cluster in [slac, nersc] {
        let table = format!("sites.{}", cluster.name());
        settings.text(&table, "door", cluster.door()).text(&table, "prefix", cluster.prefix());
    }
    settings.set("sites.NERSC", "transfers", 8).set("experiments.default", "to", "[\"NERSC\"]");
    settings.text("logbook", "url", logbook.url()).text("logbook", "user", "psdatmgr");
    settings.text("http", "listen", format!("127.0.0.1:{http}")).text("http", "token_file", path("token"));
    settings.text("retry", "first", "200ms").set("retry", "factor", 1.5).text("retry", "max", "2s");
    settings.text("breaker", "open_for", "2s").text("sweep", "every", "3s");
    settings.text("shutdown", "drain_for", "20s");
    settings.text("log", "filter", "info,lightrail_mover::intake::kafka=warn");
    settings
}

/// Writes the file `<name>.toml`.
pub(crate) fn write_config(folder: &Path, name: &str, settings: &Settings) -> anyhow::Result<PathBuf> {
    let config = folder.join(format!("{name}.toml"));
    std::fs::write(&config, settings.toml()).context("cannot write the mover's configuration")?;
    Ok(config)
}
