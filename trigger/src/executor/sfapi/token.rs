//! How NERSC's Superfacility API knows us: a client's key, the statement that it signs, and the short-lived token that it gets for
//! it. A key file is read whenever a token is wanted, so that a replaced one is seen.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use lightrail_topics::Millis;
use reqwest::Method;
use serde_json::{Value, json};

use crate::jwt::{JwtError, SigningKey};
use crate::web::{Web, WebFault};

/// How long a signed statement is good for.
const STATED: i64 = 3600;
/// A token is not used in the last part of its life: a call takes a while.
const SPARE: Duration = Duration::from_secs(30);

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TokenError {
    /// The key file cannot be read.
    #[error("key file {} cannot be read", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Others can read it.
    #[error("key file {0} can be read by others: chmod 600 it")]
    Open(PathBuf),
    /// It names no client.
    #[error("key file {0} names no client: the first line of a PEM file does, or `client_id` of a JSON file")]
    NoClient(PathBuf),
    /// What it holds is no key.
    #[error("key file {} {error}", path.display())]
    NoKey {
        /// The file.
        path: PathBuf,
        /// Why.
        error: JwtError,
    },
    /// The facility gives none.
    #[error("no token: {}", _0.told())]
    Refused(WebFault),
}

/// A client of the API: its name and its key.
#[derive(Clone, Debug)]
pub(crate) struct ClientKey {
    client: String,
    key: SigningKey,
}

impl ClientKey {
    /// Reads a key file as NERSC gives it: PEM with the client's name in the first line, or JSON `{client_id, secret}`.
    pub(crate) fn read(path: &Path) -> Result<Self, TokenError> {
        let unreadable = |source| TokenError::Unreadable { path: path.to_owned(), source };
        let mode = std::fs::metadata(path).map_err(unreadable)?.permissions().mode();
        if mode & 0o077 != 0 {
            return Err(TokenError::Open(path.to_owned()));
        }
        let text = std::fs::read_to_string(path).map_err(unreadable)?;
        let no_client = || TokenError::NoClient(path.to_owned());
        let no_key = |error| TokenError::NoKey { path: path.to_owned(), error };
        if let Ok(json) = serde_json::from_str::<Value>(&text) {
            let client =
                json.get("client_id").and_then(Value::as_str).ok_or_else(no_client)?.trim().to_owned();
            let key = match json.get("secret") {
                Some(Value::String(pem)) => SigningKey::from_pem(pem),
                Some(jwk) => SigningKey::from_jwk(jwk),
                None => Err(JwtError::Key("it has no `secret`".to_owned())),
            };
            return Ok(Self { client, key: key.map_err(no_key)? });
        }
        let client = text.lines().next().unwrap_or_default().trim();
        if client.is_empty() || client.starts_with("-----") {
            return Err(no_client());
        }
        Ok(Self { client: client.to_owned(), key: SigningKey::from_pem(&text).map_err(no_key)? })
    }

    /// Who the client is, signed for this token address.
    fn statement(&self, token_url: &str, now: Millis) -> Result<String, JwtError> {
        let now = now.0 / 1000;
        let id: u128 = u128::from(fastrand::u64(..)) << 64 | u128::from(fastrand::u64(..));
        let claims = json!({
            "iss": self.client, "sub": self.client, "aud": token_url, "iat": now, "exp": now + STATED,
            "jti": format!("{id:032x}"),
        });
        self.key.sign(&claims, None)
    }
}

/// The token in use.
#[derive(Debug)]
pub(crate) struct Tokens {
    url: String,
    key: PathBuf,
    held: Mutex<Option<(String, Instant)>>,
}

impl Tokens {
    pub(crate) fn new(url: String, key: PathBuf) -> Self {
        Self { url, key, held: Mutex::new(None) }
    }

    /// A token that is good for a while; asked for where there is none.
    pub(crate) async fn token(&self, web: &Web) -> Result<String, TokenError> {
        if let Some((token, until)) = self.held.lock().unwrap_or_else(PoisonError::into_inner).clone()
            && Instant::now() < until
        {
            return Ok(token);
        }
        let key = ClientKey::read(&self.key)?;
        let no_key = |error| TokenError::NoKey { path: self.key.clone(), error };
        let statement = key.statement(&self.url, crate::run::now()).map_err(no_key)?;
        let form = [
            ("grant_type", "client_credentials"),
            ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
            ("client_assertion", &statement),
        ];
        let asked = Instant::now();
        let call = web.call(Method::POST, &self.url).form(&form);
        let answer = web.send(call).await.map_err(TokenError::Refused)?;
        let Some(token) = answer.text("access_token").map(str::to_owned) else {
            return Err(TokenError::Refused(answer.odd("no `access_token`")));
        };
        let life =
            answer.body.get("expires_in").and_then(Value::as_u64).map_or(SPARE * 2, Duration::from_secs);
        // One that lives shorter than what is spared is used for half of its life.
        let until = asked + life.saturating_sub(SPARE.min(life / 2));
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = Some((token.clone(), until));
        Ok(token)
    }

    /// Forgets a token that the facility does not take any more.
    pub(crate) fn forget(&self, token: &str) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.as_ref().is_some_and(|(held, _)| held == token) {
            *held = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_files_are_read_as_nersc_gives_them_and_only_where_nobody_else_can() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key.pem");
        let (private, _) = crate::jwt::tests::pair();
        let write = |text: &str, mode: u32| {
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            ClientKey::read(&path)
        };
        assert!(matches!(ClientKey::read(&path), Err(TokenError::Unreadable { .. })));
        let good = format!("abcdefghijklm\n{private}");
        assert!(matches!(write(&good, 0o640), Err(TokenError::Open(_))));
        assert_eq!(write(&good, 0o600).unwrap().client, "abcdefghijklm");
        assert!(matches!(write(&private, 0o600), Err(TokenError::NoClient(_))));
        assert!(matches!(write("abcdefghijklm\nno key", 0o600), Err(TokenError::NoKey { .. })));
        let json = json!({"client_id": "abcdefghijklm", "secret": private}).to_string();
        let read = write(&json, 0o600).unwrap();
        let statement = read.statement("https://oidc/token", Millis(1_000)).unwrap();
        let said = crate::jwt::CheckingKey::from_pem(&private).unwrap().read(&statement).unwrap();
        assert_eq!((&said["iss"], &said["exp"]), (&json!("abcdefghijklm"), &json!(3601)));
        assert_eq!(said["aud"], "https://oidc/token");
    }
}
