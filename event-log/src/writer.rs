//! The one way in. A writer of a partition appends a batch at the positions after the last one it has seen; the fence,
//! the unique key (partition, position), lets only one writer have them. Who lost takes the turn, a transaction
//! advisory lock of the partition whose queue is fair, reads what it missed, decides again and appends.
//!
//! So positions have no holes and commit order is reading order. Every append holds the turn while it commits: a writer
//! that waits for it gets it next, and a reader that holds it has seen every commit.

mod append;
mod probe;

use crate::chain::{self, Hash};
use crate::clock::{MAX_CLOCK_STEP, SteadyInstant, storable};
use crate::error::answered;
use crate::event::{Metadata, StoredEvent};
use crate::keys::{self, Claim, StoredAnswer};
use crate::log::{Log, Partition, Position};
use crate::{LogError, RecordedEvent, WriteStop};
use chrono::{DateTime, TimeDelta, Utc};
use domain::{ProductEvent, ProductId};
use sqlx::pool::PoolConnection;
use sqlx::{PgConnection, Postgres};
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

/// How many missed events one read takes; a turn is only kept when fewer were missed.
const TAIL_PAGE: i64 = 1_000;
/// Turns in a row that missed nothing, after which the partition counts as ours alone again.
const QUIET_TURNS: u32 = 16;
/// How long any one answer of the database is waited for. Above its own lock time-out, so that it speaks first.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(2_500);
/// The class of our advisory locks ("Moa"); the other half of the key is the partition.
const TURN_LOCK: i32 = 0x004d_6f61;

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
    /// The keys whose requests these events, or refusals, answer.
    pub claims: Vec<Claim>,
}

/// What became of a batch.
#[derive(Clone, Debug, PartialEq)]
pub enum Appended {
    /// It is in the log; or, of a batch without events: nobody wrote since the head it was decided on.
    Committed(Arc<[RecordedEvent]>),
    /// Somebody else wrote first. Nothing was written: take the turn and decide again.
    Lost,
    /// Some keys were taken. Nothing was written: give these their stored answers and decide the rest again.
    KeysTaken(Vec<StoredAnswer>),
}

