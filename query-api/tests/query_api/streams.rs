//! The streams over real connections: what a listener is sent, resuming, limits, and their end.

mod bounds;
mod invests;

use crate::read_side::{LOG, PARTITIONS, ReadSide, settings, token};
use edge::{ConnectionPolicy, ConsistencyToken};
use query_api::{Settings, StreamLimits};
use reqwest::{Client, Response};
use rstest::rstest;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use testbed::http::refusal;
use testbed::{SseEvent, SseReader, soon, until};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

const OPEN: (&str, &str) = ("-1 day", "1 day");
const PRODUCTS: &str = "/api/product/stream";
const INVESTS: &str = "/api/invest/log/stream";
/// A product may be shown in so many states in a second.
const MAX_EVENTS_PER_SECOND: usize = 5;

/// The read side on a port, until it is stopped or dropped.
struct Served {
    address: SocketAddr,
    shutdown: CancellationToken,
    running: JoinHandle<std::io::Result<()>>,
}

impl Served {
    async fn of(api: &ReadSide) -> Self {
        Self::with_limits(api, StreamLimits::default()).await
    }

    async fn with_limits(api: &ReadSide, streams: StreamLimits) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, shutdown) = (listener.local_addr().unwrap(), CancellationToken::new());
        let settings = Settings {
            streams,
            shutdown: shutdown.clone(),
            ..settings(api.pool.clone())
        };
        let running = tokio::spawn(query_api::run(
            settings,
            listener,
            ConnectionPolicy::default(),
        ));
        Self {
            address,
            shutdown,
            running,
        }
    }

    async fn get(&self, path: &str, headers: &[(&str, &str)]) -> Response {
        let client = Client::builder().no_proxy().build().unwrap();
        let request = client.get(format!("http://{}{path}", self.address));
        let request = headers.iter().fold(request, |request, (name, value)| {
            request.header(*name, *value)
        });
        soon(request.send()).await.unwrap()
    }

    /// Listens, once the answer's head has come.
    async fn listen(&self, path: &str, headers: &[(&str, &str)]) -> Listener {
        let answer = self.get(path, headers).await;
        assert_eq!(answer.status(), 200);
        Listener {
            answer,
            reader: SseReader::default(),
        }
    }

    async fn stop(self) {
        self.shutdown.cancel();
        self.running.await.unwrap().unwrap();
    }
}

/// A client of a stream.
struct Listener {
    answer: Response,
    reader: SseReader,
}

impl Listener {
    /// The next event; `None` when the stream has ended.
    async fn next(&mut self) -> Option<SseEvent> {
        loop {
            if let Some(event) = self.reader.event() {
                return Some(event);
            }
            self.reader.push(&soon(self.answer.chunk()).await.unwrap()?);
        }
    }

    /// Reads on until an event is `wanted`; all that came.
    async fn until(&mut self, wanted: impl Fn(&Value) -> bool) -> Vec<SseEvent> {
        let mut events = Vec::new();
        loop {
            let event = self.next().await.expect("the stream goes on");
            let is_last = wanted(&event.data);
            events.push(event);
            if is_last {
                return events;
            }
        }
    }
}

fn shows(product: i64, amount: i64) -> impl Fn(&Value) -> bool {
    move |data| data["productId"] == product && data["currentInvestingAmount"] == amount
}

fn products(events: &[SseEvent]) -> Vec<i64> {
    events
        .iter()
        .map(|event| event.data["productId"].as_i64().unwrap())
        .collect()
}

/// So much of the product is taken, as of this position of its partition.
async fn take(api: &ReadSide, product: i64, amount: i64, position: i64) {
    let mut transaction = api.pool.begin().await.unwrap();
    let update = sqlx::query("update product_list set current_amount = $2 where product_id = $1");
    update
        .bind(product)
        .bind(amount)
        .execute(&mut *transaction)
        .await
        .unwrap();
    let checkpoint =
        "insert into checkpoints (consumer, partition, position) values ('product_list', $1, $2)
                      on conflict (consumer, partition) do update set position = excluded.position";
    let checkpoint = sqlx::query(checkpoint)
        .bind(i32::try_from(product).unwrap() % PARTITIONS as i32)
        .bind(position);
    checkpoint.execute(&mut *transaction).await.unwrap();
    transaction.commit().await.unwrap();
}

