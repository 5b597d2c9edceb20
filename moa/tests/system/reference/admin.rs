//! The document of the admin listener: every answer that it has an example of, and that a caller can provoke, is provoked here.

use reqwest::Method;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use testbed::TempFolder;
use testbed::payments::Payments;

use super::{example, without_numbers};
use crate::harness::{
    AUDITOR, Answer, ApiClient, OPERATOR, Start, TEST_TIMEOUT, TestApp, ask, seconds_from, within,
};

/// What any call may get, and nobody gets who asks properly of a server that has time.
const UNASKED: [&str; 8] = [
    "408",
    "414",
    "421",
    "431",
    "500",
    "OUTCOME_UNKNOWN",
    "OVERLOADED",
    "RATE_LIMITED",
];
/// What needs a damaged log, or several callers at the same moment; its words are tested elsewhere.
const UNPROVOKED: [(&str, &str); 11] = [
    ("GET /admin/audit/event", "409"),
    ("GET /admin/audit/export", "409"),
    ("GET /admin/audit/holdings", "409"),
    ("GET /admin/audit/invest-log", "409"),
    ("GET /admin/audit/invest/{id}", "409"),
    ("GET /admin/audit/product", "409"),
    ("GET /admin/audit/product/{id}", "409"),
    ("GET /admin/audit/prove/{investId}", "409"),
    ("GET /admin/audit/refusal", "409"),
    ("GET /admin/audit/summary", "409"),
    ("GET /admin/audit/verify", "409"),
];
/// Fields that only some items have.
const OPTIONAL: [&str; 2] = ["cancelReason", "terms"];
const UNKNOWN_INVEST: &str = "01991f5e-7c3a-7b60-9a52-3f0f6ed1a001";

/// The document, and what of it was compared with an answer: a call and a code.
struct Compared {
    api: ApiClient,
    document: Value,
    answers: BTreeSet<(String, String)>,
    differences: Vec<String>,
}

impl Compared {
    async fn of(app: &TestApp) -> Self {
        let api = app.api(0);
        // Without a token: it holds no secret.
        let document = api
            .admin_with(Method::GET, "/openapi.json", None, |it| it)
            .await
            .json();
        Self {
            api,
            document,
            answers: BTreeSet::new(),
            differences: Vec::new(),
        }
    }

    /// Every call, such as `GET /admin/product`, and what the document says of it.
    fn calls(&self) -> Vec<(String, Value)> {
        let paths = self.document["paths"].as_object().unwrap();
        let of_path = |(path, calls): (&String, &Value)| {
            let calls = calls.as_object().unwrap().clone();
            calls
                .into_iter()
                .map(|(method, call)| (format!("{} {path}", method.to_uppercase()), call))
                .collect::<Vec<_>>()
        };
        paths.iter().flat_map(of_path).collect()
    }

    /// Asks as the operator, `call` at `real`, and compares the answer with the example of `code`.
    async fn asks(
        &mut self,
        call: &str,
        real: &str,
        body: Option<&Value>,
        (status, code): (u16, &str),
    ) -> Value {
        let method: Method = call.split_once(' ').unwrap().0.parse().unwrap();
        let answer = self.api.operate(method, real, body).await;
        self.compares(call, &answer, status, code);
        answer.data()
    }

    async fn all(&mut self, asked: &[(&str, &str, Option<Value>, u16, &str)]) {
        for (call, real, body, status, code) in asked {
            self.asks(call, real, body.as_ref(), (*status, code)).await;
        }
    }

    fn compares(&mut self, call: &str, answer: &Answer, status: u16, code: &str) {
        if (answer.status, answer.code().as_str()) != (status, code) {
            return self
                .differences
                .push(format!("{call} {code}: {} {}", answer.status, answer.body));
        }
        let calls = self.calls();
        let (_, documented) = calls
            .iter()
            .find(|(name, _)| name == call)
            .unwrap_or_else(|| panic!("no {call}"));
        let (example, real) = (example(documented, status, code), answer.json());
        let difference = match code {
            "01" => difference(example, &real),
            _ => (without_numbers(example) != without_numbers(&real))
                .then(|| format!("{example} is not {real}")),
        };
        self.differences
            .extend(difference.map(|difference| format!("{call} {code}: {difference}")));
        self.answers.insert((call.into(), code.into()));
    }
}

