//! The admin listener and the operator's commands.

use chrono::Utc;
use futures::future::join_all;
use reqwest::Method;
use rstest::rstest;
use serde_json::{Value, json};
use testbed::payments::Payments;

use crate::checker::Evidence;
use crate::harness::{
    AUDITOR, Answer, OPERATOR, Start, TEST_TIMEOUT, TestApp, ask, consumers, seconds_from, within,
};

fn product(title: &str) -> Value {
    json!({"title": title, "totalInvestingAmount": 100,
           "startedAt": "2020-01-01T00:00:00", "finishedAt": "2100-01-01T00:00:00"})
}

async fn open_as(
    app: &TestApp,
    token: Option<&str>,
    body: &Value,
    headers: &[(&str, &str)],
) -> Answer {
    let more = |request: reqwest::RequestBuilder| {
        headers
            .iter()
            .fold(request.json(body), |request, (name, value)| {
                request.header(*name, *value)
            })
    };
    app.api(0)
        .admin_with(Method::POST, "/admin/product", token, more)
        .await
}

const UNAUTHORIZED: &str = r#"{"result":false,"code":"401","message":"Missing or wrong bearer token : ","data":null,"status":401}"#;
const FORBIDDEN: &str = r#"{"result":false,"code":"403","message":"The token's role may not do this : ","data":null,"status":403}"#;

/// Each role at each call; the whole body where it is refused.
#[tokio::test]
async fn an_operator_may_all_an_auditor_only_read_and_nobody_else_anything() {
    let app = TestApp::open().await;
    app.open_product("guarded", 100).await;
    let api = app.api(0);
    let reads = [
        (Method::GET, "/admin/product"),
        (Method::GET, "/admin/projection"),
    ];
    let writes = [
        (Method::POST, "/admin/product"),
        (Method::POST, "/admin/product/1/close"),
    ];
    let strangers = [
        None,
        Some(""),
        Some("wrong"),
        Some("operator-canary-7f3a9d"),
        Some("operator-canary-7f3a9"),
    ];
    for (method, path) in reads.iter().chain(&writes) {
        for stranger in strangers {
            let answer = api
                .admin_with(method.clone(), path, stranger, |it| {
                    it.json(&product("stranger"))
                })
                .await;
            assert_eq!(
                (answer.status, answer.body.as_str()),
                (401, UNAUTHORIZED),
                "{method} {path} {stranger:?}"
            );
            assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
        }
    }
    for (method, path) in &writes {
        let answer = api
            .admin_with(method.clone(), path, Some(AUDITOR), |it| {
                it.json(&product("audited"))
            })
            .await;
        assert_eq!(
            (answer.status, answer.body.as_str()),
            (403, FORBIDDEN),
            "{method} {path}"
        );
    }
    for (method, path) in &reads {
        for token in [AUDITOR, OPERATOR] {
            let answer = api
                .admin_with(method.clone(), path, Some(token), |it| it)
                .await;
            assert_eq!(
                (answer.status, answer.code().as_str()),
                (200, "01"),
                "{method} {path}"
            );
        }
    }
    for (method, path) in &writes {
        let answer = api
            .admin_with(method.clone(), path, Some(OPERATOR), |it| {
                it.json(&product("operated"))
            })
            .await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (200, "01"),
            "{method} {path}"
        );
    }
    app.settled().await;
    let one = api
        .operate(Method::GET, "/admin/product?productId=2", None)
        .await
        .data();
    assert_eq!(
        (&one["totalCount"], &one["list"][0]["title"]),
        (&json!(1), &json!("operated"))
    );
    assert_eq!(
        api.operate(Method::GET, "/admin/product?productId=9", None)
            .await
            .data()["totalCount"],
        0
    );
    assert_eq!(
        api.operate(Method::GET, "/admin/product?productId=x", None)
            .await
            .status,
        400
    );
    let list = api
        .operate(Method::GET, "/admin/product", None)
        .await
        .data();
    assert_eq!(
        list["totalCount"], 2,
        "nobody else has opened anything: {list}"
    );
}

