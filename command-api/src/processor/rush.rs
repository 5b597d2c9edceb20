//! Knows a rush: for several batches, many invests are decided together.

/// So many invests in a batch, in the running mean, make a rush: at fewer, answers do not wait for others' work.
const RUSH_BATCH_INVESTS: f64 = 50.0;
/// How much a batch counts in the mean. One slow commit gathers a large batch and is no rush; hundreds of invests at once are.
const BATCH_WEIGHT: f64 = 0.2;

/// The running mean of invests in a batch, since the queue was last empty.
#[derive(Debug, Default)]
pub(super) struct RushDetector {
    mean_invests: f64,
}

impl RushDetector {
    /// Nobody waits.
    pub(super) fn queue_is_empty(&mut self) {
        self.mean_invests = 0.0;
    }

    /// Whether it is a rush, now that so many invests are decided together. A batch of other commands says nothing.
    pub(super) fn is_rush(&mut self, invests: usize) -> bool {
        if invests == 0 {
            return false;
        }
        self.mean_invests += BATCH_WEIGHT * (invests as f64 - self.mean_invests);
        self.mean_invests >= RUSH_BATCH_INVESTS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_batches_one_after_another_are_a_rush() {
        let mut rush = RushDetector::default();
        assert_eq!([100; 5].map(|invests| rush.is_rush(invests)), [false, false, false, true, true]);
        rush.queue_is_empty();
        assert!(!rush.is_rush(100), "nobody waited meanwhile");
    }

    #[test]
    fn all_at_once_are_a_rush_and_a_slow_commit_is_none() {
        assert!(RushDetector::default().is_rush(300));
        let mut rush = RushDetector::default();
        assert!([20, 20, 100, 20, 20].into_iter().all(|invests| !rush.is_rush(invests)));
    }
}
