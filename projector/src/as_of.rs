//! A read model as of a position in each partition: its own code folds the log up to there, into temporary tables of one
//! connection. They have the live tables' names and come first in the search path, so the views' own statements show them.

use crate::copy_writer::{CopyChunk, CopyWriter};
use crate::fold::{self, CONCURRENT_FOLDS, Fold, FoldError, ReadModel};
use crate::generation::tables;
use chrono::{DateTime, Utc};
use connection_pool::{Connection, Pool};
use domain::{ProductEvent, ProductId, UserId};
use event_log::consume::ApplyError;
use event_log::{BulkReader, Log, LogError, Partition, Position, RecordedEvent};
use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _, stream};
use std::collections::HashMap;
use tokio::sync::mpsc;

/// Which products' streams are folded. A read model's rows of a product depend on its own stream alone.
#[derive(Clone, Debug)]
pub enum Streams {
    /// One product's.
    Of(ProductId),
    /// Of all products in which the user has events.
    OfUser(UserId),
    /// Of all products that are open at this time.
    OpenAt(DateTime<Utc>),
}

/// Why a read model could not be folded.
#[derive(Debug, thiserror::Error)]
pub enum AsOfError {
    /// The log could not be read, or is broken.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The database refused, or did not answer.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    /// The projection cannot apply an event.
    #[error("the event at partition {partition} position {position} cannot be applied: {reason}")]
    Event {
        /// Its partition.
        partition: Partition,
        /// Its position.
        position: Position,
        /// What is wrong.
        reason: String,
    },
    /// The fold panicked.
    #[error("the fold panicked: {0}")]
    Fold(tokio::task::JoinError),
}

impl AsOfError {
    fn of(partition: Partition, error: FoldError) -> Self {
        match error {
            FoldError::Apply(ApplyError::Event { position, reason }) => Self::Event {
                partition,
                position,
                reason,
            },
            FoldError::Apply(ApplyError::Database(error)) => Self::Database(error),
            FoldError::Panicked(error) => Self::Fold(error),
        }
    }
}

/// The read model `projection` at `positions`, one for each partition, of these streams alone: a connection on which its
/// tables, and `checkpoints`, are that. They end with the connection, which never returns to `pool`. Needs as much memory as a
/// rebuild of these streams.
///
/// # Errors
/// See [`AsOfError`]; the name of an unknown read model is [`sqlx::Error::RowNotFound`].
pub async fn as_of(
    projection: &str,
    log: &Log,
    pool: &Pool,
    positions: &[Position],
    streams: &Streams,
) -> Result<Connection, AsOfError> {
    with_model!(
        projection,
        Model => model_as_of::<Model>(log, pool, positions, streams).await,
        _ => Err(sqlx::Error::RowNotFound.into()),
    )
}

async fn model_as_of<M: ReadModel>(
    log: &Log,
    pool: &Pool,
    positions: &[Position],
    streams: &Streams,
) -> Result<Connection, AsOfError> {
    let mut connection = pool.acquire().await?;
    // The temporary tables end with it, also when this future is dropped.
    connection.close_on_drop();
    tables::create_temporary(&mut connection, M::NAME, M::VERSION).await?;
    tables::set_positions(&mut connection, M::NAME, positions).await?;
    let (chunks, ready) = CopyWriter::channel();
    let folding = log.partitions().zip(positions).map(|(partition, upto)| {
        let copy = CopyWriter::new(M::TABLES.len(), chunks.clone());
        fold_partition::<M::Fold>(log, partition, *upto, streams, copy).boxed()
    });
    let folding: Vec<_> = folding.collect();
    drop(chunks);
    let folded = stream::iter(folding)
        .buffer_unordered(CONCURRENT_FOLDS)
        .try_collect::<()>();
    // When the copying fails, nobody takes rows any more, and the folds end by themselves.
    let (folded, copied) = tokio::join!(folded, copy_all::<M>(&mut connection, ready));
    copied?;
    folded?;
    Ok(connection)
}

