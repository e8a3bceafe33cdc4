//! What can go wrong, by meaning: one [`Error`] with a closed set of kinds, `XrdCl`'s code, the server's number and text.
//! The only place that knows the code tables; it never decides whether or when to try again.

use std::fmt;

/// What an error means to the one who asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// There is no such file or folder.
    NotFound,
    /// There is something of that name already.
    Exists,
    /// This file or folder may not be touched by us; others may.
    PermissionDenied,
    /// Who we are was not believed: key, token, proxy or TLS. Concerns the whole endpoint.
    Credential,
    /// No space or quota left. Concerns the whole endpoint.
    NoSpace,
    /// The endpoint takes no writes at present. Concerns the whole endpoint.
    ReadOnly,
    /// No connection, or it broke.
    Unreachable,
    /// The server answered that it cannot just now: overloaded, locked, an I/O error.
    Busy,
    /// No answer within the deadline. Whether the operation took place is unknown.
    TimedOut,
    /// Stopped on request.
    Cancelled,
    /// Data or an answer were damaged on the way, or a checksum differs.
    Corrupt,
    /// The server or client cannot do this.
    Unsupported,
    /// The request itself makes no sense (bad path, wrong state of a file).
    Invalid,
    /// The rendezvous of a third-party copy came too late; a new attempt may well succeed.
    TpcExpired,
    /// Anything else.
    Other,
}

/// A failed operation: what was attempted and where, what it means, and what was said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    pub(crate) kind: ErrorKind,
    pub(crate) code: u16,
    pub(crate) errno: u32,
    pub(crate) message: String,
    pub(crate) what: String,
    pub(crate) from_source: bool,
}

/// `XrdCl` codes that are spelled out because they are made or asked for here.
pub(crate) mod code {
    pub(crate) const INVALID_OP: u16 = 3;
    pub(crate) const INTERNAL: u16 = 7;
    pub(crate) const INVALID_ARGS: u16 = 9;
    pub(crate) const OS_ERROR: u16 = 12;
    pub(crate) const EXPIRED: u16 = 206;
    pub(crate) const ERROR_RESPONSE: u16 = 400;
    pub(crate) const LOCAL_ERROR: u16 = 402;
}

impl Error {
    /// What the error means.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// `XrdCl`'s own code (`XrdClStatus.hh`), 400 when it was the server that refused.
    pub fn code(&self) -> u16 {
        self.code
    }

    /// The server's `kXR_` number when [`code`](Self::code) is 400, an errno of this machine when it is 402, else 0.
    pub fn errno(&self) -> u32 {
        self.errno
    }

    /// What the server or the client library said.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What was attempted, and where: `stat /a at host:port`.
    pub fn what(&self) -> &str {
        &self.what
    }

    /// In a third-party copy: the source refused, not the destination that reports it.
    pub fn from_source(&self) -> bool {
        self.from_source
    }

    /// Built by the call layer from what the shim hands over.
    pub(crate) fn from_status(code: u16, errno: u32, message: String, what: String) -> Self {
        Self { kind: kind_of(code, errno, &message), code, errno, message, what, from_source: false }
    }

