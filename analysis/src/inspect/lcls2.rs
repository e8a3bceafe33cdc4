//! LCLS-II streams and their small files.

use lightrail_topics::Millis;

use super::walk::Family;
use super::window::Window;
use super::{Chunk, Detector, Report, Transition};
use crate::formats::FormatError;
use crate::formats::xtc2::smd::{Entry, SmdReader};
use crate::formats::xtc2::{
    Configuration, Datagram, HEADER, Header, Names, Service, Timestamp, Value, values,
};
use crate::source::SourceError;

/// Walks a stream; what is damaged ends the walk and is told in the report.
pub(super) async fn stream(mut report: Report, window: &mut Window) -> Result<Report, SourceError> {
    report.format = "LCLS-II stream (XTC2)".into();
    let mut walk = Walk::default();
    super::walk::walk(&mut walk, &mut report, window).await?;
    walk.end(&mut report);
    Ok(report)
}

#[derive(Default)]
struct Walk {
    configuration: Configuration,
    reader: SmdReader,
    small: bool,
    times: Option<(Timestamp, Timestamp)>,
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
        if self.small { self.place(report, &datagram) } else { self.values(report, &datagram) }
    }

    fn event(&mut self, report: &mut Report, head: &[u8], at: u64) -> Result<(), FormatError> {
        self.count(report, &Header::parse(head, at)?, at);
        Ok(())
    }
}

impl Walk {
    fn transition(&mut self, report: &mut Report, datagram: &Datagram<'_>) -> Result<(), FormatError> {
        let header = datagram.header;
        let changed = if header.service == Service::Configure {
            self.configuration = Configuration::of(datagram)?;
            self.small = self.configuration.names().any(|names| names.detector == "smdinfo");
            if self.small {
                report.format = "LCLS-II small file (smd.xtc2)".into();
            }
            true
        } else {
            self.configuration.update(datagram)?
        };
        if changed {
            report.detectors = detectors(&self.configuration);
        }
        // Settings and the run's own data have their shapes here, images theirs in events.
        self.values(report, datagram)?;
        let mut says = changed.then(|| "names".to_owned());
        if let Some(chunk) = crate::formats::xtc2::smd::chunk(datagram, &self.configuration)? {
            says = Some(format!("chunk {} in {}", chunk.number, chunk.file));
        }
        if self.small {
            self.place(report, datagram)?;
        }
        if !header.damage.is_none() {
            report.damaged(&format!("{:?}", header.service), header.damage.to_string(), datagram.at);
        }
        report.transitions.push(Transition {
            name: format!("{:?}", header.service),
            time: time(header.timestamp),
            at: datagram.at,
            bytes: header.size as u64,
            says,
        });
        Ok(())
    }

    /// What an event's header says.
    fn count(&mut self, report: &mut Report, header: &Header, at: u64) {
        let now = header.timestamp;
        let (first, last) = self.times.unwrap_or((now, now));
        let id = format!("{}-{}", now.seconds(), now.nanoseconds());
        report.count(id, time(now), now.cmp(&last), header.size as u64);
        self.times = Some((first, now));
        if !header.damage.is_none() {
            report.damaged("the whole datagram", header.damage.to_string(), at);
        }
    }

    /// Damage and, from the first values of each names, the fields' shapes.
    fn values(&mut self, report: &mut Report, datagram: &Datagram<'_>) -> Result<(), FormatError> {
        for part in values(datagram, &self.configuration) {
            let part = part?;
            if !part.damage.is_none() {
                let of = format!("{} segment {}", part.names.detector, part.names.segment);
                report.damaged(&of, part.damage.to_string(), datagram.at);
            }
            let algorithm = part.names.algorithm.to_string();
            let known = report.detectors.iter_mut().find(|known| {
                known.name == part.names.detector
                    && known.algorithm == algorithm
                    && known.kind == part.names.kind
            });
            let Some(known) = known.filter(|known| known.fields.iter().any(|field| field.contains("[_")))
            else {
                continue;
            };
            known.fields =
                part.iter().map(|value| value.map(|value| field(&value))).collect::<Result<_, _>>()?;
        }
        Ok(())
    }

    /// A small file's entry.
    fn place(&mut self, report: &mut Report, datagram: &Datagram<'_>) -> Result<(), FormatError> {
        let mut entries = Vec::new();
        self.reader =
            SmdReader::resume(self.reader.configuration().clone(), datagram.at, self.reader.chunk().cloned());
        self.reader.read(datagram.bytes, &mut entries)?;
        for entry in entries {
            let Entry::Event(place) = entry else { continue };
            let (from, to) = (place.offset, place.offset + u64::from(place.size));
            let file = self.reader.chunk().map(|chunk| chunk.file.clone());
            match report.chunks.last_mut().filter(|chunk| chunk.number == place.chunk) {
                Some(chunk) => {
                    chunk.events += 1;
                    (chunk.from, chunk.to) = (chunk.from.min(from), chunk.to.max(to));
                }
                None => report.chunks.push(Chunk { number: place.chunk, file, events: 1, from, to }),
            }
        }
        Ok(())
    }

    #[allow(clippy::cast_precision_loss)] // a rate to three digits
    fn end(&self, report: &mut Report) {
        if let Some((first, last)) = self.times {
            let nanoseconds =
                |time: Timestamp| i128::from(time.seconds()) * 1_000_000_000 + i128::from(time.nanoseconds());
            report.rate((nanoseconds(last) - nanoseconds(first)) as f64 * 1e-9);
        }
    }
}

fn time(timestamp: Timestamp) -> String {
    Millis(timestamp.unix_millis()).to_string()
}

/// Segments of one detector and algorithm together; lengths of arrays are not known yet.
fn detectors(configuration: &Configuration) -> Vec<Detector> {
    let mut all: Vec<Detector> = Vec::new();
    for names in configuration.names() {
        let algorithm = names.algorithm.to_string();
        let known = all.iter_mut().find(|known| {
            known.name == names.detector && known.algorithm == algorithm && known.kind == names.kind
        });
        match known {
            Some(known) => known.segments.push(names.segment),
            None => all.push(Detector {
                name: names.detector.clone(),
                kind: names.kind.clone(),
                algorithm,
                segments: vec![names.segment],
                fields: fields(names),
            }),
        }
    }
    for detector in &mut all {
        detector.segments.sort_unstable();
        detector.segments.dedup();
    }
    all.sort_by(|a, b| a.name.cmp(&b.name).then_with(|| a.algorithm.cmp(&b.algorithm)));
    all
}

fn fields(names: &Names) -> Vec<String> {
    let one = |field: &crate::formats::xtc2::Field| match field.rank {
        0 => format!("{} {}", field.name, field.kind.word()),
        rank => format!("{} {}[{}]", field.name, field.kind.word(), vec!["_"; rank].join(",")),
    };
    names.fields.iter().map(one).collect()
}

fn field(value: &Value<'_>) -> String {
    let (name, kind) = (&value.field.name, value.field.kind.word());
    match value.shape() {
        [] => format!("{name} {kind}"),
        shape => {
            let axes: Vec<String> = shape.iter().map(ToString::to_string).collect();
            format!("{name} {kind}[{}]", axes.join(","))
        }
    }
}