/// Two products that take invests, one that does not yet, and one that is closed.
async fn four_products() -> ReadSide {
    let api = ReadSide::new().await;
    for product in [1, 2] {
        api.product(product, 1_000, 10, OPEN).await;
    }
    api.product(3, 1_000, 0, ("1 day", "2 days")).await;
    api.product(4, 1_000, 0, OPEN).await;
    api.sql("update product_list set closed = true where product_id = 4")
        .await;
    api.checkpoint("product_list", 0, 1).await;
    api
}

#[tokio::test]
async fn a_listener_is_sent_what_is_open_and_then_what_changes() {
    let api = four_products().await;
    let served = Served::of(&api).await;
    let mut listener = served
        .listen(PRODUCTS, &[("Accept-Encoding", "gzip")])
        .await;
    let header = |name: &str| {
        listener
            .answer
            .headers()
            .get(name)
            .map(|value| value.to_str().unwrap().to_owned())
    };
    assert_eq!(header("content-type").as_deref(), Some("text/event-stream"));
    assert_eq!((header("content-encoding"), header("etag")), (None, None));
    assert_eq!(
        header("cache-control").as_deref(),
        Some("private, no-store")
    );
    assert_eq!(header("x-time-zone").as_deref(), Some("Asia/Seoul"));
    assert_eq!(header("x-consistency-token"), Some(token([1, 0, 0, 0])));
    let first = [
        listener.next().await.unwrap(),
        listener.next().await.unwrap(),
    ];
    assert_eq!(products(&first), [1, 2]);
    assert_eq!(first[1].id, token([1, 0, 0, 0]));
    assert!(
        listener
            .reader
            .retry()
            .is_some_and(|millis| (1_000..=3_000).contains(&millis))
    );

    take(&api, 2, 25, 1).await;
    let event = listener.next().await.unwrap();
    assert_eq!(
        (event.name.as_str(), event.id),
        ("product", token([1, 0, 1, 0]))
    );
    let shown = api.get("/api/product/2").await.json()["data"].clone();
    assert_eq!(event.data, shown);
    // What is not open is not sent at first, and is once it changes.
    api.sql("update product_list set cancel_reason = 'why' where product_id = 3")
        .await;
    api.checkpoint("product_list", 3, 7).await;
    let event = listener.next().await.unwrap();
    assert_eq!(
        (&event.data["investStatus"], &event.data["cancelReason"]),
        (&json!("CANCELLED"), &json!("why"))
    );
}

#[tokio::test]
async fn times_are_as_the_request_wants_them() {
    let api = four_products().await;
    let served = Served::of(&api).await;
    for _ in 0..2 {
        let mut listener = served.listen("/api/product/stream?times=offset", &[]).await;
        assert!(
            listener.next().await.unwrap().data["startedAt"]
                .as_str()
                .unwrap()
                .ends_with("+09:00")
        );
        let mut listener = served.listen(PRODUCTS, &[]).await;
        assert!(
            !listener.next().await.unwrap().data["startedAt"]
                .as_str()
                .unwrap()
                .contains('+')
        );
    }
}

#[tokio::test]
async fn a_window_that_begins_and_one_that_ends_are_sent_by_themselves() {
    let api = ReadSide::new().await;
    api.product(1, 1_000, 0, ("2 seconds", "4 seconds")).await;
    let served = Served::of(&api).await;
    let mut listener = served.listen(PRODUCTS, &[]).await;
    for status in ["ONGOING", "FINISHED"] {
        let event = listener.next().await.unwrap();
        assert_eq!(event.data["investStatus"], status);
        assert_eq!(api.get("/api/product/1").await.json()["data"], event.data);
    }
    // Positions do not say when a window began: who resumes is sent it again.
    let mut again = served
        .listen(PRODUCTS, &[("Last-Event-ID", &token([1, 0, 0, 0]))])
        .await;
    assert_eq!(again.next().await.unwrap().data["investStatus"], "FINISHED");
}

