//! Knows a rush: for several batches, many invests wait for their decision at the processors of this process, of whichever products.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// So many waiting invests, in the running mean, make a rush: at fewer, answers do not wait for others' work.
const RUSH_INVESTS: f64 = 50.0;
/// How much a batch counts in the mean. One slow commit gathers many invests and is no rush; hundreds at once are.
const BATCH_WEIGHT: f64 = 0.2;

/// The running mean of the invests that wait when a batch begins, since nobody waited.
#[derive(Debug, Default)]
pub(super) struct RushDetector {
    waiting: AtomicUsize,
    mean_waiting: Mutex<f64>,
}

/// An invest that waits for its decision, until this is dropped.
#[derive(Debug)]
pub(super) struct WaitingInvest(Arc<RushDetector>);

impl RushDetector {
    /// One more invest waits.
    pub(super) fn wait(self: &Arc<Self>) -> WaitingInvest {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        WaitingInvest(self.clone())
    }

    /// Whether it is a rush, now that a processor begins a batch with an invest in it. A batch of other commands says nothing.
    pub(super) fn is_rush(&self) -> bool {
        self.update_mean(|mean| {
            mean + BATCH_WEIGHT * (self.waiting.load(Ordering::Relaxed) as f64 - mean)
        }) >= RUSH_INVESTS
    }

    fn update_mean(&self, update: impl FnOnce(f64) -> f64) -> f64 {
        // A panic while it was locked left a number.
        let mut mean = self
            .mean_waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *mean = update(*mean);
        *mean
    }
}

impl Drop for WaitingInvest {
    fn drop(&mut self) {
        if self.0.waiting.fetch_sub(1, Ordering::Relaxed) == 1 {
            // Nobody waits.
            self.0.update_mean(|_| 0.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether it is a rush at each batch, when so many invests wait as it begins; one of them waits longer than all the others.
    fn is_rush(waiting: &[usize]) -> Vec<bool> {
        let detector = Arc::new(RushDetector::default());
        let _longest = detector.wait();
        let at_batch = |waiting: &usize| {
            let _waiting: Vec<_> = (1..*waiting).map(|_| detector.wait()).collect();
            detector.is_rush()
        };
        waiting.iter().map(at_batch).collect()
    }

    #[test]
    fn many_who_wait_at_one_batch_after_another_are_a_rush() {
        assert_eq!(is_rush(&[100; 5]), [false, false, false, true, true]);
    }

    #[test]
    fn all_at_once_are_a_rush_and_a_slow_commit_is_none() {
        assert_eq!(is_rush(&[300]), [true]);
        assert_eq!(is_rush(&[20, 20, 100, 20, 20]), [false; 5]);
    }

    #[test]
    fn it_is_over_when_nobody_waits_any_more() {
        let detector = Arc::new(RushDetector::default());
        let waiting: Vec<_> = (0..300).map(|_| detector.wait()).collect();
        assert!(detector.is_rush());
        drop(waiting);
        let _later: Vec<_> = (0..100).map(|_| detector.wait()).collect();
        assert!(!detector.is_rush());
    }
}
