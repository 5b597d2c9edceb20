//! Services alone: what they refuse, what they wait for, how they say how they are.

use reqwest::Method;
use rstest::rstest;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use uuid::Uuid;

use crate::checker::{Evidence, Log, counters};
use crate::harness::{
    Ended, Leftovers, Load, MoaProcess, OPERATOR, Start, TEST_TIMEOUT, TestApp, servers, within,
};

const CANARY: &str = "canary9d41";

fn alone(service: &str) -> Start {
    let start = Start::bare(&["serve", service]).env("MOA_OPS_LISTEN", "127.0.0.1:0");
    let listen = ["MOA_QUERY_LISTEN", "MOA_COMMAND_LISTEN", "MOA_ADMIN_LISTEN"];
    listen
        .iter()
        .fold(start, |start, name| start.env(name, "127.0.0.1:0"))
}

fn is_refused(ended: &Ended, expected: &str) {
    let said = format!("{}{}", ended.out, ended.err);
    assert!(
        !ended.status.success() && ended.status.code().is_some(),
        "{:?}: {said}",
        ended.status
    );
    assert!(
        ended.err.contains(expected),
        "{expected:?} is not in {said}"
    );
    for never in [CANARY, "panicked", "stack backtrace", "is open"] {
        assert!(!said.contains(never), "{never:?} is in {said}");
    }
}

#[rstest]
#[case::no_database("projector", &[], "--database-url")]
#[case::no_broker("relay", &[("DATABASE_URL", "postgres://u@127.0.0.1:1/d")], "--amqp-url")]
#[case::no_token("admin", &[("DATABASE_URL", "postgres://u@127.0.0.1:1/d")], "set MOA_OPERATOR_TOKEN")]
#[case::no_payment_url(
    "command-api",
    &[("DATABASE_URL", "postgres://u@127.0.0.1:1/d"), ("MOA_PAYMENT_PROVIDER", "http")],
    "--payment-url"
)]
#[case::no_http(
    "command-api",
    &[("DATABASE_URL", "postgres://u@127.0.0.1:1/d"), ("MOA_PAYMENT_PROVIDER", "http"), ("MOA_PAYMENT_URL", "canary9d41")],
    "payment"
)]
#[case::bad_database("query-api", &[("DATABASE_URL", "mysql://u:canary9d41@h/d")], "DATABASE_URL cannot be read")]
#[tokio::test]
async fn a_service_without_what_it_needs_is_refused_by_name(
    #[case] service: &str,
    #[case] set: &[(&str, &str)],
    #[case] expected: &str,
) {
    let start = set.iter().fold(alone(service), |start, (name, value)| {
        start.env(name, value)
    });
    is_refused(&start.end().await, expected);
}

/// What is read only once the database is there.
#[rstest]
#[case::broker("relay", "AMQP_URL", "http://u:canary9d41@h", "it is no AMQP address")]
#[case::broker_of_consumers("projector", "AMQP_URL", "canary9d41", "it is no AMQP address")]
#[case::cache(
    "query-api",
    "REDIS_URL",
    "http://u:canary9d41@h",
    "REDIS_URL cannot be read"
)]
#[tokio::test]
async fn an_address_that_cannot_be_read_is_named_and_not_shown(
    #[case] service: &str,
    #[case] name: &str,
    #[case] url: &str,
    #[case] expected: &str,
) {
    let database = testbed::Database::fresh().await;
    is_refused(
        &alone(service).on(database.url()).env(name, url).end().await,
        expected,
    );
}

