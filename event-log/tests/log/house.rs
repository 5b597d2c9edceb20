//! The words the tests are written in.

use chrono::{DateTime, Utc};
use connection_pool::Pool;
use domain::{Amount, InvestId, ProductEvent, ProductId, Title, UserId};
use event_log::{
    Appended, Batch, IdempotencyRecord, Log, LogError, Metadata, NewEvent, Partition, RecordedEvent, Writer,
};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use std::str::FromStr;
use testbed::Database;
pub use testbed::{soon, until};
use uuid::Uuid;

/// A log in a database of its own.
pub struct House {
    database: Database,
    pub pool: Pool,
    pub log: Log,
}

impl House {
    pub async fn with_one_partition() -> Self {
        Self::with_partitions(1).await
    }

    pub async fn with_partitions(partitions: i32) -> Self {
        let database = Database::fresh().await;
        let pool = database.pool().await;
        let log = Log::open(pool.clone(), partitions).await.unwrap();
        Self { database, pool, log }
    }

    /// One partition, in it product 1 with `events` events in all: it is opened, then `user1` reserves 1, 2, 3... won.
    pub async fn with_events(events: i64) -> Self {
        let house = Self::with_one_partition().await;
        let stream = (1..=events).map(|sequence| happens(product(1), sequence, nth_event(sequence)));
        commit(&mut house.writer().await, stream.collect()).await;
        house
    }

    pub async fn writer(&self) -> Writer {
        self.writer_of(0).await
    }

    pub async fn writer_of(&self, partition: Partition) -> Writer {
        Writer::open(self.log.clone(), partition).await.unwrap()
    }

    /// A handle that shares nothing with the first one but the database.
    pub async fn another_process(&self) -> Log {
        self.process_with(self.options()).await
    }

    pub async fn process_with(&self, options: PgConnectOptions) -> Log {
        let pool = PgPoolOptions::new().max_connections(3).connect_with(options).await.unwrap();
        Log::open(pool, self.log.identity().partitions).await.unwrap()
    }

    pub fn options(&self) -> PgConnectOptions {
        PgConnectOptions::from_str(self.database.url()).unwrap()
    }

    pub async fn events(&self) -> Vec<RecordedEvent> {
        self.log.read_after(0, 0, 100_000).await.unwrap()
    }

    pub async fn execute(&self, sql: &str) -> u64 {
        sqlx::raw_sql(sql).execute(&self.pool).await.unwrap().rows_affected()
    }

    pub async fn count(&self, of: &str) -> i64 {
        sqlx::query_scalar(&format!("select count(*) from {of}")).fetch_one(&self.pool).await.unwrap()
    }

    /// Does to the log what its trigger refuses to everybody.
    pub async fn tamper(&self, sql: &str) {
        self.execute(&format!(
            "alter table events disable trigger events_are_append_only;
             {sql};
             alter table events enable trigger events_are_append_only"
        ))
        .await;
    }

    /// How many sessions wait for the append lock.
    pub async fn waiting_for_the_append_lock(&self) -> i64 {
        self.count(
            "pg_locks where locktype = 'advisory' and not granted
                        and database = (select oid from pg_database where datname = current_database())",
        )
        .await
    }

    pub async fn until_waiting_for_the_append_lock(&self, sessions: i64) {
        until("the sessions wait for the append lock", async || self.waiting_for_the_append_lock().await == sessions)
            .await;
    }

    /// Ends the sessions that hold the append lock, or that wait for it.
    pub async fn kill_who(&self, holds: bool) {
        let killed = self
            .count(&format!(
                "(select pg_terminate_backend(pid) from pg_locks
                   where locktype = 'advisory' and granted = {holds}
                     and database = (select oid from pg_database where datname = current_database())) as killed"
            ))
            .await;
        assert_eq!(killed, 1, "exactly one session was to be killed");
    }
}

pub fn product(id: i64) -> ProductId {
    ProductId::try_from(id).unwrap()
}

pub fn user(name: &str) -> UserId {
    UserId::try_from(name.to_owned()).unwrap()
}

pub fn won(amount: i64) -> Amount {
    Amount::try_from(amount).unwrap()
}

pub fn at(time: &str) -> DateTime<Utc> {
    time.parse().unwrap()
}

/// The same id for the same number.
pub fn invest(number: i64) -> InvestId {
    InvestId(Uuid::from_u128(u128::from(number.unsigned_abs())))
}

pub fn opened(id: i64) -> ProductEvent {
    opened_as(id, &format!("product{id}"))
}

pub fn opened_as(id: i64, title: &str) -> ProductEvent {
    ProductEvent::ProductOpened {
        product_id: product(id),
        title: Title::try_from(title.to_owned()).unwrap(),
        total_investing_amount: won(1_000_000),
        started_at: at("2026-01-01T00:00:00Z"),
        finished_at: at("2027-01-01T00:00:00Z"),
    }
}

pub fn reserved(number: i64, amount: i64) -> ProductEvent {
    ProductEvent::InvestReserved {
        invest_id: invest(number),
        user_id: user("user1"),
        amount: won(amount),
        expires_at: at("2026-06-01T00:10:00Z"),
    }
}

pub fn settled(number: i64, amount: i64) -> ProductEvent {
    ProductEvent::InvestSettled { invest_id: invest(number), user_id: user("user1"), amount: won(amount) }
}

/// The event that a stream has at `sequence` when it is opened and then only reserved from.
pub fn nth_event(sequence: i64) -> ProductEvent {
    if sequence == 1 { opened(1) } else { reserved(sequence, sequence - 1) }
}

pub fn happens(product_id: ProductId, sequence: i64, event: ProductEvent) -> NewEvent {
    let metadata = Metadata { correlation_id: format!("request-{product_id}-{sequence}"), ..Metadata::default() };
    NewEvent { product_id, sequence, event, metadata }
}

pub fn record(user_id: &str, key: &str, answer: &str) -> IdempotencyRecord {
    IdempotencyRecord {
        user_id: user_id.into(),
        key: key.into(),
        fingerprint: format!("asked for {key}"),
        answer: answer.into(),
    }
}

pub fn events(events: Vec<NewEvent>) -> Batch {
    Batch { events, keys: Vec::new() }
}

/// Appends now what nobody contests.
pub async fn commit(writer: &mut Writer, new: Vec<NewEvent>) -> Vec<RecordedEvent> {
    let at = writer.now();
    committed(writer.append(events(new), at).await)
}

pub fn committed(appended: Result<Appended, LogError>) -> Vec<RecordedEvent> {
    match appended {
        Ok(Appended::Committed(events)) => events.to_vec(),
        other => panic!("it should be committed, but: {other:?}"),
    }
}

/// Acquires the append lock, however long the tail, and hands back what was missed.
pub async fn acquire_the_append_lock(writer: &mut Writer) -> Vec<RecordedEvent> {
    let mut missed = writer.acquire_append_lock().await.unwrap();
    while !writer.holds_append_lock() {
        missed.extend(writer.acquire_append_lock().await.unwrap());
    }
    missed
}

pub fn positions(events: &[RecordedEvent]) -> Vec<i64> {
    events.iter().map(|event| event.position).collect()
}
