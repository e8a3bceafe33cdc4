//! A worker on a broker with access rules: it does its work with those that README names, and says what it lacks.

use std::fmt::Write as _;

use anyhow::{Context as _, Result, ensure};
use lightrail_analysis::work::decide::Lane;
use lightrail_compose::kafka::access::{Operation, Resource};
use lightrail_compose::wait;
use lightrail_topics::{SiteTopic, Topic};

use crate::play;
use crate::stage::{SOON, Setup, on_stage, partitions};

const USER: &str = "worker";

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_needs_the_access_that_readme_names_and_says_what_it_lacks() -> Result<()> {
    on_stage(Setup { own_kafka: true, restricted: Some(USER), ..partitions(2) }, async |stage| {
        let images = play::run(&stage.data(), 7, 1, 60, 3, &stage.site)?;
        stage.apply(&[play::trial(&stage.calibration(), 3, 1, "")?]).await?;
        let kafka = stage.kafka()?;
        let password = stage.folder().join("password");
        std::fs::write(&password, USER)?;
        let mut reach = format!(
            "bootstrap = [\"{}\"]\n[kafka.properties]\n\"sasl.password_file\" = {password:?}\n",
            kafka.secure_bootstrap().context("a listener with passwords")?
        );
        let properties = kafka.secure_properties(USER, USER).context("a listener with passwords")?;
        for (key, value) in properties.iter().filter(|(key, _)| *key != "sasl.password") {
            writeln!(reach, "\"{key}\" = \"{value}\"")?;
        }
        stage.reach = Some(reach);

        // It may do nothing: it waits, and says for what.
        let worker = stage.worker("a")?;
        let says = async |what: &str| {
            wait::until(what, SOON, async || worker.output().contains(what).then_some(())).await
        };
        says("kafka does not allow it").await?;

        let topics = &stage.topics;
        let name = |topic| topics.name(topic);
        let (trials, results, letters) =
            (name(Topic::Trials), name(Topic::Results), name(Topic::DeadLetters));
        let (indexed, reflections) = (name(Topic::ImagesIndexed), name(Topic::Reflections));
        let lanes = Lane::ALL.map(|lane| topics.name(lane.channel(&stage.site)));
        let [live, reprocess] = &lanes;
        let (groups, id) = (Lane::ALL.map(|lane| lane.group(topics, &stage.site)), format!("{live}.worker."));
        let mut rules = vec![
            (Resource::Topic(&trials, false), Operation::Read),
            (Resource::Topic(live, false), Operation::Read),
            (Resource::Topic(reprocess, false), Operation::Read),
            (Resource::Topic(&results, false), Operation::Read),
            (Resource::Topic(&results, false), Operation::Write),
            (Resource::Topic(&letters, false), Operation::Write),
            (Resource::Topic(&indexed, false), Operation::Describe),
            (Resource::Topic(&reflections, false), Operation::Describe),
            (Resource::Topic("__consumer_offsets", false), Operation::Describe),
            (Resource::TransactionalId(&id, true), Operation::Write),
        ];
        rules.extend(groups.iter().map(|group| (Resource::Group(group, false), Operation::Read)));
        for name in [&trials, live, reprocess, &results, &indexed, &reflections] {
            rules.push((Resource::Topic(name, false), Operation::DescribeConfigs));
        }
        let kafka = stage.kafka()?;
        kafka.allow(USER, &rules).await?;
        stage.publish(&images[..30], SiteTopic::ImagesLive).await?;
        let mut witness = stage.witness();
        witness.until(30, SOON).await?;
        says("Allow READ on it").await?;

        kafka.allow(USER, &[(Resource::Topic("__transaction_state", false), Operation::Read)]).await?;
        worker.kill();
        let complaints = || worker.output().matches("Allow READ on it").count();
        let before = complaints();
        worker.start_again()?;
        stage.publish(&images[30..], SiteTopic::ImagesLive).await?;
        witness.until(60, SOON).await?;
        witness.judge(&images)?;
        ensure!(complaints() == before, "it may read it now");
        Ok(())
    })
    .await
}
