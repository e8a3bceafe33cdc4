//! Compute threads: each takes one image at a time through the stages, with a workspace of its own, and says what came of
//! it. A panic is an image's bad end; a thread that does not come back is left behind and another takes its place.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, mpsc as std_mpsc};

use lightrail_topics::events::Outcome;
use tokio::sync::mpsc::UnboundedSender;

use super::line::Ticket;
use super::stages::{Bad, Job, Progress, Stages, Worked};
use crate::pipeline::Workspace;

/// What a thread has done.
pub(super) struct Done {
    pub(super) ticket: Ticket,
    pub(super) outcome: Result<Worked, Bad>,
    /// The image's buffers, to be used again.
    pub(super) buffers: Vec<Vec<u8>>,
    pub(super) thread: Thread,
}

struct Assigned {
    ticket: Ticket,
    job: Job,
    progress: Arc<Progress>,
    /// The way to the thread: it goes with the image and comes back with it. A thread that nobody knows the way to ends.
    thread: Thread,
}

/// The way to a thread.
#[derive(Clone)]
pub(super) struct Thread(std_mpsc::Sender<Assigned>);

/// The threads.
pub(super) struct Threads {
    stages: Arc<dyn Stages>,
    done: UnboundedSender<Done>,
    idle: Vec<Thread>,
    limit: usize,
    started: usize,
}

impl Threads {
    /// None is started yet; `limit` of them are kept.
    pub(super) fn new(stages: Arc<dyn Stages>, limit: usize, done: UnboundedSender<Done>) -> Self {
        Self { stages, done, idle: Vec::new(), limit, started: 0 }
    }

    /// Gives an image to a thread that is free, or to a new one.
    ///
    /// # Errors
    /// When no thread can be started.
    pub(super) fn assign(
        &mut self,
        ticket: Ticket,
        job: Job,
        progress: Arc<Progress>,
    ) -> std::io::Result<()> {
        let thread = match self.idle.pop() {
            Some(thread) => thread,
            None => self.start()?,
        };
        // A thread ends only when nobody knows the way to it.
        let _ = thread.0.clone().send(Assigned { ticket, job, progress, thread });
        Ok(())
    }

    fn start(&mut self) -> std::io::Result<Thread> {
        let (way, inbox) = std_mpsc::channel();
        let (stages, done) = (self.stages.clone(), self.done.clone());
        self.started += 1;
        let name = format!("compute-{}", self.started);
        std::thread::Builder::new().name(name).spawn(move || run(&*stages, &inbox, &done))?;
        Ok(Thread(way))
    }

    /// A thread is free again.
    pub(super) fn free(&mut self, thread: Thread) {
        if self.idle.len() < self.limit {
            self.idle.push(thread);
        }
    }
}

fn run(stages: &dyn Stages, inbox: &std_mpsc::Receiver<Assigned>, done: &UnboundedSender<Done>) {
    let mut workspace = Workspace::default();
    while let Ok(Assigned { ticket, job, progress, thread }) = inbox.recv() {
        let worked = catch_unwind(AssertUnwindSafe(|| stages.work(&job, &mut workspace, &progress)));
        let outcome = worked.unwrap_or_else(|panic| {
            workspace = Workspace::default();
            Err(Bad::new(Outcome::Failed, progress.stage(), said(&*panic)))
        });
        if done.send(Done { ticket, outcome, buffers: job.extents, thread }).is_err() {
            return;
        }
    }
}

/// What a panic says.
fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    format!("panic: {}", text.as_deref().unwrap_or("it says nothing"))
}
