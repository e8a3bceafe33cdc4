//! One life of the mover in a bottle, as a session makes it: fence, read back, load, take back, and then the owner with
//! everybody who feeds and serves it, until it dies.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use lightrail_topics::{Lfn, RunKey, SiteName, Topic};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::kafka::Producer;
use super::kept::Kept;
use super::play::{EXPERIMENTS, destinations};
use super::remote::Remote;
use super::stage;
use super::world::{Life, World};
use crate::carry::backoff::BackoffPolicy;
use crate::carry::breaker::{BreakerPolicy, Breakers};
use crate::carry::{Engine, Patience, Place};
use crate::journal::{Journal, RowKind};
use crate::ledger::queue::{Limits, SiteLimits};
use crate::ledger::rows::PartitionKey;
use crate::ledger::{Effect, ExperimentRules, Rules};
use crate::outbox::{READ_BACK, ends, publish};
use crate::owner::{self, Input, Parts, Sites};
use crate::run::sweep::Sweep;
use crate::run::take_back::{ReadBack, load, take_back};

const FOLLOWED: [Topic; 5] =
    [Topic::Runs, Topic::FileCatalog, Topic::Experiments, Topic::Routes, Topic::RoutesOverride];

/// How long a closed run may lack files before it is said to be incomplete.
pub(super) const OVERDUE: Duration = Duration::from_secs(15);
/// How often the sweep looks.
pub(super) const SWEEP: Duration = Duration::from_secs(8);

fn rules(world: &World) -> Rules {
    let limit = |transfers, reserved_small| SiteLimits {
        transfers,
        reserved_small,
        bytes_in_flight: 6_000,
        per_server: 2,
    };
    let experiments = EXPERIMENTS.map(|name| {
        let rules = ExperimentRules {
            to: Some(destinations(name)),
            streaming: name == "cxil2",
            not_waited_streams: vec![80, 81],
            report_early: false,
            overdue: OVERDUE,
        };
        (name.parse().unwrap(), rules)
    });
    Rules {
        source: "lightrail-mover/bottle".to_owned(),
        source_site: "SLAC".parse().unwrap(),
        experiments: experiments.into(),
        default: ExperimentRules { overdue: OVERDUE, ..ExperimentRules::default() },
        limits: Limits {
            sites: [
                ("SLAC".parse().unwrap(), SiteLimits { bytes_in_flight: 20_000, ..limit(6, 1) }),
                ("NERSC".parse().unwrap(), limit(4, 1)),
                ("S3DF".parse().unwrap(), limit(2, 0)),
            ]
            .into(),
            experiments: [("cxil2".parse().unwrap(), 4)].into(),
        },
        urls: world
            .sites
            .iter()
            .map(|(name, site)| {
                (name.clone(), format!("root://{}/{}", site.door.clone().unwrap(), site.prefix))
            })
            .collect(),
        small_below: 300,
        tries: 3,
        settle: Duration::from_secs(2),
        has_logbook: true,
        silent_after: Duration::from_secs(15),
    }
}

pub(super) fn patience() -> Patience {
    let ms = Duration::from_millis;
    Patience {
        call: ms(3_000),
        look: ms(1_500),
        grace: ms(250),
        stall: ms(3_000),
        silence: ms(4_000),
        ping_every: ms(1_500),
        progress_every: ms(250),
        slot: ms(20_000),
        close: ms(4_000),
        checksum: ms(4_000),
        slow_rate: 20_000_000,
        cancel: ms(1_000),
    }
}

