//! Topics that are there, held against what they should be: what a service says of them at its start, and what the command
//! line prints of them and makes. Changes none.

use std::time::Duration;

use anyhow::Context as _;
use lightrail_topics::TopicSpec;
use lightrail_topics::kafka::{Admin, Connection, Difference, KafkaError, TopicReport};

use crate::command::Failure;
use crate::say;

fn losing(reports: &[TopicReport]) -> impl Iterator<Item = (&TopicReport, &Difference)> {
    let all = reports.iter().flat_map(|report| report.differences.iter().map(move |found| (report, found)));
    all.filter(|(_, difference)| difference.loses_messages)
}

/// Waits until Kafka is there with these topics, and says of each that keeps its messages too short that it does; how many there
/// are is the value of `gauge`. What is waited for is given to `says`, and logged; `made_by` names the programs whose
/// `topics --create` makes them.
///
/// # Errors
/// When Kafka's settings are wrong: no waiting mends them.
pub async fn awaited(
    admin: &Admin,
    specs: &[TopicSpec],
    made_by: &str,
    gauge: &'static str,
    mut says: impl FnMut(String),
) -> Result<(), KafkaError> {
    let mut wait = Duration::from_millis(250);
    loop {
        let error = match admin.describe(specs).await {
            Ok(reports) => {
                warn(&reports, gauge);
                return Ok(());
            }
            Err(error @ KafkaError::Settings(_)) => return Err(error),
            Err(error) => error,
        };
        let hint = match error {
            KafkaError::UnknownTopic(_) => format!("; make them with `topics --create` of {made_by}"),
            _ => String::new(),
        };
        tracing::warn!(%error, "waits for kafka and its topics{hint}");
        says(format!("waits for Kafka and its topics: {error}{hint}"));
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(Duration::from_secs(5));
    }
}

fn warn(reports: &[TopicReport], gauge: &'static str) {
    let mut short = 0_u32;
    for (report, difference) in losing(reports) {
        tracing::error!(topic = report.name, %difference, "topic loses messages too early");
        short += 1;
    }
    metrics::gauge!(gauge).set(f64::from(short));
}

/// What `topics` does: compares topics with what they should be, makes what is missing if told to, prints what came of it.
///
/// # Errors
/// When Kafka does not answer or refuses, and when a topic keeps its messages too short.
pub async fn command(connection: &Connection, specs: &[TopicSpec], create: bool) -> Result<(), Failure> {
    let admin = Admin::new(connection, Duration::from_secs(20));
    let reports = if create { admin.create_topics(specs).await } else { admin.describe(specs).await };
    let reports = reports.with_context(|| format!("kafka at {} does not do it", connection.bootstrap))?;
    Ok(report(&reports, |line| say!("{line}"))?)
}

/// Tells `say` line by line what was made, and how what was there differs.
///
/// # Errors
/// When a topic keeps its messages too short: nothing but a hand changes that.
fn report(reports: &[TopicReport], mut say: impl FnMut(String)) -> anyhow::Result<()> {
    for report in reports {
        let word = if report.created { "made" } else { "there" };
        say(format!("{}: {word}", report.name));
        for difference in &report.differences {
            say(format!("{}: {difference}", report.name));
        }
    }
    anyhow::ensure!(
        losing(reports).next().is_none(),
        "topics that are there keep their messages too short; set them by hand"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_loses_messages_is_an_error_after_all_is_told() {
        let difference = |loses_messages| Difference {
            setting: "retention.ms",
            wanted: "-1".to_owned(),
            found: "5".to_owned(),
            loses_messages,
        };
        let of =
            |name: &str, created, differences| TopicReport { name: name.to_owned(), created, differences };
        let mut said = Vec::new();
        let fine = [of("a", true, vec![]), of("b", false, vec![difference(false)])];
        assert!(report(&fine, |line| said.push(line)).is_ok());
        assert_eq!(said, ["a: made", "b: there", "b: retention.ms is 5 and should be -1"]);
        let short = [of("c", false, vec![difference(true)]), of("d", true, vec![])];
        assert!(report(&short, |line| said.push(line)).unwrap_err().to_string().contains("too short"));
        assert_eq!(said.last().map(String::as_str), Some("d: made"));
    }
}
