//! The partition processors: one single-writer task per partition decides its commands one after another, in memory, and commits them
//! together (group commit).
//!
//! The aggregate cache holds committed state only. A batch is decided on copy-on-write state, which becomes the cached state after the
//! commit; then each caller gets the outcome of its own command. A command that has waited too long is rejected before it is decided,
//! never after: "overloaded" means that nothing happened. While more invests arrive than can be decided, they are rejected before they wait.

mod admission;
mod aggregate_cache;
mod batch;
mod faults;
mod responder;
mod rush;
mod task;
mod trace;

pub use crate::command_envelope::{CommandEnvelope, UntimedCommand};
pub use crate::command_outcome::{CommandError, CommandOutcome};

use crate::recorder::Recorder;
use crate::refusal_budget::{KEYED, RefusalBudget};
use admission::{AdmissionControl, AdmissionLimit};
use event_log::{Log, LogError, Partition, Writer};
use rush::{RushDetector, WaitingInvest};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Commands in the queue of one processor; one more is rejected as overloaded.
const COMMAND_QUEUE_CAPACITY: usize = 8_192;

/// The processors of all partitions; clones share them. They finish what is queued, and end when the last clone is gone.
#[derive(Clone)]
pub struct PartitionProcessors {
    log: Log,
    recorder: Option<Recorder>,
    queues: Arc<[CommandQueue]>,
    rush: Arc<RushDetector>,
    panicked: CancellationToken,
}

/// The queue of one processor.
struct CommandQueue {
    sender: mpsc::Sender<PendingCommand>,
    invests: Arc<AdmissionLimit>,
}

/// A command whose caller waits for its outcome.
struct PendingCommand {
    envelope: CommandEnvelope,
    /// Whether an earlier append of it may still arrive: then it can no longer be said that nothing happened.
    maybe_committed: bool,
    reply: oneshot::Sender<Result<CommandOutcome, CommandError>>,
    /// Where it is a new invest.
    _waiting: Option<WaitingInvest>,
}

impl PartitionProcessors {
    /// Starts a processor for every partition of `log`, as a task in `tasks`. A reservation is open for `reservation`. Refusals are
    /// not recorded.
    pub async fn open(
        log: Log,
        reservation: Duration,
        tasks: &TaskTracker,
    ) -> Result<Self, LogError> {
        Self::open_with(log, reservation, tasks, None).await
    }

    /// The same with a recorder of refusals, and of settlement's calls to a payment provider.
    pub async fn open_with_recorder(
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
        let (mut queues, panicked) = (Vec::new(), CancellationToken::new());
        let (keyed_refusals, rush) = (
            Arc::new(RefusalBudget::new(KEYED)),
            Arc::<RushDetector>::default(),
        );
        for partition in log.partitions() {
            let (sender, receiver) = mpsc::channel(COMMAND_QUEUE_CAPACITY);
            let writer = Writer::open(log.clone(), partition).await?;
            let refusals = recorder.as_ref().map(|recorder| recorder.refusals.clone());
            let admission = AdmissionControl::new();
            let queue = CommandQueue {
                sender,
                invests: admission.limit(),
            };
            let refusals = (refusals, keyed_refusals.clone());
            let running = task::run(
                log.clone(),
                writer,
                reservation,
                refusals,
                receiver,
                (admission, rush.clone()),
            );
            let panicked = panicked.clone();
            tasks.spawn(async move {
                // A panic leaves the guard armed.
                let guard = panicked.drop_guard();
                running.await;
                guard.disarm();
            });
            queues.push(queue);
        }
        Ok(Self {
            log,
            recorder,
            queues: queues.into(),
            rush,
            panicked,
        })
    }

    /// The log that the processors append to.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// Cancelled when a processor has panicked. Its memory can no longer be trusted and its partition takes no commands: end the
    /// process, so that the next start builds everything again from the log.
    pub fn panicked(&self) -> CancellationToken {
        self.panicked.clone()
    }

    pub(crate) fn recorder(&self) -> Option<&Recorder> {
        self.recorder.as_ref()
    }

    /// Puts a command into the queue of its product's processor and waits for the outcome. Dropping the future does not withdraw the
    /// command.
    pub async fn submit(&self, envelope: CommandEnvelope) -> Result<CommandOutcome, CommandError> {
        let (reply, outcome) = oneshot::channel();
        let queue = self
            .queue(self.log.partition_of(envelope.product_id))
            .ok_or(CommandError::Overloaded)?;
        // Only new invests are turned away: whatever gives an invest its fate is work that was accepted.
        let waiting = queue.sender.max_capacity() - queue.sender.capacity();
        if envelope.invest_id().is_some() && !queue.invests.admits(waiting) {
            return Err(CommandError::Overloaded);
        }
        let _waiting = envelope.invest_id().map(|_| self.rush.wait());
        let command = PendingCommand {
            envelope,
            maybe_committed: false,
            reply,
            _waiting,
        };
        queue
            .sender
            .try_send(command)
            .map_err(|_| CommandError::Overloaded)?;
        // A processor that ends without a response was stopped half way: the outcome is not known here.
        outcome.await.unwrap_or(Err(CommandError::OutcomeUnknown))
    }

    fn queue(&self, partition: Partition) -> Option<&CommandQueue> {
        self.queues.get(usize::try_from(partition).ok()?)
    }
}
