//! From a text to typed tests: words, then clauses by recursive descent within a depth. Every fault is told with its column.

use std::ops::Range;

use super::{Clause, Comparison, Fact, Literal, MAX_DEPTH, MAX_TEXT, Operand, Test, Type, WhenError};

/// A word of the text.
#[derive(Clone, Debug, PartialEq)]
enum Word {
    /// A name or a keyword, with the dots in it.
    Name(String),
    Number(f64),
    Text(String),
    Sign(&'static str),
    End,
}

/// Longer ones first.
const SIGNS: [&str; 12] = ["==", "!=", "<=", ">=", "<", ">", "=", "(", ")", "[", "]", ","];

/// What may stand behind a number.
const UNITS: [(&str, f64); 14] = [
    ("B", 1.0),
    ("kB", 1e3),
    ("MB", 1e6),
    ("GB", 1e9),
    ("TB", 1e12),
    ("KiB", 1024.0),
    ("MiB", 1_048_576.0),
    ("GiB", 1_073_741_824.0),
    ("TiB", 1_099_511_627_776.0),
    ("s", 1.0),
    ("min", 60.0),
    ("h", 3600.0),
    ("eV", 1.0),
    ("keV", 1000.0),
];

/// Reads a whole text.
pub(super) fn parse(text: &str) -> Result<Clause, WhenError> {
    let fault = |at: usize, what: String| WhenError { column: text[..at].chars().count() + 1, what };
    if text.len() > MAX_TEXT {
        return Err(WhenError { column: 1, what: format!("is longer than {MAX_TEXT} bytes") });
    }
    let words = words(text).map_err(|(at, what)| fault(at, what))?;
    let mut parser = Parser { words, next: 0, depth: 0 };
    let read = parser.any().and_then(|clause| match parser.peek() {
        (Word::End, _) => Ok(clause),
        (word, at) => {
            Err((at.start, format!("{} cannot stand here; `and` or `or` joins two tests", said(word))))
        }
    });
    read.map_err(|(at, what)| fault(at, what))
}

/// A fault, with the byte at which it is.
type Read<T> = Result<T, (usize, String)>;

fn words(text: &str) -> Read<Vec<(Word, Range<usize>)>> {
    let mut words = Vec::new();
    let mut at = 0;
    while let Some(first) = text[at..].chars().next() {
        let rest = &text[at..];
        if first.is_whitespace() {
            at += first.len_utf8();
            continue;
        }
        let (word, length) = if first == '\'' || first == '"' {
            let inner = rest[1..].split_once(first).map(|(inner, _)| inner);
            let inner = inner.ok_or_else(|| (at, format!("a text begins here and no {first} ends it")))?;
            (Word::Text(inner.to_owned()), inner.len() + 2)
        } else if first.is_ascii_digit()
            || (first == '-' && rest[1..].starts_with(|c: char| c.is_ascii_digit()))
        {
            number(rest).map_err(|what| (at, what))?
        } else if first.is_ascii_alphabetic() {
            let name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
            let length = rest.find(|c: char| !name(c)).unwrap_or(rest.len());
            (Word::Name(rest[..length].to_owned()), length)
        } else if let Some(sign) = SIGNS.into_iter().find(|sign| rest.starts_with(sign)) {
            (Word::Sign(if sign == "=" { "==" } else { sign }), sign.len())
        } else {
            return Err((at, format!("`{}` means nothing here", first.escape_default())));
        };
        words.push((word, at..at + length));
        at += length;
    }
    words.push((Word::End, text.len()..text.len()));
    Ok(words)
}

/// A number, and its unit where one follows.
fn number(rest: &str) -> Result<(Word, usize), String> {
    let digits = |from: usize| rest[from..].bytes().take_while(u8::is_ascii_digit).count();
    let mut length = usize::from(rest.starts_with('-'));
    length += digits(length);
    if rest[length..].starts_with('.') && digits(length + 1) > 0 {
        length += 1 + digits(length + 1);
    }
    if rest[length..].starts_with(['e', 'E']) {
        let sign = usize::from(rest[length + 1..].starts_with(['-', '+']));
        let exponent = digits(length + 1 + sign);
        if exponent > 0 {
            length += 1 + sign + exponent;
        }
    }
    let text = &rest[..length];
    let value: f64 = text.parse().map_err(|_| format!("`{text}` is no number"))?;
    let spaces = rest[length..].len() - rest[length..].trim_start_matches(' ').len();
    let behind = &rest[length + spaces..];
    let word = behind.bytes().take_while(u8::is_ascii_alphabetic).count();
    let unit = UNITS.into_iter().find(|(name, _)| *name == &behind[..word]);
    let is_keyword = matches!(&behind[..word], "" | "and" | "or" | "not" | "in" | "like");
    let (value, length) = match unit {
        Some((_, factor)) => (value * factor, length + spaces + word),
        None if is_keyword => (value, length),
        None => {
            let known = UNITS.map(|(name, _)| name).join(", ");
            return Err(format!("`{}` is no unit; {known} are", &behind[..word]));
        }
    };
    if value.is_finite() { Ok((Word::Number(value), length)) } else { Err(format!("`{text}` is too great")) }
}

fn said(word: &Word) -> String {
    match word {
        Word::Name(name) => format!("`{name}`"),
        Word::Number(number) => format!("`{number}`"),
        Word::Text(text) => format!("the text '{text}'"),
        Word::Sign(sign) => format!("`{sign}`"),
        Word::End => "the end".to_owned(),
    }
}

struct Parser {
    words: Vec<(Word, Range<usize>)>,
    next: usize,
    depth: usize,
}

impl Parser {
    fn peek(&self) -> (&Word, Range<usize>) {
        // The last word is the end, which nothing steps over.
        let (word, at) = &self.words[self.next.min(self.words.len() - 1)];
        (word, at.clone())
    }

