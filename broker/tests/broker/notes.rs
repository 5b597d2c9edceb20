//! A consumer that notes each position it is given; twice the same makes two rows.

use crate::test_broker::{NOTES, TestBroker, until};
use broker::{Broker, Deliveries};
use connection_pool::Connection;
use event_log::consume::{ApplyError, Consumer, Projection};
use event_log::{Log, Partition, Position, RecordedEvent};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

#[derive(Default)]
pub struct Notes {
    /// While it is set, nothing can be applied.
    pub is_held_up: AtomicBool,
}

impl Projection for Notes {
    const NAME: &'static str = NOTES;

    async fn apply(
        &self,
        transaction: &mut Connection,
        events: &[RecordedEvent],
    ) -> Result<(), ApplyError> {
        if self.is_held_up.load(Ordering::SeqCst) {
            return Err(ApplyError::Database(sqlx::Error::PoolTimedOut));
        }
        let positions: Vec<_> = events.iter().map(|event| event.position).collect();
        sqlx::query(
            "insert into notes (partition, position) select $1, p from unnest($2::bigint[]) p",
        )
        .bind(events.first().map(|event| event.partition))
        .bind(positions)
        .execute(transaction)
        .await?;
        Ok(())
    }
}

/// One instance of the consumer at one partition, as in a process of its own.
pub struct Noting {
    pub notes: Arc<Notes>,
    shutdown: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Noting {
    pub async fn start(test: &TestBroker, partition: Partition) -> Self {
        Self::start_with(test, &test.log, &test.broker, partition).await
    }

    pub async fn start_with(
        test: &TestBroker,
        log: &Log,
        broker: &Broker,
        partition: Partition,
    ) -> Self {
        Self::start_lingering(test, (log, broker), partition, Duration::ZERO).await
    }

    /// Under load its steps are so far apart.
    pub async fn start_lingering(
        test: &TestBroker,
        (log, broker): (&Log, &Broker),
        partition: Partition,
        linger: Duration,
    ) -> Self {
        test.execute(
            "create table if not exists notes (nr bigserial, partition integer, position bigint)",
        )
        .await;
        let (notes, shutdown) = (Arc::new(Notes::default()), CancellationToken::new());
        let consumer = Consumer::new(log.clone(), test.pool.clone(), notes.clone(), partition)
            .lingering(linger);
        let deliveries = Deliveries::new(log, broker, test.pool.clone(), NOTES, partition).unwrap();
        let task = tokio::spawn(consumer.run_with(deliveries, shutdown.clone()));
        Self {
            notes,
            shutdown,
            task,
        }
    }

    pub async fn stop(self) {
        self.shutdown.cancel();
        self.task.await.unwrap();
    }

    /// Like a process that is killed.
    pub async fn kill(self) {
        self.task.abort();
        assert!(self.task.await.unwrap_err().is_cancelled());
    }

    pub fn hold_up(&self, is_held_up: bool) {
        self.notes.is_held_up.store(is_held_up, Ordering::SeqCst);
    }
}

impl TestBroker {
    pub async fn noted(&self, partition: Partition) -> Vec<Position> {
        sqlx::query_scalar("select position from notes where partition = $1 order by nr")
            .bind(partition)
            .fetch_all(&self.pool)
            .await
            .unwrap()
    }

    /// Everything up to `position` is noted in order, each once.
    pub async fn until_noted(&self, partition: Partition, position: Position) {
        until("all is noted", async || {
            self.checkpoint(NOTES, partition).await == position
        })
        .await;
        assert_eq!(
            self.noted(partition).await,
            (1..=position).collect::<Vec<_>>()
        );
    }

    /// Like [`Self::until_noted`], within `time`.
    pub async fn noted_within(&self, time: Duration, partition: Partition, position: Position) {
        let noted = tokio::time::timeout(time, self.until_noted(partition, position)).await;
        noted.unwrap_or_else(|_| panic!("position {position} was not noted within {time:?}"));
    }
}