/// The first field, all the way down, that only one of them has, or that is of another type; null and what is empty are of any type.
fn difference(example: &Value, real: &Value) -> Option<String> {
    match (example, real) {
        (Value::Null, _) | (_, Value::Null) => None,
        (Value::Object(some), _) | (_, Value::Object(some)) if some.is_empty() => None,
        (Value::Object(example), Value::Object(real)) => {
            let (ours, theirs) = (names(example), names(real));
            let unlike = || {
                example
                    .iter()
                    .find_map(|(name, it)| difference(it, real.get(name)?))
            };
            if ours == theirs {
                unlike()
            } else {
                Some(format!("{ours:?} are not {theirs:?}"))
            }
        }
        (Value::Array(example), Value::Array(real)) => difference(example.first()?, real.first()?),
        (example, real) => {
            let is_alike = std::mem::discriminant(example) == std::mem::discriminant(real);
            (!is_alike).then(|| format!("{example} is of another type than {real}"))
        }
    }
}

fn names(object: &Map<String, Value>) -> BTreeSet<&str> {
    object
        .keys()
        .map(String::as_str)
        .filter(|name| !OPTIONAL.contains(name))
        .collect()
}

/// Steps: a demo that is sealed and settled by a payment provider; each group of calls is compared; then whoever shows no token, or the
/// auditor's; what the document has and was not compared is what nobody can provoke.
#[tokio::test]
async fn the_admin_calls_answer_as_their_document_says() {
    let (folder, payments) = (TempFolder::new("documented"), Payments::open().await);
    let [key, seals] = ["key", "seals"].map(|name| folder.file(name));
    assert!(
        Start::bare(&["audit", "key", &key])
            .end()
            .await
            .status
            .success()
    );
    let start = Start::serve_with_demo()
        .env("MOA_SEAL_KEY_FILE", &key)
        .env("MOA_SEALS_FILE", &seals);
    let start = start
        .env("MOA_PAYMENT_PROVIDER", "http")
        .env("MOA_PAYMENT_URL", &payments.url());
    let app = TestApp::of(1, start).await;
    app.settled().await;
    let mut compared = Compared::of(&app).await;
    audit(&app, &mut compared).await;
    products(&app, &payments, &mut compared).await;
    projections(&mut compared).await;
    parked(&app, &mut compared).await;
    acts(&mut compared).await;
    bodies(&mut compared).await;
    guards(&mut compared).await;
    assert!(
        compared.differences.is_empty(),
        "{:#?}",
        compared.differences
    );
    let documented: BTreeSet<_> = compared
        .calls()
        .iter()
        .flat_map(|(call, it)| codes(call, it))
        .collect();
    let left: BTreeSet<_> = documented.difference(&compared.answers).cloned().collect();
    assert_eq!(
        left,
        UNPROVOKED
            .map(|(call, code)| (call.to_owned(), code.to_owned()))
            .into()
    );
}

/// Every code that a call has an example of, those apart that any may get.
fn codes(call: &str, documented: &Value) -> Vec<(String, String)> {
    let responses = documented["responses"].as_object().unwrap().values();
    let examples = responses
        .filter_map(|response| response["content"]["application/json"]["examples"].as_object());
    let codes = examples
        .flat_map(|examples| examples.keys())
        .filter(|code| !UNASKED.contains(&code.as_str()));
    codes.map(|code| (call.to_owned(), code.clone())).collect()
}

