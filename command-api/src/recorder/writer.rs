//! Writing notes of one kind: so many at a time, so often.

use super::Note;
use super::drops::{Drops, Reason};
use connection_pool::Pool;
use event_log::RepeatedFault;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

/// Notes written together at most. With [`EVERY`], no more than 2,000 rows a second are written, whatever is refused:
/// what PostgreSQL does for them cannot starve the appends beside them.
const BATCH: usize = 500;
/// The pause after each batch; what comes meanwhile is written with the next one.
const EVERY: Duration = Duration::from_millis(250);
/// How often a batch is tried; then it is dropped, so that the queue goes on.
const TRIES: usize = 2;
/// The pause before the database is tried again.
const RETRY: Duration = Duration::from_millis(100);
/// How often those who were dropped are told when nothing else is to be written.
const TELL: Duration = Duration::from_secs(1);
/// How long may be written after the end.
const FLUSH: Duration = Duration::from_secs(2);

const CANNOT: &str = "what was noted cannot be written, and is dropped and counted";

/// The end of a queue of notes.
#[derive(Debug)]
pub(super) struct Writing<T> {
    queue: mpsc::Receiver<T>,
    drops: Arc<Drops>,
    /// When nothing had been dropped, or all was told, the last time.
    told: Instant,
    fault: RepeatedFault,
}

impl<T: Note> Writing<T> {
    pub(super) fn new(queue: mpsc::Receiver<T>, drops: Arc<Drops>) -> Self {
        Self { queue, drops, told: Instant::now(), fault: RepeatedFault::new(CANNOT, T::WHAT) }
    }

    /// Writes until `shutdown` or until nothing can come any more; then what is left.
    pub(super) async fn write(mut self, pool: &Pool, shutdown: &CancellationToken) {
        let mut notes = Vec::with_capacity(BATCH);
        while let Some(true) = shutdown.run_until_cancelled(self.gather(&mut notes)).await {
            // Not given up half way: it may be written.
            self.write_down(&mut notes, pool).await;
            shutdown.run_until_cancelled(sleep(EVERY)).await;
        }
        self.queue.close();
        if timeout(FLUSH, self.flush(&mut notes, pool)).await.is_err() {
            let left = self.queue.len() + notes.len();
            tracing::warn!(left, what = T::WHAT, "not all that was noted could be written before the end");
        }
    }

    /// Waits until there is something to write, or to tell. False when nothing can come any more.
    async fn gather(&mut self, notes: &mut Vec<T>) -> bool {
        loop {
            self.look();
            match timeout(TELL, self.queue.recv_many(notes, BATCH)).await {
                Ok(taken) => return taken > 0,
                Err(_) if !self.drops.is_none() => return true,
                Err(_) => {}
            }
        }
    }

    async fn flush(&mut self, notes: &mut Vec<T>, pool: &Pool) {
        while !notes.is_empty() || self.queue.recv_many(notes, BATCH).await > 0 {
            self.write_down(notes, pool).await;
        }
        if !self.drops.is_none() {
            self.write_down(notes, pool).await;
        }
    }

    async fn write_down(&mut self, notes: &mut Vec<T>, pool: &Pool) {
        for attempt in 1..=TRIES {
            match self.attempt(notes, pool).await {
                Ok(()) => {
                    self.fault.recovered();
                    break;
                }
                Err(error) => self.fault.failed(&error),
            }
            if attempt < TRIES {
                sleep(RETRY).await;
            }
        }
        if !notes.is_empty() {
            self.drops.add::<T>(Reason::Database, notes.len() as u64);
            notes.clear();
        }
        self.look();
    }

    /// The notes, and then what was dropped.
    async fn attempt(&mut self, notes: &mut Vec<T>, pool: &Pool) -> sqlx::Result<()> {
        if !notes.is_empty() {
            T::write(notes, pool).await?;
            notes.clear();
        }
        self.drops.tell::<T>(pool, self.told).await
    }

    fn look(&mut self) {
        if self.drops.is_none() {
            self.told = Instant::now();
        }
    }
}
