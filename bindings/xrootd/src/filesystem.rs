//! Questions to a server about names: stat, list, locate, rename, remove, checksum, space, configuration.
//! Every call has a deadline; dropping its future abandons the answer, and what the server does with the request stays
//! unknown, as after a timeout.

use std::ffi::CString;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use xrootd_sys as sys;

use crate::call::{self, Answer, c_string, nothing};
use crate::canonical;
use crate::credentials::Login;
use crate::error::{Error, ErrorKind, code};
use crate::handle::FsHandle;
use crate::stat::{DirEntry, Space, Stat};
use crate::url::{Endpoint, check_path};

/// `kXR_locate`: give names rather than addresses.
const PREFER_NAMES: u32 = 0x0100;
/// `kXR_locate`: do not answer from memory.
const REFRESH: u32 = 0x0080;

/// Sums that a server is asked for at once. It computes 4 where nothing else is configured (`xrootd.chksum max`); 3 fit one
/// that computes a single one.
const SUMS_AT_ONCE: usize = 3;

/// After how long a sum that was not told is asked for again; after four times as long the next time.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// A server's names. Cheap to clone.
#[derive(Clone)]
pub struct FileSystem {
    endpoint: Endpoint,
    /// Held only to take or replace the handle; never across a request.
    handle: Arc<Mutex<(Login, Arc<FsHandle>)>>,
    /// Turns to ask for a sum.
    sums: Arc<Semaphore>,
}

impl std::fmt::Debug for FileSystem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FileSystem").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

impl FileSystem {
    /// The names of a server; does not connect yet.
    pub fn new(endpoint: &Endpoint) -> Self {
        let login = Login::current();
        let handle = Arc::new(handle_for(endpoint, login));
        let (handle, sums) = (Arc::new(Mutex::new((login, handle))), Arc::new(Semaphore::new(SUMS_AT_ONCE)));
        Self { endpoint: endpoint.clone(), handle, sums }
    }

