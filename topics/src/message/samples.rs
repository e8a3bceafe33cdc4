//! One event of each kind, and the tombstones, for the golden files.

use super::*;
use crate::events::{
    Cause, Class, ClosedBy, ConfigurePlace, Extent, ExtentKind, FailureClass, FileTiming, Health,
    IndexPosition, IndexState, JobEnd, JobIdentity, JobStep, KnownOutage, LeftOut, ManifestFile, Measured,
    MissingFile, Numbers, Outcome, PoolJob, RadialProfile, ReadUpTo, Registration, ResultsOf, RunJob,
    RunParam, RunRange, ShotData, Stage, StageTimes, StatusBy, TagsOf, Task, TransferState, Trigger,
    Verified, Withdrawal, Work,
};
use crate::image::TrialNumber;

pub(super) const AT: Millis = Millis(1_599_040_981_741);
pub(super) const SOURCE: &str = "lightrail-mover/nersc";

pub(super) fn lfn(name: &str) -> Lfn {
    format!("/mfx/mfxlv9518/xtc/{name}").parse().unwrap()
}

pub(super) fn site() -> SiteName {
    "NERSC".parse().unwrap()
}

pub(super) fn run() -> RunKey {
    "mfxlv9518/12".parse().unwrap()
}

pub(super) fn cause() -> Cause {
    Cause {
        class: "endpoint".to_owned(),
        code: "stalled".to_owned(),
        text: "no byte for 10 s".to_owned(),
        endpoint: Some("dtn04.example.org:1094".to_owned()),
    }
}

pub(super) fn a_file() -> FileAvailable {
    FileAvailable {
        lfn: lfn("mfxlv9518-r0012-s00-c00.xtc"),
        run: run(),
        site: site(),
        generation: Generation(2),
        size: 3_805_078_488,
        checksum: Some("adler32:0a1b2c3d".parse().unwrap()),
        verified: Verified::Checksum,
        unchecked: Some("d41d8cd98f00b204e9800998ecf8427e".parse().unwrap()),
        url: "root://door.example.org:1094//data/mfx/mfxlv9518/xtc/mfxlv9518-r0012-s00-c00.xtc".to_owned(),
        already_there: false,
        registration: Registration {
            created: Some("2020-09-02T10:00:00+00:00".parse().unwrap()),
            path: Some("/u2/pcds/pds/mfx/mfxlv9518/xtc/mfxlv9518-r0012-s00-c00.xtc".to_owned()),
            host: Some("daq-mfx-dss01".to_owned()),
            size: Some(3_805_078_488),
            checksum: None,
            mtime: None,
        },
        source_mtime: 1_599_040_800,
        timing: FileTiming {
            seen: Some(Millis(AT.0 - 9000)),
            ready: Some(Millis(AT.0 - 5000)),
            started: Some(Millis(AT.0 - 4000)),
            copied: Some(Millis(AT.0 - 500)),
            verified: Some(AT),
        },
        attempt: Some("00ab12cd.1".parse().unwrap()),
    }
}

pub(super) fn manifest() -> RunManifest {
    RunManifest {
        run: run(),
        site: site(),
        began: Some(Millis(AT.0 - 600_000)),
        ended: Some(Millis(AT.0 - 10_000)),
        closed_by: ClosedBy::EndTime,
        files: vec![ManifestFile {
            lfn: lfn("mfxlv9518-r0012-s00-c00.xtc"),
            generation: Generation(2),
            size: 3_805_078_488,
            checksum: Some("adler32:0a1b2c3d".parse().unwrap()),
            url: "root://door.example.org:1094//data/mfx/mfxlv9518/xtc/mfxlv9518-r0012-s00-c00.xtc"
                .to_owned(),
        }],
        left_out: vec![LeftOut {
            lfn: lfn("mfxlv9518-r0012-s80-c00.xtc"),
            by: "configuration".to_owned(),
            why: "stream 80 is not waited for".to_owned(),
        }],
        first_file: Some(AT),
        at: AT,
    }
}

pub(super) fn an_image() -> Image {
    let extent = |stream, offset| Extent {
        lfn: lfn(&format!("mfxlv9518-r0012-s{stream:03}-c001.xtc2")),
        offset,
        length: 8_388_716,
        kind: ExtentKind::Dgram,
    };
    let configure = |stream| ConfigurePlace {
        lfn: lfn(&format!("mfxlv9518-r0012-s{stream:03}-c000.xtc2")),
        offset: 0,
        length: 12_340,
    };
    Image {
        image: "mfxlv9518/12/972144180-441866239".parse().unwrap(),
        trial: TrialNumber(3),
        site: site(),
        extents: vec![extent(0, 43_072), extent(1, 9_000_000_000)],
        configure: vec![configure(0), configure(1)],
        names_epoch: 2_166_136_261,
        shot: ShotData {
            photon_energy: Some(9504.5),
            pulse_id: Some(4_158_371_412),
            event_codes: vec![40, 140],
            detector_distance: Some(0.095),
        },
    }
}

