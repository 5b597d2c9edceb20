//! What a stream refuses, ends and cuts.

use super::*;

/// Streams end at once when a process stops: requests would have ten seconds.
const END_TIMEOUT: Duration = Duration::from_secs(3);
/// What all listeners that take nothing may hold together, of far more that is published.
const MAX_HELD_BYTES: usize = 64 * 1024 * 1024;
/// The limit of a connection's writes is thirty seconds.
const CUT_TIMEOUT: Duration = Duration::from_secs(90);
const POLL_INTERVAL: Duration = Duration::from_millis(100);

#[rstest]
#[case("7", "is malformed: send one as it was given, or leave it out")]
#[case("", "is malformed: send one as it was given, or leave it out")]
#[case(&ConsistencyToken::new(edge::LogIncarnation::first(Uuid::nil()), vec![1; PARTITIONS]).to_string(), "is of another log: leave it out")]
#[case(&ConsistencyToken::new(edge::LogIncarnation::first(LOG), vec![1]).to_string(), "is of another log: leave it out")]
#[tokio::test]
async fn an_id_that_is_none_is_refused(#[case] id: &str, #[case] wrong: &str) {
    let api = ReadSide::without_database();
    for path in [PRODUCTS, INVESTS] {
        let answer = api
            .call(
                "GET",
                path,
                &[("X-USER-ID", "user4"), ("Last-Event-ID", id)],
            )
            .await;
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
        assert_eq!(
            (answer.status, answer.header("retry-after")),
            (503, Some("1")),
            "{path}"
        );
    }
}

/// The places of those who go are free again.
#[rstest]
#[case::in_all(StreamLimits { all: 2, per_peer: 9, per_user: 9 }, [503, 503])]
#[case::of_one_peer(StreamLimits { all: 9, per_peer: 2, per_user: 9 }, [429, 429])]
#[case::of_one_user(StreamLimits { all: 9, per_peer: 9, per_user: 2 }, [429, 200])]
#[tokio::test]
async fn more_listeners_than_are_allowed_are_refused(
    #[case] limits: StreamLimits,
    #[case] statuses: [u16; 2],
) {
    let api = four_products().await;
    let served = Served::with_limits(&api, limits).await;
    let ann = [("X-USER-ID", "ann")];
    let held = [
        served.listen(PRODUCTS, &ann).await,
        served.listen(INVESTS, &ann).await,
    ];
    for (user, status) in ["ann", "bob"].into_iter().zip(statuses) {
        let answer = served.get(INVESTS, &[("X-USER-ID", user)]).await;
        assert_eq!(answer.status(), status);
        if status != 200 {
            assert_eq!(answer.headers()["retry-after"], "1");
            let code = if status == 503 {
                "OVERLOADED"
            } else {
                "RATE_LIMITED"
            };
            assert_eq!(
                serde_json::from_str::<Value>(&answer.text().await.unwrap()).unwrap()["code"],
                code
            );
        }
    }
    assert_eq!(
        served.get("/api/product", &ann).await.status(),
        200,
        "reads are not streams"
    );
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
        assert!(
            listener.reader.retry().is_some(),
            "it says when to come again"
        );
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
    let limits = StreamLimits {
        all: LISTENERS + 1,
        ..StreamLimits::default()
    };
    let served = Served::with_limits(&api, limits).await;
    let mut stalled = Vec::new();
    for _ in 0..LISTENERS {
        stalled.push(stalled_listener(served.address).await);
    }
    let mut reader = served.listen(PRODUCTS, &[]).await;
    reader.until(shows(1_500, 0)).await;
    let before = resident_bytes();
    for number in 1..=PUBLICATIONS {
        api.sql(&format!(
            "update product_list set current_amount = {number}"
        ))
        .await;
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
    tokio::time::timeout(CUT_TIMEOUT, are_cut)
        .await
        .expect("they are cut");
}

/// Asks for the stream, and then takes nothing.
async fn stalled_listener(address: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4_096).unwrap();
    let mut stream = soon(socket.connect(address)).await.unwrap();
    stream
        .write_all(b"GET /api/product/stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await
        .unwrap();
    stream
}

/// The memory that this process has in use.
fn resident_bytes() -> usize {
    const PAGE_BYTES: usize = 4_096;
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * PAGE_BYTES
}
