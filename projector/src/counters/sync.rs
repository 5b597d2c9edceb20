//! Keeps one partition's counters equal to `product_list`.

mod comparison;

use super::changes::Changes;
use super::connection::Connection;
use super::format::State;
use super::hash::{Counters, SwapResult};
use super::read::{read_all, read_products};
use super::{COUNTERS, VERIFY_INTERVAL, counters_key};
use comparison::Comparison;
use connection_pool::Pool;
use event_log::{Log, LogError, Partition, Position, RecordedEvent, RepeatedFault};
use metrics::counter;
use redis::RedisError;
use std::time::Duration;
use tokio::time::Instant;
use uuid::Uuid;

/// The most events whose products are read from the log at once. With more to catch up, a reload is cheaper.
const MAX_EVENTS_PER_READ: i64 = 16_000;
/// The least time between two log lines about counters of another log.
const FOREIGN_REPORT_INTERVAL: Duration = Duration::from_secs(60);
/// How often `product_list` may advance while its changes are collected; after that everything is reloaded, which never has to
/// chase it.
const MAX_CHASE_READS: usize = 4;

/// The result of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The counters are at this position, and no later event is known.
    At(Position),
    /// The counters have moved; the log has more, but `product_list` had not applied it yet.
    Moved,
    /// The log has more, but `product_list` has not applied it yet.
    Behind,
}

/// Why a step failed.
#[derive(Debug)]
pub(super) enum SyncError {
    Redis(RedisError),
    Database(sqlx::Error),
    Log(LogError),
}

pub(super) struct CounterSync {
    log: Log,
    pool: Pool,
    connection: Connection,
    counters: Counters,
    partition: Partition,
    /// The state in which this consumer left the hash; `None` before the first reload. Older states are not trusted.
    at: Option<State>,
    /// Where they were loaded from: another origin may have other rows at the same position.
    origin: Option<Origin>,
    /// When the state in Redis was last verified, and its event in the log.
    verified_at: Instant,
    comparison: Comparison,
    fault: RepeatedFault,
    /// When counters of another log were last reported.
    foreign_reported_at: Option<Instant>,
}

/// A database, and the live generation of `product_list` in it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Origin {
    database: String,
    generation: Option<i32>,
}

impl CounterSync {
    pub(super) fn new(log: Log, pool: Pool, connection: Connection, partition: Partition) -> Self {
        // The key is known at the first reload.
        let counters = Counters::new(connection.clone(), String::new(), Uuid::now_v7());
        let (at, origin, foreign_reported_at) = (None, None, None);
        let (verified_at, comparison) = (Instant::now(), Comparison::new());
        let fault = RepeatedFault::new(
            "a consumer cannot continue",
            format!("{COUNTERS}, partition {partition}"),
        );
        Self {
            log,
            pool,
            connection,
            counters,
            partition,
            at,
            origin,
            verified_at,
            comparison,
            fault,
            foreign_reported_at,
        }
    }

    /// Applies what follows, as far as `product_list` has advanced, which may be less far than `delivered` or the log.
    pub(super) async fn step(&mut self, delivered: &[RecordedEvent]) -> Result<Step, SyncError> {
        if self.verified_at.elapsed() >= VERIFY_INTERVAL {
            self.verify().await?;
        }
        let Some(at) = self.at.clone() else {
            return self.reload().await;
        };
        let mut changes = Changes::after(at.position);
        changes.add(delivered);
        if changes.is_empty() {
            let listed = read_products(&self.pool, self.partition, &[])
                .await?
                .position;
            if listed == at.position {
                let has_more = !self
                    .log
                    .raw_after(self.partition, listed, 1)
                    .await?
                    .is_empty();
                return Ok(if has_more {
                    Step::Behind
                } else {
                    Step::At(listed)
                });
            }
            self.read_until(&mut changes, listed).await?;
        }
        self.apply(&at, changes).await
    }

    /// Verifies that Redis has the state in which it was left, of the live generation and of this log, and that it equals
    /// `product_list`; if not, corrects it.
    pub(super) async fn verify(&mut self) -> Result<Step, SyncError> {
        let Some(at) = self.at.clone() else {
            return self.reload().await;
        };
        if Some(self.origin().await?) != self.origin || !self.is_in_log(&at).await? {
            return self.reload().await;
        }
        let text = self.counters.state_text().await?;
        self.verified_at = Instant::now();
        if text.as_ref() != Some(&at.text) {
            let state = text.and_then(|text| self.counters.read_state(&text));
            return self.reconcile(&at, state).await;
        }
        if self.differs().await? {
            counter!("moa_counters_differences_total").increment(1);
            let partition = self.partition;
            tracing::warn!(
                partition,
                "counters in Redis differ from product_list; they are reloaded"
            );
            return self.reload().await;
        }
        Ok(Step::At(at.position))
    }

