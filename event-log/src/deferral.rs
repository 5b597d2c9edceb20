//! Accepting goes first: in a rush, while many invests are decided together at a processor of this process, its consumers are deferred, each
//! up to its own limit, unless clients ask for its rows with consistency tokens.
//!
//! Two facts are kept, both of this process alone: until when it is a rush, and whose rows have such readers. A process without a processor
//! defers nothing.

use crate::feed::PartitionFeed;
use log_format::Position;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// How long a rush lasts after a processor noted it: longer than from one of its batches to the next.
const RUSH_HOLD_DURATION: Duration = Duration::from_millis(250);
/// How long a consumer is not deferred after a reader asked for its rows with a token: who asks once asks again.
const READER_HOLD_DURATION: Duration = Duration::from_secs(60);
/// How often a deferred consumer looks whether the rush is over.
const CHECK_INTERVAL: Duration = Duration::from_millis(50);

/// Whether it is a rush, and whose rows have readers with tokens.
#[derive(Debug, Default)]
pub(crate) struct Deferrals {
    state: Mutex<State>,
    reader: Notify,
}

/// One consumer's deferral in a partition.
#[derive(Debug)]
pub(crate) struct Deferral {
    consumer: &'static str,
    limit: Duration,
    /// Up to here it is not put off: so far the log was when it was last let go.
    let_go_to: Position,
    let_go_at: Option<Instant>,
}

#[derive(Debug, Default)]
struct State {
    rush_until: Option<Instant>,
    read_until: HashMap<&'static str, Instant>,
}

impl Deferral {
    pub(crate) fn new(consumer: &'static str, limit: Duration) -> Self {
        Self {
            consumer,
            limit,
            let_go_to: 0,
            let_go_at: None,
        }
    }

    /// Puts off the step after position `at` in a rush: until `limit` after the consumer was last let go. What was in the log then is
    /// applied without a pause.
    pub(crate) async fn before_step(
        &mut self,
        deferrals: &Deferrals,
        feed: Option<&PartitionFeed>,
        at: Position,
    ) {
        let Some(latest) = self.latest(at, Instant::now()) else {
            return;
        };
        if deferrals.defer(self.consumer, latest).await {
            metrics::counter!("moa_consumer_deferrals_total", "consumer" => self.consumer)
                .increment(1);
        }
        self.let_go(feed.map_or(0, PartitionFeed::head), Instant::now());
    }

    /// When the step after `at` begins at the latest; `None` when it is not to be put off.
    fn latest(&self, at: Position, now: Instant) -> Option<Instant> {
        let may_wait = !self.limit.is_zero() && at >= self.let_go_to;
        may_wait.then(|| {
            self.let_go_at
                .map_or(now, |let_go_at| let_go_at + self.limit)
        })
    }

    fn let_go(&mut self, head: Position, now: Instant) {
        (self.let_go_to, self.let_go_at) = (head, Some(now));
    }
}

impl Deferrals {
    /// Waits while it is a rush and this consumer's rows have no readers, until `latest` at most. Returns whether it did.
    pub(crate) async fn defer(&self, consumer: &str, latest: Instant) -> bool {
        let mut is_deferred = false;
        loop {
            // Before the look, so that no reader who comes meanwhile is missed.
            let reader = self.reader.notified();
            let now = Instant::now();
            if now >= latest || !self.is_deferred(consumer, now) {
                return is_deferred;
            }
            is_deferred = true;
            tokio::select! {
                () = tokio::time::sleep_until(latest.min(now + CHECK_INTERVAL)) => {}
                () = reader => {}
            }
        }
    }

    fn is_deferred(&self, consumer: &str, now: Instant) -> bool {
        let state = self.state();
        state.rush_until.is_some_and(|until| now < until)
            && state
                .read_until
                .get(consumer)
                .is_none_or(|until| now >= *until)
    }

    pub(crate) fn note_rush(&self, now: Instant) {
        self.state().rush_until = Some(now + RUSH_HOLD_DURATION);
    }

    pub(crate) fn note_reader(&self, consumer: &'static str, now: Instant) {
        let known = self
            .state()
            .read_until
            .insert(consumer, now + READER_HOLD_DURATION);
        if known.is_none_or(|until| now >= until) {
            self.reader.notify_waiters();
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
        assert!(
            deferrals
                .defer("holdings", began + READER_HOLD_DURATION)
                .await
        );
        assert_eq!(began.elapsed(), RUSH_HOLD_DURATION);
        assert!(
            !deferrals
                .defer("holdings", began + READER_HOLD_DURATION)
                .await,
            "there is no rush"
        );
        assert_eq!(began.elapsed(), RUSH_HOLD_DURATION);
    }

    #[tokio::test(start_paused = true)]
    async fn a_consumer_is_deferred_up_to_its_limit() {
        let (deferrals, began) = (in_a_rush(), Instant::now());
        assert!(
            deferrals
                .defer("holdings", began + Duration::from_millis(120))
                .await
        );
        assert_eq!(began.elapsed(), Duration::from_millis(120));
        assert!(
            !deferrals.defer("holdings", began).await,
            "its limit is over"
        );
    }

    #[test]
    fn what_was_there_when_a_consumer_was_let_go_is_applied_without_a_pause() {
        let (limit, now) = (Duration::from_secs(10), Instant::now());
        let mut deferral = Deferral::new("holdings", limit);
        assert_eq!(
            deferral.latest(0, now),
            Some(now),
            "the first step is not put off"
        );
        deferral.let_go(9_000, now);
        assert_eq!(
            [0, 4_000, 8_999].map(|at| deferral.latest(at, now)),
            [None; 3]
        );
        assert_eq!(deferral.latest(9_000, now + limit / 2), Some(now + limit));
        assert_eq!(
            Deferral::new("product_list", Duration::ZERO).latest(0, now),
            None
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_ends_the_deferral_of_a_consumer_for_a_minute() {
        let (deferrals, began) = (in_a_rush(), Instant::now());
        let reads = async {
            tokio::time::sleep(Duration::from_millis(10)).await;
            deferrals.note_reader("holdings", Instant::now());
        };
        let (is_deferred, ()) = tokio::join!(
            deferrals.defer("holdings", began + READER_HOLD_DURATION),
            reads
        );
        assert!(is_deferred && began.elapsed() == Duration::from_millis(10));
        tokio::time::sleep(READER_HOLD_DURATION).await;
        deferrals.state().rush_until = Some(Instant::now() + RUSH_HOLD_DURATION);
        assert!(!deferrals.is_deferred("holdings", began + READER_HOLD_DURATION));
        assert!(
            deferrals.is_deferred("holdings", Instant::now()),
            "nobody has asked for a minute"
        );
        assert!(
            deferrals.is_deferred("event_index", began),
            "this one has no reader"
        );
    }
}
