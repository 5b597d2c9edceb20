//! Polls PostgreSQL once a second: for the positions of `product_list`, which an answer from Redis must have reached; for the
//! time; and for whether the counters in Redis are of this log.
//!
//! A state in Redis is compared with the log: its position must not be ahead of `product_list`, which the counters copy, and
//! the event there must have the hash that it names. The writer of such a state is trusted until one of its states fails. A
//! writer copies one database, so the counters of a copy that diverged are never shown, however far ahead they are. States
//! that a trusted writer writes between two polls are shown without asking PostgreSQL, which may be away.

use chrono::{DateTime, TimeDelta, Utc};
use connection_pool::Pool;
use connection_pool::outage::POSTGRESQL;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use super::counters::{Counters, State};
use crate::restart::restart_on_panic;

/// How often PostgreSQL is polled, and so by how much Redis may be behind.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// How long a poll may take. A failed one changes nothing: while PostgreSQL is away, the last one counts.
const POLL_TIMEOUT: Duration = Duration::from_secs(2);
/// A time whose query took longer is not used: half of that may be error.
const MAX_CLOCK_ERROR: Duration = Duration::from_millis(50);
/// The error of a clock grows by this fraction (1/n) of its age: no synchronised clock drifts as fast.
const CLOCK_DRIFT_DIVISOR: u32 = 1_000;

/// The most writers of one partition that are trusted: instances of the projector, and some that have ended.
const MAX_TRUSTED_WRITERS: usize = 8;

/// The result of the last poll.
pub(super) struct PolledState {
    positions: Vec<i64>,
    /// By partition: the trusted writers, the latest last.
    writers: Vec<Vec<String>>,
    /// `None` until a poll was fast enough.
    clock: Option<Clock>,
}

/// The database's clock, as of one poll: its time now follows without another query.
#[derive(Clone, Copy)]
struct Clock {
    time: DateTime<Utc>,
    at: Instant,
    error: Duration,
}

impl PolledState {
    /// Whether `positions` have reached the polled ones.
    pub(super) fn is_reached_by(&self, positions: &[i64]) -> bool {
        self.positions.len() == positions.len()
            && self
                .positions
                .iter()
                .zip(positions)
                .all(|(seen, at)| at >= seen)
    }

    /// Whether the writer of a partition's state is trusted.
    pub(super) fn trusts(&self, partition: usize, state: &State) -> bool {
        self.writers
            .get(partition)
            .is_some_and(|writers| writers.contains(&state.by))
    }

    /// The database's time now, if it is known.
    pub(super) fn now(&self) -> Option<DateTime<Utc>> {
        self.clock.map(|clock| clock.now())
    }
}

impl Clock {
    fn now(&self) -> DateTime<Utc> {
        self.time + TimeDelta::from_std(self.at.elapsed()).unwrap_or(TimeDelta::zero())
    }

    fn error_now(&self) -> Duration {
        self.error + self.at.elapsed() / CLOCK_DRIFT_DIVISOR
    }
}

/// The poller, with the result of its last poll; clones share it.
#[derive(Clone, Default)]
pub(super) struct PostgresPoller {
    last: watch::Sender<Option<Arc<PolledState>>>,
}

impl PostgresPoller {
    /// `None` until PostgreSQL has answered for the first time.
    pub(super) fn last(&self) -> Option<Arc<PolledState>> {
        self.last.borrow().clone()
    }

    /// Polls for ever, also after a panic: the last poll must not be trusted for ever.
    pub(super) async fn poll_for_ever(
        self,
        pool: Pool,
        counters: Arc<Counters>,
        partitions: usize,
    ) {
        let start = || {
            self.clone()
                .poll(pool.clone(), counters.clone(), partitions)
        };
        restart_on_panic("the poll of PostgreSQL", start).await;
    }

