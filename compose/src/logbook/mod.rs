//! A small LCLS logbook: runs and their files, the Kafka messages that it sends and the REST calls that a mover uses, both
//! served as slaclab/explgbk serves them, oddities included. For tests it can lose, double and reorder its messages and
//! be away. It keeps nothing on disk and checks no user.

mod mischief;
mod post;
mod rest;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use std::time::Duration;

use anyhow::Context as _;
use lightrail_topics::kafka::{Acks, Admin, Connection, PlainProducer};
use lightrail_topics::topic::{Topic, Topics};
use lightrail_topics::{Experiment, Instrument, Millis, RunNumber, SiteName};
use serde_json::{Map, Value};

use self::mischief::Courier;
pub use self::mischief::Mischief;
use self::post::{Post, Sink};
use lightrail_topics::logbook::book::{Book, Refusal};
pub use lightrail_topics::logbook::book::{FileReport, Message};
use lightrail_topics::logbook::python;

/// How long a message waits for a broker that is away before it is lost, like the real one's.
const LOST_AFTER: Duration = Duration::from_secs(120);

/// How a logbook differs from a well-behaved one.
#[derive(Clone, Debug)]
pub struct LogbookOptions {
    /// Of each of its topics; at LCLS 1 or 12 were seen.
    pub partitions: i32,
    /// What happens to messages on their way to Kafka.
    pub mischief: Vec<Mischief>,
    /// The mover's address, `http://host:port/` with the slash at its end, asked by `check_and_move_run_files_to_location`.
    pub mover: Option<String>,
}

impl Default for LogbookOptions {
    fn default() -> Self {
        Self { partitions: 4, mischief: Vec::new(), mover: None }
    }
}

/// Sends to Kafka without waiting for more than the leader, as the real one does.
struct Broker {
    producer: PlainProducer,
    prefix: String,
}

impl Sink for Broker {
    async fn send(&self, topic: &str, body: &str) -> anyhow::Result<()> {
        let topic = format!("{}{topic}", self.prefix);
        self.producer.send(&topic, None, &[], Some(body.as_bytes())).await?;
        Ok(())
    }
}

/// How the REST service is away; the logbook and its messages go on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Absence {
    /// It is there.
    #[default]
    None,
    /// A proxy in front of it answers 502 with a page.
    BadGateway,
    /// It takes connections and never answers.
    Silent,
}

/// What the REST calls and the Rust calls share. Neither lock is held across an await.
#[derive(Debug)]
struct Shared {
    book: Mutex<Book>,
    absence: Mutex<Absence>,
    mover: Mutex<Option<String>>,
    said: Mutex<Vec<Message>>,
    post: Post,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// This machine's clock.
pub(crate) fn now() -> Millis {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

impl Shared {
    fn book(&self) -> MutexGuard<'_, Book> {
        locked(&self.book)
    }

    fn absence(&self) -> Absence {
        *locked(&self.absence)
    }

    fn mover(&self) -> Option<String> {
        locked(&self.mover).clone()
    }

    /// Changes the book and sends what it says of it, in the same order.
    fn said(
        &self,
        change: impl FnOnce(&mut Book, Millis) -> Result<(Value, Vec<Message>), Refusal>,
    ) -> Result<Value, Refusal> {
        let mut book = self.book();
        let (value, messages) = change(&mut book, now())?;
        for message in messages {
            locked(&self.said).push(message.clone());
            self.post.send(message);
        }
        Ok(value)
    }
}

/// A running logbook; its REST service ends when this is dropped.
#[derive(Debug)]
pub struct Logbook {
    shared: Arc<Shared>,
    url: String,
    server: tokio::task::JoinHandle<()>,
}

impl Drop for Logbook {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Logbook {
    /// Makes the logbook's topics (`<prefix>runs` and so on) where they are missing, and starts the service on a free
    /// port of the loopback.
    ///
    /// # Errors
    /// When the broker does not answer, or there is no port.
    pub async fn start(bootstrap: &str, prefix: &str, options: LogbookOptions) -> anyhow::Result<Self> {
        let connection = Connection::plain(bootstrap, "lcls-logbook");
        let topics = Topics::default().with_logbook_prefix(prefix)?;
        let theirs = Topic::ALL.into_iter().filter(|topic| topic.is_logbooks());
        let specs: Vec<_> = theirs.map(|topic| topics.spec(topic, options.partitions, -1)).collect();
        let admin = Admin::new(&connection, Duration::from_secs(30));
        admin.create_topics(&specs).await.context("the logbook's topics cannot be made")?;
        let producer = PlainProducer::start(&connection, Acks::Leader, LOST_AFTER)?;
        Self::serve(Broker { producer, prefix: prefix.to_owned() }, options).await
    }

