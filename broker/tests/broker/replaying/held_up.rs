//! What interrupts a replay, and what ends it early.

use super::{Outside, run, run_over, the_rest};
use crate::tap::once;
use crate::test_broker::*;
use broker::Broker;
use broker::replay::{Progress, REPLAY_STALL_TIMEOUT, Replay, ReplayError, Selection, Start};
use lapin::types::AMQPValue;
use std::num::NonZeroU32;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// A replay of everything, a message a second; where it says how far it is; and what stops it.
fn slow(
    outside: &Outside,
    test: &TestBroker,
) -> (Replay, watch::Sender<Progress>, CancellationToken) {
    let mut replay = outside.all(test);
    replay.max_rate = NonZeroU32::new(10);
    (replay, watch::Sender::default(), CancellationToken::new())
}

/// Steps: the queue is deleted while the second partition is sent; a new one gets the rest.
#[tokio::test]
async fn a_deleted_queue_ends_it_with_the_position_to_continue_from() {
    let (test, outside) = (TestBroker::with_partitions(3).await, Outside::queue().await);
    for partition in 0..3 {
        test.append(partition, 20, 20).await;
    }
    let mut replay = outside.all(&test);
    replay.max_rate = NonZeroU32::new(10);
    let (replayed, mut events) = tokio::join!(run(&test, &replay), async {
        until("it is at the second partition", async || {
            outside.holds().await >= 3
        })
        .await;
        let events = outside.events(&test).await;
        outside.delete().await;
        events
    });
    let incomplete = replayed.unwrap_err();
    assert!(
        matches!(incomplete.error, ReplayError::QueueNotFound(_)),
        "{incomplete}"
    );
    assert_eq!(
        the_rest(&incomplete),
        (
            &[(1, events.last().unwrap().position + 1), (2, 1)][..],
            events.len() as u64
        )
    );
    outside.declare(&[]).await;
    for (partition, position) in incomplete.rest {
        let mut rest = outside.all(&test);
        rest.selection = Selection {
            partitions: vec![partition],
            from: Start::Position(position),
            ..rest.selection
        };
        run(&test, &rest).await.unwrap();
    }
    events.extend(outside.events(&test).await);
    assert_eq!(
        events,
        [
            test.stored(0).await,
            test.stored(1).await,
            test.stored(2).await
        ]
        .concat()
    );
}

/// The queue holds two messages and refuses the third. Steps: it stays full for a while; then it is emptied.
#[tokio::test]
async fn a_full_queue_interrupts_it_and_keeps_its_order() {
    let test = TestBroker::with_one_partition().await;
    let text = |text: &str| AMQPValue::LongString(text.into());
    let bound = [
        ("x-max-length", AMQPValue::LongInt(2)),
        ("x-overflow", text("reject-publish")),
    ];
    let outside = Outside::queue_with(&bound).await;
    test.append(0, 4_000, 1_000).await;
    let (replay, progress) = (outside.all(&test), watch::Sender::default());
    let running = async {
        let shutdown = CancellationToken::new();
        replay
            .run(&test.log, &test.broker, &progress, &shutdown)
            .await
    };
    let (replayed, events) = tokio::join!(running, async {
        until("it is full", async || outside.holds().await == 2).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(
            outside.holds().await == 2 && progress.borrow().sent < 2_000,
            "{:?}",
            progress.borrow()
        );
        let mut events = Vec::new();
        while events.len() < 4_000 {
            until("there is more", async || outside.holds().await > 0).await;
            events.extend(outside.events(&test).await);
        }
        events
    });
    assert_eq!(replayed.unwrap().sent, 4_000);
    assert_eq!(events, test.stored(0).await);
}