    pub(crate) fn invalid(what: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            kind: ErrorKind::Invalid,
            code: code::INVALID_ARGS,
            errno: 0,
            message: message.into(),
            what: what.into(),
            from_source: false,
        }
    }

    pub(crate) fn timed_out(what: String, seconds: f64) -> Self {
        let message = format!("no answer within {seconds:.1} s");
        Self { kind: ErrorKind::TimedOut, code: code::EXPIRED, errno: 0, message, what, from_source: false }
    }

    pub(crate) fn lost(what: String) -> Self {
        let message = "the answer was lost".to_owned();
        Self { kind: ErrorKind::Other, code: code::INTERNAL, errno: 0, message, what, from_source: false }
    }

    /// Adds to the message what may explain it.
    pub(crate) fn noting(mut self, note: &str) -> Self {
        self.message = format!("{} ({note})", self.message);
        self
    }

    /// Marks an error of the source side of a third-party copy.
    pub(crate) fn at_source(mut self) -> Self {
        self.from_source = true;
        self
    }

    /// The destination of a third-party copy reports what its copy program said as a file system error whose text ends
    /// in the source's own number: `... [3010] tpc authorization expired`.
    pub(crate) fn unwrap_source(mut self) -> Self {
        if self.code == code::ERROR_RESPONSE
            && let Some(number) = last_kxr(&self.message)
        {
            self.from_source = true;
            self.errno = number;
            self.kind = kind_of(code::ERROR_RESPONSE, number, &self.message);
        }
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.what)?;
        if self.from_source {
            f.write_str("the source said: ")?;
        }
        f.write_str(&self.message)?;
        match (self.code, self.errno) {
            (code, 0) => write!(f, " [{code}]"),
            (code, errno) => write!(f, " [{code}/{errno}]"),
        }
    }
}

impl std::error::Error for Error {}

fn kind_of(code: u16, errno: u32, message: &str) -> ErrorKind {
    match code {
        code::ERROR_RESPONSE => kind_of_kxr(errno, message),
        code::LOCAL_ERROR | code::OS_ERROR => kind_of_errno(errno),
        304 | 16 => ErrorKind::NotFound,
        110 | 203 | 204 => ErrorKind::Credential,
        code::EXPIRED => ErrorKind::TimedOut,
        101..=109 | 202 | 208 => ErrorKind::Unreachable,
        207 => ErrorKind::Cancelled,
        14 | 201 | 303 | 305 | 307 => ErrorKind::Corrupt,
        8 | 13 | 15 | 205 => ErrorKind::Unsupported,
        // XrdCl refuses to overwrite with this code and only these words.
        code::INVALID_OP if message.contains("file exists") => ErrorKind::Exists,
        code::INVALID_OP | 6 | code::INVALID_ARGS | 10 | 11 | 302 => ErrorKind::Invalid,
        1 | 301 | 306 => ErrorKind::Busy,
        _ => ErrorKind::Other,
    }
}

fn kind_of_kxr(number: u32, message: &str) -> ErrorKind {
    match number {
        3010 if message.contains("tpc authorization expired") => ErrorKind::TpcExpired,
        3010 if names_a_credential(message) => ErrorKind::Credential,
        3010 => ErrorKind::PermissionDenied,
        // A kind of checksum that the server does not have.
        3012 if message.contains("not supported") => ErrorKind::Unsupported,
        3005 => kind_of_words(message),
        3000..=3002 | 3004 | 3006 | 3015 | 3016 | 3026 | 3031 => ErrorKind::Invalid,
        3003 | 3007 | 3008 | 3012 | 3014 | 3020 | 3024 | 3029 | 3032 | 3033 => ErrorKind::Busy,
        3009 | 3021 => ErrorKind::NoSpace,
        3011 | 3027 => ErrorKind::NotFound,
        3013 => ErrorKind::Unsupported,
        3017 => ErrorKind::Cancelled,
        3018 => ErrorKind::Exists,
        3019 => ErrorKind::Corrupt,
        3022 | 3023 | 3028 | 3030 => ErrorKind::Credential,
        3025 => ErrorKind::ReadOnly,
        3034 => ErrorKind::TimedOut,
        _ => ErrorKind::Other,
    }
}

/// The server has one number for "you may not touch this file" and "I do not know you"; only its words differ.
fn names_a_credential(message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    ["authentication", "auth failed", "token", "credential", "certificate", "proxy", "login"]
        .iter()
        .any(|word| message.contains(word))
}

