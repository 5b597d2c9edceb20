//! What the OpenAPI documents say is what the listeners answer: every success has the shape of its example, and every refusal that a
//! caller can provoke is an example, word for word.

mod admin;
mod routes;

use serde_json::{Value, json};
use std::collections::BTreeSet;

use crate::harness::{Answer, ApiClient, Start, StreamListener, TestApp, client};
use testbed::SseReader;

const DETAILS: &str = "application/problem+json";

/// Names and types, and null as any type: what a generated client relies on.
fn shape(value: &Value) -> Value {
    match value {
        Value::Object(fields) => fields
            .iter()
            .map(|(name, value)| (name.clone(), shape(value)))
            .collect(),
        Value::Array(items) => items.iter().take(1).map(shape).collect(),
        Value::String(_) => json!("a string"),
        Value::Number(_) => json!("a number"),
        Value::Bool(_) => json!("a flag"),
        Value::Null => Value::Null,
    }
}

/// The example of `code` in the answers of one call.
pub fn example<'a>(call: &'a Value, status: u16, code: &str) -> &'a Value {
    let found = &call["responses"][status.to_string()]["content"]["application/json"]["examples"]
        [code]["value"];
    assert!(
        found.is_object(),
        "no example of {code} with status {status} in {call}"
    );
    found
}

/// All but the values of the moment: the words up to the colon of the message, and the rest of the body.
pub fn words(body: &Value) -> Value {
    let mut body = body.clone();
    let message = body["message"]
        .as_str()
        .and_then(|message| message.split_once(" : "))
        .map(|(words, _)| words.to_owned());
    body["message"] = json!(message);
    body
}

/// The whole body, with any number in its message as 0: those of jobs and products depend on what happened before.
fn without_numbers(body: &Value) -> Value {
    let mut body = words(body);
    let message = body["message"].as_str().unwrap_or_default();
    body["message"] = message
        .chars()
        .map(|c| if c.is_ascii_digit() { '0' } else { c })
        .collect::<String>()
        .into();
    body
}

#[tokio::test]
async fn the_reads_answer_as_their_document_says() {
    let app = TestApp::of(1, Start::serve_with_demo()).await;
    app.settled().await;
    let api = app.api(0);
    let document = api.get("/openapi.json").await.json();
    assert_eq!(document["openapi"], "3.1.0");
    let invest = api.get_as("user4", "/api/invest/log").await.data()["list"][0]["investId"]
        .as_str()
        .unwrap()
        .to_owned();
    let paths = document["paths"].as_object().unwrap();
    assert_eq!(paths.len(), 10);
    for (path, calls) in paths {
        let call = &calls["get"];
        if path.ends_with('z') {
            let plain = &call["responses"]["200"]["content"]["text/plain"]["example"];
            assert_eq!(plain, &api.get(path).await.body, "{path}");
            continue;
        }
        if path.ends_with("/stream") {
            streams_as_documented(&app.processes[0].read, path, call).await;
            continue;
        }
        let real = path
            .replace("{productId}", "4")
            .replace("{investId}", &invest);
        let answer = api.get_as("user4", &real).await;
        let expected = shape(&example(call, 200, "01")["data"]);
        // An invest that has its fate has no reason to fail.
        let settled = |data: Value| {
            if path.starts_with("/api/invest") {
                without_reason(data)
            } else {
                data
            }
        };
        assert_eq!(settled(shape(&answer.data())), settled(expected), "{path}");
        let documented: BTreeSet<_> = headers(&call["responses"]["200"]);
        assert!(
            documented
                .iter()
                .filter(|name| *name != "X-Consistency")
                .all(|name| answer.header(name).is_some()),
            "{path}"
        );
    }
    let unknown = api.get("/api/product/999").await.json();
    assert_eq!(
        &unknown,
        example(
            &paths["/api/product/{productId}"]["get"],
            200,
            "NOT_EXIST_PRODUCT"
        )
    );
    let no_invest = api
        .get_as(
            "user4",
            "/api/invest/log/01991f5e-7c3a-7b60-9a52-3f0f6ed1a001",
        )
        .await
        .json();
    assert_eq!(
        &no_invest,
        example(&paths["/api/invest/log/{investId}"]["get"], 404, "404")
    );
    let nobody = api.get("/api/invest/log").await.json();
    assert_eq!(
        &nobody,
        example(&paths["/api/invest/log"]["get"], 400, "MISSING_X_USER_ID")
    );
    let no_page = api.get("/api/product?page=x").await.json();
    assert_eq!(
        words(&no_page),
        words(example(&paths["/api/product"]["get"], 400, "00"))
    );
}

