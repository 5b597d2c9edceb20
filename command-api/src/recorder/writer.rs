//! Writes records of one kind, at a bounded rate.

use super::Record;
use super::drop_counts::{DropCounts, Reason};
use connection_pool::Pool;
use event_log::RepeatedFault;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

/// Records of one insert. With [`FLUSH_INTERVAL`], at most 2,000 rows a second are written, however many are refused, so that they
/// cannot starve the appends.
const MAX_BATCH_RECORDS: usize = 500;
/// The pause after each batch.
const FLUSH_INTERVAL: Duration = Duration::from_millis(250);
/// Attempts after which a batch is dropped, so that the queue moves on.
const MAX_ATTEMPTS: usize = 2;
/// The pause before the next attempt.
const RETRY_DELAY: Duration = Duration::from_millis(100);
/// How often drops are reported while there are no records to write.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);
/// How long the rest of the queue may take after the shutdown.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(2);

const WRITE_FAULT: &str = "records cannot be written, and are dropped and counted";

/// The receiving end of a queue of records.
#[derive(Debug)]
pub(super) struct RecordWriter<T> {
    queue: mpsc::Receiver<T>,
    drop_counts: Arc<DropCounts>,
    /// When there was last no drop to report.
    reported_at: Instant,
    fault: RepeatedFault,
}

impl<T: Record> RecordWriter<T> {
    pub(super) fn new(queue: mpsc::Receiver<T>, drop_counts: Arc<DropCounts>) -> Self {
        Self {
            queue,
            drop_counts,
            reported_at: Instant::now(),
            fault: RepeatedFault::new(WRITE_FAULT, T::KIND),
        }
    }

    /// Writes until `shutdown` or until all sinks are gone; then the rest of the queue.
    pub(super) async fn write(mut self, pool: &Pool, shutdown: &CancellationToken) {
        let mut records = Vec::with_capacity(MAX_BATCH_RECORDS);
        while let Some(true) = shutdown
            .run_until_cancelled(self.collect(&mut records))
            .await
        {
            // Not cancelled: it may be committed.
            self.write_batch(&mut records, pool).await;
            shutdown.run_until_cancelled(sleep(FLUSH_INTERVAL)).await;
        }
        self.queue.close();
        if timeout(SHUTDOWN_TIMEOUT, self.flush(&mut records, pool))
            .await
            .is_err()
        {
            let left = self.queue.len() + records.len();
            tracing::warn!(
                left,
                kind = T::KIND,
                "the recorder could not write all records before the shutdown"
            );
        }
    }

    /// Waits until there is something to write, or to report. False when all sinks are gone.
    async fn collect(&mut self, records: &mut Vec<T>) -> bool {
        loop {
            self.reset_reported_at();
            match timeout(
                REPORT_INTERVAL,
                self.queue.recv_many(records, MAX_BATCH_RECORDS),
            )
            .await
            {
                Ok(taken) => return taken > 0,
                Err(_) if !self.drop_counts.is_none() => return true,
                Err(_) => {}
            }
        }
    }

    async fn flush(&mut self, records: &mut Vec<T>, pool: &Pool) {
        while !records.is_empty() || self.queue.recv_many(records, MAX_BATCH_RECORDS).await > 0 {
            self.write_batch(records, pool).await;
        }
        if !self.drop_counts.is_none() {
            self.write_batch(records, pool).await;
        }
    }

    async fn write_batch(&mut self, records: &mut Vec<T>, pool: &Pool) {
        for attempt in 1..=MAX_ATTEMPTS {
            match self.attempt(records, pool).await {
                Ok(()) => {
                    self.fault.recovered();
                    break;
                }
                Err(error) => self.fault.failed(&error),
            }
            if attempt < MAX_ATTEMPTS {
                sleep(RETRY_DELAY).await;
            }
        }
        if !records.is_empty() {
            self.drop_counts
                .add::<T>(Reason::Database, records.len() as u64);
            records.clear();
        }
        self.reset_reported_at();
    }

    /// Writes the records, and then the counts of drops.
    async fn attempt(&mut self, records: &mut Vec<T>, pool: &Pool) -> sqlx::Result<()> {
        if !records.is_empty() {
            T::write(records, pool).await?;
            records.clear();
        }
        self.drop_counts.report::<T>(pool, self.reported_at).await
    }

    fn reset_reported_at(&mut self) {
        if self.drop_counts.is_none() {
            self.reported_at = Instant::now();
        }
    }
}
