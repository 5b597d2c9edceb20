//! Rows as they are stored, in bulk and in blocks, for who checks them or passes them on. Nothing is taken for granted of
//! them: whoever may write to the database may have taken its constraints away.

use super::connection;
use super::rows::{EPOCH, SIGNATURE, TRAILER};
use crate::LogError;
use crate::chain::Hash;
use crate::log::{Log, Partition, Position};
use crate::row::StoredRow;
use connection_pool::{Connection, Pool};
use futures::TryStreamExt as _;
use tokio::sync::mpsc::Sender;
use uuid::Uuid;

/// Bytes after which a block is handed over: small enough to stay in a core's cache.
const BLOCK: usize = 256 * 1_024;
/// A block is handed over when it is past that, so it may be a row longer.
const ROOM: usize = BLOCK + 16 * 1_024;
const COLUMNS: usize = 12;
/// Bytes of a COPY's header without an extension: signature, flags, length of the extension.
const HEADER: usize = SIGNATURE.len() + 8;

/// Before every position that a row can have, also one that none may have.
pub(crate) const LEAST: Position = -Position::MAX;

/// Reads rows as they are stored, over a connection of its own. For two ranges at once take two readers.
pub struct StoredReader {
    pool: Pool,
    /// `None` after a read that was not finished: what the database still sends to it is nobody's.
    connection: Option<Connection>,
}

/// Rows in the order of their positions.
#[derive(Debug, Default)]
pub struct StoredRows {
    bytes: Vec<u8>,
}

/// A row that is none: the column that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("its column {0} cannot be read")]
pub struct Unreadable(pub &'static str);

impl StoredReader {
    /// A reader over one of `pool`'s connections, kept until it is dropped. The pool may be of any role that can read.
    pub async fn open(pool: &Pool) -> Result<Self, LogError> {
        Ok(Self { connection: Some(connection(pool).await?), pool: pool.clone() })
    }

    /// Hands over the rows of `partition` after `after` (`None` is before all) up to and with `upto`, at most `limit` of
    /// them, in blocks; says where the last one stands, `None` when there was none. One statement's time-out bounds it:
    /// a limit of 10,000 to 50,000 is a good one. Ends early, with `None`, when nobody takes the blocks any more.
    pub async fn copy(
        &mut self,
        partition: Partition,
        after: Option<Position>,
        upto: Position,
        limit: Position,
        blocks: &Sender<StoredRows>,
    ) -> Result<Option<Position>, LogError> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => connection(&self.pool).await?,
        };
        let statement = statement(partition, after.unwrap_or(LEAST), upto, limit);
        let mut copied = connection.copy_out_raw(&statement).await?;
        let (mut block, mut last, mut header) = (StoredRows::default(), None, HEADER);
        while let Some(message) = copied.try_next().await? {
            // The header comes with the first row.
            let rows = message.get(std::mem::take(&mut header)..).unwrap_or_default();
            if rows.starts_with(&TRAILER.to_be_bytes()) {
                continue;
            }
            last = position(rows).or(last);
            block.bytes.extend_from_slice(rows);
            if block.bytes.len() >= BLOCK {
                let full = std::mem::replace(&mut block, StoredRows { bytes: Vec::with_capacity(ROOM) });
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
        "copy (select aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata, partition,
                      position, event_id, recorded_at, hash
                 from events
                where partition = {partition} and position > {after} and position <= {upto}
                order by position limit {limit}) to stdout (format binary)"
    )
}

/// Where a message's one row stands.
fn position(message: &[u8]) -> Option<Position> {
    let columns = Columns::take(&mut &message[..])?;
    columns.integer(8, "position").ok()
}

impl StoredRows {
    /// Each row, or why it is none.
    pub fn iter(&self) -> impl Iterator<Item = Result<StoredRow<'_>, Unreadable>> {
        let mut rest = self.bytes.as_slice();
        std::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            let columns = Columns::take(&mut rest);
            if columns.is_none() {
                rest = &[];
            }
            Some(columns.ok_or(Unreadable("count")).and_then(|columns| columns.row()))
        })
    }
}