async fn get(url: &str) -> (u16, String) {
    let answer = reqwest::get(url).await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

async fn healthcheck(address: &str) -> Ended {
    Start::bare(&["healthcheck", address]).end().await
}

/// A health check with the settings of the process and nothing else, as a container's is.
#[tokio::test]
async fn a_health_check_finds_the_process_by_the_settings_that_it_has() {
    let (folder, authority) = (
        testbed::TempFolder::new("health"),
        testbed::certificates::Authority::new("a"),
    );
    let (ours, others) = (
        authority.issue("moa.example").write(&folder),
        authority.issue("moa.example").write(&folder),
    );
    let database = testbed::Database::fresh().await;
    let [ops, admin] = [(); 2].map(|()| format!("127.0.0.1:{}", testbed::free_port()));
    let beside = |start: &Start| {
        let settings = Start::bare(&["healthcheck"])
            .env("MOA_OPS_LISTEN", &ops)
            .env("MOA_ADMIN_LISTEN", &admin);
        start
            .variable("MOA_TLS_CERT_FILE")
            .map_or(settings.clone(), |file| {
                settings.env("MOA_TLS_CERT_FILE", file)
            })
    };
    let plain = Start::bare(&[
        "serve",
        "--no-demo",
        "--query-listen",
        "127.0.0.1:0",
        "--command-listen",
        "127.0.0.1:0",
    ]);
    let plain = plain.on(database.url()).env("MOA_ADMIN_LISTEN", &admin);
    let encrypted = plain
        .clone()
        .env("MOA_TLS_CERT_FILE", &ours.certificate)
        .env("MOA_TLS_KEY_FILE", &ours.key);
    let alone = Start::bare(&["serve", "projector"])
        .on(database.url())
        .env("MOA_OPS_LISTEN", &ops);
    for start in [&plain, &encrypted, &alone] {
        let nobody = beside(start).end().await;
        assert_eq!((nobody.status.code(), nobody.out.as_str()), (Some(1), ""));
        let expected = format!("moa: nothing answers at {ops}, MOA_OPS_LISTEN, nor at ");
        assert!(
            nobody.err.starts_with(&expected) && nobody.err.lines().count() == 1,
            "{}",
            nobody.err
        );
        let moa = start.open().await;
        let is_ready = async || (beside(start).end().await.out == "ok\n").then_some(());
        within(TEST_TIMEOUT, "a ready process", is_ready).await;
        if start.variable("MOA_TLS_CERT_FILE").is_some() {
            let stranger = beside(start)
                .env("MOA_TLS_CERT_FILE", &others.certificate)
                .end()
                .await;
            assert_eq!(stranger.status.code(), Some(1), "{}", stranger.out);
        }
        moa.killed().await;
    }
}

/// Carries connections to the tests' PostgreSQL, once it listens.
async fn carry(listener: TcpListener) {
    let url = std::env::var("DATABASE_URL").unwrap_or_else(|_| testbed::DEFAULT_URL.to_owned());
    let options: sqlx::postgres::PgConnectOptions = url.parse().unwrap();
    let server = format!("{}:{}", options.get_host(), options.get_port());
    while let Ok((mut client, _)) = listener.accept().await {
        let server = server.clone();
        tokio::spawn(async move {
            let mut server = TcpStream::connect(server).await.unwrap();
            tokio::io::copy_bidirectional(&mut client, &mut server)
                .await
                .ok();
        });
    }
}

/// Steps: a projector starts before there is any PostgreSQL; it lives, is not ready, and says why; PostgreSQL comes; it
/// becomes ready, and has migrated.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_waits_for_its_database_and_says_so() {
    let database = testbed::Database::fresh().await;
    let reserved = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = reserved.local_addr().unwrap().port();
    drop(reserved);
    let ops = format!("127.0.0.1:{}", testbed::free_port());
    let name = database.url().rsplit('/').next().unwrap();
    let start = alone("projector").on(&format!("postgres://postgres@127.0.0.1:{port}/{name}"));
    let mut early = start.env("MOA_OPS_LISTEN", &ops).begin();

    let answers = async || {
        reqwest::get(format!("http://{ops}/livez"))
            .await
            .is_ok()
            .then_some(())
    };
    within(TEST_TIMEOUT, "the ops port", answers).await;
    assert_eq!(
        get(&format!("http://{ops}/readyz")).await,
        (503, "not ready: database".into())
    );
    let (_, metrics) = get(&format!("http://{ops}/metrics")).await;
    assert!(
        metrics.contains("moa_ready{clause=\"database\"} 0"),
        "{metrics}"
    );
    let unhealthy = healthcheck(&ops).await;
    assert!(
        !unhealthy.status.success() && unhealthy.err.contains("not ready: database"),
        "{}",
        unhealthy.err
    );

    tokio::spawn(carry(TcpListener::bind(("127.0.0.1", port)).await.unwrap()));
    let ready = async || (get(&format!("http://{ops}/readyz")).await.0 == 200).then_some(());
    within(TEST_TIMEOUT, "ready", ready).await;
    assert!(healthcheck(&ops).await.status.success());
    early.kill().await.unwrap();
    let nobody = healthcheck(&ops).await;
    assert!(
        !nobody.status.success() && nobody.err.contains("nothing answers"),
        "{}",
        nobody.err
    );
}

/// Steps: a relay whose broker is away opens, lives, and is not ready; the metrics can be read all the same.
#[tokio::test]
async fn a_relay_is_not_ready_without_its_broker() {
    let database = testbed::Database::fresh().await;
    let relay = alone("relay")
        .on(database.url())
        .env("AMQP_URL", "amqp://guest:guest@127.0.0.1:1/%2f")
        .open()
        .await;
    assert_eq!(get(&format!("{}/livez", relay.ops)).await.0, 200);
    assert_eq!(
        get(&format!("{}/readyz", relay.ops)).await,
        (503, "not ready: broker".into())
    );
    let (status, metrics) = get(&format!("{}/metrics", relay.ops)).await;
    assert_eq!(status, 200);
    assert!(
        metrics.contains("moa_http_requests_total{route=\"/readyz\",status=\"503\"} 1"),
        "{metrics}"
    );
    assert!(
        relay
            .stopped(Duration::from_secs(10))
            .await
            .status
            .success()
    );
}

