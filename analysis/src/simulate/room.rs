//! How much room a request needs, said before anything is made, and refused where it does not fit.

use std::path::{Path, PathBuf};

use bytesize::ByteSize;

use super::dealt::setups;
use super::error::SimulateError;
use super::place::Place;
use super::play::Schedule;
use super::render::{Simulator, Wanted};
use crate::formats::xtc2::write::{Event, Prepared};

/// What a request needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Need {
    /// Bytes of all files.
    pub disk: u64,
    /// Bytes of memory besides the program's own.
    pub memory: u64,
}

/// Bytes of a small file's event.
const SMALL: u64 = 76;
/// Bytes of transitions and names of a stream, big and small file together, without the pixels' settings.
const STREAM: u64 = 64 << 10;
/// A tmpfs, by its magic number (statfs(2)).
const TMPFS: i64 = 0x0102_1994;

/// Counts what a request needs; a spot's line of truth is counted from images that would be drawn.
pub fn need(simulator: &Simulator, place: &Place, schedule: &Schedule) -> Need {
    let setups = setups(place, schedule.first_run, simulator.plan().detector, schedule.streams);
    let shape = simulator.shape();
    let panel = vec![0; shape.panel_len()];
    let parts = super::dealt::segments(simulator.plan().detector, schedule.streams);
    let image: u64 = setups
        .iter()
        .zip(&parts)
        .map(|(setup, segments)| {
            let segments: Vec<&[u16]> = segments.iter().map(|_| panel.as_slice()).collect();
            let event =
                Event { segments: &segments, photon_energy: Some(1.0), pulse_id: 0, event_codes: &[] };
            // What is too large for a datagram is refused when it is written; here it only counts.
            Prepared::new(setup, &event).map_or(0, |prepared| prepared.size() as u64) + SMALL
        })
        .sum();
    let sample = 8;
    let line = |index: u64, wanted: &Wanted| {
        serde_json::to_string(&simulator.truth(0, index, wanted)).map_or(0, |text| text.len() as u64 + 100)
    };
    let hit = (0..sample).map(|index| line(index, &Wanted::HIT)).max().unwrap_or(0);
    let rate = simulator.plan().hit_rate * (1.0 + simulator.plan().double_rate);
    let truth = (hit as f64 * rate) as u64 + line(0, &Wanted::MISS);
    let images = u64::from(schedule.runs) * schedule.images;
    let settings = shape.len() as u64 * 2;
    let chunks = schedule.chunk_images.map_or(1, |every| schedule.images / every.max(1) + 1);
    let files = u64::from(schedule.runs) * (setups.len() as u64 * STREAM * chunks + settings);
    let modes = simulator.plan().detector.modes() as u64;
    let inputs = shape.len() as u64 * (modes * 8 + 2) + (8 << 20);
    let held = if schedule.pool > 0 { schedule.pool } else { 4 * schedule.threads as u64 + 16 };
    Need { disk: images * (image + truth) + files + inputs, memory: held * image + shape.len() as u64 * 40 }
}

/// What there is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Room {
    /// Free bytes of the file system of the folder.
    pub disk: u64,
    /// Whether that file system lies in memory.
    pub in_memory: bool,
    /// Bytes of memory that can be had; `None` where the system does not say.
    pub memory: Option<u64>,
}

impl Room {
    /// Looks: at the folder, or the nearest one above it that is there.
    pub fn look(folder: &Path) -> Result<Self, SimulateError> {
        let whole = std::path::absolute(folder).map_err(SimulateError::io(folder))?;
        let present = whole.ancestors().find(|above| above.is_dir()).unwrap_or(Path::new("/"));
        let io = |error: rustix::io::Errno| SimulateError::io(present)(error.into());
        let free = rustix::fs::statvfs(present).map_err(io)?;
        let kind = rustix::fs::statfs(present).map_err(io)?;
        Ok(Self {
            disk: free.f_bavail.saturating_mul(free.f_frsize),
            in_memory: kind.f_type == TMPFS,
            memory: available_memory(&PathBuf::from("/proc/meminfo")),
        })
    }

    /// Refuses what does not fit.
    pub fn check(&self, need: &Need, folder: &Path) -> Result<(), SimulateError> {
        let refused = |what: String, need: u64, have: u64| SimulateError::Room {
            what,
            need: ByteSize(need).to_string(),
            have: ByteSize(have).to_string(),
        };
        // The last 64 MiB of a file system are left to others.
        if need.disk.saturating_add(64 << 20) > self.disk {
            return Err(refused(folder.display().to_string(), need.disk, self.disk));
        }
        let memory = need.memory + if self.in_memory { need.disk } else { 0 };
        match self.memory {
            Some(have) if memory > have => Err(refused("the memory".to_owned(), memory, have)),
            _ => Ok(()),
        }
    }
}

/// `MemAvailable` of the kernel.
fn available_memory(meminfo: &Path) -> Option<u64> {
    let text = std::fs::read_to_string(meminfo).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}
