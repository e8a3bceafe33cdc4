//! One request to the library: a box that travels as `void*` through C++ and comes back in the callback, which decodes
//! the answer and sends it, nothing more. The box keeps the handle and the buffer alive, so a caller that has gone away
//! leaves nothing that C++ could still write to.

use std::ffi::{CStr, CString, c_char, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;
use xrootd_sys as sys;

use crate::credentials;
use crate::error::{Error, ErrorKind};
use crate::settings;
use crate::url::Endpoint;

/// An answer that comes this much late is still taken.
const GRACE: Duration = Duration::from_millis(500);

/// What the server said when it said no.
#[derive(Debug)]
pub(crate) struct Refusal {
    code: u16,
    errno: u32,
    message: String,
    by: Option<String>,
}

/// What the library hands to the callback, on loan.
pub(crate) struct Answer<'a> {
    reply: &'a sys::xrds_reply,
    /// The buffer that travelled with the request.
    buffer: Vec<u8>,
}

struct Travelling<T, H> {
    sender: oneshot::Sender<Result<T, Refusal>>,
    decode: fn(Answer<'_>) -> T,
    buffer: Vec<u8>,
    _keep: Arc<H>,
}

/// A request under way. Dropping it abandons the answer, not the request.
#[derive(Debug)]
pub(crate) struct Pending<T> {
    receiver: oneshot::Receiver<Result<T, Refusal>>,
    what: String,
    limit: Duration,
    until: Instant,
}

/// Sends a request. `submit` gets the callback, its context, the timeout in seconds and the buffer, and must hand the
/// first two to exactly one entry of the shim.
pub(crate) fn send<T: Send + 'static, H: Send + Sync + 'static>(
    what: String,
    deadline: Duration,
    keep: Arc<H>,
    mut buffer: Vec<u8>,
    decode: fn(Answer<'_>) -> T,
    submit: impl FnOnce(sys::xrds_done, *mut c_void, u32, *mut u8),
) -> Pending<T> {
    let (sender, receiver) = oneshot::channel();
    let until = after(deadline) + GRACE;
    if settings::stopping() {
        let message = "the client library was shut down".to_owned();
        let _ = sender.send(Err(Refusal { code: 207, errno: 0, message, by: None }));
        return Pending { receiver, what, limit: deadline, until };
    }
    let bytes = buffer.as_mut_ptr();
    let travelling = Box::new(Travelling { sender, decode, buffer, _keep: keep });
    submit(Some(done::<T, H>), Box::into_raw(travelling).cast(), whole_seconds(deadline), bytes);
    Pending { receiver, what, limit: deadline, until }
}

/// The moment when a deadline has passed; one beyond all use is a month.
pub(crate) fn after(deadline: Duration) -> Instant {
    Instant::now() + deadline.min(Duration::from_secs(30 * 86_400))
}

/// The library counts in whole seconds of the clock, so that a timeout may come up to a second early: it gets one more
/// than the deadline, which our own timer keeps. 0 would mean its own default.
fn whole_seconds(deadline: Duration) -> u32 {
    let up = deadline.as_secs().saturating_add(u64::from(deadline.subsec_nanos() > 0)).saturating_add(1);
    u32::try_from(up.clamp(2, 65_535)).unwrap_or(65_535)
}

unsafe extern "C" fn done<T: Send + 'static, H: Send + Sync + 'static>(
    ctx: *mut c_void,
    status: *const sys::xrds_status,
    reply: *const sys::xrds_reply,
) {
    // Unwinding into C++ is undefined; a panic here drops the sender, and the caller hears that the answer was lost.
    let _ = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: `ctx` is the box of `send` for the same T and H, and the shim calls back once only.
        let travelling = unsafe { Box::from_raw(ctx.cast::<Travelling<T, H>>()) };
        // SAFETY: the shim gives both, alive until this function returns.
        let (status, reply) = unsafe { (&*status, &*reply) };
        let Travelling { sender, decode, buffer, _keep } = *travelling;
        let result = if status.status == sys::ST_OK {
            Ok(decode(Answer { reply, buffer }))
        } else {
            Err(Refusal {
                code: status.code,
                errno: status.server_errno,
                message: text(status.message).unwrap_or_default(),
                by: text(reply.answered_by),
            })
        };
        let _ = sender.send(result);
    }));
}

