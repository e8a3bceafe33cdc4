//! The planner's properties: oldest first, limits kept, nothing that could start is left.

use proptest::prelude::*;

use super::*;

struct Open(Vec<String>);

impl Doors for Open {
    fn is_open(&self, _: &SiteName) -> bool {
        true
    }

    fn servers(&self, _: &SiteName) -> Vec<String> {
        self.0.clone()
    }
}

fn rank(run: u32, size: u64, index: bool, priority: i32) -> Rank {
    let name = format!("/mfx/mfxl1/xtc/mfxl1-r{run:04}-s{:02}-c00.xtc", size % 97);
    Rank {
        priority: Reverse(priority),
        low: false,
        age: Millis(i64::from(run) * 1000),
        run: RunKey { experiment: "mfxl1".parse().unwrap(), run: lightrail_topics::RunNumber(run) },
        index_last: !index,
        size,
        lfn: name.parse().unwrap(),
    }
}

fn group(experiment: &str, small: bool) -> Group {
    Group {
        to: "NERSC".parse().unwrap(),
        from: "SLAC".parse().unwrap(),
        experiment: experiment.parse().unwrap(),
        small,
    }
}

#[test]
fn the_oldest_run_goes_first_and_small_index_files_first_inside_it() {
    let mut queue = Queue::default();
    for (run, size, index) in [(2, 10, true), (1, 900, false), (1, 5, true), (2, 800, false)] {
        queue.insert(group("mfxl1", index), rank(run, size, index, 0));
    }
    queue.insert(group("cxi01", false), rank(3, 1, false, 1));
    let mut order = Vec::new();
    while let Some(pick) = queue.pick(&Limits::default(), &Open(vec![])) {
        order.push((pick.rank.run.run.0, pick.rank.size));
    }
    assert_eq!(order, [(3, 1), (1, 5), (1, 900), (2, 10), (2, 800)]);
}

#[test]
fn big_files_leave_the_slots_kept_for_small_ones() {
    let limits = Limits {
        sites: [(
            "NERSC".parse().unwrap(),
            SiteLimits { transfers: 4, reserved_small: 2, ..SiteLimits::default() },
        )]
        .into(),
        ..Limits::default()
    };
    let mut queue = Queue::default();
    for n in 0..6 {
        queue.insert(group("mfxl1", false), rank(1, 1000 + n, false, 0));
        queue.insert(group("mfxl1", true), rank(9, n, true, 0));
    }
    let small: Vec<bool> =
        std::iter::from_fn(|| queue.pick(&limits, &Open(vec![]))).map(|pick| pick.group.small).collect();
    assert_eq!(small, [false, false, true, true]);
}

#[test]
fn one_that_waits_for_bytes_in_flight_is_not_passed_in_its_lane() {
    let site = SiteLimits { bytes_in_flight: 1000, ..SiteLimits::default() };
    let limits = Limits { sites: [("NERSC".parse().unwrap(), site)].into(), ..Limits::default() };
    let mut queue = Queue::default();
    for (experiment, run, size, small) in
        [("mfxl1", 1, 600, false), ("mfxl1", 2, 700, false), ("cxi01", 3, 10, false), ("cxi01", 4, 20, true)]
    {
        queue.insert(group(experiment, small), rank(run, size, small, 0));
    }
    let doors = Open(vec![]);
    let started =
        |queue: &mut Queue| -> Vec<Pick> { std::iter::from_fn(|| queue.pick(&limits, &doors)).collect() };
    let runs = |picks: &[Pick]| -> Vec<u32> { picks.iter().map(|pick| pick.rank.run.run.0).collect() };
    let first = started(&mut queue);
    assert_eq!(
        runs(&first),
        [1, 4],
        "run 2 has no room, run 3 would take it away again, run 4 has a lane of its own"
    );
    let why = |run, size, experiment| {
        queue.blocked(&group(experiment, false), &rank(run, size, false, 0), &limits, &doors)
    };
    assert_eq!((why(2, 700, "mfxl1"), why(3, 10, "cxi01")), (Some(Blocked::Bytes), Some(Blocked::Behind)));
    let Pick { group, rank, server } = first[0].clone();
    queue.release(&Taken { group, bytes: rank.size, server });
    assert_eq!(runs(&started(&mut queue)), [2, 3]);
}

proptest! {
    #[test]
    fn limits_are_kept_the_oldest_goes_first_and_nothing_that_could_start_is_left(
        files in proptest::collection::vec((0u32..6, 0u64..1000, any::<bool>(), 0usize..3, -1i32..2), 1..60),
        transfers in 1u32..8, reserved in 0u32..4, bytes in 1u64..4000, per_server in 1u32..4, share in 1u32..6,
    ) {
        let experiments = ["mfxl1", "cxi01", "xpp02"];
        let site = SiteLimits { transfers, reserved_small: reserved, bytes_in_flight: bytes, per_server };
        let limits = Limits {
            sites: [("NERSC".parse().unwrap(), site)].into(),
            experiments: [("mfxl1".parse().unwrap(), share)].into(),
        };
        let doors = Open(vec!["a:1".into(), "b:1".into()]);
        let mut queue = Queue::default();
        for (run, size, small, experiment, priority) in files {
            queue.insert(group(experiments[experiment], small), rank(run, size, small, priority));
        }
        let mut under_way: Vec<Pick> = Vec::new();
        let mut total = queue.len();
        // Start all that can start, then finish one, until nothing is left: everything must have been started.
        loop {
            loop {
                let before = queue.clone();
                let Some(pick) = queue.pick(&limits, &doors) else { break };
                // Nobody older could have used the slot: every head that ranks before the pick was blocked.
                for (other, ranks) in &before.ready {
                    for head in ranks.iter().take(1).filter(|head| **head < pick.rank) {
                        prop_assert!(before.blocked(other, head, &limits, &doors).is_some());
                    }
                }
                total -= 1;
                under_way.push(pick);
            }
            let all = under_way.len();
            prop_assert!(all <= transfers as usize);
            let big = under_way.iter().filter(|p| !p.group.small).count();
            prop_assert!(big <= (transfers.saturating_sub(reserved)).max(1) as usize);
            let sum: u64 = under_way.iter().map(|p| p.rank.size).sum();
            prop_assert!(sum <= bytes || under_way.iter().filter(|p| p.rank.size > 0).count() <= 1);
            let ours = under_way.iter().filter(|p| p.group.experiment.as_str() == "mfxl1").count();
            prop_assert!(ours <= share as usize);
            for server in ["a:1", "b:1"] {
                let here = under_way.iter().filter(|p| p.server.as_deref() == Some(server)).count();
                prop_assert!(here <= per_server as usize);
            }
            match under_way.pop() {
                Some(done) => {
                    let bytes = done.rank.size;
                    queue.release(&Taken { group: done.group, bytes, server: done.server });
                }
                None => break,
            }
        }
        prop_assert_eq!(total, 0);
    }
}
