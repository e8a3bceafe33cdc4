//! Telling generations of a file apart by what its registrations say. Pure.

use lightrail_topics::events::Registration;
use lightrail_topics::message::stable_hash;

use super::rows::{Said, Told};

/// What a registration is, held against the newest that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// It says nothing that was not known.
    Nothing,
    /// It adds what was unknown: the same generation, known better.
    More,
    /// It contradicts what is known: a new generation.
    Newer,
    /// It contradicts what is known and was made before it: history.
    Older,
}

impl Told {
    fn from_text(text: Option<&String>) -> Self {
        text.map_or(Self::Nothing, |text| Self::Text(text.clone()))
    }

    fn hash(&self) -> Option<u64> {
        match self {
            Self::Nothing => None,
            Self::Text(text) => Some(stable_hash(text.as_bytes())),
            Self::Hash(hash) => Some(*hash),
        }
    }

    fn contradicts(&self, other: &Self) -> bool {
        matches!((self.hash(), other.hash()), (Some(a), Some(b)) if a != b)
    }

    fn text(&self) -> Option<String> {
        match self {
            Self::Text(text) => Some(text.clone()),
            Self::Nothing | Self::Hash(_) => None,
        }
    }
}

impl Said {
    /// Keeps what a registration says.
    pub fn from_registration(registration: &Registration) -> Self {
        Self {
            created: registration.created.map(|at| (at.millis(), at.has_fraction())),
            path: Told::from_text(registration.path.as_ref()),
            host: Told::from_text(registration.host.as_ref()),
            size: registration.size,
            checksum: registration.checksum.clone(),
            mtime: registration.mtime,
        }
    }

    /// As our events say it. A path or host of which only the hash is left is not said.
    pub fn to_registration(&self) -> Registration {
        Registration {
            created: self.created(),
            path: self.path.text(),
            host: self.host.text(),
            size: self.size,
            checksum: self.checksum.clone(),
            mtime: self.mtime,
        }
    }

    /// What `other` is, held against `self`.
    pub fn news(&self, other: &Self) -> News {
        let times = (self.created(), other.created());
        let contradicts = matches!(times, (Some(a), Some(b)) if !a.matches(b))
            || self.path.contradicts(&other.path)
            || self.host.contradicts(&other.host)
            || matches!((self.size, other.size), (Some(a), Some(b)) if a != b)
            || matches!((&self.checksum, &other.checksum), (Some(a), Some(b)) if a.kind() == b.kind() && a != b)
            || matches!((self.mtime, other.mtime), (Some(a), Some(b)) if a != b);
        if contradicts {
            let older = match times {
                (Some(known), Some(said)) if !known.matches(said) => said < known,
                _ => matches!((self.mtime, other.mtime), (Some(known), Some(said)) if said < known),
            };
            return if older { News::Older } else { News::Newer };
        }
        let more = (self.created.is_none() && other.created.is_some())
            || (self.path == Told::Nothing && other.path != Told::Nothing)
            || (self.host == Told::Nothing && other.host != Told::Nothing)
            || (self.size.is_none() && other.size.is_some())
            || (self.checksum.is_none() && other.checksum.is_some())
            || (self.mtime.is_none() && other.mtime.is_some());
        if more { News::More } else { News::Nothing }
    }

    /// Takes over what was unknown.
    pub fn merge(&mut self, other: &Self) {
        self.created = self.created.or(other.created);
        if self.path == Told::Nothing {
            self.path = other.path.clone();
        }
        if self.host == Told::Nothing {
            self.host = other.host.clone();
        }
        self.size = self.size.or(other.size);
        self.checksum = self.checksum.take().or_else(|| other.checksum.clone());
        self.mtime = self.mtime.or(other.mtime);
    }

    /// Shortens the long texts: what is left tells generations apart as well.
    pub fn shorten(&mut self) {
        for told in [&mut self.path, &mut self.host] {
            if let Some(hash) = told.hash() {
                *told = Told::Hash(hash);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(created: Option<&str>, path: &str, size: Option<u64>) -> Said {
        Said::from_registration(&Registration {
            created: created.map(|text| text.parse().unwrap()),
            path: Some(path.to_owned()),
            size,
            ..Registration::default()
        })
    }

    #[test]
    fn more_news_is_the_same_generation_and_a_contradiction_is_a_new_one() {
        let mut known = said(Some("2020-09-02T10:00:00.000001"), "/u2/a", None);
        let update = said(Some("2020-09-02T10:00:00+00:00"), "/u2/a", None);
        assert_eq!(known.news(&update), News::Nothing);
        let sized = said(Some("2020-09-02T10:00:00+00:00"), "/u2/a", Some(7));
        assert_eq!(known.news(&sized), News::More);
        known.merge(&sized);
        known.shorten();
        assert_eq!(known.news(&sized), News::Nothing);
        assert_eq!(known.news(&said(Some("2020-09-02T10:00:01Z"), "/u2/a", Some(7))), News::Newer);
        assert_eq!(known.news(&said(Some("2020-09-02T09:00:00Z"), "/u2/a", Some(7))), News::Older);
        assert_eq!(known.news(&said(None, "/u3/a", None)), News::Newer);
        assert_eq!(known.news(&said(None, "/u2/a", Some(8))), News::Newer);
    }
}
