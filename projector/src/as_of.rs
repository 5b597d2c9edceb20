//! A read model as it stood: folded from the log by its own code up to a position in each partition, into temporary tables
//! of one connection. They bear the live tables' names and are found first, so that the views' own statements show them.

use crate::copy::{Copy, Rows};
use crate::fold::{self, Fold, ReadModel, Table};
use crate::generation::tables;
use chrono::{DateTime, Utc};
use connection_pool::{Connection, Pool};
use domain::{ProductEvent, ProductId, UserId};
use event_log::consume::{ApplyError, Projection};
use event_log::{BulkReader, Log, LogError, Partition, Position, RecordedEvent};
use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _, stream};
use std::collections::HashMap;
use tokio::sync::mpsc;

/// Partitions that are folded at the same time.
const FOLDERS: usize = 2;
/// Ranges that were read and wait to be folded.
const READ_AHEAD: usize = 2;

/// Which products' streams are folded. A read model's rows of a product come of its own stream alone.
#[derive(Clone, Debug)]
pub enum Streams {
    /// One product's.
    Of(ProductId),
    /// Of all products in which something happened to the user.
    OfUser(UserId),
    /// Of all products whose window this time is in.
    OpenAt(DateTime<Utc>),
}

/// Why a read model could not be folded.
#[derive(Debug, thiserror::Error)]
pub enum AsOfError {
    /// The log could not be read, or is broken.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The database said no, or nothing.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    /// The projection refuses an event of the log.
    #[error("the event at partition {partition} position {position} cannot be applied: {reason}")]
    Event {
        /// Its partition.
        partition: Partition,
        /// Its position.
        position: Position,
        /// What is wrong.
        reason: String,
    },
    /// Folding broke down.
    #[error("the fold broke down: {0}")]
    Fold(#[from] tokio::task::JoinError),
}

/// The read model `projection` at `positions`, one for each partition, of these streams alone: a connection on which its
/// tables, and `checkpoints`, are that. They go with the connection, which is never given back to `pool`. Memory as a
/// rebuild's, for the streams that are folded.
///
/// # Errors
/// See [`AsOfError`]; a name that is no read model's is [`sqlx::Error::RowNotFound`].
pub async fn as_of(
    projection: &str,
    log: &Log,
    pool: &Pool,
    positions: &[Position],
    streams: &Streams,
) -> Result<Connection, AsOfError> {
    macro_rules! dispatch {
        ($($model:ident),*) => {
            match projection {
                $(<crate::$model as Projection>::NAME => {
                    model_as_of::<crate::$model>(log, pool, positions, streams).await
                })*
                _ => Err(sqlx::Error::RowNotFound.into()),
            }
        };
    }
    crate::read_models!(dispatch)
}

async fn model_as_of<M: ReadModel>(
    log: &Log,
    pool: &Pool,
    positions: &[Position],
    streams: &Streams,
) -> Result<Connection, AsOfError> {
    let mut connection = pool.acquire().await?;
    // What is temporary is gone with it, also when this is given up half way.
    connection.close_on_drop();
    tables::create_temporary(&mut connection, M::NAME, M::VERSION).await?;
    tables::stand_at(&mut connection, M::NAME, positions).await?;
    let (full, ready) = Copy::channel();
    let folding = log.partitions().zip(positions).map(|(partition, upto)| {
        let copy = Copy::into(M::TABLES.len(), full.clone());
        fold_partition::<M::Fold>(log, partition, *upto, streams, copy).boxed()
    });
    let folding: Vec<_> = folding.collect();
    drop(full);
    let folded = stream::iter(folding).buffer_unordered(FOLDERS).try_collect::<()>();
    // When the copying fails, nobody takes rows any more, and the folds end by themselves.
    let (folded, copied) = tokio::join!(folded, copy_all(&mut connection, M::TABLES, ready));
    copied?;
    folded?;
    Ok(connection)
}

async fn fold_partition<F: Fold>(
    log: &Log,
    partition: Partition,
    upto: Position,
    streams: &Streams,
    copy: Copy,
) -> Result<(), AsOfError> {
    let mut reader = log.bulk().await?;
    let products = streams.found(log, &mut reader, partition, upto).await?;
    let (events, chunks) = mpsc::channel(READ_AHEAD);
    let folding = tokio::task::spawn_blocking(move || fold::follow_all::<F>(partition, chunks, copy, |_| {}));
    let reading = read(&mut reader, partition, upto, &products, events);
    let (folded, read) = tokio::join!(folding, reading);
    match folded? {
        Err(ApplyError::Event { position, reason }) => return Err(AsOfError::Event { partition, position, reason }),
        Err(ApplyError::Database(error)) => return Err(error.into()),
        Ok(()) => {}
    }
    read
}

/// Reads the streams, until nobody wants them any more.
async fn read(
    reader: &mut BulkReader,
    partition: Partition,
    upto: Position,
    products: &[ProductId],
    events: mpsc::Sender<Vec<RecordedEvent>>,
) -> Result<(), AsOfError> {
    let mut whole = Whole::default();
    for range in ranges(upto).filter(|_| !products.is_empty()) {
        let chunk = reader.streams(partition, range, products).await?;
        whole.follow(&chunk)?;
        if events.send(chunk).await.is_err() {
            return Ok(());
        }
    }
    Ok(())
}

/// That no event of a stream is left out: each sequence follows the one before.
#[derive(Default)]
struct Whole {
    sequences: HashMap<ProductId, i64>,
}

impl Whole {
    fn follow(&mut self, events: &[RecordedEvent]) -> Result<(), LogError> {
        for event in events {
            let last = self.sequences.entry(event.product_id).or_default();
            *last += 1;
            if event.sequence != *last {
                let reason = format!("the stream of product {} has a hole before it", event.product_id);
                return Err(LogError::Broken { partition: event.partition, position: event.position, reason });
            }
        }
        Ok(())
    }
}

impl Streams {
    /// Those that there are in a partition up to and with a position; maybe more.
    async fn found(
        &self,
        log: &Log,
        reader: &mut BulkReader,
        partition: Partition,
        upto: Position,
    ) -> Result<Vec<ProductId>, LogError> {
        match self {
            Self::Of(product) => {
                Ok(Some(*product).filter(|it| log.partition_of(*it) == partition).into_iter().collect())
            }
            Self::OfUser(user) => {
                let mut products = Vec::new();
                for range in ranges(upto) {
                    products.extend(reader.products_of(partition, range, user.as_str()).await?);
                }
                products.sort_unstable_by_key(|product| product.get());
                products.dedup();
                Ok(products)
            }
            Self::OpenAt(time) => {
                let mut products = Vec::new();
                for range in ranges(upto) {
                    let beginnings = reader.beginnings(partition, range).await?;
                    products.extend(beginnings.iter().filter(|it| is_open_at(it, *time)).map(|it| it.product_id));
                }
                Ok(products)
            }
        }
    }
}

/// Whether the product's window has `time` in it. A stream that begins otherwise is its projection's to refuse.
fn is_open_at(beginning: &RecordedEvent, time: DateTime<Utc>) -> bool {
    match &beginning.event {
        ProductEvent::ProductOpened { started_at, finished_at, .. } => *started_at <= time && time < *finished_at,
        ProductEvent::InvestReserved { .. }
        | ProductEvent::InvestSettled { .. }
        | ProductEvent::InvestFailed { .. }
        | ProductEvent::ProductClosed {} => true,
    }
}

/// All positions up to and with `upto`, in ranges after one and up to another.
fn ranges(upto: Position) -> impl Iterator<Item = (Position, Position)> {
    let step = BulkReader::RANGE;
    (0..upto).step_by(step as usize).map(move |after| (after, upto.min(after + step)))
}

async fn copy_all(connection: &mut Connection, tables: &[Table], mut ready: mpsc::Receiver<Rows>) -> sqlx::Result<()> {
    while let Some(Rows { table, data }) = ready.recv().await {
        let Table { name, columns, .. } = tables[table];
        let mut copying =
            connection.copy_in_raw(&format!("copy pg_temp.{name} ({columns}) from stdin (format binary)")).await?;
        copying.send(data).await?;
        copying.finish().await?;
    }
    Ok(())
}
