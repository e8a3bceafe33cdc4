//! Which credentials the library offers, and until when they are good. The library finds and reads them by itself, from
//! the usual variables, whenever it logs in; here is told which files these are, and logins are made anew when one of
//! them changes. It never writes them, and never shows more of them than their place and expiry.

mod expiry;
mod login;

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

pub(crate) use login::Login;

/// What kind of credential a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CredentialKind {
    /// A bearer token (`ztn`; WLCG, `SciTokens`).
    Token,
    /// An X.509 proxy (`gsi`).
    Proxy,
    /// A keytab of shared secrets (`sss`).
    SharedSecret,
}

/// A credential that the library would offer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    /// Its kind.
    pub kind: CredentialKind,
    /// Where it lies; `None` for a token that stands in the variable itself.
    pub path: Option<PathBuf>,
    /// When it ends, where it says so.
    pub expires: Option<Timestamp>,
    /// Why it cannot be used, where that is plain.
    pub problem: Option<String>,
}

impl Credential {
    /// Whether it has ended by `now`.
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.expires.is_some_and(|end| end <= now)
    }

    fn describe(&self, now: Timestamp) -> String {
        let kind = match self.kind {
            CredentialKind::Token => "token",
            CredentialKind::Proxy => "proxy",
            CredentialKind::SharedSecret => "shared secret",
        };
        let place =
            self.path.as_ref().map_or("in BEARER_TOKEN".to_owned(), |path| path.display().to_string());
        match (&self.problem, self.expires) {
            (Some(problem), _) => format!("{kind} {place}: {problem}"),
            (None, Some(end)) if end <= now => format!("{kind} {place}: expired at {end}"),
            (None, Some(end)) => format!("{kind} {place}: good until {end}"),
            (None, None) => format!("{kind} {place}: without an expiry"),
        }
    }
}

impl fmt::Display for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.describe(Timestamp::now()))
    }
}

/// What the library would offer at a login now. Reads small files.
pub fn offered() -> Vec<Credential> {
    places(&|name| std::env::var_os(name), user()).into_iter().map(look).collect()
}

/// For the message of a refusal: what was offered.
pub(crate) fn summary() -> String {
    let offered = offered();
    if offered.is_empty() {
        return "no credential was found (BEARER_TOKEN_FILE, X509_USER_PROXY, XrdSecSSSKT)".to_owned();
    }
    offered.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// Where one is to be found.
#[derive(Debug, PartialEq, Eq)]
enum Place {
    File(CredentialKind, PathBuf),
    Inline(String),
}

/// In the order in which the library looks; a file that no variable names counts only when it is there.
fn places(variable: &dyn Fn(&str) -> Option<OsString>, user: u32) -> Vec<Place> {
    let set = |name: &str| variable(name).filter(|value| !value.is_empty());
    let mut found = Vec::new();
    let there = |path: PathBuf| path.exists().then_some(path);
    if let Some(token) = set("BEARER_TOKEN") {
        found.push(Place::Inline(token.to_string_lossy().into_owned()));
    } else {
        let token = set("BEARER_TOKEN_FILE")
            .map(PathBuf::from)
            .or_else(|| {
                set("XDG_RUNTIME_DIR").and_then(|dir| there(Path::new(&dir).join(format!("bt_u{user}"))))
            })
            .or_else(|| there(PathBuf::from(format!("/tmp/bt_u{user}"))));
        found.extend(token.map(|path| Place::File(CredentialKind::Token, path)));
    }
    let proxy = set("XrdSecGSIUSERPROXY")
        .or_else(|| set("X509_USER_PROXY"))
        .map(PathBuf::from)
        .or_else(|| there(PathBuf::from(format!("/tmp/x509up_u{user}"))));
    found.extend(proxy.map(|path| Place::File(CredentialKind::Proxy, path)));
    let secret = set("XrdSecSSSKT")
        .or_else(|| set("XrdSecsssKT"))
        .map(PathBuf::from)
        .or_else(|| set("HOME").and_then(|home| there(Path::new(&home).join(".xrd/sss.keytab"))));
    found.extend(secret.map(|path| Place::File(CredentialKind::SharedSecret, path)));
    found
}

fn look(place: Place) -> Credential {
    let (kind, path) = match place {
        Place::Inline(token) => {
            let expires = expiry::of_token(&token);
            return Credential { kind: CredentialKind::Token, path: None, expires, problem: None };
        }
        Place::File(kind, path) => (kind, path),
    };
    let (expires, problem) = match std::fs::read(&path) {
        Err(error) => (None, Some(format!("cannot be read: {error}"))),
        Ok(content) if content.is_empty() => (None, Some("is empty".to_owned())),
        Ok(content) => match kind {
            CredentialKind::Token => (expiry::of_token(&String::from_utf8_lossy(&content)), None),
            CredentialKind::Proxy => match expiry::of_pem(&String::from_utf8_lossy(&content)) {
                Some(end) => (Some(end), None),
                None => (None, Some("holds no certificate".to_owned())),
            },
            CredentialKind::SharedSecret => (None, None),
        },
    };
    Credential { kind, path: Some(path), expires, problem }
}

/// The effective user, as the library asks for it.
fn user() -> u32 {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").map_or(0, |own| own.uid())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(variables: &[(&str, &str)]) -> Vec<Place> {
        places(
            &|name| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value)),
            4_000_000_000,
        )
    }

    #[test]
    fn the_usual_variables_name_the_files() {
        use CredentialKind::{Proxy, SharedSecret, Token};
        let file = |kind, path: &str| Place::File(kind, PathBuf::from(path));
        assert_eq!(found(&[]), []);
        assert_eq!(
            found(&[("BEARER_TOKEN_FILE", "/t"), ("X509_USER_PROXY", "/p"), ("XrdSecSSSKT", "/k")]),
            [file(Token, "/t"), file(Proxy, "/p"), file(SharedSecret, "/k")]
        );
        assert_eq!(
            found(&[("BEARER_TOKEN", "x"), ("BEARER_TOKEN_FILE", "/t")]),
            [Place::Inline("x".to_owned())]
        );
        assert_eq!(found(&[("X509_USER_PROXY", ""), ("XrdSecsssKT", "/k")]), [file(SharedSecret, "/k")]);
    }

    #[test]
    fn a_credential_tells_its_place_and_its_end_but_not_itself() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let now: Timestamp = "2026-11-21T09:00:00Z".parse().unwrap();
        let gone = look(Place::File(CredentialKind::Token, path.clone()));
        assert!(gone.describe(now).contains("cannot be read"), "{gone}");
        std::fs::write(&path, "").unwrap();
        assert!(look(Place::File(CredentialKind::Token, path.clone())).describe(now).ends_with("is empty"));
        // {"alg":"none"} . {"exp":1795252577} . signature
        std::fs::write(&path, "eyJhbGciOiJub25lIn0.eyJleHAiOjE3OTUyNTI1Nzd9.c2VjcmV0\n").unwrap();
        let token = look(Place::File(CredentialKind::Token, path.clone()));
        assert_eq!(token.describe(now), format!("token {}: good until 2026-11-21T09:16:17Z", path.display()));
        let later: Timestamp = "2026-11-21T10:00:00Z".parse().unwrap();
        assert!(token.is_expired(later) && !token.is_expired(now));
        assert_eq!(
            token.describe(later),
            format!("token {}: expired at 2026-11-21T09:16:17Z", path.display())
        );
    }
}
