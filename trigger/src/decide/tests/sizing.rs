//! Tasks are as large as what is left to be done.

use super::*;

#[test]
fn a_task_is_as_large_as_what_the_one_before_has_left_over() {
    let work = Work::Analysis { workers: 4, images_per_worker: Some(100) };
    let sized = Task { nodes: 2, ..task("work", work, &["index"]) };
    let rule = rule(Trigger::AllFilesTransferred, vec![task("index", command(), &[]), sized]);
    // Published images, whether more may come, results; nodes and the workers of each.
    for (images, state, results, size) in [
        (350, IndexState::Closed, 0, (1, Some(4))),
        (350, IndexState::Closed, 340, (1, Some(1))),
        (600, IndexState::Closed, 100, (2, Some(3))),
        (9000, IndexState::Closed, 0, (2, Some(4))),
        (10, IndexState::Growing, 0, (2, None)),
    ] {
        let mut book = Book::new(limits(2));
        book.take(Input::Rule(rule.rule.clone(), Some(rule.clone())), Millis(0));
        book.take(available(1), Millis(0));
        let index = published(&mut book, 0).remove(0);
        book.take(indexed(images, state), Millis(0));
        for _ in 0..results {
            book.take(Input::Result(RunInTrial { run: run(1), trial: TrialNumber(3) }), Millis(0));
        }
        let step = JobStep::Ended { id: None, end: JobEnd::Done, waited: None };
        book.take(Input::Job(Job { place: 1, step, ..index }), Millis(0));
        let job = published(&mut book, 0).remove(0);
        let JobStep::Intended { nodes, workers_each, .. } = job.step else { panic!("{job:?}") };
        assert_eq!((nodes, workers_each), size, "{images} images, {results} results");
        // And so it is submitted, whatever has become of the images since.
        book.take(indexed(1, IndexState::Closed), Millis(0));
        let (work, nodes, _) = book.task_work(book.job(&job.job).unwrap()).unwrap();
        let Work::Analysis { workers, .. } = work else { panic!("{work:?}") };
        assert_eq!((nodes, workers), (size.0, size.1.unwrap_or(4)));
    }
}
