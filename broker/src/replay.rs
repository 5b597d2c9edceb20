//! Replay: sends history again, for one consumer outside Moa. Events go from the log straight into its queue, marked as
//! replayed, and never to the exchange, where they would reach everybody.

mod queue;
mod rate_limiter;
mod run;
mod selection;

pub use queue::{OutsideQueue, OutsideQueueError};
pub use selection::{Selection, Start};

use crate::Broker;
use event_log::{Log, LogError, Partition, Position};
use run::ReplayRun;
use std::num::NonZeroU32;
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// How long a replay retries while nothing is confirmed: while the broker restarts, or a full queue refuses.
pub const REPLAY_STALL_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a replay that is stopped waits for confirms of what is in flight, so that it is not sent twice.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);

/// What is sent again, and where.
#[derive(Clone, Debug)]
pub struct Replay {
    /// The queue; it must exist.
    pub to: OutsideQueue,
    /// Which events.
    pub selection: Selection,
    /// The most events a second; `None` is as fast as the broker confirms.
    pub max_rate: Option<NonZeroU32>,
}

/// How far a replay is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Events that were read from the log, selected or not.
    pub read: i64,
    /// Events to read.
    pub total: i64,
    /// Events that the broker confirmed.
    pub sent: u64,
}

/// A replay that did not reach its end.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct IncompleteReplay {
    /// Why it ended.
    pub error: ReplayError,
    /// How far it came.
    pub progress: Progress,
    /// The partitions that are not done, in order, each with the position to continue from; empty when nothing had begun.
    pub rest: Vec<(Partition, Position)>,
}

/// Why a replay ended early.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// There is no such queue, or it was deleted meanwhile. Declare it, and continue.
    #[error("the broker has no queue {0}: declare it first, a replay does not")]
    QueueNotFound(OutsideQueue),
    /// The queue exists, and the broker refuses access to it.
    #[error("the broker does not let this queue be used; is it exclusive to a connection? {0}")]
    QueueForbidden(lapin::Error),
    /// There was no connection, or none that accepts anything.
    #[error("RabbitMQ cannot be reached: is it running, and AMQP_URL right?")]
    Unreachable,
    /// Nothing more was confirmed for [`REPLAY_STALL_TIMEOUT`].
    #[error("the broker cannot be published to: {0}")]
    Broker(#[from] lapin::Error),
    /// The queue refused for [`REPLAY_STALL_TIMEOUT`].
    #[error("the queue takes no more: it is full, and nobody empties it")]
    QueueFull,
    /// The broker confirmed nothing for [`REPLAY_STALL_TIMEOUT`].
    #[error("the broker did not confirm in time; is its disk or its memory full?")]
    ConfirmTimeout,
    /// The log cannot be read.
    #[error(transparent)]
    Log(#[from] LogError),
    /// An event cannot be encoded.
    #[error("an event cannot be written as JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// It was stopped.
    #[error("stopped")]
    Stopped,
}

impl ReplayError {
    /// Whether a retry may help.
    fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable | Self::Broker(_) | Self::ConfirmTimeout => true,
            Self::Log(error) => matches!(error, LogError::Unavailable(_)),
            Self::QueueNotFound(_)
            | Self::QueueForbidden(_)
            | Self::QueueFull
            | Self::Json(_)
            | Self::Stopped => false,
        }
    }
}

impl Replay {
    /// Sends the selection, up to the heads at its start, one partition after another, each in order: in the relay's
    /// messages, marked as replayed, each confirmed before the next. `progress` receives how far it is.
    ///
    /// Transient faults are retried for [`REPLAY_STALL_TIMEOUT`], from the last confirmed message; one that was sent and not
    /// confirmed may come twice. At `shutdown` it ends when what is in flight is confirmed, or after 5 s.
    pub async fn run(
        &self,
        log: &Log,
        broker: &Broker,
        progress: &watch::Sender<Progress>,
        shutdown: &CancellationToken,
    ) -> Result<Progress, IncompleteReplay> {
        let mut run = ReplayRun::new(self, log, broker, progress, shutdown);
        let ended = tokio::select! {
            ended = run.run() => ended,
            () = shutdown_timeout(shutdown) => Err(ReplayError::Stopped),
        };
        let (progress, rest) = run.progress();
        ended.map(|()| progress).map_err(|error| IncompleteReplay {
            error,
            progress,
            rest,
        })
    }
}

async fn shutdown_timeout(shutdown: &CancellationToken) {
    shutdown.cancelled().await;
    tokio::time::sleep(SHUTDOWN_TIMEOUT).await;
}