async fn products(app: &TestApp, payments: &Payments, compared: &mut Compared) {
    let cancelled = app.open_product("cancelled", 100).await;
    let failed = failed_product(app).await;
    assert!(app.invest(ask("ann", cancelled, 10)).await.is_accepted());
    app.settled().await;
    // So that the refunds are still to be seen.
    payments.closes().await;
    let offer = json!({"title": "offered", "totalInvestingAmount": 100, "startedAt": "2020-01-01T00:00:00",
                       "finishedAt": "2100-01-01T00:00:00"});
    let mut backwards = offer.clone();
    backwards["finishedAt"] = json!("2019-01-01T00:00:00");
    let opened = compared
        .asks(
            "POST /admin/product",
            "/admin/product",
            Some(&offer),
            (200, "01"),
        )
        .await["productId"]
        .clone();
    let reason = Some(json!({"reason": "the orchard froze"}));
    let (cancel, close) = (
        "POST /admin/product/{productId}/cancel",
        "POST /admin/product/{productId}/close",
    );
    let of = |id: &dyn ToString, what: &str| format!("/admin/product/{}/{what}", id.to_string());
    compared
        .all(&[
            (
                "POST /admin/product",
                "/admin/product",
                Some(backwards),
                400,
                "00",
            ),
            ("GET /admin/product", "/admin/product", None, 200, "01"),
            (
                "GET /admin/product",
                "/admin/product?page=x",
                None,
                400,
                "00",
            ),
            (cancel, &of(&cancelled, "cancel"), reason.clone(), 200, "01"),
            (
                cancel,
                &of(&cancelled, "cancel"),
                reason.clone(),
                200,
                "CANCELLED",
            ),
            (
                cancel,
                &of(&failed, "cancel"),
                reason.clone(),
                200,
                "FAILED",
            ),
            (
                cancel,
                &of(&999, "cancel"),
                reason,
                200,
                "NOT_EXIST_PRODUCT",
            ),
            (cancel, &of(&opened, "cancel"), Some(json!({})), 400, "00"),
            (close, &of(&opened, "close"), None, 200, "01"),
            (close, &of(&opened, "close"), None, 200, "CLOSED"),
            (close, &of(&cancelled, "close"), None, 200, "CANCELLED"),
            (close, &of(&failed, "close"), None, 200, "FAILED"),
            (close, &of(&999, "close"), None, 200, "NOT_EXIST_PRODUCT"),
            (close, &of(&"x", "close"), None, 400, "00"),
        ])
        .await;
    let refunds = async || {
        let list = compared
            .api
            .operate(Method::GET, "/admin/mass-refund", None)
            .await
            .data()["list"]
            .clone();
        (!list.as_array()?.is_empty()).then_some(())
    };
    within(TEST_TIMEOUT, "a product is given back", refunds).await;
    compared
        .asks(
            "GET /admin/mass-refund",
            "/admin/mass-refund",
            None,
            (200, "01"),
        )
        .await;
    reused(compared, &offer).await;
}

/// One that missed its target.
pub(super) async fn failed_product(app: &TestApp) -> i64 {
    let now = chrono::Utc::now();
    let offer = json!({"title": "failed", "totalInvestingAmount": 100, "targetAmount": 50,
                       "startedAt": seconds_from(now, -60), "finishedAt": seconds_from(now, -1)});
    let id = app
        .api(0)
        .operate(Method::POST, "/admin/product", Some(&offer))
        .await
        .data()["productId"]
        .as_i64()
        .unwrap();
    let path = format!("/api/product/{id}");
    let failed =
        async || (app.api(0).get(&path).await.data()["investStatus"] == "FAILED").then_some(());
    within(TEST_TIMEOUT, "it fails", failed).await;
    id
}

/// One key, two offers.
async fn reused(compared: &mut Compared, offer: &Value) {
    let mut other = offer.clone();
    other["title"] = json!("another");
    for (offer, status, code) in [(offer, 200, "01"), (&other, 422, "IDEMPOTENCY_KEY_REUSED")] {
        let keyed = |request: reqwest::RequestBuilder| {
            request.json(offer).header("Idempotency-Key", "once")
        };
        let answer = compared
            .api
            .admin_with(Method::POST, "/admin/product", Some(OPERATOR), keyed)
            .await;
        compared.compares("POST /admin/product", &answer, status, code);
    }
}

const REBUILD: &str = "POST /admin/projection/{name}/rebuild";
const DIFF: &str = "GET /admin/projection/{name}/diff";
const SWITCH: &str = "POST /admin/projection/{name}/switch";
const ROLLBACK: &str = "POST /admin/projection/{name}/rollback";

