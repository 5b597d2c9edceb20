//! What operators do with products, over HTTP.

use crate::app::{AppSettings, TestApp};
use crate::call::Call;
use crate::write_side::WriteSide;
use domain::{ProductEvent, Terms};
use futures::future::join_all;
use rstest::rstest;
use serde_json::{Value, json};
use testbed::http::{Answer, success};

fn asked() -> Value {
    json!({
        "title": "product1", "totalInvestingAmount": 1000,
        "startedAt": "2021-10-17T00:00:00", "finishedAt": "2999-10-17T00:00:00.5",
    })
}

/// The same with another value for this field.
fn with(field: &str, value: impl Into<Value>) -> Value {
    let mut asked = asked();
    asked[field] = value.into();
    asked
}

fn opens<'a>(app: &'a TestApp, asked: &Value) -> Call<'a> {
    app.admin("/admin/product").body(asked.to_string())
}

fn closes(app: &TestApp, product: i64) -> Call<'_> {
    app.admin(&format!("/admin/product/{product}/close"))
}

#[track_caller]
fn product_id(answer: &Answer) -> i64 {
    let body: Value = serde_json::from_str(&answer.body).unwrap();
    let id = body["data"]["productId"].as_i64().unwrap();
    answer.is(200, &success(&format!(r#"{{"productId":{id}}}"#)));
    id
}

async fn in_zone(zone: &'static str) -> (WriteSide, TestApp) {
    let test = WriteSide::with_partitions(4).await;
    let app = test
        .app_with(AppSettings {
            zone,
            ..AppSettings::default()
        })
        .await;
    (test, app)
}

#[tokio::test]
async fn a_product_is_opened_as_it_was_asked_for() {
    let (test, app) = in_zone("Asia/Seoul").await;
    let answer = opens(&app, &asked()).correlation_id("c-1").sent().await;
    assert_eq!(product_id(&answer), 1);
    answer
        .is_fresh()
        .is_silent_about("x-invest-id")
        .says("x-correlation-id", "c-1");
    assert!(answer.header("x-consistency-token").is_some());

    let opened = test.events().await.remove(0);
    let expected = ProductEvent::ProductOpened {
        product_id: crate::app::product(1),
        title: "product1".to_owned().try_into().unwrap(),
        total_investing_amount: crate::app::won(1000),
        started_at: "2021-10-16T15:00:00Z".parse().unwrap(),
        finished_at: "2999-10-16T15:00:00.5Z".parse().unwrap(),
        terms: Terms::default(),
    };
    assert_eq!(
        (opened.event, opened.metadata.correlation_id.as_str()),
        (expected, "c-1")
    );
    app.invest(crate::app::product(1), 1000)
        .sent()
        .await
        .is_ok();
    assert_eq!(product_id(&opens(&app, &asked()).sent().await), 2);
}

#[rstest]
#[case(with("title", "가".repeat(500)))]
#[case(with("title", " \u{a0}😀"))]
#[case(with("totalInvestingAmount", 1))]
#[case(with("totalInvestingAmount", 1_000_000_000_000_i64))]
#[case(with("startedAt", "2021-10-17T00:00:00.123456+09:00"))]
#[case(with("startedAt", "2021-10-17T00:00:00Z"))]
#[case(with("startedAt", "2999-10-17T00:00:00.499999"))]
#[tokio::test]
async fn within_bounds_it_is_opened(#[case] asked: Value) {
    let (_test, app) = in_zone("Asia/Seoul").await;
    product_id(&opens(&app, &asked).sent().await);
}

const TITLE: &str = "title must be 1 to 500 characters without control characters";
const TOTAL: &str = "totalInvestingAmount must be a whole number from 1 to 1000000000000";
const TIME: &str = "must be a date-time such as 2021-10-17T00:00:00 or ...T00:00:00+09:00";
const LATER: &str = "finishedAt must be later than startedAt";

#[rstest]
#[case(with("title", ""), format!(r#"{TITLE}, was """#))]
#[case(with("title", "x".repeat(501)), format!(r#"{TITLE}, was "{}…"#, "x".repeat(39)))]
#[case(with("title", "a\nb"), format!(r#"{TITLE}, was "a\nb""#))]
#[case(with("title", "a\u{85}b"), format!(r#"{TITLE}, was "a\u{{85}}b""#))]
#[case(with("title", "a\0b"), r#"title must not contain NUL, was "a\u0000b""#.into())]
#[case(with("title", 1), "title must be a string, was 1".into())]
#[case(with("title", Value::Null), "title must be a string, was null".into())]
#[case(with("totalInvestingAmount", 0), format!("{TOTAL}, was 0"))]
#[case(with("totalInvestingAmount", -1), format!("{TOTAL}, was -1"))]
#[case(with("totalInvestingAmount", 1_000_000_000_001_i64), format!("{TOTAL}, was 1000000000001"))]
#[case(
    with("totalInvestingAmount", 1.0),
    "totalInvestingAmount must be a whole number without quotes, fraction or exponent, was 1.0".into()
)]
#[case(with("startedAt", "2021-10-17"), format!(r#"startedAt {TIME}, was "2021-10-17""#))]
#[case(with("startedAt", "2021-02-29T00:00:00"), format!(r#"startedAt {TIME}, was "2021-02-29T00:00:00""#))]
#[case(with("finishedAt", 0), "finishedAt must be a string, was 0".into())]
#[case(with("startedAt", "2999-10-17T00:00:00.5"), LATER.into())]
#[case(with("startedAt", "2999-10-17T00:00:00.500001"), LATER.into())]
#[case(with("finishedAt", "2021-10-16T15:00:00Z"), LATER.into())]
#[case(
    json!({}),
    "title is missing; totalInvestingAmount is missing; startedAt is missing; finishedAt is missing".into()
)]
#[tokio::test]
async fn what_is_wrong_is_named(#[case] asked: Value, #[case] what: String) {
    let (test, app) = in_zone("Asia/Seoul").await;
    opens(&app, &asked)
        .sent()
        .await
        .is_invalid(&what)
        .is_silent_about("x-consistency-token");
    assert_eq!(test.events().await, []);
}

