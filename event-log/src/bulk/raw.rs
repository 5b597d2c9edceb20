//! Raw events in bulk and in blocks, to be verified or exported. Nothing about them is assumed: whoever may write to the database may
//! have dropped its constraints.

use super::connection;
use super::row::{COLUMNS, MalformedRowError, decode, position};
use crate::LogError;
use crate::log::Log;
use chrono::{DateTime, Utc};
use connection_pool::pg_copy::{CopyFormatError, HEADER, TRAILER, next_row};
use connection_pool::{Connection, Pool};
use futures::TryStreamExt as _;
use log_format::{Hash, Partition, Position, RawEventRef};
use tokio::sync::mpsc::Sender;

/// Bytes after which a block is sent: small enough for a core's cache.
const BLOCK_BYTES: usize = 256 * 1_024;
/// A block is sent when it is past that, so it may be a row longer.
const BLOCK_CAPACITY_BYTES: usize = BLOCK_BYTES + 16 * 1_024;

/// Before every position that a row can have, even an invalid one.
pub(crate) const FIRST_POSITION: Position = -Position::MAX;

/// Reads raw events over a connection of its own. Two ranges at once need two readers.
pub struct RawReader {
    pool: Pool,
    /// `None` after an unfinished read: what the database still sends on it belongs to nobody.
    connection: Option<Connection>,
}

/// Rows in the order of their positions.
#[derive(Debug, Default)]
pub struct RawRows {
    bytes: Vec<u8>,
}

impl RawReader {
    /// A reader over one of `pool`'s connections, kept until it is dropped. The pool may be of any role that can read.
    pub async fn open(pool: &Pool) -> Result<Self, LogError> {
        Ok(Self {
            connection: Some(connection(pool).await?),
            pool: pool.clone(),
        })
    }

    /// Sends the rows of `partition` after `after` (`None` is before all) up to and including `upto`, at most `limit` of them, in
    /// blocks; returns the last one's position, `None` when there was none. One statement's time-out bounds it: 10,000 to 50,000 is a
    /// good limit. Ends early, with `None`, when the receiver is gone.
    pub async fn copy(
        &mut self,
        partition: Partition,
        after: Option<Position>,
        upto: Position,
        limit: Position,
        blocks: &Sender<RawRows>,
    ) -> Result<Option<Position>, LogError> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => connection(&self.pool).await?,
        };
        let statement = statement(partition, after.unwrap_or(FIRST_POSITION), upto, limit);
        let mut copied = connection.copy_out_raw(&statement).await?;
        let (mut block, mut last, mut header) = (RawRows::default(), None, HEADER.len());
        while let Some(message) = copied.try_next().await? {
            // The header comes with the first row.
            let rows = message
                .get(std::mem::take(&mut header)..)
                .unwrap_or_default();
            if rows.starts_with(&TRAILER) {
                continue;
            }
            last = position(rows).or(last);
            block.bytes.extend_from_slice(rows);
            if block.bytes.len() >= BLOCK_BYTES {
                let full = std::mem::replace(
                    &mut block,
                    RawRows {
                        bytes: Vec::with_capacity(BLOCK_CAPACITY_BYTES),
                    },
                );
                if blocks.send(full).await.is_err() {
                    return Ok(None);
                }
            }
        }
        drop(copied);
        if !block.bytes.is_empty() && blocks.send(block).await.is_err() {
            return Ok(None);
        }
        self.connection = Some(connection);
        Ok(last)
    }
}

/// COPY takes no parameters; these are numbers.
fn statement(partition: Partition, after: Position, upto: Position, limit: Position) -> String {
    format!(
        "copy (select {COLUMNS} from events
                where partition = {partition} and position > {after} and position <= {upto}
                order by position limit {limit}) to stdout (format binary)"
    )
}

impl RawRows {
    /// Each row, or which of its columns cannot be read.
    pub fn iter(&self) -> impl Iterator<Item = Result<RawEventRef<'_>, MalformedRowError>> {
        let mut rest = self.bytes.as_slice();
        std::iter::from_fn(move || match next_row(&mut rest) {
            Ok(row) => row.map(|row| decode(&row)),
            Err(CopyFormatError) => {
                rest = &[];
                Some(Err(MalformedRowError("count")))
            }
        })
    }
}

impl Log {
    /// The last position of each of `partitions` in `pool`'s database, for tools that only read; 0 where there is none.
    pub async fn heads_of(pool: &Pool, partitions: i32) -> Result<Vec<Position>, LogError> {
        let heads = sqlx::query_scalar(
            "select array(select coalesce((select e.position from events e where e.partition = p
                                            order by e.position desc limit 1), 0)
                            from generate_series(0, $1 - 1) p order by p)",
        );
        Ok(heads.bind(partitions).fetch_one(pool).await?)
    }

    /// When the last event of each of `partitions` in `pool`'s database was recorded, for tools that only read; `None` where there is no
    /// event, or no time that a log can have.
    pub async fn head_times_of(
        pool: &Pool,
        partitions: i32,
    ) -> Result<Vec<Option<DateTime<Utc>>>, LogError> {
        let times = sqlx::query_scalar(
            "select (select case when e.recorded_at between '0001-01-01Z' and '9999-12-31Z' then e.recorded_at end
                       from events e where e.partition = p order by e.position desc limit 1)
               from generate_series(0, $1 - 1) p order by p",
        );
        Ok(times.bind(partitions).fetch_all(pool).await?)
    }

    /// The hashes of the positions `first` to `last` of `partition`, in order; those that are there. Meant for some
    /// thousands.
    pub async fn hashes(
        &self,
        partition: Partition,
        first: Position,
        last: Position,
    ) -> Result<Vec<Hash>, LogError> {
        let hashes: Vec<Vec<u8>> = sqlx::query_scalar(
            "select hash from events where partition = $1 and position between $2 and $3 order by position",
        )
        .bind(partition)
        .bind(first)
        .bind(last)
        .fetch_all(self.reads())
        .await?;
        Ok(hashes
            .into_iter()
            .map_while(|hash| hash.try_into().ok())
            .collect())
    }

    /// A row in a partition that a log of `partitions` does not have. The log never wrote such a row.
    pub async fn stray_of(
        pool: &Pool,
        partitions: i32,
    ) -> Result<Option<(Partition, Position)>, LogError> {
        let stray = sqlx::query_as(
            "(select partition, position from events where partition < 0 order by partition, position limit 1)
             union all
             (select partition, position from events where partition >= $1 order by partition, position limit 1)
              limit 1",
        );
        Ok(stray.bind(partitions).fetch_optional(pool).await?)
    }
}
