//! Compute threads: each takes a few images of one trial at a time through the stages, for what they share is then read from
//! memory once. A panic is one image's bad end. A batch that does not come back is left behind: its images are begun again
//! one by one by others, so that only the one that is at fault ends badly. A slow image does not keep its thread from the
//! others: one more is started for them. Where images are few, several threads go through one at once.

use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, mpsc as std_mpsc};
use std::time::{Duration, Instant};

use tokio::sync::mpsc::UnboundedSender;

use super::line::Ticket;
use super::load::Load;
use super::stages::{Bad, Job, Progress, Stages, Worked};
use crate::pipeline::Workspace;
use crate::pipeline::places::PLACES;

/// The most images that go together.
pub(super) const TOGETHER: usize = 4;

/// What a thread has done.
pub(super) struct Done {
    outcomes: Vec<(Ticket, Result<Worked, Bad>)>,
    /// When their thread took them.
    begun: Instant,
    took: Duration,
    batch: u64,
    images: Vec<Assigned>,
    hands: usize,
    thread: Thread,
}

/// What came of a batch.
pub(super) struct Freed {
    pub(super) outcomes: Vec<(Ticket, Result<Worked, Bad>)>,
    /// When their thread took the images.
    pub(super) begun: Instant,
    /// Each image's buffers, where nobody needs them any more.
    pub(super) buffers: Vec<Vec<Vec<u8>>>,
}

/// An image to be worked.
#[derive(Clone)]
pub(super) struct Assigned {
    pub(super) ticket: Ticket,
    pub(super) job: Arc<Job>,
    pub(super) progress: Arc<Progress>,
    /// How long it may take.
    pub(super) limit: Duration,
}

struct Batch {
    number: u64,
    images: Vec<Assigned>,
    /// How many threads go through an image of it at once.
    hands: usize,
    /// The way to the thread: it goes with the images and comes back with them. A thread that nobody knows the way to ends.
    thread: Thread,
}

/// The way to a thread.
#[derive(Clone)]
struct Thread(std_mpsc::Sender<Batch>);

struct UnderWay {
    images: Vec<Assigned>,
    /// Threads that are at it.
    hands: usize,
    /// When it counts as slow.
    slow_at: Instant,
    /// An image that is slow: others do not wait for its thread.
    slow: bool,
}

/// The threads.
pub(super) struct Threads {
    stages: Arc<dyn Stages>,
    done: UnboundedSender<Done>,
    /// Images that wait; `true` for those that go alone.
    queue: VecDeque<(Assigned, bool)>,
    /// Batches that are waited for; those left behind are not among them.
    under_way: BTreeMap<u64, UnderWay>,
    idle: Vec<Thread>,
    limit: usize,
    load: Load,
    /// How many images may go together by the time that they take.
    together: usize,
    batches: u64,
    started: usize,
}

impl Threads {
    /// None is started yet; `limit` of them work at a time.
    pub(super) fn new(stages: Arc<dyn Stages>, limit: usize, done: UnboundedSender<Done>) -> Self {
        let (queue, under_way, idle) = (VecDeque::new(), BTreeMap::new(), Vec::new());
        let load = Load::default();
        Self { stages, done, queue, under_way, idle, limit, load, together: 1, batches: 0, started: 0 }
    }

    /// An image waits for a thread; [`Self::dispatch`] gives it to one.
    pub(super) fn assign(&mut self, image: Assigned) {
        self.queue.push_back((image, false));
    }

    /// Forgets what waits, and waits for nothing: a thread that hangs must not keep its place for ever.
    pub(super) fn clear(&mut self) {
        self.queue.clear();
        self.under_way.clear();
    }

    /// An image is not waited for any more, and neither is the thread that has it.
    pub(super) fn give_up(&mut self, ticket: Ticket) {
        self.queue.retain(|(image, _)| image.ticket != ticket);
        self.under_way.retain(|_, batch| batch.images.iter().all(|image| image.ticket != ticket));
    }

    /// When [`Self::dispatch`] is wanted if nothing else happens.
    pub(super) fn wake_at(&self) -> Option<Instant> {
        self.under_way.values().filter(|batch| !batch.slow).map(|batch| batch.slow_at).min()
    }

