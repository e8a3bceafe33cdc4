//! How Python writes JSON and times, for the logbook is a Python program: non-ASCII escaped, bare `NaN` tokens, times
//! without a fraction where it is zero. Pure text; no clock.

use std::fmt::Write as _;

use serde_json::Value;

use crate::time::Millis;

/// Marks a string that stands for a number that JSON does not have: a private-use character, then the token.
const BARE: char = '\u{f8ff}';
/// The tokens that Python writes and reads though JSON has none.
const TOKENS: [&str; 3] = ["NaN", "-Infinity", "Infinity"];

/// A number as a value, also one that JSON does not have.
pub fn number(value: f64) -> Value {
    let token = if value.is_nan() {
        "NaN"
    } else if value == f64::INFINITY {
        "Infinity"
    } else if value == f64::NEG_INFINITY {
        "-Infinity"
    } else {
        return Value::from(value);
    };
    Value::String(format!("{BARE}{token}"))
}

/// What `json.dumps` would write.
pub fn dumps(value: &Value) -> String {
    let mut out = String::new();
    dump(value, &mut out);
    out
}

fn dump(value: &Value, out: &mut String) {
    match value {
        Value::String(text) => match text.strip_prefix(BARE) {
            Some(token) => out.push_str(token),
            None => dump_text(text, out),
        },
        Value::Array(items) => {
            out.push('[');
            for (at, item) in items.iter().enumerate() {
                out.push_str(if at == 0 { "" } else { ", " });
                dump(item, out);
            }
            out.push(']');
        }
        Value::Object(members) => {
            out.push('{');
            for (at, (name, member)) in members.iter().enumerate() {
                out.push_str(if at == 0 { "" } else { ", " });
                dump_text(name, out);
                out.push_str(": ");
                dump(member, out);
            }
            out.push('}');
        }
        plain => out.push_str(&plain.to_string()),
    }
}

fn dump_text(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            ' '..='~' => out.push(c),
            other => {
                for unit in other.encode_utf16(&mut [0; 2]) {
                    let _ = write!(out, "\\u{unit:04x}");
                }
            }
        }
    }
    out.push('"');
}

/// What `json.loads` would read: JSON, and bare `NaN`, `Infinity`, `-Infinity`.
pub fn loads(text: &str) -> serde_json::Result<Value> {
    let mut strict = String::with_capacity(text.len());
    let (mut inside, mut escaped) = (false, false);
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if !inside && let Some(token) = TOKENS.iter().find(|token| rest.starts_with(**token)) {
            let _ = write!(strict, "\"{BARE}{token}\"");
            rest = &rest[token.len()..];
            continue;
        }
        if c == '"' && !escaped {
            inside = !inside;
        }
        escaped = inside && c == '\\' && !escaped;
        strict.push(c);
        rest = &rest[c.len_utf8()..];
    }
    serde_json::from_str(&strict)
}

/// `isoformat` of a time with a zone, as the database gives it back: whole milliseconds.
pub fn zoned(at: Millis) -> String {
    naive(at) + "+00:00"
}

/// `isoformat` of a time without a zone: six digits of a fraction, or none where it is zero.
pub fn naive(at: Millis) -> String {
    let text = at.to_string();
    let text = text.trim_end_matches('Z');
    match text.strip_suffix(".000") {
        Some(whole) => whole.to_owned(),
        None => format!("{text}000"),
    }
}

/// The two forms of a time given as `%Y-%m-%dT%H:%M:%SZ`: as the Create message has it, a microsecond later and without a
/// zone, and as the database gives it back. `None` for any other text.
pub fn registered(text: &str) -> Option<(String, String)> {
    let whole = text.strip_suffix('Z')?;
    if whole.len() != 19 || whole.as_bytes()[10] != b'T' {
        return None;
    }
    let _: Millis = text.parse().ok()?;
    Some((format!("{whole}.000001"), format!("{whole}+00:00")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_python_writes_and_reads_besides_json() {
        let text =
            r#"{"a": NaN, "b": [-Infinity, 1.5], "c\"NaN": "NaN \u00e9\ud83d\ude00", "d": null, "e": "x\\"}"#;
        let read = loads(text).unwrap();
        assert_eq!(dumps(&read), text);
        assert_eq!(dumps(&number(f64::NAN)), "NaN");
        assert!(serde_json::from_str::<Value>(text).is_err());
    }

    #[test]
    fn times_lose_their_fraction_where_it_is_zero() {
        assert_eq!(zoned("2020-09-02T10:00:00Z".parse().unwrap()), "2020-09-02T10:00:00+00:00");
        assert_eq!(naive("2020-09-02T10:00:00.741Z".parse().unwrap()), "2020-09-02T10:00:00.741000");
        let (created, stored) = registered("2020-09-02T10:00:00Z").unwrap();
        assert_eq!(
            (created.as_str(), stored.as_str()),
            ("2020-09-02T10:00:00.000001", "2020-09-02T10:00:00+00:00")
        );
        assert_eq!(registered("2020-09-02 10:00:00"), None);
    }
}
