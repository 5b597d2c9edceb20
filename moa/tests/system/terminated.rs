//! SIGTERM: what is accepted is finished, within bounds.

use sqlx::Connection;
use sqlx::PgConnection;
use std::time::{Duration, Instant};

use crate::checker::{Evidence, chain_is_whole};
use crate::harness::{Call, Load, TEST_TIMEOUT, TestApp, ask, within};

const CLIENTS: usize = 32;
const LARGE_TOTAL_WON: i64 = 1_000_000_000;
/// An idle process has nothing to finish.
const IDLE_DURATION: Duration = Duration::from_secs(3);
/// The sum of what each stage of a stop may take.
const STOP_TIMEOUT: Duration = Duration::from_secs(30);
/// The class, or first key, of the append lock, which is an advisory lock.
const APPEND_LOCK_CLASS: i32 = 0x004d_6f61;

#[tokio::test]
async fn an_idle_process_ends_at_once_also_with_connections_open() {
    let mut app = TestApp::open().await;
    // The client keeps these open.
    let product = app.open_product("idle", LARGE_TOTAL_WON).await;
    assert!(app.invest(ask("ann", product, 1)).await.is_accepted());
    assert_eq!(app.api(0).get("/api/product").await.status, 200);
    app.settled().await;
    let moa = app.processes.remove(0);
    let stopped = Instant::now();
    let ended = moa.stopped(IDLE_DURATION).await;
    println!("ended after {:?}", stopped.elapsed());
    assert!(ended.status.success(), "{}", ended.err);
}

/// Steps: load; SIGTERM in the middle; it ends with success within the bound; a new process; quiet; the checker, for
/// which a request that came too late is one without an answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_under_load_loses_nothing() {
    let mut app = TestApp::open().await;
    let product = app.open_product("stopped", LARGE_TOTAL_WON).await;
    let load = Load::start(&app.apis(), CLIENTS, &[product]);
    within(TEST_TIMEOUT, "load", async || {
        (app.journal.count(Call::is_accepted) > 300).then_some(())
    })
    .await;
    let moa = app.processes.remove(0);
    let stopped = Instant::now();
    let ended = moa.stopped(STOP_TIMEOUT).await;
    println!("ended under load after {:?}", stopped.elapsed());
    assert!(ended.status.success(), "{}", ended.err);
    load.stop().await;
    app.add_process().await;
    Evidence::of(&app, &[product], &[]).await.holds();
    chain_is_whole(&app.pool).await;
}

/// Steps: somebody else holds the append lock, so that a batch waits for it; requests come and are queued or in the batch;
/// SIGTERM; no new connection is taken; the lock is released; every request that was in flight is answered, accepted,
/// in the log; the process ends with success.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_in_flight_at_a_stop_get_their_answers() {
    let mut app = TestApp::open().await;
    let product = app.open_product("in flight", LARGE_TOTAL_WON).await;
    assert!(app.invest(ask("ann", product, 1)).await.is_accepted());
    app.settled().await;
    let mut other = take_append_lock(&app, product % 4).await;
    let api = app.api(0);
    let in_flight = (0..CLIENTS).map(|number| {
        let api = api.clone();
        tokio::spawn(async move { api.invest(ask(format!("late{number}"), product, 1)).await })
    });
    let in_flight: Vec<_> = in_flight.collect();
    within(
        TEST_TIMEOUT,
        "a batch that waits for the append lock",
        async || somebody_waits_for_an_append_lock(&app).await,
    )
    .await;
    // One that has not been read yet is not in flight.
    within(TEST_TIMEOUT, "all requests", async || {
        all_have_come(&app.processes[0].ops).await
    })
    .await;

    let (moa, write) = (app.processes.remove(0), api.write_address());
    moa.signal("TERM");
    let closed = async || {
        tokio::net::TcpStream::connect(&write)
            .await
            .is_err()
            .then_some(())
    };
    within(TEST_TIMEOUT, "the api to close", closed).await;
    sqlx::query("rollback").execute(&mut other).await.unwrap();
    for call in in_flight {
        let call = call.await.unwrap();
        assert!(call.is_accepted(), "{call:?}");
    }
    assert!(moa.ended(STOP_TIMEOUT).await.status.success());
    app.add_process().await;
    Evidence::of(&app, &[product], &["late0".into()])
        .await
        .holds();
}

async fn take_append_lock(app: &TestApp, partition: i64) -> PgConnection {
    let options = app.pool.connect_options();
    let mut other = PgConnection::connect_with(&options).await.unwrap();
    sqlx::query("begin").execute(&mut other).await.unwrap();
    let lock = sqlx::query("select pg_advisory_xact_lock($1, $2)")
        .bind(APPEND_LOCK_CLASS)
        .bind(i32::try_from(partition).unwrap());
    lock.execute(&mut other).await.unwrap();
    other
}

async fn all_have_come(ops: &str) -> Option<()> {
    let metrics = reqwest::get(format!("{ops}/metrics"))
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    let all = format!("moa_http_requests_in_flight{{route=\"/api/invest\"}} {CLIENTS}");
    metrics.lines().any(|line| line == all).then_some(())
}

async fn somebody_waits_for_an_append_lock(app: &TestApp) -> Option<()> {
    let waits: bool = sqlx::query_scalar(
        "select exists (select from pg_locks where locktype = 'advisory' and not granted
                           and database = (select oid from pg_database where datname = current_database()))",
    )
    .fetch_one(&app.pool)
    .await
    .unwrap();
    waits.then_some(())
}