    /// Writes the products that `changes` changed, and those that `product_list` has changed since, at its position.
    async fn apply(&mut self, at: &State, mut changes: Changes) -> Result<Step, SyncError> {
        for _ in 0..MAX_CHASE_READS {
            let snapshot = read_products(&self.pool, self.partition, &changes.products()).await?;
            if snapshot.position == at.position {
                return Ok(Step::Behind);
            }
            if snapshot.position < at.position
                || snapshot.position - at.position > MAX_EVENTS_PER_READ
            {
                // Counters ahead of `product_list` are from before it was set back; far behind it, a reload is faster.
                return self.reload().await;
            }
            if snapshot.position <= changes.end() {
                let listed = changes.listed(snapshot.position);
                return match self.counters.advance(at, &snapshot, listed).await? {
                    Ok(state) => Ok(self.moved(state, changes.end())),
                    Err(state) => self.reconcile(at, state).await,
                };
            }
            self.read_until(&mut changes, snapshot.position).await?;
        }
        self.reload().await
    }

    /// Redis has another state than it was left in. A state that another instance wrote is as good as our own, if it is of
    /// this log; any other was not written by a consumer, and everything is reloaded.
    async fn reconcile(&mut self, at: &State, found: Option<State>) -> Result<Step, SyncError> {
        let Some(state) = found else {
            return self.reload().await;
        };
        if !self.is_in_log(&state).await? {
            self.report_foreign();
            return self.reload().await;
        }
        if state.position < at.position || self.counters.wrote(&state) {
            return self.reload().await;
        }
        Ok(self.set_position(state))
    }

    /// Replaces the hash with all of `product_list`, unless the hash has become newer meanwhile.
    async fn reload(&mut self) -> Result<Step, SyncError> {
        self.at = None;
        // Read before the rows: a switch in between is noticed at the next verification.
        let origin = self.origin().await?;
        let log_id = self.log.identity().log_id;
        self.counters
            .set_key(counters_key(log_id, self.partition, &origin.database));
        self.origin = Some(origin);
        let seen = self.counters.state_text().await?;
        let snapshot = read_all(&self.pool, self.log.identity().partitions, self.partition).await?;
        match self.counters.replace(seen, &snapshot).await? {
            SwapResult::Replaced(state) => {
                counter!("moa_counters_reloads_total").increment(1);
                Ok(self.set_position(state))
            }
            SwapResult::Newer(Some(state)) if self.is_in_log(&state).await? => {
                Ok(self.set_position(state))
            }
            // It is not of this log: at the next attempt it is replaced.
            SwapResult::Newer(_) => Ok(Step::Behind),
            // The staged hash expired before it replaced the old one.
            SwapResult::Lost => Ok(Step::Behind),
        }
    }

    /// The database, and the live generation of `product_list`.
    async fn origin(&self) -> sqlx::Result<Origin> {
        let (database, generation) = sqlx::query_as(
            "select moa_database_id(),
                    (select generation from generations where projection = 'product_list' and state = 'LIVE')",
        )
        .fetch_one(&self.pool)
        .await?;
        Ok(Origin {
            database,
            generation,
        })
    }

    /// Whether the log has the event that `state` names, at its position.
    async fn is_in_log(&self, state: &State) -> sqlx::Result<bool> {
        sqlx::query_scalar("select coalesce(encode(moa_event_hash($1, $2), 'hex'), '') = $3 and ($2 = 0 or $3 <> '')")
            .bind(self.partition)
            .bind(state.position)
            .bind(&state.event_hash)
            .fetch_one(&self.pool)
            .await
    }

    fn set_position(&mut self, state: State) -> Step {
        let at = state.position;
        self.at = Some(state);
        Step::At(at)
    }

    fn moved(&mut self, state: State, known: Position) -> Step {
        let at = state.position;
        let stands = self.set_position(state);
        if at < known { Step::Moved } else { stands }
    }

    fn report_foreign(&mut self) {
        counter!("moa_counters_foreign_total").increment(1);
        if self
            .foreign_reported_at
            .is_none_or(|last| last.elapsed() >= FOREIGN_REPORT_INTERVAL)
        {
            self.foreign_reported_at = Some(Instant::now());
            let partition = self.partition;
            tracing::warn!(
                partition,
                "counters in Redis are of another log: if a copy of this database uses the same Redis, give it its own"
            );
        }
    }

    /// Adds the events that follow in the log, up to `last`: only which products they changed, as `product_list` has applied them already.
    async fn read_until(&self, changes: &mut Changes, last: Position) -> Result<(), LogError> {
        let read = self
            .log
            .changes_after(self.partition, changes.end(), last, MAX_EVENTS_PER_READ)
            .await?;
        read.iter().for_each(|change| {
            changes.add_one(change.position, change.product_id.get(), &change.event_type)
        });
        Ok(())
    }

    /// The last step succeeded.
    pub(super) fn clear_failure(&mut self) {
        self.connection.report_recovered(self.partition);
        self.fault.recovered();
    }

    /// Logs why a step failed.
    pub(super) fn report_failure(&mut self, fault: &SyncError) {
        match fault {
            SyncError::Redis(error) => self.connection.report_lost(self.partition, error),
            SyncError::Database(error) => self.fault.failed(error),
            SyncError::Log(error) => self.fault.failed(error),
        }
    }
}

impl From<RedisError> for SyncError {
    fn from(error: RedisError) -> Self {
        Self::Redis(error)
    }
}

impl From<sqlx::Error> for SyncError {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error)
    }
}

impl From<LogError> for SyncError {
    fn from(error: LogError) -> Self {
        Self::Log(error)
    }
}
