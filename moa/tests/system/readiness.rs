//! What `/readyz` says: each clause of the table in `docs/operating.md`, failed and well again.

use moa::postgres::{Embedded, Options};
use sqlx::postgres::PgPoolOptions;
use std::time::Duration;

use crate::harness::{MoaProcess, Start, TEST_TIMEOUT, TestApp, ask, servers, within};

const LARGE_TOTAL_WON: i64 = 1_000_000;

/// What `/readyz` of the ops port says, without the words around it; empty when it is ready.
async fn unready(ops: &str) -> String {
    let Ok(answer) = reqwest::get(format!("{ops}/readyz")).await else {
        return "no answer".into();
    };
    let (status, said) = (answer.status().as_u16(), answer.text().await.unwrap());
    match said.strip_prefix("not ready: ") {
        Some(names) => {
            assert_eq!(status, 503);
            names.to_owned()
        }
        None => {
            assert_eq!((status, said.as_str()), (200, "ok"));
            String::new()
        }
    }
}

/// Waits until it says just this.
async fn says(ops: &str, expected: &str) {
    let mut last = String::new();
    let start = std::time::Instant::now();
    while start.elapsed() < TEST_TIMEOUT {
        last = unready(ops).await;
        if last == expected {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("waited in vain for {expected:?}; it says {last:?}");
}

async fn is_ready(ops: &str) {
    says(ops, "").await;
}

fn alone(service: &str, url: &str) -> Start {
    let listen = [
        "MOA_OPS_LISTEN",
        "MOA_QUERY_LISTEN",
        "MOA_COMMAND_LISTEN",
        "MOA_ADMIN_LISTEN",
    ];
    let start = Start::bare(&["serve", service])
        .on(url)
        .env("MOA_OPERATOR_TOKEN", crate::harness::OPERATOR);
    listen
        .iter()
        .fold(start, |start, name| start.env(name, "127.0.0.1:0"))
}

/// Ends every connection of these processes and waits until they are gone, so that all pools have dead ones.
async fn cut_connections(app: &TestApp) {
    let ours = "from pg_stat_activity where datname = current_database() and application_name like 'moa %'";
    let pids: Vec<i32> = sqlx::query_scalar(&format!("select pid {ours}"))
        .fetch_all(&app.pool)
        .await
        .unwrap();
    sqlx::query(&format!("select pg_terminate_backend(pid) {ours}"))
        .execute(&app.pool)
        .await
        .unwrap();
    let gone = async || {
        let left = "select count(*) from pg_stat_activity where pid = any ($1)";
        let left: i64 = sqlx::query_scalar(left)
            .bind(&pids)
            .fetch_one(&app.pool)
            .await
            .unwrap();
        (left == 0).then_some(())
    };
    within(TEST_TIMEOUT, "the connections' end", gone).await;
}

/// Steps: every connection of every pool dies; the very next answer is a good one, each time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_pooled_connection_is_no_reason_to_be_red() {
    let app = TestApp::open().await;
    let query_api = alone("query-api", &app.url()).open().await;
    for _ in 0..6 {
        cut_connections(&app).await;
        for ops in [&app.processes[0].ops, &query_api.ops] {
            assert_eq!(unready(ops).await, "");
        }
    }
}

/// Steps: the database becomes read-only for new sessions, and is cut off; who writes is not ready, who reads is; it takes
/// writes again, and all are ready.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_only_database_is_ready_for_reads_only() {
    let app = TestApp::open().await;
    let url = app.url();
    let mut services: Vec<MoaProcess> = Vec::new();
    for service in ["query-api", "projector", "command-api"] {
        services.push(alone(service, &url).open().await);
    }
    let name: String = sqlx::query_scalar("select current_database()")
        .fetch_one(&app.pool)
        .await
        .unwrap();
    let set = async |value: &str| {
        let set = format!("alter database \"{name}\" set default_transaction_read_only = {value}");
        // In statements of their own: together they would be one transaction, which began read-only.
        let mut session = app.pool.acquire().await.unwrap();
        sqlx::raw_sql("set default_transaction_read_only = off")
            .execute(&mut *session)
            .await
            .unwrap();
        sqlx::raw_sql(&set).execute(&mut *session).await.unwrap();
        drop(session);
        cut_connections(&app).await;
    };
    set("on").await;
    let contains = async |ops: &str| {
        within(TEST_TIMEOUT, "red", async || {
            unready(ops)
                .await
                .contains("database-read-only")
                .then_some(())
        })
        .await;
    };
    contains(&app.processes[0].ops).await;
    contains(&services[1].ops).await;
    contains(&services[2].ops).await;
    assert_eq!(unready(&services[0].ops).await, "");
    set("off").await;
    for ops in services.iter().chain(&app.processes).map(|moa| &moa.ops) {
        is_ready(ops).await;
    }
}

