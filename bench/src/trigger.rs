//! The trigger: what deciding costs, how often a scheduler is asked, how soon an available run is submitted to a real Slurm, and how
//! its choice of a site does on the Balsam experiment's numbers.

mod decide;
mod policies;
mod submit;

use crate::Scope;
use crate::report::{Row, tell};

/// What is printed with the table.
pub(crate) fn settings() -> String {
    format!("{}; {}; {}", decide::settings(), submit::settings(), policies::settings())
}

pub(crate) async fn measure(scope: Scope<'_>) -> anyhow::Result<Vec<Row>> {
    let mut rows = Vec::new();
    if scope.wants("decide") {
        rows.extend(tell(decide::measure(scope.quick)?));
    }
    if scope.wants("submit") {
        rows.extend(tell(submit::measure(scope.quick).await?));
    }
    if scope.wants("policies") {
        rows.extend(tell(policies::measure(scope.quick)));
    }
    Ok(rows)
}
