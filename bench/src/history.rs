//! A long history to measure with, such as live use leaves behind.

mod stream;

use anyhow::Context;
use chrono::{DateTime, TimeDelta, Utc};
use connection_pool::Pool;
use event_log::{Appended, Batch, Log, NewEvent, Partition, RecordedEvent, Writer};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions, PgSslMode};
use std::str::FromStr as _;
use std::time::{Duration, Instant};
use stream::Stream;
use tokio::task::JoinSet;

/// As many partitions as a new Moa's log has.
pub(crate) const PARTITIONS: i32 = 4;
/// Events that one append commits, as a busy partition processor does, and that pass in one second of the history.
const EVENTS_PER_APPEND: usize = 1_000;
/// Events of a history for each product at least: it is opened, and something happens to it.
const MIN_EVENTS_PER_PRODUCT: u64 = 3;

/// What the history is to be.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct Shape {
    /// How many events, 1000 to 20000000
    #[arg(long, value_parser = clap::value_parser!(u64).range(1_000..=20_000_000))]
    pub(crate) events: u64,
    /// How many products
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(4..=100_000))]
    pub(crate) products: u64,
    /// How many users
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    pub(crate) users: u64,
}

pub(crate) async fn run(shape: Shape, database_url: &str) -> anyhow::Result<()> {
    anyhow::ensure!(
        shape.events >= MIN_EVENTS_PER_PRODUCT * shape.products,
        "take at least {MIN_EVENTS_PER_PRODUCT} events for each product"
    );
    let pool = connect(database_url, PARTITIONS.unsigned_abs() + 1).await?;
    let log = empty_log(&pool).await?;
    let began = Instant::now();
    fill(&log, shape).await?;
    let took = began.elapsed().as_secs_f64();
    // As a database in use is: otherwise the first to read it does that work.
    sqlx::raw_sql("vacuum (analyze)").execute(&pool).await?;
    let heads: i64 = log.heads().await?.iter().sum();
    println!(
        "{heads} events in {took:.1} s, {:.0}/s",
        heads as f64 / took
    );
    Ok(())
}

/// A pool that does not wait for the disk: what a crash takes from a history is made again.
pub(crate) async fn connect(database_url: &str, connections: u32) -> anyhow::Result<Pool> {
    let options = PgConnectOptions::from_str(database_url)
        .ok()
        .context("the database URL cannot be read")?;
    // As Moa reads a URL of this machine that says nothing of TLS.
    let options = options
        .ssl_mode(PgSslMode::Disable)
        .options([("synchronous_commit", "off")]);
    let pool = PgPoolOptions::new()
        .max_connections(connections)
        .connect_with(options)
        .await;
    let pool = pool.context("cannot reach the database")?;
    // What makes a history, or folds one, takes minutes.
    Ok(Pool::from(pool).with_answer_timeout(Duration::from_secs(3_600)))
}

async fn empty_log(pool: &Pool) -> anyhow::Result<Log> {
    event_log::MIGRATIONS
        .run(pool.inner())
        .await
        .context("the schema could not be brought up to date")?;
    let log = Log::open(pool.clone(), PARTITIONS).await?;
    let empty = log.heads().await?.iter().all(|head| *head == 0);
    anyhow::ensure!(
        empty,
        "the database has a history already: name an empty one"
    );
    Ok(log)
}

async fn fill(log: &Log, shape: Shape) -> anyhow::Result<()> {
    let mut products = vec![Vec::new(); PARTITIONS as usize];
    for _ in 0..shape.products {
        let id = log.next_product_id().await?;
        products[log.partition_of(id) as usize].push(id);
    }
    let mut writing = JoinSet::new();
    for (partition, products) in (0..PARTITIONS).zip(products) {
        let events = shape.events / PARTITIONS as u64
            + u64::from((partition as u64) < shape.events % PARTITIONS as u64);
        writing.spawn(write(
            log.clone(),
            partition,
            Stream::new(partition as u64, products, shape.users, events),
        ));
    }
    while let Some(written) = writing.join_next().await {
        written??;
    }
    Ok(())
}

