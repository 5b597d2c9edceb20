//! A product with terms, through two processes: every answer is the terms', and nothing in the log breaks them.

use chrono::Utc;
use futures::future::join_all;
use reqwest::Method;
use serde_json::json;
use std::collections::BTreeMap;

use crate::checker::Evidence;
use crate::harness::{Call, Outcome, Start, TEST_TIMEOUT, TestApp, ask, seconds_from, within};

const USERS: usize = 20;
const INVESTS_PER_USER: usize = 12;
const MINIMUM: i64 = 10;
const UNIT: i64 = 5;
const LIMIT: i64 = 60;
const TOTAL: i64 = 900;

#[tokio::test]
async fn nobody_gets_round_the_terms_through_two_processes_at_once() {
    let app = TestApp::of(2, Start::serve()).await;
    let terms =
        json!({"minInvestAmount": MINIMUM, "investAmountUnit": UNIT, "maxAmountPerUser": LIMIT});
    let product = app
        .open_product_with("with terms", TOTAL, terms.clone())
        .await;
    let apis = app.apis();
    let asked = (0..USERS * INVESTS_PER_USER).map(|number| {
        let (user, api) = (
            format!("user{}", number % USERS),
            apis[number % apis.len()].clone(),
        );
        let amount = UNIT * (1 + number as i64 % 6) + i64::from(number % 11 == 0);
        async move { api.invest(ask(user, product, amount)).await }
    });
    let calls = join_all(asked).await;
    let mut taken = BTreeMap::<_, i64>::new();
    for call in calls.iter().filter(|call| call.is_accepted()) {
        *taken.entry(call.ask.user.clone()).or_default() += call.ask.amount;
    }
    for call in &calls {
        let amount = call.ask.amount;
        match &call.outcome {
            Outcome::Accepted { .. } => {
                assert!(amount >= MINIMUM && amount % UNIT == 0, "{call:?}")
            }
            Outcome::Refused { code, .. } => match code.as_str() {
                "BELOW_MINIMUM" => assert!(amount < MINIMUM, "{call:?}"),
                "NOT_A_MULTIPLE" => assert!(amount >= MINIMUM && amount % UNIT != 0, "{call:?}"),
                // Nothing is given back here, so who was refused would not be accepted now either.
                "LIMIT_EXCEEDED" => {
                    let of_user = taken.get(&call.ask.user).copied().unwrap_or(0);
                    assert!(of_user + amount > LIMIT, "{call:?}");
                }
                "SOLD_OUT" => assert!(taken.values().sum::<i64>() + amount > TOTAL, "{call:?}"),
                other => panic!("{other}: {call:?}"),
            },
            Outcome::Unknown(_) => panic!("{call:?}"),
        }
    }
    let codes: Vec<_> = [
        "BELOW_MINIMUM",
        "NOT_A_MULTIPLE",
        "LIMIT_EXCEEDED",
        "SOLD_OUT",
    ]
    .into();
    assert!(
        codes
            .iter()
            .all(|code| calls.iter().any(|call| call.is_refused(code))),
        "each is refused once at least"
    );
    let users: Vec<_> = (0..3).map(|number| format!("user{number}")).collect();
    Evidence::of(&app, &[product], &users).await.holds();
    assert_eq!(
        app.api(0)
            .get(&format!("/api/product/{product}"))
            .await
            .data()["terms"],
        terms
    );
}

