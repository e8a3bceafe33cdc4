//! The text of a CBF file: items and loops of CIF, and where the binary sections lie between them. Borrows from the file; knows
//! nothing of what an item means.

use std::borrow::Cow;
use std::collections::HashMap;

use super::CbfError;

/// Opens a binary section inside a text field.
const BINARY: &[u8] = b"--CIF-BINARY-FORMAT-SECTION--";
/// Stands between a section's header and its data.
const MAGIC: &[u8] = &[0x0c, 0x1a, 0x04, 0xd5];
/// A header of a section is some ten lines.
const LONGEST_MIME: usize = 16 << 10;

/// The items of a CIF text: a column of values by lower-case name. A single item is a column of one.
#[derive(Debug, Default)]
pub struct Cif<'b> {
    columns: HashMap<String, Vec<Cow<'b, str>>>,
}

impl<'b> Cif<'b> {
    /// All values of an item, `.` and `?` included; empty where it is missing.
    pub fn column(&self, name: &str) -> &[Cow<'b, str>] {
        self.columns.get(name).map_or(&[], Vec::as_slice)
    }

    /// The first value of an item that says something.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.column(name).first().map(Cow::as_ref).filter(|value| !matches!(*value, "." | "?" | ""))
    }

    /// The first value of an item as a finite number.
    pub fn number(&self, name: &str) -> Option<f64> {
        self.value(name)?.parse::<f64>().ok().filter(|v| v.is_finite())
    }

    /// Several items of one loop, row by row; rows that lack one of them are not there.
    pub fn rows<const N: usize>(&self, names: [&str; N]) -> impl Iterator<Item = [&str; N]> {
        let columns = names.map(|name| self.column(name));
        let length = columns.iter().map(|column| column.len()).min().unwrap_or(0);
        (0..length).map(move |row| columns.map(|column| column[row].as_ref()))
    }
}

/// A binary section as it lies in the file.
#[derive(Debug)]
pub(super) struct Binary<'b> {
    /// By lower-case name, continued lines joined.
    headers: Vec<(String, String)>,
    pub(super) data: &'b [u8],
}

impl Binary<'_> {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// Reads the text and finds the binary sections.
pub(super) fn read(bytes: &[u8]) -> Result<(Cif<'_>, Vec<Binary<'_>>), CbfError> {
    let mut reader = Reader { bytes, at: 0, line: 1, binaries: Vec::new() };
    let mut cif = Cif::default();
    let mut held: Option<Token<'_>> = None;
    while let Some(token) = held.take().map_or_else(|| reader.token(), |token| Ok(Some(token)))? {
        match token {
            Token::Name(name) => match reader.token()? {
                Some(Token::Value(value)) => cif.columns.entry(name).or_default().push(value),
                Some(other) => held = Some(other),
                None => return Err(reader.wrong(format!("`{name}` has no value"))),
            },
            Token::Loop => {
                let mut names = Vec::new();
                let mut rows: Vec<Vec<Cow<'_, str>>> = Vec::new();
                let mut values = 0_usize;
                while let Some(token) = reader.token()? {
                    match token {
                        Token::Name(name) if values == 0 => {
                            names.push(name);
                            rows.push(Vec::new());
                        }
                        Token::Value(value) if !names.is_empty() => {
                            rows[values % names.len()].push(value);
                            values += 1;
                        }
                        other => {
                            held = Some(other);
                            break;
                        }
                    }
                }
                if names.is_empty() || !values.is_multiple_of(names.len()) {
                    return Err(reader.wrong(format!("a loop of {} items has {values} values", names.len())));
                }
                for (name, column) in names.into_iter().zip(rows) {
                    cif.columns.entry(name).or_default().extend(column);
                }
            }
            // Values without a name say nothing; blocks are taken together.
            Token::Block | Token::Value(_) => {}
        }
    }
    Ok((cif, reader.binaries))
}

#[derive(Debug)]
enum Token<'b> {
    Name(String),
    Value(Cow<'b, str>),
    Loop,
    Block,
}

#[derive(Debug)]
struct Reader<'b> {
    bytes: &'b [u8],
    at: usize,
    line: usize,
    binaries: Vec<Binary<'b>>,
}

