//! Plays a play: changes the truth at the source and in the logbook, and tells of it on the logbook's topics as the play's
//! fates allow. Wishes go to whoever is the mover at the moment, again and again until they are answered.

use std::sync::Arc;
use std::time::Duration;

use lightrail_topics::events::WishKey;
use lightrail_topics::logbook::{file_doc, run_doc};
use lightrail_topics::{Lfn, Millis, Record, RunKey, SiteName, Topic};
use serde_json::{Map, Value, json};
use tokio::sync::oneshot;

use super::play::{Act, Fate};
use super::world::{BEGIN, PARTITIONS, World};
use crate::ledger::RunAnswer;
use crate::owner::Input;
use crate::view::{Question, WishChange};

/// Plays all acts; returns when the last one is over and the last late message told.
pub(super) async fn play(world: Arc<World>) {
    let mut late = tokio::task::JoinSet::new();
    for (at, act) in world.play.acts() {
        let due = BEGIN.plus(Duration::from_millis(at));
        tokio::time::sleep(due.since(world.now())).await;
        world.note(format!("{act:?}"));
        if let Act::Wish(key, change) = act {
            wish(&world, &key, change).await;
            continue;
        }
        if let Some((topic, run, message, fate)) = happen(&world, act) {
            let times = match fate {
                Fate::Lost => 0,
                Fate::Doubled => 2,
                Fate::Told | Fate::Late(_) => 1,
            };
            if let Fate::Late(by) = fate {
                let world = world.clone();
                late.spawn(async move {
                    tokio::time::sleep(Duration::from_millis(by)).await;
                    tell(&world, topic, run.as_ref(), &message);
                });
                continue;
            }
            for _ in 0..times {
                tell(&world, topic, run.as_ref(), &message);
            }
        }
    }
    while late.join_next().await.is_some() {}
}

/// Writes a message of the logbook to its topic.
fn tell(world: &World, topic: Topic, run: Option<&RunKey>, message: &str) {
    let now = world.now();
    let partition = i32::try_from(world.dice(PARTITIONS as u64)).unwrap();
    let mut state = world.lock();
    if let Some(known) = run.and_then(|run| state.truth.runs.get_mut(run)) {
        known.is_known = true;
    }
    let record = Record {
        topic: "".into(),
        partition,
        offset: 0,
        key: None,
        value: Some(message.as_bytes().to_vec()),
        headers: Vec::new(),
        timestamp: Some(now),
    };
    state.append(world.topics.name(topic), partition, record);
    drop(state);
    world.news.send_modify(|n| *n += 1);
}

type Told = (Topic, Option<RunKey>, String, Fate);

fn happen(world: &World, act: Act) -> Option<Told> {
    let now = world.now();
    match act {
        Act::Begin(run, fate) => {
            let mut state = world.lock();
            let known = state.truth.runs.entry(run.clone()).or_default();
            known.began = Some(now);
            let value = json!({"num": run.run.0, "begin_time": now.to_string(), "end_time": null});
            Some((Topic::Runs, Some(run.clone()), envelope(&run, "Create", &value), fate))
        }
        Act::Register(run, lfn, size, grows, fate) => {
            let document = register(world, &run, &lfn, size, grows, now);
            let message = envelope(&run, "Create", &Value::Object(document));
            Some((Topic::FileCatalog, Some(run), message, fate))
        }
        Act::Repeat(run, lfn, fate) => {
            let document = world.lock().truth.runs.get(&run)?.files.get(&lfn)?.clone();
            let message = envelope(&run, "Create", &Value::Object(document));
            Some((Topic::FileCatalog, Some(run), message, fate))
        }
        Act::End(run, fate) => {
            let files: Vec<Lfn> = world.lock().truth.runs.get(&run)?.files.keys().cloned().collect();
            for lfn in files {
                complete(world, &lfn);
            }
            let mut state = world.lock();
            let known = state.truth.runs.get_mut(&run)?;
            known.ended = Some(now);
            let mut value = json!({"num": run.run.0, "end_time": now.to_string()});
            if let Some(began) = known.began {
                value["begin_time"] = began.to_string().into();
            }
            value["file_catalog"] = known.files.values().cloned().map(Value::Object).collect();
            Some((Topic::Runs, Some(run.clone()), envelope(&run, "Update", &value), fate))
        }
        Act::Old(lfn, site) => {
            let path = world.path(&site, &lfn);
            let old = vec![1; 77];
            world.memory().put(&site, &path, old.clone());
            world.lock().truth.versions.entry(lfn).or_default().insert(0, old);
            None
        }
        Act::Purge(lfn, site) => {
            purge(world, lfn, site);
            None
        }
        Act::KafkaAway(ms) => {
            world.lock().kafka_away_until = now.plus(Duration::from_millis(ms));
            None
        }
        Act::LogbookAway(ms) => {
            world.lock().logbook_away_until = now.plus(Duration::from_millis(ms));
            None
        }
        Act::Garbage => Some((Topic::FileCatalog, None, "{\"experiment_name\": 7".to_owned(), Fate::Told)),
        Act::Wish(..) => None,
    }
}

fn envelope(run: &RunKey, crud: &str, value: &Value) -> String {
    json!({"experiment_name": run.experiment.as_str(), "CRUD": crud, "value": value}).to_string()
}

