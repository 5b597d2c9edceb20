//! Reservations that get no fate in time are given up: what they held is free again, at every process.

use serde_json::Value;
use std::time::Duration;
use testbed::payments::Payments;

use crate::checker::{Evidence, chain_is_whole};
use crate::harness::{Start, TEST_TIMEOUT, TestApp, ask, within};

/// How long a reservation waits.
const RESERVATION_TIMEOUT: Duration = Duration::from_secs(1);

/// Whether the time of a reservation is over.
async fn is_over(app: &TestApp, invest: &str) -> Option<()> {
    let over: bool = sqlx::query_scalar(
        "select (payload -> 'InvestReserved' ->> 'expiresAt')::timestamptz < clock_timestamp()
           from events where payload -> 'InvestReserved' ->> 'investId' = $1",
    )
    .bind(invest)
    .fetch_one(&app.pool)
    .await
    .unwrap();
    over.then_some(())
}

/// What became of an invest, as its user sees it.
async fn fate(app: &TestApp, user: &str, invest: &str) -> Option<Value> {
    let data = app
        .api(0)
        .get_as(user, &format!("/api/invest/log/{invest}"))
        .await
        .data();
    (data["state"].is_string() && data["state"] != "RESERVED").then_some(data)
}

/// Steps: settlement over HTTP, which waits for its rows, is held up at both processes for longer than a reservation waits; `ann` takes all there is at one
/// process, `bob` is refused at both; settlement goes on and gives `ann`'s up; whichever process wrote that, both know
/// when they are asked next: `bob` gets 6 at one and is told at the other that 4 remain, which `cat` gets.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_given_up_can_be_had_at_once_at_every_process() {
    let payments = Payments::open().await;
    let provider = [
        "--payment-provider",
        "http",
        "--payment-url",
        &payments.url(),
    ];
    let start = Start::serve().with(&provider);
    let start = start.with(&[
        "--reservation-seconds",
        &RESERVATION_TIMEOUT.as_secs().to_string(),
    ]);
    let app = TestApp::of(2, start).await;
    for round in 0..4 {
        let product = app.open_product(&format!("given up {round}"), 10).await;
        let (one, other) = (app.api(round % 2), app.api(1 - round % 2));
        let mut hold = app.pool.begin().await.unwrap();
        sqlx::query("lock table open_invest in exclusive mode")
            .execute(&mut *hold)
            .await
            .unwrap();
        let invest = one
            .invest(ask("ann", product, 10))
            .await
            .invest_id()
            .unwrap()
            .to_string();
        for api in [&one, &other] {
            assert!(
                api.invest(ask("bob", product, 1))
                    .await
                    .is_refused("SOLD_OUT")
            );
        }
        within(TEST_TIMEOUT, "the end of its time", || {
            is_over(&app, &invest)
        })
        .await;
        hold.rollback().await.unwrap();

        let fate = within(TEST_TIMEOUT, "the end of the reservation", || {
            fate(&app, "ann", &invest)
        })
        .await;
        assert_eq!(
            (&fate["investResult"], &fate["state"]),
            (&"FAIL".into(), &"FAILED".into())
        );
        assert!(
            fate["failReason"]
                .as_str()
                .unwrap()
                .starts_with("EXPIRED : "),
            "{fate}"
        );
        assert!(other.invest(ask("bob", product, 6)).await.is_accepted());
        assert!(
            one.invest(ask("cat", product, 5))
                .await
                .is_refused("SOLD_OUT")
        );
        assert!(one.invest(ask("cat", product, 4)).await.is_accepted());
    }
    let users = ["ann", "bob", "cat"].map(str::to_owned);
    Evidence::of(&app, &[1, 2, 3, 4], &users).await.holds();
    chain_is_whole(&app.pool).await;
}
