//! What is printed of many waits.

use std::time::Duration;

/// Latencies, to be counted and ranked.
#[derive(Default)]
pub(crate) struct Latencies(Vec<Duration>);

impl Latencies {
    pub(crate) fn add(&mut self, wait: Duration) {
        self.0.push(wait);
    }

    pub(crate) fn merge(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// `p50 1.2 ms  p99 3.4 ms  max 5.6 ms`
    pub(crate) fn ranked(&mut self) -> String {
        self.0.sort_unstable();
        let at = |share: f64| {
            let index = ((self.0.len() as f64 * share) as usize).min(self.0.len().saturating_sub(1));
            self.0.get(index).map_or(0.0, |wait| wait.as_secs_f64() * 1e3)
        };
        format!("p50 {:.1} ms  p99 {:.1} ms  max {:.1} ms", at(0.5), at(0.99), at(1.0))
    }
}
