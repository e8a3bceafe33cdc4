//! What a simulated facility does and when: one TOML file, read whole with every fault named at once. Times count from the
//! simulator's start.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lightrail_service::settings::{self, ConfigError, Fault as SettingFault, Log, Section, Setting};
use lightrail_service::settings_from_words;

/// The example, which a test reads.
pub const EXAMPLE: &str = include_str!("../../facility.example.toml");

/// All of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scenario {
    /// `listen`.
    pub listen: SocketAddr,
    /// `folder`: where its jobs' processes keep their files.
    pub folder: PathBuf,
    /// `user`: whose jobs they are.
    pub user: String,
    /// `token_life`: how long a token of the Superfacility API is good for.
    pub token_life: Duration,
    /// `iri_token`: the bearer token of the IRI interface.
    pub iri_token: String,
    /// `[clients.<NAME>]`: clients of the Superfacility API with their public keys' files.
    pub clients: BTreeMap<String, PathBuf>,
    /// `[resources.<NAME>]`.
    pub resources: BTreeMap<String, Resource>,
    /// `[[outages]]`.
    pub outages: Vec<Outage>,
    /// `[[faults]]`: what is wrong with the interface, and when.
    pub faults: Vec<Fault>,
    /// `[[wrong]]`: states that are told and are not so.
    pub wrong: Vec<Wrong>,
    /// `[log]`.
    pub log: Log,
}

/// Something that a facility has: a machine, a file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    /// `full_name`.
    pub full_name: String,
    /// `kind`: `compute`, `filesystem`, `service`.
    pub kind: String,
    /// `status`, and from `[[resources.<NAME>.health]]` what it is from when on.
    pub health: BTreeMap<Duration, Health>,
    /// `[resources.<NAME>.machine]`, where jobs can be run there.
    pub machine: Option<Machine>,
}

/// How a machine runs jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Machine {
    /// `slots`: jobs that run at once.
    pub slots: u32,
    /// `queue_wait`: how long each waits at least.
    pub queue_wait: Duration,
    /// `submission`: how long it takes until a submission is in the queue.
    pub submission: Duration,
}

/// How well a resource is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// All is well.
    Active,
    /// It is away.
    Unavailable,
    /// It works, and not as it should.
    Degraded,
    /// None of these.
    Other,
}

/// A time at which a resource is away, known beforehand where `planned`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outage {
    /// `resource`.
    pub resource: String,
    /// `begin`.
    pub begin: Duration,
    /// `end`.
    pub end: Duration,
    /// `planned`: told before it begins.
    pub planned: bool,
    /// `description`.
    pub description: String,
}

/// What a call is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// Tokens are given.
    Token,
    /// A job is submitted.
    Submit,
    /// A task is asked for.
    Task,
    /// Jobs are asked for.
    Jobs,
    /// A command is run.
    Command,
    /// A job is cancelled.
    Cancel,
    /// Health is asked for.
    Status,
    /// Any of them.
    Any,
}

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mischief {
    /// It takes so long.
    Delay(Duration),
    /// What it asks for is done, and the answer is lost.
    Lost,
    /// 503, and nothing is done.
    Away,
    /// 429, and nothing is done.
    Busy,
    /// 401, and nothing is done.
    Denied,
    /// What it asks for is done, and the answer is a page for people.
    Garbage,
}

/// Something wrong with the interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// `call`.
    pub call: Call,
    /// `what`, with `takes` for a delay.
    pub what: Mischief,
    /// `begin`.
    pub begin: Duration,
    /// `end`; for ever where it is left out.
    pub end: Option<Duration>,
    /// `times`: of so many calls; of all where it is left out.
    pub times: Option<u32>,
}

/// A state that is told and is not so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// `job`: of jobs of this name; of all where it is left out.
    pub job: Option<String>,
    /// `state`: Slurm's word, or `ABSENT`.
    pub state: String,
    /// `begin`.
    pub begin: Duration,
    /// `end`.
    pub end: Option<Duration>,
}

#[derive(Clone, Copy)]
enum Kind {
    Delay,
    Lost,
    Away,
    Busy,
    Denied,
    Garbage,
}

