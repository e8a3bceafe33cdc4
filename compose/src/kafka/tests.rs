//! A real broker: it starts, it is killed, it comes back on the same port.

use super::*;

async fn listens(port: u16) -> bool {
    tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok()
}

#[tokio::test]
async fn a_killed_broker_comes_back_on_its_port_and_is_gone_after_drop() {
    let kafka = Kafka::start(KafkaOptions::default()).await.unwrap();
    let port: u16 = kafka.bootstrap().rsplit(':').next().unwrap().parse().unwrap();
    kafka.kill().await.unwrap();
    assert!(!listens(port).await);
    kafka.restart().await.unwrap();
    assert!(listens(port).await);
    let data = kafka.data().unwrap().to_path_buf();
    assert!(data.is_dir());
    drop(kafka);
    assert!(!listens(port).await);
    assert!(!data.exists(), "the data folder is removed");
}
