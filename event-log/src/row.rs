//! Rows as they are stored, borrowed from wherever they lie: what is hashed, without a copy of it.

use crate::chain::Hash;
use crate::event::StoredEvent;
use crate::log::{Partition, Position};
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// Room for a row's bytes that is nearly always enough.
const ROOM: usize = 1_024;

/// A row of the log as it is stored. What the columns mean and how the hash is made is in `docs/log-format.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredRow<'a> {
    /// Always `product`.
    pub aggregate_type: &'a str,
    /// The product it happened to, in decimal.
    pub aggregate_id: &'a str,
    /// Its place in the product's stream, from 1.
    pub sequence: i64,
    /// The event's name.
    pub event_type: &'a str,
    /// The version of the payload's shape.
    pub event_version: &'a str,
    /// JSON, as it was written.
    pub payload: &'a str,
    /// JSON, as it was written: a flat map of strings.
    pub metadata: &'a str,
    /// The partition it is in.
    pub partition: Partition,
    /// Its place there, from 1.
    pub position: Position,
    /// Its own id, a uuid v7.
    pub event_id: Uuid,
    /// When, by the database's clock: microseconds since 1970-01-01T00:00:00Z.
    pub recorded_at: i64,
    /// The chain up to and with it.
    pub hash: Hash,
}

impl StoredRow<'_> {
    /// The hash that this row must have after `previous`, that of the position before it. `room` is only a place to work
    /// in: keep one for many rows.
    pub fn hash_after(&self, previous: &Hash, room: &mut Vec<u8>) -> Hash {
        room.clear();
        room.reserve(ROOM);
        room.extend_from_slice(previous);
        self.columns(|bytes| room.extend_from_slice(bytes));
        Sha256::digest(&room).into()
    }

    /// The same, without such a place.
    pub(crate) fn link(&self, previous: &Hash) -> Hash {
        let mut sha = Sha256::new();
        sha.update(previous);
        self.columns(|bytes| sha.update(bytes));
        sha.finalize().into()
    }

    /// Every column but the hash, each after its length.
    #[inline]
    fn columns(&self, mut put: impl FnMut(&[u8])) {
        let mut column = |bytes: &[u8]| {
            put(&(bytes.len() as u64).to_be_bytes());
            put(bytes);
        };
        column(self.aggregate_type.as_bytes());
        column(self.aggregate_id.as_bytes());
        column(&self.sequence.to_be_bytes());
        column(self.event_type.as_bytes());
        column(self.event_version.as_bytes());
        column(self.payload.as_bytes());
        column(self.metadata.as_bytes());
        column(&i64::from(self.partition).to_be_bytes());
        column(&self.position.to_be_bytes());
        column(self.event_id.as_bytes());
        column(&self.recorded_at.to_be_bytes());
    }
}

impl<'a> From<&'a StoredEvent> for StoredRow<'a> {
    fn from(event: &'a StoredEvent) -> Self {
        Self {
            aggregate_type: &event.aggregate_type,
            aggregate_id: &event.aggregate_id,
            sequence: event.sequence,
            event_type: &event.event_type,
            event_version: &event.event_version,
            payload: &event.payload,
            metadata: &event.metadata,
            partition: event.partition,
            position: event.position,
            event_id: event.event_id,
            recorded_at: event.recorded_at.timestamp_micros(),
            hash: event.hash,
        }
    }
}
