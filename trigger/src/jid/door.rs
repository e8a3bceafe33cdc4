//! Who may call the job interface: whoever calls from this machine, where that is allowed, and who shows a statement that the
//! logbook has signed for this user and this experiment. Pure but for the key.

use std::net::IpAddr;

use lightrail_topics::Experiment;
use serde_json::Value;

use crate::jwt::CheckingKey;

/// What a caller may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Pass {
    /// Anything: it calls from this machine.
    Local,
    /// What its user may in its experiment.
    User {
        /// The user.
        user: String,
    },
}

/// Who decides about it.
#[derive(Clone, Debug)]
pub(super) struct Door {
    pub(super) key: Option<CheckingKey>,
    pub(super) loopback: bool,
}

impl Door {
    /// Whether a caller may come in; `now` in seconds.
    pub(super) fn pass(
        &self,
        from: IpAddr,
        token: Option<&str>,
        experiment: &Experiment,
        now: i64,
    ) -> Result<Pass, String> {
        let Some(token) = token else {
            return if self.loopback && from.to_canonical().is_loopback() {
                Ok(Pass::Local)
            } else {
                Err("no bearer token: the logbook signs one".to_owned())
            };
        };
        let Some(key) = &self.key else {
            return Err("no token is taken here: [jid] says no public_key".to_owned());
        };
        let claims = key.read(token).map_err(|error| format!("the bearer token {error}"))?;
        let text = |key: &str| claims.get(key).and_then(Value::as_str);
        if text("iss") != Some("PCDS") {
            return Err("the bearer token is not of issuer PCDS".to_owned());
        }
        if claims.get("exp").and_then(Value::as_i64).is_none_or(|until| until <= now) {
            return Err("the bearer token has expired".to_owned());
        }
        // One experiment, or several with blanks between.
        if !text("scp").unwrap_or_default().split(' ').any(|scope| scope == experiment.as_str()) {
            return Err(format!("the bearer token is not for experiment {experiment}"));
        }
        let user = text("sub").filter(|user| !user.is_empty()).ok_or("the bearer token names no user")?;
        Ok(Pass::User { user: user.to_owned() })
    }
}

impl Pass {
    /// Whether it is good for a job of this user.
    pub(super) fn is_good_for(&self, owner: &str) -> bool {
        match self {
            Self::Local => true,
            Self::User { user } => user == owner,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::jwt::SigningKey;

    #[test]
    fn tokens_are_for_one_user_and_one_experiment_and_for_a_while() {
        let (private, public) = crate::jwt::tests::pair();
        let key = SigningKey::from_pem(&private).unwrap();
        let door = Door { key: Some(CheckingKey::from_pem(&public).unwrap()), loopback: true };
        let experiment: Experiment = "mfxlv9518".parse().unwrap();
        let far: IpAddr = [10, 0, 0, 1].into();
        let come = |claims: Value| {
            let token = key.sign(&claims, Some("PCDS_ARP")).unwrap();
            door.pass(far, Some(&token), &experiment, 1000)
        };
        let good = json!({"iss": "PCDS", "sub": "auser", "scp": "mfxlv9518", "exp": 1600});
        let pass = come(good.clone()).unwrap();
        assert!(pass.is_good_for("auser") && !pass.is_good_for("another"));
        let with = |name: &str, value: Value| {
            let mut claims = good.clone();
            claims[name] = value;
            come(claims).unwrap_err()
        };
        assert!(with("exp", 1000.into()).contains("expired"));
        assert!(with("iss", "me".into()).contains("PCDS"));
        assert!(with("scp", "mfxlv9519".into()).contains("not for experiment"));
        assert!(with("sub", "".into()).contains("no user"));
        let forged = SigningKey::from_pem(&crate::jwt::tests::pair().0).unwrap().sign(&good, None).unwrap();
        assert!(door.pass(far, Some(&forged), &experiment, 1000).unwrap_err().contains("not signed"));
        assert!(door.pass(far, None, &experiment, 1000).is_err());
        assert_eq!(door.pass([127, 0, 0, 1].into(), None, &experiment, 1000), Ok(Pass::Local));
        let strict = Door { key: None, loopback: false };
        assert!(strict.pass([127, 0, 0, 1].into(), None, &experiment, 1000).is_err());
    }
}
