//! Events exactly as they are stored: what is hashed, and what travels. [`RawEvent`] owns its columns, [`RawEventRef`] borrows them
//! from a COPY's bytes or an export's line. What the columns mean and how the hash is computed is in `docs/log-format.md`.

use crate::ids::{Hash, Partition, Position};
use chrono::{DateTime, Utc};
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// Capacity for the bytes of nearly every row.
const HASH_BUFFER_BYTES: usize = 1_024;

/// An event as it is stored, byte for byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawEvent {
    /// Always `product`.
    pub aggregate_type: String,
    /// The product it happened to, in decimal.
    pub aggregate_id: String,
    /// Its place in the product's stream, from 1.
    pub sequence: i64,
    /// The event's name.
    pub event_type: String,
    /// The version of the payload's shape.
    pub event_version: String,
    /// JSON, as it was written.
    pub payload: String,
    /// JSON, as it was written: a flat map of strings.
    pub metadata: String,
    /// The partition it is in.
    pub partition: Partition,
    /// Its place there, from 1.
    pub position: Position,
    /// Its own id, a uuid v7.
    pub event_id: Uuid,
    /// When, by the database's clock, in whole microseconds.
    pub recorded_at: DateTime<Utc>,
    /// The chain up to and with it.
    pub hash: Hash,
}

/// An event as it is stored, borrowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawEventRef<'a> {
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

impl RawEventRef<'_> {
    /// The hash that this row must have after `previous`, the hash of the position before it. `buffer` is scratch space: keep one
    /// for many rows.
    pub fn hash_after(&self, previous: &Hash, buffer: &mut Vec<u8>) -> Hash {
        buffer.clear();
        buffer.reserve(HASH_BUFFER_BYTES);
        buffer.extend_from_slice(previous);
        self.columns(|bytes| buffer.extend_from_slice(bytes));
        Sha256::digest(&buffer).into()
    }

    /// The same, without a buffer.
    pub fn chain_hash(&self, previous: &Hash) -> Hash {
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

impl<'a> From<&'a RawEvent> for RawEventRef<'a> {
    #[inline]
    fn from(event: &'a RawEvent) -> Self {
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
