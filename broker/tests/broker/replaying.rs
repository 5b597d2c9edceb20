//! Replay: selected history, marked, to one queue and nowhere else.

mod held_up;

use crate::tap::Tap;
use crate::test_broker::*;
use broker::replay::{
    IncompleteReplay, OutsideQueue, Progress, Replay, ReplayError, Selection, Start,
};
use broker::{Broker, cloud_events};
use chrono::{DateTime, TimeDelta, Utc};
use domain::ProductEvent;
use event_log::{Appended, Batch, Log, Metadata, NewEvent, RawEvent, Writer};
use lapin::message::BasicGetMessage;
use lapin::options::{BasicGetOptions, QueueDeclareOptions, QueueDeleteOptions};
use lapin::types::{AMQPValue, FieldTable};
use std::num::NonZeroU32;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// An outsider's queue goes by itself when nobody has used it for so long, in milliseconds.
const EXPIRES: i32 = 120_000;

/// A queue that an outsider made.
struct Outside {
    name: String,
    amqp: lapin::Channel,
}

impl Outside {
    async fn queue() -> Self {
        Self::queue_with(&[]).await
    }

    async fn queue_with(arguments: &[(&str, AMQPValue)]) -> Self {
        let outside = Self {
            name: format!("outside.{}", Uuid::now_v7().simple()),
            amqp: channel().await,
        };
        outside.declare(arguments).await;
        outside
    }

    async fn declare(&self, arguments: &[(&str, AMQPValue)]) {
        let mut table = FieldTable::default();
        for (name, value) in [("x-expires", AMQPValue::LongInt(EXPIRES))]
            .iter()
            .chain(arguments)
        {
            table.insert((*name).into(), value.clone());
        }
        let durable = QueueDeclareOptions {
            durable: true,
            ..QueueDeclareOptions::default()
        };
        self.amqp
            .queue_declare(self.name.as_str().into(), durable, table)
            .await
            .unwrap();
    }

    async fn delete(&self) {
        self.amqp
            .queue_delete(self.name.as_str().into(), QueueDeleteOptions::default())
            .await
            .unwrap();
    }

    /// How many messages are in it.
    async fn holds(&self) -> u32 {
        let passive = QueueDeclareOptions {
            passive: true,
            ..QueueDeclareOptions::default()
        };
        let found = self
            .amqp
            .queue_declare(self.name.as_str().into(), passive, FieldTable::default())
            .await;
        found.unwrap().message_count()
    }

    async fn take(&self) -> Option<BasicGetMessage> {
        let no_ack = BasicGetOptions { no_ack: true };
        self.amqp
            .basic_get(self.name.as_str().into(), no_ack)
            .await
            .unwrap()
    }

    /// All that is in it.
    async fn messages(&self) -> Vec<BasicGetMessage> {
        let mut messages = Vec::new();
        while let Some(message) = self.take().await {
            messages.push(message);
        }
        messages
    }

    /// All events that are in it.
    async fn events(&self, test: &TestBroker) -> Vec<RawEvent> {
        let messages = self.messages().await;
        messages
            .iter()
            .flat_map(|message| cloud_events::decode(test.log_id(), &message.data).unwrap())
            .collect()
    }

    fn all(&self, test: &TestBroker) -> Replay {
        let partitions = test.log.partitions().collect();
        let selection = Selection {
            partitions,
            from: Start::Position(1),
            product: None,
            event_type: None,
        };
        Replay {
            to: self.name.parse().unwrap(),
            selection,
            max_rate: None,
        }
    }
}

async fn channel() -> lapin::Channel {
    amqp().await.create_channel().await.unwrap()
}

async fn run(test: &TestBroker, replay: &Replay) -> Result<Progress, IncompleteReplay> {
    run_over(&test.log, &test.broker, replay).await
}

