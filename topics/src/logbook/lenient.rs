//! Small readers for JSON as Python's `json` writes it: bare NaN and Infinity, numbers as text, times without a zone.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::LogbookError;
use crate::ids::RunNumber;
use crate::time::LogTime;

/// Parses JSON; where that fails, once more with bare NaN, Infinity and -Infinity read as null.
pub(super) fn json(bytes: &[u8]) -> Result<Value, serde_json::Error> {
    serde_json::from_slice(bytes).or_else(|strict| match mend(bytes) {
        Cow::Borrowed(_) => Err(strict),
        Cow::Owned(mended) => serde_json::from_slice(&mended),
    })
}

/// The text with each bare `NaN`, `Infinity` and `-Infinity` outside of strings made `null`; borrowed if there is none.
pub fn mend(bytes: &[u8]) -> Cow<'_, [u8]> {
    const TOKENS: [&[u8]; 3] = [b"-Infinity", b"Infinity", b"NaN"];
    let mut mended: Option<Vec<u8>> = None;
    let (mut at, mut in_string) = (0, false);
    let mut last = b'[';
    while at < bytes.len() {
        let byte = bytes[at];
        let mut width = 1;
        if in_string {
            match byte {
                b'\\' => width = 2.min(bytes.len() - at),
                b'"' => in_string = false,
                _ => {}
            }
        } else if byte == b'"' {
            in_string = true;
        } else if matches!(byte, b'-' | b'I' | b'N') && matches!(last, b':' | b'[' | b',') {
            let rest = &bytes[at..];
            if let Some(token) = TOKENS.into_iter().find(|token| rest.starts_with(token)) {
                mended.get_or_insert_with(|| bytes[..at].to_vec()).extend_from_slice(b"null");
                at += token.len();
                last = b'l';
                continue;
            }
        }
        if !byte.is_ascii_whitespace() {
            last = byte;
        }
        if let Some(mended) = &mut mended {
            mended.extend_from_slice(&bytes[at..at + width]);
        }
        at += width;
    }
    mended.map_or(Cow::Borrowed(bytes), Cow::Owned)
}

/// What a field should have been, and what it is.
pub(super) fn shape(what: &'static str, expected: &'static str, found: Option<&Value>) -> LogbookError {
    let found =
        found.map_or_else(|| "missing".to_owned(), |value| value.to_string().chars().take(80).collect());
    LogbookError::Shape { what, expected, found }
}

pub(super) fn object<'a>(
    what: &'static str,
    value: &'a Value,
) -> Result<&'a Map<String, Value>, LogbookError> {
    value.as_object().ok_or_else(|| shape(what, "an object", Some(value)))
}

pub(super) fn text<'a>(what: &'static str, value: Option<&'a Value>) -> Result<&'a str, LogbookError> {
    value.and_then(Value::as_str).ok_or_else(|| shape(what, "a text", value))
}

/// The field as `read` understands it; noted as unread where it is there, not null, not an empty text, and not understood.
pub(super) fn optional<T>(
    document: &Map<String, Value>,
    field: &'static str,
    unread: &mut Vec<&'static str>,
    read: impl Fn(&Value) -> Option<T>,
) -> Option<T> {
    let value = document.get(field).filter(|value| !value.is_null() && value.as_str() != Some(""))?;
    let read = read(value);
    if read.is_none() {
        unread.push(field);
    }
    read
}

pub(super) fn time(value: &Value) -> Option<LogTime> {
    value.as_str()?.parse().ok()
}

/// A whole number of at least 0, also written as `1.0` or `"1"`.
pub(super) fn unsigned(value: &Value) -> Option<u64> {
    const WHOLE: f64 = 9_007_199_254_740_992.0; // 2^53: below it each whole number is exact in a float
    match value {
        Value::Number(number) => number.as_u64().or_else(|| {
            let float =
                number.as_f64().filter(|float| float.fract() == 0.0 && (0.0..=WHOLE).contains(float))?;
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked just above")]
            Some(float as u64)
        }),
        Value::String(text) if text.bytes().all(|byte| byte.is_ascii_digit()) => text.parse().ok(),
        _ => None,
    }
}

pub(super) fn run_number(value: Option<&Value>) -> Option<RunNumber> {
    unsigned(value?).and_then(|number| u32::try_from(number).ok()).map(RunNumber)
}

/// The error and its causes in one line.
pub(super) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
