//! Exponential backoff with jitter.

use std::time::Duration;
use uuid::Uuid;

/// The longest first wait.
const MIN_DELAY: Duration = Duration::from_millis(200);
/// The longest wait.
const MAX_DELAY: Duration = Duration::from_secs(5);

/// The next wait. It doubles each time; up to a half is taken off at random, so that many clients do not retry at once.
#[derive(Debug)]
pub(crate) struct Backoff {
    next: Duration,
}

impl Backoff {
    pub(crate) fn new() -> Self {
        Self { next: MIN_DELAY }
    }

    /// After a success the next wait is a first one again.
    pub(crate) fn reset(&mut self) {
        self.next = MIN_DELAY;
    }

    /// Waits; the next wait will be longer.
    pub(crate) async fn wait(&mut self) {
        tokio::time::sleep(self.next_delay()).await;
    }

    fn next_delay(&mut self) -> Duration {
        let whole = self.next;
        self.next = (whole * 2).min(MAX_DELAY);
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
        let mut backoff = Backoff::new();
        let waits: Vec<_> = (0..50).map(|_| backoff.next_delay()).collect();
        assert!(waits[0] <= MIN_DELAY && waits[0] >= MIN_DELAY / 2);
        assert!(waits.iter().all(|wait| *wait <= MAX_DELAY));
        assert!(waits[49] >= MAX_DELAY / 2);
        backoff.reset();
        assert!(backoff.next_delay() <= MIN_DELAY);
    }
}
