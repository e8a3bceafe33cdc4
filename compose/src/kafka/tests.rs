//! A real broker: what it was told survives SIGKILL, it comes back on its port, and lets in only who has the password.

use std::time::{Duration, Instant};

use lightrail_topics::kafka::{Acks, Admin, Connection, PlainProducer, read_to_end};
use lightrail_topics::topic::{Topic, Topics};

use super::*;

const LIMIT: Duration = Duration::from_secs(30);

async fn listens(port: u16) -> bool {
    tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok()
}

#[tokio::test]
async fn a_killed_broker_comes_back_with_its_messages_and_is_gone_after_drop() {
    let begin = Instant::now();
    let kafka = Kafka::start(KafkaOptions::default()).await.unwrap();
    println!("Kafka ready after {:?}", begin.elapsed());
    let connection = Connection::plain(kafka.bootstrap(), "compose-test");
    let topics = Topics::new("t.").unwrap();
    let admin = Admin::new(&connection, LIMIT);
    admin.create_topics(&[topics.spec(Topic::Runs, 1, 1)]).await.unwrap();
    let topic = topics.name(Topic::Runs);
    let producer = PlainProducer::start(&connection, Acks::All, LIMIT).unwrap();
    producer.send(&topic, None, &[], Some(b"run 12")).await.unwrap();

    kafka.kill().await.unwrap();
    let port: u16 = kafka.bootstrap().rsplit(':').next().unwrap().parse().unwrap();
    assert!(!listens(port).await);
    let begin = Instant::now();
    kafka.restart().await.unwrap();
    println!("Kafka ready again {:?} after SIGKILL", begin.elapsed());
    let records = read_to_end(&connection, &[topic], &BTreeMap::new(), LIMIT).await.unwrap();
    assert_eq!(records.iter().map(|record| record.value.clone().unwrap()).collect::<Vec<_>>(), [b"run 12"]);

    let data = kafka.data().unwrap().to_path_buf();
    drop(kafka);
    assert!(!listens(port).await);
    assert!(!data.exists(), "the data folder is removed");
}

#[tokio::test]
async fn a_stopped_broker_is_silent_until_it_goes_on() {
    let kafka = Kafka::start(KafkaOptions::default()).await.unwrap();
    let admin = |limit| Admin::new(&Connection::plain(kafka.bootstrap(), "compose-test"), limit);
    admin(LIMIT).reach().await.unwrap();
    kafka.stop().unwrap();
    assert!(admin(Duration::from_secs(2)).reach().await.is_err());
    kafka.cont().unwrap();
    admin(LIMIT).reach().await.unwrap();
}

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
