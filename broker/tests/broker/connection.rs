//! While the broker is away, committed events are applied all the same; they are published once it is back.

use crate::notes::Noting;
use crate::tap::{Tap, once};
use crate::test_broker::*;
use broker::Broker;
use std::time::Duration;
use testbed::Proxy;

/// Nobody listens there.
const NOWHERE: &str = "amqp://guest:guest@127.0.0.1:1/%2f";

/// A relay and a consumer behind a proxy; `parameters` is the rest of its URL. The outsider's queue is not behind it.
async fn behind_proxy(
    test: &TestBroker,
    parameters: &str,
) -> (Broker, Proxy, Tap, Noting, Relaying) {
    let (broker, proxy) = test.behind_proxy(parameters).await;
    let tap = Tap::on(test).await;
    let noting = Noting::start_with(test, &test.log, &broker, 0).await;
    let relaying = Relaying::start(&test.log, &broker);
    (broker, proxy, tap, noting, relaying)
}

#[tokio::test]
async fn a_consumer_follows_the_log_while_no_broker_is_there() {
    let test = TestBroker::with_one_partition().await;
    let nowhere = Broker::new(NOWHERE, test.log_id()).unwrap();
    let noting = Noting::start_with(&test, &test.log, &nowhere, 0).await;
    for appended in 1..=5 {
        test.append(0, 20, 20).await;
        test.noted_within(Duration::from_secs(1), 0, appended * 20)
            .await;
    }
    assert!(!nowhere.is_connected());
    noting.stop().await;
}

#[tokio::test]
async fn a_relay_that_has_no_broker_stops_at_once() {
    let test = TestBroker::with_one_partition().await;
    test.append(0, 1, 1).await;
    let relaying = Relaying::start(&test.log, &Broker::new(NOWHERE, test.log_id()).unwrap());
    until("it has the lease", async || {
        test.execute("update leases set until = until").await == 1
    })
    .await;
    let stopped = tokio::time::timeout(Duration::from_secs(1), relaying.stop()).await;
    assert!(stopped.is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_connection_is_opened_again() {
    let test = TestBroker::with_one_partition().await;
    let (broker, proxy, mut tap, noting, relaying) = behind_proxy(&test, "").await;
    for round in 0..2 {
        until("it is connected", async || broker.is_connected()).await;
        test.append(0, 100, 2).await;
        proxy.cut();
        test.append(0, 100, 2).await;
        until("the loss is noticed", async || !broker.is_connected()).await;
        test.noted_within(Duration::from_secs(3), 0, (round + 1) * 200)
            .await;
        // Both connections, more than once.
        let before = proxy.refused();
        until("it is tried again", async || proxy.refused() >= before + 4).await;
        proxy.mend();
    }
    assert_eq!(once(tap.up_to(0, 400).await), test.stored(0).await);
    test.until_relayed(0, 400).await;
    test.until_the_queue_is_consumed(0, 1).await;
    noting.stop().await;
    relaying.stop().await;
}

/// The server is there and does not move, as when its process is stopped.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_broker_blocks_no_consumer() {
    let test = TestBroker::with_one_partition().await;
    let (_broker, proxy, mut tap, noting, relaying) = behind_proxy(&test, "").await;
    test.append(0, 20, 2).await;
    test.until_noted(0, 20).await;
    test.until_relayed(0, 20).await;
    test.until_the_queue_is_consumed(0, 1).await;
    proxy.freeze();
    for appended in 2..=4 {
        test.append(0, 20, 2).await;
        test.noted_within(Duration::from_secs(5), 0, appended * 20)
            .await;
    }
    proxy.mend();
    assert_eq!(once(tap.up_to(0, 80).await), test.stored(0).await);
    test.append(0, 20, 2).await;
    test.until_noted(0, 100).await;
    test.until_relayed(0, 100).await;
    noting.stop().await;
    relaying.stop().await;
}

/// The connections that stand fall silent for good: what is sent is taken, nothing comes any more. New ones work. A missed
/// heartbeat ends them, here after 2 s instead of 10.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_connections_are_opened_again() {
    let test = TestBroker::with_one_partition().await;
    let (broker, proxy, mut tap, noting, relaying) = behind_proxy(&test, "?heartbeat=2").await;
    test.append(0, 20, 2).await;
    test.until_relayed(0, 20).await;
    test.until_the_queue_is_consumed(0, 1).await;
    proxy.silence();
    test.append(0, 20, 2).await;
    test.noted_within(Duration::from_secs(5), 0, 40).await;
    test.until_relayed(0, 40).await;
    assert_eq!(once(tap.up_to(0, 40).await), test.stored(0).await);
    until("the silent connections are closed", async || {
        proxy.silent() == 0
    })
    .await;
    until("it is connected", async || broker.is_connected()).await;
    noting.stop().await;
    relaying.stop().await;
}
