//! The client library's patience, set once per process before its first use, and its end.
//! The library's own defaults (120 s per connection attempt, 1800 s per request, timeouts looked at every 15 s) are not
//! for a service; a user's own `XRD_...` variable still stands above what is set here.

use std::ffi::CString;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::error::Error;
use crate::handle;

/// How patient the library is, in whole seconds where it counts in seconds. Each call's own deadline comes on top.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// How long one attempt to connect may take.
    pub connection_window: Duration,
    /// How many attempts are made; each but the last is waited out to the end of its window.
    pub connection_retry: u32,
    /// For requests without a deadline of their own (only the closing of abandoned files).
    pub request_timeout: Duration,
    /// Silence on a connection with requests under way after which it counts as broken; not while the server has
    /// promised a later answer.
    pub stream_timeout: Duration,
    /// How long a server that could not be reached is not tried again.
    pub stream_error_window: Duration,
    /// How often timeouts are looked at.
    pub timeout_resolution: Duration,
    /// Threads that run callbacks; ours only send, and more of them only wake each other.
    pub worker_threads: u32,
    /// Threads that watch sockets.
    pub event_loops: u32,
    /// Refused credentials are offered this often per request.
    pub not_authorized_retry: u32,
    /// Whether the kernel probes idle connections (after 30 s, every 10 s, three times), so that a host that vanished is
    /// noticed while its answer is awaited.
    pub tcp_keep_alive: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            connection_window: Duration::from_secs(10),
            connection_retry: 1,
            request_timeout: Duration::from_secs(30),
            stream_timeout: Duration::from_secs(15),
            stream_error_window: Duration::from_secs(2),
            timeout_resolution: Duration::from_secs(1),
            worker_threads: 1,
            event_loops: 1,
            not_authorized_retry: 1,
            tcp_keep_alive: true,
        }
    }
}

enum Phase {
    Fresh,
    Set(Settings),
    /// Nothing new is taken; abandoned files are still closed.
    Stopping,
    Stopped,
}

static PHASE: Mutex<Phase> = Mutex::new(Phase::Fresh);

/// Sets the library up; once, before its first use. The same settings again are no error, others are.
pub fn init(settings: &Settings) -> Result<(), Error> {
    let mut phase = PHASE.lock().unwrap_or_else(PoisonError::into_inner);
    match &*phase {
        Phase::Fresh => {
            apply(settings)?;
            *phase = Phase::Set(settings.clone());
            Ok(())
        }
        Phase::Set(present) if present == settings => Ok(()),
        Phase::Set(_) => {
            Err(Error::invalid("xrootd set-up", "the client library is set up with other settings already"))
        }
        Phase::Stopping | Phase::Stopped => {
            Err(Error::invalid("xrootd set-up", "the client library was shut down"))
        }
    }
}

/// Has the kernel schedule this thread, and all that it starts, as batch work: called at the very start of a program whose
/// work is done by servers. An answer then does not stop whoever computes on its core, and where all cores are busy several
/// answers are taken at a time: a third fewer switches of threads for a small file's copy (see `sched(7)`, `SCHED_BATCH`).
/// Says whether the kernel does it; nothing but speed depends on that.
pub fn give_way() -> bool {
    handle::give_way()
}

/// With the defaults, unless somebody was first.
pub(crate) fn ensure() {
    let mut phase = PHASE.lock().unwrap_or_else(PoisonError::into_inner);
    if matches!(&*phase, Phase::Fresh) {
        let settings = Settings::default();
        if let Err(error) = apply(&settings) {
            tracing::warn!(%error, "the xrootd client library keeps its own settings");
        }
        *phase = Phase::Set(settings);
    }
}

/// Whether [`shutdown`] was called: nothing new may be submitted.
pub(crate) fn stopping() -> bool {
    matches!(&*PHASE.lock().unwrap_or_else(PoisonError::into_inner), Phase::Stopping | Phase::Stopped)
}

