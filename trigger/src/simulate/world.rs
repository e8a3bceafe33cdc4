//! What a simulated facility knows: its scenario and the time since its start, machines, tokens, tasks, launches by key. Owners of
//! their state each; nothing waits under a lock.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use lightrail_topics::Millis;
use serde_json::Value;

use super::SimulateError;
use super::machine::{Machine, Shown};
use super::scenario::{Call, Health, Mischief, Outage, Scenario};
use crate::jwt::CheckingKey;

/// What has become of a task: nothing yet, or its result.
pub(super) type TaskResult = Option<Value>;

/// A launch under an idempotency key: what was launched, and the job's number once it has one.
type Launch = (Value, Option<u32>);

/// All of it.
#[derive(Debug)]
pub(super) struct World {
    pub(super) scenario: Scenario,
    began: Instant,
    began_at: Millis,
    machines: BTreeMap<String, Machine>,
    keys: BTreeMap<String, CheckingKey>,
    tokens: Mutex<BTreeMap<String, Instant>>,
    tasks: Mutex<Vec<TaskResult>>,
    launches: Mutex<BTreeMap<String, Launch>>,
    /// How often each fault of the scenario has struck.
    struck: Vec<AtomicU32>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl World {
    pub(super) fn new(scenario: Scenario) -> Result<Self, SimulateError> {
        let mut keys = BTreeMap::new();
        for (client, path) in &scenario.clients {
            let text = std::fs::read_to_string(path).map_err(|source| SimulateError::Unreadable {
                client: client.clone(),
                path: path.clone(),
                source,
            })?;
            let key = CheckingKey::from_pem(&text).map_err(|source| SimulateError::NoKey {
                client: client.clone(),
                path: path.clone(),
                source,
            })?;
            keys.insert(client.clone(), key);
        }
        let machines = scenario.resources.iter().filter_map(|(name, resource)| {
            Some((name.clone(), Machine::start(resource.machine?, scenario.folder.join(name))))
        });
        Ok(Self {
            machines: machines.collect(),
            keys,
            began: Instant::now(),
            began_at: crate::run::now(),
            tokens: Mutex::default(),
            tasks: Mutex::default(),
            launches: Mutex::default(),
            struck: scenario.faults.iter().map(|_| AtomicU32::new(0)).collect(),
            scenario,
        })
    }

    /// How long it has been running.
    pub(super) fn since(&self) -> Duration {
        self.began.elapsed()
    }

    /// When something of the scenario is, by the clock.
    pub(super) fn at(&self, since: Duration) -> Millis {
        self.began_at.plus(since)
    }

    /// What is wrong with a call now; counted where it is so many times only.
    pub(super) fn mischief(&self, about: Call) -> Option<Mischief> {
        let now = self.since();
        let faults = self.scenario.faults.iter().zip(&self.struck);
        let holds = |begin: Duration, end: Option<Duration>| begin <= now && end.is_none_or(|end| now < end);
        faults
            .filter(|(fault, _)| fault.call == about || fault.call == Call::Any)
            .filter(|(fault, _)| holds(fault.begin, fault.end))
            .find(|(fault, struck)| {
                let before = struck.fetch_add(1, Ordering::Relaxed);
                fault.times.is_none_or(|times| before < times)
            })
            .map(|(fault, _)| fault.what)
    }

    /// A resource's outages: all, or those alone that were known beforehand and are not over.
    pub(super) fn outages<'w>(
        &'w self,
        resource: &'w str,
        planned: bool,
    ) -> impl Iterator<Item = &'w Outage> {
        let now = self.since();
        self.scenario.outages.iter().filter(move |outage| outage.resource == resource).filter(move |outage| {
            if planned { outage.planned && now < outage.end } else { outage.planned || outage.begin <= now }
        })
    }

    /// How a resource is, as it says itself.
    pub(super) fn health(&self, resource: &str) -> Option<Health> {
        let now = self.since();
        let known = self.scenario.resources.get(resource)?;
        let is_out = self.outages(resource, false).any(|outage| outage.begin <= now && now < outage.end);
        Some(if is_out { Health::Unavailable } else { known.health(now) })
    }

    /// A machine; none where it is away.
    pub(super) fn machine(&self, name: &str) -> Option<&Machine> {
        self.machines.get(name).filter(|_| self.health(name) != Some(Health::Unavailable))
    }

    /// Whether there is such a machine at all.
    pub(super) fn has_machine(&self, name: &str) -> bool {
        self.machines.contains_key(name)
    }

    /// What is told of a job's state; nothing where the scenario has it absent.
    pub(super) fn told(&self, job: &Shown) -> Option<String> {
        let now = self.since();
        let wrong = self.scenario.wrong.iter().find(|wrong| {
            wrong.begin <= now
                && wrong.end.is_none_or(|end| now < end)
                && wrong.job.as_ref().is_none_or(|name| *name == job.submission.name)
        });
        match wrong {
            Some(wrong) if wrong.state == "ABSENT" => None,
            Some(wrong) => Some(wrong.state.clone()),
            None => Some(job.state.to_owned()),
        }
    }

    /// The key of a client.
    pub(super) fn key(&self, client: &str) -> Option<&CheckingKey> {
        self.keys.get(client)
    }

    /// A new token.
    pub(super) fn new_token(&self) -> String {
        let token = format!("{:016x}{:016x}", fastrand::u64(..), fastrand::u64(..));
        locked(&self.tokens).insert(token.clone(), Instant::now() + self.scenario.token_life);
        token
    }

    /// Whether a token was given and is good.
    pub(super) fn is_token(&self, token: &str) -> bool {
        locked(&self.tokens).get(token).is_some_and(|until| Instant::now() < *until)
    }

    /// A new task's number.
    pub(super) fn begin_task(&self) -> usize {
        let mut tasks = locked(&self.tasks);
        tasks.push(None);
        tasks.len()
    }

    /// A task that was begun is complete.
    pub(super) fn end_task(&self, id: usize, result: Value) {
        if let Some(task) = locked(&self.tasks).get_mut(id - 1) {
            *task = Some(result);
        }
    }

    /// What has become of a task.
    pub(super) fn task(&self, id: usize) -> Option<TaskResult> {
        locked(&self.tasks).get(id.checked_sub(1)?).cloned()
    }

    /// How many tasks there were.
    pub(super) fn tasks(&self) -> usize {
        locked(&self.tasks).len()
    }

    /// What was launched under a key; notes this launch where nothing was.
    pub(super) fn launch(&self, key: &str, body: &Value) -> Option<Launch> {
        let mut launches = locked(&self.launches);
        if let Some(known) = launches.get(key) {
            return Some(known.clone());
        }
        launches.insert(key.to_owned(), (body.clone(), None));
        None
    }

    /// The number of the job that was launched under a key.
    pub(super) fn launched(&self, key: &str, id: u32) {
        if let Some(launch) = locked(&self.launches).get_mut(key) {
            launch.1 = Some(id);
        }
    }
}
