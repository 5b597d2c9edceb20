//! The filter of a search, and the access path for it.

use super::key;
use crate::RecordedEvent;
use chrono::{DateTime, Utc};
use domain::{InvestId, ProductId, UserId};
use log_format::{Partition, Position, RawEvent};
use sha2::{Digest, Sha256};

/// Every type of event that this release knows.
pub const EVENT_TYPES: [&str; 9] = [
    "ProductOpened",
    "InvestReserved",
    "InvestSettled",
    "InvestFailed",
    "InvestWithdrawn",
    "InvestRefunded",
    "ProductClosed",
    "ProductCancelled",
    "ProductFailed",
];

/// In which order events come: by `recorded_at`, then partition, then position; within a partition that is the order of
/// the positions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// The oldest first, up to the heads.
    Ascending,
    /// The newest first, from the heads as they are at the first page.
    Descending,
}

/// One end of the requested range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// A time, by `recorded_at`.
    Time(DateTime<Utc>),
    /// A position, in each partition.
    Position(Position),
}

/// Matches events for which every field that is set holds. An event that this release cannot read has no user, no invest and no
/// correlation id; the other fields find it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Filter {
    /// What happened to this product.
    pub product: Option<ProductId>,
    /// What this user's invests did.
    pub user: Option<UserId>,
    /// What this invest did.
    pub invest: Option<InvestId>,
    /// Events of this type, by its stored name.
    pub event_type: Option<String>,
    /// What goes back to this request.
    pub correlation: Option<String>,
    /// From this time, or position, on.
    pub from: Option<Bound>,
    /// Up to this time, not with it; or up to and with this position.
    pub to: Option<Bound>,
    /// Of this partition; one that the log does not have has no events.
    pub partition: Option<Partition>,
}

/// The access path: the most selective field that is set. The other fields are matched on each event.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum AccessPath {
    /// By a key of `event_index`.
    Key { column: &'static str, key: i64 },
    /// By a rare type, in `event_index`.
    RareType(String),
    /// By the product's stream.
    Stream(ProductId),
    /// By reading the log.
    Range,
}

impl Filter {
    pub(super) fn access_path(&self) -> AccessPath {
        let of = |column, key: Option<i64>| key.map(|key| AccessPath::Key { column, key });
        let rare = || self.event_type.as_deref().and_then(key::rare_type);
        of("invest_key", self.invest.map(key::invest_key))
            .or_else(|| {
                of(
                    "correlation_key",
                    self.correlation.as_deref().map(key::correlation_key),
                )
            })
            .or_else(|| of("user_key", self.user.as_ref().map(key::user_key)))
            .or_else(|| self.product.map(AccessPath::Stream))
            .or_else(|| rare().map(|rare| AccessPath::RareType(rare.into())))
            .unwrap_or(AccessPath::Range)
    }

    /// Whether `event` matches all fields, whatever the access path was.
    pub(super) fn matches(&self, event: &RawEvent) -> bool {
        let of_product = |id: ProductId| event.aggregate_id == id.to_string();
        self.product.is_none_or(of_product)
            && self
                .event_type
                .as_ref()
                .is_none_or(|asked| event.event_type == *asked)
            && self.partition.is_none_or(|asked| event.partition == asked)
            && self.from.is_none_or(|from| !is_before(event, from))
            && self.to.is_none_or(|to| !is_after(event, to))
            && self.matches_contents(event)
    }

    /// Matches the fields that need the event to be parsed.
    fn matches_contents(&self, event: &RawEvent) -> bool {
        if self.user.is_none() && self.invest.is_none() && self.correlation.is_none() {
            return true;
        }
        let Ok(read) = RecordedEvent::try_from(event) else {
            return false;
        };
        let subject = key::subject(&read.event);
        self.user
            .as_ref()
            .is_none_or(|asked| subject.is_some_and(|(user, _)| user == asked))
            && self
                .invest
                .is_none_or(|asked| subject.is_some_and(|(_, invest)| invest == asked))
            && self
                .correlation
                .as_ref()
                .is_none_or(|asked| read.metadata.correlation_id == *asked)
    }

    /// Goes into cursors, so that each is used for its own question: every field, with its length.
    pub(super) fn digest(&self, sha: &mut Sha256) {
        let bound = |bound: Option<Bound>| match bound {
            Some(Bound::Time(time)) => Some(format!("t{}", time.timestamp_micros())),
            Some(Bound::Position(position)) => Some(format!("p{position}")),
            None => None,
        };
        let fields = [
            self.product.map(|product| product.to_string()),
            self.user.as_ref().map(|user| user.to_string()),
            self.invest.map(|invest| invest.to_string()),
            self.event_type.clone(),
            self.correlation.clone(),
            bound(self.from),
            bound(self.to),
            self.partition.map(|partition| partition.to_string()),
        ];
        for field in fields {
            sha.update(
                field
                    .as_ref()
                    .map_or(-1, |field| field.len() as i64)
                    .to_be_bytes(),
            );
            sha.update(field.unwrap_or_default());
        }
    }
}

fn is_before(event: &RawEvent, from: Bound) -> bool {
    match from {
        Bound::Time(time) => event.recorded_at < time,
        Bound::Position(position) => event.position < position,
    }
}

fn is_after(event: &RawEvent, to: Bound) -> bool {
    match to {
        Bound::Time(time) => event.recorded_at >= time,
        Bound::Position(position) => event.position > position,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::ProductEvent;

    /// The reader of events names all it knows when it meets one that it does not.
    #[test]
    fn every_type_of_event_is_known() {
        let said = serde_json::from_str::<ProductEvent>(r#"{"Unknown":{}}"#)
            .unwrap_err()
            .to_string();
        let known: Vec<_> = said.split('`').skip(3).step_by(2).collect();
        assert_eq!(known, EVENT_TYPES);
    }
}