    async fn poll(self, pool: Pool, counters: Arc<Counters>, partitions: usize) {
        let mut due = interval(POLL_INTERVAL);
        due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut is_logged = false;
        loop {
            due.tick().await;
            let polled = timeout(POLL_TIMEOUT, poll_once(&pool, &counters, partitions)).await;
            match polled.unwrap_or(Err(sqlx::Error::PoolTimedOut)) {
                Ok(seen) => {
                    is_logged = false;
                    self.accept(seen);
                }
                Err(error) if !is_logged && !POSTGRESQL.explains_failures() => {
                    is_logged = true;
                    tracing::warn!(%error, "PostgreSQL cannot be polled; Redis is trusted as of the last poll");
                }
                Err(_) => {}
            }
        }
    }

    /// Accepts a poll's result, with the more precise of the two clocks.
    fn accept(&self, seen: PollResult) {
        let last = self.last();
        let clocks = [seen.clock, last.as_ref().and_then(|last| last.clock)];
        let clock = clocks.into_iter().flatten().min_by_key(Clock::error_now);
        let mut writers = last.map(|last| last.writers.clone()).unwrap_or_default();
        writers.resize(seen.positions.len(), Vec::new());
        for (writers, (by, is_of_this_log)) in writers
            .iter_mut()
            .zip(seen.writers)
            .filter_map(|(all, one)| Some((all, one?)))
        {
            update_trust(writers, by, is_of_this_log);
        }
        self.last.send_replace(Some(Arc::new(PolledState {
            positions: seen.positions,
            writers,
            clock,
        })));
    }
}

/// Trusts a writer from now on, or no longer.
fn update_trust(writers: &mut Vec<String>, by: String, is_of_this_log: bool) {
    writers.retain(|known| *known != by);
    if is_of_this_log {
        writers.push(by);
        writers.drain(..writers.len().saturating_sub(MAX_TRUSTED_WRITERS));
    } else {
        metrics::counter!("moa_redis_foreign_counters_total").increment(1);
    }
}

/// What one poll read.
struct PollResult {
    positions: Vec<i64>,
    clock: Option<Clock>,
    /// By partition, where Redis has a state: its writer, and whether the state is of this log.
    writers: Vec<Option<(String, bool)>>,
}

async fn poll_once(
    pool: &Pool,
    counters: &Counters,
    partitions: usize,
) -> sqlx::Result<PollResult> {
    let mut connection = pool.acquire().await?;
    let database: String = sqlx::query_scalar("select moa_database_id()")
        .fetch_one(&mut connection)
        .await?;
    counters.use_database(&database);
    // Redis first: it follows `product_list`, so an earlier state of it cannot be ahead.
    let states = counters.states().await.unwrap_or_default();
    let stated: Vec<_> = states
        .iter()
        .map(|state| state.as_ref().map(|state| state.position))
        .collect();
    let asked = Instant::now();
    let (positions, hashes, time): (Vec<i64>, Vec<String>, _) = sqlx::query_as(concat!(
        "select ",
        positions_of!("'product_list'"),
        ", array(select coalesce(encode(moa_event_hash(n, ($2::bigint[])[n + 1]), 'hex'), '')
                      from generate_series(0, $1 - 1) as n
                      order by n),
                clock_timestamp()"
    ))
    .bind(i32::try_from(partitions).unwrap_or(i32::MAX))
    .bind(stated)
    .fetch_one(&mut connection)
    .await?;
    // When the server read its clock is not known; the middle is the best estimate.
    let error = asked.elapsed();
    let clock = Clock {
        time,
        at: asked + error / 2,
        error,
    };
    let judged = states.into_iter().zip(positions.iter().zip(&hashes));
    let writers = judged
        .map(|(state, (position, hash))| state.map(|state| writer_of(state, *position, hash)))
        .collect();
    Ok(PollResult {
        positions,
        clock: (error <= MAX_CLOCK_ERROR).then_some(clock),
        writers,
    })
}

/// The writer of a state, and whether the state is of the log in which the event at its position has this hash (none at 0) and
/// whose `product_list` is at `position`.
fn writer_of(state: State, position: i64, hash: &str) -> (String, bool) {
    let is_that_event = state.event_hash == hash && (state.position == 0) == hash.is_empty();
    (state.by, state.position <= position && is_that_event)
}