    /// Leaves batches behind that do not come back, and gives waiting images to free threads.
    ///
    /// # Errors
    /// When no thread can be started.
    pub(super) fn dispatch(&mut self) -> std::io::Result<()> {
        self.sort_out();
        // Those of a batch that was left behind do not wait for each other: one of them may be slow again.
        while self.queue.front().is_some_and(|(_, alone)| *alone || self.busy() < self.limit) {
            let free = self.limit.saturating_sub(self.busy()).max(1);
            let waiting = self.queue.len();
            let images = self.next(waiting.div_ceil(free).min(self.together));
            self.load.begun(Instant::now(), images.len());
            let of_use = images.first().map_or(1, |image| image.job.chain.hands());
            let hands = self.load.hands(self.limit).min(free / waiting).clamp(1, of_use);
            let thread = match self.idle.pop() {
                Some(thread) => thread,
                None => self.start()?,
            };
            self.batches += 1;
            let number = self.batches;
            let limit = images.iter().map(|image| image.limit).min().unwrap_or_default();
            let slow_at = Instant::now() + limit / 5;
            self.under_way.insert(number, UnderWay { images: images.clone(), hands, slow_at, slow: false });
            // A thread ends only when nobody knows the way to it.
            let _ = thread.0.clone().send(Batch { number, images, hands, thread });
        }
        Ok(())
    }

    /// Finds what is slow: a batch is left behind, its images wait again, each for itself; of one image it is only noted.
    fn sort_out(&mut self) {
        let now = Instant::now();
        let mut behind = Vec::new();
        for (number, batch) in self.under_way.iter_mut().filter(|(_, batch)| now >= batch.slow_at) {
            batch.slow = true;
            if batch.images.len() > 1 {
                behind.push(*number);
            }
        }
        for batch in behind.into_iter().filter_map(|number| self.under_way.remove(&number)) {
            let images = batch.images.len();
            tracing::warn!(images, "a batch does not come back; its images are begun one by one");
            for image in batch.images {
                self.queue.push_front((image, true));
            }
        }
    }

    /// Threads that others have to wait for. No more than as many again are left to slow images.
    fn busy(&self) -> usize {
        let of = |slow| self.under_way.values().filter(move |batch| batch.slow == slow);
        of(false).map(|batch| batch.hands).sum::<usize>() + of(true).count().saturating_sub(self.limit)
    }

    /// The first image that waits, and those behind it that can go with it.
    fn next(&mut self, most: usize) -> Vec<Assigned> {
        let Some((first, alone)) = self.queue.pop_front() else { return Vec::new() };
        let mut images = vec![first];
        while images.len() < most && !alone {
            let fits = |(next, alone): &(Assigned, bool)| {
                !alone && Arc::ptr_eq(&next.job.chain, &images[0].job.chain)
            };
            if !self.queue.front().is_some_and(fits) {
                break;
            }
            images.extend(self.queue.pop_front().map(|(next, _)| next));
        }
        images
    }

    fn start(&mut self) -> std::io::Result<Thread> {
        let (way, inbox) = std_mpsc::channel();
        let (stages, done) = (self.stages.clone(), self.done.clone());
        self.started += 1;
        let name = format!("compute-{}", self.started);
        std::thread::Builder::new().name(name).spawn(move || run(&*stages, &inbox, &done))?;
        Ok(Thread(way))
    }

    /// A thread has done its batch, and is free again.
    pub(super) fn free(&mut self, done: Done) -> Freed {
        let Done { outcomes, begun, took, batch, images, hands, thread } = done;
        self.load.done(took, hands, images.len());
        // One that was left behind comes back, where another has taken its place.
        self.under_way.remove(&batch);
        if self.idle.len() + self.busy() < self.limit {
            self.idle.push(thread);
        }
        let limit = images.iter().map(|image| image.limit).min().unwrap_or_default();
        // What waits in a batch must not come near its limit by that.
        self.together = self.load.within(limit / 10).clamp(1, TOGETHER);
        let jobs = images.into_iter().filter_map(|image| Arc::into_inner(image.job));
        Freed { outcomes, begun, buffers: jobs.map(|job| job.extents).collect() }
    }

    /// How many images may be with the threads: quick ones go together, slow ones each for itself and beside the others.
    pub(super) fn room(&self) -> usize {
        let slow = self.under_way.values().filter(|batch| batch.slow).count();
        self.limit * self.together + slow.min(self.limit)
    }
}

fn run(stages: &dyn Stages, inbox: &std_mpsc::Receiver<Batch>, done: &UnboundedSender<Done>) {
    let mut workspace = Workspace::default();
    while let Ok(Batch { number, images, hands, thread }) = inbox.recv() {
        let begun = Instant::now();
        workspace.hands = hands;
        let tickets: Vec<Ticket> = images.iter().map(|image| image.ticket).collect();
        let work: Vec<(&Job, &Progress)> =
            images.iter().map(|image| (&*image.job, &*image.progress)).collect();
        let place = PLACES.take();
        let mut outcomes = together(stages, &work, &mut workspace);
        if outcomes.is_none() && work.len() > 1 {
            // Each for itself shows which one it is.
            let each = work.iter().map(|work| together(stages, std::slice::from_ref(work), &mut workspace));
            outcomes = Some(each.flat_map(Option::unwrap_or_default).collect());
        }
        drop(place);
        let outcomes = tickets.into_iter().zip(outcomes.unwrap_or_default()).collect();
        let took = begun.elapsed();
        if done.send(Done { outcomes, begun, took, batch: number, images, hands, thread }).is_err() {
            return;
        }
    }
}

