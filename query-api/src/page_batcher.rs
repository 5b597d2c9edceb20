//! Batching: pages that different users ask for while statements run are read together by the next statement.
//!
//! What a reader gets was read after it asked, so nothing is stale; nobody waits while no statement runs, and a thousand waiting readers cost
//! a few statements. A page that takes long is read by itself, so that it holds up nobody.

use connection_pool::Pool;
use edge::{Paging, Problem};
use sqlx::postgres::PgRow;
use sqlx::{FromRow, Row as _};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use crate::consistency::Select;
use crate::database;
use crate::user_reads::{self, TURN_TIMEOUT, UserReads};
use crate::view_rows::ViewRows;

/// Batches of a view that are read at the same time; further readers gather meanwhile.
const MAX_CONCURRENT_BATCHES: usize = 2;
/// Pages that one statement reads.
const MAX_PAGES_PER_BATCH: usize = 128;
/// Rows of a page, and before it, that is read with others: it takes a fraction of a millisecond.
const MAX_ROWS_OF_BATCHED_PAGE: i64 = 100;

/// Reads pages of a view's users, whose rows are `T`.
pub(crate) struct PageBatcher<T> {
    sql: &'static str,
    pool: Pool,
    partitions: i32,
    user_reads: Arc<UserReads>,
    queue: Mutex<Queue<T>>,
}

struct Queue<T> {
    waiting: VecDeque<Asked<T>>,
    /// Tasks that read batches, or wait for their turn to.
    running: usize,
    /// Of the next page that is asked for.
    next_number: u64,
}

struct Asked<T> {
    number: u64,
    user_id: String,
    paging: Paging,
    reader: Reader<T>,
}

type Reader<T> = oneshot::Sender<Result<ViewRows<T>, Overloaded>>;

struct Overloaded;

/// A statement for the pages of several users: `$1` partitions, and for each page a user, the rows before it, and its size. Its rows are in
/// the order of the pages, and `asked` is the page's number, from 1.
pub(crate) fn select_pages<'q>(
    sql: &'static str,
    partitions: i32,
    pages: &[(&'q str, Paging)],
) -> Select<'q> {
    sqlx::query(sql)
        .bind(partitions)
        .bind(
            pages
                .iter()
                .map(|(user_id, _)| *user_id)
                .collect::<Vec<_>>(),
        )
        .bind(
            pages
                .iter()
                .map(|(_, paging)| paging.offset())
                .collect::<Vec<_>>(),
        )
        .bind(
            pages
                .iter()
                .map(|(_, paging)| paging.size())
                .collect::<Vec<_>>(),
        )
}

