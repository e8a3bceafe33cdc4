//! Third-party copy driven by ourselves: the destination's server pulls from the source's, and we only introduce them.
//!
//! The rendezvous: open the destination with the source's name and a key; open the source with the same key, which is the
//! permission; a first sync, which the server answers when it has a slot and has started its copy program (this may take
//! long); a second sync, answered when the copy has ended. The permission comes first because a source that meets the copy
//! program before the permission parks it, and now and then forgets it there (seen with 5.5.3: one copy in some hundreds
//! stood still for ever). Where the slot took so long that the permission may have expired, it is given again. No thread
//! waits, nothing polls, and the library's own copy job with its 2.5 s grid is not used. It never verifies, renames or
//! removes anything.

use std::fmt;
use std::time::{Duration, Instant};

use crate::call::{self, Pending};
use crate::canonical;
use crate::credentials::Login;
use crate::error::{Error, code};
use crate::file::{File, Manner, OpenFlags, Opening};
use crate::filesystem::FileSystem;
use crate::url::{Endpoint, Url};

/// The server promises an answer to a sync within 1800 s and forgets it then; it is asked again before.
const SYNC_LASTS: Duration = Duration::from_secs(1700);

/// A source remembers a permission for 7 s where nothing else is configured; an older one is given again.
const PERMISSION_LASTS: Duration = Duration::from_secs(5);

/// The deadline of a cancellation that nobody waits for.
const CANCEL: Duration = Duration::from_secs(10);

/// What is to be copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    /// The file at the source's data server (not at its redirector), under the host name that its address resolves to.
    pub source: Url,
    /// The file to be made; at a data server or at a redirector.
    pub destination: Url,
    /// Bytes, where known: the server may reserve the space.
    pub size: Option<u64>,
    /// TCP streams of the copy, at least 1.
    pub streams: u16,
    /// How long the source shall remember the permission; its server caps it.
    pub ttl: Option<Duration>,
    /// Permission bits of the new file.
    pub mode: u32,
    /// The source's door as it is named in configuration, for delegation.
    pub source_as_user_gave: Endpoint,
}

/// How long each step may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Opening a file, either side.
    pub open: Duration,
    /// Waiting for a slot at the destination.
    pub slot: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { open: Duration::from_secs(15), slot: Duration::from_secs(120) }
    }
}

/// The secret that ties both halves of a copy together: 96 bits, never used twice.
#[derive(Clone, PartialEq, Eq)]
pub struct Key(String);

impl Key {
    /// A key of the low 96 bits of a random number.
    pub fn new(random: u128) -> Self {
        Self(format!("{:024x}", random & ((1 << 96) - 1)))
    }

    /// 24 hex digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

/// What a server offers of third-party copies; to be asked once per server and remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capability {
    /// It copies.
    pub tpc: bool,
    /// It copies with delegated credentials.
    pub delegation: bool,
}

/// Asks a server what it offers.
pub async fn capability(server: &FileSystem, deadline: Duration) -> Result<Capability, Error> {
    let values = server.query_config(&["tpc", "tpcdlg"], deadline).await?;
    // A number from 1 up is a version; a key that the server does not know comes back as itself.
    let offered = |value: &String| value.parse::<u32>().is_ok_and(|version| version > 0);
    let delegated = |value: &String| !value.is_empty() && value != "tpcdlg" && value != "0";
    Ok(Capability {
        tpc: values.first().is_some_and(offered),
        delegation: values.get(1).is_some_and(delegated),
    })
}

/// A copy at some step of the rendezvous. Dropping it cancels it.
#[derive(Debug)]
pub struct Copying {
    destination: File,
    destination_server: Endpoint,
    source: Url,
    manner: Manner,
    limits: Limits,
    sync_lasts: Duration,
    step: Step,
}

#[derive(Debug)]
enum Step {
    /// The source is being opened.
    Authorising(Opening),
    /// The source was opened then; the first sync is under way.
    Queued(File, Instant, Pending<()>),
    /// The slot came late: the source is being closed, to be opened again.
    Renewing(Pending<()>),
    /// The same, and it is being opened again.
    AuthorisingAgain(Opening),
    /// Both sides are ready.
    Granted(File),
    /// The second sync is under way.
    Running(File, Pending<()>),
    /// The second sync was answered, or the rendezvous failed.
    Ended(Option<File>),
}

