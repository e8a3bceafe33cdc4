//! The names of the trigger's metrics, with what they mean. Constants only.

/// Steps of jobs committed. Labels: step.
pub(super) const STEPS: &str = "lightrail_trigger_job_steps_total";
/// Jobs that are not over. Labels: site.
pub(super) const JOBS: &str = "lightrail_trigger_jobs";
/// Submissions tried. Labels: outcome, `taken`, `refused` or `unknown`.
pub(super) const SUBMISSIONS: &str = "lightrail_trigger_submissions_total";
/// Schedulers that did not answer. Labels: site.
pub(super) const SCHEDULER_FAULTS: &str = "lightrail_trigger_scheduler_faults_total";
/// Seconds that a decision over all rules and runs took.
pub(super) const DECIDE_SECONDS: &str = "lightrail_trigger_decide_seconds";
/// Messages that could not be understood.
pub(super) const DEAD_LETTERS: &str = "lightrail_trigger_dead_letters_total";
/// Jobs that have failed and are not tried again.
pub(super) const STOPPED: &str = "lightrail_trigger_stopped_total";
/// How often it was said that an experiment's data go elsewhere.
pub(super) const FAILOVERS: &str = "lightrail_trigger_failovers_total";
/// Node-seconds that workers waited for images of runs that were still being copied.
pub(super) const WAITED_NODE_SECONDS: &str = "lightrail_trigger_waited_node_seconds_total";
/// Images that wait at a site. Labels: site, class.
pub(super) const BACKLOG: &str = "lightrail_trigger_backlog_images";
/// Whether it decides.
pub(super) const READY: &str = "lightrail_trigger_ready";
/// Topics whose retention is shorter than the design's.
pub(super) const SHORT_RETENTION: &str = "lightrail_trigger_topics_short_retention";

/// Describes all metrics to the recorder.
pub(super) fn describe() {
    use metrics::{describe_counter, describe_gauge, describe_histogram};
    describe_counter!(STEPS, "Steps of jobs committed");
    describe_gauge!(JOBS, "Jobs that are not over");
    describe_counter!(SUBMISSIONS, "Submissions tried");
    describe_counter!(SCHEDULER_FAULTS, "Schedulers that did not answer");
    describe_histogram!(DECIDE_SECONDS, "Seconds that a decision over all rules and runs took");
    describe_counter!(DEAD_LETTERS, "Messages that could not be understood");
    describe_counter!(STOPPED, "Jobs that have failed and are not tried again");
    describe_counter!(FAILOVERS, "How often it was said that an experiment's data go elsewhere");
    describe_counter!(
        WAITED_NODE_SECONDS,
        "Node-seconds that workers waited for images of runs being copied"
    );
    describe_gauge!(BACKLOG, "Images that wait at a site");
    describe_gauge!(READY, "1 if it decides");
    describe_gauge!(SHORT_RETENTION, "Topics whose retention is shorter than the design's");
}
