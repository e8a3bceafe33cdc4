//! An image ready to be dealt to the recorders: its truth, and its pixels already packed for every stream. Packs, and makes
//! many of them on several threads in order; writes nothing.

use std::sync::mpsc::sync_channel;
use std::thread;

use super::model::Model;
use super::place::Place;
use super::render::{Simulator, Wanted};
use super::truth::Truth;
use crate::detectors::Kind;
use crate::formats::xtc2::write::{Event, Prepared, StreamSetup};
use lightrail_topics::RunNumber;

/// An image ready to be dealt.
#[derive(Clone, Debug)]
pub(super) struct Dealt {
    pub(super) truth: Truth,
    /// By stream.
    pub(super) parts: Vec<Prepared>,
}

/// Which of the detector's segments each stream has: dealt round like the DAQ's nodes.
pub(super) fn segments(model: Model, streams: usize) -> Vec<Vec<u32>> {
    let panels = model.shape().panels;
    let streams = streams.clamp(1, panels);
    (0..streams)
        .map(|stream| (stream..panels).step_by(streams).map(|segment| segment as u32).collect())
        .collect()
}

/// What each stream of a run has. The first one has the timing system and the beam's data besides.
pub(super) fn setups(place: &Place, run: RunNumber, model: Model, streams: usize) -> Vec<StreamSetup> {
    let shape = model.shape();
    let experiment = place.experiment.as_str();
    let setup = |(stream, segments): (usize, &Vec<u32>)| {
        let node = stream as u16 + 1;
        let setup = match model.kind() {
            Kind::Epix10ka => StreamSetup::epix10ka(experiment, run.0, node, model.name(), segments),
            _ => {
                let shape = [1, shape.rows as u32, shape.columns as u32];
                StreamSetup::jungfrau(experiment, run.0, node, model.name(), segments, shape)
            }
        };
        if stream == 0 { setup.with_beam().with_timing() } else { setup }
    };
    segments(model, streams).iter().enumerate().map(setup).collect()
}

impl Dealt {
    /// Draws and packs an image. A buffer as long as the data array is lent, so that it is not made anew each time.
    pub(super) fn new(
        simulator: &Simulator,
        (run, index): (u32, u64),
        wanted: &Wanted,
        setups: &[StreamSetup],
        pixels: &mut Vec<u16>,
    ) -> Self {
        let truth = simulator.truth(run, index, wanted);
        let model = simulator.plan().detector;
        let shape = simulator.shape();
        pixels.resize(shape.len(), 0);
        simulator.draw(run, index, &truth, pixels);
        let panel = |segment: &u32| &pixels[*segment as usize * shape.panel_len()..][..shape.panel_len()];
        let part = |(setup, segments): (&StreamSetup, Vec<u32>)| {
            let segments: Vec<&[u16]> = segments.iter().map(panel).collect();
            let event = Event {
                segments: &segments,
                photon_energy: Some(truth.photon_energy),
                pulse_id: 0,
                event_codes: &[],
            };
            Prepared::new(setup, &event)
                .expect("the pixels are as the set-up says, and below a datagram's limit")
        };
        let parts = setups.iter().zip(segments(model, setups.len())).map(part).collect();
        Self { truth, parts }
    }
}

/// Makes things 0 to `n` on several threads and hands them over in their order; ends early when `take` gives `false`. Each
/// thread has a state of its own. What is made does not depend on the number of threads.
pub(super) fn in_order<S: Default, T: Send>(
    n: u64,
    threads: usize,
    make: impl Fn(&mut S, u64) -> T + Sync,
    mut take: impl FnMut(u64, T) -> bool,
) {
    let threads = threads.max(1) as u64;
    thread::scope(|scope| {
        let hands: Vec<_> = (0..threads.min(n))
            .map(|first| {
                // One in hand, one being made.
                let (give, hand) = sync_channel(1);
                let make = &make;
                scope.spawn(move || {
                    let mut state = S::default();
                    for at in (first..n).step_by(threads as usize) {
                        if give.send(make(&mut state, at)).is_err() {
                            break;
                        }
                    }
                });
                hand
            })
            .collect();
        for at in 0..n {
            // A maker that panicked gives nothing; the scope passes its panic on.
            let Ok(made) = hands[(at % threads) as usize].recv() else { break };
            if !take(at, made) {
                break;
            }
        }
        drop(hands);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_are_dealt_round_and_each_once() {
        assert_eq!(segments(Model::Jungfrau4M, 3), [vec![0, 3, 6], vec![1, 4, 7], vec![2, 5]]);
        assert_eq!(segments(Model::Jungfrau05M, 4), [vec![0]]);
        assert_eq!(segments(Model::Jungfrau1M, 0), [vec![0, 1]]);
    }

    #[test]
    fn things_come_in_order_from_any_number_of_threads_and_stop_when_told() {
        for threads in [1, 2, 5] {
            let mut seen = Vec::new();
            in_order(
                20,
                threads,
                |(): &mut (), at| at * at,
                |at, square| {
                    seen.push((at, square));
                    true
                },
            );
            assert!(seen.iter().copied().eq((0..20).map(|at| (at, at * at))), "{threads}");
            let mut taken = 0;
            in_order(
                1000,
                threads,
                |(): &mut (), at| at,
                |at, _| {
                    taken = at;
                    at < 7
                },
            );
            assert_eq!(taken, 7);
        }
    }
}