/// Opens the destination and begins to open the source. `key` must be new.
pub async fn open(spec: &Spec, key: &Key, limits: &Limits) -> Result<Copying, Error> {
    let what = format!("copy {} to {}", spec.source.path(), spec.destination.path());
    let source_server =
        spec.source.endpoint().ok_or_else(|| Error::invalid(&what, "the source is not at a server"))?;
    let mut destination = spec.destination.clone();
    if let Some(size) = spec.size {
        destination = destination.with_param("oss.asize", size);
    }
    let destination = destination
        .with_param("tpc.dlg", &spec.source_as_user_gave)
        .with_param("tpc.dlgon", 0)
        .with_param("tpc.key", key.as_str())
        .with_param("tpc.lfn", spec.source.path())
        .with_param("tpc.spr", "root")
        .with_param("tpc.src", source_server)
        .with_param("tpc.stage", "copy")
        .with_param("tpc.str", spec.streams.max(1))
        .with_param("tpc.tpr", "root");
    let flags = OpenFlags::UPDATE | OpenFlags::NEW | OpenFlags::MAKE_PATH;
    // Opened again after a broken connection, either side would be another copy: a break must end this one. And the
    // source's server must see the same login as the destination's, which passes it on.
    let manner = Manner { recovers: false, login: Login::current() };
    let destination = File::opening(&destination, flags, spec.mode, manner, limits.open)?.answer().await?;
    let destination_server = destination
        .last_server()
        .ok_or_else(|| Error::invalid(&what, "the destination is not at a server"))?;
    // A redirector may send us to an address; the source's server shall hear a name.
    let destination_server = canonical::named(destination_server).await;

    let mut source = spec
        .source
        .clone()
        .with_param("tpc.key", key.as_str())
        .with_param("tpc.dst", destination_server.host())
        .with_param("tpc.stage", "copy");
    if let Some(ttl) = spec.ttl {
        source = source.with_param("tpc.ttl", ttl.as_secs().max(1));
    }
    let step = Step::Authorising(opening(&source, manner, limits)?);
    Ok(Copying {
        destination,
        destination_server,
        source,
        manner,
        limits: *limits,
        sync_lasts: SYNC_LASTS,
        step,
    })
}

impl Copying {
    /// The data server that copies.
    pub fn destination_server(&self) -> &Endpoint {
        &self.destination_server
    }

    /// After how long the server is asked again whether the copy has ended: 1700 s, for it promises an answer within 1800 s
    /// only. To be set before [`start`](Self::start).
    pub fn ask_again_after(&mut self, lasts: Duration) {
        self.sync_lasts = lasts;
    }

    /// Opens the source and waits for a slot at the destination. Cancel-safe.
    pub async fn granted(&mut self) -> Result<(), Error> {
        loop {
            match &mut self.step {
                Step::Authorising(opening) => match opening.answer().await {
                    Ok(source) => {
                        let first = self.destination.syncing(self.limits.slot);
                        self.step = Step::Queued(source, Instant::now(), first);
                    }
                    Err(error) => return Err(self.failed(error.at_source())),
                },
                Step::Queued(_, since, first) => match first.answer().await {
                    Ok(()) => {
                        let is_fresh = since.elapsed() < PERMISSION_LASTS;
                        self.step = match std::mem::replace(&mut self.step, Step::Ended(None)) {
                            Step::Queued(source, ..) if is_fresh => Step::Granted(source),
                            // Opened twice with one key, the source would take both back.
                            Step::Queued(source, ..) => Step::Renewing(source.closing(self.limits.open)),
                            other => other,
                        };
                    }
                    // It is still queued there: `close` must take it back.
                    Err(error) if error.code() == code::EXPIRED => return Err(error),
                    Err(error) => return Err(self.failed(error.unwrap_source())),
                },
                Step::Renewing(closed) => {
                    if let Err(error) = closed.answer().await {
                        tracing::debug!(%error, "closing a copy's source to open it again");
                    }
                    self.step = match opening(&self.source, self.manner, &self.limits) {
                        Ok(opening) => Step::AuthorisingAgain(opening),
                        Err(error) => return Err(self.failed(error)),
                    };
                }
                Step::AuthorisingAgain(opening) => match opening.answer().await {
                    Ok(source) => self.step = Step::Granted(source),
                    Err(error) => return Err(self.failed(error.at_source())),
                },
                Step::Granted(_) | Step::Running(..) => return Ok(()),
                Step::Ended(_) => return Err(Error::invalid("copy", "it has ended")),
            }
        }
    }

