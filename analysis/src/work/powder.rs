//! Virtual powders of a worker: sums per run and trial, written as partial sums into a folder, each of this process as one file
//! that is replaced whole. Whoever reads adds the parts, and can say what is missing from counts of results.
//!
//! A part is one line of JSON ([`Head`]), then the sum over hits and the sum over sampled misses as `f32` in little endian,
//! row by row; a sum without images has no bytes.

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fs;
use std::io::{self, BufRead as _, BufReader, BufWriter, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use lightrail_topics::events::{Image, Outcome};
use lightrail_topics::{Millis, RunInTrial, WorkerName};
use serde::{Deserialize, Serialize};

use crate::frame::Shape;
use crate::pipeline::{Chain, ChainHash, Powder, Powders};
use crate::process::Seen;
use crate::trial::Unit;

const FORMAT: &str = "lightrail-powder-1";
const ENDING: &str = "powder";
/// Sums of more runs than that are not kept in memory at once.
const OPEN: usize = 3;
/// The longest first line of a part.
const LONGEST_HEAD: u64 = 1 << 16;

/// What a part says of itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Head {
    format: String,
    /// Of which run under which trial.
    pub of: RunInTrial,
    /// Who summed.
    pub worker: WorkerName,
    /// The hash of what was used, as results carry it. Only sums of the same one add.
    pub used: String,
    /// What a value counts.
    pub unit: Unit,
    /// Panels, rows and columns.
    pub shape: [usize; 3],
    /// Images in the sum over hits.
    pub hits: u64,
    /// Images in the sum over misses.
    pub misses: u64,
    /// Of so many misses one was summed; 0 none.
    pub misses_every: u32,
    /// When it was begun.
    pub begun: Millis,
    /// When it was written.
    pub at: Millis,
}

/// A worker's sums.
#[derive(Debug)]
pub struct Sums {
    folder: PathBuf,
    worker: WorkerName,
    /// Tells this process's files from those of others in its slot.
    process: String,
    state: Mutex<State>,
    crowded: tokio::sync::Notify,
}

type Key = (RunInTrial, ChainHash);

#[derive(Debug, Default)]
struct State {
    open: HashMap<Key, Arc<Mutex<Sum>>>,
    begun: u64,
}

#[derive(Debug)]
struct Sum {
    head: Head,
    powders: Powders,
    path: PathBuf,
    changed: bool,
    touched: Instant,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn now() -> Millis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// The folder of a run's parts under a trial.
fn folder_of(folder: &Path, of: &RunInTrial) -> PathBuf {
    let run = format!("r{:04}", of.run.run.0);
    folder.join(of.run.experiment.to_string()).join(run).join(format!("trial-{}", of.trial))
}

impl Sums {
    /// Sums of a worker's process, to be written below `folder`.
    pub fn new(folder: PathBuf, worker: WorkerName) -> Self {
        let process = format!("{}-{:08x}", std::process::id(), fastrand::u32(..));
        Self { folder, worker, process, state: Mutex::default(), crowded: tokio::sync::Notify::new() }
    }

    /// Adds an image's calibrated values.
    pub fn add(&self, image: &Image, chain: &Chain, hit: bool, values: &[f32]) {
        let of = RunInTrial { run: image.image.run.clone(), trial: image.trial };
        let sum = self.open(of, chain);
        let mut sum = lock(&sum);
        sum.powders.of(hit).add(values);
        (sum.changed, sum.touched) = (true, Instant::now());
        let of = if hit { "hits" } else { "misses" };
        metrics::counter!(super::metric::POWDER_IMAGES, "of" => of).increment(1);
    }

    fn open(&self, of: RunInTrial, chain: &Chain) -> Arc<Mutex<Sum>> {
        let mut state = lock(&self.state);
        let key = (of, chain.hash());
        if let Some(sum) = state.open.get(&key) {
            return sum.clone();
        }
        state.begun += 1;
        let name = format!("{}-{}-{}.{ENDING}", self.worker, self.process, state.begun);
        let shape = chain.calibration().shape();
        let head = Head {
            format: FORMAT.to_owned(),
            of: key.0.clone(),
            worker: self.worker.clone(),
            used: key.1.to_string(),
            unit: chain.parameters().calibration.unit,
            shape: [shape.panels, shape.rows, shape.columns],
            hits: 0,
            misses: 0,
            misses_every: chain.parameters().powder.misses_every,
            begun: now(),
            at: now(),
        };
        let path = folder_of(&self.folder, &key.0).join(name);
        let sum = Sum { head, powders: chain.powders(), path, changed: false, touched: Instant::now() };
        let sum = Arc::new(Mutex::new(sum));
        state.open.insert(key, sum.clone());
        if state.open.len() > OPEN {
            self.crowded.notify_one();
        }
        sum
    }

