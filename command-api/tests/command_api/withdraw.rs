//! `POST /api/invest/{investId}/withdraw`: free at once, the money follows; asked again, the same answer.

use crate::app::{TestApp, hours_from_now};
use crate::fates::{reserves_by, with_scaled_down_timeouts};
use crate::write_side::WriteSide;
use chrono::{DateTime, SecondsFormat, Utc};
use command_api::Provider;
use domain::{InvestId, ProductEvent, ProductId};
use serde_json::{Value, json};
use testbed::http::Answer;
use testbed::payments::{Call, Payments, State, Trouble};
use uuid::Uuid;

/// A product of 100 won whose invests can be withdrawn for an hour; with `None` never.
async fn opens(app: &TestApp, withdrawable_until: Option<DateTime<Utc>>) -> ProductId {
    let until = withdrawable_until.map(written);
    opens_with(
        app,
        hours_from_now(2),
        json!({"totalInvestingAmount": 100, "withdrawableUntil": until}),
    )
    .await
}

/// A product that has started, with these fields.
pub async fn opens_with(app: &TestApp, finished_at: DateTime<Utc>, fields: Value) -> ProductId {
    let mut body = json!({"title": "apples", "startedAt": written(hours_from_now(-1)), "finishedAt": written(finished_at)});
    body.as_object_mut()
        .unwrap()
        .extend(fields.as_object().unwrap().clone());
    let answer = app
        .admin("/admin/product")
        .body(body.to_string())
        .sent()
        .await;
    ProductId::try_from(
        answer.json()["data"]["productId"]
            .as_i64()
            .expect(&answer.body),
    )
    .unwrap()
}

pub fn written(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}

pub async fn withdraws(app: &TestApp, invest: InvestId, user: &str) -> Answer {
    app.calls("POST", &format!("/api/invest/{invest}/withdraw"))
        .header("X-USER-ID", user)
        .sent()
        .await
}

pub fn code(answer: &Answer) -> (u16, String) {
    let body = answer.json();
    (answer.status, body["code"].as_str().unwrap().to_owned())
}

/// Until the last event of the product is a refund.
pub async fn until_refunded(test: &WriteSide, product: ProductId, count: usize) {
    let refunds = format!(
        "(select from (select count(*) from events where event_type = 'InvestRefunded' and aggregate_id = '{product}') \
          refunds (number) where number = {count}) refunded"
    );
    test.until_there_is(&refunds).await;
}

#[tokio::test]
async fn a_reservation_is_withdrawn_and_its_amount_is_free_at_once() {
    let (test, app) = WriteSide::with_app(4).await;
    let product = opens(&app, Some(hours_from_now(1))).await;
    let invest = reserves_by(&app, product, "user1", 100).await;
    let answer = withdraws(&app, invest, "user1").await;
    assert_eq!(
        (code(&answer), answer.json()["data"].clone()),
        ((200, "01".into()), json!("OK"))
    );
    assert!(answer.header("x-consistency-token").is_some());
    reserves_by(&app, product, "user2", 100).await;

    // Again, also after its refund: the same answer, and nothing more happens.
    app.settles();
    until_refunded(&test, product, 1).await;
    assert_eq!(
        code(&withdraws(&app, invest, "user1").await),
        (200, "01".into())
    );
    let names: Vec<_> = test
        .events_of(product)
        .await
        .into_iter()
        .map(|recorded| recorded.event.name())
        .collect();
    assert_eq!(
        names
            .iter()
            .filter(|name| **name == "InvestWithdrawn")
            .count(),
        1,
        "{names:?}"
    );
    assert_eq!(
        names
            .iter()
            .filter(|name| **name == "InvestRefunded")
            .count(),
        1,
        "{names:?}"
    );
}

#[tokio::test]
async fn what_cannot_be_withdrawn_is_said() {
    let (_test, app) = WriteSide::with_app(4).await;
    let (product, without) = (
        opens(&app, Some(hours_from_now(1))).await,
        opens(&app, None).await,
    );
    let (invest, no_right) = (
        reserves_by(&app, product, "user1", 10).await,
        reserves_by(&app, without, "user1", 10).await,
    );
    assert_eq!(
        code(&withdraws(&app, invest, "user2").await),
        (200, "NOT_EXIST_INVEST".into())
    );
    assert_eq!(
        code(&withdraws(&app, InvestId(Uuid::now_v7()), "user1").await),
        (200, "NOT_EXIST_INVEST".into())
    );
    assert_eq!(
        code(&withdraws(&app, no_right, "user1").await),
        (200, "NOT_WITHDRAWABLE".into())
    );
    let malformed = app
        .calls("POST", "/api/invest/7/withdraw")
        .header("X-USER-ID", "user1")
        .sent()
        .await;
    assert_eq!(code(&malformed), (400, "00".into()));
    let nobody = app
        .calls("POST", &format!("/api/invest/{invest}/withdraw"))
        .sent()
        .await;
    assert_eq!(code(&nobody), (400, "MISSING_X_USER_ID".into()));
}

