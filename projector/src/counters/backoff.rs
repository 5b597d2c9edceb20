//! Exponential backoff.

use std::time::Duration;

/// Waits that double, from the first to the longest.
pub(super) struct Backoff {
    first: Duration,
    longest: Duration,
    next: Duration,
}

impl Backoff {
    pub(super) fn new((first, longest): (Duration, Duration)) -> Self {
        Self { first, longest, next: first }
    }

    pub(super) async fn wait(&mut self) {
        let now = self.next;
        self.next = (now * 2).min(self.longest);
        tokio::time::sleep(now).await;
    }

    pub(super) fn reset(&mut self) {
        self.next = self.first;
    }
}
