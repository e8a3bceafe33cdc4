//! A report as people read it.

use std::fmt;

use super::Report;

/// Transitions shown one by one; scans have thousands.
const TRANSITIONS: usize = 40;
/// Datasets likewise.
const DATASETS: usize = 200;
/// A detector's values likewise: settings have hundreds.
const FIELDS: usize = 24;
/// Where a line is broken.
const WIDTH: usize = 110;

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {}, {} bytes", self.file, self.format, self.bytes)?;
        for (name, value) in &self.facts {
            writeln!(f, "  {name}: {value}")?;
        }
        self.detectors(f)?;
        self.datasets(f)?;
        self.transitions(f)?;
        self.events(f)?;
        if !self.chunks.is_empty() {
            writeln!(f, "where the events lie")?;
        }
        for chunk in &self.chunks {
            let file = chunk.file.as_deref().unwrap_or("the stream's first file");
            writeln!(
                f,
                "  chunk {}: {} events in {file}, bytes {} to {}",
                chunk.number, chunk.events, chunk.from, chunk.to
            )?;
        }
        if self.events.is_some() {
            writeln!(f, "damage{}", if self.damage.is_empty() { ": none" } else { "" })?;
        }
        for damage in &self.damage {
            let (of, what) = (&damage.of, &damage.what);
            writeln!(f, "  {of}: {what}, {} times, first at byte {}", damage.events, damage.first_at)?;
        }
        match &self.fault {
            Some(fault) => writeln!(f, "FAULT: {fault}"),
            None => Ok(()),
        }
    }
}

impl Report {
    fn detectors(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.detectors.is_empty() {
            writeln!(f, "detectors")?;
        }
        let width = |of: &dyn Fn(&super::Detector) -> usize| self.detectors.iter().map(of).max().unwrap_or(0);
        let (name, kind, algorithm) =
            (width(&|d| d.name.len()), width(&|d| d.kind.len()), width(&|d| d.algorithm.len()));
        for detector in &self.detectors {
            let segments = match detector.segments.as_slice() {
                [] => String::new(),
                [one] => format!("segment {one}"),
                several => format!("segments {}", ranges(several)),
            };
            let line = format!(
                "  {:name$}  {:kind$}  {:algorithm$}  {segments}",
                detector.name, detector.kind, detector.algorithm
            );
            writeln!(f, "{}", line.trim_end())?;
            // The names of an enumeration's entries are none of values.
            let fields: Vec<&String> =
                detector.fields.iter().filter(|field| !field.ends_with(" enum entry")).collect();
            wrapped(f, &fields[..fields.len().min(FIELDS)])?;
            if fields.len() > FIELDS {
                writeln!(f, "      and {} more (all with --json)", fields.len() - FIELDS)?;
            }
        }
        Ok(())
    }

    fn datasets(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.datasets.is_empty() {
            writeln!(f, "datasets")?;
        }
        let width = self.datasets.iter().map(|one| one.path.len()).max().unwrap_or(0);
        for one in self.datasets.iter().take(DATASETS) {
            let dims: Vec<String> = one.dims.iter().map(ToString::to_string).collect();
            let dims = if dims.is_empty() { String::new() } else { format!("[{}]", dims.join(",")) };
            writeln!(f, "  {:width$}  {}{dims}", one.path, one.kind)?;
        }
        more(f, self.datasets.len(), DATASETS)
    }

    fn transitions(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.transitions.is_empty() {
            writeln!(f, "transitions")?;
        }
        let width = self.transitions.iter().map(|one| one.name.len()).max().unwrap_or(0);
        for one in self.transitions.iter().take(TRANSITIONS) {
            let says = one.says.as_ref().map_or_else(String::new, |says| format!("  {says}"));
            writeln!(f, "  {:width$}  {}  byte {}, {} bytes{says}", one.name, one.time, one.at, one.bytes)?;
        }
        more(f, self.transitions.len(), TRANSITIONS)
    }

    fn events(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(events) = &self.events else { return Ok(()) };
        let rate = events.rate.map_or_else(String::new, |rate| format!(", {rate:.1} a second"));
        writeln!(f, "events: {}{rate}", events.count)?;
        writeln!(f, "  first  {}  {}", events.first_time, events.first)?;
        writeln!(f, "  last   {}  {}", events.last_time, events.last)?;
        if events.most_bytes > 0 {
            let bytes = if events.least_bytes == events.most_bytes {
                events.most_bytes.to_string()
            } else {
                format!("{} to {}", events.least_bytes, events.most_bytes)
            };
            writeln!(f, "  {bytes} bytes each")?;
        }
        if events.out_of_order > 0 {
            writeln!(f, "  {} come before the one before them", events.out_of_order)?;
        }
        if events.looked_into < events.count && events.most_bytes > 0 {
            writeln!(f, "  damage of single detectors was looked for in the first {}", events.looked_into)?;
        }
        Ok(())
    }
}

fn more(f: &mut fmt::Formatter<'_>, all: usize, shown: usize) -> fmt::Result {
    match all.saturating_sub(shown) {
        0 => Ok(()),
        rest => writeln!(f, "  and {rest} more"),
    }
}

/// Words in lines of a readable length.
fn wrapped(f: &mut fmt::Formatter<'_>, words: &[&String]) -> fmt::Result {
    let mut line = String::new();
    for (at, word) in words.iter().enumerate() {
        let comma = if at + 1 < words.len() { "," } else { "" };
        if !line.is_empty() && line.len() + word.len() + 2 > WIDTH - 6 {
            writeln!(f, "      {line}")?;
            line.clear();
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
        line.push_str(comma);
    }
    if line.is_empty() { Ok(()) } else { writeln!(f, "      {line}") }
}

/// `0-3, 7`.
fn ranges(numbers: &[u32]) -> String {
    let mut all: Vec<(u32, u32)> = Vec::new();
    for number in numbers {
        match all.last_mut() {
            Some((_, last)) if *last + 1 == *number => *last = *number,
            _ => all.push((*number, *number)),
        }
    }
    let one = |(first, last): &(u32, u32)| {
        if first == last { first.to_string() } else { format!("{first}-{last}") }
    };
    all.iter().map(one).collect::<Vec<_>>().join(", ")
}
