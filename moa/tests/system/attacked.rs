//! A process under attack keeps to its memory and its files, and serves everybody else. Load goes to loopback alone.

use chrono::Utc;
use futures::future::join_all;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::harness::{
    ApiClient, Journal, MoaProcess, Start, TEST_TIMEOUT, TestApp, View, ask, client, within,
};

/// Connections with a head that never ends, and what each of them sends.
const ENDLESS_HEADS: usize = 1_500;
const ENDLESS_HEAD_BYTES: usize = 380_000;
/// Clients that ask for all products and never read the answer.
const NEVER_READING: usize = 200;
/// Products with titles as long as may be: about a megabyte to read.
const LONG_TITLES: i32 = 600;
/// What `compose.yaml` gives a service.
const CONTAINER_BYTES: u64 = 512 * 1024 * 1024;
/// Attackers who connect at once; a listener whose queue is full would make them wait.
const MAX_CONCURRENT_READS: usize = 100;
/// So few that neither the connections of the listeners nor those to the database fit.
const FEW_FILES: u32 = 60;

impl MoaProcess {
    /// The most memory that the process has ever had, in bytes.
    fn peak_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let kilobytes = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix("kB"));
        kilobytes.unwrap().trim().parse::<u64>().unwrap() * 1024
    }
}

fn host(url: &str) -> String {
    url.trim_start_matches("http://").to_owned()
}

/// A process that has worked, its product, and the most memory it has had by then.
async fn working() -> (TestApp, i64, u64) {
    let app = TestApp::open().await;
    let product = app.open_product("steady", 1_000).await;
    assert!(app.invest(ask("before", product, 1)).await.is_accepted());
    let before = app.processes[0].peak_bytes();
    (app, product, before)
}

/// It still accepts, within a container's memory, and has taken less than `most` bytes since.
async fn kept_to_its_memory(app: &TestApp, product: i64, before: u64, most: u64) {
    assert!(app.invest(ask("meanwhile", product, 1)).await.is_accepted());
    let peak = app.processes[0].peak_bytes();
    assert!(
        peak < CONTAINER_BYTES && peak - before < most,
        "{before} bytes before, {peak} at most"
    );
}

/// Does `attack` `count` times, some at once.
async fn attackers<T>(count: usize, attack: impl AsyncFn() -> T) -> Vec<T> {
    rlimit::increase_nofile_limit(u64::MAX).unwrap();
    let mut all = Vec::with_capacity(count);
    while all.len() < count {
        all.extend(
            join_all((0..MAX_CONCURRENT_READS.min(count - all.len())).map(|_| attack())).await,
        );
    }
    all
}

/// 1,500 connections that each send 380 KB of a header that never ends: 570 MB, if it were kept. Each is told so.
#[tokio::test]
async fn endless_heads_take_little_memory() {
    let (app, product, before) = working().await;
    let address = host(&app.processes[0].write);
    let head = format!(
        "GET / HTTP/1.1\r\nhost: localhost\r\nx: {}",
        "a".repeat(ENDLESS_HEAD_BYTES)
    );
    let attack = async || {
        let mut stream = TcpStream::connect(&address).await.unwrap();
        // The server stops reading before it ends.
        stream.write_all(head.as_bytes()).await.ok();
        let mut status = [0; 12];
        let told = timeout(TEST_TIMEOUT, stream.read_exact(&mut status))
            .await
            .unwrap()
            .is_ok();
        (stream, told && status.ends_with(b"431"))
    };
    let attackers = attackers(ENDLESS_HEADS, attack).await;
    kept_to_its_memory(&app, product, before, 100 << 20).await;
    let told = attackers.iter().filter(|(_, told)| *told).count();
    assert!(
        told >= ENDLESS_HEADS * 9 / 10,
        "{told} of {ENDLESS_HEADS} were told why"
    );
}

/// 1,500 connections that each stop in the middle of a large head, and wait.
#[tokio::test]
async fn large_heads_that_wait_take_little_memory() {
    let (app, product, before) = working().await;
    let address = host(&app.processes[0].write);
    let head = format!(
        "GET / HTTP/1.1\r\nhost: localhost\r\nx: {}",
        "a".repeat(edge::MAX_HEAD_BYTES - 1_000)
    );
    let attack = async || {
        let mut stream = TcpStream::connect(&address).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        stream
    };
    let _attackers = attackers(ENDLESS_HEADS, attack).await;
    kept_to_its_memory(&app, product, before, 100 << 20).await;
}

