//! What only a broker as a process does: the secure listener, and another's data.

use std::time::{Duration, Instant};

use lightrail_topics::kafka::{Admin, Connection};
use lightrail_topics::topic::{Topic, Topics};

use super::*;

const LIMIT: Duration = Duration::from_secs(30);

#[tokio::test]
async fn the_secure_listener_lets_in_who_has_the_password() {
    let login = Login { user: "mover".to_owned(), password: "right".to_owned() };
    let kafka = Kafka::start(KafkaOptions { login: Some(login), ..KafkaOptions::default() }).await.unwrap();
    let reach = async |password: &str| {
        let properties = kafka.secure_properties("mover", password).unwrap();
        let bootstrap = kafka.secure_bootstrap().unwrap();
        let connection = Connection { bootstrap, properties, client_id: "compose-test".to_owned() };
        Admin::new(&connection, LIMIT).reach().await
    };
    reach("right").await.unwrap();
    let begin = Instant::now();
    let refused = reach("wrong").await.unwrap_err();
    println!("refused after {:?}: {refused}", begin.elapsed());
    assert!(begin.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn a_brokers_data_can_be_given_to_the_next() {
    let scratch = Scratch::new().unwrap();
    let options = KafkaOptions { data: Some(scratch.path().join("data")), ..KafkaOptions::default() };
    let first = Kafka::start(options.clone()).await.unwrap();
    let topics = Topics::new("t.").unwrap();
    let admin = |kafka: &Kafka| Admin::new(&Connection::plain(kafka.bootstrap(), "compose-test"), LIMIT);
    admin(&first).create_topics(&[topics.spec(Topic::Runs, 3, 1)]).await.unwrap();
    drop(first);
    let second = Kafka::start(options).await.unwrap();
    assert_eq!(admin(&second).partitions(&topics.name(Topic::Runs)).await.unwrap(), [0, 1, 2]);
}

#[tokio::test]
async fn a_named_broker_is_never_tormented() {
    let kafka = Kafka::named("kafka.example.org:9092");
    assert_eq!(kafka.bootstrap(), "kafka.example.org:9092");
    for refused in [kafka.kill().await, kafka.stop(), kafka.cont(), kafka.restart().await] {
        assert!(refused.unwrap_err().to_string().contains("is not ours"));
    }
}