    /// The server.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Looks at a path; `None` when there is nothing.
    pub async fn stat(&self, path: &str, deadline: Duration) -> Result<Option<Stat>, Error> {
        let (what, c_path) = self.checked("stat", path)?;
        let answer = self
            .send(
                what.clone(),
                deadline,
                |answer| answer.stat(),
                |raw, done, ctx, seconds| {
                    // SAFETY: a live file system, a NUL-terminated path, and a callback with its own context.
                    unsafe { sys::xrds_fs_stat(raw, c_path.as_ptr(), seconds, done, ctx) }
                },
            )
            .answer()
            .await;
        match answer {
            Ok(Some(stat)) => Ok(Some(stat.into())),
            Ok(None) => Err(Error::lost(what)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Renames, and overwrites without a word what is there. A missing source is `NotFound`, which after a broken
    /// connection may also mean that the library sent it twice and the first did it: look.
    pub async fn mv(&self, from: &str, to: &str, deadline: Duration) -> Result<(), Error> {
        let (what, c_from) = self.checked("rename", from)?;
        check_path(&what, to)?;
        let c_to = c_string(&what, to)?;
        let what = format!("rename {from} to {to} at {}", self.endpoint);
        self.send(what, deadline, nothing, |raw, done, ctx, seconds| {
            // SAFETY: as in `stat`.
            unsafe { sys::xrds_fs_mv(raw, c_from.as_ptr(), c_to.as_ptr(), seconds, done, ctx) }
        })
        .answer()
        .await
    }

    /// Removes a file.
    pub async fn rm(&self, path: &str, deadline: Duration) -> Result<(), Error> {
        let (what, c_path) = self.checked("remove", path)?;
        self.send(what, deadline, nothing, |raw, done, ctx, seconds| {
            // SAFETY: as in `stat`.
            unsafe { sys::xrds_fs_rm(raw, c_path.as_ptr(), seconds, done, ctx) }
        })
        .answer()
        .await
    }

    /// Removes an empty folder.
    pub async fn rmdir(&self, path: &str, deadline: Duration) -> Result<(), Error> {
        let (what, c_path) = self.checked("remove folder", path)?;
        self.send(what, deadline, nothing, |raw, done, ctx, seconds| {
            // SAFETY: as in `stat`.
            unsafe { sys::xrds_fs_rmdir(raw, c_path.as_ptr(), seconds, done, ctx) }
        })
        .answer()
        .await
    }

    /// Makes a folder, and those above it with `parents`; one that exists is then no error.
    pub async fn mkdir(&self, path: &str, mode: u32, parents: bool, deadline: Duration) -> Result<(), Error> {
        let (what, c_path) = self.checked("make folder", path)?;
        self.send(what, deadline, nothing, |raw, done, ctx, seconds| {
            // SAFETY: as in `stat`.
            unsafe {
                sys::xrds_fs_mkdir(
                    raw,
                    c_path.as_ptr(),
                    i32::from(parents),
                    mode & 0o777,
                    seconds,
                    done,
                    ctx,
                );
            }
        })
        .answer()
        .await
    }

    /// Sets the permission bits.
    pub async fn chmod(&self, path: &str, mode: u32, deadline: Duration) -> Result<(), Error> {
        let (what, c_path) = self.checked("change mode of", path)?;
        self.send(what, deadline, nothing, |raw, done, ctx, seconds| {
            // SAFETY: as in `stat`.
            unsafe { sys::xrds_fs_chmod(raw, c_path.as_ptr(), mode & 0o777, seconds, done, ctx) }
        })
        .answer()
        .await
    }

    /// The names in a folder with their stats, in no order. Behind a redirector: those of one data server.
    pub async fn dirlist(&self, path: &str, deadline: Duration) -> Result<Vec<DirEntry>, Error> {
        let (what, c_path) = self.checked("list", path)?;
        let entries = self
            .send(
                what,
                deadline,
                |answer| answer.entries(),
                |raw, done, ctx, seconds| {
                    // SAFETY: as in `stat`.
                    unsafe { sys::xrds_fs_dirlist(raw, c_path.as_ptr(), 1, seconds, done, ctx) }
                },
            )
            .answer()
            .await?;
        Ok(entries
            .into_iter()
            .filter(|entry| !matches!(entry.name.as_str(), "" | "." | ".."))
            .map(|entry| DirEntry { name: entry.name, stat: entry.stat.map(Stat::from) })
            .collect())
    }

    /// A file's checksum of a kind (`adler32`, `crc32c`, ...) as the server computes or remembers it: kind and hex value.
    ///
    /// A few are asked for at a time, the others wait here, their deadlines running: a server has room for three times as many
    /// sums as it computes at once, and whoever asks for one more is sent away for 30 s. That it has room is not sure even so;
    /// it is asked again after a second, and later. A sum that is under way is not computed twice.
    pub async fn checksum(
        &self,
        path: &str,
        kind: &str,
        deadline: Duration,
    ) -> Result<(String, String), Error> {
        let (what, _) = self.checked(&format!("{kind} of"), path)?;
        let argument = format!("{path}?cks.type={kind}");
        let until = call::after(deadline);
        let Ok(turn) = tokio::time::timeout_at(until, self.sums.acquire()).await else {
            return Err(Error::timed_out(what, deadline.as_secs_f64()));
        };
        let (mut asked, mut pause) = (FuturesUnordered::new(), ASK_AGAIN_AFTER);
        let answer = 'told: loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Error::timed_out(what, deadline.as_secs_f64()));
            }
            asked.push(self.query(what.clone(), sys::QUERY_CHECKSUM, &argument, left));
            let again = (Instant::now() + pause).min(until);
            pause *= 4;
            loop {
                match tokio::time::timeout_at(again, asked.next()).await {
                    // Sent away for longer than there is time.
                    Ok(Some(Err(error))) if error.code() == code::EXPIRED => {}
                    Ok(Some(answer)) => break 'told answer?,
                    Ok(None) => {
                        tokio::time::sleep_until(again).await;
                        break;
                    }
                    Err(_) => break,
                }
            }
        };
        drop(turn);
        match answer.split_whitespace().collect::<Vec<_>>()[..] {
            [kind, value] => Ok((kind.to_owned(), value.to_owned())),
            ref words => Err(Error::from_status(303, 0, format!("not a checksum: {words:?}"), what)),
        }
    }

    /// Values of the server's configuration, in the order of the keys; a key that it does not know comes back as itself.
    pub async fn query_config(&self, keys: &[&str], deadline: Duration) -> Result<Vec<String>, Error> {
        let argument = keys.join(" ");
        let what = format!("configuration ({argument}) of {}", self.endpoint);
        let answer = self.query(what.clone(), sys::QUERY_CONFIG, &argument, deadline).await?;
        let values: Vec<String> = answer.lines().map(str::to_owned).collect();
        if values.len() == keys.len() {
            Ok(values)
        } else {
            let message = format!("{} values for {} keys: {answer:?}", values.len(), keys.len());
            Err(Error::from_status(303, 0, message, what))
        }
    }

    /// Space behind a path.
    pub async fn space(&self, path: &str, deadline: Duration) -> Result<Space, Error> {
        let (what, _) = self.checked("space of", path)?;
        let answer = self.query(what, sys::QUERY_SPACE, path, deadline).await?;
        let mut space = Space::default();
        for (key, value) in answer.split('&').filter_map(|pair| pair.split_once('=')) {
            // A quota of -1 is none.
            let bytes = value.trim().parse().ok();
            match key {
                "oss.space" => space.total = bytes,
                "oss.free" => space.free = bytes,
                "oss.maxf" => space.largest_free = bytes,
                "oss.used" => space.used = bytes,
                "oss.quota" => space.quota = bytes,
                _ => {}
            }
        }
        Ok(space)
    }

    /// The data servers that have a file, under the names that they go by; empty when none has it. A manager that
    /// stands for others is left out: see [`deep_locate`](Self::deep_locate).
    pub async fn locate(
        &self,
        path: &str,
        refresh: bool,
        deadline: Duration,
    ) -> Result<Vec<Endpoint>, Error> {
        self.locations(path, refresh, false, deadline).await
    }

    /// The same, asking the managers below as well.
    pub async fn deep_locate(
        &self,
        path: &str,
        refresh: bool,
        deadline: Duration,
    ) -> Result<Vec<Endpoint>, Error> {
        self.locations(path, refresh, true, deadline).await
    }

    /// Whether the server answers.
    pub async fn ping(&self, deadline: Duration) -> Result<(), Error> {
        self.send(format!("ping {}", self.endpoint), deadline, nothing, |raw, done, ctx, seconds| {
            // SAFETY: as in `stat`.
            unsafe { sys::xrds_fs_ping(raw, seconds, done, ctx) }
        })
        .answer()
        .await
    }

    async fn locations(
        &self,
        path: &str,
        refresh: bool,
        deep: bool,
        deadline: Duration,
    ) -> Result<Vec<Endpoint>, Error> {
        let (what, c_path) = self.checked("locate", path)?;
        let flags = PREFER_NAMES | if refresh { REFRESH } else { 0 };
        let answer = self
            .send(
                what,
                deadline,
                |answer| answer.entries(),
                |raw, done, ctx, seconds| {
                    // SAFETY: as in `stat`.
                    unsafe {
                        sys::xrds_fs_locate(raw, c_path.as_ptr(), flags, i32::from(deep), seconds, done, ctx);
                    }
                },
            )
            .answer()
            .await;
        let entries = match answer {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        // 2 and 3 are servers, 0 and 1 managers.
        let mut places = Vec::new();
        for entry in entries.iter().filter(|entry| entry.kind >= 2) {
            let Ok(place) = entry.name.parse::<Endpoint>() else { continue };
            let place = canonical::named(place).await;
            if !places.contains(&place) {
                places.push(place);
            }
        }
        Ok(places)
    }

    async fn query(
        &self,
        what: String,
        code: u32,
        argument: &str,
        deadline: Duration,
    ) -> Result<String, Error> {
        let bytes = self
            .send(
                what,
                deadline,
                |answer| answer.bytes(),
                |raw, done, ctx, seconds| {
                    // SAFETY: as in `stat`; the argument is a pointer with its length, copied before this returns.
                    unsafe {
                        sys::xrds_fs_query(
                            raw,
                            code,
                            argument.as_ptr().cast(),
                            argument.len(),
                            seconds,
                            done,
                            ctx,
                        );
                    }
                },
            )
            .answer()
            .await?;
        Ok(String::from_utf8_lossy(&bytes).trim_end_matches(['\0', '\n', ' ']).to_owned())
    }

    /// The handle of the present login.
    fn handle(&self) -> Arc<FsHandle> {
        let login = Login::current();
        let mut held = self.handle.lock().unwrap_or_else(PoisonError::into_inner);
        if held.0 != login {
            *held = (login, Arc::new(handle_for(&self.endpoint, login)));
        }
        Arc::clone(&held.1)
    }

    fn checked(&self, verb: &str, path: &str) -> Result<(String, CString), Error> {
        let what = format!("{verb} {path} at {}", self.endpoint);
        check_path(&what, path)?;
        let c_path = c_string(&what, path)?;
        Ok((what, c_path))
    }

    fn send<T: Send + 'static>(
        &self,
        what: String,
        deadline: Duration,
        decode: fn(Answer<'_>) -> T,
        submit: impl FnOnce(*mut sys::xrds_fs, sys::xrds_done, *mut std::ffi::c_void, u32),
    ) -> call::Pending<T> {
        let keep = self.handle();
        let raw = keep.raw();
        call::send(what, deadline, keep, Vec::new(), decode, |done, ctx, seconds, _| {
            submit(raw, done, ctx, seconds);
        })
    }
}

fn handle_for(endpoint: &Endpoint, login: Login) -> FsHandle {
    let url =
        CString::new(format!("root://{}{endpoint}/", login.prefix())).expect("an endpoint holds no NUL");
    FsHandle::new(&url).expect("memory for one small object")
}
