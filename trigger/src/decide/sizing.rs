//! How many workers a task's job has: one for so many images as are left without a result, up to as many as the task says. It is
//! said in the job's intent and not looked at again. Pure.

use lightrail_topics::events::{Rule, Task, Work};
use lightrail_topics::{RunInTrial, RunKey};

use super::book::Book;
use super::life::Life;

/// How large a job of workers is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Size {
    /// Its nodes.
    pub(super) nodes: u32,
    /// Workers of each.
    pub(super) each: u32,
}

/// One worker for so many images of those that are left: on as few nodes as hold them, and the same number on each.
fn size(left: u64, images_per_worker: u32, most: Size) -> Size {
    let each = u64::from(most.each.max(1));
    let all = each.saturating_mul(most.nodes.max(1).into());
    let wanted = left.div_ceil(images_per_worker.max(1).into()).clamp(1, all);
    let nodes = wanted.div_ceil(each);
    let number = |of: u64| u32::try_from(of).unwrap_or(u32::MAX);
    Size { nodes: number(nodes), each: number(wanted.div_ceil(nodes)) }
}

impl Book {
    /// The size of a task's job for a run; none where it does not go by what is left, or nobody knows yet how much that is.
    pub(super) fn size_of(&self, rule: &Rule, task: &Task, run: &RunKey) -> Option<Size> {
        let Work::Analysis { workers, images_per_worker: Some(images) } = &task.work else { return None };
        let left = self.left_of(&RunInTrial { run: run.clone(), trial: rule.trial? })?;
        Some(size(left, *images, Size { nodes: task.nodes, each: *workers }))
    }

    /// What a task's job runs, on how many nodes, for how long: as large as its intent says, for what is left has changed since.
    pub fn task_work(&self, life: &Life) -> Option<(Work, u32, u64)> {
        let (_, task) = self.task(life)?;
        Some(match (&task.work, life.workers_each) {
            (Work::Analysis { images_per_worker, .. }, Some(workers)) => {
                let work = Work::Analysis { workers, images_per_worker: *images_per_worker };
                (work, life.nodes, task.seconds)
            }
            (work, _) => (work.clone(), task.nodes, task.seconds),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_as_many_workers_as_what_is_left_wants_and_the_task_allows() {
        let sized = |left, nodes, each| {
            let size = size(left, 100, Size { nodes, each });
            (size.nodes, size.each)
        };
        assert_eq!(
            [0, 1, 100, 101, 399, 401].map(|left| sized(left, 1, 4)),
            [(1, 1), (1, 1), (1, 1), (1, 2), (1, 4), (1, 4)]
        );
        // On several nodes: those that are not wanted are not taken.
        assert_eq!([400, 401, 900, 9000].map(|left| sized(left, 3, 4)), [(1, 4), (2, 3), (3, 3), (3, 4)]);
    }
}