async fn projections(compared: &mut Compared) {
    let of = |name: &str, what: &str| format!("/admin/projection/{name}/{what}");
    compared
        .all(&[
            (
                "GET /admin/projection",
                "/admin/projection",
                None,
                200,
                "01",
            ),
            // So slowly that it still runs when it is asked for again.
            (
                REBUILD,
                &of("holdings", "rebuild?maxRate=1"),
                None,
                202,
                "01",
            ),
            (REBUILD, &of("holdings", "rebuild"), None, 409, "409"),
            (
                REBUILD,
                &of("holdings", "rebuild?switch=x"),
                None,
                400,
                "00",
            ),
            (REBUILD, &of("nothing", "rebuild"), None, 404, "404"),
            (DIFF, &of("holdings", "diff"), None, 409, "409"),
            (DIFF, &of("holdings", "diff?maxRate=0"), None, 400, "00"),
            (DIFF, &of("nothing", "diff"), None, 404, "404"),
            (
                "POST /admin/projection/{name}/drop",
                &of("holdings", "drop"),
                None,
                200,
                "01",
            ),
            (
                "POST /admin/projection/{name}/drop",
                &of("nothing", "drop"),
                None,
                404,
                "404",
            ),
            (DIFF, &of("event_index", "diff"), None, 202, "01"),
            (SWITCH, &of("holdings", "switch"), None, 409, "409"),
            (
                SWITCH,
                &of("holdings", "switch?acceptDifferences=x"),
                None,
                400,
                "00",
            ),
            (SWITCH, &of("nothing", "switch"), None, 404, "404"),
            (ROLLBACK, &of("holdings", "rollback"), None, 409, "409"),
            (ROLLBACK, &of("nothing", "rollback"), None, 404, "404"),
            (
                "POST /admin/projection/{name}/pause",
                &of("holdings", "pause"),
                None,
                200,
                "01",
            ),
            (
                "POST /admin/projection/{name}/pause",
                &of("nothing", "pause"),
                None,
                404,
                "404",
            ),
            (
                "POST /admin/projection/{name}/resume",
                &of("holdings", "resume"),
                None,
                200,
                "01",
            ),
            (
                "POST /admin/projection/{name}/resume",
                &of("nothing", "resume"),
                None,
                404,
                "404",
            ),
        ])
        .await;
    switched(compared, &of).await;
}

/// A rebuild to its end, then forth and back.
async fn switched(compared: &mut Compared, of: &impl Fn(&str, &str) -> String) {
    let begun = compared
        .asks(
            REBUILD,
            &of("investor_summary", "rebuild?switch=false"),
            None,
            (202, "01"),
        )
        .await;
    let job = format!("/admin/job/{}", begun["jobId"]);
    let done = async || {
        (compared.api.operate(Method::GET, &job, None).await.data()["state"] == "DONE")
            .then_some(())
    };
    within(TEST_TIMEOUT, "the rebuild ends", done).await;
    compared
        .all(&[
            ("GET /admin/job/{id}", &job, None, 200, "01"),
            ("GET /admin/job/{id}", "/admin/job/999", None, 404, "404"),
            ("GET /admin/job", "/admin/job", None, 200, "01"),
            (SWITCH, &of("investor_summary", "switch"), None, 200, "01"),
            (
                ROLLBACK,
                &of("investor_summary", "rollback"),
                None,
                200,
                "01",
            ),
        ])
        .await;
}

async fn parked(app: &TestApp, compared: &mut Compared) {
    for _ in 0..2 {
        let park = "insert into parked_deliveries (queue, reason, content_type, headers, body, bytes)
                    values ('moa.holdings.0', 'it is forged', 'text/plain', '{\"moa-first\": \"1\"}', 'x', 1)";
        sqlx::query(park).execute(&app.pool).await.unwrap();
    }
    let listed = compared
        .asks("GET /admin/parked", "/admin/parked", None, (200, "01"))
        .await;
    let one = format!("/admin/parked/{}", listed["list"][0]["id"]);
    compared
        .all(&[
            ("GET /admin/parked", "/admin/parked?size=0", None, 400, "00"),
            ("GET /admin/parked/{id}", &one, None, 200, "01"),
            (
                "POST /admin/parked/{id}/drop",
                &format!("{one}/drop"),
                None,
                200,
                "01",
            ),
            (
                "POST /admin/parked/{id}/drop",
                &format!("{one}/drop"),
                None,
                404,
                "404",
            ),
            ("GET /admin/parked/{id}", &one, None, 404, "404"),
            (
                "POST /admin/parked/drop",
                "/admin/parked/drop",
                None,
                200,
                "01",
            ),
            (
                "POST /admin/restore",
                "/admin/restore",
                Some(json!({"accept": "CLOCK"})),
                200,
                "01",
            ),
            (
                "POST /admin/restore",
                "/admin/restore",
                Some(json!({"accept": "GAIN"})),
                400,
                "00",
            ),
        ])
        .await;
}

