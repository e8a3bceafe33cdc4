//! The file of `routes apply`: a TOML table per experiment, read with the same care as the configuration.

use lightrail_service::settings::{self, Fault, List, Section, known_site};
use lightrail_topics::{Experiment, SiteName};

/// What a routes file says of one experiment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteLine {
    /// The experiment.
    pub experiment: Experiment,
    /// Where it goes; none ends its route.
    pub route: Option<RouteTo>,
}

/// Where an experiment's data go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteTo {
    /// `to`: sites in order.
    pub to: Vec<SiteName>,
    /// `streaming`: files go before their run is closed.
    pub streaming: Option<bool>,
    /// `transfers`: how many copies at once.
    pub transfers: Option<u32>,
    /// `not_waited_streams`: streams that a run is available without.
    pub not_waited_streams: Option<Vec<u16>>,
}

impl RouteLine {
    /// Reads a routes file; only the sites given may be named.
    ///
    /// # Errors
    /// All faults, in the order of the text.
    pub fn parse(text: &str, sites: &[SiteName]) -> Result<Vec<Self>, Vec<Fault>> {
        settings::parse(text, |top| Some(Self::all(&top, sites)).inspect(|_| top.finish()))
    }

    fn all(top: &Section<'_, '_>, sites: &[SiteName]) -> Vec<Self> {
        let mut lines = Vec::new();
        for name in top.names() {
            match name.parse::<Experiment>() {
                Ok(experiment) => lines.push(line(experiment, top.section(&name), sites)),
                Err(why) => top.fault(&name, why.to_string()),
            }
        }
        lines
    }
}

fn line(experiment: Experiment, section: Section<'_, '_>, sites: &[SiteName]) -> RouteLine {
    if section.or("remove", false) {
        section.finish();
        return RouteLine { experiment, route: None };
    }
    let to = section.required::<List<SiteName>>("to").map(|list| list.0);
    if to.as_ref().is_some_and(Vec::is_empty) {
        section.fault("to", "names no site; remove = true ends a route");
    }
    for site in to.iter().flatten() {
        known_site(&section, "to", site, sites);
    }
    let route = RouteTo {
        to: to.unwrap_or_default(),
        streaming: section.optional("streaming"),
        transfers: section.optional("transfers"),
        not_waited_streams: section.optional("not_waited_streams").map(|List(streams)| streams),
    };
    section.finish();
    RouteLine { experiment, route: Some(route) }
}