/// The one who appends to a partition, on behalf of this process.
pub struct Writer {
    log: Log,
    partition: Partition,
    head: Head,
    /// The newest acceptance of a loss when this writer was opened: after a newer one it must not be used.
    loss_accepted: i64,
    connection: Option<PoolConnection<Postgres>>,
    has_turn: bool,
    /// What was read of others' events and not yet handed out: the head is past them.
    untold: Vec<RecordedEvent>,
    /// Turns still to be taken before the optimistic way is tried again; 0 when nobody else writes here.
    turns_due: u32,
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
    /// A writer that stands at the partition's head as it is now.
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
            hash: found.hash.and_then(|hash| hash.try_into().ok()).unwrap_or_else(|| log.genesis(partition)),
            recorded_at: found.recorded_at.unwrap_or(DateTime::UNIX_EPOCH),
        };
        log.clock().heard(said, said, asked);
        if is_far_ahead(head.recorded_at, said) {
            tracing::warn!(partition, last = %head.recorded_at, clock = %said,
                           "the last event was recorded by a clock that was ahead; windows are judged by the clock as it is");
        }
        let (connection, untold) = (None, Vec::new());
        Ok(Self { log, partition, head, loss_accepted, connection, has_turn: false, untold, turns_due: 0 })
    }

    /// The time to decide at: the database's, but never before the last event's. It is what a batch decided at it is
    /// recorded with. Where the last event is further ahead than clocks may differ, its clock was wrong: then windows are
    /// judged by the clock alone, and only what is recorded does not fall behind.
    pub fn now(&self) -> DateTime<Utc> {
        match self.log.clock().now() {
            Some(now) if is_far_ahead(self.head.recorded_at, now) => now,
            Some(now) => now.max(self.head.recorded_at),
            None => self.head.recorded_at,
        }
    }

    /// Whether an operator agreed to a loss since this writer was opened: what it knows may be what was lost. Open another.
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

    /// Whether another writer was about lately, so that the turn should be taken before deciding.
    pub fn is_contested(&self) -> bool {
        self.turns_due > 0
    }

    /// Whether the turn is held: then nobody else can append, and what is decided now can.
    pub fn has_turn(&self) -> bool {
        self.has_turn
    }

    /// Reads what was missed and takes the turn, which waits out whoever has it, a lost connection's commit included.
    ///
    /// Returns events to be taken over before deciding. Call again until [`Self::has_turn`]: a long tail is read without
    /// it. An append, or dropping the writer, gives it back; the database takes it back after 2 s. Not to be cancelled half
    /// way; who does calls [`Self::forget_connection`].
    pub async fn take_turn(&mut self) -> Result<Vec<RecordedEvent>, LogError> {
        if let Err(error) = self.try_turn().await {
            self.forget_connection();
            return Err(error);
        }
        let missed = std::mem::take(&mut self.untold);
        self.turns_due = if missed.is_empty() { self.turns_due.saturating_sub(1) } else { QUIET_TURNS };
        Ok(missed)
    }

    async fn try_turn(&mut self) -> Result<(), LogError> {
        self.give_turn_back().await?;
        if !self.read_tail().await? {
            return Ok(());
        }
        let partition = self.partition;
        self.has_turn = true;
        let connection = self.connection().await?;
        // Lock first, read in a second statement: one statement would read the snapshot from before the wait.
        answer(sqlx::query("begin").execute(&mut *connection)).await?;
        let lock = sqlx::query("select pg_advisory_xact_lock($1, $2)").bind(TURN_LOCK).bind(partition);
        answer(lock.execute(&mut *connection)).await?;
        if !self.read_tail().await? {
            self.give_turn_back().await?;
        }
        Ok(())
    }

    /// Gives the turn back unused.
    pub async fn give_turn_back(&mut self) -> Result<(), LogError> {
        if std::mem::take(&mut self.has_turn) {
            let connection = self.connection().await?;
            if let Err(error) = answer(sqlx::query("rollback").execute(&mut *connection)).await {
                self.forget_connection();
                return Err(error.into());
            }
        }
        Ok(())
    }

    /// Moves the head over events that others appended; says whether that was all of them. The head's own event is read
    /// again: were it another, or gone, what follows would not follow from what this writer knows.
    async fn read_tail(&mut self) -> Result<bool, LogError> {
        let (partition, position) = (self.partition, self.head.position);
        let connection = self.connection().await?;
        let rows = answer(crate::read::rows_after(connection, partition, position - 1, TAIL_PAGE + 1)).await?;
        let (head, rows) = rows.split_at(usize::from(position > 0).min(rows.len()));
        if position > 0 && head.first().map(|row| (row.position, row.hash)) != Some((position, self.head.hash)) {
            return Err(self.lost_tail());
        }
        for row in rows {
            if row.position != self.head.position + 1 {
                let position = self.head.position + 1;
                return Err(LogError::Broken { partition, position, reason: "there is a hole".into() });
            }
            self.untold.push(row.read()?);
            self.head = Head { position: row.position, hash: row.hash, recorded_at: row.recorded_at };
        }
        Ok((rows.len() as i64) < TAIL_PAGE)
    }

    /// The head is not there as it was: nothing may be appended to it.
    fn lost_tail(&self) -> LogError {
        let why = WriteStop::LostTail { partition: self.partition, seen: self.head.position };
        self.log.stop_writes(self.partition, why);
        why.into()
    }

    async fn connection(&mut self) -> Result<&mut PgConnection, LogError> {
        if self.connection.is_none() {
            self.connection = Some(self.log.pool().inner().acquire().await?);
        }
        self.connection.as_deref_mut().ok_or(LogError::Unavailable(sqlx::Error::PoolClosed))
    }

    /// After any fault, or when a call of this writer was given up half way: the connection is closed, not reused, and
    /// the next batch takes the turn.
    pub fn forget_connection(&mut self) {
        self.has_turn = false;
        self.turns_due = QUIET_TURNS;
        if let Some(connection) = self.connection.take() {
            drop(connection.detach());
        }
    }
}

/// Back in the pool, the connection would take the turn along.
impl Drop for Writer {
    fn drop(&mut self) {
        if self.has_turn {
            self.forget_connection();
        }
    }
}

/// Whether `recorded_at` is further ahead of the clock than two instances' clocks may differ.
fn is_far_ahead(recorded_at: DateTime<Utc>, now: DateTime<Utc>) -> bool {
    recorded_at - now > TimeDelta::from_std(MAX_CLOCK_STEP).unwrap_or(TimeDelta::MAX)
}

/// The database's answer, or the error that there was none in time.
async fn answer<T>(asked: impl Future<Output = sqlx::Result<T>>) -> sqlx::Result<T> {
    match tokio::time::timeout(ANSWER_TIMEOUT, asked).await {
        Ok(answer) => answer,
        Err(_) => Err(sqlx::Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, "no answer in time"))),
    }
}
