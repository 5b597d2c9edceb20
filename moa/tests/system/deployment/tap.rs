//! A consumer outside Moa: a queue of its own at the exchange, drained all the time. What it received is compared with the log.

use futures::StreamExt as _;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use lapin::{Channel, Connection, ConnectionProperties, Consumer};
use serde_json::Value;
use sqlx::PgPool;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::harness::{TEST_TIMEOUT, within};

/// How long it rests when there is no broker.
const REST_DELAY: Duration = Duration::from_millis(100);

/// How long it listens to nothing before it connects again.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a server may take to answer: one that is starting or stopping may take a connection and say nothing.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// By partition and position: what was told of that event. Repeats must tell the same.
type Heard = BTreeMap<(i32, i64), Value>;

pub struct Tap {
    heard: Arc<Mutex<Result<Heard, String>>>,
    listening: JoinHandle<()>,
}

impl Tap {
    /// Listens from now on; returns when its queue is bound.
    pub async fn start(url: String, log_id: Uuid) -> Self {
        let heard = Arc::new(Mutex::new(Ok(Heard::default())));
        let (bound, is_bound) = tokio::sync::oneshot::channel();
        let listening = tokio::spawn(listen(url, log_id, heard.clone(), bound));
        is_bound.await.unwrap();
        Self { heard, listening }
    }

    /// I9: everything in the log from the first that was heard of each partition, and nothing else.
    pub async fn has_heard_all(self, pool: &PgPool) -> usize {
        let heads: Vec<(i32, i64)> =
            sqlx::query_as("select partition, max(position) from events group by partition")
                .fetch_all(pool)
                .await
                .unwrap();
        let is_complete =
            |heard: &Heard| heads.iter().all(|(at, head)| is_whole(heard, *at, *head));
        let complete = async || {
            self.heard
                .lock()
                .unwrap()
                .as_ref()
                .is_ok_and(is_complete)
                .then_some(())
        };
        let done =
            tokio::time::timeout(TEST_TIMEOUT, within(TEST_TIMEOUT * 2, "the tap", complete)).await;
        self.listening.abort();
        let heard = self
            .heard
            .lock()
            .unwrap()
            .clone()
            .expect("nothing but events of the log, repeats the same");
        assert!(
            done.is_ok(),
            "heard {} events with holes, or not to the heads {heads:?}",
            heard.len()
        );
        for ((partition, position), told) in &heard {
            is_the_logs(pool, *partition, *position, told).await;
        }
        heard.len()
    }
}

/// From the first that was heard of the partition up to its head; of a quiet one nothing need be heard.
fn is_whole(heard: &Heard, partition: i32, head: i64) -> bool {
    let mut positions = heard
        .range((partition, 0)..(partition + 1, 0))
        .map(|((_, position), _)| *position);
    let Some(first) = positions.next() else {
        return true;
    };
    positions
        .chain([head + 1])
        .try_fold(first, |at, next| (next == at + 1).then_some(next))
        .is_some()
}

async fn is_the_logs(pool: &PgPool, partition: i32, position: i64, told: &Value) {
    let row: (Uuid, String, String, i64, String, Vec<u8>) = sqlx::query_as(
        "select event_id, event_type, aggregate_id, sequence, payload::text, hash from events
          where partition = $1 and position = $2",
    )
    .bind(partition)
    .bind(position)
    .fetch_one(pool)
    .await
    .unwrap();
    let hash: String = row.5.iter().map(|byte| format!("{byte:02x}")).collect();
    let stored = (
        row.0.to_string(),
        row.1,
        row.2,
        row.3.to_string(),
        serde_json::from_str(&row.4).unwrap(),
        hash,
    );
    let text = |name: &str| told[name].as_str().unwrap_or_default().to_owned();
    let heard = (
        text("id"),
        text("type"),
        text("subject"),
        text("sequence"),
        told["data"].clone(),
        text("hash"),
    );
    assert_eq!(heard, stored, "partition {partition} position {position}");
}

