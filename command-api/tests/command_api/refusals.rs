//! Every row of the refusal table that the write side can give, whole; and the answer that is none.

use crate::app::{TestApp, product, window_of_hours};
use crate::write_side::WriteSide;
use domain::ProductId;
use edge::{ConsistencyToken, LogIncarnation};
use rstest::rstest;
use uuid::Uuid;

/// A product that has taken this much of 100.
async fn a_product_that_took(app: &TestApp, amount: i64) -> ProductId {
    let product = app.opens(100).await;
    app.invest(product, amount).sent().await.is_ok();
    product
}

#[tokio::test]
async fn an_accepted_invest_is_the_seeds_answer_and_names_what_it_made() {
    let (test, app, product) = WriteSide::with_product(4, 1_000).await;
    let answer = app.invest(product, 100).by("user4").sent().await;
    answer
        .is_ok()
        .is_fresh()
        .is_silent_about("x-remaining-amount");

    let reserved = test.reservations().await.remove(0);
    let payload = serde_json::to_value(&reserved.event).unwrap();
    let payload = &payload["InvestReserved"];
    assert_eq!(
        (payload["investId"].as_str(), payload["userId"].as_str()),
        (answer.header("x-invest-id"), Some("user4"))
    );
    assert_eq!(
        (reserved.product_id, payload["amount"].as_i64()),
        (product, Some(100))
    );
    assert_eq!(
        answer.header("x-correlation-id"),
        Some(&*reserved.metadata.correlation_id)
    );
    assert!(
        reserved.metadata.correlation_id.parse::<Uuid>().is_ok(),
        "one of ours"
    );
    assert_eq!(reserved.metadata.causation_id, None);

    let mut positions = vec![0; 4];
    positions[reserved.partition as usize] = reserved.position;
    let token = ConsistencyToken::new(LogIncarnation::first(test.log.identity().log_id), positions);
    answer.says("x-consistency-token", &token.to_string());
}

#[tokio::test]
async fn the_callers_correlation_id_and_trace_are_kept_with_what_came_of_it() {
    const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let (test, app) = WriteSide::with_app(4).await;
    let invest = app
        .invest(app.opens(100).await, 1)
        .correlation_id("c-1")
        .header("traceparent", TRACE);
    invest.sent().await.is_ok().says("x-correlation-id", "c-1");
    let metadata = test.reservations().await.remove(0).metadata;
    assert_eq!(
        (
            metadata.correlation_id.as_str(),
            metadata.traceparent.as_deref()
        ),
        ("c-1", Some(TRACE))
    );
}

#[tokio::test]
async fn no_product_has_this_id() {
    let (_test, app) = WriteSide::with_app(4).await;
    let answer = app
        .invest(product(9_223_372_036_854_775_807), 1)
        .correlation_id("c-1")
        .sent()
        .await;
    answer.is_refused(200, "NOT_EXIST_PRODUCT", "Not exist product : ");
    answer
        .is_silent_about("x-invest-id")
        .is_silent_about("x-remaining-amount")
        .says("x-correlation-id", "c-1");
    assert!(answer.header("x-consistency-token").is_some());
}

#[tokio::test]
async fn sold_out_is_told_with_what_remains_also_by_one_won() {
    let (test, app) = WriteSide::with_app(4).await;
    let product = a_product_that_took(&app, 60).await;
    app.invest(product, 41)
        .sent()
        .await
        .is_sold_out(40)
        .is_silent_about("x-invest-id");
    app.invest(product, 40).by("user2").sent().await.is_ok();
    let answer = app.invest(product, 1).sent().await;
    answer.is_sold_out(0).is_fresh();
    assert!(answer.header("x-consistency-token").is_some());
    assert_eq!(test.remaining(product).await, 0);
}

#[rstest]
#[case(1, 2, "NOT_STARTED", "Product is not started : ")]
#[case(-2, -1, "FINISHED", "Product is finished : ")]
#[tokio::test]
async fn outside_its_window_a_product_takes_nothing(
    #[case] from: i64,
    #[case] to: i64,
    #[case] code: &str,
    #[case] message: &str,
) {
    let (test, app) = WriteSide::with_app(4).await;
    let product = app.opens_for(100, window_of_hours(from, to)).await;
    let answer = app.invest(product, 1).sent().await;
    answer
        .is_refused(200, code, message)
        .is_silent_about("x-invest-id");
    assert!(answer.header("x-consistency-token").is_some());
    assert_eq!(test.reservations().await, []);
}

#[tokio::test]
async fn a_withdrawn_product_takes_nothing_whatever_else_holds() {
    let (_test, app) = WriteSide::with_app(4).await;
    let sold_out = a_product_that_took(&app, 100).await;
    let finished = app.opens_for(100, window_of_hours(-2, -1)).await;
    for product in [sold_out, finished] {
        app.closes(product).await;
        let answer = app.invest(product, 1).sent().await;
        answer
            .is_refused(200, "CLOSED", "Product is closed : ")
            .is_silent_about("x-invest-id");
    }
}