/// What an operator or auditor reads, and the table whose lock holds it up until the database cancels it.
const HELD_UP: [(&str, &str); 7] = [
    ("product_list", "/admin/product"),
    ("mass_refunds", "/admin/mass-refund"),
    ("parked_deliveries", "/admin/parked"),
    ("seals", "/admin/audit/seal"),
    ("event_index", "/admin/audit/event?userId=user4"),
    (
        "event_index",
        "/admin/audit/prove/01991f5e-7c3a-7b60-9a52-3f0f6ed1a001",
    ),
    ("refusals", "/admin/audit/refusal?userId=user4"),
];

/// Steps: an invest; somebody locks the tables; every read is asked for at once; each is cancelled; the lock goes, and each is answered. The search of
/// refusals says more: that it can be narrowed.
#[tokio::test]
async fn a_read_that_the_database_cancels_may_be_tried_again() {
    let app = TestApp::open().await;
    let product = app.open_product("held up", 100).await;
    assert!(app.invest(ask("user4", product, 1)).await.is_accepted());
    app.settled().await;
    let mut holder = app.pool.begin().await.unwrap();
    let tables = HELD_UP.map(|(table, _)| table).join(", ");
    sqlx::query(&format!("lock table {tables} in access exclusive mode"))
        .execute(&mut *holder)
        .await
        .unwrap();
    let api = app.api(0);
    let answers = join_all(HELD_UP.map(|(_, path)| api.operate(Method::GET, path, None))).await;
    for ((_, path), answer) in HELD_UP.iter().zip(answers) {
        let expected = if path.contains("refusal") {
            (409, "409")
        } else {
            (503, "OVERLOADED")
        };
        assert_eq!(
            (answer.status, answer.code().as_str()),
            expected,
            "{path}: {}",
            answer.body
        );
    }
    holder.rollback().await.unwrap();
    for (_, path) in HELD_UP {
        let status = api.operate(Method::GET, path, None).await.status;
        assert_eq!(
            status,
            if path.contains("prove") { 404 } else { 200 },
            "{path}"
        );
    }
}

#[tokio::test]
async fn two_bearers_in_one_request_are_nobody() {
    let app = TestApp::open().await;
    let two = |request: reqwest::RequestBuilder| request.bearer_auth(OPERATOR).bearer_auth("wrong");
    let answer = app
        .api(0)
        .admin_with(Method::GET, "/admin/product", None, two)
        .await;
    assert_eq!((answer.status, answer.body.as_str()), (401, UNAUTHORIZED));
}

#[tokio::test]
async fn a_public_listener_knows_no_admin_call() {
    let app = TestApp::open().await;
    assert_eq!(app.api(0).get("/admin/product").await.status, 404);
    let posted = app
        .api(0)
        .post(
            "/admin/product",
            &[("Authorization", &format!("Bearer {OPERATOR}"))],
            "{}",
        )
        .await;
    assert_eq!(posted.status, 404);
}

#[tokio::test]
async fn opening_a_product_twice_under_one_key_opens_it_once() {
    let app = TestApp::with_processes(2).await;
    let key = [("Idempotency-Key", "open-1")];
    let first = open_as(&app, Some(OPERATOR), &product("once"), &key).await;
    let again = open_as(&app, Some(OPERATOR), &product("once"), &key).await;
    let repeat = |request: reqwest::RequestBuilder| {
        request
            .header("Idempotency-Key", "open-1")
            .json(&product("once"))
    };
    let elsewhere = app
        .api(1)
        .admin_with(Method::POST, "/admin/product", Some(OPERATOR), repeat)
        .await;
    assert_eq!(
        (first.status, first.header("idempotency-replayed")),
        (200, None)
    );
    for repeat in [again, elsewhere] {
        assert_eq!(
            (&repeat.body, repeat.header("idempotency-replayed")),
            (&first.body, Some("true"))
        );
    }
    let other = open_as(&app, Some(OPERATOR), &product("another"), &key).await;
    let reused = "Idempotency-Key was used for another request, take a new key : ";
    let expected = json!({"result": false, "code": "IDEMPOTENCY_KEY_REUSED", "message": reused, "data": null, "status": 422});
    assert_eq!((other.status, other.json()), (422, expected));
    app.settled().await;
    let list = app
        .api(0)
        .operate(Method::GET, "/admin/product", None)
        .await
        .data();
    assert_eq!(
        (&list["totalCount"], &list["list"][0]["title"]),
        (&json!(1), &json!("once"))
    );
}

