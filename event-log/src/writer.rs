//! Appends to one partition. Optimistic concurrency: a batch takes the positions after the last one this writer has seen, and the
//! unique key (partition, position) lets one of two concurrent writers win. The loser acquires the partition's append lock (a
//! PostgreSQL transaction-level advisory lock, FIFO), reads the events it missed, decides again and appends.
//!
//! So positions have no gaps, and commit order is position order. Every append holds the append lock until it commits: a writer
//! that waits for the lock gets it next, and a reader that holds it has seen every commit.

mod append;
mod probe;

use crate::append_hint::HintBudget;
use crate::clock::{MAX_CLOCK_STEP, SteadyInstant, storable};
use crate::error::answered;
use crate::event::Metadata;
use crate::idempotency::{self, IdempotencyRecord};
use crate::log::Log;
use crate::{LogError, RecordedEvent, WriteStop};
use chrono::{DateTime, TimeDelta, Utc};
use domain::{ProductEvent, ProductId};
use log_format::{Hash, Partition, Position, RawEvent, RawEventRef};
use sqlx::pool::PoolConnection;
use sqlx::{PgConnection, Postgres};
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

/// Missed events that one read returns; the append lock is kept only when fewer were missed.
const TAIL_PAGE_EVENTS: i64 = 1_000;
/// After so many locked appends in a row that missed nothing, this writer appends optimistically again.
const QUIET_APPENDS: u32 = 16;
/// Bounds one call on the client's side. Longer than the server's lock time-out, so that the server answers first.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(2_500);
/// First half of the append lock's key ("Moa"); the second half is the partition. `docs/log-format.md` publishes it.
const APPEND_LOCK_CLASS: i32 = 0x004d_6f61;

/// An event to be appended.
#[derive(Clone, Debug, PartialEq)]
pub struct NewEvent {
    /// The product it happens to; must live in the writer's partition.
    pub product_id: ProductId,
    /// Its place in the product's stream.
    pub sequence: i64,
    /// What happens.
    pub event: ProductEvent,
    /// What else is known of it.
    pub metadata: Metadata,
}

/// What is committed at once or not at all.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    /// In order.
    pub events: Vec<NewEvent>,
    /// The idempotency keys of the requests that these events, or refusals, answer.
    pub keys: Vec<IdempotencyRecord>,
}

/// What became of a batch.
#[derive(Clone, Debug, PartialEq)]
pub enum Appended {
    /// It is in the log. For a batch without events: nobody has written since the head it was decided on.
    Committed(Arc<[RecordedEvent]>),
    /// Another writer has appended first. Nothing was written: acquire the append lock and decide again.
    Conflict,
    /// Some keys are in use. Nothing was written: replay the stored outcomes of these and decide the rest again.
    KeysTaken(Vec<IdempotencyRecord>),
}

/// Appends to one partition on behalf of this process.
pub struct Writer {
    log: Log,
    partition: Partition,
    head: Head,
    /// The newest acceptance of a loss when this writer was opened: after a newer one it must not be used.
    loss_accepted: i64,
    connection: Option<PoolConnection<Postgres>>,
    /// Whether the lock was acquired before the batch is decided, as after a conflict. Else the append's own statement acquires it.
    holds_append_lock: bool,
    /// Events of other writers that were read and not yet returned to the caller: the head is past them.
    unreported_events: Vec<RecordedEvent>,
    /// Appends that still acquire the lock first; 0 while nobody else writes to this partition.
    locked_appends_left: u32,
    hints: HintBudget,
}

#[derive(Clone, Copy)]
struct Head {
    position: Position,
    hash: Hash,
    recorded_at: DateTime<Utc>,
}

/// The last event of a partition, if it has any, and the database's time.
#[derive(sqlx::FromRow)]
struct FoundHead {
    said: DateTime<Utc>,
    position: Option<Position>,
    hash: Option<Vec<u8>>,
    recorded_at: Option<DateTime<Utc>>,
}