/// Steps: a relay takes every partition; another one starts, gets none, and is ready all the same.
#[tokio::test]
async fn a_relay_that_stands_by_is_ready() {
    let database = testbed::Database::fresh().await;
    let _leftovers = Leftovers::of(database.url());
    let relay = alone("relay")
        .on(database.url())
        .env("AMQP_URL", &servers().0);
    let _first = relay.open().await;
    let pool = database.pool().await.inner().clone();
    let all_taken = async || {
        let taken: i64 = sqlx::query_scalar("select count(*) from leases")
            .fetch_one(&pool)
            .await
            .unwrap();
        (taken == 4).then_some(())
    };
    within(TEST_TIMEOUT, "the leases", all_taken).await;
    let second = relay.open().await;
    let ready = async || (get(&format!("{}/readyz", second.ops)).await.0 == 200).then_some(());
    within(TEST_TIMEOUT, "the second relay", ready).await;
}

/// Steps: invests, until Redis is the fold of the log; then a counter, a product and a whole partition of it are changed by
/// hand, each in its turn, and the checker names it. Nothing of Moa runs any more, so nothing mends it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn planted_faults_in_redis_are_found() {
    let mut app = with_all_servers(1).await;
    let product = app.open_product("counted", 100).await;
    assert!(
        app.invest(crate::harness::ask("ann", product, 10))
            .await
            .is_accepted()
    );
    counters_are_there(&app).await;
    app.processes.remove(0).killed().await;
    let (log, keys) = (
        Log::read(&app.pool).await,
        counters::Keys::of(&app.pool).await,
    );
    let client = redis::Client::open(servers().1).unwrap();
    let mut redis = client.get_multiplexed_async_connection().await.unwrap();
    assert_eq!(counters::faults(&log, &client, &keys).await, []);
    let key = keys.key(product % 4);
    let value = |product: i64, value: &str| counters::checked(&key, &product.to_string(), value);
    let right: String = redis::cmd("HGET")
        .arg(&key)
        .arg(product)
        .query_async(&mut redis)
        .await
        .unwrap();
    assert!(right.starts_with("10:1:0:"), "{right}");
    for wrong in [
        value(product, "11:1:0:3"),
        value(product, "10:2:0:3"),
        value(product, "10:1:1:3"),
        "10:1:0:3".into(),
    ] {
        redis::cmd("HSET")
            .arg(&key)
            .arg(product)
            .arg(&wrong)
            .exec_async(&mut redis)
            .await
            .unwrap();
        assert_eq!(
            counters::faults(&log, &client, &keys).await.len(),
            2,
            "{wrong}: one too many, one missing"
        );
    }
    redis::cmd("HSET")
        .arg(&key)
        .arg(product)
        .arg(&right)
        .exec_async(&mut redis)
        .await
        .unwrap();
    redis::cmd("HSET")
        .arg(&key)
        .arg(product + 4)
        .arg(value(product + 4, "10:1:0:3"))
        .exec_async(&mut redis)
        .await
        .unwrap();
    assert_eq!(
        counters::faults(&log, &client, &keys).await.len(),
        1,
        "a product that is not"
    );
    redis::cmd("DEL")
        .arg(&key)
        .exec_async(&mut redis)
        .await
        .unwrap();
    assert_eq!(
        counters::positions(&client, &keys, 4).await,
        None,
        "a partition is gone"
    );
}

/// Of `moa serve` with a RabbitMQ and a Redis.
pub async fn with_all_servers(processes: usize) -> TestApp {
    let (amqp, redis) = servers();
    TestApp::of(
        processes,
        Start::serve()
            .env("AMQP_URL", &amqp)
            .env("REDIS_URL", &redis),
    )
    .await
}

/// Everything has its fate, and Redis is where the read models are: till then a read without a token may be a little
/// behind them.
async fn counters_are_there(app: &TestApp) {
    app.settled().await;
    let redis = redis::Client::open(servers().1).unwrap();
    let keys = counters::Keys::of(&app.pool).await;
    let heads = Log::read(&app.pool).await.heads();
    let there =
        async || (counters::positions(&redis, &keys, heads.len()).await? == heads).then_some(());
    within(TEST_TIMEOUT, "the counters", there).await;
}

pub async fn log_id(app: &TestApp) -> Uuid {
    sqlx::query_scalar("select log_id from log_identity")
        .fetch_one(&app.pool)
        .await
        .unwrap()
}

