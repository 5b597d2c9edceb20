//! The recorder writes refusals, and calls to the payment provider, to tables beside the log, best effort.
//!
//! Nothing waits for it. A sink puts records into a bounded queue; a writer of each kind writes a bounded number of rows a second.
//! Records that find the queue full, are more than may be kept, or cannot be written, are dropped and counted: in a metric at once, and
//! in a row of `recorder_drops` as soon as one can be written. The queues of a killed process are lost without a count.

mod drop_counts;
mod payment_call;
mod refused_invest;
mod retention;
mod writer;

pub(crate) use payment_call::PaymentCall;
pub(crate) use refused_invest::RefusedInvest;
pub use retention::{RETENTION_DAYS, purge_records};

use crate::refusal_budget::{RECORDED, RefusalBudget};
use connection_pool::Pool;
use drop_counts::{DropCounts, Reason};
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use writer::RecordWriter;

/// Records of one kind in the queue, some 300 bytes each: enough for the first seconds of a rush.
const QUEUE_CAPACITY: usize = 32_768;

/// The sinks of both kinds. Clones are cheap and share the queues.
#[derive(Clone, Debug)]
pub struct Recorder {
    pub(crate) refusals: RecordSink<RefusedInvest>,
    pub(crate) payment_calls: RecordSink<PaymentCall>,
}

/// The receiving ends, for [`run_recorder`].
#[derive(Debug)]
pub struct RecorderTask {
    refusals: RecordWriter<RefusedInvest>,
    payment_calls: RecordWriter<PaymentCall>,
}

/// A recorder: its sinks and its task.
pub fn recorder() -> (Recorder, RecorderTask) {
    recorder_with_capacity(QUEUE_CAPACITY)
}

/// The same with queues of this capacity, at least one: for tests of full queues.
#[doc(hidden)]
pub fn recorder_with_capacity(capacity: usize) -> (Recorder, RecorderTask) {
    let budget = Arc::new(RefusalBudget::new(RECORDED));
    let (refusals, refusals_written) = queue(capacity, Some(budget));
    let (payment_calls, calls_written) = queue(capacity, None);
    let recorder_task = RecorderTask {
        refusals: refusals_written,
        payment_calls: calls_written,
    };
    (
        Recorder {
            refusals,
            payment_calls,
        },
        recorder_task,
    )
}

/// Writes records into `pool`'s database until `shutdown`, and then, for 2 s at most, the rest of the queues. Ends as well when the
/// last [`Recorder`] is gone.
pub async fn run_recorder(recorder_task: RecorderTask, pool: Pool, shutdown: CancellationToken) {
    let RecorderTask {
        refusals,
        payment_calls,
    } = recorder_task;
    tokio::join!(
        refusals.write(&pool, &shutdown),
        payment_calls.write(&pool, &shutdown)
    );
}

fn queue<T: Record>(
    capacity: usize,
    budget: Option<Arc<RefusalBudget>>,
) -> (RecordSink<T>, RecordWriter<T>) {
    let (sender, receiver) = mpsc::channel(capacity.max(1));
    let drop_counts = Arc::new(DropCounts::default());
    (
        RecordSink {
            sender,
            budget,
            drop_counts: drop_counts.clone(),
        },
        RecordWriter::new(receiver, drop_counts),
    )
}

/// A row of a table beside the log.
pub(crate) trait Record: Sized + Send {
    /// Its name in `recorder_drops`.
    const KIND: &'static str;
    /// The counter of dropped records.
    const DROPPED_METRIC: &'static str;

    /// Who caused it.
    fn user(&self) -> &str;

    /// Inserts all; a row that exists stays as it is.
    fn write(records: &[Self], pool: &Pool) -> impl Future<Output = sqlx::Result<()>> + Send;
}

/// Takes records of one kind.
#[derive(Debug)]
pub(crate) struct RecordSink<T> {
    sender: mpsc::Sender<T>,
    /// For records that anybody can cause.
    budget: Option<Arc<RefusalBudget>>,
    drop_counts: Arc<DropCounts>,
}

impl<T: Record> RecordSink<T> {
    /// Never waits: with a full queue, or a budget that is used up, the record is dropped and counted.
    pub(crate) fn record(&self, record: T) {
        let may_be_kept = self
            .budget
            .as_ref()
            .is_none_or(|budget| budget.take(record.user()).is_ok());
        if !may_be_kept || self.sender.try_send(record).is_err() {
            self.drop_counts.add::<T>(Reason::Full, 1);
        }
    }
}

impl<T> Clone for RecordSink<T> {
    fn clone(&self) -> Self {
        Self {
            sender: self.sender.clone(),
            budget: self.budget.clone(),
            drop_counts: self.drop_counts.clone(),
        }
    }
}

/// One column of all records.
fn column<'a, N, T>(records: &'a [N], value: impl Fn(&'a N) -> T) -> Vec<T> {
    records.iter().map(value).collect()
}
