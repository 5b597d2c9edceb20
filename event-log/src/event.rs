//! Events in today's shape, and how a stored event becomes one: parsed, and upcast where its version is an older one.

mod fast_json;

use crate::LogError;
use chrono::{DateTime, Utc};
use cqrs_es::Aggregate;
use cqrs_es::persist::SerializedEvent;
use domain::{Product, ProductEvent, ProductId};
use log_format::{Hash, Partition, Position, RawEvent, RawEventRef};
use serde::de::Error as _;
use serde::{Deserialize, Serialize};
use std::sync::LazyLock;
use uuid::Uuid;

/// What is known of an event besides what happened. Stored as a flat map of strings.
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
    /// The name of the token whose bearer had it done; none where nobody showed one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    /// The role of that token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actor_role: Option<String>,
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

static UPCASTERS: LazyLock<Vec<Box<dyn cqrs_es::persist::EventUpcaster>>> =
    LazyLock::new(domain::upcasters);

impl TryFrom<&RawEvent> for RecordedEvent {
    type Error = LogError;

    /// The event in today's shape. [`LogError::Broken`] when it has none.
    fn try_from(row: &RawEvent) -> Result<Self, LogError> {
        Self::try_from(&RawEventRef::from(row))
    }
}

impl TryFrom<&RawEventRef<'_>> for RecordedEvent {
    type Error = LogError;

    /// The event in today's shape. [`LogError::Broken`] when it has none.
    fn try_from(row: &RawEventRef<'_>) -> Result<Self, LogError> {
        let broken = |reason: String| LogError::Broken {
            partition: row.partition,
            position: row.position,
            reason: format!("event {}: {reason}", row.event_id),
        };
        let id = row
            .aggregate_id
            .parse::<i64>()
            .map_err(|_| broken("its aggregate_id is no product id".into()))?;
        Ok(Self {
            partition: row.partition,
            position: row.position,
            event_id: row.event_id,
            product_id: ProductId::try_from(id)
                .map_err(|error| broken(format!("its aggregate_id {error}")))?,
            sequence: row.sequence,
            event: event(row)
                .map_err(|error| broken(format!("its payload cannot be read: {error}")))?,
            metadata: fast_json::metadata(row.metadata)
                .map_or_else(|| serde_json::from_str(row.metadata), Ok)
                .map_err(|error| broken(format!("its metadata cannot be read: {error}")))?,
            recorded_at: DateTime::from_timestamp_micros(row.recorded_at)
                .ok_or_else(|| broken("its recorded_at is no time".into()))?,
            hash: row.hash,
        })
    }
}

fn event(row: &RawEventRef<'_>) -> serde_json::Result<ProductEvent> {
    if is_from_a_later_release(row) {
        let (name, version) = (row.event_type, row.event_version);
        return Err(serde_json::Error::custom(format!(
            "a later release wrote it: {name} {version}"
        )));
    }
    if !UPCASTERS
        .iter()
        .any(|upcaster| upcaster.can_upcast(row.event_type, row.event_version))
    {
        return fast_json::event(row.payload).map_or_else(|| serde_json::from_str(row.payload), Ok);
    }
    let stored = SerializedEvent::new(
        row.aggregate_id.into(),
        usize::try_from(row.sequence).unwrap_or_default(),
        Product::TYPE.into(),
        row.event_type.into(),
        row.event_version.into(),
        serde_json::from_str(row.payload)?,
        serde_json::Value::Null,
    );
    let today = UPCASTERS.iter().fold(stored, |event, upcaster| {
        if upcaster.can_upcast(&event.event_type, &event.event_version) {
            upcaster.upcast(event)
        } else {
            event
        }
    });
    serde_json::from_value(today.payload)
}

/// Its fields may be readable all the same, but not all that they mean.
fn is_from_a_later_release(row: &RawEventRef<'_>) -> bool {
    let major = row
        .event_version
        .split('.')
        .next()
        .and_then(|major| major.parse::<u32>().ok());
    major.is_some_and(|major| major > domain::newest_major_version(row.event_type))
}
