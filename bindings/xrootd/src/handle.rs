//! The owners of what C++ gave us: each raw pointer has exactly one, and dies on the closer's thread, never on a thread
//! that runs callbacks. Also the few plain calls into the library. It never waits for an answer.

use std::ffi::{CStr, CString, c_void};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Condvar, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use xrootd_sys as sys;

use crate::settings;

/// How long the closing of an abandoned file may take, in seconds.
const CLOSE_SECONDS: u32 = 15;

/// A C++ object that may be shared between threads.
///
/// SAFETY (for both impls below): `XrdCl::File` and `XrdCl::FileSystem` guard their state with a mutex of their own and
/// are documented for use from several threads; the pointer is given out only by reference, is deleted only once, in
/// `Drop` of its one owner, and every request under way holds an `Arc` of that owner until its callback has run.
struct Raw<T>(*mut T);

// SAFETY: see `Raw`.
unsafe impl<T> Send for Raw<T> {}
// SAFETY: see `Raw`.
unsafe impl<T> Sync for Raw<T> {}

/// The one owner of an `XrdCl::File`.
pub(crate) struct FileHandle(Raw<sys::xrds_file>);

/// The one owner of an `XrdCl::FileSystem`.
pub(crate) struct FsHandle(Raw<sys::xrds_fs>);

impl FileHandle {
    /// `None` when there is no memory.
    pub(crate) fn new() -> Option<Self> {
        settings::ensure();
        // SAFETY: takes nothing; the pointer is ours.
        let raw = unsafe { sys::xrds_file_new() };
        (!raw.is_null()).then_some(Self(Raw(raw)))
    }

    pub(crate) fn raw(&self) -> *mut sys::xrds_file {
        self.0.0
    }

    /// Sets a property; one that the library does not know is no error.
    pub(crate) fn set_property(&self, name: &CStr, value: &CStr) {
        // SAFETY: a live file and two NUL-terminated strings, which are copied.
        unsafe { sys::xrds_file_set_property(self.raw(), name.as_ptr(), value.as_ptr()) };
    }

    /// A property of the file, as text.
    pub(crate) fn property(&self, name: &CStr) -> Option<String> {
        let mut out = vec![0u8; 512];
        loop {
            // SAFETY: a live file, a NUL-terminated name, and a buffer with its true length.
            let length = unsafe {
                sys::xrds_file_property(self.raw(), name.as_ptr(), out.as_mut_ptr().cast(), out.len())
            };
            let length = usize::try_from(length).ok()?;
            if length <= out.len() {
                out.truncate(length);
                return String::from_utf8(out).ok();
            }
            out.resize(length, 0);
        }
    }
}

impl FsHandle {
    pub(crate) fn new(url: &CStr) -> Option<Self> {
        settings::ensure();
        // SAFETY: a NUL-terminated string; the pointer is ours.
        let raw = unsafe { sys::xrds_fs_new(url.as_ptr()) };
        (!raw.is_null()).then_some(Self(Raw(raw)))
    }

    pub(crate) fn raw(&self) -> *mut sys::xrds_fs {
        self.0.0
    }
}

impl Drop for FileHandle {
    fn drop(&mut self) {
        close_later(Doomed::File(Raw(self.raw())));
    }
}

impl Drop for FsHandle {
    fn drop(&mut self) {
        close_later(Doomed::Fs(Raw(self.raw())));
    }
}

/// What waits for its end.
enum Doomed {
    File(Raw<sys::xrds_file>),
    /// Its close has been answered, well or not; asking again would only wait.
    ClosedFile(Raw<sys::xrds_file>),
    Fs(Raw<sys::xrds_fs>),
}

/// How many handles wait for their end, and who wants to know when it is none.
static WAITING: AtomicUsize = AtomicUsize::new(0);
static NONE_LEFT: (Mutex<()>, Condvar) = (Mutex::new(()), Condvar::new());

fn close_later(doomed: Doomed) {
    WAITING.fetch_add(1, Ordering::SeqCst);
    // Without a closer the handle is leaked: better than a deadlock on a callback thread.
    if let Some(closer) = closer() {
        let _ = closer.send(doomed);
    }
}