/// 200 clients that ask for a megabyte each and read nothing of it: more than the budget of all connections.
#[tokio::test]
async fn readers_that_never_read_take_little_memory() {
    let app = TestApp::open().await;
    let product = app.open_product("steady", 1_000).await;
    app.settled().await;
    let now = Utc::now();
    sqlx::query(
        "insert into product_list (product_id, title, total_amount, started_at, finished_at)
         select 1000000 + n, repeat('모', 500), 1, $1, $2 from generate_series(1, $3) as n",
    )
    .bind(now - Duration::from_secs(60))
    .bind(now + Duration::from_secs(3_600))
    .bind(LONG_TITLES)
    .execute(&app.pool)
    .await
    .unwrap();
    let large = app.api(0).sight(View::Products).await.body.len();
    let before = app.processes[0].peak_bytes();
    let address = host(&app.processes[0].read);
    let attack = async || {
        let mut stream = TcpStream::connect(&address).await.unwrap();
        stream
            .write_all(b"GET /api/product?size=1000 HTTP/1.1\r\nhost: localhost\r\n\r\n")
            .await
            .unwrap();
        let mut status = [0; 12];
        timeout(TEST_TIMEOUT, stream.read_exact(&mut status))
            .await
            .unwrap()
            .unwrap();
        (stream, status.ends_with(b"503"))
    };
    let attackers = attackers(NEVER_READING, attack).await;
    let refused = attackers.iter().filter(|(_, refused)| *refused).count();
    let held = (NEVER_READING - refused) * large;
    assert!(
        refused > 0 && held <= edge::MAX_SHARED_BYTES,
        "{held} bytes are held by {refused} fewer clients"
    );
    kept_to_its_memory(&app, product, before, 192 << 20).await;
}

/// 1. A process may open few files; it says so. 2. Clients take every place of its public listeners, and accepting fails.
/// 3. They go. 4. Every listener serves again.
#[tokio::test]
async fn a_process_without_files_says_so_and_serves_again_when_it_can() {
    let database = testbed::Database::fresh().await;
    let moa = Start::serve()
        .on(database.url())
        .with_open_files(FEW_FILES)
        .open()
        .await;
    assert!(
        moa.logged().contains("the limit of open files is low"),
        "{}",
        moa.logged()
    );
    let connect = async |url: &str| {
        let mut stream = TcpStream::connect(host(url)).await.unwrap();
        stream
            .write_all(b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n")
            .await
            .ok();
        stream
    };
    let urls = [&moa.read, &moa.write, &moa.admin];
    let crowd = join_all((0..90).map(|number| connect(urls[number % urls.len()]))).await;
    within(TEST_TIMEOUT, "a failed accept", async || {
        moa.logged()
            .contains("cannot accept connections")
            .then_some(())
    })
    .await;
    drop(crowd);
    let api = ApiClient::of(0, &moa, client(), Journal::default());
    let served = async || {
        let invested = api.invest(ask("after", 1, 1)).await;
        let read = reqwest::get(format!("{}/readyz", moa.read))
            .await
            .is_ok_and(|answer| answer.status() == 200);
        let ready = reqwest::get(format!("{}/readyz", moa.ops))
            .await
            .is_ok_and(|answer| answer.status() == 200);
        (invested.is_refused("NOT_EXIST_PRODUCT") && read && ready).then_some(())
    };
    within(TEST_TIMEOUT, "every listener", served).await;
}

/// No page of another site can reach operators under a name of its own, wherever they listen; the public may have any name.
#[tokio::test]
async fn operators_are_reached_by_their_own_names_alone() {
    let database = testbed::Database::fresh().await;
    let everywhere = [
        "--admin-listen",
        "0.0.0.0:0",
        "--query-listen",
        "0.0.0.0:0",
        "--command-listen",
        "127.0.0.1:0",
    ];
    let start =
        Start::bare(&["--no-demo", "--allowed-hosts", "admin-1,moa.example"]).with(&everywhere);
    let start = start
        .on(database.url())
        .env("MOA_OPERATOR_TOKEN", crate::harness::OPERATOR);
    let moa = start.env("MOA_USER_AUTH", "header").open().await;
    let [admin, read, write] =
        [&moa.admin, &moa.read, &moa.write].map(|url| url.replace("0.0.0.0", "127.0.0.1"));
    let status = async |url: &str, host: &str| {
        let answer = client()
            .get(format!("{url}/readyz"))
            .header("host", host)
            .send()
            .await
            .unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    for (url, host, expected) in [
        (&admin, "evil.example", 421),
        (&admin, "evil.example:8082", 421),
        (&admin, "localhost", 200),
        (&admin, "10.1.2.3:8082", 200),
        (&admin, "admin-1:8082", 200),
        (&write, "evil.example", 421),
        (&write, "10.1.2.3", 421),
        (&write, "127.0.0.1:8081", 200),
        (&write, "moa.example", 200),
        (&read, "evil.example", 200),
    ] {
        let (answered, body) = status(url, host).await;
        assert_eq!(answered, expected, "{url} as {host}: {body}");
        assert!(
            expected == 200 || body.contains("MOA_ALLOWED_HOSTS"),
            "{body}"
        );
    }
}