    fn is_name(&self, name: &str) -> bool {
        matches!(self.peek().0, Word::Name(word) if word == name)
    }

    fn take_name(&mut self, name: &str) -> bool {
        let is = self.is_name(name);
        self.next += usize::from(is);
        is
    }

    fn take_sign(&mut self, sign: &str) -> bool {
        let is = matches!(self.peek().0, Word::Sign(word) if *word == sign);
        self.next += usize::from(is);
        is
    }

    fn expect_sign(&mut self, sign: &str, why: &str) -> Read<()> {
        if self.take_sign(sign) {
            return Ok(());
        }
        let (word, at) = self.peek();
        Err((at.start, format!("{} stands where `{sign}` {why}", said(word))))
    }

    /// Where the word before the next one ends.
    fn end(&self) -> usize {
        self.words[self.next.saturating_sub(1)].1.end
    }

    fn any(&mut self) -> Read<Clause> {
        self.joined("or", Self::all, Test::Any)
    }

    fn all(&mut self) -> Read<Clause> {
        self.joined("and", Self::opposite, Test::All)
    }

    fn joined(
        &mut self,
        by: &str,
        part: fn(&mut Self) -> Read<Clause>,
        test: fn(Vec<Clause>) -> Test,
    ) -> Read<Clause> {
        let start = self.peek().1.start;
        let first = part(self)?;
        if !self.is_name(by) {
            return Ok(first);
        }
        let mut parts = vec![first];
        while self.take_name(by) {
            parts.push(part(self)?);
        }
        Ok(Clause { at: start..self.end(), test: test(parts) })
    }

    fn opposite(&mut self) -> Read<Clause> {
        let start = self.peek().1.start;
        if !self.is_name("not") {
            return self.test();
        }
        self.next += 1;
        let of = self.deeper(start, Self::opposite)?;
        Ok(Clause { at: start..self.end(), test: Test::Not(Box::new(of)) })
    }

    fn deeper(&mut self, start: usize, read: fn(&mut Self) -> Read<Clause>) -> Read<Clause> {
        if self.depth == MAX_DEPTH {
            return Err((start, format!("is nested deeper than {MAX_DEPTH} times")));
        }
        self.depth += 1;
        let read = read(self);
        self.depth -= 1;
        read
    }

    fn test(&mut self) -> Read<Clause> {
        let start = self.peek().1.start;
        if self.take_sign("(") {
            let inner = self.deeper(start, Self::any)?;
            self.expect_sign(")", "should end what `(` began")?;
            return Ok(Clause { at: start..self.end(), test: inner.test });
        }
        let test = if self.is_name("known") {
            self.next += 1;
            self.expect_sign("(", "should follow `known`, as in known(param('x'))")?;
            let operand = self.operand()?;
            self.expect_sign(")", "should end what `(` began")?;
            Test::Known(operand)
        } else {
            let left = self.operand()?;
            self.relation(start, left)?
        };
        Ok(Clause { at: start..self.end(), test })
    }

