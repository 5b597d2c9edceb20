//! Every connection to the database falls silent: it stands, takes what is sent, and never answers. New ones work.

use crate::app::{TestApp, product, window_of_hours};
use crate::write_side::{WriteSide, until};
use domain::ProductId;
use std::time::{Duration, Instant};
use testbed::Proxy;
use testbed::payments::Payments;

/// A command waits 2 s at most; the rest is what a slow machine takes.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(6);

/// An instance behind a proxy that has worked a while, and a product that it does not have at hand.
async fn behind_a_proxy() -> (WriteSide, Proxy, TestApp, ProductId) {
    let test = WriteSide::with_one_partition().await;
    let (proxy, options) = Proxy::before_database(test.options()).await;
    let (app, other) = (test.app_at(options).await, test.app().await);
    let cold = product(500);
    other.opens_as(cold, 100, window_of_hours(-1, 1)).await;
    let hot = app.opens(100).await;
    app.invest(hot, 1).sent().await.is_ok();
    (test, proxy, app, cold)
}

/// Each answer comes in time, and before long it is OK.
async fn accepts_again(app: &TestApp, product: ProductId) {
    until("it accepts again", async || {
        let began = Instant::now();
        let answer = app.invest(product, 1).by("later").sent().await;
        assert!(
            began.elapsed() < ANSWER_TIMEOUT,
            "answered after {:?}: {answer:?}",
            began.elapsed()
        );
        assert!(answer.status == 200 || answer.status == 503, "{answer:?}");
        answer.status == 200
    })
    .await;
}

#[tokio::test]
async fn a_product_whose_load_meets_a_silent_connection_takes_invests_again() {
    let (test, proxy, app, cold) = behind_a_proxy().await;
    proxy.silence();
    accepts_again(&app, cold).await;
    app.invest(cold, 1).sent().await.is_ok();
    test.everything_adds_up().await;
    until("the silent connections are closed", async || {
        proxy.silent() == 0
    })
    .await;
}

/// 1. Nothing of the database is heard, on new connections either: every answer is 503, in time.
/// 2. New connections work again: so does the instance.
#[tokio::test]
async fn an_invest_is_answered_in_time_while_nothing_is_heard_of_the_database() {
    let (test, proxy, app, cold) = behind_a_proxy().await;
    proxy.silence_new(true);
    proxy.silence();
    for _ in 0..2 {
        let began = Instant::now();
        let answer = app.invest(cold, 1).sent().await;
        assert_eq!(answer.status, 503, "{answer:?}");
        assert!(
            began.elapsed() < ANSWER_TIMEOUT,
            "answered after {:?}",
            began.elapsed()
        );
    }
    proxy.silence_new(false);
    accepts_again(&app, cold).await;
    test.everything_adds_up().await;
}

#[tokio::test]
async fn settlement_and_its_work_list_go_on_after_the_way_fell_silent() {
    let (test, proxy, app, cold) = behind_a_proxy().await;
    let payments = Payments::open().await;
    app.settles_with(
        &command_api::Provider::http(&payments.url(), &tls::Trust::default()).unwrap(),
    );
    accepts_again(&app, cold).await;
    test.until_there_is_no("open_invest").await;
    proxy.silence();
    accepts_again(&app, cold).await;
    test.until_there_is_no("open_invest").await;
    assert_eq!(payments.contradictions(&test.pool).await, [""; 0]);
    test.everything_adds_up().await;
}