#[rstest]
#[case("title", json!(null), "title")]
#[case("title", json!(""), "title")]
#[case("title", json!("a\nb"), "title")]
#[case("title", json!("x".repeat(501)), "title")]
#[case("totalInvestingAmount", json!(0), "totalInvestingAmount")]
#[case("totalInvestingAmount", json!(1_000_000_000_001_i64), "totalInvestingAmount")]
#[case("totalInvestingAmount", json!(1.0), "totalInvestingAmount")]
#[case("totalInvestingAmount", json!("100"), "totalInvestingAmount")]
#[case("startedAt", json!("yesterday"), "startedAt")]
#[case("startedAt", json!("2100-01-01T00:00:00"), "finishedAt")]
#[case("finishedAt", json!("2020-01-01"), "finishedAt")]
#[case("finishedAt", json!(1), "finishedAt")]
#[tokio::test]
async fn a_product_that_cannot_be_is_refused_by_field(
    #[case] field: &str,
    #[case] value: Value,
    #[case] named: &str,
) {
    let app = TestApp::open().await;
    let mut body = product("bad");
    body[field] = value;
    let answer = open_as(&app, Some(OPERATOR), &body, &[]).await;
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (400, "00"),
        "{}",
        answer.body
    );
    assert!(
        answer.json()["message"].as_str().unwrap().contains(named),
        "{}",
        answer.body
    );
    let events: i64 = sqlx::query_scalar("select count(*) from events")
        .fetch_one(&app.pool)
        .await
        .unwrap();
    assert_eq!(events, 0);
}

/// Steps: settlement over HTTP, which waits for its rows, is held up, so that a reservation is open; the product is closed; the reservation gets its fate
/// all the same, and nobody else gets in.
#[tokio::test]
async fn a_closed_product_takes_no_more_and_settles_what_it_took() {
    let payments = Payments::open().await;
    let provider = [
        "--payment-provider",
        "http",
        "--payment-url",
        &payments.url(),
    ];
    let app = TestApp::of(1, Start::serve().with(&provider)).await;
    let (api, id) = (app.api(0), app.open_product("closing", 100).await);
    let mut hold = app.pool.begin().await.unwrap();
    sqlx::query("lock table open_invest in exclusive mode")
        .execute(&mut *hold)
        .await
        .unwrap();
    let invest = app.invest(ask("ann", id, 10)).await;
    assert!(invest.is_accepted());
    let close = format!("/admin/product/{id}/close");
    let closed = api.operate(Method::POST, &close, None).await;
    assert_eq!(
        closed.body,
        r#"{"result":true,"code":"01","message":null,"data":"OK","status":200}"#
    );
    let late = app.invest(ask("bob", id, 10)).await;
    assert!(late.is_refused("CLOSED"), "{late:?}");
    hold.rollback().await.unwrap();
    let path = format!("/api/invest/log/{}", invest.invest_id().unwrap());
    let settled =
        async || (api.get_as("ann", &path).await.data()["state"] == "SETTLED").then_some(());
    within(TEST_TIMEOUT, "the fate of what was open", settled).await;
    let evidence = Evidence::of(&app, &[id], &["ann".into(), "bob".into()]).await;
    evidence.holds();

    let again = api.operate(Method::POST, &close, None).await;
    let expected = json!({"result": false, "code": "CLOSED", "message": "Product is closed : ", "data": null, "status": 200});
    assert_eq!((again.status, again.json()), (200, expected));
    let unknown = api
        .operate(Method::POST, "/admin/product/999/close", None)
        .await;
    assert_eq!(
        (unknown.status, unknown.code().as_str()),
        (200, "NOT_EXIST_PRODUCT")
    );
    for nonsense in ["0", "-1", "x", "01"] {
        let answer = api
            .operate(
                Method::POST,
                &format!("/admin/product/{nonsense}/close"),
                None,
            )
            .await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (400, "00"),
            "{nonsense}"
        );
    }
    let listed = api.get("/api/product").await.data();
    assert_eq!(listed["totalCount"], 0, "a closed product is not listed");
}

