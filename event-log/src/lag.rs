//! How far each consumer of this process is behind the log, in events and in seconds: the gauges `moa_consumer_lag_events` and
//! `moa_consumer_lag_seconds`.
//!
//! A consumer's lag in seconds is the age of the first event that it has not applied, as this process came to know of it: of events from
//! before the process began, the time since then.

use log_format::{Partition, Position};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;
use tokio::time::Instant;

/// The least time between two heads that are kept: how exact a lag in seconds is.
const SAMPLE_INTERVAL: Duration = Duration::from_millis(100);
/// The most heads of a partition that are kept, before those are joined whose times are about the same. A year of them stays below.
const MAX_SAMPLES: usize = 512;
/// A lag is shown too large by 1/10 at most.
const MAX_INEXACTNESS_DIVISOR: u32 = 10;
/// How often the gauges are set.
const SHOW_INTERVAL: Duration = Duration::from_secs(1);

/// The lags of the consumers of one process.
#[derive(Debug)]
pub(crate) struct Lags(Mutex<State>);

#[derive(Debug)]
struct State {
    heads: Vec<Heads>,
    followers: Vec<Weak<Follower>>,
    shown_at: Option<Instant>,
}

/// A consumer of one partition; its gauges are set as long as this lives.
#[derive(Debug)]
pub(crate) struct Follower {
    consumer: &'static str,
    partition: Partition,
    position: AtomicI64,
}

/// When a partition's head was known to be where, both rising.
#[derive(Debug, Default)]
struct Heads(Vec<(Position, Instant)>);

impl Follower {
    /// The consumer has applied everything up to here.
    pub(crate) fn is_at(&self, position: Position) {
        self.position.store(position, Ordering::Relaxed);
    }
}

impl Lags {
    pub(crate) fn new(partitions: i32) -> Self {
        let heads = (0..partitions).map(|_| Heads::default()).collect();
        Self(Mutex::new(State {
            heads,
            followers: Vec::new(),
            shown_at: None,
        }))
    }

    /// Follows a consumer, of which nothing is shown before it says where it is.
    pub(crate) fn follow(&self, consumer: &'static str, partition: Partition) -> Arc<Follower> {
        let follower = Arc::new(Follower {
            consumer,
            partition,
            position: AtomicI64::new(-1),
        });
        let mut state = self.state();
        state.followers.retain(|known| known.strong_count() > 0);
        state.followers.push(Arc::downgrade(&follower));
        follower
    }

    /// The heads are known to be here now.
    pub(crate) fn observe(&self, heads: &[Position], now: Instant) {
        let mut state = self.state();
        for (known, head) in state.heads.iter_mut().zip(heads) {
            known.observe(*head, now);
        }
        if state.shown_at.is_none_or(|at| now - at >= SHOW_INTERVAL) {
            state.shown_at = Some(now);
            state.show(now);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn show(&self, now: Instant) {
        for follower in self.followers.iter().filter_map(Weak::upgrade) {
            let position = follower.position.load(Ordering::Relaxed);
            let heads = usize::try_from(follower.partition)
                .ok()
                .and_then(|partition| self.heads.get(partition));
            let (Some(heads), 0..) = (heads, position) else {
                continue;
            };
            let labels = [
                ("consumer", follower.consumer.to_owned()),
                ("partition", follower.partition.to_string()),
            ];
            let (events, time) = heads.lag(position, now);
            metrics::gauge!("moa_consumer_lag_events", &labels).set(events as f64);
            metrics::gauge!("moa_consumer_lag_seconds", &labels).set(time.as_secs_f64());
        }
    }
}

impl Heads {
    fn observe(&mut self, head: Position, now: Instant) {
        // After a loss was accepted, the log goes on at an earlier position.
        if self.0.last().is_some_and(|(known, _)| head < *known) {
            self.0.clear();
        }
        let is_new = self.0.last().is_none_or(|(known, _)| head > *known);
        let is_due = self
            .0
            .last()
            .is_none_or(|(_, at)| now - *at >= SAMPLE_INTERVAL);
        if is_new && is_due {
            self.0.push((head, now));
        } else if let (true, Some((known, _))) = (is_new, self.0.last_mut()) {
            // The time stays that of the first of them.
            *known = head;
        }
        if self.0.len() > MAX_SAMPLES {
            self.thin(now);
        }
    }

    /// Joins neighbours that are close to each other for their age. The time of the first stays: a lag is never shown too small.
    fn thin(&mut self, now: Instant) {
        let ends: Vec<_> = self
            .0
            .iter()
            .skip(1)
            .map(|(_, at)| *at)
            .chain([now])
            .collect();
        let mut kept: Vec<(Position, Instant)> = Vec::with_capacity(MAX_SAMPLES);
        for ((head, at), end) in self.0.drain(..).zip(ends) {
            match kept.last_mut() {
                Some((last, since)) if (end - *since) * MAX_INEXACTNESS_DIVISOR <= now - *since => {
                    *last = head
                }
                _ => kept.push((head, at)),
            }
        }
        self.0 = kept;
    }

    /// How many events follow `position`, and the age of the first of them.
    fn lag(&self, position: Position, now: Instant) -> (Position, Duration) {
        let head = self.0.last().map_or(0, |(head, _)| *head);
        let first = self.0.partition_point(|(known, _)| *known <= position);
        let since = self.0.get(first).map_or(now, |(_, at)| *at);
        ((head - position).max(0), now - since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE_GAP: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn the_lag_is_the_age_of_the_first_event_that_is_not_applied() {
        let (began, mut heads) = (Instant::now(), Heads::default());
        for second in 0..10_u32 {
            heads.observe(100 * i64::from(second), began + second * SAMPLE_GAP);
        }
        let now = began + 10 * SAMPLE_GAP;
        for (position, expected) in [
            (900, (0, Duration::ZERO)),
            (950, (0, Duration::ZERO)),
            (899, (1, SAMPLE_GAP)),
            (500, (400, 4 * SAMPLE_GAP)),
            (499, (401, 5 * SAMPLE_GAP)),
            (0, (900, 9 * SAMPLE_GAP)),
        ] {
            assert_eq!(heads.lag(position, now), expected, "{position}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_history_of_heads_is_bounded_and_keeps_its_beginning() {
        let (began, mut heads) = (Instant::now(), Heads::default());
        let polls = 100_000_u32;
        for poll in 1..=polls {
            heads.observe(i64::from(poll), began + poll * Duration::from_millis(50));
            assert!(heads.0.len() <= MAX_SAMPLES);
        }
        let now = began + polls * Duration::from_millis(50);
        for lag in [1_u32, 10, 100, 1_000, 4_900] {
            let position = i64::from(polls) - i64::from(lag) * 20;
            let (events, time) = heads.lag(position, now);
            let wanted = f64::from(lag);
            assert_eq!(events, i64::from(lag) * 20);
            let most = wanted + SAMPLE_INTERVAL.as_secs_f64() + wanted / 10.0;
            assert!(
                (wanted - 0.05..=most).contains(&time.as_secs_f64()),
                "{lag}: {time:?}"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_accepted_loss_begins_again() {
        let (now, mut heads) = (Instant::now(), Heads::default());
        heads.observe(100, now);
        heads.observe(40, now + SAMPLE_GAP);
        assert_eq!(heads.lag(40, now + 2 * SAMPLE_GAP), (0, Duration::ZERO));
        assert_eq!(heads.lag(39, now + 2 * SAMPLE_GAP), (1, SAMPLE_GAP));
    }
}
