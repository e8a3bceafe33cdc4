//! Signed statements as facilities take and LCLS's job interface gives them: JSON web tokens by RS256, and no other algorithm.
//! Made and checked with the system's OpenSSL, the one TLS of all services. Knows no clock: what a statement says is judged by
//! whoever reads it.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use openssl::bn::BigNum;
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::pkey::{PKey, Private, Public};
use openssl::rsa::RsaPrivateKeyBuilder;
use openssl::sign::{Signer, Verifier};
use serde_json::{Value, json};

/// Why a key or a token cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JwtError {
    /// The text holds no RSA key of the wanted kind.
    #[error("holds no RSA key: {0}")]
    Key(String),
    /// OpenSSL does not sign or check with the key.
    #[error("the key cannot be used")]
    Use(#[from] ErrorStack),
    /// The token is none, or another algorithm's.
    #[error("is no token signed by RS256: {0}")]
    Form(&'static str),
    /// The signature is not the key's.
    #[error("is not signed by the key that it should be")]
    Signature,
}

/// A private key that signs.
#[derive(Clone, Debug)]
pub(crate) struct SigningKey(PKey<Private>);

/// A public key that checks.
#[derive(Clone, Debug)]
pub(crate) struct CheckingKey(PKey<Public>);

impl SigningKey {
    /// From a PEM text; what stands before its first dashes is passed over.
    ///
    /// # Errors
    /// When it holds no RSA private key.
    pub(crate) fn from_pem(text: &str) -> Result<Self, JwtError> {
        let key =
            PKey::private_key_from_pem(text.as_bytes()).map_err(|why| JwtError::Key(why.to_string()))?;
        // Only RSA signs by RS256.
        key.rsa().map_err(|why| JwtError::Key(why.to_string()))?;
        Ok(Self(key))
    }

    /// From a JSON web key: `n`, `e`, `d` and, as every issuer gives them, `p`, `q`, `dp`, `dq`, `qi`.
    ///
    /// # Errors
    /// When it is none of RSA.
    pub(crate) fn from_jwk(jwk: &Value) -> Result<Self, JwtError> {
        let part = |name: &str| {
            let text = jwk.get(name).and_then(Value::as_str).ok_or_else(|| missing(name))?;
            let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| missing(name))?;
            BigNum::from_slice(&bytes).map_err(JwtError::from)
        };
        let key = RsaPrivateKeyBuilder::new(part("n")?, part("e")?, part("d")?)?
            .set_factors(part("p")?, part("q")?)?
            .set_crt_params(part("dp")?, part("dq")?, part("qi")?)?
            .build();
        if !key.check_key()? {
            return Err(JwtError::Key("its numbers do not belong together".to_owned()));
        }
        Ok(Self(PKey::from_rsa(key)?))
    }

    /// The token that says `claims`; `kid` names the key, where whoever checks has several.
    ///
    /// # Errors
    /// When OpenSSL does not sign.
    pub(crate) fn sign(&self, claims: &Value, kid: Option<&str>) -> Result<String, JwtError> {
        let mut header = json!({"alg": "RS256", "typ": "JWT"});
        if let Some(kid) = kid {
            header["kid"] = kid.into();
        }
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let said = format!("{}.{}", part(&header), part(claims));
        let mut signer = Signer::new(MessageDigest::sha256(), &self.0)?;
        let signature = signer.sign_oneshot_to_vec(said.as_bytes())?;
        Ok(format!("{said}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

impl CheckingKey {
    /// From a PEM text: a public key, a certificate or a private key's public part.
    ///
    /// # Errors
    /// When it holds none.
    pub(crate) fn from_pem(text: &str) -> Result<Self, JwtError> {
        if let Ok(key) = SigningKey::from_pem(text) {
            return Ok(Self(PKey::public_key_from_der(&key.0.public_key_to_der()?)?));
        }
        let key = PKey::public_key_from_pem(text.as_bytes())
            .or_else(|_| openssl::x509::X509::from_pem(text.as_bytes())?.public_key());
        let key = key.map_err(|why| JwtError::Key(why.to_string()))?;
        key.rsa().map_err(|why| JwtError::Key(why.to_string()))?;
        Ok(Self(key))
    }

    /// What a token says, when this key has signed it.
    ///
    /// # Errors
    /// When it is no token, or somebody else's.
    pub(crate) fn read(&self, token: &str) -> Result<Value, JwtError> {
        let (said, signature) = token.rsplit_once('.').ok_or(JwtError::Form("it has no signature"))?;
        let (header, claims) = said.split_once('.').ok_or(JwtError::Form("it has no claims"))?;
        let json = |part: &str| -> Option<Value> {
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()
        };
        let header = json(header).ok_or(JwtError::Form("its header is no JSON"))?;
        // `none`, or an HMAC by the public key: whoever takes what the token asks for is lied to.
        if header.get("alg").and_then(Value::as_str) != Some("RS256") {
            return Err(JwtError::Form("its algorithm is another one"));
        }
        let signature =
            URL_SAFE_NO_PAD.decode(signature).map_err(|_| JwtError::Form("its signature is no base64url"))?;
        let mut verifier = Verifier::new(MessageDigest::sha256(), &self.0)?;
        if !verifier.verify_oneshot(&signature, said.as_bytes())? {
            return Err(JwtError::Signature);
        }
        json(claims).ok_or(JwtError::Form("its claims are no JSON"))
    }
}

fn missing(name: &str) -> JwtError {
    JwtError::Key(format!("a JSON web key without a good `{name}`"))
}

#[cfg(test)]
pub(crate) mod tests {
    use openssl::rsa::Rsa;

    use super::*;

    /// A new key pair as PEM texts: private, public.
    pub(crate) fn pair() -> (String, String) {
        let key = Rsa::generate(2048).unwrap();
        let text = |pem: Vec<u8>| String::from_utf8(pem).unwrap();
        let private = PKey::from_rsa(key.clone()).unwrap().private_key_to_pem_pkcs8().unwrap();
        (text(private), text(key.public_key_to_pem().unwrap()))
    }

    #[test]
    fn what_is_signed_is_read_by_the_keys_other_half_alone() {
        let (private, public) = pair();
        let claims = json!({"iss": "PCDS", "exp": 3});
        let token = SigningKey::from_pem(&format!("abcdefghijklm\n{private}")).unwrap();
        let token = token.sign(&claims, Some("PCDS_ARP")).unwrap();
        let checks = CheckingKey::from_pem(&public).unwrap();
        assert_eq!(checks.read(&token).unwrap(), claims);
        assert_eq!(CheckingKey::from_pem(&private).unwrap().read(&token).unwrap(), claims);
        let other = CheckingKey::from_pem(&pair().1).unwrap();
        assert!(matches!(other.read(&token), Err(JwtError::Signature)));
        let mut parts: Vec<&str> = token.split('.').collect();
        let forged = URL_SAFE_NO_PAD.encode(r#"{"iss":"PCDS","exp":9999999999}"#);
        parts[1] = &forged;
        assert!(matches!(checks.read(&parts.join(".")), Err(JwtError::Signature)));
        let none = URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#);
        for wrong in ["", "a.b", "a.b.c", &format!("{none}.{forged}.")] {
            assert!(matches!(checks.read(wrong), Err(JwtError::Form(_))), "{wrong}");
        }
    }

    #[test]
    fn a_json_web_key_signs_as_its_pem_does() {
        let key = Rsa::generate(2048).unwrap();
        let part = |number: &openssl::bn::BigNumRef| URL_SAFE_NO_PAD.encode(number.to_vec());
        let jwk = json!({
            "kty": "RSA", "n": part(key.n()), "e": part(key.e()), "d": part(key.d()),
            "p": part(key.p().unwrap()), "q": part(key.q().unwrap()), "dp": part(key.dmp1().unwrap()),
            "dq": part(key.dmq1().unwrap()), "qi": part(key.iqmp().unwrap()),
        });
        let token = SigningKey::from_jwk(&jwk).unwrap().sign(&json!({"a": 1}), None).unwrap();
        let public = String::from_utf8(key.public_key_to_pem().unwrap()).unwrap();
        assert_eq!(CheckingKey::from_pem(&public).unwrap().read(&token).unwrap(), json!({"a": 1}));
        assert!(SigningKey::from_jwk(&json!({"kty": "RSA"})).is_err());
        assert!(SigningKey::from_pem("no key").is_err());
    }
}
