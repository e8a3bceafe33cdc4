//! The names of a worker's metrics, with what they mean. Constants only.

/// Results committed. Labels: lane, outcome.
pub(super) const RESULTS: &str = "lightrail_worker_results_total";
/// Seconds that parts of an image's way took. Labels: part.
pub(super) const SECONDS: &str = "lightrail_worker_image_seconds";
/// Bytes read.
pub(super) const BYTES: &str = "lightrail_worker_read_bytes_total";
/// Images that came and are not begun. Labels: lane.
pub(super) const WAITING: &str = "lightrail_worker_waiting";
/// Images behind of the live group, as last looked at.
pub(super) const LIVE_LAG: &str = "lightrail_worker_live_lag";
/// Transactions. Labels: outcome, `committed` or `aborted`.
pub(super) const TRANSACTIONS: &str = "lightrail_worker_transactions_total";
/// Seconds from the begin of a transaction to its end.
pub(super) const TRANSACTION_SECONDS: &str = "lightrail_worker_transaction_seconds";
/// Messages that could not be understood.
pub(super) const DEAD_LETTERS: &str = "lightrail_worker_dead_letters_total";
/// Whether the worker is in its groups.
pub(super) const READY: &str = "lightrail_worker_ready";
/// Whether the place where the images lie does not answer.
pub(super) const DOOR_AWAY: &str = "lightrail_worker_door_away";
/// Topics whose retention is shorter than the design's.
pub(super) const SHORT_RETENTION: &str = "lightrail_worker_topics_short_retention";
/// Partitions whose position was lost, and was found again from the results.
pub(super) const LOST_POSITIONS: &str = "lightrail_worker_lost_positions_total";
/// Images summed into powders. Labels: of, `hits` or `misses`.
pub(super) const POWDER_IMAGES: &str = "lightrail_worker_powder_images_total";

/// Describes all metrics to the recorder.
pub(super) fn describe() {
    use metrics::{describe_counter, describe_gauge, describe_histogram};
    describe_counter!(RESULTS, "Results committed");
    describe_histogram!(SECONDS, "Seconds that parts of an image's way took");
    describe_counter!(BYTES, "Bytes read");
    describe_gauge!(WAITING, "Images that came and are not begun");
    describe_gauge!(LIVE_LAG, "Images behind of the live group, as last looked at");
    describe_counter!(TRANSACTIONS, "Transactions");
    describe_histogram!(TRANSACTION_SECONDS, "Seconds from the begin of a transaction to its end");
    describe_counter!(DEAD_LETTERS, "Messages that could not be understood");
    describe_gauge!(READY, "1 if the worker is in its groups");
    describe_gauge!(DOOR_AWAY, "1 if the place where the images lie does not answer");
    describe_gauge!(SHORT_RETENTION, "Topics whose retention is shorter than the design's");
    describe_counter!(LOST_POSITIONS, "Partitions whose position was lost and found again from the results");
    describe_counter!(POWDER_IMAGES, "Images summed into powders");
}
