//! The simulated facility against a real client of the real interface, and what its scenario has go wrong.

use std::time::Duration;

use lightrail_compose::python::Python;
use lightrail_compose::require::{Need, require};
use lightrail_compose::scratch::Scratch;

use super::Facility;
use super::scenario::Scenario;

/// What NERSC's own client does with it, unchanged: health, outages, a job from its submission to its end, another cancelled.
const CLIENT: &str = r##"
import json, sys, time
from sfapi_client import Client
from sfapi_client.compute import Machine
address, key = sys.argv[1:]
with Client(key=key, api_base_url=f"http://{address}/api/v1.2", token_url=f"http://{address}/c2id/token", wait_interval=1) as client:
    status = client.resources.status("perlmutter")
    print("status", status.name, status.status.value)
    print("all", sorted(client.resources.status()))
    planned = client.resources.planned_outages("perlmutter")
    print("planned", [outage.status.value for outage in planned], planned[0].start_at < planned[0].end_at)
    print("outages", {name: len(all) for name, all in client.resources.outages().items()})
    machine = client.compute(Machine.perlmutter)
    job = machine.submit_job("#!/bin/bash\n#SBATCH --job-name=lra\necho it ran\n")
    print("job", job.jobid.isdigit(), job.complete(timeout=60).value)
    failing = machine.submit_job("#!/bin/bash\n#SBATCH --job-name=lrb\nexit 3\n")
    print("failing", failing.complete(timeout=60).value)
    endless = machine.submit_job("#!/bin/bash\n#SBATCH --job-name=lrc\nexec sleep 600\n")
    print("endless", endless.running(timeout=60).value)
    print("queue", [job.name for job in machine.jobs(user="auser")])
    endless.cancel(wait=True)
    print("cancelled", endless.state.value)
    print("sacct", machine.run("sacct --name=lra,lrb").splitlines())
"##;

/// NERSC's client of its Superfacility API, with all that it needs. Otherwise the test is skipped and says so.
fn sfapi_client(test: &str) -> Option<Python> {
    let packages = [
        "sfapi_client==0.6.0",
        "annotated-types==0.8.0",
        "anyio==4.16.0",
        "Authlib==1.9.10",
        "certifi==2026.10.19.post1",
        "cffi==2.1.1",
        "cryptography==50.0.2",
        "h11==0.16.0",
        "httpcore==1.0.9",
        "httpx==0.28.1",
        "idna==3.20",
        "joserfc==1.8.0",
        "pycparser==3.12",
        "pydantic==2.14.4",
        "pydantic-settings==2.16.3",
        "pydantic_core==2.50.5",
        "python-dotenv==1.2.4",
        "tenacity==9.2.1",
        "typing-inspection==0.4.5",
        "typing_extensions==4.16.0",
    ];
    require(test, Need::Python, Python::install("sfapi-client-0.6.0", &packages))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nerscs_own_client_works_with_it_unchanged() {
    use std::os::unix::fs::PermissionsExt as _;
    let Some(python) = sfapi_client("simulate::tests::nerscs_own_client_works_with_it_unchanged") else {
        return;
    };
    let scratch = Scratch::new().unwrap();
    let (private, public) = crate::jwt::tests::pair();
    let (key, public_key) = (scratch.path().join("key.pem"), scratch.path().join("public.pem"));
    std::fs::write(&public_key, public).unwrap();
    std::fs::write(&key, format!("abcdefghijklm\n{private}")).unwrap();
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    let text = format!(
        "listen = \"127.0.0.1:0\"\nfolder = {:?}\n[clients.abcdefghijklm]\npublic_key = {public_key:?}\n\
        [resources.dtns]\nkind = \"filesystem\"\n[resources.perlmutter]\nstatus = \"degraded\"\n\
        [resources.perlmutter.machine]\nsubmission = \"200ms\"\n\
        [[outages]]\nresource = \"perlmutter\"\nbegin = \"1h\"\nend = \"2h\"\n",
        scratch.path().join("jobs")
    );
    let facility = Facility::start(Scenario::parse(&text).unwrap()).await.unwrap();
    let address = facility.address().to_string();
    let client = move || python.run(CLIENT, &[address.as_ref(), &key]);
    let said = tokio::time::timeout(Duration::from_secs(120), tokio::task::spawn_blocking(client));
    let said = said.await.unwrap().unwrap().unwrap();
    insta::assert_snapshot!(said, @r"
    status perlmutter degraded
    all ['dtns', 'perlmutter']
    planned ['Planned'] True
    outages {'perlmutter': 1}
    job True COMPLETED
    failing FAILED
    endless RUNNING
    queue ['lrc']
    cancelled CANCELLED
    sacct ['4242|lra|COMPLETED|0:0', '4243|lrb|FAILED|3:0']
    ");
}