    async fn serve(sink: impl Sink, options: LogbookOptions) -> anyhow::Result<Self> {
        let post = Post::start(sink, Courier::new(options.mischief));
        let shared = Arc::new(Shared {
            book: Mutex::default(),
            absence: Mutex::default(),
            mover: Mutex::new(options.mover),
            said: Mutex::default(),
            post,
        });
        let listener =
            tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.context("no port for the logbook")?;
        let url = format!("http://{}/ws/lgbk", listener.local_addr()?);
        let router = rest::router(Arc::clone(&shared));
        let server = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                tracing::error!(%error, "the logbook's REST service ended");
            }
        });
        Ok(Self { shared, url, server })
    }

    /// The base of all REST calls, without a slash at its end; rules such as `/lgbk/<exp>/ws/runs` come after it.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Tells the logbook where the mover takes `ws/<exp>/check_files_for_run`: `http://host:port/`, slash included.
    pub fn set_mover(&self, prefix: Option<String>) {
        *locked(&self.shared.mover) = prefix;
    }

    /// Takes the REST service away, or brings it back.
    pub fn set_absence(&self, absence: Absence) {
        *locked(&self.shared.absence) = absence;
    }

    /// Everything that it has said, before any mischief.
    pub fn said(&self) -> Vec<Message> {
        locked(&self.shared.said).clone()
    }

    /// Waits until Kafka has all that was said, also what a [`Mischief::Swap`] holds back.
    pub async fn settle(&self) {
        self.shared.post.settle().await;
    }

    /// A new experiment whose files are wanted at `locations`.
    pub fn register_experiment(
        &self,
        experiment: &Experiment,
        instrument: &Instrument,
        locations: &[SiteName],
    ) {
        // The book cannot refuse this.
        let _ = self.shared.said(|book, _| {
            Ok((Value::Null, book.register_experiment(experiment, instrument, locations.to_vec())))
        });
    }

    /// Begins a run, the next one if no number is given; closes the one that is open.
    ///
    /// # Errors
    /// When the experiment is unknown.
    pub fn start_run(&self, experiment: &Experiment, run: Option<RunNumber>) -> anyhow::Result<RunNumber> {
        let started = self
            .shared
            .said(|book, now| book.start_run(experiment, run, "DATA", Map::new(), now))
            .map_err(told)?;
        let number = started["num"].as_u64().and_then(|number| u32::try_from(number).ok());
        number.map(RunNumber).context("the logbook's own run has no number")
    }

    /// Sets parameters of the current or the named run. Numbers may be NaN or infinite, as EPICS values are.
    ///
    /// # Errors
    /// When the experiment or run is unknown.
    pub fn add_run_params(
        &self,
        experiment: &Experiment,
        run: Option<RunNumber>,
        params: &[(&str, f64)],
    ) -> anyhow::Result<()> {
        let params =
            params.iter().map(|(name, value)| ((*name).to_owned(), python::number(*value))).collect();
        self.shared.said(|book, _| book.add_run_params(experiment, run, params)).map(drop).map_err(told)
    }

    /// Registers a file that the DAQ opens.
    ///
    /// # Errors
    /// When the experiment is unknown, or no run is named and none was ever begun.
    pub fn register_file(&self, experiment: &Experiment, file: &FileReport) -> anyhow::Result<()> {
        let register = |book: &mut Book, now: Millis| {
            Ok((Value::Null, vec![book.register_file(experiment, file.document(), now)?]))
        };
        self.shared.said(register).map(drop).map_err(told)
    }

    /// Ends the current run.
    ///
    /// # Errors
    /// When the experiment is unknown or has no run.
    pub fn end_run(&self, experiment: &Experiment) -> anyhow::Result<()> {
        self.shared.said(|book, now| book.end_run(experiment, now)).map(drop).map_err(told)
    }

    /// The paths of an experiment that the logbook believes to be at `location`.
    pub fn present_at(&self, experiment: &Experiment, location: &SiteName) -> Vec<String> {
        let files = self.shared.book().files(experiment, None);
        let present = files.iter().filter(|file| file["locations"].get(location.as_str()).is_some());
        present.filter_map(|file| file["path"].as_str().map(str::to_owned)).collect()
    }
}

fn told(refusal: Refusal) -> anyhow::Error {
    let (Refusal::BadInput(text) | Refusal::Logical(text)) = refusal;
    anyhow::anyhow!("the logbook refuses: {text}")
}
