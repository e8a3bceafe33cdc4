//! `simulate`: from what is asked for to a plan and a schedule, the room that they need, and a bar while they are played.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use bytesize::ByteSize;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use lightrail_topics::kafka::{Acks, Admin, Connection, PlainProducer};
use lightrail_topics::logbook::book::Message;
use lightrail_topics::topic::{Topic, Topics};
use lightrail_topics::{Experiment, Instrument, Millis, RunNumber, SiteName};
use tokio::sync::mpsc;

use crate::simulate::{
    Announcer, Cell, Model, News, Partiality, Place, Plan, Room, Schedule, SimulateError, Simulator,
    SpaceGroup, Stop, need, play,
};
use lightrail_service::command::Failure;
use lightrail_service::say;

/// What is asked for.
#[derive(Debug, Args)]
pub(super) struct Simulate {
    /// Where all files go; a file lies at this and its LFN. Made where it is missing.
    #[arg(long, value_name = "DIR", default_value = "simulated")]
    out: PathBuf,
    /// The experiment.
    #[arg(long, default_value = "mfxsim0126")]
    experiment: Experiment,
    /// The instrument; the first three letters of the experiment where left out.
    #[arg(long)]
    instrument: Option<Instrument>,
    /// How many runs.
    #[arg(long, default_value_t = 3)]
    runs: u32,
    /// The first run's number.
    #[arg(long, value_name = "RUN", default_value_t = 1)]
    first_run: u32,
    /// Images of a run.
    #[arg(long, value_name = "N", default_value_t = 2000)]
    images: u64,
    /// Images a second.
    #[arg(long, value_name = "HZ", default_value_t = 120.0)]
    rate: f64,
    /// Write as fast as images can be made; the timestamps still tell the rate.
    #[arg(long)]
    unpaced: bool,
    /// Draw so many images beforehand and deal them out again and again with new headers; 0 draws every image when it is taken.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pool: u64,
    /// Streams of a run, each a file; no more than the detector has segments.
    #[arg(long, value_name = "N", default_value_t = 4)]
    streams: usize,
    /// Go on in new chunk files after so many images.
    #[arg(long, value_name = "N")]
    chunk_images: Option<u64>,
    /// Threads that draw and write; all cores where left out.
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// When the first run begins, by the timestamps in the files.
    #[arg(long, value_name = "TIME", default_value = "2026-01-01T00:00:00Z")]
    begin: Millis,
    /// Where all random numbers come from: the same seed gives the same bytes.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    #[command(flatten)]
    broker: Broker,
    #[command(flatten)]
    physics: Physics,
}

/// Where the logbook's messages go.
#[derive(Debug, Args)]
#[command(next_help_heading = "Logbook")]
struct Broker {
    /// Say on Kafka what the LCLS logbook says of runs and files, while they are taken. Without it only files are written.
    #[arg(long, value_name = "HOST:PORT")]
    kafka: Option<String>,
    /// Before the names of the logbook's topics.
    #[arg(long, value_name = "PREFIX", default_value = "", requires = "kafka")]
    topics_prefix: String,
    /// Partitions of topics that are not there yet.
    #[arg(long, value_name = "N", default_value_t = 4, requires = "kafka")]
    partitions: i32,
    /// Sites where the experiment's files are wanted.
    #[arg(long, value_name = "SITE,...", value_delimiter = ',', requires = "kafka")]
    locations: Vec<SiteName>,
}