async fn run_over(
    log: &Log,
    broker: &Broker,
    replay: &Replay,
) -> Result<Progress, IncompleteReplay> {
    replay
        .run(
            log,
            broker,
            &watch::Sender::default(),
            &CancellationToken::new(),
        )
        .await
}

fn the_rest(incomplete: &IncompleteReplay) -> (&[(i32, i64)], u64) {
    (&incomplete.rest, incomplete.progress.sent)
}

/// Steps: the relay publishes what there is, and an outsider's queue at the exchange gets it; the same is replayed to
/// another one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replayed_message_is_the_relays_with_a_mark() {
    let test = TestBroker::with_partitions(2).await;
    test.append(0, 300, 100).await;
    test.append(1, 7, 7).await;
    let (mut tap, outside) = (Tap::on(&test).await, Outside::queue().await);
    let relaying = Relaying::start(&test.log, &test.broker);
    let mut live = Vec::new();
    for _ in 0..2 {
        live.push(tap.next().await);
    }
    live.sort_by_key(|message| message.routing_key.to_string());
    relaying.stop().await;
    let sent = run(&test, &outside.all(&test)).await.unwrap();
    assert_eq!(
        sent,
        Progress {
            read: 307,
            total: 307,
            sent: 307
        }
    );
    let replayed = outside.messages().await;
    assert_eq!(replayed.len(), live.len());
    for (message, live) in replayed.iter().zip(&live) {
        let mut headers = message
            .properties
            .headers()
            .clone()
            .unwrap()
            .inner()
            .clone();
        assert_eq!(headers.remove("replayed"), Some(AMQPValue::Boolean(true)));
        assert_eq!(
            message.properties.clone().with_headers(headers.into()),
            live.properties
        );
        let body = String::from_utf8(message.data.clone()).unwrap();
        let marks = body.matches(r#","replayed":true,"data":"#).count();
        assert_eq!(
            marks,
            cloud_events::decode(test.log_id(), &message.data)
                .unwrap()
                .len()
        );
        assert_eq!(
            body.replace(r#""replayed":true,"#, "").as_bytes(),
            live.data
        );
        assert_eq!(
            (message.exchange.as_str(), message.routing_key.as_str()),
            ("", outside.name.as_str())
        );
    }
}

#[tokio::test]
async fn all_of_history_comes_once_and_in_order_and_nothing_reaches_the_exchange() {
    let test = TestBroker::with_partitions(3).await;
    test.append(0, 5_001, 1_000).await;
    test.append(2, 1_200, 600).await;
    let (mut tap, outside) = (Tap::on(&test).await, Outside::queue().await);
    let sent = run(&test, &outside.all(&test)).await.unwrap();
    assert_eq!(
        sent,
        Progress {
            read: 6_201,
            total: 6_201,
            sent: 6_201
        }
    );
    let events = outside.events(&test).await;
    assert_eq!(
        events,
        [test.stored(0).await, test.stored(2).await].concat()
    );
    let anything = tokio::time::timeout(Duration::from_millis(300), tap.next()).await;
    assert!(anything.is_err(), "the exchange must not hear of a replay");
    assert_eq!(test.checkpoint(broker::RELAY, 0).await, 0);
}

#[tokio::test]
async fn an_empty_log_sends_nothing() {
    let (test, outside) = (TestBroker::with_partitions(2).await, Outside::queue().await);
    assert_eq!(
        run(&test, &outside.all(&test)).await.unwrap(),
        Progress::default()
    );
    assert_eq!(outside.messages().await, []);
}

#[tokio::test]
async fn it_begins_at_a_position_of_each_partition_that_is_wanted() {
    let (test, outside) = (TestBroker::with_partitions(2).await, Outside::queue().await);
    test.append(0, 10, 5).await;
    test.append(1, 4, 4).await;
    let (zero, one) = (test.stored(0).await, test.stored(1).await);
    for (partitions, position, expected) in [
        (vec![0, 1], 1, [&zero[..], &one[..]].concat()),
        (vec![0, 1], 3, [&zero[2..], &one[2..]].concat()),
        (vec![0, 1], 5, zero[4..].to_vec()),
        (vec![0], 10, zero[9..].to_vec()),
        (vec![1], 4, one[3..].to_vec()),
        (vec![1], 5, vec![]),
        (vec![0, 1], i64::MAX, vec![]),
    ] {
        let mut replay = outside.all(&test);
        replay.selection = Selection {
            partitions,
            from: Start::Position(position),
            ..replay.selection
        };
        assert_eq!(
            run(&test, &replay).await.unwrap().sent,
            expected.len() as u64
        );
        assert_eq!(outside.events(&test).await, expected, "from {position}");
    }
}

fn time(second: i64) -> DateTime<Utc> {
    "2026-03-01T09:00:00Z".parse::<DateTime<Utc>>().unwrap() + TimeDelta::seconds(second)
}

/// Appends an event of each of these products, recorded at its second: it is opened first, then closed again and again.
async fn close(test: &TestBroker, products: &[(i64, i64)]) {
    let mut writer = Writer::open(test.log.clone(), 0).await.unwrap();
    let mut sequences = std::collections::BTreeMap::new();
    for (product, second) in products {
        let sequence = sequences
            .entry(product)
            .and_modify(|it| *it += 1)
            .or_insert(1);
        let event = if *sequence == 1 {
            nth_event(0, 1).event
        } else {
            ProductEvent::ProductClosed {}
        };
        let product_id = (*product).try_into().unwrap();
        let event = NewEvent {
            product_id,
            sequence: *sequence,
            event,
            metadata: Metadata::default(),
        };
        let batch = Batch {
            events: vec![event],
            keys: Vec::new(),
        };
        let appended = writer.append(batch, time(*second)).await.unwrap();
        assert!(matches!(appended, Appended::Committed(_)), "{appended:?}");
    }
}

/// Two events have the same time, and 9 is before none.
#[tokio::test]
async fn it_begins_with_what_was_recorded_at_a_time_or_later() {
    let (test, outside) = (
        TestBroker::with_one_partition().await,
        Outside::queue().await,
    );
    close(
        &test,
        &[
            (1, 10),
            (1, 20),
            (1, 20),
            (1, 30),
            (1, 40),
            (1, 50),
            (1, 60),
        ],
    )
    .await;
    let stored = test.stored(0).await;
    assert_eq!(stored[3].recorded_at, time(30));
    for (second, skipped) in [
        (9, 0),
        (10, 0),
        (11, 1),
        (20, 1),
        (21, 3),
        (30, 3),
        (59, 6),
        (60, 6),
        (61, 7),
        (900, 7),
    ] {
        let mut replay = outside.all(&test);
        replay.selection.from = Start::Time(time(second));
        run(&test, &replay).await.unwrap();
        assert_eq!(
            outside.events(&test).await,
            stored[skipped..],
            "from second {second}"
        );
    }
    let mut replay = outside.all(&test);
    replay.selection.from = Start::Time(time(20) + TimeDelta::microseconds(1));
    assert_eq!(run(&test, &replay).await.unwrap().sent, 4);
}

#[tokio::test]
async fn only_the_chosen_product_and_type_are_sent() {
    let (test, outside) = (
        TestBroker::with_one_partition().await,
        Outside::queue().await,
    );
    close(
        &test,
        &[(1, 0), (12, 0), (1, 0), (12, 0), (2, 0), (12, 0), (1, 0)],
    )
    .await;
    for (product, event_type, expected) in [
        (Some("1"), None, &[1, 3, 7][..]),
        (Some("12"), None, &[2, 4, 6]),
        (None, Some("ProductOpened"), &[1, 2, 5]),
        (Some("12"), Some("ProductClosed"), &[4, 6]),
        (Some("2"), Some("ProductClosed"), &[]),
        (Some("9"), None, &[]),
    ] {
        let (product, event_type) = (product.map(str::to_owned), event_type.map(str::to_owned));
        let mut replay = outside.all(&test);
        replay.selection = Selection {
            product,
            event_type,
            ..replay.selection
        };
        let sent = run(&test, &replay).await.unwrap();
        assert_eq!(
            sent,
            Progress {
                read: 7,
                total: 7,
                sent: expected.len() as u64
            }
        );
        let positions: Vec<_> = outside
            .events(&test)
            .await
            .iter()
            .map(|event| event.position)
            .collect();
        assert_eq!(positions, expected);
    }
}

/// Steps: it is slow enough to be overtaken by appends: where it is at work, and where it has read nothing yet.
#[tokio::test]
async fn events_appended_meanwhile_are_left_to_the_exchange() {
    let (test, outside) = (TestBroker::with_partitions(2).await, Outside::queue().await);
    test.append(0, 20, 20).await;
    test.append(1, 20, 20).await;
    let mut replay = outside.all(&test);
    replay.max_rate = NonZeroU32::new(10);
    let (replayed, ()) = tokio::join!(run(&test, &replay), async {
        until("it began", async || outside.holds().await > 0).await;
        test.append(0, 20, 20).await;
        test.append(1, 20, 20).await;
    });
    assert_eq!(replayed.unwrap().sent, 40);
    let first = [&test.stored(0).await[..20], &test.stored(1).await[..20]].concat();
    assert_eq!(outside.events(&test).await, first);
}

#[tokio::test]
async fn it_keeps_to_its_max_rate() {
    let (test, outside) = (
        TestBroker::with_one_partition().await,
        Outside::queue().await,
    );
    test.append(0, 250, 250).await;
    let mut replay = outside.all(&test);
    replay.max_rate = NonZeroU32::new(100);
    let since = Instant::now();
    run(&test, &replay).await.unwrap();
    assert!(
        since.elapsed() >= Duration::from_secs(2),
        "{:?}",
        since.elapsed()
    );
    let messages = outside.messages().await;
    let size = |message: &BasicGetMessage| {
        cloud_events::decode(test.log_id(), &message.data)
            .unwrap()
            .len()
    };
    assert_eq!(
        messages.iter().map(size).collect::<Vec<_>>(),
        [100, 100, 50]
    );
}

#[tokio::test]
async fn a_missing_queue_is_reported_and_not_declared() {
    let (test, outside) = (
        TestBroker::with_one_partition().await,
        Outside::queue().await,
    );
    test.append(0, 10, 10).await;
    outside.delete().await;
    let incomplete = run(&test, &outside.all(&test)).await.unwrap_err();
    assert!(
        matches!(&incomplete.error, ReplayError::QueueNotFound(queue) if queue.to_string() == outside.name),
        "{incomplete}"
    );
    assert_eq!(the_rest(&incomplete), (&[][..], 0));
    assert_eq!(in_queue(&outside.name).await, None);
}

#[tokio::test]
async fn a_queue_that_is_exclusive_to_another_is_forbidden() {
    let test = TestBroker::with_one_partition().await;
    let (amqp, mut outside) = (channel().await, Outside::queue().await);
    let exclusive = QueueDeclareOptions {
        exclusive: true,
        ..QueueDeclareOptions::default()
    };
    let queue = amqp
        .queue_declare("".into(), exclusive, FieldTable::default())
        .await
        .unwrap();
    outside.name = queue.name().to_string();
    let incomplete = run(&test, &outside.all(&test)).await.unwrap_err();
    assert!(
        matches!(incomplete.error, ReplayError::QueueForbidden(_)),
        "{incomplete}"
    );
}

#[test]
fn a_queue_of_moas_own_has_no_name_here() {
    let own = broker::topology::queue(Uuid::nil(), NOTES, 0);
    assert!(
        own.parse::<OutsideQueue>()
            .unwrap_err()
            .to_string()
            .contains("Moa's own")
    );
}