fn closer() -> Option<&'static Sender<Doomed>> {
    static CLOSER: OnceLock<Option<Sender<Doomed>>> = OnceLock::new();
    CLOSER
        .get_or_init(|| {
            let (sender, doomed) = channel();
            let run = move || {
                for one in doomed {
                    end(one);
                    if WAITING.fetch_sub(1, Ordering::SeqCst) == 1 {
                        let _guard = NONE_LEFT.0.lock().unwrap_or_else(PoisonError::into_inner);
                        NONE_LEFT.1.notify_all();
                    }
                }
            };
            match std::thread::Builder::new().name("xrootd-closer".to_owned()).spawn(run) {
                Ok(_) => Some(sender),
                Err(error) => {
                    tracing::error!(%error, "no thread to close xrootd files on");
                    None
                }
            }
        })
        .as_ref()
}

fn end(doomed: Doomed) {
    match doomed {
        // SAFETY: the one owner is gone and no request is under way (each holds the owner).
        Doomed::Fs(raw) => unsafe { sys::xrds_fs_delete(raw.0) },
        Doomed::File(raw) => {
            // SAFETY: a live file that nobody else knows any more.
            let open = unsafe { sys::xrds_file_is_open(raw.0) } == 1;
            if open && !settings::stopped() {
                // Deleting an open file closes it and waits; one hung server would hold up all others. So it is closed
                // here without waiting, and comes back when that is answered.
                WAITING.fetch_add(1, Ordering::SeqCst);
                // SAFETY: a live file; the context is the file itself, given back by the callback.
                unsafe { sys::xrds_file_close(raw.0, CLOSE_SECONDS, Some(closed), raw.0.cast::<c_void>()) };
            } else {
                end(Doomed::ClosedFile(raw));
            }
        }
        Doomed::ClosedFile(raw) => {
            // SAFETY: a live file that nobody else knows any more.
            let open = unsafe { sys::xrds_file_is_open(raw.0) } == 1;
            if open {
                // Its close failed (a server that does not answer) or the library is stopped: deleting it would wait
                // for the same server again. The object stays; its server is gone.
                tracing::debug!("an xrootd file that could not be closed is left behind");
                return;
            }
            // SAFETY: not open, no request under way, no owner: deleted once, here.
            unsafe { sys::xrds_file_delete(raw.0) }
        }
    }
}

/// The answer to the closing of an abandoned file. Runs on a callback thread: it only sends.
unsafe extern "C" fn closed(ctx: *mut c_void, _: *const sys::xrds_status, _: *const sys::xrds_reply) {
    let _ = std::panic::catch_unwind(|| {
        if let Some(closer) = closer() {
            let _ = closer.send(Doomed::ClosedFile(Raw(ctx.cast())));
        }
    });
}

/// Waits until no dropped handle is left to be closed, or `limit` has passed.
pub(crate) fn drain(limit: Duration) {
    let guard = NONE_LEFT.0.lock().unwrap_or_else(PoisonError::into_inner);
    let _ = NONE_LEFT.1.wait_timeout_while(guard, limit, |()| WAITING.load(Ordering::SeqCst) > 0);
}

/// Stops the library's threads.
pub(crate) fn stop() {
    // SAFETY: takes nothing.
    let stopped = unsafe { sys::xrds_stop() };
    tracing::debug!(stopped, "xrootd client library stopped");
}

/// Has the kernel schedule this thread and those that it starts as batch work; whether it does.
pub(crate) fn give_way() -> bool {
    // SAFETY: takes nothing.
    unsafe { sys::xrds_give_way() == 1 }
}

/// Sets one of the library's numbers: 1 taken, 0 the user's variable stands above it, else refused.
pub(crate) fn put_int(name: &CString, value: i32) -> i32 {
    // SAFETY: a NUL-terminated string and a number.
    unsafe { sys::xrds_env_put_int(name.as_ptr(), value) }
}