#[tokio::test]
async fn before_its_window_a_product_takes_nothing_and_after_it_nothing_more() {
    let app = TestApp::open().await;
    let upcoming = app.open_product_in("upcoming", 100, (3_600, 7_200)).await;
    let finished = app.open_product_in("finished", 100, (-7_200, -3_600)).await;
    assert!(
        app.invest(ask("ann", upcoming, 1))
            .await
            .is_refused("NOT_STARTED")
    );
    assert!(
        app.invest(ask("ann", finished, 1))
            .await
            .is_refused("FINISHED")
    );
    assert!(
        app.invest(ask("ann", 999, 1))
            .await
            .is_refused("NOT_EXIST_PRODUCT")
    );
    Evidence::of(&app, &[upcoming, finished, 999], &["ann".into()])
        .await
        .holds();
}

#[tokio::test]
async fn the_state_of_every_projection_is_told() {
    let app = TestApp::open().await;
    let product = app.open_product("projected", 100).await;
    assert!(app.invest(ask("ann", product, 10)).await.is_accepted());
    app.settled().await;
    let told = app
        .api(0)
        .operate(Method::GET, "/admin/projection", None)
        .await
        .data();
    let heads: Vec<i64> = (0..4)
        .map(|partition| if partition == product % 4 { 3 } else { 0 })
        .collect();
    let row = |name: &str| {
        let model = projector::PROJECTIONS
            .iter()
            .find(|model| model.name == name);
        let (generation, version) = (model.map(|_| 1), model.map_or(1, |model| model.version));
        json!({"name": name, "generation": generation, "version": version, "state": "RUNNING", "positions": heads, "head": heads, "lagEvents": 0,
               "lagSeconds": 0.0, "stuck": []})
    };
    let mut list = told["list"].as_array().unwrap().clone();
    list.sort_by_key(|row| row["name"].to_string());
    let mut names = consumers();
    names.sort_unstable();
    let expected: Vec<_> = names.into_iter().map(row).collect();
    assert_eq!(
        (told["totalCount"].clone(), list),
        (json!(expected.len()), expected)
    );
}

#[tokio::test]
async fn the_operators_commands_do_what_the_calls_do() {
    let app = TestApp::open().await;
    let now = Utc::now();
    let (starts, finishes) = (seconds_from(now, -60), seconds_from(now, 3_600));
    let window = [
        "--total",
        "100",
        "--starts",
        &starts,
        "--finishes",
        &finishes,
    ];
    let opened = app
        .operator(&[&["product", "open", "--title", "by hand"], &window[..]].concat())
        .await;
    assert_eq!(
        (opened.status.code(), opened.out.as_str()),
        (Some(0), "Opened product 1.\n"),
        "{}",
        opened.err
    );
    assert!(app.invest(ask("ann", 1, 40)).await.is_accepted());
    app.settled().await;

    let listed = app.operator(&["product", "list", "--json"]).await;
    let list: Value = serde_json::from_str(&listed.out).unwrap();
    assert_eq!(
        (
            &list["totalCount"],
            &list["list"][0]["currentInvestingAmount"]
        ),
        (&json!(1), &json!(40))
    );
    assert_eq!(list["list"][0]["state"], "ONGOING");
    let table = app.operator(&["product", "list"]).await;
    assert!(
        table.out.contains("by hand") && table.out.contains("1 products"),
        "{}",
        table.out
    );

    let status = app.operator(&["status", "--json"]).await;
    let status: Value = serde_json::from_str(&status.out).unwrap();
    assert_eq!(status["totalCount"], consumers().len());
    let checked = app.operator(&["status", "--check"]).await;
    assert!(checked.status.success(), "{}", checked.err);
    let table = app.operator(&["status"]).await;
    assert!(consumers().iter().all(|name| table.out.contains(name)));

    let closed = app.operator(&["product", "close", "1"]).await;
    assert_eq!(
        (closed.status.code(), closed.out.as_str()),
        (Some(0), "Closed product 1.\n"),
        "{}",
        closed.err
    );
    assert!(app.invest(ask("ann", 1, 1)).await.is_refused("CLOSED"));
    let again = app.operator(&["product", "close", "1"]).await;
    assert_eq!(
        (again.status.code(), again.err.as_str()),
        (Some(1), "moa: CLOSED: Product is closed\n")
    );

    let cancelled = app
        .operator(&["product", "cancel", "1", "--reason", "frost"])
        .await;
    let said =
        "Cancelled product 1: every invest is given back; `moa status` shows how far that is.\n";
    assert_eq!(
        (cancelled.status.code(), cancelled.out.as_str()),
        (Some(0), said),
        "{}",
        cancelled.err
    );
    let again = app
        .operator(&["product", "cancel", "1", "--reason", "frost"])
        .await;
    assert_eq!(
        (again.status.code(), again.err.as_str()),
        (Some(1), "moa: CANCELLED: Product is cancelled\n")
    );
    app.settled().await;
    let stood = app.operator(&["audit", "product", "1"]).await;
    assert!(
        stood.out.contains("refunded invests  1\n")
            && stood.out.contains("cancelled         frost\n"),
        "{}",
        stood.out
    );
}

