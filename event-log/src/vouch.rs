//! Whether what somebody delivers is what the log says. Hashes alone do not tell: anyone who knows the format can make a
//! chain. So both ends of the stretch are compared with the log, and the chain vouches for what lies between.

use crate::chain::{Hash, link};
use crate::event::StoredEvent;
use crate::log::{Log, Partition, Position};
use crate::{LogError, RecordedEvent};

/// Why events are not believed. The text is for the operator.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("position {position}: {reason}")]
pub struct NotOurs {
    /// The first position that is wrong.
    pub position: Position,
    /// What is wrong with it.
    pub reason: &'static str,
}

impl Log {
    /// The events of `stretch`, which must be one of `partition` without a hole, if every byte of it is the log's; of
    /// these, what this release can read before the first that it cannot. Asks the database once, however long it is.
    pub async fn vouch(
        &self,
        partition: Partition,
        stretch: &[StoredEvent],
    ) -> Result<Result<Vec<RecordedEvent>, NotOurs>, LogError> {
        let (Some(first), Some(last)) = (stretch.first(), stretch.last()) else { return Ok(Ok(Vec::new())) };
        if let Err(error) = is_one_stretch(partition, first.position, stretch) {
            return Ok(Err(error));
        }
        let ends = [first.position - 1, last.position];
        let known: Vec<(Position, Vec<u8>)> =
            sqlx::query_as("select position, hash from events where partition = $1 and position = any($2)")
                .bind(partition)
                .bind(ends.as_slice())
                .fetch_all(self.reads())
                .await?;
        let hash_at = |position| {
            let found = known.iter().find(|(at, _)| *at == position);
            found.and_then(|(_, hash)| Hash::try_from(hash.as_slice()).ok())
        };
        let before = if first.position == 1 { Some(self.genesis(partition)) } else { hash_at(first.position - 1) };
        Ok(is_the_logs(before, hash_at(last.position), stretch).map(|()| read(stretch)))
    }
}

fn is_one_stretch(partition: Partition, first: Position, stretch: &[StoredEvent]) -> Result<(), NotOurs> {
    for (event, position) in stretch.iter().zip(first..) {
        let wrong = |reason| Err(NotOurs { position, reason });
        if event.partition != partition {
            return wrong("it is of another partition");
        }
        if position < 1 || event.position != position {
            return wrong("there is a hole, or a repeat");
        }
    }
    Ok(())
}

fn is_the_logs(before: Option<Hash>, at_the_end: Option<Hash>, stretch: &[StoredEvent]) -> Result<(), NotOurs> {
    let (Some(mut hash), Some(at_the_end)) = (before, at_the_end) else {
        let position = stretch.last().map_or(0, |event| event.position);
        return Err(NotOurs { position, reason: "the log has no such position" });
    };
    for event in stretch {
        hash = link(&hash, event);
        if event.hash != hash {
            return Err(NotOurs { position: event.position, reason: "its hash does not follow from the log" });
        }
    }
    let position = stretch.last().map_or(0, |event| event.position);
    if hash == at_the_end { Ok(()) } else { Err(NotOurs { position, reason: "the log has another event here" }) }
}

/// What comes before the first event that this release cannot read. That one is the log's all the same: a consumer meets
/// it there, and says so.
fn read(stretch: &[StoredEvent]) -> Vec<RecordedEvent> {
    stretch.iter().map_while(|event| event.read().ok()).collect()
}
