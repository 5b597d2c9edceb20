//! A partition from position 0, in bulk: one reads, one folds, one copies, all at the same time.

use super::{FOLDERS, Fault, Progress, Rebuild};
use crate::copy::{Copy, Rows};
use crate::fold::{self, Fold, ReadModel, Table};
use event_log::consume::ApplyError;
use event_log::{Hash, LogError, Partition, Position, RecordedEvent};
use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _, stream};
use std::sync::atomic::Ordering;
use tokio::sync::mpsc;

/// Chunks that were read and wait to be folded.
const READ_AHEAD: usize = 2;

impl<M: ReadModel> Rebuild<M> {
    /// Folds every partition that is not, up to `targets`.
    pub(super) async fn fold_all(&self, targets: &[Position]) -> Result<(), Fault> {
        let made: Vec<(Partition, Position)> =
            sqlx::query_as("select partition, position from checkpoints where consumer = $1")
                .bind(self.slot())
                .fetch_all(&self.pool)
                .await?;
        self.progress.done.store(made.iter().map(|(_, position)| position).sum(), Ordering::Relaxed);
        let left = (0..).zip(targets).filter(|(partition, _)| made.iter().all(|(known, _)| known != partition));
        let folding: Vec<_> = left.map(|(partition, target)| self.fold_partition(partition, *target).boxed()).collect();
        stream::iter(folding).buffer_unordered(FOLDERS).try_collect().await
    }

    async fn fold_partition(&self, partition: Partition, target: Position) -> Result<(), Fault> {
        self.clear(partition).await?;
        let (events, chunks) = mpsc::channel(READ_AHEAD);
        let (copy, ready) = Copy::new(M::TABLES.len());
        let progress = self.progress.clone();
        let folding = tokio::task::spawn_blocking(move || fold::<M::Fold>(partition, chunks, copy, &progress));
        let (folded, read, copied) = tokio::join!(folding, self.read(partition, target, events), self.copy_all(ready));
        // Who can no longer pass on what it has ends, too: the fault that was first is in the others' way.
        copied?;
        let last = match folded.map_err(|error| Fault::Trouble(format!("the fold broke down: {error}")))? {
            Err(ApplyError::Event { position, reason }) => return Err(self.poison(partition, position, &reason).await),
            Err(ApplyError::Database(error)) => return Err(error.into()),
            Ok(last) => last,
        };
        read?;
        self.is_made(partition, target, last).await
    }

    /// Removes what an earlier try left of the partition.
    async fn clear(&self, partition: Partition) -> Result<(), Fault> {
        let (slot, partitions) = (self.slot(), self.log.identity().partitions);
        let mut transaction = self.begin().await?;
        for table in M::TABLES {
            let delete = format!("delete from {slot}.{} where {}", table.name, table.is_in_partition);
            sqlx::query(&delete).bind(partition).bind(partitions).execute(&mut *transaction).await?;
        }
        Ok(transaction.commit().await?)
    }

    /// Reads the partition, until nobody wants it any more.
    async fn read(
        &self,
        partition: Partition,
        target: Position,
        events: mpsc::Sender<Vec<RecordedEvent>>,
    ) -> Result<(), Fault> {
        let mut reader = self.log.bulk().await?;
        let mut at = 0;
        while at < target {
            let upto = target.min(at + self.throttle.chunk());
            let chunk = match reader.read(partition, at, upto).await {
                Err(LogError::Broken { partition, position, reason }) => {
                    return Err(self.poison(partition, position, &reason).await);
                }
                read => read?,
            };
            let Some(last) = chunk.last().map(|event| event.position) else {
                return Err(Fault::Final(format!("partition {partition} ends at {at}, before {target}")));
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

    async fn copy_all(&self, mut ready: mpsc::Receiver<Rows>) -> Result<(), Fault> {
        let slot = self.slot();
        let mut connection = self.pool.acquire().await?;
        // A copy that is given up half way leaves answers on the line that whoever came next would take for his own.
        connection.close_on_drop();
        while let Some(Rows { table, data }) = ready.recv().await {
            let Table { name, columns, .. } = M::TABLES[table];
            let mut transaction = connection.begin().await?;
            if !self.lease.guard(&mut transaction).await? {
                return Err(Fault::Lost);
            }
            let statement = format!("copy {slot}.{name} ({columns}) from stdin (format binary)");
            let mut copying = transaction.copy_in_raw(&statement).await?;
            copying.send(data).await?;
            copying.finish().await?;
            transaction.commit().await?;
        }
        Ok(())
    }

    /// Writes down that the partition stands at `target`: from then on it is followed like any other.
    async fn is_made(&self, partition: Partition, target: Position, last: Option<Hash>) -> Result<(), Fault> {
        let mut transaction = self.begin().await?;
        sqlx::query(
            "insert into checkpoints (consumer, partition, position, hash, code_version) values ($1, $2, $3, $4, $5)",
        )
        .bind(self.slot())
        .bind(partition)
        .bind(target)
        .bind(last.as_ref().map(Hash::as_slice))
        .bind(M::VERSION)
        .execute(&mut *transaction)
        .await?;
        Ok(transaction.commit().await?)
    }

    /// An event that ends the job, named.
    async fn poison(&self, partition: Partition, position: Position, reason: &str) -> Fault {
        let found = self.log.stored_after(partition, position - 1, 1).await.unwrap_or_default();
        let id = found.first().filter(|event| event.position == position).map(|event| event.event_id);
        let Some(id) = id else { return Fault::Final(format!("partition {partition} position {position}: {reason}")) };
        // One that cannot be read names its event already.
        let reason = reason.strip_prefix(&format!("event {id}: ")).unwrap_or(reason);
        Fault::Final(format!("partition {partition} position {position} (event {id}): {reason}"))
    }
}

/// Folds what comes, to its end, and passes rows on; says what the last event's hash was.
fn fold<F: Fold>(
    partition: Partition,
    chunks: mpsc::Receiver<Vec<RecordedEvent>>,
    copy: Copy,
    progress: &Progress,
) -> Result<Option<Hash>, ApplyError> {
    let mut last = None;
    fold::follow_all::<F>(partition, chunks, copy, |events| {
        last = events.last().map(|event| event.hash).or(last);
        progress.done.fetch_add(events.len() as i64, Ordering::Relaxed);
    })?;
    Ok(last)
}