async fn write(log: Log, partition: Partition, mut stream: Stream) -> anyhow::Result<()> {
    let mut writer = Writer::open(log, partition).await?;
    let seconds = i64::try_from(stream.left() / EVENTS_PER_APPEND)?;
    let mut at = writer.now() - TimeDelta::seconds(seconds);
    while stream.left() > 0 {
        let committed = append(&mut writer, stream.next(EVENTS_PER_APPEND, at)?, at).await?;
        stream.committed(&committed);
        at = (at + TimeDelta::seconds(1)).min(writer.now());
    }
    Ok(())
}

async fn append(
    writer: &mut Writer,
    events: Vec<NewEvent>,
    at: DateTime<Utc>,
) -> anyhow::Result<Vec<RecordedEvent>> {
    match writer
        .append(
            Batch {
                events,
                keys: Vec::new(),
            },
            at,
        )
        .await?
    {
        Appended::Committed(events) => Ok(events.to_vec()),
        Appended::Conflict | Appended::KeysTaken(_) => {
            anyhow::bail!("somebody else writes to this log: stop it, and begin anew")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use event_log::consume::{Consumer, Projection, Step};
    use projector::{HoldingsProjection, InvestLogProjection, ProductListProjection};
    use std::sync::Arc;

    const SHAPE: Shape = Shape {
        events: 10_001,
        products: 40,
        users: 30,
    };

    #[tokio::test]
    async fn a_history_is_a_log_that_all_read_models_follow() {
        let database = testbed::Database::fresh().await;
        run(SHAPE, database.url()).await.expect("a history");
        let pool = database.pool().await;
        let log = Log::open(pool.clone(), PARTITIONS).await.expect("its log");
        let heads = log.heads().await.expect("its heads");
        assert_eq!(heads, [2_501, 2_500, 2_500, 2_500]);
        for (partition, head) in log.partitions().zip(heads) {
            assert_eq!(
                log.verify(partition).await.expect("it is whole").position,
                head
            );
            drained(&log, &pool, ProductListProjection, partition, head).await;
            drained(&log, &pool, HoldingsProjection, partition, head).await;
            drained(&log, &pool, InvestLogProjection, partition, head).await;
        }
        assert_eq!(
            number(&pool, "select sum(current_amount) from product_list").await,
            number(&pool, "select sum(amount) from holdings").await,
            "all have their fates"
        );
        assert_eq!(
            number(
                &pool,
                "select count(*) from invest_log where state = 'RESERVED'"
            )
            .await,
            0
        );
        let failed = number(
            &pool,
            "select count(*) from invest_log where state = 'FAILED'",
        )
        .await;
        assert!((150..250).contains(&failed), "{failed} of 5,000 failed");
    }

    #[tokio::test]
    async fn a_database_with_a_history_is_left_alone() {
        let database = testbed::Database::fresh().await;
        run(SHAPE, database.url()).await.expect("a history");
        let refused = run(SHAPE, database.url())
            .await
            .expect_err("it has one")
            .to_string();
        assert_eq!(
            refused,
            "the database has a history already: name an empty one"
        );
    }

    async fn drained<P: Projection>(
        log: &Log,
        pool: &Pool,
        projection: P,
        partition: Partition,
        head: i64,
    ) {
        let consumer = Consumer::new(log.clone(), pool.clone(), Arc::new(projection), partition);
        assert_eq!(
            consumer.catch_up().await.expect("it is applied"),
            Step::Idle(head),
            "{}",
            P::NAME
        );
    }

    async fn number(pool: &Pool, asked: &str) -> i64 {
        let number = format!("select ({asked})::bigint");
        sqlx::query_scalar(&number)
            .fetch_one(pool)
            .await
            .expect("a number")
    }
}
