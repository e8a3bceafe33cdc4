//! The mover against `xrdcp`: one file, a run, a thousand small files, and the way from the last byte to the event. All on
//! the same servers; both sides verify end to end; files are new each time.

mod bare;
mod copies;
mod events;
mod many;
mod peer;
mod runs;

use lightrail_compose::process::tail;
use lightrail_compose::services::Mover;
use lightrail_tests::{Settings, Setup, Stage};

use crate::Scope;
use crate::report::{Row, tell};

pub(crate) async fn measure(scope: Scope<'_>) -> anyhow::Result<Vec<Row>> {
    let mut settings = Settings::default();
    // The servers' own limit, so that neither side is held back.
    settings.set("sites.NERSC", "per_server", 9).text("log", "filter", "warn");
    // What was measured is removed; nobody is to find it missing meanwhile.
    settings.text("sweep", "every", "1h");
    let stage = Stage::start(Setup { settings, ..Setup::default() }).await?;
    let measured = all(&stage, scope).await;
    if measured.is_err() {
        let log = stage.mover.as_ref().map(Mover::log).unwrap_or_default();
        eprintln!("the mover's log ends with:\n{}", tail(&log, 40));
    }
    measured
}

async fn all(stage: &Stage, scope: Scope<'_>) -> anyhow::Result<Vec<Row>> {
    stage.announce()?;
    let mut rows = Vec::new();
    if scope.wants("copies") {
        rows.extend(tell(copies::measure(stage, scope.quick).await?));
    }
    if scope.wants("events") {
        rows.extend(tell(events::measure(stage, scope.quick).await?));
    }
    if scope.wants("runs") {
        rows.extend(tell(runs::measure(stage, scope.quick).await?));
    }
    if scope.wants("many") {
        rows.extend(tell(many::measure(stage, scope.quick).await?));
    }
    Ok(rows)
}
