//! From TOML to [`Config`]: names and defaults of all settings, and what must agree between them.
//! Goes on after a fault, so that all are found.

mod facility;
mod pools;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use lightrail_service::settings::{self, Kafka, List, Log, Section, Url, topic_name};
use lightrail_service::{settings_from_text, settings_from_words};
use lightrail_topics::SiteName;

use super::{Config, Decide, JidAt, Place, Site};
use crate::executor::{
    Analysis, Commands, Container, Dialect, Engine, Head, History, IriAt, Lsf, Pbs, Preemptible, SfapiAt,
    Sge, Slurm, Wishes, is_constraint, is_image, is_volume, is_word,
};
use facility::{facility, status};
use pools::pools;

/// NERSC's Superfacility API.
const NERSC: &str = "https://api.nersc.gov/api/v1.2";
const SECOND: Duration = Duration::from_secs(1);
const MEANS_NOTHING: &str = "means nothing to this site's executor";

#[derive(Clone, Copy)]
enum Kind {
    Local,
    Slurm,
    Pbs,
    Lsf,
    Sge,
    Sfapi,
    Iri,
}

#[derive(Clone, Copy)]
enum PbsKind {
    Pro,
    Torque,
}

/// The decider's name, as a type of this crate.
struct Name(lightrail_topics::DeciderName);

