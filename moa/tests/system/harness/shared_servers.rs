//! The RabbitMQ and the Redis that all tests share. Each queue has open files there, and a RabbitMQ without any left hangs: so nothing may be
//! left over.

use sqlx::PgPool;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::consumers;
use crate::checker::counters;

/// How long removing takes at most: a test that has passed is not to hang here.
const REMOVAL_TIMEOUT: Duration = Duration::from_secs(20);
const PARTITIONS: i64 = 4;

/// Whether a test of this process has asked for them.
static ARE_USED: AtomicBool = AtomicBool::new(false);

/// The URLs of RabbitMQ and Redis.
pub fn servers() -> (String, String) {
    ARE_USED.store(true, Ordering::Relaxed);
    let amqp = std::env::var("AMQP_URL")
        .unwrap_or_else(|_| "amqp://guest:guest@127.0.0.1:5672/%2f".into());
    (
        amqp,
        std::env::var("REDIS_URL").unwrap_or_else(|_| "redis://127.0.0.1:6379".into()),
    )
}

/// Removes what the log in a database has on the shared servers when the value goes, which must be after its processes.
pub struct Leftovers {
    database_url: String,
}

impl Leftovers {
    pub fn of(database_url: &str) -> Self {
        Self {
            database_url: database_url.to_owned(),
        }
    }
}

impl Drop for Leftovers {
    /// On a thread and a runtime of its own: the test's runtime may be the one that drops it.
    fn drop(&mut self) {
        if !ARE_USED.load(Ordering::Relaxed) {
            return;
        }
        let url = self.database_url.clone();
        let removed = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async { tokio::time::timeout(REMOVAL_TIMEOUT, remove(&url)).await })
        });
        match removed.join() {
            Ok(Ok(())) => {}
            Ok(Err(_)) => {
                eprintln!("RabbitMQ or Redis does not answer: this test's queues are left over")
            }
            Err(_) => eprintln!("this test's queues are left over"),
        }
    }
}

async fn remove(database_url: &str) {
    let pool = PgPool::connect(database_url).await.unwrap();
    let there: bool = sqlx::query_scalar("select to_regclass('log_identity') is not null")
        .fetch_one(&pool)
        .await
        .unwrap();
    if !there
        || sqlx::query("select from log_identity")
            .fetch_optional(&pool)
            .await
            .unwrap()
            .is_none()
    {
        return;
    }
    let keys = counters::Keys::of(&pool).await;
    let (amqp, redis) = servers();
    let connection = lapin::Connection::connect(&amqp, lapin::ConnectionProperties::default())
        .await
        .unwrap();
    let channel = connection.create_channel().await.unwrap();
    for consumer in [consumers(), vec!["counters", "published"]].concat() {
        for partition in 0..PARTITIONS {
            let queue = format!("moa.{}.{consumer}.{partition}", keys.log_id);
            channel
                .queue_delete(queue.into(), Default::default())
                .await
                .unwrap();
        }
    }
    let exchange = format!("product.events.{}", keys.log_id);
    channel
        .exchange_delete(exchange.into(), Default::default())
        .await
        .unwrap();
    connection.close(200, "".into()).await.unwrap();
    let mut redis = redis::Client::open(redis)
        .unwrap()
        .get_multiplexed_async_connection()
        .await
        .unwrap();
    let keys: Vec<_> = (0..PARTITIONS)
        .map(|partition| keys.key(partition))
        .collect();
    redis::cmd("DEL")
        .arg(keys)
        .exec_async(&mut redis)
        .await
        .unwrap();
}
