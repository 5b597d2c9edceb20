//! A row of `events` in a binary COPY.

use connection_pool::pg_copy::{CopyRow, next_row};
use log_format::{Position, RawEventRef};
use uuid::Uuid;

/// What a COPY selects, in the order that [`decode`] reads.
pub(super) const COLUMNS: &str = "aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata, partition, \
                                  position, event_id, recorded_at, hash";
/// How many columns that are.
pub(super) const COLUMN_COUNT: usize = 12;

/// A row that is no event: the column that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("its column {0} cannot be read")]
pub struct MalformedRowError(pub &'static str);

#[inline]
pub(super) fn decode<'a>(
    row: &CopyRow<'a, COLUMN_COUNT>,
) -> Result<RawEventRef<'a>, MalformedRowError> {
    Ok(RawEventRef {
        aggregate_type: row.text(0).ok_or(MalformedRowError("aggregate_type"))?,
        aggregate_id: row.text(1).ok_or(MalformedRowError("aggregate_id"))?,
        sequence: row.bigint(2).ok_or(MalformedRowError("sequence"))?,
        event_type: row.text(3).ok_or(MalformedRowError("event_type"))?,
        event_version: row.text(4).ok_or(MalformedRowError("event_version"))?,
        payload: row.text(5).ok_or(MalformedRowError("payload"))?,
        metadata: row.text(6).ok_or(MalformedRowError("metadata"))?,
        partition: row
            .fixed(7)
            .map(i32::from_be_bytes)
            .ok_or(MalformedRowError("partition"))?,
        position: row.bigint(8).ok_or(MalformedRowError("position"))?,
        event_id: row
            .fixed(9)
            .map(Uuid::from_bytes)
            .ok_or(MalformedRowError("event_id"))?,
        recorded_at: row
            .unix_micros(10)
            .ok_or(MalformedRowError("recorded_at"))?,
        hash: row.fixed(11).ok_or(MalformedRowError("hash"))?,
    })
}

/// The position of the first row in `rows`.
pub(super) fn position(mut rows: &[u8]) -> Option<Position> {
    next_row::<COLUMN_COUNT>(&mut rows).ok()??.bigint(8)
}
