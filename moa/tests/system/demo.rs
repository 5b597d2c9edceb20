//! The demo, and the seed's three curl requests: the seed's answers, byte for byte but for ids, times and amounts.

use serde_json::Value;

use crate::checker::Evidence;
use crate::harness::{Answer, Start, TestApp};

/// `body` with each of the seed's times and those of our answer replaced by one sign.
fn shape(body: &str) -> String {
    let mut shape = String::new();
    let mut rest = body;
    while let Some(at) = rest.find(r#"At":""#).or_else(|| rest.find(r#"Date":""#)) {
        let (before, after) = rest.split_at(at);
        let (name, after) = after.split_once(r#":""#).unwrap();
        let (time, after) = after.split_once('"').unwrap();
        assert!(is_local(time), "{time}");
        shape += &format!("{before}{name}:T");
        rest = after;
    }
    shape + rest
}

/// A local date-time without offset, with six fraction digits or none.
fn is_local(time: &str) -> bool {
    let pattern = time
        .chars()
        .map(|c| if c.is_ascii_digit() { '0' } else { c })
        .collect::<String>();
    ["0000-00-00T00:00:00", "0000-00-00T00:00:00.000000"].contains(&pattern.as_str())
}

fn is_json(answer: &Answer) {
    assert_eq!(answer.header("content-type"), Some("application/json"));
}

/// The seed's own requests, as its README prints them.
#[tokio::test]
async fn the_seeds_three_requests_give_the_seeds_answers() {
    let app = TestApp::of(1, Start::serve_with_demo()).await;
    let api = app.api(0);
    app.settled().await;

    let invested = api
        .post(
            "/api/invest",
            &[("X-USER-ID", "user4"), ("Content-Type", "application/json")],
            r#"{ "investAmount": 10, "productId": 3}"#,
        )
        .await;
    is_json(&invested);
    assert_eq!(
        invested.body,
        r#"{"result":true,"code":"01","message":null,"data":"OK","status":200}"#
    );
    for name in ["x-invest-id", "x-correlation-id", "x-consistency-token"] {
        assert!(invested.header(name).is_some(), "no {name}");
    }
    app.settled().await;

    let products = api.get("/api/product?page=0&size=10").await;
    is_json(&products);
    assert_eq!(
        shape(&products.body),
        concat!(
            r#"{"result":true,"code":"01","message":null,"data":{"totalCount":2,"list":["#,
            r#"{"productId":3,"title":"product2","totalInvestingAmount":100,"currentInvestingAmount":90,"#,
            r#""investingCnt":4,"startedAt":T,"finishedAt":T,"investStatus":"ONGOING"},"#,
            r#"{"productId":2,"title":"product1","totalInvestingAmount":1000,"currentInvestingAmount":210,"#,
            r#""investingCnt":3,"startedAt":T,"finishedAt":T,"investStatus":"ONGOING"}]},"status":200}"#,
        )
    );

    let mine = api
        .get_as("user4", "/api/product/my/invest?page=0&size=10")
        .await;
    is_json(&mine);
    assert_eq!(
        shape(&mine.body),
        concat!(
            r#"{"result":true,"code":"01","message":null,"data":{"totalCount":2,"list":["#,
            r#"{"productId":3,"userId":"user4","title":"product2","totalInvestingAmount":100,"#,
            r#""myInvestingAmount":30,"investDate":T},"#,
            r#"{"productId":2,"userId":"user4","title":"product1","totalInvestingAmount":1000,"#,
            r#""myInvestingAmount":10,"investDate":T}]},"status":200}"#,
        )
    );
}

#[tokio::test]
async fn the_seeds_refusals_are_the_seeds_bodies_and_a_full_product_is_complete() {
    let app = TestApp::of(1, Start::serve_with_demo()).await;
    let (api, json) = (app.api(0), ("Content-Type", "application/json"));
    let missing = r#"{"result":false,"code":"MISSING_X_USER_ID","message":"Missing X-USER-ID header value : ","data":null,"status":400}"#;
    let anonymous = api
        .post(
            "/api/invest",
            &[json],
            r#"{"investAmount": 10, "productId": 3}"#,
        )
        .await;
    assert_eq!((anonymous.status, anonymous.body.as_str()), (400, missing));
    let anonymous = api.get("/api/product/my/invest?page=0&size=10").await;
    assert_eq!((anonymous.status, anonymous.body.as_str()), (400, missing));

    let user = [("X-USER-ID", "user4"), json];
    let sold_out = r#"{"result":false,"code":"SOLD_OUT","message":"Product is sold out : ","data":null,"status":200}"#;
    let too_much = api
        .post(
            "/api/invest",
            &user,
            r#"{"investAmount": 21, "productId": 3}"#,
        )
        .await;
    assert_eq!(
        (
            too_much.body.as_str(),
            too_much.header("x-remaining-amount")
        ),
        (sold_out, Some("20"))
    );
    let last = api
        .post(
            "/api/invest",
            &user,
            r#"{"investAmount": 20, "productId": 3}"#,
        )
        .await;
    assert_eq!(last.code(), "01");
    let full = api
        .post(
            "/api/invest",
            &user,
            r#"{"investAmount": 1, "productId": 3}"#,
        )
        .await;
    assert_eq!(
        (full.body.as_str(), full.header("x-remaining-amount")),
        (sold_out, Some("0"))
    );
    let finished = api
        .post(
            "/api/invest",
            &user,
            r#"{"investAmount": 1, "productId": 1}"#,
        )
        .await;
    assert_eq!(finished.code(), "FINISHED");
    app.settled().await;
    let shown = api.get("/api/product/3").await.data();
    assert_eq!(shown["investStatus"], "COMPLETE");
    assert_eq!(
        api.get("/api/product/1").await.data()["investStatus"],
        "FINISHED"
    );
}

#[tokio::test]
async fn the_demo_is_opened_once_and_never_over_what_is_there() {
    let mut app = TestApp::of(1, Start::serve_with_demo()).await;
    app.settled().await;
    let events = async || -> i64 {
        sqlx::query_scalar("select count(*) from events")
            .fetch_one(&app.pool)
            .await
            .unwrap()
    };
    let first = events().await;
    assert!(first > 0);
    app.start().open().await.killed().await;
    app.settled().await;
    assert_eq!(events().await, first);
    let evidence = Evidence::of(&app, &[1, 2, 3], &["user1".into(), "user4".into()]).await;
    // Nobody's requests led to the demo.
    let faults = evidence.faults();
    assert!(
        faults
            .iter()
            .all(|fault| fault.invariant == "I4" && fault.what.contains("no request")),
        "{faults:?}"
    );
    app.processes.clear();
}

/// What is printed can be typed.
#[tokio::test]
async fn the_banner_says_how_to_try_it() {
    let app = TestApp::of(1, Start::serve_with_demo()).await;
    let said = app.processes[0].said();
    let port = |url: &str| url.rsplit(':').next().unwrap().to_owned();
    let (read, write) = (port(&app.processes[0].read), port(&app.processes[0].write));
    for line in [
        format!(r#"curl -X GET "http://localhost:{read}/api/product?page=0&size=10""#),
        format!(r#"curl -X POST "http://localhost:{write}/api/invest" -H "X-USER-ID: user4""#),
        format!(
            r#"curl -X GET "http://localhost:{read}/api/product/my/invest?page=0&size=10" -H "X-USER-ID: user4""#
        ),
        "token    as set (operator)".to_owned(),
    ] {
        assert!(said.contains(&line), "{line} is not in {said}");
    }
    let parsed: Value = app.api(0).get("/api/product").await.json();
    assert_eq!(parsed["result"], true);
}