impl Writer {
    /// A writer at the partition's current head.
    pub async fn open(log: Log, partition: Partition) -> Result<Self, LogError> {
        let loss_accepted = log.loss_accepted();
        let asked = SteadyInstant::now();
        let found: FoundHead = sqlx::query_as(
            "select clock_timestamp() as said, e.position, e.hash, e.recorded_at
               from (select $1::integer as partition) asked
               left join lateral (select position, hash, recorded_at from events
                                   where partition = asked.partition order by position desc limit 1) e on true",
        )
        .bind(partition)
        .fetch_one(log.pool())
        .await?;
        let said = found.said;
        let head = Head {
            position: found.position.unwrap_or(0),
            hash: found
                .hash
                .and_then(|hash| hash.try_into().ok())
                .unwrap_or_else(|| log.genesis(partition)),
            recorded_at: found.recorded_at.unwrap_or(DateTime::UNIX_EPOCH),
        };
        log.clock().observe(said, said, asked);
        if is_far_ahead(head.recorded_at, said) {
            tracing::warn!(partition, last = %head.recorded_at, clock = %said,
                           "the last event was recorded by a clock that was ahead; windows are judged by the clock as it is");
        }
        let (connection, unreported_events) = (None, Vec::new());
        Ok(Self {
            log,
            partition,
            head,
            loss_accepted,
            connection,
            holds_append_lock: false,
            unreported_events,
            locked_appends_left: 0,
            hints: HintBudget::default(),
        })
    }

    /// The time to decide at: the database's, but never before the last event's. Events are recorded with it. Where the last
    /// event is further ahead than clocks may differ, its clock was wrong: then windows are judged by the clock alone, and only
    /// `recorded_at` does not go back.
    pub fn now(&self) -> DateTime<Utc> {
        match self.log.clock().now() {
            Some(now) if is_far_ahead(self.head.recorded_at, now) => now,
            Some(now) => now.max(self.head.recorded_at),
            None => self.head.recorded_at,
        }
    }

    /// Whether an operator has accepted a loss since this writer was opened: its state may include lost events. Open another.
    pub fn is_outdated(&self) -> bool {
        self.log.loss_accepted() != self.loss_accepted
    }

    /// Why this partition takes no writes; `None` while it does.
    pub fn stop(&self) -> Option<WriteStop> {
        self.log.write_stop(self.partition)
    }

    /// Where this writer appends.
    pub fn partition(&self) -> Partition {
        self.partition
    }

    /// The last position this writer has seen.
    pub fn position(&self) -> Position {
        self.head.position
    }

    /// Whether another writer appended recently, so that the caller should acquire the append lock before it decides.
    pub fn is_contested(&self) -> bool {
        self.locked_appends_left > 0
    }

    /// Whether this writer holds the append lock: nobody else can append, and what is decided now has no conflict.
    pub fn holds_append_lock(&self) -> bool {
        self.holds_append_lock
    }

    /// Reads the missed events and acquires the append lock, after whoever holds it has committed, a lost connection included.
    ///
    /// Returns the missed events, to be applied before deciding. Call it again until [`Self::holds_append_lock`]: a long tail is
    /// read without the lock. An append, or dropping the writer, releases it; the database does so after 2 s. Do not cancel it;
    /// a caller that does must call [`Self::discard_connection`].
    pub async fn acquire_append_lock(&mut self) -> Result<Vec<RecordedEvent>, LogError> {
        if let Err(error) = self.try_append_lock().await {
            self.discard_connection();
            return Err(error);
        }
        let missed = std::mem::take(&mut self.unreported_events);
        self.locked_appends_left = if missed.is_empty() {
            self.locked_appends_left.saturating_sub(1)
        } else {
            QUIET_APPENDS
        };
        Ok(missed)
    }