/// Steps: a private server comes up as a standby; a service that writes is not ready; it is promoted, and the service is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_is_not_ready_for_writes_until_it_is_promoted() {
    let folder = crate::killed::DataFolder::new();
    let options = Options {
        data_dir: folder.data().into(),
        ephemeral: false,
    };
    let server = Embedded::start(&options).await.unwrap();
    let at = server.connect_options();
    let url = crate::deployment::url_of(&at);
    assert!(
        Start::bare(&["migrate", "--partitions", "2"])
            .on(&url)
            .end()
            .await
            .status
            .success()
    );
    server.stop().await.unwrap();
    std::fs::write(format!("{}/postgres/standby.signal", folder.data()), "").unwrap();
    let server = Embedded::start(&options).await.unwrap();
    let ops = format!("127.0.0.1:{}", testbed::free_port());
    let mut service = alone("projector", &url).env("MOA_OPS_LISTEN", &ops).begin();
    let ops = format!("http://{ops}");
    let red = async || unready(&ops).await.starts_with("database").then_some(());
    within(TEST_TIMEOUT, "red", red).await;
    let pool = PgPoolOptions::new()
        .max_connections(1)
        .connect_with(server.connect_options())
        .await
        .unwrap();
    sqlx::query("select pg_promote()")
        .execute(&pool)
        .await
        .unwrap();
    is_ready(&ops).await;
    crate::harness::signal("TERM", service.id().unwrap());
    assert!(
        tokio::time::timeout(TEST_TIMEOUT, service.wait())
            .await
            .unwrap()
            .unwrap()
            .success()
    );
    server.stop().await.unwrap();
}

pub const DISK_FULL: &str = "
    create function disk_is_full() returns trigger language plpgsql as $$
    begin
        raise exception 'could not extend file: No space left on device' using errcode = 'disk_full';
    end
    $$;
    create trigger disk_is_full before insert on events for each row execute function disk_is_full()";

/// Steps: every append fails, as with a full disk; invests are refused, and the process is not ready, also when nobody asks
/// any more; appends work again, and it is ready without anybody having asked. All that is logged in a few lines, though
/// the batch was tried 20 times a second; and nothing that was refused is in the log.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_side_that_cannot_append_is_not_ready_until_it_can() {
    let mut app = TestApp::open().await;
    let product = app.open_product("full", LARGE_TOTAL_WON).await;
    app.settled().await;
    is_ready(&app.processes[0].ops).await;
    sqlx::raw_sql(DISK_FULL).execute(&app.pool).await.unwrap();
    assert!(
        app.invest(ask("ann", product, 1))
            .await
            .is_refused("OVERLOADED")
    );
    says(&app.processes[0].ops, "append").await;
    let metrics = reqwest::get(format!("{}/metrics", app.processes[0].ops))
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    assert!(
        metrics.contains("moa_ready{clause=\"append\"} 0"),
        "{metrics}"
    );
    assert!(
        metrics.contains("moa_ready{clause=\"database-read-only\"} 1"),
        "{metrics}"
    );
    // More than one try of the idle processor: it stays red.
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    assert_eq!(unready(&app.processes[0].ops).await, "append");
    sqlx::raw_sql("drop trigger disk_is_full on events")
        .execute(&app.pool)
        .await
        .unwrap();
    is_ready(&app.processes[0].ops).await;
    assert!(app.invest(ask("bob", product, 1)).await.is_accepted());
    app.settled().await;
    let events: i64 = sqlx::query_scalar("select count(*) from events")
        .fetch_one(&app.pool)
        .await
        .unwrap();
    assert_eq!(events, 3, "opened, reserved, settled");
    let ended = app.processes.remove(0).stopped(TEST_TIMEOUT).await;
    let lines: Vec<_> = ended
        .err
        .lines()
        .filter(|line| line.contains("a batch cannot be written"))
        .collect();
    assert!((2..=4).contains(&lines.len()), "{lines:#?}");
}