/// Lives until the life is over or the owner has ended.
pub(super) async fn live(world: &Arc<World>, life: &Life) {
    world.lock().draining = false;
    world.fence(life).await;
    let mut journal = Kept::new(world, life);
    // The disk may break at any step: then it begins anew.
    let Ok(journals) = journal.positions() else { return };
    let ours: Vec<String> = READ_BACK.into_iter().map(|topic| world.topics.name(topic)).collect();
    let confirmed: BTreeMap<(String, i32), i64> = journals
        .iter()
        .filter(|(key, _)| ours.contains(&key.topic))
        .map(|(key, at)| ((key.topic.clone(), key.partition), *at))
        .collect();
    world.pause(10).await;
    let records = world.read_back(&confirmed);
    let Ok(mut ledger) = load(rules(world), &journal) else { return };
    let back = ReadBack { topics: &world.topics, records: &records, confirmed: &confirmed, since: None };
    let is_site = |site: &SiteName| world.sites.contains_key(site);
    let Ok(unsent) = take_back(&mut ledger, &mut journal, back, is_site, world.now()) else {
        // It died, or its disk broke, while it wrote.
        return;
    };
    if let Err(wrong) = ledger.audit() {
        world.fail(format!("after taking back: {wrong}"));
    }
    let confirmed = ends(&confirmed, &records);

    let remote: Arc<dyn Engine> = Arc::new(Remote { world: world.clone(), life: life.clone() });
    let engines: HashMap<SiteName, Arc<dyn Engine>> =
        world.sites.keys().map(|site| (site.clone(), remote.clone())).collect();
    let (inputs, receiver) = mpsc::channel(4096);
    let (outbox, messages) = mpsc::unbounded_channel();
    let (effects, asked) = mpsc::unbounded_channel();
    let (offsets, stored) = mpsc::unbounded_channel();
    let sweep = Sweep {
        every: SWEEP,
        sites: world.sites.clone(),
        engines: engines.clone(),
        patience: patience(),
        mover: "bottle".parse().unwrap(),
        inputs: inputs.clone(),
    };
    let some_file = world.lock().truth.versions.keys().next().cloned();
    for site in ["NERSC", "S3DF"] {
        let folders: HashSet<(SiteName, Lfn)> =
            some_file.iter().map(|lfn| (site.parse().unwrap(), lfn.clone())).collect();
        tokio::select! {
            biased;
            () = life.over() => return,
            _ = tokio::time::timeout(Duration::from_secs(10), sweep.clear_leftovers(folders)) => {}
        }
    }

    let breakers = Breakers::new(BreakerPolicy {
        failures: 5,
        first: Duration::from_secs(2),
        longest: Duration::from_secs(10),
        probe: Duration::from_secs(20),
    });
    let sites = Sites::new(world.sites.clone(), HashMap::new(), breakers, Duration::from_secs(7 * 24 * 3600));
    let parts = Parts {
        ledger,
        journal: Box::new(journal),
        engines,
        sites,
        patience: patience(),
        backoff: BackoffPolicy {
            first: Duration::from_secs(1),
            factor: 2.0,
            longest: Duration::from_secs(8),
        },
        clock: Arc::new(world.clock),
        rng: fastrand::Rng::with_seed(world.dice(u64::MAX)),
        mover: "bottle".parse().unwrap(),
        topics: world.topics.clone(),
        unsent,
        outbox,
        effects,
        taking: watch::channel(true).0,
        offsets,
    };
    let mut others = JoinSet::new();
    let producer = Producer { world: world.clone(), life: life.clone() };
    let publishing = publish(producer, confirmed, messages, inputs.clone());
    others.spawn(async move { drop(publishing.await) });
    others.spawn(feed(world.clone(), journals, inputs.clone()));
    others.spawn(store(world.clone(), stored));
    others.spawn(serve(world.clone(), life.clone(), remote.clone(), asked, inputs.clone()));
    others.spawn(learn(world.clone(), remote.clone(), inputs.clone()));
    others.spawn(sweep.work());
    let mut owning = tokio::spawn(owner::own(parts, inputs.clone(), receiver));
    others.spawn(end_in_order(world.clone(), inputs.clone()));
    world.lock().owner = Some(inputs);
    world.note("a life begins");
    tokio::select! {
        biased;
        () = life.over() => owning.abort(),
        end = &mut owning => match end {
            Ok((end, journal)) => {
                world.note(format!("the owner has ended: {end:?}"));
                let waits = journal.all(RowKind::Outbox).map_or(0, |rows| rows.len());
                let drained = world.lock().draining && matches!(end, owner::End::Drained);
                if drained && waits > 0 {
                    world.fail(format!("the mover was drained, and {waits} messages wait"));
                }
            }
            Err(error) => world.fail(format!("the owner has failed: {error}")),
        },
    }
    life.end();
    world.lock().owner = None;
    others.shutdown().await;
    while !owning.is_finished() {
        tokio::task::yield_now().await;
    }
}

