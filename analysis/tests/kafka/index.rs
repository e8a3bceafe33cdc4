//! Index: each image of a run once per trial, whoever asks and however often, at one site; trials that do not fit, corrections,
//! growing files, runs put again.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use lightrail_analysis::formats::xtc2::write::{Event as Shot, StreamSetup, StreamWriter};
use lightrail_analysis::formats::xtc2::{Service as Transition, Timestamp};
use lightrail_analysis::index::{self, Again, Published, again, trials};
use lightrail_analysis::trial::Parameters;
use lightrail_compose::process::Start;
use lightrail_compose::wait;
use lightrail_topics::events::{
    Image, ImageResult, IndexState, Numbers, Outcome, RunIncomplete, Stage as Reached, StageTimes, Trial,
};
use lightrail_topics::{Millis, SiteTopic, TrialKey, TrialNumber, message};

use crate::desk::{Desk, available, come, corrected, events, manifest, once, run_key, serve};
use crate::play::{self, EXPERIMENT};
use crate::stage::{SOON, on_stage, partitions};

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_indexed_once_whoever_asks_and_what_a_correction_brings_is_added() -> Result<()> {
    on_stage(partitions(3), async |stage| {
        let desk = Desk::at(stage, 3).await?;
        let whole = play::run(&stage.data(), 7, 2, 500, 3, &desk.here)?;
        stage.apply(&[play::trial(&stage.calibration(), 3, 2, "")?]).await?;
        // Two services at once, as when an operator has forgotten one.
        let services = [serve(desk.config(&desk.here, "")?), serve(desk.config(&desk.here, "")?)];
        let first = manifest(&stage.data(), 7, &desk.here, 1)?;
        let incomplete = |run: u32| {
            let event = RunIncomplete {
                number: 1,
                run: run_key(run),
                site: desk.here.clone(),
                missing: Vec::new(),
                available: 1,
                at: Millis(0),
            };
            message::run_incomplete(&event, "a mover", Millis(0))
        };
        // The files of a run that is said to be incomplete lie there as well, and are left alone.
        play::run(&stage.data(), 6, 2, 30, 3, &desk.here)?;
        desk.say(vec![incomplete(7), incomplete(6), available(&first)]).await?;
        let indexed = desk.until_closed(7, 3, 500).await?;
        ensure!(indexed.live && indexed.positions.len() == 2 && indexed.manifest.is_some(), "{indexed:?}");
        let images = desk.images(SiteTopic::ImagesLive, &desk.here).await?;
        once(&images, 500)?;
        // The very images that the writer knows of, each with all its pieces.
        let places = |image: &Image| (image.key().to_string(), image.extents.clone());
        let published: BTreeMap<_, _> = images.iter().map(|(_, image)| places(image)).collect();
        ensure!(published == whole.iter().map(places).collect(), "each image has all its pieces");
        let mut of_partition: BTreeMap<i32, usize> = BTreeMap::new();
        for (partition, _) in &images {
            *of_partition.entry(*partition).or_default() += 1;
        }
        ensure!(of_partition.values().all(|count| (166..=167).contains(count)), "{of_partition:?}");

        // The run goes on: its files are registered again, longer; and one of its own run is told again as it was.
        play::run(&stage.data(), 7, 2, 620, 3, &desk.here)?;
        let second = manifest(&stage.data(), 7, &desk.here, 2)?;
        desk.say(vec![corrected(second, 1)]).await?;
        desk.until_closed(7, 3, 620).await?;
        once(&desk.images(SiteTopic::ImagesLive, &desk.here).await?, 620)?;
        for service in services {
            service.stop().await?;
        }
        // A new one finds nothing to do, and a run under a trial that was applied meanwhile.
        let service = serve(desk.config(&desk.here, "")?);
        stage.apply(&[play::trial(&stage.calibration(), 5, 1, "")?]).await?;
        play::run(&stage.data(), 8, 1, 40, 5, &desk.here)?;
        desk.say(vec![available(&manifest(&stage.data(), 8, &desk.here, 1)?)]).await?;
        desk.until_closed(8, 5, 40).await?;
        once(&desk.images(SiteTopic::ImagesLive, &desk.here).await?, 660)?;
        let begun: Vec<String> = desk.indexed().await?.into_keys().collect();
        ensure!(begun.iter().all(|of| !of.starts_with(&format!("{EXPERIMENT}/6/"))), "{begun:?}");
        service.stop().await
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_moment_it_goes_on_where_it_was() -> Result<()> {
    on_stage(partitions(2), async |stage| {
        play::run(&stage.data(), 9, 2, 3000, 1, &stage.site)?;
        let (here, data) = (stage.site.clone(), stage.data());
        let trial = play::trial(&stage.calibration(), 1, 2, "")?;
        let desk = Desk::at(stage, 2).await?;
        desk.stage.apply(&[trial]).await?;
        desk.say(vec![available(&manifest(&data, 9, &here, 1)?)]).await?;
        let file = stage.configure()?;
        let text = std::fs::read_to_string(&file)? + "[index]\nbatch = 100\nretry = '300ms'\n";
        std::fs::write(&file, text)?;
        let start = Start::new("index", env!("CARGO_BIN_EXE_lightrail-analysis"), stage.folder())
            .args(["index", "--listen", "127.0.0.1:0", "--config"])
            .args([file.into_os_string()]);
        let program = stage.started(start)?;
        let desk = Desk { stage, here: here.clone(), there: "THERE".parse()? };
        for more in [1, 700, 1500] {
            wait::until("some images", SOON, async || {
                let images = desk.images(SiteTopic::ImagesLive, &here).await.ok()?;
                (images.len() >= more).then_some(())
            })
            .await?;
            program.kill();
            program.start_again()?;
        }
        desk.until_closed(9, 1, 3000).await?;
        once(&desk.images(SiteTopic::ImagesLive, &here).await?, 3000)?;
        program.term();
        wait::until("it to end when asked to", SOON, async || (!program.is_running()).then_some(())).await
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_left_to_the_site_for_which_it_was_begun() -> Result<()> {
    on_stage(partitions(2), async |stage| {
        let desk = Desk::at(stage, 2).await?;
        play::run(&stage.data(), 4, 1, 60, 1, &desk.here)?;
        stage.apply(&[play::trial(&stage.calibration(), 1, 1, "")?]).await?;
        let both =
            [&desk.here, &desk.there].map(|site| manifest(&stage.data(), 4, site, 1).map(|m| available(&m)));
        desk.say(both.into_iter().collect::<Result<_>>()?).await?;
        // The configurations disagree about the site: whoever is first has it.
        let services = [serve(desk.config(&desk.here, "")?), serve(desk.config(&desk.there, "")?)];
        let indexed = desk.until_closed(4, 1, 60).await?;
        // Enough for the other one to have made its mistake: another run goes through both of them.
        play::run(&stage.data(), 5, 1, 20, 1, &desk.here)?;
        let other = if indexed.site == desk.here { &desk.there } else { &desk.here };
        desk.say(vec![available(&manifest(&stage.data(), 5, other, 1)?)]).await?;
        ensure!(desk.until_closed(5, 1, 20).await?.site == *other);
        let here = desk.images(SiteTopic::ImagesLive, &desk.here).await?;
        let there = desk.images(SiteTopic::ImagesLive, &desk.there).await?;
        let of_run =
            |images: &[(i32, Image)]| images.iter().filter(|(_, i)| i.image.run == run_key(4)).count();
        ensure!((of_run(&here) == 60) != (of_run(&there) == 60), "{} and {}", here.len(), there.len());
        ensure!(of_run(&here) + of_run(&there) == 60);
        for service in services {
            service.stop().await?;
        }
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_live_trial_or_with_one_that_does_not_fit_nothing_is_published() -> Result<()> {
    on_stage(partitions(2), async |stage| {
        let desk = Desk::at(stage, 2).await?;
        play::run(&stage.data(), 2, 1, 30, 1, &desk.here)?;
        desk.say(vec![available(&manifest(&stage.data(), 2, &desk.here, 1)?)]).await?;
        let service = serve(desk.config(&desk.here, "")?);
        // Of two panels where the data have one; then of a detector that is not there; then of a kind whose pixels are others; then
        // one that fits and is not live.
        let mut trials = [
            play::trial(&stage.calibration(), 1, 2, "")?,
            play::trial(&stage.calibration(), 2, 1, "")?,
            play::trial(&stage.calibration(), 3, 1, "")?,
            play::trial(&stage.calibration(), 4, 1, "")?,
        ];
        trials[1].parameters["detector"]["name"] = "epix".into();
        trials[2].parameters["detector"]["kind"] = "cspad".into();
        trials[3].live = false;
        let publish = async |trial: &Trial| stage.apply(std::slice::from_ref(trial)).await;
        let key = |n| TrialKey { experiment: EXPERIMENT.parse().unwrap(), trial: TrialNumber(n) };
        let config = desk.config(&desk.here, "")?;
        let place = index::place(&config, "asker")?;
        for trial in &trials {
            publish(trial).await?;
            // The service meets it too; what it says is what a publication says.
            Parameters::from_json(&serde_json::Value::Object(trial.parameters.clone()))?;
            let again = Again {
                experiment: EXPERIMENT.parse()?,
                runs: "2".parse().unwrap(),
                trial: trial.trial,
                only: Vec::new(),
                of: None,
            };
            let mut said = Vec::new();
            if trial.live {
                again_quietly(&place, &again, &mut said).await?;
                let why = said.pop().context("one run")?.expect_err("it does not fit");
                let text = format!("{:#}", anyhow::Error::new(why));
                let expected = match trial.trial.0 {
                    1 => "geometry",
                    2 => "the data have no images of `epix`",
                    _ => {
                        "cspad (detector.kind of the trial) does not write u16 pixels, as the data have them"
                    }
                };
                ensure!(text.contains(expected) && text.contains("does not fit"), "{text}");
            }
        }
        ensure!(desk.indexed().await?.is_empty(), "nothing is said of the run");
        ensure!(desk.images(SiteTopic::ImagesLive, &desk.here).await?.is_empty());
        ensure!(desk.images(SiteTopic::ImagesReprocess, &desk.here).await?.is_empty());

        // A higher one that fits begins it at once, by the command that people use.
        let fits = play::trial(&stage.calibration(), 5, 1, "live = true")?;
        let parameters = Parameters::from_json(&serde_json::Value::Object(fits.parameters.clone()))?;
        let applied = trials::apply(&stage.connection, &stage.topics, &key(5), &parameters, SOON).await?;
        ensure!(applied == trials::Applied::New);
        desk.until_closed(2, 5, 30).await?;
        once(&desk.images(SiteTopic::ImagesLive, &desk.here).await?, 30)?;
        // The same again is no change; other content under the number is refused, and what differs is said.
        let again = trials::apply(&stage.connection, &stage.topics, &key(5), &parameters, SOON).await?;
        ensure!(matches!(again, trials::Applied::Known(_)), "{again:?}");
        let other = Parameters { time_limit: 3.0, ..parameters.clone() };
        let refused = trials::apply(&stage.connection, &stage.topics, &key(5), &other, SOON).await;
        let refused = refused.expect_err("a trial never changes").to_string();
        ensure!(refused.contains("time_limit is 10.0 and not 3.0"), "{refused}");
        ensure!(trials::all(&stage.connection, &stage.topics, SOON).await?.len() == 5);
        service.stop().await
    })
    .await
}

async fn again_quietly(
    place: &index::Place,
    asked: &Again,
    said: &mut Vec<Result<Published, index::PublishFault>>,
) -> Result<()> {
    again(place, asked, |_, outcome| said.push(outcome)).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_are_put_again_once_per_trial_and_only_what_was_asked_for() -> Result<()> {
    on_stage(partitions(2), async |stage| {
        let desk = Desk::at(stage, 2).await?;
        let whole = play::run(&stage.data(), 6, 1, 250, 1, &desk.here)?;
        let one = play::trial(&stage.calibration(), 1, 1, "")?;
        let others = [2, 3].map(|number| {
            play::trial(&stage.calibration(), number, 1, "").map(|t| Trial { live: false, ..t })
        });
        let [two, three] = others;
        stage.apply(&[one, two?, three?]).await?;
        desk.say(vec![available(&manifest(&stage.data(), 6, &desk.here, 1)?)]).await?;
        let service = serve(desk.config(&desk.here, "")?);
        desk.until_closed(6, 1, 250).await?;
        service.stop().await?;
        // Every fifth was unreadable under the first trial.
        let bad = |n: usize| n.is_multiple_of(5);
        let results = whole.iter().enumerate().map(|(n, image)| {
            let outcome = if bad(n) { Outcome::Unreadable } else { Outcome::Miss };
            message::result(&result(image, outcome), "a worker", Millis(0))
        });
        desk.say(results.collect()).await?;
        let place = index::place(&desk.config(&desk.here, "")?, "asker")?;
        let ask = async |trial: u32, only: &[Outcome]| -> Result<Published> {
            let asked = Again {
                experiment: EXPERIMENT.parse()?,
                runs: "1-6".parse().unwrap(),
                trial: TrialNumber(trial),
                only: only.to_vec(),
                of: None,
            };
            let mut said = Vec::new();
            again_quietly(&place, &asked, &mut said).await?;
            Ok(said.pop().context("one run")??)
        };
        let wanted = [Outcome::Unreadable, Outcome::Timeout];
        ensure!(ask(2, &wanted).await?.new == 50);
        let images = desk.images(SiteTopic::ImagesReprocess, &desk.here).await?;
        once(&images, 50)?;
        let chosen: BTreeSet<String> = whole
            .iter()
            .enumerate()
            .filter(|(n, _)| bad(*n))
            .map(|(_, image)| Image { trial: TrialNumber(2), ..image.clone() }.key().to_string())
            .collect();
        ensure!(events(&images) == chosen);
        // Again is nothing; the rest is the rest; another trial is all.
        ensure!(ask(2, &wanted).await?.new == 0);
        ensure!(ask(2, &[]).await?.new == 200);
        ensure!(ask(2, &[]).await?.new == 0 && ask(2, &wanted).await?.new == 0);
        once(&desk.images(SiteTopic::ImagesReprocess, &desk.here).await?, 250)?;
        ensure!(ask(3, &[]).await?.new == 250);
        let all = desk.indexed().await?;
        let again = &all[&format!("{EXPERIMENT}/6/2@HERE")];
        ensure!(again.images == 250 && !again.live && again.state == IndexState::Closed, "{again:?}");
        let unknown = Again {
            experiment: EXPERIMENT.parse()?,
            runs: "6".parse().unwrap(),
            trial: TrialNumber(9),
            only: Vec::new(),
            of: None,
        };
        let refused = again_quietly(&place, &unknown, &mut Vec::new()).await.expect_err("nobody knows it");
        ensure!(refused.to_string().contains("mfxx00121/9"), "{refused}");
        Ok(())
    })
    .await
}

pub(crate) fn result(image: &Image, outcome: Outcome) -> ImageResult {
    ImageResult {
        image: image.image.clone(),
        trial: image.trial,
        site: image.site.clone(),
        outcome,
        stage: Reached::Read,
        cause: None,
        numbers: Numbers::default(),
        times: StageTimes::default(),
        worker: "w-0".parse().unwrap(),
        used: None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn streaming_publishes_an_image_when_its_files_are_there() -> Result<()> {
    on_stage(partitions(2), async |stage| {
        let desk = Desk::at(stage, 2).await?;
        play::run(&stage.data(), 3, 2, 90, 1, &desk.there)?;
        stage.apply(&[play::trial(&stage.calibration(), 1, 2, "")?]).await?;
        let files = manifest(&stage.data(), 3, &desk.there, 1)?;
        let service = serve(desk.config(&desk.there, "[experiments.default]\nstreaming = true")?);
        let (small, big): (Vec<_>, Vec<_>) = files.files.iter().partition(|file| file.lfn.kind().is_index());
        desk.say(small.iter().map(|file| come(&files, file)).chain([come(&files, big[0])]).collect()).await?;
        // One stream's big file is missing; that nothing comes cannot be waited for, but all that came is there at the end.
        desk.say(vec![come(&files, big[1])]).await?;
        desk.until_published(90, &desk.there).await?;
        let growing = desk.indexed().await?;
        let [indexed] = &growing.into_values().collect::<Vec<_>>()[..] else { anyhow::bail!("one run") };
        ensure!(indexed.state == IndexState::Growing && indexed.manifest.is_none(), "{indexed:?}");
        desk.say(vec![available(&files)]).await?;
        desk.until_closed(3, 1, 90).await?;
        once(&desk.images(SiteTopic::ImagesLive, &desk.there).await?, 90)?;
        service.stop().await
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_file_that_comes_after_its_big_one_doubles_no_piece() -> Result<()> {
    on_stage(partitions(2), async |stage| {
        let desk = Desk::at(stage, 2).await?;
        stage.apply(&[play::trial(&stage.calibration(), 1, 1, "")?]).await?;
        let folder = stage.data().join(format!("mfx/{EXPERIMENT}/xtc"));
        std::fs::create_dir_all(folder.join("smalldata"))?;
        let name = |chunk: u32, end: &str| format!("{EXPERIMENT}-r0012-s000-c{chunk:03}.{end}");
        let side = u32::try_from(play::SIDE)?;
        let setup = StreamSetup::jungfrau(EXPERIMENT, 12, 1, "jungfrau", &[0], [1, side, side]);
        let mut writer = StreamWriter::new(setup, Vec::new(), Vec::new());
        let at = |n: u32| Timestamp::new(8, n);
        writer.configure(at(0))?;
        for (n, transition) in (1..).zip([Transition::BeginRun, Transition::BeginStep, Transition::Enable]) {
            writer.transition(transition, at(n))?;
        }
        let pixels = vec![9_u16; play::SIDE * play::SIDE];
        for n in 10..50 {
            if n == 30 {
                let first = writer.next_chunk(at(n - 1), &name(1, "xtc2"), Vec::new())?;
                std::fs::write(folder.join(name(0, "xtc2")), first)?;
            }
            let shot = Shot { segments: &[&pixels], photon_energy: None, pulse_id: 0, event_codes: &[] };
            writer.event(at(n), &shot)?;
        }
        let (second, small) = writer.finish()?;
        std::fs::write(folder.join(name(1, "xtc2")), second)?;
        std::fs::write(folder.join("smalldata").join(name(0, "smd.xtc2")), small)?;
        let run = manifest(&stage.data(), 12, &desk.there, 1)?;
        let comes = |name: String| {
            let file = run.files.iter().find(|file| file.lfn.file_name() == name).context("it is written")?;
            anyhow::Ok(come(&run, file))
        };
        let service = serve(desk.config(&desk.there, "[experiments.default]\nstreaming = true")?);
        // The big file is read, for there is no better one; then there is, and images that are in neither's first chunk.
        desk.say(vec![comes(name(0, "xtc2"))?]).await?;
        desk.until_published(20, &desk.there).await?;
        desk.say(vec![comes(name(0, "smd.xtc2"))?, comes(name(1, "xtc2"))?]).await?;
        let images = desk.until_published(40, &desk.there).await?;
        for (_, image) in &images {
            ensure!((image.extents.len(), image.configure.len()) == (1, 1), "{image:?}");
        }
        desk.say(vec![available(&run)]).await?;
        desk.until_closed(12, 1, 40).await?;
        once(&desk.images(SiteTopic::ImagesLive, &desk.there).await?, 40)?;
        service.stop().await
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_followed_while_the_daq_writes_it() -> Result<()> {
    on_stage(partitions(2), async |stage| {
        let desk = Desk::at(stage, 2).await?;
        stage.apply(&[play::trial(&stage.calibration(), 1, 1, "")?]).await?;
        // The live trial names the experiment; nothing else does.
        let experiment = "[experiments.default]\nstreaming = true";
        let folder = stage.data().join(format!("mfx/{EXPERIMENT}/xtc"));
        std::fs::create_dir_all(folder.join("smalldata"))?;
        let name = format!("{EXPERIMENT}-r0011-s000-c000");
        let (big, small) =
            (folder.join(format!("{name}.xtc2")), folder.join(format!("smalldata/{name}.smd.xtc2")));
        let growing = |path: &Path| path.with_extension("xtc2.inprogress");
        let open = |path: &Path| std::fs::File::create(growing(path));
        let side = u32::try_from(play::SIDE)?;
        let setup = StreamSetup::jungfrau(EXPERIMENT, 11, 1, "jungfrau", &[0], [1, side, side]);
        let mut writer = StreamWriter::new(setup, open(&big)?, open(&small)?);
        let at = |n: u32| Timestamp::new(7, n);
        writer.configure(at(0))?;
        for (n, transition) in (1..).zip([Transition::BeginRun, Transition::BeginStep, Transition::Enable]) {
            writer.transition(transition, at(n))?;
        }
        let pixels = vec![9_u16; play::SIDE * play::SIDE];
        let mut shots = |from: u32, to: u32| -> std::io::Result<()> {
            for n in from..to {
                let shot = Shot { segments: &[&pixels], photon_energy: None, pulse_id: 0, event_codes: &[] };
                writer.event(at(n), &shot)?;
            }
            Ok(())
        };
        shots(10, 30)?;
        let mut service = serve(desk.config(&desk.here, experiment)?);
        let until = async |count: usize| desk.until_published(count, &desk.here).await;
        let images = until(20).await?;
        ensure!(
            images.iter().all(|(_, image)| !image.extents[0].lfn.is_in_progress()),
            "as they will be called"
        );
        shots(30, 45)?;
        until(35).await?;
        // Its place is found again by another process.
        service.stop().await?;
        shots(45, 60)?;
        service = serve(desk.config(&desk.here, experiment)?);
        until(50).await?;
        let (written_big, written_small) = writer.finish()?;
        drop((written_big, written_small));
        for path in [&big, &small] {
            std::fs::rename(growing(path), path)?;
        }
        desk.until_closed(11, 1, 50).await?;
        once(&desk.images(SiteTopic::ImagesLive, &desk.here).await?, 50)?;
        service.stop().await
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn where_a_small_file_is_damaged_the_big_one_tells_its_images() -> Result<()> {
    on_stage(partitions(2), async |stage| {
        let desk = Desk::at(stage, 2).await?;
        let whole = play::run(&stage.data(), 6, 2, 60, 1, &desk.here)?;
        let folder = stage.data().join(format!("mfx/{EXPERIMENT}/xtc/smalldata"));
        let small = folder.join(format!("{EXPERIMENT}-r0006-s001-c000.smd.xtc2"));
        let mut bytes = std::fs::read(&small)?;
        let middle = bytes.len() - 30 * 76;
        bytes[middle..middle + 400].fill(0xff);
        std::fs::write(&small, bytes)?;
        stage.apply(&[play::trial(&stage.calibration(), 1, 2, "")?]).await?;
        desk.say(vec![available(&manifest(&stage.data(), 6, &desk.here, 1)?)]).await?;
        let service = serve(desk.config(&desk.here, "")?);
        let indexed = desk.until_closed(6, 1, 60).await?;
        let images = desk.images(SiteTopic::ImagesLive, &desk.here).await?;
        once(&images, 60)?;
        // Each piece once, those before the damage too.
        let places = |image: &Image| (image.key().to_string(), image.extents.clone());
        let published: BTreeMap<_, _> = images.iter().map(|(_, image)| places(image)).collect();
        ensure!(published == whole.iter().map(places).collect(), "each image has all its pieces, each once");
        for (_, image) in &images {
            ensure!(image.configure.len() == 2, "{:?}", image.configure);
        }
        let read: Vec<&str> = indexed.positions.iter().map(|position| position.lfn.file_name()).collect();
        let of = |end: &str| format!("{EXPERIMENT}-r0006-{end}");
        ensure!(read == [of("s001-c000.xtc2"), of("s000-c000.smd.xtc2")], "{read:?}");
        service.stop().await?;
        // Whoever comes after it goes on from there.
        let service = serve(desk.config(&desk.here, "")?);
        play::run(&stage.data(), 7, 2, 20, 1, &desk.here)?;
        desk.say(vec![available(&manifest(&stage.data(), 7, &desk.here, 1)?)]).await?;
        desk.until_closed(7, 1, 20).await?;
        once(&desk.images(SiteTopic::ImagesLive, &desk.here).await?, 80)?;
        service.stop().await
    })
    .await
}
