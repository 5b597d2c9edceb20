//! History again, for one consumer outside Moa: from the log straight into its queue, marked, and never to the exchange,
//! where it would reach everybody.

mod pace;
mod queue;
mod sending;
mod stretch;

pub use queue::{NotOutside, OutsideQueue};
pub use stretch::{Selection, Start};

use crate::Broker;
use event_log::{Log, LogError, Partition, Position};
use sending::Sending;
use std::num::NonZeroU32;
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// How long it goes on trying while nothing is confirmed: a broker that restarts, a full queue that refuses.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// How long one that is told to stop waits for what is under way to be confirmed, so that it comes only once.
const FINISH: Duration = Duration::from_secs(5);

/// What is to be sent again, and where.
#[derive(Clone, Debug)]
pub struct Replay {
    /// The queue; it must be there.
    pub to: OutsideQueue,
    /// Which events.
    pub selection: Selection,
    /// Events a second at most; `None` is as fast as the broker confirms.
    pub max_rate: Option<NonZeroU32>,
}

/// How far a replay is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Events that were read of the log, chosen or not.
    pub read: i64,
    /// Events that are to be read.
    pub of: i64,
    /// Events that the broker confirmed.
    pub sent: u64,
}

/// A replay that did not reach its end.
#[derive(Debug, thiserror::Error)]
#[error("{why}")]
pub struct Unfinished {
    /// Why.
    pub why: Why,
    /// How far it came.
    pub progress: Progress,
    /// The partitions that are not done, in order, each with the position to go on from; none when nothing had begun.
    pub rest: Vec<(Partition, Position)>,
}

/// Why a replay ended early.
#[derive(Debug, thiserror::Error)]
pub enum Why {
    /// There is no such queue, or it went meanwhile. Declare it, and go on.
    #[error("the broker has no queue {0}: declare it first, a replay makes none")]
    NoQueue(OutsideQueue),
    /// The queue is there and not for us.
    #[error("the broker does not let this queue be used; is it exclusive to a connection? {0}")]
    NotForUs(lapin::Error),
    /// No connection came about, or none that takes anything.
    #[error("RabbitMQ cannot be reached: is it running, and AMQP_URL right?")]
    Unreachable,
    /// Nothing more was confirmed for [`PATIENCE`].
    #[error("the broker cannot be published to: {0}")]
    Broker(#[from] lapin::Error),
    /// The queue refused for [`PATIENCE`].
    #[error("the queue takes no more: it is full, and nobody empties it")]
    Full,
    /// The broker was silent for [`PATIENCE`].
    #[error("the broker did not confirm in time; is its disk or its memory full?")]
    Unanswered,
    /// The log cannot be read.
    #[error(transparent)]
    Log(#[from] LogError),
    /// An event is no text that could be sent.
    #[error("an event cannot be written as JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// It was told to stop.
    #[error("stopped")]
    Stopped,
}

impl Why {
    /// Whether trying again may help.
    fn may_pass(&self) -> bool {
        match self {
            Self::Unreachable | Self::Broker(_) | Self::Unanswered => true,
            Self::Log(error) => matches!(error, LogError::Unavailable(_)),
            Self::NoQueue(_) | Self::NotForUs(_) | Self::Full | Self::Json(_) | Self::Stopped => false,
        }
    }
}

impl Replay {
    /// Sends what is chosen, up to the heads as they stand when it begins, one partition after the other, each in order:
    /// in the messages that the relay makes, marked, and each confirmed. `told` hears how far it is.
    ///
    /// Faults are tried again for [`PATIENCE`], from what was last confirmed; what was not confirmed before may come twice.
    /// At `shutdown` it ends when what is under way is confirmed, or after 5 s.
    pub async fn run(
        &self,
        log: &Log,
        broker: &Broker,
        told: &watch::Sender<Progress>,
        shutdown: &CancellationToken,
    ) -> Result<Progress, Unfinished> {
        let mut sending = Sending::new(self, log, broker, told, shutdown);
        let ended = tokio::select! {
            ended = sending.run() => ended,
            () = given_up(shutdown) => Err(Why::Stopped),
        };
        let (progress, rest) = sending.far();
        ended.map(|()| progress).map_err(|why| Unfinished { why, progress, rest })
    }
}

async fn given_up(shutdown: &CancellationToken) {
    shutdown.cancelled().await;
    tokio::time::sleep(FINISH).await;
}
