//! The table from `XrdCl`'s codes and the servers' kXR codes to fault classes. Takes numbers and text, so that it needs
//! no `XRootD`; never sees a connection.

use super::{Fault, FaultClass, Side};

/// What `XrdCl` gave back, as plain numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer<'a> {
    /// `XrdCl`'s status code: 1xx socket, 2xx post master, 3xx and below others, 400 a server's error answer.
    pub code: u16,
    /// The server's error number (kXR, 3000 and up), where it gave one; `XrdCl` puts a plain errno here for its own errors.
    pub errno: u32,
    /// The text that came with it.
    pub message: &'a str,
}

/// The last `[3nnn]` in a text: a destination that failed because of its source answers with a code of its own and
/// carries the source's inside its message.
pub fn wrapped_code(message: &str) -> Option<u32> {
    message.rmatch_indices("[3").find_map(|(at, _)| {
        let digits = message.get(at + 1..at + 5)?;
        let closed = message.as_bytes().get(at + 5) == Some(&b']');
        if closed && digits.bytes().all(|b| b.is_ascii_digit()) { digits.parse().ok() } else { None }
    })
}

const ERROR_RESPONSE: u16 = 400;
const FS_ERROR: u32 = 3005;

fn by_kxr(kxr: u32, message: &str) -> (FaultClass, &'static str) {
    use FaultClass::{Cancelled, Credential, Endpoint, Integrity, Permanent, SourceNotReady, Transient};
    let says = |text: &str| message.to_ascii_lowercase().contains(text);
    match kxr {
        3000..=3002 => (Permanent, "bad-argument"),
        3003 => (Transient, "locked"),
        // The file system's own words decide where the number does not.
        FS_ERROR if says("no space") => (Endpoint, "no-space"),
        FS_ERROR if says("quota") => (Endpoint, "over-quota"),
        FS_ERROR if says("read-only") => (Endpoint, "read-only"),
        FS_ERROR if says("file exists") => (Transient, "exists"),
        FS_ERROR if says("not a directory") => (Permanent, "not-a-folder"),
        FS_ERROR if says("permission denied") => (Credential, "permission-denied"),
        FS_ERROR => (Transient, "file-system"),
        3006 | 3026 => (Permanent, "invalid-request"),
        3007 if says("no space") => (Endpoint, "no-space"),
        3007 => (Transient, "io-error"),
        3008 => (Transient, "no-memory"),
        3009 => (Endpoint, "no-space"),
        3010 if says("tpc authorization expired") => (Transient, "tpc-expired"),
        3010 if says("permission denied") => (Credential, "permission-denied"),
        3010 => (Credential, "not-authorized"),
        3011 => (SourceNotReady, "source-missing"),
        3013 => (Permanent, "unsupported"),
        3014 | 3029 => (Transient, "no-server"),
        3015 => (Permanent, "not-a-file"),
        3016 => (Permanent, "is-a-folder"),
        3017 => (Cancelled, "cancelled"),
        3018 => (Transient, "exists"),
        3019 => (Integrity, "checksum-error"),
        3020 => (Transient, "in-progress"),
        3021 => (Endpoint, "over-quota"),
        3022 | 3023 | 3030 => (Credential, "auth-failed"),
        3024 => (Transient, "overloaded"),
        3025 => (Endpoint, "read-only"),
        3028 => (Credential, "tls-required"),
        3031 => (Permanent, "impossible"),
        3033 => (Endpoint, "too-many-errors"),
        3034 | 3035 => (Transient, "timed-out"),
        // 3004 file not open, 3012 internal, and what later versions may add.
        _ => (Transient, "server-error"),
    }
}

fn by_client_code(code: u16, message: &str) -> (FaultClass, &'static str) {
    use FaultClass::{Credential, Endpoint, Integrity, Permanent, SourceNotReady, Transient};
    match code {
        1 => (Transient, "retry"),
        // XrdCl refuses an existing name by this code and only these words.
        3 if message.contains("file exists") => (Transient, "exists"),
        9 => (Permanent, "bad-argument"),
        13 => (Permanent, "unsupported"),
        14 | 305 | 307 => (Integrity, "checksum-error"),
        110 => (Credential, "tls-failed"),
        101..=109 => (Transient, "unreachable"),
        203 | 204 => (Credential, "auth-failed"),
        206 => (Transient, "no-answer"),
        207 | 208 => (Transient, "interrupted"),
        304 => (SourceNotReady, "source-missing"),
        306 => (Endpoint, "redirect-limit"),
        _ => (Transient, "client-error"),
    }
}

impl Fault {
    /// The fault that an answer of `XrdCl` means. `what` says which call on what it was.
    pub fn from_answer(what: &str, side: Side, endpoint: Option<&str>, answer: Answer<'_>) -> Self {
        let Answer { code, errno, message } = answer;
        let kxr = if code == ERROR_RESPONSE { Some(errno) } else { None };
        // The copy program says whose words they are; where it does not, a number other than the server's own is the source's.
        let inner = match (kxr, wrapped_code(message)) {
            (Some(own @ (FS_ERROR | 3012)), Some(inner)) if inner != own => Some(inner),
            _ => None,
        };
        let relayed = message.contains("(source)") || (inner.is_some() && !message.contains("(destination)"));
        let kxr = inner.or(kxr);
        let (class, word) = match kxr {
            Some(number) => by_kxr(number, message),
            None => by_client_code(code, message),
        };
        let said = message.trim_matches(|c: char| c.is_whitespace() || c.is_control() || c == '.');
        let fault = Self { kxr, ..Self::new(class, word, format!("{what}: {said}")) };
        if relayed && side == Side::Destination {
            // Not the destination's fault, nor is its server to be avoided.
            return fault.at(Side::Source, None);
        }
        let fault = fault.at(side, endpoint);
        fault.on(side)
    }
}
