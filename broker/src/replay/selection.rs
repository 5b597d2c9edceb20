//! The selection of events that a replay sends.

use chrono::{DateTime, Utc};
use event_log::{Log, LogError, Partition, Position, RawEvent};

/// Where a replay starts in each partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// At this position.
    Position(Position),
    /// At the first event that was recorded at this time or later.
    Time(DateTime<Utc>),
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
        self.product.as_ref().is_none_or(|product| *product == event.aggregate_id)
            && self.event_type.as_ref().is_none_or(|name| *name == event.event_type)
    }

    /// The ranges to read, up to the current heads. Partitions with nothing to read are left out.
    pub(super) async fn ranges(&self, log: &Log) -> Result<Vec<PositionRange>, LogError> {
        let (mut ranges, heads) = (Vec::new(), log.heads().await?);
        for (partition, head) in log.partitions().zip(heads).filter(|(it, _)| self.partitions.contains(it)) {
            let after = match self.from {
                Start::Position(position) => position.saturating_sub(1).clamp(0, head),
                Start::Time(time) => position_before(log, partition, head, time).await?,
            };
            ranges.push(PositionRange { partition, after, head });
        }
        ranges.retain(|range| range.events() > 0);
        Ok(ranges)
    }
}

/// The last position up to `head` that was recorded before `time`; 0 when there is none. Bisects, because times never
/// decrease within a partition.
async fn position_before(
    log: &Log,
    partition: Partition,
    head: Position,
    time: DateTime<Utc>,
) -> Result<Position, LogError> {
    let (mut before, mut until) = (0, head);
    while before < until {
        let middle = before + (until - before + 1) / 2;
        if recorded_at(log, partition, middle).await? < time {
            before = middle;
        } else {
            until = middle - 1;
        }
    }
    Ok(before)
}

async fn recorded_at(log: &Log, partition: Partition, position: Position) -> Result<DateTime<Utc>, LogError> {
    let found = log.raw_after(partition, position - 1, 1).await?;
    found.first().map(|event| event.recorded_at).ok_or_else(|| missing(partition, position))
}

pub(super) fn missing(partition: Partition, position: Position) -> LogError {
    LogError::Broken { partition, position, reason: "it was there and is gone".into() }
}
