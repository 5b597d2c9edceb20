//! Every row of the refusal table, whole; and what `finish` puts around routes.

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use domain::InvestId;
use edge::{
    AllowedOrigin, CallerPolicy, Correlation, FieldProblem, InvestIdPath, Problem, ProductIdPath,
    Submission, UserIdHeader,
};
use rstest::rstest;
use tower::ServiceExt;
use uuid::Uuid;

const ANY: usize = usize::MAX;

pub async fn whole(response: Response) -> (StatusCode, HeaderMap, String) {
    let (parts, body) = response.into_parts();
    let body = to_bytes(body, ANY).await.unwrap();
    (
        parts.status,
        parts.headers,
        String::from_utf8(body.to_vec()).unwrap(),
    )
}

fn routes() -> Router {
    Router::new()
        .route("/ok", get(async || edge::ok("OK")))
        .route("/post", post(async || "posted"))
        .route(
            "/user",
            get(async |UserIdHeader(user)| edge::ok(user.as_str())),
        )
        .route(
            "/product/{id}",
            get(async |ProductIdPath(id)| edge::ok(id.get())),
        )
        .route(
            "/invest/{id}",
            get(async |InvestIdPath(id)| edge::ok(id.to_string())),
        )
        .route(
            "/trace",
            get(async |c: Correlation| format!("{} {:?}", c.id(), c.traceparent())),
        )
        .route("/panic", get(async || -> Response { panic!("on purpose") }))
        .route(
            "/fault",
            get(async || Problem::internal("select secret from table")),
        )
        .route("/slow", get(forever).post(forever))
        .merge(edge::health(async || vec![]))
}

async fn forever() -> Response {
    std::future::pending().await
}

async fn send(request: Request<Body>) -> (StatusCode, HeaderMap, String) {
    whole(
        edge::with_middleware(routes(), CallerPolicy::default())
            .oneshot(request)
            .await
            .unwrap(),
    )
    .await
}

async fn call(
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
) -> (StatusCode, HeaderMap, String) {
    let request = Request::builder().method(method).uri(path);
    let request = headers.iter().fold(request, |request, (name, value)| {
        request.header(*name, *value)
    });
    send(request.body(Body::empty()).unwrap()).await
}

