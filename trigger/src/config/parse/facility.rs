//! `[sites.<NAME>.status]` and `[facility]`: who is asked how a site is, how often, and when it is held for lost.

use lightrail_service::settings::{List, Section, Url};
use lightrail_service::{settings_from_text, settings_from_words};
use lightrail_topics::ResourceName;

use super::super::{FacilityWatch, Place};
use super::{NERSC, SECOND};
use crate::facility::StatusAt;

#[derive(Clone, Copy)]
enum StatusKind {
    Sfapi,
    Iri,
    Scheduler,
}

/// A part of a facility, as a type of this crate.
struct Resource(ResourceName);

impl std::str::FromStr for Resource {
    type Err = lightrail_topics::IdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

settings_from_text! { Resource => "a part of the facility such as \"perlmutter\"" }
settings_from_words! {
    StatusKind => "\"sfapi\", \"iri\" or \"scheduler\"" {
        "sfapi" => StatusKind::Sfapi, "iri" => StatusKind::Iri, "scheduler" => StatusKind::Scheduler
    },
}

/// Who is asked how a site is: the interface that its jobs go through, where nothing else is said.
pub(super) fn status(section: Section<'_, '_>, executor: Option<&Place>) -> Option<StatusAt> {
    let usual = match executor {
        Some(Place::Sfapi(_)) => StatusKind::Sfapi,
        Some(Place::Iri(_)) => StatusKind::Iri,
        _ => StatusKind::Scheduler,
    };
    let kind = section.or("interface", usual);
    let api: Option<Url> = section.optional("api");
    let given = section.optional::<List<Resource>>("resources");
    let given: Option<Vec<ResourceName>> =
        given.map(|List(list)| list.into_iter().map(|Resource(name)| name).collect());
    let (own_api, own_resource) = match (kind, executor) {
        (StatusKind::Sfapi, Some(Place::Sfapi(at))) => (Some(at.api.clone()), at.machine.parse().ok()),
        (StatusKind::Sfapi, _) => (Some(NERSC.to_owned()), None),
        (StatusKind::Iri, Some(Place::Iri(at))) => (Some(at.api.clone()), at.resource.parse().ok()),
        (_, executor) => (None, executor.and_then(|place| place.word().parse().ok())),
    };
    let is_called = !matches!(kind, StatusKind::Scheduler);
    let resources = given.or_else(|| own_resource.map(|own| vec![own])).unwrap_or_default();
    let api = api.map(|Url(api)| api).or(own_api);
    if is_called && api.is_none() {
        section.fault("api", "is missing: the address of the interface, with its version");
    }
    if resources.is_empty() && executor.is_some() {
        section.fault("resources", "is missing: which parts of the facility are asked for");
    }
    section.finish();
    let first = resources.first().cloned();
    match kind {
        StatusKind::Sfapi => Some(StatusAt::Sfapi(api?, resources)),
        StatusKind::Iri => Some(StatusAt::Iri(api?, resources)),
        StatusKind::Scheduler => Some(StatusAt::Scheduler(first?)),
    }
}

pub(super) fn facility(section: Section<'_, '_>) -> FacilityWatch {
    let watch = FacilityWatch {
        every: section.or("every", 60 * SECOND),
        heartbeat: section.or("heartbeat", 600 * SECOND),
        lost_after: section.or("lost_after", 300 * SECOND),
        give_up_after: section.or("give_up_after", 900 * SECOND),
        failover_for: section.or("failover_for", 1800 * SECOND),
    };
    if watch.lost_after <= watch.every {
        section.fault("lost_after", "is not longer than `every`: one answer that is late would lose a site");
    }
    if watch.give_up_after < watch.lost_after {
        section.fault("give_up_after", "is shorter than lost_after");
    }
    section.finish();
    watch
}
