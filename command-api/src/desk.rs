//! The desks: one per partition, where its commands are decided one after another, in memory, and committed together.
//!
//! What a desk holds in memory is committed state only. A batch is decided on cheap copies, which are taken over after
//! the commit; then each caller gets the verdict on its own command. A command that has waited too long is dropped
//! before it is decided, never after: to be told "overloaded" means that nothing happened.

mod answers;
mod batch;
mod order;
mod shelf;
mod task;
mod trouble;

pub use order::{Answer, Key, NoVerdict, Order, Request, Verdict};

use crate::recorder::Recorder;
use event_log::{Log, LogError, Partition, Writer};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Commands that may wait at one desk; one more is refused as overloaded.
const DESK_QUEUE: usize = 8_192;

/// Every partition's desk; clones share them. The desks finish what is queued and end when the last clone is gone.
#[derive(Clone)]
pub struct Desks {
    log: Log,
    recorder: Option<Recorder>,
    queues: Vec<mpsc::Sender<Waiting>>,
    broken_down: CancellationToken,
}

/// An order and whoever waits for its verdict.
struct Waiting {
    order: Order,
    /// Whether an earlier try to write it may still arrive: then it can no longer be said that nothing happened.
    in_doubt: bool,
    reply: oneshot::Sender<Result<Verdict, NoVerdict>>,
}

impl Desks {
    /// Opens a desk for every partition of `log`; they run in `tasks`. A reservation is open for `reservation`. What is
    /// refused is not written down.
    pub async fn open(log: Log, reservation: Duration, tasks: &TaskTracker) -> Result<Self, LogError> {
        Self::open_with(log, reservation, tasks, None).await
    }

    /// As [`Desks::open`]; what is refused, and what settlement asks of a payment provider, is noted with `recorder`.
    pub async fn open_recorded(
        log: Log,
        reservation: Duration,
        tasks: &TaskTracker,
        recorder: Recorder,
    ) -> Result<Self, LogError> {
        Self::open_with(log, reservation, tasks, Some(recorder)).await
    }

    async fn open_with(
        log: Log,
        reservation: Duration,
        tasks: &TaskTracker,
        recorder: Option<Recorder>,
    ) -> Result<Self, LogError> {
        let (mut queues, broken_down) = (Vec::new(), CancellationToken::new());
        for partition in log.partitions() {
            let (sender, receiver) = mpsc::channel(DESK_QUEUE);
            let writer = Writer::open(log.clone(), partition).await?;
            let refusals = recorder.as_ref().map(|recorder| recorder.refusals.clone());
            let running = task::run(log.clone(), writer, reservation, refusals, receiver);
            let broken_down = broken_down.clone();
            tasks.spawn(async move {
                // A panic leaves the guard armed.
                let guard = broken_down.drop_guard();
                running.await;
                guard.disarm();
            });
            queues.push(sender);
        }
        Ok(Self { log, recorder, queues, broken_down })
    }

    /// The log these desks write to.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// Cancelled when a partition's processor has panicked. What it has in memory can no longer be trusted and its partition
    /// takes no commands: end the process, so that the next start makes everything anew from the log.
    pub fn broken_down(&self) -> CancellationToken {
        self.broken_down.clone()
    }

    pub(crate) fn recorder(&self) -> Option<&Recorder> {
        self.recorder.as_ref()
    }

    /// Hands an order to its product's desk and waits for the verdict. Dropping the future does not take it back.
    pub async fn submit(&self, order: Order) -> Result<Verdict, NoVerdict> {
        let (reply, verdict) = oneshot::channel();
        let queue = self.queue(self.log.partition_of(order.product_id)).ok_or(NoVerdict::Overloaded)?;
        queue.try_send(Waiting { order, in_doubt: false, reply }).map_err(|_| NoVerdict::Overloaded)?;
        // A desk that ends without a word was stopped in between: what became of the order is not known here.
        verdict.await.unwrap_or(Err(NoVerdict::OutcomeUnknown))
    }

    fn queue(&self, partition: Partition) -> Option<&mpsc::Sender<Waiting>> {
        self.queues.get(usize::try_from(partition).ok()?)
    }
}