impl<T> PageBatcher<T>
where
    T: for<'r> FromRow<'r, PgRow> + Send + Unpin + 'static,
{
    /// `sql` is a statement as [`select_pages`] takes it.
    pub(crate) fn new(
        sql: &'static str,
        pool: Pool,
        partitions: i32,
        user_reads: Arc<UserReads>,
    ) -> Arc<Self> {
        let queue = Mutex::new(Queue {
            waiting: VecDeque::new(),
            running: 0,
            next_number: 0,
        });
        Arc::new(Self {
            sql,
            pool,
            partitions,
            user_reads,
            queue,
        })
    }

    /// The user's page, as it is after this call. It waits as long for a statement to begin as other reads of users do.
    pub(crate) async fn read(
        self: &Arc<Self>,
        user_id: &str,
        paging: Paging,
    ) -> Result<ViewRows<T>, Problem> {
        let end = Instant::now() + TURN_TIMEOUT;
        let _turn = self.user_reads.turn_of_user(user_id, end).await?;
        if paging.offset() + paging.size() <= MAX_ROWS_OF_BATCHED_PAGE {
            // Else the batch failed, perhaps at another's page: this one gets an error of its own, or none.
            if let Some(found) = self.read_with_others(user_id, paging, end).await? {
                return Ok(found);
            }
        }
        let _turn = self.user_reads.turn_of_all(end).await?;
        self.read_pages(&[(user_id, paging)])
            .await?
            .pop()
            .ok_or(Problem::Overloaded)
    }

    /// The page, of a batch that begins before `end`; `None` when the batch failed.
    async fn read_with_others(
        self: &Arc<Self>,
        user_id: &str,
        paging: Paging,
        end: Instant,
    ) -> Result<Option<ViewRows<T>>, Problem> {
        let (reader, mut page) = oneshot::channel();
        let number = self.enqueue(user_id.to_owned(), paging, reader);
        let sent = match timeout_at(end, &mut page).await {
            Ok(sent) => sent,
            Err(_) if self.withdraw(number) => {
                return Err(user_reads::refused("all", Problem::Overloaded));
            }
            // It is being read.
            Err(_) => page.await,
        };
        match sent {
            Ok(Ok(found)) => Ok(Some(found)),
            Ok(Err(Overloaded)) => Err(Problem::Overloaded),
            Err(_) => Ok(None),
        }
    }

    /// Returns the number of the page in the queue.
    fn enqueue(self: &Arc<Self>, user_id: String, paging: Paging, reader: Reader<T>) -> u64 {
        let mut queue = self.queue();
        let number = queue.next_number;
        queue.next_number += 1;
        queue.waiting.push_back(Asked {
            number,
            user_id,
            paging,
            reader,
        });
        if queue.running < MAX_CONCURRENT_BATCHES {
            queue.running += 1;
            let running = Running {
                batcher: self.clone(),
                is_counted: true,
            };
            tokio::spawn(running.read_all());
        }
        number
    }

    /// Takes a page out of the queue; false when it is not there any more.
    fn withdraw(&self, number: u64) -> bool {
        let mut queue = self.queue();
        let before = queue.waiting.len();
        queue.waiting.retain(|asked| asked.number != number);
        queue.waiting.len() < before
    }

    async fn read_batch(&self, batch: Vec<Asked<T>>) {
        let pages: Vec<_> = batch
            .iter()
            .map(|asked| (asked.user_id.as_str(), asked.paging))
            .collect();
        match self.read_pages(&pages).await {
            // A reader who has left is no error.
            Ok(found) => batch
                .into_iter()
                .zip(found)
                .for_each(|(asked, found)| drop(asked.reader.send(Ok(found)))),
            Err(Problem::Overloaded) => {
                batch
                    .into_iter()
                    .for_each(|asked| drop(asked.reader.send(Err(Overloaded))));
            }
            Err(_) => {}
        }
    }

    async fn read_pages(&self, pages: &[(&str, Paging)]) -> Result<Vec<ViewRows<T>>, Problem> {
        let rows = select_pages(self.sql, self.partitions, pages)
            .fetch_all(&self.pool)
            .await;
        rows.and_then(|rows| split(&rows, pages.len()))
            .map_err(database::problem)
    }
}

impl<T> PageBatcher<T> {
    fn queue(&self) -> MutexGuard<'_, Queue<T>> {
        // A panic while it was locked left a whole queue.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A task that reads batches while there are readers.
struct Running<T> {
    batcher: Arc<PageBatcher<T>>,
    is_counted: bool,
}

impl<T> Running<T>
where
    T: for<'r> FromRow<'r, PgRow> + Send + Unpin + 'static,
{
    async fn read_all(mut self) {
        let batcher = self.batcher.clone();
        loop {
            // Without a bound of its own: those for whom it waits have theirs. Whoever comes meanwhile is in the batch.
            let _turn = batcher.user_reads.next_turn_of_all().await;
            let Some(batch) = self.next_batch() else {
                return;
            };
            batcher.read_batch(batch).await;
        }
    }

    /// The next pages whose readers still wait. When there are none the task does not count any more, from the same moment on: who asks
    /// then begins another.
    fn next_batch(&mut self) -> Option<Vec<Asked<T>>> {
        let mut queue = self.batcher.queue();
        let mut batch = Vec::new();
        while batch.len() < MAX_PAGES_PER_BATCH
            && let Some(asked) = queue.waiting.pop_front()
        {
            if !asked.reader.is_closed() {
                batch.push(asked);
            }
        }
        if batch.is_empty() {
            queue.running -= 1;
            self.is_counted = false;
            return None;
        }
        Some(batch)
    }
}

impl<T> Drop for Running<T> {
    /// After a panic: those who wait, whom it would have read for, read for themselves.
    fn drop(&mut self) {
        if self.is_counted {
            let mut queue = self.batcher.queue();
            queue.running -= 1;
            queue.waiting.clear();
        }
    }
}

/// The rows of each page. Every page has one row at least.
fn split<T: for<'r> FromRow<'r, PgRow>>(
    rows: &[PgRow],
    pages: usize,
) -> sqlx::Result<Vec<ViewRows<T>>> {
    let asked = |row: &PgRow| row.try_get::<i64, _>("asked").ok();
    let found: Vec<_> = rows
        .chunk_by(|one, next| asked(one) == asked(next))
        .map(ViewRows::of)
        .collect::<Result<_, _>>()?;
    if found.len() == pages {
        Ok(found)
    } else {
        Err(sqlx::Error::RowNotFound)
    }
}
