//! Folds partitions from position 0, in bulk: reading, folding and copying run in parallel.

use super::{JobError, Rebuild};
use crate::copy_writer::{CopyChunk, CopyWriter};
use crate::fold::{self, FoldError, ReadModel};
use event_log::consume::ApplyError;
use event_log::{Hash, LogError, Partition, Position, RecordedEvent};
use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _, stream};
use std::sync::atomic::Ordering;
use tokio::sync::{Semaphore, mpsc};

/// Partitions that one process folds at a time, of all its jobs together. Each fold keeps a connection of the log's pool, of which a process
/// that only follows the log has four, and others need one.
const MAX_CONCURRENT_FOLDS: usize = 3;
static FOLD_PERMITS: Semaphore = Semaphore::const_new(MAX_CONCURRENT_FOLDS);

impl<M: ReadModel> Rebuild<M> {
    /// Folds every partition that is not complete yet, up to its target.
    pub(super) async fn fold_all(&self, targets: &[Position]) -> Result<(), JobError> {
        let complete: Vec<(Partition, Position)> =
            sqlx::query_as("select partition, position from checkpoints where consumer = $1")
                .bind(self.schema())
                .fetch_all(&self.pool)
                .await?;
        self.progress.done.store(
            complete.iter().map(|(_, position)| position).sum(),
            Ordering::Relaxed,
        );
        let left = (0..)
            .zip(targets)
            .filter(|(partition, _)| complete.iter().all(|(done, _)| done != partition));
        let folding: Vec<_> = left
            .map(|(partition, target)| self.fold_partition(partition, *target).boxed())
            .collect();
        stream::iter(folding)
            .buffer_unordered(self.throttle.concurrent_folds())
            .try_collect()
            .await
    }

    async fn fold_partition(&self, partition: Partition, target: Position) -> Result<(), JobError> {
        // It is never closed.
        let _permit = FOLD_PERMITS.acquire().await.ok();
        self.clear(partition).await?;
        let (chunks, ready) = CopyWriter::channel();
        let progress = self.progress.clone();
        let applied = move |events: &[RecordedEvent]| {
            progress
                .done
                .fetch_add(events.len() as i64, Ordering::Relaxed);
        };
        let copy = CopyWriter::new(M::TABLES.len(), chunks);
        let (events, folding) = fold::start_fold::<M::Fold>(partition, copy, applied);
        let (folded, read, copied) = tokio::join!(
            folding,
            self.read(partition, target, events),
            self.copy_all(ready)
        );
        // One of them that fails ends the others too: the first fault is reported.
        copied?;
        let last_hash = match folded {
            Err(FoldError::Apply(ApplyError::Event { position, reason })) => {
                return Err(self.stuck_at(partition, position, &reason).await);
            }
            Err(FoldError::Apply(ApplyError::Database(error))) => return Err(error.into()),
            Err(FoldError::Panicked(error)) => {
                return Err(JobError::Retryable(format!("the fold panicked: {error}")));
            }
            Ok(last_hash) => last_hash,
        };
        read?;
        self.complete(partition, target, last_hash).await
    }

    /// Removes the partition's rows of an earlier attempt.
    async fn clear(&self, partition: Partition) -> Result<(), JobError> {
        let (schema, partitions) = (self.schema(), self.log.identity().partitions);
        let mut transaction = self.begin().await?;
        for table in M::TABLES {
            let delete = format!(
                "delete from {schema}.{} where {}",
                table.name, table.is_in_partition
            );
            sqlx::query(&delete)
                .bind(partition)
                .bind(partitions)
                .execute(&mut *transaction)
                .await?;
        }
        Ok(transaction.commit().await?)
    }

    /// Reads the partition and sends it to the fold, until that ends.
    async fn read(
        &self,
        partition: Partition,
        target: Position,
        events: mpsc::Sender<Vec<RecordedEvent>>,
    ) -> Result<(), JobError> {
        let mut reader = self.log.bulk().await?;
        let mut at = 0;
        while at < target {
            let upto = target.min(at + self.throttle.chunk());
            let chunk = match reader.read(partition, at, upto).await {
                Err(LogError::Broken {
                    partition,
                    position,
                    reason,
                }) => {
                    return Err(self.stuck_at(partition, position, &reason).await);
                }
                read => read?,
            };
            let Some(last) = chunk.last().map(|event| event.position) else {
                return Err(JobError::Fatal(format!(
                    "partition {partition} ends at {at}, before {target}"
                )));
            };
            let passed = last - at;
            at = last;
            if events.send(chunk).await.is_err() {
                return Ok(());
            }
            self.throttle.pass(passed).await;
        }
        Ok(())
    }

    async fn copy_all(&self, mut ready: mpsc::Receiver<CopyChunk>) -> Result<(), JobError> {
        let schema = self.schema();
        let mut connection = self.pool.acquire().await?;
        // A copy that is dropped half way leaves replies on the connection that its next user would read as his own.
        connection.close_on_drop();
        while let Some(chunk) = ready.recv().await {
            let mut transaction = connection.begin().await?;
            if !self.lease.verify_held(&mut transaction).await? {
                return Err(JobError::LeaseLost);
            }
            fold::copy_chunk(&mut transaction, Some(&schema), M::TABLES, chunk).await?;
            transaction.commit().await?;
        }
        Ok(())
    }

    /// Stores the partition's checkpoint at `target`: it is complete, and from then on consumers keep it up to date.
    async fn complete(
        &self,
        partition: Partition,
        target: Position,
        last_hash: Option<Hash>,
    ) -> Result<(), JobError> {
        let mut transaction = self.begin().await?;
        sqlx::query(
            "insert into checkpoints (consumer, partition, position, hash, code_version) values ($1, $2, $3, $4, $5)",
        )
        .bind(self.schema())
        .bind(partition)
        .bind(target)
        .bind(last_hash.as_ref().map(Hash::as_slice))
        .bind(M::VERSION)
        .execute(&mut *transaction)
        .await?;
        Ok(transaction.commit().await?)
    }

    /// The error that names the event at which the job cannot continue.
    async fn stuck_at(&self, partition: Partition, position: Position, reason: &str) -> JobError {
        let found = self
            .log
            .raw_after(partition, position - 1, 1)
            .await
            .unwrap_or_default();
        let id = found
            .first()
            .filter(|event| event.position == position)
            .map(|event| event.event_id);
        let Some(id) = id else {
            return JobError::Fatal(format!(
                "partition {partition} position {position}: {reason}"
            ));
        };
        // The reason names the event already when it cannot be read.
        let reason = reason
            .strip_prefix(&format!("event {id}: "))
            .unwrap_or(reason);
        JobError::Fatal(format!(
            "partition {partition} position {position} (event {id}): {reason}"
        ))
    }
}
