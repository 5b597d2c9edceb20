//! Admission control: while more invests arrive than can be decided, most are rejected at once instead of after a long wait in the queue.
//!
//! A queue that is never empty and whose commands wait long shows how many commands a second the processor manages. From then on only as
//! many may wait as it manages in [`MAX_QUEUED_DURATION`], until the queue has been empty. A rush that the processor is able to decide in
//! that time fills the queue, and nobody is rejected.

use super::COMMAND_QUEUE_CAPACITY;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// How long an invest may wait in the queue while there are too many.
const MAX_QUEUED_DURATION: Duration = Duration::from_millis(500);
/// Invests that may always wait.
const MIN_WAITING_INVESTS: usize = 64;
/// How much a batch counts in the running mean of commands a second.
const RATE_WEIGHT: f64 = 0.2;

/// How many commands may wait for an invest to be admitted behind them.
#[derive(Debug)]
pub(super) struct AdmissionLimit(AtomicUsize);

impl AdmissionLimit {
    pub(super) fn admits(&self, waiting: usize) -> bool {
        waiting < self.0.load(Ordering::Relaxed)
    }
}

/// Sets the limit; the processor has it.
#[derive(Debug)]
pub(super) struct AdmissionControl {
    limit: Arc<AdmissionLimit>,
    /// When the last batch ended, unless the queue has been empty since.
    last_ended: Option<Instant>,
    per_second: Option<f64>,
}

impl AdmissionControl {
    pub(super) fn new() -> Self {
        let limit = Arc::new(AdmissionLimit(AtomicUsize::new(COMMAND_QUEUE_CAPACITY)));
        Self {
            limit,
            last_ended: None,
            per_second: None,
        }
    }

    pub(super) fn limit(&self) -> Arc<AdmissionLimit> {
        self.limit.clone()
    }

    /// The queue is empty: whatever was slow is over.
    pub(super) fn queue_is_empty(&mut self) {
        (self.last_ended, self.per_second) = (None, None);
        self.set(COMMAND_QUEUE_CAPACITY);
    }

    /// A batch of so many commands has ended, the longest of which had waited so long when it began.
    pub(super) fn batch_ended(&mut self, commands: usize, longest_wait: Duration, now: Instant) {
        if let Some(before) = self.last_ended.replace(now) {
            let rate = commands as f64 / (now - before).as_secs_f64().max(0.001);
            let mean = self
                .per_second
                .map_or(rate, |mean| mean + RATE_WEIGHT * (rate - mean));
            self.per_second = Some(mean);
            if longest_wait > MAX_QUEUED_DURATION {
                self.set((mean * MAX_QUEUED_DURATION.as_secs_f64()) as usize);
            }
        }
    }

    fn set(&self, limit: usize) {
        self.limit.0.store(
            limit.clamp(MIN_WAITING_INVESTS, COMMAND_QUEUE_CAPACITY),
            Ordering::Relaxed,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BATCH_INTERVAL: Duration = Duration::from_millis(100);

    fn after_batches(commands: usize, longest_wait: Duration) -> AdmissionControl {
        let (mut control, start) = (AdmissionControl::new(), Instant::now());
        for batch in 0..50 {
            control.batch_ended(commands, longest_wait, start + BATCH_INTERVAL * batch);
        }
        control
    }

    #[test]
    fn a_queue_that_is_decided_in_time_takes_all() {
        let control = after_batches(10, MAX_QUEUED_DURATION);
        assert!(control.limit().admits(COMMAND_QUEUE_CAPACITY - 1));
    }

    #[test]
    fn a_slow_queue_takes_what_is_decided_in_time() {
        // 100 commands in 100 ms: 500 in half a second.
        let mut control = after_batches(100, MAX_QUEUED_DURATION + BATCH_INTERVAL);
        assert!(control.limit().admits(498) && !control.limit().admits(501));
        control.queue_is_empty();
        assert!(control.limit().admits(COMMAND_QUEUE_CAPACITY - 1));
    }

    #[test]
    fn some_may_always_wait() {
        let control = after_batches(1, Duration::from_secs(2));
        assert!(
            control.limit().admits(MIN_WAITING_INVESTS - 1)
                && !control.limit().admits(MIN_WAITING_INVESTS)
        );
    }
}
