//! How fast the log grows: samples for all who look.

use chrono::Utc;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::Advance;

/// Samples that are kept: five minutes of them.
const MAX_SAMPLES: usize = 300;

/// The latest samples, the oldest first.
#[derive(Default)]
pub(crate) struct Samples(Mutex<VecDeque<Sample>>);

/// What happened in the second before.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Sample {
    /// Seconds since 1970.
    at: i64,
    pub(crate) accepted_per_second: f64,
    pub(crate) events_per_second: f64,
    pub(crate) unresolved: i64,
}

impl Samples {
    pub(crate) fn latest(&self) -> Option<Sample> {
        self.lock().back().copied()
    }

    /// Times, accepted invests a second, and events a second: a series each, as the chart takes them.
    pub(crate) fn series(&self) -> Value {
        let samples = self.lock();
        let series = |value: fn(&Sample) -> f64| samples.iter().map(value).collect::<Vec<_>>();
        json!([
            samples.iter().map(|sample| sample.at).collect::<Vec<_>>(),
            series(|sample| sample.accepted_per_second),
            series(|sample| sample.events_per_second),
        ])
    }

    pub(crate) fn push(&self, sample: Sample) {
        let mut samples = self.lock();
        if samples.len() == MAX_SAMPLES {
            samples.pop_front();
        }
        samples.push_back(sample);
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Sample>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sample {
    /// One of the series of the chart more.
    pub(crate) fn point(&self) -> Value {
        json!([self.at, self.accepted_per_second, self.events_per_second])
    }

    pub(crate) fn between(from: &Advance, to: &Advance, seconds: f64) -> Self {
        let appended: i64 = to
            .heads
            .iter()
            .zip(&from.heads)
            .map(|(to, from)| (to - from).max(0))
            .sum();
        let per_second = |count: i64| (count as f64 / seconds * 10.0).round() / 10.0;
        Self {
            at: Utc::now().timestamp(),
            accepted_per_second: per_second(to.accepted),
            events_per_second: per_second(appended),
            unresolved: to.unresolved,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_what_came_by_the_time_it_took() {
        let from = Advance {
            heads: vec![10, 5],
            ..Advance::default()
        };
        let to = Advance {
            heads: vec![30, 5],
            accepted: 11,
            unresolved: 3,
        };
        let sample = Sample::between(&from, &to, 2.0);
        assert_eq!(
            (
                sample.accepted_per_second,
                sample.events_per_second,
                sample.unresolved
            ),
            (5.5, 10.0, 3)
        );
        // A database that was set back has not appended less than nothing.
        assert_eq!(Sample::between(&to, &from, 1.0).events_per_second, 0.0);
    }

    #[test]
    fn the_oldest_samples_go() {
        let samples = Samples::default();
        for at in 0..=MAX_SAMPLES as i64 {
            samples.push(Sample {
                at,
                ..Sample::default()
            });
        }
        let series = samples.series();
        assert_eq!(series[0].as_array().map(Vec::len), Some(MAX_SAMPLES));
        assert_eq!(
            (&series[0][0], samples.latest().map(|sample| sample.at)),
            (&json!(1), Some(MAX_SAMPLES as i64))
        );
    }
}
