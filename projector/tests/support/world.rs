//! A log of two partitions in a database of its own.

use super::{Happened, second};
use connection_pool::Pool;
use domain::ProductId;
use event_log::consume::{Consumer, Projection, Step};
use event_log::{
    Appended, Batch, LocalSubscription, Log, Metadata, NewEvent, Partition, Position, RecordedEvent, Writer,
};
use sqlx::postgres::PgPoolOptions;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use testbed::{Database, POOL_SIZE};

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

pub struct World {
    pub log: Log,
    pub pool: Pool,
    /// The id that distinguishes its database from a copy.
    pub database_id: String,
    writers: Vec<Writer>,
    sequences: HashMap<ProductId, i64>,
    appends: i64,
    database: Database,
}

impl World {
    pub async fn fresh() -> Self {
        Self::on(Database::fresh().await, HashMap::new(), 0).await
    }

    async fn on(database: Database, sequences: HashMap<ProductId, i64>, appends: i64) -> Self {
        let pool =
            PgPoolOptions::new().max_connections(POOL_SIZE).connect(database.url()).await.map(Pool::from).unwrap();
        let log = Log::open(pool.clone(), PARTITIONS).await.unwrap();
        let mut writers = Vec::new();
        for partition in log.partitions() {
            writers.push(Writer::open(log.clone(), partition).await.unwrap());
        }
        let database_id = log.database_id().await.unwrap();
        Self { log, pool, database_id, writers, sequences, appends, database }
    }

    /// This world, and one in a copy of its database.
    pub async fn copied(self) -> [Self; 2] {
        let Self { log, pool, writers, sequences, appends, database, .. } = self;
        drop((log, writers));
        pool.close().await;
        let copy = database.copy().await;
        [Self::on(database, sequences.clone(), appends).await, Self::on(copy, sequences, appends).await]
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
        let mut batches = vec![Batch::default(); self.writers.len()];
        for happened in events {
            let batch = &mut batches[self.log.partition_of(happened.product) as usize];
            batch.events.push(new_event(&mut self.sequences, happened));
        }
        let mut recorded = Vec::new();
        for (writer, batch) in self.writers.iter_mut().zip(batches).filter(|(_, batch)| !batch.events.is_empty()) {
            match writer.append(batch, at).await.unwrap() {
                Appended::Committed(events) => recorded.extend(events.iter().cloned()),
                other => panic!("nobody else writes here: {other:?}"),
            }
        }
        recorded
    }

    pub fn consumer<P: Projection>(&self, projection: P, partition: Partition) -> Consumer<P> {
        Consumer::new(self.log.clone(), self.pool.clone(), Arc::new(projection), partition)
    }

    /// One consumer for each partition, in order.
    pub fn consumers<P: Projection + Clone>(&self, projection: &P) -> Vec<Consumer<P>> {
        self.log.partitions().map(|partition| self.consumer(projection.clone(), partition)).collect()
    }

    /// Applies whatever is left, in every partition.
    pub async fn drain<P: Projection + Clone>(&self, projection: &P) {
        let heads = self.log.heads().await.unwrap();
        for (consumer, head) in self.consumers(projection).iter().zip(heads) {
            assert_eq!(consumer.catch_up().await.unwrap(), Step::Idle(head));
        }
    }

    /// The rows of a query, each a text.
    pub async fn says(&self, query: &str) -> Vec<String> {
        sqlx::query_scalar(query).fetch_all(&self.pool).await.unwrap()
    }

    /// Every column of every row that is the projection's, its checkpoints' positions too.
    pub async fn everything_of(&self, projection: &str) -> Vec<String> {
        let tables = format!("select tablename::text from pg_tables where tablename ~ '^{projection}(_|$)' order by 1");
        let checkpoints = "select format('%s %s', partition, position) from checkpoints where consumer";
        let mut rows = self.says(&format!("{checkpoints} = '{projection}' order by 1")).await;
        for table in self.says(&tables).await {
            rows.push(format!("-- {table}"));
            rows.extend(self.says(&format!(r#"select t::text from {table} t order by t::text collate "C""#)).await);
        }
        rows
    }

    /// A consumer's position, and the event at which it is stuck.
    pub async fn checkpoint(&self, consumer: &str, partition: Partition) -> (Position, Option<(Position, String)>) {
        let all = self.log.checkpoints().await.unwrap();
        let found = all.into_iter().find(|at| at.consumer == consumer && at.partition == partition);
        found.map_or((0, None), |at| (at.position, at.stuck))
    }

    /// Runs a statement that the log refuses, as somebody could who may restore a database.
    pub async fn change_history(&self, statement: &str) {
        let mut transaction = self.pool.begin().await.unwrap();
        sqlx::query("set local session_replication_role = replica").execute(&mut *transaction).await.unwrap();
        sqlx::query(statement).execute(&mut *transaction).await.unwrap();
        transaction.commit().await.unwrap();
    }

    /// Waits until something is so.
    pub async fn until_it(&self, is_so: impl Fn() -> bool) {
        let start = Instant::now();
        while !is_so() {
            assert!(start.elapsed() < TEST_TIMEOUT, "it is not so after {TEST_TIMEOUT:?}");
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

fn new_event(sequences: &mut HashMap<ProductId, i64>, happened: &Happened) -> NewEvent {
    let sequence = sequences.entry(happened.product).or_default();
    *sequence += 1;
    NewEvent {
        product_id: happened.product,
        sequence: *sequence,
        event: happened.event.clone(),
        metadata: Metadata { correlation_id: "a test".into(), ..Metadata::default() },
    }
}
