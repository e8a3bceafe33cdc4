//! From a verified temporary file to its final name: look on every server, set a different old file aside, rename, settle
//! what has no clear answer by looking, look once more. Never overwrites knowingly, never removes anything.

use lightrail_topics::{Checksum, Millis};

use super::engine::{Engine, Place, Stat};
use super::look::{Hear, limited, look};
use super::names::{SitePath, aside_name};
use super::site::Patience;
use super::verify::{End, sum};
use crate::clock::Clock;
use crate::fault::{Fault, FaultClass, Side};

/// A verified temporary file that is to get its name.
#[derive(Clone, Copy, Debug)]
pub(super) struct Publication<'a> {
    pub(super) engine: &'a dyn Engine,
    pub(super) place: Place<'a>,
    pub(super) temporary: &'a SitePath,
    pub(super) path: &'a SitePath,
    pub(super) size: u64,
    pub(super) checksum: Option<&'a Checksum>,
    pub(super) patience: &'a Patience,
    /// Servers that are not waited for.
    pub(super) hurried: &'a [String],
    pub(super) clock: &'a dyn Clock,
}

/// How the final name came to hold the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Published {
    /// The server that holds it, where it is not ours: somebody was quicker with the same file.
    pub(super) elsewhere: Option<Option<String>>,
    /// The name that a different old file got.
    pub(super) set_aside: Option<String>,
}

/// What a rename came to.
enum Settled {
    Renamed,
    /// Somebody else's file took the name meanwhile.
    Occupied,
    /// It did not happen, for that reason.
    Not(Fault),
}

const ROUNDS: usize = 4;

/// Gives the file its final name and looks at it there.
pub(super) async fn publish(what: Publication<'_>, renaming: impl Fn(), confirming: impl Fn()) -> Result<Published, Fault> {
    let mut set_aside = None;
    let mut last = None;
    for _ in 0..ROUNDS {
        renaming();
        for (server, stat) in what.holders().await? {
            let place = Place { site: what.place.site, server: server.as_deref() };
            if what.is_the_same(place, stat).await? {
                return Ok(Published { elsewhere: Some(server), set_aside });
            }
            set_aside = Some(what.set_aside(place).await?);
        }
        match what.rename().await? {
            Settled::Renamed => {
                confirming();
                what.confirm().await?;
                return Ok(Published { elsewhere: None, set_aside });
            }
            Settled::Occupied => {}
            Settled::Not(fault) => last = Some(fault),
        }
    }
    let taken = || {
        let text = format!("{} was taken by others again and again while it was to be renamed", what.path);
        what.blame(Fault::new(FaultClass::Transient, "name-taken", text))
    };
    Err(last.unwrap_or_else(taken))
}

impl Publication<'_> {
    fn blame(&self, fault: Fault) -> Fault {
        fault.at(Side::Destination, self.place.address())
    }

    async fn stat(&self, place: Place<'_>, path: &SitePath) -> Result<Option<Stat>, Fault> {
        let what = format!("a look at {path}");
        limited(self.patience.call, &what, Side::Destination, place, self.engine.stat(place, path)).await
    }

    /// Who holds something under the final name.
    async fn holders(&self) -> Result<Vec<(Option<String>, Stat)>, Fault> {
        let site = self.place.site;
        let hear = Hear::AllBut(self.hurried);
        let seen = look(self.engine, site, Side::Destination, self.path, self.patience, hear).await?;
        let mut holders = Vec::new();
        for one in seen {
            match one.found {
                Ok(Some(stat)) if stat.folder => {
                    let text = format!("{} is a folder at {}", self.path, site.name);
                    return Err(self.blame(Fault::new(FaultClass::Permanent, "is-a-folder", text)));
                }
                Ok(Some(stat)) => holders.push((one.server, stat)),
                Ok(None) => {}
                Err(fault) if one.server.as_deref() == self.place.server => return Err(fault),
                Err(fault) => {
                    tracing::warn!(server = one.server, path = %self.path, %fault, "server not looked at before a rename");
                }
            }
        }
        Ok(holders)
    }

    async fn is_the_same(&self, place: Place<'_>, stat: Stat) -> Result<bool, Fault> {
        if stat.size != self.size {
            return Ok(false);
        }
        let Some(wanted) = self.checksum else { return Ok(true) };
        let end = End { place, path: self.path, fresh: place.site.recheck };
        let got = sum(self.engine, Side::Destination, end, wanted.kind(), self.size, self.patience).await?;
        Ok(got == *wanted)
    }

    /// Moves what is under the final name out of the way, to a name that is free.
    async fn set_aside(&self, place: Place<'_>) -> Result<String, Fault> {
        let now = self.clock.now();
        for second in 0..60 {
            let name = aside_name(self.path.file_name(), Millis(now.0 + second * 1000));
            let aside = self.path.beside(&name);
            if self.stat(place, &aside).await?.is_some() {
                continue;
            }
            let rename = self.engine.rename(place, self.path, &aside);
            let answer = limited(self.patience.call, "a rename", Side::Destination, place, rename).await;
            if let Err(fault) = answer {
                let (old, new) = tokio::try_join!(self.stat(place, self.path), self.stat(place, &aside))?;
                match (old, new) {
                    (None, Some(_)) => {}
                    (Some(_), Some(_)) => continue,
                    // Gone by itself, or not moved: the round's next look tells.
                    (None, None) => {}
                    (Some(_), None) => return Err(fault),
                }
            }
            tracing::info!(path = %self.path, aside = %name, "different old file set aside");
            return Ok(name);
        }
        let text = format!("no free name to set {} aside", self.path);
        Err(self.blame(Fault::new(FaultClass::Transient, "name-taken", text)))
    }

    async fn rename(&self) -> Result<Settled, Fault> {
        let place = self.place;
        let rename = self.engine.rename(place, self.temporary, self.path);
        let Err(fault) = limited(self.patience.call, "a rename", Side::Destination, place, rename).await else {
            return Ok(Settled::Renamed);
        };
        // Not answered, or answered to a second sending: only the names themselves tell.
        let (old, new) = tokio::try_join!(self.stat(place, self.temporary), self.stat(place, self.path))?;
        match (old, new) {
            (None, Some(_)) => Ok(Settled::Renamed),
            (Some(_), Some(_)) => Ok(Settled::Occupied),
            (Some(_), None) => Ok(Settled::Not(fault)),
            (None, None) => {
                let text = format!("{} vanished before it was renamed: {fault}", self.temporary);
                Err(self.blame(Fault::new(FaultClass::Transient, "vanished", text)))
            }
        }
    }

    /// The last look: size and checksum at the final name. What is not ours any more is moved aside, never removed.
    async fn confirm(&self) -> Result<(), Fault> {
        let stat = self.stat(self.place, self.path).await?;
        let Some(stat) = stat else {
            let text = format!("{} is not there after its rename", self.path);
            return Err(self.blame(Fault::new(FaultClass::Transient, "vanished", text)));
        };
        if self.is_the_same(self.place, stat).await? {
            return Ok(());
        }
        let aside = self.set_aside(self.place).await;
        let whereto = aside.as_deref().unwrap_or("nothing, which failed");
        let text = format!("{} is not what was verified before its rename; moved aside to {whereto}", self.path);
        Err(self.blame(Fault::new(FaultClass::Integrity, "not-confirmed", text)))
    }
}
