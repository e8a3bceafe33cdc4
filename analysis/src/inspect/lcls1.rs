//! LCLS-I streams, their small files, and their indices.

use lightrail_topics::Millis;

use super::walk::Family;
use super::window::Window;
use super::{Chunk, Detector, Report, Transition};
use crate::formats::FormatError;
use crate::formats::xtc::{Configuration, Datagram, HEADER, Header, Service, Time, Xtc, idx, image, smd};
use crate::source::SourceError;

/// Walks a stream; what is damaged ends the walk and is told in the report.
pub(super) async fn stream(mut report: Report, window: &mut Window) -> Result<Report, SourceError> {
    report.format = "LCLS-I stream (XTC)".into();
    let mut walk = Walk::default();
    super::walk::walk(&mut walk, &mut report, window).await?;
    if let Some((first, last)) = walk.times {
        report.rate(seconds(last) - seconds(first));
    }
    Ok(report)
}

#[derive(Default)]
struct Walk {
    configuration: Configuration,
    small: bool,
    times: Option<(Time, Time)>,
}

impl Family for Walk {
    const HEADER: usize = HEADER;

    fn header(head: &[u8], at: u64) -> Result<(usize, bool), FormatError> {
        Header::parse(head, at).map(|header| (header.size, header.service == Service::L1Accept))
    }

    fn is_small(&self) -> bool {
        self.small
    }

    fn datagram(&mut self, report: &mut Report, bytes: &[u8], at: u64) -> Result<(), FormatError> {
        let datagram = Datagram::parse(bytes, at)?;
        if datagram.header.service != Service::L1Accept {
            return self.transition(report, &datagram);
        }
        self.count(report, &datagram.header, at);
        if self.small {
            let place = smd::place(&datagram)?;
            let (from, to) = (place.offset, place.offset + u64::from(place.size));
            match report.chunks.last_mut() {
                Some(chunk) => {
                    chunk.events += 1;
                    (chunk.from, chunk.to) = (chunk.from.min(from), chunk.to.max(to));
                }
                None => report.chunks.push(Chunk { number: 0, file: None, events: 1, from, to }),
            }
        }
        self.leaves(report, &datagram)
    }

    fn event(&mut self, report: &mut Report, head: &[u8], at: u64) -> Result<(), FormatError> {
        self.count(report, &Header::parse(head, at)?, at);
        Ok(())
    }
}

impl Walk {
    fn transition(&mut self, report: &mut Report, datagram: &Datagram<'_>) -> Result<(), FormatError> {
        let header = datagram.header;
        if header.service == Service::Configure {
            self.configuration = Configuration::of(datagram)?;
            self.small = datagram.leaves().flatten().any(|leaf| leaf.kind.number == 89);
            if self.small {
                report.format = "LCLS-I small file (smd.xtc)".into();
            }
            for leaf in datagram.leaves() {
                self.describe(report, &leaf?);
            }
        }
        if !header.damage.is_none() {
            report.damaged(&format!("{:?}", header.service), header.damage.to_string(), datagram.at);
        }
        report.transitions.push(Transition {
            name: format!("{:?}", header.service),
            time: time(header.time),
            at: datagram.at,
            bytes: header.size as u64,
            says: None,
        });
        Ok(())
    }

    fn count(&mut self, report: &mut Report, header: &Header, at: u64) {
        let now = header.time;
        let (first, last) = self.times.unwrap_or((now, now));
        let id = format!("{}-{}-{}", now.seconds, now.nanoseconds, now.fiducial);
        report.count(id, time(now), now.cmp(&last), header.size as u64);
        self.times = Some((first, now));
        if !header.damage.is_none() {
            report.damaged("the whole datagram", header.damage.to_string(), at);
        }
    }

    fn leaves(&mut self, report: &mut Report, datagram: &Datagram<'_>) -> Result<(), FormatError> {
        for leaf in datagram.leaves() {
            let leaf = leaf?;
            if !leaf.damage.is_none() {
                let of = format!("{} of {}", leaf.kind, leaf.src);
                report.damaged(&of, leaf.damage.to_string(), datagram.at);
            }
            self.describe(report, &leaf);
        }
        Ok(())
    }

    /// A source and type that was not met before.
    fn describe(&self, report: &mut Report, leaf: &Xtc<'_>) {
        let (name, kind) = (leaf.src.to_string(), leaf.kind.to_string());
        if report.detectors.iter().any(|known| known.name == name && known.algorithm == kind) {
            return;
        }
        let alias = self.configuration.aliases().find(|(_, src)| *src == leaf.src).map(|(alias, _)| alias);
        let fields = if image::is_image(leaf) {
            let shape = image::frame(leaf, &self.configuration).map(|frame| frame.shape.to_string());
            vec![shape.map_or_else(|error| error.to_string(), |shape| format!("image {shape}"))]
        } else {
            Vec::new()
        };
        let kind_of = alias.map_or_else(String::new, str::to_owned);
        report.detectors.push(Detector {
            name,
            kind: kind_of,
            algorithm: kind,
            segments: Vec::new(),
            fields,
        });
    }
}

/// An index file.
pub(super) fn index(mut report: Report, bytes: &[u8]) -> Report {
    report.format = "LCLS-I index (xtc.idx)".into();
    let index = match idx::Index::parse(bytes) {
        Ok(index) => index,
        Err(error) => {
            report.fault(&error);
            return report;
        }
    };
    let mut last = None;
    for (number, shot) in (0_u64..).zip(&index.shots) {
        let id = format!("{}-{}-{}", shot.time.seconds, shot.time.nanoseconds, shot.time.fiducial);
        let order = last.map_or(std::cmp::Ordering::Greater, |last| shot.time.cmp(&last));
        report.count(id, time(shot.time), order, 0);
        last = Some(shot.time);
        if shot.damage != 0 {
            let damage = crate::formats::xtc::Damage(shot.damage);
            report.damaged("the whole datagram", damage.to_string(), index.header + number * idx::RECORD);
        }
    }
    if let (Some(first), Some(last)) = (index.shots.first(), index.shots.last()) {
        report.rate(seconds(last.time) - seconds(first.time));
        report.chunks.push(Chunk {
            number: 0,
            file: Some(index.file.clone()),
            events: index.shots.len() as u64,
            from: first.offset,
            to: last.offset,
        });
    }
    let codes: Vec<String> = index.codes.iter().map(ToString::to_string).collect();
    report.facts.push(("event codes".to_owned(), codes.join(" ")));
    report.facts.push(("calibration cycles".to_owned(), index.cycles.len().to_string()));
    for segment in &index.segments {
        for (src, kind) in &segment.sources {
            report.detectors.push(Detector {
                name: src.to_string(),
                kind: String::new(),
                algorithm: kind.to_string(),
                segments: Vec::new(),
                fields: Vec::new(),
            });
        }
    }
    report
}

fn seconds(time: Time) -> f64 {
    f64::from(time.seconds) + f64::from(time.nanoseconds) * 1e-9
}

fn time(time: Time) -> String {
    Millis(i64::from(time.seconds) * 1000 + i64::from(time.nanoseconds / 1_000_000)).to_string()
}
