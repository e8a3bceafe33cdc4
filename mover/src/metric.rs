//! The names of all metrics, with what they mean. Constants only.

/// Messages that could not be understood.
pub const DEAD_LETTERS: &str = "lightrail_mover_dead_letters_total";
/// Files verified at their final name.
pub const FILES_AVAILABLE: &str = "lightrail_mover_files_available_total";
/// Bytes of verified files.
pub const BYTES_AVAILABLE: &str = "lightrail_mover_bytes_available_total";
/// Attempts that failed, by class and code.
pub const ATTEMPTS_FAILED: &str = "lightrail_mover_attempts_failed_total";
/// Seconds from the beginning of an attempt to the verified file.
pub const ATTEMPT_SECONDS: &str = "lightrail_mover_attempt_seconds";
/// Transfers that are ready.
pub const QUEUED: &str = "lightrail_mover_queued";
/// Attempts under way.
pub const UNDER_WAY: &str = "lightrail_mover_under_way";
/// Messages that wait for Kafka.
pub const OUTBOX: &str = "lightrail_mover_outbox";
/// Whether the mover is ready.
pub const READY: &str = "lightrail_mover_ready";
/// Endpoints that are left alone.
pub const BREAKERS_OPEN: &str = "lightrail_mover_breakers_open";
/// Topics whose retention is shorter than the design's.
pub const SHORT_RETENTION: &str = "lightrail_mover_topics_short_retention";
/// Journals that had to be rebuilt.
pub const REBUILDS: &str = "lightrail_mover_rebuilds_total";

/// Describes all metrics to the recorder.
pub fn describe() {
    use metrics::{describe_counter, describe_gauge, describe_histogram};
    describe_counter!(DEAD_LETTERS, "Messages that could not be understood");
    describe_counter!(FILES_AVAILABLE, "Files verified at their final name");
    describe_counter!(BYTES_AVAILABLE, "Bytes of verified files");
    describe_counter!(ATTEMPTS_FAILED, "Attempts that failed, by class and code");
    describe_histogram!(ATTEMPT_SECONDS, "Seconds from the beginning of an attempt to the verified file");
    describe_gauge!(QUEUED, "Transfers that are ready");
    describe_gauge!(UNDER_WAY, "Attempts under way");
    describe_gauge!(OUTBOX, "Messages that wait for Kafka");
    describe_gauge!(READY, "1 if the mover takes in and carries");
    describe_gauge!(BREAKERS_OPEN, "Endpoints that are left alone");
    describe_gauge!(SHORT_RETENTION, "Topics whose retention is shorter than the design's");
    describe_counter!(REBUILDS, "Journals that had to be rebuilt");
}
