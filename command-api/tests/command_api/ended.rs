//! A product that is cancelled or misses its target: no more invests, and every one is given back, once.

use crate::app::{TestApp, hours_from_now};
use crate::fates::{reserves_by, reserves_many, with_scaled_down_timeouts};
use crate::withdraw::{code, opens_with, until_refunded, withdraws, written};
use crate::write_side::WriteSide;
use chrono::{DateTime, TimeDelta, Utc};
use command_api::Provider;
use domain::{ProductEvent, ProductId};
use rstest::rstest;
use serde_json::{Value, json};
use testbed::http::Answer;
use testbed::payments::{Call, Payments, State, Trouble};
use testbed::until;

async fn cancels(app: &TestApp, product: ProductId, body: &Value) -> Answer {
    app.admin(&format!("/admin/product/{product}/cancel"))
        .body(body.to_string())
        .sent()
        .await
}

async fn is_cancelled(app: &TestApp, product: ProductId) {
    let answer = cancels(app, product, &json!({"reason": "frost"})).await;
    assert_eq!(
        (code(&answer), answer.json()["data"].clone()),
        ((200, "01".into()), json!("OK"))
    );
}

/// Until nothing is left to be done about any product that ended.
async fn until_all_is_given_back(test: &WriteSide) {
    test.until_there_is("mass_refunds").await;
    test.until_there_is_no("mass_refunds").await;
    assert_eq!(test.count("open_invest").await, 0);
}

/// Counted where they are: reading a thousand events again and again would keep a core from what is waited for.
async fn names(test: &WriteSide, product: ProductId, name: &str) -> usize {
    let events = format!("events where event_type = '{name}' and aggregate_id = '{product}'");
    usize::try_from(test.count(&events).await).unwrap()
}

/// Waits for each next one: all together may take longer on a busy machine than anything is waited for.
async fn until_all_are_settled(test: &WriteSide, product: ProductId, invests: usize) {
    let mut settled = 0;
    while settled < invests {
        until("another is settled", async || {
            names(test, product, "InvestSettled").await > settled
        })
        .await;
        settled = names(test, product, "InvestSettled").await;
    }
}

fn soon() -> DateTime<Utc> {
    Utc::now() + TimeDelta::seconds(2)
}

#[tokio::test]
async fn a_cancelled_product_gives_back_what_is_settled_reserved_or_withdrawn() {
    let (test, payments) = (WriteSide::with_partitions(4).await, Payments::open().await);
    let app = test.app().await;
    let fields =
        json!({"totalInvestingAmount": 100, "withdrawableUntil": written(hours_from_now(1))});
    let product = opens_with(&app, hours_from_now(2), fields).await;
    // Never decided by the provider: it is open when the product ends.
    payments.pends("slow", u32::MAX);
    app.settles_with(&with_scaled_down_timeouts(&payments));
    let settled = reserves_by(&app, product, "user1", 10).await;
    let withdrawn = reserves_by(&app, product, "user2", 20).await;
    assert_eq!(
        code(&withdraws(&app, withdrawn, "user2").await),
        (200, "01".into())
    );
    until_refunded(&test, product, 1).await;
    until("it is settled", async || {
        names(&test, product, "InvestSettled").await > 0
    })
    .await;
    let open = reserves_by(&app, product, "slow", 30).await;

    is_cancelled(&app, product).await;
    assert_eq!(
        code(&app.invest(product, 1).sent().await),
        (200, "CANCELLED".into())
    );
    assert_eq!(
        code(&cancels(&app, product, &json!({"reason": "again"})).await),
        (200, "CANCELLED".into())
    );
    let close = app
        .admin(&format!("/admin/product/{product}/close"))
        .sent()
        .await;
    assert_eq!(code(&close), (200, "CANCELLED".into()));
    until_all_is_given_back(&test).await;

    assert_eq!(
        code(&withdraws(&app, settled, "user1").await),
        (200, "NOT_WITHDRAWABLE".into())
    );
    assert_eq!(
        code(&withdraws(&app, withdrawn, "user2").await),
        (200, "01".into())
    );
    let ledger = payments.ledger();
    assert!(
        ledger.values().all(|payment| payment.state != State::Paid),
        "{ledger:?}"
    );
    assert_eq!((ledger[&settled.0].refunds, ledger[&open.0].debits), (1, 0));
    assert_eq!(payments.contradictions(&test.pool).await, [""; 0]);
    let failed = test
        .events_of(product)
        .await
        .into_iter()
        .find_map(|recorded| match recorded.event {
            ProductEvent::InvestFailed {
                invest_id,
                code,
                detail,
                ..
            } => Some((invest_id, code, detail)),
            _ => None,
        });
    let words = (
        "CANCELLED".to_owned(),
        "the product was cancelled by its operator".to_owned(),
    );
    assert_eq!(failed, Some((open, words.0, words.1)));
    assert_eq!(
        app.log
            .load_product(product)
            .await
            .unwrap()
            .product
            .remaining(),
        100
    );
}

