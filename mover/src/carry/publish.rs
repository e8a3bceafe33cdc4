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
    /// The server that holds it.
    pub(super) server: Option<String>,
    /// Whether somebody was quicker with the same file: our temporary one is not needed any more.
    pub(super) by_another: bool,
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

/// How often a rename is tried, and how many old files may have to be set aside before.
const ROUNDS: usize = 4;
const OLD_FILES: usize = 64;

/// Gives the file its final name and looks at it there.
pub(super) async fn publish(
    what: Publication<'_>,
    renaming: impl Fn(),
    confirming: impl Fn(),
) -> Result<Published, Fault> {
    let mut set_aside = None;
    let mut last = None;
    renaming();
    for _ in 0..ROUNDS {
        // The rename follows a look that showed nothing on any server.
        let mut old_files = 0;
        while let Some((server, stat)) = what.holder().await? {
            let place = Place { site: what.place.site, server: server.as_deref() };
            if what.is_the_same(place, stat).await? {
                return Ok(Published { server, by_another: true, set_aside });
            }
            old_files += 1;
            if old_files > OLD_FILES {
                return Err(last.unwrap_or_else(|| what.taken()));
            }
            set_aside = what.set_aside(place).await?.or(set_aside);
        }
        match what.rename().await? {
            Settled::Renamed => {
                confirming();
                what.confirm().await?;
                let server = what.place.server.map(str::to_owned);
                return Ok(Published { server, by_another: false, set_aside });
            }
            Settled::Occupied => {}
            Settled::Not(fault) => last = Some(fault),
        }
    }
    Err(last.unwrap_or_else(|| what.taken()))
}

impl Publication<'_> {
    fn blame(&self, fault: Fault) -> Fault {
        fault.at(Side::Destination, self.place.address())
    }

    async fn stat(&self, place: Place<'_>, path: &SitePath) -> Result<Option<Stat>, Fault> {
        let what = format!("a look at {path}");
        limited(self.patience.call, &what, Side::Destination, place, self.engine.stat(place, path)).await
    }

    fn taken(&self) -> Fault {
        let text = format!("{} was taken by others again and again while it was to be renamed", self.path);
        self.blame(Fault::new(FaultClass::Transient, "name-taken", text))
    }

    /// A server that holds something under the final name.
    async fn holder(&self) -> Result<Option<(Option<String>, Stat)>, Fault> {
        let site = self.place.site;
        let hear = Hear::AllBut(self.hurried);
        let seen = look(self.engine, site, Side::Destination, self.path, self.patience, hear).await?;
        for one in seen {
            let place = Place { site, server: one.server.as_deref() };
            let is_hurried = one.server.as_ref().is_some_and(|server| self.hurried.contains(server));
            let found = match one.found {
                // It answered when the attempt began: ask once more.
                Err(_) if !is_hurried => {
                    let what = format!("a second look at {}", self.path);
                    let again = self.engine.stat(place, self.path);
                    limited(self.patience.look, &what, Side::Destination, place, again).await
                }
                found => found,
            };
            match found {
                Ok(Some(stat)) if stat.folder => {
                    let text = format!("{} is a folder at {}", self.path, site.name);
                    return Err(self.blame(Fault::new(FaultClass::Permanent, "is-a-folder", text)));
                }
                Ok(Some(stat)) => return Ok(Some((one.server, stat))),
                Ok(None) => {}
                Err(fault) if one.server.as_deref() == self.place.server => return Err(fault),
                // Waiting for a dead server would keep the file from those who can have it.
                Err(fault) => {
                    tracing::warn!(server = one.server, path = %self.path, %fault, "server not looked at before a rename");
                }
            }
        }
        Ok(None)
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

    /// Moves what is under the final name out of the way, to a name that is free; that name, unless it went by itself.
    async fn set_aside(&self, place: Place<'_>) -> Result<Option<String>, Fault> {
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
                    (None, None) => return Ok(None),
                    (Some(_), None) => return Err(fault),
                }
            }
            tracing::info!(path = %self.path, aside = %name, "different old file set aside");
            return Ok(Some(name));
        }
        let text = format!("no free name to set {} aside", self.path);
        Err(self.blame(Fault::new(FaultClass::Transient, "name-taken", text)))
    }

    async fn rename(&self) -> Result<Settled, Fault> {
        let place = self.place;
        let rename = self.engine.rename(place, self.temporary, self.path);
        let Err(fault) = limited(self.patience.call, "a rename", Side::Destination, place, rename).await
        else {
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
        let aside = match self.set_aside(self.place).await {
            Ok(Some(name)) => format!("set aside as {name}"),
            Ok(None) => "and gone meanwhile".to_owned(),
            Err(fault) => format!("and could not be set aside: {fault}"),
        };
        let text = format!("{} is not what was verified before its rename, {aside}", self.path);
        Err(self.blame(Fault::new(FaultClass::Integrity, "not-confirmed", text)))
    }
}
