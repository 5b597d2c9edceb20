//! Write stops: a partition takes no writes when the log has lost events that this process has seen, or the database's clock has jumped.
//!
//! Only an operator can decide how to continue: with a row in `operator_acceptances`, which every process that polls the heads reads.

use crate::{Clause, Readiness};
use log_format::{Partition, Position};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Why a partition takes no writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteStop {
    /// An event that this process has seen is gone or has changed: the database was restored, or failed over to an incomplete standby.
    /// Further writes would use its position, and its money, a second time.
    #[error(
        "the database lost events of partition {partition}: position {seen} was there and is not what it was; find out what \
         is lost, then run moa restore --accept-loss"
    )]
    LostTail {
        /// Where.
        partition: Partition,
        /// The last position that was seen.
        seen: Position,
    },
    /// The seals outside the database go further than the log in it.
    #[error(
        "the database lost events of partition {partition}: it was sealed up to position {sealed}, and that event is not \
         what was sealed; find out what is lost, then run moa restore --accept-loss"
    )]
    BehindSeals {
        /// Where.
        partition: Partition,
        /// The last sealed position.
        sealed: Position,
    },
    /// What was published to RabbitMQ goes further than the log in the database.
    #[error(
        "the database lost events of partition {partition}: they were published up to position {published}, and that event is \
         not what was published; find out what is lost, then run moa restore --accept-loss"
    )]
    BehindPublished {
        /// Where.
        partition: Partition,
        /// The last position that was published.
        published: Position,
    },
    /// The database's clock deviates from the monotonic one.
    #[error(
        "the database's clock jumped by {seconds} s: no writes are taken until it is back; if it is right now, run \
         moa restore --accept-clock"
    )]
    ClockJumped {
        /// How far, and where to.
        seconds: i64,
    },
}

/// What an operator accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acceptance {
    /// That the events after the heads as they are now are lost.
    Loss,
    /// That the database's clock is right.
    Clock,
}

impl Acceptance {
    /// As it is stored.
    pub(crate) fn stored_name(self) -> &'static str {
        match self {
            Self::Loss => "LOSS",
            Self::Clock => "CLOCK",
        }
    }
}

/// The newest acceptances that a process has read, by their ids; 0 where there is none.
#[derive(Clone, Copy, Debug, sqlx::FromRow)]
pub(crate) struct Acceptances {
    pub(crate) loss: i64,
    pub(crate) clock: i64,
}

/// Which partitions take no writes in this process.
#[derive(Debug)]
pub(crate) struct WriteStops {
    partitions: Vec<Mutex<Option<WriteStop>>>,
    /// The newest acceptance of a loss. State from before it must not be used.
    loss_accepted: AtomicI64,
    /// The last reading; `None` before the first.
    last_reading: Mutex<Option<Acceptances>>,
    clause: Clause,
}

impl WriteStops {
    pub(crate) fn new(partitions: i32, readiness: &Readiness) -> Self {
        Self {
            partitions: (0..partitions).map(|_| Mutex::default()).collect(),
            loss_accepted: AtomicI64::default(),
            last_reading: Mutex::default(),
            clause: readiness.clause("log-lost-events"),
        }
    }

    /// Stores a reading and returns the one before. Acceptances from before this process began are not new.
    pub(crate) fn observe(&self, now: Acceptances) -> Acceptances {
        let before = self
            .last_reading
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .replace(now);
        before.unwrap_or_else(|| {
            self.loss_accepted.store(now.loss, Ordering::Release);
            now
        })
    }

    pub(crate) fn loss_accepted(&self) -> i64 {
        self.loss_accepted.load(Ordering::Acquire)
    }

    pub(crate) fn of(&self, partition: Partition) -> Option<WriteStop> {
        *self.slot(partition)?
    }

    pub(crate) fn stop(&self, partition: Partition, why: WriteStop) {
        if let Some(mut stop) = self.slot(partition)
            && stop.is_none()
        {
            *stop = Some(why);
            metrics::gauge!("moa_writes_stopped", "partition" => partition.to_string()).set(1.0);
            self.clause.fail(why);
        }
    }

    /// Lifts all stops, since the loss was accepted under this id.
    pub(crate) fn lift(&self, accepted: i64) {
        self.loss_accepted.store(accepted, Ordering::Release);
        for partition in (0..).take(self.partitions.len()) {
            if let Some(mut stop) = self.slot(partition) {
                *stop = None;
            }
            metrics::gauge!("moa_writes_stopped", "partition" => partition.to_string()).set(0.0);
        }
        self.clause.clear();
    }

    fn slot(&self, partition: Partition) -> Option<MutexGuard<'_, Option<WriteStop>>> {
        let slot = self.partitions.get(usize::try_from(partition).ok()?)?;
        Some(slot.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
