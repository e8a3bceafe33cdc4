//! The mover against `xrdcp`: one file, a run, a thousand small files, and the way from the last byte to the event. All on
//! the same servers; both sides verify end to end; files are new each time.

mod bare;
mod copies;
mod events;
mod many;
mod peer;
mod runs;

use lightrail_tests::{Settings, Setup, Stage};

use crate::report::Row;

pub(crate) async fn measure(quick: bool) -> anyhow::Result<Vec<Row>> {
    let mut settings = Settings::default();
    // The servers' own limit, so that neither side is held back.
    settings.set("sites.NERSC", "per_server", 9).text("log", "filter", "warn");
    let stage = Stage::start(Setup { settings, ..Setup::default() }).await?;
    stage.announce()?;
    let mut rows = Vec::new();
    rows.extend(copies::measure(&stage, quick).await?);
    rows.extend(events::measure(&stage, quick).await?);
    rows.extend(runs::measure(&stage, quick).await?);
    rows.extend(many::measure(&stage, quick).await?);
    Ok(rows)
}
