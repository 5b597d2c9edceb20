//! Faults of the log's database, as those who write meet them.

use std::time::Duration;
use testbed::{Fault, FaultKind};

use super::prometheus::Prometheus;
use crate::deployment::postgres::Servers;
use crate::harness::{Journal, Load, Start, TEST_TIMEOUT, TestApp, ask};
use crate::killed::DataFolder;
use crate::readiness::{DISK_FULL, set_payload};
use crate::sealed::KeyFolder;
use crate::set_back::{answered, api, open_product};

/// Who goes on asking while nothing can be appended.
const CLIENTS: usize = 8;
const LARGE_TOTAL_WON: i64 = 1_000_000;
/// A word of the request whose answer is lost.
const FATAL_USER: &str = "the-fatal-user";

/// Steps: nothing can be appended, while clients ask; the answer to an append is lost, and the database away; an event is damaged, and a
/// process started that does not have it in memory.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn faults_of_appends_ring_theirs() {
    let (mut app, proxy) = TestApp::behind_a_proxy().await;
    let product = app.open_product("rings", LARGE_TOTAL_WON).await;
    assert!(app.invest(ask("ann", product, 1)).await.is_accepted());
    app.settled().await;
    let prometheus = Prometheus::of(&app.processes).await;
    prometheus.is_quiet().await;

    sqlx::raw_sql(DISK_FULL).execute(&app.pool).await.unwrap();
    let load = Load::start(&[app.api(0)], CLIENTS, &[product]);
    prometheus.rings(&["MoaNotReady", "MoaOverloaded"]).await;
    load.stop().await;
    sqlx::raw_sql("drop trigger disk_is_full on events")
        .execute(&app.pool)
        .await
        .unwrap();
    prometheus.is_quiet().await;

    // With a key the insert is one request, and its commit the next.
    proxy.stage(
        Fault::at(FATAL_USER, FaultKind::LosesAnswer)
            .later(1)
            .and_cuts(),
    );
    let fatal = app.invest(ask(FATAL_USER, product, 1).with_key("k")).await;
    assert!(fatal.is_unknown(), "{fatal:?}");
    proxy.until_all_struck().await;
    prometheus
        .rings(&["MoaNotReady", "MoaOutcomeUnknown"])
        .await;
    proxy.mend();
    prometheus.is_quiet().await;
    app.settled().await;

    let whole = set_payload(&app, product, "{}").await;
    app.processes.remove(0).killed().await;
    app.processes.remove(0).killed().await;
    app.add_process().await;
    prometheus.scrapes(&app.processes).await;
    assert!(app.invest(ask("ann", product, 1)).await.is_unknown());
    prometheus.rings(&["MoaNotReady", "MoaProductBroken"]).await;
    set_payload(&app, product, &whole).await;
    prometheus.is_quiet().await;
}

/// Steps: seals are kept outside; the database is put back to a copy from before the last of them, and a process started on it; an operator
/// accepts the loss. Then nothing can be sealed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_was_set_back_rings_until_the_loss_is_accepted() {
    let (servers, keys, journal) = (
        Servers::new(),
        KeyFolder::with_a_key().await,
        Journal::default(),
    );
    let server = servers.start("first").await;
    let start = keys
        .sealing(Start::serve())
        .on(&servers.url(&server))
        .with(&["--partitions", "1"]);
    let moa = start.open().await;
    let product = open_product(&api(&moa, &journal), LARGE_TOTAL_WON).await;
    moa.stopped(TEST_TIMEOUT).await;
    server.stop().await;
    servers.copy("first", "copy");
    let server = servers.start("first").await;
    let moa = start.open().await;
    assert!(
        answered(&api(&moa, &journal), "ann", product, 1)
            .await
            .is_accepted()
    );
    // A stop seals what is left.
    moa.stopped(TEST_TIMEOUT).await;
    server.stop().await;
    servers.copy("copy", "first");

    let server = servers.start("first").await;
    let moas = [start.open().await];
    let prometheus = Prometheus::of(&moas).await;
    prometheus
        .rings(&["MoaNotReady", "MoaSealerRefuses", "MoaWritesStopped"])
        .await;
    let accept = Start::bare(&["restore", "--accept-loss", "--admin-url", &moas[0].admin]);
    let accepted = accept
        .env("MOA_OPERATOR_TOKEN", crate::harness::OPERATOR)
        .end()
        .await;
    assert!(accepted.status.success(), "{}", accepted.err);
    prometheus.is_quiet().await;
    let accepting = api(&moas[0], &journal);
    assert!(answered(&accepting, "bob", product, 1).await.is_accepted());

    server.sql("alter table seals rename to seals_away").await;
    assert!(answered(&accepting, "eve", product, 1).await.is_accepted());
    prometheus.rings(&["MoaNotReady", "MoaSealerBehind"]).await;
    server.sql("alter table seals_away rename to seals").await;
    prometheus.is_quiet().await;
    drop(moas);
    server.stop().await;
}

/// The other tasks are started again only when they panic, which no fault from outside makes them do: `ops/alerts.test.yaml` has the relay.
/// Steps: the private PostgreSQL is killed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_private_postgres_that_is_started_again_rings() {
    let folder = DataFolder::new();
    let moas = [folder.start().open().await];
    let prometheus = Prometheus::of(&moas).await;
    prometheus.is_quiet().await;
    crate::harness::signal("KILL", folder.postmaster().unwrap());
    prometheus.rings(&["MoaTaskRestarted"]).await;
    prometheus.is_quiet().await;
    let [moa] = moas;
    assert!(moa.stopped(Duration::from_secs(40)).await.status.success());
}
