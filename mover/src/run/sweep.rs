//! The sweep: from time to time, and with no input, looks whether what was verified is still at its destination, and
//! clears our own leftovers away. A folder that cannot be read, or seems empty all at once, is an outage, not `gone`.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use lightrail_topics::{FileAtSite, MoverName, RunKey, SiteName};
use tokio::sync::{mpsc, oneshot};

use crate::carry::{Engine, Patience, Place, Site, sweep_leftovers};
use crate::owner::Input;

/// What a sweep needs.
#[derive(Debug)]
pub(crate) struct Sweep {
    pub(crate) every: Duration,
    pub(crate) sites: BTreeMap<SiteName, Site>,
    pub(crate) engines: HashMap<SiteName, Arc<dyn Engine>>,
    pub(crate) patience: Patience,
    pub(crate) mover: MoverName,
    pub(crate) inputs: mpsc::Sender<Input>,
}

impl Sweep {
    /// Sweeps until the owner ends; the first time soon after the start, for what a journal was rebuilt from is believed
    /// only after a look.
    pub(crate) async fn work(self) {
        let mut wait = Duration::from_secs(2).min(self.every);
        loop {
            tokio::time::sleep(wait).await;
            wait = self.every;
            let (reply, answer) = oneshot::channel();
            if self.inputs.send(Input::Sweep(reply)).await.is_err() {
                return;
            }
            let Ok(verified) = answer.await else { return };
            self.look(verified).await;
        }
    }

    async fn look(&self, verified: Vec<(RunKey, FileAtSite, u64)>) {
        let mut folders: BTreeMap<(SiteName, String), Vec<(RunKey, FileAtSite)>> = BTreeMap::new();
        for (run, at, _) in verified {
            folders.entry((at.site.clone(), at.lfn.folder().to_owned())).or_default().push((run, at));
        }
        for ((site, _), files) in folders {
            let (Some(site), Some(engine)) = (self.sites.get(&site), self.engines.get(&site)) else {
                continue;
            };
            let folder = site.path(&files[0].1.lfn).folder();
            let place = Place { site, server: None };
            let listing = tokio::time::timeout(self.patience.call * 3, engine.list(place, &folder)).await;
            let names: HashSet<String> = match listing {
                Ok(Ok(Some(entries))) => entries.into_iter().map(|entry| entry.name).collect(),
                // Nothing can be said about a folder that is away.
                Ok(Ok(None)) => HashSet::new(),
                Ok(Err(fault)) => {
                    tracing::warn!(site = %site.name, reason = fault.text, "folder not swept");
                    continue;
                }
                Err(_) => {
                    tracing::warn!(site = %site.name, "folder not swept: no answer in time");
                    continue;
                }
            };
            let missing: Vec<&(RunKey, FileAtSite)> =
                files.iter().filter(|(_, at)| !names.contains(at.lfn.file_name())).collect();
            if !missing.is_empty() && (names.is_empty() || (missing.len() == files.len() && files.len() > 1))
            {
                tracing::warn!(
                    site = %site.name, folder = %folder, files = files.len(),
                    "all files seem to be gone at once; taken for an outage"
                );
                continue;
            }
            for (run, at) in missing {
                // A listing can miss what one server has: the file itself is asked for.
                let path = site.path(&at.lfn);
                let looked = tokio::time::timeout(self.patience.call, engine.stat(place, &path)).await;
                if matches!(looked, Ok(Ok(None))) {
                    tracing::warn!(file = %at.lfn, site = %site.name, "verified file is gone");
                    if self.inputs.send(Input::Missing(run.clone(), at.clone())).await.is_err() {
                        return;
                    }
                }
            }
        }
    }

    /// Clears what killed predecessors left in the folders of transfers that are still to be made.
    pub(crate) async fn clear_leftovers(&self, folders: HashSet<(SiteName, lightrail_topics::Lfn)>) {
        for (site, lfn) in folders {
            let (Some(site), Some(engine)) = (self.sites.get(&site), self.engines.get(&site)) else {
                continue;
            };
            let folder = site.path(&lfn).folder();
            let none = HashSet::new();
            match sweep_leftovers(&**engine, site, &folder, &self.mover, &none, &self.patience).await {
                Ok(swept) if !swept.removed.is_empty() => {
                    tracing::info!(site = %site.name, folder = %folder, files = swept.removed.len(), "leftovers removed");
                }
                Ok(_) => {}
                Err(fault) => {
                    tracing::warn!(site = %site.name, reason = fault.text, "leftovers not looked for")
                }
            }
        }
    }
}
