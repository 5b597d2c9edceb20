//! Incarnations: each time an operator accepts that the log lost events, its history forks, and what follows is of a new incarnation.
//! Positions are used again in it, so whoever names a position to others says of which incarnation it is.

use crate::LogError;
use chrono::{DateTime, Utc};
use connection_pool::Pool;
use log_format::{Partition, Position};
use std::sync::{Arc, PoisonError, RwLock};
use tokio::sync::watch;

/// The number of an incarnation: 1 in a log that lost nothing; later the time at which an operator accepted the loss, in milliseconds
/// since 1970. So it rises even where the database that knew of one was set back itself.
pub type Incarnation = i64;

/// The first incarnation.
pub const FIRST_INCARNATION: Incarnation = 1;

/// Where a new incarnation began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fork {
    /// The incarnation that began.
    pub incarnation: Incarnation,
    /// By partition, the last position that it has in common with the one before.
    pub heads: Vec<Position>,
}

impl Fork {
    /// The last position of `partition` before it.
    pub fn head(&self, partition: Partition) -> Position {
        usize::try_from(partition)
            .ok()
            .and_then(|partition| self.heads.get(partition))
            .copied()
            .unwrap_or(0)
    }
}

/// Every fork of a log's history, in order; empty for most.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Forks(Vec<Fork>);

impl Forks {
    /// With the newest last.
    pub fn new(forks: Vec<Fork>) -> Self {
        Self(forks)
    }

    /// The incarnation that is written to now.
    pub fn incarnation(&self) -> Incarnation {
        self.0
            .last()
            .map_or(FIRST_INCARNATION, |fork| fork.incarnation)
    }

    /// The fork whose incarnation the event at `position` is of; `None` for the first incarnation.
    pub fn of(&self, partition: Partition, position: Position) -> Option<&Fork> {
        self.0
            .iter()
            .rev()
            .find(|fork| fork.head(partition) < position)
    }
}

/// The forks that a process knows of.
#[derive(Debug)]
pub(crate) struct KnownForks {
    forks: RwLock<Arc<Forks>>,
    incarnation: watch::Sender<Incarnation>,
}

impl KnownForks {
    pub(crate) fn new(forks: Forks) -> Self {
        let incarnation = watch::Sender::new(forks.incarnation());
        Self {
            forks: RwLock::new(forks.into()),
            incarnation,
        }
    }

    pub(crate) fn incarnation(&self) -> watch::Receiver<Incarnation> {
        self.incarnation.subscribe()
    }

    pub(crate) fn get(&self) -> Arc<Forks> {
        self.forks
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(crate) fn set(&self, forks: Forks) {
        let incarnation = forks.incarnation();
        *self.forks.write().unwrap_or_else(PoisonError::into_inner) = forks.into();
        self.incarnation
            .send_if_modified(|known| std::mem::replace(known, incarnation) != incarnation);
    }
}

/// The forks of the log in `pool`'s database.
pub(crate) async fn forks(pool: &Pool) -> Result<Forks, LogError> {
    let accepted: Vec<(DateTime<Utc>, Vec<Position>)> = sqlx::query_as(
        "select accepted_at, heads from operator_acceptances where what = 'LOSS' order by id",
    )
    .fetch_all(pool)
    .await?;
    let fork = |(at, heads): (DateTime<Utc>, _)| Fork {
        incarnation: at.timestamp_millis(),
        heads,
    };
    Ok(Forks::new(accepted.into_iter().map(fork).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_of_the_last_incarnation_that_began_before_it() {
        let fork = |incarnation, heads: [Position; 2]| Fork {
            incarnation,
            heads: heads.into(),
        };
        let forks = Forks::new(vec![fork(20, [10, 5]), fork(30, [15, 3])]);
        assert_eq!(
            (forks.incarnation(), Forks::default().incarnation()),
            (30, FIRST_INCARNATION)
        );
        let of = |partition, position| forks.of(partition, position).map(|fork| fork.incarnation);
        for (partition, position, expected) in [
            (0, 10, None),
            (0, 11, Some(20)),
            (0, 15, Some(20)),
            (0, 16, Some(30)),
            (1, 3, None),
            (1, 4, Some(30)),
            (1, 9, Some(30)),
        ] {
            assert_eq!(
                of(partition, position),
                expected,
                "{position} of {partition}"
            );
        }
    }
}
