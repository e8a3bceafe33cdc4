//! An open file at a server, or a local one through the same library. Dropping it closes it, elsewhere and later;
//! [`File::close`] tells whether that went well.

use std::ffi::c_void;
use std::ops::BitOr;
use std::sync::Arc;
use std::time::Duration;

use xrootd_sys as sys;

use crate::call::{self, Answer, Pending, c_string, endpoint_of, filled, nothing};
use crate::credentials::Login;
use crate::error::Error;
use crate::handle::FileHandle;
use crate::stat::Stat;
use crate::url::{Endpoint, Url};

/// How to open a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenFlags(u32);

impl OpenFlags {
    /// For reading.
    pub const READ: Self = Self(0x0010);
    /// For reading and writing.
    pub const UPDATE: Self = Self(0x0020);
    /// Make it; it must not be there yet.
    pub const NEW: Self = Self(0x0008);
    /// Make it, and empty it first when it is there.
    pub const DELETE: Self = Self(0x0002);
    /// Make missing folders above it.
    pub const MAKE_PATH: Self = Self(0x0100);
    /// The server throws it away unless it is closed in good order.
    pub const POSC: Self = Self(0x1000);
    /// Do not trust what a redirector remembers of the file.
    pub const REFRESH: Self = Self(0x0080);
}

impl BitOr for OpenFlags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// An open file. Every call has a deadline; dropping a future abandons the answer, not the request.
pub struct File {
    url: Url,
    handle: Arc<FileHandle>,
}

impl std::fmt::Debug for File {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("File").field("url", &self.label()).finish_non_exhaustive()
    }
}

/// What a file's connection is, and what happens when it breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Manner {
    /// The library opens it again, here or elsewhere, and repeats what was under way; otherwise that fails at once.
    pub(crate) recovers: bool,
    /// Whose connection it uses.
    pub(crate) login: Login,
}

/// A file that is being opened. Dropped, the file is closed as soon as it is open.
#[derive(Debug)]
pub(crate) struct Opening {
    file: Option<File>,
    pending: Pending<()>,
}

impl Opening {
    /// Cancel-safe. Must not be called again once it has answered.
    pub(crate) async fn answer(&mut self) -> Result<File, Error> {
        self.pending.answer().await?;
        self.file.take().ok_or_else(|| Error::invalid("open", "it was opened already"))
    }
}

impl File {
    /// Opens a file; `mode` is for one that is made.
    pub async fn open(url: &Url, flags: OpenFlags, mode: u32, deadline: Duration) -> Result<Self, Error> {
        let manner = Manner { recovers: true, login: Login::current() };
        Self::opening(url, flags, mode, manner, deadline)?.answer().await
    }

    /// The same in two steps: when this returns the request is on its way.
    pub(crate) fn opening(
        url: &Url,
        flags: OpenFlags,
        mode: u32,
        manner: Manner,
        deadline: Duration,
    ) -> Result<Opening, Error> {
        let what = format!("open {}", label_of(url));
        url.check(&what)?;
        let c_url = c_string(&what, &url.text(&manner.login.prefix()))?;
        let handle = FileHandle::new().ok_or_else(|| Error::lost(what.clone()))?;
        if !manner.recovers {
            for property in [c"ReadRecovery", c"WriteRecovery"] {
                handle.set_property(property, c"false");
            }
        }
        let file = Self { url: url.clone(), handle: Arc::new(handle) };
        let pending = file.send(what, deadline, Vec::new(), nothing, |raw, done, ctx, seconds, _| {
            // SAFETY: a live file, a NUL-terminated URL that is copied, and a callback with its own context.
            unsafe { sys::xrds_file_open(raw, c_url.as_ptr(), flags.0, mode & 0o777, seconds, done, ctx) }
        });
        Ok(Opening { file: Some(file), pending })
    }

    /// Reads up to `len` bytes; fewer only at the end of the file.
    pub async fn read(&self, offset: u64, len: u32, deadline: Duration) -> Result<Vec<u8>, Error> {
        let buffer = vec![0u8; len as usize];
        self.send(self.what("read"), deadline, buffer, filled, |raw, done, ctx, seconds, bytes| {
            // SAFETY: as in `opening`; the buffer has `len` bytes and travels with the context until `done`.
            unsafe { sys::xrds_file_read(raw, offset, len, bytes.cast(), seconds, done, ctx) }
        })
        .answer()
        .await
    }

    /// Writes all of the data.
    pub async fn write(&self, offset: u64, data: Vec<u8>, deadline: Duration) -> Result<(), Error> {
        let what = self.what("write");
        let len = u32::try_from(data.len()).map_err(|_| Error::invalid(&what, "more than 4 GiB at once"))?;
        self.send(what, deadline, data, nothing, |raw, done, ctx, seconds, bytes| {
            // SAFETY: as in `read`; C++ only reads from the buffer.
            unsafe { sys::xrds_file_write(raw, offset, len, bytes.cast(), seconds, done, ctx) }
        })
        .answer()
        .await
    }

