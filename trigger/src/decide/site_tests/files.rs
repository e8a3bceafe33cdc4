//! What the end of a script says that looks for a task's inputs and outputs.

use super::*;

#[test]
fn a_program_whose_inputs_are_not_there_has_not_failed_itself_and_one_without_its_outputs_has() {
    for (exit, looks_for, told, text) in [
        (118, true, 10, "its node failed (an input was not there, its own output says which (FAILED 118:0))"),
        (
            117,
            true,
            3,
            "its program failed (it has left an output out, its own output says which (FAILED 117:0))",
        ),
        // A program may have its own reasons for these numbers.
        (118, false, 3, "its program failed (FAILED 118:0)"),
        (117, false, 3, "its program failed (FAILED 117:0)"),
    ] {
        let files = if looks_for { vec!["/data/{run}".parse().unwrap()] } else { Vec::new() };
        let (program, arguments) = ("/bin/true".to_owned(), Vec::new());
        let work = Work::Command { program, arguments, inputs: files.clone(), outputs: files };
        let mut world = World::new(&rule(&["NERSC"], vec![task("work", work)]));
        world.lands(1, "NERSC", 10);
        world.plan();
        for attempt in 1..20 {
            if world.told().len() < attempt {
                break;
            }
            let failed = format!("FAILED {exit}:0");
            let end = JobEnd::Failed { class: FailureClass::Application, text: failed };
            world.seen("NERSC", Seen::Ended { end, exit: Some(exit) });
            world.wait(30);
        }
        let (identity, _) = world.intents.last().unwrap();
        let why = world.book.stopped_job(identity).unwrap();
        assert_eq!(world.told().len(), told, "{why}");
        assert!(why.ends_with(text), "{why}");
    }
}
