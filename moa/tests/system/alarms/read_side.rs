//! Faults of read models and of those who read them.

use tokio_util::sync::CancellationToken;

use super::prometheus::{FEW_EVENTS, Prometheus};
use crate::harness::{TEST_TIMEOUT, TestApp, ask, within};
use crate::readiness::read_on;

/// More than a pool has connections.
const READERS: usize = 40;

async fn is_done(app: &TestApp, args: &[&str]) {
    let ended = app.operator(args).await;
    assert!(ended.status.success(), "{args:?}: {}", ended.err);
}

async fn sql(app: &TestApp, sql: &str) {
    sqlx::raw_sql(sql).execute(&app.pool).await.unwrap();
}

async fn finds(prometheus: &Prometheus, query: &str) {
    let found = async || {
        prometheus
            .answers(query)
            .await
            .filter(|found| *found)
            .map(drop)
    };
    within(TEST_TIMEOUT, query, found).await;
}

/// Steps: a read model's table is away; rows of one are, and it is rebuilt, so that the generation which is stuck is a standby; a read
/// model is paused while many invests come; somebody locks what
/// everybody reads; records of refusals cannot be written.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn faults_of_the_read_side_ring_theirs() {
    let app = TestApp::open().await;
    let prometheus = Prometheus::of(&app.processes).await;
    let product = app.open_product("rings", 1_000).await;
    prometheus.is_quiet().await;

    sql(&app, "alter table holdings rename to holdings_away").await;
    assert!(app.invest(ask("ann", product, 1)).await.is_accepted());
    prometheus
        .rings(&["MoaConsumerFailing", "MoaNotReady"])
        .await;
    let checked = app.operator(&["status", "--check"]).await;
    assert_eq!(checked.status.code(), Some(1));
    assert!(
        checked
            .err
            .contains("not ready: projection: see MoaNotReady"),
        "{}",
        checked.err
    );
    sql(&app, "alter table holdings_away rename to holdings").await;
    prometheus.is_quiet().await;

    sql(&app, "delete from product_list").await;
    assert!(app.invest(ask("ann", product, 1)).await.is_accepted());
    prometheus
        .rings(&["MoaConsumerFailing", "MoaNotReady"])
        .await;
    is_done(
        &app,
        &[
            "projection",
            "rebuild",
            "product_list",
            "--accept-differences",
        ],
    )
    .await;
    prometheus.is_quiet().await;

    is_done(&app, &["projection", "pause", "holdings"]).await;
    for _ in 0..=FEW_EVENTS {
        assert!(app.invest(ask("ann", product, 1)).await.is_accepted());
    }
    prometheus.rings(&["MoaConsumerBehind"]).await;
    let lags = format!(
        "moa_consumer_lag_events{{consumer=\"holdings\"}} > {FEW_EVENTS} and moa_consumer_lag_seconds > 1"
    );
    finds(&prometheus, &lags).await;
    is_done(&app, &["projection", "resume", "holdings"]).await;
    prometheus.is_quiet().await;
    finds(
        &prometheus,
        "max(moa_consumer_lag_events) == 0 and max(moa_consumer_lag_seconds) == 0",
    )
    .await;
    is_done(&app, &["projection", "rebuild", "holdings"]).await;
    finds(
        &prometheus,
        "moa_job_progress_ratio{projection=\"holdings\"} == 1",
    )
    .await;
    finds(&prometheus, "moa_processor_queue_seconds_count > 0").await;

    let mut holder = app.pool.acquire().await.unwrap();
    let lock = "begin; lock table holdings, product_list in access exclusive mode";
    sqlx::raw_sql(lock).execute(&mut *holder).await.unwrap();
    let (stop, read) = (CancellationToken::new(), &app.processes[0].read);
    let readers: Vec<_> = (0..READERS)
        .map(|id| tokio::spawn(read_on(read.clone(), id, stop.clone())))
        .collect();
    prometheus.rings(&["MoaPoolExhausted"]).await;
    stop.cancel();
    sqlx::raw_sql("rollback")
        .execute(&mut *holder)
        .await
        .unwrap();
    futures::future::join_all(readers).await;
    prometheus.is_quiet().await;

    sql(&app, "alter table refusals rename to refusals_away").await;
    assert!(
        app.invest(ask("ann", product, 1_000))
            .await
            .is_refused("SOLD_OUT")
    );
    prometheus.rings(&["MoaRecordsDropped"]).await;
    sql(&app, "alter table refusals_away rename to refusals").await;
    prometheus.is_quiet().await;
    app.settled().await;
}