/// Far more states than may be shown: two hundred of each, a commit apart.
#[tokio::test]
async fn at_most_five_states_of_a_product_are_sent_in_a_second_and_the_last_one_wins() {
    const STATES: i64 = 200;
    let api = four_products().await;
    let served = Served::of(&api).await;
    let mut listener = served.listen(PRODUCTS, &[]).await;
    let changes = async {
        for amount in 1..=STATES {
            take(&api, 1, 100 + amount, amount).await;
            take(&api, 2, 100 + amount, amount).await;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let reads = async {
        let mut events = listener.until(shows(1, 100 + STATES)).await;
        if !events
            .iter()
            .any(|event| shows(2, 100 + STATES)(&event.data))
        {
            events.extend(listener.until(shows(2, 100 + STATES)).await);
        }
        events
    };
    let ((), events) = tokio::join!(changes, reads);
    for product in [1, 2] {
        let of_product: Vec<_> = events
            .iter()
            .filter(|event| event.data["productId"] == product)
            .collect();
        let amounts: Vec<_> = of_product
            .iter()
            .map(|event| event.data["currentInvestingAmount"].as_i64())
            .collect();
        assert!(
            amounts.is_sorted() && amounts.last() == Some(&Some(100 + STATES)),
            "{amounts:?}"
        );
        for (number, first) in of_product.iter().enumerate() {
            let second = first.at + Duration::from_secs(1);
            let count = of_product[number..]
                .iter()
                .take_while(|event| event.at < second)
                .count();
            assert!(
                count <= MAX_EVENTS_PER_SECOND,
                "{count} states of {product} in a second"
            );
        }
    }
}

/// 1. A listener sees a change, and goes. 2. The process stops, products change, and another process starts. 3. The listener sends
/// its last id and is sent what changed, and nothing of partitions without an event.
#[tokio::test]
async fn who_resumes_after_a_restart_misses_nothing() {
    let api = four_products().await;
    let served = Served::of(&api).await;
    let mut listener = served.listen(PRODUCTS, &[]).await;
    take(&api, 1, 50, 1).await;
    let last = listener.until(shows(1, 50)).await.pop().unwrap().id;
    drop(listener);
    served.stop().await;
    take(&api, 2, 60, 1).await;
    api.sql("update product_list set closed = true where product_id = 2")
        .await;
    let served = Served::of(&api).await;
    for header in ["Last-Event-ID", "X-Consistency-Token"] {
        let mut listener = served
            .listen(PRODUCTS, &[("Last-Event-ID", &last), (header, &last)])
            .await;
        assert_eq!(listener.answer.headers()["x-consistency"], "reached");
        let first = listener.next().await.unwrap();
        assert_eq!(
            (&first.data["productId"], &first.data["investStatus"]),
            (&json!(2), &json!("CLOSED"))
        );
    }
    let mut listener = served.listen(PRODUCTS, &[("Last-Event-ID", &last)]).await;
    take(&api, 1, 70, 2).await;
    assert_eq!(products(&listener.until(shows(1, 70)).await), [2, 1]);
    // And who has seen everything is sent nothing until there is more.
    let now = listener.reader.id().to_owned();
    let mut listener = served.listen(PRODUCTS, &[("Last-Event-ID", &now)]).await;
    take(&api, 2, 80, 2).await;
    assert_eq!(products(&listener.until(shows(2, 80)).await), [2]);
}

#[tokio::test]
async fn a_switch_of_generations_sends_what_is_different() {
    let api = four_products().await;
    let served = Served::of(&api).await;
    let mut listener = served.listen(PRODUCTS, &[]).await;
    listener.until(shows(2, 10)).await;
    // The other table's rows were written before the listener came: only the table tells.
    api.sql("create schema other").await;
    api.sql("create table other.product_list (like product_list including all)")
        .await;
    api.sql("insert into other.product_list select * from product_list where product_id > 0")
        .await;
    api.sql("update other.product_list set current_amount = 77 where product_id = 1")
        .await;
    let mut switch = api.pool.begin().await.unwrap();
    for step in [
        "create schema former",
        "alter table product_list set schema former",
        "alter table other.product_list set schema public",
        "insert into checkpoints (consumer, partition, position) values ('product_list', 1, 9)",
    ] {
        sqlx::query(step).execute(&mut *switch).await.unwrap();
    }
    switch.commit().await.unwrap();
    assert_eq!(products(&listener.until(shows(1, 77)).await), [1]);
}
