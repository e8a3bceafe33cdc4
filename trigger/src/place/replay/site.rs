//! One site as it really is in a replay: data come one job after the other, jobs run in that order on the nodes that are free.
//! What becomes of a job follows from the draws when it is given to the site; who places sees of it only what is past.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::draws::Coming;
use super::{Measured, Trouble};

/// What becomes of a job at a site, seconds; infinite what never happens.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Fate {
    pub(super) job: usize,
    /// Its data begin to come.
    pub(super) begun: f64,
    /// They are there.
    pub(super) landed: f64,
    pub(super) starts: f64,
    pub(super) ends: f64,
    pub(super) done: f64,
}

/// A time that can be compared: none is no number.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Time(f64);

impl Eq for Time {}

impl PartialOrd for Time {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Time {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }
}

pub(super) struct Site<'c> {
    pub(super) is: Measured,
    pub(super) planned: Vec<(f64, f64)>,
    fails: f64,
    coming: &'c Coming,
    /// When the data before have come.
    line_free: f64,
    /// When each node is free.
    nodes: BinaryHeap<Reverse<Time>>,
    /// Line and nodes as they were before each job was given.
    before: Vec<(f64, BinaryHeap<Reverse<Time>>)>,
}

impl<'c> Site<'c> {
    pub(super) fn new(is: Measured, coming: &'c Coming, troubles: &[Trouble]) -> Self {
        let (mut planned, mut fails) = (Vec::new(), f64::INFINITY);
        for trouble in troubles {
            match trouble {
                Trouble::Planned(name, from, to) if *name == is.site => planned.push((*from, *to)),
                Trouble::Fails(name, at) if *name == is.site => fails = *at,
                _ => {}
            }
        }
        let nodes = (0..is.nodes).map(|_| Reverse(Time(0.0))).collect();
        Self { is, planned, fails, coming, line_free: 0.0, nodes, before: Vec::new() }
    }

    /// Gives it a job that runs so long there.
    pub(super) fn give(&mut self, job: usize, run: f64, now: f64) -> Fate {
        self.before.push((self.line_free, self.nodes.clone()));
        let begun = self.line_free.max(now);
        let landed = self.coming.lands(begun);
        self.line_free = landed;
        let free = self.nodes.pop().map_or(0.0, |Reverse(Time(at))| at);
        let mut starts = free.max(landed + self.is.delay);
        for (from, to) in &self.planned {
            // A scheduler begins nothing that would meet an outage.
            if starts < *to && starts + run > *from {
                starts = *to;
            }
        }
        let until = |at: f64| if at < self.fails { at } else { f64::INFINITY };
        let starts = until(starts);
        let ends = until(starts + run);
        self.nodes.push(Reverse(Time(ends)));
        Fate {
            job,
            begun: until(begun),
            landed: until(landed),
            starts,
            ends,
            done: until(ends + self.is.after),
        }
    }

    /// Takes the job back that was given last: of its data nothing has come.
    pub(super) fn take_back(&mut self) {
        if let Some((line_free, nodes)) = self.before.pop() {
            (self.line_free, self.nodes) = (line_free, nodes);
        }
    }
}
