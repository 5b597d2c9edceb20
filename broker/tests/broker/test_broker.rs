//! A log with a broker of the tests', and the words the tests are written in.

use broker::{Broker, topology};
use event_log::{Log, Metadata, NewEvent, Partition, Position, RawEvent, RecordedEvent, Writer};
use lapin::options::{ExchangeDeleteOptions, QueueDeleteOptions, QueuePurgeOptions};
use lapin::types::FieldTable;
use lapin::{Channel, Connection, ConnectionProperties};
use std::ops::Deref;
use testbed::events::{commit, opened_as, reserved};
use testbed::values::product;
use testbed::{Proxy, TestLog, poll_heads};
pub use testbed::{soon, until};
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;

/// The consumer whose queues the tests use.
pub const NOTES: &str = "notes";

/// A log in a database of its own, with a broker to publish it to. What it declared there goes with it.
pub struct TestBroker {
    test_log: TestLog,
    pub broker: Broker,
    pub amqp: Channel,
    _polls: DropGuard,
}

impl Deref for TestBroker {
    type Target = TestLog;

    fn deref(&self) -> &TestLog {
        &self.test_log
    }
}

impl TestBroker {
    pub async fn with_one_partition() -> Self {
        Self::with_partitions(1).await
    }

    pub async fn with_partitions(partitions: i32) -> Self {
        let test_log = TestLog::with_partitions(partitions).await;
        let broker = broker_of(&test_log.log);
        let amqp = amqp().await.create_channel().await.unwrap();
        let _polls = poll_heads(&test_log.log);
        Self {
            test_log,
            broker,
            amqp,
            _polls,
        }
    }

    /// The broker, seen through a proxy; `parameters` is the rest of its URL.
    pub async fn behind_proxy(&self, parameters: &str) -> (Broker, Proxy) {
        let proxy = Proxy::before(amqp_address()).await;
        let (host, port) = amqp_address();
        let url = amqp_url().replace(&format!("{host}:{port}"), &proxy.address().to_string());
        (
            Broker::new(&format!("{url}{parameters}"), self.log_id()).unwrap(),
            proxy,
        )
    }

    pub fn log_id(&self) -> Uuid {
        self.log.identity().log_id
    }

    /// A handle on the log that shares nothing with the first one but the database.
    pub async fn another_process(&self) -> (Log, DropGuard) {
        let log = self.test_log.another_process().await;
        let polls = poll_heads(&log);
        (log, polls)
    }

    /// Appends `events` events to `partition`, `at_once` a commit: a product is opened first, then it is reserved from.
    pub async fn append(
        &self,
        partition: Partition,
        events: i64,
        at_once: i64,
    ) -> Vec<RecordedEvent> {
        append_with(&mut self.writer_of(partition).await, events, at_once).await
    }

    pub async fn stored(&self, partition: Partition) -> Vec<RawEvent> {
        self.log.raw_after(partition, 0, 1_000_000).await.unwrap()
    }

    /// Where a consumer stands.
    pub async fn checkpoint(&self, consumer: &str, partition: Partition) -> Position {
        let checkpoints = self.log.checkpoints().await.unwrap();
        let found = checkpoints
            .iter()
            .find(|at| at.consumer == consumer && at.partition == partition);
        found.map_or(0, |at| at.position)
    }

    pub async fn until_relayed(&self, partition: Partition, position: Position) {
        until("all is relayed", async || {
            self.checkpoint("relay", partition).await == position
        })
        .await;
    }

    pub fn exchange(&self) -> String {
        topology::exchange(self.log_id())
    }

    pub fn queue(&self, partition: Partition) -> String {
        topology::queue(self.log_id(), NOTES, partition)
    }

    pub async fn delete_the_queue(&self, partition: Partition) {
        self.amqp
            .queue_delete(self.queue(partition).into(), QueueDeleteOptions::default())
            .await
            .unwrap();
    }

    pub async fn delete_the_exchange(&self) {
        self.amqp
            .exchange_delete(self.exchange().into(), ExchangeDeleteOptions::default())
            .await
            .unwrap();
    }

    pub async fn purge_the_queue(&self, partition: Partition) -> u32 {
        self.amqp
            .queue_purge(self.queue(partition).into(), QueuePurgeOptions::default())
            .await
            .unwrap()
    }

    pub async fn unbind_the_queue(&self, partition: Partition) {
        let (queue, exchange, key) = (
            self.queue(partition),
            self.exchange(),
            partition.to_string(),
        );
        let unbinding = self.amqp.queue_unbind(
            queue.into(),
            exchange.into(),
            key.into(),
            FieldTable::default(),
        );
        unbinding.await.unwrap();
    }

    /// How many messages wait in the queue, and how many consumers it has; `None` when there is no such queue.
    pub async fn in_the_queue(&self, partition: Partition) -> Option<(u32, u32)> {
        in_queue(&self.queue(partition)).await
    }