settings_from_words! {
    Health => "\"active\", \"unavailable\", \"degraded\" or \"other\"" {
        "active" => Health::Active, "unavailable" => Health::Unavailable, "degraded" => Health::Degraded,
        "other" => Health::Other
    },
    Call => "\"token\", \"submit\", \"task\", \"jobs\", \"command\", \"cancel\", \"status\" or \"any\"" {
        "token" => Call::Token, "submit" => Call::Submit, "task" => Call::Task, "jobs" => Call::Jobs,
        "command" => Call::Command, "cancel" => Call::Cancel, "status" => Call::Status, "any" => Call::Any
    },
    Kind => "\"delay\", \"lost\", \"away\", \"busy\", \"denied\" or \"garbage\"" {
        "delay" => Kind::Delay, "lost" => Kind::Lost, "away" => Kind::Away, "busy" => Kind::Busy,
        "denied" => Kind::Denied, "garbage" => Kind::Garbage
    },
}

impl Health {
    /// The Superfacility API's word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Unavailable => "unavailable",
            Self::Degraded => "degraded",
            Self::Other => "other",
        }
    }

    /// IRI's word.
    pub fn iri_word(self) -> &'static str {
        match self {
            Self::Active => "up",
            Self::Unavailable => "down",
            Self::Degraded => "degraded",
            Self::Other => "unknown",
        }
    }
}

/// A time since the start; nothing of it is the start itself.
struct Since(Duration);

impl Setting for Since {
    const EXPECTED: &'static str = "a time since the start such as \"0s\" or \"90s\"";

    fn read(value: &settings::DeValue<'_>) -> Result<Self, String> {
        let text = value.as_str().ok_or_else(String::new)?;
        if text == "0s" { Ok(Self(Duration::ZERO)) } else { Duration::read(value).map(Self) }
    }
}

impl Scenario {
    /// Reads a scenario from its text.
    ///
    /// # Errors
    /// All faults, in the order of the text.
    pub fn parse(text: &str) -> Result<Self, Vec<SettingFault>> {
        settings::parse(text, whole)
    }

    /// Reads a scenario's file.
    ///
    /// # Errors
    /// As [`Self::parse`], or where it cannot be read.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        settings::load(path, Self::parse, |_| Vec::new())
    }
}

impl Resource {
    /// How well it is at a time since the start, outages left aside.
    pub fn health(&self, at: Duration) -> Health {
        self.health.range(..=at).next_back().map_or(Health::Active, |(_, health)| *health)
    }
}

/// The time from which on, and until which, something holds.
fn span(section: &Section<'_, '_>) -> (Duration, Option<Duration>) {
    let begin = section.optional("begin").map_or(Duration::ZERO, |Since(begin)| begin);
    let end = section.optional("end").map(|Since(end)| end);
    if end.is_some_and(|end| end <= begin) {
        section.fault("end", "is not after `begin`");
    }
    (begin, end)
}

