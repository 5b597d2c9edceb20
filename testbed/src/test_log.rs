//! A log in a database of a test's own, and what others may do to it.

use std::str::FromStr as _;

use connection_pool::Pool;
use event_log::{Log, Partition, RecordedEvent, Writer};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::events::{commit, new_event, nth_event};
use crate::values::product;
use crate::{Database, until};

/// A log in a database of its own.
pub struct TestLog {
    /// Dropped with the value.
    pub database: Database,
    /// The database's own pool.
    pub pool: Pool,
    /// A handle that shares nothing with other processes' but the database.
    pub log: Log,
}

impl TestLog {
    /// One partition.
    pub async fn with_one_partition() -> Self {
        Self::with_partitions(1).await
    }

    /// So many partitions.
    pub async fn with_partitions(partitions: i32) -> Self {
        let database = Database::fresh().await;
        let pool = database.pool().await;
        let log = Log::open(pool.clone(), partitions).await.expect("a log");
        Self {
            database,
            pool,
            log,
        }
    }

    /// One partition, in it product 1 with `events` events in all: it is opened, then `user1` reserves 1, 2, 3... won.
    pub async fn with_events(events: i64) -> Self {
        let test = Self::with_one_partition().await;
        let stream =
            (1..=events).map(|sequence| new_event(product(1), sequence, nth_event(sequence)));
        commit(&mut test.writer().await, stream.collect()).await;
        test
    }

    /// A writer of partition 0.
    pub async fn writer(&self) -> Writer {
        self.writer_of(0).await
    }

    /// A writer of that partition.
    pub async fn writer_of(&self, partition: Partition) -> Writer {
        Writer::open(self.log.clone(), partition)
            .await
            .expect("a writer")
    }

    /// A handle that shares nothing with the first one but the database.
    pub async fn another_process(&self) -> Log {
        self.process_with(self.options()).await
    }

    /// The same, which sees the database through these options.
    pub async fn process_with(&self, options: PgConnectOptions) -> Log {
        let pool = PgPoolOptions::new()
            .max_connections(4)
            .connect_with(options)
            .await
            .expect("a pool");
        Log::open(pool, self.log.identity().partitions)
            .await
            .expect("a log")
    }

    /// How the database is reached.
    pub fn options(&self) -> PgConnectOptions {
        PgConnectOptions::from_str(self.database.url()).expect("a URL")
    }

    /// Everything in the log, partition by partition.
    pub async fn events(&self) -> Vec<RecordedEvent> {
        let mut all = Vec::new();
        for partition in self.log.partitions() {
            all.extend(
                self.log
                    .read_after(partition, 0, 1_000_000)
                    .await
                    .expect("events"),
            );
        }
        all
    }

    /// Runs statements without values; how many rows they touched.
    pub async fn execute(&self, sql: &str) -> u64 {
        sqlx::raw_sql(sql)
            .execute(&self.pool)
            .await
            .unwrap_or_else(|error| panic!("{error}: {sql}"))
            .rows_affected()
    }

    /// How many rows `of` has: a table, or more of a statement after `from`.
    pub async fn count(&self, of: &str) -> i64 {
        sqlx::query_scalar(&format!("select count(*) from {of}"))
            .fetch_one(&self.pool)
            .await
            .expect("a number")
    }

    /// What a query of one text column says, row by row.
    pub async fn says(&self, query: &str) -> Vec<String> {
        sqlx::query_scalar(query)
            .fetch_all(&self.pool)
            .await
            .expect("texts")
    }

    /// Polls until a row of this is there.
    pub async fn until_there_is(&self, row: &str) {
        until(&format!("there is {row}"), async || {
            self.count(row).await > 0
        })
        .await;
    }

    /// Polls until no row of this is there.
    pub async fn until_there_is_no(&self, row: &str) {
        until(&format!("there is no {row}"), async || {
            self.count(row).await == 0
        })
        .await;
    }

    /// Does to the log, the record of acts and their seals what their triggers refuse to everybody.
    pub async fn tamper(&self, sql: &str) {
        let tables = ["events", "seals", "acts", "act_seals"];
        let switch = |to: &str| {
            tables
                .map(|table| format!("alter table {table} {to} trigger all"))
                .join("; ")
        };
        self.execute(&format!(
            "{};\n{sql};\n{}",
            switch("disable"),
            switch("enable")
        ))
        .await;
    }
}

/// Polls the heads for `log`, as each process does, until the guard is dropped.
pub fn poll_heads(log: &Log) -> DropGuard {
    let (log, shutdown) = (log.clone(), CancellationToken::new());
    let stop = shutdown.clone();
    tokio::spawn(async move { log.poll_heads(stop).await });
    shutdown.drop_guard()
}
