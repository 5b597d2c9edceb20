//! No more events a second than is allowed.

use std::num::NonZeroU32;
use std::time::Duration;
use tokio::time::Instant;

/// Who sends waits for what was sent before; nothing is saved up.
pub(super) struct Pace {
    max_rate: Option<NonZeroU32>,
    next: Instant,
}

impl Pace {
    pub(super) fn new(max_rate: Option<NonZeroU32>) -> Self {
        Self { max_rate, next: Instant::now() }
    }

    /// Events that may go together: a second's.
    pub(super) fn at_once(&self) -> usize {
        self.max_rate.map_or(usize::MAX, |rate| rate.get() as usize)
    }

    /// Waits until `events` more may go.
    pub(super) async fn wait(&mut self, events: usize) {
        let Some(rate) = self.max_rate else { return };
        tokio::time::sleep_until(self.next).await;
        // At most a second's, so it is exact.
        self.next = Instant::now() + Duration::from_secs(1).mul_f64(events as f64 / f64::from(rate.get()));
    }
}