pub(super) fn progress() -> Indexed {
    Indexed {
        run: run(),
        trial: TrialNumber(3),
        site: site(),
        number: 2,
        live: true,
        images: 30_000,
        state: IndexState::Closed,
        manifest: Some("0123456789abcdef".parse().unwrap()),
        positions: vec![IndexPosition {
            lfn: lfn("smalldata/mfxlv9518-r0012-s000-c000.smd.xtc2"),
            generation: Some(Generation(1)),
            offset: 2_280_848,
            events: 30_000,
            digest: "00112233445566aa".parse().unwrap(),
        }],
        at: AT,
    }
}

pub(super) fn a_result() -> ImageResult {
    ImageResult {
        image: an_image().image,
        trial: TrialNumber(3),
        site: site(),
        outcome: Outcome::Failed,
        stage: Stage::Spotfind,
        cause: Some("spot finding stopped: index 5 is out of range".to_owned()),
        numbers: Numbers {
            spots: Some(57),
            resolution: Some(1.93),
            saturated: Some(3),
            saturation: Some(1.0),
            intensity: Some(1_234_567.5),
            profile: None,
            photon_energy: Some(9504.5),
            pulse_id: Some(4_158_371_412),
            event_codes: vec![40, 140],
            detector_distance: Some(0.095),
        },
        times: StageTimes {
            waited: 12_345,
            read: Some(4000),
            queued: Some(15),
            calibrate: Some(2500),
            spotfind: Some(3100),
            decide: Some(4),
        },
        worker: "nid001234-3".parse().unwrap(),
        used: Some("9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08".parse().unwrap()),
    }
}

/// One that went through, with the brightness of its rings.
pub(super) fn a_hit() -> ImageResult {
    let profile = RadialProfile { radii: vec![734, 1101, 1468], means: vec![2.75, 1.5, 0.25] };
    let failed = a_result();
    let numbers = Numbers { profile: Some(profile), ..failed.numbers };
    ImageResult { trial: TrialNumber(4), outcome: Outcome::Hit, cause: None, numbers, ..failed }
}

pub(super) fn a_trial() -> Trial {
    let parameters = json!({ "detector": "jungfrau", "spots": { "threshold": 5.0, "min_pixels": 2 } });
    Trial {
        experiment: "mfxlv9518".parse().unwrap(),
        trial: TrialNumber(3),
        live: true,
        parameters: parameters.as_object().unwrap().clone(),
        who: "auser".to_owned(),
        at: AT,
    }
}

pub(super) fn a_rule() -> Rule {
    let task = |name: &str, work, after: &[&str]| Task {
        task: name.parse().unwrap(),
        work,
        after: after.iter().map(|name| name.parse().unwrap()).collect(),
        nodes: 2,
        seconds: 3600,
        attempts: 3,
        only: None,
        ahead: None,
    };
    let merge = Work::Command {
        program: "/usr/bin/merge".to_owned(),
        arguments: vec!["--run={run}".parse().unwrap(), "{{plain}}".parse().unwrap()],
        inputs: Vec::new(),
        outputs: Vec::new(),
    };
    Rule {
        rule: "live-hits".parse().unwrap(),
        version: 2,
        trigger: Trigger::RunParamIsValue,
        run_param: Some(RunParam { name: "SmallData".to_owned(), value: "done".to_owned() }),
        when: Some("run.number >= 12 and 'sample-a' in tags".parse().unwrap()),
        dataset: Some("lysozyme".parse().unwrap()),
        experiment: Some("mfxlv9518".parse().unwrap()),
        first_run: Some("10".parse().unwrap()),
        last_run: None,
        site: site(),
        or_at: Vec::new(),
        trial: Some(TrialNumber(3)),
        tasks: vec![
            task("work", Work::Analysis { workers: 4, images_per_worker: None }, &[]),
            task("merge", merge, &["work"]),
        ],
        since: Some(Millis(AT.0 - 1)),
        who: "auser".to_owned(),
        at: AT,
    }
}

pub(super) fn a_sized_rule() -> Rule {
    let mut rule = a_rule();
    rule.tasks[0].work = Work::Analysis { workers: 4, images_per_worker: Some(500) };
    rule
}

