//! A log of two partitions in a database of its own.

use super::{Happened, second};
use connection_pool::Pool;
use domain::ProductId;
use event_log::consume::{Consumer, Projection, Step};
use event_log::{LocalSubscription, Log, Metadata, Partition, Position, RecordedEvent};
use sqlx::postgres::PgPoolOptions;
use std::collections::HashMap;
use std::ops::Deref;
use std::sync::Arc;
use std::time::{Duration, Instant};
use testbed::events::History;
use testbed::{Database, POOL_SIZE, TestLog};

/// Products 1 and 3 share a partition, 2 has the other.
const PARTITIONS: i32 = 2;
/// Far longer than anything takes that a test waits for.
pub const TEST_TIMEOUT: Duration = Duration::from_secs(20);
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// The source of every consumer of this process: woken and handed events in memory.
pub fn listening(
    log: &Log,
) -> impl Fn(&'static str, Partition) -> Option<LocalSubscription> + Clone + Send + Sync + 'static {
    let log = log.clone();
    move |_, partition| log.subscribe(partition)
}

pub struct TestApp {
    test_log: TestLog,
    /// The id that distinguishes its database from a copy.
    pub database_id: String,
    history: History,
    appends: i64,
}

impl Deref for TestApp {
    type Target = TestLog;

    fn deref(&self) -> &TestLog {
        &self.test_log
    }
}

impl TestApp {
    pub async fn fresh() -> Self {
        Self::on(Database::fresh().await, HashMap::new(), 0).await
    }

    async fn on(database: Database, sequences: HashMap<ProductId, i64>, appends: i64) -> Self {
        let pool = PgPoolOptions::new()
            .max_connections(POOL_SIZE)
            .connect(database.url())
            .await
            .map(Pool::from)
            .unwrap();
        let log = Log::open(pool.clone(), PARTITIONS).await.unwrap();
        let history = History::continued(&log, sequences).await;
        let database_id = log.database_id().await.unwrap();
        Self {
            test_log: TestLog {
                database,
                pool,
                log,
            },
            database_id,
            history,
            appends,
        }
    }

    /// This app, and one in a copy of its database.
    pub async fn copied(self) -> [Self; 2] {
        let Self {
            test_log:
                TestLog {
                    database,
                    pool,
                    log,
                },
            history,
            appends,
            ..
        } = self;
        let sequences = history.sequences().clone();
        drop((log, history));
        pool.close().await;
        let copy = database.copy().await;
        [
            Self::on(database, sequences.clone(), appends).await,
            Self::on(copy, sequences, appends).await,
        ]
    }

    /// Appends one event after another, each a second later than the one before.
    pub async fn append(&mut self, events: &[Happened]) -> Vec<RecordedEvent> {
        let mut recorded = Vec::new();
        for happened in events {
            recorded.extend(self.append_at_once(std::slice::from_ref(happened)).await);
        }
        recorded
    }

    /// Appends events in one batch for each partition, all at the same second.
    pub async fn append_at_once(&mut self, events: &[Happened]) -> Vec<RecordedEvent> {
        let at = second(self.appends);
        self.appends += 1;
        let events = events.iter().map(|happened| {
            let metadata = Metadata {
                correlation_id: "a test".into(),
                ..Metadata::default()
            };
            self.history
                .next(happened.product, happened.event.clone(), metadata)
        });
        let events = events.collect();
        self.history.append(Some(at), events).await
    }

    pub fn consumer<P: Projection>(&self, projection: P, partition: Partition) -> Consumer<P> {
        Consumer::new(
            self.log.clone(),
            self.pool.clone(),
            Arc::new(projection),
            partition,
        )
    }

    /// One consumer for each partition, in order.
    pub fn consumers<P: Projection + Clone>(&self, projection: &P) -> Vec<Consumer<P>> {
        self.log
            .partitions()
            .map(|partition| self.consumer(projection.clone(), partition))
            .collect()
    }

    /// Applies whatever is left, in every partition.
    pub async fn drain<P: Projection + Clone>(&self, projection: &P) {
        let heads = self.log.heads().await.unwrap();
        for (consumer, head) in self.consumers(projection).iter().zip(heads) {
            assert_eq!(consumer.catch_up().await.unwrap(), Step::Idle(head));
        }
    }

    /// Every column of every row that is the projection's, its checkpoints' positions too.
    pub async fn everything_of(&self, projection: &str) -> Vec<String> {
        let tables = format!(
            "select tablename::text from pg_tables where tablename ~ '^{projection}(_|$)' order by 1"
        );
        let checkpoints =
            "select format('%s %s', partition, position) from checkpoints where consumer";
        let mut rows = self
            .says(&format!("{checkpoints} = '{projection}' order by 1"))
            .await;
        for table in self.says(&tables).await {
            rows.push(format!("-- {table}"));
            rows.extend(
                self.says(&format!(
                    r#"select t::text from {table} t order by t::text collate "C""#
                ))
                .await,
            );
        }
        rows
    }

    /// A consumer's position, and the event at which it is stuck.
    pub async fn checkpoint(
        &self,
        consumer: &str,
        partition: Partition,
    ) -> (Position, Option<(Position, String)>) {
        let all = self.log.checkpoints().await.unwrap();
        let found = all
            .into_iter()
            .find(|at| at.consumer == consumer && at.partition == partition);
        found.map_or((0, None), |at| (at.position, at.stuck))
    }

    /// Runs a statement that the log refuses, as somebody could who may restore a database.
    pub async fn change_history(&self, statement: &str) {
        let mut transaction = self.pool.begin().await.unwrap();
        sqlx::query("set local session_replication_role = replica")
            .execute(&mut *transaction)
            .await
            .unwrap();
        sqlx::query(statement)
            .execute(&mut *transaction)
            .await
            .unwrap();
        transaction.commit().await.unwrap();
    }

    /// Waits until something is so.
    pub async fn until_it(&self, is_so: impl Fn() -> bool) {
        let start = Instant::now();
        while !is_so() {
            assert!(
                start.elapsed() < TEST_TIMEOUT,
                "it is not so after {TEST_TIMEOUT:?}"
            );
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    /// Waits until a query says what it should; fails with what it said last.
    pub async fn until(&self, query: &str, expected: &[&str]) {
        let start = Instant::now();
        while self.says(query).await != expected {
            if start.elapsed() > TEST_TIMEOUT {
                assert_eq!(self.says(query).await, expected, "after {TEST_TIMEOUT:?}");
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }
}
