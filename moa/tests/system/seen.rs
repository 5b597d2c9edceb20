//! What was accepted can be seen: soon by itself, at once with its token, from every process.

use std::time::{Duration, Instant};

use crate::checker::Evidence;
use crate::harness::{Answer, ApiClient, TestApp, View, ask, within};

/// Generous: how fast it is on an idle machine is measured by `bench`.
const MAX_SEEN_LAG: Duration = Duration::from_secs(2);
const LARGE_TOTAL_WON: i64 = 1_000_000;

async fn shows_success(api: &ApiClient, user: &str, invest: &str) -> Option<()> {
    let log = api
        .get_as(user, &format!("/api/invest/log/{invest}"))
        .await
        .data();
    (log["investResult"] == "SUCCESS" && log["failReason"].is_null() && log["state"] == "SETTLED")
        .then_some(())
}

async fn holds(api: &ApiClient, user: &str, product: i64, amount: i64) -> Option<()> {
    let mine = api.get_as(user, "/api/product/my/invest").await.data();
    let list = mine["list"].as_array().unwrap();
    list.iter()
        .any(|it| it["productId"] == product && it["myInvestingAmount"] == amount)
        .then_some(())
}

#[tokio::test]
async fn an_accepted_invest_shows_as_success_in_the_log_and_in_the_holdings() {
    let app = TestApp::open().await;
    let (product, api) = (app.open_product("seen", LARGE_TOTAL_WON).await, app.api(0));
    for number in 1..=20 {
        let invest = app
            .invest(ask("ann", product, 10))
            .await
            .invest_id()
            .unwrap()
            .to_string();
        let accepted = Instant::now();
        within(MAX_SEEN_LAG, "SUCCESS in the log", || {
            shows_success(&api, "ann", &invest)
        })
        .await;
        within(MAX_SEEN_LAG, "the holding", || {
            holds(&api, "ann", product, number * 10)
        })
        .await;
        assert!(
            accepted.elapsed() < MAX_SEEN_LAG,
            "{:?}",
            accepted.elapsed()
        );
    }
    Evidence::of(&app, &[product], &["ann".into()])
        .await
        .holds();
}

async fn read_with_token(api: &ApiClient, user: &str, path: &str, token: &str) -> Answer {
    let answer = api
        .read_with(path, &[("X-USER-ID", user), ("X-Consistency-Token", token)])
        .await;
    assert_eq!(
        (answer.status, answer.header("x-consistency")),
        (200, Some("reached")),
        "{path}: {}",
        answer.body
    );
    answer
}

/// Each read model is asked by itself: none of them may hide behind another that was waited for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_shows_the_write_it_came_with_at_every_process() {
    let app = TestApp::with_processes(2).await;
    let products = [
        app.open_product("a", LARGE_TOTAL_WON).await,
        app.open_product("b", LARGE_TOTAL_WON).await,
    ];
    let apis = app.apis();
    let mut taken = [0, 0];
    for number in 0..40 {
        let (which, reader) = (number % 2, &apis[number / 2 % 2]);
        let call = app
            .api(number % 2)
            .invest(ask("ann", products[which], 5))
            .await;
        let (token, invest) = (call.token.clone().unwrap(), call.invest_id().unwrap());
        taken[which] += 5;
        let log = read_with_token(reader, "ann", &format!("/api/invest/log/{invest}"), &token)
            .await
            .data();
        assert_eq!(log["accrueUserInvest"], taken[which]);
        let path = format!("/api/product/{}", products[which]);
        let product = read_with_token(reader, "ann", &path, &token).await.data();
        assert_eq!(product["currentInvestingAmount"], taken[which]);
        read_with_token(reader, "ann", "/api/product/my/invest", &token).await;
        let latest = read_with_token(reader, "ann", "/api/invest/log?size=1", &token)
            .await
            .data();
        assert_eq!(latest["list"][0]["investId"], invest.to_string());
    }
    Evidence::of(&app, &products, &["ann".into()]).await.holds();
}

/// A refusal shows its state too: who is told sold out can see that it is.
#[tokio::test]
async fn the_token_of_a_refusal_shows_what_it_was_decided_on() {
    let app = TestApp::with_processes(2).await;
    let product = app.open_product("scarce", 10).await;
    assert!(
        app.api(0)
            .invest(ask("ann", product, 8))
            .await
            .is_accepted()
    );
    let refused = app.api(0).invest(ask("bob", product, 3)).await;
    assert!(refused.is_refused("SOLD_OUT"));
    let token = refused.token.unwrap();
    let shown = read_with_token(
        &app.api(1),
        "bob",
        &format!("/api/product/{product}"),
        &token,
    )
    .await
    .data();
    assert_eq!(shown["currentInvestingAmount"], 8);
}

/// I13: what a client has seen it sees again, at whichever process, while others invest.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_with_the_last_token_never_go_back() {
    let app = TestApp::with_processes(2).await;
    let product = app.open_product("growing", LARGE_TOTAL_WON).await;
    app.settled().await;
    let apis = app.apis();
    let investing = tokio::spawn({
        let apis = apis.clone();
        async move {
            for number in 0..100 {
                let call = apis[number % 2].invest(ask("ann", product, 1)).await;
                assert!(call.is_accepted(), "{call:?}");
            }
        }
    });
    let (mut token, mut seen) = (apis[0].sight(View::Products).await.token, 0);
    while !investing.is_finished() {
        for api in &apis {
            let shown =
                read_with_token(api, "ann", &format!("/api/product/{product}"), &token).await;
            let taken = shown.data()["currentInvestingAmount"].as_i64().unwrap();
            assert!(taken >= seen, "{taken} after {seen}");
            (seen, token) = (
                taken,
                shown.header("x-consistency-token").unwrap().to_owned(),
            );
        }
    }
    investing.await.unwrap();
}

#[tokio::test]
async fn a_token_that_is_never_reached_is_answered_after_two_seconds_and_a_bad_one_at_once() {
    let foreign = TestApp::open()
        .await
        .api(0)
        .sight(View::Products)
        .await
        .token;
    let app = TestApp::open().await;
    let api = app.api(0);
    let future = api
        .sight(View::Products)
        .await
        .token
        .replace("AAAA", "AAAB");
    let waited = Instant::now();
    let late = api
        .read_with("/api/product", &[("X-Consistency-Token", &future)])
        .await;
    assert_eq!(
        (late.status, late.header("x-consistency")),
        (200, Some("timeout")),
        "{}",
        late.body
    );
    assert!(
        (Duration::from_secs(2)..Duration::from_secs(4)).contains(&waited.elapsed()),
        "{:?}",
        waited.elapsed()
    );
    for bad in [foreign.as_str(), "nonsense"] {
        let refused = api
            .read_with("/api/product", &[("X-Consistency-Token", bad)])
            .await;
        assert_eq!(
            (refused.status, refused.code().as_str()),
            (400, "00"),
            "{bad}"
        );
    }
}
