//! When a token or a chain of certificates ends, read from its text; nothing is verified.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jiff::Timestamp;
use jiff::civil;

/// The `exp` of a JSON Web Token.
pub(super) fn of_token(token: &str) -> Option<Timestamp> {
    let claims = token.trim().split('.').nth(1)?;
    let claims = URL_SAFE_NO_PAD.decode(claims.trim_end_matches('=')).ok()?;
    let claims: serde_json::Value = serde_json::from_slice(&claims).ok()?;
    let end = claims.get("exp")?;
    #[allow(clippy::cast_possible_truncation, reason = "whole seconds are enough")]
    let seconds = end.as_i64().or_else(|| end.as_f64().map(|seconds| seconds as i64))?;
    Timestamp::from_second(seconds).ok()
}

/// The earliest end of the certificates in a PEM file: a proxy is no better than what signed it.
pub(super) fn of_pem(text: &str) -> Option<Timestamp> {
    text.split("-----BEGIN CERTIFICATE-----")
        .skip(1)
        .filter_map(|rest| rest.split("-----END").next())
        .filter_map(|body| STANDARD.decode(body.split_whitespace().collect::<String>()).ok())
        .filter_map(|der| of_certificate(&der))
        .min()
}

/// `notAfter` of a certificate in DER: Certificate { tbs { [0] version?, serial, algorithm, issuer, validity { from, to
/// }, ... } ... }.
fn of_certificate(der: &[u8]) -> Option<Timestamp> {
    const SEQUENCE: u8 = 0x30;
    const VERSION: u8 = 0xa0;
    let (_, certificate, _) = element(der).filter(|(tag, ..)| *tag == SEQUENCE)?;
    let (_, mut rest, _) = element(certificate).filter(|(tag, ..)| *tag == SEQUENCE)?;
    if rest.first() == Some(&VERSION) {
        rest = element(rest)?.2;
    }
    for _serial_algorithm_issuer in 0..3 {
        rest = element(rest)?.2;
    }
    let (_, validity, _) = element(rest).filter(|(tag, ..)| *tag == SEQUENCE)?;
    let (_, _, rest) = element(validity)?;
    let (tag, to, _) = element(rest)?;
    time(tag, std::str::from_utf8(to).ok()?)
}

/// Tag, content and what follows of the first element.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        let bytes = usize::from(first & 0x7f);
        if bytes > 4 || rest.len() < bytes {
            return None;
        }
        let (length, rest) = rest.split_at(bytes);
        (length.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)), rest)
    };
    (rest.len() >= length).then(|| (tag, &rest[..length], &rest[length..]))
}

/// `UTCTime` (two digits of the year, 50 and above in the last century) or `GeneralizedTime`, always UTC and whole seconds.
fn time(tag: u8, text: &str) -> Option<Timestamp> {
    let digits = text.strip_suffix('Z').filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))?;
    let (year, rest) = match tag {
        0x17 => {
            let year: i16 = digits.get(..2)?.parse().ok()?;
            (if year >= 50 { 1900 + year } else { 2000 + year }, digits.get(2..)?)
        }
        0x18 => (digits.get(..4)?.parse().ok()?, digits.get(4..)?),
        _ => return None,
    };
    let part = |at: usize| rest.get(at..at + 2)?.parse::<i8>().ok();
    let moment = civil::DateTime::new(year, part(0)?, part(2)?, part(4)?, part(6)?, part(8)?, 0).ok()?;
    moment.to_zoned(jiff::tz::TimeZone::UTC).ok().map(|zoned| zoned.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_without_an_end_or_sense_has_none() {
        for token in ["", "a.b", "a.!!.c", "a.eyJzdWIiOiJ4In0.c"] {
            assert_eq!(of_token(token), None, "{token:?}");
        }
        // {"exp":1795252577.5}
        let half = URL_SAFE_NO_PAD.encode(br#"{"exp":1795252577.5}"#);
        assert_eq!(of_token(&format!("a.{half}.c")), Timestamp::from_second(1_795_252_577).ok());
    }

    /// Two certificates made by openssl with `-days 1` and `-days 20000`.
    #[test]
    fn a_chain_ends_with_its_first_end() {
        let (near, far) = (include_str!("near.pem"), include_str!("far.pem"));
        let (near_end, far_end) = (of_pem(near).unwrap(), of_pem(far).unwrap());
        assert!(near_end < far_end, "{near_end} {far_end}");
        assert_eq!(of_pem(&format!("{far}{near}")), Some(near_end));
        assert_eq!(far_end.to_string().get(..5), Some("2081-"), "GeneralizedTime");
        assert_eq!(near_end.to_string().get(..5), Some("2026-"), "UTCTime");
        assert_eq!(of_pem("nothing"), None);
    }

    #[test]
    fn cut_certificates_are_refused_and_nothing_panics() {
        let body = include_str!("far.pem").lines().filter(|line| !line.starts_with('-')).collect::<String>();
        let der = STANDARD.decode(body).unwrap();
        for cut in 0..der.len() {
            assert_eq!(of_certificate(&der[..cut]), None, "cut at {cut}");
        }
    }
}