impl std::str::FromStr for Name {
    type Err = lightrail_topics::IdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

settings_from_text! { Name => "a name such as \"main\"" }
settings_from_words! {
    Kind => "\"local\", \"slurm\", \"pbs\", \"lsf\", \"sge\", \"sfapi\" or \"iri\"" {
        "local" => Kind::Local, "slurm" => Kind::Slurm, "pbs" => Kind::Pbs, "lsf" => Kind::Lsf, "sge" => Kind::Sge,
        "sfapi" => Kind::Sfapi, "iri" => Kind::Iri
    },
    PbsKind => "\"pro\" or \"torque\"" { "pro" => PbsKind::Pro, "torque" => PbsKind::Torque },
    Engine => "\"shifter\", \"podman-hpc\" or \"apptainer\"" {
        "shifter" => Engine::Shifter, "podman-hpc" => Engine::PodmanHpc, "apptainer" => Engine::Apptainer
    },
}

/// The whole file. `None` only when a fault was noted.
pub(super) fn whole(top: Section<'_, '_>) -> Option<Config> {
    let decider = top.required("decider").map(|Name(name)| name);
    let kafka_section = top.section("kafka");
    let kafka = Kafka::read(&kafka_section);
    let logbook: Option<String> = kafka_section.optional("logbook");
    if let Some(prefix) = &logbook {
        topic_name(&kafka_section, "logbook", prefix);
    }
    kafka_section.finish();
    let sites_section = top.section("sites");
    let sites: BTreeMap<SiteName, _> = sites_section.named(site);
    if sites.is_empty() {
        top.fault("sites", "names no site: say [sites.NERSC] and how jobs run there");
    }
    let pools = pools(&top.section("pools"), &sites);
    let decide = decide(top.section("decide"));
    let facility = facility(top.section("facility"));
    for (name, site) in &sites {
        if let Some(site) = site
            && site.executor.within().is_some_and(|within| decide.grace <= within * 2)
        {
            let text =
                format!("is too long for site {name}: decide.grace must be longer than two such calls");
            sites_section.section(name.as_str()).section(site.executor.word()).fault("within", text);
        }
    }
    let jid = jid(top.section("jid"));
    let http = top.section("http");
    let listen = http.or("listen", ([127, 0, 0, 1], 8744).into());
    http.finish();
    let log = Log::read(top.section("log"));
    top.finish();
    Some(Config {
        decider: decider?,
        kafka: kafka?,
        logbook: logbook.map(|prefix| if prefix == "." { String::new() } else { prefix }),
        sites: sites.into_iter().map(|(name, site)| Some((name, site?))).collect::<Option<_>>()?,
        pools: pools.into_iter().map(|(name, pool)| Some((name, pool?))).collect::<Option<_>>()?,
        decide,
        facility,
        jid,
        listen,
        log,
    })
}

/// A path that nodes see: whole, and of letters that mean nothing to a scheduler.
fn plain_path(section: &Section<'_, '_>, key: &str, path: Option<PathBuf>) -> Option<PathBuf> {
    let path = path?;
    if !path.is_absolute() {
        section.fault(key, "is no absolute path");
    } else if !path.to_str().is_some_and(is_word) {
        section.fault(key, "holds what a scheduler may misread: letters, digits and . _ - + @ / only");
    }
    Some(path)
}

fn site(section: Section<'_, '_>) -> Option<Site> {
    let kind = section.or("executor", Kind::Local);
    let folder = plain_path(&section, "folder", section.required("folder"));
    let claims = plain_path(&section, "claims", section.required("claims"));
    let at_once = section.or("at_once", 10);
    let for_live = section.or("for_live", u16::from(at_once > 1));
    let allocation = section.optional::<u32>("allocation").map(u64::from);
    let slurm = slurm(section.section("slurm"));
    let pbs = pbs(section.section("pbs"));
    let lsf = Lsf { commands: only_commands(section.section("lsf")) };
    let sge = Sge { commands: only_commands(section.section("sge")) };
    let sfapi = sfapi(section.section("sfapi"), matches!(kind, Kind::Sfapi));
    let iri = iri(section.section("iri"), matches!(kind, Kind::Iri));
    let head = head(section.section("script"), kind, pbs.is_torque);
    let analysis_section = section.section("analysis");
    let analysis = analysis_section.is_given().then(|| {
        let program = plain_path(&analysis_section, "program", analysis_section.required("program"));
        let config = plain_path(&analysis_section, "config", analysis_section.required("config"));
        Some(Analysis { program: program?, config: config? })
    });
    if analysis.is_none() {
        // Asked for all the same, so that they are known names.
        let _ = analysis_section.optional::<PathBuf>("program");
        let _ = analysis_section.optional::<PathBuf>("config");
    }
    analysis_section.finish();
    let executor = match kind {
        Kind::Local => Some(Place::Local),
        Kind::Slurm => Some(Place::Slurm(slurm)),
        Kind::Pbs => Some(Place::Pbs(pbs)),
        Kind::Lsf => Some(Place::Lsf(lsf)),
        Kind::Sge => Some(Place::Sge(sge)),
        Kind::Sfapi => sfapi.map(Place::Sfapi),
        Kind::Iri => iri.map(Place::Iri),
    };
    let status = status(section.section("status"), executor.as_ref());
    section.finish();
    Some(Site {
        executor: executor?,
        status: status?,
        head,
        folder: folder?,
        claims: claims?,
        at_once,
        for_live,
        allocation,
        analysis: match analysis {
            Some(analysis) => Some(analysis?),
            None => None,
        },
    })
}

fn slurm(section: Section<'_, '_>) -> Slurm {
    let commands = commands(&section);
    let jobcomp = plain_path(&section, "jobcomp", section.optional("jobcomp"));
    section.finish();
    let history = jobcomp.map_or(History::Sacct, History::Jobcomp);
    Slurm { commands, history }
}

fn commands(section: &Section<'_, '_>) -> Commands {
    let folder = plain_path(section, "commands", section.optional("commands"));
    Commands { folder, within: section.or("within", 20 * SECOND) }
}

fn only_commands(section: Section<'_, '_>) -> Commands {
    let commands = commands(&section);
    section.finish();
    commands
}

fn pbs(section: Section<'_, '_>) -> Pbs {
    let commands = commands(&section);
    let is_torque = matches!(section.or("dialect", PbsKind::Pro), PbsKind::Torque);
    section.finish();
    Pbs { commands, is_torque }
}

/// `None` where it is not wanted, or a fault was noted.
fn sfapi(section: Section<'_, '_>, is_wanted: bool) -> Option<SfapiAt> {
    let url = |key: &str, usual: &str| section.or(key, Url(usual.to_owned())).0;
    let api = url("api", NERSC);
    let token = url("token", "https://oidc.nersc.gov/c2id/token");
    let machine = word(&section, "machine").unwrap_or_else(|| "perlmutter".to_owned());
    let within = section.or("within", 50 * SECOND);
    let (user, key) = if is_wanted {
        (section.required("user"), section.required("key"))
    } else {
        (section.optional("user"), section.optional("key"))
    };
    let user: Option<String> = user;
    if user.as_deref().is_some_and(|user| !is_word(user)) {
        section.fault("user", NO_WORD);
    }
    section.finish();
    is_wanted.then(|| Some(SfapiAt { api, token, machine, user: user?, key: key?, within }))?
}

/// `None` where it is not wanted, or a fault was noted.
fn iri(section: Section<'_, '_>, is_wanted: bool) -> Option<IriAt> {
    let api: Option<Url> = if is_wanted { section.required("api") } else { section.optional("api") };
    let resource = word(&section, "resource");
    let token = settings::secret(&section, "token");
    let within = section.or("within", 50 * SECOND);
    if is_wanted && resource.is_none() {
        section.fault("resource", "is missing; expected the compute resource's id");
    }
    if is_wanted && token.is_none() {
        section.fault("token_file", "is missing; expected a file whose first line is the bearer token");
    }
    section.finish();
    is_wanted.then(|| Some(IriAt { api: api?.0, resource: resource?, token: token?, within }))?
}

const NO_WORD: &str = "is no word: letters, digits and . _ - + @ / only";

/// A value that can stand in a directive or an address.
fn word(section: &Section<'_, '_>, key: &str) -> Option<String> {
    let value: Option<String> = section.optional(key);
    if value.as_deref().is_some_and(|value| !is_word(value)) {
        section.fault(key, NO_WORD);
    }
    value
}

fn head(section: Section<'_, '_>, kind: Kind, is_torque: bool) -> Head {
    let dialect = match kind {
        Kind::Local => Dialect::Local,
        Kind::Slurm | Kind::Sfapi => Dialect::Slurm,
        Kind::Pbs if is_torque => Dialect::Torque,
        Kind::Pbs => Dialect::Pbs,
        Kind::Lsf => Dialect::Lsf,
        Kind::Sge => Dialect::Sge,
        Kind::Iri => Dialect::Iri,
    };
    let word = |key: &str| word(&section, key);
    let constraint: Option<String> = section.optional("constraint");
    if constraint.as_deref().is_some_and(|text| !is_constraint(text)) {
        section.fault("constraint", "is no constraint: words, combined by & | * = : , and brackets");
    }
    let setup: Vec<PathBuf> = section.optional::<List<_>>("setup").map_or_else(Vec::new, |list| list.0);
    for file in &setup {
        plain_path(&section, "setup", Some(file.clone()));
    }
    let wishes = Wishes {
        queue: word("queue"),
        account: word("account"),
        qos: word("qos"),
        reservation: word("reservation"),
        reservation_jobs: section.optional("reservation_jobs"),
        constraint,
        cores: section.optional("cores"),
        parallel: word("parallel"),
        warning: section.optional::<Duration>("warning").map(|warning| warning.as_secs().max(1)),
        preemptible: preemptible(section.section("preemptible"), dialect),
        setup,
        environment: environment(section.section("environment")),
        container: container(section.section("container")),
    };
    if matches!(kind, Kind::Iri) && wishes.account.is_none() {
        section.fault("account", "is missing: the interface wants to know who pays");
    }
    if wishes.reservation_jobs.is_some() && wishes.reservation.is_none() {
        section.fault("reservation_jobs", "says how many go into a reservation, and there is none");
    }
    // What a job asks for and does not get is told here. An account is told to the logbook's jobs too, wherever they run.
    let is_batch = dialect != Dialect::Local;
    let given = [
        ("queue", wishes.queue.is_some(), is_batch),
        ("qos", wishes.qos.is_some(), matches!(dialect, Dialect::Slurm | Dialect::Lsf | Dialect::Iri)),
        ("reservation", wishes.reservation.is_some(), is_batch),
        ("constraint", wishes.constraint.is_some(), is_batch),
        ("cores", wishes.cores.is_some(), is_batch),
        ("warning", wishes.warning.is_some(), matches!(dialect, Dialect::Slurm | Dialect::Lsf)),
        ("parallel", wishes.parallel.is_some(), dialect == Dialect::Sge),
    ];
    for (key, _, _) in given.iter().filter(|(_, is_given, is_known)| *is_given && !is_known) {
        section.fault(key, MEANS_NOTHING);
    }
    if dialect == Dialect::Sge && wishes.cores.is_some() && wishes.parallel.is_none() {
        section
            .fault("parallel", "is missing: Grid Engine gives several cores in a parallel environment only");
    }
    section.finish();
    Head { dialect, wishes }
}

fn preemptible(section: Section<'_, '_>, dialect: Dialect) -> Option<Preemptible> {
    let is_given = section.is_given();
    let class = word(&section, "class");
    let shortest = section.optional::<Duration>("shortest").map(|shortest| shortest.as_secs().max(60));
    if is_given && class.is_none() {
        section.fault(
            "class",
            "is missing: the QOS of Slurm and of IRI, or the queue of others, whose jobs give way",
        );
    }
    if class.is_some() && dialect == Dialect::Local {
        section.fault("class", MEANS_NOTHING);
    }
    if shortest.is_some() && dialect != Dialect::Slurm {
        section.fault("shortest", MEANS_NOTHING);
    }
    section.finish();
    Some(Preemptible { class: class?, shortest })
}

fn environment(section: Section<'_, '_>) -> BTreeMap<String, String> {
    let mut environment = BTreeMap::new();
    for name in section.names() {
        let good = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        if !name.bytes().all(good) || name.starts_with(|letter: char| letter.is_ascii_digit()) {
            section.fault(&name, "is no name of an environment variable");
        }
        if let Some(value) = section.optional::<String>(&name) {
            environment.insert(name, value);
        }
    }
    section.finish();
    environment
}

fn container(section: Section<'_, '_>) -> Option<Container> {
    let is_given = section.is_given();
    let engine: Option<Engine> =
        if is_given { section.required("engine") } else { section.optional("engine") };
    let image: Option<String> = if is_given { section.required("image") } else { section.optional("image") };
    if image.as_deref().is_some_and(|image| !is_image(image)) {
        section.fault("image", "is no image: letters, digits and . _ - + @ / : only");
    }
    let volumes: Vec<String> = section.optional::<List<_>>("volumes").map_or_else(Vec::new, |list| list.0);
    for volume in volumes.iter().filter(|volume| !is_volume(volume)) {
        section.fault("volumes", format!("`{volume}` does not say \"/outside:/inside\""));
    }
    section.finish();
    Some(Container { engine: engine?, image: image?, volumes })
}

/// Served where it says where to listen.
fn jid(section: Section<'_, '_>) -> Option<JidAt> {
    let listen = section.optional("listen");
    let address = section.optional("address").map(|Url(address)| address);
    let public_key = section.optional("public_key");
    let loopback = section.or("loopback", true);
    let time = section.or("time", 12 * 3600 * SECOND);
    if section.is_given() && listen.is_none() {
        section.fault("listen", "is missing: where the job interface is served");
    }
    section.finish();
    Some(JidAt { listen: listen?, address, public_key, loopback, time })
}

fn decide(section: Section<'_, '_>) -> Decide {
    let decide = Decide {
        poll: section.or("poll", 5 * SECOND),
        grace: section.or("grace", 120 * SECOND),
        again: section.or("again", 30 * SECOND),
        lands_within: section.or("lands_within", 1800 * SECOND),
        hangs: section.or("hangs", 900 * SECOND),
        patience: section.or("patience", 60 * SECOND),
    };
    if decide.grace <= decide.poll * 2 {
        section.fault("grace", "is not longer than two polls, in which a job must be seen");
    }
    section.finish();
    decide
}
