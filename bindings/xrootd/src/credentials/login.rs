//! A login lasts as long as its connection, and the server judges by the token that was shown at its beginning. So when
//! a credential's file changes, the library is made to log in anew: under another user's name in the URL it takes
//! another connection, and reads the files again. Copies under way keep theirs to the end.

use std::os::unix::fs::MetadataExt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::{Place, places, user};

/// How often the files are looked at.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

/// Which login a connection belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Login(u32);

impl Login {
    /// The login to use now.
    pub(crate) fn current() -> Self {
        static SEEN: Mutex<Option<Seen>> = Mutex::new(None);
        let mut seen = SEEN.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        match &mut *seen {
            Some(seen) if now.duration_since(seen.at) < LOOK_AGAIN => seen.login,
            Some(seen) => {
                seen.look(now, fingerprint());
                seen.login
            }
            none => {
                *none = Some(Seen { at: now, files: fingerprint(), login: Self(0) });
                Self(0)
            }
        }
    }

    /// What stands before the host in a URL: nothing for the first login.
    pub(crate) fn prefix(self) -> String {
        if self.0 == 0 { String::new() } else { format!("login{}@", self.0 % 1000) }
    }
}

/// Device, inode, size and mtime of each file; absent ones are part of it.
type Fingerprint = Vec<Option<(u64, u64, u64, i64, i64)>>;

struct Seen {
    at: Instant,
    files: Fingerprint,
    login: Login,
}

impl Seen {
    fn look(&mut self, now: Instant, files: Fingerprint) {
        self.at = now;
        // A file that is just being replaced is no new credential.
        if files != self.files && files.iter().all(Option::is_some) {
            self.files = files;
            self.login = Login(self.login.0 + 1);
            tracing::info!(
                login = self.login.0,
                "credentials have changed, new connections log in with them"
            );
        }
    }
}

fn fingerprint() -> Fingerprint {
    places(&|name| std::env::var_os(name), user())
        .iter()
        .map(|place| match place {
            Place::Inline(_) => Some((0, 0, 0, 0, 0)),
            Place::File(_, path) => std::fs::metadata(path)
                .ok()
                .map(|file| (file.dev(), file.ino(), file.len(), file.mtime(), file.mtime_nsec())),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_changes_make_a_new_login() {
        let (now, one, two) = (Instant::now(), Some((1, 1, 1, 1, 1)), Some((1, 2, 1, 1, 1)));
        let mut seen = Seen { at: now, files: vec![one], login: Login(0) };
        seen.look(now, vec![one]);
        assert_eq!((seen.login, seen.login.prefix().as_str()), (Login(0), ""));
        seen.look(now, vec![None]);
        assert_eq!(seen.login, Login(0), "it is being replaced");
        seen.look(now, vec![two]);
        assert_eq!((seen.login, seen.login.prefix().as_str()), (Login(1), "login1@"));
        seen.look(now, vec![two]);
        assert_eq!(seen.login, Login(1));
    }
}
