//! `reprocess` as people use it: the program itself, and what it puts on the site's topic.

use std::collections::BTreeSet;
use std::process::{Command, Output};

use anyhow::{Result, ensure};
use lightrail_topics::events::{Image, Outcome, Trial};
use lightrail_topics::{Millis, SiteTopic, TrialNumber, message};

use crate::desk::{Desk, available, events, manifest, once, serve};
use crate::index::result;
use crate::play::{self, EXPERIMENT};
use crate::stage::{on_stage, partitions};

#[tokio::test(flavor = "multi_thread")]
async fn the_command_puts_again_only_what_ended_as_it_is_told() -> Result<()> {
    on_stage(partitions(2), async |stage| {
        let desk = Desk::at(stage, 2).await?;
        let whole = play::run(&stage.data(), 6, 1, 70, 1, &desk.here)?;
        let two = Trial { live: false, ..play::trial(&stage.calibration(), 2, 1, "")? };
        stage.apply(&[play::trial(&stage.calibration(), 1, 1, "")?, two]).await?;
        desk.say(vec![available(&manifest(&stage.data(), 6, &desk.here, 1)?)]).await?;
        let service = serve(desk.config(&desk.here, "")?);
        desk.until_closed(6, 1, 70).await?;
        service.stop().await?;
        let ended = |n: usize| match n {
            n if n.is_multiple_of(7) => Outcome::Timeout,
            n if n.is_multiple_of(5) => Outcome::Unreadable,
            n if n.is_multiple_of(3) => Outcome::Crashed,
            _ => Outcome::Miss,
        };
        let results = whole
            .iter()
            .enumerate()
            .map(|(n, image)| message::result(&result(image, ended(n)), "a worker", Millis(0)));
        desk.say(results.collect()).await?;
        let config = stage.configure()?;
        let command = |arguments: &[&str]| -> Result<Output> {
            let mut command = Command::new(env!("CARGO_BIN_EXE_lightrail-analysis"));
            command.args(["reprocess", EXPERIMENT, "1-6"]).args(arguments).arg("--config").arg(&config);
            Ok(command.output()?)
        };
        let told = |said: &Output| {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            (said.status.code(), text(&said.stdout), text(&said.stderr))
        };
        let chosen = |wanted: &[Outcome]| -> BTreeSet<String> {
            let of = whole.iter().enumerate().filter(|(n, _)| wanted.contains(&ended(*n)));
            of.map(|(_, image)| Image { trial: TrialNumber(2), ..image.clone() }.key().to_string()).collect()
        };

        let said = command(&["--trial", "2", "--only", "unreadable,timeout"])?;
        let wanted = chosen(&[Outcome::Unreadable, Outcome::Timeout]);
        let line = format!("run {EXPERIMENT}/6: 22 images put under trial 2, 22 in all\n");
        ensure!(told(&said) == (Some(0), line, String::new()), "{said:?}");
        let images = desk.images(SiteTopic::ImagesReprocess, &desk.here).await?;
        once(&images, 22)?;
        ensure!(events(&images) == wanted, "those that ended so, and no other");
        // The same again is nothing new; another outcome comes to it.
        let said = command(&["--trial", "2", "--only", "timeout,unreadable,crashed", "--of", "1"])?;
        ensure!(told(&said).1.contains(&format!("images put under trial 2, {} in all", 22 + 16)), "{said:?}");
        let images = desk.images(SiteTopic::ImagesReprocess, &desk.here).await?;
        once(&images, 22 + 16)?;
        ensure!(events(&images) == chosen(&[Outcome::Unreadable, Outcome::Timeout, Outcome::Crashed]));

        // What cannot be meant is said, with the status of wrong usage, and puts nothing.
        for (arguments, why) in [
            (&["--trial", "2", "--only", "lost"][..], "possible values: hit, miss, timeout"),
            (&["--trial", "9", "--only", "timeout"][..], "trial mfxx00121/9 is not on topic trials"),
        ] {
            let (status, _, errors) = told(&command(arguments)?);
            ensure!(status == Some(2) && errors.contains(why), "{arguments:?}: {status:?} {errors}");
        }
        once(&desk.images(SiteTopic::ImagesReprocess, &desk.here).await?, 22 + 16)
    })
    .await
}
