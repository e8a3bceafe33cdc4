//! Which servers a copy uses. Pure: the same arguments, the same answer.

/// The servers in the order in which they should be tried: the preferred one, then the others turned by `turn` so
/// that files spread, then those to avoid, which are listed last failure first and tried the other way round.
pub(super) fn ranked(servers: &[String], prefer: Option<&str>, avoid: &[String], turn: u64) -> Vec<String> {
    let avoided = |server: &String| avoid.iter().position(|bad| bad == server);
    let mut order = servers.to_vec();
    order.sort();
    order.dedup();
    if !order.is_empty() {
        let by = usize::try_from(turn % order.len() as u64).unwrap_or(0);
        order.rotate_left(by);
    }
    // Stable: within a rank the turned order stays.
    order.sort_by_key(|server| match avoided(server) {
        None if prefer == Some(server.as_str()) => (0, 0),
        None => (1, 0),
        Some(place) => (2, avoid.len() - place),
    });
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn the_preferred_comes_first_and_the_failed_last() {
        let servers = names("a b c d");
        assert_eq!(ranked(&servers, None, &[], 0), names("a b c d"));
        assert_eq!(ranked(&servers, None, &[], 6), names("c d a b"));
        assert_eq!(ranked(&servers, Some("d"), &names("a b"), 0), names("d c b a"));
        assert_eq!(
            ranked(&servers, Some("b"), &names("b"), 0),
            names("a c d b"),
            "a failed one is not preferred"
        );
        assert!(ranked(&[], None, &[], 5).is_empty());
    }
}
