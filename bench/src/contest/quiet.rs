//! Waits until nothing is left to do: every reservation has its fate, every consumer is at the heads, so are the counters in
//! Redis, and the log is sealed.

use super::Servers;
use anyhow::{Context, anyhow, bail};
use broker::RELAY;
use connection_pool::Pool;
use event_log::Log;
use projector::PROJECTIONS;
use sqlx::PgPool;
use std::time::{Duration, Instant};

/// How often it is looked at.
const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// A load of a minute may leave minutes of work.
const QUIET_TIMEOUT: Duration = Duration::from_secs(20 * 60);

/// The consumer that gives settlement its work.
pub(super) const SETTLEMENT: &str = "open_invest";

/// Nothing is reserved without a fate, and all checkpoints are at the heads.
const IS_SETTLED: &str = "
    select not exists (select from open_invest)
       and not exists (
           select from log_identity
            cross join generate_series(0, partitions - 1) as p
            cross join unnest($1::text[]) as c (name)
             left join checkpoints k on k.consumer = c.name and k.partition = p
            where coalesce(k.position, 0)
                  <> coalesce((select e.position from events e where e.partition = p order by e.position desc limit 1), 0))";

const IS_SEALED: &str = "
    select not exists (
        select from log_identity
         cross join generate_series(0, partitions - 1) as p
         where coalesce((select max(s.last) from seals s where s.partition = p), 0)
               <> coalesce((select e.position from events e where e.partition = p order by e.position desc limit 1), 0))";

/// A Moa's counters in Redis.
pub(crate) struct Counters {
    redis: redis::Client,
    log: Log,
}

impl Counters {
    pub(super) async fn of(pool: &PgPool, servers: &Servers) -> anyhow::Result<Self> {
        let redis = servers.redis.as_deref().context("there is no Redis")?;
        Ok(Self {
            redis: redis::Client::open(redis)?,
            log: open_log(pool).await?,
        })
    }

    async fn are_at_the_heads(&self) -> anyhow::Result<bool> {
        let positions = projector::counter_positions(&self.redis, &self.log)
            .await
            .map_err(|error| anyhow!(error))?;
        let heads = self.log.heads().await?;
        // Without an event there is nothing to count.
        Ok(positions
            .iter()
            .map(|position| position.unwrap_or(0))
            .eq(heads))
    }
}

/// The log in a database.
pub(super) async fn open_log(pool: &PgPool) -> anyhow::Result<Log> {
    let pool = Pool::from(pool.clone());
    let partitions = Log::partitions_of(&pool)
        .await?
        .context("there is no log")?;
    Ok(Log::open(pool, partitions).await?)
}

/// Until all is settled and in all read models; returns how long that took.
pub(super) async fn wait_until_settled(
    pool: &PgPool,
    counters: Option<&Counters>,
) -> anyhow::Result<Duration> {
    let began = Instant::now();
    loop {
        let settled: bool = sqlx::query_scalar(IS_SETTLED)
            .bind(consumers())
            .fetch_one(pool)
            .await?;
        let counted = match counters {
            Some(counters) if settled => counters.are_at_the_heads().await?,
            _ => true,
        };
        if settled && counted {
            return Ok(began.elapsed());
        }
        pause(began, "settled and in all read models").await?;
    }
}

/// The same, and sealed, and published where there is a RabbitMQ: of the database that a round begins with nothing is yet.
pub(super) async fn wait_until_quiet(
    pool: &PgPool,
    counters: Option<&Counters>,
) -> anyhow::Result<()> {
    wait_until_applied(pool, counters).await?;
    let began = Instant::now();
    while !sqlx::query_scalar(IS_SEALED).fetch_one(pool).await? {
        pause(began, "sealed").await?;
    }
    Ok(())
}

/// The same where nobody seals.
pub(super) async fn wait_until_applied(
    pool: &PgPool,
    counters: Option<&Counters>,
) -> anyhow::Result<()> {
    wait_until_settled(pool, counters).await?;
    let began = Instant::now();
    while counters.is_some()
        && !sqlx::query_scalar(IS_SETTLED)
            .bind([RELAY])
            .fetch_one(pool)
            .await?
    {
        pause(began, "published").await?;
    }
    Ok(())
}

async fn pause(since: Instant, what: &str) -> anyhow::Result<()> {
    if since.elapsed() > QUIET_TIMEOUT {
        bail!("not all is {what} after {QUIET_TIMEOUT:?}");
    }
    tokio::time::sleep(POLL_INTERVAL).await;
    Ok(())
}

/// Every consumer with checkpoints in PostgreSQL.
pub(super) fn consumers() -> Vec<&'static str> {
    PROJECTIONS
        .iter()
        .map(|projection| projection.name)
        .chain([SETTLEMENT])
        .collect()
}
