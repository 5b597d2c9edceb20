//! Exponential backoff with jitter.

use std::time::Duration;
use uuid::Uuid;

/// The waits of a loop that retries: each is twice as long as the one before. Up to a half is taken off at random, so that
/// many clients do not retry at once.
#[derive(Debug)]
pub struct Backoff {
    min_delay: Duration,
    max_delay: Duration,
    next: Duration,
}

impl Backoff {
    /// The first wait is at most `min_delay`, and no wait is longer than `max_delay`.
    pub fn new(min_delay: Duration, max_delay: Duration) -> Self {
        Self {
            min_delay,
            max_delay,
            next: min_delay,
        }
    }

    /// After a success the next wait is a first one again.
    pub fn reset(&mut self) {
        self.next = self.min_delay;
    }

    /// Waits; the next wait will be longer.
    pub async fn wait(&mut self) {
        tokio::time::sleep(self.next_delay()).await;
    }

    fn next_delay(&mut self) -> Duration {
        let whole = self.next;
        self.next = (whole * 2).min(self.max_delay);
        whole / 2 + (whole / 2).mul_f64(random_fraction())
    }
}

/// From 0 to 1. The first four bytes of a random UUID are all random.
fn random_fraction() -> f64 {
    let (random, ..) = Uuid::new_v4().as_fields();
    f64::from(random) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_bound_and_start_over() {
        let (min_delay, max_delay) = (Duration::from_millis(200), Duration::from_secs(5));
        let mut backoff = Backoff::new(min_delay, max_delay);
        let waits: Vec<_> = (0..50).map(|_| backoff.next_delay()).collect();
        assert!(waits[0] <= min_delay && waits[0] >= min_delay / 2);
        assert!(waits.iter().all(|wait| *wait <= max_delay));
        assert!(waits[49] >= max_delay / 2);
        backoff.reset();
        assert!(backoff.next_delay() <= min_delay);
    }
}