/// The bar of a product that is given back, half way after ten seconds.
#[tokio::test]
async fn what_is_given_back_is_shown_with_the_time_that_is_left() {
    let app = TestApp::open().await;
    let product = app.open_product("half way", 100).await;
    sqlx::query(
        "insert into mass_refunds (product_id, last_sequence, read_sequence, began_at, due_at, event_id, correlation_id)
         values ($1, 200, 100, clock_timestamp() - interval '1 hour', clock_timestamp() + interval '1 hour',
                 gen_random_uuid(), 'a test')",
    )
    .bind(product)
    .execute(&app.pool)
    .await
    .unwrap();
    let status = app.operator(&["status"]).await;
    let bar =
        format!("Product {product} is given back: [===============               ] 50 %, 01:00:0");
    assert!(status.out.contains(&bar), "{}", status.out);
    let status = app.operator(&["status", "--json"]).await;
    let status: Value = serde_json::from_str(&status.out).unwrap();
    assert_eq!(status["massRefunds"][0]["readPercent"], 50);
    assert_eq!(
        (
            &status["massRefunds"][0]["queuedRefunds"],
            &status["massRefunds"][0]["openReservations"]
        ),
        (&json!(0), &json!(0))
    );
}

#[tokio::test]
async fn an_operators_command_that_fails_says_why_in_one_sentence() {
    let app = TestApp::open().await;
    let wrong = Start::bare(&["status", "--admin-url", &app.processes[0].admin]);
    let wrong = wrong
        .env("MOA_OPERATOR_TOKEN", "wrong-canary-0000")
        .end()
        .await;
    assert_eq!(
        (wrong.status.code(), wrong.err.as_str()),
        (
            Some(1),
            "moa: the token is none of that Moa's: set MOA_OPERATOR_TOKEN, or MOA_AUDITOR_TOKEN for the audit, to one that is\n"
        )
    );
    let nobody = Start::bare(&["status", "--admin-url", "http://127.0.0.1:1"])
        .env("MOA_OPERATOR_TOKEN", OPERATOR);
    let nobody = nobody.end().await;
    assert_eq!(nobody.status.code(), Some(1));
    assert!(
        nobody
            .err
            .contains("cannot reach Moa at http://127.0.0.1:1"),
        "{}",
        nobody.err
    );
    let not_moa = Start::bare(&[
        "status",
        "--admin-url",
        "http://127.0.0.1:1",
        "--data-dir",
        "/nowhere",
    ])
    .end()
    .await;
    assert!(
        not_moa.err.contains("no token: set MOA_OPERATOR_TOKEN"),
        "{}",
        not_moa.err
    );
    let bad = app.operator(&[
        "product",
        "open",
        "--title",
        "",
        "--total",
        "0",
        "--starts",
        "x",
        "--finishes",
        "y",
    ]);
    let bad = bad.await;
    for field in ["--title", "--total", "--starts", "--finishes"] {
        assert!(bad.err.contains(field), "{}", bad.err);
    }
    assert_eq!(bad.err.lines().count(), 1, "{}", bad.err);
}
