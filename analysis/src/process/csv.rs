//! Results as CSV (RFC 4180), one line per image; and read back as far as a figure needs them.

use std::io::{self, Write};

use super::table::{COLUMNS, Row, Seen, Value};

/// Writes a header line and a line per row.
pub fn write(rows: &[Row], mut to: impl Write) -> io::Result<()> {
    let names: Vec<&str> = COLUMNS.iter().map(|column| column.name).collect();
    writeln!(to, "{}", names.join(","))?;
    for row in rows {
        for (i, column) in COLUMNS.iter().enumerate() {
            if i > 0 {
                to.write_all(b",")?;
            }
            match (column.value)(row) {
                Value::None => {}
                Value::Text(text) => to.write_all(quoted(&text).as_bytes())?,
                Value::Whole(number) => write!(to, "{number}")?,
                Value::Real(number) => write!(to, "{number}")?,
            }
        }
        to.write_all(b"\n")?;
    }
    to.flush()
}

fn quoted(text: &str) -> std::borrow::Cow<'_, str> {
    if text.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\"")).into()
    } else {
        text.into()
    }
}

/// Reads what [`write`] wrote; other columns may be there too, in any order.
///
/// # Errors
/// In words, with the line.
pub fn read(text: &str) -> Result<Vec<Seen>, String> {
    let mut records = records(text).into_iter();
    let header = records.next().ok_or("the file is empty")?;
    let place = |name: &str| {
        header.iter().position(|column| column == name).ok_or_else(|| {
            format!("line 1 names no column `{name}`: this is no table of results as `process` writes it")
        })
    };
    let [experiment, run, time, outcome, spots] =
        [place("experiment")?, place("run")?, place("unix_time_s")?, place("outcome")?, place("spots")?];
    let also = |name: &str| header.iter().position(|column| column == name).unwrap_or(usize::MAX);
    let (energy, distance) = (also("photon_energy_ev"), also("detector_distance_m"));
    let mut seen = Vec::new();
    for (line, record) in records.enumerate() {
        let field = |at: usize| record.get(at).map(String::as_str).filter(|text| !text.is_empty());
        let wrong = |what: &str| format!("record {}: {what}", line + 2);
        let word = serde_json::Value::from(field(outcome).unwrap_or_default());
        seen.push(Seen {
            experiment: field(experiment).unwrap_or_default().to_owned(),
            run: field(run).and_then(|text| text.parse().ok()).ok_or_else(|| wrong("`run` is no number"))?,
            trial: None,
            at: field(time).and_then(|text| text.parse().ok()),
            outcome: serde_json::from_value(word).map_err(|_| wrong("`outcome` is none that is known"))?,
            spots: field(spots).and_then(|text| text.parse().ok()),
            photon_energy: field(energy).and_then(|text| text.parse().ok()),
            distance: field(distance).and_then(|text| text.parse().ok()),
        });
    }
    Ok(seen)
}

/// The records of a CSV text; a quoted field may hold commas, quotes and line ends.
fn records(text: &str) -> Vec<Vec<String>> {
    let mut records = Vec::new();
    let (mut record, mut field, mut inside) = (Vec::new(), String::new(), false);
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '"' if inside && letters.peek() == Some(&'"') => {
                letters.next();
                field.push('"');
            }
            '"' => inside = !inside,
            ',' if !inside => record.push(std::mem::take(&mut field)),
            '\r' if !inside => {}
            '\n' if !inside => {
                record.push(std::mem::take(&mut field));
                records.push(std::mem::take(&mut record));
            }
            other => field.push(other),
        }
    }
    if !field.is_empty() || !record.is_empty() {
        record.push(field);
        records.push(record);
    }
    records
}
