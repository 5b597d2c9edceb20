//! A database's clock that somebody sets: no product opens or ends by it, and no reservation expires.

use crate::app::{TestApp, hours_from_now};
use crate::write_side::{WriteSide, until};
use domain::{ProductEvent, Window};
use rstest::rstest;

/// A database whose clock the test sets, and an instance that goes by it.
async fn an_instance_with_a_clock_to_set() -> (WriteSide, TestApp) {
    let test = WriteSide::with_one_partition().await;
    let app = test.app_at(test.settable_clock().await).await;
    (test, app)
}

async fn jumps(test: &WriteSide, app: &TestApp, interval: &str) {
    test.set_clock(interval).await;
    until("the jump is noticed", async || {
        app.log.write_stop(0).is_some()
    })
    .await;
}

async fn is_back(test: &WriteSide, app: &TestApp) {
    test.set_clock("0").await;
    until("it is noticed that it is back", async || {
        app.log.write_stop(0).is_none()
    })
    .await;
}

/// Meanwhile nobody is told anything that the true time contradicts; afterwards all is as it was.
#[rstest]
#[case::ahead("3 hours")]
#[case::behind("-3 hours")]
#[tokio::test]
async fn no_product_opens_or_ends_by_a_clock_that_jumped(#[case] by: &str) {
    let (test, app) = an_instance_with_a_clock_to_set().await;
    app.only_keeps_the_list();
    let open = app.opens(100).await;
    let later = app
        .opens_for(
            100,
            Window::new(hours_from_now(2), hours_from_now(4)).unwrap(),
        )
        .await;
    let over = app
        .opens_for(
            100,
            Window::new(hours_from_now(-2), hours_from_now(-1)).unwrap(),
        )
        .await;
    jumps(&test, &app, by).await;
    for product in [open, later, over] {
        app.invest(product, 1).sent().await.is_overloaded();
    }
    is_back(&test, &app).await;
    app.invest(open, 1).sent().await.is_ok();
    app.invest(later, 1)
        .sent()
        .await
        .is_refused(200, "NOT_STARTED", "Product is not started : ");
    app.invest(over, 1)
        .sent()
        .await
        .is_refused(200, "FINISHED", "Product is finished : ");
}

/// 1. An invest is reserved for ten minutes, and the clock is an hour ahead.
/// 2. Settlement begins: it does not take the reservation for expired.
/// 3. The clock is back, and the invest is settled.
#[tokio::test]
async fn no_reservation_expires_by_a_clock_that_jumped() {
    let (test, app) = an_instance_with_a_clock_to_set().await;
    app.only_keeps_the_list();
    let product = app.opens(100).await;
    app.invest(product, 10).sent().await.is_ok();
    test.until_there_is("open_invest").await;
    test.execute("update open_invest set due_at = '2000-01-01'")
        .await;
    jumps(&test, &app, "1 hour").await;
    app.only_sweeps();
    test.until_there_is("open_invest where attempts > 0").await;
    is_back(&test, &app).await;
    test.until_there_is("events where event_type in ('InvestSettled', 'InvestFailed')")
        .await;
    let fate = test.events_of(product).await.pop().unwrap().event;
    assert!(
        matches!(fate, ProductEvent::InvestSettled { .. }),
        "{fate:?}"
    );
}
