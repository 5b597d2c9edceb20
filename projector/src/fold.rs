//! The fold of a read model: one piece of code for all who write its rows. A live consumer folds a batch over the rows that it
//! touches and writes them in statements; a rebuild, and a view as of a position, fold a whole partition and copy its rows.

use crate::copy_writer::{CopyChunk, CopyWriter};
use connection_pool::Connection;
use event_log::consume::{ApplyError, Projection};
use event_log::{Hash, Partition, RecordedEvent};
use tokio::sync::mpsc;
use tokio::task::JoinError;

/// Chunks of events that were read and wait to be folded.
const READ_AHEAD_CHUNKS: usize = 2;
/// Partitions that are folded at the same time.
pub(crate) const CONCURRENT_FOLDS: usize = 2;

/// A projection whose tables can be rebuilt in a standby generation.
pub(crate) trait ReadModel: Projection + Default {
    /// All its tables; no other code writes them.
    const TABLES: &'static [Table];
    /// How events change its rows.
    type Fold: Fold;
}

/// A table of a read model.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Table {
    pub(crate) name: &'static str,
    /// Its columns, in the order in which they are copied.
    pub(crate) columns: &'static str,
    /// Whether a row belongs to partition `$1` of `$2`, in SQL.
    pub(crate) is_in_partition: &'static str,
}

impl Table {
    /// A table whose rows belong to one product each.
    pub(crate) const fn by_product(name: &'static str, columns: &'static str) -> Self {
        Self {
            name,
            columns,
            is_in_partition: "product_id % $2 = $1",
        }
    }

    /// A table whose rows belong to one partition each.
    pub(crate) const fn by_partition(name: &'static str, columns: &'static str) -> Self {
        Self {
            name,
            columns,
            is_in_partition: "partition = $1 and $2 > 0",
        }
    }
}

/// The state of a fold: rows in memory, changed by events.
pub(crate) trait Fold: Default + Send + 'static {
    /// Reads the rows that `events` touch from the tables.
    fn read(
        transaction: &mut Connection,
        events: &[RecordedEvent],
    ) -> impl Future<Output = sqlx::Result<Self>> + Send;

    /// Applies one event; events are of one partition, in order and without a gap.
    fn apply(&mut self, event: &RecordedEvent) -> Result<(), ApplyError>;

    /// Emits the rows that were not read: the new ones, or all when nothing was read.
    fn emit_new(&self, partition: Partition, copy: &mut CopyWriter);

    /// Changes the rows that were read and differ, and removes those that are gone.
    fn update(
        &self,
        transaction: &mut Connection,
        partition: Partition,
    ) -> impl Future<Output = sqlx::Result<()>> + Send;

    /// Emits the rows that no later event can change, and forgets them: a fold of a whole partition must fit in memory.
    fn emit_finished(&mut self, _: &mut CopyWriter) {}
}

/// Applies a batch: what every read model does in the transaction that moves its checkpoint. New rows are copied, which costs the
/// server less than half of an `insert`.
pub(crate) async fn apply_batch<M: ReadModel>(
    transaction: &mut Connection,
    events: &[RecordedEvent],
) -> Result<(), ApplyError> {
    let Some(partition) = events.first().map(|event| event.partition) else {
        return Ok(());
    };
    let mut fold = M::Fold::read(transaction, events).await?;
    for event in events {
        fold.apply(event)?;
    }
    let mut new = CopyWriter::of_step(M::TABLES.len());
    fold.emit_new(partition, &mut new);
    for chunk in new.into_chunks() {
        copy_chunk(transaction, None, M::TABLES, chunk).await?;
    }
    Ok(fold.update(transaction, partition).await?)
}

/// Why a partition could not be folded.
pub(crate) enum FoldError {
    /// An event cannot be applied, or the database did not answer.
    Apply(ApplyError),
    /// The fold panicked.
    Panicked(JoinError),
}

/// Starts to fold a partition in memory, from the events that are sent to the returned channel; the rows go to `copy`.
/// `applied` hears of each chunk of events. The future ends with the fold and returns the hash of the last event.
pub(crate) fn start_fold<F: Fold>(
    partition: Partition,
    copy: CopyWriter,
    applied: impl FnMut(&[RecordedEvent]) + Send + 'static,
) -> (
    mpsc::Sender<Vec<RecordedEvent>>,
    impl Future<Output = Result<Option<Hash>, FoldError>> + Send,
) {
    let (events, chunks) = mpsc::channel(READ_AHEAD_CHUNKS);
    let folding =
        tokio::task::spawn_blocking(move || fold_stream::<F>(partition, chunks, copy, applied));
    let folded = async {
        folding
            .await
            .map_err(FoldError::Panicked)?
            .map_err(FoldError::Apply)
    };
    (events, folded)
}

/// Folds a stream of events to its end; ends early when nobody copies the rows any more. Blocks.
fn fold_stream<F: Fold>(
    partition: Partition,
    mut chunks: mpsc::Receiver<Vec<RecordedEvent>>,
    mut copy: CopyWriter,
    mut applied: impl FnMut(&[RecordedEvent]),
) -> Result<Option<Hash>, ApplyError> {
    let (mut fold, mut last_hash) = (F::default(), None);
    while let Some(events) = chunks.blocking_recv() {
        for event in &events {
            fold.apply(event)?;
        }
        fold.emit_finished(&mut copy);
        applied(&events);
        last_hash = events.last().map(|event| event.hash).or(last_hash);
        if copy.is_abandoned() {
            return Ok(last_hash);
        }
    }
    fold.emit_new(partition, &mut copy);
    copy.finish();
    Ok(last_hash)
}

/// Copies a chunk of rows into its table of `tables`, in `schema` or where the search path leads.
pub(crate) async fn copy_chunk(
    connection: &mut Connection,
    schema: Option<&str>,
    tables: &[Table],
    CopyChunk { table, data }: CopyChunk,
) -> sqlx::Result<()> {
    let Table { name, columns, .. } = tables[table];
    let table = schema.map_or_else(|| name.into(), |schema| format!("{schema}.{name}"));
    let statement = format!("copy {table} ({columns}) from stdin (format binary)");
    let mut copying = connection.copy_in_raw(&statement).await?;
    copying.send(data).await?;
    copying.finish().await?;
    Ok(())
}