    /// Starts the copy; [`granted`](Self::granted) must have said yes. From now on the size may grow.
    pub fn start(&mut self) -> Result<(), Error> {
        match std::mem::replace(&mut self.step, Step::Ended(None)) {
            Step::Granted(source) => {
                self.step = Step::Running(source, self.destination.syncing(self.sync_lasts));
                Ok(())
            }
            other => {
                self.step = other;
                Err(Error::invalid("copy", "started before its slot was granted, or twice"))
            }
        }
    }

    /// Waits for the end of the copy, at most until `deadline` has passed from now. Cancel-safe; after a time-out the
    /// copy still runs.
    pub async fn wait(&mut self, deadline: Duration) -> Result<(), Error> {
        let until = call::after(deadline);
        loop {
            let Step::Running(_, second) = &mut self.step else {
                return Err(Error::invalid("copy", "waited for before it was started"));
            };
            let Ok(answer) = tokio::time::timeout_at(until, second.answer()).await else {
                let what = format!("copy to {}", self.destination_server);
                return Err(Error::timed_out(what, deadline.as_secs_f64()));
            };
            match answer {
                // Only the library's own clock ran out; the copy goes on.
                Err(error) if error.code() == code::EXPIRED => {
                    *second = self.destination.syncing(self.sync_lasts);
                }
                answer => {
                    if let Step::Running(source, _) = std::mem::replace(&mut self.step, Step::Ended(None)) {
                        self.step = Step::Ended(Some(source));
                    }
                    return answer.map_err(Error::unwrap_source);
                }
            }
        }
    }

    /// Bytes at the destination by now.
    pub async fn size(&self, deadline: Duration) -> Result<u64, Error> {
        Ok(self.destination.stat(true, deadline).await?.size)
    }

    /// Stops the copy program; the pending wait then ends as `Cancelled`. Once the copy has ended this is an error that
    /// may be ignored.
    pub async fn cancel(&self, deadline: Duration) -> Result<(), Error> {
        self.destination.fcntl(b"ofs.tpc cancel", deadline).await.map(|_| ())
    }

    /// Closes both sides; a copy that still runs or waits is cancelled first. An error of the destination's close means
    /// that the file must not be believed.
    pub async fn close(mut self, deadline: Duration) -> Result<(), Error> {
        let until = call::after(deadline);
        if let Step::Queued(.., pending) | Step::Running(_, pending) = &mut self.step {
            // A file with a sync under way cannot be closed.
            let _ = self.destination.fcntling(b"ofs.tpc cancel", deadline).answer().await;
            pending.settled(until).await;
        }
        let step = std::mem::replace(&mut self.step, Step::Ended(None));
        let source = match step {
            Step::Queued(source, ..)
            | Step::Granted(source)
            | Step::Running(source, _)
            | Step::Ended(Some(source)) => Some(source),
            _ => None,
        };
        let mut destination = self.destination.closing(deadline);
        let source = source.map(|source| source.closing(deadline));
        let answer = destination.answer().await;
        if let Some(mut source) = source
            && let Err(error) = source.answer().await
        {
            tracing::debug!(%error, "closing a copy's source");
        }
        answer
    }

    fn failed(&mut self, error: Error) -> Error {
        self.step = Step::Ended(None);
        error
    }
}

/// Begins to open the source, which permits the copy.
fn opening(source: &Url, manner: Manner, limits: &Limits) -> Result<Opening, Error> {
    File::opening(source, OpenFlags::READ, 0, manner, limits.open)
}

impl Drop for Copying {
    fn drop(&mut self) {
        // Before the first sync there is nothing to be cancelled.
        if !matches!(self.step, Step::Authorising(_) | Step::Ended(_)) {
            // On its way when this returns; nobody waits for the answer.
            drop(self.destination.fcntling(b"ofs.tpc cancel", CANCEL));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_96_bits_of_hex_and_never_printed() {
        let key = Key::new(u128::MAX);
        assert_eq!(key.as_str(), "f".repeat(24));
        assert_eq!(Key::new(1).as_str().len(), 24);
        assert_eq!(format!("{key:?}"), "Key(..)");
    }
}