#[rstest]
#[case::absent(&[])]
#[case::empty(&[b"".as_slice()])]
#[case::repeated(&[b"user1".as_slice(), b"user1".as_slice()])]
#[case::two_users(&[b"user1".as_slice(), b"user2".as_slice()])]
#[case::with_a_space(&[b"user 1".as_slice()])]
#[case::with_a_comma(&[b"user1,user2".as_slice()])]
#[case::not_ascii(&["사용자".as_bytes()])]
#[case::too_long(&[[b'u'; 101].as_slice()])]
#[tokio::test]
async fn a_user_must_be_named(#[case] user_ids: &[&[u8]]) {
    let (test, app, product) = WriteSide::with_product(4, 100).await;
    let invest = app.invests(format!(r#"{{"productId":{product},"investAmount":1}}"#));
    let invest = user_ids.iter().fold(invest, |invest, user_id| {
        invest.header("X-USER-ID", user_id)
    });
    let answer = invest.sent().await;
    answer.is_refused(
        400,
        "MISSING_X_USER_ID",
        "Missing X-USER-ID header value : ",
    );
    answer
        .is_silent_about("x-invest-id")
        .is_silent_about("x-consistency-token");
    assert_eq!(test.reservations().await, []);
}

#[rstest]
#[case("POST", "/x")]
#[case("POST", "/api/invest/")]
#[case("GET", "/api/invest/log")]
#[case("POST", "/admin/product")]
#[tokio::test]
async fn an_unknown_path_is_not_found(#[case] method: &str, #[case] path: &str) {
    let test = WriteSide::with_partitions(4).await;
    test.app()
        .await
        .calls(method, path)
        .sent()
        .await
        .is_refused(404, "404", "Not found : /docs lists the calls");
}

#[rstest]
#[case("GET")]
#[case("PUT")]
#[case("PATCH")]
#[case("DELETE")]
#[tokio::test]
async fn an_invest_is_posted(#[case] method: &str) {
    let test = WriteSide::with_partitions(4).await;
    let answer = test.app().await.calls(method, "/api/invest").sent().await;
    answer
        .is_refused(405, "405", "Method not allowed, see the Allow header : ")
        .says("allow", "POST");
}

#[rstest]
#[case(&[])]
#[case(&["text/plain"])]
#[case(&["application/x-www-form-urlencoded"])]
#[case(&["application/jsonp"])]
#[case(&["application/json", "application/json"])]
#[tokio::test]
async fn an_invest_is_json(#[case] media_types: &[&str]) {
    let (_test, app) = WriteSide::with_app(4).await;
    let invest = app
        .calls("POST", "/api/invest")
        .by("user1")
        .body(r#"{"productId":1,"investAmount":1}"#);
    let invest = media_types.iter().fold(invest, |invest, media_type| {
        invest.header("content-type", media_type)
    });
    invest.sent().await.is_refused(
        415,
        "415",
        "Unsupported media type, send application/json : ",
    );
}

#[tokio::test]
async fn a_body_is_bounded() {
    let (_test, app) = WriteSide::with_app(4).await;
    let body = format!(
        r#"{{"productId":{},"investAmount":1}}"#,
        app.opens(100).await
    );
    let of = |length: usize| app.invests(format!("{body:<length$}")).by("user1");
    of(edge::MAX_BODY_BYTES).sent().await.is_ok();
    let answer = of(edge::MAX_BODY_BYTES + 1).sent().await;
    answer
        .is_refused(413, "413", "Body is too large, send at most 16384 bytes : ")
        .says("connection", "close");
}

#[tokio::test]
async fn a_key_that_stood_for_another_request_is_refused() {
    let (_test, app, product) = WriteSide::with_product(4, 100).await;
    app.invest(product, 1).key("k").sent().await.is_ok();
    app.invest(product, 2)
        .key("k")
        .sent()
        .await
        .is_key_reused()
        .is_fresh()
        .is_silent_about("x-consistency-token");
}

/// Its stream cannot be read: one of its events says nothing that we know.
#[tokio::test]
async fn a_product_whose_history_is_broken_is_our_fault_and_only_its_own() {
    let test = WriteSide::with_one_partition().await;
    let (broken, sound) = {
        let before = test.app().await;
        (
            a_product_that_took(&before, 1).await,
            a_product_that_took(&before, 1).await,
        )
    };
    test.tamper(&format!(
        "update events set payload = '{{}}' where aggregate_id = '{broken}' and sequence = 2"
    ))
    .await;

    let app = test.app().await;
    let answer = app.invest(broken, 1).correlation_id("c-1").sent().await;
    answer
        .is_refused(500, "500", "Internal error : c-1")
        .says("x-correlation-id", "c-1");
    answer
        .is_silent_about("x-invest-id")
        .is_silent_about("x-consistency-token");
    app.invest(sound, 1).sent().await.is_ok();
}

#[tokio::test]
async fn a_hole_in_a_stream_is_our_fault() {
    let test = WriteSide::with_one_partition().await;
    let product = a_product_that_took(&test.app().await, 1).await;
    test.tamper(&format!(
        "update events set sequence = 3 where aggregate_id = '{product}' and sequence = 2"
    ))
    .await;
    let answer = test
        .app()
        .await
        .invest(product, 1)
        .correlation_id("c-1")
        .sent()
        .await;
    answer.is_refused(500, "500", "Internal error : c-1");
}

/// The same refusal with a status of a failure, and the same headers, for who asks for problem details.
#[tokio::test]
async fn who_asks_for_problem_details_is_told_in_them() {
    let (_test, app) = WriteSide::with_app(4).await;
    let sold_out = a_product_that_took(&app, 90).await;
    let of = ("accept", "application/problem+json");
    let answer = app.invest(sold_out, 20).header(of.0, of.1).sent().await;
    assert_eq!(
        (answer.status, answer.header("content-type")),
        (409, Some("application/problem+json"))
    );
    assert_eq!(
        (&answer.json()["code"], &answer.json()["detail"]),
        (&"SOLD_OUT".into(), &"Product is sold out".into())
    );
    answer.says("x-remaining-amount", "10");
    let unknown = app.invest(product(999), 20).header(of.0, of.1).sent().await;
    assert_eq!(
        (unknown.status, &unknown.json()["code"]),
        (404, &"NOT_EXIST_PRODUCT".into())
    );
    app.invest(sold_out, 10)
        .header(of.0, of.1)
        .sent()
        .await
        .is_ok();
}
