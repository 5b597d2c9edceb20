//! Events in today's shape, and how a stored event becomes one: parsed, and upcast where its version is an older one.

mod fast_json;

use crate::LogError;
use crate::ids::{Hash, Partition, Position};
use crate::raw_event::{RawEvent, RawEventRef};
use chrono::{DateTime, Utc};
use cqrs_es::Aggregate;
use cqrs_es::persist::SerializedEvent;
use domain::{Product, ProductEvent, ProductId};
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

static UPCASTERS: LazyLock<Vec<Box<dyn cqrs_es::persist::EventUpcaster>>> = LazyLock::new(domain::upcasters);

impl RawEvent {
    /// The event in today's shape. [`LogError::Broken`] when it has none.
    pub fn read(&self) -> Result<RecordedEvent, LogError> {
        RawEventRef::from(self).read()
    }
}

impl RawEventRef<'_> {
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
            metadata: fast_json::metadata(self.metadata)
                .map_or_else(|| serde_json::from_str(self.metadata), Ok)
                .map_err(|error| broken(format!("its metadata cannot be read: {error}")))?,
            recorded_at: DateTime::from_timestamp_micros(self.recorded_at)
                .ok_or_else(|| broken("its recorded_at is no time".into()))?,
            hash: self.hash,
        })
    }

    fn event(&self) -> serde_json::Result<ProductEvent> {
        if self.is_from_a_later_release() {
            let (name, version) = (self.event_type, self.event_version);
            return Err(serde_json::Error::custom(format!("a later release wrote it: {name} {version}")));
        }
        if !UPCASTERS.iter().any(|upcaster| upcaster.can_upcast(self.event_type, self.event_version)) {
            return fast_json::event(self.payload).map_or_else(|| serde_json::from_str(self.payload), Ok);
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

    /// Its fields may be readable all the same, but not all that they mean.
    fn is_from_a_later_release(&self) -> bool {
        let major = self.event_version.split('.').next().and_then(|major| major.parse::<u32>().ok());
        major.is_some_and(|major| major > domain::newest_major_version(self.event_type))
    }
}
