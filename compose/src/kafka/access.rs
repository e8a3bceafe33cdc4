//! Access rules on a broker that has an authorizer: `CreateAcls` of Kafka's protocol (version 1), for which librdkafka's Rust
//! client has no call. Only grants, never denies.

use anyhow::{Context as _, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// The settings by which a broker knows access rules; whoever comes without a password, as its owner does, may do everything.
pub const AUTHORIZER: [(&str, &str); 2] = [
    ("authorizer.class.name", "org.apache.kafka.metadata.authorizer.StandardAuthorizer"),
    ("super.users", "User:ANONYMOUS"),
];

/// What a rule is about. A name is one resource, or with `true` all whose names begin so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource<'n> {
    /// A topic.
    Topic(&'n str, bool),
    /// A consumer group.
    Group(&'n str, bool),
    /// A producer's transactional id.
    TransactionalId(&'n str, bool),
}

/// What may be done; reading and writing may describe as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)] // Kafka's own words
pub enum Operation {
    Read = 3,
    Write = 4,
    Describe = 8,
    DescribeConfigs = 10,
}

/// Lets a user do these things, from any host.
pub(super) async fn allow(
    bootstrap: &str,
    user: &str,
    rules: &[(Resource<'_>, Operation)],
) -> anyhow::Result<()> {
    const CREATE_ACLS: i16 = 30;
    const ALLOW: u8 = 3;
    let mut request = Vec::new();
    // The header: which call in which version, a number for the answer, no client's name.
    request.extend([CREATE_ACLS.to_be_bytes(), 1_i16.to_be_bytes()].concat());
    request.extend(7_i32.to_be_bytes());
    request.extend((-1_i16).to_be_bytes());
    request.extend(u32::try_from(rules.len())?.to_be_bytes());
    let text = |request: &mut Vec<u8>, text: &str| -> anyhow::Result<()> {
        request.extend(i16::try_from(text.len())?.to_be_bytes());
        request.extend(text.as_bytes());
        Ok(())
    };
    for (resource, operation) in rules {
        let (kind, name, is_prefix) = match resource {
            Resource::Topic(name, is_prefix) => (2, name, is_prefix),
            Resource::Group(name, is_prefix) => (3, name, is_prefix),
            Resource::TransactionalId(name, is_prefix) => (5, name, is_prefix),
        };
        request.push(kind);
        text(&mut request, name)?;
        request.push(if *is_prefix { 4 } else { 3 });
        text(&mut request, &format!("User:{user}"))?;
        text(&mut request, "*")?;
        request.extend([*operation as u8, ALLOW]);
    }
    let mut stream = TcpStream::connect(bootstrap).await.context("the broker cannot be reached")?;
    stream.write_all(&u32::try_from(request.len())?.to_be_bytes()).await?;
    stream.write_all(&request).await?;
    let length = stream.read_u32().await.context("the broker does not answer")?;
    ensure!(length < 1 << 20, "an answer of {length} bytes");
    let mut answer = vec![0; usize::try_from(length)?];
    stream.read_exact(&mut answer).await.context("the broker's answer is cut")?;
    // The number, how long to wait, how many; then an error and its text for each.
    let mut rest = answer.get(12..).context("the broker's answer is short")?;
    for (resource, _) in rules {
        let (code, left) = rest.split_at_checked(2).context("the broker's answer is short")?;
        let (length, left) = left.split_at_checked(2).context("the broker's answer is short")?;
        let length = i16::from_be_bytes([length[0], length[1]]);
        let (said, left) = left
            .split_at_checked(usize::try_from(length).unwrap_or(0))
            .context("the broker's answer is short")?;
        ensure!(code == [0, 0], "{resource:?}: {}", String::from_utf8_lossy(said));
        rest = left;
    }
    Ok(())
}