/// The example's event has the name and the shape of a real one.
async fn streams_as_documented(url: &str, path: &str, call: &Value) {
    let mut documented = SseReader::default();
    let response = &call["responses"]["200"];
    documented.push(
        response["content"]["text/event-stream"]["example"]
            .as_str()
            .unwrap()
            .as_bytes(),
    );
    let documented = documented.event().unwrap();
    let mut listener = StreamListener::open(url, path, &[("X-USER-ID", "user4")]).await;
    let event = listener.until(|data| data.get("terms").is_none()).await;
    let without_terms = |mut data: Value| {
        data.as_object_mut()
            .unwrap()
            .retain(|name, _| !["terms", "failReason"].contains(&name.as_str()));
        shape(&data)
    };
    assert_eq!(event.name, documented.name);
    assert_eq!(
        without_terms(event.data),
        without_terms(documented.data),
        "{path}"
    );
    let answered = |name: &String| name == "X-Consistency" || listener.header(name).is_some();
    assert!(headers(response).iter().all(answered), "{path}");
    let _ = example(call, 429, "RATE_LIMITED");
}

fn headers(response: &Value) -> BTreeSet<String> {
    response["headers"]
        .as_object()
        .unwrap()
        .keys()
        .cloned()
        .collect()
}

fn without_reason(mut data: Value) -> Value {
    if data["list"][0].is_object() {
        data["list"][0]["failReason"] = Value::Null;
    } else {
        data["failReason"] = Value::Null;
    }
    data
}

#[tokio::test]
async fn the_writes_answer_as_their_document_says() {
    let app = TestApp::of(1, Start::serve_with_demo()).await;
    let terms = json!({"minInvestAmount": 100, "investAmountUnit": 50, "maxAmountPerUser": 300});
    let with_terms = app.open_product_with("with terms", 1_000, terms).await;
    let closed = app.open_product("closed", 1_000).await;
    let closing = app
        .api(0)
        .operate(
            reqwest::Method::POST,
            &format!("/admin/product/{closed}/close"),
            None,
        )
        .await;
    assert_eq!(closing.status, 200);
    let cancelled = app.open_product("cancelled", 1_000).await;
    let (cancel, reason) = (
        format!("/admin/product/{cancelled}/cancel"),
        json!({"reason": "the orchard froze"}),
    );
    assert_eq!(
        app.api(0)
            .operate(reqwest::Method::POST, &cancel, Some(&reason))
            .await
            .status,
        200
    );
    let failed = admin::failed_product(&app).await;
    let writes = app.api(0);
    let document = writes.get_write("/openapi.json").await.json();
    let call = &document["paths"]["/api/invest"]["post"];
    for (status, code, product, amount) in [
        (200, "01", 3, 1),
        (200, "NOT_EXIST_PRODUCT", 999, 1),
        (200, "CLOSED", closed, 1),
        (200, "CANCELLED", cancelled, 1),
        (200, "FAILED", failed, 1),
        (200, "NOT_STARTED", 4, 1),
        (200, "FINISHED", 1, 1),
        (200, "BELOW_MINIMUM", with_terms, 99),
        (200, "NOT_A_MULTIPLE", with_terms, 101),
        (200, "LIMIT_EXCEEDED", with_terms, 350),
        (200, "SOLD_OUT", 3, 1_000),
        (400, "00", 3, 0),
    ] {
        let answer = invest(&writes, &[("Idempotency-Key", code)], product, amount).await;
        assert_eq!(answer.status, status, "{code}");
        assert_eq!(
            words(&answer.json()),
            words(example(call, status, code)),
            "{code}"
        );
    }
    let reused = invest(&writes, &[("Idempotency-Key", "01")], 3, 2).await;
    assert_eq!(&reused.json(), example(call, 422, "IDEMPOTENCY_KEY_REUSED"));
    let nobody = writes
        .post("/api/invest", &[("Content-Type", "application/json")], "{}")
        .await;
    assert_eq!(&nobody.json(), example(call, 400, "MISSING_X_USER_ID"));
    let text = writes
        .post(
            "/api/invest",
            &[("X-USER-ID", "user4"), ("Content-Type", "text/plain")],
            "{}",
        )
        .await;
    assert_eq!(&text.json(), example(call, 415, "415"));
    let headers = [("X-USER-ID", "user4"), ("Content-Type", "application/json")];
    let large = writes
        .post("/api/invest", &headers, &" ".repeat(20_000))
        .await;
    assert_eq!(&large.json(), example(call, 413, "413"));
    for (status, code, product, amount) in [
        (409, "SOLD_OUT", 3, 1_000),
        (404, "NOT_EXIST_PRODUCT", 999, 1),
        (400, "00", 3, 0),
    ] {
        let answer = invest(&writes, &[("Accept", DETAILS)], product, amount).await;
        let example =
            &call["responses"][status.to_string()]["content"][DETAILS]["examples"][code]["value"];
        assert_eq!(
            (answer.status, answer.header("content-type")),
            (status, Some(DETAILS)),
            "{code}: {}",
            answer.body
        );
        assert_eq!(shape(&answer.json()), shape(example), "{code}");
        assert_eq!(
            (&answer.json()["code"], &answer.json()["status"]),
            (&example["code"], &example["status"])
        );
    }
}