    /// Size and times; with `force` asked of the server anew.
    pub async fn stat(&self, force: bool, deadline: Duration) -> Result<Stat, Error> {
        let what = self.what("stat");
        let stat = self
            .send(
                what.clone(),
                deadline,
                Vec::new(),
                |answer| answer.stat(),
                |raw, done, ctx, seconds, _| {
                    // SAFETY: as in `opening`.
                    unsafe { sys::xrds_file_stat(raw, i32::from(force), seconds, done, ctx) }
                },
            )
            .answer()
            .await?;
        stat.map(Stat::from).ok_or_else(|| Error::lost(what))
    }

    /// Waits until what was written is on disk. (In a third-party copy it means something else: see [`crate::tpc`].)
    pub async fn sync(&self, deadline: Duration) -> Result<(), Error> {
        self.syncing(deadline).answer().await
    }

    /// The same in two steps: when this returns the request is on its way.
    pub(crate) fn syncing(&self, deadline: Duration) -> Pending<()> {
        self.send(self.what("sync"), deadline, Vec::new(), nothing, |raw, done, ctx, seconds, _| {
            // SAFETY: as in `opening`.
            unsafe { sys::xrds_file_sync(raw, seconds, done, ctx) }
        })
    }

    /// Cuts or extends the file.
    pub async fn truncate(&self, size: u64, deadline: Duration) -> Result<(), Error> {
        self.send(self.what("truncate"), deadline, Vec::new(), nothing, |raw, done, ctx, seconds, _| {
            // SAFETY: as in `opening`.
            unsafe { sys::xrds_file_truncate(raw, size, seconds, done, ctx) }
        })
        .answer()
        .await
    }

    /// A request that only the server's file system understands, and its answer.
    pub async fn fcntl(&self, argument: &[u8], deadline: Duration) -> Result<Vec<u8>, Error> {
        self.fcntling(argument, deadline).answer().await
    }

    /// The same in two steps: when this returns the request is on its way.
    pub(crate) fn fcntling(&self, argument: &[u8], deadline: Duration) -> Pending<Vec<u8>> {
        self.send(
            self.what("fcntl"),
            deadline,
            Vec::new(),
            |answer| answer.bytes(),
            |raw, done, ctx, seconds, _| {
                // SAFETY: as in `opening`; the argument is a pointer with its length, copied before this returns.
                unsafe {
                    sys::xrds_file_fcntl(raw, argument.as_ptr().cast(), argument.len(), seconds, done, ctx);
                }
            },
        )
    }

    /// A property of the library's file object: `LastURL`, `DataServer`.
    pub fn property(&self, name: &str) -> Option<String> {
        let name = c_string("property", name).ok()?;
        self.handle.property(&name)
    }

    /// The server that the file was opened at in the end, after all redirections; `None` for a local file.
    pub fn last_server(&self) -> Option<Endpoint> {
        let asked = self.url.endpoint()?;
        let last = self.property("LastURL");
        last.as_deref().and_then(endpoint_of).or_else(|| Some(asked.clone()))
    }

    /// Closes it. Not while another request on it is under way: the server or the library refuses that as `Invalid`.
    pub async fn close(self, deadline: Duration) -> Result<(), Error> {
        self.closing(deadline).answer().await
    }

    /// The same in two steps: when this returns the request is on its way.
    pub(crate) fn closing(&self, deadline: Duration) -> Pending<()> {
        self.send(self.what("close"), deadline, Vec::new(), nothing, |raw, done, ctx, seconds, _| {
            // SAFETY: as in `opening`.
            unsafe { sys::xrds_file_close(raw, seconds, done, ctx) }
        })
    }

    fn what(&self, verb: &str) -> String {
        format!("{verb} {}", self.label())
    }

    fn label(&self) -> String {
        label_of(&self.url)
    }

    fn send<T: Send + 'static>(
        &self,
        what: String,
        deadline: Duration,
        buffer: Vec<u8>,
        decode: fn(Answer<'_>) -> T,
        submit: impl FnOnce(*mut sys::xrds_file, sys::xrds_done, *mut c_void, u32, *mut u8),
    ) -> Pending<T> {
        let keep = Arc::clone(&self.handle);
        let raw = keep.raw();
        call::send(what, deadline, keep, buffer, decode, |done, ctx, seconds, bytes| {
            submit(raw, done, ctx, seconds, bytes);
        })
    }
}

/// Without the parameters: they may hold keys.
fn label_of(url: &Url) -> String {
    match url.endpoint() {
        Some(endpoint) => format!("{} at {endpoint}", url.path()),
        None => format!("{} here", url.path()),
    }
}
