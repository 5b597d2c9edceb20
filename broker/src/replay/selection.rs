//! The selection of events that a replay sends.

use chrono::{DateTime, TimeDelta, Utc};
use event_log::{Log, LogError, Partition, Position, RawEvent};
use std::fmt;

/// Where a replay starts in each partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// At this position.
    Position(Position),
    /// At the first event that was recorded at this time or later.
    Time(DateTime<Utc>),
}

impl fmt::Display for Start {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Position(position) => write!(f, "{position}"),
            Self::Time(time) => write!(f, "{}", time.to_rfc3339()),
        }
    }
}

/// Which events a replay sends.
#[derive(Clone, Debug)]
pub struct Selection {
    /// Of these partitions, in this order.
    pub partitions: Vec<Partition>,
    /// Where to start.
    pub from: Start,
    /// Only this product's: its id, in decimal.
    pub product: Option<String>,
    /// Only those of this name.
    pub event_type: Option<String>,
}

/// The rest of one partition: the positions after `after`, up to and including `head`.
#[derive(Clone, Copy, Debug)]
pub(super) struct PositionRange {
    pub(super) partition: Partition,
    pub(super) after: Position,
    pub(super) head: Position,
}

impl PositionRange {
    pub(super) fn events(&self) -> i64 {
        self.head - self.after
    }
}

impl Selection {
    pub(super) fn matches(&self, event: &RawEvent) -> bool {
        self.product
            .as_ref()
            .is_none_or(|product| *product == event.aggregate_id)
            && self
                .event_type
                .as_ref()
                .is_none_or(|name| *name == event.event_type)
    }

    /// The ranges to read, up to the current heads. Partitions with nothing to read are left out.
    pub(super) async fn ranges(&self, log: &Log) -> Result<Vec<PositionRange>, LogError> {
        let heads = log.heads().await?;
        let before: Vec<Position> = match self.from {
            Start::Position(position) => vec![position.saturating_sub(1); heads.len()],
            Start::Time(time) => log.positions_at(time - TimeDelta::nanoseconds(1)).await?,
        };
        let mut ranges: Vec<_> = log
            .partitions()
            .zip(heads.into_iter().zip(before))
            .filter(|(partition, _)| self.partitions.contains(partition))
            .map(|(partition, (head, before))| PositionRange {
                partition,
                after: before.clamp(0, head),
                head,
            })
            .collect();
        ranges.retain(|range| range.events() > 0);
        Ok(ranges)
    }
}

pub(super) fn missing(partition: Partition, position: Position) -> LogError {
    LogError::Broken {
        partition,
        position,
        reason: "it was there and is gone".into(),
    }
}
