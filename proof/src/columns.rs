//! The form of a row in a proof or an export: the stored columns by their names, nothing interpreted.

use crate::hex::{hex, unhex};
use crate::time;
use log_format::{Partition, Position, RawEvent, RawEventRef};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

/// The columns of a stored event, in the table's order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Columns {
    /// Always `product`.
    pub aggregate_type: String,
    /// The product, in decimal.
    pub aggregate_id: String,
    /// Its place in the product's stream.
    pub sequence: i64,
    /// The event's name.
    pub event_type: String,
    /// The version of the payload's shape.
    pub event_version: String,
    /// The stored text.
    pub payload: String,
    /// The stored text.
    pub metadata: String,
    /// The partition.
    #[schema(value_type = i32)]
    pub partition: Partition,
    /// Its place there.
    #[schema(value_type = i64)]
    pub position: Position,
    /// A uuid.
    pub event_id: String,
    /// RFC 3339 in UTC with six digits of a second's fraction and `Z`.
    pub recorded_at: String,
    /// In hex.
    pub hash: String,
}

impl Columns {
    /// The row that they are the columns of; `None` when one cannot be read.
    pub fn row(&self) -> Option<RawEventRef<'_>> {
        Some(RawEventRef {
            aggregate_type: &self.aggregate_type,
            aggregate_id: &self.aggregate_id,
            sequence: self.sequence,
            event_type: &self.event_type,
            event_version: &self.event_version,
            payload: &self.payload,
            metadata: &self.metadata,
            partition: self.partition,
            position: self.position,
            event_id: Uuid::try_parse(&self.event_id).ok()?,
            recorded_at: time::parse_micros(&self.recorded_at)?,
            hash: unhex(&self.hash)?,
        })
    }
}

impl From<&RawEvent> for Columns {
    fn from(event: &RawEvent) -> Self {
        Self {
            aggregate_type: event.aggregate_type.clone(),
            aggregate_id: event.aggregate_id.clone(),
            sequence: event.sequence,
            event_type: event.event_type.clone(),
            event_version: event.event_version.clone(),
            payload: event.payload.clone(),
            metadata: event.metadata.clone(),
            partition: event.partition,
            position: event.position,
            event_id: event.event_id.to_string(),
            recorded_at: time::format(event.recorded_at),
            hash: hex(&event.hash),
        }
    }
}