/// Paid, and never said: the reservation is open when its product ends, and its cancellation comes too late.
#[tokio::test]
async fn what_is_settled_after_the_end_is_refunded_too() {
    let (test, payments) = (WriteSide::with_partitions(2).await, Payments::open().await);
    let app = test.app().await;
    let product = opens_with(
        &app,
        hours_from_now(2),
        json!({"totalInvestingAmount": 100}),
    )
    .await;
    payments.troubles(Call::Pay, Trouble::DoneAndDropped);
    payments.troubles(Call::Cancel, Trouble::Fails);
    app.settles_with(&with_scaled_down_timeouts(&payments));
    for user in ["user1", "user2", "user3"] {
        reserves_by(&app, product, user, 10).await;
    }
    let are_paid = || {
        payments
            .ledger()
            .values()
            .filter(|payment| payment.debits > 0)
            .count()
            == 3
    };
    until("all are paid", async || are_paid()).await;
    is_cancelled(&app, product).await;
    test.until_there_is("mass_refunds where read_sequence = last_sequence")
        .await;
    payments.recovers();
    until_all_is_given_back(&test).await;
    assert_eq!(names(&test, product, "InvestSettled").await, 3);
    assert_eq!(names(&test, product, "InvestRefunded").await, 3);
    assert_eq!(payments.contradictions(&test.pool).await, [""; 0]);
}

/// Of more invests than one step adds, while the provider is away, by one process after the other: each is given back once.
#[tokio::test]
async fn a_mass_refund_goes_on_where_another_process_left_it() {
    const INVESTS: usize = 1_500;
    const MAX_QUEUED_REFUNDS: i64 = 1_000;
    let (test, payments) = (WriteSide::with_partitions(2).await, Payments::open().await);
    let (app, provider) = (test.app().await, with_scaled_down_timeouts(&payments));
    let product = opens_with(
        &app,
        hours_from_now(2),
        json!({"totalInvestingAmount": INVESTS}),
    )
    .await;
    app.settles_with(&provider);
    reserves_many(&app, product, INVESTS).await;
    until_all_are_settled(&test, product, INVESTS).await;
    payments.closes().await;
    is_cancelled(&app, product).await;
    until("as many wait as may", async || {
        test.count("open_invest").await == MAX_QUEUED_REFUNDS
    })
    .await;
    app.stops().await;
    let next = test.app().await;
    next.settles_with(&provider);
    payments.reopens().await;
    until_all_is_given_back(&test).await;
    assert_eq!(names(&test, product, "InvestRefunded").await, INVESTS);
    assert_eq!(payments.contradictions(&test.pool).await, [""; 0]);
    assert_eq!(
        next.log
            .load_product(product)
            .await
            .unwrap()
            .product
            .remaining(),
        INVESTS as i64
    );
}