/// Steps: two processes that do everything, RabbitMQ and Redis between them; load at both; quiet; the checker; both count
/// deliveries, so the events did travel.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_in_one_process_works_through_rabbitmq_and_redis_too() {
    let app = with_all_servers(2).await;
    let products = [
        app.open_product("one", 1_000_000).await,
        app.open_product("two", 1_000_000).await,
    ];
    let load = Load::start(&app.apis(), 8, &products);
    let enough =
        async || (app.journal.count(crate::harness::Call::is_accepted) > 500).then_some(());
    within(TEST_TIMEOUT, "acceptances", enough).await;
    load.stop().await;
    counters_are_there(&app).await;
    Evidence::of(&app, &products, &["api0-client0".into()])
        .await
        .holds();
    let mut delivered = 0;
    for moa in &app.processes {
        let (_, metrics) = get(&format!("{}/metrics", moa.ops)).await;
        delivered += metrics
            .lines()
            .filter(|line| line.starts_with("moa_deliveries_total"))
            .count();
    }
    assert!(delivered >= 5, "each consumer was delivered something");
}

async fn parked(moa: &MoaProcess, args: &[&str]) -> Ended {
    let start = Start::bare(&["parked"])
        .with(args)
        .with(&["--admin-url", &moa.admin]);
    start.env("MOA_OPERATOR_TOKEN", OPERATOR).end().await
}

/// Steps: somebody else publishes garbage to a consumer's queue; it is parked; the operator lists it, shows it, drops it;
/// an invest still shows.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forged_delivery_is_listed_shown_and_dropped() {
    let app = with_all_servers(1).await;
    let (moa, product) = (&app.processes[0], app.open_product("forged", 100).await);
    app.settled().await;
    forge(&app, b"not even JSON").await;
    let listed = async || {
        let list = parked(moa, &["list", "--json"]).await;
        let list: serde_json::Value = serde_json::from_str(&list.out).unwrap();
        (list["totalCount"] == 1).then(|| list["list"][0].clone())
    };
    let found = within(TEST_TIMEOUT, "the parked delivery", listed).await;
    assert!(
        found["queue"].as_str().unwrap().ends_with(".holdings.0"),
        "{found}"
    );
    let id = found["id"].to_string();
    let table = parked(moa, &["list"]).await;
    assert!(
        table.out.contains("REASON") && table.out.contains(found["reason"].as_str().unwrap()),
        "{}",
        table.out
    );
    let shown = parked(moa, &["show", &id]).await;
    assert!(shown.out.contains("not even JSON"), "{}", shown.out);
    assert_eq!(parked(moa, &["drop", &id]).await.out, "Dropped 1.\n");
    let gone = parked(moa, &["drop", &id]).await;
    assert!(
        !gone.status.success() && gone.err.contains("there is none with this id"),
        "{}",
        gone.err
    );
    assert_eq!(parked(moa, &["drop", "--all"]).await.out, "Dropped 0.\n");

    assert!(
        app.invest(crate::harness::ask("ann", product, 10))
            .await
            .is_accepted()
    );
    counters_are_there(&app).await;
    Evidence::of(&app, &[product], &["ann".into()])
        .await
        .holds();
    let api = app.api(0);
    assert_eq!(
        api.admin_with(Method::POST, "/admin/parked/drop", Some("wrong"), |it| it)
            .await
            .status,
        401
    );
    app.processes[0].signal("TERM");
}

/// As anybody who may write to the queue; it is there when this returns.
pub async fn forge(app: &TestApp, body: &[u8]) {
    let log_id = log_id(app).await;
    let queue = format!("moa.{log_id}.holdings.0");
    let connection =
        lapin::Connection::connect(&servers().0, lapin::ConnectionProperties::default())
            .await
            .unwrap();
    // A queue that is declared may not have started yet, and then loses what it is sent. Who consumes from it knows.
    let is_consumed_from = async || {
        let channel = connection.create_channel().await.unwrap();
        let passive = lapin::options::QueueDeclareOptions {
            passive: true,
            ..Default::default()
        };
        let declared = channel
            .queue_declare(queue.as_str().into(), passive, Default::default())
            .await
            .ok()?;
        (declared.consumer_count() == 1).then_some(())
    };
    within(TEST_TIMEOUT, "a consumer at its queue", is_consumed_from).await;
    let channel = connection.create_channel().await.unwrap();
    channel.confirm_select(Default::default()).await.unwrap();
    let (options, properties) = (Default::default(), lapin::BasicProperties::default());
    let sent = channel
        .basic_publish("".into(), queue.into(), options, body, properties)
        .await
        .unwrap();
    assert!(
        matches!(sent.await, Ok(lapin::Confirmation::Ack(None))),
        "it is not there"
    );
}