/// The same with these fields besides.
fn with_terms(terms: Value) -> Value {
    let mut asked = asked();
    asked
        .as_object_mut()
        .unwrap()
        .extend(terms.as_object().unwrap().clone());
    asked
}

#[tokio::test]
async fn terms_that_contradict_are_named_and_nothing_is_opened() {
    let (test, app) = in_zone("Asia/Seoul").await;
    const SMALLEST: &str = "maxAmountPerUser must be at least the smallest invest that minInvestAmount and investAmountUnit allow";
    for (terms, what) in [
        (
            json!({"minInvestAmount": 1_001}),
            "minInvestAmount must be at most totalInvestingAmount",
        ),
        (
            json!({"investAmountUnit": 1_001}),
            "investAmountUnit must be at most totalInvestingAmount",
        ),
        (
            json!({"maxAmountPerUser": 1_001}),
            "maxAmountPerUser must be at most totalInvestingAmount",
        ),
        (
            json!({"minInvestAmount": 501, "investAmountUnit": 501, "maxAmountPerUser": 500}),
            SMALLEST,
        ),
        (
            json!({"minInvestAmount": 700, "investAmountUnit": 600}),
            "investAmountUnit must have a multiple from minInvestAmount to totalInvestingAmount",
        ),
        (
            json!({"minInvestAmount": 0, "investAmountUnit": "5"}),
            "minInvestAmount must be a whole number from 1 to 1000000000000, was 0; \
             investAmountUnit must be a whole number without quotes, fraction or exponent, was \"5\"",
        ),
        (
            json!({"targetAmount": 1_001}),
            "targetAmount must be at most totalInvestingAmount",
        ),
        (
            json!({"withdrawableUntil": "3999-10-17T00:00:00"}),
            "withdrawableUntil must be later than startedAt and not later than finishedAt",
        ),
    ] {
        opens(&app, &with_terms(terms))
            .sent()
            .await
            .is_invalid(what);
    }
    assert_eq!(test.events().await, []);
}

#[tokio::test]
async fn an_invest_that_the_terms_do_not_allow_is_told_what_would_do() {
    let (_test, app) = in_zone("Asia/Seoul").await;
    let terms = json!({"minInvestAmount": 70, "investAmountUnit": 50, "maxAmountPerUser": 300});
    let key = |answer: Answer| product_id(&answer);
    assert_eq!(
        key(opens(&app, &with_terms(terms.clone()))
            .key("k")
            .sent()
            .await),
        1
    );
    assert_eq!(
        key(opens(&app, &with_terms(terms)).key("k").sent().await),
        1,
        "it is the same request"
    );
    opens(&app, &with_terms(json!({"minInvestAmount": 71})))
        .key("k")
        .sent()
        .await
        .is_key_reused();

    let invest = async |amount| {
        app.invest(crate::app::product(1), amount)
            .key("again")
            .sent()
            .await
    };
    let below = invest(69).await;
    below
        .is_refused(200, "BELOW_MINIMUM", "Amount is below the minimum : 100")
        .is_fresh();
    invest(75)
        .await
        .is_refused(
            200,
            "NOT_A_MULTIPLE",
            "Amount is not a multiple of the unit : 50",
        )
        .is_fresh();
    let above = invest(350).await;
    above
        .is_refused(200, "LIMIT_EXCEEDED", "Limit per user is exceeded : 300")
        .says("x-remaining-limit", "300");
    assert!(above.is_fresh().header("x-consistency-token").is_some());
    // None of them is final, so the key is still free.
    invest(300).await.is_ok().is_fresh();
    invest(300).await.is_ok().is_replayed();
    let reached = app.invest(crate::app::product(1), 100).sent().await;
    reached
        .is_refused(200, "LIMIT_EXCEEDED", "Limit per user is exceeded : 0")
        .says("x-remaining-limit", "0");
    // Null is as absent.
    let without = with_terms(json!({"minInvestAmount": null, "targetAmount": null}));
    let without = product_id(&opens(&app, &without).sent().await);
    app.invest(crate::app::product(without), 1)
        .sent()
        .await
        .is_ok();
}