/// A file system's error that has no number of its own on the wire comes with the operating system's words.
fn kind_of_words(message: &str) -> ErrorKind {
    let message = message.to_ascii_lowercase();
    let kinds = [
        ("directory not empty", ErrorKind::Exists),
        ("file exists", ErrorKind::Exists),
        ("no space left", ErrorKind::NoSpace),
        ("quota exceeded", ErrorKind::NoSpace),
        ("read-only file system", ErrorKind::ReadOnly),
        ("not a directory", ErrorKind::Invalid),
        ("cross-device link", ErrorKind::Invalid),
    ];
    kinds.iter().find(|(words, _)| message.contains(words)).map_or(ErrorKind::Busy, |(_, kind)| *kind)
}

/// Numbers of Linux, for what the library reports of local files.
fn kind_of_errno(errno: u32) -> ErrorKind {
    match errno {
        // Opening a local file is refused with the server's numbers, everything else with errno.
        3000..4000 => kind_of_kxr(errno, ""),
        2 => ErrorKind::NotFound,
        17 | 39 => ErrorKind::Exists,
        1 | 13 => ErrorKind::PermissionDenied,
        28 | 122 => ErrorKind::NoSpace,
        30 => ErrorKind::ReadOnly,
        4 | 5 | 11 | 12 | 16 | 23 | 24 => ErrorKind::Busy,
        110 => ErrorKind::TimedOut,
        103 | 104 | 107 | 111 | 112 | 113 => ErrorKind::Unreachable,
        125 => ErrorKind::Cancelled,
        9 | 20 | 21 | 22 | 36 => ErrorKind::Invalid,
        38 | 95 => ErrorKind::Unsupported,
        _ => ErrorKind::Other,
    }
}

/// The last `[3nnn]` of a text.
fn last_kxr(message: &str) -> Option<u32> {
    message.rmatch_indices("[3").find_map(|(at, _)| {
        let digits = message.get(at + 1..at + 5)?;
        let closed = message.as_bytes().get(at + 5) == Some(&b']');
        if closed && digits.bytes().all(|byte| byte.is_ascii_digit()) { digits.parse().ok() } else { None }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(errno: u32, message: &str) -> Error {
        Error::from_status(400, errno, message.to_owned(), "sync /a at d:1094".to_owned())
    }

    #[test]
    fn a_wrapped_source_error_is_the_sources() {
        let error = server(3005, "Unable to sync /a; [ERROR] [3012] x: [3010] tpc authorization expired")
            .unwrap_source();
        assert_eq!((error.kind(), error.errno(), error.from_source()), (ErrorKind::TpcExpired, 3010, true));
        let error = server(3005, "copy failed: [3011] Unable to open; no such file").unwrap_source();
        assert_eq!((error.kind(), error.from_source()), (ErrorKind::NotFound, true));
        let error = server(3005, "no number [30a0] [31").unwrap_source();
        assert_eq!((error.kind(), error.from_source()), (ErrorKind::Busy, false));
    }

    #[test]
    fn who_we_are_and_what_we_may_are_told_apart() {
        assert_eq!(server(3010, "Unable to open /a; permission denied").kind(), ErrorKind::PermissionDenied);
        assert_eq!(server(3010, "token has expired").kind(), ErrorKind::Credential);
        assert_eq!(server(3030, "").kind(), ErrorKind::Credential);
        assert_eq!(Error::from_status(204, 0, String::new(), String::new()).kind(), ErrorKind::Credential);
    }

    #[test]
    fn an_error_tells_what_where_and_why() {
        let error = server(3011, "no such file");
        assert_eq!(error.to_string(), "sync /a at d:1094: no such file [400/3011]");
        assert_eq!(
            error.at_source().to_string(),
            "sync /a at d:1094: the source said: no such file [400/3011]"
        );
    }

    #[test]
    fn a_full_disk_here_and_there_is_one_kind() {
        assert_eq!(server(3009, "").kind(), ErrorKind::NoSpace);
        assert_eq!(Error::from_status(402, 28, String::new(), String::new()).kind(), ErrorKind::NoSpace);
    }
}