/// What a shot is.
#[derive(Debug, Args)]
#[command(next_help_heading = "Beam, crystals and detector")]
struct Physics {
    /// The detector: jungfrau4M, jungfrau1M, jungfrau05M, jungfrau32k (small, for tests), epix10kaQuad, epix10ka2M.
    #[arg(long, default_value = "jungfrau4M")]
    detector: Model,
    /// Metres from the interaction point to the detector; where left out, what suits the detector.
    #[arg(long, value_name = "M")]
    distance: Option<f64>,
    /// Mean photon energy.
    #[arg(long, value_name = "EV", default_value_t = default().photon_energy)]
    photon_energy: f64,
    /// Standard deviation of a shot's photon energy, as a fraction.
    #[arg(long, value_name = "FRACTION", default_value_t = default().energy_jitter)]
    energy_jitter: f64,
    /// Fraction of shots with a crystal.
    #[arg(long, value_name = "FRACTION", default_value_t = default().hit_rate)]
    hit_rate: f64,
    /// Fraction of hits with two crystals.
    #[arg(long, value_name = "FRACTION", default_value_t = default().double_rate)]
    double_rate: f64,
    /// The crystals' cell: a,b,c,alpha,beta,gamma in angstrom and degrees. The default is lysozyme.
    #[arg(long, default_value_t = Cell::LYSOZYME)]
    cell: Cell,
    /// The crystals' space group.
    #[arg(long, value_name = "SYMBOL", default_value_t = default().space_group)]
    space_group: SpaceGroup,
    /// The finest reflections, angstrom.
    #[arg(long, value_name = "A", default_value_t = default().resolution)]
    resolution: f64,
    /// Photons of a mean reflection exactly on the Ewald sphere at low resolution.
    #[arg(long, value_name = "PHOTONS", default_value_t = default().intensity)]
    intensity: f64,
    /// Standard deviation of the logarithm of a crystal's scale.
    #[arg(long, value_name = "S", default_value_t = default().scale_spread)]
    scale_spread: f64,
    /// B factor, square angstrom.
    #[arg(long, value_name = "A2", default_value_t = default().b_factor)]
    b_factor: f64,
    /// Radius of a reciprocal lattice point, 1/angstrom.
    #[arg(long, value_name = "R", default_value_t = default().profile_radius)]
    profile_radius: f64,
    /// How reflections off the Ewald sphere lose: gaussian or sphere.
    #[arg(long, value_name = "MODEL", default_value_t = Partiality::Gaussian)]
    partiality: Partiality,
    /// Standard deviation of a spot, pixels.
    #[arg(long, value_name = "PX", default_value_t = default().spot_size)]
    spot_size: f64,
    /// Background, photons per pixel; beam halo and water ring are multiples of it.
    #[arg(long, value_name = "PHOTONS", default_value_t = default().background)]
    background: f64,
    /// Standard deviation of the logarithm of a shot's background.
    #[arg(long, value_name = "S", default_value_t = default().background_spread)]
    background_spread: f64,
    /// The part of the beam that is polarised horizontally.
    #[arg(long, value_name = "FRACTION", default_value_t = default().polarisation)]
    polarisation: f64,
    /// Read-out noise, photons.
    #[arg(long, value_name = "PHOTONS", default_value_t = default().noise)]
    noise: f64,
    /// Fraction of hot pixels; the constants' status knows every second one.
    #[arg(long, value_name = "FRACTION", default_value_t = default().hot)]
    hot: f64,
    /// Fraction of dead pixels; the constants' status knows them.
    #[arg(long, value_name = "FRACTION", default_value_t = default().dead)]
    dead: f64,
    /// Dead ASICs; the constants' status knows them.
    #[arg(long, value_name = "N", default_value_t = 0)]
    dead_asics: usize,
    /// Largest hidden shift of a panel, pixels.
    #[arg(long, value_name = "PX", default_value_t = default().shift)]
    shift: f64,
    /// Largest hidden turn of a panel, degrees.
    #[arg(long, value_name = "DEG", default_value_t = default().turn)]
    turn: f64,
    /// Radius of the beam stop's shadow, pixels.
    #[arg(long, value_name = "PX", default_value_t = default().beam_stop)]
    beam_stop: f64,
    /// Fraction of shots with ice rings.
    #[arg(long, value_name = "FRACTION", default_value_t = 0.0)]
    ice_rate: f64,
    /// Fraction of shots with a jet's streak.
    #[arg(long, value_name = "FRACTION", default_value_t = 0.0)]
    streak_rate: f64,
}

fn default() -> Plan {
    Plan::new(Model::Jungfrau4M, 1)
}