async fn audit(app: &TestApp, compared: &mut Compared) {
    let refused = app.invest(ask("user4", 3, 1_000)).await;
    assert!(!refused.is_accepted());
    let recorded = async || {
        let list = compared
            .api
            .operate(Method::GET, "/admin/audit/refusal", None)
            .await
            .data()["list"]
            .clone();
        (!list.as_array()?.is_empty()).then_some(())
    };
    within(TEST_TIMEOUT, "the refusal is recorded", recorded).await;
    let invests = app.api(0).get_as("user4", "/api/invest/log").await.data();
    let invest = invests["list"][0]["investId"].as_str().unwrap().to_owned();
    let (now, later) = (
        seconds_from(chrono::Utc::now(), 0),
        seconds_from(chrono::Utc::now(), 3_600),
    );
    for model in ["product", "holdings", "invest-log", "summary"] {
        let (call, path) = (
            format!("GET /admin/audit/{model}"),
            format!("/admin/audit/{model}?userId=user4"),
        );
        compared
            .asks(&call, &format!("{path}&at={now}"), None, (200, "01"))
            .await;
        compared.asks(&call, &path, None, (400, "00")).await;
    }
    let (past, invests) = (
        "GET /admin/audit/product/{id}",
        "GET /admin/audit/invest/{id}",
    );
    let (proof, search) = (
        "GET /admin/audit/prove/{investId}",
        "/admin/audit/event?type=InvestReserved",
    );
    compared
        .all(&[
            ("GET /admin/audit/event", search, None, 200, "01"),
            (
                "GET /admin/audit/event",
                "/admin/audit/event?limit=0",
                None,
                400,
                "00",
            ),
            (
                "GET /admin/audit/export",
                "/admin/audit/export?format=pdf",
                None,
                400,
                "00",
            ),
            (
                past,
                &format!("/admin/audit/product/3?at={now}"),
                None,
                200,
                "01",
            ),
            (
                past,
                &format!("/admin/audit/product/3?at={later}"),
                None,
                400,
                "00",
            ),
            (past, "/admin/audit/product/999", None, 404, "404"),
            (
                invests,
                &format!("/admin/audit/invest/{invest}"),
                None,
                200,
                "01",
            ),
            (
                invests,
                &format!("/admin/audit/invest/{UNKNOWN_INVEST}"),
                None,
                404,
                "404",
            ),
            (invests, "/admin/audit/invest/x", None, 400, "00"),
            (
                "GET /admin/audit/refusal",
                "/admin/audit/refusal",
                None,
                200,
                "01",
            ),
            (
                "GET /admin/audit/refusal",
                "/admin/audit/refusal?limit=0",
                None,
                400,
                "00",
            ),
            (
                "GET /admin/audit/access",
                "/admin/audit/access",
                None,
                200,
                "01",
            ),
            (
                "GET /admin/audit/access",
                "/admin/audit/access?limit=0",
                None,
                400,
                "00",
            ),
            (
                "GET /admin/audit/verify",
                "/admin/audit/verify",
                None,
                200,
                "01",
            ),
            (
                proof,
                &format!("/admin/audit/prove/{UNKNOWN_INVEST}"),
                None,
                404,
                "404",
            ),
            (proof, "/admin/audit/prove/x", None, 400, "00"),
            (
                "GET /admin/audit/seal",
                "/admin/audit/seal?after=-1",
                None,
                400,
                "00",
            ),
        ])
        .await;
    let path = format!("/admin/audit/prove/{invest}");
    let sealed =
        async || (compared.api.operate(Method::GET, &path, None).await.status == 200).then_some(());
    within(TEST_TIMEOUT, "the invest is sealed", sealed).await;
    compared
        .all(&[
            (proof, &path, None, 200, "01"),
            (
                "GET /admin/audit/seal",
                "/admin/audit/seal",
                None,
                200,
                "01",
            ),
        ])
        .await;
}

