//! Rows as a binary COPY sends them: <https://www.postgresql.org/docs/15/sql-copy.html>, "Binary Format". All numbers
//! are big-endian; text and json are their bytes, a uuid its 16, a timestamptz microseconds since 2000. Each row is a
//! message (<https://www.postgresql.org/docs/15/protocol-flow.html>, "COPY Operations"); the header comes with the first,
//! the trailer is the last.

use crate::event::Row;
use crate::log::Partition;
use chrono::{DateTime, Utc};
use uuid::Uuid;

pub(super) const SIGNATURE: &[u8] = b"PGCOPY\n\xff\r\n\0";
const COLUMNS: i16 = 10;
/// In the place of a row's number of columns: there are no more rows.
pub(super) const TRAILER: i16 = -1;
/// 2000-01-01T00:00:00Z, in microseconds since 1970.
pub(super) const EPOCH: i64 = 946_684_800_000_000;

/// These bytes are not the rows that were asked for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// The rows of one message that are still to come. A message has whole rows.
pub(super) struct Rows<'a> {
    rest: &'a [u8],
}

impl<'a> Rows<'a> {
    /// Those of the first message, which begins with a header.
    pub(super) fn first(message: &'a [u8]) -> Result<Self, Malformed> {
        let mut rows = Self { rest: message.strip_prefix(SIGNATURE).ok_or(Malformed)? };
        // The flags; none that matters without the oids of long ago.
        rows.number::<4>()?;
        let extension = u32::from_be_bytes(rows.number()?);
        rows.bytes(extension as usize)?;
        Ok(rows)
    }

    /// Those of any further message.
    pub(super) fn more(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    /// The next row, which is one of `partition`; `None` at the end.
    pub(super) fn next(&mut self, partition: Partition) -> Result<Option<Row<'a>>, Malformed> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        match i16::from_be_bytes(self.number()?) {
            COLUMNS => self.row(partition).map(Some),
            TRAILER => Ok(None),
            _ => Err(Malformed),
        }
    }

    /// In the order that the statement names them.
    fn row(&mut self, partition: Partition) -> Result<Row<'a>, Malformed> {
        Ok(Row {
            partition,
            aggregate_id: self.text()?,
            sequence: self.integer()?,
            event_type: self.text()?,
            event_version: self.text()?,
            payload: self.text()?,
            metadata: self.text()?,
            position: self.integer()?,
            event_id: Uuid::from_bytes(self.fixed()?),
            recorded_at: self.time()?,
            hash: self.fixed()?,
        })
    }

    fn time(&mut self) -> Result<DateTime<Utc>, Malformed> {
        self.integer()?.checked_add(EPOCH).and_then(DateTime::from_timestamp_micros).ok_or(Malformed)
    }

    fn integer(&mut self) -> Result<i64, Malformed> {
        self.fixed().map(i64::from_be_bytes)
    }

    fn text(&mut self) -> Result<&'a str, Malformed> {
        std::str::from_utf8(self.column()?).map_err(|_| Malformed)
    }

    fn fixed<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        self.column()?.try_into().map_err(|_| Malformed)
    }

    /// A column's bytes. None of these is ever null, whose length is -1.
    fn column(&mut self) -> Result<&'a [u8], Malformed> {
        let length = i32::from_be_bytes(self.number()?);
        self.bytes(usize::try_from(length).map_err(|_| Malformed)?)
    }

    fn number<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        self.bytes(N)?.try_into().map_err(|_| Malformed)
    }

    fn bytes(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let (bytes, rest) = self.rest.split_at_checked(length).ok_or(Malformed)?;
        self.rest = rest;
        Ok(bytes)
    }
}