/// Steps: an event of a product is damaged, and a process starts that does not have it in memory; an invest is refused as our
/// fault, other products take invests, and the process is not ready; the event is mended, and it is ready by itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_product_that_cannot_be_read_is_not_ready_until_it_can() {
    let mut app = TestApp::open().await;
    let (damaged, whole) = (
        app.open_product("damaged", LARGE_TOTAL_WON).await,
        app.open_product("whole", LARGE_TOTAL_WON).await,
    );
    app.settled().await;
    app.processes.remove(0).killed().await;
    let before = set_payload(&app, damaged, "{}").await;
    app.processes.push(app.start().open().await);
    let ops = app.processes[0].ops.clone();
    assert!(app.invest(ask("ann", damaged, 1)).await.is_unknown());
    says(&ops, "products").await;
    assert!(app.invest(ask("ann", whole, 1)).await.is_accepted());
    set_payload(&app, damaged, &before).await;
    is_ready(&ops).await;
    assert!(app.invest(ask("ann", damaged, 1)).await.is_accepted());
}

/// Gives the product's first event this payload, as whoever may do everything in the database can; returns the one before.
pub async fn set_payload(app: &TestApp, product: i64, new: &str) -> String {
    let mut connection = app.pool.acquire().await.unwrap();
    sqlx::query("set session_replication_role = replica")
        .execute(&mut *connection)
        .await
        .unwrap();
    let old = sqlx::query_scalar(
        "with before as (select payload::text as old from events where aggregate_id = $1 and sequence = 1),
              changed as (update events set payload = $2::json where aggregate_id = $1 and sequence = 1)
         select old from before",
    );
    let old = old
        .bind(product.to_string())
        .bind(new)
        .fetch_one(&mut *connection)
        .await
        .unwrap();
    sqlx::query("reset session_replication_role")
        .execute(&mut *connection)
        .await
        .unwrap();
    old
}

/// Steps: the tables that consumers and settlement work with are taken away; the process says so; they come back, and it is
/// ready.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn consumers_and_settlement_that_stand_still_are_known() {
    let app = TestApp::open().await;
    let product = app.open_product("stands still", LARGE_TOTAL_WON).await;
    app.settled().await;
    sqlx::raw_sql(
        "alter table holdings rename to away; alter table open_invest rename to away_too",
    )
    .execute(&app.pool)
    .await
    .unwrap();
    assert!(app.invest(ask("ann", product, 1)).await.is_accepted());
    says(&app.processes[0].ops, "projection, settlement").await;
    let checked = app.operator(&["status", "--check"]).await;
    assert_eq!(checked.status.code(), Some(1));
    let first = "not ready: projection, settlement: see MoaNotReady in docs/runbook.md\nthe rest cannot be read now: ";
    assert!(checked.err.starts_with(first), "{}", checked.err);
    sqlx::raw_sql(
        "alter table away rename to holdings; alter table away_too rename to open_invest",
    )
    .execute(&app.pool)
    .await
    .unwrap();
    is_ready(&app.processes[0].ops).await;
    app.settled().await;
}

