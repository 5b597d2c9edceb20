//! Removes what a contestant leaves in RabbitMQ and Redis.

use super::quiet::{consumers, open_log};
use super::{Contestant, Servers};
use anyhow::Context;
use lapin::options::{ExchangeDeleteOptions, QueueDeleteOptions};
use lapin::{Channel, Connection, ConnectionProperties};
use projector::{COUNTERS, counters_key};
use sqlx::PgPool;

/// The part of their names that the queues with the marks of what was published share.
const PUBLISHED: &str = "published";

pub(super) async fn remove(
    servers: &Servers,
    contestant: Contestant,
    database: &str,
    pool: &PgPool,
    products: &[i64],
) -> anyhow::Result<()> {
    match contestant {
        Contestant::SeedLock => {
            delete_queues(servers, [database.to_owned()], None).await?;
            let keys = |product: &i64| {
                [
                    format!("{database}:taken:{product}"),
                    format!("{database}:lock:{product}"),
                ]
            };
            delete_keys(servers, products.iter().flat_map(keys).collect()).await
        }
        Contestant::MoaWithServers => remove_of_moa(servers, pool).await,
        Contestant::Floor
        | Contestant::GroupCommit
        | Contestant::MoaAccepting
        | Contestant::SqlUpdate
        | Contestant::Stock
        | Contestant::Moa => Ok(()),
    }
}

async fn remove_of_moa(servers: &Servers, pool: &PgPool) -> anyhow::Result<()> {
    let log = open_log(pool).await?;
    let (log_id, database) = (log.identity().log_id, log.database_id().await?);
    // The marks too: the next round's copy of the log is behind this one's, and would take no writes.
    let consumers = consumers().into_iter().chain([COUNTERS, PUBLISHED]);
    let queue = |consumer| {
        log.partitions()
            .map(move |partition| format!("moa.{log_id}.{consumer}.{partition}"))
    };
    delete_queues(
        servers,
        consumers.flat_map(queue),
        Some(format!("product.events.{log_id}")),
    )
    .await?;
    delete_keys(
        servers,
        log.partitions()
            .map(|partition| counters_key(log_id, partition, &database))
            .collect(),
    )
    .await
}

async fn delete_queues(
    servers: &Servers,
    queues: impl IntoIterator<Item = String>,
    exchange: Option<String>,
) -> anyhow::Result<()> {
    let (connection, channel) = channel(servers).await?;
    for queue in queues {
        channel
            .queue_delete(queue.into(), QueueDeleteOptions::default())
            .await?;
    }
    if let Some(exchange) = exchange {
        channel
            .exchange_delete(exchange.into(), ExchangeDeleteOptions::default())
            .await?;
    }
    Ok(connection.close(200, "".into()).await?)
}

/// A channel, and the connection that it is on.
pub(super) async fn channel(servers: &Servers) -> anyhow::Result<(Connection, Channel)> {
    let amqp = servers.amqp.as_deref().context("there is no RabbitMQ")?;
    let connection = Connection::connect(amqp, ConnectionProperties::default()).await?;
    let channel = connection.create_channel().await?;
    Ok((connection, channel))
}

async fn delete_keys(servers: &Servers, keys: Vec<String>) -> anyhow::Result<()> {
    let redis = servers.redis.as_deref().context("there is no Redis")?;
    let mut redis = redis::Client::open(redis)?
        .get_multiplexed_async_connection()
        .await?;
    Ok(redis::cmd("DEL").arg(keys).exec_async(&mut redis).await?)
}