#[tokio::test]
async fn a_holding_is_withdrawn_and_refunded_once() {
    let (test, payments) = (WriteSide::with_partitions(4).await, Payments::open().await);
    let app = test.app().await;
    let product = opens(&app, Some(hours_from_now(1))).await;
    app.settles_with(&Provider::http(&payments.url(), &tls::Trust::default()).unwrap());
    let invest = reserves_by(&app, product, "user1", 60).await;
    test.until_all_have_their_fate_and_agree_with(&payments)
        .await;
    assert_eq!(
        code(&withdraws(&app, invest, "user1").await),
        (200, "01".into())
    );
    until_refunded(&test, product, 1).await;

    let payment = &payments.ledger()[&invest.0];
    assert_eq!(
        (payment.debits, payment.refunds, &payment.state),
        (1, 1, &State::Refunded)
    );
    assert_eq!(payment.calls, [Call::Pay, Call::Refund]);
    assert_eq!(payments.contradictions(&test.pool).await, [""; 0]);
    let events = test.events_of(product).await;
    assert!(matches!(
        events[events.len() - 2].event,
        ProductEvent::InvestWithdrawn { settled: true, .. }
    ));
    test.until_there_is("(select where not exists (select from open_invest)) empty")
        .await;
}

/// Every trouble of the provider with its payment and its refund ends the same way: nothing stands.
#[tokio::test]
async fn a_troubled_provider_gives_back_what_it_took() {
    let (test, payments) = (WriteSide::with_partitions(4).await, Payments::open().await);
    let app = test.app().await;
    let product = opens(&app, Some(hours_from_now(1))).await;
    // Paid, and never said: the reservation stays open.
    payments.troubles(Call::Pay, Trouble::DoneAndDropped);
    payments.troubles(Call::Cancel, Trouble::Fails);
    payments.troubles(Call::Refund, Trouble::DoneAndDropped);
    app.settles_with(&with_scaled_down_timeouts(&payments));
    let mut invests = Vec::new();
    for user in ["user1", "user2", "user3"] {
        invests.push(reserves_by(&app, product, user, 10).await);
    }
    testbed::until("all are paid", async || {
        payments
            .ledger()
            .values()
            .filter(|payment| payment.debits > 0)
            .count()
            == 3
    })
    .await;
    for (invest, user) in invests.iter().zip(["user1", "user2", "user3"]) {
        assert_eq!(
            code(&withdraws(&app, *invest, user).await),
            (200, "01".into())
        );
    }
    payments.recovers();
    until_refunded(&test, product, 3).await;
    assert_eq!(payments.contradictions(&test.pool).await, [""; 0]);
    assert!(
        payments
            .ledger()
            .values()
            .all(|payment| (payment.debits, payment.refunds) == (1, 1))
    );
}

/// Two processes, withdrawals and settlements of the same invests at the same time: each ends in one of the two lawful orders. The
/// withdrawal comes before the payment mostly, or when the provider has just been paid, or when the invest is settled.
#[tokio::test]
async fn withdrawals_and_settlements_race() {
    let rounds = std::env::var("MOA_RACE_ROUNDS").map_or(40, |rounds| rounds.parse().unwrap());
    let (test, payments) = (WriteSide::with_partitions(2).await, Payments::open().await);
    let apps = [test.app().await, test.app().await];
    let product = opens(&apps[0], Some(hours_from_now(1))).await;
    for app in &apps {
        app.settles_with(&Provider::http(&payments.url(), &tls::Trust::default()).unwrap());
    }
    for round in 0..rounds {
        let invest = reserves_by(&apps[round % 2], product, "user1", 100).await;
        match round % 3 {
            0 => {}
            1 => testbed::until("it is paid", async || is_paid(&payments, invest)).await,
            _ => test.until_there_is(&settled(invest)).await,
        }
        let both = tokio::join!(
            withdraws(&apps[0], invest, "user1"),
            withdraws(&apps[1], invest, "user1")
        );
        assert_eq!(
            (code(&both.0), code(&both.1)),
            ((200, "01".into()), (200, "01".into()))
        );
    }
    until_refunded(&test, product, rounds).await;
    assert_eq!(payments.contradictions(&test.pool).await, [""; 0]);
    assert_eq!(
        apps[0]
            .log
            .load_product(product)
            .await
            .unwrap()
            .product
            .remaining(),
        100
    );
    let events = test.events_of(product).await;
    let of_holdings = events.iter().filter(|it| {
        matches!(
            it.event,
            ProductEvent::InvestWithdrawn { settled: true, .. }
        )
    });
    assert!(
        of_holdings.count() >= rounds / 3,
        "each that was seen settled was withdrawn as a holding"
    );
}

fn is_paid(payments: &Payments, invest: InvestId) -> bool {
    payments
        .ledger()
        .get(&invest.0)
        .is_some_and(|payment| payment.debits > 0)
}

/// A row when the invest is settled.
fn settled(invest: InvestId) -> String {
    format!("events where event_type = 'InvestSettled' and payload::text like '%{invest}%'")
}
