//! The rate limiter of a replay, in events a second.

use std::num::NonZeroU32;
use std::time::Duration;
use tokio::time::Instant;

/// A sender waits for what it sent before; unused time is not saved up.
pub(super) struct RateLimiter {
    max_rate: Option<NonZeroU32>,
    next: Instant,
}

impl RateLimiter {
    pub(super) fn new(max_rate: Option<NonZeroU32>) -> Self {
        Self {
            max_rate,
            next: Instant::now(),
        }
    }

    /// The most events that may be sent together: those of one second.
    pub(super) fn max_burst(&self) -> usize {
        self.max_rate.map_or(usize::MAX, |rate| rate.get() as usize)
    }

    /// Waits until `events` more may be sent.
    pub(super) async fn wait(&mut self, events: usize) {
        let Some(rate) = self.max_rate else { return };
        tokio::time::sleep_until(self.next).await;
        // At most one second's, so it is exact.
        self.next =
            Instant::now() + Duration::from_secs(1).mul_f64(events as f64 / f64::from(rate.get()));
    }
}
