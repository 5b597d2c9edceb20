//! The streams over real connections: what a listener is sent, resuming, limits, and their end.

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
/// Streams end at once when a process stops: requests would have ten seconds.
const END_TIMEOUT: Duration = Duration::from_secs(3);
/// What all listeners that take nothing may hold together, of far more that is published.
const MAX_HELD_BYTES: usize = 64 * 1024 * 1024;
/// The limit of a connection's writes is thirty seconds.
const CUT_TIMEOUT: Duration = Duration::from_secs(90);
const POLL_INTERVAL: Duration = Duration::from_millis(100);

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
        let settings = Settings { streams, shutdown: shutdown.clone(), ..settings(api.pool.clone()) };
        let running = tokio::spawn(query_api::run(settings, listener, ConnectionPolicy::default()));
        Self { address, shutdown, running }
    }

    async fn get(&self, path: &str, headers: &[(&str, &str)]) -> Response {
        let client = Client::builder().no_proxy().build().unwrap();
        let request = client.get(format!("http://{}{path}", self.address));
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        soon(request.send()).await.unwrap()
    }

    /// Listens, once the answer's head has come.
    async fn listen(&self, path: &str, headers: &[(&str, &str)]) -> Listener {
        let answer = self.get(path, headers).await;
        assert_eq!(answer.status(), 200);
        Listener { answer, reader: SseReader::default() }
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
    events.iter().map(|event| event.data["productId"].as_i64().unwrap()).collect()
}

/// So much of the product is taken, as of this position of its partition.
async fn take(api: &ReadSide, product: i64, amount: i64, position: i64) {
    let mut transaction = api.pool.begin().await.unwrap();
    let update = sqlx::query("update product_list set current_amount = $2 where product_id = $1");
    update.bind(product).bind(amount).execute(&mut *transaction).await.unwrap();
    let checkpoint = "insert into checkpoints (consumer, partition, position) values ('product_list', $1, $2)
                      on conflict (consumer, partition) do update set position = excluded.position";
    let checkpoint = sqlx::query(checkpoint).bind(i32::try_from(product).unwrap() % PARTITIONS as i32).bind(position);
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
    api.sql("update product_list set closed = true where product_id = 4").await;
    api.checkpoint("product_list", 0, 1).await;
    api
}

#[tokio::test]
async fn a_listener_is_sent_what_is_open_and_then_what_changes() {
    let api = four_products().await;
    let served = Served::of(&api).await;
    let mut listener = served.listen(PRODUCTS, &[("Accept-Encoding", "gzip")]).await;
    let header = |name: &str| listener.answer.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
    assert_eq!(header("content-type").as_deref(), Some("text/event-stream"));
    assert_eq!((header("content-encoding"), header("etag")), (None, None));
    assert_eq!(header("cache-control").as_deref(), Some("private, no-store"));
    assert_eq!(header("x-time-zone").as_deref(), Some("Asia/Seoul"));
    assert_eq!(header("x-consistency-token"), Some(token([1, 0, 0, 0])));
    let first = [listener.next().await.unwrap(), listener.next().await.unwrap()];
    assert_eq!(products(&first), [1, 2]);
    assert_eq!(first[1].id, token([1, 0, 0, 0]));
    assert!(listener.reader.retry().is_some_and(|millis| (1_000..=3_000).contains(&millis)));

    take(&api, 2, 25, 1).await;
    let event = listener.next().await.unwrap();
    assert_eq!((event.name.as_str(), event.id), ("product", token([1, 0, 1, 0])));
    let shown = api.get("/api/product/2").await.json()["data"].clone();
    assert_eq!(event.data, shown);
    // What is not open is not sent at first, and is once it changes.
    api.sql("update product_list set cancel_reason = 'why' where product_id = 3").await;
    api.checkpoint("product_list", 3, 7).await;
    let event = listener.next().await.unwrap();
    assert_eq!((&event.data["investStatus"], &event.data["cancelReason"]), (&json!("CANCELLED"), &json!("why")));
}