/// Half of the invests are withdrawn, some while their payment is under way: what is free is taken again, and everything agrees with the log.
#[tokio::test]
async fn what_is_withdrawn_through_either_of_two_processes_is_free_and_refunded() {
    let app = TestApp::of(2, Start::serve()).await;
    let until = seconds_from(Utc::now(), 1_800);
    let product = app
        .open_product_with("withdrawable", TOTAL, json!({"withdrawableUntil": until}))
        .await;
    let apis = app.apis();
    let rounds = (0..USERS).map(|number| {
        let (user, apis) = (format!("user{number}"), apis.clone());
        async move {
            for round in 0..INVESTS_PER_USER {
                let call = apis[round % 2]
                    .invest(ask(user.clone(), product, UNIT))
                    .await;
                let Outcome::Accepted { invest_id } = call.outcome else {
                    panic!("{call:?}")
                };
                if round % 2 == 0 {
                    let path = format!("/api/invest/{invest_id}/withdraw");
                    let answer = apis[number % 2]
                        .post(&path, &[("X-USER-ID", &user)], "")
                        .await;
                    assert_eq!(
                        (answer.status, answer.json()["code"].as_str()),
                        (200, Some("01")),
                        "{}",
                        answer.body
                    );
                }
            }
        }
    });
    join_all(rounds).await;
    let users: Vec<_> = (0..3).map(|number| format!("user{number}")).collect();
    Evidence::of(&app, &[product], &users).await.holds();
    let shown = app
        .api(0)
        .get(&format!("/api/product/{product}"))
        .await
        .data();
    assert_eq!(
        shown["currentInvestingAmount"],
        USERS as i64 * (INVESTS_PER_USER as i64 / 2) * UNIT
    );
    let states = "select count(*) from invest_log where state = 'REFUNDED'";
    let refunded: i64 = sqlx::query_scalar(states)
        .fetch_one(&app.pool)
        .await
        .unwrap();
    assert_eq!(refunded, (USERS * INVESTS_PER_USER / 2) as i64);
}

/// One product is cancelled while many press the button, another misses its target: nothing is taken after that, nobody keeps a holding,
/// and the outside checker agrees.
#[tokio::test]
async fn what_ends_through_either_of_two_processes_is_given_back() {
    let app = TestApp::of(2, Start::serve()).await;
    let finishes = (chrono::Utc::now() + chrono::TimeDelta::seconds(15))
        .to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
    let missed = json!({"targetAmount": TOTAL, "finishedAt": finishes});
    let products = [
        app.open_product("cancelled", TOTAL).await,
        app.open_product_with("missed", TOTAL, missed).await,
    ];
    let apis = app.apis();
    let asked = (0..USERS * INVESTS_PER_USER).map(|number| {
        let (user, api) = (
            format!("user{}", number % USERS),
            apis[number % apis.len()].clone(),
        );
        let product = products[number % products.len()];
        async move { api.invest(ask(user, product, UNIT)).await }
    });
    let cancel = async {
        let path = format!("/admin/product/{}/cancel", products[0]);
        let answer = app
            .api(1)
            .operate(Method::POST, &path, Some(&json!({"reason": "frost"})))
            .await;
        assert_eq!(
            (answer.status, answer.json()["code"].as_str()),
            (200, Some("01")),
            "{}",
            answer.body
        );
    };
    let (calls, ()) = tokio::join!(join_all(asked), cancel);
    assert!(calls.iter().any(Call::is_accepted));
    let late = app.api(0).invest(ask("late", products[0], UNIT)).await;
    assert!(late.is_refused("CANCELLED"), "{late:?}");
    within(TEST_TIMEOUT, "the target is missed", async || {
        let status = app
            .api(0)
            .get(&format!("/api/product/{}", products[1]))
            .await
            .data()["investStatus"]
            .clone();
        (status == "FAILED").then_some(())
    })
    .await;
    let users: Vec<_> = (0..3).map(|number| format!("user{number}")).collect();
    Evidence::of(&app, &products, &users).await.holds();
    let holdings: i64 = sqlx::query_scalar("select count(*) from holdings")
        .fetch_one(&app.pool)
        .await
        .unwrap();
    assert_eq!(holdings, 0);
    let cancelled = app
        .api(0)
        .get(&format!("/api/product/{}", products[0]))
        .await
        .data();
    assert_eq!(
        (&cancelled["investStatus"], &cancelled["cancelReason"]),
        (&json!("CANCELLED"), &json!("frost"))
    );
}