#[rstest]
#[case(
    Problem::NotExistProduct,
    200,
    "NOT_EXIST_PRODUCT",
    "Not exist product : ",
    None
)]
#[case(Problem::SoldOut { remaining: 7 }, 200, "SOLD_OUT", "Product is sold out : ", Some(("x-remaining-amount", "7")))]
#[case(Problem::BelowMinimum { smallest: 100 }, 200, "BELOW_MINIMUM", "Amount is below the minimum : 100", None)]
#[case(Problem::NotAMultiple { unit: 50 }, 200, "NOT_A_MULTIPLE", "Amount is not a multiple of the unit : 50", None)]
#[case(
    Problem::LimitExceeded { remaining: 7 },
    200,
    "LIMIT_EXCEEDED",
    "Limit per user is exceeded : 7",
    Some(("x-remaining-limit", "7"))
)]
#[case(
    Problem::NotStarted,
    200,
    "NOT_STARTED",
    "Product is not started : ",
    None
)]
#[case(Problem::Finished, 200, "FINISHED", "Product is finished : ", None)]
#[case(Problem::Closed, 200, "CLOSED", "Product is closed : ", None)]
#[case(
    Problem::MissingUserId,
    400,
    "MISSING_X_USER_ID",
    "Missing X-USER-ID header value : ",
    None
)]
#[case(Problem::NotFound, 404, "404", "Not found : ", None)]
#[case(
    Problem::UnsupportedMediaType,
    415,
    "415",
    "Unsupported media type, send application/json : ",
    None
)]
#[case(Problem::TooLarge, 413, "413", "Body is too large, send at most 16384 bytes : ", Some(("connection", "close")))]
#[case(Problem::TooSlow, 408, "408", "Body came too slowly, send it within 5 seconds : ", Some(("connection", "close")))]
#[case(
    Problem::UriTooLong,
    414,
    "414",
    "Path and query are too long, send at most 8192 bytes : ",
    None
)]
#[case(
    Problem::HeadTooLarge,
    431,
    "431",
    "Headers are too large or too many, send at most 16384 bytes and 100 headers : ",
    None
)]
#[case(
    Problem::HeadTooSlow,
    408,
    "408",
    "Headers came too slowly, send them within 10 seconds : ",
    None
)]
#[case(
    Problem::WrongHost,
    421,
    "421",
    "Not for this host, use localhost or this listener's address, or add the name to MOA_ALLOWED_HOSTS : ",
    None
)]
#[case(Problem::Conflict("job 1 is at it already".into()), 409, "409", "job 1 is at it already : ", None)]
#[case(
    Problem::IdempotencyKeyReused,
    422,
    "IDEMPOTENCY_KEY_REUSED",
    "Idempotency-Key was used for another request, take a new key : ",
    None
)]
#[case(
    Problem::Overloaded,
    503,
    "OVERLOADED",
    "Overloaded and not accepted, try again later : ",
    Some(("retry-after", "1"))
)]
#[case(
    Problem::RateLimited,
    429,
    "RATE_LIMITED",
    "Too many requests and not accepted, try again later : ",
    Some(("retry-after", "1"))
)]
#[case(
    Problem::OutcomeUnknown { invest_id: Some(InvestId(Uuid::from_u128(1))) },
    503,
    "OUTCOME_UNKNOWN",
    "Outcome is unknown, look before trying again : ",
    Some(("x-invest-id", "00000000-0000-0000-0000-000000000001"))
)]
#[case(
    Problem::OutcomeUnknown { invest_id: None },
    503,
    "OUTCOME_UNKNOWN",
    "Outcome is unknown, look before trying again : ",
    Some(("retry-after", "1"))
)]
#[case(Problem::Unauthorized, 401, "401", "Missing or wrong bearer token : ", Some(("www-authenticate", "Bearer")))]
#[case(
    Problem::Forbidden,
    403,
    "403",
    "The token's role may not do this : ",
    None
)]
#[tokio::test]
async fn every_refusal_is_one_row(
    #[case] problem: Problem,
    #[case] status: u16,
    #[case] code: &str,
    #[case] message: &str,
    #[case] header: Option<(&str, &str)>,
) {
    let (answered, headers, body) = whole(problem.into_response()).await;
    assert_eq!(answered, status);
    assert_eq!(
        body,
        format!(
            r#"{{"result":false,"code":"{code}","message":"{message}","data":null,"status":{status}}}"#
        )
    );
    assert_eq!(headers["content-type"], "application/json");
    if let Some((name, value)) = header {
        assert_eq!(headers[name], value);
    }
}