#[tokio::test]
async fn times_are_as_the_request_wants_them() {
    let api = four_products().await;
    let served = Served::of(&api).await;
    for _ in 0..2 {
        let mut listener = served.listen("/api/product/stream?times=offset", &[]).await;
        assert!(listener.next().await.unwrap().data["startedAt"].as_str().unwrap().ends_with("+09:00"));
        let mut listener = served.listen(PRODUCTS, &[]).await;
        assert!(!listener.next().await.unwrap().data["startedAt"].as_str().unwrap().contains('+'));
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
    let mut again = served.listen(PRODUCTS, &[("Last-Event-ID", &token([1, 0, 0, 0]))]).await;
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
        if !events.iter().any(|event| shows(2, 100 + STATES)(&event.data)) {
            events.extend(listener.until(shows(2, 100 + STATES)).await);
        }
        events
    };
    let ((), events) = tokio::join!(changes, reads);
    for product in [1, 2] {
        let of_product: Vec<_> = events.iter().filter(|event| event.data["productId"] == product).collect();
        let amounts: Vec<_> = of_product.iter().map(|event| event.data["currentInvestingAmount"].as_i64()).collect();
        assert!(amounts.is_sorted() && amounts.last() == Some(&Some(100 + STATES)), "{amounts:?}");
        for (number, first) in of_product.iter().enumerate() {
            let second = first.at + Duration::from_secs(1);
            let count = of_product[number..].iter().take_while(|event| event.at < second).count();
            assert!(count <= MAX_EVENTS_PER_SECOND, "{count} states of {product} in a second");
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
    api.sql("update product_list set closed = true where product_id = 2").await;
    let served = Served::of(&api).await;
    for header in ["Last-Event-ID", "X-Consistency-Token"] {
        let mut listener = served.listen(PRODUCTS, &[("Last-Event-ID", &last), (header, &last)]).await;
        assert_eq!(listener.answer.headers()["x-consistency"], "reached");
        let first = listener.next().await.unwrap();
        assert_eq!((&first.data["productId"], &first.data["investStatus"]), (&json!(2), &json!("CLOSED")));
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
    api.sql("create table other.product_list (like product_list including all)").await;
    api.sql("insert into other.product_list select * from product_list where product_id > 0").await;
    api.sql("update other.product_list set current_amount = 77 where product_id = 1").await;
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

#[rstest]
#[case("7", "is malformed: send one as it was given, or leave it out")]
#[case("", "is malformed: send one as it was given, or leave it out")]
#[case(&ConsistencyToken::new(Uuid::nil(), vec![1; PARTITIONS]).to_string(), "is of another log: leave it out")]
#[case(&ConsistencyToken::new(LOG, vec![1]).to_string(), "is of another log: leave it out")]
#[tokio::test]
async fn an_id_that_is_none_is_refused(#[case] id: &str, #[case] wrong: &str) {
    let api = ReadSide::without_database();
    for path in [PRODUCTS, INVESTS] {
        let answer = api.call("GET", path, &[("X-USER-ID", "user4"), ("Last-Event-ID", id)]).await;
        let told = refusal(400, "00", &format!("Invalid value : Last-Event-ID {wrong}"));
        assert_eq!((answer.status, answer.body), (400, told));
    }
    let answer = api.call("GET", "/api/product/stream?times=utc", &[]).await;
    assert_eq!(answer.status, 400);
}

#[tokio::test]
async fn without_a_database_a_stream_is_overload() {
    let api = ReadSide::without_database();
    for path in [PRODUCTS, INVESTS] {
        let answer = api.call("GET", path, &[("X-USER-ID", "user4")]).await;
        assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")), "{path}");
    }
}

/// The places of those who go are free again.
#[rstest]
#[case::in_all(StreamLimits { all: 2, per_peer: 9, per_user: 9 }, [503, 503])]
#[case::of_one_peer(StreamLimits { all: 9, per_peer: 2, per_user: 9 }, [429, 429])]
#[case::of_one_user(StreamLimits { all: 9, per_peer: 9, per_user: 2 }, [429, 200])]
#[tokio::test]
async fn more_listeners_than_are_allowed_are_refused(#[case] limits: StreamLimits, #[case] statuses: [u16; 2]) {
    let api = four_products().await;
    let served = Served::with_limits(&api, limits).await;
    let ann = [("X-USER-ID", "ann")];
    let held = [served.listen(PRODUCTS, &ann).await, served.listen(INVESTS, &ann).await];
    for (user, status) in ["ann", "bob"].into_iter().zip(statuses) {
        let answer = served.get(INVESTS, &[("X-USER-ID", user)]).await;
        assert_eq!(answer.status(), status);
        if status != 200 {
            assert_eq!(answer.headers()["retry-after"], "1");
            let code = if status == 503 { "OVERLOADED" } else { "RATE_LIMITED" };
            assert_eq!(serde_json::from_str::<Value>(&answer.text().await.unwrap()).unwrap()["code"], code);
        }
    }
    assert_eq!(served.get("/api/product", &ann).await.status(), 200, "reads are not streams");
    drop(held);
    // That a client is gone shows when something is written to it.
    let mut amount = 100;
    until("there is a place again", async || {
        amount += 1;
        take(&api, 1, amount, amount).await;
        served.get(PRODUCTS, &ann).await.status() == 200
    })
    .await;
}

#[tokio::test]
async fn streams_end_when_the_process_stops() {
    let api = four_products().await;
    let served = Served::of(&api).await;
    let mut listeners = Vec::new();
    for path in [PRODUCTS, INVESTS, PRODUCTS] {
        listeners.push(served.listen(path, &[("X-USER-ID", "user4")]).await);
    }
    let began = Instant::now();
    served.stop().await;
    for listener in &mut listeners {
        while listener.next().await.is_some() {}
        assert!(listener.reader.retry().is_some(), "it says when to come again");
    }
    assert!(began.elapsed() < END_TIMEOUT, "{:?}", began.elapsed());
}

/// Publications of one megabyte each to forty listeners of which none takes anything: what they hold stays small, and in the end their
/// places are free again. One who reads sees each state meanwhile.
#[tokio::test]
async fn who_takes_nothing_holds_little_and_is_cut() {
    const LISTENERS: usize = 40;
    const PUBLICATIONS: i64 = 6;
    let api = ReadSide::new().await;
    let many = "insert into product_list
                select n, repeat('x', 500), 1000, 0, 0, now() - interval '1 day', now() + interval '1 day'
                from generate_series(1, 1500) as n";
    api.sql(many).await;
    let limits = StreamLimits { all: LISTENERS + 1, ..StreamLimits::default() };
    let served = Served::with_limits(&api, limits).await;
    let mut stalled = Vec::new();
    for _ in 0..LISTENERS {
        stalled.push(stalled_listener(served.address).await);
    }
    let mut reader = served.listen(PRODUCTS, &[]).await;
    reader.until(shows(1_500, 0)).await;
    let before = resident_bytes();
    for number in 1..=PUBLICATIONS {
        api.sql(&format!("update product_list set current_amount = {number}")).await;
        api.checkpoint("product_list", 0, number).await;
        reader.until(shows(1_500, number)).await;
    }
    let held = resident_bytes().saturating_sub(before);
    println!("{held} bytes are held");
    assert!(held < MAX_HELD_BYTES, "{held} bytes are held");
    let are_cut = async {
        while served.get(PRODUCTS, &[]).await.status() != 200 {
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    };
    tokio::time::timeout(CUT_TIMEOUT, are_cut).await.expect("they are cut");
}

/// Asks for the stream, and then takes nothing.
async fn stalled_listener(address: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4_096).unwrap();
    let mut stream = soon(socket.connect(address)).await.unwrap();
    stream.write_all(b"GET /api/product/stream HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    stream
}

/// The memory that this process has in use.
fn resident_bytes() -> usize {
    const PAGE_BYTES: usize = 4_096;
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * PAGE_BYTES
}

/// An invest of a user's, a second after the one with the number before.
async fn invest(api: &ReadSide, number: i64, user: &str) {
    let insert = "insert into invest_log values ($1, 2, $2, 10, 'RESERVED', null, null, 10, 10,
                  timestamptz '2021-09-26T18:57:00Z' + $3 * interval '1 second', '2021-09-26T18:57:00Z')";
    let id = Uuid::from_u128(u128::try_from(number).unwrap());
    let insert = sqlx::query(insert).bind(id).bind(user).bind(i32::try_from(number).unwrap());
    insert.execute(&api.pool).await.unwrap();
    api.checkpoint("invest_log", 2, number).await;
}

#[tokio::test]
async fn a_user_is_sent_what_becomes_of_their_invests_and_nobody_elses() {
    let api = ReadSide::new().await;
    api.sql("insert into invest_log_product values (2, 'product1', 60)").await;
    for (number, user) in (1..).zip(["user4", "user5", "user4"]) {
        invest(&api, number, user).await;
    }
    let served = Served::of(&api).await;
    let [four, five] = [("X-USER-ID", "user4"), ("X-USER-ID", "user5")];
    let (mut listener, mut other) = (served.listen(INVESTS, &[four]).await, served.listen(INVESTS, &[five]).await);
    let state = |event: &SseEvent| {
        assert_eq!(event.name, "invest");
        let number = Uuid::parse_str(event.data["investId"].as_str().unwrap()).unwrap().as_u128();
        (number, event.data["state"].as_str().unwrap().to_owned())
    };
    for number in [1, 3] {
        assert_eq!(state(&listener.next().await.unwrap()), (number, "RESERVED".into()));
    }
    assert_eq!(state(&other.next().await.unwrap()), (2, "RESERVED".into()));
    api.sql("update invest_log set state = 'SETTLED' where user_id = 'user4' and invest_id = '00000000-0000-0000-0000-000000000001'").await;
    api.checkpoint("invest_log", 2, 4).await;
    let event = listener.next().await.unwrap();
    assert_eq!((state(&event), event.id.clone()), ((1, "SETTLED".into()), token([0, 0, 4, 0])));
    let path = "/api/invest/log/00000000-0000-0000-0000-000000000001";
    assert_eq!(event.data, api.get_as("user4", path).await.json()["data"]);
    // 1. The user is away. 2. A new invest. 3. The user resumes, and is sent it, with what may have changed.
    drop(listener);
    invest(&api, 5, "user4").await;
    let mut again = served.listen(INVESTS, &[four, ("Last-Event-ID", &event.id)]).await;
    let resumed = again.until(|data| data["investId"].as_str().is_some_and(|id| id.ends_with('5'))).await;
    assert!(resumed.iter().all(|event| state(event).0 != 2), "another user's");
    invest(&api, 6, "user5").await;
    assert_eq!(state(&other.next().await.unwrap()).0, 6);
}

/// A listener with the last id is sent nothing again.
#[tokio::test]
async fn who_has_seen_all_invests_is_sent_new_ones_only() {
    let api = ReadSide::new().await;
    api.sql("insert into invest_log_product values (2, 'product1', 60)").await;
    invest(&api, 1, "user4").await;
    let served = Served::of(&api).await;
    let user = ("X-USER-ID", "user4");
    let id = served.listen(INVESTS, &[user]).await.next().await.unwrap().id;
    let mut again = served.listen(INVESTS, &[user, ("Last-Event-ID", &id)]).await;
    invest(&api, 2, "user4").await;
    assert!(again.next().await.unwrap().data["investId"].as_str().unwrap().ends_with('2'));
}