/// Whether the library's threads are gone: nothing would ever be answered.
pub(crate) fn stopped() -> bool {
    matches!(&*PHASE.lock().unwrap_or_else(PoisonError::into_inner), Phase::Stopped)
}

/// Stops the library's threads, for the end of the process: its threads outlive `main` otherwise and may hang the exit.
/// Requests under way are lost, later ones fail. Blocks for up to two seconds while abandoned files are closed.
pub fn shutdown() {
    let enter = |phase| std::mem::replace(&mut *PHASE.lock().unwrap_or_else(PoisonError::into_inner), phase);
    match enter(Phase::Stopping) {
        Phase::Set(_) => {
            handle::drain(Duration::from_secs(2));
            enter(Phase::Stopped);
            handle::stop();
        }
        Phase::Fresh | Phase::Stopped => drop(enter(Phase::Stopped)),
        // Another thread is at it.
        Phase::Stopping => {}
    }
}

fn apply(settings: &Settings) -> Result<(), Error> {
    let number = |value: u32| i32::try_from(value).unwrap_or(i32::MAX);
    let seconds = |value: Duration| i32::try_from(value.as_secs().max(1)).unwrap_or(i32::MAX);
    let values = [
        // A service does not fork after its first use of the library; the handler would only stop its threads.
        ("RunForkHandler", 0),
        ("ConnectionWindow", seconds(settings.connection_window)),
        ("ConnectionRetry", number(settings.connection_retry.max(1))),
        ("RequestTimeout", seconds(settings.request_timeout)),
        ("StreamTimeout", seconds(settings.stream_timeout)),
        ("StreamErrorWindow", seconds(settings.stream_error_window)),
        ("TimeoutResolution", seconds(settings.timeout_resolution)),
        ("WorkerThreads", number(settings.worker_threads.max(1))),
        ("ParallelEvtLoop", number(settings.event_loops.max(1))),
        ("NotAuthorizedRetryLimit", number(settings.not_authorized_retry)),
        ("TCPKeepAlive", i32::from(settings.tcp_keep_alive)),
        ("TCPKeepAliveTime", 30),
        ("TCPKeepAliveInterval", 10),
        ("TCPKeepAliveProbes", 3),
    ];
    for (name, value) in values {
        let text = CString::new(name).expect("a name without NUL");
        match handle::put_int(&text, value) {
            1 => {}
            0 => tracing::info!(name, value, "the environment's own XRD_ variable stands above the setting"),
            _ => {
                return Err(Error::invalid(
                    "xrootd set-up",
                    format!("the client library did not take {name}"),
                ));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_gives_way_is_batch_work_with_all_its_threads() {
        // The policy is the 39th field after the name, of which the first is the state (proc(5)).
        let policy = || {
            let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
            let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
            fields[38].to_owned()
        };
        let before = policy();
        let (ours, theirs) = std::thread::spawn(move || {
            assert!(give_way());
            (policy(), std::thread::spawn(policy).join().unwrap())
        })
        .join()
        .unwrap();
        assert_eq!((ours.as_str(), theirs.as_str()), ("3", "3"), "SCHED_BATCH is 3");
        assert_eq!(policy(), before, "only of the thread that asked, and of its own");
    }

    #[test]
    fn the_library_is_set_up_once() {
        let settings = Settings::default();
        init(&settings).unwrap();
        init(&settings).unwrap();
        let other = Settings { worker_threads: 7, ..settings };
        assert_eq!(init(&other).unwrap_err().kind(), crate::ErrorKind::Invalid);
        for (name, value) in [(c"TimeoutResolution", 1), (c"RunForkHandler", 0), (c"StreamErrorWindow", 2)] {
            let mut got = -1;
            // SAFETY: a NUL-terminated name and a number to write to.
            let known = unsafe { xrootd_sys::xrds_env_get_int(name.as_ptr(), &raw mut got) };
            assert_eq!((known, got), (1, value), "{name:?}");
        }
    }
}
