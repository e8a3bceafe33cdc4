//! A mover's life: journal, Kafka, fencing, reading back, and then the owner with everybody who feeds and serves it,
//! until it is told to stop. What fails for good and can be mended by beginning anew, begins anew.
//!
//! Never here: a decision about a file or a run.

mod begin;
mod doers;
mod ground;
mod session;
pub(crate) mod sweep;
pub(crate) mod take_back;
mod take_over;

use std::sync::Arc;
use std::time::Duration;

use lightrail_topics::Millis;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::clock::SystemClock;
use crate::config::Config;
use crate::http;
use crate::journal::{Because, JournalError, LockError, Opened, SledJournal};
use crate::owner::Input;
use crate::view::{Question, Readiness};

/// What the command line adds to the configuration.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Take over from a living mover of this name.
    pub take_over: bool,
    /// Move the journal aside and make it anew, from this instant if one is given.
    pub rebuild: Option<Option<Millis>>,
}

/// The two ways to stop.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    /// Finish what runs, start nothing new.
    pub drain: CancellationToken,
    /// Stop at once.
    pub now: CancellationToken,
}

/// Why a mover ended other than by being told to.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Another living mover has this name.
    #[error("another mover has this name: {0}; stop it, or start this one with --take-over")]
    Rival(String),
    /// Another mover took this one's place while it ran.
    #[error("another mover has taken over: {0}; this one has cancelled its copies")]
    TakenOver(String),
    /// The first start needs to know where to begin.
    #[error(
        "mover {0} is unknown to kafka: this is its first start; say in the configuration from when on it moves, \
         start_from = \"now\", a time, or \"earliest\""
    )]
    NoStart(String),
    /// The journal cannot be used.
    #[error("journal cannot be opened")]
    Journal(#[from] JournalError),
    /// The pages cannot be served.
    #[error(transparent)]
    Http(#[from] http::ServeError),
    /// Kafka refuses us.
    #[error("kafka cannot be used")]
    Kafka(#[from] lightrail_topics::kafka::KafkaError),
    /// Something that must work at a start does not.
    #[error("{what}")]
    Start {
        /// What.
        what: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl RunError {
    /// The program's exit status.
    pub fn exit_status(&self) -> u8 {
        match self {
            Self::Rival(_)
            | Self::TakenOver(_)
            | Self::Journal(JournalError::Lock(LockError::Held { .. })) => 3,
            Self::NoStart(_) => 2,
            _ => 1,
        }
    }
}

/// Where the mover is in its life; questions that come before there is an owner are answered from it.
#[derive(Clone, Debug)]
enum Phase {
    Starting(String),
    Running(mpsc::Sender<Input>),
}

/// What lives as long as the process.
#[derive(Clone, Debug)]
struct Life {
    config: Arc<Config>,
    options: Options,
    shutdown: Shutdown,
    clock: Arc<SystemClock>,
    phase: Arc<watch::Sender<Phase>>,
}

impl Life {
    fn phase(&self, what: impl Into<String>) {
        let what = what.into();
        tracing::info!(phase = what, "starting");
        self.phase.send_replace(Phase::Starting(what));
    }
}

/// Runs a mover until it is told to stop.
pub async fn run(config: Config, options: Options, shutdown: Shutdown) -> Result<(), RunError> {
    crate::metric::describe();
    let (phase, _) = watch::channel(Phase::Starting("opens its journal".to_owned()));
    let life = Life {
        config: Arc::new(config),
        options,
        shutdown,
        clock: Arc::new(SystemClock),
        phase: Arc::new(phase),
    };
    // Before anything is listened on: a second mover on this host is told who has its journal.
    SledJournal::is_free(&life.config.journal).map_err(JournalError::from)?;
    let (questions, asked) = mpsc::channel(64);
    let http = http::serve(&life.config, questions).await?;
    let porter = tokio::spawn(answer(life.clone(), asked));
    let outcome = live(&life).await;
    porter.abort();
    http.abort();
    crate::carry::native::shutdown();
    outcome
}

async fn live(life: &Life) -> Result<(), RunError> {
    let host = life.config.host_name();
    if life.options.rebuild.is_some() {
        move_aside(life, "rebuild")?;
    }
    loop {
        let (journal, opened) = match SledJournal::open(&life.config.journal, &life.config.mover, &host) {
            Ok(opened) => opened,
            // A full or failing disk: whoever looks after it is told, and it is tried again.
            Err(error @ (JournalError::Disk { .. } | JournalError::Folder { .. })) => {
                life.phase(format!("cannot open its journal: {}", doers::chain(&error)));
                tokio::select! {
                    () = tokio::time::sleep(Duration::from_secs(1)) => continue,
                    () = life.shutdown.drain.cancelled() => return Ok(()),
                }
            }
            Err(error) => return Err(error.into()),
        };
        say(&opened);
        match session::session(life, journal, opened).await? {
            session::End::Stopped => return Ok(()),
            session::End::Again(why) => {
                tracing::warn!(why, "beginning anew with the journal as it is");
            }
            session::End::AgainWithout(why) => {
                ::metrics::counter!(crate::metric::REBUILDS).increment(1);
                tracing::error!(why, "the journal cannot be right; it is rebuilt");
                move_aside(life, "doubtful")?;
            }
        }
        let pause = Duration::from_millis(500);
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = life.shutdown.drain.cancelled() => return Ok(()),
        }
    }
}

fn say(opened: &Opened) {
    match opened {
        Opened::Live => tracing::info!("journal opened"),
        Opened::Fresh { because: Because::New } => tracing::info!("journal made"),
        Opened::Fresh { because } => {
            ::metrics::counter!(crate::metric::REBUILDS).increment(1);
            tracing::warn!(%because, "journal begins empty and is rebuilt");
        }
    }
}

/// Moves the journal's folder out of the way; what it held is found again on Kafka.
fn move_aside(life: &Life, word: &str) -> Result<(), RunError> {
    let config = &life.config;
    if let Some(aside) = SledJournal::set_aside(&config.journal, &config.mover, &config.host_name(), word)? {
        tracing::info!(aside = %aside.display(), "old journal moved aside");
    }
    Ok(())
}

/// Hands questions to the owner, or answers them itself while there is none.
async fn answer(life: Life, mut asked: mpsc::Receiver<Question>) {
    while let Some(question) = asked.recv().await {
        let phase = life.phase.borrow().clone();
        match (phase, question) {
            (Phase::Running(inputs), question) => {
                if let Err(mpsc::error::SendError(Input::Question(Question::Ready(reply)))) =
                    inputs.send(Input::Question(question)).await
                {
                    let _ = reply.send(not_ready("is ending".to_owned()));
                }
            }
            (Phase::Starting(what), Question::Ready(reply)) => drop(reply.send(not_ready(what))),
            // Dropping a question answers it: the mover is not ready.
            (Phase::Starting(_), _) => {}
        }
    }
}

fn not_ready(what: String) -> Readiness {
    Readiness { ready: false, notes: vec![what], queued: 0, under_way: 0, outbox: 0 }
}
