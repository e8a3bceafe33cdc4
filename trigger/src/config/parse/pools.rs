//! `[pools.<NAME>]`: standing pools of analysis workers, at sites that can start some.

use std::collections::BTreeMap;

use lightrail_service::settings::{self, Section};
use lightrail_service::settings_from_text;
use lightrail_topics::events::Class;
use lightrail_topics::{PoolName, SiteName};

use super::super::Site;
use super::SECOND;
use crate::decide::Pool;

/// How urgent, as a type of this crate.
struct PoolClass(Class);

impl std::str::FromStr for PoolClass {
    type Err = lightrail_topics::IdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

settings_from_text! { PoolClass => "\"live\" or \"reprocess\"" }

pub(super) fn pools(
    section: &Section<'_, '_>,
    sites: &BTreeMap<SiteName, Option<Site>>,
) -> BTreeMap<PoolName, Option<Pool>> {
    let mut pools = BTreeMap::new();
    for key in section.names() {
        match key.parse::<PoolName>() {
            Ok(name) => drop(pools.insert(name, pool(section.section(&key), sites))),
            Err(why) => section.fault(&key, why.to_string()),
        }
    }
    pools
}

fn pool(section: Section<'_, '_>, sites: &BTreeMap<SiteName, Option<Site>>) -> Option<Pool> {
    let site: Option<SiteName> = section.required("site");
    let class = section.required("class").map(|PoolClass(class)| class);
    let (min, max) = (u32::from(section.or("min", 0_u16)), section.required::<u32>("max"));
    let (workers, images) = (section.or("workers", 1), section.or("images_per_worker", 200));
    let nodes = section.or("nodes", 1);
    let seconds = section.or("time", 3600 * SECOND).as_secs().max(1);
    let idle = section.or("idle", 300 * SECOND);
    if let Some(site) = &site {
        let known: Vec<SiteName> = sites.keys().cloned().collect();
        settings::known_site(&section, "site", site, &known);
        if let Some(Some(place)) = sites.get(site) {
            if place.analysis.is_none() {
                section.fault("site", "says no [sites.NAME.analysis]: no workers can be started there");
            }
            if nodes > 1 && !place.head.dialect.starts_on_each_node() {
                section.fault(
                    "nodes",
                    "is 1 at this site, whose scheduler starts workers on one; take more workers",
                );
            }
        }
    }
    if max.is_some_and(|max| max < min || max == 0) {
        section.fault("max", "is 0, or less than min");
    }
    if workers == 0 || images == 0 {
        section.fault("workers", "and images_per_worker are 1 at least");
    }
    section.finish();
    Some(Pool {
        site: site?,
        class: class?,
        min,
        max: max?,
        workers,
        images_per_worker: images,
        nodes,
        seconds,
        idle,
    })
}