#[tokio::test]
async fn an_invalid_request_is_told_everything_at_once() {
    let problems = vec![
        FieldProblem::new("a", "is missing"),
        FieldProblem::new("b", "must be 1").given("\"2\""),
    ];
    let (_, _, body) = whole(Problem::Invalid(problems).into_response()).await;
    let message = r#"Invalid value : a is missing; b must be 1, was \"2\""#;
    assert_eq!(
        body,
        format!(r#"{{"result":false,"code":"00","message":"{message}","data":null,"status":400}}"#)
    );
}

#[tokio::test]
async fn success_is_the_seeds_envelope() {
    let (status, _, body) = call("GET", "/ok", &[]).await;
    assert_eq!(status, 200);
    assert_eq!(
        body,
        r#"{"result":true,"code":"01","message":null,"data":"OK","status":200}"#
    );
}

#[tokio::test]
async fn an_unknown_path_and_method_get_the_envelope() {
    let (status, _, body) = call("GET", "/nowhere", &[]).await;
    assert_eq!(status, 404);
    assert_eq!(
        body,
        r#"{"result":false,"code":"404","message":"Not found : /docs lists the calls","data":null,"status":404}"#
    );
    let (status, headers, body) = call("DELETE", "/post", &[]).await;
    assert_eq!(
        (status.as_u16(), &headers["allow"]),
        (405, &"POST".parse().unwrap())
    );
    let message = "Method not allowed, see the Allow header : ";
    assert_eq!(
        body,
        format!(
            r#"{{"result":false,"code":"405","message":"{message}","data":null,"status":405}}"#
        )
    );
    assert_eq!(call("POST", "/ok", &[]).await.1["allow"], "GET,HEAD");
    assert_eq!(call("HEAD", "/ok", &[]).await.0, 200);
}

#[rstest]
#[case("/panic")]
#[case("/fault")]
#[tokio::test]
async fn our_fault_shows_a_correlation_id_and_nothing_else(#[case] path: &str) {
    let (status, headers, body) = call("GET", path, &[("x-correlation-id", "c-1")]).await;
    assert_eq!(
        (status.as_u16(), &headers["x-correlation-id"]),
        (500, &"c-1".parse().unwrap())
    );
    assert_eq!(
        body,
        r#"{"result":false,"code":"500","message":"Internal error : c-1","data":null,"status":500}"#
    );
}

#[rstest]
#[case(
    "/nowhere",
    404,
    "Not Found",
    "Not found : /docs lists the calls",
    "404"
)]
#[case("/panic", 500, "Internal Server Error", "Internal error : c-1", "500")]
#[tokio::test]
async fn who_asks_for_problem_details_gets_them(
    #[case] path: &str,
    #[case] status: u16,
    #[case] title: &str,
    #[case] detail: &str,
    #[case] code: &str,
) {
    let asked = [
        ("x-correlation-id", "c-1"),
        ("accept", "application/problem+json"),
    ];
    let (answered, headers, body) = call("GET", path, &asked).await;
    assert_eq!(
        (answered.as_u16(), &headers["content-type"]),
        (status, &"application/problem+json".parse().unwrap())
    );
    let details: serde_json::Value = serde_json::from_str(&body).unwrap();
    let expected = serde_json::json!({"type": "about:blank", "title": title, "status": status, "detail": detail,
                                      "code": code, "correlationId": "c-1"});
    assert_eq!(details, expected);
    let (answered, headers, _) = call("GET", "/ok", &asked).await;
    assert_eq!(
        (answered.as_u16(), &headers["content-type"]),
        (200, &"application/json".parse().unwrap())
    );
}

#[rstest]
#[case("GET", "OVERLOADED")]
#[case("POST", "OUTCOME_UNKNOWN")]
#[tokio::test(start_paused = true)]
async fn a_handler_without_end_is_given_up(#[case] method: &str, #[case] code: &str) {
    let (status, _, body) = call(method, "/slow", &[]).await;
    assert_eq!(status, 503);
    assert!(body.contains(code), "{body}");
}

#[tokio::test(start_paused = true)]
async fn an_invest_that_was_handed_over_is_named_when_its_handler_is_given_up() {
    let invest_id = InvestId(Uuid::now_v7());
    let handler = async move |submission: Submission| {
        submission.begin(invest_id);
        forever().await
    };
    let router = edge::with_middleware(
        Router::new().route("/invest", post(handler)),
        CallerPolicy::default(),
    );
    let request = Request::post("/invest").body(Body::empty()).unwrap();
    let (status, headers, body) = whole(router.oneshot(request).await.unwrap()).await;
    assert!(
        status == 503 && body.contains("OUTCOME_UNKNOWN"),
        "{status} {body}"
    );
    assert_eq!(headers["x-invest-id"], invest_id.to_string());
}

#[tokio::test]
async fn a_correlation_id_and_trace_reach_the_handler_and_the_answer() {
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let (_, headers, body) = call(
        "GET",
        "/trace",
        &[("x-correlation-id", "c-1"), ("traceparent", trace)],
    )
    .await;
    assert_eq!(body, format!("c-1 Some({trace:?})"));
    assert_eq!(headers["x-correlation-id"], "c-1");
    let (_, headers, body) = call("GET", "/trace", &[("x-correlation-id", "no good")]).await;
    assert_eq!(
        body,
        format!("{} None", headers["x-correlation-id"].to_str().unwrap())
    );
}