#[tokio::test]
async fn a_product_that_misses_its_target_fails_at_its_end() {
    let (test, app) = WriteSide::with_app(4).await;
    app.settles();
    let fields = json!({"totalInvestingAmount": 100, "targetAmount": 60});
    let (missed, reached) = (
        opens_with(&app, soon(), fields.clone()).await,
        opens_with(&app, soon(), fields.clone()).await,
    );
    let (empty, later) = (
        opens_with(&app, soon(), fields.clone()).await,
        opens_with(&app, hours_from_now(2), fields).await,
    );
    reserves_by(&app, missed, "user1", 59).await;
    reserves_by(&app, reached, "user1", 60).await;
    reserves_by(&app, later, "user1", 1).await;
    for product in [missed, empty] {
        let failed =
            format!("events where event_type = 'ProductFailed' and aggregate_id = '{product}'");
        test.until_there_is(&failed).await;
    }
    assert_eq!(
        code(&app.invest(missed, 1).sent().await),
        (200, "FAILED".into())
    );
    until_refunded(&test, missed, 1).await;
    // The one that has reached it is looked at no more, and the one that is not over still will be.
    until("two are decided and one is left", async || {
        test.count("target_checks").await == 1
    })
    .await;
    test.until_there_is(&format!("target_checks where product_id = {later}"))
        .await;
    let names = async |product| {
        test.events_of(product)
            .await
            .into_iter()
            .map(|it| it.event.name())
            .collect::<Vec<_>>()
    };
    assert_eq!(names(missed).await.last(), Some(&"InvestRefunded"));
    assert_eq!(
        names(reached).await,
        ["ProductOpened", "InvestReserved", "InvestSettled"]
    );
    assert_eq!(names(empty).await, ["ProductOpened", "ProductFailed"]);
}

/// What is open at the end may reach the target or not: its payment tells.
#[rstest]
#[case::and_it_is_made(None, false)]
#[case::and_it_is_declined(Some("no"), true)]
#[tokio::test]
async fn a_target_is_undecided_while_a_payment_is(
    #[case] refused: Option<&str>,
    #[case] is_missed: bool,
) {
    let (test, payments) = (WriteSide::with_partitions(1).await, Payments::open().await);
    payments.closes().await;
    let app = test.app().await;
    app.settles_with(&Provider::http(&payments.url(), &tls::Trust::default()).unwrap());
    let end = soon();
    let product = opens_with(
        &app,
        end,
        json!({"totalInvestingAmount": 100, "targetAmount": 60}),
    )
    .await;
    reserves_by(&app, product, "user1", 60).await;
    let due = "target_checks where due_at > (select finished_at from (select (payload::json#>>'{ProductOpened,finishedAt}')::timestamptz \
               from events where event_type = 'ProductOpened') opened (finished_at))";
    test.until_there_is(due).await;
    assert_eq!(names(&test, product, "ProductFailed").await, 0);
    if let Some(reason) = refused {
        payments.refuses("user1", reason);
    }
    payments.reopens().await;
    test.until_there_is_no("target_checks").await;
    assert_eq!(
        names(&test, product, "ProductFailed").await,
        usize::from(is_missed)
    );
    assert_eq!(payments.contradictions(&test.pool).await, [""; 0]);
}

#[tokio::test]
async fn a_cancellation_says_why() {
    let (_test, app) = WriteSide::with_app(1).await;
    let product = app.opens(100).await;
    for (body, wrong) in [
        (json!({}), "reason"),
        (json!({"reason": ""}), "reason must be 1 to 500 characters"),
        (
            json!({"reason": "x".repeat(501)}),
            "reason must be 1 to 500 characters",
        ),
        (
            json!({"reason": "ask kim@example.com"}),
            "reason must hold no personal data",
        ),
    ] {
        let answer = cancels(&app, product, &body).await;
        assert_eq!(code(&answer), (400, "00".into()));
        assert!(answer.body.contains(wrong), "{}", answer.body);
    }
    let unknown = ProductId::try_from(999).unwrap();
    assert_eq!(
        code(&cancels(&app, unknown, &json!({"reason": "frost"})).await),
        (200, "NOT_EXIST_PRODUCT".into())
    );
}