async fn listen(
    url: String,
    log_id: Uuid,
    heard: Arc<Mutex<Result<Heard, String>>>,
    bound: tokio::sync::oneshot::Sender<()>,
) {
    let (queue, mut bound) = (format!("tap.{}", Uuid::now_v7().simple()), Some(bound));
    loop {
        let consuming = tokio::time::timeout(ANSWER_TIMEOUT, consume(&url, log_id, &queue)).await;
        if let Ok(Ok((_connection, mut deliveries))) = consuming {
            if let Some(bound) = bound.take() {
                bound.send(()).unwrap();
            }
            // A connection that was lost may not say so: after a silence it is opened again, and the queue has what was missed.
            while let Ok(Some(Ok(delivery))) =
                tokio::time::timeout(SILENCE_TIMEOUT, deliveries.next()).await
            {
                hear(&delivery.data, &mut heard.lock().unwrap());
                let acked =
                    tokio::time::timeout(ANSWER_TIMEOUT, delivery.ack(BasicAckOptions::default()))
                        .await;
                if !matches!(acked, Ok(Ok(_))) {
                    break;
                }
            }
        }
        tokio::time::sleep(REST_DELAY).await;
    }
}

async fn consume(url: &str, log_id: Uuid, queue: &str) -> lapin::Result<(Connection, Consumer)> {
    let connection = Connection::connect(url, ConnectionProperties::default()).await?;
    let channel: Channel = connection.create_channel().await?;
    let durable = QueueDeclareOptions {
        durable: true,
        ..QueueDeclareOptions::default()
    };
    channel
        .queue_declare(queue.into(), durable, FieldTable::default())
        .await?;
    let exchange = format!("product.events.{log_id}");
    let (options, none) = (QueueBindOptions::default(), FieldTable::default());
    channel
        .queue_bind(
            queue.into(),
            exchange.as_str().into(),
            "#".into(),
            options,
            none,
        )
        .await?;
    let (options, none) = (BasicConsumeOptions::default(), FieldTable::default());
    let deliveries = channel
        .basic_consume(queue.into(), "tap".into(), options, none)
        .await?;
    Ok((connection, deliveries))
}

fn hear(body: &[u8], heard: &mut Result<Heard, String>) {
    let Ok(known) = heard else { return };
    let batch: Vec<Value> = serde_json::from_slice(body).unwrap_or_default();
    for event in &batch {
        let number = |name: &str| {
            event[name]
                .as_i64()
                .or_else(|| event[name].as_str()?.parse().ok())
        };
        let (Some(partition), Some(position)) = (number("partition"), number("position")) else {
            *heard = Err(format!("no place in {event}"));
            return;
        };
        let before = known.insert((partition as i32, position), event.clone());
        if before.is_some_and(|before| before != *event) {
            *heard = Err(format!("two tales of {partition}/{position}"));
            return;
        }
    }
    if batch.is_empty() {
        *heard = Err("a message that is no batch of events".into());
    }
}

#[test]
fn a_hole_a_missing_end_and_a_second_tale_are_seen() {
    let told = |position: i64, data: &str| {
        serde_json::to_vec(
            &serde_json::json!([{"partition": 1, "position": position.to_string(), "data": data}]),
        )
        .unwrap()
    };
    let heard = |messages: &[Vec<u8>]| {
        let mut heard = Ok(Heard::default());
        messages.iter().for_each(|body| hear(body, &mut heard));
        heard
    };
    let whole = heard(&[told(3, "a"), told(4, "b"), told(3, "a"), told(5, "c")]).unwrap();
    assert!(
        is_whole(&whole, 1, 5) && is_whole(&whole, 0, 9),
        "repeats are allowed, and who heard nothing missed nothing"
    );
    assert!(!is_whole(&whole, 1, 6), "the end is missing");
    assert!(
        !is_whole(&heard(&[told(3, "a"), told(5, "c")]).unwrap(), 1, 5),
        "there is a hole"
    );
    assert!(!is_whole(&whole, 1, 4), "it was told of more than there is");
    assert!(heard(&[told(3, "a"), told(3, "another")]).is_err());
    assert!(heard(&[b"garbage".to_vec()]).is_err());
}