#[rstest]
#[case("/product/7", "7")]
#[case(
    "/invest/0192D3A0-0000-7000-8000-000000000001",
    "\"0192d3a0-0000-7000-8000-000000000001\""
)]
#[tokio::test]
async fn good_ids_in_paths(#[case] path: &str, #[case] data: &str) {
    let (_, _, body) = call("GET", path, &[]).await;
    assert_eq!(
        body,
        format!(r#"{{"result":true,"code":"01","message":null,"data":{data},"status":200}}"#)
    );
}

#[rstest]
#[case(
    "/product/stream",
    "productId must be a whole number from 1, was stream"
)]
#[case("/product/0", "productId must be a whole number from 1, was 0")]
#[case("/product/-1", "productId must be a whole number from 1, was -1")]
#[case("/product/1.0", "productId must be a whole number from 1, was 1.0")]
#[case("/product/01", "productId must be a whole number from 1, was 01")]
#[case(
    "/product/9223372036854775808",
    "productId must be a whole number from 1, was 9223372036854775808"
)]
#[case("/product/%ff", "productId must be UTF-8")]
#[case("/product/%0a", "productId must be a whole number from 1, was \\\\n")]
#[case("/invest/x", "investId must be a uuid, was x")]
#[case(
    "/invest/0192d3a0000070008000000000000001",
    "investId must be a uuid, was 0192d3a0000070008000000000000001"
)]
#[tokio::test]
async fn bad_ids_in_paths(#[case] path: &str, #[case] sentence: &str) {
    let (_, _, body) = call("GET", path, &[]).await;
    let message = format!("Invalid value : {sentence}");
    assert_eq!(
        body,
        format!(r#"{{"result":false,"code":"00","message":"{message}","data":null,"status":400}}"#)
    );
}

#[tokio::test]
async fn a_user_is_missing_unless_named() {
    let (_, _, body) = call("GET", "/user", &[]).await;
    let message = "Missing X-USER-ID header value : ";
    assert_eq!(
        body,
        format!(
            r#"{{"result":false,"code":"MISSING_X_USER_ID","message":"{message}","data":null,"status":400}}"#
        )
    );
    assert_eq!(call("GET", "/user", &[("X-USER-ID", "user4")]).await.0, 200);
}

#[tokio::test]
async fn health_names_what_is_not_ready() {
    let unready = edge::with_middleware(
        edge::health(async || vec!["database", "broker"]),
        CallerPolicy::default(),
    );
    let get = |path: &str| Request::get(path).body(Body::empty()).unwrap();
    let (status, _, body) = whole(unready.clone().oneshot(get("/readyz")).await.unwrap()).await;
    assert_eq!(
        (status.as_u16(), body.as_str()),
        (503, "not ready: database, broker")
    );
    let (status, _, body) = whole(unready.oneshot(get("/livez")).await.unwrap()).await;
    assert_eq!((status.as_u16(), body.as_str()), (200, "ok"));
    assert_eq!(call("GET", "/readyz", &[]).await.2, "ok");
}

#[tokio::test]
async fn only_allowed_origins_get_cors_headers() {
    let origin: AllowedOrigin = "https://moa.example".parse().unwrap();
    let router = edge::with_middleware(routes(), CallerPolicy::for_origins(vec![origin]));
    let from = |origin: &str| {
        Request::get("/ok")
            .header("origin", origin)
            .body(Body::empty())
            .unwrap()
    };
    let (_, headers, _) = whole(
        router
            .clone()
            .oneshot(from("https://moa.example"))
            .await
            .unwrap(),
    )
    .await;
    assert_eq!(
        headers["access-control-allow-origin"],
        "https://moa.example"
    );
    assert!(
        headers["access-control-expose-headers"]
            .to_str()
            .unwrap()
            .contains("x-consistency-token")
    );
    let (_, headers, _) = whole(router.oneshot(from("https://evil.example")).await.unwrap()).await;
    assert!(!headers.contains_key("access-control-allow-origin"));
    let (_, headers, _) = call("GET", "/ok", &[("origin", "https://moa.example")]).await;
    assert!(
        !headers
            .keys()
            .any(|name| name.as_str().starts_with("access-control"))
    );
}

#[tokio::test]
async fn a_preflight_is_answered() {
    let origin: AllowedOrigin = "https://moa.example".parse().unwrap();
    let preflight = Request::options("/post")
        .header("origin", "https://moa.example")
        .header("access-control-request-method", "POST")
        .body(Body::empty());
    let router = edge::with_middleware(routes(), CallerPolicy::for_origins(vec![origin]));
    let (status, headers, _) = whole(router.oneshot(preflight.unwrap()).await.unwrap()).await;
    assert_eq!(status, 200);
    assert!(
        headers["access-control-allow-methods"]
            .to_str()
            .unwrap()
            .contains("POST")
    );
    assert!(
        headers["access-control-allow-headers"]
            .to_str()
            .unwrap()
            .contains("x-user-id")
    );
}