    /// What follows a first value.
    fn relation(&mut self, start: usize, left: Operand) -> Read<Test> {
        let (word, at) = self.peek();
        let comparison = match word {
            Word::Sign("==") => Some(Comparison::Equal),
            Word::Sign("!=") => Some(Comparison::Unequal),
            Word::Sign("<") => Some(Comparison::Less),
            Word::Sign("<=") => Some(Comparison::AtMost),
            Word::Sign(">") => Some(Comparison::More),
            Word::Sign(">=") => Some(Comparison::AtLeast),
            _ => None,
        };
        if let Some(comparison) = comparison {
            self.next += 1;
            let right = self.operand()?;
            check(&left, comparison, &right).map_err(|what| (at.start, what))?;
            return Ok(Test::Compare(left, comparison, right));
        }
        let negated = self.is_name("not");
        self.next += usize::from(negated);
        let test = if self.take_name("in") {
            self.membership(start, left)?
        } else if self.take_name("like") {
            let (word, at) = self.peek();
            let Word::Text(pattern) = word.clone() else {
                return Err((at.start, format!("{} stands where a text with * and ? should", said(word))));
            };
            if kind(&left).is_some_and(|kind| kind != Type::Text) {
                return Err((start, "`like` is asked of a text".to_owned()));
            }
            self.next += 1;
            Test::Like(left, pattern)
        } else if negated {
            let (word, at) = self.peek();
            return Err((at.start, format!("{} stands where `in` or `like` should", said(word))));
        } else if kind(&left).is_none_or(|kind| kind == Type::Truth) {
            return Ok(Test::Holds(left));
        } else {
            let (word, at) = self.peek();
            let what = format!("{} stands where one of ==, !=, <, <=, >, >=, in and like should", said(word));
            return Err((at.start, what));
        };
        Ok(if negated { Test::Not(Box::new(Clause { at: start..self.end(), test })) } else { test })
    }

    /// `'a' in tags`, or `x in ['a', 'b']`.
    fn membership(&mut self, start: usize, left: Operand) -> Read<Test> {
        if self.take_name("tags") {
            let Operand::Literal(Literal::Text(tag)) = left else {
                return Err((
                    start,
                    "a text should stand before `in tags`, as in 'sample-a' in tags".to_owned(),
                ));
            };
            return tag
                .parse()
                .map(Test::Tagged)
                .map_err(|error: crate::ids::IdError| (start, error.to_string()));
        }
        self.expect_sign("[", "or `tags` should follow `in`")?;
        let mut list = Vec::new();
        loop {
            let (word, at) = self.peek();
            let literal = literal(word).ok_or_else(|| {
                (at.start, format!("{} stands where a number, a text, true or false should", said(word)))
            })?;
            self.next += 1;
            check(&left, Comparison::Equal, &Operand::Literal(literal.clone()))
                .map_err(|what| (at.start, what))?;
            list.push(literal);
            if !self.take_sign(",") {
                break;
            }
        }
        self.expect_sign("]", "should end what `[` began")?;
        Ok(Test::OneOf(left, list))
    }

    fn operand(&mut self) -> Read<Operand> {
        let (word, at) = self.peek();
        let word = word.clone();
        if let Some(literal) = literal(&word) {
            self.next += 1;
            return Ok(Operand::Literal(literal));
        }
        let Word::Name(name) = &word else {
            return Err((at.start, format!("{} stands where a value should", said(&word))));
        };
        if name == "param" {
            self.next += 1;
            self.expect_sign("(", "should follow `param`, as in param('beam energy')")?;
            let (word, at) = self.peek();
            let Word::Text(name) = word.clone() else {
                return Err((
                    at.start,
                    format!("{} stands where a parameter's name should, as a text", said(word)),
                ));
            };
            self.next += 1;
            self.expect_sign(")", "should end what `(` began")?;
            return Ok(Operand::Param(name));
        }
        if let Some(fact) = Fact::ALL.into_iter().find(|fact| fact.as_str() == name) {
            self.next += 1;
            return Ok(Operand::Field(fact));
        }
        let words = Fact::ALL.map(Fact::as_str).join(", ");
        let what = format!("`{name}` is nothing that is known of a run; {words}, tags and param('...') are");
        Err((at.start, what))
    }
}

fn literal(word: &Word) -> Option<Literal> {
    match word {
        Word::Number(number) => Some(Literal::Number(*number)),
        Word::Text(text) => Some(Literal::Text(text.clone())),
        Word::Name(name) if name == "true" => Some(Literal::Truth(true)),
        Word::Name(name) if name == "false" => Some(Literal::Truth(false)),
        _ => None,
    }
}

/// A value's kind, where it is known before there is a run.
fn kind(operand: &Operand) -> Option<Type> {
    match operand {
        Operand::Literal(Literal::Number(_)) => Some(Type::Number),
        Operand::Literal(Literal::Text(_)) => Some(Type::Text),
        Operand::Literal(Literal::Truth(_)) => Some(Type::Truth),
        Operand::Field(fact) => Some(fact.kind()),
        Operand::Param(_) => None,
    }
}

fn check(left: &Operand, comparison: Comparison, right: &Operand) -> Result<(), String> {
    let name = |kind: Type| match kind {
        Type::Number => "a number",
        Type::Text => "a text",
        Type::Truth => "true or false",
    };
    let (left, right) = (kind(left), kind(right));
    if let (Some(left), Some(right)) = (left, right)
        && left != right
    {
        return Err(format!("{} is never the same as {}", name(left), name(right)));
    }
    let unordered = [left, right].into_iter().flatten().find(|kind| *kind != Type::Number);
    match unordered.filter(|_| comparison.orders()) {
        Some(kind) => Err(format!("numbers are ordered, and {} is not; == and != can be asked", name(kind))),
        None => Ok(()),
    }
}