pub(super) fn a_rule_with_files() -> Rule {
    let mut rule = a_rule();
    rule.rule = "merged".parse().unwrap();
    if let Work::Command { inputs, outputs, .. } = &mut rule.tasks[1].work {
        inputs.push("/data/{experiment}/r{run}/geometry".parse().unwrap());
        outputs.push("/data/{experiment}/r{run}/merged-{trial}.h5".parse().unwrap());
    }
    rule
}

pub(super) fn some_tags() -> RunTags {
    let tags = ["lysozyme", "sample-a"].map(|tag| tag.parse().unwrap());
    RunTags { run: run(), tags: tags.into(), who: "auser".to_owned(), at: AT }
}

pub(super) fn a_group() -> RunGroup {
    let range = |first: u32, last: Option<u32>| RunRange {
        first: crate::ids::RunNumber(first),
        last: last.map(crate::ids::RunNumber),
    };
    RunGroup {
        experiment: "mfxlv9518".parse().unwrap(),
        group: "at-95mm".parse().unwrap(),
        runs: vec![range(10, Some(20)), range(30, None)],
        who: "auser".to_owned(),
        at: AT,
    }
}

pub(super) fn a_dataset() -> Dataset {
    Dataset {
        experiment: "mfxlv9518".parse().unwrap(),
        dataset: "lysozyme".parse().unwrap(),
        of: TagsOf::Union,
        tags: vec!["lysozyme".parse().unwrap()],
        groups: vec!["at-95mm".parse().unwrap()],
        who: "auser".to_owned(),
        at: AT,
    }
}

pub(super) fn a_count() -> Counted {
    Counted {
        topic: "results".to_owned(),
        number: 5,
        positions: vec![ReadUpTo { partition: 0, offset: 12_345 }],
        results: vec![ResultsOf { run: run(), trial: TrialNumber(3), results: 10_000 }],
        at: AT,
    }
}

/// As the first version wrote it.
pub(super) fn a_plain_rule() -> Rule {
    let mut rule = Rule { run_param: None, when: None, dataset: None, since: None, ..a_rule() };
    rule.trigger = Trigger::AllFilesTransferred;
    rule
}

/// One that may run at either of two sites, with workers that are there when their run lands.
pub(super) fn a_rule_of_sites() -> Rule {
    let mut rule = a_plain_rule();
    rule.or_at = vec!["OLCF".parse().unwrap()];
    rule.tasks[0].ahead = Some(600);
    rule
}

pub(super) fn a_status() -> FacilityStatus {
    FacilityStatus {
        site: site(),
        resource: "perlmutter".parse().unwrap(),
        by: StatusBy::Sfapi,
        health: Health::Degraded,
        text: "System is degraded".to_owned(),
        outages: vec![KnownOutage {
            from: Millis(AT.0 + 3_600_000),
            to: Some(Millis(AT.0 + 7_200_000)),
            planned: true,
            text: "System maintenance".to_owned(),
        }],
        measured: Some(Measured {
            rate: Some(310_000_000),
            usual_rate: Some(290_000_000),
            queue_wait: Some(42_000),
            run_time: None,
        }),
        since: Millis(AT.0 - 60_000),
        at: AT,
    }
}

pub(super) fn a_status_with_run_time() -> FacilityStatus {
    let mut status = a_status();
    status.resource = "doudna".parse().unwrap();
    status.measured = Some(Measured { run_time: Some(180_000), ..Measured::default() });
    status
}

pub(super) fn a_job(place: u32, step: JobStep) -> Job {
    let identity = JobIdentity::from(RunJob {
        rule: "live-hits".parse().unwrap(),
        run: run(),
        trial: Some(TrialNumber(3)),
        task: "work".parse().unwrap(),
        request: None,
        attempt: 1,
    });
    Job { job: identity.name(), identity, place, epoch: 7, step, at: AT }
}