/// Steps: a relay can neither read its checkpoint nor move it; it is not ready; it can, and is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_that_cannot_publish_is_known() {
    let app = TestApp::open().await;
    let relay = alone("relay", &app.url())
        .env("AMQP_URL", &servers().0)
        .open()
        .await;
    is_ready(&relay.ops).await;
    app.open_product("published", LARGE_TOTAL_WON).await;
    app.settled().await;
    sqlx::raw_sql("alter table checkpoints rename to away")
        .execute(&app.pool)
        .await
        .unwrap();
    // What is to be published makes the relay move its checkpoint.
    app.open_product("not published", LARGE_TOTAL_WON).await;
    says(&relay.ops, "relay").await;
    sqlx::raw_sql("alter table away rename to checkpoints")
        .execute(&app.pool)
        .await
        .unwrap();
    is_ready(&relay.ops).await;
    relay.stopped(TEST_TIMEOUT).await;
}

/// Steps: a sealer's file cannot be written to; it is not ready; it can, and is. Then what was sealed is not what is there;
/// it refuses, and is not ready until it is started on a log that is as it was.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sealer_that_does_not_seal_is_known() {
    let app = TestApp::open().await;
    let folder = crate::sealed::KeyFolder::with_a_key().await;
    let start = folder.sealing(alone("sealer", &app.url()));
    let sealer = start.open().await;
    is_ready(&sealer.ops).await;
    sqlx::raw_sql("alter table seals rename to away")
        .execute(&app.pool)
        .await
        .unwrap();
    says(&sealer.ops, "sealer").await;
    sqlx::raw_sql("alter table away rename to seals")
        .execute(&app.pool)
        .await
        .unwrap();
    is_ready(&sealer.ops).await;

    let product = app.open_product("sealed", LARGE_TOTAL_WON).await;
    assert!(app.invest(ask("ann", product, 1)).await.is_accepted());
    app.settled().await;
    let sealed = async || {
        let sealed: i64 = sqlx::query_scalar("select count(*) from seals")
            .fetch_one(&app.pool)
            .await
            .unwrap();
        (sealed > 0).then_some(())
    };
    within(TEST_TIMEOUT, "a seal", sealed).await;
    sqlx::raw_sql("alter table seals disable trigger all; delete from seals")
        .execute(&app.pool)
        .await
        .unwrap();
    says(&sealer.ops, "sealer").await;
    drop(sealer);
}

/// Steps: somebody holds up every read until the service has no connection left for anybody; it is not ready; they go, and
/// it is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_side_without_a_free_connection_is_not_ready() {
    const READERS: usize = 40;
    let app = TestApp::open().await;
    let mut holder = app.pool.acquire().await.unwrap();
    sqlx::raw_sql("begin; lock table holdings, product_list in access exclusive mode")
        .execute(&mut *holder)
        .await
        .unwrap();
    let query_api = alone("query-api", &app.url()).open().await;
    let stop = tokio_util::sync::CancellationToken::new();
    let readers: Vec<_> = (0..READERS)
        .map(|id| tokio::spawn(read_on(query_api.read.clone(), id, stop.clone())))
        .collect();
    says(&query_api.ops, "database").await;
    stop.cancel();
    sqlx::raw_sql("rollback")
        .execute(&mut *holder)
        .await
        .unwrap();
    for reader in readers {
        reader.await.unwrap();
    }
    is_ready(&query_api.ops).await;
}

/// Large reads of users' own, which are not read together, single products and pages of them: each of these leaves connections for the others, all
/// together none.
pub async fn read_on(read: String, id: usize, stop: tokio_util::sync::CancellationToken) {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    while !stop.is_cancelled() {
        let path = [
            format!("{id}"),
            format!("?page={id}"),
            "my/invest?size=1000".to_owned(),
        ][id % 3]
            .clone();
        let path = format!("{read}/api/product/{path}").replace("/?", "?");
        client
            .get(path)
            .header("X-USER-ID", format!("user{id}"))
            .send()
            .await
            .ok();
    }
}