/// The outcomes of images that go together; of one alone also when it panics.
fn together(
    stages: &dyn Stages,
    images: &[(&Job, &Progress)],
    workspace: &mut Workspace,
) -> Option<Vec<Result<Worked, Bad>>> {
    let outcomes = catch_unwind(AssertUnwindSafe(|| stages.work(images, workspace)));
    match outcomes {
        Ok(outcomes) => Some(outcomes),
        Err(panic) => {
            *workspace = Workspace::default();
            let [(_, progress)] = images else { return None };
            Some(vec![Err(Bad::panicked(progress.stage(), &*panic))])
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Mutex, mpsc};

    use lightrail_topics::events::{Image, ShotData};
    use lightrail_topics::{ImageKey, RunKey, RunNumber, TrialNumber};
    use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

    use super::*;
    use crate::decode::Decoder;
    use crate::detectors::Kind;
    use crate::pipeline::Chain;
    use crate::simulate::{Model, Plan, Simulator};
    use crate::trial::Parameters;

    /// Says how many threads may go through the images that it is given, and holds them until it is told to let go.
    struct Held {
        begun: mpsc::Sender<usize>,
        go: Mutex<mpsc::Receiver<()>>,
    }

    impl Stages for Held {
        fn work(&self, images: &[(&Job, &Progress)], workspace: &mut Workspace) -> Vec<Result<Worked, Bad>> {
            self.begun.send(workspace.hands).unwrap();
            self.go.lock().unwrap().recv().unwrap();
            images.iter().map(|_| Ok(Worked::default())).collect()
        }
    }

    fn job() -> Arc<Job> {
        let simulator = Simulator::new(Plan::new(Model::Jungfrau32k, 5)).unwrap();
        let text = "[detector]\nname = 'd'\nkind = 'jungfrau'\n[spots.peakfinder8]\nthreshold = 4\n";
        let parameters = Parameters::from_toml(text).unwrap();
        let (shape, geometry) = (simulator.shape(), simulator.geometry());
        let chain = Chain::compile(&parameters, shape, geometry, simulator.constants(), &[]).unwrap();
        let run = RunKey { experiment: "mfxbench26".parse().unwrap(), run: RunNumber(1) };
        let image = Image {
            image: ImageKey { run, event: "1136073600-1".parse().unwrap() },
            trial: TrialNumber(1),
            site: "HERE".parse().unwrap(),
            extents: Vec::new(),
            configure: Vec::new(),
            names_epoch: 0,
            shot: ShotData::default(),
        };
        let decoder = Arc::new(Decoder::new("d", Kind::Jungfrau, &[]).unwrap());
        Arc::new(Job { image: Arc::new(image), extents: Vec::new(), decoder, chain: Arc::new(chain) })
    }

    #[test]
    fn two_threads_go_through_an_image_where_images_are_few_and_each_has_one_where_several_wait() {
        let (begun, begins) = mpsc::channel();
        let (go, held) = mpsc::channel();
        let (done, mut dones): (_, UnboundedReceiver<Done>) = unbounded_channel();
        let mut threads = Threads::new(Arc::new(Held { begun, go: Mutex::new(held) }), 2, done);
        let job = job();
        let mut tickets = 0;
        let mut assign = |threads: &mut Threads| {
            tickets += 1;
            let (job, progress) = (job.clone(), Arc::new(Progress::default()));
            let limit = Duration::from_secs(600);
            threads.assign(Assigned { ticket: tickets, job, progress, limit });
        };
        let mut end = |threads: &mut Threads| {
            go.send(()).unwrap();
            drop(threads.free(dones.blocking_recv().unwrap()));
        };
        assign(&mut threads);
        threads.dispatch().unwrap();
        assert_eq!(begins.recv().unwrap(), 1, "of the first nothing is known yet");
        end(&mut threads);
        assign(&mut threads);
        threads.dispatch().unwrap();
        assert_eq!(begins.recv().unwrap(), 2, "nothing else is to be done");
        assign(&mut threads);
        threads.dispatch().unwrap();
        assert_eq!(threads.queue.len(), 1, "both threads are at the one before");
        assign(&mut threads);
        end(&mut threads);
        threads.dispatch().unwrap();
        assert_eq!((begins.recv().unwrap(), begins.recv().unwrap()), (1, 1), "two wait, and there are two");
        end(&mut threads);
        end(&mut threads);
        assert_eq!(threads.busy(), 0);
    }
}
