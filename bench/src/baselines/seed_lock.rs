//! `seed-lock`: what the seed's README suggests. A lock in Redis on the product, under which the amount in Redis is checked and
//! raised and the invest's log row is committed as pending; then a persistent message to RabbitMQ, confirmed, and the answer. What
//! the seed's consumer does with the message afterwards is left out: it costs nothing here.
//!
//! The lock is taken by one request of a process at a time, which others of it wait for in memory: so none of them polls Redis.

use super::server::{Invest, Invests, Outcome};
use super::{POOL_SIZE, ServeBaseline};
use anyhow::{Context, ensure};
use domain::MAX_AMOUNT;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Confirmation, Connection, ConnectionProperties};
use redis::Script;
use redis::aio::MultiplexedConnection;
use sqlx::PgPool;
use std::collections::HashMap;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;
use uuid::Uuid;

/// How long a lock of a process that died holds others up.
const LOCK_TIME_MS: u64 = 5_000;
/// How long the lock of another process is waited for, and how often it is tried.
const LOCK_TIMEOUT: Duration = Duration::from_secs(2);
const LOCK_RETRY_DELAY: Duration = Duration::from_millis(5);

/// A message that is on the disk once it is confirmed.
const PERSISTENT: u8 = 2;

const TABLE: &str = "
    create table product_invest_log (
        id            uuid        primary key,
        product_id    bigint      not null,
        user_id       text        not null,
        amount        bigint      not null,
        invest_result text        not null,
        fail_reason   text,
        at            timestamptz not null default now()
    )";

const INSERT: &str = "
    insert into product_invest_log (id, product_id, user_id, amount, invest_result, fail_reason)
    values ($1, $2, $3, $4, 'FAIL', 'PENDING')";

pub(super) struct SeedLock {
    prefix: String,
    pool: PgPool,
    redis: MultiplexedConnection,
    channel: Channel,
    _connection: Connection,
    queued: HashMap<i64, Mutex<()>>,
    raise: Script,
    unlock: Script,
}

impl SeedLock {
    pub(super) async fn start(settings: &ServeBaseline) -> anyhow::Result<Self> {
        let pool = settings.pool(POOL_SIZE).await?;
        sqlx::raw_sql(TABLE).execute(&pool).await?;
        let redis = settings
            .redis_url
            .as_deref()
            .context("it needs --redis-url")?;
        let redis = redis::Client::open(redis)?
            .get_multiplexed_async_connection()
            .await?;
        let amqp = settings
            .amqp_url
            .as_deref()
            .context("it needs --amqp-url")?;
        let connection = Connection::connect(amqp, ConnectionProperties::default()).await?;
        let channel = connection.create_channel().await?;
        channel
            .confirm_select(ConfirmSelectOptions::default())
            .await?;
        let durable = QueueDeclareOptions {
            durable: true,
            ..QueueDeclareOptions::default()
        };
        channel
            .queue_declare(
                settings.prefix.as_str().into(),
                durable,
                FieldTable::default(),
            )
            .await?;
        Ok(Self {
            prefix: settings.prefix.clone(),
            pool,
            redis,
            channel,
            _connection: connection,
            queued: (1..=settings.products).map(|product| (product, Mutex::default())).collect(),
            raise: Script::new(
                "local taken = tonumber(redis.call('GET', KEYS[1]) or '0')
                 if taken + ARGV[1] > tonumber(ARGV[2]) then return 0 end
                 redis.call('INCRBY', KEYS[1], ARGV[1])
                 return 1",
            ),
            unlock: Script::new(
                "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
                 return 0",
            ),
        })
    }

    /// Whether the lock was to be had in time.
    async fn lock(&self, key: &str, token: &str) -> anyhow::Result<bool> {
        let (began, mut redis) = (Instant::now(), self.redis.clone());
        let mut set = redis::cmd("SET");
        set.arg(key)
            .arg(token)
            .arg("NX")
            .arg("PX")
            .arg(LOCK_TIME_MS);
        while set
            .query_async::<Option<String>>(&mut redis)
            .await?
            .is_none()
        {
            if began.elapsed() > LOCK_TIMEOUT {
                return Ok(false);
            }
            tokio::time::sleep(LOCK_RETRY_DELAY).await;
        }
        Ok(true)
    }

    /// Under the lock: the amount and the log row are changed together, or the answer is an error.
    async fn reserve(&self, id: Uuid, invest: &Invest) -> anyhow::Result<bool> {
        let (key, mut redis) = (
            format!("{}:taken:{}", self.prefix, invest.product_id),
            self.redis.clone(),
        );
        let raised: bool = self
            .raise
            .key(key)
            .arg(invest.amount)
            .arg(MAX_AMOUNT)
            .invoke_async(&mut redis)
            .await?;
        if raised {
            let insert = sqlx::query(INSERT)
                .bind(id)
                .bind(invest.product_id)
                .bind(&invest.user_id);
            insert.bind(invest.amount).execute(&self.pool).await?;
        }
        Ok(raised)
    }

    async fn publish(&self, id: Uuid, product_id: i64) -> anyhow::Result<()> {
        let body = format!(r#"{{"productId":{product_id},"investLogId":"{id}"}}"#);
        let properties = BasicProperties::default().with_delivery_mode(PERSISTENT);
        let (options, queue) = (BasicPublishOptions::default(), self.prefix.as_str().into());
        let sent = self
            .channel
            .basic_publish("".into(), queue, options, body.as_bytes(), properties)
            .await?;
        ensure!(
            matches!(sent.await?, Confirmation::Ack(None)),
            "RabbitMQ did not take a message"
        );
        Ok(())
    }
}

impl Invests for SeedLock {
    async fn invest(&self, invest: Invest) -> anyhow::Result<Outcome> {
        let Some(queued) = self.queued.get(&invest.product_id) else {
            return Ok(Outcome::SoldOut);
        };
        let (id, token) = (Uuid::now_v7(), Uuid::new_v4().simple().to_string());
        let key = format!("{}:lock:{}", self.prefix, invest.product_id);
        let first = queued.lock().await;
        if !self.lock(&key, &token).await? {
            return Ok(Outcome::Overloaded);
        }
        let reserved = self.reserve(id, &invest).await;
        self.unlock
            .key(key)
            .arg(token)
            .invoke_async::<i64>(&mut self.redis.clone())
            .await?;
        drop(first);
        if !reserved? {
            return Ok(Outcome::SoldOut);
        }
        self.publish(id, invest.product_id).await?;
        Ok(Outcome::Accepted)
    }
}