/// A file appears at the source, or is written anew, and is registered.
fn register(
    world: &World,
    run: &RunKey,
    lfn: &Lfn,
    size: usize,
    grows: bool,
    now: Millis,
) -> Map<String, Value> {
    let source: SiteName = "SLAC".parse().unwrap();
    let seed = lightrail_topics::message::stable_hash(lfn.as_str().as_bytes()) ^ now.0.unsigned_abs();
    let mut rng = fastrand::Rng::with_seed(seed);
    let bytes: Vec<u8> = (0..size).map(|_| rng.u8(..)).collect();
    let earlier: Vec<Lfn> = {
        let mut state = world.lock();
        let truth = &mut state.truth;
        for site in world.sites.keys().filter(|site| **site != source) {
            truth.paths.insert(world.path(site, lfn).as_str().to_owned(), lfn.clone());
        }
        let known = truth.runs.entry(run.clone()).or_default();
        known
            .files
            .keys()
            .filter(|other| other.stream() == lfn.stream() && other.chunk() < lfn.chunk())
            .cloned()
            .collect()
    };
    // A new chunk: the ones before it are whole.
    for other in earlier {
        complete(world, &other);
    }
    let path = world.path(&source, lfn);
    let part = if grows { bytes[..size / 2].to_vec() } else { bytes.clone() };
    world.memory().put(&source, &path, part);
    let mut document = Map::new();
    document.insert("path".to_owned(), lfn.as_str().into());
    // No two registrations of a file are of one instant.
    let again = world.lock().truth.versions.get(lfn).map_or(0, Vec::len);
    let created = now.plus(Duration::from_millis(2 * again as u64));
    document.insert("create_timestamp".to_owned(), created.to_string().into());
    document.insert("absolute_path".to_owned(), format!("/u2{lfn}").into());
    document.insert("run_num".to_owned(), run.run.0.into());
    if !grows && size.is_multiple_of(2) {
        document.insert("size".to_owned(), size.into());
    }
    let mut state = world.lock();
    state.truth.versions.entry(lfn.clone()).or_default().push(bytes);
    if let Some(known) = state.truth.runs.get_mut(run) {
        known.files.insert(lfn.clone(), document.clone());
    }
    document
}

/// The source file gets its last byte.
fn complete(world: &World, lfn: &Lfn) {
    let source: SiteName = "SLAC".parse().unwrap();
    let path = world.path(&source, lfn);
    let Some(whole) = world.lock().truth.versions.get(lfn).and_then(|all| all.last().cloned()) else {
        return;
    };
    if world.memory().get(&source, &path).is_some_and(|file| file.bytes != whole) {
        world.memory().put(&source, &path, whole);
    }
}

/// Somebody purges a file that was announced, while others stay in its folder.
fn purge(world: &World, lfn: Lfn, site: SiteName) {
    let path = world.path(&site, &lfn);
    let folder = format!("{}/", path.folder());
    // A folder that is all empty is taken for an outage.
    let others = world.memory().paths(&site).into_iter().filter(|other| {
        let inside = other.strip_prefix(&folder).is_some_and(|name| !name.contains('/'));
        inside && other != path.as_str() && world.lock().truth.paths.contains_key(other)
    });
    let is_alone = others.count() == 0;
    let begin = format!("file.available:{lfn}@{site}#");
    let announced = world.lock().said.keys().any(|id| id.starts_with(&begin));
    if !is_alone && announced && world.memory().get(&site, &path).is_some() {
        world.memory().delete(&site, &path);
        world.lock().truth.purged.insert((lfn, site));
    }
}

/// Asks the mover for a change until it answers; gives up where it knows nothing of the kind.
pub(super) async fn wish(world: &World, key: &WishKey, change: WishChange) {
    for _ in 0..100 {
        let inputs = world.lock().owner.clone();
        if let Some(inputs) = inputs {
            let (reply, answer) = oneshot::channel();
            let question =
                Question::Wish(key.clone(), change, "operator".to_owned(), "play".to_owned(), reply);
            if inputs.send(Input::Question(question)).await.is_ok() {
                let limit = Duration::from_secs(30);
                match tokio::time::timeout(limit, answer).await {
                    Ok(Ok(Ok(wished))) => {
                        let mut state = world.lock();
                        state.truth.wishes.insert(key.clone(), wished.wish);
                        if let lightrail_topics::events::Subject::Run(run) = &key.subject {
                            if change == WishChange::Ask {
                                if let Some(known) = state.truth.runs.get_mut(run) {
                                    known.is_known = true;
                                }
                            }
                        }
                        return;
                    }
                    Ok(Ok(Err(_))) => return,
                    Ok(Err(_)) | Err(_) => {}
                }
            }
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    world.fail(format!("nobody answers the wish {change:?} for {key}"));
}

/// What the logbook's REST says of a run now; none where it does not answer.
pub(super) fn ask(world: &World, run: &RunKey) -> Option<RunAnswer> {
    let state = world.lock();
    if world.now() < state.logbook_away_until {
        return None;
    }
    let known = state.truth.runs.get(run)?;
    let mut document = Map::new();
    document.insert("num".to_owned(), run.run.0.into());
    let text = |at: Option<Millis>| at.map_or(Value::Null, |at| at.to_string().into());
    document.insert("begin_time".to_owned(), text(known.began));
    document.insert("end_time".to_owned(), text(known.ended));
    let doc = run_doc(&run.experiment, &document).unwrap();
    let files =
        known.files.values().map(|document| file_doc(&run.experiment, document, false).unwrap()).collect();
    Some(RunAnswer { run: Some(doc), files })
}

/// The echo of a report: an Update with the file's document.
pub(super) fn echo(world: &World, run: &RunKey, lfn: &Lfn) {
    let document = world.lock().truth.runs.get(run).and_then(|known| known.files.get(lfn).cloned());
    if let Some(mut document) = document {
        document.insert("locations".to_owned(), json!({"NERSC": {"asof": "2026-01-01T00:00:00+00:00"}}));
        tell(world, Topic::FileCatalog, Some(run), &envelope(run, "Update", &Value::Object(document)));
    }
}