fn whole(top: Section<'_, '_>) -> Option<Scenario> {
    let listen = top.or("listen", ([127, 0, 0, 1], 8745).into());
    let folder = top.required("folder");
    let user = top.or("user", "auser".to_owned());
    let token_life = top.or("token_life", Duration::from_secs(600));
    let iri_token = top.or("iri_token", "12345".to_owned());
    let section = top.section("clients");
    let mut clients = BTreeMap::new();
    for name in section.names() {
        let client = section.section(&name);
        clients.insert(name, client.required("public_key"));
        client.finish();
    }
    let section = top.section("resources");
    let resources: BTreeMap<String, Resource> = section
        .names()
        .into_iter()
        .map(|name| (name.clone(), resource(&name, section.section(&name))))
        .collect();
    let known = |section: &Section<'_, '_>, name: &Option<String>| {
        if let Some(name) = name.as_ref().filter(|name| !resources.contains_key(*name)) {
            section.fault("resource", format!("`{name}` is none of [resources]"));
        }
    };
    let mut outages = Vec::new();
    for section in top.sections("outages") {
        let resource: Option<String> = section.required("resource");
        known(&section, &resource);
        if section.optional::<Since>("end").is_none() {
            section.fault("end", "is missing; expected a time since the start such as \"90s\"");
        }
        let (begin, end) = span(&section);
        let planned = section.or("planned", true);
        let description = section.or("description", "System maintenance".to_owned());
        section.finish();
        outages.extend(resource.zip(end).map(|(resource, end)| Outage {
            resource,
            begin,
            end,
            planned,
            description,
        }));
    }
    let mut faults = Vec::new();
    for section in top.sections("faults") {
        let call = section.or("call", Call::Any);
        let kind = section.required("what");
        let takes = section.optional("takes");
        let what = match (kind, takes) {
            (Some(Kind::Delay), takes) => {
                if takes.is_none() {
                    section.fault("takes", "is missing: how long a call is delayed, such as \"5s\"");
                }
                takes.map(Mischief::Delay)
            }
            (kind, takes) => {
                if takes.is_some() {
                    section.fault("takes", "belongs to what = \"delay\"");
                }
                kind.map(|kind| match kind {
                    Kind::Lost => Mischief::Lost,
                    Kind::Away => Mischief::Away,
                    Kind::Busy => Mischief::Busy,
                    Kind::Denied => Mischief::Denied,
                    Kind::Garbage | Kind::Delay => Mischief::Garbage,
                })
            }
        };
        let (begin, end) = span(&section);
        let times = section.optional("times");
        section.finish();
        faults.extend(what.map(|what| Fault { call, what, begin, end, times }));
    }
    let mut wrong = Vec::new();
    for section in top.sections("wrong") {
        let (begin, end) = span(&section);
        let (job, state) = (section.optional("job"), section.required("state"));
        section.finish();
        wrong.extend(state.map(|state| Wrong { job, state, begin, end }));
    }
    let log = Log::read(top.section("log"));
    top.finish();
    let clients = clients.into_iter().map(|(name, key)| Some((name, key?))).collect::<Option<_>>()?;
    Some(Scenario {
        listen,
        folder: folder?,
        user,
        token_life,
        iri_token,
        clients,
        resources,
        outages,
        faults,
        wrong,
        log,
    })
}

fn resource(name: &str, section: Section<'_, '_>) -> Resource {
    let full_name = section.or("full_name", name.to_owned());
    let kind = section.or("kind", "compute".to_owned());
    let mut health = BTreeMap::from([(Duration::ZERO, section.or("status", Health::Active))]);
    for change in section.sections("health") {
        let at: Option<Since> = change.required("begin");
        let status = change.required("status");
        change.finish();
        health.extend(at.map(|Since(at)| at).zip(status));
    }
    let machine = section.section("machine");
    let is_machine = machine.is_given();
    let told = Machine {
        slots: machine.or("slots", 4),
        queue_wait: machine.optional("queue_wait").map_or(Duration::ZERO, |Since(wait)| wait),
        submission: machine.optional("submission").map_or(Duration::ZERO, |Since(takes)| takes),
    };
    machine.finish();
    section.finish();
    Resource { full_name, kind, health, machine: is_machine.then_some(told) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_is_right() {
        let scenario = Scenario::parse(EXAMPLE).unwrap_or_else(|faults| panic!("{faults:#?}"));
        let perlmutter = &scenario.resources["perlmutter"];
        assert_eq!(perlmutter.health(Duration::ZERO), Health::Active);
        assert_eq!(perlmutter.health(Duration::from_secs(600)), Health::Degraded);
        assert_eq!((scenario.outages.len(), scenario.faults.len(), scenario.wrong.len()), (1, 3, 1));
    }

    #[test]
    fn all_faults_are_listed_with_key_and_line() {
        let text = r#"folder = "/tmp/x"
[resources.perlmutter]
status = "actve"
[[outages]]
resource = "cori"
begin = "5s"
[[faults]]
what = "delay"
[[faults]]
what = "lost"
takes = "3s"
begin = "10s"
end = "5s"
[[wrong]]
jobs = "lra"
"#;
        let faults = Scenario::parse(text).expect_err("it is wrong");
        insta::assert_snapshot!(faults.iter().map(SettingFault::to_string).collect::<Vec<_>>().join("\n"));
    }
}
