//! `pools`: the standing pools' jobs as far as they have come. Reads what the trigger reads; changes nothing.

use comfy_table::{Table, presets};

use super::explain::told;
use super::kafka::{reach, unread};
use crate::config::Config;
use crate::decide::Book;
use crate::follow;
use crate::run::limits;
use lightrail_service::command::Failure;
use lightrail_service::say;

pub(super) async fn list(config: &Config) -> Result<(), Failure> {
    let (connection, topics) = reach(config)?;
    let (book, logbook) = (Book::new(limits(config)), config.logbook.is_some());
    let begun = follow::begin(&connection, &topics, logbook, book, config.decide.patience).await;
    let book = begun.map_err(|error| unread("the topics", error))?.book;
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    table.set_header(["pool", "site", "class", "slot", "attempt", "state", "at", "started because"]);
    for life in book.pool_jobs() {
        let Some(job) = life.identity.of_pool() else { continue };
        let (step, at) = &life.last;
        table.add_row([
            job.pool.to_string(),
            job.site.to_string(),
            life.class.to_string(),
            job.slot.to_string(),
            job.attempt.to_string(),
            format!("{}{}", step.word().replace('_', " "), told(step)),
            at.to_string(),
            life.reason.clone(),
        ]);
    }
    if config.pools.is_empty() {
        say!("no pool is configured: say [pools.NAME]");
    }
    if table.is_empty() {
        say!("no pool has started a job");
    } else {
        say!("{table}");
    }
    Ok(())
}
