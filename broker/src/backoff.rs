//! Waiting longer and longer for what fails again and again.

use std::time::Duration;
use uuid::Uuid;

/// The first wait, at most.
const FIRST: Duration = Duration::from_millis(200);
/// No wait is longer.
const LONGEST: Duration = Duration::from_secs(5);

/// How long to wait next: twice as long each time, less up to a half by chance, so that many do not come at once.
#[derive(Debug)]
pub(crate) struct Backoff {
    next: Duration,
}

impl Backoff {
    pub(crate) fn new() -> Self {
        Self { next: FIRST }
    }

    /// It works again: the next wait is a first one.
    pub(crate) fn reset(&mut self) {
        self.next = FIRST;
    }

    /// Waits, and will wait longer the next time.
    pub(crate) async fn pause(&mut self) {
        tokio::time::sleep(self.take()).await;
    }

    fn take(&mut self) -> Duration {
        let whole = self.next;
        self.next = (whole * 2).min(LONGEST);
        whole / 2 + (whole / 2).mul_f64(chance())
    }
}

/// From 0 to 1. A random uuid's first four bytes are all random.
fn chance() -> f64 {
    let (random, ..) = Uuid::new_v4().as_fields();
    f64::from(random) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_bound_and_start_over() {
        let mut backoff = Backoff::new();
        let waits: Vec<_> = (0..50).map(|_| backoff.take()).collect();
        assert!(waits[0] <= FIRST && waits[0] >= FIRST / 2);
        assert!(waits.iter().all(|wait| *wait <= LONGEST));
        assert!(waits[49] >= LONGEST / 2);
        backoff.reset();
        assert!(backoff.take() <= FIRST);
    }
}