    /// Writes what has changed every so often, and the oldest where there are too many, until it is dropped.
    pub async fn write_every(self: Arc<Self>, every: Duration) {
        let mut next = tokio::time::interval(every.max(Duration::from_millis(100)));
        loop {
            let is_crowded = tokio::select! {
                _ = next.tick() => false,
                () = self.crowded.notified() => true,
            };
            let sums = self.clone();
            let write = move || if is_crowded { sums.write_surplus() } else { sums.write(Some(3 * every)) };
            // It catches its own errors; a panic of it is told by the runtime.
            let _ = tokio::task::spawn_blocking(write).await;
        }
    }

    /// Writes what has changed. Sums that are written and nobody has added to for `idle` are given up: their file stays, and
    /// what may still come begins another.
    pub fn write(&self, idle: Option<Duration>) {
        for (key, sum) in self.oldest_first() {
            // A copy is written, so that nobody who adds waits for a disk.
            if Self::written(&sum, Self::write_copy)
                && idle.is_some_and(|idle| lock(&sum).touched.elapsed() >= idle)
            {
                self.give_up(&key, &sum);
            }
        }
        self.write_surplus();
    }

    /// Writes and gives up the oldest where there are too many.
    fn write_surplus(&self) {
        let open = self.oldest_first();
        let surplus = open.len().saturating_sub(OPEN);
        for (key, sum) in open.into_iter().take(surplus) {
            if Self::written(&sum, Self::write_itself) {
                self.give_up(&key, &sum);
            }
        }
    }

    fn oldest_first(&self) -> Vec<(Key, Arc<Mutex<Sum>>)> {
        let mut open: Vec<_> =
            lock(&self.state).open.iter().map(|(key, sum)| (key.clone(), sum.clone())).collect();
        // Each is looked at once: who adds meanwhile would change the order while it is made.
        open.sort_by_cached_key(|(_, sum)| lock(sum).touched);
        open
    }

    /// Unless somebody has it, or has added to it since it was written. The state is held, and a clone is what adding needs.
    fn give_up(&self, key: &Key, sum: &Arc<Mutex<Sum>>) {
        let mut state = lock(&self.state);
        if Arc::strong_count(sum) == 2 && !lock(sum).changed {
            state.open.remove(key);
        }
    }

    fn written(sum: &Mutex<Sum>, write: fn(&Mutex<Sum>) -> io::Result<()>) -> bool {
        let written = write(sum);
        if let Err(error) = &written {
            let path = lock(sum).path.clone();
            tracing::warn!(path = %path.display(), %error, "powder cannot be written");
        }
        written.is_ok()
    }

    fn write_copy(sum: &Mutex<Sum>) -> io::Result<()> {
        let (head, powders, path) = {
            let mut sum = lock(sum);
            if !sum.changed {
                return Ok(());
            }
            sum.changed = false;
            (sum.head_now(), sum.powders.clone(), sum.path.clone())
        };
        let written = write_part(&path, &head, &powders);
        if written.is_err() {
            lock(sum).changed = true;
        }
        written
    }

    /// For one that nobody adds to any more: who does waits.
    fn write_itself(sum: &Mutex<Sum>) -> io::Result<()> {
        let mut sum = lock(sum);
        if sum.changed {
            write_part(&sum.path, &sum.head_now(), &sum.powders)?;
            sum.changed = false;
        }
        Ok(())
    }
}

impl Sum {
    fn head_now(&self) -> Head {
        let (hits, misses) = (self.powders.hits.images, self.powders.misses.images);
        Head { hits, misses, at: now(), ..self.head.clone() }
    }
}

/// A part under a temporary name first: nobody reads half of one.
fn write_part(path: &Path, head: &Head, powders: &Powders) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let temporary = path.with_extension("tmp");
    let mut file = BufWriter::new(fs::File::create(&temporary)?);
    serde_json::to_writer(&mut file, head)?;
    file.write_all(b"\n")?;
    for sum in [&powders.hits.sum, &powders.misses.sum] {
        for values in sum.chunks(1 << 16) {
            let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            file.write_all(&bytes)?;
        }
    }
    file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_data()?;
    fs::rename(temporary, path)
}

/// The parts of a run under a trial, added: one whole for each hash of what was used.
#[derive(Clone, Debug, PartialEq)]
pub struct Whole {
    /// Of the newest part, with all images counted.
    pub head: Head,
    /// How many parts were added.
    pub parts: usize,
    /// The sums.
    pub powders: Powders,
}

impl Whole {
    /// The shape of the sums.
    pub fn shape(&self) -> Shape {
        let [panels, rows, columns] = self.head.shape;
        Shape { panels, rows, columns }
    }

    /// Of the hits among a run's results, how many are in no part: what killed workers had not yet written, or what live ones
    /// still have to. Only for a trial that sums hits.
    pub fn missing(&self, results: &[Seen]) -> u64 {
        let hits = results.iter().filter(|result| result.outcome == Outcome::Hit).count() as u64;
        hits.saturating_sub(self.head.hits)
    }
}

