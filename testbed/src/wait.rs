//! Waiting for what happens in the background: polled to a condition, never slept for.

use std::time::Duration;
use tokio::time::{sleep, timeout};

/// Whatever a test waits for comes sooner than this on the slowest machine, or never.
pub const TEST_TIMEOUT: Duration = Duration::from_secs(90);
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// Polls until `holds`.
pub async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let polled = async {
        while !holds().await {
            sleep(POLL_INTERVAL).await;
        }
    };
    timeout(TEST_TIMEOUT, polled)
        .await
        .unwrap_or_else(|_| panic!("waited {TEST_TIMEOUT:?} in vain until {what}"));
}

/// What comes of `work`.
pub async fn soon<T>(work: impl Future<Output = T>) -> T {
    timeout(TEST_TIMEOUT, work)
        .await
        .expect("it should have ended long ago")
}