impl<'b> Reader<'b> {
    fn wrong(&self, what: impl Into<String>) -> CbfError {
        CbfError::Header { line: self.line, what: what.into() }
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    /// Moves to `to`, counting lines.
    #[allow(clippy::naive_bytecount)] // a header is small
    fn advance(&mut self, to: usize) {
        let to = to.min(self.bytes.len());
        self.line += self.bytes[self.at..to].iter().filter(|byte| **byte == b'\n').count();
        self.at = to;
    }

    /// Where `found` first holds from here on; the end where it never does.
    fn until(&self, found: impl Fn(u8) -> bool) -> usize {
        self.bytes[self.at..].iter().position(|byte| found(*byte)).map_or(self.bytes.len(), |n| self.at + n)
    }

    fn token(&mut self) -> Result<Option<Token<'b>>, CbfError> {
        loop {
            match self.peek() {
                None => return Ok(None),
                Some(b'#') => {
                    let end = self.until(|byte| byte == b'\n');
                    self.advance(end);
                }
                Some(byte) if byte.is_ascii_whitespace() || byte < b' ' => self.advance(self.at + 1),
                Some(b';') if self.at == 0 || self.bytes[self.at - 1] == b'\n' => {
                    return self.field().map(Some);
                }
                Some(quote @ (b'\'' | b'"')) => return self.quoted(quote).map(Some),
                Some(_) => break,
            }
        }
        let end = self.until(|byte| byte.is_ascii_whitespace());
        let word = String::from_utf8_lossy(&self.bytes[self.at..end]);
        self.advance(end);
        let lower = || word.to_ascii_lowercase();
        Ok(Some(if word.starts_with('_') {
            Token::Name(lower())
        } else if word.eq_ignore_ascii_case("loop_") {
            Token::Loop
        } else if word.get(..5).is_some_and(|start| start.eq_ignore_ascii_case("data_")) {
            Token::Block
        } else {
            Token::Value(word)
        }))
    }

    fn quoted(&mut self, quote: u8) -> Result<Token<'b>, CbfError> {
        let start = self.at + 1;
        let rest = &self.bytes[start..];
        for (at, byte) in rest.iter().enumerate() {
            if *byte == b'\n' {
                break;
            }
            // A quote inside a word does not end it.
            if *byte == quote && rest.get(at + 1).is_none_or(u8::is_ascii_whitespace) {
                self.advance(start + at + 1);
                return Ok(Token::Value(String::from_utf8_lossy(&rest[..at])));
            }
        }
        Err(self.wrong("a quoted value does not end"))
    }

    /// A text field, from `;` at the start of a line to the next such; or a binary section in one.
    fn field(&mut self) -> Result<Token<'b>, CbfError> {
        let start = self.at + 1;
        let text = self.bytes[start..].trim_ascii_start();
        if text.starts_with(BINARY) {
            let from = self.bytes.len() - text.len() + BINARY.len();
            return self.binary(from);
        }
        let Some(length) = find(&self.bytes[start..], b"\n;") else {
            return Err(self.wrong("a text field does not end"));
        };
        let text = String::from_utf8_lossy(&self.bytes[start..start + length]);
        self.advance(start + length + 2);
        Ok(Token::Value(text))
    }

    /// A binary section whose headers begin at `from`.
    fn binary(&mut self, from: usize) -> Result<Token<'b>, CbfError> {
        let section = self.binaries.len() + 1;
        self.advance(from);
        let window = &self.bytes[from..self.bytes.len().min(from + LONGEST_MIME)];
        let Some(length) = find(window, MAGIC) else {
            return Err(self.wrong(format!("binary section {section} has no start of data")));
        };
        let headers = mime(&String::from_utf8_lossy(&window[..length]));
        let begin = from + length + MAGIC.len();
        let mut binary = Binary { headers, data: &[] };
        let size: u64 = binary
            .header("x-binary-size")
            .and_then(|size| size.parse().ok())
            .ok_or_else(|| self.wrong(format!("binary section {section} does not say its size")))?;
        let there = (self.bytes.len() - begin) as u64;
        let Some(size_here) = usize::try_from(size).ok().filter(|_| size <= there) else {
            return Err(CbfError::Truncated { section, size, there });
        };
        binary.data = &self.bytes[begin..begin + size_here];
        self.binaries.push(binary);
        self.at = begin + size_here;
        // Padding and the closing line; a file that ends here has all its pixels.
        let end = find(&self.bytes[self.at..], b"\n;").map_or(self.bytes.len(), |n| self.at + n + 2);
        self.advance(end);
        Ok(Token::Value(Cow::Borrowed("")))
    }
}

/// Header lines by lower-case name; a line that begins with white space continues the one before.
fn mime(text: &str) -> Vec<(String, String)> {
    let mut headers: Vec<(String, String)> = Vec::new();
    for line in text.lines() {
        if line.starts_with([' ', '\t']) {
            if let Some((_, value)) = headers.last_mut() {
                value.push(' ');
                value.push_str(line.trim());
            }
        } else if let Some((name, value)) = line.split_once(':') {
            headers.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
        }
    }
    headers
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    let mut from = 0;
    while let Some(n) = bytes[from..].iter().position(|byte| *byte == wanted[0]) {
        if bytes[from + n..].starts_with(wanted) {
            return Some(from + n);
        }
        from += n + 1;
    }
    None
}
