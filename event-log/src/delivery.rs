//! Verifies a delivery against the log. Hashes alone prove nothing: anyone who knows the format can compute a chain. So the first and
//! the last hash of the delivered range are compared with the log, and the chain proves what lies between.

use crate::log::Log;
use crate::{LogError, RecordedEvent};
use log_format::{Hash, Partition, Position, RawEvent, RawEventRef};

/// Why delivered events are rejected. The text is for the operator.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("position {position}: {reason}")]
pub struct DeliveryMismatch {
    /// The first position that is wrong.
    pub position: Position,
    /// What is wrong with it.
    pub reason: &'static str,
}

impl Log {
    /// Verifies that `events`, a range of `partition` without a gap, are byte for byte the log's. Returns those that this release
    /// can read, up to the first that it cannot. One query, however long the range is.
    pub async fn verify_delivery(
        &self,
        partition: Partition,
        events: &[RawEvent],
    ) -> Result<Result<Vec<RecordedEvent>, DeliveryMismatch>, LogError> {
        let (Some(first), Some(last)) = (events.first(), events.last()) else {
            return Ok(Ok(Vec::new()));
        };
        if let Err(error) = is_gapless(partition, first.position, events) {
            return Ok(Err(error));
        }
        // Each position by itself: a plan for a list of them, made while the log was short, read the whole partition.
        let (before, at_the_end): (Option<Vec<u8>>, Option<Vec<u8>>) = sqlx::query_as(
            "select (select hash from events where partition = $1 and position = $2),
                    (select hash from events where partition = $1 and position = $3)",
        )
        .bind(partition)
        .bind(first.position - 1)
        .bind(last.position)
        .fetch_one(self.reads())
        .await?;
        let hash = |found: Option<Vec<u8>>| found.and_then(|hash| Hash::try_from(hash).ok());
        let before = if first.position == 1 {
            Some(self.genesis(partition))
        } else {
            hash(before)
        };
        Ok(matches_log(before, hash(at_the_end), events).map(|()| readable(events)))
    }
}

fn is_gapless(
    partition: Partition,
    first: Position,
    events: &[RawEvent],
) -> Result<(), DeliveryMismatch> {
    for (event, position) in events.iter().zip(first..) {
        let wrong = |reason| Err(DeliveryMismatch { position, reason });
        if event.partition != partition {
            return wrong("it is of another partition");
        }
        if position < 1 || event.position != position {
            return wrong("there is a hole, or a repeat");
        }
    }
    Ok(())
}

fn matches_log(
    before: Option<Hash>,
    at_the_end: Option<Hash>,
    events: &[RawEvent],
) -> Result<(), DeliveryMismatch> {
    let (Some(mut hash), Some(at_the_end)) = (before, at_the_end) else {
        let position = events.last().map_or(0, |event| event.position);
        return Err(DeliveryMismatch {
            position,
            reason: "the log has no such position",
        });
    };
    for event in events {
        hash = RawEventRef::from(event).chain_hash(&hash);
        if event.hash != hash {
            return Err(DeliveryMismatch {
                position: event.position,
                reason: "its hash does not follow from the log",
            });
        }
    }
    let position = events.last().map_or(0, |event| event.position);
    if hash == at_the_end {
        Ok(())
    } else {
        Err(DeliveryMismatch {
            position,
            reason: "the log has another event here",
        })
    }
}

/// The events before the first that this release cannot read. That one is in the log too: a consumer meets it there and reports it.
fn readable(events: &[RawEvent]) -> Vec<RecordedEvent> {
    events
        .iter()
        .map_while(|event| RecordedEvent::try_from(event).ok())
        .collect()
}
