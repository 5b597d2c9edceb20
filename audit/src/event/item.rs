//! The form of an event in an answer.

use edge::ServiceTime;
use event_log::{Partition, Position, RawEvent};
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use utoipa::ToSchema;
use uuid::Uuid;

/// The names of an item's fields, in order.
pub(super) const COLUMN_NAMES: [&str; 11] = [
    "eventId",
    "partition",
    "position",
    "productId",
    "sequence",
    "type",
    "version",
    "payload",
    "metadata",
    "recordedAt",
    "hash",
];

/// An event as it is stored.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = AuditedEvent)]
pub(crate) struct Item {
    event_id: Uuid,
    #[schema(value_type = i32)]
    partition: Partition,
    #[schema(value_type = i64)]
    position: Position,
    /// `None` for one that is no product's: the log has none, unless somebody put it in.
    product_id: Option<i64>,
    sequence: i64,
    #[serde(rename = "type")]
    event_type: String,
    version: String,
    #[schema(value_type = Object)]
    payload: Box<RawValue>,
    #[schema(value_type = Object)]
    metadata: Box<RawValue>,
    recorded_at: String,
    hash: String,
}

impl Item {
    pub(super) fn of(event: RawEvent, time: &ServiceTime) -> Self {
        Self {
            event_id: event.event_id,
            partition: event.partition,
            position: event.position,
            product_id: event.aggregate_id.parse().ok(),
            sequence: event.sequence,
            payload: nested(event.payload),
            metadata: nested(event.metadata),
            event_type: event.event_type,
            version: event.event_version,
            recorded_at: time.format(event.recorded_at),
            hash: event
                .hash
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect(),
        }
    }

    /// As a row under [`COLUMN_NAMES`]; payload and metadata as their JSON.
    pub(super) fn row(&self) -> [String; 11] {
        [
            self.event_id.to_string(),
            self.partition.to_string(),
            self.position.to_string(),
            self.product_id.map(|id| id.to_string()).unwrap_or_default(),
            self.sequence.to_string(),
            self.event_type.clone(),
            self.version.clone(),
            self.payload.get().to_owned(),
            self.metadata.get().to_owned(),
            self.recorded_at.clone(),
            self.hash.clone(),
        ]
    }
}

/// Stored JSON as a part of other JSON, byte for byte, on one line: a line break in JSON is never more than space.
fn nested(json: String) -> Box<RawValue> {
    let line = if json.contains(['\n', '\r']) {
        json.replace(['\n', '\r'], " ")
    } else {
        json
    };
    // The database takes nothing but JSON for these columns; should its idea of it ever be wider, the text is shown.
    RawValue::from_string(line.clone())
        .or_else(|_| to_raw_value(&line))
        .unwrap_or_else(|_| RawValue::NULL.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_json_is_nested_on_one_line() {
        for (stored, shown) in [
            (r#"{"a":1,"a":2}"#, r#"{"a":1,"a":2}"#),
            ("{\r\n \"a\" : \"\\n\"\n}", "{   \"a\" : \"\\n\" }"),
            ("no json", r#""no json""#),
        ] {
            assert_eq!(nested(stored.into()).get(), shown);
        }
    }
}
