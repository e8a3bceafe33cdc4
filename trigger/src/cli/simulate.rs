//! A simulated facility from the command line, until it is told to end.

use std::path::Path;

use lightrail_service::command::{self, Failure};
use lightrail_service::say;

use crate::simulate::scenario::Scenario;
use crate::simulate::{Facility, SimulateError};

/// Serves a scenario.
pub(super) async fn facility(path: &Path) -> Result<(), Failure> {
    let scenario = Scenario::load(path)?;
    lightrail_service::telemetry::start(&scenario.log).map_err(Failure::Usage)?;
    let stop = command::stopped()?;
    let facility = Facility::start(scenario).await.map_err(|error| match error {
        SimulateError::Listen { .. } => Failure::Other(error.into()),
        // The scenario names them.
        SimulateError::Unreadable { .. } | SimulateError::NoKey { .. } => Failure::Usage(error.into()),
    })?;
    say!("a simulated facility, for tests and drills; it is no facility");
    say!("  SF API 1.2  {}", facility.sfapi());
    say!("  its tokens  {}", facility.token());
    say!("  IRI         {}", facility.iri());
    stop.cancelled().await;
    Ok(())
}
