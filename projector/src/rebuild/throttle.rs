//! The rate limit of a rebuild, in events a second.

use crate::fold::CONCURRENT_FOLDS;
use std::sync::atomic::{AtomicI64, Ordering};
use tokio::time::{Duration, Instant};

/// The most events that are read at once.
const MAX_CHUNK_EVENTS: i64 = 20_000;
/// With a rate limit, at least so many chunks a second, for an even flow.
const MIN_CHUNKS_PER_SECOND: i64 = 10;

pub(crate) struct Throttle {
    rate: Option<i64>,
    began: Instant,
    passed: AtomicI64,
}

impl Throttle {
    /// `rate` in events a second.
    pub(crate) fn new(rate: Option<i32>) -> Self {
        Self {
            rate: rate.map(i64::from),
            began: Instant::now(),
            passed: AtomicI64::new(0),
        }
    }

    /// How many events to take at once.
    pub(crate) fn chunk(&self) -> i64 {
        self.rate.map_or(MAX_CHUNK_EVENTS, |rate| {
            (rate / MIN_CHUNKS_PER_SECOND).clamp(1, MAX_CHUNK_EVENTS)
        })
    }

    /// How many partitions to fold at once: more than one is no faster where the rate is limited, and keeps others from it.
    pub(crate) fn concurrent_folds(&self) -> usize {
        if self.rate.is_some() {
            1
        } else {
            CONCURRENT_FOLDS
        }
    }

    /// Counts `events`, and waits until so many are allowed.
    pub(crate) async fn pass(&self, events: i64) {
        let passed = self.passed.fetch_add(events, Ordering::Relaxed) + events;
        if let Some(rate) = self.rate {
            let due = Duration::from_secs_f64(passed as f64 / rate as f64);
            tokio::time::sleep_until(self.began + due).await;
        }
    }
}
