//! Files that others touch while we work: what is tampered with is not believed, what is somebody else's is kept.

use super::*;
use crate::carry::memory::{Tamper as _, Tampering};

#[tokio::test(start_paused = true)]
async fn what_is_not_the_same_after_the_rename_is_not_believed() {
    let bottle = Bottle::with(MemorySite::shared(&["s1"]), MemorySite::shared(&["d1"]));
    bottle.memory.put(&bottle.from.name, &bottle.source(), bytes(1000));
    let job = bottle.job(1);
    let (done, ()) = tokio::join!(bottle.run(&job), async {
        while bottle.arrived().is_none() {
            tokio::time::sleep(Duration::from_micros(100)).await;
        }
        let place = Place { site: &bottle.to, server: Some("d1") };
        bottle.memory.tamper(place, &bottle.target(), Tampering::Corrupt);
    });
    let fault = done.unwrap_err();
    assert_eq!((fault.class, fault.code.as_str()), (FaultClass::Integrity, "not-confirmed"));
    assert_eq!(bottle.arrived(), None);
    assert_eq!(bottle.names(&bottle.to.name).len(), 1, "set aside, not removed");
}

#[tokio::test(start_paused = true)]
async fn somebody_else_s_file_that_comes_late_is_looked_at_before_the_rename() {
    for theirs in [bytes(1000), vec![5; 10]] {
        let settings = MemorySite { rate: 200, ..MemorySite::shared(&["d1"]) };
        let bottle = Bottle::with(MemorySite::shared(&["s1"]), settings);
        bottle.memory.put(&bottle.from.name, &bottle.source(), bytes(1000));
        let job = bottle.job(1);
        let (done, ()) = tokio::join!(bottle.run(&job), async {
            tokio::time::sleep(Duration::from_secs(2)).await;
            bottle.memory.put(&bottle.to.name, &bottle.target(), theirs.clone());
        });
        let carried = done.unwrap();
        assert_eq!(bottle.arrived(), Some(bytes(1000)));
        assert_eq!(carried.set_aside.is_some(), theirs.len() == 10);
        let names = bottle.names(&bottle.to.name);
        assert!(names.iter().all(|name| !name.starts_with('.')), "{names:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_file_that_lost_bytes_is_noticed_by_its_size_alone() {
    let nothing = |settings: MemorySite| MemorySite { offers: Vec::new(), ..settings };
    let slow = MemorySite { rate: 200, ..MemorySite::shared(&["d1"]) };
    let mut bottle = Bottle::with(nothing(MemorySite::shared(&["s1"])), nothing(slow));
    bottle.to.verify = Verify::Size;
    bottle.memory.put(&bottle.from.name, &bottle.source(), bytes(1000));
    let job = bottle.job(1);
    let (done, ()) = tokio::join!(bottle.run(&job), async {
        tokio::time::sleep(Duration::from_secs(2)).await;
        let name = temporary_name(&bottle.lfn, &job.mover, &job.transfer, job.attempt);
        let place = Place { site: &bottle.to, server: Some("d1") };
        bottle.memory.tamper(place, &bottle.target().beside(&name), Tampering::Truncate);
    });
    let fault = done.unwrap_err();
    assert_eq!((fault.class, fault.code.as_str()), (FaultClass::Integrity, "size-mismatch"));
    assert!(fault.text.contains("of 1000 bytes"), "{fault}");
    assert!(bottle.memory.paths(&bottle.to.name).is_empty());
}