    async fn try_append_lock(&mut self) -> Result<(), LogError> {
        self.release_append_lock().await?;
        if !self.read_tail().await? {
            return Ok(());
        }
        let partition = self.partition;
        self.holds_append_lock = true;
        let connection = self.connection().await?;
        // Lock first, read in a second statement: one statement would read the snapshot from before the wait.
        answer(sqlx::query("begin").execute(&mut *connection)).await?;
        let lock = sqlx::query("select pg_advisory_xact_lock($1, $2)")
            .bind(APPEND_LOCK_CLASS)
            .bind(partition);
        answer(lock.execute(&mut *connection)).await?;
        if !self.read_tail().await? {
            self.release_append_lock().await?;
        }
        Ok(())
    }

    /// Releases the append lock unused.
    pub async fn release_append_lock(&mut self) -> Result<(), LogError> {
        if std::mem::take(&mut self.holds_append_lock) {
            let connection = self.connection().await?;
            if let Err(error) = answer(sqlx::query("rollback").execute(&mut *connection)).await {
                self.discard_connection();
                return Err(error.into());
            }
        }
        Ok(())
    }

    /// Moves the head over events of other writers; returns whether it has reached the last one. It reads the head's own event
    /// again: if that has changed or is gone, the log has lost events.
    async fn read_tail(&mut self) -> Result<bool, LogError> {
        let (partition, position) = (self.partition, self.head.position);
        let connection = self.connection().await?;
        let rows = answer(crate::read::rows_after(
            connection,
            partition,
            position - 1,
            TAIL_PAGE_EVENTS + 1,
        ))
        .await?;
        let (head, rows) = rows.split_at(usize::from(position > 0).min(rows.len()));
        if position > 0
            && head.first().map(|row| (row.position, row.hash)) != Some((position, self.head.hash))
        {
            return Err(self.lost_tail());
        }
        for row in rows {
            if row.position != self.head.position + 1 {
                let position = self.head.position + 1;
                return Err(LogError::Broken {
                    partition,
                    position,
                    reason: "there is a hole".into(),
                });
            }
            self.unreported_events.push(RecordedEvent::try_from(row)?);
            self.head = Head {
                position: row.position,
                hash: row.hash,
                recorded_at: row.recorded_at,
            };
        }
        Ok((rows.len() as i64) < TAIL_PAGE_EVENTS)
    }

    /// The head's event has changed or is gone: stops writes to this partition.
    fn lost_tail(&self) -> LogError {
        let why = WriteStop::LostTail {
            partition: self.partition,
            seen: self.head.position,
        };
        self.log.stop_writes(self.partition, why);
        why.into()
    }

    async fn connection(&mut self) -> Result<&mut PgConnection, LogError> {
        if self.connection.is_none() {
            self.connection = Some(self.log.pool().inner().acquire().await?);
        }
        self.connection
            .as_deref_mut()
            .ok_or(LogError::Unavailable(sqlx::Error::PoolClosed))
    }

    /// Closes the connection, after a fault or a cancelled call. The next batch acquires the append lock first.
    pub fn discard_connection(&mut self) {
        self.holds_append_lock = false;
        self.locked_appends_left = QUIET_APPENDS;
        if let Some(connection) = self.connection.take() {
            drop(connection.detach());
        }
    }
}

/// In the pool, the connection would keep the append lock.
impl Drop for Writer {
    fn drop(&mut self) {
        if self.holds_append_lock {
            self.discard_connection();
        }
    }
}

/// Whether `recorded_at` is further ahead of the clock than two instances' clocks may differ.
fn is_far_ahead(recorded_at: DateTime<Utc>, now: DateTime<Utc>) -> bool {
    recorded_at - now > TimeDelta::from_std(MAX_CLOCK_STEP).unwrap_or(TimeDelta::MAX)
}

/// The database's answer, or an error when there is none in time.
async fn answer<T>(asked: impl Future<Output = sqlx::Result<T>>) -> sqlx::Result<T> {
    match tokio::time::timeout(ANSWER_TIMEOUT, asked).await {
        Ok(answer) => answer,
        Err(_) => Err(sqlx::Error::Io(std::io::Error::new(
            std::io::ErrorKind::TimedOut,
            "no answer in time",
        ))),
    }
}