async fn fold_partition<F: Fold>(
    log: &Log,
    partition: Partition,
    upto: Position,
    streams: &Streams,
    copy: CopyWriter,
) -> Result<(), AsOfError> {
    let mut reader = log.bulk().await?;
    let products = streams.find(log, &mut reader, partition, upto).await?;
    let (events, folding) = fold::start_fold::<F>(partition, copy, |_| {});
    let (folded, read) = tokio::join!(
        folding,
        read(&mut reader, partition, upto, &products, events)
    );
    folded.map_err(|error| AsOfError::of(partition, error))?;
    read
}

/// Copies the rows into the temporary tables.
async fn copy_all<M: ReadModel>(
    connection: &mut Connection,
    mut ready: mpsc::Receiver<CopyChunk>,
) -> sqlx::Result<()> {
    while let Some(chunk) = ready.recv().await {
        fold::copy_chunk(connection, Some("pg_temp"), M::TABLES, chunk).await?;
    }
    Ok(())
}

/// Reads the streams and sends them to the fold, until it ends.
async fn read(
    reader: &mut BulkReader,
    partition: Partition,
    upto: Position,
    products: &[ProductId],
    events: mpsc::Sender<Vec<RecordedEvent>>,
) -> Result<(), AsOfError> {
    let mut sequence_check = SequenceCheck::default();
    for range in ranges(upto).filter(|_| !products.is_empty()) {
        let chunk = reader.streams(partition, range, products).await?;
        sequence_check.check(&chunk)?;
        if events.send(chunk).await.is_err() {
            return Ok(());
        }
    }
    Ok(())
}

/// Checks that no event of a stream is missing: each sequence follows the one before.
#[derive(Default)]
struct SequenceCheck {
    sequences: HashMap<ProductId, i64>,
}

impl SequenceCheck {
    fn check(&mut self, events: &[RecordedEvent]) -> Result<(), LogError> {
        for event in events {
            let last = self.sequences.entry(event.product_id).or_default();
            *last += 1;
            if event.sequence != *last {
                let reason = format!(
                    "the stream of product {} has a gap before it",
                    event.product_id
                );
                return Err(LogError::Broken {
                    partition: event.partition,
                    position: event.position,
                    reason,
                });
            }
        }
        Ok(())
    }
}

impl Streams {
    /// The products with these streams in a partition, up to and including a position; possibly more.
    async fn find(
        &self,
        log: &Log,
        reader: &mut BulkReader,
        partition: Partition,
        upto: Position,
    ) -> Result<Vec<ProductId>, LogError> {
        match self {
            Self::Of(product) => Ok(Some(*product)
                .filter(|it| log.partition_of(*it) == partition)
                .into_iter()
                .collect()),
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
                    products.extend(
                        beginnings
                            .iter()
                            .filter(|it| is_open_at(it, *time))
                            .map(|it| it.product_id),
                    );
                }
                Ok(products)
            }
        }
    }
}

/// Whether the product is open at `time`. A stream that begins with another event is refused by its projection.
fn is_open_at(beginning: &RecordedEvent, time: DateTime<Utc>) -> bool {
    match &beginning.event {
        ProductEvent::ProductOpened {
            started_at,
            finished_at,
            ..
        } => *started_at <= time && time < *finished_at,
        ProductEvent::InvestReserved { .. }
        | ProductEvent::InvestSettled { .. }
        | ProductEvent::InvestFailed { .. }
        | ProductEvent::InvestWithdrawn { .. }
        | ProductEvent::InvestRefunded { .. }
        | ProductEvent::ProductClosed {}
        | ProductEvent::ProductCancelled { .. }
        | ProductEvent::ProductFailed { .. } => true,
    }
}

/// All positions up to and including `upto`, as ranges (after, up to and including).
fn ranges(upto: Position) -> impl Iterator<Item = (Position, Position)> {
    let step = BulkReader::MAX_POSITIONS_PER_READ;
    (0..upto)
        .step_by(step as usize)
        .map(move |after| (after, upto.min(after + step)))
}