impl<T> Pending<T> {
    /// Waits for the answer. Cancel-safe: dropped and called again it goes on waiting, for the same deadline.
    pub(crate) async fn answer(&mut self) -> Result<T, Error> {
        match tokio::time::timeout_at(self.until, &mut self.receiver).await {
            Ok(Ok(Ok(value))) => Ok(value),
            Ok(Ok(Err(refusal))) => Err(self.explain(refusal)),
            Ok(Err(_)) => Err(Error::lost(self.what.clone())),
            Err(_) => Err(Error::timed_out(self.what.clone(), self.limit.as_secs_f64())),
        }
    }

    /// Waits until the request is no longer under way, whatever its answer and its own deadline, or until a moment.
    pub(crate) async fn settled(&mut self, until: Instant) {
        if !self.receiver.is_terminated() {
            let _ = tokio::time::timeout_at(until, &mut self.receiver).await;
        }
    }

    /// A refusal by another server than the one asked is told with that server's name.
    fn explain(&self, refusal: Refusal) -> Error {
        let by = refusal.by.as_deref().and_then(endpoint_of).map(|by| by.to_string());
        let what = match by {
            Some(by) if !self.what.contains(&by) => format!("{} (answered by {by})", self.what),
            _ => self.what.clone(),
        };
        let error = Error::from_status(refusal.code, refusal.errno, refusal.message, what);
        if error.kind() == ErrorKind::Credential { error.noting(&credentials::summary()) } else { error }
    }
}

/// The server of a URL that the library wrote; none for `file://localhost/...`.
pub(crate) fn endpoint_of(url: &str) -> Option<Endpoint> {
    let (scheme, rest) = url.split_once("://")?;
    if scheme == "file" {
        return None;
    }
    rest.split('/').next()?.parse().ok()
}

/// A string on loan from C.
fn text(pointer: *const c_char) -> Option<String> {
    if pointer.is_null() {
        return None;
    }
    // SAFETY: the shim gives NUL-terminated strings that live as long as the callback runs.
    Some(unsafe { CStr::from_ptr(pointer) }.to_string_lossy().into_owned())
}

/// An argument for C.
pub(crate) fn c_string(what: &str, text: &str) -> Result<CString, Error> {
    CString::new(text).map_err(|_| Error::invalid(what, "it holds a NUL"))
}

/// One line of a listing or one location.
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) stat: Option<RawStat>,
    pub(crate) kind: i32,
}

/// A stat as the wire gives it.
#[derive(Debug, Clone)]
pub(crate) struct RawStat {
    pub(crate) size: u64,
    pub(crate) mtime: u64,
    pub(crate) flags: u32,
    pub(crate) id: String,
}

impl Answer<'_> {
    pub(crate) fn stat(&self) -> Option<RawStat> {
        raw_stat(self.reply.stat)
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        if self.reply.data.is_null() || self.reply.data_len == 0 {
            return Vec::new();
        }
        // SAFETY: the shim gives a pointer and its length, alive until the callback returns.
        unsafe { std::slice::from_raw_parts(self.reply.data.cast::<u8>(), self.reply.data_len) }.to_vec()
    }

    pub(crate) fn entries(&self) -> Vec<Entry> {
        if self.reply.entries.is_null() || self.reply.entries_len == 0 {
            return Vec::new();
        }
        // SAFETY: the shim gives a pointer and its length, alive until the callback returns.
        let entries = unsafe { std::slice::from_raw_parts(self.reply.entries, self.reply.entries_len) };
        entries
            .iter()
            .map(|entry| Entry {
                name: text(entry.name).unwrap_or_default(),
                stat: raw_stat(entry.stat),
                kind: entry.type_,
            })
            .collect()
    }
}

/// The buffer that travelled along, cut to what was read into it.
pub(crate) fn filled(mut answer: Answer<'_>) -> Vec<u8> {
    let read = usize::try_from(answer.reply.transferred).unwrap_or(usize::MAX);
    answer.buffer.truncate(read);
    answer.buffer
}

/// For requests that only say yes.
pub(crate) fn nothing(_: Answer<'_>) {}

fn raw_stat(pointer: *const sys::xrds_stat) -> Option<RawStat> {
    if pointer.is_null() {
        return None;
    }
    // SAFETY: not null, and alive until the callback returns.
    let stat = unsafe { &*pointer };
    Some(RawStat {
        size: stat.size,
        mtime: stat.mtime,
        flags: stat.flags,
        id: text(stat.id).unwrap_or_default(),
    })
}