/// One message of each kind, and the tombstones.
pub(super) fn samples() -> Vec<(&'static str, Message)> {
    let key: WishKey = "mfxlv9518/12@NERSC".parse().unwrap();
    let mfx: Experiment = "mfxlv9518".parse().unwrap();
    let gone = FileGone { lfn: a_file().lfn, run: run(), site: site(), generation: Generation(2), seen: AT };
    let corrected =
        RunCorrected { number: 1, because: "stream 80 came late".to_owned(), manifest: manifest() };
    let incomplete = RunIncomplete {
        number: 1,
        run: run(),
        site: site(),
        missing: vec![MissingFile {
            lfn: lfn("mfxlv9518-r0012-s01-c00.xtc"),
            why: "no space left".to_owned(),
        }],
        available: 11,
        at: AT,
    };
    let changed = TransferEvent {
        lfn: a_file().lfn,
        run: run(),
        site: site(),
        generation: Generation(2),
        state: TransferState::Failed,
        registration: None,
        attempt: Some("00ab12cd.3".parse().unwrap()),
        place: 1,
        tries: 3,
        at: AT,
        cause: Some(cause()),
        next_try: None,
        bytes: Some(1_048_576),
        from_server: Some("psexport01.example.org:1094".to_owned()),
        to_server: Some("dtn04.example.org:1094".to_owned()),
        history: vec![cause(), cause()],
    };
    let wanted = Wish {
        asked: Some(true),
        asked_again: 1,
        priority: Some(10),
        who: "auser".to_owned(),
        at: AT,
        why: "beam time tonight".to_owned(),
        ..Wish::default()
    };
    let begin = Start { mover: "nersc".parse().unwrap(), from: Millis(AT.0 - 1), at: AT };
    let to = Route {
        to: vec![site(), "S3DF".parse().unwrap()],
        streaming: Some(true),
        transfers: Some(4),
        not_waited_streams: Some(vec![80, 81]),
        who: "auser".to_owned(),
        at: AT,
    };
    let failover = RouteOverride {
        to: vec!["OLCF".parse().unwrap()],
        move_begun: true,
        runs: Vec::new(),
        reason: "NERSC is down".to_owned(),
        expires: Millis(AT.0 + 3_600_000),
        at: AT,
    };
    let stranded = RouteOverride {
        runs: vec![crate::ids::RunNumber(11), crate::ids::RunNumber(12)],
        ..failover.clone()
    };
    let dead = DeadLetter {
        topic: "runs".to_owned(),
        partition: 0,
        offset: 17,
        key: None,
        value: Some("bm8gSlNPTg==".to_owned()),
        reason: "the message is no JSON: expected ident at line 1 column 2".to_owned(),
        by: SOURCE.to_owned(),
        at: AT,
    };
    let intended = JobStep::Intended {
        reason: "all 12 files are at NERSC".to_owned(),
        rule_version: 2,
        site: site(),
        class: Class::Reprocess,
        workers: true,
        nodes: 1,
        workers_each: None,
        placed: None,
        moves: None,
        ahead: false,
        spills: false,
    };
    let placed = JobStep::Intended {
        reason: "the run is being copied".to_owned(),
        rule_version: 2,
        site: "OLCF".parse().unwrap(),
        class: Class::Live,
        workers: true,
        nodes: 2,
        workers_each: None,
        placed: Some("OLCF finishes first (NERSC: out, nobody says until when)".to_owned()),
        moves: Some(site()),
        ahead: true,
        spills: false,
    };
    let sized = JobStep::Intended {
        reason: "all 12 files are at NERSC".to_owned(),
        rule_version: 2,
        site: site(),
        class: Class::Live,
        workers: true,
        nodes: 2,
        workers_each: Some(3),
        placed: None,
        moves: None,
        ahead: false,
        spills: false,
    };
    let spilled = JobStep::Intended {
        reason: "all 12 files are at NERSC".to_owned(),
        rule_version: 2,
        site: site(),
        class: Class::Live,
        workers: false,
        nodes: 1,
        workers_each: None,
        placed: None,
        moves: None,
        ahead: false,
        spills: true,
    };
    let slot = PoolJob { pool: "live".parse().unwrap(), site: site(), slot: 2, attempt: 3 };
    let slot = Job {
        identity: slot.clone().into(),
        job: JobIdentity::from(slot).name(),
        ..a_job(1, JobStep::Running { id: "4242".to_owned() })
    };
    let asked = JobAsked {
        rule: "live-hits".parse().unwrap(),
        run: run(),
        request: 2,
        who: "auser".to_owned(),
        at: AT,
    };
    let end = JobEnd::Failed { class: FailureClass::Timeout, text: "TIMEOUT 0:1".to_owned() };
    let ended = JobStep::Ended { id: Some("4242".to_owned()), end: end.clone(), waited: None };
    let ended_late = JobStep::Ended { id: Some("4242".to_owned()), end, waited: Some(84) };
    let why = Withdrawal::GaveWay;
    let withdrawn = JobStep::Withdrawn { id: "4242".to_owned(), why };
    let withdrawn_end =
        JobStep::Ended { id: Some("4242".to_owned()), end: JobEnd::Withdrawn { why }, waited: None };
    let given_up = |id: Option<&str>| JobStep::GivenUp {
        why: "not seen for 120 s".to_owned(),
        id: id.map(ToOwned::to_owned),
    };
    let decides =
        Decider { decider: "main".parse().unwrap(), epoch: 7, place: "host:4711".to_owned(), at: AT };
    vec![
        ("file.available", file_available(&a_file(), SOURCE, AT)),
        ("file.gone", file_gone(&gone, SOURCE, AT)),
        ("run.available", run_available(&manifest(), SOURCE, AT)),
        ("run.corrected", run_corrected(&corrected, SOURCE, AT)),
        ("run.incomplete", run_incomplete(&incomplete, SOURCE, AT)),
        ("transfer", transfer(&changed, SOURCE, AT)),
        ("wish", wish(&key, Some(&wanted), SOURCE, AT)),
        ("wish.removed", wish(&key, None, SOURCE, AT)),
        ("start", start(&begin, SOURCE, AT)),
        ("route", route(&mfx, Some(&to), SOURCE, AT)),
        ("route.removed", route(&mfx, None, SOURCE, AT)),
        ("route.override", route_override(&mfx, Some(&failover), SOURCE, AT)),
        ("route.override.runs", route_override(&mfx, Some(&stranded), SOURCE, AT)),
        ("route.override.removed", route_override(&mfx, None, SOURCE, AT)),
        ("dead-letter", dead_letter(&dead, SOURCE, AT)),
        ("settled", settled(Topic::FilesAvailable, 3, SOURCE, AT)),
        ("image", image(&an_image(), SiteTopic::ImagesLive, SOURCE, AT)),
        ("indexed", indexed(&progress(), SOURCE, AT)),
        ("result", result(&a_result(), SOURCE, AT)),
        ("result.profiled", result(&a_hit(), SOURCE, AT)),
        ("trial", trial(&a_trial(), SOURCE, AT)),
        ("rule", rule(&a_rule().rule, Some(&a_rule()), SOURCE, AT)),
        ("rule.removed", rule(&a_rule().rule, None, SOURCE, AT)),
        ("rule.plain", rule(&a_plain_rule().rule, Some(&a_plain_rule()), SOURCE, AT)),
        ("rule.sites", rule(&a_rule().rule, Some(&a_rule_of_sites()), SOURCE, AT)),
        ("rule.sized", rule(&a_rule().rule, Some(&a_sized_rule()), SOURCE, AT)),
        ("rule.files", rule(&a_rule_with_files().rule, Some(&a_rule_with_files()), SOURCE, AT)),
        ("run.tags", run_tags(&run(), Some(&some_tags()), SOURCE, AT)),
        ("run.tags.removed", run_tags(&run(), None, SOURCE, AT)),
        ("run.group", run_group(&mfx, &a_group().group, Some(&a_group()), SOURCE, AT)),
        ("run.group.removed", run_group(&mfx, &a_group().group, None, SOURCE, AT)),
        ("dataset", dataset(&mfx, &a_dataset().dataset, Some(&a_dataset()), SOURCE, AT)),
        ("dataset.removed", dataset(&mfx, &a_dataset().dataset, None, SOURCE, AT)),
        ("counted", counted(&a_count(), SOURCE)),
        ("job.withdrawn", job(&a_job(5, withdrawn), SOURCE)),
        ("job.ended.withdrawn", job(&a_job(6, withdrawn_end), SOURCE)),
        ("job", job(&a_job(0, intended), SOURCE)),
        ("job.submitted", job(&a_job(1, JobStep::Submitted { id: "4242".to_owned() }), SOURCE)),
        ("job.running", job(&a_job(2, JobStep::Running { id: "4242".to_owned() }), SOURCE)),
        ("job.ended", job(&a_job(3, ended), SOURCE)),
        ("job.given_up", job(&a_job(4, given_up(None)), SOURCE)),
        ("job.given_up.haunts", job(&a_job(7, given_up(Some("4242"))), SOURCE)),
        ("job.placed", job(&a_job(8, placed), SOURCE)),
        ("job.sized", job(&a_job(10, sized), SOURCE)),
        ("job.spilled", job(&a_job(11, spilled), SOURCE)),
        ("job.ended.waited", job(&a_job(9, ended_late), SOURCE)),
        ("job.of_pool", job(&slot, SOURCE)),
        ("facility.status", facility_status(&a_status(), SOURCE)),
        ("facility.status.ran", facility_status(&a_status_with_run_time(), SOURCE)),
        ("decider", decider(&decides, SOURCE)),
        ("job.asked", job_asked(&asked, SOURCE)),
    ]
}