#[tokio::test]
async fn a_withdrawal_answers_as_its_document_says() {
    let app = TestApp::of(1, Start::serve_with_demo()).await;
    let until = (chrono::Utc::now() + chrono::TimeDelta::minutes(30))
        .to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
    let withdrawable = app
        .open_product_with("withdrawable", 100, json!({"withdrawableUntil": until}))
        .await;
    let writes = app.api(0);
    let document = writes.get_write("/openapi.json").await.json();
    let call = &document["paths"]["/api/invest/{investId}/withdraw"]["post"];
    let mut accepted = Vec::new();
    for product in [withdrawable, 3] {
        accepted.push(
            invest(&writes, &[], product, 1)
                .await
                .header("x-invest-id")
                .unwrap()
                .to_owned(),
        );
    }
    let unknown = "01991f5e-7c3a-7b60-9a52-3f0f6ed1a001".to_owned();
    for (status, code, id) in [
        (200, "01", &accepted[0]),
        (200, "01", &accepted[0]),
        (200, "NOT_WITHDRAWABLE", &accepted[1]),
        (200, "NOT_EXIST_INVEST", &unknown),
        (400, "00", &"7".to_owned()),
    ] {
        let answer = writes
            .post(
                &format!("/api/invest/{id}/withdraw"),
                &[("X-USER-ID", "user4")],
                "",
            )
            .await;
        assert_eq!(answer.status, status, "{code}: {}", answer.body);
        assert_eq!(
            words(&answer.json()),
            words(example(call, status, code)),
            "{code}"
        );
    }
    let nobody = writes
        .post(&format!("/api/invest/{unknown}/withdraw"), &[], "")
        .await;
    assert_eq!(&nobody.json(), example(call, 400, "MISSING_X_USER_ID"));
}

async fn invest(api: &ApiClient, headers: &[(&str, &str)], product: i64, amount: i64) -> Answer {
    let headers = [
        headers,
        &[("X-USER-ID", "user4"), ("Content-Type", "application/json")],
    ]
    .concat();
    api.post(
        "/api/invest",
        &headers,
        &json!({"productId": product, "investAmount": amount}).to_string(),
    )
    .await
}

/// A newcomer opens the listeners in a browser, or asks them with a program. None needs a token to say what it is.
#[tokio::test]
async fn a_listener_greets_and_has_a_page_that_needs_nothing_from_elsewhere() {
    let app = TestApp::of(1, Start::serve()).await;
    let moa = &app.processes[0];
    for (at, url) in [&moa.read, &moa.write, &moa.admin].into_iter().enumerate() {
        let urls = [url.clone(), moa.write.clone(), moa.admin.clone()];
        greets(&ApiClient::at(at, urls, client(), app.journal.clone())).await;
    }
}

async fn greets(api: &ApiClient) {
    assert_eq!(api.get("/").await.data()["links"]["reference"], "/docs");
    let page = api
        .read_with("/", &[("Accept", "text/html,*/*;q=0.8")])
        .await;
    assert!(
        page.header("content-type")
            .unwrap()
            .starts_with("text/html")
            && page.body.contains("/docs"),
        "{}",
        page.body
    );
    let page = api.get("/docs/").await;
    assert_eq!(page.status, 200);
    assert!(!page.body.contains("://"), "{}", page.body);
    // Its script may ask this listener, with a token, and nobody else.
    assert!(
        page.header("content-security-policy")
            .unwrap()
            .starts_with("default-src 'self';")
    );
    for part in page
        .body
        .split(['"', '\''])
        .filter(|part| part.ends_with(".js") || part.ends_with(".css"))
    {
        assert_eq!(
            api.get(&format!("/docs/{}", part.trim_start_matches("./")))
                .await
                .status,
            200,
            "{part}"
        );
    }
    assert!(
        api.get("/docs/swagger-initializer.js")
            .await
            .body
            .contains("/openapi.json")
    );
    assert_eq!(
        api.get("/api-docs/openapi.json").await.body,
        api.get("/openapi.json").await.body
    );
}