impl Physics {
    fn plan(self, seed: u64) -> Plan {
        Plan {
            seed,
            detector: self.detector,
            distance: self.distance.unwrap_or(self.detector.usual_distance()),
            photon_energy: self.photon_energy,
            energy_jitter: self.energy_jitter,
            hit_rate: self.hit_rate,
            double_rate: self.double_rate,
            cell: self.cell,
            space_group: self.space_group,
            resolution: self.resolution,
            intensity: self.intensity,
            scale_spread: self.scale_spread,
            b_factor: self.b_factor,
            profile_radius: self.profile_radius,
            partiality: self.partiality,
            spot_size: self.spot_size,
            background: self.background,
            background_spread: self.background_spread,
            polarisation: self.polarisation,
            noise: self.noise,
            hot: self.hot,
            dead: self.dead,
            dead_asics: self.dead_asics,
            shift: self.shift,
            turn: self.turn,
            beam_stop: self.beam_stop,
            ice_rate: self.ice_rate,
            streak_rate: self.streak_rate,
        }
    }
}

impl From<SimulateError> for Failure {
    fn from(error: SimulateError) -> Self {
        let is_usage = error.is_usage();
        let error = anyhow::Error::new(error);
        if is_usage { Self::Usage(error) } else { Self::Other(error) }
    }
}

fn usage(why: String) -> Failure {
    Failure::Usage(anyhow::anyhow!(why))
}

impl Simulate {
    fn place(&self) -> Result<Place, Failure> {
        let first: String = self.experiment.as_str().chars().take(3).collect();
        let instrument = match &self.instrument {
            Some(instrument) => instrument.clone(),
            None => first.parse().context("--instrument").map_err(Failure::Usage)?,
        };
        Ok(Place { out: self.out.clone(), instrument, experiment: self.experiment.clone() })
    }

    fn schedule(&self) -> Result<Schedule, Failure> {
        // 1990-01-01 from 1970-01-01, where the DAQ's clock begins.
        let since_1990 = self.begin.0 / 1000 - 631_152_000;
        let begin = u32::try_from(since_1990).ok().filter(|begin| *begin > 0);
        let begin = begin
            .ok_or_else(|| usage(format!("--begin {}: the DAQ counts from 1990 to 2126", self.begin)))?;
        if !(0.001..=1e6).contains(&self.rate) {
            return Err(usage(format!("--rate {}: between 0.001 and 1000000 images a second", self.rate)));
        }
        if self.streams == 0 || self.chunk_images == Some(0) {
            return Err(usage("--streams and --chunk-images are at least 1".to_owned()));
        }
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Ok(Schedule {
            first_run: RunNumber(self.first_run),
            runs: self.runs,
            images: self.images,
            rate: self.rate,
            paced: !self.unpaced,
            streams: self.streams,
            chunk_images: self.chunk_images,
            pool: self.pool,
            threads: self.threads.unwrap_or(cores).max(1),
            begin,
        })
    }
}

/// Simulates. An interrupt ends the present run as a DAQ ends it.
pub(super) async fn simulate(asked: Simulate) -> Result<(), Failure> {
    let (place, schedule) = (asked.place()?, asked.schedule()?);
    let plan = asked.physics.plan(asked.seed);
    let simulator = Simulator::new(plan).map_err(SimulateError::from)?;
    let need = need(&simulator, &place, &schedule);
    let room = Room::look(&place.out)?;
    say!(
        "{} runs of {} images of {} ({}): {} in {}, where {} are free, and {} of memory",
        schedule.runs,
        schedule.images,
        simulator.plan().detector,
        simulator.shape(),
        ByteSize(need.disk),
        place.out.display(),
        ByteSize(room.disk),
        ByteSize(need.memory)
    );
    room.check(&need, &place.out)?;
    let logbook = match &asked.broker.kafka {
        Some(kafka) => Some(Logbook::open(kafka, &asked.broker, &place).await?),
        None => None,
    };
    // Counts what was said and not yet sent; the player never waits for Kafka, as a DAQ does not.
    let (tell, told) = mpsc::unbounded_channel();
    let sending = tokio::spawn(send(logbook, told));
    let stop = Arc::new(Stop::default());
    let at_interrupt = Arc::clone(&stop);
    let interrupt = tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            at_interrupt.stop();
        }
    });
    let playing = tokio::task::spawn_blocking(move || {
        let bar = bar(&schedule);
        play(&simulator, &place, &schedule, &stop, &mut |news| {
            if matches!(news, News::RunBegins(_) | News::Opened(..) | News::RunEnds(..)) {
                // Who sends has said why it stopped.
                let _ = tell.send(news.clone());
            }
            show(&bar, &schedule, news);
        })
    });
    let played = playing.await.context("the simulator ended by itself").map_err(Failure::Other)?;
    interrupt.abort();
    let sent = sending.await.context("the logbook ended by itself").map_err(Failure::Other)?;
    played?;
    Ok(sent?)
}

