//! A database of the test's own, and what can be done to it and seen in it from outside.

use crate::moa::{Moa, Opens};
use connection_pool::Pool;
use domain::{ProductEvent, ProductId};
use event_log::{Log, Partition, RecordedEvent};
use sqlx::ConnectOptions;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use std::str::FromStr;
use testbed::Database;
pub use testbed::{soon, until};

/// The class of the append lock's advisory locks, as docs/log-format.md gives it; the other half of the key is the partition.
const APPEND_LOCK_CLASS: i32 = 0x004d_6f61;

pub struct House {
    pub pool: Pool,
    /// A handle of the test's own, which shares nothing with the instances but the database.
    pub log: Log,
    database: Database,
}

/// Holds a partition's append lock, as long as it likes: nobody can append there.
pub struct AppendLockHolder(PgConnection);

impl House {
    pub async fn new() -> Self {
        Self::with_partitions(4).await
    }

    /// All products share a processor.
    pub async fn with_one_partition() -> Self {
        Self::with_partitions(1).await
    }

    pub async fn with_partitions(partitions: i32) -> Self {
        let database = Database::fresh().await;
        let pool = database.pool().await;
        let log = Log::open(pool.clone(), partitions).await.unwrap();
        Self { pool, log, database }
    }

    /// An instance on this database.
    pub async fn moa(&self) -> Moa {
        self.moa_that(Opens::default()).await
    }

    pub async fn moa_that(&self, opens: Opens) -> Moa {
        Moa::start(self.options(), self.log.identity().partitions, opens).await
    }

    /// An instance that sees this database through other options, such as a wire's.
    pub async fn moa_at(&self, options: PgConnectOptions) -> Moa {
        Moa::start(options, self.log.identity().partitions, Opens::default()).await
    }

    pub fn options(&self) -> PgConnectOptions {
        PgConnectOptions::from_str(self.database.url()).unwrap()
    }

    pub async fn connection(&self) -> PgConnection {
        self.options().connect().await.unwrap()
    }

    pub async fn sql(&self, sql: &str) -> u64 {
        sqlx::raw_sql(sql).execute(&self.pool).await.unwrap().rows_affected()
    }

    pub async fn count(&self, of: &str) -> i64 {
        sqlx::query_scalar(&format!("select count(*) from {of}")).fetch_one(&self.pool).await.unwrap()
    }

    /// What a query of one text column says, row by row.
    pub async fn says(&self, query: &str) -> Vec<String> {
        sqlx::query_scalar(query).fetch_all(&self.pool).await.unwrap()
    }

    /// Does to the log what its trigger refuses to everybody.
    pub async fn tamper(&self, sql: &str) {
        self.sql(&format!(
            "alter table events disable trigger events_are_append_only;
             {sql};
             alter table events enable trigger events_are_append_only"
        ))
        .await;
    }

    pub async fn hold_the_append_lock_of(&self, product: ProductId) -> AppendLockHolder {
        self.hold_append_lock(self.log.partition_of(product)).await
    }

    async fn hold_append_lock(&self, partition: Partition) -> AppendLockHolder {
        let mut connection = self.connection().await;
        let lock = sqlx::query("select pg_advisory_lock($1, $2)").bind(APPEND_LOCK_CLASS).bind(partition);
        lock.execute(&mut connection).await.unwrap();
        AppendLockHolder(connection)
    }

    pub async fn until_somebody_waits_for_the_append_lock(&self) {
        self.until_there_is(
            "pg_locks where locktype = 'advisory' and not granted
                        and database = (select oid from pg_database where datname = current_database())",
        )
        .await;
    }

    /// Polls until a row of this is there.
    pub async fn until_there_is(&self, row: &str) {
        until(&format!("there is {row}"), async || self.count(row).await > 0).await;
    }

    pub async fn until_there_is_no(&self, row: &str) {
        until(&format!("there is no {row}"), async || self.count(row).await == 0).await;
    }

    /// Everything in the log, partition by partition.
    pub async fn events(&self) -> Vec<RecordedEvent> {
        let mut all = Vec::new();
        for partition in self.log.partitions() {
            all.extend(self.log.read_after(partition, 0, 1_000_000).await.unwrap());
        }
        all
    }

    pub async fn events_of(&self, product: ProductId) -> Vec<RecordedEvent> {
        self.log.read_stream(product, 0, 1_000_000).await.unwrap()
    }

    pub async fn reservations(&self) -> Vec<RecordedEvent> {
        let mut events = self.events().await;
        events.retain(|recorded| matches!(recorded.event, ProductEvent::InvestReserved { .. }));
        events
    }
}

impl AppendLockHolder {
    pub async fn lets_go(mut self) {
        sqlx::query("select pg_advisory_unlock_all()").execute(&mut self.0).await.unwrap();
    }
}
