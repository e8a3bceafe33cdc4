//! What set-up found: which topics it made, and how those that were there differ from what they should be. Pure.

use std::collections::HashMap;
use std::fmt;

use crate::topic::{Keeping, TopicSpec};

/// What set-up found about one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicReport {
    /// The topic's full name.
    pub name: String,
    /// Whether it was made just now.
    pub created: bool,
    /// Where one that was there differs from what it should be.
    pub differences: Vec<Difference>,
}

/// A setting of a topic that is not as it should be. Set-up never changes a topic that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Kafka's name of the setting, or `partitions`.
    pub setting: &'static str,
    /// What it should be.
    pub wanted: String,
    /// What it is.
    pub found: String,
    /// Whether messages go earlier than they may: said at every start and in the metrics.
    pub loses_messages: bool,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { setting, wanted, found, .. } = self;
        write!(f, "{setting} is {found} and should be {wanted}")?;
        if self.loses_messages { f.write_str(": messages are lost") } else { Ok(()) }
    }
}

/// The settings with which a topic is made.
pub(super) fn settings(keeping: Keeping) -> Vec<(&'static str, String)> {
    match keeping {
        Keeping::ForEver => vec![
            ("cleanup.policy", "delete".to_owned()),
            ("retention.ms", "-1".to_owned()),
            ("retention.bytes", "-1".to_owned()),
        ],
        Keeping::For(time) => vec![
            ("cleanup.policy", "delete".to_owned()),
            ("retention.ms", time.as_millis().to_string()),
            ("retention.bytes", "-1".to_owned()),
        ],
        Keeping::Newest { min_lag } => vec![
            ("cleanup.policy", "compact".to_owned()),
            ("min.compaction.lag.ms", min_lag.as_millis().to_string()),
        ],
    }
}

/// How a topic that is there differs.
pub(super) fn differences(
    spec: &TopicSpec,
    partitions: usize,
    found: &HashMap<String, String>,
) -> Vec<Difference> {
    let mut differences = Vec::new();
    if usize::try_from(spec.partitions) != Ok(partitions) {
        let (wanted, found) = (spec.partitions.to_string(), partitions.to_string());
        differences.push(Difference { setting: "partitions", wanted, found, loses_messages: false });
    }
    for (setting, wanted) in settings(spec.keeping) {
        let Some(found) = found.get(setting) else { continue };
        let loses_messages = match setting {
            // Deleting where only compaction may be loses the newest of a key; compaction alone loses all but the newest.
            "cleanup.policy" if *found != wanted => true,
            // -1 is for ever; longer than wanted is no difference.
            _ if setting != "cleanup.policy" && shorter(setting, found, &wanted) => true,
            _ => continue,
        };
        differences.push(Difference { setting, wanted, found: found.clone(), loses_messages });
    }
    differences
}

fn shorter(setting: &str, found: &str, wanted: &str) -> bool {
    let number = |text: &str| text.parse::<i64>().unwrap_or(-1);
    let for_ever =
        |value: i64| if value < 0 && setting != "min.compaction.lag.ms" { i64::MAX } else { value };
    for_ever(number(found)) < for_ever(number(wanted))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn found(pairs: &[(&str, &str)]) -> HashMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn only_what_loses_messages_or_places_keys_elsewhere_is_a_difference() {
        let spec = |keeping| TopicSpec { name: "t".to_owned(), partitions: 4, replication: 1, keeping };
        let day = Keeping::For(Duration::from_secs(86_400));
        let ok = found(&[("cleanup.policy", "delete"), ("retention.ms", "-1"), ("retention.bytes", "-1")]);
        assert_eq!(differences(&spec(Keeping::ForEver), 4, &ok), []);
        assert_eq!(differences(&spec(day), 4, &ok), [], "longer is no difference");
        let short = found(&[
            ("cleanup.policy", "delete"),
            ("retention.ms", "1000"),
            ("retention.bytes", "1073741824"),
        ]);
        let said: Vec<String> = differences(&spec(day), 2, &short).iter().map(ToString::to_string).collect();
        assert_eq!(
            said,
            [
                "partitions is 2 and should be 4",
                "retention.ms is 1000 and should be 86400000: messages are lost",
                "retention.bytes is 1073741824 and should be -1: messages are lost",
            ]
        );
        let week = Keeping::Newest { min_lag: Duration::from_secs(7 * 86_400) };
        let eager = found(&[("cleanup.policy", "compact"), ("min.compaction.lag.ms", "0")]);
        let [only] = &differences(&spec(week), 4, &eager)[..] else { panic!("one difference") };
        assert!(only.loses_messages && only.setting == "min.compaction.lag.ms");
        assert!(
            differences(&spec(week), 4, &found(&[("cleanup.policy", "compact,delete")]))[0].loses_messages
        );
    }
}
