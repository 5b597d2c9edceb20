//! Reading the log in bulk: whole ranges of positions by binary COPY, each row read from the bytes it came in.

mod rows;
mod some;
mod stored;

use crate::log::{Log, Partition, Position};
use crate::{LogError, RecordedEvent};
use connection_pool::{Connection, Pool};
use futures::TryStreamExt as _;
use rows::{Malformed, Rows};
pub use stored::{StoredReader, StoredRows, Unreadable};

/// Rows are wanted in the order of a key that they nearly lie in. Statistics see the partitions mixed, and would have every
/// range gathered by workers and sorted, at three times the price. Compiling a range's statement costs more than it saves.
const ALONG_THE_KEY: &str = "select set_config('enable_seqscan', 'off', false),
                                    set_config('enable_bitmapscan', 'off', false),
                                    set_config('enable_sort', 'off', false),
                                    set_config('max_parallel_workers_per_gather', '0', false),
                                    set_config('jit', 'off', false)";

/// Room that is made for a range's events before they come, at most.
const ROOM: usize = 50_000;

/// Reads the log fast, in position ranges, over a connection of its own. For two ranges at once take two readers.
pub struct BulkReader {
    pool: Pool,
    /// `None` after a read that was not finished: what the database still sends to it is nobody's.
    connection: Option<Connection>,
}

impl Log {
    /// A reader for large parts of the log. It keeps one of the pool's connections until it is dropped.
    pub async fn bulk(&self) -> Result<BulkReader, LogError> {
        let pool = self.pool().clone();
        let connection = Some(connection(&pool).await?);
        Ok(BulkReader { pool, connection })
    }
}

impl BulkReader {
    /// The events of `partition` after `after` up to and with `upto`, in order and without a hole; fewer when one of them
    /// is missing or cannot be read: those before it. [`LogError::Broken`] names it when it is the first, so go on after
    /// the last event that was given until `upto` is reached. They are in memory at once, and one statement's time-out
    /// bounds the read: 10,000 to 50,000 are a good number.
    pub async fn read(
        &mut self,
        partition: Partition,
        after: Position,
        upto: Position,
    ) -> Result<Vec<RecordedEvent>, LogError> {
        if upto <= after {
            return Ok(Vec::new());
        }
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => connection(&self.pool).await?,
        };
        match copy(&mut connection, partition, after, upto).await? {
            (events, None) => {
                self.connection = Some(connection);
                Ok(events)
            }
            (events, Some(broken)) if events.is_empty() => Err(broken),
            // What comes before it is good; the next read meets it first.
            (events, Some(_)) => Ok(events),
        }
    }
}

/// A connection that never goes back to the pool: its settings are for us alone, and the rest of a COPY would be taken for
/// another's answer.
async fn connection(pool: &Pool) -> sqlx::Result<Connection> {
    let mut connection = pool.acquire().await?;
    connection.close_on_drop();
    sqlx::query(ALONG_THE_KEY).execute(&mut connection).await?;
    Ok(connection)
}

/// The events up to the first that is missing or cannot be read, and what is wrong with that one. Each is read as it comes,
/// while the database sends the next.
async fn copy(
    connection: &mut Connection,
    partition: Partition,
    after: Position,
    upto: Position,
) -> Result<(Vec<RecordedEvent>, Option<LogError>), LogError> {
    // COPY takes no parameters; these are numbers.
    let statement = format!(
        "copy (select aggregate_id, sequence, event_type, event_version, payload, metadata, position, event_id,
                      recorded_at, hash
                 from events
                where partition = {partition} and position > {after} and position <= {upto}
                order by position) to stdout (format binary)"
    );
    let mut copied = connection.copy_out_raw(&statement).await?;
    let mut events = Vec::with_capacity(usize::try_from(upto - after).unwrap_or(ROOM).min(ROOM));
    let (mut position, mut header) = (after, true);
    while let Some(message) = copied.try_next().await? {
        let mut rows = if std::mem::take(&mut header) { Rows::first(&message)? } else { Rows::more(&message) };
        while let Some(row) = rows.next(partition)? {
            position += 1;
            match if row.position == position { row.read() } else { Err(missing(partition, position)) } {
                Ok(event) => events.push(event),
                Err(broken) => return Ok((events, Some(broken))),
            }
        }
    }
    let broken = (position < upto).then(|| missing(partition, position + 1));
    Ok((events, broken))
}

fn missing(partition: Partition, position: Position) -> LogError {
    LogError::Broken { partition, position, reason: "there is a hole".into() }
}

impl From<Malformed> for LogError {
    fn from(_: Malformed) -> Self {
        Self::Unavailable(sqlx::Error::Protocol("what the database copied out cannot be read".into()))
    }
}