/// How long a message waits for a broker that is away.
const LOST_AFTER: Duration = Duration::from_secs(120);

/// The logbook and its way to Kafka.
struct Logbook {
    announcer: Announcer,
    producer: PlainProducer,
    prefix: String,
}

impl Logbook {
    async fn open(kafka: &str, broker: &Broker, place: &Place) -> Result<Self, Failure> {
        let topics = Topics::default().with_logbook_prefix(&broker.topics_prefix);
        let topics = topics.map_err(|error| Failure::Usage(error.into()))?;
        let connection = Connection::plain(kafka, "lcls-logbook");
        let logbooks = Topic::ALL.into_iter().filter(|topic| topic.is_logbooks());
        let specs: Vec<_> = logbooks.map(|topic| topics.spec(topic, broker.partitions, -1)).collect();
        let admin = Admin::new(&connection, Duration::from_secs(30));
        admin.create_topics(&specs).await.context("the logbook's topics cannot be made")?;
        let producer = PlainProducer::start(&connection, Acks::Leader, LOST_AFTER);
        let producer = producer.context("the logbook has no way to Kafka")?;
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let absolute = std::path::absolute(&place.out).context("--out").map_err(Failure::Usage)?;
        let place = Place { out: absolute, ..place.clone() };
        let (announcer, said) = Announcer::new(place, host, broker.locations.clone());
        let logbook = Self { announcer, producer, prefix: broker.topics_prefix.clone() };
        logbook.send(said).await?;
        Ok(logbook)
    }

    async fn send(&self, said: Vec<Message>) -> anyhow::Result<()> {
        for message in said {
            let topic = format!("{}{}", self.prefix, message.topic);
            let sent = self.producer.send(&topic, None, &[], Some(message.body.as_bytes())).await;
            sent.with_context(|| format!("a message of the logbook on {topic} is lost"))?;
        }
        Ok(())
    }
}

/// Says what happens until nothing more does. A message that Kafka does not take is an error at the end, not the DAQ's.
async fn send(logbook: Option<Logbook>, mut told: mpsc::UnboundedReceiver<News>) -> anyhow::Result<()> {
    let mut first = Ok(());
    let mut logbook = logbook;
    while let Some(news) = told.recv().await {
        let Some(logbook) = &mut logbook else { continue };
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let now = Millis(i64::try_from(now.as_millis()).unwrap_or(i64::MAX));
        let said = logbook.announcer.says(&news, now);
        let sent = logbook.send(said).await;
        first = first.and(sent);
    }
    first
}

fn bar(schedule: &Schedule) -> ProgressBar {
    let bar = ProgressBar::new(schedule.images);
    // The template is right: the unit tests read it.
    if let Ok(style) = ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len} {per_sec} {eta}") {
        bar.set_style(style);
    }
    bar
}

fn show(bar: &ProgressBar, schedule: &Schedule, news: News) {
    match news {
        News::Pool(1) => {
            bar.set_message("pool");
            bar.set_length(schedule.pool);
        }
        News::Pool(drawn) => bar.set_position(drawn),
        News::RunBegins(run) => {
            bar.set_length(schedule.images);
            bar.set_message(format!("run {run}"));
            bar.reset();
        }
        News::Opened(..) => {}
        News::Images(_, taken) => bar.set_position(taken),
        News::RunEnds(run, played) => {
            let (images, bytes) = played.speed();
            let line = format!(
                "run {run}: {} images, {} hits, {} in {} files, {:.1} s, {images:.1} images/s, {}/s{}",
                played.images,
                played.hits,
                ByteSize(played.bytes()),
                played.files.len(),
                played.took.as_secs_f64(),
                ByteSize(bytes),
                if schedule.paced {
                    format!(", at most {} ms late", played.latest.as_millis())
                } else {
                    String::new()
                }
            );
            bar.suspend(|| say!("{line}"));
        }
    }
}