/// Why a part cannot be added.
#[derive(Debug, thiserror::Error)]
pub enum PartError {
    /// A file or folder cannot be read.
    #[error("{} cannot be read", .0.display())]
    Read(PathBuf, #[source] io::Error),
    /// A file is no part of a powder.
    #[error("{} is no part of a powder: {why}", path.display())]
    NoPart {
        /// The file.
        path: PathBuf,
        /// Why not.
        why: String,
    },
}

/// Of which runs under which trials there are parts below `folder`, in order.
pub fn runs(folder: &Path) -> Result<Vec<RunInTrial>, PartError> {
    let below = |folder: &Path| -> Result<Vec<(String, PathBuf)>, PartError> {
        let failed = |error| PartError::Read(folder.to_owned(), error);
        let entries =
            fs::read_dir(folder).map_err(failed)?.collect::<io::Result<Vec<_>>>().map_err(failed)?;
        let named = entries
            .into_iter()
            .filter_map(|entry| Some((entry.file_name().into_string().ok()?, entry.path())));
        Ok(named.filter(|(_, path)| path.is_dir()).collect())
    };
    let mut found = Vec::new();
    for (experiment, path) in below(folder)? {
        for (run, path) in below(&path)? {
            let number = run.strip_prefix('r').and_then(|number| number.parse::<u32>().ok());
            for (trial, _) in below(&path)? {
                // A folder of another name is no run's.
                let trial = trial.strip_prefix("trial-").and_then(|trial| trial.parse::<u32>().ok());
                let (Some(run), Some(trial)) = (number, trial) else { continue };
                found.extend(format!("{experiment}/{run}/{trial}").parse::<RunInTrial>());
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Adds a run's parts below `folder`; none where nothing was written. Values are those of the trial's unit.
pub fn read(folder: &Path, of: &RunInTrial) -> Result<Vec<Whole>, PartError> {
    let folder = folder_of(folder, of);
    let failed = |error| PartError::Read(folder.clone(), error);
    let entries = match fs::read_dir(&folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed)?,
    };
    let mut wholes: Vec<Whole> = Vec::new();
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>().map_err(failed)?;
    paths.retain(|path| path.extension().is_some_and(|ending| ending == ENDING));
    paths.sort();
    for path in paths {
        let (head, powders) = read_part(&path)?;
        match wholes.iter_mut().find(|whole| (&whole.head.used, whole.head.shape) == (&head.used, head.shape))
        {
            Some(whole) => {
                whole.powders.merge(&powders);
                whole.parts += 1;
                let newest = if whole.head.at < head.at { &head } else { &whole.head };
                let (hits, misses) = (whole.powders.hits.images, whole.powders.misses.images);
                whole.head = Head { hits, misses, begun: whole.head.begun.min(head.begun), ..newest.clone() };
            }
            None => wholes.push(Whole { head, parts: 1, powders }),
        }
    }
    Ok(wholes)
}

fn read_part(path: &Path) -> Result<(Head, Powders), PartError> {
    let failed = |error| PartError::Read(path.to_owned(), error);
    let refused = |why: String| PartError::NoPart { path: path.to_owned(), why };
    let file = fs::File::open(path).map_err(failed)?;
    let size = file.metadata().map_err(failed)?.len();
    let mut file = BufReader::new(file);
    let mut line = Vec::new();
    file.by_ref().take(LONGEST_HEAD).read_until(b'\n', &mut line).map_err(failed)?;
    let head: Head = serde_json::from_slice(&line).map_err(|error| refused(error.to_string()))?;
    if head.format != FORMAT {
        return Err(refused(format!("its format is `{}`", head.format)));
    }
    let values = head.shape.iter().try_fold(1_u64, |all, n| all.checked_mul(u64::try_from(*n).ok()?));
    let sums = u64::from(head.hits > 0) + u64::from(head.misses > 0);
    let wanted = values.and_then(|values| values.checked_mul(4 * sums)?.checked_add(line.len() as u64));
    if wanted != Some(size) {
        return Err(refused(format!("it has {size} bytes, and by its head {wanted:?}")));
    }
    // As many as the file holds.
    let length = usize::try_from(values.unwrap_or(0)).map_err(|error| refused(error.to_string()))?;
    let mut sum = |images| {
        let mut powder = Powder { sum: Vec::new(), images };
        if images > 0 {
            let mut bytes = vec![0; length * 4];
            file.read_exact(&mut bytes).map_err(failed)?;
            let values =
                bytes.chunks_exact(4).map(|four| f32::from_le_bytes([four[0], four[1], four[2], four[3]]));
            powder.sum = values.collect();
        }
        Ok(powder)
    };
    let powders =
        Powders { hits: sum(head.hits)?, misses: sum(head.misses)?, misses_every: head.misses_every };
    Ok((head, powders))
}