#[tokio::test]
async fn a_repeated_field_and_other_bodies_are_refused() {
    let (_test, app) = in_zone("Asia/Seoul").await;
    let repeated = asked()
        .to_string()
        .replace(r#""title":"#, r#""title":"x","title":"#);
    app.admin("/admin/product")
        .body(repeated)
        .sent()
        .await
        .is_invalid("title is repeated");
    app.admin("/admin/product")
        .body("[]")
        .sent()
        .await
        .is_invalid("body must be one JSON object");
    opens(&app, &asked())
        .key("")
        .sent()
        .await
        .is_invalid("Idempotency-Key must be 1 to 255 visible ASCII characters");
}

/// On 14 March 2021 the clocks of New York went from 02:00 to 03:00; on 7 November from 02:00 back to 01:00.
#[tokio::test]
async fn local_times_are_those_of_the_zone() {
    let (test, app) = in_zone("America/New_York").await;
    let skipped = opens(&app, &with("startedAt", "2021-03-14T02:30:00"))
        .sent()
        .await;
    let what = "startedAt must be a local time that exists: the clocks skip this one";
    skipped.is_invalid(&format!(r#"{what}, was "2021-03-14T02:30:00""#));

    product_id(
        &opens(&app, &with("startedAt", "2021-03-14T02:30:00-05:00"))
            .sent()
            .await,
    );
    product_id(
        &opens(&app, &with("startedAt", "2021-11-07T01:30:00"))
            .sent()
            .await,
    );
    let mut starts: Vec<_> = test
        .events()
        .await
        .into_iter()
        .map(|recorded| started_at(&recorded.event))
        .collect();
    starts.sort();
    assert_eq!(
        starts,
        ["2021-03-14T07:30:00+00:00", "2021-11-07T05:30:00+00:00"],
        "of two, the earlier"
    );
}

fn started_at(event: &ProductEvent) -> String {
    let ProductEvent::ProductOpened { started_at, .. } = event else {
        panic!("{event:?}")
    };
    started_at.to_rfc3339()
}

#[tokio::test]
async fn a_key_opens_one_product() {
    let (test, app) = in_zone("Asia/Seoul").await;
    let first = opens(&app, &asked()).key("k").sent().await;
    let again = opens(&app, &asked()).key("k").sent().await;
    assert_eq!(
        product_id(first.is_fresh()),
        product_id(again.is_replayed())
    );
    assert_eq!(
        first.header("x-consistency-token"),
        again.header("x-consistency-token")
    );
    for other in [
        with("title", "product2"),
        with("totalInvestingAmount", 1001),
        with("startedAt", "2021-10-17T00:00:01"),
        with("finishedAt", "2999-10-17T00:00:00"),
    ] {
        opens(&app, &other).key("k").sent().await.is_key_reused();
    }
    let as_a_user = app
        .invest(crate::app::product(product_id(&first)), 1)
        .key("k")
        .sent()
        .await;
    as_a_user.is_ok().is_fresh();
    assert_eq!(test.events().await.len(), 2);
}

/// Each of them has an id and a partition of its own, until one has the key.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_used_at_the_same_instant_opens_one_product() {
    let (test, app) = in_zone("Asia/Seoul").await;
    let answers = join_all((0..16).map(|_| opens(&app, &asked()).key("k").sent())).await;
    let fresh = answers
        .iter()
        .filter(|answer| answer.header("idempotency-replayed").is_none())
        .count();
    assert_eq!(fresh, 1);
    assert!(
        answers
            .iter()
            .all(|answer| product_id(answer) == product_id(&answers[0]))
    );
    assert_eq!(test.events().await.len(), 1);
}

#[tokio::test]
async fn a_product_is_closed_once() {
    let (test, app) = in_zone("Asia/Seoul").await;
    let id = product_id(&opens(&app, &asked()).sent().await);
    let answer = closes(&app, id).correlation_id("c-1").sent().await;
    answer.is_ok().is_silent_about("x-invest-id");
    assert!(answer.header("x-consistency-token").is_some());
    closes(&app, id)
        .sent()
        .await
        .is_refused(200, "CLOSED", "Product is closed : ");
    let events = test.events().await;
    assert_eq!(events.len(), 2);
    let closed = &events[1];
    assert_eq!(
        (&closed.event, &*closed.metadata.correlation_id),
        (&ProductEvent::ProductClosed {}, "c-1")
    );
}

#[tokio::test]
async fn what_does_not_exist_cannot_be_closed() {
    let (test, app) = in_zone("Asia/Seoul").await;
    closes(&app, 7)
        .sent()
        .await
        .is_refused(200, "NOT_EXIST_PRODUCT", "Not exist product : ");
    for (id, given) in [("0", "0"), ("x", "x"), ("1.0", "1.0")] {
        let answer = app
            .admin(&format!("/admin/product/{id}/close"))
            .sent()
            .await;
        answer.is_invalid(&format!(
            "productId must be a whole number from 1, was {given}"
        ));
    }
    assert_eq!(test.events().await, []);
}