/// Drains or stops the mover some time, where the play wants it.
async fn end_in_order(world: Arc<World>, inputs: mpsc::Sender<Input>) {
    if !world.play.drains || world.lock().calm {
        return std::future::pending().await;
    }
    world.pause(40_000).await;
    let drains = world.dice(2) == 0;
    if !world.lock().calm {
        world.note(if drains { "the mover is drained" } else { "the mover is stopped" });
        world.lock().draining = drains;
        let _ = inputs.send(if drains { Input::Drain } else { Input::Stop }).await;
    }
}

/// Hands the logbook's records to the owner, from the journal's positions on, partitions mixed.
async fn feed(world: Arc<World>, journals: BTreeMap<PartitionKey, i64>, inputs: mpsc::Sender<Input>) {
    let topics: Vec<String> = FOLLOWED.into_iter().map(|topic| world.topics.name(topic)).collect();
    let mut next: BTreeMap<(String, i32), i64> =
        journals.iter().map(|(key, at)| ((key.topic.clone(), key.partition), *at)).collect();
    let mut news = world.news.subscribe();
    let mut is_behind = true;
    loop {
        news.borrow_and_update();
        for record in world.read_from(&topics, &next) {
            next.insert((record.topic.to_string(), record.partition), record.offset + 1);
            if inputs.send(Input::Record(record)).await.is_err() {
                return;
            }
            if world.dice(3) == 0 {
                world.pause(20).await;
            }
        }
        if std::mem::take(&mut is_behind) && inputs.send(Input::CaughtUp).await.is_err() {
            return;
        }
        if news.changed().await.is_err() {
            return;
        }
    }
}

/// Rule 1: an offset is stored only after its record is flushed.
async fn store(world: Arc<World>, mut stored: mpsc::UnboundedReceiver<(PartitionKey, i64)>) {
    while let Some((key, next)) = stored.recv().await {
        let flushed = world.lock().positions.get(&key).copied().unwrap_or(0);
        if flushed < next {
            world.fail(format!("offset {next} of {key:?} is stored, and {flushed} is flushed"));
        }
    }
}

/// Does what the ledger asks for: asks the logbook, looks at sources, reports.
async fn serve(
    world: Arc<World>,
    life: Life,
    remote: Arc<dyn Engine>,
    mut asked: mpsc::UnboundedReceiver<Effect>,
    inputs: mpsc::Sender<Input>,
) {
    while let Some(effect) = asked.recv().await {
        let (world, life, remote, inputs) = (world.clone(), life.clone(), remote.clone(), inputs.clone());
        tokio::spawn(async move {
            world.pause(200).await;
            if life.is_over() {
                return;
            }
            match effect {
                Effect::AskLogbook(run) => {
                    let answer = match stage::ask(&world, &run) {
                        Some(answer) => Input::Answer(run, answer),
                        None => Input::NoAnswer(run, "it does not know".to_owned()),
                    };
                    let _ = inputs.send(answer).await;
                }
                Effect::LookAtSource(run, lfn) => {
                    let site = world.sites[&world_source()].clone();
                    let place = Place { site: &site, server: None };
                    let path = site.path(&lfn);
                    let look = remote.stat(place, &path);
                    if let Ok(Ok(Some(stat))) = tokio::time::timeout(patience().call, look).await {
                        let _ = inputs.send(Input::Source(run, lfn, stat.size, stat.mtime)).await;
                    }
                }
                Effect::Report(at) => {
                    let run = RunKey { experiment: at.lfn.experiment(), run: at.lfn.run().unwrap() };
                    if world.dice(2) == 0 {
                        stage::echo(&world, &run, &at.lfn);
                    }
                }
                Effect::CallBack(..) => {}
            }
        });
    }
}

fn world_source() -> SiteName {
    "SLAC".parse().unwrap()
}

async fn learn(world: Arc<World>, remote: Arc<dyn Engine>, inputs: mpsc::Sender<Input>) {
    loop {
        for site in world.sites.values() {
            let servers = tokio::time::timeout(patience().call, remote.servers(site)).await;
            if let Ok(Ok(servers)) = servers {
                if inputs.send(Input::Servers(site.name.clone(), servers)).await.is_err() {
                    return;
                }
            }
        }
        tokio::time::sleep(Duration::from_secs(20)).await;
    }
}
