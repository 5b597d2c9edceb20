//! Bulk reads: whole ranges of positions by binary COPY, each row decoded from the bytes it arrives in.

mod filtered;
mod raw;
mod row;

pub use raw::{RawReader, RawRows};
pub use row::MalformedRowError;

use crate::log::Log;
use crate::{LogError, RecordedEvent};
use connection_pool::pg_copy::{HEADER, next_row};
use connection_pool::{Connection, Pool};
use futures::TryStreamExt as _;
use log_format::{Partition, Position, RawEventRef};
use row::{COLUMNS, decode};

/// Rows are read in the order of a key that they nearly lie in. PostgreSQL's statistics see the partitions mixed, and its plan would
/// gather and sort every range, at three times the cost. JIT compilation of a range's statement costs more than it saves.
const INDEX_ORDER_SETTINGS: &str = "select set_config('enable_seqscan', 'off', false),
                                    set_config('enable_bitmapscan', 'off', false),
                                    set_config('enable_sort', 'off', false),
                                    set_config('max_parallel_workers_per_gather', '0', false),
                                    set_config('jit', 'off', false)";

/// Capacity that is reserved for a range's events, at most.
const INITIAL_EVENTS: usize = 50_000;

/// Reads the log fast, in ranges of positions, over a connection of its own. Two ranges at once need two readers.
pub struct BulkReader {
    pool: Pool,
    /// `None` after an unfinished read: what the database still sends on it belongs to nobody.
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
    /// The events of `partition` after `after` up to and including `upto`, in order and without a gap. When one of them is missing
    /// or cannot be read, those before it; when that is the first, [`LogError::Broken`] names it. So continue after the last
    /// event returned until `upto` is reached. They are in memory at once, and one statement's time-out bounds the read:
    /// 10,000 to 50,000 events are a good number.
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
            // The events before it are good; the next read meets it first.
            (events, Some(_)) => Ok(events),
        }
    }
}

/// A connection that never returns to the pool: its settings are for bulk reads, and the rest of an unfinished COPY would be read as
/// the answer to another statement.
async fn connection(pool: &Pool) -> sqlx::Result<Connection> {
    let mut connection = pool.acquire().await?;
    connection.close_on_drop();
    sqlx::query(INDEX_ORDER_SETTINGS)
        .execute(&mut connection)
        .await?;
    Ok(connection)
}

/// The events up to the first that is missing or cannot be read, and what is wrong with that one.
async fn copy(
    connection: &mut Connection,
    partition: Partition,
    after: Position,
    upto: Position,
) -> Result<(Vec<RecordedEvent>, Option<LogError>), LogError> {
    let mut events = Vec::with_capacity(
        usize::try_from(upto - after)
            .unwrap_or(INITIAL_EVENTS)
            .min(INITIAL_EVENTS),
    );
    let mut position = after;
    let condition = range(partition, after, upto);
    let copied = copy_rows(connection, &condition, |row| {
        position += 1;
        events.push(if row.position == position {
            RecordedEvent::try_from(&row)
        } else {
            Err(missing(partition, position))
        }?);
        Ok(())
    });
    match copied.await {
        Ok(()) => Ok((
            events,
            (position < upto).then(|| missing(partition, position + 1)),
        )),
        Err(broken @ LogError::Broken { .. }) => Ok((events, Some(broken))),
        Err(error) => Err(error),
    }
}

/// COPY takes no parameters; these are numbers.
fn range(partition: Partition, after: Position, upto: Position) -> String {
    format!("partition = {partition} and position > {after} and position <= {upto}")
}

/// Decodes each row as it arrives, while the database sends the next. Ends at the first error of `each`.
async fn copy_rows(
    connection: &mut Connection,
    condition: &str,
    mut each: impl FnMut(RawEventRef<'_>) -> Result<(), LogError>,
) -> Result<(), LogError> {
    let statement = format!(
        "copy (select {COLUMNS} from events where {condition} order by position) to stdout (format binary)"
    );
    let mut copied = connection.copy_out_raw(&statement).await?;
    let mut header = HEADER.len();
    while let Some(message) = copied.try_next().await? {
        // The header comes with the first row.
        let mut rows = message
            .get(std::mem::take(&mut header)..)
            .unwrap_or_default();
        while let Some(row) = next_row(&mut rows).map_err(protocol)? {
            each(decode(&row).map_err(protocol)?)?;
        }
    }
    Ok(())
}

fn missing(partition: Partition, position: Position) -> LogError {
    LogError::Broken {
        partition,
        position,
        reason: "there is a hole".into(),
    }
}

fn protocol(error: impl std::fmt::Display) -> LogError {
    LogError::Unavailable(sqlx::Error::Protocol(error.to_string()))
}