    pub async fn until_the_queue_is_consumed(&self, partition: Partition, consumers: u32) {
        let consumed = async || {
            self.in_the_queue(partition)
                .await
                .is_some_and(|(_, found)| found == consumers)
        };
        until("the queue has its consumers", consumed).await;
    }

    pub async fn parked(&self) -> Vec<broker::parked::ParkedDelivery> {
        broker::parked::list(&self.pool, 0, 1_000).await.unwrap().1
    }
}

impl Drop for TestBroker {
    /// On a thread and a runtime of its own, because the test's runtime may be the one that drops it.
    fn drop(&mut self) {
        let (exchange, partitions) = (self.exchange(), self.log.partitions());
        let of_partition = |partition| {
            [
                self.queue(partition),
                topology::marks_queue(self.log_id(), partition),
            ]
        };
        let queues: Vec<_> = partitions.flat_map(of_partition).collect();
        let cleaned = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(delete(&exchange, queues));
        });
        if cleaned.join().is_err() {
            eprintln!("the exchange and the queues of this test are left over");
        }
    }
}

async fn delete(exchange: &str, queues: Vec<String>) {
    let connection = amqp().await;
    let channel = connection.create_channel().await.unwrap();
    for queue in queues {
        channel
            .queue_delete(queue.into(), QueueDeleteOptions::default())
            .await
            .unwrap();
    }
    channel
        .exchange_delete(exchange.into(), ExchangeDeleteOptions::default())
        .await
        .unwrap();
    connection.close(200, "OK".into()).await.unwrap();
}

pub async fn in_queue(queue: &str) -> Option<(u32, u32)> {
    let connection = amqp().await;
    let options = lapin::options::QueueDeclareOptions {
        passive: true,
        ..Default::default()
    };
    let channel = connection.create_channel().await.unwrap();
    let found = channel
        .queue_declare(queue.into(), options, FieldTable::default())
        .await
        .ok();
    connection.close(200, "OK".into()).await.unwrap();
    found.map(|queue| (queue.message_count(), queue.consumer_count()))
}

pub fn amqp_url() -> String {
    std::env::var("AMQP_URL").unwrap_or_else(|_| "amqp://guest:guest@127.0.0.1:5672/%2f".into())
}

/// Host and port of the broker.
fn amqp_address() -> (String, u16) {
    let url = amqp_url();
    let after_the_password = url.rsplit('@').next().unwrap();
    let address = after_the_password
        .trim_start_matches("amqp://")
        .split('/')
        .next()
        .unwrap();
    let (host, port) = address.split_once(':').unwrap();
    (host.to_owned(), port.parse().unwrap())
}

/// A connection that has nothing to do with the code under test.
pub async fn amqp() -> Connection {
    Connection::connect(&amqp_url(), ConnectionProperties::default())
        .await
        .unwrap()
}

pub fn broker_of(log: &Log) -> Broker {
    Broker::new(&amqp_url(), log.identity().log_id).unwrap()
}

/// Appends to the writer's partition, whose one product has its number, or 64 in partition 0.
pub async fn append_with(writer: &mut Writer, events: i64, at_once: i64) -> Vec<RecordedEvent> {
    let mut recorded = Vec::new();
    while (recorded.len() as i64) < events {
        let count = at_once.min(events - recorded.len() as i64);
        let first = writer.position() + 1;
        let events = (first..first + count)
            .map(|position| nth_event(writer.partition(), position))
            .collect();
        recorded.extend(commit(writer, events).await);
    }
    recorded
}

/// A partition has one product, so sequence and position are the same.
pub fn nth_event(partition: Partition, position: Position) -> NewEvent {
    let id = if partition == 0 {
        64
    } else {
        i64::from(partition)
    };
    let event = if position == 1 {
        opened_as(id, "a \"product\"")
    } else {
        reserved(position, 1)
    };
    let metadata = Metadata {
        correlation_id: format!("request-{partition}-{position}"),
        causation_id: None,
        traceparent: (position % 3 == 0)
            .then(|| format!("00-0af7651916cd43dd8448eb211c80319c-{position:016x}-01")),
        ..Metadata::default()
    };
    NewEvent {
        product_id: product(id),
        sequence: position,
        event,
        metadata,
    }
}

/// A relay that runs until it is told to stop, the way a process does.
pub struct Relaying {
    shutdown: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Relaying {
    /// Declares the tests' consumer's queues.
    pub fn start(log: &Log, broker: &Broker) -> Self {
        Self::start_for(log, broker, vec![NOTES])
    }

    pub fn start_for(log: &Log, broker: &Broker, consumers: Vec<&'static str>) -> Self {
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(broker::relay(
            log.clone(),
            broker.clone(),
            consumers,
            shutdown.clone(),
        ));
        Self { shutdown, task }
    }

    pub async fn stop(self) {
        self.shutdown.cancel();
        soon(self.task).await.unwrap();
    }

    /// Like a process that is killed.
    pub async fn kill(self) {
        self.task.abort();
        assert!(soon(self.task).await.unwrap_err().is_cancelled());
    }
}
