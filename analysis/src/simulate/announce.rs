//! What the logbook says while a beam time is played: runs that begin and end, files that the DAQ opens. Pure: news and the
//! time go in, messages come out; who sends them is another.

use lightrail_topics::logbook::book::{Book, FileReport, Message, Refusal};
use lightrail_topics::{Lfn, Millis, RunNumber, SiteName};
use serde_json::Map;

use super::place::Place;
use super::play::News;

/// The logbook of a beam time that is played.
#[derive(Debug)]
pub struct Announcer {
    book: Book,
    place: Place,
    host: String,
}

impl Announcer {
    /// The logbook, and what it says of the new experiment. `host` is where the DAQ writes.
    pub fn new(place: Place, host: String, locations: Vec<SiteName>) -> (Self, Vec<Message>) {
        let mut book = Book::default();
        let said = book.register_experiment(&place.experiment, &place.instrument, locations);
        (Self { book, place, host }, said)
    }

    /// What is said when something happens. Nothing is said of most.
    pub fn says(&mut self, news: &News, now: Millis) -> Vec<Message> {
        let said = match news {
            News::RunBegins(run) => self.begin(*run, now),
            News::Opened(run, lfn) => self.open(*run, lfn, now),
            News::RunEnds(..) => self.book.end_run(&self.place.experiment, now).map(|(_, said)| said),
            News::Pool(_) | News::Images(..) => Ok(Vec::new()),
        };
        // The book refuses only what it does not know, and it knows this experiment and its run.
        said.unwrap_or_default()
    }

    fn begin(&mut self, run: RunNumber, now: Millis) -> Result<Vec<Message>, Refusal> {
        let begun = self.book.start_run(&self.place.experiment, Some(run), "DATA", Map::new(), now);
        begun.map(|(_, said)| said)
    }

    fn open(&mut self, run: RunNumber, lfn: &Lfn, now: Millis) -> Result<Vec<Message>, Refusal> {
        let report = FileReport {
            run: Some(run),
            absolute_path: Some(self.place.path(lfn).display().to_string()),
            hostname: Some(self.host.clone()),
            created: Some(now),
            ..FileReport::new(lfn.clone())
        };
        self.book.register_file(&self.place.experiment, report.document(), now).map(|said| vec![said])
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use lightrail_topics::logbook::{Crud, LogbookEvent, LogbookTopic, parse};

    use super::*;
    use crate::simulate::play::RunPlayed;

    #[test]
    fn what_is_said_is_read_as_the_logbooks_own() {
        let place = Place {
            out: "/daq".into(),
            instrument: "mfx".parse().unwrap(),
            experiment: "mfxsim0126".parse().unwrap(),
        };
        let (mut announcer, said) =
            Announcer::new(place.clone(), "daq-host".to_owned(), vec!["NERSC".parse().unwrap()]);
        let LogbookEvent::Experiment { dm_locations, .. } =
            parse(LogbookTopic::Experiments, said[0].body.as_bytes()).unwrap()
        else {
            panic!("{said:?}")
        };
        assert_eq!(dm_locations.unwrap(), ["NERSC".parse().unwrap()]);
        let run = RunNumber(7);
        let big = place.big(run, 0, 0);
        let played =
            RunPlayed { images: 1, hits: 0, took: Duration::ZERO, latest: Duration::ZERO, files: Vec::new() };
        let news = [
            News::RunBegins(run),
            News::Opened(run, big.clone()),
            News::Images(run, 1),
            News::RunEnds(run, played),
        ];
        let begin: Millis = "2026-09-02T10:00:00.250Z".parse().unwrap();
        let mut said = Vec::new();
        for (n, news) in news.iter().enumerate() {
            said.extend(announcer.says(news, begin.plus(Duration::from_secs(n as u64))));
        }
        assert_eq!(said.iter().map(|m| m.topic).collect::<Vec<_>>(), ["runs", "file_catalog", "runs"]);
        let LogbookEvent::File { crud: Crud::Create, file: Some(file), .. } =
            parse(LogbookTopic::FileCatalog, said[1].body.as_bytes()).unwrap()
        else {
            panic!("{}", said[1].body)
        };
        assert_eq!((file.lfn, file.run), (big, Some(run)));
        let registration = file.registration;
        assert_eq!(registration.host.as_deref(), Some("daq-host"));
        assert_eq!(
            registration.path.as_deref(),
            Some("/daq/mfx/mfxsim0126/xtc/mfxsim0126-r0007-s000-c000.xtc2")
        );
        assert_eq!(registration.size, None, "the DAQ never says");
        let LogbookEvent::Run { crud: Crud::Update, run: Some(ended), .. } =
            parse(LogbookTopic::Runs, said[2].body.as_bytes()).unwrap()
        else {
            panic!("{}", said[2].body)
        };
        assert!(ended.closed && ended.num == run);
        assert_eq!(ended.end_time.unwrap().millis(), begin.plus(Duration::from_secs(3)));
        assert_eq!(ended.file_catalog.unwrap().len(), 1);
    }
}
