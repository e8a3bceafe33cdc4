//! The names of index's metrics, with what they mean. Constants only.

/// Images published. Labels: lane, `live` or `reprocess`.
pub(super) const IMAGES: &str = "lightrail_index_images_total";
/// Seconds from a run's turn to its last image, runs that are taken meanwhile excepted.
pub(super) const RUN_SECONDS: &str = "lightrail_index_run_seconds";
/// Runs that are published now.
pub(super) const BUSY: &str = "lightrail_index_runs_busy";
/// Runs that wait for something that somebody has to do: a live trial, one that fits, another site's.
pub(super) const WAITING: &str = "lightrail_index_runs_waiting";
/// Index files that were cut or damaged.
pub(super) const FAULTS: &str = "lightrail_index_file_faults_total";
/// Parts of images that came after their image.
pub(super) const LATE: &str = "lightrail_index_late_parts_total";
/// Messages that could not be understood.
pub(super) const DEAD_LETTERS: &str = "lightrail_index_dead_letters_total";
/// Whether index follows its topics.
pub(super) const READY: &str = "lightrail_index_ready";
/// Topics whose retention is shorter than the design's.
pub(super) const SHORT_RETENTION: &str = "lightrail_index_topics_short_retention";

/// Describes all metrics to the recorder.
pub(super) fn describe() {
    use metrics::{describe_counter, describe_gauge, describe_histogram};
    describe_counter!(IMAGES, "Images published");
    describe_histogram!(RUN_SECONDS, "Seconds from a run's turn to its last image");
    describe_gauge!(BUSY, "Runs that are published now");
    describe_gauge!(WAITING, "Runs that wait for something that somebody has to do");
    describe_counter!(FAULTS, "Index files that were cut or damaged");
    describe_counter!(LATE, "Parts of images that came after their image");
    describe_counter!(DEAD_LETTERS, "Messages that could not be understood");
    describe_gauge!(READY, "1 if index follows its topics");
    describe_gauge!(SHORT_RETENTION, "Topics whose retention is shorter than the design's");
}
