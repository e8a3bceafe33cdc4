//! `reroute`: moves runs' images that are not worked yet to another site.

use anyhow::anyhow;
use clap::Args;
use lightrail_topics::{Experiment, SiteName};

use super::ConfigFile;
use crate::config::{Config, Site};
use crate::index::{Reroute, place, reroute};
use crate::trial::Runs;
use lightrail_service::command::Failure;
use lightrail_service::say;

/// What is to be moved.
#[derive(Debug, Args)]
pub(super) struct Asked {
    /// The experiment.
    experiment: Experiment,
    /// Its runs, such as 12, 12-20, 12-end, all.
    runs: Runs,
    /// The site whose images they are.
    #[arg(long, value_name = "SITE")]
    from: SiteName,
    /// The site that is to work them; their files have to be there.
    #[arg(long, value_name = "SITE")]
    to: SiteName,
    #[command(flatten)]
    file: ConfigFile,
}

impl Asked {
    pub(super) async fn obey(self) -> Result<(), Failure> {
        let config = self.file.load()?;
        lightrail_service::telemetry::start(&config.log).map_err(Failure::Usage)?;
        known(&config, &self.from)?;
        let files = known(&config, &self.to)?.clone();
        if self.from == self.to {
            return Err(Failure::Usage(anyhow!("{} is both sites", self.from)));
        }
        let place = place(&config, "lightrail-reroute").map_err(|error| Failure::Usage(error.into()))?;
        let Self { experiment, runs, from, to, .. } = self;
        let asked = Reroute { experiment, runs, from, to, files };
        let moved = reroute(&place, &asked).await.map_err(|error| Failure::Other(error.into()))?;
        if moved.images.is_empty() {
            say!("none of the runs {} of {} is {}'s", asked.runs, asked.experiment, asked.from);
        }
        for (of, images) in &moved.images {
            say!("run {} under trial {}: {images} images moved to {}", of.run, of.trial, asked.to);
        }
        say!("{} images of others put back at {}", moved.put_back, asked.from);
        Ok(())
    }
}

fn known<'c>(config: &'c Config, site: &SiteName) -> Result<&'c Site, Failure> {
    if let Some(found) = config.sites.get(site) {
        return Ok(found);
    }
    let near = lightrail_service::settings::nearest(site.as_str(), config.sites.keys().map(SiteName::as_str));
    let hint = near.map(|near| format!(", did you mean `{near}`?")).unwrap_or_default();
    Err(Failure::Usage(anyhow!("site `{site}` is not configured{hint}")))
}