/// A row's columns; `None` where one is null.
struct Columns<'a>([Option<&'a [u8]>; COLUMNS]);

impl<'a> Columns<'a> {
    /// Those of the next row in `rest`.
    #[inline]
    fn take(rest: &mut &'a [u8]) -> Option<Self> {
        let (count, mut left) = rest.split_first_chunk::<2>()?;
        if usize::try_from(i16::from_be_bytes(*count)) != Ok(COLUMNS) {
            return None;
        }
        let mut columns = [None; COLUMNS];
        for column in &mut columns {
            let (length, after) = left.split_first_chunk::<4>()?;
            left = after;
            // A null has the length -1.
            if let Ok(length) = usize::try_from(i32::from_be_bytes(*length)) {
                let (bytes, after) = left.split_at_checked(length)?;
                (*column, left) = (Some(bytes), after);
            }
        }
        *rest = left;
        Some(Self(columns))
    }

    #[inline]
    fn row(&self) -> Result<StoredRow<'a>, Unreadable> {
        Ok(StoredRow {
            aggregate_type: self.text(0, "aggregate_type")?,
            aggregate_id: self.text(1, "aggregate_id")?,
            sequence: self.integer(2, "sequence")?,
            event_type: self.text(3, "event_type")?,
            event_version: self.text(4, "event_version")?,
            payload: self.text(5, "payload")?,
            metadata: self.text(6, "metadata")?,
            partition: i32::from_be_bytes(self.fixed(7, "partition")?),
            position: self.integer(8, "position")?,
            event_id: Uuid::from_bytes(self.fixed(9, "event_id")?),
            recorded_at: self.integer(10, "recorded_at")?.checked_add(EPOCH).ok_or(Unreadable("recorded_at"))?,
            hash: self.fixed(11, "hash")?,
        })
    }

    fn text(&self, at: usize, name: &'static str) -> Result<&'a str, Unreadable> {
        self.0[at].and_then(|bytes| std::str::from_utf8(bytes).ok()).ok_or(Unreadable(name))
    }

    fn integer(&self, at: usize, name: &'static str) -> Result<i64, Unreadable> {
        self.fixed(at, name).map(i64::from_be_bytes)
    }

    fn fixed<const N: usize>(&self, at: usize, name: &'static str) -> Result<[u8; N], Unreadable> {
        self.0[at].and_then(|bytes| bytes.try_into().ok()).ok_or(Unreadable(name))
    }
}

impl Log {
    /// The last position of each of `partitions` in `pool`'s database, for whoever only looks; 0 where there is none.
    pub async fn heads_of(pool: &Pool, partitions: i32) -> Result<Vec<Position>, LogError> {
        let heads = sqlx::query_scalar(
            "select array(select coalesce((select e.position from events e where e.partition = p
                                            order by e.position desc limit 1), 0)
                            from generate_series(0, $1 - 1) p order by p)",
        );
        Ok(heads.bind(partitions).fetch_one(pool).await?)
    }

    /// The hashes of the positions `first` to `last` of `partition`, in order; those that are there. Meant for some
    /// thousands.
    pub async fn hashes(&self, partition: Partition, first: Position, last: Position) -> Result<Vec<Hash>, LogError> {
        let hashes: Vec<Vec<u8>> = sqlx::query_scalar(
            "select hash from events where partition = $1 and position between $2 and $3 order by position",
        )
        .bind(partition)
        .bind(first)
        .bind(last)
        .fetch_all(self.reads())
        .await?;
        Ok(hashes.into_iter().map_while(|hash| hash.try_into().ok()).collect())
    }

    /// A row in a partition that a log of `partitions` does not have. The log never wrote such a row.
    pub async fn stray_of(pool: &Pool, partitions: i32) -> Result<Option<(Partition, Position)>, LogError> {
        let stray = sqlx::query_as(
            "(select partition, position from events where partition < 0 order by partition, position limit 1)
             union all
             (select partition, position from events where partition >= $1 order by partition, position limit 1)
              limit 1",
        );
        Ok(stray.bind(partitions).fetch_optional(pool).await?)
    }
}
