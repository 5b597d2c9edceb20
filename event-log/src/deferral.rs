//! Accepting goes first: while many invests are decided together at a processor of this process, its consumers are deferred, each up to
//! its own limit, unless somebody waits for what it keeps.
//!
//! Two facts are kept, both of this process alone: until when accepting goes first, and whose rows clients ask for with consistency
//! tokens. A process without a processor defers nothing.

use crate::feed::PartitionFeed;
use crate::ids::{Partition, Position};
use crate::log::Log;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// How long accepting goes first after a processor said so: longer than between two of its batches.
const RUSH_HOLD_DURATION: Duration = Duration::from_millis(250);
/// How long after somebody asked for a consumer's rows with a token it is not deferred: who asks once asks again.
const WANTED_DURATION: Duration = Duration::from_secs(60);
/// How often a deferred consumer looks whether the rush is over.
const CHECK_INTERVAL: Duration = Duration::from_millis(50);

/// Whether accepting goes first, and whose rows are waited for.
#[derive(Debug, Default)]
pub(crate) struct Deferrals {
    state: Mutex<State>,
    wanted: Notify,
}

/// One consumer's deferral in a partition.
#[derive(Debug)]
pub(crate) struct Deferral {
    consumer: &'static str,
    partition: Partition,
    limit: Duration,
    /// Up to here it is not put off: so far the log was when it was last let go.
    let_go_to: Position,
    let_go_at: Option<Instant>,
}

#[derive(Debug, Default)]
struct State {
    rush_until: Option<Instant>,
    wanted_until: HashMap<&'static str, Instant>,
}

impl Log {
    /// Many invests are decided together: for the next 250 ms accepting goes first.
    pub fn accepting_goes_first(&self) {
        self.deferrals().state().rush_until = Some(Instant::now() + RUSH_HOLD_DURATION);
    }

    /// A client asks for the rows of this consumer at a position: it is not deferred for a minute.
    pub fn is_waited_for(&self, consumer: &'static str) {
        self.deferrals().is_waited_for(consumer, Instant::now());
    }
}

impl Deferral {
    pub(crate) fn new(consumer: &'static str, partition: Partition, limit: Duration) -> Self {
        Self { consumer, partition, limit, let_go_to: 0, let_go_at: None }
    }

    /// Puts off the step after position `at` while accepting goes first: until `limit` after the consumer was last let go. What was in
    /// the log then is applied without a pause.
    pub(crate) async fn before_step(&mut self, log: &Log, at: Position) {
        if self.limit.is_zero() || at < self.let_go_to {
            return;
        }
        let latest = self.let_go_at.map_or_else(Instant::now, |at| at + self.limit);
        if log.deferrals().defer(self.consumer, latest).await {
            metrics::counter!("moa_consumer_deferrals_total", "consumer" => self.consumer).increment(1);
        }
        self.let_go_to = log.feed(self.partition).map_or(0, PartitionFeed::head);
        self.let_go_at = Some(Instant::now());
    }
}

impl Deferrals {
    /// Waits while accepting goes first and nobody waits for this consumer's rows, until `latest` at most. Returns whether it did.
    pub(crate) async fn defer(&self, consumer: &str, latest: Instant) -> bool {
        let mut is_deferred = false;
        loop {
            // Before the look, so that nobody who begins to wait meanwhile is missed.
            let wanted = self.wanted.notified();
            let now = Instant::now();
            if now >= latest || !self.is_deferred(consumer, now) {
                return is_deferred;
            }
            is_deferred = true;
            tokio::select! {
                () = tokio::time::sleep_until(latest.min(now + CHECK_INTERVAL)) => {}
                () = wanted => {}
            }
        }
    }

    fn is_deferred(&self, consumer: &str, now: Instant) -> bool {
        let state = self.state();
        state.rush_until.is_some_and(|until| now < until)
            && state.wanted_until.get(consumer).is_none_or(|until| now >= *until)
    }

    fn is_waited_for(&self, consumer: &'static str, now: Instant) {
        let known = self.state().wanted_until.insert(consumer, now + WANTED_DURATION);
        if known.is_none_or(|until| now >= until) {
            self.wanted.notify_waiters();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic while it was locked left two whole facts.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_a_rush() -> Deferrals {
        let deferrals = Deferrals::default();
        deferrals.state().rush_until = Some(Instant::now() + RUSH_HOLD_DURATION);
        deferrals
    }

    #[tokio::test(start_paused = true)]
    async fn a_consumer_is_deferred_until_the_rush_is_over() {
        let (deferrals, began) = (in_a_rush(), Instant::now());
        assert!(deferrals.defer("holdings", began + WANTED_DURATION).await);
        assert_eq!(began.elapsed(), RUSH_HOLD_DURATION);
        assert!(!deferrals.defer("holdings", began + WANTED_DURATION).await, "there is no rush");
        assert_eq!(began.elapsed(), RUSH_HOLD_DURATION);
    }

    #[tokio::test(start_paused = true)]
    async fn a_consumer_is_deferred_up_to_its_limit() {
        let (deferrals, began) = (in_a_rush(), Instant::now());
        assert!(deferrals.defer("holdings", began + Duration::from_millis(120)).await);
        assert_eq!(began.elapsed(), Duration::from_millis(120));
        assert!(!deferrals.defer("holdings", began).await, "its limit is over");
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_rows_ends_the_deferral_of_their_consumer_for_a_minute() {
        let (deferrals, began) = (in_a_rush(), Instant::now());
        let waits = async {
            tokio::time::sleep(Duration::from_millis(10)).await;
            deferrals.is_waited_for("holdings", Instant::now());
        };
        let (is_deferred, ()) = tokio::join!(deferrals.defer("holdings", began + WANTED_DURATION), waits);
        assert!(is_deferred && began.elapsed() == Duration::from_millis(10));
        tokio::time::sleep(WANTED_DURATION).await;
        deferrals.state().rush_until = Some(Instant::now() + RUSH_HOLD_DURATION);
        assert!(!deferrals.is_deferred("holdings", began + WANTED_DURATION));
        assert!(deferrals.is_deferred("holdings", Instant::now()), "nobody has asked for a minute");
        assert!(deferrals.is_deferred("event_index", began), "nobody waits for this one");
    }
}
