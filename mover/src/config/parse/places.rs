//! Sites, experiments and watched folders from TOML, and what must agree between them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use lightrail_service::settings::{List, Prefix, Section, Size, known_site};
use lightrail_topics::{ChecksumKind, Experiment, SiteName};

use super::super::setting::Mode;
use super::super::{Engine, ExperimentRules, Experiments, Site, Verify, Watch};
use super::{GIB, HOUR, MIB, MINUTE, SECOND};

pub(super) fn sites(section: &Section<'_, '_>) -> BTreeMap<SiteName, Option<Site>> {
    section.named(site)
}

fn site(section: Section<'_, '_>) -> Option<Site> {
    let door = section.optional("door");
    let prefix = section.required("prefix").map(|Prefix(prefix)| prefix);
    let servers = section.optional("servers").map_or_else(Vec::new, |List(servers)| servers);
    let engine = section.or("engine", Engine::Native);
    let transfers = section.or("transfers", 16);
    let per_server = section.or("per_server", 9);
    let bytes_in_flight = section.or("bytes_in_flight", Size(1024 * GIB)).0;
    let reserved_small = section.optional::<u16>("reserved_small").map(u32::from);
    if reserved_small.is_some_and(|reserved| reserved >= transfers) {
        section.fault("reserved_small", format!("leaves no slot of {transfers} for big files; make it less"));
    }
    // A default that does not fit a small site is no fault of its owner.
    let reserved_small = reserved_small.unwrap_or(2).min(transfers - 1);
    let small_below = section.or("small_below", Size(256 * MIB)).0;
    let verify = section.or("verify", Verify::Checksum);
    let checksums = match section.optional("checksums") {
        Some(List(kinds)) if kinds.is_empty() && verify == Verify::Checksum => {
            section.fault("checksums", "names no kind; say verify = \"size\" if none is wanted");
            kinds
        }
        Some(List(kinds)) => kinds,
        None => ChecksumKind::ALL.to_vec(),
    };
    let recheck = section.or("recheck", false);
    let mode = section.or("mode", Mode(0o440)).0;
    section.finish();
    Some(Site {
        door,
        prefix: prefix?,
        servers,
        engine,
        transfers,
        per_server,
        bytes_in_flight,
        reserved_small,
        small_below,
        verify,
        checksums,
        recheck,
        mode,
    })
}

/// The source must be there, and whoever copies by XRootD needs doors on both sides.
pub(super) fn agree(
    top: &Section<'_, '_>,
    source: &SiteName,
    sites: &BTreeMap<SiteName, Option<Site>>,
    names: &[SiteName],
) {
    known_site(top, "source", source, names);
    let places = top.section("sites");
    let door_missing = |name: &SiteName, why: &str| places.section(name.as_str()).fault("door", why);
    let mut source_needs_door = false;
    for (name, site) in sites {
        let Some(site) = site else { continue };
        if name != source && site.engine != Engine::Posix {
            source_needs_door = true;
            if site.door.is_none() {
                door_missing(name, "is missing; copies by XRootD need host:port (or say engine = \"posix\")");
            }
        }
    }
    if let Some(Some(site)) = sites.get(source)
        && source_needs_door
        && site.door.is_none()
    {
        door_missing(source, "is missing; copies by XRootD are read from host:port");
    }
    if !sites.is_empty() && sites.keys().all(|name| name == source) {
        places.fault("", format!("only the source {source} is named; name at least one site to copy to"));
    }
}

pub(super) fn experiments(
    section: &Section<'_, '_>,
    sites: &[SiteName],
    source: Option<&SiteName>,
) -> Experiments {
    let base = ExperimentRules {
        to: None,
        streaming: false,
        not_waited_streams: Vec::new(),
        transfers: None,
        report_early: false,
        overdue: HOUR,
    };
    let default = experiment(section.section("default"), &base, sites, source);
    let mut named = BTreeMap::new();
    for key in section.names().into_iter().filter(|key| key != "default") {
        match key.parse::<Experiment>() {
            Ok(name) => {
                drop(named.insert(name, experiment(section.section(&key), &default, sites, source)));
            }
            Err(why) => section.fault(&key, why.to_string()),
        }
    }
    Experiments { default, named }
}

fn experiment(
    section: Section<'_, '_>,
    base: &ExperimentRules,
    sites: &[SiteName],
    source: Option<&SiteName>,
) -> ExperimentRules {
    let to = section.optional::<List<SiteName>>("to").map(|list| list.0);
    for (index, site) in to.iter().flatten().enumerate() {
        known_site(&section, "to", site, sites);
        if Some(site) == source {
            section.fault("to", format!("{site} is the source"));
        }
        if to.iter().flatten().take(index).any(|earlier| earlier == site) {
            section.fault("to", format!("{site} is named twice"));
        }
    }
    let rules = ExperimentRules {
        to: to.or_else(|| base.to.clone()),
        streaming: section.or("streaming", base.streaming),
        not_waited_streams: section
            .optional("not_waited_streams")
            .map_or_else(|| base.not_waited_streams.clone(), |List(streams)| streams),
        transfers: section.optional("transfers").or(base.transfers),
        report_early: section.or("report_early", base.report_early),
        overdue: section.or("overdue", base.overdue),
    };
    section.finish();
    rules
}

pub(super) fn watch(
    section: Section<'_, '_>,
    source: Option<&SiteName>,
    sites: &[SiteName],
) -> Option<Watch> {
    let folder: Option<PathBuf> = section.required("folder");
    if folder.as_ref().is_some_and(|folder| !folder.is_absolute()) {
        section.fault("folder", "is no absolute path");
    }
    let experiment: Option<Experiment> = section.required("experiment");
    let instrument = section.optional("instrument").or_else(|| {
        let letters: String = experiment.as_ref()?.as_str().chars().take(3).collect();
        letters.parse().ok()
    });
    let site = section.optional("site").or_else(|| source.cloned());
    if let Some(site) = &site {
        known_site(&section, "site", site, sites);
    }
    let scan = section.or("scan", 10 * SECOND);
    let quiet = section.or("quiet", MINUTE);
    section.finish();
    Some(Watch {
        folder: folder?,
        experiment: experiment?,
        instrument: instrument?,
        site: site?,
        scan,
        quiet,
    })
}
