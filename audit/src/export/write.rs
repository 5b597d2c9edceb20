//! Writes an export, a range of positions at a time: memory stays bounded however long the log is, and no statement waits for
//! the reader of the export.

use connection_pool::Pool;
use event_log::search::Search;
use event_log::{Log, LogError, Partition, Position, RawEventRef, RawReader, RawRows};
use futures::{Stream, TryStreamExt as _};
use proof::export::{Format, Header};
use tokio::sync::mpsc::{Receiver, Sender, channel};

/// Rows that are read at once and held in memory: some megabytes.
const ROWS_PER_READ: Position = 10_000;
/// Blocks that wait for the reader, of a quarter of a megabyte or so.
const MAX_QUEUED_BLOCKS: usize = 4;

/// Blocks of an export, or why it goes no further.
type BlockSender = Sender<Result<Vec<u8>, LogError>>;

/// The whole log in `pool`'s database up to the heads of `header`, as it is stored. An error is the last item: what came
/// before it is not whole. Must be called in a runtime; ends when the stream is dropped.
pub fn export(
    pool: Pool,
    header: Header,
    format: Format,
) -> impl Stream<Item = Result<Vec<u8>, LogError>> + Send + 'static {
    spawn_writer(move |out| async move { write(&pool, &header, format, &out).await })
}

/// What `search` finds, in its order: what a filter leaves of a log. Otherwise as [`export`].
pub fn filtered(
    search: Search,
    header: Header,
    format: Format,
) -> impl Stream<Item = Result<Vec<u8>, LogError>> + Send + 'static {
    spawn_writer(move |out| async move { write_found(search, &header, format, &out).await })
}

/// What `write` sends, on a task of its own.
fn spawn_writer<F>(
    write: impl FnOnce(BlockSender) -> F,
) -> impl Stream<Item = Result<Vec<u8>, LogError>> + Send + 'static
where
    F: Future<Output = Result<(), LogError>> + Send + 'static,
{
    let (out, blocks) = channel(MAX_QUEUED_BLOCKS);
    let writing = write(out.clone());
    tokio::spawn(async move {
        if let Err(error) = writing.await {
            tracing::warn!(%error, "an export was broken off");
            // Nobody there is no fault: then nobody is misled.
            out.send(Err(error)).await.ok();
        }
    });
    stream_of(blocks)
}

/// What comes out of `blocks`.
pub(super) fn stream_of<T: Send + 'static>(
    blocks: Receiver<T>,
) -> impl Stream<Item = T> + Send + 'static {
    futures::stream::unfold(blocks, async |mut blocks| {
        blocks.recv().await.map(|block| (block, blocks))
    })
}

async fn write(
    pool: &Pool,
    header: &Header,
    format: Format,
    out: &BlockSender,
) -> Result<(), LogError> {
    let mut reader = RawReader::open(pool).await?;
    out.send(Ok(format.begin(header))).await.ok();
    let mut events = 0;
    for (partition, head) in (0..).zip(header.heads()) {
        let mut after = None;
        while let (rows, Some(last)) =
            range(&mut reader, partition, (after, *head), ROWS_PER_READ).await?
        {
            let Some(spawn_writer) = send(rows, format, out).await else {
                return Ok(());
            };
            (events, after) = (events + spawn_writer, Some(last));
        }
    }
    // The log never writes such a row. It must not get lost on the way to who is to find it.
    if let Some((partition, position)) = Log::stray_of(pool, header.identity().partitions).await? {
        let (rows, _) = range(&mut reader, partition, (None, position), 1).await?;
        events += send(rows, format, out).await.unwrap_or_default();
    }
    out.send(Ok(format.end(events))).await.ok();
    Ok(())
}

async fn write_found(
    search: Search,
    header: &Header,
    format: Format,
    out: &BlockSender,
) -> Result<(), LogError> {
    out.send(Ok(format.begin(header))).await.ok();
    let (mut pages, mut events) = (std::pin::pin!(search.pages()), 0);
    while let Some(page) = pages.try_next().await? {
        let mut lines = Vec::new();
        page.iter()
            .for_each(|event| format.row(&RawEventRef::from(event), &mut lines));
        events += page.len() as i64;
        if out.send(Ok(lines)).await.is_err() {
            return Ok(());
        }
    }
    out.send(Ok(format.end(events))).await.ok();
    Ok(())
}

/// Sends rows, and says how many they were; `None` when nobody takes them any more.
async fn send(rows: Vec<RawRows>, format: Format, out: &BlockSender) -> Option<i64> {
    let mut spawn_writer = 0;
    for block in rows {
        let mut lines = Vec::new();
        spawn_writer += write_rows(&block, format, &mut lines);
        out.send(Ok(lines)).await.ok()?;
    }
    Some(spawn_writer)
}

/// At most `limit` rows after `after` up to and with `head`, and where the last of them stands; `None` when there are none.
async fn range(
    reader: &mut RawReader,
    partition: Partition,
    (after, head): (Option<Position>, Position),
    limit: Position,
) -> Result<(Vec<RawRows>, Option<Position>), LogError> {
    let (blocks, mut coming) = channel(MAX_QUEUED_BLOCKS);
    let copied = async move { reader.copy(partition, after, head, limit, &blocks).await };
    let taken = async {
        let mut rows = Vec::new();
        while let Some(block) = coming.recv().await {
            rows.push(block);
        }
        rows
    };
    let (last, rows) = tokio::join!(copied, taken);
    Ok((rows, last?))
}

fn write_rows(rows: &RawRows, format: Format, lines: &mut Vec<u8>) -> i64 {
    let mut spawn_writer = 0;
    for row in rows.iter() {
        match row {
            Ok(row) => format.row(&row, lines),
            Err(unreadable) => format.unreadable(unreadable.0, lines),
        }
        spawn_writer += 1;
    }
    spawn_writer
}
