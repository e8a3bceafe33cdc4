//! Removes our own temporary files that no attempt is writing any more. Only names that are exactly ours, only of this
//! mover; whatever else lies in the folder is never touched.

use std::collections::HashSet;
use std::hash::BuildHasher;

use lightrail_topics::MoverName;

use super::engine::{Engine, Place};
use super::look::limited;
use super::names::{SitePath, Temporary};
use super::site::{Patience, Site};
use crate::fault::{Fault, Side};

/// What a sweep of one folder did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Names that were removed, with the server that did it.
    pub removed: Vec<(Option<String>, String)>,
    /// How many of our temporary files belong to running attempts.
    pub running: usize,
    /// Servers or files that could not be swept.
    pub faults: Vec<Fault>,
}

/// Sweeps one folder of a site, on each of its servers. `running` are this mover's attempts that are under way now. A fault only
/// if the site's servers cannot be learnt.
pub async fn sweep_leftovers<S: BuildHasher + Sync>(
    engine: &dyn Engine,
    site: &Site,
    folder: &SitePath,
    mover: &MoverName,
    running: &HashSet<Temporary, S>,
    patience: &Patience,
) -> Result<Swept, Fault> {
    let whose = Side::Destination;
    let door = Place { site, server: None };
    let named = limited(patience.call, "for its data servers", whose, door, engine.servers(site)).await?;
    let servers: Vec<Option<String>> =
        if named.is_empty() { vec![None] } else { named.into_iter().map(Some).collect() };
    let mut swept = Swept::default();
    let mut kept = HashSet::new();
    for server in servers {
        let place = Place { site, server: server.as_deref() };
        let entries =
            match limited(patience.call, "a listing", whose, place, engine.list(place, folder)).await {
                Ok(entries) => entries.unwrap_or_default(),
                Err(fault) => {
                    swept.faults.push(fault);
                    continue;
                }
            };
        for entry in entries {
            let Some(temporary) = Temporary::parse(&entry.name).filter(|found| found.mover == *mover) else {
                continue;
            };
            if running.contains(&temporary) {
                kept.insert(entry.name);
                continue;
            }
            let path = folder.inside(&entry.name);
            let remove = engine.remove(place, &path);
            match limited(patience.call, "a removal", whose, place, remove).await {
                Ok(true) => swept.removed.push((server.clone(), entry.name)),
                // Servers over one store list it twice.
                Ok(false) => {}
                Err(fault) => swept.faults.push(fault),
            }
        }
    }
    swept.running = kept.len();
    Ok(swept)
}
