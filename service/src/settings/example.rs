//! A service's example file, which is the reference of its settings: what its comments spell out, and what it names, so that a
//! service's test can hold it against what its code asks for. Decides nothing of what a setting may be.

use std::collections::BTreeSet;

use toml::de::{DeTable, DeValue};

use super::read::{Book, Section};

/// The example without the marks of its comments: `# key = value` (a default), and `#: ` (an example) where wanted.
pub fn uncommented(example: &str, examples: bool) -> String {
    let is_setting = |text: &str| {
        let key = text.split(" = ").next().unwrap_or_default();
        text.contains(" = ") && key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_') && !key.is_empty()
    };
    let line = |line: &str| match (line.strip_prefix("#: "), line.strip_prefix("# ")) {
        (Some(rest), _) if examples => rest.to_owned(),
        (Some(_), _) => String::new(),
        (None, Some(rest)) if is_setting(rest) => rest.to_owned(),
        _ => line.to_owned(),
    };
    example.lines().map(line).fold(String::new(), |all, line| all + &line + "\n")
}

/// The settings that a text names, by dotted key, and those that a reader asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keys {
    /// What stands in the text, tables too.
    pub named: BTreeSet<String>,
    /// What the reader asked for, whether or not it is there.
    pub asked: BTreeSet<String>,
}

impl Keys {
    /// Of a text and its reader.
    pub fn of<T>(text: &str, whole: impl FnOnce(Section<'_, '_>) -> Option<T>) -> Self {
        let book = Book::new(text);
        let (table, _) = DeTable::parse_recoverable(text);
        whole(Section::top(&book, table.get_ref()));
        let mut named = BTreeSet::new();
        in_table("", table.get_ref(), &mut named);
        Self { named, asked: book.asked() }
    }

    /// What is asked for and not named: where sites, experiments or secrets may be of several kinds, `as_one` makes one of them.
    pub fn missing(&self, as_one: impl Fn(&str) -> String) -> Vec<&str> {
        let named: BTreeSet<String> = self.named.iter().map(|key| as_one(key)).collect();
        self.asked.iter().filter(|key| !named.contains(&as_one(key))).map(String::as_str).collect()
    }
}

fn in_table(path: &str, table: &DeTable<'_>, named: &mut BTreeSet<String>) {
    for (key, value) in table {
        let key = key.get_ref();
        let path = if path.is_empty() { key.to_string() } else { format!("{path}.{key}") };
        match value.get_ref() {
            DeValue::Table(inner) => in_table(&path, inner, named),
            DeValue::Array(list) => {
                let tables = list.iter().filter_map(|item| item.get_ref().as_table());
                tables.for_each(|inner| in_table(&path, inner, named));
            }
            _ => {}
        }
        named.insert(path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = "# How it is done.\nname = \"a\"\n# size = 3\n#: other = 4\n[[list]]\nof = 1\n";

    #[test]
    fn comments_that_are_settings_are_spelled_out_and_what_is_not_named_is_told() {
        let [defaults, all] = [false, true].map(|examples| uncommented(EXAMPLE, examples));
        assert_eq!(defaults, "# How it is done.\nname = \"a\"\nsize = 3\n\n[[list]]\nof = 1\n");
        assert!(all.contains("\nother = 4\n"));
        let keys = Keys::of(&all, |section| {
            for key in ["name", "size", "place"] {
                let _ = section.optional::<String>(key);
            }
            Some(())
        });
        assert!(keys.named.iter().eq(["list", "list.of", "name", "other", "size"]));
        assert_eq!(keys.missing(str::to_owned), ["place"]);
        assert!(keys.missing(|key| key.replace("place", "other")).is_empty());
    }
}
