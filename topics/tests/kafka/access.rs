//! TLS and SCRAM: the right password works, a wrong one and an unknown certificate are named.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use lightrail_compose::kafka::Login;
use lightrail_compose::{Kafka, KafkaOptions};
use lightrail_topics::Topics;
use lightrail_topics::kafka::{Admin, Connection, KafkaError, KafkaEvent, PublishError, Publisher, Timeouts};

use crate::{Intake, LIMIT, file, files_to_the_end, publisher};

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_named_within_seconds() -> Result<()> {
    let login = Login { user: "mover".to_owned(), password: "right".to_owned() };
    let kafka = Kafka::start(KafkaOptions { login: Some(login), ..KafkaOptions::default() }).await?;
    let bootstrap = kafka.secure_bootstrap().context("a listener with TLS")?;
    let properties = kafka.secure_properties("mover", "right").context("a listener with TLS")?;
    let with = |password: &str, trust: bool| {
        let mut connection = Connection::plain(&bootstrap, "test");
        connection.properties = properties.clone();
        connection.properties.insert("sasl.password".to_owned(), password.to_owned());
        if !trust {
            connection.properties.remove("ssl.ca.location");
        }
        connection
    };
    let right = with("right", true);
    Admin::new(&right, LIMIT).create_topics(&Topics::default().specs(1, 1)).await?;
    publisher(&right, "mover-a").await?.publish(vec![file(1)]).await?;
    ensure!(files_to_the_end(&right, LIMIT).await?.len() == 1);

    for connection in [with("wrong", true), with("right", false)] {
        let begin = Instant::now();
        let reached = Admin::new(&connection, LIMIT).reach().await;
        ensure!(matches!(reached, Err(KafkaError::Authentication(_))), "{reached:?}");
        let started = Publisher::start(&connection, &Topics::default(), "mover-b", Timeouts::default())?;
        let init = started.init(LIMIT).await;
        let Err(PublishError::Retriable(KafkaError::Authentication(_))) = init else { bail!("{init:?}") };
        let read = files_to_the_end(&connection, LIMIT).await;
        ensure!(matches!(read, Err(KafkaError::Authentication(_))), "{read:?}");
        let mut intake = Intake::join(&connection, 64, |_, _| None)?;
        // A refused handshake may first look like a lost connection.
        let named = async {
            loop {
                match intake.next().await? {
                    KafkaEvent::Fault(KafkaError::Authentication(_)) => return Ok(()),
                    KafkaEvent::Fault(KafkaError::Unreachable(_)) => {}
                    other => bail!("{other:?}"),
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(10), named).await??;
        intake.reader.stop().await;
        ensure!(begin.elapsed() < Duration::from_secs(20), "four refusals took {:?}", begin.elapsed());
    }
    Ok(())
}