/// The record of what was done so far.
async fn acts(compared: &mut Compared) {
    const SEALS: &str = "/admin/audit/act/seal";
    let sealed = async || {
        let seals = compared.api.operate(Method::GET, SEALS, None).await.data();
        (!seals["list"].as_array()?.is_empty()).then_some(())
    };
    within(TEST_TIMEOUT, "an act is sealed", sealed).await;
    compared
        .all(&[
            (
                "GET /admin/audit/act",
                "/admin/audit/act?act=SWITCH",
                None,
                200,
                "01",
            ),
            (
                "GET /admin/audit/act",
                "/admin/audit/act?limit=0",
                None,
                400,
                "00",
            ),
            ("GET /admin/audit/act/seal", SEALS, None, 200, "01"),
            (
                "GET /admin/audit/act/seal",
                "/admin/audit/act/seal?after=-1",
                None,
                400,
                "00",
            ),
        ])
        .await;
}

/// Every call with a body, with one of another type and one that is too large.
async fn bodies(compared: &mut Compared) {
    for (call, documented) in compared
        .calls()
        .into_iter()
        .filter(|(_, call)| call["requestBody"].is_object())
    {
        let path = call.split_once(' ').unwrap().1.replace("{productId}", "1");
        for (media_type, body, status, code) in [
            ("text/plain", "{}".to_owned(), 415, "415"),
            ("application/json", " ".repeat(20_000), 413, "413"),
        ] {
            let more = |request: reqwest::RequestBuilder| {
                request.header("Content-Type", media_type).body(body)
            };
            let answer = compared
                .api
                .admin_with(Method::POST, &path, Some(OPERATOR), more)
                .await;
            compared.compares(&call, &answer, status, code);
        }
        assert!(
            documented["requestBody"]["content"]["application/json"]["example"].is_object(),
            "{call}"
        );
    }
}

/// Every call that needs a token, without one; and those that are the operator's alone, with the auditor's.
async fn guards(compared: &mut Compared) {
    for (call, documented) in compared.calls() {
        let (method, path) = call.split_once(' ').unwrap();
        let method: Method = method.parse().unwrap();
        let anybody = compared
            .api
            .admin_with(method.clone(), path, None, |it| it)
            .await;
        assert_eq!(
            documented["security"].is_array(),
            anybody.status == 401,
            "{call}"
        );
        if anybody.status != 401 {
            continue;
        }
        compared.compares(&call, &anybody, 401, "401");
        if documented["responses"]["403"].is_object() {
            let auditor = compared
                .api
                .admin_with(method, path, Some(AUDITOR), |it| it)
                .await;
            compared.compares(&call, &auditor, 403, "403");
        }
    }
}

/// What is no envelope: lines, rows and plain words.
#[tokio::test]
async fn the_admin_texts_are_as_their_document_says() {
    let app = TestApp::of(1, Start::serve_with_demo()).await;
    let compared = Compared::of(&app).await;
    let mut texts = 0;
    for (call, documented) in compared.calls() {
        let path = call.split_once(' ').unwrap().1;
        let Some(contents) = documented["responses"]["200"]["content"].as_object() else {
            continue;
        };
        for (media_type, content) in contents
            .iter()
            .filter(|(name, _)| *name != "application/json")
        {
            let more = |request: reqwest::RequestBuilder| request.header("Accept", media_type);
            let answer = compared
                .api
                .admin_with(Method::GET, path, Some(OPERATOR), more)
                .await;
            assert_eq!(answer.status, 200, "{call} {media_type}: {}", answer.body);
            assert!(
                answer
                    .header("content-type")
                    .unwrap()
                    .starts_with(media_type),
                "{call}: {:?}",
                answer.headers
            );
            alike(
                media_type,
                content["example"].as_str().unwrap(),
                &answer.body,
            );
            texts += 1;
        }
    }
    assert_eq!(
        texts, 7,
        "events and export as lines and as rows, and three of the process itself"
    );
}

/// Whether the example begins like the real one: JSON with the same fields, rows with the same names, words as they are.
fn alike(media_type: &str, example: &str, real: &str) {
    let [example, real] =
        [example, real].map(|text| text.lines().next().unwrap_or_default().to_owned());
    match media_type {
        "application/x-ndjson" => {
            let [example, real] =
                [example, real].map(|line| serde_json::from_str::<Value>(&line).unwrap());
            let names = |line: &Value| {
                line.as_object()
                    .unwrap()
                    .keys()
                    .cloned()
                    .collect::<BTreeSet<_>>()
            };
            assert_eq!(names(&example), names(&real));
        }
        // Of the metrics the first may be any.
        _ if real.starts_with("# ") => assert!(example.starts_with("# "), "{example} {real}"),
        _ => assert_eq!(example, real),
    }
}
