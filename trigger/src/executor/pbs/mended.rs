//! PBS's JSON made JSON. Until 2023 `qstat` wrote a value bare that looked like a number to C, `005` and `.5` too, escaped what
//! needs no escape, and left control characters as they were (openpbs issue 1255, pull requests 2049 and 2603). Values are
//! whatever anybody has in the environment of a job: one such job is not to hide all others. Pure.

use std::fmt::Write as _;
use std::iter::Peekable;
use std::str::Chars;

use serde_json::Value;

/// The text with what is no JSON value as a string, and with strings that JSON takes. Quotes that were left in strings stay as they
/// are: where such a string ends nobody can tell.
pub(super) fn mended(text: &str) -> String {
    let mut mended = String::with_capacity(text.len() + 64);
    let mut rest = text.chars().peekable();
    while let Some(next) = rest.next() {
        match next {
            '"' => string(&mut rest, &mut mended),
            _ if is_between(next) => mended.push(next),
            _ => {
                let mut bare = String::from(next);
                while let Some(next) = rest.next_if(|next| !is_between(*next) && *next != '"') {
                    bare.push(next);
                }
                match serde_json::from_str::<Value>(&bare) {
                    Ok(_) => mended.push_str(&bare),
                    Err(_) => mended.push_str(&Value::String(bare).to_string()),
                }
            }
        }
    }
    mended
}

/// What stands between values.
fn is_between(next: char) -> bool {
    next.is_whitespace() || matches!(next, '{' | '}' | '[' | ']' | ':' | ',')
}

/// A string whose first quote was read, up to its last.
fn string(rest: &mut Peekable<Chars<'_>>, mended: &mut String) {
    mended.push('"');
    while let Some(next) = rest.next() {
        match next {
            '"' => {
                mended.push('"');
                return;
            }
            '\\' => match rest.next() {
                Some(escaped @ ('"' | '\\' | '/' | 'b' | 'f' | 'n' | 'r' | 't')) => {
                    mended.extend(['\\', escaped])
                }
                Some('u') if rest.clone().take(4).filter(char::is_ascii_hexdigit).count() == 4 => {
                    mended.push_str("\\u");
                }
                Some(plain) => mended.push(plain),
                None => {}
            },
            _ if next.is_control() => {
                let _ = write!(mended, "\\u{:04x}", u32::from(next));
            }
            _ => mended.push(next),
        }
    }
}
