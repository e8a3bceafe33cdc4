//! What interfaces answer, and the simulated facility asked as it would be asked in service.

use lightrail_compose::scratch::Scratch;
use lightrail_compose::wait;
use lightrail_service::settings::{Secret, SecretSource};
use serde_json::json;

use super::*;
use crate::executor::{Iri, IriAt, Local};
use crate::simulate::Facility;
use crate::simulate::scenario::Scenario;

fn name(text: &str) -> ResourceName {
    text.parse().unwrap()
}

const NOW: Millis = Millis(1_732_000_000_000);
const LIMIT: Duration = Duration::from_secs(30);

fn told(part: &Part) -> String {
    let outages = part.outages.iter().map(|outage| {
        let until = outage.to.map_or_else(|| "nobody knows".to_owned(), |to| to.to_string());
        let word = if outage.planned { "planned" } else { "unplanned" };
        format!("\n  {word} from {} until {until}: {}", outage.from, outage.text)
    });
    let outages: String = outages.collect();
    format!("{} {}: {}{outages}", part.resource, part.health.word(), part.text)
}

#[test]
fn the_superfacility_apis_words_are_told_in_ours() {
    let status = json!([
        {"name": "perlmutter", "full_name": "Perlmutter", "description": "System Degraded", "system_type": "compute",
         "notes": ["slow"], "status": "degraded", "updated_at": "2024-11-19T00:00:00-08:00"},
        {"name": "dtns", "description": "System Active", "status": "active"},
        {"name": "spin", "description": null, "status": "wondering"},
    ]);
    let planned = json!([[
        {"name": "perlmutter", "start_at": "2024-11-20T07:00:00-08:00", "end_at": "2024-11-20T20:00:00-08:00",
         "description": "Scheduled  Maintenance", "status": "Planned", "swo": "full"},
        {"name": "perlmutter", "start_at": "2024-11-21T07:00:00", "end_at": "2024-11-21T20:00:00", "status": "Cancelled"},
    ]]);
    let known = json!([
        [{"name": "perlmutter", "start_at": "2024-11-20T15:00:00Z", "end_at": "2024-11-21T04:00:00Z", "status": "Planned"}],
        [{"name": "dtns", "start_at": "2024-11-19T06:00:00Z", "description": "Power", "status": "Active"},
         {"name": "dtns", "start_at": "2024-11-01T06:00:00Z", "end_at": "2024-11-01T07:00:00Z", "status": "Active"}],
    ]);
    let parts = ["perlmutter", "dtns", "spin", "moon"]
        .map(|resource| told(&sfapi::part(&name(resource), &status, [&planned, &known], NOW)));
    insta::assert_snapshot!(parts.join("\n"), @r"
    perlmutter degraded: System Degraded
      planned from 2024-11-20T15:00:00.000Z until 2024-11-21T04:00:00.000Z: Scheduled Maintenance
    dtns up: System Active
      unplanned from 2024-11-19T06:00:00.000Z until nobody knows: Power
    spin unknown: wondering
    moon unknown: the interface does not know it
    ");
    let odd = sfapi::part(&name("dtns"), &json!("a page"), [&json!(3), &json!([[3, {}]])], NOW);
    assert_eq!(odd.health, Health::Unknown);
}

#[test]
fn iris_words_are_told_in_ours() {
    let incidents = json!([
        {"id": "1", "status": "down", "type": "unplanned", "start": "2024-11-19T06:00:00Z", "resolution": "unresolved",
         "name": "cooling", "description": ""},
        {"id": "2", "status": "down", "type": "planned", "start": "2024-11-25T06:00:00Z", "end": "2024-11-25T09:00:00Z",
         "resolution": "pending", "description": "upgrade"},
        {"id": "3", "status": "up", "type": "reservation", "start": "2024-11-19T06:00:00Z", "resolution": "unresolved"},
        {"id": "4", "status": "down", "type": "planned", "start": "2024-11-25T06:00:00Z", "resolution": "cancelled"},
    ]);
    let part = iri::part(&name("frontier"), &json!({"current_status": "down"}), &incidents, NOW);
    insta::assert_snapshot!(told(&part), @r"
    frontier down: cooling
      unplanned from 2024-11-19T06:00:00.000Z until nobody knows: cooling
      planned from 2024-11-25T06:00:00.000Z until 2024-11-25T09:00:00.000Z: upgrade
    ");
    let part = iri::part(&name("frontier"), &json!({"current_status": "up"}), &Value::Null, NOW);
    insta::assert_snapshot!(told(&part), @"frontier up: up");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_simulated_facility_is_asked_by_both_interfaces() {
    let scratch = Scratch::new().unwrap();
    let text = format!(
        "listen = \"127.0.0.1:0\"\nfolder = {:?}\n[resources.dtns]\nkind = \"filesystem\"\n\
        [resources.perlmutter]\nstatus = \"degraded\"\n[resources.perlmutter.machine]\n\
        [[outages]]\nresource = \"perlmutter\"\nbegin = \"1h\"\nend = \"2h\"\n\
        [[outages]]\nresource = \"dtns\"\nbegin = \"0s\"\nend = \"1h\"\nplanned = false\n",
        scratch.path().join("jobs")
    );
    let facility = Facility::start(Scenario::parse(&text).unwrap()).await.unwrap();
    let resources = vec![name("perlmutter"), name("dtns")];
    let ask = async |at: StatusAt| {
        let executor = Arc::new(Local::new(scratch.path().join("spool")));
        let watcher = Watcher::new("NERSC".parse().unwrap(), at, executor).unwrap();
        let report = watcher.ask(crate::run::now()).await;
        report.parts.iter().map(|part| (part.health, part.outages.len())).collect::<Vec<_>>()
    };
    let expected = [(Health::Degraded, 1), (Health::Down, 1)];
    assert_eq!(ask(StatusAt::Sfapi(facility.sfapi(), resources.clone())).await, expected);
    assert_eq!(ask(StatusAt::Iri(facility.iri(), resources.clone())).await, expected);
    assert_eq!(ask(StatusAt::Scheduler(name("local"))).await, [(Health::Up, 0)]);
    let nowhere = StatusAt::Sfapi("http://127.0.0.1:9/api".to_owned(), resources);
    assert_eq!(ask(nowhere).await, [(Health::Unknown, 0); 2]);
}

/// As it is told by both interfaces, and as jobs find it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_simulated_facility_is_well_for_a_while_and_goes_and_comes_back_as_its_scenario_says() {
    let scratch = Scratch::new().unwrap();
    std::fs::write(scratch.path().join("token"), "12345").unwrap();
    let text = format!(
        "listen = \"127.0.0.1:0\"\nfolder = {:?}\n[resources.perlmutter.machine]\n\
        [[resources.perlmutter.health]]\nbegin = \"4s\"\nstatus = \"degraded\"\n\
        [[resources.perlmutter.health]]\nbegin = \"2s\"\nstatus = \"unavailable\"\n",
        scratch.path().join("jobs")
    );
    let facility = Facility::start(Scenario::parse(&text).unwrap()).await.unwrap();
    let resources = vec![name("perlmutter")];
    let watcher = |at: StatusAt| {
        let executor = Arc::new(Local::new(scratch.path().join("spool")));
        Watcher::new("NERSC".parse().unwrap(), at, executor).unwrap()
    };
    let by_sfapi = watcher(StatusAt::Sfapi(facility.sfapi(), resources.clone()));
    let by_iri = watcher(StatusAt::Iri(facility.iri(), resources));
    let until = async |health: Health| {
        let what = format!("both interfaces to tell {}", health.word());
        let found = wait::until(&what, LIMIT, async || {
            let (one, other) = (by_sfapi.ask(NOW).await, by_iri.ask(NOW).await);
            [one, other].iter().all(|report| report.parts[0].health == health).then_some(())
        });
        found.await.unwrap();
    };
    let token = Secret::new(SecretSource::File(scratch.path().join("token")), "token_file", 1);
    let (api, resource) = (facility.iri(), "perlmutter".to_owned());
    let executor = Iri::new(IriAt { api, resource, token, within: Duration::from_millis(500) }).unwrap();
    let looked = async || executor.look(&BTreeSet::new()).await.map_err(|error| error.to_string());
    until(Health::Up).await;
    assert_eq!(looked().await, Ok(Vec::new()));
    until(Health::Down).await;
    let told = looked().await.unwrap_err();
    assert!(told.contains("answers 503") && told.contains("the resource is down"), "{told}");
    until(Health::Degraded).await;
    assert_eq!(looked().await, Ok(Vec::new()));
}
