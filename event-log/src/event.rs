//! Events as they are stored and as they are read.

mod plain;

use crate::LogError;
use crate::chain::Hash;
use crate::log::{Partition, Position};
use chrono::{DateTime, Utc};
use cqrs_es::Aggregate;
use cqrs_es::persist::SerializedEvent;
use domain::{Product, ProductEvent, ProductId};
use serde::{Deserialize, Serialize};
use std::sync::LazyLock;
use uuid::Uuid;

/// What is known of an event beside what happened. Stored as a flat map of strings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Metadata {
    /// The request it goes back to.
    pub correlation_id: String,
    /// The event or request that led to it directly.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub causation_id: Option<String>,
    /// W3C Trace Context of the request, as it came.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
}

/// An event of the log, in today's shape.
#[derive(Clone, Debug, PartialEq)]
pub struct RecordedEvent {
    /// The partition it is in.
    pub partition: Partition,
    /// Its place there, from 1.
    pub position: Position,
    /// Its own id, a uuid v7.
    pub event_id: Uuid,
    /// The product it happened to.
    pub product_id: ProductId,
    /// Its place in the product's stream, from 1.
    pub sequence: i64,
    /// What happened.
    pub event: ProductEvent,
    /// What else is known of it.
    pub metadata: Metadata,
    /// When, by the database's clock; never before an earlier position's.
    pub recorded_at: DateTime<Utc>,
    /// The chain up to and with it.
    pub hash: Hash,
}

/// An event as it is stored, byte for byte: what is hashed, and what travels. What the columns mean and how the hash is
/// made is in `docs/log-format.md`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredEvent {
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

impl<'r> sqlx::FromRow<'r, sqlx::postgres::PgRow> for StoredEvent {
    fn from_row(row: &'r sqlx::postgres::PgRow) -> Result<Self, sqlx::Error> {
        use sqlx::Row as _;
        let hash: &[u8] = row.try_get("hash")?;
        Ok(Self {
            aggregate_type: row.try_get("aggregate_type")?,
            aggregate_id: row.try_get("aggregate_id")?,
            sequence: row.try_get("sequence")?,
            event_type: row.try_get("event_type")?,
            event_version: row.try_get("event_version")?,
            payload: row.try_get("payload")?,
            metadata: row.try_get("metadata")?,
            partition: row.try_get("partition")?,
            position: row.try_get("position")?,
            event_id: row.try_get("event_id")?,
            recorded_at: row.try_get("recorded_at")?,
            hash: hash.try_into().map_err(|error| sqlx::Error::Decode(Box::new(error)))?,
        })
    }
}

static UPCASTERS: LazyLock<Vec<Box<dyn cqrs_es::persist::EventUpcaster>>> = LazyLock::new(domain::upcasters);

impl StoredEvent {
    /// The event in today's shape. [`LogError::Broken`] when it has none.
    pub fn read(&self) -> Result<RecordedEvent, LogError> {
        let row = Row {
            aggregate_id: &self.aggregate_id,
            sequence: self.sequence,
            event_type: &self.event_type,
            event_version: &self.event_version,
            payload: &self.payload,
            metadata: &self.metadata,
            partition: self.partition,
            position: self.position,
            event_id: self.event_id,
            recorded_at: self.recorded_at,
            hash: self.hash,
        };
        row.read()
    }
}

/// What an event is read from, wherever it lies.
pub(crate) struct Row<'a> {
    pub(crate) aggregate_id: &'a str,
    pub(crate) sequence: i64,
    pub(crate) event_type: &'a str,
    pub(crate) event_version: &'a str,
    pub(crate) payload: &'a str,
    pub(crate) metadata: &'a str,
    pub(crate) partition: Partition,
    pub(crate) position: Position,
    pub(crate) event_id: Uuid,
    pub(crate) recorded_at: DateTime<Utc>,
    pub(crate) hash: Hash,
}

impl Row<'_> {
    /// The event in today's shape. [`LogError::Broken`] when it has none.
    pub(crate) fn read(&self) -> Result<RecordedEvent, LogError> {
        let broken = |reason: String| LogError::Broken {
            partition: self.partition,
            position: self.position,
            reason: format!("event {}: {reason}", self.event_id),
        };
        let id = self.aggregate_id.parse::<i64>().map_err(|_| broken("its aggregate_id is no product id".into()))?;
        Ok(RecordedEvent {
            partition: self.partition,
            position: self.position,
            event_id: self.event_id,
            product_id: ProductId::try_from(id).map_err(|error| broken(format!("its aggregate_id {error}")))?,
            sequence: self.sequence,
            event: self.event().map_err(|error| broken(format!("its payload cannot be read: {error}")))?,
            metadata: plain::metadata(self.metadata)
                .map_or_else(|| serde_json::from_str(self.metadata), Ok)
                .map_err(|error| broken(format!("its metadata cannot be read: {error}")))?,
            recorded_at: self.recorded_at,
            hash: self.hash,
        })
    }

    fn event(&self) -> serde_json::Result<ProductEvent> {
        let due =
            |upcaster: &dyn cqrs_es::persist::EventUpcaster| upcaster.can_upcast(self.event_type, self.event_version);
        if !UPCASTERS.iter().any(|upcaster| due(upcaster.as_ref())) {
            return plain::event(self.payload).map_or_else(|| serde_json::from_str(self.payload), Ok);
        }
        let stored = SerializedEvent::new(
            self.aggregate_id.into(),
            usize::try_from(self.sequence).unwrap_or_default(),
            Product::TYPE.into(),
            self.event_type.into(),
            self.event_version.into(),
            serde_json::from_str(self.payload)?,
            serde_json::Value::Null,
        );
        let today = UPCASTERS.iter().fold(stored, |event, upcaster| {
            if upcaster.can_upcast(&event.event_type, &event.event_version) { upcaster.upcast(event) } else { event }
        });
        serde_json::from_value(today.payload)
    }
}
