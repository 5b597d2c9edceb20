//! Accepting goes first: in a rush users' views wait, the amounts do not, and nobody who shows a token waits for its end.

use futures::future::join_all;
use std::collections::BTreeMap;

use crate::checker::Evidence;
use crate::harness::{
    Load, Start, StreamListener, TEST_TIMEOUT, TestApp, ask, read_models, within,
};

/// Enough that batches are those of a rush.
const CLIENTS: usize = 300;
/// Longer than the test takes.
const DEFERRAL_MS: &str = "60000";
const MANY_EVENTS: i64 = 1_000;
const LARGE_TOTAL_WON: i64 = 1_000_000_000;
const VIEWS: [&str; 4] = ["holdings", "invest_log", "investor_summary", "event_index"];

/// How many events each read model is behind the log.
async fn behind(app: &TestApp) -> BTreeMap<String, i64> {
    let select = "select k.consumer, (sum(e.head) - sum(k.position))::bigint
                    from (select partition, max(position) as head from events group by partition) e
                    join checkpoints k using (partition) group by k.consumer";
    let rows: Vec<(String, i64)> = sqlx::query_as(select).fetch_all(&app.pool).await.unwrap();
    rows.into_iter().collect()
}

/// Waits until no view moves while the amounts go on: not one that lingers, which would have moved meanwhile.
async fn until_put_off(app: &TestApp) {
    let positions = async || {
        let select = "select consumer, sum(position)::bigint from checkpoints group by consumer";
        let rows: Vec<(String, i64)> = sqlx::query_as(select).fetch_all(&app.pool).await.unwrap();
        rows.into_iter().collect::<BTreeMap<_, _>>()
    };
    let stand_still = async || {
        let before = positions().await;
        let go_on = async || {
            (positions().await["product_list"] > before["product_list"] + 5 * MANY_EVENTS)
                .then_some(())
        };
        within(TEST_TIMEOUT, "amounts that go on", go_on).await;
        let after = positions().await;
        VIEWS
            .iter()
            .all(|view| after[*view] == before[*view])
            .then_some(())
    };
    within(TEST_TIMEOUT, "views that are put off", stand_still).await;
}

/// Asserts that every view was put off, and the amounts never.
async fn are_deferred(app: &TestApp) {
    let metrics = reqwest::get(format!("{}/metrics", app.processes[0].ops))
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    for view in VIEWS {
        let of_view = format!("moa_consumer_deferrals_total{{consumer=\"{view}\"}} ");
        let times = metrics
            .lines()
            .find_map(|line| line.strip_prefix(&of_view))
            .unwrap_or_else(|| panic!("{metrics}"));
        assert!(
            times.parse::<u64>().unwrap() > 0,
            "{view} was never put off"
        );
    }
    assert!(
        !metrics.contains("moa_consumer_deferrals_total{consumer=\"product_list\"}"),
        "{metrics}"
    );
}

/// 1. In a rush everything but the amounts falls behind. 2. A read with a token is answered with what it asks for, and its view follows; the others
///    stay behind. 3. Somebody listens to a stream, and its view follows too. 4. The rush is over, and all follow.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_rush_views_wait_for_its_end_or_for_who_reads_with_a_token() {
    let start = Start::serve()
        .env("MOA_DEFER_VIEWS_MS", DEFERRAL_MS)
        .env("MOA_DEFER_SEARCH_MS", DEFERRAL_MS);
    let app = TestApp::of(1, start).await;
    let product = app.open_product("hot", LARGE_TOTAL_WON).await;
    app.settled().await;
    let load = Load::start(&app.apis(), CLIENTS, &[product]);
    let follow_alone = async |read: &[&str]| {
        let only_they_follow = async || {
            let behind = behind(&app).await;
            let slowest = read.iter().map(|view| behind[*view]).max().unwrap();
            let mut others = VIEWS.iter().filter(|view| !read.contains(view));
            others
                .all(|view| behind[*view] > slowest + MANY_EVENTS)
                .then_some(())
        };
        within(
            TEST_TIMEOUT,
            &format!("{read:?} that follow, and no other"),
            only_they_follow,
        )
        .await;
    };
    until_put_off(&app).await;
    follow_alone(&["product_list"]).await;

    let token = app
        .invest(ask("ann", product, 1))
        .await
        .token
        .expect("it is accepted");
    let headers = [
        ("X-USER-ID", "ann"),
        ("X-Consistency-Token", token.as_str()),
    ];
    let api = app.api(0);
    let is_reached = async || {
        let answer = api.read_with("/api/product/my/invest", &headers).await;
        (answer.header("x-consistency") == Some("reached")).then_some(())
    };
    within(TEST_TIMEOUT, "what the token asks for", is_reached).await;
    follow_alone(&["product_list", "holdings"]).await;

    let listens = StreamListener::open(
        &app.processes[0].read,
        "/api/invest/log/stream",
        &headers[..1],
    )
    .await;
    follow_alone(&["product_list", "holdings", "invest_log"]).await;
    drop(listens);

    load.stop().await;
    app.settled().await;
    assert!(
        read_models().all(|model| VIEWS.contains(&model) || model == "product_list"),
        "a view is not looked at"
    );
    are_deferred(&app).await;
    Evidence::of(&app, &[product], &["ann".into(), "api0-client0".into()])
        .await
        .holds();
}

/// Of each of four products in as many partitions: too few for a rush at any of them, and enough at all together.
const CLIENTS_PER_PRODUCT: usize = 40;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rush_for_many_products_is_a_rush_too() {
    let start = Start::serve()
        .env("MOA_DEFER_VIEWS_MS", DEFERRAL_MS)
        .env("MOA_DEFER_SEARCH_MS", DEFERRAL_MS);
    let app = TestApp::of(1, start).await;
    let mut loads = Vec::new();
    for number in 0..4 {
        let product = app
            .open_product(&format!("product {number}"), LARGE_TOTAL_WON)
            .await;
        loads.push(Load::start(&app.apis(), CLIENTS_PER_PRODUCT, &[product]));
    }
    until_put_off(&app).await;
    join_all(loads.into_iter().map(Load::stop)).await;
    app.settled().await;
    are_deferred(&app).await;
}
