//! The fold of a read model: one piece of code, whoever writes what comes of it. Live, and when a gap is healed, it works
//! on the rows that a batch touches and they are written in statements; a rebuild folds a whole partition and copies.

use crate::copy::Copy;
use connection_pool::Connection;
use event_log::consume::{ApplyError, Projection};
use event_log::{Partition, RecordedEvent};
use tokio::sync::mpsc;

/// A projection whose tables can be made anew, beside the live ones.
pub(crate) trait ReadModel: Projection + Default {
    /// All tables it keeps, and nobody else.
    const TABLES: &'static [Table];
    /// How its rows come of events.
    type Fold: Fold;
}

/// A table of a read model.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Table {
    pub(crate) name: &'static str,
    /// Its columns, in the order in which they are copied.
    pub(crate) columns: &'static str,
    /// Whether a row is partition `$1`'s of `$2`, in SQL.
    pub(crate) is_in_partition: &'static str,
}

impl Table {
    /// One whose rows are each of one product.
    pub(crate) const fn by_product(name: &'static str, columns: &'static str) -> Self {
        Self { name, columns, is_in_partition: "product_id % $2 = $1" }
    }

    /// One whose rows are each of one partition.
    pub(crate) const fn by_partition(name: &'static str, columns: &'static str) -> Self {
        Self { name, columns, is_in_partition: "partition = $1 and $2 > 0" }
    }
}

/// Rows in memory, as events leave them.
pub(crate) trait Fold: Default + Send + 'static {
    /// The rows that `events` touch, as they stand in the tables.
    fn read(transaction: &mut Connection, events: &[RecordedEvent]) -> impl Future<Output = sqlx::Result<Self>> + Send;

    /// Follows one event; of one partition, in order and without a hole.
    fn follow(&mut self, event: &RecordedEvent) -> Result<(), ApplyError>;

    /// Writes what is different from what was read.
    fn write(
        &self,
        transaction: &mut Connection,
        partition: Partition,
    ) -> impl Future<Output = sqlx::Result<()>> + Send;

    /// Hands over the rows that no later event will change, and forgets them: a fold of everything must fit in memory.
    fn copy_finished(&mut self, _: &mut Copy) {}

    /// Hands over all rows there are left. Nothing was read before.
    fn copy_rest(self, partition: Partition, copy: &mut Copy);
}

/// What every read model does with a batch.
pub(crate) async fn apply<F: Fold>(transaction: &mut Connection, events: &[RecordedEvent]) -> Result<(), ApplyError> {
    let Some(partition) = events.first().map(|event| event.partition) else { return Ok(()) };
    let mut fold = F::read(transaction, events).await?;
    for event in events {
        fold.follow(event)?;
    }
    Ok(fold.write(transaction, partition).await?)
}

/// Follows what comes, in memory and to its end, and passes rows on; `passed` hears of each chunk. Ends early when nobody
/// takes rows any more. Blocks.
pub(crate) fn follow_all<F: Fold>(
    partition: Partition,
    mut chunks: mpsc::Receiver<Vec<RecordedEvent>>,
    mut copy: Copy,
    mut passed: impl FnMut(&[RecordedEvent]),
) -> Result<(), ApplyError> {
    let mut fold = F::default();
    while let Some(events) = chunks.blocking_recv() {
        for event in &events {
            fold.follow(event)?;
        }
        fold.copy_finished(&mut copy);
        passed(&events);
        if copy.is_given_up() {
            return Ok(());
        }
    }
    fold.copy_rest(partition, &mut copy);
    copy.finish();
    Ok(())
}