/// The queue refuses all.
#[tokio::test]
async fn a_queue_that_stays_full_ends_it_where_it_is() {
    let test = TestBroker::with_one_partition().await;
    let text = |text: &str| AMQPValue::LongString(text.into());
    let bound = [
        ("x-max-length", AMQPValue::LongInt(0)),
        ("x-overflow", text("reject-publish")),
    ];
    let outside = Outside::queue_with(&bound).await;
    test.append(0, 10, 10).await;
    let since = Instant::now();
    let incomplete = run(&test, &outside.all(&test)).await.unwrap_err();
    assert!(
        since.elapsed() >= REPLAY_STALL_TIMEOUT
            && matches!(incomplete.error, ReplayError::QueueFull),
        "{incomplete}"
    );
    assert_eq!(
        incomplete.progress,
        Progress {
            read: 0,
            total: 10,
            sent: 0
        }
    );
    assert_eq!(the_rest(&incomplete), (&[(0, 1)][..], 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_reconnects_and_continues_from_the_last_confirmed_message() {
    let (test, outside) = (
        TestBroker::with_one_partition().await,
        Outside::queue().await,
    );
    test.append(0, 400, 400).await;
    let (broker, proxy) = test.behind_proxy("").await;
    let mut replay = outside.all(&test);
    replay.max_rate = NonZeroU32::new(100);
    let (replayed, ()) = tokio::join!(run_over(&test.log, &broker, &replay), async {
        until("it began", async || outside.holds().await > 0).await;
        proxy.cut();
        until("the loss is noticed", async || proxy.refused() > 0).await;
        proxy.mend();
    });
    assert_eq!(replayed.unwrap().sent, 400);
    assert_eq!(once(outside.events(&test).await), test.stored(0).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_stays_away_ends_it_with_the_position_to_continue_from() {
    let (test, outside) = (TestBroker::with_partitions(2).await, Outside::queue().await);
    test.append(0, 40, 40).await;
    test.append(1, 40, 40).await;
    let (broker, proxy) = test.behind_proxy("").await;
    let (replay, progress, shutdown) = slow(&outside, &test);
    let mut progress_seen = progress.subscribe();
    let (replayed, ()) = tokio::join!(
        replay.run(&test.log, &broker, &progress, &shutdown),
        async {
            // Not when the queue has it: the server says so later.
            soon(progress_seen.wait_for(|progress: &Progress| progress.sent > 0))
                .await
                .unwrap();
            proxy.cut();
        }
    );
    let (incomplete, events) = (replayed.unwrap_err(), outside.events(&test).await);
    let (rest, sent) = the_rest(&incomplete);
    assert!(
        (1..=events.len() as u64).contains(&sent),
        "{sent} of {}",
        events.len()
    );
    assert_eq!(rest, [(0, sent as i64 + 1), (1, 1)], "{incomplete}");
}

#[tokio::test]
async fn an_unreachable_broker_is_reported_before_anything_is_read() {
    let (test, outside) = (
        TestBroker::with_one_partition().await,
        Outside::queue().await,
    );
    let nowhere = Broker::new("amqp://guest:guest@127.0.0.1:1/%2f", test.log_id()).unwrap();
    let incomplete = run_over(&test.log, &nowhere, &outside.all(&test))
        .await
        .unwrap_err();
    assert!(
        matches!(incomplete.error, ReplayError::Unreachable),
        "{incomplete}"
    );
}

#[tokio::test]
async fn stopped_it_reports_the_position_to_continue_from_and_its_progress() {
    let (test, outside) = (
        TestBroker::with_one_partition().await,
        Outside::queue().await,
    );
    test.append(0, 100, 100).await;
    let (replay, progress, shutdown) = slow(&outside, &test);
    let mut progress_seen = progress.subscribe();
    let running = replay.run(&test.log, &test.broker, &progress, &shutdown);
    let (replayed, ()) = tokio::join!(running, async {
        soon(progress_seen.wait_for(|progress: &Progress| progress.sent >= 20))
            .await
            .unwrap();
        shutdown.cancel();
    });
    let incomplete = replayed.unwrap_err();
    assert!(
        matches!(incomplete.error, ReplayError::Stopped),
        "{incomplete}"
    );
    assert_eq!(
        incomplete.progress,
        Progress {
            read: 20,
            total: 100,
            sent: 20
        }
    );
    assert_eq!(
        (the_rest(&incomplete), *progress_seen.borrow()),
        ((&[(0, 21)][..], 20), incomplete.progress)
    );
}

/// Steps: a message is confirmed; the proxy carries nothing, and the next message is sent; it is stopped; the proxy
/// carries again, and that message is confirmed: it counts, and nothing follows.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopped_it_waits_for_messages_in_flight() {
    let (test, outside) = (
        TestBroker::with_one_partition().await,
        Outside::queue().await,
    );
    test.append(0, 100, 100).await;
    let (broker, proxy) = test.behind_proxy("").await;
    let (replay, progress, shutdown) = slow(&outside, &test);
    let mut progress_seen = progress.subscribe();
    let (replayed, ()) = tokio::join!(
        replay.run(&test.log, &broker, &progress, &shutdown),
        async {
            soon(progress_seen.wait_for(|progress: &Progress| progress.sent > 0))
                .await
                .unwrap();
            proxy.freeze();
            // The rate is a message a second.
            tokio::time::sleep(Duration::from_millis(1_500)).await;
            shutdown.cancel();
            tokio::time::sleep(Duration::from_millis(100)).await;
            proxy.mend();
        }
    );
    let incomplete = replayed.unwrap_err();
    assert!(
        matches!(incomplete.error, ReplayError::Stopped),
        "{incomplete}"
    );
    let came = outside.events(&test).await.len() as u64;
    assert_eq!(
        (incomplete.progress.sent, the_rest(&incomplete).0),
        (came, &[(0, came as i64 + 1)][..])
    );
}

/// Nothing is under way where the queue refuses, or the broker is away.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopped_while_interrupted_it_ends_at_once() {
    let test = TestBroker::with_one_partition().await;
    test.append(0, 10, 10).await;
    let text = |text: &str| AMQPValue::LongString(text.into());
    let bound = [
        ("x-max-length", AMQPValue::LongInt(0)),
        ("x-overflow", text("reject-publish")),
    ];
    let full = Outside::queue_with(&bound).await;
    let (broker, proxy) = test.behind_proxy("").await;
    for away in [false, true] {
        let (replay, progress, shutdown) = (
            full.all(&test),
            watch::Sender::default(),
            CancellationToken::new(),
        );
        let (incomplete, asked) = tokio::join!(
            replay.run(&test.log, &broker, &progress, &shutdown),
            async {
                soon(
                    progress
                        .subscribe()
                        .wait_for(|progress: &Progress| progress.total > 0),
                )
                .await
                .unwrap();
                if away {
                    proxy.cut();
                    until("it tries to reach it", async || proxy.refused() > 0).await;
                } else {
                    // By now it was refused; trying again takes longer each time.
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
                shutdown.cancel();
                Instant::now()
            }
        );
        assert!(matches!(
            incomplete.unwrap_err().error,
            ReplayError::Stopped
        ));
        assert!(
            asked.elapsed() < Duration::from_secs(4),
            "{:?}",
            asked.elapsed()
        );
    }
}
