//! Two simulated facilities between which a trigger chooses, and the configuration of that trigger. The first one can be lost: what runs
//! there goes on, and nobody is told of it any more.

use std::path::{Path, PathBuf};

use lightrail_compose::scratch::Scratch;
use lightrail_compose::wait;
use lightrail_topics::events::{Rule, Task, Trigger, Work};
use lightrail_topics::{Millis, TrialNumber};
use lightrail_trigger::config::Config;
use lightrail_trigger::simulate::Facility;
use lightrail_trigger::simulate::scenario::Scenario;

use crate::stage::{SOON, site};

pub(crate) struct Pair {
    nersc: Facility,
    olcf: Facility,
    scratch: Scratch,
}

async fn facility(listen: &str, folder: &Path, resource: &str, status: &str) -> Option<Facility> {
    let folder = folder.display().to_string();
    let text = format!(
        "listen = \"{listen}\"\nfolder = {folder:?}\niri_token = \"12345\"\n[resources.{resource}]\nstatus = \"{status}\"\n\
        [resources.{resource}.machine]\nslots = 2\n"
    );
    Facility::start(Scenario::parse(&text).unwrap()).await.ok()
}

impl Pair {
    pub(crate) async fn start() -> Self {
        let scratch = Scratch::new().unwrap();
        std::fs::write(scratch.path().join("token"), "12345").unwrap();
        let begun = async |resource: &str| {
            facility("127.0.0.1:0", &scratch.path().join(resource), resource, "active").await.unwrap()
        };
        Self { nersc: begun("perlmutter").await, olcf: begun("frontier").await, scratch }
    }

    /// A folder that goes with them.
    pub(crate) fn folder(&self) -> &Path {
        self.scratch.path()
    }

    /// The trigger's configuration; `more` is what each site has besides.
    pub(crate) fn config(&self, bootstrap: &str, prefix: &str, more: impl Fn(&str) -> String) -> Config {
        let path = |name: &str| self.folder().join(name).display().to_string();
        let of = |name: &str, api: &str, resource: &str, status: &str| {
            format!(
                "[sites.{name}]\nexecutor = \"iri\"\nfolder = {:?}\nclaims = {:?}\n\
                [sites.{name}.iri]\napi = \"{api}\"\nresource = \"{resource}\"\ntoken_file = {:?}\nwithin = \"2s\"\n\
                [sites.{name}.script]\naccount = \"m1759\"\n[sites.{name}.status]\n{status}\n{}",
                path(&format!("{name}-jobs")),
                path(&format!("{name}-claims")),
                path("token"),
                more(name),
            )
        };
        // The first one's own interface of the other kind is asked how it is.
        let by_sfapi =
            format!("interface = \"sfapi\"\napi = \"{}\"\nresources = [\"perlmutter\"]", self.nersc.sfapi());
        let text = format!(
            "decider = \"test\"\n[kafka]\nbootstrap = [\"{bootstrap}\"]\nprefix = \"{prefix}\"\n[http]\nlisten = \"127.0.0.1:0\"\n\
            [decide]\npoll = \"300ms\"\ngrace = \"5s\"\nagain = \"1s\"\n\
            [facility]\nevery = \"300ms\"\nlost_after = \"2s\"\ngive_up_after = \"4s\"\nfailover_for = \"10m\"\n{}{}",
            of("NERSC", &self.nersc.iri(), "perlmutter", &by_sfapi),
            of("OLCF", &self.olcf.iri(), "frontier", "interface = \"iri\""),
        );
        Config::parse(&text).unwrap_or_else(|faults| panic!("{faults:#?}"))
    }

    /// The first facility is replaced by one that says that it is unavailable, at the same address, and knows of no job.
    pub(crate) async fn lose_nersc(self) -> Self {
        let Self { nersc, olcf, scratch } = self;
        let address = nersc.address().to_string();
        drop(nersc);
        let folder = scratch.path().join("away");
        let nersc = wait::until("the address to be free", SOON, async || {
            facility(&address, &folder, "perlmutter", "unavailable").await
        });
        Self { nersc: nersc.await.unwrap(), olcf, scratch }
    }

    /// The folder of the only job that NERSC has started.
    pub(crate) fn job_at_nersc(&self) -> PathBuf {
        self.folder().join("perlmutter/perlmutter/job4242.1")
    }
}

/// One task for each run of the experiment, at either site.
pub(crate) fn rule_of_both(trial: Option<TrialNumber>, work: Work) -> Rule {
    let task = Task {
        task: "work".parse().unwrap(),
        work,
        after: Vec::new(),
        nodes: 1,
        seconds: 900,
        attempts: 3,
        only: None,
        ahead: None,
    };
    Rule {
        rule: "live".parse().unwrap(),
        version: 1,
        trigger: Trigger::AllFilesTransferred,
        run_param: None,
        when: None,
        dataset: None,
        experiment: Some("mfxx1".parse().unwrap()),
        first_run: None,
        last_run: None,
        site: site("NERSC"),
        or_at: vec![site("OLCF")],
        trial,
        tasks: vec![task],
        since: None,
        who: "test".to_owned(),
        at: Millis(0),
    }
}
