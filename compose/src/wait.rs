//! Waiting for a condition, with a limit and a name: the only way anything here waits. Level-triggered: the condition is
//! looked at again and again, so nothing is lost by looking late. Never a plain sleep in place of a condition.

use std::time::{Duration, Instant};

/// How often a condition is looked at. Short, for what is waited for is mostly a matter of milliseconds.
const BETWEEN_LOOKS: Duration = Duration::from_millis(25);

/// Looks at `probe` until it gives a value, at most for `limit`.
///
/// # Errors
/// When the limit has passed: what was waited for, and for how long.
pub async fn until<T, Looking: Future<Output = Option<T>>>(
    what: &str,
    limit: Duration,
    // Not `AsyncFnMut`: the compiler cannot yet show that what awaits one is `Send`, and waits are spawned.
    mut probe: impl FnMut() -> Looking,
) -> anyhow::Result<T> {
    let begin = Instant::now();
    loop {
        // A probe that hangs (a stopped server takes a connection and says nothing) must not outlast the limit.
        let left = limit.saturating_sub(begin.elapsed());
        match tokio::time::timeout(left.max(BETWEEN_LOOKS), probe()).await {
            Ok(Some(value)) => return Ok(value),
            Ok(None) | Err(_) if begin.elapsed() >= limit => {
                anyhow::bail!("waited {:.1} s for {what}, in vain", begin.elapsed().as_secs_f64())
            }
            Ok(None) => tokio::time::sleep(BETWEEN_LOOKS).await,
            Err(_) => {}
        }
    }
}

/// Waits until `port` on the loopback takes a connection.
///
/// # Errors
/// When it does not within `limit`.
pub async fn for_port(what: &str, port: u16, limit: Duration) -> anyhow::Result<()> {
    until(&format!("{what} to listen on port {port}"), limit, async || {
        tokio::net::TcpStream::connect(("127.0.0.1", port)).await.ok().map(drop)
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test]
    async fn what_comes_in_time_is_returned() {
        let looks = Cell::new(0);
        let found = until("three looks", Duration::from_secs(1), async || {
            looks.set(looks.get() + 1);
            (looks.get() == 3).then_some("there")
        });
        assert_eq!(found.await.unwrap(), "there");
    }

    #[tokio::test]
    async fn what_does_not_come_is_named_also_when_looking_hangs() {
        for hangs in [false, true] {
            let vain = until("Godot", Duration::from_millis(100), async || {
                if hangs {
                    std::future::pending::<()>().await;
                }
                None::<()>
            });
            let told = vain.await.unwrap_err().to_string();
            assert!(told.starts_with("waited ") && told.ends_with(" s for Godot, in vain"), "{told}");
        }
    }
}
