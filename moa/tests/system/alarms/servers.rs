//! Faults of RabbitMQ and Redis, and of those who write into them.

use testbed::{Proxy, RedisServer};

use super::prometheus::{FEW_EVENTS, Prometheus};
use crate::checker::counters;
use crate::harness::{Start, TEST_TIMEOUT, TestApp, ask, servers, within};
use crate::services::forge;

/// The machine's RabbitMQ, seen through a proxy.
async fn before_rabbitmq() -> (Proxy, String) {
    let url = reqwest::Url::parse(&servers().0).unwrap();
    let proxy = Proxy::before((
        url.host_str().unwrap().to_owned(),
        url.port().unwrap_or(5_672),
    ))
    .await;
    let mut seen = url;
    seen.set_host(Some("127.0.0.1")).unwrap();
    seen.set_port(Some(proxy.address().port())).unwrap();
    (proxy, seen.to_string())
}

/// Steps: RabbitMQ is away while many invests come, and comes back; somebody publishes what is not in the log; Redis is away, and comes
/// back empty; somebody writes a state of another log into it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn faults_of_rabbitmq_and_redis_ring_theirs() {
    let (mut redis, (proxy, amqp)) = (RedisServer::nowhere(), before_rabbitmq().await);
    redis.start();
    let app = TestApp::of(
        1,
        Start::serve()
            .env("AMQP_URL", &amqp)
            .env("REDIS_URL", &redis.url()),
    )
    .await;
    let prometheus = Prometheus::of(&app.processes).await;
    let product = app.open_product("rings", 1_000).await;
    app.settled().await;
    prometheus.is_quiet().await;

    proxy.cut();
    for _ in 0..=FEW_EVENTS {
        assert!(app.invest(ask("ann", product, 1)).await.is_accepted());
    }
    prometheus
        .rings(&["MoaNothingPublished", "MoaRelayBehind"])
        .await;
    proxy.mend();
    prometheus.is_quiet().await;

    forge(&app, b"not even JSON").await;
    prometheus.rings(&["MoaDeliveriesParked"]).await;
    prometheus.is_quiet().await;

    redis.kill();
    prometheus.rings(&["MoaRedisAway"]).await;
    redis.start();
    prometheus.is_quiet().await;

    let keys = counters::Keys::of(&app.pool).await;
    let client = redis.client();
    let loaded = async || counters::positions(&client, &keys, 4).await;
    within(TEST_TIMEOUT, "the counters", loaded).await;
    let key = keys.key(product % 4);
    let foreign = counters::checked(&key, "@state", &format!("1:0:{}:somebody", "0".repeat(64)));
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    redis::cmd("HSET")
        .arg(&key)
        .arg("@state")
        .arg(foreign)
        .exec_async(&mut connection)
        .await
        .unwrap();
    prometheus.rings(&["MoaRedisForeign"]).await;
    prometheus.is_quiet().await;
    app.processes[0].signal("TERM");
}
